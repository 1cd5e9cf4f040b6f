// workproc.h - a worker as its holder has it: the process, the socket to it, and its ledger
//
// The ledger is memory of its own that outlives the process: what it had read and not answered.
// SPDX-License-Identifier: Apache-2.0
#ifndef WORKPROC_H
#define WORKPROC_H

#include "fuse.h"

enum wstate { W_NONE, W_STARTING, W_READY, W_SERVING, W_STOPPING, W_DRAINING };

struct worker {
	enum wstate state;
	pid_t pid;
	int pidfd, ctl, ledger_fd;
	int main_fd; // pidfd of its main thread only, or -1 (before Linux 6.9)
	struct fuse_ledger *ledger;
	uint64_t since; // of the state, ns
	uint64_t born, beats;
	unsigned stale;	    // ticks
	uint64_t main_gone; // when its main thread was seen to have ended, or 0
	bool killed;
};

#define NO_WORKER ((struct worker){ .pidfd = -1, .ctl = -1, .ledger_fd = -1, .main_fd = -1 })

struct workproc_conf {
	const char *image; // for messages
	const char *name;  // its argv[0]
	int score;	   // its oom_score_adj
	bool boot;	   // it is given the boot stream
};

// Starts one from the executable exe, in *w, which is NO_WORKER. Does not set its state. -errno logged,
// *w is NO_WORKER.
int workproc_start(const struct workproc_conf *c, int exe, struct worker *w) must_check;
// Closes all that *w has; the process itself is left alone.
void workproc_free(struct worker *w);

#endif
