// gc.h - removes from a store what nothing needs, then, above a limit, what was used least recently
// SPDX-License-Identifier: Apache-2.0
#ifndef GC_H
#define GC_H

#include "census.h"

struct gc_opts {
	bool dry_run;	 // only says what would be done
	bool wait;	 // for others to be ready; else -EBUSY
	bool forget_bad; // accelerated forms that were found bad may be tried again
	uint64_t limit;	 // bytes to leave at most; UINT64_MAX: as many as there are
	// told of each step, before it is done: "forget", "trim", "remove"; what; bytes that it frees
	void (*say)(void *arg, const char *step, const char *what, uint64_t bytes);
	void *arg;
};

struct gc_result {
	uint64_t before, after; // bytes of spaces and blobs
	bool above;		// the rest is in use or pinned, and more than the limit
};

// What is mounted, pinned or open stays, whatever the limit. c is what was found before (borrowed
// until the caller's census_fini; also with dry_run). -EBUSY: somebody brings data in, and `wait`
// is false; silent. Other -errno logged; the store is sound at every point, also after a crash.
int gc_run(struct store *s, const struct gc_opts *o, struct census *c,
	struct gc_result *ret) must_check;

// The limit that the store remembers; UINT64_MAX: none.
uint64_t gc_limit(struct store *s);
int gc_set_limit(struct store *s, uint64_t bytes) must_check; // UINT64_MAX: none. -errno logged
// Trims to the remembered limit, if there is one and nobody else is at work. For the end of verbs
// that bring data in; costs nothing to speak of otherwise. root: as store_open.
void gc_auto(const char *root);

#endif
