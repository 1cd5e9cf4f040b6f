// test_erofs.c - lib/erofs.c and lib/erofsmnt.c: made-up trees, read back by a reader of our own,
// by fsck.erofs and by the kernel
//
// Data is made from its place: every 8 bytes of block b of space s are word(s, b), or zeros in a
// space of holes. Needs root for the mounts (in a mount namespace of its own) and erofs-utils for
// fsck; skips loudly without. Another, newer fsck.erofs is taken from
// ~/.cache/fcpull/erofs-utils-*/ (test/erofs.test builds it).
// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

#include "../../lib/erofs.c"

#include "erofsmnt.h"
#include "erofsread.h"
#include "indexw.h"
#include "tap.h"
#include "tree.h"

#define MAX_SPACES 512

// ---- making trees ----
struct maker {
	struct tree *tree;
	uint32_t n_spaces;
	uint32_t blocks[MAX_SPACES];
	bool holes[MAX_SPACES];
};

static struct maker maker_new(uint32_t n_spaces)
{
	struct maker m = { .tree = tree_new(), .n_spaces = n_spaces };

	tree_begin_layer(m.tree);
	return m;
}

static struct tar_entry entry_at(enum tar_type type, const char *path)
{
	return (struct tar_entry){ .type = type,
		.path = path,
		.path_len = strlen(path),
		.mode = 0644,
		.mtime = 1600000000 };
}

static void add_it(struct maker *m, const struct tar_entry *e, uint32_t space)
{
	uint32_t content = TREE_NONE;

	if (e->type == TAR_FILE && e->size) {
		struct content c = { .size = e->size, .space = space, .block = m->blocks[space] };

		m->blocks[space] += (uint32_t)blocks_of(e->size);
		content = tree_add_content(m->tree, &c);
	}
	if (tree_add(m->tree, e, content, "test"))
		abort();
}

static void add_file(struct maker *m, const char *path, uint64_t size, uint32_t space)
{
	struct tar_entry e = entry_at(TAR_FILE, path);

	e.size = size;
	add_it(m, &e, space);
}

static void add_link(struct maker *m, enum tar_type type, const char *path, const char *target)
{
	struct tar_entry e = entry_at(type, path);

	e.link = target;
	e.link_len = strlen(target);
	add_it(m, &e, 0);
}

static struct index *maker_end(struct maker *m)
{
	struct index_parts parts = { .tree = m->tree, .n_spaces = m->n_spaces };
	struct index *ix;

	parts.spaces = xcalloc(m->n_spaces + 1, sizeof *parts.spaces);
	for (uint32_t i = 0; i < m->n_spaces; i++) {
		struct fmt_chunk c = { .blocks = m->blocks[i], .codec = CODEC_ZERO };

		parts.spaces[i].blocks = m->blocks[i];
		parts.spaces[i].chunks = m->blocks[i] != 0;
		if (m->blocks[i])
			buf_add(&parts.chunks, &c, sizeof c);
	}
	if (tree_end_layer(m->tree, "test") || index_build(&parts, &ix))
		abort();
	index_parts_fini(&parts);
	return ix;
}

// ---- the trees ----
static struct index *empty_tree(struct maker *m)
{
	*m = maker_new(0);
	return maker_end(m);
}

static void add_types(struct maker *m)
{
	static const struct {
		enum tar_type type;
		const char *path;
		uint32_t uid, major, minor;
		int64_t mtime;
	} rows[] = {
		{ TAR_CHR, "dev/null", 0, 1, 3, 0 },
		{ TAR_CHR, "dev/most", 4294967294u, 4095, 1048575, -1 },
		{ TAR_BLK, "dev/sda1", 65536, 8, 1, -2208988800 },
		{ TAR_BLK, "dev/zero", 1, 0, 0, 253402300799 },
		{ TAR_FIFO, "fifo", 4294967294u, 0, 0, 4294967296 },
		{ TAR_DIR, "empty", 0, 0, 0, 1 },
		{ TAR_FILE, "nothing", 0, 0, 0, 2147483648 },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct tar_entry e = entry_at(rows[i].type, rows[i].path);

		e.uid = e.gid = rows[i].uid;
		e.rdev_major = rows[i].major;
		e.rdev_minor = rows[i].minor;
		e.mtime = rows[i].mtime;
		e.mtime_ns = (uint32_t)(i * 142857142);
		e.mode = 07777 >> i;
		add_it(m, &e, 0);
	}
}

