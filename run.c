// run.c - run: a process in an image
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <time.h>

#include "box.h"
#include "boxopt.h"
#include "containers.h"
#include "detach.h"
#include "env.h"
#include "fcpull.h"
#include "gc.h"
#include "log.h"
#include "mounts.h"
#include "proc.h"
#include "serve.h"
#include "userns.h"

// What the options say, as they say it.
static struct {
	struct opt_list env, env_files, volumes, mounts, tmpfs, cap_add, cap_drop, security;
	const char *workdir, *user, *entrypoint, *net, *name, *hostname, *upper;
	const char *cpus, *pids, *user_ns, *stop_signal, *output;
	bool interactive, tty, read_only, rm, explain, detach;
	uint64_t upper_size, memory, stop_timeout;
} opts = { .net = "none", .user_ns = "private", .stop_timeout = 10 };

static const struct opt run_opts[] = {
	{ 'd', "detach", NULL, "in the background; prints its id", opt_flag, &opts.detach, false },
	{ 'e', "env", "NAME[=VALUE]", "set a variable (without VALUE: the caller's)", opt_list_add,
		&opts.env, false },
	{ 0, "env-file", "FILE", "variables, a line each", opt_list_add, &opts.env_files, false },
	{ 'v', "volume", "SRC:DST[:ro]", "bind a directory or file of the host", opt_list_add,
		&opts.volumes, false },
	{ 0, "mount", "KEY=VALUE,...", "type=bind,src=,dst=[,ro] or type=tmpfs,dst=", opt_list_add,
		&opts.mounts, false },
	{ 0, "tmpfs", "DST[:OPTION,...]", "empty directory in memory: size=, mode=, exec ...",
		opt_list_add, &opts.tmpfs, false },
	{ 'w', "workdir", "DIR", "working directory", opt_str, &opts.workdir, false },
	{ 'u', "user", "USER[:GROUP]", "names are the image's own", opt_str, &opts.user, false },
	{ 'i', "interactive", NULL, "keep standard input", opt_flag, &opts.interactive, false },
	{ 't', "tty", NULL, "give it a terminal", opt_flag, &opts.tty, false },
	{ 0, "entrypoint", "PROGRAM", "in place of the image's; \"\" for none", opt_str,
		&opts.entrypoint, false },
	{ 0, "net", "host|none", "the host's network, or loopback only (default)", opt_str,
		&opts.net, false },
	{ 0, "network", "host|none", "", opt_str, &opts.net, true },
	{ 0, "memory", "SIZE", "limit of memory; with swap twice that", opt_size, &opts.memory,
		false },
	{ 0, "cpus", "N", "limit of processor time, such as 1.5", opt_str, &opts.cpus, false },
	{ 0, "pids-limit", "N", "limit of processes and threads", opt_str, &opts.pids, false },
	{ 0, "cap-add", "NAME", "add a capability, or ALL", opt_list_add, &opts.cap_add, false },
	{ 0, "cap-drop", "NAME", "drop a capability, or ALL", opt_list_add, &opts.cap_drop, false },
	{ 0, "security-opt", "OPTION", "seccomp=unconfined, unmask=ALL ...", opt_list_add,
		&opts.security, false },
	{ 0, "user-ns", "private|host", "a user namespace of its own, or none", opt_str,
		&opts.user_ns, false },
	{ 0, "userns", "private|host", "", opt_str, &opts.user_ns, true },
	{ 0, "read-only", NULL, "no writable layer", opt_flag, &opts.read_only, false },
	{ 0, "upper", "DIR", "writable layer in this empty directory", opt_str, &opts.upper,
		false },
	{ 0, "upper-size", "SIZE", "limit of the writable layer in memory", opt_size,
		&opts.upper_size, false },
	{ 0, "name", "NAME", "name of the container; also its host name", opt_str, &opts.name,
		false },
	{ 0, "hostname", "NAME", "host name", opt_str, &opts.hostname, false },
	{ 0, "stop-signal", "NAME", "what stop sends (else the image's, else TERM)", opt_str,
		&opts.stop_signal, false },
	{ 0, "stop-timeout", "SECONDS", "how long stop waits before it kills (10)", opt_u64,
		&opts.stop_timeout, false },
	{ 0, "output", "FILE", "with -d: its output is added here (else nowhere)", opt_str,
		&opts.output, false },
	{ 0, "rm", NULL, "with -d: no trace is left when it ends", opt_flag, &opts.rm, false },
	{ 0, "explain", NULL, "say afterwards what the start has cost, and why", opt_flag,
		&opts.explain, false },
	MOUNT_OPT_ROWS,
	IMAGE_OPT_ROWS,
	{ 0 },
};

