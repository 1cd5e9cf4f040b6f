// treeint.h - the inside of the tree: what tree.c, treedata.c and treew.c share
//
// Not for anybody else.
// SPDX-License-Identifier: Apache-2.0
#ifndef TREEINT_H
#define TREEINT_H

#include <sys/stat.h>

#include "format.h"
#include "tree.h"

struct tnode {
	uint16_t mode;	// no type: a pending hard link
	uint32_t nlink; // names (directories: 1)
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint32_t xattrs;
	uint32_t number; // when serialised
	union {
		struct {
			uint64_t size;
			uint32_t content;
		} file;
		struct {
			uint32_t first;	 // newest entry
			uint32_t dirent; // its own name; TREE_NONE for the root
			uint32_t entries;
			uint32_t touched; // last layer that set something at or below it
		} dir;
		struct {
			uint32_t name, len; // target in the heap
		} link;
		struct {
			uint32_t major, minor;
		} dev;
		struct {
			uint32_t number; // in tree.pending
			uint32_t dirent; // its only name
		} pending;
	};
};

struct tdirent {
	uint32_t dir, node;
	uint32_t next, prev; // in the directory
	uint32_t chain;	     // in the hash table
	uint32_t name;	     // offset in the heap
	uint16_t name_len;
	uint16_t layer;
};

struct pending { // a hard link whose target has not been seen: a node without a type keeps its place
	uint32_t node;
	uint32_t path, target; // in the heap
	uint32_t path_len, target_len;
	bool seen; // on the way from another one
};

struct tree {
	struct tnode *nodes;
	struct tdirent *dirents;
	struct content *contents;
	size_t n_nodes, cap_nodes, n_dirents, cap_dirents, n_contents, cap_contents;
	uint32_t free_node, free_dirent; // lists of released ones, linked by .number / .next
	size_t live_nodes;
	uint32_t *table;
	size_t table_size, n_names;
	uint32_t *by_sha; // open addressing over contents
	size_t by_sha_size;
	struct buf heap;     // names and link targets
	struct buf xattrs;   // serialised sets ...
	uint32_t *xattr_off; // ... and where each begins
	size_t n_xattrs, cap_xattrs;
	struct pending *pending;
	size_t n_pending, cap_pending;
	uint32_t layer;
};

static inline const char *tree_name(const struct tree *t, const struct tdirent *d)
{
	return (const char *)t->heap.data + d->name;
}

// The number of the set of xattrs that an entry brings, or FMT_NO_XATTRS: what a layer may not set
// is left out. -EBADMSG: too many or too long, a name twice; silent.
int tree_intern_xattrs(struct tree *t, const struct tar_entry *e, uint32_t *ret) must_check;

#endif
