// launch.c - starts the holder of a new FUSE connection
// SPDX-License-Identifier: Apache-2.0
#include "launch.h"

#include <fcntl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "holder.h"
#include "log.h"
#include "state.h"

static void exec_holder(const struct launch *s)
{
	static const char *const keep[] = { "http_proxy", "https_proxy", "HTTP_PROXY",
		"HTTPS_PROXY", "all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY", "SSL_CERT_FILE",
		"SSL_CERT_DIR", "CURL_CA_BUNDLE", "HOME", "CONTAINERS_REGISTRIES_CONF",
		"FCPULL_CERTS_D" };
	const int from[] = { [HOLD_FUSE] = s->fuse,
		[HOLD_ABOUT] = s->about,
		[HOLD_EXE] = s->exe,
		[HOLD_DIR] = s->dir,
		[HOLD_STATE] = s->state,
		[HOLD_LISTEN] = s->listen,
		[HOLD_LOG] = s->log,
		[HOLD_READY] = s->ready[1],
		[HOLD_BOOT] = s->boot,
		[HOLD_RECORD] = s->record,
		[HOLD_STORE] = s->store };
	cleanup_free char *name = xasprintf(HOLDER_NAME "%s", s->image),
			  *connection = xasprintf("%u", s->connection);
	char *argv[] = { name, HOLDER_ROLE, (char *)s->id, connection, NULL },
	     *env[ARRAY_LEN(keep) + 1] = { 0 };
	int high[ARRAY_LEN(from)], null = open("/dev/null", O_RDWR | O_CLOEXEC);
	size_t n = 0;

	for (size_t i = 0; i < ARRAY_LEN(keep); i++)
		if (getenv(keep[i]))
			env[n++] = xasprintf("%s=%s", keep[i], getenv(keep[i]));
	// first out of the way of each other
	for (int i = HOLD_FUSE; i <= HOLD_STORE; i++)
		high[i] = fcntl(from[i] < 0 ? null : from[i], F_DUPFD_CLOEXEC, HOLD_END);
	for (int i = HOLD_FUSE; i <= HOLD_STORE; i++)
		if (high[i] < 0 || dup2(high[i], i) < 0)
			_exit(EXIT_FAILURE);
	if (setsid() < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
		dup2(null, STDOUT_FILENO) < 0)
		_exit(EXIT_FAILURE);
	syscall(SYS_execveat, HOLD_EXE, "", argv, env, AT_EMPTY_PATH);
	warn_errno(-errno, "start a holder");
	_exit(EXIT_FAILURE);
}

// Nobody's child, for nobody is to wait for it: forked twice.
static int fork_holder(const struct launch *s, pid_t *ret)
{
	int p[2];
	pid_t pid, child;

	if (pipe2(p, O_CLOEXEC))
		return warn_errno(-errno, "make a pipe");
	fflush(NULL);
	child = fork();
	if (!child) {
		pid = fork();
		if (!pid)
			exec_holder(s);
		_exit(write_full(p[1], &pid, sizeof pid) ? EXIT_FAILURE : 0);
	}
	close(p[1]);
	if (child < 0 || read_full(p[0], &pid, sizeof pid))
		pid = -1;
	close(p[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	if (pid < 0)
		return warn_errno(-EAGAIN, "start a process");
	*ret = pid;
	return 0;
}

// Where a holder and its workers say what they have to say when nobody looks any more: the kernel's
// log.
static int open_log(void)
{
	int fd = -1;

	if (log_level >= LOG_DEBUG)
		return fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, HOLD_END);
	if (!geteuid())
		fd = open("/dev/kmsg", O_WRONLY | O_CLOEXEC);
	return fd >= 0 ? fd : open("/dev/null", O_WRONLY | O_CLOEXEC);
}

int launch_holder(struct launch *s, pid_t *ret)
{
	cleanup_fd int exe = open("/proc/self/exe", O_RDONLY | O_CLOEXEC), log = open_log(),
		       listener = state_listen(s->dir, s->id);
	char c;
	int r;

	if (exe < 0 || log < 0 || listener < 0)
		return warn_errno(listener < 0 ? listener : -errno, "prepare a holder");
	if (pipe2(s->ready, O_CLOEXEC))
		return warn_errno(-errno, "make a pipe");
	s->exe = exe;
	s->log = log;
	s->listen = listener;
	r = fork_holder(s, ret);
	close(s->ready[1]);
	if (!r && read_full(s->ready[0], &c, 1))
		r = -EIO; // it has said why
	close(s->ready[0]);
	return r;
}
