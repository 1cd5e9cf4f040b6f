// driver.h - the ways to show an image as a file system, and which one is taken
// SPDX-License-Identifier: Apache-2.0
#ifndef DRIVER_H
#define DRIVER_H

#include "host.h"

// How an image is served on a FUSE connection.
struct driver {
	const char *name;
	// In the worker, until the file system is unmounted (0), fuse_stop() (-ECANCELED), or an
	// error.
	int (*serve)(struct host_image *h, int fuse, unsigned threads);
	// In the starter: what is to be mounted, made of the served FUSE mount (detached; taken
	// over on success). NULL: that itself.
	int (*make)(struct host_image *h, int fuse_mnt, int *ret_mnt);
};
// NULL: there is none of this name.
const struct driver *driver_find(const char *name);
// The one for this kernel and user: "erofs" or "fuse", and in why one line that says the reason.
// name: what the user wants, or NULL.
// -EINVAL: there is no such driver; -ENODEV: this kernel cannot do it; logged.
int driver_choose(const char *name, const char **ret_name, char why[static 160]) must_check;

#endif
