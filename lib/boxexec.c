// boxexec.c - the container's process, from the clone to the exec
//
// Capabilities are those of caps.h. In a user namespace of its own, whose ids are the host's, they
// count for files and processes of the container only, and for nothing that belongs to the kernel. A
// user other than root has none but those that were added by name, and with no_new_privs set-uid
// programs and file capabilities change nothing.
// SPDX-License-Identifier: Apache-2.0
#include "boxexec.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <linux/keyctl.h>
#include <linux/magic.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "log.h"
#include "mnt.h"
#include "seccomp.h"

#define DEFAULT_PATH "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

#ifndef PIPEFS_MAGIC
#define PIPEFS_MAGIC 0x50495045
#endif

// ---- privileges ----

// ambient: those that outlive the exec of a user who is not root. Inheritable stays empty otherwise
// (CVE-2022-24769, CVE-2022-29162).
static int set_caps(uint64_t caps, uint64_t ambient)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = {
		{ (uint32_t)caps, (uint32_t)caps, (uint32_t)ambient },
		{ (uint32_t)(caps >> 32), (uint32_t)(caps >> 32), (uint32_t)(ambient >> 32) },
	};

	if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
		return -errno;
	if (syscall(SYS_capset, &head, data) < 0)
		return -errno;
	for (unsigned c = 0; c < 64; c++)
		if (ambient & CAP_BIT(c) &&
			prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, c, 0, 0) < 0)
			return -errno;
	return 0;
}

static int bound_caps(uint64_t caps)
{
	for (int c = 0; c < 64; c++) {
		if (prctl(PR_CAPBSET_READ, c, 0, 0, 0) < 0)
			return 0; // beyond the last that this kernel knows
		if (!(caps & CAP_BIT(c)) && prctl(PR_CAPBSET_DROP, c, 0, 0, 0) < 0)
			return -errno;
	}
	return 0;
}

// Raw calls: the C library's would look for other threads of a process that it did not fork itself.
static int set_ids(const struct box *b, const struct passwd_user *u)
{
	if ((!b->one_id && syscall(SYS_setgroups, u->n_groups, u->groups) < 0) ||
		syscall(SYS_setresgid, u->gid, u->gid, u->gid) < 0 ||
		syscall(SYS_setresuid, u->uid, u->uid, u->uid) < 0)
		return -errno;
	return 0;
}

// Those of caps that this kernel knows and that this process has: ALL means no more than that.
static uint64_t caps_here(uint64_t caps)
{
	struct __user_cap_header_struct head = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct data[2] = { 0 };

	if (syscall(SYS_capget, &head, data) < 0)
		return 0;
	return caps & (data[0].permitted | (uint64_t)data[1].permitted << 32);
}

static int load_filter(const struct box *b, uint64_t caps)
{
	int r = b->no_seccomp ? 0 : seccomp_load(caps);

	return r < 0
		? warn_errno(r,
			  "cannot load the system call filter: the kernel needs CONFIG_SECCOMP_FILTER")
		: 0;
}

// The order is forced: the bounding set needs CAP_SETPCAP, the groups CAP_SETGID, so the ids come
// between the two; the filter needs no_new_privs or CAP_SYS_ADMIN.
static int drop_privileges(const struct box *b, const struct passwd_user *u)
{
	uint64_t caps = caps_of(&b->caps, u->uid == 0), bound = caps;
	int r;

	if (b->caps.add == CAPS_ALL)
		caps = bound = caps_here(caps);
	// what set-user-id programs may become
	if (b->new_privs)
		bound |= caps_of(&b->caps, true);
	// a session keyring of its own, else that of the host's session would be possessed inside
	if (syscall(SYS_keyctl, KEYCTL_JOIN_SESSION_KEYRING, NULL) < 0 && errno != ENOSYS)
		return warn_errno(-errno, "cannot join a new session keyring");
	if ((r = bound_caps(bound)) < 0)
		return warn_errno(r, "cannot bound the container's capabilities");
	if (b->new_privs && (r = load_filter(b, caps)) < 0)
		return r;
	if (u->uid != 0 && caps && prctl(PR_SET_KEEPCAPS, 1, 0, 0, 0) < 0)
		return warn_errno(-errno, "cannot keep capabilities");
	if ((r = set_ids(b, u)) < 0)
		return warn_errno(r, "cannot become user %u, group %u%s", u->uid, u->gid,
			b->one_id ? " (as a user, ids other than 0 need ranges in /etc/subuid and "
				    "/etc/subgid, and newuidmap)"
				  : "");
	if ((r = set_caps(caps, u->uid != 0 ? caps : 0)) < 0)
		return warn_errno(r, "cannot set the container's capabilities%s",
			b->caps.add ? " (does this process have those that are added?)" : "");
	if (b->new_privs)
		return 0;
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return warn_errno(-errno, "cannot set no_new_privs");
	return load_filter(b, caps);
}

