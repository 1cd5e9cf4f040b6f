// flatten.h - an image as one stream of bytes: a tar archive, or a file system image
// SPDX-License-Identifier: Apache-2.0
#ifndef FLATTEN_H
#define FLATTEN_H

#include "lazy.h"
#include "outfile.h"

// A tar archive (pax) in path order, root first as "./", hard links behind the file that they name.
// Sockets are left out, and said. -errno logged.
int flatten_tar(struct lazy *lz, struct outfile *out) must_check;
// A plain EROFS image: metadata and all data in one file, which any Linux from 5.4 on mounts.
// -errno logged.
int flatten_erofs(struct lazy *lz, struct outfile *out) must_check;

#endif
