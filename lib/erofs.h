// erofs.h - EROFS metadata for the tree of an image, generated here
//
// The files' data stays where it is: in the image's data spaces, one extent each. One metadata, two
// placements of it:
//	FLAT	one address space of 4 KiB blocks: metadata, space 0, space 1, ...; `image.erofs`
//	DEVICES	metadata alone; each space that has blocks is a device (mount option device=), in their order
// They differ in the super block only. Needs Linux 5.16 (FLAT: 5.4). Deterministic: the same index
// gives the same bytes.
// SPDX-License-Identifier: Apache-2.0
#ifndef EROFS_H
#define EROFS_H

#include "index.h"

#define EROFS_META_MAX (4ull << 30) // bytes of metadata; node ids would allow 128 GiB

enum erofs_placement { EROFS_FLAT, EROFS_DEVICES };

// Immutable: any thread may use it.
struct erofs_image;

// Generates the metadata of ix, which is not needed afterwards. fd: -1 keeps it in memory; else a
// file, empty and open for reading and writing (a name is not needed), which is borrowed until
// erofs_free: then next to nothing stays in memory. Xattrs that EROFS cannot name (those the kernel
// has no handler for) are left out. -EFBIG: the spaces and the metadata have 2^32 blocks or more;
// -ENOSPC and the like from the file; all logged.
int erofs_build(const struct index *ix, int fd, struct erofs_image **ret) must_check;
void erofs_free(struct erofs_image *im);

uint64_t erofs_meta_size(const struct erofs_image *im); // multiple of 4096
uint64_t erofs_flat_size(const struct erofs_image *im); // of all, multiple of 4096
uint32_t erofs_spaces(const struct erofs_image *im);
// The first block of a space in the flat address space; for space = erofs_spaces() the end.
uint32_t erofs_space_start(const struct erofs_image *im, uint32_t space);
uint32_t erofs_xattrs_left_out(
	const struct erofs_image *im); // different ones, not nodes that have them

// Bytes off..off+n of the metadata (within erofs_meta_size). 0 or -errno; memory-backed ones never
// fail.
int erofs_read(const struct erofs_image *im, enum erofs_placement p, void *buf, size_t n,
	uint64_t off) must_check;
// Writes all metadata to fd from its offset 0 on. -errno, silent.
int erofs_write(const struct erofs_image *im, enum erofs_placement p, int fd) must_check;

#endif
