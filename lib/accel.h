// accel.h - makes the accelerated form of an image and delivers it
// SPDX-License-Identifier: Apache-2.0
#ifndef ACCEL_H
#define ACCEL_H

#include "image.h"
#include "journal.h"
#include "pack.h"
#include "tagindex.h"
#include "trace.h"

struct accel_conf {
	struct pack_conf pack;
	const char *
		mount_from; // repository of the same registry that has the original's blobs, or NULL
	bool same_place;    // the result goes where the original is: its blobs are there already
	bool referrer;	 // no index: our manifest is a referrer of the original, in its own place
	const char *tag; // that the index gets; NULL: the only image of a layout
	bool keep_data;	 // a trace will be given to accel_boot
	// the layers as a plain pull has left them, in place of what img's repo has: the journal,
	// and the blocks of each layer's space, or -1; borrowed
	struct journal_r *journal;
	const int *blocks;
};

// What `convert` does when it is not told otherwise (measured: doc/design.md, "Codec, level and size of a chunk").
#define ACCEL_ZSTD_LEVEL 1
#define ACCEL_CHUNK_BLOCKS 64u
struct pack_conf accel_pack(unsigned threads);

struct accel_stats {
	uint64_t original; // bytes of the layers as published
	uint64_t decoded;  // bytes of the data spaces
	uint64_t data;	   // bytes of the data blobs
	uint64_t index;	   // bytes of the packed index
	uint64_t frames;   // bytes of the boot frames
	struct trace_stats trace;
	uint64_t shared; // file bytes that were not stored again
	uint32_t nodes, chunks;
};

// A conversion has three steps. It is deterministic in everything but conf->pack's codec, level and
// chunk size, and the trace. -errno logged; what has been uploaded by then is unreferenced and the
// tag is untouched.
struct accel_job;
// Reads img's layers (its repo is read), makes the data blobs and uploads them to dst. Borrows all.
// *ret is to be freed in any case.
int accel_layers(struct image *img, struct repo *dst, const struct accel_conf *conf,
	struct accel_job **ret) must_check;
// Makes the boot blob and uploads it. t: merged, or NULL: an index only. May be called again.
int accel_boot(struct accel_job *j, const struct trace *t) must_check;
// Uploads the manifest, and an index under conf->tag that lists the original first. *ret = digest
// of that index; with conf->referrer, of the manifest. May be called again after accel_boot.
int accel_deliver(struct accel_job *j, struct digest *ret) must_check;
// The original, when it is elsewhere, and the accelerated manifest, but no index. *ret borrows from j.
int accel_put(struct accel_job *j, struct form *ret) must_check;
// The tag may have moved while we worked: then an index of ours would bring an old image back. tag = NULL:
// the only image of a layout. -ECANCELED, -ENOENT logged.
int accel_still_there(struct repo *repo, const char *tag, const struct digest *d) must_check;
// Our manifest, after accel_boot; borrowed.
const struct buf *accel_manifest(struct accel_job *j);
// A job that has only to be delivered: a form of img whose blobs are at dst already.
struct accel_job *accel_made(struct image *img, struct repo *dst, const struct accel_conf *conf,
	const struct accel *form) must_check;
const struct accel_stats *accel_stats(const struct accel_job *j);
void accel_free(struct accel_job *j);

#endif
