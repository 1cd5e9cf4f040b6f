// mounts.h - which mounts are ours
// SPDX-License-Identifier: Apache-2.0
#ifndef MOUNTS_H
#define MOUNTS_H

#include "mountinfo.h"

// Does a live holder serve the file system of this device?
bool mounts_is_live(const char *device);
// The erofs driver's mounts have no name of ours; those whose processes are dead are known by their
// source, a descriptor's path, which nobody else has.
bool mounts_is_ours(const char *device, const char *type);

#endif
