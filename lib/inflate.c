// inflate.c - gzip and zstd layers decoded while they are read
// SPDX-License-Identifier: Apache-2.0
//
// One loop serves both codecs: a codec turns some input into some output and says when a member
// (gzip, RFC 1952 section 2.2) or frame (zstd, RFC 8878 section 3.1) is over; the loop fetches
// input, watches the budgets and decides what may follow a member. Memory is constant: 128 KiB of
// input, and 90 KiB for gzip or zstd's window.
#include "inflate.h"

#include "gunzip.h"
#include "log.h"

#include <inttypes.h>
#include <zstd.h>
#include <zstd_errors.h>

#define INPUT_SIZE (128u << 10)
#define PADDING_BLOCK 512

struct inflate;

// What became of one call of the codec.
enum step { STEP_MORE, STEP_MEMBER_END, STEP_BAD, STEP_NOMEM };

struct codec {
	const char *name; // for messages
	bool (*init)(struct inflate *f);
	void (*fini)(struct inflate *f);
	bool (*begin)(struct inflate *f); // before each member
	// Advances f->pos and *done; on STEP_BAD f->why is set.
	enum step (*step)(struct inflate *f, uint8_t *out, size_t n, size_t *done);
};

struct inflate {
	struct stream s;
	struct stream *in;
	char *name;
	const struct codec *codec; // NULL: plain
	enum inflate_kind kind;
	bool in_member, ended;
	int error;
	const char *why;
	uint64_t in_total, out_total; // bytes taken out of `input`, and given out
	uint64_t idle_since;	      // in_total at the last byte of output
	unsigned empty;		      // members since then
	size_t pos, len;	      // what is unread in `input`
	bool in_end;
	struct gunzip *gzip;
	ZSTD_DCtx *zstd;
	uint8_t input[INPUT_SIZE];
};

static int bad(struct inflate *f, const char *what)
{
	return warn_errno(-EBADMSG,
		"%s: %s%s%s (byte %" PRIu64 " of the stream, %" PRIu64 " decoded)", f->name,
		f->codec ? f->codec->name : "", f->codec ? ": " : "", what, f->in_total,
		f->out_total);
}

//
// Input.
//

// Makes `want` bytes ready at input[pos], fewer only at the end of the input. 0 or -errno.
static int need(struct inflate *f, size_t want)
{
	if (f->len - f->pos >= want || f->in_end)
		return 0;
	memmove(f->input, f->input + f->pos, f->len - f->pos);
	f->len -= f->pos;
	f->pos = 0;
	while (f->len < want) {
		ssize_t r = stream_read(f->in, f->input + f->len, INPUT_SIZE - f->len);

		if (r < 0)
			return (int)r;
		if (!r) {
			f->in_end = true;
			return 0;
		}
		f->len += (size_t)r;
	}
	return 0;
}

static void took(struct inflate *f, size_t n)
{
	f->pos += n;
	f->in_total += n;
}

//
// Codecs.
//

static bool gzip_init(struct inflate *f)
{
	f->gzip = gunzip_new();
	return f->gzip != NULL;
}

static void gzip_fini(struct inflate *f)
{
	gunzip_free(f->gzip);
}

static bool gzip_begin(struct inflate *f)
{
	return gunzip_begin(f->gzip);
}

static enum step gzip_step(struct inflate *f, uint8_t *out, size_t n, size_t *done)
{
	struct gunzip_io io = { f->input + f->pos, f->len - f->pos, out, n, NULL };
	enum gunzip_result r = gunzip_step(f->gzip, &io);

	took(f, f->len - f->pos - io.n_in);
	*done = n - io.n_out;
	f->why = io.why;
	return r == GUNZIP_MORE ? STEP_MORE : r == GUNZIP_END ? STEP_MEMBER_END : STEP_BAD;
}

static bool zstd_init(struct inflate *f)
{
	f->zstd = ZSTD_createDCtx();
	return f->zstd &&
		!ZSTD_isError(
			ZSTD_DCtx_setParameter(f->zstd, ZSTD_d_windowLogMax, INFLATE_WINDOW_LOG));
}

static void zstd_fini(struct inflate *f)
{
	ZSTD_freeDCtx(f->zstd);
}

static bool zstd_begin(struct inflate *f)
{
	return !ZSTD_isError(ZSTD_DCtx_reset(f->zstd, ZSTD_reset_session_only));
}

