// fuseint.h - the inside of the FUSE server: what fuse.c, fusereq.c and fuselater.c share
//
// Not for anybody else.
// SPDX-License-Identifier: Apache-2.0
#ifndef FUSEINT_H
#define FUSEINT_H

#include <linux/fuse.h>
#include <pthread.h>
#include <stdatomic.h>

#include "fuse.h"

// fuse_in_header.total_extlen (7.38), which older kernel headers call padding: length of what
// follows the request, in units of 8 bytes, in the machine's byte order.
#define EXTLEN_AT (offsetof(struct fuse_in_header, pid) + 4)
_Static_assert(EXTLEN_AT + 4 == sizeof(struct fuse_in_header), "struct fuse_in_header");

#define MISSED 16 // interrupts that may overtake their requests at once

struct fuse_thread {
	_Alignas(8) uint8_t own_in[FUSE_REQUEST_MAX];
	struct fuse *fuse;
	uint8_t *in;		 // FUSE_REQUEST_MAX: own_in, or its place in the ledger
	_Atomic uint64_t *since; // in the ledger, or NULL
	_Atomic pid_t tid;
	uint8_t *out; // FUSE_IO_MAX
	pthread_t id;
	int result;
};

struct fuse {
	int fd;
	unsigned thread_count;
	struct fuse_thread *threads;
	_Atomic unsigned started; // of them
	_Atomic unsigned reading; // have not ended
	_Atomic bool stopping;
	struct fuse_ledger *ledger; // or NULL
	pthread_t watcher;
	const struct fuse_fs *fs;
	// Set by INIT, which the kernel sends first and alone; false on a connection taken over:
	// then the answers that cost a request more, but are always right.
	bool no_open, no_opendir;
	int init_error;
	uint8_t *bufs; // laters_max of FUSE_IO_MAX, then one for each thread
	size_t bufs_len;
	uint32_t laters_max;
	struct fuse_later *laters;
	pthread_mutex_t lock; // for all below, and the records
	pthread_cond_t freed; // a record has been given back
	pthread_cond_t watch; // an interrupt has come, or the end
	uint32_t hot, cold;   // heads of the lists of free records, with pages and without
	uint32_t hot_count;
	uint32_t high; // records below it have been in use before
	uint32_t in_use;
	uint32_t starved;	 // threads that wait for a free record
	uint32_t interrupted;	 // of these
	uint64_t missed[MISSED]; // requests interrupted before they had a record
	uint32_t missed_next;
	bool ending;
};

enum {
	NODE = 1, // is about an existing node
	NAME = 2, // one name follows the struct
	NO_REPLY = 4,
};

struct fuse_op {
	const char *name;
	uint16_t least; // bytes of its struct that it must have
	uint8_t what;
	int16_t answer; // where there is no handler
	int (*own)(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp);
};

// The one writer of replies (fuse.c). What fails here cannot be reported to the kernel in another
// way.
void fuse_send(const struct fuse *f, uint64_t unique, int error, const void *data, size_t len);

// The records of later replies (fuselater.c); fini also after a failed init.
int fuse_laters_init(struct fuse *f) must_check;
void fuse_laters_fini(struct fuse *f);
// The thread that answers for dying tasks, until f->ending.
void *fuse_watch(void *fuse);
// INTERRUPT.
int fuse_interrupt(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp);

#endif
