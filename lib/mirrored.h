// mirrored.h - a repository that can be read at several places: the next takes over when one fails
// SPDX-License-Identifier: Apache-2.0
#ifndef MIRRORED_H
#define MIRRORED_H

#include "mirrors.h"

#define MIRROR_REST_SECONDS 30 // that a place which failed is passed over
#define MIRROR_TRIES 2	       // attempts per request at a place that is not the last

// Opens ref at the places of m (taken over in any case); `write`: it has one. No traffic.
// -errno logged.
int mirrored_open(const struct ref *ref, const struct net_opts *net, bool write, struct mirrors *m,
	struct repo **ret) must_check;

#endif
