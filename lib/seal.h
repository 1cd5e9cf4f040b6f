// seal.h - data spaces that are whole, and were proved since this machine was started
//
// Who has proved every chunk of a space in the life of its own process may seal it: data/KEY/sealed
// names the file of its blocks by inode, size, mtime and ctime, and the boot. As long as that is
// true of the file, and its map is full, nobody has written to it since; so what a seal allows is to
// use the blocks without proving them again, until the next boot. Nothing else keeps the seal up to
// date: a write breaks it, and so does a block that is found damaged (its bit goes).
// What it does not see: a disk that changes what it holds, as long as the machine runs. `fcpull
// pull` reads and proves everything again and mends what it can.
// SPDX-License-Identifier: Apache-2.0
#ifndef SEAL_H
#define SEAL_H

#include "index.h"
#include "store.h"

// Seals all spaces of an image whose chunks the caller has proved, all of them but those of zeros;
// these are looked at here. Waits until the blocks are on the disk, so that one which cannot keep
// them is found out. -errno; a seal that cannot be made is only a debug message, as nothing is lost.
int seal_image(struct store *s, const struct index *ix);

// The files of the spaces that have blocks, in order, open for reading, if all are sealed.
struct sealed {
	int *fd;
	size_t n;
	struct digest id; // of the seals: another one after a block was mended, or a file replaced
};
// -ENODATA: not all are sealed; silent. sealed_close() may be called on one that failed.
int sealed_open(struct store *s, const struct index *ix, struct sealed *ret) must_check;
void sealed_close(struct sealed *s);
// Whether all are.
bool sealed_image(struct store *s, const struct index *ix);

#endif
