// rehearse.c - runs an image's own process once, to find out what its start reads
//
// The signals that would end this process are blocked meanwhile and waited for together with
// SIGCHLD, so that the store is removed whatever happens; such a signal is raised at the end.
// SPDX-License-Identifier: Apache-2.0
#include "rehearse.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>

#include "log.h"

enum { GRACE = 10, RUN_FAILED = 125 }; // seconds between SIGTERM and SIGKILL; run's own exit code

struct child {
	char dir[4096]; // scratch directory, with "store" and "trace"
	char store[4110], trace[4110], platform[100];
	char *user;
	const char *argv[24];
	size_t n;
	int input; // what it reads: a password, or nothing
	pid_t pid;
	sigset_t waited, was;
};

// ---- its arguments ----

static void add(struct child *c, const char *name, const char *value)
{
	if (!value)
		return;
	c->argv[c->n++] = name;
	c->argv[c->n++] = value;
}

// A password never stands in the arguments: it comes by standard input.
static int add_creds(struct child *c, const struct net_opts *net)
{
	const char *colon = net->creds ? strchr(net->creds, ':') : NULL;
	const char *password = net->password ? net->password : colon ? colon + 1 : NULL;
	int p[2], r;

	if (!net->creds)
		return 0;
	c->user = xstrndup(net->creds, colon ? (size_t)(colon - net->creds) : strlen(net->creds));
	add(c, "--creds", c->user);
	if (!password)
		return 0;
	c->argv[c->n++] = "--password-stdin";
	if (pipe2(p, O_CLOEXEC | O_NONBLOCK))
		return warn_errno(-errno, "make a pipe");
	close(c->input);
	c->input = p[0];
	r = write_full(p[1], password, strlen(password));
	if (!r)
		r = write_full(p[1], "\n", 1);
	close(p[1]);
	return r ? warn_errno(r, "hand the password on") : 0;
}

static int make_args(struct child *c, const char *reference, const struct net_opts *net,
	const struct platform *platform)
{
	int r;

	c->argv[c->n++] = "fcpull";
	c->argv[c->n++] = "run";
	add(c, "--root", c->store);
	add(c, "--record", c->trace);
	add(c, "--accelerate", "off");
	add(c, "--platform", platform_str(platform, c->platform));
	add(c, "--authfile", net->authfile);
	add(c, "--cacert", net->cacert);
	if (net->plain_http)
		c->argv[c->n++] = "--plain-http";
	if (log_level >= LOG_INFO)
		c->argv[c->n++] = log_level >= LOG_DEBUG ? "--debug" : "--verbose";
	r = add_creds(c, net);
	c->argv[c->n++] = reference;
	return r;
}

// ---- the process ----

// In the child. Standard output is the caller's own: it holds the result.
static _Noreturn void be_child(struct child *c)
{
	prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0);
	sigprocmask(SIG_SETMASK, &c->was, NULL);
	if (fcntl(c->input, F_SETFL, 0) || dup2(c->input, STDIN_FILENO) < 0 ||
		dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
		_exit(RUN_FAILED);
	execv("/proc/self/exe", (char *const *)c->argv);
	_exit(RUN_FAILED);
}

// A signal of c->waited, or 0: the time is over.
static int await(const struct child *c, uint64_t until_ns)
{
	for (;;) {
		uint64_t now = now_ns(), left = until_ns > now ? until_ns - now : 0;
		struct timespec t = { (time_t)(left / 1000000000), (long)(left % 1000000000) };
		int sig = sigtimedwait(&c->waited, NULL, &t);

		if (sig > 0 || errno != EINTR)
			return sig > 0 ? sig : 0;
	}
}

// Until the child has ended. *ret_signal: what asked us to end meanwhile, or 0.
static int reap(struct child *c, unsigned seconds, int *ret_signal)
{
	uint64_t until = now_ns() + seconds * 1000000000ull;
	int status, next = SIGTERM;
	pid_t pid;

	*ret_signal = 0;
	while (!(pid = waitpid(c->pid, &status, WNOHANG))) {
		int sig = await(c, until);

		if (sig == SIGCHLD)
			continue;
		if (sig)
			*ret_signal = sig;
		else
			info("the recorded run is ended: %s",
				next == SIGTERM ? "its time is over" : "it does not end by itself");
		kill(c->pid, next);
		next = SIGKILL;
		until = now_ns() + GRACE * 1000000000ull;
	}
	return pid < 0 ? warn_errno(-errno, "wait for the recorded run") : status;
}

static int judge(int status)
{
	if (status < 0)
		return status;
	if (WIFEXITED(status) && WEXITSTATUS(status) == RUN_FAILED)
		return warn_errno(-ECANCELED, "the image could not be run for the record");
	if (WIFEXITED(status) && WEXITSTATUS(status))
		warn("the recorded run ended with exit code %d", WEXITSTATUS(status));
	return 0;
}

static int run_child(struct child *c, unsigned seconds, int *ret_signal)
{
	c->pid = fork();
	if (c->pid < 0)
		return warn_errno(-errno, "start the recorded run");
	if (!c->pid)
		be_child(c);
	return judge(reap(c, seconds, ret_signal));
}

static int make_dir(struct child *c)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(c->dir, sizeof c->dir, "%s/fcpull-record.XXXXXX", tmp && *tmp ? tmp : "/var/tmp");
	if (!mkdtemp(c->dir))
		return warn_errno(-errno, "make a directory for the recorded run in %s",
			tmp && *tmp ? log_quote(tmp) : "/var/tmp");
	snprintf(c->store, sizeof c->store, "%s/store", c->dir);
	snprintf(c->trace, sizeof c->trace, "%s/trace", c->dir);
	return 0;
}

int rehearse(const char *reference, const struct net_opts *net, const struct platform *platform,
	unsigned seconds, struct trace *t)
{
	struct child c = { .input = open("/dev/null", O_RDONLY | O_CLOEXEC) };
	int sig = 0, r;

	sigemptyset(&c.waited);
	sigaddset(&c.waited, SIGCHLD);
	sigaddset(&c.waited, SIGINT);
	sigaddset(&c.waited, SIGTERM);
	sigaddset(&c.waited, SIGHUP);
	sigprocmask(SIG_BLOCK, &c.waited, &c.was);
	r = c.input < 0 ? warn_errno(-errno, "open /dev/null") : make_dir(&c);
	if (!r) {
		r = make_args(&c, reference, net, platform);
		if (!r)
			r = run_child(&c, seconds, &sig);
		if (!r && !sig)
			r = trace_read(t, c.trace);
		if (remove_tree_at(AT_FDCWD, c.dir))
			warn("%s could not be removed again", log_quote(c.dir));
	}
	if (c.input >= 0)
		close(c.input);
	free(c.user);
	if (sig)
		raise(sig); // when it is let through again
	sigprocmask(SIG_SETMASK, &c.was, NULL);
	return sig ? -ECANCELED : r;
}
