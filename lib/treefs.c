// treefs.c - the tree of an image as a read-only file system, by FUSE
//
// The tree never changes, so the kernel may keep what it has been told for ever, "there is no
// such name" included. Node ids are node numbers + 1, so nothing is remembered per inode, and
// FORGET is nothing. What the kernel asks twice is only what it cannot keep: xattrs, data pages
// that it dropped.
//
// Threads: all functions run on fuse.c's threads, read_done() on the engine's. Nothing here is
// written after the start.
//
// SPDX-License-Identifier: Apache-2.0
#include "treefs.h"

#include <limits.h>
#include <linux/fuse.h>
#include <sys/stat.h>

#include "fuse.h"
#include "index.h"
#include "lazy.h"

// Seconds. 136 years; the kernel adds it to a clock in jiffies, so not all of 64 bits.
#define FOREVER UINT32_MAX
#define STAT_BLOCK 512
#define TARGET_MAX 4095 // the kernel gives READLINK one page, and ends it with NUL

struct treefs {
	struct lazy *lz;
	const struct index *ix;
	uint64_t blocks; // of all data spaces
	bool has_xattrs; // any node
	bool has_acls;
};

// ---- attributes ----

// As the kernel's new_encode_dev.
static uint32_t encode_dev(uint32_t major, uint32_t minor)
{
	return (minor & 0xff) | major << 8 | (minor & ~0xffu) << 12;
}

static void fill_attr(const struct treefs *t, uint32_t node, struct fuse_attr *ret)
{
	struct attr a;

	index_attr(t->ix, node, &a);
	bool stored = S_ISREG(a.mode) || S_ISDIR(a.mode);
	*ret = (struct fuse_attr){
		.ino = node + 1ull,
		.size = a.size,
		.blocks = stored ? blocks_of(a.size) * (BLOCK_BYTES / STAT_BLOCK) : 0,
		.atime = (uint64_t)a.mtime,
		.mtime = (uint64_t)a.mtime,
		.ctime = (uint64_t)a.mtime,
		.atimensec = a.mtime_ns,
		.mtimensec = a.mtime_ns,
		.ctimensec = a.mtime_ns,
		.mode = a.mode,
		.nlink = a.nlink,
		.uid = a.uid,
		.gid = a.gid,
		.rdev = encode_dev(a.rdev_major, a.rdev_minor),
		.blksize = BLOCK_BYTES,
	};
}

static void fill_entry(const struct treefs *t, uint32_t node, struct fuse_entry_out *ret)
{
	*ret = (struct fuse_entry_out){
		.nodeid = node + 1ull, .entry_valid = FOREVER, .attr_valid = FOREVER
	};
	fill_attr(t, node, &ret->attr);
}

static uint32_t node_of(const struct fuse_request *rq)
{
	return (uint32_t)(rq->nodeid - 1);
}

// Type and size, where the mode decides what may be done.
static uint32_t mode_of(const struct treefs *t, uint32_t node)
{
	struct attr a;

	index_attr(t->ix, node, &a);
	return a.mode;
}

static int put(struct fuse_reply *rp, const void *p, size_t n)
{
	memcpy(rp->buf, p, n);
	rp->len = n;
	return 0;
}

static int treefs_getattr(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	struct fuse_attr_out out = { .attr_valid = FOREVER };

	fill_attr(data, node_of(rq), &out.attr);
	return put(rp, &out, sizeof out);
}

// ---- names ----

// "." of any node and ".." of a directory are asked for by NFS's file handles only
// (FUSE_EXPORT_SUPPORT).
static uint32_t find(const struct treefs *t, uint32_t node, const char *name, size_t len)
{
	if (len == 1 && name[0] == '.')
		return node;
	if (!S_ISDIR(mode_of(t, node)))
		return NODE_NONE;
	if (len == 2 && name[0] == '.' && name[1] == '.')
		return index_parent(t->ix, node);
	return index_lookup(t->ix, node, name, len);
}

static int treefs_lookup(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct treefs *t = data;
	struct fuse_entry_out out = { .entry_valid =
					      FOREVER }; // node 0: there is none, and will be none

	if (rq->name_len > NAME_MAX)
		return -ENAMETOOLONG;
	uint32_t node = find(t, node_of(rq), rq->name, rq->name_len);
	if (node != NODE_NONE)
		fill_entry(t, node, &out);
	return put(rp, &out, sizeof out);
}

static int treefs_readlink(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct treefs *t = data;
	uint32_t node = node_of(rq), len;

	if (!S_ISLNK(mode_of(t, node)))
		return -EINVAL;
	const char *target = index_symlink(t->ix, node, &len);
	return len <= TARGET_MAX ? put(rp, target, len) : -ENAMETOOLONG;
}

