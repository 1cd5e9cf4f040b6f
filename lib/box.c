// box.c - the host side of a container: gathers what it needs, clones pid 1, proxies, waits
//
// Three processes: fcpull itself (here); the container's init, pid 1 of the new namespaces
// (boxinit.c), which sets up (boxroot.c), starts the payload (boxexec.c) and reaps. When fcpull
// dies, whatever way, the kernel kills the init (PR_SET_PDEATHSIG, and the init sees the control
// socket close), with it everything in its pid namespace, and with that goes the mount namespace.
// Nothing is ever mounted in the host's, so nothing can stay behind.
//
// The init is executed anew from a sealed copy of this program in memory. A payload can have itself
// be executed as "/proc/self/exe" (CVE-2019-5736): what it then can open for writing is that copy,
// whose seals forbid it, not the host's file. 3 MB and about a millisecond for each container.
//
// Binds and the image are copied here, detached, in the host's mount namespace; their descriptors
// are the init's to attach.
// SPDX-License-Identifier: Apache-2.0
#include "box.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/random.h>
#include <sys/sendfile.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "boxexec.h"
#include "boxinit.h"
#include "boxtty.h"
#include "log.h"
#include "mnt.h"

#ifndef MFD_EXEC
#define MFD_EXEC 0x10u // Linux 6.3
#endif
#ifndef F_ADD_SEALS
#define F_ADD_SEALS 1033
#define F_SEAL_SEAL 1
#define F_SEAL_SHRINK 2
#define F_SEAL_GROW 4
#define F_SEAL_WRITE 8
#endif

#define refuse(r, ...) (warn(__VA_ARGS__), (r))

// SIGKILL and SIGSTOP cannot be; those of a fault are our own; SIGCHLD, SIGPIPE, SIGTTIN and
// SIGTTOU are about us.
static const int forwarded[] = {
	SIGHUP,
	SIGINT,
	SIGQUIT,
	SIGTERM,
	SIGUSR1,
	SIGUSR2,
	SIGALRM,
	SIGCONT,
	SIGTSTP,
	SIGWINCH,
	SIGIO,
	SIGPWR,
};

struct run {
	struct boxinit init;
	char hostname[65];
	int exe, about; // memory files: the program, the description
	int peer;	// the init's end of the control socket
	int pidfd, sigfd;
	pid_t pid;
	int status;
	bool ended;
	sigset_t old_mask;
	struct boxtty tty;
};

// ---- gathering ----

// A closed standard descriptor would be taken by the next open; a directory would be a way out to
// the host (CVE-2024-21626).
static int check_stdio(void)
{
	static const char *const names[] = { "input", "output", "error" };
	struct stat st;

	for (int fd = 0; fd <= 2; fd++) {
		if (fstat(fd, &st) < 0 && open("/dev/null", O_RDWR) != fd)
			return warn_errno(-EBADF,
				"standard %s is closed, and '/dev/null' cannot be opened",
				names[fd]);
		if (fstat(fd, &st) == 0 && S_ISDIR(st.st_mode))
			return warn_errno(-EISDIR, "standard %s", names[fd]);
	}
	return 0;
}

static int copy_program(int from, int to)
{
	ssize_t n;

	do
		n = sendfile(to, from, NULL, 1 << 24);
	while (n > 0 || (n < 0 && errno == EINTR));
	if (n < 0 ||
		fcntl(to, F_ADD_SEALS, F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE) <
			0)
		return -errno;
	return 0;
}

static int make_exe(struct run *r)
{
	cleanup_fd int self = open("/proc/self/exe", O_RDONLY | O_CLOEXEC);
	unsigned flags = MFD_CLOEXEC | MFD_ALLOW_SEALING;

	if (self < 0)
		return warn_errno(-errno, "cannot open '/proc/self/exe' (is /proc mounted?)");
	r->exe = memfd_create("fcpull", flags | MFD_EXEC);
	if (r->exe < 0 && errno == EINVAL)
		r->exe = memfd_create("fcpull", flags);
	if (r->exe < 0 && errno == EACCES)
		return warn_whole(-EACCES,
			"cannot make a program in memory: set the sysctl vm.memfd_noexec to 0 or 1");
	int e = r->exe < 0 ? -errno : copy_program(self, r->exe);
	return e < 0 ? warn_errno(e, "cannot copy this program to memory") : 0;
}

