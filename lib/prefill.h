// prefill.h - what will be read is put into the kernel's page cache before it is asked for
//
// By FUSE_NOTIFY_STORE (Linux 2.6.36): a page that is there costs its reader no request. Only ever
// a help: what cannot be stored, or not at once, is left to be asked for.
// SPDX-License-Identifier: Apache-2.0
#ifndef PREFILL_H
#define PREFILL_H

#include "erofs.h"
#include "lazy.h"

struct prefill;

// Stores the metadata of the image file that is node `node` of the connection `fuse`, then what
// prefill_put() names, by a thread of its own. All are borrowed until prefill_end. -errno logged.
int prefill_start(int fuse, uint64_t node, struct lazy *lz, const struct erofs_image *im,
	struct prefill **ret) must_check;
// The kernel has begun to read the file, so that it knows the node: it starts now.
void prefill_opened(struct prefill *p);
// These blocks are here. Never waits; dropped when too many are waiting.
void prefill_put(struct prefill *p, uint32_t space, uint32_t block, uint32_t blocks);
// NULL is allowed. A thread that the kernel keeps waiting is left behind.
void prefill_end(struct prefill *p);

#endif
