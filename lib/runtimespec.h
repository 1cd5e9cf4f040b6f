// runtimespec.h - config.json of an OCI runtime bundle (runtime-spec 1.0.2), for runc and crun
// SPDX-License-Identifier: Apache-2.0
#ifndef RUNTIMESPEC_H
#define RUNTIMESPEC_H

#include "caps.h"
#include "passwd.h"

#define RUNTIMESPEC_ANNOTATION "dev.fcpull.bundle" // by which a bundle of ours is known

struct runtimespec {
	char *const *args, *const *env;
	const char *cwd; // NULL: "/"
	const struct passwd_user *user;
	const char *hostname, *image, *digest;
	struct caps_change caps;
	bool tty, read_only, net_host;
};

// Appends the document. Its root is "rootfs". What it grants is what box.h grants, but for the user
// namespace, which is the runtime's own to add; the system call filter is as seccomp_rules says.
void runtimespec_write(const struct runtimespec *s, struct buf *out);

#endif
