// seccomp.h - which system calls a container may make: a BPF filter, assembled by hand
// SPDX-License-Identifier: Apache-2.0
#ifndef SECCOMP_H
#define SECCOMP_H

#include "base.h"

// Puts this thread, and all it becomes, under the filter; calls that one of these capabilities is
// for are let through. Needs no_new_privs (or CAP_SYS_ADMIN). -errno, silent.
int seccomp_load(uint64_t caps) must_check;

#endif
