// seccomp.h - which system calls a container may make: a BPF filter, assembled by hand
// SPDX-License-Identifier: Apache-2.0
#ifndef SECCOMP_H
#define SECCOMP_H

#include "base.h"

// Puts this thread, and all it becomes, under the filter; calls that one of these capabilities is
// for are let through. Needs no_new_privs (or CAP_SYS_ADMIN). -errno, silent.
int seccomp_load(uint64_t caps) must_check;

// The same as rules, for a runtime that loads a filter of its own: what is refused, with which errno,
// when (arg & mask) == value for each condition. All else is allowed. What cannot be said so: calls
// newer than the table are unknown (ENOSYS) to ours, and personality is looked at.
struct seccomp_when {
	uint32_t arg, mask, value;
};
struct seccomp_rule {
	const char *name; // of the call
	uint16_t err;
	unsigned n_when;
	struct seccomp_when when[2];
};
typedef void seccomp_fn(void *arg, const struct seccomp_rule *r);
void seccomp_rules(uint64_t caps, seccomp_fn *fn, void *arg);

#endif
