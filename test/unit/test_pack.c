// test_pack.c - data spaces: placement, chunks, the same bytes for any number of threads, decoding
// of anything, write errors
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/pack.c"

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>

#include "packwhole.h"
#include "tap.h"

enum { BLOCKS = 500 };

static uint8_t *plain;

static void make_plain(void)
{
	uint32_t seed = 3;

	plain = xcalloc(BLOCKS, BLOCK_BYTES);
	for (uint32_t b = 0; b < BLOCKS; b++)
		for (uint32_t i = 0; i < BLOCK_BYTES; i++) {
			seed = seed * 1664525u + 1013904223u;
			if (b % 50 < 30)
				plain[b * BLOCK_BYTES + i] = b % 50 < 10 ? (uint8_t)(seed >> 24)
									 : (uint8_t)(b + i / 100);
		}
}

static int spool_of(const void *p, size_t n)
{
	int fd = scratch_file();

	if (fd < 0 || pwrite_full(fd, p, n, 0))
		abort();
	return fd;
}

// ---- placement ----

static uint32_t place(struct pack *p, uint32_t blocks, uint32_t spool)
{
	struct content c = { .size = (uint64_t)blocks * BLOCK_BYTES - 7,
		.space = 3,
		.spool = spool,
		.block = TREE_NONE };

	if (pack_place(p, &c))
		abort();
	return c.block;
}

// "blocks,blocks,...": the chunks that were planned.
static const char *plans(const struct pack *p)
{
	static char s[400];

	*s = 0;
	for (size_t i = 0; i < p->n_plans; i++)
		snprintf(s + strlen(s), sizeof s - strlen(s), "%s%u", i ? "," : "",
			p->plans[i].blocks);
	return s;
}

static void test_place(void)
{
	struct pack_conf conf = { .chunk_blocks = 8 };
	struct pack *p = pack_new(&conf, 3);
	struct content other = { .size = 5, .space = 2, .block = TREE_NONE },
		       placed = { .size = 5, .space = 3, .block = 77 };
	struct content big = {
		.size = (uint64_t)UINT32_MAX << BLOCK_SHIFT, .space = 3, .block = TREE_NONE
	};

	ok(place(p, 3, 0) == 0 && place(p, 5, 10) == 3 && place(p, 1, 20) == 8,
		"small files share a chunk, none straddles two");
	ok(place(p, 7, 30) == 9 && !strcmp(plans(p), "8,8"), "a chunk filled to its end: %s",
		plans(p));
	ok(place(p, 8, 40) == 16 && place(p, 1, 50) == 24 && !strcmp(plans(p), "8,8,8,1"),
		"a file of a chunk has its own: %s", plans(p));
	ok(place(p, 20, 60) == 25 && place(p, 2, 90) == 45 && !strcmp(plans(p), "8,8,8,1,8,8,4,2"),
		"a big file begins one, and the next: %s", plans(p));
	ok(place(p, 7, 100) == 47 && !strcmp(plans(p), "8,8,8,1,8,8,4,2,7"),
		"one that does not fit begins another: %s", plans(p));
	ok(!pack_place(p, &other) && other.block == TREE_NONE && !pack_place(p, &placed) &&
			placed.block == 77 && pack_blocks(p) == 54,
		"those of other layers, or placed before, stay");
	log_level = LOG_QUIET;
	ok(pack_place(p, &big) == -EFBIG && big.block == TREE_NONE, "2^32 blocks are too many");
	pack_free(p);
	conf.chunk_blocks = 1;
	p = pack_new(&conf, 3);
	ok(place(p, 1, 0) == 0 && place(p, 2, 0) == 1 && !strcmp(plans(p), "1,1,1"),
		"chunks of one block");
	pack_free(p);
	pack_free(NULL);
}

// ---- runs ----

struct outcome {
	struct digest blob;
	uint64_t size;
	struct fmt_chunk *chunks;
	uint32_t n, blocks;
	uint8_t *data;
};

