// fuzz_inflate.c - the layer decoder on arbitrary bytes
// SPDX-License-Identifier: Apache-2.0
//
// The input comes in pieces, as from a network, and goes out in pieces: the first byte has their
// sizes. Whatever the sizes, the same bytes and the same verdict must come out.
#include "hash.h"
#include "inflate.h"
#include "log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (4u << 20)

struct piecemeal {
	struct stream s;
	const uint8_t *p;
	size_t left, piece;
};

static ssize_t piecemeal_read(struct stream *s, void *buf, size_t n)
{
	struct piecemeal *m = (struct piecemeal *)s;

	n = MIN(MIN(n, m->left), m->piece);
	if (n)
		memcpy(buf, m->p, n);
	m->p += n;
	m->left -= n;
	return (ssize_t)n;
}

static void piecemeal_close(struct stream *s)
{
	(void)s;
}

struct outcome {
	int error;
	uint64_t bytes;
	struct digest sum;
};

static struct outcome decode(const uint8_t *p, size_t n, size_t piece, size_t step)
{
	static const struct stream_ops ops = { piecemeal_read, piecemeal_close, NULL };
	static uint8_t buf[128 << 10];
	struct piecemeal in = { { &ops }, p, n, piece };
	struct outcome o = { 0 };
	struct sha256 sum;
	struct stream *s;
	ssize_t r = 0;

	sha256_init(&sum);
	o.error = inflate_open(&in.s, "fuzz", &s);
	if (o.error)
		return o;
	while (o.bytes < OUT_MAX && (r = stream_read(s, buf, MIN(step, OUT_MAX - o.bytes))) > 0) {
		sha256_update(&sum, buf, (size_t)r);
		o.bytes += (uint64_t)r;
	}
	o.error = r < 0 ? (int)r : 0;
	if (r <= 0 && stream_read(s, buf, 1) != r)
		abort();
	o.sum = sha256_final(&sum);
	stream_close(s);
	return o;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	log_level = LOG_QUIET;
	struct outcome a = decode(data + 1, size - 1, 1u << 20, 128 << 10);
	struct outcome b = decode(data + 1, size - 1, 1 + *data % 16, 1u << (*data >> 4));

	// a corrupt stream may give less or more before the error is seen
	if (a.error != b.error ||
		(!a.error && (a.bytes != b.bytes || !digest_equal(&a.sum, &b.sum))))
		abort();
	return 0;
}
