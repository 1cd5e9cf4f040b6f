// record.h - writes down what the readers of an image ask for, as a trace
// SPDX-License-Identifier: Apache-2.0
#ifndef RECORD_H
#define RECORD_H

#include "index.h"

struct record;

// Lines go to fd (dup'ed), each at once, so that a trace is whole whoever dies. Seconds count from
// here. ix is borrowed. -errno logged.
int record_start(int fd, const struct index *ix, struct record **ret) must_check;
// Bytes of a data space are asked for. Any thread. Reads that follow each other in a file make one
// line.
void record_read(struct record *r, uint32_t space, uint64_t off, uint32_t len);
// Writes the last line; NULL is allowed.
void record_end(struct record *r);

#endif
