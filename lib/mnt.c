// mnt.c - the mount system calls by descriptor
// SPDX-License-Identifier: Apache-2.0
#include "mnt.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>

#include "log.h"

#define UMOUNT_DETACH 2 // MNT_DETACH of <sys/mount.h>

#ifndef STATX_MNT_ID
#define STATX_MNT_ID 0x1000u // Linux 5.8
#endif

// The numbers are the same on every machine for all calls since Linux 5.1; older headers lack the
// newest.
#ifndef SYS_mount_setattr
#define SYS_mount_setattr 442
#endif
#ifndef SYS_close_range
#define SYS_close_range 436
#endif
#ifndef SYS_openat2
#define SYS_openat2 437
#endif

static int ret_errno(long r)
{
	return r < 0 ? -errno : (int)r;
}

int mnt_supported(void)
{
	// EINVAL or EBADF from a kernel that has the call
	if (syscall(SYS_mount_setattr, -1, "", 0, NULL, 0) == 0 || errno != ENOSYS)
		return 0;
	return warn_whole(-ENOSYS,
		"this kernel cannot run containers: mount_setattr is missing, Linux 5.12 or later is needed");
}

// The kernel's messages about a file system context, one for each read ("e overlay: ...").
static void log_context(int fs, const char *type)
{
	char line[512];
	ssize_t n;

	while ((n = read(fs, line, sizeof line)) > 0)
		info("mount of %s: %s", type, log_quote_n(line, (size_t)n));
}

// "source" is what /proc/mounts shows first: the type, as there is nothing behind any of them.
static int configure(int fs, const char *type, const struct mnt_param *params)
{
	if (syscall(SYS_fsconfig, fs, FSCONFIG_SET_STRING, "source", type, 0) < 0)
		return -errno;
	for (const struct mnt_param *p = params; p && p->key; p++) {
		unsigned cmd = p->value ? FSCONFIG_SET_STRING : FSCONFIG_SET_FLAG;

		if (syscall(SYS_fsconfig, fs, cmd, p->key, p->value, 0) < 0)
			return -errno;
	}
	return ret_errno(syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0));
}

int mnt_new(const char *type, const struct mnt_param *params, unsigned attrs, int *ret_fd)
{
	cleanup_fd int fs = (int)syscall(SYS_fsopen, type, FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	int r = configure(fs, type, params);
	if (r < 0) {
		log_context(fs, type);
		return r;
	}
	int fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attrs);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int mnt_clone(int dirfd, const char *path, bool recursive, int *ret_fd)
{
	unsigned flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH |
		(recursive ? AT_RECURSIVE : 0);
	int fd = (int)syscall(SYS_open_tree, dirfd, path, flags);

	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

int mnt_set(int fd, unsigned attrs, bool recursive)
{
	// of the rules about access times one is in force, and only instead of it another can be
	struct mount_attr a = { .attr_set = attrs,
		.attr_clr = attrs & MOUNT_ATTR__ATIME ? MOUNT_ATTR__ATIME : 0,
		.propagation = MS_PRIVATE };
	unsigned flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);

	return ret_errno(syscall(SYS_mount_setattr, fd, "", flags, &a, sizeof a));
}

int mnt_clear(int fd, unsigned attrs)
{
	struct mount_attr a = { .attr_clr = attrs };

	return ret_errno(syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &a, sizeof a));
}

int mnt_attach(int mnt, int target)
{
	unsigned flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;

	return ret_errno(syscall(SYS_move_mount, mnt, "", target, "", flags));
}

static int mount_id(int fd, uint64_t *ret)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &sx) < 0)
		return last_errno();
	*ret = sx.stx_mnt_id;
	return 0;
}

int mnt_attach_checked(int mnt, int target, int root, const char *path)
{
	uint64_t want, found;
	int r = mnt_attach(mnt, target);

	if (r < 0)
		return r;
	cleanup_fd int again = mnt_open(root, path, O_PATH, MNT_IN_ROOT);
	if (again < 0)
		return again;
	if ((r = mount_id(mnt, &want)) < 0 || (r = mount_id(again, &found)) < 0)
		return r;
	return want == found ? 0 : -ESTALE;
}

