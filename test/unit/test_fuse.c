// test_fuse.c - lib/fuse.c and lib/treefs.c: requests by hand, then a real mount of a made-up
// tree
//
// index_* and lazy_* are mocks: a tree that is made at the start, and an "engine" that holds
// reads of data space PENDING back until the test releases them. The file system is served by
// threads of this process; whoever may be killed is a child.
// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

static ssize_t counting_read(int fd, void *p, size_t n);
#define read(fd, p, n) counting_read(fd, p, n)
#include "../../lib/fuse.c"
#include "../../lib/fusereq.c"
#include "../../lib/fuselater.c"
#undef read
#include "../../lib/treefs.c"

#include "tap.h"

// ---- how many requests of each opcode the kernel has sent ----
static int served_fd = -1;
static _Atomic unsigned counts[64];

static ssize_t counting_read(int fd, void *p, size_t n)
{
	ssize_t r = (read)(fd, p, n);

	if (fd == served_fd && r >= (ssize_t)sizeof(struct fuse_in_header))
		counts[MIN(((struct fuse_in_header *)p)->opcode, 63u)]++;
	return r;
}

static unsigned requests(void)
{
	unsigned n = 0;

	for (size_t i = 0; i < ARRAY_LEN(counts); i++)
		if (i != FUSE_FORGET && i != FUSE_BATCH_FORGET && i != FUSE_INTERRUPT)
			n += counts[i];
	return n;
}

// ---- the tree ----
enum { PRESENT, PENDING, FAILING, REFUSED, HASTY, SPACES };
#define BIG 100000u
#define PENDING_FILES 400u
#define SPACE_BLOCKS 1000000u

struct node {
	char name[256];
	uint32_t name_len, parent, first, count;
	struct attr attr;
	const char *target;
	struct xattr_view *xattrs;
	uint32_t xattr_count;
};
static struct node *nodes;
static uint32_t node_count, node_room;
static bool hide_xattrs;

static uint32_t add_named(uint32_t parent, const char *name, size_t len, mode_t mode)
{
	if (node_count == node_room) {
		node_room = node_room ? node_room * 2 : 1024;
		nodes = realloc(nodes, node_room * sizeof *nodes);
	}
	uint32_t i = node_count++;
	struct node *n = &nodes[i];
	memset(n, 0, sizeof *n);
	memcpy(n->name, name, len);
	n->name_len = (uint32_t)len;
	n->parent = parent;
	n->attr = (struct attr){ .mode = mode,
		.nlink = S_ISDIR(mode) ? 2 : 1,
		.uid = 1000 + i % 7,
		.gid = 2000,
		.mtime = 1600000000 + (int64_t)i,
		.mtime_ns = i };
	if (S_ISDIR(mode)) {
		n->attr.size = 4096;
		nodes[parent].attr.nlink += i != 0;
	}
	if (i != 0) {
		if (nodes[parent].count++ == 0)
			nodes[parent].first = i;
	}
	return i;
}

// Children of one directory are added one after the other, sorted.
static uint32_t add(uint32_t parent, const char *name, mode_t mode)
{
	return add_named(parent, name, strlen(name), mode);
}

static void add_file(
	uint32_t parent, const char *name, uint64_t size, uint32_t space, uint32_t block)
{
	struct attr *a = &nodes[add(parent, name, S_IFREG | 0644)].attr;

	a->size = size;
	a->space = space;
	a->block = block;
}

static const uint64_t sizes[] = { 0, 1, 4095, 4096, 4097, 262144, 262145, 5000011, 1ull << 31 };
static struct xattr_view some_xattrs[] = {
	{ "security.capability", 19, (const uint8_t *)"\1\0\0\2\0\4\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
		20 },
	{ "user.big", 8, NULL, 60000 },
	{ "user.empty", 10, NULL, 0 },
	{ "user.t", 6, (const uint8_t *)"value", 5 },
};

static void make_names(uint32_t dir)
{
	char name[256];

	for (unsigned c = 1; c < 256; c++) {
		if (c == '/')
			continue;
		name[0] = (char)c;
		name[1] = 'x';
		add_named(dir, name, 2, S_IFREG | 0444);
	}
	memset(name, 255, 255);
	add_named(dir, name, 255, S_IFREG | 0444);
}

static void make_devices(uint32_t dir)
{
	nodes[add(dir, "blk", S_IFBLK | 0600)].attr.rdev_major = 8;
	uint32_t chr = add(dir, "chr", S_IFCHR | 0666);
	nodes[chr].attr.rdev_major = 4000;
	nodes[chr].attr.rdev_minor = 0x54321;
	add(dir, "fifo", S_IFIFO | 0640);
	add(dir, "sock", S_IFSOCK | 0777);
}

