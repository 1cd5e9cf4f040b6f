// kept.h - what the store knows of accelerated forms: made here, tried here, found bad here
//
//	accel/HEX	what became of the conversion of the original with manifest HEX (JSON)
//	accel/HEX.lock	locked (flock) by who converts it now: goes with its holder, however that ends
//	accel/HEX.trace	what its first start has read
//	accel/HEX.bad	the accelerated manifest HEX must not be used, and why (text); `fcpull gc` forgets it
//
// An accelerated form belongs to its original's digest: a tag that moves on has none.
// SPDX-License-Identifier: Apache-2.0
#ifndef KEPT_H
#define KEPT_H

#include "store.h"

#define KEPT_BAD ".bad" // the suffix

struct kept {
	struct digest form; // its manifest
	bool here;	    // manifest and all blobs are in the store
	bool pushed;	    // it was delivered to the registry; neither: it failed
	char *why;	    // why not pushed, or failed; "" if there is nothing to say
	int64_t when;	    // seconds
};
void kept_fini(struct kept *k);

// -ENOENT, silent: nothing is known, or it cannot be read.
int kept_read(struct store *s, const struct digest *original, struct kept *ret) must_check;
int kept_write(struct store *s, const struct digest *original, const struct kept *k) must_check;
void kept_forget(struct store *s, const struct digest *original);
// The conversion's lock: a descriptor; -EWOULDBLOCK, silent; -errno logged.
int kept_lock(struct store *s, const struct digest *original) must_check;

// What a start of it has read (trace.h): kept so that a conversion that was cut short need not wait for
// another start. A descriptor, or -ENOENT, silent.
int kept_trace(struct store *s, const struct digest *original) must_check;
void kept_set_trace(struct store *s, const struct digest *original, const void *p, size_t n);

// Why a form must not be used (caller frees), or NULL.
char *kept_bad(struct store *s, const struct digest *form) must_check;
void kept_set_bad(struct store *s, const struct digest *form, const char *why);
void kept_clear_bad(struct store *s, const struct digest *form);

// A blob of a form that is here: open for reading, or -errno, silent.
int kept_blob(struct store *s, const struct digest *blob) must_check;

#endif
