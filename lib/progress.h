// progress.h - how far a long operation is, on standard error
//
// On a terminal one line is redrawn, at most ten times a second; elsewhere a line is printed at the
// start, at the end and every ten seconds between. Nothing with -q. Any thread may add.
// SPDX-License-Identifier: Apache-2.0
#ifndef PROGRESS_H
#define PROGRESS_H

#include "base.h"

struct progress;
// what: "layer 2/5 sha256:0123" (copied); total: bytes, 0 = not known.
struct progress *progress_start(const char *what, uint64_t total);
void progress_add(struct progress *p, uint64_t bytes);
// Ends it; `how` is said behind: "done", "there already", "failed". p may be NULL.
void progress_end(struct progress *p, const char *how);

#endif
