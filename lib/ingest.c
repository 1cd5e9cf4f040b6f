// ingest.c - one layer's tar, read once
//
// Up to three sums are made of what passes here: the layer's diff_id, and a file's digest or a chunk's. Two hashes in
// step cost much less than one after the other, so the diff_id waits for the other one.
// SPDX-License-Identifier: Apache-2.0
#include "ingest.h"

#include "log.h"

#define IO_SIZE (128u << 10)

// ---- a stream that hashes what passes ----

struct tee {
	struct stream s;
	struct stream *in;
	struct sha256 h;
	const uint8_t *p; // n bytes that were read to there and are not hashed yet
	size_t n;
};

static void tee_flush(struct tee *t)
{
	sha256_update(&t->h, t->p, t->n);
	t->n = 0;
}

// The bytes stay where they are until the next read, or until the spool is done with its buffer.
static ssize_t tee_read(struct stream *s, void *buf, size_t n)
{
	struct tee *t = (struct tee *)s;
	ssize_t r;

	if (t->n && t->p + t->n != buf)
		tee_flush(t);
	r = stream_read(t->in, buf, n);
	if (r > 0) {
		if (!t->n)
			t->p = buf;
		t->n += (size_t)r;
	}
	return r;
}

static void tee_close(struct stream *s)
{
	(void)s;
}

// Hashes n bytes into h, and as many of those that wait for the layer's digest in step.
static void tee_update(void *arg, struct sha256 *h, const uint8_t *p, size_t n)
{
	struct tee *t = arg;
	size_t both = MIN(n, t->n);

	if (both)
		sha256_update2(h, p, &t->h, t->p, both);
	t->p += both;
	t->n -= both;
	sha256_update(h, p + both, n - both);
}

// ---- contents into blocks ----

// What is written waits in the buffer until that is full, so that small files cost no call each.
struct spool {
	int fd;
	uint64_t tail;	// next free block
	uint64_t start; // the block that the buffer begins with; what is before it has been written
	uint64_t dirty; // blocks below this may hold bytes of a content that was dropped again
	uint8_t *buf;	// IO_SIZE
	struct cutter *cut;
	struct tee *tee;
};

// Writes the buffer's first `whole` blocks of bytes; it begins behind them then. Zeros are left as holes where
// nothing was before.
static int spool_write(struct spool *sp, size_t whole)
{
	int r = 0;

	if (sp->start < sp->dirty || !is_zero(sp->buf, whole)) {
		r = pwrite_full(sp->fd, sp->buf, whole, sp->start << BLOCK_SHIFT);
		sp->dirty = MAX(sp->dirty, sp->start + (whole >> BLOCK_SHIFT));
	}
	sp->start += whole >> BLOCK_SHIFT;
	return r ? warn_errno(r, "write the decoded layer%s",
			   r == -ENOSPC ? " (TMPDIR names another place)" : "")
		 : 0;
}

// Reads n bytes of the file, or less at its end; -errno.
static ssize_t fill(struct tar *t, uint8_t *buf, size_t n)
{
	size_t got = 0;

	while (got < n) {
		ssize_t r = tar_read(t, buf + got, n - got);

		if (r < 0)
			return r;
		if (!r)
			break;
		got += (size_t)r;
	}
	return (ssize_t)got;
}

// The buffer has n more bytes of a file at p: takes their sums (file: of the file, or NULL). Returns how many
// bytes of whole blocks they are.
static size_t spool_piece(struct spool *sp, uint8_t *p, size_t n, struct sha256 *file)
{
	size_t whole = (n + BLOCK_BYTES - 1) & ~(size_t)(BLOCK_BYTES - 1);

	memset(p + n, 0, whole - n);
	if (file)
		tee_update(sp->tee, file, p, n);
	if (sp->cut)
		cutter_add(sp->cut, p, whole);
	if (sp->tee->p >= sp->buf && sp->tee->p < sp->buf + IO_SIZE)
		tee_flush(sp->tee);
	return whole;
}

// Stores a file's data at the tail; learns its digest if `ret` is given.
static int spool_file(struct spool *sp, struct tar *t, uint64_t size, struct digest *ret)
{
	struct sha256 h;
	size_t at; // in the buffer

	// what was written of a content that was dropped is written over
	sp->start = MIN(sp->start, sp->tail);
	at = (size_t)(sp->tail - sp->start) << BLOCK_SHIFT;
	sha256_init(&h);
	for (uint64_t left = size; left;) {
		size_t want = (size_t)MIN(left, (uint64_t)(IO_SIZE - at));
		ssize_t n = fill(t, sp->buf + at, want);
		int r = 0;

		if (n < 0)
			return (int)n;
		if ((size_t)n != want)
			return -EBADMSG; // the tar reader has said why
		at += spool_piece(sp, sp->buf + at, want, ret ? &h : NULL);
		if (at == IO_SIZE) {
			r = spool_write(sp, at);
			at = 0;
		}
		if (r)
			return r;
		left -= want;
	}
	if (ret)
		*ret = sha256_final(&h);
	return 0;
}

// Writes what waits, and makes the file as long as its blocks are.
static int spool_end(struct spool *sp)
{
	int r = 0;

	if (sp->tail > sp->start)
		r = spool_write(sp, (size_t)(sp->tail - sp->start) << BLOCK_SHIFT);
	if (!r && ftruncate(sp->fd, (off_t)(sp->tail << BLOCK_SHIFT)))
		r = warn_errno(-errno, "write the decoded layer");
	return r;
}

