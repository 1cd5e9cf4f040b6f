// treefs.h - the tree of an image as a read-only file system, by FUSE
// SPDX-License-Identifier: Apache-2.0
#ifndef TREEFS_H
#define TREEFS_H

#include "base.h"

struct lazy;

// Serves the tree of lz on fd (of fuse_mount) until the file system is unmounted (0) or the
// connection is aborted or broken (-errno). `threads` reader threads; reads of data that is not
// here do not occupy a thread. Joins all before it returns, and no read of lz is outstanding
// then.
int treefs_serve(struct lazy *lz, int fd, unsigned threads) must_check;

#endif
