// gunzip.c - gzip members decoded piece by piece, by ISA-L or by zlib
//
// The wrapper of RFC 1952 is read here, byte by byte; the deflate data between header and trailer
// are an engine's. On x86-64 that is ISA-L, whose assembler chooses by the CPU itself and is twice
// as fast as zlib (doc/design.md has the table); elsewhere zlib, which is faster than ISA-L's C.
// Both are there on x86-64, so that the tests can hold them against each other.
// SPDX-License-Identifier: Apache-2.0
#include "gunzip.h"

#include <zlib.h>
#if defined(__x86_64__)
#include <igzip_lib.h>
#endif

#define FIXED_LEN 10 // of the header: magic, method, flags, time, two more
#define TRAILER_LEN 8
#define FLAG_CRC 0x02
#define FLAG_EXTRA 0x04
#define FLAG_NAME 0x08
#define FLAG_COMMENT 0x10
#define FLAGS_RESERVED 0xe0
#define PIECE_MAX (1u << 30) // the engines count in 32 bits

struct engine {
	const char *name;
	bool (*init)(struct gunzip *g);
	void (*fini)(struct gunzip *g);
	bool (*begin)(struct gunzip *g);
	// Advances io and g->crc. At the end, input that it took too much goes into g->field.
	enum gunzip_result (*run)(struct gunzip *g, struct gunzip_io *io);
};

enum part { FIXED, EXTRA_LEN, EXTRA, NAME, COMMENT, HEAD_CRC, BODY, TRAILER };

struct gunzip {
	const struct engine *engine;
	enum part part;
	uint8_t field[FIXED_LEN]; // what is being collected
	unsigned have;
	uint8_t flags;
	uint32_t extra_left;
	uint32_t head_crc;
	uint32_t crc, length; // of the data
	z_stream z;
#if defined(__x86_64__)
	struct inflate_state *isal;
#endif
};

// ---- engine: zlib ----

static bool zlib_init(struct gunzip *g)
{
	return inflateInit2(&g->z, -15) == Z_OK; // bare deflate, the largest window
}

static void zlib_fini(struct gunzip *g)
{
	inflateEnd(&g->z);
}

static bool zlib_begin(struct gunzip *g)
{
	return inflateReset(&g->z) == Z_OK;
}

static enum gunzip_result zlib_run(struct gunzip *g, struct gunzip_io *io)
{
	uint8_t *out = io->out;

	g->z.next_in = (uint8_t *)(uintptr_t)io->in;
	g->z.avail_in = (uInt)MIN(io->n_in, PIECE_MAX);
	g->z.next_out = io->out;
	g->z.avail_out = (uInt)MIN(io->n_out, PIECE_MAX);
	int r = inflate(&g->z, Z_NO_FLUSH);

	io->n_in -= (size_t)(g->z.next_in - io->in);
	io->n_out -= (size_t)(g->z.next_out - io->out);
	io->in = g->z.next_in;
	io->out = g->z.next_out;
	g->crc = (uint32_t)crc32_z(g->crc, out, (size_t)(io->out - out));
	switch (r) {
	case Z_OK:
	case Z_BUF_ERROR: // no progress: it wants input
		return GUNZIP_MORE;
	case Z_STREAM_END: return GUNZIP_END;
	default: io->why = g->z.msg ? g->z.msg : "corrupt"; return GUNZIP_BAD;
	}
}

#if defined(__x86_64__)
// ---- engine: ISA-L ----

static bool isal_init(struct gunzip *g)
{
	g->isal = malloc(sizeof *g->isal);
	return g->isal != NULL;
}

static void isal_fini(struct gunzip *g)
{
	free(g->isal);
}

static bool isal_begin(struct gunzip *g)
{
	isal_inflate_init(g->isal);
	g->isal->crc_flag = ISAL_GZIP_NO_HDR; // bare deflate, but count its CRC
	return true;
}