enum { RUN_FAILED = 125 }; // docker's code for "the tool itself failed"

// ---- what the options mean ----

static int parse_each(const struct opt_list *l, int parse(char *, struct box_bind *),
	struct box_bind *to, size_t *n)
{
	int r = 0;

	for (size_t i = 0; i < l->n && !r; i++)
		r = parse((char *)l->v[i], &to[(*n)++]); // argv is ours
	return r;
}

static int parse_binds(struct box *b)
{
	struct box_bind *all =
		xcalloc(opts.volumes.n + opts.mounts.n + opts.tmpfs.n + 1, sizeof *all);
	int r;

	b->binds = all;
	// a tmpfs first: binds may lie in it
	r = parse_each(&opts.tmpfs, boxopt_tmpfs, all, &b->n_binds);
	if (!r)
		r = parse_each(&opts.mounts, boxopt_mount, all, &b->n_binds);
	return r ? r : parse_each(&opts.volumes, boxopt_volume, all, &b->n_binds);
}

static int parse_security(struct box *b)
{
	int r = boxopt_user_ns(opts.user_ns, b);

	for (size_t i = 0; i < opts.cap_add.n && !r; i++)
		r = caps_change(&b->caps, opts.cap_add.v[i], false);
	for (size_t i = 0; i < opts.cap_drop.n && !r; i++)
		r = caps_change(&b->caps, opts.cap_drop.v[i], true);
	for (size_t i = 0; i < opts.security.n && !r; i++)
		r = boxopt_security(opts.security.v[i], b);
	return r;
}

static int parse_limits(struct cgroup_limits *l)
{
	int r = 0;

	l->memory = opts.memory;
	if (opts.memory)
		r = boxopt_memory(opts.memory);
	if (!r && opts.cpus)
		r = boxopt_cpus(opts.cpus, &l->cpu_quota);
	if (!r && opts.pids)
		r = boxopt_pids(opts.pids, &l->pids);
	return r;
}

static int check_options(void)
{
	if (strcmp(opts.net, "host") && strcmp(opts.net, "none"))
		return opt_bad_word("--net", "host or none", opts.net);
	if ((opts.name && boxopt_name("--name", opts.name)) ||
		(opts.hostname && boxopt_name("--hostname", opts.hostname)))
		return -EINVAL;
	if (opts.workdir && *opts.workdir != '/') {
		warn("--workdir %s is not absolute", log_quote(opts.workdir));
		return -EINVAL;
	}
	if (opts.tty && !isatty(STDIN_FILENO) && opts.interactive && !opts.detach) {
		warn("-t needs a terminal; use -i alone");
		return -EINVAL;
	}
	if (opts.detach ? opts.explain : opts.output != NULL) {
		warn("%s -d", opts.detach ? "--explain does not go with" : "--output needs");
		return -EINVAL;
	}
	return 0;
}

static int parse_options(struct box *b, struct cgroup_limits *limits)
{
	int r = image_opts_finish();

	if (!r)
		r = check_options();
	if (!r)
		r = parse_binds(b);
	if (!r)
		r = parse_security(b);
	if (!r)
		r = parse_limits(limits);
	return r ? r : env_gather(&opts.env_files, &opts.env);
}

// ---- mounts ----

// Does a mount hold what is bound?
static bool holds_bind(const struct box *b, const char *path)
{
	size_t n = strlen(path);

	for (size_t i = 0; i < b->n_binds; i++) {
		const char *src = b->binds[i].src;

		if (src && !strncmp(src, path, n) && (!src[n] || src[n] == '/'))
			return true;
	}
	return false;
}

struct others {
	const struct box *box;
	struct opt_list list;
};

static void note_other(void *arg, const struct mount_line *m)
{
	struct others *o = arg;

	if (mounts_is_ours(m->device, m->type) && !holds_bind(o->box, m->path))
		opt_list_add(&(struct opt){ .to = &o->list }, xstrdup(m->path));
}

// A mount namespace of our own: whatever happens to us, no mount is left on the host. Copies of
// other images' mounts are dropped: they would keep those images' servers alive as long as we run.
static int own_mounts(const struct box *b)
{
	struct others o = { .box = b };
	struct opt_list *l = &o.list;

	if (unshare(CLONE_NEWNS))
		return warn_errno(-errno, "make a mount namespace%s",
			errno == EPERM ? " (run needs root)" : "");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return warn_errno(-errno, "separate the mounts");
	mountinfo_each("self", note_other, &o);
	for (size_t i = l->n; i--;) {
		if (umount2(l->v[i], MNT_DETACH | UMOUNT_NOFOLLOW))
			debug("drop the copy of %s: %s", l->v[i], strerror(errno));
		free((char *)l->v[i]);
	}
	free(l->v);
	return 0;
}

