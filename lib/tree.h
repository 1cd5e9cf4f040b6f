// tree.h - the merged tree of an image while it is being built, layer by layer, in memory
//
// Nothing here ever touches the host's file system: names are only keys, so that `..`, links and
// traversal have no ground.
// SPDX-License-Identifier: Apache-2.0
#ifndef TREE_H
#define TREE_H

#include "hash.h"
#include "tar.h"

#define TREE_NONE UINT32_MAX
#define TREE_MAX_NODES (16u << 20)

// The content of regular files. Two files of equal bytes share one when the builder says so.
struct content {
	struct digest sha;
	uint64_t size;
	uint32_t space; // layer that stores it
	uint32_t spool; // first block in that layer's spool (as it came)
	uint32_t
		block; // first block in the data space (as it is published); TREE_NONE until placed
	bool unique;   // never found by tree_find_content; sha does not count
};

struct tree;
struct tree *tree_new(void);
void tree_free(struct tree *t);

// From here on entries belong to the next layer (0, 1, ...). Whiteouts touch lower layers only,
// whatever the order in the tar.
void tree_begin_layer(struct tree *t);
// Applies an entry. content: for a file of size > 0 its number from tree_add_content, else
// TREE_NONE. Whiteouts and opaque markers are recognised by name. -EBADMSG: malformed whiteout, too
// many nodes; all logged with `layer` as the name.
int tree_add(
	struct tree *t, const struct tar_entry *e, uint32_t content, const char *layer) must_check;
// At the end of a layer: hard links that point forward are resolved; one to nothing or to a
// directory is -EBADMSG.
int tree_end_layer(struct tree *t, const char *layer) must_check;
// Would this entry be skipped (its data need not be stored)? Sockets, whiteouts and the like.
bool tree_skips(const struct tar_entry *e);

uint32_t tree_add_content(struct tree *t, const struct content *c);
struct content *tree_content(struct tree *t, uint32_t content);
uint32_t tree_contents(const struct tree *t);
// A content of these bytes, or TREE_NONE.
uint32_t tree_find_content(const struct tree *t, const struct digest *sha, uint64_t size);

// Calls fn for the content of every regular file that the current layer has set, in path order (the
// order of names from the root down, bytes compared, a directory before its entries). fn returns 0
// or ends the walk.
int tree_walk_layer(struct tree *t, int (*fn)(void *arg, struct content *c), void *arg);

// Appends the NODES, DIRENTS, NAMES and XATTRS sections to out[SEC_NODES..SEC_XATTRS].
void tree_serialise(struct tree *t, struct buf out[static 4]);
uint32_t tree_nodes(const struct tree *t);

#endif