// ---- directories ----

// Entry number i of a directory: ".", "..", then those of the index. The offset of an entry is i,
// that of the one after it i + 1.
static void entry_at(const struct treefs *t, uint32_t dir, uint64_t i, struct dirent_view *ret)
{
	if (i < 2)
		*ret = (struct dirent_view){
			.name = "..",
			.name_len = (uint32_t)i + 1,
			.node = i == 0 ? dir : index_parent(t->ix, dir),
			.type = S_IFDIR,
		};
	else
		index_dirent(t->ix, dir, (uint32_t)(i - 2), ret);
}

// Adds an entry, if it fits into `room` bytes: struct fuse_dirent, for READDIRPLUS in a struct
// fuse_direntplus. There, node id 0 in those of "." and ".." says that nothing is told of the
// node (fuse_direntplus_link).
static bool add_entry(const struct treefs *t, const struct dirent_view *d, uint64_t i, bool plus,
	size_t room, struct fuse_reply *rp)
{
	size_t head = plus ? sizeof(struct fuse_entry_out) : 0;
	size_t len = head + FUSE_NAME_OFFSET + d->name_len;
	size_t padded = FUSE_DIRENT_ALIGN(len);
	struct fuse_dirent out = {
		.ino = d->node + 1ull,
		.off = i + 1,
		.namelen = d->name_len,
		.type = d->type >> 12,
	};

	if (padded > room - rp->len)
		return false;
	uint8_t *p = rp->buf + rp->len;
	if (plus) {
		struct fuse_entry_out entry = { .nodeid = 0 };

		if (i >= 2)
			fill_entry(t, d->node, &entry);
		memcpy(p, &entry, sizeof entry);
	}
	memcpy(p + head, &out, FUSE_NAME_OFFSET);
	memcpy(p + head + FUSE_NAME_OFFSET, d->name, d->name_len);
	memset(p + len, 0, padded - len);
	rp->len += padded;
	return true;
}

static int list(
	const struct treefs *t, const struct fuse_request *rq, bool plus, struct fuse_reply *rp)
{
	const struct fuse_read_in *in = rq->arg;
	size_t room = MIN((size_t)in->size, rp->room);
	uint32_t dir = node_of(rq);
	struct dirent_view d;

	if (!S_ISDIR(mode_of(t, dir)))
		return -ENOTDIR;
	uint64_t count = 2ull + index_dir_count(t->ix, dir);
	for (uint64_t i = in->offset; i < count; i++) {
		entry_at(t, dir, i, &d);
		if (!add_entry(t, &d, i, plus, room, rp))
			break;
	}
	return 0;
}

static int treefs_readdir(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	return list(data, rq, false, rp);
}

static int treefs_readdirplus(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	return list(data, rq, true, rp);
}

// ---- extended attributes ----

// The reply to a caller that has room for `size` bytes; 0 asks for how many it takes.
static int sized(struct fuse_reply *rp, uint32_t size, size_t need)
{
	struct fuse_getxattr_out out = { .size = (uint32_t)need };

	if (size == 0)
		return put(rp, &out, sizeof out);
	if (need > size)
		return -ERANGE;
	rp->len = need;
	return 0;
}

static int treefs_getxattr(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct fuse_getxattr_in *in = rq->arg;
	const struct treefs *t = data;
	uint32_t node = node_of(rq);
	struct xattr_view x;

	if (!t->has_xattrs) // the kernel will not ask again, in any file
		return -ENOSYS;
	for (uint32_t i = 0, n = index_xattr_count(t->ix, node); i < n; i++) {
		index_xattr(t->ix, node, i, &x);
		if (x.name_len != rq->name_len || memcmp(x.name, rq->name, x.name_len) != 0)
			continue;
		if (x.value_len > rp->room)
			return -E2BIG;
		if (x.value_len)
			memcpy(rp->buf, x.value, x.value_len);
		return sized(rp, in->size, x.value_len);
	}
	return -ENODATA;
}

static int treefs_listxattr(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct fuse_getxattr_in *in = rq->arg;
	const struct treefs *t = data;
	uint32_t node = node_of(rq);
	struct xattr_view x;
	size_t len = 0;

	if (!t->has_xattrs)
		return -ENOSYS;
	for (uint32_t i = 0, n = index_xattr_count(t->ix, node); i < n; i++) {
		index_xattr(t->ix, node, i, &x);
		if (x.name_len + 1 > rp->room - len)
			return -E2BIG;
		memcpy(rp->buf + len, x.name, x.name_len);
		rp->buf[len + x.name_len] = '\0';
		len += x.name_len + 1;
	}
	return sized(rp, in->size, len);
}

