// fusemodel.h - a made-up tree, served by lib/fuse.c and lib/treefs.c
//
// index_* and lazy_* are mocks: a tree that is made at the start, and an "engine" that holds
// reads of data space PENDING back until the test releases them. The file system is served by
// threads of this process; whoever may be killed is a child.
// SPDX-License-Identifier: Apache-2.0
#ifndef FUSEMODEL_H
#define FUSEMODEL_H

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

static inline ssize_t counting_read(int fd, void *p, size_t n)
{
	ssize_t r = (read)(fd, p, n);

	if (fd == served_fd && r >= (ssize_t)sizeof(struct fuse_in_header))
		counts[MIN(((struct fuse_in_header *)p)->opcode, 63u)]++;
	return r;
}

static inline unsigned requests(void)
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

static inline uint32_t add_named(uint32_t parent, const char *name, size_t len, mode_t mode)
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
static inline uint32_t add(uint32_t parent, const char *name, mode_t mode)
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

static inline void make_names(uint32_t dir)
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

static inline void make_devices(uint32_t dir)
{
	nodes[add(dir, "blk", S_IFBLK | 0600)].attr.rdev_major = 8;
	uint32_t chr = add(dir, "chr", S_IFCHR | 0666);
	nodes[chr].attr.rdev_major = 4000;
	nodes[chr].attr.rdev_minor = 0x54321;
	add(dir, "fifo", S_IFIFO | 0640);
	add(dir, "sock", S_IFSOCK | 0777);
}

static inline void make_tree(void)
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

static inline uint8_t byte_at(uint32_t space, uint64_t off)
{
	return (uint8_t)(off ^ off >> 8 ^ (off >> 16) * 7 ^ space * 31);
}

static inline void fill(struct lazy_req *req)
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

static inline size_t held_now(void)
{
	pthread_mutex_lock(&engine_lock);
	size_t n = held_count;
	pthread_mutex_unlock(&engine_lock);
	return n;
}

static inline bool wait_held(size_t n)
{
	for (int i = 0; i < 10000 && held_now() < n; i++)
		usleep(1000);
	return held_now() >= n;
}

// Completes what is held, the last come first, while more than `keep` are.
static inline void release(size_t keep)
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

static inline void *server_main(void *arg)
{
	(void)arg;
	int r = treefs_serve((void *)nodes, served_fd, server_threads);
	atomic_store(&server_ended, true);
	return (void *)(intptr_t)r;
}

static inline bool start(unsigned threads)
{
	struct fuse_mount_opts o = { .source = "registry.example/a,b:c", .subtype = "fcpull" };

	snprintf(root, sizeof root, "/tmp/test_fuse.XXXXXX");
	if (!mkdtemp(root) || fuse_mount(root, &o, &served_fd))
		return false;
	server_threads = threads;
	server_ended = false;
	return pthread_create(&server, NULL, server_main, NULL) == 0;
}

static inline int join(void)
{
	void *r;

	pthread_join(server, &r);
	close(served_fd);
	rmdir(root);
	return (int)(intptr_t)r;
}

static inline void stop(void)
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

// ---- who reads ----
static inline bool list_big(unsigned *ret_plus)
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

static inline bool right(const char *path, int flags, uint64_t off, size_t n, size_t expect)
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

struct reader {
	pthread_t id;
	char path[32];
	bool good;
};

static inline void *reader(void *arg)
{
	struct reader *r = arg;

	r->good = right(r->path, 0, 0, 1000, 1000);
	return NULL;
}

static inline void start_readers(struct reader *r, unsigned n)
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

static inline unsigned join_readers(struct reader *r, unsigned n)
{
	unsigned good = 0;

	for (unsigned i = 0; i < n; i++) {
		pthread_join(r[i].id, NULL);
		good += r[i].good;
	}
	return good;
}

#endif
