// bootw.c - makes boot frames
//
// Threads: frames are made in batches, one thread for each frame of a batch, while the caller's
// thread reads the next batch. A slot belongs to its thread from start_batch to end_batch.
// SPDX-License-Identifier: Apache-2.0
#include "bootw.h"

#include <pthread.h>
#include <zstd.h>

#include "log.h"

// ---- frames ----

// Blocks of frame number i: 64 KiB, 128, 256, 512, then 1 MiB.
static uint32_t frame_room(size_t i)
{
	return i < 4 ? 16u << i : FMT_FRAME_BLOCKS_MAX;
}

static void plan_run(struct index_parts *parts, struct fmt_run r)
{
	while (r.blocks) {
		size_t n = parts->frames.len / sizeof(struct fmt_frame);
		struct fmt_frame *f = n ? (struct fmt_frame *)parts->frames.data + n - 1 : NULL;
		struct fmt_run part = r;

		if (!f || f->blocks == frame_room(n - 1)) {
			struct fmt_frame new = { .first_run = (uint32_t)(parts->runs.len /
							 sizeof(struct fmt_run)) };

			buf_add(&parts->frames, &new, sizeof new);
			continue;
		}
		part.blocks = MIN(r.blocks, frame_room(n - 1) - f->blocks);
		buf_add(&parts->runs, &part, sizeof part);
		f->runs++;
		f->blocks += part.blocks;
		r.block += part.blocks;
		r.blocks -= part.blocks;
	}
}

struct slot {
	const struct pack_conf *conf;
	struct fmt_frame *frame; // NULL: not in use
	uint8_t *plain, *packed;
	ZSTD_CCtx *z;
	bool running;
	pthread_t thread;
};

static void *make_frame(void *arg)
{
	struct slot *s = arg;
	struct fmt_frame *f = s->frame;
	size_t plain = (size_t)f->blocks << BLOCK_SHIFT, n;
	struct digest sha = sha256_of(s->plain, plain);

	memcpy(f->sha, sha.b, sizeof f->sha);
	n = chunk_encode(s->conf, s->z, s->plain, plain, s->packed);
	f->codec = (uint8_t)(n ? s->conf->codec : CODEC_STORED);
	f->clen = (uint32_t)(n ? n : plain);
	return NULL;
}

static void start_batch(struct slot *s, unsigned n)
{
	for (unsigned i = 0; i < n && s[i].frame; i++) {
		s[i].running = !pthread_create(&s[i].thread, NULL, make_frame, &s[i]);
		if (!s[i].running)
			make_frame(&s[i]);
	}
}

// Waits for a batch, and writes it unless r says that all is lost.
static int end_batch(struct slot *s, unsigned n, int out_fd, uint64_t *size, int r)
{
	for (unsigned i = 0; i < n && s[i].frame; i++) {
		const struct fmt_frame *f = s[i].frame;

		if (s[i].running)
			pthread_join(s[i].thread, NULL);
		s[i].running = false;
		s[i].frame = NULL;
		if (r)
			continue;
		r = pwrite_full(out_fd, f->codec == CODEC_STORED ? s[i].plain : s[i].packed,
			f->clen, *size);
		if (r)
			warn_errno(r, "write the boot stream");
		*size += f->clen;
	}
	return r;
}

static int read_frame(struct slot *s, const struct index_parts *parts, struct fmt_frame *f,
	boot_read *read, void *arg)
{
	const struct fmt_run *run = (const struct fmt_run *)parts->runs.data + f->first_run;
	uint8_t *to = s->plain;
	int r = 0;

	for (uint32_t i = 0; i < f->runs && !r; i++, run++) {
		r = read(arg, run->space, run->block, run->blocks, to);
		to += (size_t)run->blocks << BLOCK_SHIFT;
	}
	s->frame = f;
	return r;
}

static struct slot *new_slots(const struct pack_conf *conf, unsigned n)
{
	size_t plain = (size_t)FMT_FRAME_BLOCKS_MAX << BLOCK_SHIFT;
	struct slot *s = xcalloc(n, sizeof *s);

	for (unsigned i = 0; i < n; i++) {
		s[i].conf = conf;
		s[i].plain = xmalloc(plain);
		s[i].packed = xmalloc(chunk_bound(plain));
		s[i].z = ZSTD_createCCtx();
	}
	return s;
}

static void free_slots(struct slot *s, unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		free(s[i].plain);
		free(s[i].packed);
		ZSTD_freeCCtx(s[i].z);
	}
	free(s);
}

