// serve.c - a process that serves an image as a file system
//
// The parent waits on a pipe: one byte means mounted, its end without one means failed (the reason has been logged).
// SPDX-License-Identifier: Apache-2.0
#include "serve.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "fuse.h"
#include "log.h"
#include "treefs.h"

#define THREADS 4

// A mounted server outlives its terminal, and must not hold on to any directory or file of its starter.
static void detach(void)
{
	int fd = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (chdir("/"))
		debug("chdir /: %s", strerror(errno));
	if (fd < 0)
		return;
	dup2(fd, STDIN_FILENO);
	dup2(fd, STDOUT_FILENO);
	if (log_level < LOG_DEBUG)
		dup2(fd, STDERR_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static int serve(struct host_image *h, const struct serve_conf *conf, int ready)
{
	struct fuse_mount_opts o = { .source = h->name, .subtype = "fcpull" };
	int fd, r;

	setsid();
	if (conf->with_parent)
		prctl(PR_SET_PDEATHSIG, SIGKILL);
	r = host_start(h);
	if (!r)
		r = fuse_mount(conf->dir, &o, &fd);
	if (r)
		return r;
	if (write_full(ready, "", 1))
		return -EPIPE;
	close(ready);
	detach();
	r = treefs_serve(h->lz, fd, THREADS);
	close(fd);
	host_close(h);
	return r;
}

// What a server has taken over: its memory here is kept, its connections are never touched again.
static struct host_image *handed_over;

int serve_start(struct host_image *h, const struct serve_conf *conf, pid_t *ret_pid)
{
	int p[2], r;
	pid_t pid;
	char c;

	if (pipe2(p, O_CLOEXEC))
		return warn_errno(-errno, "make a pipe");
	fflush(NULL);
	pid = fork();
	if (pid < 0) {
		r = -errno;
		close(p[0]);
		close(p[1]);
		return warn_errno(r, "start a server process");
	}
	if (!pid) {
		close(p[0]);
		_exit(serve(h, conf, p[1]) ? EXIT_FAILURE : 0);
	}
	handed_over = h;
	close(p[1]);
	r = read_full(p[0], &c, 1);
	close(p[0]);
	if (r) {
		waitpid(pid, NULL, 0);
		return -EIO;	// the server has said why
	}
	*ret_pid = pid;
	return 0;
}