static void make_tree(void)
{
	static char long_target[4096];
	char name[32];

	add_named(0, "", 0, S_IFDIR | 0755);
	uint32_t big = add(0, "big", S_IFDIR | 0755), dev = add(0, "dev", S_IFDIR | 0755);
	add(0, "empty", S_IFDIR | 01777);
	uint32_t files = add(0, "files", S_IFDIR | 0755), links = add(0, "links", S_IFDIR | 0755);
	uint32_t names = add(0, "names", S_IFDIR | 0755),
		 pending = add(0, "pending", S_IFDIR | 0755);
	add_file(0, "private", 4, PRESENT, 0);
	nodes[node_count - 1].attr.mode = S_IFREG | 0600;
	add_file(0, "xattrs", 1, PRESENT, 0);
	nodes[node_count - 1].attr.has_xattrs = true;
	nodes[node_count - 1].xattrs = some_xattrs;
	nodes[node_count - 1].xattr_count = ARRAY_LEN(some_xattrs);
	some_xattrs[1].value = calloc(1, some_xattrs[1].value_len);

	for (unsigned i = 0; i < BIG; i++) {
		snprintf(name, sizeof name, "entry-%06u", i);
		add(big, name, i % 10 ? S_IFREG | 0644 : S_IFLNK | 0777);
		nodes[node_count - 1].target = "t";
		nodes[node_count - 1].attr.size = i % 10 ? 0 : 1;
	}
	make_devices(dev);
	for (unsigned i = 0; i < ARRAY_LEN(sizes); i++) {
		snprintf(name, sizeof name, "f%u", i);
		add_file(files, name, sizes[i], PRESENT, 7 * i + 3);
	}
	add_file(files, "failing", 10000, FAILING, 1);
	add_file(files, "hasty", 300000, HASTY, 1);
	add_file(files, "refused", 10000, REFUSED, 1);
	add(links, "l1", S_IFLNK | 0777);
	nodes[node_count - 1].target = "../files/f3";
	add(links, "l2", S_IFLNK | 0777);
	memset(long_target, 'y', 4095);
	nodes[node_count - 1].target = long_target;
	for (uint32_t i = nodes[links].first; i < node_count; i++)
		nodes[i].attr.size = strlen(nodes[i].target);
	make_names(names);
	for (unsigned i = 0; i < PENDING_FILES; i++) {
		snprintf(name, sizeof name, "p%03u", i);
		add_file(pending, name, 100000, PENDING, 100 * i);
	}
}

uint32_t index_nodes(const struct index *ix)
{
	(void)ix;
	return node_count;
}

void index_attr(const struct index *ix, uint32_t node, struct attr *ret)
{
	(void)ix;
	*ret = nodes[node].attr;
	if (hide_xattrs)
		ret->has_xattrs = false;
}

uint32_t index_dir_count(const struct index *ix, uint32_t dir)
{
	(void)ix;
	return nodes[dir].count;
}

void index_dirent(const struct index *ix, uint32_t dir, uint32_t i, struct dirent_view *ret)
{
	uint32_t node = nodes[dir].first + i;

	(void)ix;
	*ret = (struct dirent_view){ nodes[node].name, nodes[node].name_len, node,
		nodes[node].attr.mode & S_IFMT };
}

uint32_t index_parent(const struct index *ix, uint32_t dir)
{
	(void)ix;
	return nodes[dir].parent;
}

uint32_t index_lookup(const struct index *ix, uint32_t dir, const char *name, size_t len)
{
	uint32_t lo = nodes[dir].first, hi = lo + nodes[dir].count;

	(void)ix;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = memcmp(name, nodes[mid].name, MIN(len, nodes[mid].name_len));

		c = c ? c : (int)len - (int)nodes[mid].name_len;
		if (c == 0)
			return mid;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NODE_NONE;
}

const char *index_symlink(const struct index *ix, uint32_t node, uint32_t *ret_len)
{
	(void)ix;
	*ret_len = (uint32_t)nodes[node].attr.size;
	return nodes[node].target;
}

uint32_t index_xattr_count(const struct index *ix, uint32_t node)
{
	(void)ix;
	return nodes[node].xattr_count;
}

void index_xattr(const struct index *ix, uint32_t node, uint32_t i, struct xattr_view *ret)
{
	(void)ix;
	*ret = nodes[node].xattrs[i];
}

uint32_t index_spaces(const struct index *ix)
{
	(void)ix;
	return SPACES;
}

void index_space(const struct index *ix, uint32_t space, struct space_view *ret)
{
	(void)ix;
	(void)space;
	*ret = (struct space_view){ .blocks = SPACE_BLOCKS };
}

// ---- the engine ----
static pthread_mutex_t engine_lock = PTHREAD_MUTEX_INITIALIZER;
static struct lazy_req *held[2048];
static size_t held_count;

static uint8_t byte_at(uint32_t space, uint64_t off)
{
	return (uint8_t)(off ^ off >> 8 ^ (off >> 16) * 7 ^ space * 31);
}

static void fill(struct lazy_req *req)
{
	for (uint32_t i = 0; i < req->len; i++)
		((uint8_t *)req->buf)[i] = byte_at(req->space, req->off + i);
}

const struct index *lazy_index(const struct lazy *lz)
{
	return (const void *)lz;
}

int lazy_read(struct lazy *lz, struct lazy_req *req)
{
	(void)lz;
	if (req->len == 0 || req->off + req->len > (uint64_t)SPACE_BLOCKS * BLOCK_BYTES)
		abort();
	if (req->space == REFUSED)
		return -ETIMEDOUT;
	if (req->space == PENDING) {
		pthread_mutex_lock(&engine_lock);
		held[held_count++] = req;
		pthread_mutex_unlock(&engine_lock);
		return 0;
	}
	fill(req);
	if (req->space == PRESENT)
		return 1;
	req->done(req, req->space == FAILING ? -ECONNREFUSED : 0);
	return 0;
}

static size_t held_now(void)
{
	pthread_mutex_lock(&engine_lock);
	size_t n = held_count;
	pthread_mutex_unlock(&engine_lock);
	return n;
}

static bool wait_held(size_t n)
{
	for (int i = 0; i < 10000 && held_now() < n; i++)
		usleep(1000);
	return held_now() >= n;
}