static int new_tmpfs(const struct box_bind *b, int *ret_fd)
{
	char size[32], mode[16];
	struct mnt_param params[] = { { "mode", mode }, { "size", size }, { 0 } };

	snprintf(mode, sizeof mode, "%o", b->mode);
	snprintf(size, sizeof size, "%llu", (unsigned long long)b->size);
	if (b->size == 0)
		params[1].key = NULL;
	int e = mnt_new("tmpfs", params,
		MOUNT_ATTR_NODEV | b->attrs | (b->read_only ? MOUNT_ATTR_RDONLY : 0), ret_fd);
	return e < 0 ? warn_errno(e, "cannot make a tmpfs for '%s'", b->dst) : 0;
}

static int clone_bind(const struct box_bind *b, int *ret_fd)
{
	unsigned attrs = MOUNT_ATTR_NODEV | b->attrs | (b->read_only ? MOUNT_ATTR_RDONLY : 0);

	if (!b->src)
		return new_tmpfs(b, ret_fd);

	if (*b->src != '/' || *b->dst != '/')
		return refuse(-EINVAL, "bind '%s:%s': both paths must be absolute", b->src, b->dst);
	int e = mnt_clone(AT_FDCWD, b->src, !b->shallow, ret_fd);
	if (e < 0)
		return warn_errno(e, "cannot bind '%s'", b->src);
	e = mnt_set(*ret_fd, attrs, true);
	return e < 0 ? warn_errno(e, "cannot bind '%s'%s", b->src, b->read_only ? " read-only" : "")
		     : 0;
}

static int clone_sources(const struct box *b, struct box_sources *s)
{
	int e = mnt_clone(b->lower_fd, "", false, &s->lower);

	if (e == 0)
		e = mnt_set(s->lower, 0, false);
	if (e < 0)
		return warn_errno(e, "cannot copy the mount of the image%s",
			e == -EPERM ? " (are you root?)" : "");
	if (b->upper && (e = mnt_clone(AT_FDCWD, b->upper, false, &s->upper)) < 0)
		return warn_errno(e, "cannot use '%s' for the container's changes", b->upper);
	if (s->upper >= 0 && (e = mnt_set(s->upper, 0, false)) < 0)
		return warn_errno(e, "cannot use '%s' for the container's changes", b->upper);
	for (size_t i = 0; i < b->n_binds; i++)
		if ((e = clone_bind(&b->binds[i], &s->binds[i])) < 0)
			return e;
	return 0;
}

static void choose_hostname(struct run *r, const struct box *b)
{
	const char *name = b->hostname ? b->hostname : b->name;
	unsigned char id[6] = { 0 };

	if (name && *name) {
		snprintf(r->hostname, sizeof r->hostname, "%s", name);
	} else {
		if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
			memcpy(id, &(uint64_t){ now_ns() }, sizeof id);
		for (size_t i = 0; i < sizeof id; i++)
			snprintf(r->hostname + 2 * i, 3, "%02x", id[i]);
	}
	r->init.box.hostname = r->hostname;
}

static int open_control(struct run *r)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) < 0)
		return warn_errno(-errno, "cannot make a socket pair");
	r->init.ctl = pair[0];
	r->peer = pair[1];
	return 0;
}

static int describe(struct run *r)
{
	cleanup_buf struct buf text = { 0 };
	struct boxinit i = r->init;

	i.ctl = r->peer;
	if (ioctl(STDIN_FILENO, TIOCGWINSZ, &i.size) < 0 &&
		ioctl(STDOUT_FILENO, TIOCGWINSZ, &i.size) < 0)
		i.size = (struct winsize){ 0 };
	boxinit_describe(&i, &text);
	r->about = memfd_create("fcpull-container", MFD_CLOEXEC);
	int e = r->about < 0 ? -errno : pwrite_full(r->about, text.data, text.len, 0);
	return e < 0 ? warn_errno(e, "cannot describe the container to its init") : 0;
}

