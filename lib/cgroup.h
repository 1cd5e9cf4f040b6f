// cgroup.h - a control group of its own for a container or a conversion with limits, of version 2 or 1
//
// It lies in fcpull-run/NAME of each hierarchy that is needed, below what this process sees as its
// root, or below what of version 2's was delegated to this user. Whoever made it holds a lock on its
// directory as long as it lives; one that nobody holds is a dead one's, and is removed by the next
// who makes one.
// SPDX-License-Identifier: Apache-2.0
#ifndef CGROUP_H
#define CGROUP_H

#include "base.h"

#define CGROUP_MAX 3		       // controllers: memory, cpu, pids
#define CGROUP_MEMORY_MIN (6ull << 20) // docker's: with less a process does not start
#define CGROUP_CPU_PERIOD 100000       // microseconds

struct cgroup_limits {
	uint64_t memory;    // bytes; 0: none. As much again may be swapped out
	uint64_t cpu_quota; // microseconds of CGROUP_CPU_PERIOD; 0: none
	uint64_t pids;	    // processes and threads; 0: none
};

struct cgroup {
	char *dirs[CGROUP_MAX];
	int locks[CGROUP_MAX], procs[CGROUP_MAX];
	size_t n;
};

// Makes it. -errno logged, and nothing is left behind. With cgroup_free the group is removed; it
// must be empty then (that is waited for a little).
int cgroup_make(const char *name, const struct cgroup_limits *l, struct cgroup *ret) must_check;
void cgroup_free(struct cgroup *c);
// How many of its processes the kernel has ended because its memory was at the limit; 0: none, or not
// known.
uint64_t cgroup_oom_kills(const struct cgroup *c);
// Moves this process into it: system calls only. -errno, silent.
static inline int cgroup_enter(const struct cgroup *c)
{
	for (size_t i = 0; i < c->n; i++)
		if (write(c->procs[i], "0", 1) < 0)
			return -errno;
	return 0;
}

#endif
