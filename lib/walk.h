// walk.h - paths of an image's tree: found with links followed, or visited one after the other
//
// A link leads to where it would lead with the image as root: an absolute target begins at the
// image's root, and ".." of the root is the root. Nothing of the host is looked at.
// SPDX-License-Identifier: Apache-2.0
#ifndef WALK_H
#define WALK_H

#include "index.h"

#define WALK_LINKS_MAX 40 // that one path may lead through; Linux has the same

// The node of a path ("a/b", "/a/../b/"). A link that is not the last component is followed; the
// last one too if `follow`, or if a slash stands behind it. -ENOENT, -ENOTDIR, -ELOOP; silent.
int walk_find(const struct index *ix, const char *path, bool follow, uint32_t *ret) must_check;

// ---- all that is below a directory, in path order: a directory comes before what it holds ----
struct walk;
struct walk_step {
	const char
		*path; // from the start, no slash in front, not NUL-terminated; until the next step
	size_t len;
	uint32_t node;
	uint32_t type;	// st_mode's S_IFMT bits
	bool again;	// a further name of a file that has been met
	uint32_t depth; // 1: an entry of the start
};
// The index is borrowed. The start itself is not visited.
struct walk *walk_new(const struct index *ix, uint32_t dir);
bool walk_next(struct walk *w, struct walk_step *ret);
void walk_free(struct walk *w);

#endif
