// proc.h - what the kernel is told about this process, and what it says of others
// SPDX-License-Identifier: Apache-2.0
#ifndef PROC_H
#define PROC_H

#include "base.h"

// How willingly the OOM killer takes this process: -1000 (never) to 1000. Failure is only a debug
// message: it is lowered by root alone.
void proc_oom_score(int score);
// Never for this process. Returns what it was before.
int proc_spare(void);
// A control group of its own, so that the end of its starter's session, unit or container is not
// its own. Only in the one hierarchy of version 2; elsewhere nothing is done.
void proc_own_cgroup(void);
// Has the main thread of a child ended, though others or nobody's wait keep the process?
bool proc_is_zombie(pid_t pid);

#endif