// Completes what is held, the last come first, while more than `keep` are.
static void release(size_t keep)
{
	for (;;) {
		pthread_mutex_lock(&engine_lock);
		struct lazy_req *req = held_count > keep ? held[--held_count] : NULL;
		pthread_mutex_unlock(&engine_lock);
		if (!req)
			return;
		fill(req);
		req->done(req, 0);
	}
}

// ---- the mount ----
static char root[64];
static pthread_t server;
static unsigned server_threads;
static _Atomic bool server_ended;

static void *server_main(void *arg)
{
	(void)arg;
	int r = treefs_serve((void *)nodes, served_fd, server_threads);
	atomic_store(&server_ended, true);
	return (void *)(intptr_t)r;
}

static bool start(unsigned threads)
{
	struct fuse_mount_opts o = { .source = "registry.example/a,b:c", .subtype = "fcpull" };

	snprintf(root, sizeof root, "/tmp/test_fuse.XXXXXX");
	if (!mkdtemp(root) || fuse_mount(root, &o, &served_fd))
		return false;
	server_threads = threads;
	server_ended = false;
	return pthread_create(&server, NULL, server_main, NULL) == 0;
}

static int join(void)
{
	void *r;

	pthread_join(server, &r);
	close(served_fd);
	rmdir(root);
	return (int)(intptr_t)r;
}

static void stop(void)
{
	int r = -1;

	for (int i = 0; i < 100 && r; i++) { // the last close of a file may be late
		r = umount2(root, 0);
		if (r)
			usleep(10000);
	}
	ok(r == 0, "umount");
	if (r)
		umount2(root, MNT_DETACH | MNT_FORCE);
	ok(join() == 0, "an unmount ends the server without an error");
}

static const char *at(const char *path)
{
	static _Thread_local char full[8][5000];
	static _Thread_local unsigned n;
	char *p = full[n++ % 8];

	snprintf(p, sizeof full[0], "%s/%s", root, path);
	return p;
}

// ---- requests by hand ----
union message {
	struct fuse_in_header h;
	uint8_t b[FUSE_REQUEST_MAX];
	uint64_t align;
};

static void test_check(void)
{
	static const struct {
		const char *what, *body;
		uint32_t opcode;
		uint64_t node;
		size_t body_len;
		int result;
		size_t name_len;
	} cases[] = {
		{ "a name", "abc", FUSE_LOOKUP, 1, 4, 0, 3 },
		{ "a name of control bytes", "\1\xff\n", FUSE_LOOKUP, 1, 4, 0, 3 },
		{ "an empty name", "", FUSE_LOOKUP, 1, 1, -EINVAL, 0 },
		{ "no name", "", FUSE_LOOKUP, 1, 0, -EINVAL, 0 },
		{ "a name without its NUL", "abc", FUSE_LOOKUP, 1, 3, -EINVAL, 0 },
		{ "bytes after the name", "abc\0d", FUSE_LOOKUP, 1, 6, -EINVAL, 0 },
		{ "node 0", "abc", FUSE_LOOKUP, 0, 4, -ESTALE, 0 },
		{ "the last node", "abc", FUSE_LOOKUP, 10, 4, 0, 3 },
		{ "the node after the last", "abc", FUSE_LOOKUP, 11, 4, -ESTALE, 0 },
		{ "node 2^32 + 1", "abc", FUSE_LOOKUP, (1ull << 32) + 1, 4, -ESTALE, 0 },
		{ "GETATTR without its struct, as before 7.9", "", FUSE_GETATTR, 1, 0, 0, 0 },
		{ "READ of 39 bytes", "", FUSE_READ, 1, 39, -EINVAL, 0 },
		{ "READ", "", FUSE_READ, 1, 40, 0, 0 },
		{ "READ that is longer than known", "", FUSE_READ, 1, 48, 0, 0 },
		{ "GETXATTR", "\1\0\0\0\0\0\0\0x.y", FUSE_GETXATTR, 1, 12, 0, 3 },
		{ "GETXATTR without a name", "\1\0\0\0\0\0\0\0", FUSE_GETXATTR, 1, 8, -EINVAL, 0 },
		{ "GETXATTR that is cut short", "\1\0\0\0", FUSE_GETXATTR, 1, 4, -EINVAL, 0 },
		{ "INTERRUPT of no node", "12345678", FUSE_INTERRUPT, 0, 8, 0, 0 },
		{ "INTERRUPT that is cut short", "1234567", FUSE_INTERRUPT, 0, 7, -EINVAL, 0 },
		{ "INIT of 7.12", "", FUSE_INIT, 0, 16, 0, 0 },
		{ "INIT that is cut short", "", FUSE_INIT, 0, 15, -EINVAL, 0 },
		{ "opcode 7, which is none", "", 7, 1, 0, -ENOSYS, 0 },
		{ "opcode 53", "", 53, 1, 0, -ENOSYS, 0 },
		{ "opcode 2^32 - 1", "", UINT32_MAX, 1, 0, -ENOSYS, 0 },
	};
	union message m;
	struct fuse_request rq;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		memset(&m, 0, sizeof m);
		size_t len = sizeof m.h + cases[i].body_len;
		m.h.len = (uint32_t)len;
		m.h.opcode = cases[i].opcode;
		m.h.nodeid = cases[i].node;
		m.h.unique = 77;
		if (cases[i].body[0])
			memcpy(m.b + sizeof m.h, cases[i].body, cases[i].body_len);
		int r = fuse_request_check(m.b, len, 10, &rq);
		ok(r == cases[i].result && (r || rq.name_len == cases[i].name_len) &&
				rq.unique == 77,
			"check: %s: %s", cases[i].what, strerror(-cases[i].result));
	}
}

