// census.h - what is in a store, and what of it anything still needs
//
// Needed is what can be reached: from the names in index.json, and from the indexes of what is
// mounted, over manifests, configs and indexes to data spaces.
// SPDX-License-Identifier: Apache-2.0
#ifndef CENSUS_H
#define CENSUS_H

#include "store.h"

struct census_space {
	struct digest key;
	uint64_t bytes; // on disk
	uint32_t users; // images that need it
	bool mounted;	// some mount's index names it
	bool open;	// a process has it open
	bool fetchable; // its data can be had again, chunk by chunk
	bool gone;	// removed meanwhile
};

struct census_blob {
	struct digest digest;
	uint64_t bytes;
	bool needed;
};

struct census_local { // local/HEX
	struct digest manifest;
	bool needed;
};

struct census_image {
	char *key; // its name in index.json
	struct digest top;
	int64_t used; // seconds; 0 = not known
	bool pinned, mounted;
	bool gone;	     // forgotten meanwhile
	uint64_t bytes, own; // of its spaces; census_own_bytes, both when the census was taken
	uint32_t *spaces;    // numbers in census.spaces
	size_t n_spaces, cap_spaces;
	struct digest *locals; // manifests of it that local/ has an index for
	size_t n_locals, cap_locals;
};

struct census {
	struct store *store;
	struct census_space *spaces;
	struct census_blob *blobs;
	struct census_local *locals;
	struct census_image *images;
	size_t n_spaces, n_blobs, n_locals, n_images;
	size_t cap_spaces, cap_blobs, cap_locals, cap_images;
	struct digest *mounts; // the indexes of what is mounted
	size_t n_mounts;
	uint64_t bytes; // of all spaces and blobs
};

// The caller has store_lock, else things may move meanwhile. What cannot be read is not needed.
// -errno logged when the store itself cannot be read.
int census_take(struct store *s, struct census *ret) must_check;
void census_fini(struct census *c);

// Bytes of the spaces that no other image and no process uses.
uint64_t census_own_bytes(const struct census *c, const struct census_image *im);
// Somebody uses the space now.
static inline bool census_busy(const struct census_space *sp)
{
	return sp->mounted || sp->open;
}

#endif
