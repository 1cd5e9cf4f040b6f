// referrers.h - an image's accelerated form as a referrer of it (distribution-spec 1.1, "Listing
// Referrers"; format.md section 1)
//
// What the registry lists by itself; where it keeps no lists, the tag `sha256-HEX`, an index that the
// pushing client keeps ("Pushing Manifests with Subject").
// SPDX-License-Identifier: Apache-2.0
#ifndef REFERRERS_H
#define REFERRERS_H

#include "entry.h"

struct referrer {
	struct entry entry; // digest "" = there is none
	uint64_t serial;
};

// The accelerated form of an original that counts: of several the one with the greatest serial, the
// first of equals. Not patient: errors of the registry are silent and mean that there is none.
// -errno logged.
int referrers_find(struct repo *repo, const struct digest *original, bool patient,
	struct referrer *ret) must_check;
// Pushes an accelerated manifest of that original and serial, and enters it in the tag where the
// registry does not list it by itself. -errno logged.
int referrers_put(struct repo *repo, const struct digest *original, uint64_t serial, const void *p,
	size_t n) must_check;

#endif