static void test_check_header(void)
{
	union message m = { .h = { .len = sizeof m.h, .opcode = FUSE_GETATTR, .nodeid = 1 } };
	struct fuse_request rq;

	ok(fuse_request_check(&m, 0, 9, &rq) == -EBADMSG, "check: no bytes");
	ok(fuse_request_check(&m, 39, 9, &rq) == -EBADMSG, "check: a header cut short");
	ok(fuse_request_check(&m, 41, 9, &rq) == -EBADMSG,
		"check: more bytes than the header says");
	m.h.len = 41;
	ok(fuse_request_check(&m, 40, 9, &rq) == -EBADMSG,
		"check: fewer bytes than the header says");
	m.h.len = 40;
	memcpy((uint8_t *)&m.h + EXTLEN_AT, &(uint16_t){ 1 }, sizeof(uint16_t));
	ok(fuse_request_check(&m, 40, 9, &rq) == -EINVAL,
		"check: an extension longer than the message");
	m.h.len = 48;
	ok(fuse_request_check(&m, 48, 9, &rq) == 0, "check: an extension is left alone");

	m = (union message){ .h = { .len = 80, .opcode = FUSE_READ, .nodeid = 1 } };
	struct fuse_read_in *in = (void *)(m.b + sizeof m.h);
	in->size = FUSE_IO_MAX;
	ok(fuse_request_check(&m, 80, 9, &rq) == 0, "check: READ of FUSE_IO_MAX");
	in->size++;
	ok(fuse_request_check(&m, 80, 9, &rq) == -EINVAL, "check: READ of FUSE_IO_MAX + 1");

	memset(m.b + sizeof m.h, 'n', sizeof m.b - sizeof m.h);
	m.h = (struct fuse_in_header){
		.len = 40 + FUSE_NAME_LIMIT, .opcode = FUSE_LOOKUP, .nodeid = 1
	};
	m.b[m.h.len - 1] = 0;
	ok(fuse_request_check(&m, m.h.len, 9, &rq) == 0,
		"check: a name of FUSE_NAME_LIMIT - 1 bytes");
	m.b[m.h.len - 1] = 'n';
	m.b[m.h.len++] = 0;
	ok(fuse_request_check(&m, m.h.len, 9, &rq) == -ENAMETOOLONG,
		"check: a name of FUSE_NAME_LIMIT bytes");
}