// ---- data ----

struct tree_read {
	struct lazy_req req; // first: read_done() gets its address
	struct fuse_later *later;
};
_Static_assert(sizeof(struct tree_read) <= FUSE_LATER_PRIV, "fits into struct fuse_later");
_Static_assert(offsetof(struct tree_read, req) == 0, "is cast");

// Readers know these two.
static int reader_error(int r)
{
	return r == 0 || r == -ENOMEM ? r : -EIO;
}

static void read_done(struct lazy_req *req, int error)
{
	struct tree_read *read = (struct tree_read *)req;

	fuse_later_end(read->later, reader_error(error), req->len);
}

static int treefs_read(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct fuse_read_in *in = rq->arg;
	const struct treefs *t = data;
	struct attr a;

	index_attr(t->ix, node_of(rq), &a);
	if (!S_ISREG(a.mode))
		return S_ISDIR(a.mode) ? -EISDIR : -EINVAL;
	if (in->size == 0 || in->offset >= a.size)
		return 0;
	struct fuse_later *later = fuse_later_new(rp->fuse, rq);
	struct tree_read *read = (void *)later->priv;
	uint32_t len = (uint32_t)MIN(in->size, a.size - in->offset);
	*read = (struct tree_read){
		.req = {
			.space = a.space,
			.off = (uint64_t)a.block * BLOCK_BYTES + in->offset,
			.len = len,
			.buf = later->buf,
			.done = read_done,
		},
		.later = later,
	};
	int r = lazy_read(t->lz, &read->req);
	if (r != 0) // else it may have been done already, and the record be another's
		fuse_later_end(later, r < 0 ? reader_error(r) : 0, len);
	return FUSE_LATER;
}

// ---- the file system ----

static int treefs_statfs(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct treefs *t = data;
	struct fuse_statfs_out out = { .st = {
					       .blocks = t->blocks,
					       .files = index_nodes(t->ix),
					       .bsize = BLOCK_BYTES,
					       .frsize = BLOCK_BYTES,
					       .namelen = NAME_MAX,
				       } };

	(void)rq;
	return put(rp, &out, sizeof out);
}

static fuse_handler *const handlers[FUSE_OPCODES] = {
	[FUSE_LOOKUP] = treefs_lookup,
	[FUSE_GETATTR] = treefs_getattr,
	[FUSE_READLINK] = treefs_readlink,
	[FUSE_READ] = treefs_read,
	[FUSE_STATFS] = treefs_statfs,
	[FUSE_GETXATTR] = treefs_getxattr,
	[FUSE_LISTXATTR] = treefs_listxattr,
	[FUSE_READDIR] = treefs_readdir,
	[FUSE_READDIRPLUS] = treefs_readdirplus,
};

static bool is_acl(const struct xattr_view *x)
{
	static const char prefix[] = "system.posix_acl_";

	return x->name_len >= sizeof prefix - 1 && memcmp(x->name, prefix, sizeof prefix - 1) == 0;
}

// Most images have no xattrs, and their mounts need not be asked for any: an overlay asks for one
// at each directory, execve at each file. As few have ACLs, and only with them is it worth that
// the kernel asks for those.
static void look_for_xattrs(struct treefs *t)
{
	struct xattr_view x;
	struct attr a;

	for (uint32_t node = 0, nodes = index_nodes(t->ix); node < nodes && !t->has_acls; node++) {
		index_attr(t->ix, node, &a);
		if (!a.has_xattrs)
			continue;
		t->has_xattrs = true;
		for (uint32_t i = 0, n = index_xattr_count(t->ix, node); i < n; i++) {
			index_xattr(t->ix, node, i, &x);
			t->has_acls |= is_acl(&x);
		}
	}
}

static void treefs_init(struct treefs *t, struct lazy *lz)
{
	struct space_view s;

	*t = (struct treefs){ .lz = lz, .ix = lazy_index(lz) };
	for (uint32_t i = 0, n = index_spaces(t->ix); i < n; i++) {
		index_space(t->ix, i, &s);
		t->blocks += s.blocks;
	}
	look_for_xattrs(t);
}

int treefs_serve(struct lazy *lz, int fd, unsigned threads)
{
	struct treefs t;

	treefs_init(&t, lz);
	struct fuse_fs fs = {
		.data = &t,
		.nodes = index_nodes(t.ix),
		.handlers = handlers,
		.acl = t.has_acls,
	};
	return fuse_serve(fd, &fs, threads);
}
