// stats.h - what a mount has cost so far: counters and waits, in a file of the store that its worker
// shares with whoever wants to know
//
//	stats/HEX	HEX = digest of the packed index; the newest mount's
//
// Every reader of the file looks at plain memory that may be old or damaged: figures to be shown,
// nothing else.
// SPDX-License-Identifier: Apache-2.0
#ifndef STATS_H
#define STATS_H

#include <stdatomic.h>

#include "store.h"

#define STATS_MAGIC "fcpullS3"
#define STATS_EVENTS 4000u

enum stats_kind { STATS_LOCAL, STATS_BOOT, STATS_DEMAND };

// A read that had to wait: for the store's disk, the boot stream, or a request of its own.
struct stats_event {
	uint64_t at, waited; // ns since begun; ns
	uint32_t space, block, blocks;
	uint32_t kind;
};

// Times are ns of CLOCK_MONOTONIC; 0: not yet.
struct stats {
	char magic[8];
	_Atomic uint64_t begun;	   // the command
	_Atomic uint64_t resolved; // the image is known
	_Atomic uint64_t serving;  // reads can be answered
	_Atomic uint64_t boot_over, start_over, complete;
	_Atomic uint64_t resolve_requests, resolve_bytes; // until resolved: manifests, index
	_Atomic uint64_t boot_bytes, boot_frames, boot_frames_here; // came; were in the store
	_Atomic uint64_t demand_requests, demand_bytes; // range requests for readers, as sent
	_Atomic uint64_t
		hedged_requests; // of those: asked for a second time, as the first was late
	_Atomic uint64_t fill_requests, fill_bytes;	// for the fill
	_Atomic uint64_t rescued_chunks, rescued_bytes; // plain ones, that the original has given
	_Atomic uint64_t reads, waits, waited_ns;
	_Atomic uint64_t events; // may count more than are kept
	struct stats_event event[STATS_EVENTS];
};

// A new file; replaces another's. Freed by stats_free. -errno logged.
int stats_create(struct store *s, const struct digest *index, struct stats **ret) must_check;
// An existing one, read-only. -ENOENT, -EBADMSG (another version's): silent.
int stats_open(struct store *s, const struct digest *index, const struct stats **ret) must_check;
void stats_free(const struct stats *t);
void stats_event(struct stats *t, const struct stats_event *e);
size_t stats_events(const struct stats *t); // that are kept

#endif
