// boxexec.h - the container's process: gives up what it may not have and becomes the image's
// program
// SPDX-License-Identifier: Apache-2.0
#ifndef BOXEXEC_H
#define BOXEXEC_H

#include "box.h"
#include "passwd.h"

#define BOX_EXIT_SETUP 125
#define BOX_EXIT_NOT_EXECUTABLE 126
#define BOX_EXIT_NOT_FOUND 127

struct boxexec {
	const struct box *box;
	const struct passwd_user *user;
	int cwd;       // O_PATH, in the container's root
	int null;      // standard input without -i
	int tty_slave; // with -t, else -1
	int go;	       // pipe: one byte comes when the user namespace has its maps and all is ready
	int running;   // pipe's writing end, closed by the exec
};

// In the child that is to be the payload, inside the container's root. Never returns: execs, or
// exits with one of the codes above and a message on standard error.
_Noreturn void boxexec(const struct boxexec *x);

// What pid 1 keeps while the payload runs: the right to signal it, and nothing else. 0 or -errno.
int boxexec_confine_init(void) must_check;

#endif
