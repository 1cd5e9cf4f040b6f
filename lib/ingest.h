// ingest.h - one layer's tar, read once: entries into the tree, contents into a spool of 4 KiB
// blocks
// SPDX-License-Identifier: Apache-2.0
#ifndef INGEST_H
#define INGEST_H

#include "cutter.h"
#include "journal.h"
#include "stream.h"
#include "tree.h"

struct ingest {
	struct tree *tree;
	uint32_t space;		      // this layer's number
	int spool;		      // file that takes the blocks; empty
	bool share;		      // a content that is there already is not stored again
	struct cutter *cut;	      // or NULL: takes the blocks too, in their order
	struct journal_w *journal;    // or NULL: takes the entries
	const struct digest *diff_id; // sha256 that the decoded stream must have
	const char *name;	      // for messages: the layer's digest
	// results
	uint32_t blocks;	 // length of the spool
	uint64_t entries, bytes; // of the tar: entries, and bytes of regular files
	uint64_t shared; // bytes of files that were not stored because the same content was there
};

// Reads the decoded layer `plain` (taken over, in any case) to its very end. -errno logged; the tree is then not
// usable.
int ingest_layer(struct ingest *in, struct stream *plain) must_check;
// The same of a layer that was read before: its entries come from the journal, its contents stand in
// in->spool, at the blocks that the journal names (proved by the caller). diff_id, cut and journal
// are not used.
int ingest_again(struct ingest *in, struct journal_r *from) must_check;

#endif
