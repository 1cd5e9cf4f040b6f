// imagefile.c - an image as one virtual file, by FUSE
//
// A read is cut where metadata and spaces meet. One piece is the rule: metadata is copied at once;
// data goes into the record of the later reply. More pieces are asked for side by side, by a block
// of memory of their own; the last one to come ends the reply. A reply is never short: the kernel
// would take what is missing for zeros (erofs_fileio_ki_complete).
//
// Threads: all functions run on fuse.c's threads, *_done() on the engine's. Only struct spread is
// written after the start.
//
// SPDX-License-Identifier: Apache-2.0
#include "imagefile.h"

#include <linux/fuse.h>
#include <stdatomic.h>
#include <sys/stat.h>

#include "fuse.h"
#include "prefill.h"

#define FOREVER UINT32_MAX // seconds; treefs.c says why not more
enum { ROOT = 1 };

struct imagefile {
	struct lazy *lz;
	const struct erofs_image *im;
	uint64_t file; // its node: ROOT, or the next one
	const struct lazy_hooks *hooks;
	struct prefill *prefill; // or NULL
	_Atomic bool opened;
};

static int put(struct fuse_reply *rp, const void *p, size_t n)
{
	memcpy(rp->buf, p, n);
	rp->len = n;
	return 0;
}

// ---- the directory and the file ----

static void fill_attr(const struct imagefile *t, uint64_t node, struct fuse_attr *ret)
{
	bool dir = node != t->file;
	uint64_t size = dir ? 0 : erofs_flat_size(t->im);

	*ret = (struct fuse_attr){
		.ino = node,
		.size = size,
		.blocks = size / 512,
		.mode = dir ? S_IFDIR | 0500 : S_IFREG | 0400,
		.uid = geteuid(),
		.gid = getegid(),
		.nlink = dir ? 2 : 1,
		.blksize = BLOCK_BYTES,
	};
}

static int imagefile_getattr(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	struct fuse_attr_out out = { .attr_valid = FOREVER };

	fill_attr(data, rq->nodeid, &out.attr);
	return put(rp, &out, sizeof out);
}

// The kernel asks for "." and ".." only on behalf of NFS.
static uint64_t find(const struct imagefile *t, const struct fuse_request *rq)
{
	if (strcmp(rq->name, ".") == 0)
		return rq->nodeid;
	if (rq->nodeid == t->file)
		return 0;
	if (strcmp(rq->name, "..") == 0)
		return ROOT;
	return strcmp(rq->name, IMAGEFILE_NAME) == 0 ? t->file : 0;
}

static int imagefile_lookup(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	struct fuse_entry_out out = {
		.nodeid = find(data, rq), .entry_valid = FOREVER, .attr_valid = FOREVER
	};

	if (out.nodeid)
		fill_attr(data, out.nodeid, &out.attr);
	return put(rp, &out, sizeof out);
}

// READDIRPLUS puts a struct fuse_entry_out before each entry; node id 0 in it says that nothing is
// told.
static int imagefile_readdir(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	static const struct {
		const char *name;
		bool dir;
	} entries[] = { { ".", true }, { "..", true }, { IMAGEFILE_NAME, false } };
	const struct fuse_read_in *in = rq->arg;
	const struct imagefile *t = data;
	size_t head = rq->opcode == FUSE_READDIRPLUS ? sizeof(struct fuse_entry_out) : 0;

	if (rq->nodeid == t->file)
		return -ENOTDIR;
	for (uint64_t i = in->offset; i < ARRAY_LEN(entries); i++) {
		uint32_t len = (uint32_t)strlen(entries[i].name);
		size_t size = FUSE_DIRENT_ALIGN(head + FUSE_NAME_OFFSET + len);
		struct fuse_dirent d = {
			.ino = entries[i].dir ? ROOT : t->file,
			.off = i + 1,
			.namelen = len,
			.type = (entries[i].dir ? S_IFDIR : S_IFREG) >> 12,
		};

		if (size > MIN((size_t)in->size, rp->room) - rp->len)
			break;
		uint8_t *p = rp->buf + rp->len;
		memset(p, 0, size);
		memcpy(p + head, &d, FUSE_NAME_OFFSET);
		memcpy(p + head + FUSE_NAME_OFFSET, entries[i].name, len);
		rp->len += size;
	}
	return 0;
}

