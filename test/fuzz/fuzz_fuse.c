// fuzz_fuse.c - what the kernel sends: a few requests of any bytes, through the check, the
// handlers and the replies
//
// Input: messages of { flags, length (le16), bytes }. Flag 1: header.len is put right; 2: the
// engine completes what it holds after this one. At the end each request that is to be answered
// has been, once, and nothing else has.
// SPDX-License-Identifier: Apache-2.0
#include <sys/uio.h>
#include "log.h"

static ssize_t sink(int fd, const struct iovec *iov, int n);
#define writev(fd, iov, n) sink(fd, iov, n)
#include "../../lib/fuse.c"
#include "../../lib/fusereq.c"
#include "../../lib/fuselater.c"
#undef writev
#include "../../lib/treefs.c"

#define MESSAGES 8
#define must(x)                  \
	do {                     \
		if (!(x))        \
			abort(); \
	} while (0)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// ---- a small tree ----
struct node {
	const char *name;
	uint32_t parent, mode;
	uint64_t size;
	uint32_t space;
};
static const struct node nodes[] = {
	{ "", 0, S_IFDIR | 0755, 4096, 0 },
	{ "dir", 0, S_IFDIR | 0755, 4096, 0 },
	{ "file", 0, S_IFREG | 0644, 300001, 0 },
	{ "held", 0, S_IFREG | 0644, 70000, 1 },
	{ "link", 0, S_IFLNK | 0777, 6, 0 },
	{ "refused", 0, S_IFREG | 0644, 5, 2 },
	{ "a", 1, S_IFREG | 0644, 0, 0 },
	{ "b", 1, S_IFCHR | 0644, 0, 0 },
};
static const struct xattr_view xattrs[] = {
	{ "security.capability", 19, (const uint8_t *)"12345678901234567890", 20 },
	{ "user.x", 6, NULL, 0 },
};

uint32_t index_nodes(const struct index *ix)
{
	(void)ix;
	return ARRAY_LEN(nodes);
}

void index_attr(const struct index *ix, uint32_t node, struct attr *ret)
{
	(void)ix;
	must(node < ARRAY_LEN(nodes));
	*ret = (struct attr){ .mode = nodes[node].mode,
		.nlink = 1,
		.size = nodes[node].size,
		.space = nodes[node].space,
		.block = 5,
		.has_xattrs = node == 2 };
}

static uint32_t first_of(uint32_t dir)
{
	must(S_ISDIR(nodes[dir].mode));
	return dir ? 6 : 1;
}

uint32_t index_dir_count(const struct index *ix, uint32_t dir)
{
	(void)ix;
	return first_of(dir) == 1 ? 5 : 2;
}

void index_dirent(const struct index *ix, uint32_t dir, uint32_t i, struct dirent_view *ret)
{
	uint32_t node = first_of(dir) + i;

	must(i < index_dir_count(ix, dir));
	*ret = (struct dirent_view){ nodes[node].name, (uint32_t)strlen(nodes[node].name), node,
		nodes[node].mode & S_IFMT };
}

uint32_t index_parent(const struct index *ix, uint32_t dir)
{
	(void)ix;
	must(S_ISDIR(nodes[dir].mode));
	return nodes[dir].parent;
}

uint32_t index_lookup(const struct index *ix, uint32_t dir, const char *name, size_t len)
{
	uint32_t first = first_of(dir);

	must(len > 0 && len <= 255 && !memchr(name, 0, len));
	for (uint32_t i = 0; i < index_dir_count(ix, dir); i++)
		if (strlen(nodes[first + i].name) == len &&
			memcmp(nodes[first + i].name, name, len) == 0)
			return first + i;
	return NODE_NONE;
}

const char *index_symlink(const struct index *ix, uint32_t node, uint32_t *ret_len)
{
	(void)ix;
	must(S_ISLNK(nodes[node].mode));
	*ret_len = (uint32_t)nodes[node].size;
	return "target";
}

uint32_t index_xattr_count(const struct index *ix, uint32_t node)
{
	(void)ix;
	return node == 2 ? ARRAY_LEN(xattrs) : 0;
}

void index_xattr(const struct index *ix, uint32_t node, uint32_t i, struct xattr_view *ret)
{
	must(i < index_xattr_count(ix, node));
	*ret = xattrs[i];
}

uint32_t index_spaces(const struct index *ix)
{
	(void)ix;
	return 3;
}

void index_space(const struct index *ix, uint32_t space, struct space_view *ret)
{
	(void)ix;
	(void)space;
	*ret = (struct space_view){ .blocks = 1000 };
}

