// boxroot.h - what a container sees: its root, /dev, /proc, /sys, /etc files and binds, mounted by
// descriptors
//
// Runs in the container's pid 1, in its new mount, pid, ipc, uts, cgroup and net namespaces, as
// real root. The image is hostile, and so may be what else writes to a bind at the same time:
// nothing is opened but beneath a root descriptor.
// SPDX-License-Identifier: Apache-2.0
#ifndef BOXROOT_H
#define BOXROOT_H

#include "box.h"

// Detached mounts, made by the parent while it was still in the host's mount namespace.
struct box_sources {
	int lower;  // of box.lower_fd
	int upper;  // of box.upper, or -1
	int *binds; // of box.binds, in order
};

struct boxroot {
	int root;	    // O_PATH: the root as it will be
	int proc;	    // its /proc: a procfs known to be one
	int null;	    // its /dev/null, open for reading and writing
	int cwd;	    // O_PATH
	int tty, tty_slave; // with box.tty: both ends of its terminal, else -1
	// inner
	int stage, dev, sys;
};
#define BOXROOT_NONE                   \
	((struct boxroot){ .root = -1, \
		.proc = -1,            \
		.null = -1,            \
		.cwd = -1,             \
		.tty = -1,             \
		.tty_slave = -1,       \
		.stage = -1,           \
		.dev = -1,             \
		.sys = -1 })

// Builds it all, detached from the view of the host. 0 or -errno, logged.
int boxroot_make(
	const struct box *b, const struct box_sources *from, struct boxroot *ret) must_check;
// Opens both ends of a new terminal of a devpts. 0 or -errno, silent.
int boxroot_open_tty(int pts, int *ret_master, int *ret_slave) must_check;
// Moves this process into it; the host's file systems are gone from this mount namespace then.
int boxroot_enter(struct boxroot *r) must_check;

#endif
