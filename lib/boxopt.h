// boxopt.h - the words of run's options, as docker and podman have them, for struct box
//
// What cannot be done is refused by its name; nothing is silently ignored. All: 0 or -EINVAL (or
// another -errno), logged.
// SPDX-License-Identifier: Apache-2.0
#ifndef BOXOPT_H
#define BOXOPT_H

#include "box.h"

// The strings of a bind are cut out of s, which must live on, but for src: a resolved path.
int boxopt_volume(char *s, struct box_bind *ret) must_check; // SRC:DST[:OPTION,...]
int boxopt_mount(char *s, struct box_bind *ret) must_check;  // type=bind|tmpfs,src=,dst=,...
int boxopt_tmpfs(char *s, struct box_bind *ret) must_check;  // DST[:OPTION,...]
// seccomp=unconfined, no-new-privileges[:BOOL], unmask=ALL, label=disable ...
int boxopt_security(const char *s, struct box *b) must_check;
// private: every id is itself (the default); host: none.
int boxopt_user_ns(const char *s, struct box *b) must_check;
// Whether all that was added counts where the container's processes are.
int boxopt_check(const struct box *b) must_check;

// "1.5" processors as microseconds of CGROUP_CPU_PERIOD.
int boxopt_cpus(const char *s, uint64_t *ret) must_check;
int boxopt_memory(uint64_t bytes) must_check;
// -1 and 0: no limit, which is 0.
int boxopt_pids(const char *s, uint64_t *ret) must_check;
// A signal by name, with or without SIG, RTMIN+N or number.
int boxopt_signal(const char *s, int *ret) must_check;
// Host and container names.
int boxopt_name(const char *option, const char *s) must_check;

#endif
