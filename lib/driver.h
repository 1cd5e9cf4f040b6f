// driver.h - the ways to show an image as a file system, and which one is taken
// SPDX-License-Identifier: Apache-2.0
#ifndef DRIVER_H
#define DRIVER_H

#include "host.h"

// What the serving of one mount is like.
struct serving {
	// the boot stream says what the start reads: it is put into the page cache, and the kernel
	// is not to read ahead
	bool foreseen;
	// each read is to be seen as it is: no read-ahead, nothing is put anywhere
	bool record;
	struct lazy_hooks hooks; // landed, started and arg: what the driver adds
};

struct made_mount {
	int mnt;       // detached
	int readahead; // its read-ahead setting in sysfs, open for writing, or -1
};

// How an image is served on a FUSE connection.
struct driver {
	const char *name;
	bool file;	       // what is mounted is a regular file, not a directory
	uint32_t readahead_kb; // what suits it when the start is over and data is still to come
	// In the worker, until the file system is unmounted (0), fuse_stop() (-ECANCELED), or an
	// error.
	int (*serve)(struct host_image *h, const struct serving *s, int fuse, unsigned threads);
	// In the starter: what is to be mounted, made of the served FUSE mount (detached,
	// borrowed). NULL: that itself.
	int (*make)(struct host_image *h, const struct serving *s, int fuse_mnt,
		struct made_mount *ret);
};
#define DRIVER_IMAGE_FILE "image-file" // image.erofs itself: a disk for virtual machines
// NULL: there is none of this name.
const struct driver *driver_find(const char *name);
// Writes that read-ahead to a setting in sysfs; or, when nothing needs to be fetched (`whole`), a larger one.
void driver_raise_readahead(const struct driver *d, bool whole, int fd);
// The one for this kernel and user: "erofs" or "fuse", and in why one line that says the reason.
// name: what the user wants, or NULL. (DRIVER_IMAGE_FILE, too, only if it is asked for.)
// -EINVAL: there is no such driver; -ENODEV: this kernel cannot do it; logged.
int driver_choose(const char *name, const char **ret_name, char why[static 160]) must_check;

#endif
