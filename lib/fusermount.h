// fusermount.h - mounts of a user without privileges, by fusermount3(1), which is set-user-id
// SPDX-License-Identifier: Apache-2.0
#ifndef FUSERMOUNT_H
#define FUSERMOUNT_H

#include "fuse.h"

// Mounts at an existing directory or file; *ret_fd is /dev/fuse. noexec: no program can be executed.
// -errno logged, with the remedy.
int fusermount_mount(
	const char *at, const struct fuse_mount_opts *o, bool noexec, int *ret_fd) must_check;
// Undoes it; lazy: when nobody uses it any more. -errno; fusermount3 says why.
int fusermount_umount(const char *at, bool lazy) must_check;

#endif