static int imagefile_statfs(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct imagefile *t = data;
	struct fuse_statfs_out out = { .st = {
					       .blocks = erofs_flat_size(t->im) / BLOCK_BYTES,
					       .files = t->file,
					       .bsize = BLOCK_BYTES,
					       .frsize = BLOCK_BYTES,
					       .namelen = 255,
				       } };

	(void)rq;
	return put(rp, &out, sizeof out);
}

// ---- data ----

// A part of a read that lies in the metadata (space = META) or in one space.
#define META UINT32_MAX
struct piece {
	uint32_t space;
	uint64_t off; // there
	uint32_t len;
};

struct image_read {
	struct lazy_req req; // first: read_done() gets its address
	struct fuse_later *later;
};
_Static_assert(sizeof(struct image_read) <= FUSE_LATER_PRIV, "fits into struct fuse_later");
_Static_assert(offsetof(struct image_read, req) == 0, "is cast");

// A read of several pieces.
struct spread {
	struct fuse_later *later;
	uint32_t len;	       // of the whole
	_Atomic int error;     // of the first piece that failed
	_Atomic unsigned left; // pieces under way, and one for who starts them
	struct part {
		struct lazy_req req; // first: part_done() gets its address
		struct spread *spread;
	} parts[];
};
_Static_assert(offsetof(struct part, req) == 0, "is cast");