static enum step zstd_step(struct inflate *f, uint8_t *out, size_t n, size_t *done)
{
	ZSTD_inBuffer in = { f->input + f->pos, f->len - f->pos, 0 };
	ZSTD_outBuffer to = { out, n, 0 };
	size_t r = ZSTD_decompressStream(f->zstd, &to, &in);

	took(f, in.pos);
	*done = to.pos;
	if (!ZSTD_isError(r))
		return r ? STEP_MORE : STEP_MEMBER_END;
	switch (ZSTD_getErrorCode(r)) {
	case ZSTD_error_memory_allocation: return STEP_NOMEM;
	case ZSTD_error_frameParameter_windowTooLarge:
		f->why = "window above 128 MiB";
		return STEP_BAD;
	default: f->why = ZSTD_getErrorName(r); return STEP_BAD;
	}
}

static const struct codec codecs[] = {
	[INFLATE_GZIP] = { "gzip", gzip_init, gzip_fini, gzip_begin, gzip_step },
	[INFLATE_ZSTD] = { "zstd", zstd_init, zstd_fini, zstd_begin, zstd_step },
};

//
// Magic numbers.
//

#define MAGIC_MAX 10

static const struct magic {
	const char *name; // NULL: supported, as kind
	enum inflate_kind kind;
	uint8_t len, bytes[MAGIC_MAX];
	uint8_t at, free; // bits of byte `at` that do not count
} magics[] = {
	{ NULL, INFLATE_GZIP, 3, { 0x1f, 0x8b, 8 }, 0, 0 },
	{ NULL, INFLATE_ZSTD, 4, { 0x28, 0xb5, 0x2f, 0xfd }, 0, 0 },
	{ NULL, INFLATE_ZSTD, 4, { 0x50, 0x2a, 0x4d, 0x18 }, 0, 0x0f },
	{ "xz", INFLATE_PLAIN, 6, { 0xfd, '7', 'z', 'X', 'Z', 0 }, 0, 0 },
	// "BZh" alone could begin a file's name in a plain tar: the first block's magic as well
	{ "bzip2", INFLATE_PLAIN, 10, { 'B', 'Z', 'h', '0', 0x31, 0x41, 0x59, 0x26, 0x53, 0x59 }, 3,
		0x0f },
	{ "lz4", INFLATE_PLAIN, 4, { 0x04, 0x22, 0x4d, 0x18 }, 0, 0 },
	{ "lz4 (legacy)", INFLATE_PLAIN, 4, { 0x02, 0x21, 0x4c, 0x18 }, 0, 0 },
	{ "compress (.Z)", INFLATE_PLAIN, 2, { 0x1f, 0x9d }, 0, 0 },
	{ "lzip", INFLATE_PLAIN, 5, { 'L', 'Z', 'I', 'P', 1 }, 0, 0 },
	{ "gzip with an unknown method", INFLATE_PLAIN, 2, { 0x1f, 0x8b }, 0, 0 },
};

static bool magic_matches(const struct magic *m, const uint8_t *p, size_t n)
{
	if (n < m->len)
		return false;
	for (unsigned i = 0; i < m->len; i++)
		if ((p[i] ^ m->bytes[i]) & (i == m->at ? ~m->free : ~0))
			return false;
	return true;
}

// The row that the input begins with, or NULL.
static const struct magic *magic_at(const struct inflate *f)
{
	for (size_t i = 0; i < ARRAY_LEN(magics); i++)
		if (magic_matches(&magics[i], f->input + f->pos, f->len - f->pos))
			return &magics[i];
	return NULL;
}

//
// The loop.
//

// Zeros to the end of the input, in whole tar blocks: 0 = that is all there is.
static int read_padding(struct inflate *f)
{
	uint64_t zeros = 0;

	while (f->pos < f->len) {
		size_t n = f->len - f->pos;
		const uint8_t *p = f->input + f->pos;

		if (*p || memcmp(p, p + 1, n - 1) != 0)
			return bad(f, "garbage after the last member");
		took(f, n);
		zeros += n;
		if (zeros > INFLATE_MAX_PADDING)
			return bad(f, "more than 1 MiB of zeros after the last member");
		int r = need(f, 1);

		if (r)
			return r;
	}
	return zeros % PADDING_BLOCK ? bad(f, "garbage (odd zeros) after the last member") : 0;
}

// Between members. 1 = a member begins, 0 = the stream is over.
static int next_member(struct inflate *f)
{
	int r = need(f, MAGIC_MAX);

	if (r)
		return r;
	const struct magic *m = magic_at(f);

	if (!m || m->name || m->kind != f->kind)
		return read_padding(f);
	if (++f->empty > INFLATE_MAX_EMPTY)
		return bad(f, "too many empty members or frames in a row");
	f->in_member = true;
	return f->codec->begin(f) ? 1 : warn_errno(-ENOMEM, "%s: %s", f->name, f->codec->name);
}

