// serve.h - a process that serves an image as a file system
// SPDX-License-Identifier: Apache-2.0
#ifndef SERVE_H
#define SERVE_H

#include "host.h"

struct serve_conf {
	const char *dir;	// where it is mounted
	bool with_parent;	// ends when this process ends (run); else it lives on alone (mount)
};

// Forks a server for h and mounts its tree at dir; returns when the mount is there. The server ends when it is unmounted. The
// caller keeps h for its manifests and config only: it must neither read data nor close its repo, whose connections the server has now.
// Must be called while the process has one thread. -errno logged.
int serve_start(struct host_image *h, const struct serve_conf *conf, pid_t *ret_pid) must_check;

#endif
