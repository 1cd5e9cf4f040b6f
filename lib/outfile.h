// outfile.h - a file that appears under its name when it is complete, or not at all
//
// Written without a name beside its place and linked there at the end, so that neither an error nor
// a kill leaves half a file. What is no regular file (a device, a fifo, standard output) is written
// in place. Zeros become holes where the file can have them.
// SPDX-License-Identifier: Apache-2.0
#ifndef OUTFILE_H
#define OUTFILE_H

#include "base.h"

struct outfile;
// path: NULL or "-" = standard output; borrowed. -errno logged.
int outfile_open(const char *path, struct outfile **ret) must_check;
// Appends. An error is remembered and returned by outfile_close, logged once: callers that produce
// much may stop at it.
int outfile_add(struct outfile *o, const void *p, size_t n) must_check;
int outfile_zeros(struct outfile *o, uint64_t n) must_check;
uint64_t outfile_size(const struct outfile *o); // bytes so far
// r < 0: gives up, nothing stays. Else completes, with fsync. Frees. r, or -errno logged.
int outfile_close(struct outfile *o, int r) must_check;

#endif
