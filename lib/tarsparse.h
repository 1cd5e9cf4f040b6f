// tarsparse.h - the map of a sparse file in a tar archive: which bytes are stored
// SPDX-License-Identifier: Apache-2.0
//
// Pure functions over bytes. Those that can refuse return NULL when all is well, else what is
// wrong, for the caller's message.
#ifndef TARSPARSE_H
#define TARSPARSE_H

#include "base.h"

#define SPARSE_EXTENTS_MAX 65536u

struct sparse_extent {
	uint64_t off, len;
};

struct sparse_map { // {0} = empty
	struct sparse_extent *v;
	size_t n, cap;
	uint64_t stored; // sum of len
};
void sparse_reset(struct sparse_map *m); // empties, keeps the memory
void sparse_fini(struct sparse_map *m);
// Adds an extent: sorted, not overlapping, below 2^63.
const char *sparse_add(struct sparse_map *m, uint64_t off, uint64_t len) must_check;
// The whole map against the file's size and the bytes stored in the archive.
const char *sparse_check(const struct sparse_map *m, uint64_t size, uint64_t stored) must_check;
// At byte `at` (< size): how many bytes follow of the same sort, and whether they are stored. *i
// is the caller's cursor, 0 at first; `at` never goes back.
uint64_t sparse_run(
	const struct sparse_map *m, uint64_t size, uint64_t at, size_t *i, bool *ret_stored);

// Digits only, all of them, no overflow.
bool sparse_decimal(const char *p, size_t n, uint64_t *ret) must_check;
// "off,len,off,len": the map of pax format 0.1.
const char *sparse_add_list(struct sparse_map *m, const char *p, size_t n) must_check;

// The map of pax format 1.0, decimal lines "count\n off\n len\n ..." at the head of the file's
// data.
struct sparse_lines { // {0} before the first byte
	char digits[20];
	unsigned n_digits;
	bool have_count, have_off;
	uint64_t left, off; // extents to come; the offset that waits for its length
};
// Feeds the next bytes. *ret_done is set once the map is complete; what follows it in p is padding.
const char *sparse_feed(struct sparse_lines *l, struct sparse_map *m, const void *p, size_t n,
	bool *ret_done) must_check;

#endif
