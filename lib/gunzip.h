// gunzip.h - one gzip member after the other (RFC 1952), decoded piece by piece
// SPDX-License-Identifier: Apache-2.0
#ifndef GUNZIP_H
#define GUNZIP_H

#include "base.h"

struct gunzip;

// What a step takes and gives; the pointers move on, the lengths shrink.
struct gunzip_io {
	const uint8_t *in;
	size_t n_in;
	uint8_t *out;
	size_t n_out;
	const char *why; // of GUNZIP_BAD
};

enum gunzip_result { GUNZIP_MORE, GUNZIP_END, GUNZIP_BAD };

// NULL without memory. About 90 KiB.
struct gunzip *gunzip_new(void);
// NULL is allowed.
void gunzip_free(struct gunzip *g);
// The next byte begins a member, whatever was before. false without memory.
bool gunzip_begin(struct gunzip *g) must_check;
// Decodes until the input is used up, the output full, or the member over (GUNZIP_END: the bytes
// left in io->in are what follows it). The header's flags and CRC, the data's CRC and length are
// checked. It may hold bytes back: call it until it gives none before it gets more input.
enum gunzip_result gunzip_step(struct gunzip *g, struct gunzip_io *io) must_check;

#endif