static void add_names(struct maker *m)
{
	static const char *const around[] = { "n/!", "n/-", "n/.!", "n/.-", "n/..-", "n/...",
		"n/..x", "n/.x", "n/0", "n/~", "n/ " };
	char path[300];

	for (size_t i = 0; i < ARRAY_LEN(around); i++)
		add_file(m, around[i], i, 0);
	for (int b = 1; b < 256; b++) { // 255 bytes of each value
		if (b == '/' || b == '.')
			continue;
		snprintf(path, sizeof path, "long/");
		memset(path + 5, b, 255);
		path[260] = '\0';
		add_file(m, path, (uint64_t)b, 1);
	}
}

static void add_links(struct maker *m)
{
	static const size_t lengths[] = { 1, 59, 60, 100, 2000, 3900, 4000, 4031, 4032, 4033, 4094,
		4095 };
	char path[64], target[4096];

	for (size_t i = 0; i < ARRAY_LEN(lengths); i++) {
		snprintf(path, sizeof path, "links/%zu", lengths[i]);
		memset(target, 'a' + (int)i, lengths[i]);
		target[lengths[i]] = '\0';
		add_link(m, TAR_SYMLINK, path, target);
	}
	for (int i = 0; i < 40; i++) {
		snprintf(path, sizeof path, "hard/%d", i);
		add_link(m, TAR_HARDLINK, path, i % 2 ? "sizes/5000" : "dev/null");
	}
	add_link(m, TAR_HARDLINK, "hard/link", "links/4095");
}

static void add_sizes(struct maker *m)
{
	static const uint64_t sizes[] = { 0, 1, 4095, 4096, 4097, 5000, 8191, 8192, 131072,
		1048577 };
	char path[64];

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		snprintf(path, sizeof path, "sizes/%llu", (unsigned long long)sizes[i]);
		add_file(m, path, sizes[i], (uint32_t)i % m->n_spaces);
	}
	for (int i = 0; i < 400; i++) { // directories of every length of tail
		snprintf(path, sizeof path, "dirs/%d/%.*s", i % 20, i / 20 + 1,
			"abcdefghijklmnopqrstuvwxyz");
		add_file(m, path, 0, 0);
	}
	snprintf(path, sizeof path, "deep");
	for (size_t n = 4; n < 60; n += 2)
		snprintf(path + n, sizeof path - n, "/d");
	add_file(m, path, 10, 0);
}

// version 2, user::rwx user:1000:rw- group::r-x mask::rwx other::r--
static const uint8_t acl[] = { 2, 0, 0, 0, 1, 0, 7, 0, 255, 255, 255, 255, 2, 0, 6, 0, 0xe8, 3, 0,
	0, 4, 0, 5, 0, 255, 255, 255, 255, 16, 0, 7, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255,
	255, 255 };
static const uint8_t caps[] = { 1, 0, 0, 2, 0, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0 };
static const uint8_t bytes[65000] = { 'v', 0, 'w' };

static struct tar_xattr xattr(const char *name, const uint8_t *value, size_t n)
{
	return (struct tar_xattr){ .name = name,
		.name_len = (uint32_t)strlen(name),
		.value = value,
		.value_len = (uint32_t)n };
}

static void add_with(
	struct maker *m, enum tar_type type, const char *path, const struct tar_xattr *x, size_t n)
{
	struct tar_entry e = entry_at(type, path);

	e.xattrs = x;
	e.n_xattrs = n;
	e.link = "target";
	e.link_len = 6;
	e.mode = 0755;
	add_it(m, &e, 0);
}