// ---- the engine ----
static struct lazy_req *held[MESSAGES];
static unsigned held_count;

const struct index *lazy_index(const struct lazy *lz)
{
	return (const void *)lz;
}

int lazy_read(struct lazy *lz, struct lazy_req *req)
{
	(void)lz;
	must(req->len > 0 && req->len <= FUSE_IO_MAX && req->off >= 5 * 4096);
	must(req->off + req->len <= 5 * 4096 +
			(req->space == 0		  ? 300001
					: req->space == 1 ? 70000
							  : 5));
	if (req->space == 2)
		return -ENOENT;
	memset(req->buf, 'd', req->len);
	if (req->space == 0)
		return 1;
	held[held_count++] = req;
	return 0;
}

static void release(void)
{
	while (held_count) {
		struct lazy_req *req = held[--held_count];

		memset(req->buf, 'd', req->len);
		req->done(req, held_count & 1 ? -EPROTO : 0);
	}
}

// ---- the replies ----
static uint64_t asked[MESSAGES], answered[MESSAGES];
static uint32_t sizes[MESSAGES]; // what a READ and its like have asked for, else 0
static unsigned asked_count, answered_count;

static ssize_t sink(int fd, const struct iovec *iov, int n)
{
	struct fuse_out_header h;
	size_t len = iov[0].iov_len + (n > 1 ? iov[1].iov_len : 0);
	bool known = false;

	must(fd == -1 && n <= 2 && iov[0].iov_len == sizeof h);
	memcpy(&h, iov[0].iov_base, sizeof h);
	must(h.len == len && h.error <= 0 && h.error > -512 && (h.error == 0 || n == 1));
	must(len <= sizeof h + FUSE_IO_MAX && answered_count < MESSAGES);
	for (unsigned i = 0; i < asked_count; i++)
		known |= asked[i] == h.unique && (sizes[i] == 0 || len <= sizeof h + sizes[i]);
	must(known);
	for (size_t i = 0, sum = 0; n > 1 && i < iov[1].iov_len;
		i++) { // all of it has been written
		static volatile size_t seen;

		sum += ((const uint8_t *)iov[1].iov_base)[i];
		seen = sum;
		(void)seen;
	}
	answered[answered_count++] = h.unique;
	return (ssize_t)len;
}

// How often x is among n.
static unsigned among(const uint64_t *p, unsigned n, uint64_t x)
{
	unsigned found = 0;

	for (unsigned i = 0; i < n; i++)
		found += p[i] == x;
	return found;
}

static void send_one(struct fuse_thread *t, const uint8_t *p, size_t len, bool fix)
{
	struct fuse_request rq;

	memset(t->in, 0xa5, FUSE_REQUEST_MAX);
	memcpy(t->in, p, len);
	if (fix && len >= 4)
		memcpy(t->in, &(uint32_t){ (uint32_t)len }, 4);
	int r = fuse_request_check(t->in, len, ARRAY_LEN(nodes), &rq);
	if (r != -EBADMSG && !(rq.op && rq.op->what & NO_REPLY)) {
		bool list = rq.opcode == FUSE_READ || rq.opcode == FUSE_READDIR ||
			rq.opcode == FUSE_READDIRPLUS;

		sizes[asked_count] =
			r == 0 && list ? MAX(((const struct fuse_read_in *)rq.arg)->size, 1u) : 0;
		asked[asked_count++] = rq.unique;
	}
	fuse_handle(t, len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct fuse f;
	static struct treefs tree;
	static struct fuse_fs fs = {
		.data = &tree, .nodes = ARRAY_LEN(nodes), .handlers = handlers
	};

	if (!f.laters) {
		log_level = LOG_QUIET;
		treefs_init(&tree, NULL);
		must(fuse_init(&f, -1, &fs, 1) == 0);
	}
	asked_count = answered_count = 0;
	f.no_open = f.no_opendir = false;
	f.init_error = 0;
	memset(f.missed, 0, sizeof f.missed);
	for (int i = 0; i < MESSAGES && size >= 3; i++) {
		size_t len =
			MIN((size_t)get_le16(data + 1), MIN(size - 3, (size_t)FUSE_REQUEST_MAX));

		send_one(f.threads, data + 3, len, data[0] & 1);
		if (data[0] & 2)
			release();
		data += 3 + len;
		size -= 3 + len;
	}
	release();
	must(answered_count == asked_count && f.in_use == 0 && f.interrupted == 0);
	for (unsigned i = 0; i < asked_count; i++)
		must(among(answered, answered_count, asked[i]) ==
			among(asked, asked_count, asked[i]));
	return 0;
}
