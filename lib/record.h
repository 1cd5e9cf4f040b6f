// record.h - writes down what the readers of an image ask for, as a trace
// SPDX-License-Identifier: Apache-2.0
#ifndef RECORD_H
#define RECORD_H

#include "index.h"

struct record;

// Lines go to fd (dup'ed), each at once, so that a trace is whole whoever dies. Seconds count from
// here. ix is borrowed. -errno logged.
// start_only: what comes after the start is not written down: after the first 60 seconds, or when
// nothing has been read for 5. Then the last line is RECORD_END, also when the reader ends before.
#define RECORD_END "# end of the start\n"
int record_start(int fd, const struct index *ix, bool start_only, struct record **ret) must_check;
// What began and was last read (0: never) then, now_ns(): is that start over?
bool record_is_over(uint64_t begun, uint64_t last);
// To be called now and then. Whether the start is over; true once only.
bool record_tick(struct record *r);
// Bytes of a data space are asked for. Any thread. Reads that follow each other in a file make one
// line.
void record_read(struct record *r, uint32_t space, uint64_t off, uint32_t len);
// For what is written down afterwards: when it was, now_ns(), in order; seconds count from `begun`.
void record_since(struct record *r, uint64_t begun);
void record_read_at(struct record *r, uint64_t ns, uint32_t space, uint64_t off, uint64_t len);
// Writes the last line; what is asked for from now on is not written down. NULL is allowed.
void record_stop(struct record *r);
// The same, and frees r.
void record_end(struct record *r);

#endif
