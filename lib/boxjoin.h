// boxjoin.h - the set-up of another process in a container that runs
// SPDX-License-Identifier: Apache-2.0
#ifndef BOXJOIN_H
#define BOXJOIN_H

#include <sys/ioctl.h>

#include "box.h"
#include "boxroot.h"
#include "passwd.h"

// Enters the container's namespaces, but for the user namespace of its payload, which the child that
// becomes the program enters; opens there what boxexec needs, and resolves the user. 0 or -errno,
// logged.
int boxjoin_enter(const struct box *b, const struct winsize *size, struct boxroot *ret,
	struct passwd_user *user) must_check;
// Moves this process into the container's control groups. -errno logged.
int boxjoin_cgroups(const struct box_join *j) must_check;

#endif
