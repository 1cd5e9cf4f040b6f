// mounts.h - the mounts of this mount namespace, and which of them are ours
// SPDX-License-Identifier: Apache-2.0
#ifndef MOUNTS_H
#define MOUNTS_H

#include "base.h"

// A line of /proc/self/mountinfo (proc(5)), unescaped.
struct mount_line {
	const char *device; // "MAJOR:MINOR"
	const char *path;
	const char *type; // what stands behind " - ": type, source, options
};

// Calls fn for each mount, in the order in which they were made.
void mounts_each(void (*fn)(void *arg, const struct mount_line *m), void *arg);
// Does a live holder serve the file system of this device?
bool mounts_is_live(const char *device);
// The erofs driver's mounts have no name of ours; those whose processes are dead are known by their
// source, a descriptor's path, which nobody else has.
bool mounts_is_ours(const char *device, const char *type);

#endif