static void add_xattrs(struct maker *m)
{
	const struct tar_xattr mix[] = {
		xattr("security.capability", caps, sizeof caps),
		xattr("system.posix_acl_access", acl, sizeof acl),
		xattr("trusted.overlay.opaque", (const uint8_t *)"y", 1),
		xattr("user.empty", bytes, 0),
		xattr("user.mime", bytes, 30),
	};
	const struct tar_xattr dir[] = { xattr("system.posix_acl_access", acl, sizeof acl),
		xattr("system.posix_acl_default", acl, sizeof acl) };
	const struct tar_xattr large[] = { xattr("user.large", bytes, 60000) };
	const struct tar_xattr foreign[] = { xattr("btrfs.compression", bytes, 4),
		xattr("user.", bytes, 4) };
	static struct tar_xattr many[700];
	static char names[700][20];
	char path[32];

	for (int i = 0; i < 700; i++) {
		snprintf(names[i], sizeof names[i], "user.%03d", i);
		many[i] = xattr(names[i], bytes, (size_t)i % 40);
	}
	for (int i = 0; i < 100; i++) {
		snprintf(path, sizeof path, "x/mix%d", i);
		add_with(m, i % 7 ? TAR_FILE : TAR_FIFO, path, mix + i % 3, 5 - (size_t)(i % 3));
	}
	add_with(m, TAR_DIR, "x/dir", dir, 2);
	add_with(m, TAR_FILE, "x/dir/file", many, 3);
	add_with(m, TAR_FILE, "x/large", large, 1);
	add_with(m, TAR_SYMLINK, "x/link", mix, 1);
	add_with(m, TAR_SYMLINK, "x/link-large", large, 1);
	add_with(m, TAR_DIR, "x/dir-large", large, 1);
	add_with(m, TAR_FILE, "x/many", many, 700);
	add_with(m, TAR_FILE, "x/many2", many, 700);
	add_with(m, TAR_FILE, "x/foreign", foreign, 2);
}

static struct index *torture_tree(struct maker *m)
{
	*m = maker_new(3);
	add_types(m);
	add_sizes(m);
	add_names(m);
	add_links(m);
	add_xattrs(m);
	return maker_end(m);
}

static struct index *big_directory(struct maker *m)
{
	char path[64];

	*m = maker_new(1);
	for (int i = 0; i < 100000; i++) {
		snprintf(path, sizeof path, "big/name-%d", i * 7919 % 100000);
		add_file(m, path, i % 1000 == 0, 0);
	}
	return maker_end(m);
}

static struct index *many_spaces(struct maker *m)
{
	char path[64];

	*m = maker_new(300);
	for (uint32_t i = 0; i < 300; i++) {
		snprintf(path, sizeof path, "d%u/f%u", i % 10, i);
		if (i % 50 != 49) // some spaces are empty
			add_file(m, path, 1 + i * 37, i);
	}
	return maker_end(m);
}

static struct index *sparse_file(struct maker *m)
{
	*m = maker_new(2);
	m->holes[0] = true;
	add_file(m, "sparse", 5ull << 30, 0);
	add_file(m, "after", 100, 0);
	add_file(m, "other", 10000, 1);
	return maker_end(m);
}

// As large as an image of 30,000 files is: 3,000 directories, labels.
static struct index *usual_tree(struct maker *m)
{
	const struct tar_xattr label =
		xattr("security.selinux", (const uint8_t *)"system_u:object_r:usr_t:s0", 27);
	char path[128];

	*m = maker_new(4);
	for (uint32_t i = 0; i < 30000; i++) {
		snprintf(path, sizeof path, "usr/lib/package-%u/module%u/file-of-it-%u.py", i / 100,
			i / 10 % 10, i);
		struct tar_entry e = entry_at(TAR_FILE, path);
		e.size = i % 50000;
		e.xattrs = &label;
		e.n_xattrs = 1;
		add_it(m, &e, i % 4);
	}
	return maker_end(m);
}

// ---- data ----
static uint64_t word(const struct maker *m, uint32_t space, uint32_t block)
{
	return m->holes[space] ? 0 : (space * 1000003ull + block + 1) * 0x9e3779b97f4a7c15u;
}

static void write_space(const struct maker *m, uint32_t space, int fd, uint64_t at)
{
	uint64_t b[512];

	for (uint32_t k = 0; !m->holes[space] && k < m->blocks[space]; k++) {
		for (size_t i = 0; i < ARRAY_LEN(b); i++)
			b[i] = word(m, space, k);
		if (pwrite_full(fd, b, sizeof b, at + k * 4096ull))
			abort();
	}
	if (ftruncate(fd,
		    (off_t)MAX(at + m->blocks[space] * 4096ull, (uint64_t)lseek(fd, 0, SEEK_END))))
		abort();
}