// It reads ahead by up to 8 bytes, which is what a trailer has: none is ever of the next member.
static enum gunzip_result isal_end(struct gunzip *g)
{
	uint64_t bits = g->isal->read_in >> (g->isal->read_in_length % 8);

	g->crc = g->isal->crc;
	for (int left = g->isal->read_in_length / 8; left > 0; left--, bits >>= 8)
		g->field[g->have++] = (uint8_t)bits;
	return GUNZIP_END;
}

static const char *isal_why(int r)
{
	switch (r) {
	case ISAL_INVALID_BLOCK: return "invalid block";
	case ISAL_INVALID_SYMBOL: return "invalid code";
	case ISAL_INVALID_LOOKBACK: return "invalid distance too far back";
	default: return "corrupt";
	}
}

static enum gunzip_result isal_run(struct gunzip *g, struct gunzip_io *io)
{
	struct inflate_state *z = g->isal;
	size_t n_in = io->n_in, n_out = io->n_out;

	z->next_in = (uint8_t *)(uintptr_t)io->in;
	z->avail_in = (uint32_t)MIN(io->n_in, PIECE_MAX);
	z->next_out = io->out;
	z->avail_out = (uint32_t)MIN(io->n_out, PIECE_MAX);
	int r = isal_inflate(z);

	io->n_in -= (size_t)(z->next_in - io->in);
	io->n_out -= (size_t)(z->next_out - io->out);
	io->in = z->next_in;
	io->out = z->next_out;
	if (r) {
		io->why = isal_why(r);
		return GUNZIP_BAD;
	}
	if (z->block_state == ISAL_BLOCK_FINISH)
		return isal_end(g);
	// it would have to be a defect of the engine, but it must not become a loop without end
	if (n_in && n_out && io->n_in == n_in && io->n_out == n_out) {
		io->why = "corrupt (no progress)";
		return GUNZIP_BAD;
	}
	return GUNZIP_MORE;
}
#endif

static const struct engine engines[] = {
#if defined(__x86_64__)
	{ "ISA-L", isal_init, isal_fini, isal_begin, isal_run },
#endif
	{ "zlib", zlib_init, zlib_fini, zlib_begin, zlib_run },
};

// ---- the wrapper ----

// Collects a field of n bytes; true when it is whole.
static bool collect(struct gunzip *g, struct gunzip_io *io, unsigned n)
{
	unsigned take = (unsigned)MIN((size_t)(n - g->have), io->n_in);

	memcpy(g->field + g->have, io->in, take);
	g->have += take;
	io->in += take;
	io->n_in -= take;
	return g->have == n;
}

// A part of the header is over: the next one that the flags announce begins.
static void next_part(struct gunzip *g)
{
	static const uint8_t flag[] = { [EXTRA_LEN] = FLAG_EXTRA,
		[EXTRA] = FLAG_EXTRA,
		[NAME] = FLAG_NAME,
		[COMMENT] = FLAG_COMMENT,
		[HEAD_CRC] = FLAG_CRC };

	g->have = 0;
	do
		g->part++;
	while (g->part < BODY && !(g->flags & flag[g->part]));
}

static void sum_head(struct gunzip *g, const uint8_t *p, size_t n)
{
	g->head_crc = (uint32_t)crc32_z(g->head_crc, p, n);
}

static enum gunzip_result head_fixed(struct gunzip *g, struct gunzip_io *io)
{
	if (!collect(g, io, FIXED_LEN))
		return GUNZIP_MORE;
	g->flags = g->field[3];
	io->why = NULL;
	if (g->field[0] != 0x1f || g->field[1] != 0x8b)
		io->why = "incorrect header check";
	else if (g->field[2] != 8)
		io->why = "unknown compression method";
	else if (g->flags & FLAGS_RESERVED)
		io->why = "unknown header flags set";
	if (io->why)
		return GUNZIP_BAD;
	sum_head(g, g->field, FIXED_LEN);
	next_part(g);
	return GUNZIP_MORE;
}

