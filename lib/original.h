// original.h - an original copied to another place, byte for byte
// SPDX-License-Identifier: Apache-2.0
#ifndef ORIGINAL_H
#define ORIGINAL_H

#include "image.h"

// Copies the original that src means (for `platform`, if it names several) to dst under dst's name:
// config, layers, then the manifest. What is there already is not sent again. A layout that was not
// there before is removed again when it fails. -errno logged.
int original_copy(const struct ref *src, const struct ref *dst, const struct net_opts *net,
	const struct platform *platform, struct digest *ret) must_check;

#endif