int boxexec_confine_init(void)
{
	uint64_t caps = CAP_BIT(CAP_KILL);
	int r = bound_caps(caps);

	if (r == 0)
		r = set_caps(caps, 0);
	if (r == 0 && prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		r = -errno;
	return r < 0 ? r : seccomp_load(0);
}

// ---- surroundings ----

// A process that is not root opens /dev/stdout anew (nginx, apache do): what it opens then must be
// its own. Only pipes, which nobody else names; runc does it for all but /dev/null.
static void own_pipes(uint32_t uid)
{
	for (int fd = 0; fd <= 2 && uid != 0; fd++)
		if (mnt_is_fs(fd, PIPEFS_MAGIC) && fchown(fd, uid, (gid_t)-1) < 0)
			debug("standard descriptor %d keeps its owner: %s", fd, strerror(errno));
}

// A session of its own: no terminal of the host is its controlling one, so TIOCSTI has no victim
// (CVE-2017-5226).
static int set_stdio(const struct boxexec *x)
{
	if (setsid() < 0)
		return warn_errno(-errno, "cannot start a session");
	if (x->tty_slave >= 0) {
		if (ioctl(x->tty_slave, TIOCSCTTY, 0) < 0)
			return warn_errno(-errno, "cannot take the container's terminal");
		if (x->user->uid != 0 && fchown(x->tty_slave, x->user->uid, (gid_t)-1) < 0)
			return warn_errno(
				-errno, "cannot hand the terminal to user %u", x->user->uid);
		// standard error stays the host's up to the exec
		if (dup2(x->tty_slave, STDIN_FILENO) < 0 || dup2(x->tty_slave, STDOUT_FILENO) < 0)
			return warn_errno(-errno, "cannot open the terminal");
		return 0;
	}
	if (!x->box->interactive && dup2(x->null, STDIN_FILENO) < 0)
		return warn_errno(-errno, "cannot open '/dev/null'");
	own_pipes(x->user->uid);
	return 0;
}

// The working directory came from openat2 inside the root. That it has a name from here says that
// it still is there (CVE-2024-21626).
static int enter_cwd(int cwd)
{
	char path[PATH_MAX];

	if (fchdir(cwd) < 0)
		return warn_errno(-errno, "cannot enter the container's working directory");
	// the raw call gives "(unreachable)/..." where a C library may not
	if (syscall(SYS_getcwd, path, sizeof path) < 0)
		return warn_errno(-errno, "cannot tell the container's working directory");
	if (path[0] != '/')
		return warn_errno(-EBADMSG, "the working directory lies outside the container");
	return 0;
}

// All as a program expects it: default handlers (an ignored signal would stay ignored after exec),
// none blocked.
static void reset_signals(void)
{
	// the kernel's struct, all zero: the default. The C libraries refuse to touch the signals
	// that they use themselves (32 to 34), which a caller may have ignored all the same.
	const uint64_t dfl[8] = { 0 };
	sigset_t none;

	for (int s = 1; s <= 64; s++)
		syscall(SYS_rt_sigaction, s, dfl, NULL,
			8); // EINVAL for those that cannot be changed
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
}

// ---- the program ----

static const char *env_get(char *const *env, const char *name)
{
	size_t n = strlen(name);

	for (; *env; env++)
		if (strncmp(*env, name, n) == 0 && (*env)[n] == '=')
			return *env + n + 1;
	return NULL;
}

// What docker adds when neither the image nor the user gives it.
static char **complete_env(const struct boxexec *x)
{
	const struct box *b = x->box;
	const char *const more[][2] = {
		{ "PATH", DEFAULT_PATH },
		{ "HOME", x->user->home },
		{ "HOSTNAME", b->hostname },
		{ "TERM", b->tty ? "xterm" : NULL },
	};
	size_t n = 0;

	while (b->env[n])
		n++;
	char **all = xcalloc(n + ARRAY_LEN(more) + 1, sizeof *all);
	memcpy(all, b->env, n * sizeof *all);
	for (size_t i = 0; i < ARRAY_LEN(more); i++)
		if (more[i][1] && !env_get(b->env, more[i][0]))
			all[n++] = xasprintf("%s=%s", more[i][0], more[i][1]);
	return all;
}

// Says why there is no program and returns the exit code. file is what was tried last, "" when PATH
// had none.
static int complain(int err, const char *name, const char *file)
{
	struct stat st;
	bool exists = *file && stat(file, &st) == 0;

	name = log_quote(name);
	if (err == ENOENT || err == ENOTDIR) {
		warn("exec: %s: %s", name,
			exists		? "its interpreter is missing in the image"
				: *file ? "no such file in the image"
					: "not found in PATH of the image");
		return BOX_EXIT_NOT_FOUND;
	}
	if (err == ENOEXEC)
		warn("exec: %s: not a program for this machine (exec format error)", name);
	else
		warn("exec: %s: %s", name, strerror(exists && S_ISDIR(st.st_mode) ? EISDIR : err));
	return BOX_EXIT_NOT_EXECUTABLE;
}

// As execvp: what may not be executed is passed over, but remembered. Returns the errno.
static int exec_in_path(char *const *args, char *const *env, char file[static PATH_MAX])
{
	int result = ENOENT;

	for (const char *p = env_get(env, "PATH"); *p;) {
		size_t n = strcspn(p, ":");
		int len = snprintf(file, PATH_MAX, "%.*s/%s", (int)n, p, args[0]);

		// an empty or relative element would mean whatever directory this is: no
		if (*p == '/' && len > 0 && len < PATH_MAX) {
			struct stat st;

			execve(file, args, env);
			int e = errno;
			bool is_file = stat(file, &st) == 0 && !S_ISDIR(st.st_mode);
			if (e != EACCES && e != ENOTDIR && (e != ENOENT || is_file))
				return e;
			if (e == EACCES && is_file)
				result = EACCES;
		}
		p += n + (p[n] == ':');
	}
	*file = '\0';
	return result;
}

static int exec_program(char *const *args, char *const *env, char file[static PATH_MAX])
{
	if (!strchr(args[0], '/'))
		return exec_in_path(args, env, file);
	snprintf(file, PATH_MAX, "%s", args[0]);
	execve(args[0], args, env);
	return errno;
}

void boxexec(const struct boxexec *x)
{
	char file[PATH_MAX] = "";
	// the host's standard error, for what is to be said after the terminal has taken its place
	int err = fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 3);
	char byte;

	if (x->box->join && x->box->join->user_ns >= 0 &&
		syscall(SYS_setns, x->box->join->user_ns, CLONE_NEWUSER) < 0) {
		warn_errno(-errno, "cannot enter the container's user namespace");
		_exit(BOX_EXIT_SETUP);
	}
	// pid 1 has said why when there is no go
	if (err < 0 || read_full(x->go, &byte, 1) < 0 || set_stdio(x) < 0 || enter_cwd(x->cwd) < 0)
		_exit(BOX_EXIT_SETUP);
	char **env = complete_env(x);
	umask(022);
	reset_signals();
	// no descriptor of ours survives the exec (CVE-2024-21626)
	int r = sys_close_range(3, ~0u, CLOSE_RANGE_CLOEXEC);
	if (r < 0)
		warn_errno(r, "cannot close descriptors");
	if (r < 0 || drop_privileges(x->box, x->user) < 0)
		_exit(BOX_EXIT_SETUP);
	if (x->tty_slave >= 0)
		dup2(x->tty_slave, STDERR_FILENO);
	else if (x->box->detached)
		dup2(STDOUT_FILENO, STDERR_FILENO);
	r = exec_program(x->box->args, env, file);
	dup2(err, STDERR_FILENO);
	// pid 1 would take the pipe's end for the exec
	if (write_full(x->running, "x", 1) < 0)
		debug("nobody waits for the program");
	_exit(complain(r, x->box->args[0], file));
}