static int gather(struct run *r)
{
	const struct box *b = &r->init.box;
	int e;

	if (!b->args || !b->args[0] || !*b->args[0])
		return refuse(-EINVAL, "no command is given, and the image names none");
	choose_hostname(r, b);
	if ((e = check_stdio()) < 0 || (e = mnt_supported()) < 0 ||
		(!b->join && (e = clone_sources(b, &r->init.from)) < 0) || (e = make_exe(r)) < 0 ||
		(e = open_control(r)) < 0)
		return e;
	return describe(r);
}

// ---- the child, up to its exec: system calls only, as the parent may have threads ----

static void keep(int fd)
{
	if (fd >= 0)
		fcntl(fd, F_SETFD, 0);
}

static void keep_join(const struct box_join *j)
{
	keep(j->init);
	keep(j->user_ns);
	for (size_t i = 0; i < j->n_cgroups; i++)
		keep(j->cgroups[i]);
}

// Into the container's control groups first, so that they are the roots of what it sees.
static void enter_cgroups(const struct cgroup *c)
{
	if (c && (cgroup_enter(c) < 0 || unshare(CLONE_NEWCGROUP) < 0))
		_exit(BOX_EXIT_SETUP);
}

static _Noreturn void child(struct run *r, char *const *argv)
{
	static char *const no_env[] = { NULL };

	if (r->init.box.join) {
		keep_join(r->init.box.join);
	} else {
		prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
		enter_cgroups(r->init.box.cgroup);
	}
	keep(r->about);
	keep(r->peer);
	keep(r->init.from.lower);
	keep(r->init.from.upper);
	for (size_t i = 0; i < r->init.box.n_binds; i++)
		keep(r->init.from.binds[i]);
	syscall(SYS_execveat, r->exe, "", argv, no_env, AT_EMPTY_PATH);
	_exit(BOX_EXIT_SETUP);
}

static int clone_error(int e)
{
	if (e == -EPERM)
		return warn_errno(e, "cannot make namespaces: root (CAP_SYS_ADMIN) is needed");
	if (e == -ENOSPC)
		return warn_errno(e,
			"cannot make namespaces: a limit in /proc/sys/user/max_*_namespaces is reached");
	if (e == -EINVAL)
		return warn_errno(e,
			"cannot make namespaces: this kernel lacks one of mnt, pid, ipc, uts, net");
	return warn_errno(e, "cannot start the container");
}

static int start(struct run *r)
{
	uint64_t flags = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS;
	const char *name = r->init.box.join ? BOXJOIN_NAME : BOXINIT_NAME;
	char number[16];
	char *argv[] = { (char *)name, number, NULL };

	snprintf(number, sizeof number, "%d", r->about);
	if (!r->init.box.net_host)
		flags |= CLONE_NEWNET;
	if (!r->init.box.cgroup)
		flags |= CLONE_NEWCGROUP;
	r->pid = sys_clone(r->init.box.join ? 0 : flags, &r->pidfd);
	// a kernel without cgroups: nothing to hide then
	if (r->pid == -EINVAL)
		r->pid = sys_clone(flags & ~(uint64_t)CLONE_NEWCGROUP, &r->pidfd);
	if (r->pid == 0)
		child(r, argv);
	if (r->pid < 0)
		return clone_error(r->pid);
	close(r->peer);
	r->peer = -1;
	return 0;
}

// ---- while it runs ----

// The shell gets its prompt back on ^Z; the payload has had its SIGTSTP, or has its own terminal.
static void stop_self(struct run *r)
{
	boxtty_restore(&r->tty);
	raise(SIGSTOP);
	boxtty_raw(&r->tty);
	boxtty_resize(&r->tty);
}

static void take_signals(struct run *r)
{
	struct signalfd_siginfo si;

	while (read(r->sigfd, &si, sizeof si) == (ssize_t)sizeof si) {
		int sig = (int)si.ssi_signo;

		if (sig == SIGWINCH && r->tty.master >= 0) {
			boxtty_resize(&r->tty);
			continue;
		}
		int e = sys_pidfd_send_signal(r->pidfd, sig);
		if (e < 0 && e != -ESRCH)
			debug("signal %d is lost: %s", sig, strerror(-e));
		if (sig == SIGTSTP)
			stop_self(r);
		// nothing left to wait for but a reader of our output
		if (r->ended && sig != SIGCONT)
			boxtty_stop(&r->tty);
	}
}

