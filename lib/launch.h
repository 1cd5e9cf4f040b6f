// launch.h - starts the holder of a new FUSE connection: executes this same program as nobody's child
// SPDX-License-Identifier: Apache-2.0
#ifndef LAUNCH_H
#define LAUNCH_H

#include "base.h"

// What it is given: descriptors (holder.h), which stay the caller's; -1: none.
struct launch {
	const char *image, *id;
	unsigned connection; // number of the FUSE connection
	int fuse, about, dir, state, boot, record, store;
	int exe, listen, log, ready[2]; // set by launch_holder()
};

// Starts it, and waits until its first worker could serve. Must be called while the process has one
// thread. -errno logged.
int launch_holder(struct launch *l, pid_t *ret) must_check;

#endif
