// indexint.h - an opened index, as the check sees it and as the readers see it
// SPDX-License-Identifier: Apache-2.0
#ifndef INDEXINT_H
#define INDEXINT_H

#include "format.h"
#include "index.h"

struct index {
	const uint8_t *buf;
	size_t len;
	const struct fmt_node *nodes;
	const struct fmt_dirent *dirents;
	const char *names;
	const uint8_t *xattrs;
	const struct fmt_space *spaces;
	const struct fmt_chunk *chunks;
	const struct fmt_frame *frames;
	const struct fmt_run *runs;
	uint32_t n_nodes, n_dirents, n_spaces, n_chunks, n_frames, n_runs, n_xattrs;
	size_t names_len, xattrs_len;
	uint64_t *chunk_off; // place of each chunk in its blob: owned
	uint64_t *frame_off; // place of each frame behind the packed index, and their end: owned
	const char *name;    // during the check only
};

static inline bool all_zero(const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		if (b[i])
			return false;
	return true;
}

// Where a set of xattrs begins; that of the set behind the last one: where the last one ends.
static inline uint32_t xattr_set_off(const struct index *ix, uint32_t set)
{
	return get_le32(ix->xattrs + 4 + 4 * (size_t)set);
}

// Of an xattr with its padding.
static inline size_t xattr_size(const struct fmt_xattr *x)
{
	return (sizeof *x + x->name_len + x->value_len + 3) & ~(size_t)3;
}

// The order of a directory's names.
static inline int name_cmp(const char *a, size_t an, const char *b, size_t bn)
{
	int c = memcmp(a, b, MIN(an, bn));

	return c ? c : an < bn ? -1 : an > bn;
}

// Sets the fields of ix, of which buf, len and name are set, and proves all that is in buf.
// -EBADMSG logged; -ENOMEM. chunk_off and frame_off are ix's in any case.
int index_check(struct index *ix) must_check;

#endif