// The init's one message: the program runs. With it comes the terminal's master.
static void take_control(struct run *r)
{
	const struct box *b = &r->init.box;
	char byte = 0;
	int fd;
	ssize_t n = recv_fd(r->init.ctl, &byte, 1, MSG_DONTWAIT, &fd);

	if (n == -EAGAIN || n == -EINTR)
		return;
	if (fd >= 0 && r->tty.master < 0)
		boxtty_start(&r->tty, fd, b->interactive && !b->detached);
	else if (fd >= 0)
		close(fd);
	if (n == 1 && b->started && b->started(b->arg, r->pid) < 0)
		sys_pidfd_send_signal(r->pidfd, SIGKILL);
	if (n <= 0) {
		close(r->init.ctl);
		r->init.ctl = -1;
	}
}

static void take_end(struct run *r)
{
	if (waitpid(r->pid, &r->status, 0) < 0)
		r->status = BOX_EXIT_SETUP << 8;
	r->ended = true;
}

static int serve(struct run *r)
{
	while (!r->ended || !boxtty_done(&r->tty)) {
		struct pollfd fds[5] = {
			{ .fd = r->sigfd, .events = POLLIN },
			{ .fd = r->init.ctl, .events = POLLIN },
			{ .fd = r->ended ? -1 : r->pidfd, .events = POLLIN },
		};

		boxtty_want(&r->tty, fds + 3);
		if (poll(fds, ARRAY_LEN(fds), -1) < 0 && errno != EINTR)
			return warn_errno(-errno, "poll");
		// the message first: it may have come just before the end
		if (fds[1].revents)
			take_control(r);
		if (fds[2].revents)
			take_end(r);
		if (fds[0].revents)
			take_signals(r);
		boxtty_move(&r->tty, fds + 3);
	}
	return WIFEXITED(r->status) ? WEXITSTATUS(r->status) : 128 + WTERMSIG(r->status);
}

// Our signals wait in a descriptor from before the clone on, so none is lost; the init starts with
// them blocked too.
static int block_signals(struct run *r)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < ARRAY_LEN(forwarded); i++)
		sigaddset(&set, forwarded[i]);
	if (sigprocmask(SIG_BLOCK, &set, &r->old_mask) < 0)
		return warn_errno(-errno, "sigprocmask");
	r->sigfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	return r->sigfd < 0 ? warn_errno(-errno, "signalfd") : 0;
}

static void fini(struct run *r)
{
	int fds[] = { r->exe, r->about, r->peer, r->pidfd, r->sigfd, r->init.ctl,
		r->init.from.lower, r->init.from.upper };

	boxtty_stop(&r->tty);
	for (size_t i = 0; i < ARRAY_LEN(fds); i++)
		if (fds[i] >= 0)
			close(fds[i]);
	for (size_t i = 0; i < r->init.box.n_binds; i++)
		if (r->init.from.binds[i] >= 0)
			close(r->init.from.binds[i]);
	free(r->init.from.binds);
}

int box_run(const struct box *b)
{
	struct run r = {
		.init = { .box = *b, .ctl = -1, .from = { .lower = -1, .upper = -1 } },
		.exe = -1,
		.about = -1,
		.peer = -1,
		.pidfd = -1,
		.sigfd = -1,
		.tty = { .master = -1 },
	};
	int code = BOX_EXIT_SETUP;

	r.init.from.binds = xcalloc(b->n_binds + 1, sizeof(int));
	for (size_t i = 0; i < b->n_binds; i++)
		r.init.from.binds[i] = -1;
	if (gather(&r) == 0 && block_signals(&r) == 0) {
		if (start(&r) == 0) {
			code = serve(&r);
			if (code < 0 && sys_pidfd_send_signal(r.pidfd, SIGKILL) == 0)
				waitpid(r.pid, NULL, 0);
			code = code < 0 ? BOX_EXIT_SETUP : code;
		}
		sigprocmask(SIG_SETMASK, &r.old_mask, NULL);
	}
	fini(&r);
	return code;
}
