// fusermount.c - mounts by fusermount3(1)
//
// It opens /dev/fuse, mounts, and sends the descriptor over the socket whose number is in
// _FUSE_COMMFD (libfuse, doc/README.fusermount and mount_util.c). It adds nosuid and nodev itself.
// Others than the user see nothing of the mount: allow_other is the administrator's to allow.
// SPDX-License-Identifier: Apache-2.0
#include "fusermount.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "log.h"

#define PROGRAM "fusermount3"

static _Noreturn void exec_it(char *const *argv, int sock)
{
	char number[16];

	snprintf(number, sizeof number, "%d", sock);
	if (sock >= 0 && (fcntl(sock, F_SETFD, 0) < 0 || setenv("_FUSE_COMMFD", number, 1)))
		_exit(126);
	execvp(PROGRAM, argv);
	_exit(127);
}

static int wait_for(pid_t pid)
{
	int status;

	while (waitpid(pid, &status, 0) < 0)
		if (errno != EINTR)
			return last_errno();
	if (WIFEXITED(status) && WEXITSTATUS(status) == 127)
		return warn_whole(-ENOENT,
			"only root can mount without " PROGRAM
			", which cannot be run: install the package fuse3");
	return WIFEXITED(status) && !WEXITSTATUS(status) ? 0 : -EPERM; // it has said why
}

// The options are a list with commas; a backslash takes their meaning.
static void put_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (*s == ',' || *s == '\\')
			buf_add(b, "\\", 1);
		buf_add(b, s, 1);
	}
}

static int receive(int sock, int *ret_fd)
{
	ssize_t n;
	char byte = 0;

	do
		n = recv_fd(sock, &byte, 1, 0, ret_fd);
	while (n == -EINTR);
	if (n < 0)
		return (int)n;
	return *ret_fd < 0 ? -ENODATA : 0;
}

int fusermount_mount(const char *at, const struct fuse_mount_opts *o, bool noexec, int *ret_fd)
{
	cleanup_buf struct buf options = { 0 };
	cleanup_fd int fd = -1;
	int pair[2], r, e;
	pid_t pid;

	buf_printf(&options,
		"ro,nosuid,nodev,default_permissions,max_read=%u,subtype=%s%s,fsname=", FUSE_IO_MAX,
		o->subtype, noexec ? ",noexec" : "");
	put_escaped(&options, o->source);
	char *argv[] = { (char *)PROGRAM, (char *)"-o", (char *)buf_str(&options), (char *)"--",
		(char *)at, NULL };
	// a stream: what others pass
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair))
		return warn_errno(last_errno(), "make a socket pair");
	pid = fork();
	if (!pid)
		exec_it(argv, pair[1]);
	close(pair[1]);
	r = pid < 0 ? -EAGAIN : receive(pair[0], &fd);
	close(pair[0]);
	e = pid < 0 ? -EAGAIN : wait_for(pid);
	if (e || r)
		return e ? e : warn_errno(r, PROGRAM " has given no descriptor");
	*ret_fd = steal_fd(&fd);
	return 0;
}

int fusermount_umount(const char *at, bool lazy)
{
	char *argv[] = { (char *)PROGRAM, (char *)"-u", (char *)(lazy ? "-z" : "--"),
		(char *)(lazy ? "--" : at), (char *)(lazy ? at : NULL), NULL };
	pid_t pid = fork();

	if (!pid)
		exec_it(argv, -1);
	return pid < 0 ? last_errno() : wait_for(pid);
}