// ---- the record ----

struct running {
	struct container record;
	struct cgroup cg;
	int dir, lock;
	struct detach detach;
};

static char *join_words(char *const *words)
{
	cleanup_buf struct buf b = { 0 };

	for (size_t i = 0; words[i]; i++)
		buf_printf(&b, "%s%s", i ? " " : "", words[i]);
	return xstrdup(buf_str(&b));
}

static int choose_stop_signal(const struct image_config *c, int *ret)
{
	const char *s = opts.stop_signal ? opts.stop_signal : c->stop_signal;

	*ret = SIGTERM;
	int r = s && *s ? boxopt_signal(s, ret) : 0;

	if (r && !opts.stop_signal)
		warn("it is the image's StopSignal; --stop-signal SIGNAL takes its place");
	return r;
}

// All strings are copies: the record owns them.
static int describe(const struct host_image *h, const struct box *b, struct container *c)
{
	size_t n = 0;

	*c = (struct container){
		.name = opts.name ? xstrdup(opts.name) : NULL,
		.image = xstrdup(h->name),
		.command = join_words(b->args),
		.detached = opts.detach,
		.keep = opts.detach && !opts.rm,
		.monitor = getpid(),
		.stop_timeout = opts.stop_timeout,
		.user = xstrdup(b->user ? b->user : ""),
		.cwd = xstrdup(b->cwd ? b->cwd : ""),
		.net_host = b->net_host,
		.no_user_ns = b->no_user_ns,
		.one_id = b->one_id,
		.new_privs = b->new_privs,
		.no_seccomp = b->no_seccomp,
		.caps_add = b->caps.add,
		.caps_drop = b->caps.drop,
	};
	while (b->env[n])
		n++;
	c->env = xcalloc(n + 1, sizeof *c->env);
	for (size_t i = 0; i < n; i++)
		c->env[i] = xstrdup(b->env[i]);
	return choose_stop_signal(&h->img->config, &c->stop_signal);
}

static int begin(const struct host_image *h, struct box *b, const struct cgroup_limits *limits,
	struct running *r)
{
	struct container *c = &r->record;
	struct cgroup *cg = &r->cg;
	int e = describe(h, b, c);

	if (e)
		return e;
	r->dir = containers_dir();
	r->lock = r->dir < 0 ? r->dir : container_new(r->dir, c);
	if (r->lock < 0)
		return r->lock;
	c->hostname = xstrdup(opts.hostname ? opts.hostname : c->name);
	b->hostname = c->hostname;
	e = cgroup_make(c->id, limits, cg);
	if (e) {
		container_remove(r->dir, c->id);
		return e;
	}
	c->cgroups = xcalloc(cg->n + 1, sizeof *c->cgroups);
	for (size_t i = 0; i < cg->n; i++)
		c->cgroups[i] = xstrdup(cg->dirs[i]);
	b->cgroup = cg->n ? cg : NULL;
	return 0;
}

static int on_start(void *arg, pid_t init)
{
	struct running *r = arg;
	int e;

	r->record.init = init;
	r->record.payload = proc_first_child(init);
	e = container_save(r->lock, &r->record);
	if (!e && r->detach.notify >= 0)
		e = detach_go(&r->detach, r->record.id);
	if (e)
		r->record.keep = false; // nobody knows of it
	return e;
}

static void finish(struct running *r, int code)
{
	struct container *c = &r->record;
	bool started = c->init;

	cgroup_free(&r->cg);
	c->running = false;
	c->exit_code = code;
	c->finished = (uint64_t)time(NULL);
	if (container_save(r->lock, c))
		debug("the exit code of %s is lost", c->id);
	if (!c->keep || !started)
		container_remove(r->dir, c->id);
}

// ---- running ----

static void complete(const struct host_image *h, char **args, struct box *b)
{
	const struct image_config *c = &h->img->config;
	cleanup_free char **base = env_base(c, opts.tty);

	b->upper = opts.upper;
	b->read_only = opts.read_only;
	b->args = args;
	b->env = env_make(base, &opts.env);
	b->cwd = opts.workdir ? opts.workdir : c->workdir;
	b->user = opts.user ? opts.user : c->user;
	b->net_host = !strcmp(opts.net, "host");
	b->tty = opts.tty;
	b->interactive = opts.interactive;
	b->detached = opts.detach;
	b->upper_size = opts.upper_size;
	b->started = on_start;
}