// INIT as older and newer kernels send it, on a socket that keeps messages apart.
static void test_init_versions(void)
{
	static const struct {
		uint32_t major, minor;
		int error;
		uint32_t flags, got;
	} cases[] = {
		{ 7, 22, -EPROTO, UINT32_MAX, 0 },
		{ 6, 99, -EPROTO, UINT32_MAX, 0 },
		{ 7, 23, 0, FUSE_ASYNC_READ | FUSE_BIG_WRITES, FUSE_ASYNC_READ },
		{ 7, 31, 0, UINT32_MAX, WANTED },
		{ 7, 44, 0, UINT32_MAX, WANTED },
		{ 8, 1, 0, UINT32_MAX, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fuse_fs fs = { .nodes = 1 };
		struct fuse f = { .fs = &fs };
		struct fuse_init_in in = { .major = cases[i].major,
			.minor = cases[i].minor,
			.max_readahead = 1 << 30,
			.flags = cases[i].flags };
		struct fuse_request rq = { .arg = &in };
		uint8_t buf[256];
		struct fuse_reply rp = { .buf = buf, .room = sizeof buf };
		struct fuse_init_out out;
		int r = op_init(&f, &rq, &rp);

		memcpy(&out, buf, sizeof out);
		ok(r == cases[i].error && f.init_error == r &&
				(r ||
					(out.major == 7 && out.minor <= MINOR_KNOWN &&
						out.flags == cases[i].got &&
						out.max_readahead <= MAX_READAHEAD &&
						rp.len == 64)),
			"INIT of %u.%u: %s", cases[i].major, cases[i].minor, strerror(-r));
	}
}

static void test_interrupt_first(void)
{
	struct fuse_fs fs = { .nodes = 1 };
	struct fuse f;
	struct fuse_interrupt_in in = { .unique = 42 };
	struct fuse_request rq = { .unique = 43, .arg = &in };

	ok(fuse_init(&f, -1, &fs, 1) == 0 && fuse_interrupt(&f, &rq, NULL) == 0,
		"INTERRUPT before its request has a record");
	rq.unique = 42;
	struct fuse_later *l = fuse_later_new(&f, &rq);
	ok(l->interrupted && f.interrupted == 1, "... is remembered");
	l->answered = true; // there is nobody to answer
	fuse_later_end(l, 0, 0);
	ok(f.interrupted == 0 && f.in_use == 0, "... and forgotten with the record");
	l = fuse_later_new(&f, &rq);
	ok(!l->interrupted, "... and only once");
	l->answered = true;
	fuse_later_end(l, 0, 0);
	fuse_fini(&f);
}

// ---- metadata ----
static void compare_node(uint32_t i, const char *path)
{
	const struct attr *a = &nodes[i].attr;
	struct stat st;

	bool good = lstat(at(path), &st) == 0 && st.st_mode == a->mode && st.st_nlink == a->nlink &&
		st.st_uid == a->uid && st.st_gid == a->gid && st.st_size == (off_t)a->size &&
		st.st_mtim.tv_sec == a->mtime && st.st_mtim.tv_nsec == a->mtime_ns &&
		st.st_ino == i + 1 && st.st_blksize == 4096 &&
		st.st_rdev == makedev(a->rdev_major, a->rdev_minor) &&
		st.st_blocks ==
			(S_ISREG(a->mode) || S_ISDIR(a->mode)
					? (blkcnt_t)(a->size + 4095) / 4096 * 8
					: 0);
	if (!ok(good, "stat '%s'", path))
		printf("# mode %o nlink %lu uid %u gid %u size %lld mtime %lld.%ld ino %lu "
		       "rdev %lx blocks %lld\n",
			st.st_mode, (unsigned long)st.st_nlink, st.st_uid, st.st_gid,
			(long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			(unsigned long)st.st_ino, (unsigned long)st.st_rdev,
			(long long)st.st_blocks);
}

static void test_stat(void)
{
	char path[600];

	compare_node(0, "");
	for (uint32_t i = 1; i < node_count; i++) {
		const struct node *dir = &nodes[nodes[i].parent];

		if (dir->count > 100)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir->name, nodes[i].name);
		compare_node(i, path);
	}
	struct statfs fs;
	ok(statfs(root, &fs) == 0 && fs.f_blocks == (uint64_t)SPACES * SPACE_BLOCKS &&
			fs.f_bfree == 0 && fs.f_files == node_count && fs.f_ffree == 0 &&
			fs.f_bsize == 4096 && fs.f_namelen == 255,
		"statfs");
}

static void test_names(void)
{
	uint32_t dir = index_lookup(NULL, 0, "names", 5);
	unsigned good = 0;
	struct stat st;
	char path[300];

	for (uint32_t i = 0; i < nodes[dir].count; i++) {
		snprintf(path, sizeof path, "names/%s", nodes[nodes[dir].first + i].name);
		good += lstat(at(path), &st) == 0 && st.st_ino == nodes[dir].first + i + 1;
	}
	ok(good == nodes[dir].count, "names of any byte: %u of %u", good, nodes[dir].count);
	memset(path, 'a', 256);
	path[256] = 0;
	ok(lstat(at(path), &st) && errno == ENAMETOOLONG, "a name of 256 bytes");
}

static void test_links(void)
{
	char buf[5000];
	ssize_t n = readlink(at("links/l1"), buf, sizeof buf);

	ok(n == 11 && memcmp(buf, "../files/f3", 11) == 0, "readlink");
	n = readlink(at("links/l2"), buf, sizeof buf);
	ok(n == 4095 && buf[0] == 'y' && buf[4094] == 'y', "readlink of 4095 bytes");
	struct stat st;
	ok(stat(at("links/l1"), &st) == 0 && st.st_size == 4096, "stat through a link");
	unsigned before = requests();
	readlink(at("links/l1"), buf, sizeof buf);
	ok(requests() == before, "a second readlink makes no request");
}

static bool list_big(unsigned *ret_plus)
{
	DIR *d = opendir(at("big"));
	struct dirent *e;
	uint32_t dir = index_lookup(NULL, 0, "big", 3), i = 0;
	unsigned plus = counts[FUSE_READDIRPLUS];
	bool good = d;

	while (d && (e = readdir(d))) {
		if (i < 2)
			good &= strcmp(e->d_name, i ? ".." : ".") == 0 &&
				e->d_ino == (i ? 1 : dir + 1) && e->d_type == DT_DIR;
		else
			good &= strcmp(e->d_name, nodes[nodes[dir].first + i - 2].name) == 0 &&
				e->d_ino == nodes[dir].first + i - 1 &&
				e->d_type == (i % 10 == 2 ? DT_LNK : DT_REG);
		i++;
	}
	if (d)
		closedir(d);
	*ret_plus = counts[FUSE_READDIRPLUS] - plus;
	return good && i == BIG + 2;
}

static void test_directories(void)
{
	unsigned plus;
	uint64_t t = now_ns();

	ok(list_big(&plus), "a directory of %u entries", BIG);
	printf("# %.3f s, %u READDIR, %u of READDIRPLUS\n", (double)(now_ns() - t) / 1e9,
		counts[FUSE_READDIR], plus);
	unsigned before = requests();
	ok(list_big(&plus) && requests() == before, "... and again, without a request: %u",
		requests() - before);
	DIR *d = opendir(at("big"));
	long where = 0;
	char name[256] = "";
	for (int i = 0; i < 70000; i++) {
		if (i == 50000)
			where = telldir(d);
		struct dirent *e = readdir(d);
		if (e && i == 50000)
			snprintf(name, sizeof name, "%s", e->d_name);
	}
	seekdir(d, where);
	struct dirent *e = readdir(d);
	ok(e && strcmp(e->d_name, name) == 0, "seekdir finds '%s' again", name);
	closedir(d);
	d = opendir(at("empty"));
	int n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	ok(n == 2, "an empty directory");
}

static void test_readdirplus_fills(void)
{
	struct stat st;
	struct dirent *e;
	DIR *d = opendir(at("names"));
	unsigned lookups = counts[FUSE_LOOKUP], getattrs = counts[FUSE_GETATTR], n = 0;

	while ((e = readdir(d)))
		n += fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	closedir(d);
	ok(n == 257 && counts[FUSE_LOOKUP] == lookups && counts[FUSE_GETATTR] - getattrs <= 2,
		"readdir brings the attributes: %u lookups, %u getattrs for %u entries",
		counts[FUSE_LOOKUP] - lookups, counts[FUSE_GETATTR] - getattrs, n);
}

static void test_caching(void)
{
	struct stat st;

	ok(lstat(at("files/nothing"), &st) && errno == ENOENT, "a missing name");
	lstat(at("files/f1"), &st);
	unsigned before = requests();
	ok(lstat(at("files/nothing"), &st) && errno == ENOENT && requests() == before,
		"... is asked for once");
	ok(lstat(at("files/f1"), &st) == 0 && requests() == before,
		"a second stat makes no request");
	ok(lstat(at("files/f1/x"), &st) && errno == ENOTDIR, "a path through a file");
	ok(counts[FUSE_OPEN] <= 1 && counts[FUSE_OPENDIR] <= 1 && counts[FUSE_OPCODES - 1] <= 1,
		"OPEN, OPENDIR and STATX are asked once at most");
}

static void test_xattrs(void)
{
	const char *f = at("xattrs");
	static char buf[70000];

	ok(getxattr(f, "user.t", NULL, 0) == 5, "getxattr tells the size");
	ok(getxattr(f, "user.t", buf, 4) == -1 && errno == ERANGE,
		"getxattr into too small a buffer");
	ok(getxattr(f, "user.t", buf, 5) == 5 && memcmp(buf, "value", 5) == 0, "getxattr");
	ok(getxattr(f, "user.empty", buf, 5) == 0, "getxattr of an empty value");
	ok(getxattr(f, "user.big", buf, sizeof buf) == 60000, "getxattr of 60000 bytes");
	ok(getxattr(f, "security.capability", buf, sizeof buf) == 20,
		"getxattr of security.capability");
	ok(getxattr(f, "user.no", buf, 5) == -1 && errno == ENODATA, "getxattr of a missing one");
	ok(getxattr(at("files/f1"), "user.t", buf, 5) == -1 && errno == ENODATA,
		"getxattr where there is none");
	ok(listxattr(f, NULL, 0) == 47, "listxattr tells the size");
	ok(listxattr(f, buf, 46) == -1 && errno == ERANGE, "listxattr into too small a buffer");
	ok(listxattr(f, buf, 100) == 47 && strcmp(buf + 20, "user.big") == 0, "listxattr");
	ok(listxattr(at("files/f1"), buf, 100) == 0, "listxattr where there is none");
}

static void test_read_only(void)
{
	int fd = open(at("files/f3"), O_RDWR);

	ok(fd < 0 && errno == EROFS, "open for writing");
	ok(mkdir(at("files/new"), 0755) && errno == EROFS, "mkdir");
	ok(unlink(at("files/f1")) && errno == EROFS, "unlink");
	ok(chmod(at("files/f1"), 0) && errno == EROFS, "chmod");
	ok(setxattr(at("xattrs"), "user.t", "", 0, 0) && errno == EROFS, "setxattr");
}

static void test_permissions(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setgid(65534) || setuid(65534))
			_exit(9);
		struct stat st;
		_exit(open(at("private"), O_RDONLY) < 0 && errno == EACCES &&
					stat(at("files/f1"), &st) == 0
				? 0
				: 1);
	}
	waitpid(pid, &status, 0);
	ok(status == 0, "another user sees the tree, but not into a file of mode 600");
}

