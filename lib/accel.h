// accel.h - makes the accelerated form of an image and delivers it
// SPDX-License-Identifier: Apache-2.0
#ifndef ACCEL_H
#define ACCEL_H

#include "image.h"
#include "pack.h"

struct accel_conf {
	struct pack_conf pack;
	const char *
		mount_from; // repository of the same registry that has the original's blobs, or NULL
	bool same_place;    // the result goes where the original is: its blobs are there already
	const char *tag;    // that the index gets; NULL: the only image of a layout
};

struct accel_stats {
	uint64_t original; // bytes of the layers as published
	uint64_t decoded;  // bytes of the data spaces
	uint64_t data;	   // bytes of the data blobs
	uint64_t boot;	   // bytes of the boot blob
	uint64_t shared;   // file bytes that were not stored again
	uint32_t nodes, chunks;
};

// Converts img (its repo is read) into dst: data blobs, boot blob, manifest, and an index under
// conf->tag that lists the original first. *ret = digest of that index. Deterministic in everything
// but conf->pack's codec, level and chunk size. -errno logged; what has been uploaded by then is
// unreferenced and the tag is untouched.
int accel_make(struct image *img, struct repo *dst, const struct accel_conf *conf,
	struct digest *ret, struct accel_stats *ret_stats) must_check;

#endif
