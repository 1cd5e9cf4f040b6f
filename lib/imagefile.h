// imagefile.h - an image as one virtual file, image.erofs, by FUSE
//
// What the kernel mounts as EROFS (file-backed or through a loop device), or a virtual machine gets
// as a disk.
// SPDX-License-Identifier: Apache-2.0
#ifndef IMAGEFILE_H
#define IMAGEFILE_H

#include "erofs.h"
#include "lazy.h"

#define IMAGEFILE_NAME "image.erofs" // the only file in the root directory

// Starts lz (lazy_begin with hooks, whose landed and arg are this module's; NULL: it is not started
// here) and serves im (made of lz's index, EROFS_FLAT) on fuse_fd (of fuse_mount) until the file system is
// unmounted (0) or the connection is aborted or broken (-errno). `threads` reader threads; reads of
// data that is not here do not occupy a thread. Joins all before it returns, and no read of lz is
// outstanding then. The metadata is put into the page cache at once; with `foreseen` what lands is,
// too. alone: there is no directory, the root is the file.
int imagefile_serve(struct lazy *lz, const struct erofs_image *im, bool alone,
	const struct lazy_hooks *hooks, bool foreseen, int fuse_fd, unsigned threads) must_check;

#endif
