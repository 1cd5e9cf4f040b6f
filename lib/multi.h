// multi.h - all platforms of an index, accelerated
// SPDX-License-Identifier: Apache-2.0
#ifndef MULTI_H
#define MULTI_H

#include "accel.h"

struct multi {
	struct repo *from, *to;	       // to: where the result goes
	const struct ref *src;	       // names the index
	const struct accel_conf *conf; // tag = NULL: the name that a layout gives it
	const struct trace *trace;     // or NULL
	void (*report)(const struct image *img, const struct accel_stats *s);
};

// Converts each image for Linux that the index lists, or an index in it. All that it lists stays:
// attestations, images of other systems, what nobody knows; in another place they are copied. The
// result is the index with all accelerated forms behind; with conf->referrer each is a referrer of its
// own, and *ret is the index as it was. -ENOENT: it lists no image for Linux. 1: src is no
// index, nothing was done. -errno logged.
int multi_convert(const struct multi *m, struct digest *ret) must_check;

#endif