static int run(enum codec codec, int level, uint32_t chunk, unsigned threads, bool scattered,
	struct outcome *ret)
{
	struct pack_conf conf = {
		.codec = codec, .level = level, .chunk_blocks = chunk, .threads = threads
	};
	struct pack *p = pack_new(&conf, 3);
	cleanup_fd int in = spool_of(plain, BLOCKS * BLOCK_BYTES), out = scratch_file();
	const struct fmt_chunk *c;
	int r;

	if (scattered)
		for (uint32_t i = 0; i < 60; i++)
			(void)place(p, 1 + i * 7 % 13, i * 37 % 400);
	else
		pack_whole(p, 3, BLOCKS);
	r = pack_run(p, in, out);
	c = pack_chunks(p, &ret->n);
	ret->chunks = xmalloc(ret->n * sizeof *c + 1);
	memcpy(ret->chunks, c, ret->n * sizeof *c);
	ret->blocks = pack_blocks(p);
	pack_blob(p, &ret->blob, &ret->size);
	ret->data = xmalloc(ret->size);
	if (!r)
		r = pread_full(out, ret->data, ret->size, 0);
	pack_free(p);
	return r;
}

static void put(struct outcome *o)
{
	free(o->chunks);
	free(o->data);
}

// Decodes all; the plain bytes, or NULL. Checks the table on the way.
static uint8_t *unpack(const struct outcome *o)
{
	uint8_t *out = xcalloc(o->blocks, BLOCK_BYTES);
	uint64_t off = 0;
	uint32_t block = 0;

	for (uint32_t i = 0; i < o->n; i++) {
		const struct fmt_chunk *c = &o->chunks[i];
		size_t n = (size_t)c->blocks << BLOCK_SHIFT;
		struct digest d;
		cleanup_free uint8_t *exact = xmalloc(c->clen);

		memcpy(exact, o->data + off, c->clen);
		if (c->block != block ||
			chunk_decode(
				c->codec, exact, c->clen, out + (size_t)block * BLOCK_BYTES, n))
			abort();
		d = sha256_of(out + (size_t)block * BLOCK_BYTES, n);
		if (c->codec != CODEC_ZERO && memcmp(d.b, c->sha, 32))
			abort();
		if (i && c->codec == CODEC_ZERO && c[-1].codec == CODEC_ZERO)
			abort();
		off += c->clen;
		block += c->blocks;
	}
	if (block != o->blocks || off != o->size)
		abort();
	return out;
}

static void test_run(void)
{
	static const struct {
		const char *name;
		enum codec codec;
		int level;
	} v[] = { { "stored", CODEC_STORED, 0 }, { "lz4", CODEC_LZ4, 0 },
		{ "lz4-hc", CODEC_LZ4, 9 }, { "zstd 1", CODEC_ZSTD, 1 },
		{ "zstd 9", CODEC_ZSTD, 9 } };

	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		for (unsigned scattered = 0; scattered < 2; scattered++) {
			struct outcome a, b;
			cleanup_free uint8_t *out = NULL;
			struct digest d;
			bool same = !run(v[i].codec, v[i].level, 8, 1, scattered, &a);

			out = unpack(&a);
			same &= scattered || !memcmp(out, plain, BLOCKS * BLOCK_BYTES);
			d = sha256_of(a.data, a.size);
			same &= digest_equal(&d, &a.blob);
			ok(same, "%s, %s: decodes to what it was", v[i].name,
				scattered ? "files" : "as it is");
			for (unsigned threads = 2; threads <= 8; threads++) {
				same &= !run(v[i].codec, v[i].level, 8, threads, scattered, &b) &&
					a.n == b.n && digest_equal(&a.blob, &b.blob) &&
					!memcmp(a.chunks, b.chunks, a.n * sizeof *a.chunks);
				put(&b);
			}
			ok(same, "the same for 1 to 8 threads");
			put(&a);
		}
}

