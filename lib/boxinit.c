// boxinit.c - pid 1 of a container
//
// Docker runs the payload as pid 1, where it inherits every orphan and where signals without a
// handler are lost. Here pid 1 is this small init (as with docker's --init) and the payload an
// ordinary process: orphans are reaped, a plain SIGTERM ends it.
//
// The init stays outside the payload's user namespace, not dumpable, and keeps one capability,
// KILL. So the payload, root or not, can neither trace it nor look into its
// /proc/1/{exe,fd,root,mem}; to its signals it is deaf but for handing them on.
// SPDX-License-Identifier: Apache-2.0
#include "boxinit.h"

#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "boxexec.h"
#include "boxjoin.h"
#include "log.h"
#include "mnt.h"

// ---- set-up ----

static int loopback_up(void)
{
	struct ifreq req = { .ifr_name = "lo" };
	cleanup_fd int s = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (s < 0 || ioctl(s, SIOCGIFFLAGS, &req) < 0)
		return -errno;
	req.ifr_flags |= IFF_UP;
	return ioctl(s, SIOCSIFFLAGS, &req) < 0 ? -errno : 0;
}

// Whatever protection from the OOM killer fcpull itself has is not the payload's.
static void reset_oom_score(int proc)
{
	char text[16] = "";
	cleanup_fd int fd = mnt_open(proc, "1/oom_score_adj", O_RDWR, MNT_STRICT);

	if (fd >= 0 && read(fd, text, sizeof text - 1) > 0 && *text == '-' &&
		pwrite(fd, "0", 1, 0) < 0)
		info("the container keeps this process's oom_score_adj: %s", strerror(errno));
}

static int set_up(struct boxinit *i, struct boxroot *root, struct passwd_user *user)
{
	const struct box *b = &i->box;
	int r;

	if (b->join)
		return boxjoin_enter(b, &i->size, root, user);
	umask(0);
	if (sethostname(b->hostname, strlen(b->hostname)) < 0)
		return warn_errno(-errno, "cannot set the host name %s", log_quote(b->hostname));
	if (!b->net_host && (r = loopback_up()) < 0)
		info("the container's loopback interface stays down: %s", strerror(-r));
	if ((r = boxroot_make(b, &i->from, root)) < 0 ||
		(r = passwd_resolve(root->root, b->user, user)) < 0)
		return r;
	reset_oom_score(root->proc);
	if (b->tty)
		ioctl(root->tty, TIOCSWINSZ, &i->size);
	return boxroot_enter(root);
}

// ---- the payload's user namespace: every id is itself ----

// As far as ids exist here, where we may be in a user namespace ourselves: the columns of our own
// map are first id inside, first id outside, count.
static int write_map(int proc, pid_t pid, const char *name)
{
	cleanup_free char *own = NULL;
	cleanup_buf struct buf text = { 0 };
	char path[64];
	size_t len;
	int n;

	snprintf(path, sizeof path, "1/%s", name);
	cleanup_fd int from = mnt_open(proc, path, O_RDONLY, MNT_STRICT);
	own = xcalloc(1, BLOCK_BYTES);
	ssize_t got = from < 0 ? -1 : read(from, own, BLOCK_BYTES - 1);
	if (got <= 0)
		return from < 0 ? from : -EIO;
	len = (size_t)got;
	unsigned first, outside, ids;
	for (const char *p = own;
		p < own + len && sscanf(p, "%u %u %u%n", &first, &outside, &ids, &n) == 3; p += n)
		buf_printf(&text, "%u %u %u\n", first, first, ids);
	snprintf(path, sizeof path, "%d/%s", (int)pid, name);
	cleanup_fd int to = mnt_open(proc, path, O_WRONLY, MNT_STRICT);
	if (to < 0)
		return to;
	return write(to, text.data, text.len) < 0 ? -errno : 0;
}

static int write_maps(int proc, pid_t pid)
{
	int r = write_map(proc, pid, "gid_map");

	return r < 0 ? r : write_map(proc, pid, "uid_map");
}

// ---- the payload ----

struct payload {
	pid_t pid;
	int go[2], running[2]; // pipes
};

static pid_t fork_payload(struct payload *p, struct boxexec *x, bool user_ns)
{
	pid_t pid = sys_clone(user_ns ? CLONE_NEWUSER : 0, NULL);

	if (pid == 0) {
		close(p->go[1]);
		close(p->running[0]);
		if (x->box->join && boxjoin_cgroups(x->box->join) < 0)
			_exit(BOX_EXIT_SETUP);
		boxexec(x);
	}
	return pid;
}

// With the host's network and as root, no user namespace: there CAP_NET_BIND_SERVICE would not
// count, and a server on port 80 is what --net host is for. (Docker has the same rule:
// --userns-remap and --network host exclude each other.)
static int start_payload(struct payload *p, struct boxexec *x, int proc)
{
	int r;

	if (!x->box->join && !x->box->no_user_ns && (!x->box->net_host || x->user->uid != 0)) {
		p->pid = fork_payload(p, x, true);
		r = p->pid < 0 ? p->pid : write_maps(proc, p->pid);
		if (r == 0)
			return 0;
		if (p->pid > 0) {
			kill(p->pid, SIGKILL);
			waitpid(p->pid, NULL, 0);
		}
		info("the container has no user namespace: %s", strerror(-r));
	}
	p->pid = fork_payload(p, x, false);
	return p->pid < 0 ? warn_errno(p->pid, "cannot start the container's process") : 0;
}

