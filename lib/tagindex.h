// tagindex.h - the index under an image's tag, written: what was there, then the accelerated forms
// (format.md section 1)
// SPDX-License-Identifier: Apache-2.0
#ifndef TAGINDEX_H
#define TAGINDEX_H

#include "image.h"

// An accelerated form: its original, its manifest's bytes. Borrowed.
struct form {
	struct digest original;
	const void *manifest;
	size_t len;
};

// An index of img's original and f. local: of the store's own, which stands for no object of a
// registry.
void tagindex_pair(struct buf *b, const struct image *img, const struct form *f, bool local);
// Does m, an index or any manifest, list accelerated forms?
bool tagindex_has_forms(const struct manifest *m) must_check;
// What top lists, with the forms v behind it in place of those that are there of the same originals
// or of none that top still lists. All members are kept as they are. -errno logged with `where`.
int tagindex_extend(struct buf *b, const struct manifest *top, const struct form *v, size_t n,
	const char *where) must_check;
// Written by tagindex_pair with `local`?
bool tagindex_is_local(const struct manifest *m);

#endif