// ---- files of a scratch directory ----
static char scratch[] = "/var/tmp/test_erofs.XXXXXX";

static int scratch_open(const char *name, char path[static 64])
{
	snprintf(path, 64, "%s/%s", scratch, name);
	int fd = open(path, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
	if (fd < 0)
		abort();
	return fd;
}

struct files {
	char meta_path[64];
	int meta;
	size_t n;
	int device[MAX_SPACES];
	char path[MAX_SPACES][64];
};

static void files_make(struct files *f, const struct maker *m, const struct erofs_image *im,
	enum erofs_placement p)
{
	*f = (struct files){ .n = 0 };
	f->meta = scratch_open("image", f->meta_path);
	if (erofs_write(im, p, f->meta))
		abort();
	for (uint32_t i = 0; i < m->n_spaces; i++) {
		char name[16];

		if (p == EROFS_FLAT) {
			write_space(m, i, f->meta, (uint64_t)erofs_space_start(im, i) << 12);
		} else if (m->blocks[i]) {
			snprintf(name, sizeof name, "dev%u", i);
			f->device[f->n] = scratch_open(name, f->path[f->n]);
			write_space(m, i, f->device[f->n++], 0);
		}
	}
}

static void files_drop(struct files *f)
{
	close(f->meta);
	unlink(f->meta_path);
	for (size_t i = 0; i < f->n; i++) {
		close(f->device[i]);
		unlink(f->path[i]);
	}
}

// ---- fsck.erofs ----
static int run_tool(char *const argv[])
{
	pid_t pid = fork();
	int status;

	if (!pid) {
		int out = open("/dev/null", O_WRONLY);

		dup2(out, 1);
		execvp(argv[0], argv);
		_exit(127);
	}
	waitpid(pid, &status, 0);
	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void fsck_with(const char *tool, const char *what, const struct files *f, bool data)
{
	static char args[MAX_SPACES][90];
	char *argv[MAX_SPACES + 4] = { (char *)(uintptr_t)tool };
	int n = 1;

	if (data)
		argv[n++] = (char[]){ "--extract" };
	for (size_t i = 0; i < f->n; i++) {
		snprintf(args[i], sizeof args[i], "--device=%s", f->path[i]);
		argv[n++] = args[i];
	}
	argv[n] = (char *)(uintptr_t)f->meta_path;
	int r = run_tool(argv);
	if (r == 127)
		skip("%s: fsck: NO %s HERE", what, tool);
	else
		ok(r == 0, "%s: %s%s%s", what, tool, data ? " --extract" : "",
			f->n ? " with devices" : "");
}

// Data on devices: erofs-utils 1.5 looks for that of plain files on the first device, whatever
// their address; until 1.9.4 at least they have room for 256 devices, and no check.
static void fsck(const char *what, const struct files *f, bool data)
{
	const char *home = getenv("BOX_HOME") ? getenv("BOX_HOME") : getenv("HOME");
	char pattern[300];
	glob_t g = { 0 };

	if (f->n > 256) {
		skip("%s: fsck: MORE DEVICES than erofs-utils can take", what);
		return;
	}
	fsck_with("fsck.erofs", what, f, data && !f->n);
	snprintf(pattern, sizeof pattern, "%s/.cache/fcpull/erofs-utils-*/fsck.erofs",
		home ? home : "/root");
	if (glob(pattern, 0, NULL, &g))
		skip("%s: fsck: NO CURRENT erofs-utils (%s); test/erofs.test builds them", what,
			pattern);
	for (size_t i = 0; i < g.gl_pathc; i++)
		fsck_with(g.gl_pathv[i], what, f, data);
	globfree(&g);
}

// ---- the kernel's view ----
struct view {
	const struct maker *m;
	const struct index *ix;
	uint32_t nodes; // seen
	uint64_t data;	// bytes compared
	unsigned bad;
	ino_t *ino; // by node
};

static void differ(struct view *v, const char *name, const char *what)
{
	if (v->bad++ < 5)
		printf("# %s: %s\n", name, what);
}

// Two places of a large file are enough.
static void compare_data(struct view *v, int dir, const char *name, const struct attr *a)
{
	uint64_t size = a->size, step = size > 64 << 20 ? size - 65536 : 65536;
	static uint64_t b[8192];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);

	for (uint64_t off = 0; off < size; off += step) {
		ssize_t n = pread(fd, b, sizeof b, (off_t)off);

		if (n != (ssize_t)MIN(size - off, (uint64_t)sizeof b))
			return differ(v, name, "read");
		for (ssize_t i = 0; i < n; i++) {
			uint64_t w = word(
				v->m, a->space, a->block + (uint32_t)((off + (uint64_t)i) >> 12));

			if (((uint8_t *)b)[i] != (uint8_t)(w >> i % 8 * 8)) {
				differ(v, name, "data");
				break;
			}
		}
		v->data += (uint64_t)n;
	}
	close(fd);
}

// "user." is only for files and directories: xattr_permission() in the kernel hides it elsewhere.
static void compare_xattrs(struct view *v, int dir, const char *name, uint32_t node, uint32_t mode)
{
	static char list[65536], value[65536];
	char path[400], xname[256];
	struct xattr_view x;
	ssize_t want = 0;

	snprintf(path, sizeof path, "/proc/self/fd/%d/%s", dir, name);
	for (uint32_t i = 0; i < index_xattr_count(v->ix, node); i++) {
		index_xattr(v->ix, node, i, &x);
		if (!er_can_name(&x))
			continue;
		want += x.name_len + 1;
		if (!S_ISREG(mode) && !S_ISDIR(mode) && strncmp(x.name, "user.", 5) == 0)
			continue;
		snprintf(xname, sizeof xname, "%.*s", (int)x.name_len, x.name);
		ssize_t n = lgetxattr(path, xname, value, sizeof value);
		if (n != (ssize_t)x.value_len || (n && memcmp(value, x.value, (size_t)n) != 0))
			differ(v, name, xname);
	}
	if (llistxattr(path, list, sizeof list) != want)
		differ(v, name, "list of xattrs");
}

static void compare_stat(struct view *v, const char *name, uint32_t node, const struct stat *st,
	const struct attr *a)
{
	if (st->st_mode != a->mode || st->st_nlink != a->nlink || st->st_uid != a->uid ||
		st->st_gid != a->gid || st->st_mtim.tv_sec != a->mtime ||
		(uint32_t)st->st_mtim.tv_nsec != a->mtime_ns)
		differ(v, name, "attributes");
	if (!S_ISDIR(a->mode) && (uint64_t)st->st_size != a->size)
		differ(v, name, "size");
	if ((S_ISCHR(a->mode) || S_ISBLK(a->mode)) &&
		st->st_rdev != makedev(a->rdev_major, a->rdev_minor))
		differ(v, name, "device number");
	if (v->ino[node] && v->ino[node] != st->st_ino)
		differ(v, name, "is not the file that it is a link to");
	v->ino[node] = st->st_ino;
}

static void compare_node(struct view *v, int dir, const char *name, uint32_t node)
{
	char target[4097];
	struct stat st;
	struct attr a;
	uint32_t len;

	index_attr(v->ix, node, &a);
	v->nodes++;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW))
		return differ(v, name, "is missing");
	compare_stat(v, name, node, &st, &a);
	compare_xattrs(v, dir, name, node, a.mode);
	if (S_ISREG(a.mode) && a.size)
		compare_data(v, dir, name, &a);
	if (S_ISLNK(a.mode)) {
		const char *want = index_symlink(v->ix, node, &len);
		ssize_t n = readlinkat(dir, name, target, sizeof target);

		if (n != (ssize_t)len || memcmp(target, want, len) != 0)
			differ(v, name, "target");
	}
}

