// pack.c - lays a layer out as a data space, compresses its chunks on all cores, in order
//
// Threads: pack_run starts conf.threads workers. Chunk i is handled in slot i % slots: a worker
// takes the next two numbers, waits until their slots are free, reads, hashes and compresses; the caller's
// thread takes the slots in order and writes. `lock` guards next, written, failed and each slot's
// done; a slot belongs to its worker until it is done, then to the writer until it is written.
// SPDX-License-Identifier: Apache-2.0
#include "pack.h"

#include <lz4.h>
#include <lz4hc.h>
#include <pthread.h>
#include <zstd.h>

#include "log.h"

struct segment {
	uint32_t spool, blocks;
};

struct plan { // of one chunk
	uint32_t first_segment;
	uint32_t blocks;
};

struct slot {
	bool done;
	uint8_t *plain, *packed;
	const uint8_t *out; // which of the two goes into the blob
	struct fmt_chunk chunk;
	int error;
};

struct pack {
	struct pack_conf conf;
	uint32_t space, blocks;
	bool open; // the last chunk may take another small file
	struct segment *segments;
	size_t n_segments, cap_segments;
	struct plan *plans;
	size_t n_plans, cap_plans;
	struct fmt_chunk *chunks;
	size_t n_chunks, cap_chunks;
	struct digest blob;
	uint64_t blob_size;
	pack_growth *grown; // or NULL
	void *grown_arg;
	// while running
	int spool;
	struct slot *slots;
	unsigned n_slots;
	size_t next, written;
	bool failed;
	pthread_mutex_t lock;
	pthread_cond_t turn;
};

struct pack *pack_new(const struct pack_conf *conf, uint32_t space)
{
	struct pack *p = xcalloc(1, sizeof *p);

	p->conf = *conf;
	p->space = space;
	return p;
}

void pack_on_growth(struct pack *p, pack_growth *fn, void *arg)
{
	p->grown = fn;
	p->grown_arg = arg;
}

void pack_free(struct pack *p)
{
	if (!p)
		return;
	free(p->segments);
	free(p->plans);
	free(p->chunks);
	free(p);
}

// ---- layout ----

static void new_plan(struct pack *p)
{
	p->plans = xgrow(p->plans, &p->cap_plans, p->n_plans + 1, sizeof *p->plans);
	p->plans[p->n_plans++] = (struct plan){ .first_segment = (uint32_t)p->n_segments };
}

static void add_segment(struct pack *p, uint32_t spool, uint32_t blocks)
{
	p->segments = xgrow(p->segments, &p->cap_segments, p->n_segments + 1, sizeof *p->segments);
	p->segments[p->n_segments++] = (struct segment){ spool, blocks };
	p->plans[p->n_plans - 1].blocks += blocks;
}

static void add_big(struct pack *p, uint32_t spool, uint32_t blocks)
{
	while (blocks) {
		uint32_t n = MIN(blocks, p->conf.chunk_blocks);

		new_plan(p);
		add_segment(p, spool, n);
		spool += n;
		blocks -= n;
	}
	p->open = false;
}

static void add_small(struct pack *p, uint32_t spool, uint32_t blocks)
{
	if (!p->open || p->plans[p->n_plans - 1].blocks + blocks > p->conf.chunk_blocks)
		new_plan(p);
	add_segment(p, spool, blocks);
	p->open = true;
}

int content_place(struct content *c, uint32_t space, uint32_t *blocks)
{
	uint64_t n = blocks_of(c->size);

	if (c->space != space || c->block != TREE_NONE)
		return 0;
	if (n > UINT32_MAX - *blocks)
		return -EFBIG;
	c->block = *blocks;
	*blocks += (uint32_t)n;
	return 1;
}

