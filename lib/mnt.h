// mnt.h - the mount system calls by descriptor, and the few other raw calls that box needs
//
// Nothing here goes by a path that an image could bend: a mount is made detached, its target is
// opened beneath a root descriptor, and the two are joined by descriptors. Needs Linux 5.12
// (mount_setattr).
// SPDX-License-Identifier: Apache-2.0
#ifndef MNT_H
#define MNT_H

// <linux/mount.h>, not <sys/mount.h>: the two clash in glibc 2.36, and musl has not all of it
#include <linux/mount.h>
#include <linux/openat2.h>

#include "base.h"

// How a path of a container is walked: from its root, never out of it (RESOLVE_IN_ROOT), never
// through /proc/PID/fd/N and the like, which lead anywhere. MNT_STRICT also follows no link and
// crosses no mount.
#define MNT_IN_ROOT (RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS)
#define MNT_STRICT (MNT_IN_ROOT | RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV)

struct mnt_param {
	const char *key;
	const char *value; // NULL: a flag
};

// 0 when the kernel has what this module needs, else -ENOSYS, said with the version.
int mnt_supported(void) must_check;

// A new, detached file system with the parameters up to {0} and MOUNT_ATTR_* flags. -errno; the
// kernel's own words are logged at -v only, as some callers can do without.
int mnt_new(
	const char *type, const struct mnt_param *params, unsigned attrs, int *ret_fd) must_check;
// A detached copy (bind mount) of what is at dirfd/path, with the mounts beneath it when recursive;
// the path "" is dirfd itself.
int mnt_clone(int dirfd, const char *path, bool recursive, int *ret_fd) must_check;
// Sets MOUNT_ATTR_* flags; the mount (and those below it when recursive) is private from then on.
int mnt_set(int fd, unsigned attrs, bool recursive) must_check;
// Takes MOUNT_ATTR_* flags off.
int mnt_clear(int fd, unsigned attrs) must_check;
// Attaches a detached mount at the very object that target (O_PATH) refers to.
int mnt_attach(int mnt, int target) must_check;
// As mnt_attach; then opens root/path again and makes sure that the mount is what is found there:
// -ESTALE if something was swapped meanwhile (CVE-2021-30465).
int mnt_attach_checked(int mnt, int target, int root, const char *path) must_check;

// openat2 with O_CLOEXEC. A descriptor or -errno.
int mnt_open(int dirfd, const char *path, int flags, uint64_t resolve) must_check;
// The directory root/path, links followed inside root; makes what is missing, mode 0755. An O_PATH
// descriptor or -errno.
int mnt_mkdirs(int root, const char *path) must_check;
// Whether the open object lies on a file system with this statfs magic.
bool mnt_is_fs(int fd, long magic);

// Makes root (an attached mount) the root and working directory of this process and detaches the
// old root with all that is on it. -errno.
int mnt_pivot(int root) must_check;

// ---- calls without a wrapper in every C library we build with; -errno ----
int sys_close_range(unsigned first, unsigned last, unsigned flags);
int sys_pidfd_send_signal(int pidfd, int sig);
int sys_setns_self(int ns_type); // setns to this process's own namespace, by a pidfd
// fork with namespace flags; *ret_pidfd (may be NULL) as CLONE_PIDFD gives it. 0 in the child.
pid_t sys_clone(uint64_t flags, int *ret_pidfd);

#endif
