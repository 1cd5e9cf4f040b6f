// ctl.h - the messages between holders, workers and the verbs: one struct, one SOCK_SEQPACKET
// message, at most one descriptor with it
//
// The struct is the same in all versions that share CTL_VERSION; a message of another one is
// refused.
// SPDX-License-Identifier: Apache-2.0
#ifndef CTL_H
#define CTL_H

#include "base.h"

#define CTL_VERSION 1

enum ctl_verb {
	// worker to holder
	CTL_READY, // could serve now
	CTL_TAKEN, // what was left by the oldest CTL_TAKE's owner is answered, or noted in this worker's own ledger
	CTL_STOPPED, // reads no more, will end when all is answered
	// holder to worker
	CTL_GO,	  // serve
	CTL_TAKE, // take over from the dead owner of this ledger (descriptor)
	CTL_STOP, // a successor is ready
	// verbs to holder, each answered by the same verb with a result
	CTL_STATUS,
	CTL_ALIVE, // 0: the file system is still there; -ESTALE
	CTL_TUNE, // (to the worker too) the read-ahead setting to be raised when the start is over (descriptor)
	CTL_UPGRADE, // next worker from this executable (descriptor); answered when it serves or was refused
};

struct ctl {
	uint32_t version;
	uint32_t verb;
	int32_t result;
	int32_t holder, worker; // process ids
	uint32_t restarts;	// successors of a worker that died
	uint32_t handovers;	// ... that was told to go
	char text[100];		// why, when it was refused
};

// Never waits: a peer that does not read is as good as gone. fd < 0: none. 0 or -errno.
int ctl_send(int sock, struct ctl m, int fd);
// Waits at most wait_ms (0: not). *ret_fd is -1 without a descriptor. -ENODATA: the peer has
// closed; -ETIMEDOUT; -EPROTO: of another version.
int ctl_recv(int sock, int wait_ms, struct ctl *ret, int *ret_fd) must_check;

#endif
