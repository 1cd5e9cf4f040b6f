// cutter.h - the chunk table of a data space that is cut evenly, made while its blocks come in
// order
// SPDX-License-Identifier: Apache-2.0
#ifndef CUTTER_H
#define CUTTER_H

#include "format.h"
#include "index.h"

#define CUTTER_BLOCKS 32u // of a chunk: 128 KiB

struct cutter {
	// hashes n bytes into h: sha256_update, or something that does other work by the way
	void (*update)(void *arg, struct sha256 *h, const uint8_t *p, size_t n);
	void *arg;
	struct fmt_chunk *chunks; // the result; neighbouring chunks of zeros are one
	size_t n, cap;
	// the chunk that is open
	size_t len;
	bool zero; // nothing else so far, and so nothing hashed
	struct sha256 h;
};

// Sets the result free.
void cutter_fini(struct cutter *c);
// The next n bytes, whole blocks. A new cutter is all zeros but for update and arg.
void cutter_add(struct cutter *c, const uint8_t *p, size_t n);
// No more comes.
void cutter_end(struct cutter *c);

#endif