int pack_place(struct pack *p, struct content *c)
{
	int r = content_place(c, p->space, &p->blocks);
	uint32_t blocks = (uint32_t)blocks_of(c->size); // if it is placed

	if (r < 0)
		return warn_errno(r, "a layer of more than 16 TiB");
	if (r && blocks >= p->conf.chunk_blocks)
		add_big(p, c->spool, blocks);
	else if (r)
		add_small(p, c->spool, blocks);
	return 0;
}

// ---- codecs ----

size_t chunk_bound(size_t n)
{
	return MAX((size_t)LZ4_compressBound((int)n), ZSTD_compressBound(n));
}

static size_t packed_bound(const struct pack_conf *c)
{
	return chunk_bound((size_t)c->chunk_blocks << BLOCK_SHIFT);
}

size_t chunk_encode(const struct pack_conf *c, ZSTD_CCtx *z, const void *in, size_t n, void *out)
{
	size_t cap = chunk_bound(n), r;

	switch (c->codec) {
	case CODEC_LZ4:
		r = (size_t)(c->level ? LZ4_compress_HC(in, out, (int)n, (int)cap, c->level)
				      : LZ4_compress_default(in, out, (int)n, (int)cap));
		break;
	case CODEC_ZSTD:
		r = ZSTD_compressCCtx(z, out, cap, in, n, c->level);
		r = ZSTD_isError(r) ? 0 : r;
		break;
	default: r = 0;
	}
	// a gain below 1/16 is not worth decoding for
	return r && r < n - n / 16 ? r : 0;
}

// A decoder per thread, made at its first use, freed when it ends.
static pthread_key_t decoder_key;
static bool have_decoder_key;

static void free_decoder(void *z)
{
	ZSTD_freeDCtx(z);
}

static void make_decoder_key(void)
{
	have_decoder_key = !pthread_key_create(&decoder_key, free_decoder);
}

static ZSTD_DCtx *decoder(void)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	ZSTD_DCtx *z;

	pthread_once(&once, make_decoder_key);
	if (!have_decoder_key)
		return NULL;
	z = pthread_getspecific(decoder_key);
	if (z)
		return z;
	z = ZSTD_createDCtx();
	if (z && pthread_setspecific(decoder_key, z)) {
		ZSTD_freeDCtx(z);
		return NULL;
	}
	return z;
}

// zstd takes any number of frames, and skippable ones between them; the format has exactly one.
static int decode_zstd(const void *in, size_t clen, void *out, size_t plain)
{
	ZSTD_DCtx *z = decoder();

	if (!z)
		return -ENOMEM;
	if (ZSTD_findFrameCompressedSize(in, clen) != clen)
		return -EBADMSG;
	return ZSTD_decompressDCtx(z, out, plain, in, clen) == plain ? 0 : -EBADMSG;
}

int chunk_decode(enum codec codec, const void *in, size_t clen, void *out, size_t plain)
{
	switch (codec) {
	case CODEC_STORED:
		if (clen != plain)
			return -EBADMSG;
		memcpy(out, in, plain);
		return 0;
	case CODEC_LZ4:
		return LZ4_decompress_safe(in, out, (int)clen, (int)plain) == (int)plain ? 0
											 : -EBADMSG;
	case CODEC_ZSTD: return decode_zstd(in, clen, out, plain);
	case CODEC_ZERO: memset(out, 0, plain); return 0;
	}
	return -EBADMSG;
}

// ---- running ----

static int read_plan(const struct pack *p, const struct plan *pl, uint8_t *out)
{
	size_t seg = pl->first_segment;

	for (uint32_t at = 0; at < pl->blocks;) {
		const struct segment *s = &p->segments[seg++];
		uint32_t n = s->blocks;
		int r;

		// neighbours in the spool are read at once
		while (at + n < pl->blocks && p->segments[seg].spool == s->spool + n)
			n += p->segments[seg++].blocks;
		r = pread_full(p->spool, out + ((size_t)at << BLOCK_SHIFT),
			(size_t)n << BLOCK_SHIFT, (uint64_t)s->spool << BLOCK_SHIFT);
		if (r)
			return warn_errno(r, "read back the decoded layer");
		at += n;
	}
	return 0;
}

