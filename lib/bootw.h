// bootw.h - makes boot frames: the blocks that a start needs, gathered in the order of need
// SPDX-License-Identifier: Apache-2.0
#ifndef BOOTW_H
#define BOOTW_H

#include "format.h"
#include "indexw.h"
#include "pack.h"

// Gives `blocks` plain blocks of a space. 0, or -errno logged.
typedef int boot_read(void *arg, uint32_t space, uint32_t block, uint32_t blocks, void *buf);

// Cuts the runs into frames, small ones first, so that a start's first blocks are there early;
// reads, hashes and compresses them, conf->threads at a time, and writes them to out_fd from its
// beginning on. Fills parts' frames and runs (replacing what they hold). `read` is called in the
// caller's thread only. Does not depend on the number of threads. -errno logged.
int boot_build(const struct fmt_run *runs, size_t n, const struct pack_conf *conf, boot_read *read,
	void *arg, struct index_parts *parts, int out_fd, uint64_t *ret_size) must_check;

// Plain blocks out of data blobs in files, for boot_build.
struct boot_source;
// fds: one per space, its data blob, or -1; borrowed, as ix is.
struct boot_source *boot_source_new(const struct index *ix, const int *fds) must_check;
void boot_source_free(struct boot_source *s);
boot_read boot_source_read; // arg is the source

#endif
