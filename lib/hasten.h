// hasten.h - accelerates an image by itself, after its first start, in the background
//
// The first start runs the original, and what it reads is recorded. Then one process per image and
// store converts out of what the store has of the layers (journal.h), with that recording as the
// trace; pushes the result, if that is wanted and allowed; else keeps it in the store. It belongs to
// nobody's session, has the lowest priorities there are, stops while the host is short of memory or
// of its disks, and is nobody's loss when it is killed: the next start begins again, with the same
// recording. The result is the same bytes as that of `fcpull convert --trace`.
// SPDX-License-Identifier: Apache-2.0
#ifndef HASTEN_H
#define HASTEN_H

#include "host.h"

// What follows: a run records until its start or its process ends, a mount until it has been quiet
// for a while; a pull shows nothing of what a start reads.
enum hasten_after { HASTEN_RUN, HASTEN_MOUNT, HASTEN_PULL };

struct hasten;
// Decides whether h, which was opened with o, is to be accelerated; option: --accelerate's text, or
// NULL. *ret = NULL: no. Nothing is started yet. -EINVAL logged: the option is nonsense; there are no
// other errors.
int hasten_begin(struct host_image *h, const struct host_opts *o, const char *option,
	enum hasten_after after, struct hasten **ret) must_check;
// Where the start is to be recorded (serve_conf.record, with record_start); 0: nowhere.
int hasten_trace(const struct hasten *x);
// The start is from a mount without a process: who reads it is seen by its page cache (pagetrace.h). Its
// device; its read-ahead setting, which is raised when the start is over (taken over; or -1).
void hasten_watch(struct hasten *x, uint32_t major, uint32_t minor, int readahead);
// Starts the process (after hasten_watch, waits until it watches); x is gone. After a run it goes on when this process ends. NULL: does nothing.
void hasten_go(struct hasten *x);
// Nothing will be started after all. NULL is allowed.
void hasten_drop(struct hasten *x);

// argv[1] of the process, and its main.
#define HASTEN_ROLE "accelerate"
int hasten_main(void);

#endif
