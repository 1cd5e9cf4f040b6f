// progress.h - how far a long operation is, on standard error
//
// --progress=auto: on a terminal one line is redrawn, at most ten times a second, not longer than the
// terminal is wide; elsewhere (plain) a line is printed every ten seconds and at the end. json: a line
// each: {"event":"start|progress|end","what":...,"done":N,"total":N,"bytesPerSecond":N,"result":...},
// twice a second. Nothing with none or -q. Any thread may add.
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