static void test_mounts_line(void)
{
	char line[1024];
	bool found = false;
	FILE *f = fopen("/proc/self/mounts", "r");

	while (fgets(line, sizeof line, f))
		if (strstr(line, root))
			found = strstr(line, "registry.example/a,b:c ") == line &&
				strstr(line, " fuse.fcpull ro,nosuid,nodev,") &&
				strstr(line, "max_read=262144") && strstr(line, "allow_other") &&
				strstr(line, "default_permissions");
	fclose(f);
	ok(found, "/proc/self/mounts");
}

// ---- data ----
static bool right(const char *path, int flags, uint64_t off, size_t n, size_t expect)
{
	cleanup_fd int fd = open(at(path), O_RDONLY | O_CLOEXEC | flags);
	struct stat st;
	void *buf = NULL;

	if (fd < 0 || fstat(fd, &st) || posix_memalign(&buf, 4096, n))
		return false;
	const struct attr *a = &nodes[st.st_ino - 1].attr;
	ssize_t got = pread(fd, buf, n, (off_t)off);
	bool good = got == (ssize_t)expect;
	for (size_t i = 0; good && i < expect; i++)
		good = ((uint8_t *)buf)[i] == byte_at(a->space, a->block * 4096ull + off + i);
	free(buf);
	return good;
}

static void test_read(void)
{
	char path[32];

	for (unsigned i = 0; i + 1 < ARRAY_LEN(sizes); i++) {
		snprintf(path, sizeof path, "files/f%u", i);
		ok(right(path, 0, 0, sizes[i] + 5000, sizes[i]), "read all %llu bytes",
			(unsigned long long)sizes[i]);
		ok(right(path, 0, sizes[i], 100, 0) && right(path, 0, sizes[i] + 999999, 100, 0),
			"... at the end and after it");
	}
	ok(right("files/f7", 0, 4999000, 9000, 1011), "read across the end");
	ok(right("files/f8", 0, 2147483000, 9000, 648), "read at the end of 2 GiB");
	ok(right("files/f7", O_DIRECT, 4096, 1 << 20, 1 << 20), "read with O_DIRECT");
	unsigned before = requests();
	ok(right("files/f7", 0, 0, 5000011, 5000011) && requests() == before,
		"a second read makes no request: %u", requests() - before);
	ok(right("files/hasty", 0, 0, 300000, 300000),
		"read that is done before lazy_read returns");
	ok(!right("files/failing", 0, 0, 10, 10) && errno == EIO, "a failing engine is EIO");
	ok(!right("files/refused", 0, 0, 10, 10) && errno == EIO, "a refusing engine is EIO");
}