int boot_build(const struct fmt_run *runs, size_t n, const struct pack_conf *conf, boot_read *read,
	void *arg, struct index_parts *parts, int out_fd, uint64_t *ret_size)
{
	unsigned batch = MAX(conf->threads, 1u);
	struct slot *slots = new_slots(conf, 2 * batch), *now = slots, *last = slots + batch;
	struct fmt_frame *f, *end;
	uint64_t size = 0;
	int r = 0, e;

	for (unsigned i = 0; i < 2 * batch; i++)
		if (!slots[i].z)
			r = -ENOMEM;
	parts->frames.len = parts->runs.len = 0;
	for (size_t i = 0; i < n; i++)
		plan_run(parts, runs[i]);
	f = (struct fmt_frame *)parts->frames.data;
	end = n ? f + parts->frames.len / sizeof *f : f;
	while (f < end && !r) {
		struct slot *t = now;

		for (unsigned i = 0; i < batch && f < end && !r; i++)
			r = read_frame(&now[i], parts, f++, read, arg);
		e = end_batch(last, batch, out_fd, &size, r);
		r = r ? r : e;
		if (r)
			break;
		start_batch(now, batch);
		now = last;
		last = t;
	}
	e = end_batch(last, batch, out_fd, &size, r);
	r = r ? r : e;
	free_slots(slots, 2 * batch);
	if (!r)
		*ret_size = size;
	return r;
}

// ---- the source ----

#define CACHE_BYTES (8u << 20) // of decoded chunks: small files that are read together lie together

struct cached {
	uint32_t chunk; // or UINT32_MAX
	uint8_t *plain;
};

struct boot_source {
	const struct index *ix;
	const int *fds;
	uint8_t *packed;
	size_t packed_cap, plain_max;
	size_t n;
	struct cached *cache; // chunk c stands at c % n, if it is there
};

struct boot_source *boot_source_new(const struct index *ix, const int *fds)
{
	struct boot_source *s = xcalloc(1, sizeof *s);

	s->ix = ix;
	s->fds = fds;
	s->plain_max = BLOCK_BYTES;
	for (uint32_t i = 0; i < index_chunks(ix); i++) {
		struct chunk_view c;

		index_chunk(ix, i, &c);
		if (c.codec != CODEC_ZERO)
			s->plain_max = MAX(s->plain_max, (size_t)c.blocks << BLOCK_SHIFT);
	}
	s->n = MAX(CACHE_BYTES / s->plain_max, (size_t)1);
	s->cache = xcalloc(s->n, sizeof *s->cache);
	for (size_t i = 0; i < s->n; i++)
		s->cache[i].chunk = UINT32_MAX;
	return s;
}

void boot_source_free(struct boot_source *s)
{
	if (!s)
		return;
	for (size_t i = 0; i < s->n; i++)
		free(s->cache[i].plain);
	free(s->cache);
	free(s->packed);
	free(s);
}

// The frames are hashed anew, so a scratch file that does not hold what was written must be found
// out here.
static int load(struct boot_source *s, uint32_t chunk, const struct chunk_view *c, uint8_t *out)
{
	size_t plain = (size_t)c->blocks << BLOCK_SHIFT;
	struct digest sha;
	int r;

	if (c->codec == CODEC_ZERO || s->fds[c->space] < 0)
		return warn_errno(-EINVAL, "boot stream: chunk %u has no data", chunk);
	s->packed = xgrow(s->packed, &s->packed_cap, c->clen, 1);
	r = pread_full(s->fds[c->space], s->packed, c->clen, c->off);
	if (r)
		return warn_errno(r, "read back a data blob");
	r = chunk_decode(c->codec, s->packed, c->clen, out, plain);
	sha = sha256_of(out, plain);
	if (r || !digest_equal(&sha, &c->sha))
		return warn_errno(-EIO, "a data blob was damaged in its scratch file");
	return 0;
}

static int get_chunk(
	struct boot_source *s, uint32_t chunk, const struct chunk_view *c, const uint8_t **ret)
{
	struct cached *k = &s->cache[chunk % s->n];
	int r;

	if (k->chunk != chunk) {
		if (!k->plain)
			k->plain = xmalloc(s->plain_max);
		k->chunk = UINT32_MAX;
		r = load(s, chunk, c, k->plain);
		if (r)
			return r;
		k->chunk = chunk;
	}
	*ret = k->plain;
	return 0;
}

int boot_source_read(void *arg, uint32_t space, uint32_t block, uint32_t blocks, void *buf)
{
	struct boot_source *s = arg;
	uint8_t *to = buf;

	while (blocks) {
		uint32_t chunk = index_chunk_at(s->ix, space, block), n;
		const uint8_t *plain;
		struct chunk_view c;
		int r;

		index_chunk(s->ix, chunk, &c);
		n = MIN(blocks, c.block + c.blocks - block);
		r = get_chunk(s, chunk, &c, &plain);
		if (r)
			return r;
		memcpy(to, plain + ((size_t)(block - c.block) << BLOCK_SHIFT),
			(size_t)n << BLOCK_SHIFT);
		to += (size_t)n << BLOCK_SHIFT;
		block += n;
		blocks -= n;
	}
	return 0;
}
