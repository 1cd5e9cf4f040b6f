// stage.h - a place for what a conversion makes, before it is known where that will go: blobs stay
// in their scratch files, under no name
// SPDX-License-Identifier: Apache-2.0
#ifndef STAGE_H
#define STAGE_H

#include "store.h"

// Takes blobs and manifests; gives back blobs that it has. Closed as any repo.
struct repo *stage_open(const char *name) must_check;
// A blob's file, borrowed; -ENOENT.
int stage_blob(struct repo *stage, const struct digest *d) must_check;
// Puts the blobs and manifests into the store, which the caller holds (store_hold). -errno logged;
// then some may be there, and are nobody's.
int stage_keep(struct repo *stage, struct store *s) must_check;

#endif
