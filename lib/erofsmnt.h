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
	bool no_readahead;  // for now
	bool directio;	    // where it is safe: each page that is read is a request of its own
	uint64_t meta_size; // bytes at the start of the image that are read ahead; 0: none
	uint32_t
		readahead_kb; // of the mount; 0: what measured best, more when all is local (devices)
	bool suid, dev;	      // default nosuid, nodev
	enum erofs_way way;   // tests: what must be taken, even if the tables say otherwise
};

struct erofs_mount {
	enum erofs_way way; // EROFS_WAY_FILE, EROFS_WAY_LOOP
	bool directio; // files' data and directories' blocks are read past the image's page cache
	int readahead; // its setting in sysfs, open for writing, the caller's to close; or -1
	char why[160]; // one line for people: what was taken and why
};

// Read-ahead, in KiB, of a mount whose data arrives when it is read. It is also what a page fault
// reads around itself, so for data that must be fetched first it is weighed against waste; below it
// is the page cache of image.erofs with FUSE's own 128 KiB, which carries a sequential reader.
// Measured on Linux 6.18 with ml-large-import, buffered: `import pandas, sklearn, torch` fetches
// 303 MiB by 16, 305 by 32, 314 by 64, 347 by 128, 396 by 256 (332 by 256 with directio). One reader
// of 60 MB, 20 ms from the registry: 5.7 s by 64, 6.2 by 256; more in FUSE (512, 1024) gains
// nothing. From the store all of these take the same time.
#define EROFS_READAHEAD_LAZY_KB 64

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
