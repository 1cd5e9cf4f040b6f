// erofsmnt.h - mounts EROFS images that are files: by the kernel itself where it can do so safely,
// else through loop devices
//
// Which way is decided by the kernel's version and the tables in erofsmnt.c, never by trying: the
// kernels that are shut out crash. All of it by descriptors; nothing has to be undone but the mount
// itself, as loop devices go away with it.
// SPDX-License-Identifier: Apache-2.0
#ifndef EROFSMNT_H
#define EROFSMNT_H

#include "base.h"

enum erofs_way { EROFS_WAY_ANY, EROFS_WAY_FILE, EROFS_WAY_LOOP };

struct erofs_mount_opts {
	const int *devices; // files of the spaces that have blocks, in order: EROFS_DEVICES
	size_t n_devices;
	bool no_readahead;  // for now: ret->readahead can raise it later
	bool buffered;	    // no directio even where it is safe: data is cached twice
	uint64_t meta_size; // bytes at the start of the image that are read ahead; 0: none
	uint32_t
		readahead_kb; // of the mount; 0: what measured best, more when all is local (devices)
	bool suid, dev;	      // default nosuid, nodev
	enum erofs_way way;   // tests: what must be taken, even if the tables say otherwise
};

struct erofs_mount {
	enum erofs_way way; // EROFS_WAY_FILE, EROFS_WAY_LOOP
	bool directio;	    // files' data is cached once
	int readahead;	    // with no_readahead: the setting in sysfs, open for writing, or -1
	char why[160];	    // one line for people: what was taken and why
};

// Writes to a read-ahead setting in sysfs what suits a mount whose data arrives when it is read.
void erofs_raise_readahead(int fd);

// 0 when this kernel can read what erofs.c writes; -ENODEV with the reason in why. Loads the
// kernel's module if it is one.
int erofs_supported(char why[static 160]) must_check;

// A detached mount of the image (open for reading) in *ret_fd, for mnt_attach(). Reads the image,
// so whoever serves it must be another process or thread. -ENODEV: not on this kernel, the reason
// in ret->why, the fuse driver can do it; else -errno, logged.
int erofs_mount_fd(int image, const struct erofs_mount_opts *o, struct erofs_mount *ret,
	int *ret_fd) must_check;
// The same, attached at dir.
int erofs_mount_at(int image, const char *dir, const struct erofs_mount_opts *o,
	struct erofs_mount *ret) must_check;

// What the tables say of a kernel release ("6.12.5-foo"); for tests and -v.
struct erofs_gates {
	bool erofs; // recent enough for multi-device images
	bool file;  // file-backed mounts are safe, on FUSE too
	bool directio;
};
struct erofs_gates erofs_gates_of(const char *release);

#endif
