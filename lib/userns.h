// userns.h - a user without privileges becomes root in a user namespace of its own
//
// With /etc/subuid, /etc/subgid and newuidmap, newgidmap: root there is the user, and 1, 2, ... are
// the ids that it has been given. Else root is the only id that there is.
// SPDX-License-Identifier: Apache-2.0
#ifndef USERNS_H
#define USERNS_H

#include "base.h"

// Sets FCPULL_ROOT and FCPULL_RUN to where store and state of this user are, as both go by the user
// id. 0 or -errno, logged.
int userns_keep_places(void) must_check;
// Enters a new user and mount namespace. Must be called while the process has one thread. -errno
// logged, with the remedy. *ret_ids: how many ids there are.
int userns_enter(uint64_t *ret_ids) must_check;
// Enters the user namespace of a process, if it is another than ours. -errno silent.
int userns_join(pid_t pid) must_check;

#endif
