// test_inflate.c - layer decoding: what is legal, what is refused and with which words, every limit
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/inflate.c"

#include "said.h"
#include "tap.h"

#include <zlib.h>

// ---- inputs ----

static void add_gzip(struct buf *to, const void *p, size_t n)
{
	z_stream z = { 0 };

	if (deflateInit2(&z, 6, Z_DEFLATED, 15 + 16, 8, 0) != Z_OK)
		abort();
	buf_reserve(to, deflateBound(&z, n));
	z.next_in = (Bytef *)(uintptr_t)p;
	z.avail_in = (uInt)n;
	z.next_out = to->data + to->len;
	z.avail_out = (uInt)(to->cap - to->len);
	if (deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	to->len += z.total_out;
	deflateEnd(&z);
}

static void add_zstd(struct buf *to, const void *p, size_t n, int window_log)
{
	ZSTD_CCtx *c = ZSTD_createCCtx();

	ZSTD_CCtx_setParameter(c, ZSTD_c_checksumFlag, 1);
	ZSTD_CCtx_setParameter(c, ZSTD_c_contentSizeFlag, !window_log);
	if (window_log)
		ZSTD_CCtx_setParameter(c, ZSTD_c_windowLog, window_log);
	buf_reserve(to, ZSTD_compressBound(n) + 64);
	ZSTD_inBuffer in = { p, n, 0 };
	ZSTD_outBuffer out = { to->data + to->len, to->cap - to->len, 0 };

	// in two calls, so that the encoder does not learn the size and shrink the window
	ZSTD_compressStream2(c, &out, &in, ZSTD_e_continue);
	if (ZSTD_compressStream2(c, &out, &in, ZSTD_e_end))
		abort();
	to->len += out.pos;
	ZSTD_freeCCtx(c);
}

static void add_skippable(struct buf *to, unsigned nibble, uint32_t n)
{
	uint32_t head[2] = { 0x184d2a50 + nibble, n };

	buf_add(to, head, sizeof head);
	buf_zero(to, n);
}

// A stream that gives `piece` bytes at a time, `times` copies of the bytes, then the error.
struct source {
	struct stream s;
	const struct buf *b;
	size_t at, piece;
	uint64_t times;
	int error;
	bool *closed;
};

static ssize_t source_read(struct stream *s, void *buf, size_t n)
{
	struct source *o = (struct source *)s;

	if (o->at == o->b->len && o->times > 1)
		o->at = 0, o->times--;
	n = MIN(MIN(n, o->piece), o->b->len - o->at);
	if (!n)
		return o->error;
	memcpy(buf, o->b->data + o->at, n);
	o->at += n;
	return (ssize_t)n;
}

static void source_close(struct stream *s)
{
	struct source *o = (struct source *)s;

	if (o->closed)
		*o->closed = true;
	free(s);
}

static struct stream *source(const struct buf *b, size_t piece, uint64_t times, int error)
{
	static const struct stream_ops ops = { .read = source_read, .close = source_close };
	struct source *o = xcalloc(1, sizeof *o);

	*o = (struct source){ { &ops }, b, 0, piece, times, error, NULL };
	return &o->s;
}

// ---- runs ----

// Decodes to the end; at most the first 1 MiB is kept. The error or 0.
static int drain(struct stream *s, size_t step, struct buf *out, uint64_t *ret_total)
{
	cleanup_free uint8_t *p = xmalloc(step);
	ssize_t r;

	*ret_total = 0;
	while ((r = stream_read(s, p, step)) > 0) {
		*ret_total += (uint64_t)r;
		if (out->len < 1 << 20)
			buf_add(out, p, (size_t)r);
	}
	if (r < 0 && stream_read(s, p, step) != r)
		return 1; // the error must stay
	return (int)r;
}

// in decodes to want, whatever the pieces.
static void good(
	const char *what, const struct buf *in, const struct buf *want, enum inflate_kind kind)
{
	static const size_t pieces[][2] = { { 1 << 20, 1 << 20 }, { 1, 1 << 16 }, { 7, 13 },
		{ 1 << 20, 1 } };

	for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
		cleanup_buf struct buf out = { 0 };
		struct stream *s;
		uint64_t total;
		int r = inflate_open(source(in, pieces[i][0], 1, 0), what, &s);

		if (!ok(!r, "%s: opens", what))
			return;
		r = drain(s, pieces[i][1], &out, &total);
		ok(!r && total == want->len &&
				!memcmp(out.data ? out.data : (uint8_t *)"", want->data,
					want->len) &&
				inflate_kind_of(s) == kind,
			"%s: in by %zu, out by %zu bytes", what, pieces[i][0], pieces[i][1]);
		stream_close(s);
	}
}

