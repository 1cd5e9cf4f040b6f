// containers.h - the containers that run now or have run: a record of each
//
//	RUN/containers/ID.json	of `run`; its process holds a lock (flock) on it as long as it lives
//
// RUN is state.h's directory. The record of a detached container stays after its end, with the exit
// code, until `rm`; that of any other, and of one that was killed with its process before it could
// write the end down, is removed by who sees it (without --rm: shown as exited, with code 137).
// SPDX-License-Identifier: Apache-2.0
#ifndef CONTAINERS_H
#define CONTAINERS_H

#include "base.h"

#define CONTAINER_ID_LEN 12

struct container {
	char id[CONTAINER_ID_LEN + 1];
	char *name, *image, *command;
	bool detached, keep; // keep: the record outlives it
	bool running;
	pid_t monitor, init, payload; // 0: not yet
	uint64_t created, finished;   // seconds since 1970
	int exit_code;
	int stop_signal;
	uint64_t stop_timeout; // seconds
	// for exec
	char *user, *cwd, *hostname;
	char **env, **cgroups; // NULL-terminated; cgroups: directories
	bool net_host, no_user_ns, one_id, new_privs, no_seccomp;
	uint64_t caps_add, caps_drop;
};
void container_fini(struct container *c);

// The directory, made if need be. A descriptor, or -errno logged.
int containers_dir(void) must_check;
// Removes it if it has no record; the verbs that only look call it at their end.
void containers_tidy(void);
// Gives c an id, and its name if it has none, and a record that is locked by this process. The
// descriptor, or -errno logged (-EEXIST: the name is taken).
int container_new(int dir, struct container *c) must_check;
// Writes the record. -errno logged.
int container_save(int lock, const struct container *c) must_check;
void container_remove(int dir, const char *id);

// All, the oldest first; those that are dead and not to be kept are removed. -errno logged.
int containers_list(int dir, struct container **ret, size_t *ret_n) must_check;
void containers_free(struct container *v, size_t n);
// By name, id or the beginning of an id. -ENOENT, -ENOTUNIQ logged.
int container_find(int dir, const char *name, struct container *ret) must_check;
// Waits until the process of a container has ended, at most ms milliseconds (-1: for ever); c is
// read anew then. -ETIMEDOUT, -errno silent.
int container_wait(int dir, struct container *c, int64_t ms) must_check;

#endif