// Tells the parent that the program runs, and gives it the terminal.
static int announce(int ctl, int tty)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { "S", 1 };
	struct msghdr m = { .msg_iov = &iov, .msg_iovlen = 1 };

	if (tty >= 0) {
		m.msg_control = &control;
		m.msg_controllen = sizeof control;
		struct cmsghdr *c = CMSG_FIRSTHDR(&m);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(sizeof(int));
		memcpy(CMSG_DATA(c), &tty, sizeof tty);
	}
	return sendmsg(ctl, &m, MSG_NOSIGNAL) < 0 ? -errno : 0;
}

// Keeps the control socket, as 3, and the terminal's slave, as 4: with it the master does not
// report a hang-up while the payload has no descriptor of its terminal open. The standard
// descriptors go, so that who reads our output sees its end.
static int close_all_but(int null, int ctl, int slave)
{
	int keep[5] = { null, null, null, ctl, slave >= 0 ? slave : null };

	for (int fd = 0; fd < 5; fd++) {
		// out of the way of the numbers to be taken
		keep[fd] = fcntl(keep[fd], F_DUPFD_CLOEXEC, 16);
		if (keep[fd] < 0)
			return -errno;
	}
	for (int fd = 0; fd < 5; fd++)
		if (dup3(keep[fd], fd, O_CLOEXEC) < 0)
			return -errno;
	return sys_close_range(5, ~0u, 0);
}

// ---- running ----

static int exit_code(int status)
{
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

// Everything that died. True when the payload did.
static bool reap(pid_t payload, int *ret_code)
{
	bool ended = false;
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		if (pid != payload)
			continue;
		*ret_code = exit_code(status);
		ended = true;
	}
	return ended;
}

// Not those that report a fault of the process itself: whoever in the container sends one to us
// does not mean the payload.
static bool is_forwarded(int sig)
{
	switch (sig) {
	case SIGCHLD:
	case SIGSEGV:
	case SIGBUS:
	case SIGFPE:
	case SIGILL:
	case SIGABRT:
	case SIGTRAP:
	case SIGSYS: return false;
	default: return true;
	}
}

// Until the payload has ended; when this process then ends and it is pid 1, the kernel kills all
// that is left in the container.
static int supervise(pid_t payload, int ctl)
{
	sigset_t all;
	int code = BOX_EXIT_SETUP;

	sigfillset(&all);
	cleanup_fd int sigfd = signalfd(-1, &all, SFD_CLOEXEC | SFD_NONBLOCK);
	struct pollfd fds[] = { { .fd = sigfd, .events = POLLIN }, { .fd = ctl } };
	while (!reap(payload, &code)) {
		struct signalfd_siginfo si;

		if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return BOX_EXIT_SETUP;
		// fcpull is gone, without PR_SET_PDEATHSIG having reached us
		if (fds[1].revents & POLLHUP) {
			kill(payload, SIGKILL);
			return 128 + SIGKILL;
		}
		while (read(sigfd, &si, sizeof si) == (ssize_t)sizeof si)
			if (is_forwarded((int)si.ssi_signo))
				kill(payload, (int)si.ssi_signo);
	}
	return code;
}

static int run(struct boxinit *i)
{
	struct boxroot root;
	struct passwd_user user;
	struct payload p;
	char byte;

	if (set_up(i, &root, &user) < 0)
		return BOX_EXIT_SETUP;
	if (pipe2(p.go, O_CLOEXEC) < 0 || pipe2(p.running, O_CLOEXEC) < 0) {
		warn_errno(-errno, "cannot open a pipe");
		return BOX_EXIT_SETUP;
	}
	struct boxexec x = { &i->box, &user, root.cwd, root.null, root.tty_slave, p.go[0],
		p.running[1] };
	if (start_payload(&p, &x, root.proc) < 0)
		return BOX_EXIT_SETUP;
	int r = boxexec_confine_init();
	if (r < 0) {
		warn_errno(r, "cannot give up the privileges of the container's init");
		return BOX_EXIT_SETUP;
	}
	close(p.go[0]);
	close(p.running[1]);
	// from here on the other side may be an image's program; before the end of file it is still
	// ours
	if (write_full(p.go[1], "g", 1) == 0 && read_full(p.running[0], &byte, 1) == -ENODATA)
		r = announce(i->ctl, root.tty);
	if (r == 0)
		r = close_all_but(root.null, i->ctl, root.tty_slave);
	if (r < 0)
		return BOX_EXIT_SETUP;
	return supervise(p.pid, 3);
}

void boxinit_enter(int argc, char **argv)
{
	struct boxinit i;
	sigset_t all;

	if (argc != 2 || (strcmp(argv[0], BOXINIT_NAME) && strcmp(argv[0], BOXJOIN_NAME)))
		return;
	bool joins = !strcmp(argv[0], BOXJOIN_NAME);
	sigfillset(&all);
	sigprocmask(SIG_SETMASK, &all, NULL);
	// one that joins has to end the payload first: it learns by the control socket
	if (!joins)
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	prctl(PR_SET_NAME, "fcpull-init", 0, 0, 0);
	int fd = (int)strtol(argv[1], NULL, 10);
	int r = joins || getpid() == 1 ? boxinit_read(fd, &i) : -EPERM;
	if (r < 0) {
		warn_errno(r, "not started as the init of a container");
		_exit(BOX_EXIT_SETUP);
	}
	_exit(run(&i));
}
