// passwd.h - who a container runs as, by the image's own /etc/passwd and /etc/group
//
// Both files are the image's, so hostile: opened inside its root without following magic links,
// never blocking on a fifo, regular files of at most PASSWD_MAX_FILE bytes only, else as if they
// were not there (CVE-2024-9676, CVE-2026-47262).
// SPDX-License-Identifier: Apache-2.0
#ifndef PASSWD_H
#define PASSWD_H

#include "base.h"

#define PASSWD_MAX_FILE (1u << 20)
#define PASSWD_MAX_GROUPS 1024

struct passwd_user {
	uint32_t uid, gid;
	uint32_t groups[PASSWD_MAX_GROUPS]; // supplementary, gid first
	size_t n_groups;
	char home[1024]; // "/" when unknown
};

// The rules are docker's: "" is user 0; a name, else a number, is looked up in passwd; a number
// needs no entry (group 0 then); with ":group" there are no other groups, without it those that
// list the user. root is an O_PATH directory. -EINVAL (malformed), -ENOENT (no such name), -E2BIG
// (groups): logged.
int passwd_resolve(int root, const char *user, struct passwd_user *ret) must_check;

#endif