struct reader {
	pthread_t id;
	char path[32];
	bool good;
};

static void *reader(void *arg)
{
	struct reader *r = arg;

	r->good = right(r->path, 0, 0, 1000, 1000);
	return NULL;
}

static void start_readers(struct reader *r, unsigned n)
{
	pthread_attr_t attr;

	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 256 << 10);
	for (unsigned i = 0; i < n; i++) {
		snprintf(r[i].path, sizeof r[i].path, "pending/p%03u", i);
		if (pthread_create(&r[i].id, &attr, reader, &r[i]))
			abort();
	}
	pthread_attr_destroy(&attr);
}

static unsigned join_readers(struct reader *r, unsigned n)
{
	unsigned good = 0;

	for (unsigned i = 0; i < n; i++) {
		pthread_join(r[i].id, NULL);
		good += r[i].good;
	}
	return good;
}

static long resident_kib(void)
{
	char line[256];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof line, f))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

static void test_pending(void)
{
	static struct reader r[PENDING_FILES];
	long rss = resident_kib();

	start_readers(r, PENDING_FILES);
	ok(wait_held(PENDING_FILES), "%u reads wait at once: %zu", PENDING_FILES, held_now());
	printf("# resident: %ld KiB more\n", resident_kib() - rss);
	uint64_t t = now_ns();
	bool good = right("files/f6", O_DIRECT, 0, 4096, 4096) &&
		right("files/f8", 0, 1 << 20, 10000, 10000);
	t = now_ns() - t;
	ok(good && t < 200000000, "... and data that is here is read all the same, in %.1f ms",
		(double)t / 1e6);
	t = now_ns();
	struct stat st;
	good = lstat(at("dev/nothing-2"), &st) && errno == ENOENT;
	ok(good && now_ns() - t < 200000000, "... and names are found");
	for (unsigned i = 0; i < 100; i++) // read-ahead may have asked for more than the readers
		release(0), usleep(2000);
	unsigned n = join_readers(r, PENDING_FILES);
	ok(n == PENDING_FILES, "... and all get the right bytes, the last first: %u", n);
	printf("# resident: %ld KiB more\n", resident_kib() - rss);
}

static void test_threads(void)
{
	// a thread that waits for data is none of those that serve: so one is enough
	struct reader r[8];

	start_readers(r, 8);
	ok(wait_held(8), "8 reads wait");
	ok(right("files/f5", O_DIRECT, 0, 4096, 4096), "... and others are served");
	release(0);
	usleep(20000);
	release(0);
	ok(join_readers(r, 8) == 8, "... until they have their data");
}

// ---- signals ----
enum how { BY_DIRECT, BY_MMAP };

static void on_alarm(int sig)
{
	(void)sig;
}

// A child that reads the file of its own, synchronously; with `alarmed`, hit by a signal that it
// handles 50 ms later. 0: good.
static pid_t child(enum how how, const char *path, bool alarmed)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	if (alarmed)
		ualarm(50000, 0);
	int fd = open(at(path), O_RDONLY | (how == BY_DIRECT ? O_DIRECT : 0));
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (how == BY_MMAP) {
		p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		madvise(p, 4096, MADV_RANDOM);
	} else if (pread(fd, p, 4096, 0) != 4096) {
		_exit(errno);
	}
	struct stat st;
	fstat(fd, &st);
	const struct attr *a = &nodes[st.st_ino - 1].attr;
	_exit(p[77] == byte_at(a->space, a->block * 4096ull + 77) ? 0 : 255);
}

// -1 when it does not end within ms.
static int wait_ms(pid_t pid, int ms)
{
	int status;

	for (int i = 0; i < ms; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(1000);
	}
	return -1;
}

static void test_signal(enum how how, const char *path)
{
	const char *what = how == BY_DIRECT ? "pread" : "page fault";
	pid_t pid = child(how, path, true);

	ok(wait_held(1) && wait_ms(pid, 400) == -1, "%s: a handled signal does not end the wait",
		what);
	release(0);
	ok(wait_ms(pid, 5000) == 0, "%s: ... nor spoil the result", what);
}

static void test_kill(enum how how, bool alarmed, const char *path)
{
	const char *what = how == BY_DIRECT ? "pread" : "page fault";
	pid_t pid = child(how, path, alarmed);

	ok(wait_held(1), "%s waits%s", what, alarmed ? ", a handled signal comes" : "");
	usleep(alarmed ? 300000 : 10000);
	kill(pid, SIGKILL);
	uint64_t t = now_ns();
	int status = wait_ms(pid, 5000);
	t = now_ns() - t;
	ok(status == SIGKILL && t < 1000000000, "%s: SIGKILL ends it in %.0f ms", what,
		(double)t / 1e6);
	release(0); // the engine comes too late, which nobody minds
	if (status == -1)
		wait_ms(pid, 5000);
	pid = child(how, path, false);
	ok(wait_held(1) || how == BY_MMAP, "%s: the next one asks again", what);
	release(0);
	ok(wait_ms(pid, 5000) == 0, "%s: ... and gets the data", what);
}

