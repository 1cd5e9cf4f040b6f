// test_cutter.c - the chunk table made on the way is the one of the bytes cut at every 128 KiB
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/cutter.c"

#include "tap.h"

static void update(void *arg, struct sha256 *h, const uint8_t *p, size_t n)
{
	*(size_t *)arg += n;
	sha256_update(h, p, n);
}

// The table by definition: format.md, chunks; zeros in a row are one.
static size_t expected(const struct buf *b, struct fmt_chunk *out)
{
	size_t n = 0;
	uint32_t block = 0;

	for (size_t at = 0; at < b->len; at += CHUNK_SIZE) {
		size_t len = MIN(b->len - at, CHUNK_SIZE);
		struct fmt_chunk c = { .block = block, .blocks = (uint32_t)(len / BLOCK_BYTES) };
		struct digest sha = sha256_of(b->data + at, len);

		block += c.blocks;
		if (is_zero(b->data + at, len))
			c.codec = CODEC_ZERO;
		else
			memcpy(c.sha, sha.b, sizeof c.sha);
		if (n && c.codec == CODEC_ZERO && out[n - 1].codec == CODEC_ZERO)
			out[n - 1].blocks += c.blocks;
		else
			out[n++] = c;
	}
	return n;
}

static bool agrees(const struct buf *b)
{
	struct fmt_chunk want[64];
	size_t hashed = 0, n = expected(b, want);
	struct cutter c = { .update = update, .arg = &hashed };

	for (size_t at = 0; at < b->len;) {
		size_t k = (size_t)(1 + rand() % 40) * BLOCK_BYTES;

		k = MIN(k, b->len - at);
		cutter_add(&c, b->data + at, k);
		at += k;
	}
	cutter_end(&c);
	bool good = c.n == n && (!n || !memcmp(c.chunks, want, n * sizeof *want));

	cutter_fini(&c);
	return good;
}

int main(void)
{
	struct buf b = { 0 };
	unsigned wrong = 0;

	ok(agrees(&b), "nothing");
	for (unsigned round = 0; round < 300; round++) {
		b.len = 0;
		buf_zero(&b, (size_t)(1 + rand() % 300) * BLOCK_BYTES);
		// few bytes, so that there are chunks of zeros, and chunks that begin or end so
		for (int i = rand() % 12; i; i--)
			b.data[(size_t)rand() % b.len] = (uint8_t)rand();
		wrong += !agrees(&b);
	}
	ok(!wrong, "300 spaces with holes, in pieces of 1 to 40 blocks");
	buf_fini(&b);
	return tap_end();
}