// Limits on output, after n bytes more of it, and on input that gives none.
static int check_budget(struct inflate *f, size_t n)
{
	f->out_total += n;
	if (n) {
		f->empty = 0;
		f->idle_since = f->in_total;
	}
	if (f->out_total > INFLATE_MAX_OUT)
		return bad(f, "decodes to more than 16 TiB");
	if (f->in_total - f->idle_since > INFLATE_MAX_IDLE)
		return bad(f, "64 MiB of input that decode to nothing");
	if (f->out_total > INFLATE_FREE_OUT && f->out_total / INFLATE_MAX_RATIO > f->in_total)
		return bad(f, "decompression bomb: ratio above 1032");
	return 0;
}

// One call of the codec within a member. Bytes of output (0 = call again) or -errno.
static ssize_t decode_step(struct inflate *f, uint8_t *out, size_t n)
{
	size_t done = 0;
	uint64_t before = f->in_total;
	enum step step = f->codec->step(f, out, n, &done);

	if (step == STEP_BAD)
		return bad(f, f->why);
	if (step == STEP_NOMEM)
		return warn_errno(-ENOMEM, "%s: %s", f->name, f->codec->name);
	int r = check_budget(f, done);

	if (r)
		return r;
	if (step == STEP_MEMBER_END)
		f->in_member = false;
	else if (!done && f->in_total == before && f->pos == f->len && f->in_end)
		return bad(f, "truncated");
	return (ssize_t)done;
}

// The codec is called before input is fetched: it may still hold output.
static ssize_t decode(struct inflate *f, uint8_t *out, size_t n)
{
	for (;;) {
		ssize_t r = f->in_member ? 0 : next_member(f);

		if (r < 0 || (!r && !f->in_member))
			return r;
		r = decode_step(f, out, n);
		if (r)
			return r;
		r = f->in_member ? need(f, 1) : 0;
		if (r)
			return r;
	}
}

static ssize_t pass(struct inflate *f, uint8_t *out, size_t n)
{
	ssize_t r;

	if (f->pos < f->len) {
		r = (ssize_t)MIN(n, f->len - f->pos);
		memcpy(out, f->input + f->pos, (size_t)r);
		took(f, (size_t)r);
	} else {
		r = f->in_end ? 0 : stream_read(f->in, out, n);
		if (r > 0)
			f->in_total += (uint64_t)r;
	}
	int e = r > 0 ? check_budget(f, (size_t)r) : 0;

	return e ? e : r;
}

static ssize_t inflate_read(struct stream *s, void *buf, size_t n)
{
	struct inflate *f = (struct inflate *)s;

	if (f->error)
		return f->error;
	if (f->ended || !n)
		return 0;
	ssize_t r = f->codec ? decode(f, buf, n) : pass(f, buf, n);

	if (r < 0)
		f->error = (int)r;
	f->ended = !r;
	return r;
}

static void inflate_close(struct stream *s)
{
	struct inflate *f = (struct inflate *)s;

	if (f->codec)
		f->codec->fini(f);
	stream_close(f->in);
	free(f->name);
	free(f);
}

// Looks at the first bytes and starts the codec they ask for.
static int start(struct inflate *f)
{
	int r = need(f, MAGIC_MAX);

	if (r)
		return r;
	const struct magic *m = magic_at(f);

	if (!m)
		return 0;
	if (m->name)
		return warn_errno(-EBADMSG,
			"%s: compressed with %s, which is not supported (gzip and zstd are)",
			f->name, m->name);
	f->kind = m->kind;
	f->codec = &codecs[m->kind];
	return f->codec->init(f) ? 0 : warn_errno(-ENOMEM, "%s: %s", f->name, f->codec->name);
}

int inflate_open(struct stream *in, const char *name, struct stream **ret)
{
	static const struct stream_ops ops = { .read = inflate_read, .close = inflate_close };
	struct inflate *f = xmalloc(sizeof *f);

	memset(f, 0, offsetof(struct inflate, input));
	f->s.ops = &ops;
	f->in = in;
	f->name = xstrdup(name);
	int r = start(f);

	if (r) {
		inflate_close(&f->s);
		return r;
	}
	*ret = &f->s;
	return 0;
}

enum inflate_kind inflate_kind_of(const struct stream *s)
{
	return ((const struct inflate *)s)->kind;
}
