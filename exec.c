// exec.c - exec: another process in a container that runs
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>

#include "box.h"
#include "boxopt.h"
#include "containers.h"
#include "detach.h"
#include "env.h"
#include "fcpull.h"
#include "log.h"
#include "userns.h"

static struct opt_list exec_env, exec_env_files;
static const char *exec_workdir, *exec_user;
static bool exec_interactive, exec_tty, exec_detach;

static const struct opt exec_rows[] = {
	{ 'd', "detach", NULL, "in the background, without output", opt_flag, &exec_detach, false },
	{ 'e', "env", "NAME[=VALUE]", "set a variable (without VALUE: the caller's)", opt_list_add,
		&exec_env, false },
	{ 0, "env-file", "FILE", "variables, a line each", opt_list_add, &exec_env_files, false },
	{ 'w', "workdir", "DIR", "working directory", opt_str, &exec_workdir, false },
	{ 'u', "user", "USER[:GROUP]", "names are the image's own", opt_str, &exec_user, false },
	{ 'i', "interactive", NULL, "keep standard input", opt_flag, &exec_interactive, false },
	{ 't', "tty", NULL, "give it a terminal", opt_flag, &exec_tty, false },
	{ 0 },
};

enum { EXEC_FAILED = 125 };

// The payload's user namespace, unless it is our own.
static int open_user_ns(pid_t payload, int *ret)
{
	cleanup_free char *path = xasprintf("/proc/%d/ns/user", (int)payload);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat theirs, ours;

	*ret = -1;
	if (fd < 0 || fstat(fd, &theirs) || stat("/proc/self/ns/user", &ours))
		return -errno;
	if (theirs.st_ino != ours.st_ino)
		*ret = steal_fd(&fd);
	return 0;
}

static int open_cgroups(const struct container *c, struct box_join *j)
{
	for (char **dir = c->cgroups; *dir && j->n_cgroups < CGROUP_MAX; dir++) {
		cleanup_free char *path = xasprintf("%s/cgroup.procs", *dir);
		int fd = open(path, O_WRONLY | O_CLOEXEC);

		if (fd < 0)
			return warn_errno(-errno, "open %s", log_quote(path));
		j->cgroups[j->n_cgroups++] = fd;
	}
	return 0;
}

// The numbers in the record are the container's own as long as its record is locked: looked at once
// more when all is open.
static int open_container(int dir, const struct container *c, struct box_join *j)
{
	struct container again;
	bool running;
	int r = 0;

	j->init = (int)syscall(SYS_pidfd_open, c->init, 0);
	if (j->init < 0)
		r = -errno;
	if (!r)
		r = open_user_ns(c->payload, &j->user_ns);
	if (!r)
		r = open_cgroups(c, j);
	if (r && r != -ESRCH && r != -ENOENT)
		return warn_errno(r, "enter container %s", c->name);
	if (!r && (r = container_find(dir, c->id, &again)))
		return r;
	running = !r && again.running;
	if (!r)
		container_fini(&again);
	return running ? 0 : warn_whole(-ESRCH, "container %s is not running", c->name);
}

static int find(int dir, const char *name, struct container *c)
{
	int r = container_find(dir, name, c);

	if (r)
		return r;
	return c->running && c->init && c->payload
		? 0
		: warn_whole(-ESRCH, "container %s is not running", c->name);
}

// The program runs: whoever waits for that may go.
static int exec_started(void *arg, pid_t init)
{
	struct detach *d = arg;

	(void)init;
	return d->notify >= 0 ? detach_go(d, "started") : 0;
}

static int exec_in(
	const struct container *c, const struct box_join *j, char **args, struct detach *d)
{
	struct box b = {
		.lower_fd = -1,
		.args = args,
		.cwd = exec_workdir ? exec_workdir : c->cwd,
		.user = exec_user ? exec_user : c->user,
		.hostname = c->hostname,
		.net_host = c->net_host,
		.no_user_ns = c->no_user_ns,
		.one_id = c->one_id,
		.new_privs = c->new_privs,
		.no_seccomp = c->no_seccomp,
		.caps = { c->caps_add, c->caps_drop },
		.tty = exec_tty,
		.interactive = exec_interactive,
		.detached = exec_detach,
		.join = j,
		.started = exec_started,
		.arg = d,
	};
	int r = env_gather(&exec_env_files, &exec_env);

	if (r)
		return EXEC_FAILED;
	cleanup_free char **env = env_make(c->env, &exec_env);
	b.env = env;
	return box_run(&b);
}

// A user's container is in a namespace in which the user is root.
static int be_root(const struct container *c)
{
	int r;

	if (!geteuid())
		return 0;
	r = userns_keep_places();
	if (r)
		return r;
	r = userns_join(c->init);
	return r ? warn_errno(r, "enter the user namespace of container %s", c->name) : 0;
}

static int exec_here(char **argv, struct detach *d)
{
	struct box_join j = { .init = -1, .user_ns = -1 };
	cleanup_fd int dir = containers_dir();
	static struct container c;

	if (dir < 0)
		return EXEC_FAILED;
	if (find(dir, argv[0], &c) || be_root(&c) || open_container(dir, &c, &j)) {
		containers_tidy();
		return EXEC_FAILED;
	}
	return exec_in(&c, &j, argv + 1, d);
}

static int exec_main(int argc, char **argv)
{
	struct detach d = { .notify = -1 };
	char words[DETACH_WORDS_MAX];
	int r, code;

	if (argc < 2) {
		warn("exec takes a CONTAINER and a COMMAND; try 'fcpull exec --help'");
		return EXEC_FAILED;
	}
	if (exec_workdir && *exec_workdir != '/') {
		warn("--workdir %s is not absolute", log_quote(exec_workdir));
		return EXEC_FAILED;
	}
	if (exec_tty && exec_interactive && !exec_detach && !isatty(STDIN_FILENO)) {
		warn("-t needs a terminal; use -i alone");
		return EXEC_FAILED;
	}
	r = exec_detach ? detach_split(&d, exec_interactive && !exec_tty, -1, words, &code) : 0;
	if (r)
		return r > 0 ? code : EXEC_FAILED;
	return exec_here(argv, &d);
}

const struct applet applet_exec = {
	"exec",
	"CONTAINER COMMAND [ARG]...",
	"run another process in a container",
	exec_rows,
	"It has the container's namespaces, limits and variables, and no more privileges.\n"
	"Exit codes are those of run.\n\n"
	"  fcpull exec -it web sh\n"
	"  fcpull exec -d web sh -c 'sleep 9; kill 1'\n",
	exec_main,
	true,
	EXEC_FAILED,
};