static int run_box(struct host_image *h, struct box *b, const char *dir, const struct served *s)
{
	cleanup_fd int lower = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int code;

	if (lower < 0)
		return warn_errno(-errno, "open the mounted image"), RUN_FAILED;
	b->lower_fd = lower;
	code = box_run(b);
	if (opts.explain)
		explain_run(h, lower);
	close(steal_fd(&lower));
	if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW))
		warn_errno(-errno, "unmount the image");
	else
		serve_wait(s);
	return code;
}

// The image is open, and nothing else.
static int run_image(struct host_image *h, struct box *b, const struct cgroup_limits *limits,
	struct serve_conf *conf, struct running *r)
{
	cleanup_free char *store = realpath(h->store->path, NULL), *dir = NULL;
	struct hasten *x = NULL;
	struct served s;
	int e, code = RUN_FAILED;

	dir = xasprintf("%s/mnt", store ? store : h->store->path);
	if (begin(h, b, limits, r))
		return RUN_FAILED;
	// (from a user's namespace nothing could be left running in the host's)
	e = b->rootless ? 0 : mount_hasten(h, HASTEN_RUN, conf, &x);
	if (!e)
		e = serve_image(h, conf, &s);
	if (e)
		hasten_drop(x);
	else
		mount_hasten_go(x, &s);
	// the processes stay in the caller's mount namespace, where others find them; the mount
	// will be in ours
	if (!e && !own_mounts(b) && !serve_attach(&s, dir))
		code = run_box(h, b, dir, &s);
	finish(r, code);
	gc_auto(store);
	return code;
}

// A user becomes root in a namespace of its own, once the image is open: registries and their
// credentials are the user's.
static int be_root(struct box *b)
{
	uint64_t ids = 0;
	int r;

	if (!geteuid())
		return 0;
	r = userns_keep_places();
	if (!r)
		r = userns_enter(&ids);
	b->rootless = !r;
	b->one_id = !r && ids == 1;
	if (b->one_id)
		info("there is no id but root's: /etc/subuid and /etc/subgid have none for this user");
	return r;
}

static int run_here(
	int argc, char **argv, struct box *b, const struct cgroup_limits *limits, struct running *r)
{
	struct serve_conf conf;
	struct host_image *h;
	char **args;
	int code;

	if (mount_serve_conf(&conf) || host_open(argv[0], &image_opts.host, &h))
		return RUN_FAILED;
	conf.hasty = true;
	args = env_args(h->name, &h->img->config, opts.entrypoint, argc - 1, argv + 1);
	if (args) {
		complete(h, args, b);
		b->arg = r;
	}
	code = !args || boxopt_check(b) || be_root(b) ? RUN_FAILED
						      : run_image(h, b, limits, &conf, r);
	host_close(h);
	return code;
}

static int open_output(void)
{
	int fd = open(opts.output, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | O_NOCTTY, 0644);

	return fd < 0 ? warn_errno(-errno, "--output: open %s", log_quote(opts.output)) : fd;
}

// The starter's part of -d: it waits until the program runs, or has failed to.
static int split(struct running *r, int *ret_code)
{
	cleanup_fd int output = opts.output ? open_output() : -1;
	char id[DETACH_WORDS_MAX];
	int e;

	*ret_code = RUN_FAILED;
	if (opts.output && output < 0)
		return output;
	e = detach_split(&r->detach, opts.interactive && !opts.tty, output, id, ret_code);
	if (e > 0 && *id)
		puts(id);
	return e;
}

static int run(int argc, char **argv)
{
	// what they own lives as long as the process
	static struct running r = { .dir = -1, .lock = -1, .detach = { .notify = -1 } };
	static struct box b;
	struct cgroup_limits limits = { 0 };
	int code;

	if (argc < 1) {
		warn("run takes an IMAGE; try 'fcpull run --help'");
		return RUN_FAILED;
	}
	if (parse_options(&b, &limits))
		return RUN_FAILED;
	if (opts.detach && split(&r, &code))
		return code;
	return run_here(argc, argv, &b, &limits, &r);
}

const struct applet applet_run = {
	"run",
	"IMAGE [COMMAND [ARG]...]",
	"run a process in an image, while its data arrives",
	run_opts,
	"Exit code: the process's own; 128+N when signal N ended it; 125 fcpull failed,\n"
	"126 the command is not executable, 127 it was not found.\n\n"
	"  fcpull run registry.example/app:1\n"
	"  fcpull run -it --net=host registry.example/app:1 sh\n"
	"  fcpull run -d --name web --memory=512m registry.example/app:1\n"
	"  fcpull exec -it web sh; fcpull stop web; fcpull rm web\n",
	run,
	true,
	RUN_FAILED,
};
