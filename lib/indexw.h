// indexw.h - writes index sections, and packs and unpacks them for their way
// SPDX-License-Identifier: Apache-2.0
#ifndef INDEXW_H
#define INDEXW_H

#include "index.h"
#include "pack.h"

struct index_parts {
	struct digest original, config;
	struct tree *tree;
	struct fmt_space *spaces; // first_chunk is set by index_build
	uint32_t n_spaces;
	struct buf chunks;	 // struct fmt_chunk, all spaces in order
	struct buf frames, runs; // struct fmt_frame, fmt_run: the boot stream, or empty
};
// Serialises to a new index (which is checked like a foreign one). Does not take anything over.
int index_build(struct index_parts *parts, struct index **ret) must_check;

void index_parts_fini(struct index_parts *parts);

// The packed form (struct fmt_packed + one zstd frame): deterministic.
int index_pack(const struct index *ix, struct buf *ret) must_check;
// Unpacks and checks. `name` for messages.
int index_unpack(const void *p, size_t n, const char *name, struct index **ret) must_check;

#endif
