// detach.h - a process that goes on without its starter, who waits until it is well under way
// SPDX-License-Identifier: Apache-2.0
#ifndef DETACH_H
#define DETACH_H

#include "base.h"

struct detach {
	int notify; // in the one that goes on: a pipe to the starter; -1: told, or never split
};

// Splits this process in two. In the one that goes on, a session of its own, 0: standard input is
// /dev/null or, with `input`, a pipe that stays open and empty; output is `output`; errors still go
// to the starter's. In the starter 1, when the other is under way (ret: its words) or has ended
// (ret: "", ret_code). -errno logged.
#define DETACH_WORDS_MAX 64
int detach_split(struct detach *d, bool input, int output, char ret[static DETACH_WORDS_MAX],
	int *ret_code) must_check;
// Lets the starter go, with these words for it. Errors go nowhere from now on. -EPIPE: it is gone,
// and so should this process be.
int detach_go(struct detach *d, const char *words) must_check;

#endif