// The last space that begins at or before block and is not empty. There is one.
static uint32_t space_at(const struct erofs_image *im, uint64_t block)
{
	uint32_t lo = 0, hi = erofs_spaces(im);

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (erofs_space_start(im, mid) <= block)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

// The first piece of `len` bytes at `off`, which are in the file.
static struct piece first_piece(const struct erofs_image *im, uint64_t off, uint32_t len)
{
	uint64_t meta = erofs_meta_size(im);

	if (off < meta)
		return (struct piece){ META, off, (uint32_t)MIN(len, meta - off) };
	uint32_t space = space_at(im, off >> BLOCK_SHIFT);
	uint64_t from = (uint64_t)erofs_space_start(im, space) << BLOCK_SHIFT;
	uint64_t to = (uint64_t)erofs_space_start(im, space + 1) << BLOCK_SHIFT;
	return (struct piece){ space, off - from, (uint32_t)MIN(len, to - off) };
}

// Readers know these two.
static int reader_error(int r)
{
	return r == 0 || r == -ENOMEM ? r : -EIO;
}

static void read_done(struct lazy_req *req, int error)
{
	struct image_read *read = (struct image_read *)req;

	fuse_later_end(read->later, reader_error(error), req->len);
}

static int read_one(const struct imagefile *t, struct fuse_later *later, const struct piece *p)
{
	struct image_read *read = (void *)later->priv;

	*read = (struct image_read){
		.req = { .space = p->space,
			.off = p->off,
			.len = p->len,
			.buf = later->buf,
			.done = read_done },
		.later = later,
	};
	int r = lazy_read(t->lz, &read->req);
	if (r != 0) // else it may have been done already, and the record be another's
		fuse_later_end(later, r < 0 ? reader_error(r) : 0, p->len);
	return FUSE_LATER;
}

static void spread_put(struct spread *s, int error)
{
	int none = 0;

	if (error)
		atomic_compare_exchange_strong(&s->error, &none, error);
	if (atomic_fetch_sub(&s->left, 1) > 1)
		return;
	fuse_later_end(s->later, reader_error(s->error), s->len);
	free(s);
}

static void part_done(struct lazy_req *req, int error)
{
	spread_put(((struct part *)req)->spread, error);
}

static void start_part(
	const struct imagefile *t, struct part *part, const struct piece *p, uint8_t *buf)
{
	part->req = (struct lazy_req){
		.space = p->space, .off = p->off, .len = p->len, .buf = buf, .done = part_done
	};
	int r = 1;

	if (p->space != META)
		r = lazy_read(t->lz, &part->req);
	else if (erofs_read(t->im, EROFS_FLAT, buf, p->len, p->off))
		r = -EIO;
	if (r != 0)
		spread_put(part->spread, r < 0 ? r : 0);
}

static int read_pieces(
	const struct imagefile *t, struct fuse_later *later, uint64_t off, uint32_t len)
{
	uint32_t most = len / BLOCK_BYTES + 2; // pieces end where blocks do
	struct spread *s = calloc(1, sizeof *s + most * sizeof s->parts[0]);

	if (!s) {
		fuse_later_end(later, -ENOMEM, 0);
		return FUSE_LATER;
	}
	s->later = later;
	s->len = len;
	atomic_init(&s->left, 1);
	for (uint32_t done = 0, i = 0; done < len; i++) {
		struct piece p = first_piece(t->im, off + done, len - done);

		s->parts[i].spread = s;
		atomic_fetch_add(&s->left, 1);
		start_part(t, &s->parts[i], &p, later->buf + done);
		done += p.len;
	}
	spread_put(s, 0);
	return FUSE_LATER;
}

static int imagefile_read(void *data, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct fuse_read_in *in = rq->arg;
	struct imagefile *t = data;
	uint64_t size = erofs_flat_size(t->im);

	if (rq->nodeid != t->file)
		return -EISDIR;
	if (!t->opened) {
		t->opened = true;
		if (t->prefill)
			prefill_opened(t->prefill);
	}
	if (in->size == 0 || in->offset >= size)
		return 0;
	uint32_t len = (uint32_t)MIN(in->size, size - in->offset);
	struct piece p = first_piece(t->im, in->offset, len);
	if (p.space == META && p.len == len) {
		rp->len = len;
		return erofs_read(t->im, EROFS_FLAT, rp->buf, len, in->offset) ? -EIO : 0;
	}
	struct fuse_later *later = fuse_later_new(rp->fuse, rq);
	return p.len == len ? read_one(t, later, &p) : read_pieces(t, later, in->offset, len);
}

static fuse_handler *const handlers[FUSE_OPCODES] = {
	[FUSE_LOOKUP] = imagefile_lookup,
	[FUSE_GETATTR] = imagefile_getattr,
	[FUSE_READ] = imagefile_read,
	[FUSE_STATFS] = imagefile_statfs,
	[FUSE_READDIR] = imagefile_readdir,
	[FUSE_READDIRPLUS] = imagefile_readdir,
};

static void landed(void *arg, uint32_t space, uint32_t block, uint32_t blocks)
{
	struct imagefile *t = arg;

	prefill_put(t->prefill, space, block, blocks);
}

static void started(void *arg)
{
	struct imagefile *t = arg;

	t->hooks->started(t->hooks->arg);
}

static void whole(void *arg)
{
	struct imagefile *t = arg;

	t->hooks->whole(t->hooks->arg);
}

static void asked(void *arg, uint32_t space, uint64_t off, uint32_t len)
{
	struct imagefile *t = arg;

	t->hooks->asked(t->hooks->arg, space, off, len);
}

static int begin(struct imagefile *t, bool foreseen, int fuse_fd)
{
	struct lazy_hooks own = *t->hooks;
	int r = prefill_start(fuse_fd, t->file, t->lz, t->im, &t->prefill);

	if (r)
		return r;
	own.arg = t;
	own.landed = foreseen ? landed : NULL;
	own.started = t->hooks->started ? started : NULL;
	own.whole = t->hooks->whole ? whole : NULL;
	own.asked = t->hooks->asked ? asked : NULL;
	return lazy_begin(t->lz, &own);
}

int imagefile_serve(struct lazy *lz, const struct erofs_image *im, bool alone,
	const struct lazy_hooks *hooks, bool foreseen, int fuse_fd, unsigned threads)
{
	struct imagefile t = {
		.lz = lz, .im = im, .file = alone ? ROOT : ROOT + 1, .hooks = hooks
	};
	struct fuse_fs fs = { .data = &t, .nodes = t.file, .handlers = handlers };
	int r = hooks ? begin(&t, foreseen, fuse_fd) : 0;

	if (!r)
		r = fuse_serve(fuse_fd, &fs, threads);
	lazy_unhook(lz);
	prefill_end(t.prefill);
	return r;
}