static void read_chunk(struct pack *p, const struct plan *pl, struct slot *s)
{
	s->chunk = (struct fmt_chunk){ .blocks = pl->blocks };
	s->error = read_plan(p, pl, s->plain);
	if (!s->error && is_zero(s->plain, (size_t)pl->blocks << BLOCK_SHIFT))
		s->chunk.codec = CODEC_ZERO;
}

static bool has_bytes(const struct slot *s)
{
	return !s->error && s->chunk.codec != CODEC_ZERO;
}

static void set_sha(struct slot *s, struct sha256 *h)
{
	struct digest sha = sha256_final(h);

	memcpy(s->chunk.sha, sha.b, sizeof s->chunk.sha);
}

static void hash_one(struct slot *s)
{
	struct sha256 h;

	sha256_init(&h);
	sha256_update(&h, s->plain, (size_t)s->chunk.blocks << BLOCK_SHIFT);
	set_sha(s, &h);
}

// In step as far as the shorter one goes.
static void hash_two(struct slot *s, struct slot *t)
{
	size_t n = (size_t)s->chunk.blocks << BLOCK_SHIFT,
	       m = (size_t)t->chunk.blocks << BLOCK_SHIFT;
	size_t both = MIN(n, m);
	struct sha256 h, g;

	sha256_init(&h);
	sha256_init(&g);
	sha256_update2(&h, s->plain, &g, t->plain, both);
	sha256_update(&h, s->plain + both, n - both);
	sha256_update(&g, t->plain + both, m - both);
	set_sha(s, &h);
	set_sha(t, &g);
}

static void compress_chunk(struct pack *p, ZSTD_CCtx *z, struct slot *s)
{
	size_t plain = (size_t)s->chunk.blocks << BLOCK_SHIFT, n;

	n = chunk_encode(&p->conf, z, s->plain, plain, s->packed);
	s->chunk.codec = (uint8_t)(n ? p->conf.codec : CODEC_STORED);
	s->chunk.clen = (uint32_t)(n ? n : plain);
	s->out = n ? s->packed : s->plain;
}

static struct slot *slot_of(struct pack *p, size_t i)
{
	return &p->slots[i % p->n_slots];
}

// Chunks i to i + n - 1, n at most 2: two, as two hashes in step cost much less.
static void make_chunks(struct pack *p, size_t i, size_t n, ZSTD_CCtx *z)
{
	struct slot *s = slot_of(p, i), *t = slot_of(p, i + n - 1);

	for (size_t k = i; k < i + n; k++)
		read_chunk(p, &p->plans[k], slot_of(p, k));
	if (s != t && has_bytes(s) && has_bytes(t))
		hash_two(s, t);
	else if (has_bytes(s))
		hash_one(s);
	else if (has_bytes(t))
		hash_one(t);
	for (size_t k = i; k < i + n; k++)
		if (has_bytes(slot_of(p, k)))
			compress_chunk(p, z, slot_of(p, k));
}

static void *work(void *arg)
{
	struct pack *p = arg;
	ZSTD_CCtx *z = ZSTD_createCCtx();

	pthread_mutex_lock(&p->lock);
	while (p->next < p->n_plans && !p->failed) {
		size_t i = p->next, n = MIN(p->n_plans - i, (size_t)2);

		p->next += n;
		// until chunk k - n_slots has been written, the slot of k is its own
		while (i + n > p->written + p->n_slots && !p->failed)
			pthread_cond_wait(&p->turn, &p->lock);
		if (p->failed)
			break;
		pthread_mutex_unlock(&p->lock);
		if (z)
			make_chunks(p, i, n, z);
		pthread_mutex_lock(&p->lock);
		for (size_t k = i; k < i + n; k++) {
			slot_of(p, k)->error = z ? slot_of(p, k)->error : -ENOMEM;
			slot_of(p, k)->done = true;
		}
		pthread_cond_broadcast(&p->turn);
	}
	pthread_mutex_unlock(&p->lock);
	ZSTD_freeCCtx(z);
	return NULL;
}

