// boxinit.h - pid 1 of a container: sets it up, starts the payload, reaps, ends with its code
//
// It is this same program, executed anew from a sealed copy in memory (box.c says why), so main()
// must call boxinit_enter first.
// SPDX-License-Identifier: Apache-2.0
#ifndef BOXINIT_H
#define BOXINIT_H

#include <sys/ioctl.h>

#include "box.h"
#include "boxroot.h"

#define BOXINIT_NAME "fcpull: container init"
#define BOXJOIN_NAME "fcpull: container exec" // of a process that joins a container

// What it gets to know: by a file of its own, not by arguments or environment, which other users
// can read and which a C library heeds.
struct boxinit {
	struct box box; // hostname is set
	struct box_sources from;
	int ctl; // SOCK_SEQPACKET to the parent: one byte when the payload runs, with the terminal's master if any
	struct winsize size; // of the terminal
};

// Appends the description of b to out. The descriptors in it must be open, under the same numbers,
// in the init.
void boxinit_describe(const struct boxinit *i, struct buf *out);

// Reads a description back; what it says points into memory that is never freed. -errno, silent.
int boxinit_read(int fd, struct boxinit *ret) must_check;

// Becomes the init if argv says so (BOXINIT_NAME, number of the description's descriptor), and does
// not return then. With BOXJOIN_NAME it starts another process in a container that is there: not as
// its pid 1, but for the rest as the init would.
void boxinit_enter(int argc, char **argv);

#endif
