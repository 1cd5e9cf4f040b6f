// fuse.h - the FUSE kernel protocol (linux/fuse.h, 7.23 = Linux 3.15 and later) on a raw
// /dev/fuse descriptor
//
// Knows nothing of trees: a file system is a table of handlers. Each request gets exactly one
// reply: a handler returns 0 and has filled a reply, or -errno, or FUSE_LATER and has taken a
// struct fuse_later, whose end is the reply.
// SPDX-License-Identifier: Apache-2.0
#ifndef FUSE_H
#define FUSE_H

#include "base.h"

#define FUSE_IO_MAX (256u << 10) // bytes of the largest read or directory reply: 64 pages
#define FUSE_REQUEST_MAX 8192u // bytes of the largest request: nobody writes (FUSE_MIN_READ_BUFFER)
#define FUSE_NAME_LIMIT 4096u  // bytes of the longest name that a request may carry
#define FUSE_OPCODES 53	       // FUSE_STATX + 1
#define FUSE_LATERS_MAX 4096u  // replies that may be under way at once
#define FUSE_LATER_PRIV 96     // bytes there for the handler's own use
#define FUSE_LATER 1	       // a handler's result: the reply comes by fuse_later_end()

struct fuse;
struct fuse_op;

struct fuse_mount_opts {
	const char *source;  // shown in /proc/mounts: the image's name
	const char *subtype; // "fcpull"
	bool suid;	     // default nosuid
	bool dev;	     // default nodev
	bool file;	     // the root is a regular file, for a file as mount point
};
// Opens /dev/fuse and mounts it, read-only, at dir. Returns the descriptor (O_CLOEXEC) in
// *ret_fd. The INIT request is answered by fuse_serve. -errno logged with the remedy (no
// /dev/fuse, no privilege, ...).
int fuse_mount(const char *dir, const struct fuse_mount_opts *o, int *ret_fd) must_check;
// The same, but mounted nowhere: *ret_mnt is the detached mount, for move_mount(2). -ENOSYS
// (before Linux 5.2, silent) and -EPERM (silent): only fuse_mount may work.
int fuse_mount_detached(const struct fuse_mount_opts *o, int *ret_fd, int *ret_mnt) must_check;

// A checked request. The pointers are into the message.
struct fuse_request {
	uint64_t unique;
	uint64_t nodeid; // 1..nodes where the opcode has one
	uint32_t opcode;
	uint32_t pid;		  // the thread that asks; 0: none, or not to be seen from here
	const struct fuse_op *op; // row of the protocol table; NULL: an unknown opcode
	const void *arg;	  // the opcode's struct, whole, aligned to 8
	const char *name;	  // NUL-terminated, not empty; NULL where the opcode has none
	size_t name_len;
};
// The one place that trusts nothing: proves the length, the opcode's struct, the name and the
// node number (1..nodes) of a message (aligned to 8). 0; -EBADMSG when not even the header can be
// believed, so that there is nothing to answer; any other -errno is the answer. Pure.
int fuse_request_check(
	const void *msg, size_t len, uint64_t nodes, struct fuse_request *ret) must_check;

struct fuse_reply {
	struct fuse *fuse;
	uint8_t *buf; // aligned to a page
	size_t room;  // FUSE_IO_MAX
	size_t len;   // set by the handler
};

// Runs on any of the serving threads, several at once; must not wait for the network.
typedef int fuse_handler(void *data, const struct fuse_request *rq, struct fuse_reply *rp);

struct fuse_fs {
	void *data;	// for the handlers
	uint64_t nodes; // node ids are 1 (the root) .. nodes
	// [FUSE_OPCODES], by opcode; NULL: the answer of the protocol table (EROFS, ENOSYS, ...)
	fuse_handler *const *handlers;
	bool acl; // have the kernel enforce the POSIX ACLs that GETXATTR shows
};

// A reply that comes later, from any thread. buf and priv are the handler's until it calls
// fuse_later_end.
struct fuse_later {
	uint8_t *buf; // FUSE_IO_MAX bytes, aligned to a page
	_Alignas(16) unsigned char priv[FUSE_LATER_PRIV];
	// fuse.c's own; all but answered under the lock of struct fuse
	struct fuse *fuse;
	uint64_t unique;
	uint32_t pid;
	uint32_t next;
	bool in_use, interrupted;
	_Atomic bool answered;
};
// For a handler that will return FUSE_LATER. Never fails; waits when FUSE_LATERS_MAX replies are
// outstanding already.
struct fuse_later *fuse_later_new(struct fuse *f, const struct fuse_request *rq) must_check;
// Sends the reply (0 and len bytes of l->buf, or -errno) and gives l back. Exactly once for each.
// Does not block.
void fuse_later_end(struct fuse_later *l, int error, size_t len);

// Serves fs on fd until it is unmounted (0) or the connection is aborted or broken (-errno,
// logged). fd may be a new mount's, or one that another process has served before (then send
// FUSE_NOTIFY_RESEND by fuse_resend() first). `threads` of them read requests, the caller's
// included. Returns when all have ended and no reply is outstanding.
int fuse_serve(int fd, const struct fuse_fs *fs, unsigned threads) must_check;

// ---- what outlives a serving process ----
// Zeroed memory that is shared with whoever watches the process and starts its successor: signs
// of life, and each request that has been read and not yet answered. The first fields are for
// the watcher; only a process of the same version reads the rest.
#define FUSE_LEDGER_VERSION 1
#define FUSE_THREADS_MAX 64
#define FUSE_LATER_BYTES 80 // READ: the header and its struct

struct fuse_ledger {
	_Atomic uint64_t beats;	   // moves while some thread is able to take requests
	_Atomic uint64_t requests; // read
	_Atomic uint64_t answers;
	_Atomic uint32_t version;
	struct {
		_Atomic uint64_t since; // the beat since which it works at a request; 0: it waits
		_Alignas(64) uint8_t in[FUSE_REQUEST_MAX]; // the request; length 0: none
	} threads[FUSE_THREADS_MAX];
	struct {
		_Atomic uint64_t unique; // 0: free
		uint8_t message[FUSE_LATER_BYTES];
	} laters[FUSE_LATERS_MAX];
};

// These are for the one fuse_serve() that this process calls after fuse_ledger_use(). The others
// wait for it to begin; -ENODEV when it has ended.
void fuse_ledger_use(struct fuse_ledger *l);
// To be called a few times a second; a beat, if it is true that some thread is able to work.
void fuse_beat(void);
// Has its threads read no more; returns when none does. fuse_serve() then ends, with -ECANCELED,
// as soon as all that was read is answered.
int fuse_stop(void) must_check;
// Answers what the dead owner of a ledger has left: by the kernel (fuse_resend), else from there.
int fuse_take_over(const struct fuse_ledger *dead, bool no_resend) must_check;

// Has the kernel queue again what a dead process had read from fd but not answered (Linux 6.9,
// 760eac73f9f6 "fuse: Introduce a new notification type for resend pending requests"). 0; -EINVAL
// from older kernels; silent.
int fuse_resend(int fd) must_check;

#endif
