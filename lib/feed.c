// feed.c - a stream that another process reads on
//
// A start's boot stream is asked for by the process that resolves the image, with the request that
// brings the index, and is read by the worker, which is executed later: a connection with TLS cannot
// be handed over, its bytes can.
// SPDX-License-Identifier: Apache-2.0
#include "feed.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "log.h"

#define PIPE_SIZE (1 << 20)
#define IO_SIZE (128u << 10)

// The reader is gone while the stream has nothing to give.
static void *watch_reader(void *arg)
{
	struct pollfd p = { .fd = *(int *)arg };

	while (poll(&p, 1, -1) <= 0 || !(p.revents & (POLLERR | POLLHUP | POLLNVAL)))
		;
	_exit(0);
}

// What the caller's caller has left open (a pipe, a lock) is to end with the caller. All of our own,
// and so the connection, have the flag.
static void close_inherited(void)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;

	while (d && (e = readdir(d))) {
		int fd = (int)strtol(e->d_name, NULL, 10), flags = fcntl(fd, F_GETFD);

		if (fd > STDERR_FILENO && flags >= 0 && !(flags & FD_CLOEXEC))
			close(fd);
	}
	if (d)
		closedir(d);
}

static void let_go(void)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	for (int i = STDIN_FILENO; i <= STDERR_FILENO; i++)
		if (null < 0 || dup2(null, i) < 0)
			close(i);
	close_inherited();
	if (chdir("/"))
		debug("chdir /: %s", strerror(errno));
	setsid();
	signal(SIGPIPE, SIG_DFL);
	prctl(PR_SET_NAME, "@fcpull-boot", 0, 0, 0);
}

static void copy(struct stream *s, int fd)
{
	uint8_t *buf = xmalloc(IO_SIZE);
	pthread_t id;
	ssize_t n;

	let_go();
	if (pthread_create(&id, NULL, watch_reader, &fd))
		_exit(EXIT_FAILURE);
	while ((n = stream_read(s, buf, IO_SIZE)) > 0)
		if (write_full(fd, buf, (size_t)n))
			break;
	_exit(0);
}

int feed_start(struct stream *s, struct net_opts *net, int *ret_fd)
{
	int p[2];
	pid_t pid;

	if (pipe2(p, O_CLOEXEC))
		return warn_errno(-errno, "make a pipe");
	if (fcntl(p[1], F_SETPIPE_SZ, PIPE_SIZE) < 0)
		debug("a larger pipe: %s", strerror(errno));
	fflush(NULL);
	pid = fork();
	if (!pid) {
		close(p[0]);
		net->retries = 1;
		if (!fork())
			copy(s, p[1]);
		_exit(0);
	}
	close(p[1]);
	if (pid < 0) {
		close(p[0]);
		return warn_errno(-EAGAIN, "start a process");
	}
	waitpid(pid, NULL, 0);
	*ret_fd = p[0];
	return 0;
}