// in (repeated) is refused with -EBADMSG, the words, and the name.
static void refused_times(const char *what, const struct buf *in, uint64_t times, const char *words)
{
	cleanup_buf struct buf out = { 0 };
	struct stream *s;
	uint64_t total;

	said_begin();
	int r = inflate_open(source(in, 65536, times, 0), "blob-name", &s);

	if (!r) {
		r = drain(s, 1 << 20, &out, &total);
		stream_close(s);
	}
	const char *said = said_end();

	if (!ok(r == -EBADMSG && strstr(said, words) && strstr(said, "blob-name"), "%s: refused",
		    what))
		printf("# %d, %s", r, said);
}

static void refused(const char *what, const struct buf *in, const char *words)
{
	refused_times(what, in, 1, words);
}

static struct buf cut(const struct buf *b, size_t n)
{
	struct buf r = { 0 };

	buf_add(&r, b->data, n);
	return r;
}

static struct buf text; // what is packed

static void test_plain(void)
{
	struct buf empty = { 0 }, one = cut(&text, 1), bz = { 0 };

	buf_add(&bz, "BZhello, a name in a tar", 24);
	good("plain", &text, &text, INFLATE_PLAIN);
	good("plain of one byte", &one, &one, INFLATE_PLAIN);
	buf_reserve(&empty, 1);
	good("empty", &empty, &empty, INFLATE_PLAIN);
	good("plain that begins like bzip2", &bz, &bz, INFLATE_PLAIN);
	buf_fini(&empty), buf_fini(&one), buf_fini(&bz);
}

static void test_gzip(void)
{
	struct buf in = { 0 }, twice = { 0 };

	add_gzip(&in, text.data, text.len);
	good("gzip", &in, &text, INFLATE_GZIP);
	for (size_t n = 2; n < in.len; n += n < 40 || n > in.len - 12 ? 1 : 997) {
		struct buf c = cut(&in, n);

		if (n > 2)
			refused("gzip truncated", &c, "truncated");
		buf_fini(&c);
	}
	size_t end = in.len;

	buf_zero(&in, 512);
	good("gzip and one zero block", &in, &text, INFLATE_GZIP);
	buf_zero(&in, INFLATE_MAX_PADDING - 512);
	good("gzip and 1 MiB of zeros", &in, &text, INFLATE_GZIP);
	buf_zero(&in, 512);
	refused("gzip and more zeros", &in, "more than 1 MiB of zeros");
	in.len = end + 511;
	refused("gzip and 511 zeros", &in, "garbage (odd zeros)");
	in.data[end + 100] = 1;
	refused("gzip, zeros, garbage", &in, "garbage after");
	in.len = end;
	buf_add(&in, "x", 1);
	refused("gzip and garbage", &in, "garbage after");
	in.len = end;
	buf_add(&in, "\x1f\x8b", 2);
	refused("gzip and half a magic", &in, "garbage after");
	in.len = end;
	in.data[end - 5] ^= 1;
	refused("gzip with a bad CRC", &in, "incorrect data check");
	in.data[end - 5] ^= 1, in.data[end - 1] ^= 1;
	refused("gzip with a bad size", &in, "incorrect length check");
	in.data[end - 1] ^= 1, in.data[3] = 0xe0;
	refused("gzip with reserved flags", &in, "unknown header flags");
	in.data[3] = 0, in.data[10] = 7;
	refused("gzip with a bad block", &in, "invalid block");
	in.len = 0;
	buf_add(&in, "\x1f\x8b\x07", 3);
	refused("gzip with another method", &in, "unknown method");
	in.len = 0;
	for (int i = 0; i < 3; i++) {
		add_gzip(&in, text.data, text.len);
		add_gzip(&in, "", 0);
		buf_add(&twice, text.data, text.len);
	}
	good("gzip of six members", &in, &twice, INFLATE_GZIP);
	add_zstd(&in, "a", 1, 0);
	refused("gzip and then zstd", &in, "garbage after");
	buf_fini(&in), buf_fini(&twice);
}

