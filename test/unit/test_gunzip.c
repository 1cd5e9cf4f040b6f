// test_gunzip.c - gzip by every engine, held against each other, between pages that may not be
// touched: what assembler reads or writes beside its buffers, no sanitizer sees
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/gunzip.c"

#include "tap.h"

#include <sys/mman.h>
#include <unistd.h>

#define ROOM (512u << 10) // of a fenced buffer

// ---- fences ----

static uint8_t *fenced_new(void)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	uint8_t *p = mmap(
		NULL, ROOM + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED || mprotect(p, page, PROT_NONE) ||
		mprotect(p + page + ROOM, page, PROT_NONE))
		abort();
	return p + page;
}

// n bytes of a fenced buffer that touch its end or its beginning.
static uint8_t *at_fence(uint8_t *fenced, size_t n, bool end)
{
	return end ? fenced + ROOM - n : fenced;
}

static uint8_t *fenced_in, *fenced_out;

// ---- inputs ----

static uint32_t seed;

static uint32_t rnd(uint32_t below)
{
	seed = seed * 1664525 + 1013904223;
	return (uint32_t)((uint64_t)seed * below >> 32);
}

// Bytes that give all sorts of codes: runs, text of few letters, noise, repetitions from far away.
static void make_text(struct buf *b, size_t n)
{
	b->len = 0;
	while (b->len < n) {
		size_t len = 1 + rnd(3000), at = b->len;
		uint32_t kind = rnd(4), letters = 1 + rnd(40);

		buf_zero(b, len);
		for (size_t i = 0; i < len; i++)
			b->data[at + i] = (uint8_t)(kind == 0 ? 7
					: kind == 1	      ? 'a' + rnd(letters)
					: kind == 2	      ? rnd(256)
					: at > 32768	      ? b->data[at + i - 32768 + rnd(2)]
							      : i);
	}
	b->len = n;
}

static void add_gzip(struct buf *to, const struct buf *b, int level, int strategy)
{
	z_stream z = { 0 };

	if (deflateInit2(&z, level, Z_DEFLATED, 15 + 16, 1 + (int)rnd(9), strategy) != Z_OK)
		abort();
	buf_reserve(to, deflateBound(&z, b->len) + 64);
	z.next_in = b->data;
	z.avail_in = (uInt)b->len;
	z.next_out = to->data + to->len;
	z.avail_out = (uInt)(to->cap - to->len);
	if (deflate(&z, Z_FINISH) != Z_STREAM_END)
		abort();
	to->len += z.total_out;
	deflateEnd(&z);
}

// ---- runs ----

struct outcome {
	enum gunzip_result result;
	size_t used;
	struct buf out;
};

// One member by one engine, in pieces of random size up to max, between fences.
static struct outcome decode(const struct engine *e, const struct buf *in, size_t max)
{
	struct outcome o = { 0 };
	struct gunzip *g = new_by(e);

	if (!g || !gunzip_begin(g))
		abort();
	while (o.out.len < 4 << 20) {
		size_t n_in = 1 + rnd((uint32_t)max), n_out = 1 + rnd((uint32_t)max);

		n_in = MIN(n_in, in->len - o.used);
		uint8_t *out = at_fence(fenced_out, n_out, rnd(4));
		struct gunzip_io io = { at_fence(fenced_in, n_in, rnd(4)), n_in, out, n_out, "" };

		if (n_in)
			memcpy((uint8_t *)(uintptr_t)io.in, in->data + o.used, n_in);
		o.result = gunzip_step(g, &io);
		o.used += n_in - io.n_in;
		buf_add(&o.out, out, n_out - io.n_out);
		if (o.result != GUNZIP_MORE || (!n_in && io.n_out == n_out))
			break;
	}
	gunzip_free(g);
	return o;
}

static bool is_text(const struct outcome *o, const struct buf *text, size_t used)
{
	return o->result == GUNZIP_END && o->used == used && o->out.len == text->len &&
		(!text->len || !memcmp(o->out.data, text->data, text->len));
}

static void test_valid(const struct engine *e)
{
	static const int strategies[] = { Z_DEFAULT_STRATEGY, Z_FILTERED, Z_HUFFMAN_ONLY, Z_RLE,
		Z_FIXED };
	static const size_t pieces[] = { 1, 20, 1000, 40000, ROOM };
	struct buf text = { 0 }, in = { 0 };
	unsigned bad = 0, n = 0;

	for (unsigned i = 0; i < 150; i++) {
		make_text(&text, i % 50 < 10 ? rnd(50) : rnd(300000));
		in.len = 0;
		add_gzip(&in, &text, i % 10, strategies[rnd(ARRAY_LEN(strategies))]);
		size_t whole = in.len;

		buf_add(&in, "\x1f\x8b and more", 11);
		struct outcome o = decode(e, &in, pieces[i % ARRAY_LEN(pieces)]);

		bad += !is_text(&o, &text, whole);
		n++;
		buf_fini(&o.out);
	}
	ok(!bad, "%s: %u of %u streams of all levels and strategies, in all sorts of pieces",
		e->name, n - bad, n);
	buf_fini(&text), buf_fini(&in);
}

// Damaged streams: never a byte outside, never an end that zlib does not see, never other bytes.
static void test_damaged(const struct engine *e, const struct engine *judge)
{
	struct buf text = { 0 }, in = { 0 }, hurt = { 0 };
	unsigned ends = 0, wrong = 0, refused = 0;

	for (unsigned i = 0; i < 1000; i++) {
		if (i % 40 == 0) {
			make_text(&text, 1 + rnd(i % 400 ? 20000 : 200000));
			in.len = 0;
			add_gzip(&in, &text, (int)(i / 40 % 10),
				i % 3 ? Z_DEFAULT_STRATEGY : Z_FIXED);
		}
		hurt.len = 0;
		buf_add(&hurt, in.data, in.len);
		for (uint32_t n = rnd(4); n; n--) { // half of them where a block's codes are
			uint32_t part = rnd(2) ? MIN((uint32_t)in.len, 120u) : (uint32_t)in.len;

			hurt.data[rnd(part)] ^= (uint8_t)(1u << rnd(8));
		}
		if (rnd(5) == 0)
			hurt.len = rnd((uint32_t)hurt.len);
		uint32_t max = rnd(2) ? ROOM : 1 + rnd(5000);
		struct outcome a = decode(e, &hurt, max), b = decode(judge, &hurt, max);

		if (a.result == GUNZIP_END) {
			ends++;
			wrong += b.result != GUNZIP_END || a.used != b.used ||
				a.out.len != b.out.len ||
				(a.out.len && memcmp(a.out.data, b.out.data, a.out.len));
		} else {
			refused++;
			wrong += b.result == GUNZIP_END;
		}
		buf_fini(&a.out), buf_fini(&b.out);
	}
	ok(!wrong && ends > 50 && refused > 300, "%s: %u damaged streams refused, %u %s sees whole",
		e->name, refused, ends, judge->name);
	buf_fini(&text), buf_fini(&in), buf_fini(&hurt);
}

int main(void)
{
	fenced_in = fenced_new();
	fenced_out = fenced_new();
	for (size_t i = 0; i < ARRAY_LEN(engines); i++) {
		seed = 1;
		test_valid(&engines[i]);
		test_damaged(&engines[i], &engines[ARRAY_LEN(engines) - 1]);
	}
	return tap_end();
}