// A lower layer's content is stored only if a name of that layer still had it at the layer's end.
static bool can_share(const struct ingest *in, const struct content *c)
{
	return c->space == in->space || c->block != TREE_NONE;
}

// Enters a content that the spool holds at c->spool: as a new one, or as one that is there already.
// True: it is new.
static bool enter_content(struct ingest *in, const struct content *c, uint32_t *ret)
{
	uint32_t same = in->share ? tree_find_content(in->tree, &c->sha, c->size) : TREE_NONE;

	in->bytes += c->size;
	if (same != TREE_NONE && can_share(in, tree_content(in->tree, same))) {
		in->shared += c->size;
		*ret = same;
		return false;
	}
	*ret = tree_add_content(in->tree, c);
	return true;
}

static struct content new_content(const struct ingest *in, uint64_t size, uint32_t spool)
{
	return (struct content){ .size = size,
		.space = in->space,
		.spool = spool,
		.block = TREE_NONE,
		.unique = !in->share };
}

static int take_file(
	struct ingest *in, struct spool *sp, struct tar *t, uint64_t size, uint32_t *ret)
{
	struct content c = new_content(in, size, (uint32_t)sp->tail);
	uint64_t blocks = blocks_of(size);
	int r;

	if (sp->tail + blocks > UINT32_MAX)
		return warn_errno(-EFBIG, "layer %s holds more than 16 TiB", in->name);
	r = spool_file(sp, t, size, in->share ? &c.sha : NULL);
	if (r)
		return r;
	if (enter_content(in, &c, ret))
		sp->tail += blocks;
	return 0;
}

static int take_entries(struct ingest *in, struct spool *sp, struct tar *t)
{
	struct tar_entry e;
	int r;

	while ((r = tar_next(t, &e)) == 1) {
		uint32_t content = TREE_NONE;

		in->entries++;
		if (e.type == TAR_FILE && e.size && !tree_skips(&e)) {
			r = take_file(in, sp, t, e.size, &content);
			if (r)
				return r;
		}
		if (in->journal)
			journal_put(in->journal, &e,
				content == TREE_NONE ? UINT32_MAX
						     : tree_content(in->tree, content)->spool);
		r = tree_add(in->tree, &e, content, in->name);
		if (r)
			return r;
	}
	if (!r && in->journal)
		journal_put_end(in->journal);
	return r ? r : tree_end_layer(in->tree, in->name);
}

static int take_layer(struct ingest *in, struct stream *plain)
{
	static const struct stream_ops ops = { .read = tee_read, .close = tee_close };
	cleanup_free uint8_t *buf = xmalloc(IO_SIZE);
	struct tee tee = { .s.ops = &ops, .in = plain };
	struct spool sp = { .fd = in->spool, .buf = buf, .cut = in->cut, .tee = &tee };
	struct digest got;
	struct tar *t;
	int r;

	sha256_init(&tee.h);
	if (in->cut) {
		in->cut->update = tee_update;
		in->cut->arg = &tee;
	}
	t = tar_open(&tee.s, in->name);
	tree_begin_layer(in->tree);
	r = take_entries(in, &sp, t);
	tee_flush(&tee);
	tar_close(t);
	if (r)
		return r;
	if (in->cut)
		cutter_end(in->cut);
	got = sha256_final(&tee.h);
	if (in->diff_id && !digest_equal(&got, in->diff_id)) {
		char want[DIGEST_STR_LEN], is[DIGEST_STR_LEN];

		return warn_errno(-EBADMSG,
			"layer %s decodes to %s, but the image's config says %s", in->name,
			digest_str(&got, is), digest_str(in->diff_id, want));
	}
	in->blocks = (uint32_t)sp.tail;
	return spool_end(&sp);
}

int ingest_layer(struct ingest *in, struct stream *plain)
{
	int r = take_layer(in, plain);

	stream_close(plain);
	return r;
}

// ---- a layer that was read before ----

// The digest of a content that stands in the spool.
static int hash_again(const struct ingest *in, struct content *c, uint8_t *buf)
{
	struct sha256 h;

	sha256_init(&h);
	for (uint64_t at = 0; at < c->size;) {
		size_t n = (size_t)MIN(c->size - at, (uint64_t)IO_SIZE);
		int r = pread_full(in->spool, buf, n, ((uint64_t)c->spool << BLOCK_SHIFT) + at);

		if (r)
			return warn_errno(r, "layer %s: read what the store has of it", in->name);
		sha256_update(&h, buf, n);
		at += n;
	}
	c->sha = sha256_final(&h);
	return 0;
}

int ingest_again(struct ingest *in, struct journal_r *from)
{
	cleanup_free uint8_t *buf = xmalloc(IO_SIZE);
	struct tar_entry e;
	uint32_t spool;
	int r;

	tree_begin_layer(in->tree);
	while ((r = journal_next(from, &e, &spool)) == 1) {
		uint32_t content = TREE_NONE;

		in->entries++;
		if (spool != UINT32_MAX) {
			struct content c = new_content(in, e.size, spool);

			r = hash_again(in, &c, buf);
			if (r)
				return r;
			enter_content(in, &c, &content);
		}
		r = tree_add(in->tree, &e, content, in->name);
		if (r)
			return r;
	}
	return r ? r : tree_end_layer(in->tree, in->name);
}
