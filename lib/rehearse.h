// rehearse.h - runs an image's own process once, to find out what its start reads
// SPDX-License-Identifier: Apache-2.0
#ifndef REHEARSE_H
#define REHEARSE_H

#include "platform.h"
#include "repo.h"
#include "trace.h"

// Runs this program's `run --record` on `reference`, in a store of its own that is removed again,
// for at most `seconds`, and appends what was read to t. The process's output goes to standard
// error; its input is empty. How it ends is said, and no error. -errno logged. Ends the process
// when a signal ends this one. Call while there are no other threads.
int rehearse(const char *reference, const struct net_opts *net, const struct platform *platform,
	unsigned seconds, struct trace *t) must_check;

#endif
