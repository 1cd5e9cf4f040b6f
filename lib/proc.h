// proc.h - what the kernel is told about this process, and what it says of others
// SPDX-License-Identifier: Apache-2.0
#ifndef PROC_H
#define PROC_H

#include "base.h"

// How willingly the OOM killer takes this process: -1000 (never) to 1000. -EACCES, a debug message:
// below what it was at the last start with CAP_SYS_RESOURCE (0, as a rule) only that capability
// lets it be (__set_oom_adj).
int proc_oom_score(int score);
// Never for this process, or, without that capability, not before others. Returns what it was.
int proc_spare(void);
// A control group of its own, so that the end of its starter's session, unit or container is not
// its own, nor are their limits of memory or a freezer. Version 2, alone or beside version 1 as
// systemd mounts it; of version 1 what ends, stops or starves processes.
void proc_own_cgroup(void);
// Has the main thread of a child ended, though others or nobody's wait keep the process?
bool proc_is_zombie(pid_t pid);
// The oldest child of a process, 0: none that can be seen.
pid_t proc_first_child(pid_t pid);

#endif