static void test_zeros(void)
{
	static uint8_t zero[64 * BLOCK_BYTES];
	struct pack_conf conf = {
		.codec = CODEC_ZSTD, .level = 1, .chunk_blocks = 4, .threads = 3
	};
	struct pack *p = pack_new(&conf, 0);
	cleanup_fd int in = spool_of(zero, sizeof zero), out = scratch_file();
	const struct fmt_chunk *c;
	struct digest d, empty = sha256_of("", 0);
	uint64_t size;
	uint32_t n;

	pack_whole(p, 0, 64);
	ok(!pack_run(p, in, out), "zeros");
	c = pack_chunks(p, &n);
	pack_blob(p, &d, &size);
	ok(n == 1 && c->blocks == 64 && c->codec == CODEC_ZERO && !c->clen && !size &&
			digest_equal(&d, &empty),
		"are one chunk without bytes");
	pack_free(p);
	p = pack_new(&conf, 0);
	ok(!pack_run(p, in, out) && pack_chunks(p, &n) == NULL && !n && !pack_blocks(p),
		"an empty space");
	pack_free(p);
	zero[17 * BLOCK_BYTES] = 1;
	if (pwrite_full(in, zero, sizeof zero, 0))
		abort();
	p = pack_new(&conf, 0);
	pack_whole(p, 0, 64);
	ok(!pack_run(p, in, out), "one block of bytes");
	c = pack_chunks(p, &n);
	ok(n == 3 && c[1].block == 16 && c[1].blocks == 4 && c[1].codec == conf.codec &&
			c[1].clen && c[2].blocks == 44,
		"zeros on both sides of a chunk");
	pack_free(p);
}

// ---- errors ----

static void test_errors(void)
{
	struct pack_conf conf = { .codec = CODEC_LZ4, .chunk_blocks = 2, .threads = 4 };
	cleanup_fd int in = spool_of(plain, BLOCKS * BLOCK_BYTES),
		       full = open("/dev/full", O_WRONLY | O_CLOEXEC), out = scratch_file();
	struct rlimit l, was;
	struct pack *p;

	for (unsigned threads = 1; threads <= 8; threads += 7) {
		conf.threads = threads;
		p = pack_new(&conf, 0);
		pack_whole(p, 0, BLOCKS);
		ok(pack_run(p, in, full) == -ENOSPC, "disk full at once, %u threads", threads);
		pack_free(p);
		signal(SIGXFSZ, SIG_IGN);
		getrlimit(RLIMIT_FSIZE, &was);
		l = was;
		l.rlim_cur = 300000;
		setrlimit(RLIMIT_FSIZE, &l);
		p = pack_new(&conf, 0);
		pack_whole(p, 0, BLOCKS);
		ok(pack_run(p, in, out) == -EFBIG, "disk full half way");
		pack_free(p);
		setrlimit(RLIMIT_FSIZE, &was);
		p = pack_new(&conf, 0);
		pack_whole(p, 0, BLOCKS + 1);
		ok(pack_run(p, in, out) == -ENODATA, "the spool is too short");
		pack_free(p);
		p = pack_new(&conf, 0);
		pack_whole(p, 0, BLOCKS);
		ok(pack_run(p, -1, out) == -EBADF, "the spool cannot be read");
		pack_free(p);
	}
}

// ---- decoding ----

// Decodes from and into buffers of exactly these sizes.
static int decode(enum codec codec, const uint8_t *in, size_t clen, size_t n, const uint8_t *want)
{
	cleanup_free uint8_t *i = xmalloc(clen), *o = xmalloc(n);
	int r;

	memcpy(i, in, clen);
	r = chunk_decode(codec, i, clen, o, n);
	if (!r && want && memcmp(o, want, n))
		return 1;
	return r;
}