// RFC 1952 section 2.3: extra field, name, comment, header CRC.
static void test_gzip_header(void)
{
	struct buf in = { 0 }, body = { 0 };
	uint8_t head[10] = { 0x1f, 0x8b, 8, 0x1e };

	add_gzip(&body, text.data, text.len);
	buf_add(&in, head, 10);
	buf_add(&in, "\xff\xff", 2);
	buf_zero(&in, 65535);
	buf_add(&in, "a name\0a comment", 17);
	uint32_t crc = (uint32_t)crc32(0, in.data, (uInt)in.len);

	buf_add(&in, &crc, 2);
	buf_add(&in, body.data + 10, body.len - 10);
	good("gzip with every header field", &in, &text, INFLATE_GZIP);
	in.data[100] ^= 1;
	refused("gzip with a bad header CRC", &in, "header crc mismatch");
	buf_fini(&in), buf_fini(&body);
}

static void test_zstd(void)
{
	struct buf in = { 0 }, twice = { 0 };

	add_zstd(&in, text.data, text.len, 0);
	good("zstd", &in, &text, INFLATE_ZSTD);
	for (size_t n = 4; n < in.len; n += n < 40 || n > in.len - 12 ? 1 : 997) {
		struct buf c = cut(&in, n);

		refused("zstd truncated", &c, "truncated");
		buf_fini(&c);
	}
	in.data[in.len - 1] ^= 1;
	refused("zstd with a bad checksum", &in, "checksum");
	in.data[in.len - 1] ^= 1;
	buf_add(&in, "junk", 4);
	refused("zstd and garbage", &in, "garbage after");
	in.len = 0;
	add_skippable(&in, 0, 3);
	for (unsigned i = 0; i < 3; i++) {
		add_zstd(&in, text.data, text.len, 20);
		add_skippable(&in, i * 7, 100 * i);
		add_zstd(&in, "", 0, 0);
		buf_add(&twice, text.data, text.len);
	}
	good("zstd of many frames", &in, &twice, INFLATE_ZSTD);
	buf_zero(&in, 1024);
	good("zstd and zero blocks", &in, &twice, INFLATE_ZSTD);
	in.len = 0, twice.len = 0;
	add_skippable(&in, 15, 9);
	good("zstd, one skippable frame", &in, &twice, INFLATE_ZSTD);
	buf_fini(&in), buf_fini(&twice);
}

static void test_zstd_window(void)
{
	struct buf in = { 0 };

	add_zstd(&in, text.data, text.len, 27);
	good("zstd with a window of 128 MiB", &in, &text, INFLATE_ZSTD);
	in.len = 0;
	add_zstd(&in, text.data, text.len, 28);
	refused("zstd with a window of 256 MiB", &in, "window above 128 MiB");
	buf_fini(&in);
}

static void test_unsupported(void)
{
	static const struct {
		const char *bytes;
		size_t n;
		const char *words;
	} t[] = {
		{ "\xfd"
		  "7zXZ\0\0\4\xe6\xd6",
			10, "compressed with xz" },
		{ "BZh91AY&SY", 10, "compressed with bzip2" },
		{ "BZh11AY&SY", 10, "compressed with bzip2" },
		{ "\x04\x22\x4d\x18", 4, "compressed with lz4" },
		{ "\x1f\x9d\x90", 3, "compressed with compress" },
		{ "LZIP\1", 5, "compressed with lzip" },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct buf b = { (uint8_t *)(uintptr_t)t[i].bytes, t[i].n, t[i].n };

		refused(t[i].words, &b, t[i].words);
	}
}

// Bombs: output is free up to 64 MiB, then held to the ratio; input that gives nothing is bounded.
static void test_bombs(void)
{
	struct buf in = { 0 }, zeros = { 0 }, out = { 0 };
	struct stream *s;
	uint64_t total;

	buf_zero(&zeros, INFLATE_FREE_OUT);
	add_zstd(&in, zeros.data, zeros.len, 20);
	if (inflate_open(source(&in, 65536, 1, 0), "x", &s))
		abort();
	ok(!drain(s, 1 << 20, &out, &total) && total == INFLATE_FREE_OUT,
		"64 MiB out of %zu bytes of zstd pass", in.len);
	stream_close(s);
	add_zstd(&in, "\0", 1, 0);
	refused("64 MiB + 1 out of next to nothing", &in, "ratio above 1032");
	in.len = 0;
	add_gzip(&in, zeros.data, zeros.len);
	if (inflate_open(source(&in, 65536, 4, 0), "x", &s))
		abort();
	ok(!drain(s, 1 << 20, &out, &total) && total == 4 * INFLATE_FREE_OUT,
		"the best that gzip can do (%.1f) passes", (double)zeros.len / (double)in.len);
	stream_close(s);
	in.len = 0;
	add_gzip(&in, "", 0);
	refused_times("10^6 empty members", &in, 1000000, "too many empty members");
	if (inflate_open(source(&in, 65536, INFLATE_MAX_EMPTY, 0), "x", &s))
		abort();
	ok(!drain(s, 1 << 20, &out, &total) && !total, "65536 empty members pass");
	stream_close(s);
	refused_times("65537 empty members", &in, INFLATE_MAX_EMPTY + 1, "too many empty members");
	in.len = 0;
	add_skippable(&in, 1, 1 << 20);
	refused_times("skippable frames for ever", &in, 1000, "decode to nothing");
	in.len = 0;
	add_skippable(&in, 1, INFLATE_MAX_IDLE - 8);
	if (inflate_open(source(&in, 65536, 1, 0), "x", &s))
		abort();
	ok(!drain(s, 1 << 20, &out, &total) && !total, "64 MiB of skippable frame pass");
	stream_close(s);
	buf_fini(&in), buf_fini(&zeros), buf_fini(&out);
}

