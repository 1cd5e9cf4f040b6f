// detach.c - a process that goes on without its starter
// SPDX-License-Identifier: Apache-2.0
#include "detach.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "log.h"

// The writing end stays open as long as this process: nobody writes, and there is no end.
static int empty_input(void)
{
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return -errno;
	int r = dup2(p[0], STDIN_FILENO) < 0 ? -errno : 0;
	close(p[0]);
	return r;
}

static int become_background(bool input, int output)
{
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int r = 0;

	if (setsid() < 0 || null < 0)
		return -errno;
	if (input)
		r = empty_input();
	else if (dup2(null, STDIN_FILENO) < 0)
		r = -errno;
	if (!r && dup2(output < 0 ? null : output, STDOUT_FILENO) < 0)
		r = -errno;
	return r;
}

static int wait_for(int from, pid_t child, char ret[static DETACH_WORDS_MAX], int *ret_code)
{
	ssize_t n;
	int status;

	do
		n = read(from, ret, DETACH_WORDS_MAX - 1);
	while (n < 0 && errno == EINTR);
	close(from);
	ret[MAX(n, 0)] = 0;
	*ret_code = 0;
	if (n > 0)
		return 1;
	while (waitpid(child, &status, 0) < 0)
		if (errno != EINTR)
			return warn_errno(-errno, "wait for the process in the background");
	*ret_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	return 1;
}

int detach_split(
	struct detach *d, bool input, int output, char ret[static DETACH_WORDS_MAX], int *ret_code)
{
	pid_t starter = getpid(), child;
	int p[2];

	if (pipe2(p, O_CLOEXEC))
		return warn_errno(-errno, "make a pipe");
	fflush(NULL);
	child = fork();
	if (child < 0)
		return warn_errno(-errno, "start a process in the background");
	if (child) {
		close(p[1]);
		return wait_for(p[0], child, ret, ret_code);
	}
	close(p[0]);
	d->notify = p[1];
	// a starter that is interrupted ends what it has begun
	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	int r = getppid() == starter ? become_background(input, output) : -EPIPE;
	return r ? warn_errno(r, "go to the background") : 0;
}

int detach_go(struct detach *d, const char *words)
{
	cleanup_fd int null = open("/dev/null", O_RDWR | O_CLOEXEC), to = steal_fd(&d->notify);

	prctl(PR_SET_PDEATHSIG, 0, 0, 0, 0);
	if (write_full(to, words, strlen(words)))
		return -EPIPE;
	return null < 0 || dup2(null, STDERR_FILENO) < 0 ? -errno : 0;
}
