// accelman.h - the accelerated manifest: what it lists, and what it says of its original
// SPDX-License-Identifier: Apache-2.0
#ifndef ACCELMAN_H
#define ACCELMAN_H

#include "repo.h"

// What the accelerated manifest says; unverified beyond its own digest and form until the index
// section is read.
struct accel {
	struct manifest man;
	struct desc boot;
	uint64_t index_size; // index section = the first bytes of the boot blob
	struct digest index_digest;
	struct desc *data; // one per layer, in order
	uint32_t n_data;
};

// One that has been read, with what it says of its original.
struct accelman {
	struct accel *accel;		  // or NULL
	struct desc subject, config;	  // the subject's size only with a copy
	char *subject_copy, *config_copy; // inline, or NULL
};

// Reads m->accel->man, whose other members are zero, into the rest of m. `where` is for messages.
// -EBADMSG logged; m is to be finished in any case.
int accelman_parse(const char *where, struct accelman *m) must_check;
void accelman_fini(struct accelman *m);
void accelman_free(struct accel *a); // or NULL

#endif
