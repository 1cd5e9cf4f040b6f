// layout.h - an OCI image layout directory (image-spec image-layout.md) as a repository
// SPDX-License-Identifier: Apache-2.0
#ifndef LAYOUT_H
#define LAYOUT_H

#include "repo.h"

#define LAYOUT_INDEX_MAX MANIFEST_MAX // bytes of index.json
#define LAYOUT_ENTRIES_MAX 16384      // manifests in it

// Makes dir (and its parents) an empty layout unless it is one: oci-layout, index.json,
// blobs/sha256. -errno logged.
int layout_init(const char *dir) must_check;

// Removes the entries of this name ("": those without) from index.json; blobs stay. -errno logged.
int layout_forget(struct repo *repo, const char *tag) must_check;

#endif