static void test_max_out(void)
{
	struct buf in = { 0 }, out = { 0 };

	add_gzip(&in, "12345", 5);
	for (uint64_t over = 0; over < 3; over++) {
		struct stream *s;
		uint64_t total;

		if (inflate_open(source(&in, 100, 1, 0), "x", &s))
			abort();
		struct inflate *f = (struct inflate *)s;

		f->out_total = INFLATE_MAX_OUT - 6 + over; // as if that much had come
		f->in_total = f->idle_since = INFLATE_MAX_OUT;
		said_begin();
		int r = drain(s, 100, &out, &total);

		ok(r == (over > 1 ? -EBADMSG : 0) && (!r || strstr(said_end(), "16 TiB")),
			"16 TiB of output %+d", (int)over - 1);
		said_end();
		stream_close(s);
	}
	buf_fini(&in), buf_fini(&out);
}

// The error of the stream below comes through, also when it comes at the end as a digest's does.
static void test_errors(void)
{
	struct buf in = { 0 }, out = { 0 };
	bool closed = false;
	struct stream *s;
	uint64_t total;

	add_gzip(&in, text.data, text.len);
	if (inflate_open(source(&in, 1000, 1, -EIO), "x", &s))
		abort();
	((struct source *)((struct inflate *)s)->in)->closed = &closed;
	ok(drain(s, 1 << 16, &out, &total) == -EIO && total == text.len,
		"an error at the end comes through");
	stream_close(s);
	ok(closed, "closes the stream below");
	if (inflate_open(source(&text, 1000, 1, -EIO), "x", &s))
		abort();
	ok(drain(s, 1 << 16, &out, &total) == -EIO, "plain: an error at the end comes through");
	stream_close(s);
	in.len = 0;
	ok(inflate_open(source(&in, 1000, 1, -EIO), "x", &s) == -EIO,
		"an error at the start comes through");
	buf_fini(&in), buf_fini(&out);
}

static void test_streams(void)
{
	struct stream *s = stream_of_mem("abcdef", 6);
	char b[8];

	ok(!stream_read_full(s, b, 4) && !memcmp(b, "abcd", 4), "stream_read_full");
	ok(stream_read_full(s, b, 3) == -ENODATA, "stream_read_full past the end");
	stream_close(s);
	FILE *f = tmpfile();

	fputs("0123456789", f);
	fflush(f);
	s = stream_of_fd(fileno(f), 3, 4);
	ok(stream_read(s, b, 8) == 4 && !memcmp(b, "3456", 4) && !stream_read(s, b, 8),
		"a range of a file");
	stream_close(s);
	s = stream_of_fd(fileno(f), 8, 4);
	said_begin();
	ok(stream_read(s, b, 8) == 2 && stream_read(s, b, 8) == -ENODATA &&
			strstr(said_end(), "2 bytes early"),
		"a file shorter than its range is an error");
	said_end();
	stream_close(s);
	fclose(f);
	stream_close(NULL);
}

int main(void)
{
	for (unsigned i = 0; text.len < 300000; i++)
		buf_printf(&text, "%u %u\n", i * 2654435761u, i);
	test_plain();
	test_gzip();
	test_gzip_header();
	test_zstd();
	test_zstd_window();
	test_unsupported();
	test_bombs();
	test_max_out();
	test_errors();
	test_streams();
	buf_fini(&text);
	return tap_end();
}
