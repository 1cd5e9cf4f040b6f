// underway.h - which images this host accelerates in the background right now, for people to see
//
// Who converts one (hasten.h) holds the lock accel/HEX.lock of the store (kept.h), and says in that file
// what it does. A file whose lock nobody holds says nothing, whatever is in it.
// SPDX-License-Identifier: Apache-2.0
#ifndef UNDERWAY_H
#define UNDERWAY_H

#include "base.h"

#define UNDERWAY_TEXT_MAX 4096 // bytes of such a file

struct underway {
	char *image;
	char step[32]; // "records the start", "converts", "pushes"
	pid_t pid;     // in the pid namespace of who wrote it
	int64_t since; // seconds since 1970: this step's beginning
};

// By the lock's holder. Who cannot be told is no reason not to do it: errors are silent.
void underway_say(int lock, const char *image, pid_t pid, const char *step);
// All of a store, which is not made when it is not there. Caller frees with underway_free. -errno
// logged.
int underway_list(const char *store, struct underway **ret, size_t *ret_n) must_check;
void underway_free(struct underway *v, size_t n);

#endif