static void compare_dir(struct view *v, int dir, uint32_t node)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	uint32_t n = index_dir_count(v->ix, node), i = 0;
	struct dirent_view e;
	struct dirent *k;
	char name[256];

	while (d && (k = readdir(d))) {
		if (strcmp(k->d_name, ".") == 0 || strcmp(k->d_name, "..") == 0)
			continue;
		if (i < n)
			index_dirent(v->ix, node, i, &e);
		if (i++ >= n || strlen(k->d_name) != e.name_len ||
			memcmp(k->d_name, e.name, e.name_len) != 0 || k->d_type != e.type >> 12)
			differ(v, k->d_name, "entry of a directory");
	}
	closedir(d);
	if (i != n)
		differ(v, "a directory", "number of entries");
	for (i = 0; i < n; i++) {
		index_dirent(v->ix, node, i, &e);
		snprintf(name, sizeof name, "%.*s", (int)e.name_len, e.name);
		compare_node(v, dir, name, e.node);
		if (e.type != S_IFDIR)
			continue;
		int sub = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		compare_dir(v, sub, e.node);
		close(sub);
	}
	if (faccessat(dir, "\1no such name", F_OK, 0) == 0 || faccessat(dir, "zzz", F_OK, 0) == 0)
		differ(v, "a directory", "a name that should not be there");
}

