// state.h - what runs now: the run-time state directory, and who has a file system mounted
//
//	$FCPULL_RUN, else /run/fcpull, or $XDG_RUNTIME_DIR/fcpull for a user; mode 0700
//	ID.json		what was mounted and why so; locked (flock) by its holder for as long as that lives,
//			or, where no process serves it, by its starter until it is mounted
//	ID.sock		the holder listens
//
// A file that is not locked is a dead holder's, and is removed by whoever sees it; so is one of a
// mount without a process that is mounted nowhere any more, in no mount namespace of a process.
// SPDX-License-Identifier: Apache-2.0
#ifndef STATE_H
#define STATE_H

#include "ctl.h"
#include "hash.h"

#define STATE_ID_MAX 40

struct state {
	char id[STATE_ID_MAX];
	char *image, *source; // source: as /proc/mounts shows it
	char *store, *driver, *why, *form;
	char *why_form;
	uint64_t deadline_ns;
	struct digest digest;  // of the original's manifest
	struct digest index;   // in the store
	uint32_t major, minor; // of the file system that is mounted
	uint32_t connection;   // of FUSE
	bool local;	       // the kernel's own mount of the store's files: no process
};
void state_fini(struct state *s);

// The directory, made if need be and proved to be ours alone. A descriptor, or -errno logged.
int state_dir(void) must_check;

// The file ID.json, locked: the caller's to fill, and to hand over to a holder. -EWOULDBLOCK:
// somebody has it; -errno logged.
int state_lock(int dir, const char *id) must_check;
// The same, but what it says of a mount without a process stays, to be read by state_load.
int state_lock_local(int dir, const char *id) must_check;
// Writes what state_load reads. -errno logged.
int state_save(int fd, const struct state *s) must_check;
// -ENODATA: not complete yet (silent); -ENOENT, -EBADMSG silent.
int state_load(int dir, const char *id, struct state *ret) must_check;
void state_remove(int dir, const char *id);
// All live ones; removes the files of dead ones. Caller frees, each with state_fini.
int state_list(int dir, struct state **ret, size_t *ret_n) must_check;

// Removes the files of dead ones.
void state_clean(void);
// Removes those of mounts without a process that had this device before: the kernel has given its
// number to another mount. But for `id`.
void state_forget_device(int dir, uint32_t major, uint32_t minor, const char *id);

// A connection to the holder; a listening one for it. A descriptor or -errno, silent.
int state_connect(int dir, const char *id) must_check;
int state_listen(int dir, const char *id) must_check;
// Sends a request to the holder (fd < 0: without a descriptor) and waits for the answer. Its
// result; -errno when there is none.
int state_ask(int dir, const char *id, enum ctl_verb verb, int fd, int wait_ms,
	struct ctl *ret) must_check;

// ---- mounts, from /proc/PID/mountinfo ----
struct state_mount {
	char *path;
	pid_t pid; // in whose mount namespace; 0: our own
};
// Where the root of a file system is mounted: in our mount namespace and, with `everywhere`, in
// those of all other processes that can be looked at. Caller frees with state_mounts_free.
int state_mounts(uint32_t major, uint32_t minor, bool everywhere, struct state_mount **ret,
	size_t *ret_n) must_check;
void state_mounts_free(struct state_mount *m, size_t n);
// A detached copy of a mount, wherever it is. -errno, silent. Must be called while the process has
// one thread.
int state_clone(const struct state_mount *m, int *ret_mnt) must_check;

#endif