int mnt_open(int dirfd, const char *path, int flags, uint64_t resolve)
{
	struct open_how how = { .flags = (uint64_t)(unsigned)(flags | O_CLOEXEC),
		.resolve = resolve };

	// EAGAIN: a rename or mount elsewhere raced with ".." (openat2(2)); it is not for ever, so
	// neither is this
	for (int tries = 0; tries < 100; tries++) {
		int fd = (int)syscall(SYS_openat2, dirfd, path, &how, sizeof how);

		if (fd >= 0)
			return fd;
		if (errno != EAGAIN && errno != EINTR)
			return -errno;
	}
	return -EAGAIN;
}

int mnt_mkdirs(int root, const char *path)
{
	char part[PATH_MAX];
	size_t len = 0, n = strlen(path);
	cleanup_fd int dir = mnt_open(root, ".", O_PATH | O_DIRECTORY, MNT_IN_ROOT);

	if (n >= sizeof part)
		return -ENAMETOOLONG;
	while (dir >= 0 && len < n) {
		size_t name = len + strspn(path + len, "/");

		len = name + strcspn(path + name, "/");
		if (len == name)
			break;
		memcpy(part, path, len);
		part[len] = '\0';
		// each prefix is walked anew from the root, so "..", links and mounts mean what
		// they mean inside
		int next = mnt_open(root, part, O_PATH | O_DIRECTORY, MNT_IN_ROOT);
		if (next == -ENOENT) {
			if (mkdirat(dir, part + name, 0755) < 0 && errno != EEXIST)
				return -errno;
			next = mnt_open(root, part, O_PATH | O_DIRECTORY, MNT_IN_ROOT);
		}
		close(dir);
		dir = next;
	}
	return steal_fd(&dir);
}

bool mnt_is_fs(int fd, long magic)
{
	struct statfs s;

	return fstatfs(fd, &s) == 0 && (long)s.f_type == magic;
}

// On a machine whose root is the kernel's first rootfs (an initramfs) there is nothing to pivot:
// lay the new root over the old one. The old one stays below, out of reach: ".." at a root that is
// mounted on a root goes nowhere.
static int cover_root(int root)
{
	cleanup_fd int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);

	if (old < 0)
		return -errno;
	int r = mnt_attach(root, old);
	if (r < 0)
		return r;
	return ret_errno(chroot("."));
}

// After pivot_root(".", ".") the old root, and whatever was mounted on its "/", lie on top of the
// new one (pivot_root(2), NOTES). umount2(".") takes the topmost away; ".." at the root shows what
// is on top now, so "all gone" is not assumed but seen.
static int uncover_root(int root)
{
	uint64_t want, top;
	int r = mount_id(root, &want);

	for (int tries = 0; r == 0 && tries < 8; tries++) {
		cleanup_fd int up = open("..", O_PATH | O_DIRECTORY | O_CLOEXEC);

		r = up < 0 ? last_errno() : mount_id(up, &top);
		if (r < 0 || top == want)
			return r;
		if (syscall(SYS_umount2, ".", UMOUNT_DETACH) < 0)
			return -errno;
	}
	return r < 0 ? r : -EBUSY;
}

int mnt_pivot(int root)
{
	if (fchdir(root) < 0)
		return -errno;
	int r = ret_errno(syscall(SYS_pivot_root, ".", "."));
	if (r == -EINVAL)
		r = cover_root(root);
	if (r == 0)
		r = uncover_root(root);
	return r < 0 ? r : ret_errno(chdir("/"));
}

int sys_close_range(unsigned first, unsigned last, unsigned flags)
{
	return ret_errno(syscall(SYS_close_range, first, last, flags));
}

int sys_pidfd_send_signal(int pidfd, int sig)
{
	return ret_errno(syscall(SYS_pidfd_send_signal, pidfd, sig, NULL, 0));
}

int sys_setns_self(int ns_type)
{
	cleanup_fd int self = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (self < 0)
		return -errno;
	return ret_errno(syscall(SYS_setns, self, ns_type));
}

pid_t sys_clone(uint64_t flags, int *ret_pidfd)
{
	int pidfd = -1;

	// the order of the first three arguments is the same on x86-64 and aarch64; the others are
	// 0
	pid_t pid = (pid_t)syscall(
		SYS_clone, (unsigned long)flags | CLONE_PIDFD | SIGCHLD, 0, &pidfd, 0, 0);
	if (pid < 0)
		return -errno;
	if (pid == 0)
		return 0;
	if (ret_pidfd)
		*ret_pidfd = pidfd;
	else
		close(pidfd);
	return pid;
}
