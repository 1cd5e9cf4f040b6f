// boxjoin.c - another process in a container that runs
//
// The joining process, as pid 1, stays in the host's user namespace, and is not dumpable: what runs
// in the container can neither trace it nor look into it, though it sees its mounts. All that is
// opened is the container's, so hostile: inside its root, and of the kind that it must be.
// SPDX-License-Identifier: Apache-2.0
#include "boxjoin.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "log.h"
#include "mnt.h"

#define NAMESPACES \
	(CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWCGROUP | CLONE_NEWNET)

int boxjoin_cgroups(const struct box_join *j)
{
	for (size_t i = 0; i < j->n_cgroups; i++)
		if (write(j->cgroups[i], "0", 1) < 0)
			return warn_errno(-errno, "cannot enter the container's control group");
	return 0;
}

static int open_null(int root)
{
	cleanup_fd int fd = mnt_open(root, "dev/null", O_RDWR, MNT_IN_ROOT);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return warn_errno(fd < 0 ? fd : -errno, "cannot open the container's '/dev/null'");
	if (!S_ISCHR(st.st_mode) || st.st_rdev != makedev(1, 3))
		return warn_errno(-ENXIO, "the container's '/dev/null' is something else");
	return steal_fd(&fd);
}

static int open_tty(const struct winsize *size, struct boxroot *r)
{
	cleanup_fd int pts = mnt_open(r->root, "dev/pts", O_PATH | O_DIRECTORY, MNT_IN_ROOT);
	int e = pts < 0				     ? pts
		: mnt_is_fs(pts, DEVPTS_SUPER_MAGIC) ? boxroot_open_tty(pts, &r->tty, &r->tty_slave)
						     : -ENXIO;

	if (e < 0)
		return warn_errno(e, "cannot open a terminal in the container");
	ioctl(r->tty, TIOCSWINSZ, size);
	return 0;
}

int boxjoin_enter(const struct box *b, const struct winsize *size, struct boxroot *ret,
	struct passwd_user *user)
{
	const char *cwd = b->cwd && *b->cwd ? b->cwd : "/";
	struct boxroot *r = ret;
	int e;

	*r = BOXROOT_NONE;
	umask(0);
	if (syscall(SYS_setns, b->join->init, NAMESPACES) < 0)
		return warn_errno(-errno, "cannot enter the container's namespaces");
	r->root = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (r->root < 0)
		return warn_errno(-errno, "cannot open the container's root");
	r->null = open_null(r->root);
	if (r->null < 0)
		return r->null;
	r->cwd = mnt_open(r->root, cwd, O_PATH | O_DIRECTORY, MNT_IN_ROOT);
	if (r->cwd < 0)
		return warn_errno(r->cwd, "cannot go to the working directory %s of the container",
			log_quote(cwd));
	e = passwd_resolve(r->root, b->user, user);
	return e < 0 || !b->tty ? e : open_tty(size, r);
}
