// lookup.h - where an image's accelerated form is looked for when its reference does not list it
//
// After the reference itself, which costs nothing: a tag with a suffix (`convert --suffix`), then the
// referrers (`convert --referrer`). Each costs a request to a registry when there is nothing, the
// referrers two when it keeps no lists.
// SPDX-License-Identifier: Apache-2.0
#ifndef LOOKUP_H
#define LOOKUP_H

#include "entry.h"

#define LOOKUP_SUFFIX "-fcpull"

// Sets where: "none", or words separated by commas: "suffix" or "suffix=TEXT", "referrers". NULL =
// $FCPULL_FIND, else "suffix,referrers". -EINVAL logged.
int lookup_set(const char *text) must_check;

// What is set, in the same words. Caller frees.
char *lookup_text(void) must_check;

// The accelerated form of an original that ref names: the place where it is known, for messages (valid
// until the next call), and its descriptor; NULL: none. *place: 0 at first; called again it goes on with
// the places after the one that was found. What it is must be proved by the caller.
// Errors are no errors here.
const char *lookup_accel(struct repo *repo, const struct ref *ref, const struct digest *original,
	size_t *place, struct entry *ret);

#endif