static enum gunzip_result head_extra_len(struct gunzip *g, struct gunzip_io *io)
{
	if (!collect(g, io, 2))
		return GUNZIP_MORE;
	g->extra_left = g->field[0] | (uint32_t)g->field[1] << 8;
	sum_head(g, g->field, 2);
	next_part(g);
	return GUNZIP_MORE;
}

static enum gunzip_result head_extra(struct gunzip *g, struct gunzip_io *io)
{
	size_t n = MIN(io->n_in, (size_t)g->extra_left);

	sum_head(g, io->in, n);
	io->in += n;
	io->n_in -= n;
	g->extra_left -= (uint32_t)n;
	if (!g->extra_left)
		next_part(g);
	return GUNZIP_MORE;
}

static enum gunzip_result head_string(struct gunzip *g, struct gunzip_io *io)
{
	const uint8_t *end = memchr(io->in, 0, io->n_in);
	size_t n = end ? (size_t)(end - io->in) + 1 : io->n_in;

	sum_head(g, io->in, n);
	io->in += n;
	io->n_in -= n;
	if (end)
		next_part(g);
	return GUNZIP_MORE;
}

static enum gunzip_result head_crc(struct gunzip *g, struct gunzip_io *io)
{
	if (!collect(g, io, 2))
		return GUNZIP_MORE;
	if ((g->field[0] | (uint32_t)g->field[1] << 8) != (g->head_crc & 0xffff)) {
		io->why = "header crc mismatch";
		return GUNZIP_BAD;
	}
	next_part(g);
	return GUNZIP_MORE;
}

static enum gunzip_result body(struct gunzip *g, struct gunzip_io *io)
{
	size_t room = io->n_out;
	enum gunzip_result r = g->engine->run(g, io);

	g->length += (uint32_t)(room - io->n_out); // modulo 2^32, as the trailer has it
	if (r != GUNZIP_END)
		return r;
	g->part = TRAILER;
	return GUNZIP_MORE;
}

static enum gunzip_result trailer(struct gunzip *g, struct gunzip_io *io)
{
	if (!collect(g, io, TRAILER_LEN))
		return GUNZIP_MORE;
	io->why = get_le32(g->field) != g->crc	      ? "incorrect data check"
		: get_le32(g->field + 4) != g->length ? "incorrect length check"
						      : NULL;
	return io->why ? GUNZIP_BAD : GUNZIP_END;
}

enum gunzip_result gunzip_step(struct gunzip *g, struct gunzip_io *io)
{
	static enum gunzip_result (*const parts[])(struct gunzip *, struct gunzip_io *) = {
		[FIXED] = head_fixed,
		[EXTRA_LEN] = head_extra_len,
		[EXTRA] = head_extra,
		[NAME] = head_string,
		[COMMENT] = head_string,
		[HEAD_CRC] = head_crc,
		[BODY] = body,
		[TRAILER] = trailer,
	};
	enum gunzip_result r;
	enum part before;

	do {
		before = g->part;
		r = parts[before](g, io);
	} while (r == GUNZIP_MORE && g->part != before);
	return r;
}

bool gunzip_begin(struct gunzip *g)
{
	g->part = FIXED;
	g->have = 0;
	g->head_crc = g->crc = g->length = 0;
	return g->engine->begin(g);
}

static struct gunzip *new_by(const struct engine *e)
{
	struct gunzip *g = calloc(1, sizeof *g);

	if (!g)
		return NULL;
	g->engine = e;
	if (e->init(g))
		return g;
	free(g);
	return NULL;
}

struct gunzip *gunzip_new(void)
{
	return new_by(&engines[0]);
}

void gunzip_free(struct gunzip *g)
{
	if (!g)
		return;
	g->engine->fini(g);
	free(g);
}