// Neighbouring zero chunks become one entry.
static void record_chunk(struct pack *p, const struct fmt_chunk *c)
{
	struct fmt_chunk *last = p->n_chunks ? &p->chunks[p->n_chunks - 1] : NULL;
	uint32_t block = last ? last->block + last->blocks : 0;

	if (last && c->codec == CODEC_ZERO && last->codec == CODEC_ZERO) {
		last->blocks += c->blocks;
		return;
	}
	p->chunks = xgrow(p->chunks, &p->cap_chunks, p->n_chunks + 1, sizeof *p->chunks);
	p->chunks[p->n_chunks] = *c;
	p->chunks[p->n_chunks].block = block;
	p->n_chunks++;
}

static int write_chunks(struct pack *p, int out_fd)
{
	struct sha256 h;
	int r = 0;

	sha256_init(&h);
	for (size_t i = 0; i < p->n_plans && !r; i++) {
		struct slot *s = &p->slots[i % p->n_slots];

		pthread_mutex_lock(&p->lock);
		while (!s->done)
			pthread_cond_wait(&p->turn, &p->lock);
		pthread_mutex_unlock(&p->lock);
		r = s->error;
		if (!r && s->chunk.clen) {
			sha256_update(&h, s->out, s->chunk.clen);
			r = pwrite_full(out_fd, s->out, s->chunk.clen, p->blob_size);
			p->blob_size += s->chunk.clen;
			if (r)
				warn_errno(r, "write a data blob");
			else if (p->grown)
				p->grown(p->grown_arg, p->blob_size);
		}
		if (!r)
			record_chunk(p, &s->chunk);
		pthread_mutex_lock(&p->lock);
		s->done = false;
		p->written++;
		p->failed = r != 0;
		// workers take chunks by twos
		if (!(p->written & 1) || r)
			pthread_cond_broadcast(&p->turn);
		pthread_mutex_unlock(&p->lock);
	}
	p->blob = sha256_final(&h);
	return r;
}

static void free_slots(struct pack *p)
{
	for (unsigned i = 0; i < p->n_slots; i++) {
		free(p->slots[i].plain);
		free(p->slots[i].packed);
	}
	free(p->slots);
}

int pack_run(struct pack *p, int spool_fd, int out_fd)
{
	unsigned threads = MAX(p->conf.threads, 1u), started = 0;
	pthread_t *t = xcalloc(threads, sizeof *t);
	int r = 0;

	p->spool = spool_fd;
	p->n_slots = 4 * threads;
	p->slots = xcalloc(p->n_slots, sizeof *p->slots);
	for (unsigned i = 0; i < p->n_slots; i++) {
		p->slots[i].plain = xmalloc((size_t)p->conf.chunk_blocks << BLOCK_SHIFT);
		p->slots[i].packed = xmalloc(packed_bound(&p->conf));
	}
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->turn, NULL);
	while (started < threads && !pthread_create(&t[started], NULL, work, p))
		started++;
	if (started)
		r = write_chunks(p, out_fd);
	else
		r = warn_errno(-EAGAIN, "start a thread");
	for (unsigned i = 0; i < started; i++)
		pthread_join(t[i], NULL);
	pthread_cond_destroy(&p->turn);
	pthread_mutex_destroy(&p->lock);
	free_slots(p);
	free(t);
	return r;
}

uint32_t pack_blocks(const struct pack *p)
{
	return p->blocks;
}

const struct fmt_chunk *pack_chunks(const struct pack *p, uint32_t *ret_n)
{
	*ret_n = (uint32_t)p->n_chunks;
	return p->chunks;
}

void pack_blob(const struct pack *p, struct digest *ret_digest, uint64_t *ret_size)
{
	*ret_digest = p->blob;
	*ret_size = p->blob_size;
}
