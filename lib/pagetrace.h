// pagetrace.h - which pages of a file system come into the page cache, and when: told by the kernel
//
// For the recording of a start from a mount that no process serves. The kernel's tracepoint
// filemap:mm_filemap_add_to_page_cache (Linux 3.12, fe0bfaaff35c) names device, inode, and page of
// what is put into the page cache. With read-ahead 0 that is what was read or executed, page by
// page, through whatever lies above the mount: an overlay keeps no pages of its own. It is
// read by perf events (perf_event_open(2)), which end with their process, filtered by the device in the
// kernel. Costs a reader nothing that could be measured.
// SPDX-License-Identifier: Apache-2.0
#ifndef PAGETRACE_H
#define PAGETRACE_H

#include "index.h"

struct pagetrace;

// Whether it can be done here; else why not, for people. Leaves nothing behind.
bool pagetrace_possible(char why[static 160]) must_check;

// From here on what is read from the device counts. -errno, logged.
int pagetrace_start(uint32_t major, uint32_t minor, struct pagetrace **ret) must_check;
// Takes what has come; waits ms at most for more than a little.
void pagetrace_wait(struct pagetrace *p, int ms);
// Whether the start is over, as record.h has it.
bool pagetrace_is_over(const struct pagetrace *p);
// Takes what has come; nothing more comes. pagetrace_write and _free remain.
void pagetrace_stop(struct pagetrace *p);
// After pagetrace_stop, writes the trace to fd, as record.h does, with RECORD_END: what was mounted is
// ix, by local_mount(). tmp: an empty file for the metadata's copy, borrowed. -errno logged.
int pagetrace_write(struct pagetrace *p, const struct index *ix, int tmp, int fd) must_check;
void pagetrace_free(struct pagetrace *p);

#endif