static void by_kernel(const char *what, const struct maker *m, const struct index *ix,
	const struct files *f, enum erofs_way way, bool directio)
{
	struct erofs_mount_opts o = { .devices = f->device,
		.n_devices = f->n,
		.way = way,
		.directio = directio,
		.suid = true,
		.dev = true };
	struct view v = { .m = m, .ix = ix, .ino = calloc(index_nodes(ix), sizeof *v.ino) };
	struct erofs_mount mounted;
	char dir[64];

	snprintf(dir, sizeof dir, "%s/mnt", scratch);
	if (!ok(erofs_mount_at(f->meta, dir, &o, &mounted) == 0, "%s: mount", what)) {
		free(v.ino);
		return;
	}
	int root = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	compare_node(&v, root, ".", 0);
	compare_dir(&v, root, 0);
	close(root);
	ok(v.bad == 0, "%s: %u names, %llu bytes of data are the index's (%s)", what, v.nodes,
		(unsigned long long)v.data, mounted.why);
	ok(umount(dir) == 0, "%s: unmount", what);
	free(v.ino);
}

// ---- the cases ----
static bool can_mount;

static void one_placement(const char *name, const struct maker *m, const struct index *ix,
	const struct erofs_image *im, enum erofs_placement p, bool data)
{
	char what[80], why[300];
	struct files f;

	snprintf(what, sizeof what, "%s, %s", name, p == EROFS_FLAT ? "flat" : "devices");
	if (!ok(er_check(ix, im, p, why), "%s: read back: equal", what))
		printf("# %s\n", why);
	files_make(&f, m, im, p);
	fsck(what, &f, data);
	if (!can_mount) {
		skip("%s: mounts: NOT ROOT, or no EROFS", what);
	} else {
		by_kernel(what, m, ix, &f, EROFS_WAY_FILE, false);
		by_kernel(what, m, ix, &f, EROFS_WAY_FILE, true);
		if (f.n <= 4)
			by_kernel(what, m, ix, &f, EROFS_WAY_LOOP, false);
	}
	files_drop(&f);
}

static void one_tree(const char *name, struct index *(*make)(struct maker *), bool data)
{
	struct maker m;
	struct index *ix = make(&m);
	struct erofs_image *im, *again;
	char path[64];

	if (!ok(erofs_build(ix, -1, &im) == 0, "%s: build: %u nodes", name, index_nodes(ix)))
		return;
	int fd = scratch_open("meta", path);
	unlink(path);
	ok(erofs_build(ix, fd, &again) == 0 && erofs_meta_size(im) == erofs_meta_size(again),
		"%s: build into a file", name);
	uint8_t *a = malloc(erofs_meta_size(im)), *b = malloc(erofs_meta_size(im));
	ok(!erofs_read(im, EROFS_FLAT, a, erofs_meta_size(im), 0) &&
			!erofs_read(again, EROFS_FLAT, b, erofs_meta_size(im), 0) &&
			memcmp(a, b, erofs_meta_size(im)) == 0,
		"%s: the same bytes", name);
	bool same = !erofs_read(again, EROFS_DEVICES, b, erofs_meta_size(im), 0);
	memset(a + 1024, 0, 128);
	memset(b + 1024, 0, 128);
	ok(same && memcmp(a, b, erofs_meta_size(im)) == 0,
		"%s: both placements, but for the super block", name);
	free(a);
	free(b);
	erofs_free(again);
	close(fd);
	one_placement(name, &m, ix, im, EROFS_FLAT, data);
	one_placement(name, &m, ix, im, EROFS_DEVICES, data);
	erofs_free(im);
	index_free(ix);
}