static void test_signals(void)
{
	test_signal(BY_DIRECT, "pending/p101");
	test_signal(BY_MMAP, "pending/p102");
	test_kill(BY_DIRECT, false, "pending/p103");
	test_kill(BY_MMAP, false, "pending/p104");
	test_kill(BY_DIRECT, true, "pending/p105");
	test_kill(BY_MMAP, true, "pending/p106");
}

// ---- ends ----
static void test_abort(void)
{
	struct reader r[20];

	if (!ok(start(2), "mount"))
		return;
	start_readers(r, 20);
	ok(wait_held(20), "20 reads wait");
	ok(umount2(root, 0) && errno == EBUSY, "umount is refused");
	ok(umount2(root, MNT_FORCE | MNT_DETACH) == 0, "umount -f -l is not");
	ok(join_readers(r, 20) == 0, "... the readers get errors");
	usleep(200000);
	ok(!server_ended, "... the server waits for the engine");
	release(0);
	ok(join() == 0, "... and ends without an error");
}

static void test_lazy_umount(void)
{
	struct reader r[20];

	if (!ok(start(2), "mount"))
		return;
	start_readers(r, 20);
	ok(wait_held(20), "20 reads wait");
	ok(umount2(root, MNT_DETACH) == 0, "umount -l");
	usleep(50000);
	ok(!server_ended, "... the server still serves");
	for (int i = 0; i < 20; i++)
		release(0), usleep(1000);
	ok(join_readers(r, 20) == 20, "... the readers get their data");
	ok(join() == 0, "... and the server ends with the last of them");
}

// A server dies with reads in its hands; another one goes on with the same descriptor.
static void test_takeover(void)
{
	struct reader r[20];

	if (!mkdtemp(memcpy(root, "/tmp/test_fuse.XXXXXX", 22)))
		return;
	struct fuse_mount_opts o = {
		.source = "x", .subtype = "fcpull", .suid = true, .dev = true
	};
	if (!ok(fuse_mount(root, &o, &served_fd) == 0, "mount"))
		return;
	pid_t pid = fork();
	if (pid == 0)
		_exit(treefs_serve((void *)nodes, served_fd, 3) != 0);
	start_readers(r, 20);
	usleep(200000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	int e = fuse_resend(served_fd);
	if (e == -EINVAL) {
		skip("FUSE_NOTIFY_RESEND: needs Linux 6.9");
		umount2(root, MNT_FORCE | MNT_DETACH);
	}
	server_threads = 2;
	server_ended = false;
	pthread_create(&server, NULL, server_main, NULL);
	if (e == 0) {
		ok(wait_held(20), "a successor gets the 20 reads that the killed server had");
		for (int i = 0; i < 20; i++)
			release(0), usleep(1000);
		ok(join_readers(r, 20) == 20, "... and the readers get their data");
		ok(right("files/f3", 0, 0, 4096, 4096), "... and what is new is served");
		ok(list_big(&(unsigned){ 0 }), "... directories too");
		stop();
		return;
	}
	join_readers(r, 20);
	join();
}

static void test_no_xattrs(void)
{
	char buf[10];

	hide_xattrs = true;
	if (!ok(start(1), "mount of a tree without xattrs"))
		return;
	ok(getxattr(at("xattrs"), "user.t", buf, 5) == -1 && errno == EOPNOTSUPP,
		"getxattr is not supported");
	getxattr(at("files/f1"), "user.t", buf, 5);
	listxattr(at("files/f1"), buf, 5);
	listxattr(at("files/f2"), buf, 5);
	ok(counts[FUSE_GETXATTR] == 1 && counts[FUSE_LISTXATTR] == 1, "... and asked for once");
	stop();
	hide_xattrs = false;
}

static void test_tree(unsigned threads)
{
	memset(counts, 0, sizeof counts);
	if (!ok(start(threads), "mount, %u threads", threads))
		return;
	test_mounts_line();
	test_stat();
	test_names();
	test_links();
	test_directories();
	test_caching();
	test_xattrs();
	test_read_only();
	test_permissions();
	test_read();
	test_pending();
	stop();
	if (!ok(start(threads), "mount again"))
		return;
	test_readdirplus_fills();
	test_threads();
	test_signals();
	stop();
}

static void test_missing(void)
{
	struct fuse_mount_opts o = { .source = "x", .subtype = "fcpull" };
	int fd;

	log_level = LOG_QUIET;
	ok(fuse_mount("/nonexistent/dir", &o, &fd) == -ENOENT, "mount on a missing directory");
	ok(fuse_mount("/dev/null", &o, &fd) == -ENOTDIR, "mount on a file");
	log_level = LOG_WARN;
}

int main(void)
{
	make_tree();
	test_check();
	test_check_header();
	log_level = LOG_QUIET;
	test_init_versions();
	log_level = LOG_WARN;
	test_interrupt_first();
	test_missing();
	if (getuid() || access("/dev/fuse", R_OK | W_OK)) {
		skip("mounts: needs root and /dev/fuse");
	} else {
		test_tree(1);
		test_tree(4);
		memset(counts, 0, sizeof counts);
		test_no_xattrs();
		test_abort();
		test_lazy_umount();
		test_takeover();
	}
	free((void *)(uintptr_t)some_xattrs[1].value);
	free(nodes);
	return tap_end();
}
