// tarfile.h - archives of regular files with bytes that a number stands for
// SPDX-License-Identifier: Apache-2.0
#ifndef TARFILE_H
#define TARFILE_H

#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include "base.h"

static inline void put_octal(char *to, size_t n, uint64_t v)
{
	snprintf(to, n, "%0*llo", (int)n - 1, (unsigned long long)v);
}

// size bytes; seed = 0: zeros; the same seed and size: the same bytes.
static inline void make_bytes(uint8_t *p, size_t size, uint32_t seed)
{
	uint32_t x = seed;

	memset(p, 0, size);
	for (size_t i = 0; i < size && seed; i++) {
		x = x * 1664525u + 1013904223u;
		p[i] = (uint8_t)(x >> 24);
	}
}

// An entry of the archive, its content by make_bytes.
static inline void put_file(struct buf *tar, const char *name, size_t size, uint32_t seed)
{
	char h[512] = { 0 };
	unsigned sum = 0;
	cleanup_free uint8_t *p = xcalloc(1, size + 512);

	snprintf(h, 100, "%s", name);
	put_octal(h + 100, 8, 0644);
	put_octal(h + 108, 8, 0);
	put_octal(h + 116, 8, 0);
	put_octal(h + 124, 12, size);
	put_octal(h + 136, 12, 1600000000);
	memset(h + 148, ' ', 8);
	h[156] = '0';
	memcpy(h + 257, "ustar\00000", 8);
	for (size_t i = 0; i < sizeof h; i++)
		sum += (unsigned char)h[i];
	put_octal(h + 148, 7, sum & 0777777);
	buf_add(tar, h, sizeof h);
	make_bytes(p, size, seed);
	buf_add(tar, p, (size + 511) / 512 * 512);
}

#endif