static void reads_anywhere(void)
{
	struct maker m;
	struct index *ix = torture_tree(&m);
	struct erofs_image *im;
	bool good = true;

	if (erofs_build(ix, -1, &im))
		abort();
	size_t n = erofs_meta_size(im);
	uint8_t *whole = malloc(n), part[700];
	for (int p = EROFS_FLAT; p <= EROFS_DEVICES; p++) {
		good &= !erofs_read(im, (enum erofs_placement)p, whole, n, 0);
		for (size_t off = 0; off < 6000; off += 97)
			for (size_t len = 1; len < sizeof part; len += 41)
				good &= !erofs_read(im, (enum erofs_placement)p, part, len, off) &&
					memcmp(part, whole + off, len) == 0;
	}
	ok(good, "reads of all places and lengths around the super block");
	ok(erofs_xattrs_left_out(im) == 2, "xattrs that EROFS cannot name are counted");
	free(whole);
	erofs_free(im);
	index_free(ix);
}

// format.h's limit is far below what 32-bit block numbers can say.
static void largest(void)
{
	struct maker m = maker_new(2);
	struct erofs_image *im;

	m.blocks[0] = (uint32_t)FMT_BLOCKS_MAX - 10;
	m.blocks[1] = 10;
	struct index *ix = maker_end(&m);
	ok(erofs_build(ix, -1, &im) == 0 &&
			erofs_flat_size(im) ==
				erofs_meta_size(im) + (FMT_BLOCKS_MAX << BLOCK_SHIFT),
		"1 TiB is built");
	erofs_free(im);
	index_free(ix);
}

static void gates(void)
{
	static const struct {
		const char *release;
		bool erofs, file, directio;
	} rows[] = {
		{ "5.10.0-28-amd64", false, false, false },
		{ "5.15.167", false, false, false },
		{ "5.16.0", true, false, false },
		{ "6.1.0-50-cloud-amd64", true, false, false },
		{ "6.11.11", true, false, false },
		{ "6.12.0-55.el10.x86_64", true, false, false },
		{ "6.12.9", true, false, false },
		{ "6.12.10", true, true, false },
		{ "6.12.71", true, true, false },
		{ "6.12.72-generic", true, true, true },
		{ "6.13.0", true, true, false },
		{ "6.17.13", true, true, false },
		{ "6.18.10", true, true, false },
		{ "6.18.11", true, true, true },
		{ "6.18.44-fc-v657", true, true, true },
		{ "6.19.0", true, true, false },
		{ "6.19.1", true, true, true },
		{ "7.0.0-rc3", true, true, true },
		{ "7.2", true, true, true },
		{ "10.0.1", true, true, true },
		{ "", false, false, false },
		{ "linux", false, false, false },
	};

	for (size_t i = 0; i < ARRAY_LEN(rows); i++) {
		struct erofs_gates g = erofs_gates_of(rows[i].release);

		ok(g.erofs == rows[i].erofs && g.file == rows[i].file &&
				g.directio == rows[i].directio,
			"gates of '%s'", rows[i].release);
	}
}

static void speed(void)
{
	struct maker m;
	struct index *ix = usual_tree(&m);
	struct erofs_image *im;
	uint64_t t = now_ns();

	if (erofs_build(ix, -1, &im))
		abort();
	ok(true, "%u nodes: %.1f ms here, with sanitizers; %.1f MB", index_nodes(ix),
		(double)(now_ns() - t) / 1e6, (double)erofs_meta_size(im) / 1e6);
	erofs_free(im);
	index_free(ix);
}

int main(void)
{
	char dir[64], why[160];

	if (!mkdtemp(scratch))
		return 1;
	snprintf(dir, sizeof dir, "%s/mnt", scratch);
	mkdir(dir, 0700);
	can_mount = getuid() == 0 && unshare(CLONE_NEWNS) == 0 &&
		mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0;
	if (can_mount && erofs_supported(why)) {
		printf("# %s\n", why);
		can_mount = false;
	}
	gates();
	reads_anywhere();
	speed();
	one_tree("empty", empty_tree, true);
	one_tree("torture", torture_tree, true);
	one_tree("100,000 names", big_directory, true);
	one_tree("300 spaces", many_spaces, true);
	one_tree("5 GiB of holes", sparse_file, false);
	largest();
	rmdir(dir);
	rmdir(scratch);
	return tap_end();
}