static void test_decode(void)
{
	enum { N = 3 * BLOCK_BYTES };
	uint8_t lz4[2 * N], zstd[2 * N], two[3 * N];
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'a', 'b', 'c',
		'd' };
	const uint8_t *src = plain + 9 * BLOCK_BYTES; // bytes of both kinds
	size_t ln = (size_t)LZ4_compress_default((const char *)src, (char *)lz4, N, sizeof lz4);
	size_t zn = ZSTD_compress(zstd, sizeof zstd, src, N, 3), tn;
	unsigned taken = 0, wrong = 0;

	ok(!decode(CODEC_LZ4, lz4, ln, N, src) && !decode(CODEC_ZSTD, zstd, zn, N, src) &&
			!decode(CODEC_STORED, src, N, N, src),
		"good ones");
	ok(decode(CODEC_STORED, src, N - 1, N, NULL) == -EBADMSG &&
			decode(CODEC_STORED, src, N, N - 1, NULL) == -EBADMSG,
		"stored: length");
	ok(decode(CODEC_LZ4, lz4, ln, N - 1, NULL) == -EBADMSG &&
			decode(CODEC_LZ4, lz4, ln, N + 1, NULL) == -EBADMSG,
		"lz4: plain length");
	ok(decode(CODEC_ZSTD, zstd, zn, N - 1, NULL) == -EBADMSG &&
			decode(CODEC_ZSTD, zstd, zn, N + 1, NULL) == -EBADMSG,
		"zstd: plain length");
	ok(decode(CODEC_LZ4, lz4, 0, N, NULL) == -EBADMSG &&
			decode(CODEC_ZSTD, zstd, 0, N, NULL) == -EBADMSG,
		"nothing");
	ok(decode((enum codec)3, zstd, zn, N, NULL) == -EBADMSG, "unknown codec");
	memcpy(two, zstd, zn);
	memcpy(two + zn, skippable, sizeof skippable);
	ok(decode(CODEC_ZSTD, two, zn + sizeof skippable, N, NULL) == -EBADMSG,
		"zstd: a skippable frame behind");
	memcpy(two, skippable, sizeof skippable);
	memcpy(two + sizeof skippable, zstd, zn);
	ok(decode(CODEC_ZSTD, two, zn + sizeof skippable, N, NULL) == -EBADMSG,
		"zstd: a skippable frame before");
	tn = ZSTD_compress(two, sizeof two, src, BLOCK_BYTES, 3);
	tn += ZSTD_compress(two + tn, sizeof two - tn, src + BLOCK_BYTES, 2 * BLOCK_BYTES, 3);
	ok(decode(CODEC_ZSTD, two, tn, N, NULL) == -EBADMSG, "zstd: two frames");
	two[zn] = 0;
	memcpy(two, zstd, zn);
	ok(decode(CODEC_ZSTD, two, zn + 1, N, NULL) == -EBADMSG, "zstd: a byte behind");
	for (size_t i = 0; i < ln; i++)
		wrong += !decode(CODEC_LZ4, lz4, i, N, NULL);
	for (size_t i = 0; i < zn; i++)
		wrong += !decode(CODEC_ZSTD, zstd, i, N, NULL);
	ok(!wrong, "cut at every byte");
	for (size_t i = 0; i < MAX(ln, zn); i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			if (i < ln) {
				lz4[i] ^= (uint8_t)(1u << bit);
				taken += !decode(CODEC_LZ4, lz4, ln, N, NULL);
				lz4[i] ^= (uint8_t)(1u << bit);
			}
			if (i < zn && i % 7 == 0) {
				zstd[i] ^= (uint8_t)(1u << bit);
				taken += !decode(CODEC_ZSTD, zstd, zn, N, NULL);
				zstd[i] ^= (uint8_t)(1u << bit);
			}
		}
	ok(true, "flipped bits stay in bounds (%u are other bytes, for the digest to find)", taken);
}

static void *decode_there(void *arg)
{
	(void)arg;
	uint8_t z[100], out[8] = "";
	size_t n = ZSTD_compress(z, sizeof z, "12345678", 8, 1);

	return chunk_decode(CODEC_ZSTD, z, n, out, 8) || memcmp(out, "12345678", 8) ? NULL : &plain;
}

static void test_decoder_threads(void)
{
	bool good = true;

	for (unsigned i = 0; i < 50; i++) { // (the leak checker looks at the end)
		pthread_t t;
		void *r;

		pthread_create(&t, NULL, decode_there, NULL);
		pthread_join(t, &r);
		good &= r != NULL;
	}
	ok(good, "threads that come and go");
}

int main(void)
{
	make_plain();
	test_place();
	test_run();
	test_zeros();
	test_errors();
	test_decode();
	test_decoder_threads();
	free(plain);
	return tap_end();
}
