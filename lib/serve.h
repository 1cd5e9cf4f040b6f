// serve.h - an image as a mounted file system: by a holder and worker that are there already for
// the same image, or by new ones
// SPDX-License-Identifier: Apache-2.0
#ifndef SERVE_H
#define SERVE_H

#include "worker.h"

struct serve_conf {
	const struct net_opts *net; // as the image was opened with: the workers' too
	const char *driver;	    // of driver_find; NULL: what driver_choose says
	const char *why;	    // that driver, for `status`: set by serve_image
	uint64_t deadline_ns;	    // of a read that needs the registry; UINT64_MAX: none
	enum lazy_fill fill;	    // of what nobody has read
	// of the mount that serve_start makes, which is nosuid and nodev: MOUNT_ATTR_NOEXEC ... more, less
	unsigned attrs_set, attrs_clear;
	bool hasty;	    // without a boot stream, LAZY_FILL_AUTO fills from the beginning
	uint64_t fill_rate; // its bytes per second at most; 0: any
	int record;	    // where reads are written down (implies `alone`); 0: nowhere
	bool record_start;  // only those of the start, then read-ahead begins (record.h)
	// with record_start: a mount without a process, and of its own, will do too: then the caller
	// watches its page cache (pagetrace.h), and read-ahead is off until it raises it
	bool record_pages;
	const char *at; // set by serve_start for a user: fusermount3 mounts there itself
	bool alone;	// a holder and worker of its own in any case
};

struct served {
	int mnt;	       // the mount, detached; the file system ends with its last user
	int lock;	       // of the state file of one without a process; -1: none
	pid_t holder;	       // 0: no process serves it
	uint32_t major, minor; // of the file system
	bool watch;	       // as conf's record_pages says
	int readahead;	       // ... the setting, open for writing, the caller's to close; or -1
	bool shared;	       // with an earlier mount
	bool mounted;	       // at serve_conf's `at`, already; mnt is -1
};

// A mount of h's tree that is mounted nowhere yet; the mount namespace in which it will be may be
// made later. h can be closed afterwards: workers open the image anew. Must be called while the
// process has one thread. -errno logged.
int serve_image(struct host_image *h, const struct serve_conf *conf, struct served *ret) must_check;
// serve_image, and mounts it at dir (which is a file where the driver's mount is one). ret->mnt is
// -1.
int serve_start(struct host_image *h, const char *dir, const struct serve_conf *conf,
	struct served *ret) must_check;
// Mounts what serve_image() has given, at a directory (or file). Closes s->mnt and s->lock in any
// case. -errno logged.
int serve_attach(struct served *s, const char *at) must_check;
// After a mount of it was undone: waits until its processes have ended, if nobody else uses it.
void serve_wait(const struct served *s);

// "wait[:SECONDS|:forever]" (60) or "fail[:SECONDS]" (5). -EINVAL logged.
int serve_parse_loss(const char *text, uint64_t *ret_ns) must_check;

// The first call of main(): a process that was started as a holder or worker does not return.
void serve_enter(int argc, char **argv);

#endif
