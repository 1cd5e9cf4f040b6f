// local.h - an image that is wholly in the store, mounted by the kernel alone: no process serves it
// SPDX-License-Identifier: Apache-2.0
#ifndef LOCAL_H
#define LOCAL_H

#include "host.h"
#include "seal.h"

// A detached mount of h's tree by the kernel's EROFS on the files of its spaces, and in why one line
// for people. ret_readahead: NULL, or where its read-ahead setting goes, open for writing (or -1): then it is
// 0 for now. The metadata is in a file without a name, which goes when the mount does. -errno,
// logged.
int local_mount(struct host_image *h, const struct sealed *files, int *ret_mnt, int *ret_readahead,
	char why[static 160]) must_check;
// Whether a mount (any descriptor in it) is one that local_mount() has made of this image.
bool local_is(int mnt, const struct index *ix);

#endif
