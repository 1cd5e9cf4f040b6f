// cutter.c - chunks of a plain pull: hashed on their way to the disk
// SPDX-License-Identifier: Apache-2.0
#include "cutter.h"

#define CHUNK_SIZE ((size_t)CUTTER_BLOCKS << BLOCK_SHIFT)

void cutter_fini(struct cutter *c)
{
	free(c->chunks);
}

static void begin(struct cutter *c)
{
	c->zero = true;
	sha256_init(&c->h);
}

// The zeros that were only counted count after all.
static void hash_zeros(struct cutter *c)
{
	static const uint8_t zeros[BLOCK_BYTES];

	for (size_t n = 0; n < c->len; n += BLOCK_BYTES)
		sha256_update(&c->h, zeros, BLOCK_BYTES);
	c->zero = false;
}

static void record(struct cutter *c)
{
	struct fmt_chunk *last = c->n ? &c->chunks[c->n - 1] : NULL, *chunk;
	uint32_t blocks = (uint32_t)(c->len >> BLOCK_SHIFT);
	struct digest sha;

	c->len = 0;
	if (c->zero && last && last->codec == CODEC_ZERO) {
		last->blocks += blocks;
		return;
	}
	c->chunks = xgrow(c->chunks, &c->cap, c->n + 1, sizeof *c->chunks);
	chunk = &c->chunks[c->n++];
	*chunk = (struct fmt_chunk){
		.block = c->n > 1 ? chunk[-1].block + chunk[-1].blocks : 0,
		.blocks = blocks,
		.codec = (uint8_t)(c->zero ? CODEC_ZERO : CODEC_STORED),
	};
	if (c->zero)
		return;
	sha = sha256_final(&c->h);
	memcpy(chunk->sha, sha.b, sizeof chunk->sha);
}

void cutter_add(struct cutter *c, const uint8_t *p, size_t n)
{
	while (n) {
		size_t k = MIN(n, CHUNK_SIZE - c->len);

		if (!c->len)
			begin(c);
		if (c->zero && !is_zero(p, k))
			hash_zeros(c);
		if (!c->zero)
			c->update(c->arg, &c->h, p, k);
		c->len += k;
		p += k;
		n -= k;
		if (c->len == CHUNK_SIZE)
			record(c);
	}
}

void cutter_end(struct cutter *c)
{
	if (c->len)
		record(c);
}
