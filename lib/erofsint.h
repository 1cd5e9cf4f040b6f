// erofsint.h - the inside of the writer of EROFS metadata: what erofs.c and erofsxattr.c share
//
// Not for anybody else.
// SPDX-License-Identifier: Apache-2.0
#ifndef EROFSINT_H
#define EROFSINT_H

#include "erofs.h"

struct place {
	uint32_t nid;	// 0: none yet
	uint32_t block; // of its own data in the metadata
};

// A set of xattrs that some nodes have.
struct set {
	const void *key; // where it stands in the index
	uint32_t node;	 // one that has it
	uint32_t uses;
	uint32_t at, len; // in bodies
};

struct entry {
	struct xattr_view x; // without the prefix
	uint8_t prefix;	     // 0: EROFS has none
	uint64_t uses;
	uint32_t id; // in the shared area, or NONE
};

// Open addressing: numbers of what is hashed, NONE = free. The size is a power of two, twice of
// what can come or more.
struct table {
	uint32_t *slot;
	uint64_t mask;
};

struct build {
	const struct index *ix;
	uint64_t seed; // of hashes of what an image chooses
	struct set *sets;
	struct entry *entries;
	uint32_t n_sets, n_entries;
	struct table by_key, by_content;
	struct buf bodies;   // what stands behind the inodes, set by set
	struct buf shared;   // the shared area
	struct place *place; // by node
	uint64_t end;	     // of all that has been given away; whole blocks
	uint64_t open_at;    // the rest of a block that inodes go to
	uint32_t open_room;
	uint32_t shared_block;
	uint8_t *out;
};

// All that depends on the sets only. Returns how many xattrs have been left out.
uint32_t erofs_build_xattrs(struct build *b);
// The set of a node, or NULL.
const struct set *erofs_set_of(const struct build *b, uint32_t node, const struct attr *a);

#endif
