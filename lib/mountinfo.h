// mountinfo.h - the mounts of a process, as the kernel tells them
// SPDX-License-Identifier: Apache-2.0
#ifndef MOUNTINFO_H
#define MOUNTINFO_H

#include "base.h"

// A line of /proc/PID/mountinfo (proc(5)), unescaped.
struct mount_line {
	const char *device; // "MAJOR:MINOR"
	uint32_t major, minor;
	const char *root; // what of the file system is mounted: "/", all of it
	const char *path;
	const char *type; // what stands behind " - ": type, source, options
};

// Takes a line apart, in place; the strings point into it. Paths are whatever users make mount
// points of. False: no such line.
bool mountinfo_parse(char *line, struct mount_line *ret) must_check;
// Calls fn for each mount of the mount namespace that a process ("self" or a number) is in, in the
// order in which they were made. A process that is not there, or not to be looked at, has none.
void mountinfo_each(const char *pid, void (*fn)(void *arg, const struct mount_line *m), void *arg);

#endif
