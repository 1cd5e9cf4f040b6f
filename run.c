// run.c - run: a process in an image
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>

#include "box.h"
#include "fcpull.h"
#include "gc.h"
#include "log.h"
#include "mounts.h"
#include "serve.h"

static struct opt_list run_env, run_volumes;
static const char *run_workdir, *run_user, *run_entrypoint, *run_net = "none", *run_name,
							    *run_hostname, *run_upper;
static bool run_interactive, run_tty, run_read_only, run_rm, run_explain;
static uint64_t run_upper_size;

static const struct opt run_opts[] = {
	{ 'e', "env", "NAME[=VALUE]", "set a variable (without VALUE: the caller's)", opt_list_add,
		&run_env, false },
	{ 'v', "volume", "SRC:DST[:ro]", "bind a directory or file of the host", opt_list_add,
		&run_volumes, false },
	{ 'w', "workdir", "DIR", "working directory", opt_str, &run_workdir, false },
	{ 'u', "user", "USER[:GROUP]", "names are the image's own", opt_str, &run_user, false },
	{ 'i', "interactive", NULL, "keep standard input", opt_flag, &run_interactive, false },
	{ 't', "tty", NULL, "give it a terminal", opt_flag, &run_tty, false },
	{ 0, "entrypoint", "PROGRAM", "in place of the image's; \"\" for none", opt_str,
		&run_entrypoint, false },
	{ 0, "net", "host|none", "the host's network, or loopback only (default)", opt_str,
		&run_net, false },
	{ 0, "network", "host|none", "", opt_str, &run_net, true },
	{ 0, "read-only", NULL, "no writable layer", opt_flag, &run_read_only, false },
	{ 0, "upper", "DIR", "writable layer in this empty directory", opt_str, &run_upper, false },
	{ 0, "upper-size", "SIZE", "limit of the writable layer in memory", opt_size,
		&run_upper_size, false },
	{ 0, "name", "NAME", "name of the container; also its host name", opt_str, &run_name,
		false },
	{ 0, "hostname", "NAME", "host name", opt_str, &run_hostname, false },
	{ 0, "rm", NULL, "accepted: nothing is left behind in any case", opt_flag, &run_rm, false },
	{ 0, "explain", NULL, "say afterwards what the start has cost, and why", opt_flag,
		&run_explain, false },
	MOUNT_OPT_ROWS,
	IMAGE_OPT_ROWS,
	{ 0 },
};

enum { RUN_FAILED = 125 }; // docker's code for "the tool itself failed"

// SRC:DST[:ro|:rw]. The strings are cut in place: argv is ours.
static int parse_volume(char *s, struct box_bind *ret)
{
	char *dst = strchr(s, ':'), *mode = dst ? strchr(dst + 1, ':') : NULL;
	cleanup_free char *text = xstrdup(s);

	if (!dst || dst == s)
		goto bad;
	*dst++ = 0;
	if (mode)
		*mode++ = 0;
	if (*dst != '/' || (mode && strcmp(mode, "ro") && strcmp(mode, "rw")))
		goto bad;
	*ret = (struct box_bind){
		.src = realpath(s, NULL), .dst = dst, .read_only = mode && !strcmp(mode, "ro")
	};
	if (!ret->src)
		return warn_errno(-errno, "volume %s", log_quote(s));
	return 0;
bad:
	warn("volume %s is not SRC:/DST[:ro]", log_quote(text));
	return -EINVAL;
}

static int parse_volumes(struct box_bind **ret)
{
	*ret = xcalloc(run_volumes.n, sizeof **ret);
	for (size_t i = 0; i < run_volumes.n; i++) {
		int r = parse_volume((char *)run_volumes.v[i], &(*ret)[i]);

		if (r)
			return r;
	}
	return 0;
}

static bool same_name(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return n == strcspn(b, "=") && !memcmp(a, b, n);
}

static void set_env(const char **env, size_t *n, const char *s)
{
	for (size_t i = 0; i < *n; i++)
		if (same_name(env[i], s)) {
			env[i] = s;
			return;
		}
	env[(*n)++] = s;
}

// The image's variables, then -e's. One of the image's without a value is dropped: the host's
// environment is no business of an image's (CVE-2026-57231); one of the caller's takes the caller's
// value.
static char **make_env(const struct image_config *c)
{
	const char **env = xcalloc(c->n_env + run_env.n + 3, sizeof *env);
	size_t n = 0;

	env[n++] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	if (run_tty)
		env[n++] = "TERM=xterm";
	for (size_t i = 0; i < c->n_env; i++)
		if (strchr(c->env[i], '=') && c->env[i][0] != '=')
			set_env(env, &n, c->env[i]);
	for (size_t i = 0; i < run_env.n; i++) {
		const char *s = run_env.v[i], *own;

		if (strchr(s, '='))
			set_env(env, &n, s);
		else if ((own = getenv(s)))
			set_env(env, &n, xasprintf("%s=%s", s, own));
	}
	return (char **)env;
}

// docker's rules: operands replace Cmd; --entrypoint replaces Entrypoint and drops Cmd.
static char **make_args(const struct image_config *c, int argc, char **argv)
{
	char **args = xcalloc(c->n_entrypoint + c->n_cmd + (size_t)argc + 2, sizeof *args);
	size_t n = 0;

	if (run_entrypoint && *run_entrypoint)
		args[n++] = (char *)run_entrypoint;
	for (size_t i = 0; !run_entrypoint && i < c->n_entrypoint; i++)
		args[n++] = c->entrypoint[i];
	for (int i = 0; i < argc; i++)
		args[n++] = argv[i];
	for (size_t i = 0; !argc && !run_entrypoint && i < c->n_cmd; i++)
		args[n++] = c->cmd[i];
	return args;
}

static int check_run_options(void)
{
	if (strcmp(run_net, "host") && strcmp(run_net, "none")) {
		warn("--net is host or none, not %s", log_quote(run_net));
		return -EINVAL;
	}
	if (run_name &&
		(!*run_name ||
			strspn(run_name,
				"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-") !=
				strlen(run_name) ||
			strlen(run_name) > 63)) {
		warn("--name %s: letters, digits, '_', '.' and '-' only, at most 63",
			log_quote(run_name));
		return -EINVAL;
	}
	if (run_workdir && *run_workdir != '/') {
		warn("--workdir %s is not absolute", log_quote(run_workdir));
		return -EINVAL;
	}
	if (run_tty && !isatty(STDIN_FILENO) && run_interactive) {
		warn("-t needs a terminal; use -i alone");
		return -EINVAL;
	}
	return 0;
}

// Does a mount hold what -v binds?
static bool holds_volume(const char *path)
{
	size_t n = strlen(path);

	for (size_t i = 0; i < run_volumes.n; i++) {
		cleanup_free char *src = realpath(run_volumes.v[i], NULL);

		if (src && !strncmp(src, path, n) && (!src[n] || src[n] == '/'))
			return true;
	}
	return false;
}

static void note_other(void *arg, const struct mount_line *m)
{
	if (mounts_is_ours(m->device, m->type) && !holds_volume(m->path))
		opt_list_add(&(struct opt){ .to = arg }, xstrdup(m->path));
}

// A mount namespace of our own: whatever happens to us, no mount is left on the host. Copies of
// other images' mounts are dropped: they would keep those images' servers alive as long as we run.
static int own_mounts(void)
{
	struct opt_list others = { 0 };

	if (unshare(CLONE_NEWNS))
		return warn_errno(-errno, "make a mount namespace%s",
			errno == EPERM ? " (run needs root)" : "");
	if (mount(NULL, "/", NULL, MS_REC | MS_SLAVE, NULL))
		return warn_errno(-errno, "separate the mounts");
	mountinfo_each("self", note_other, &others);
	for (size_t i = others.n; i--;) {
		if (umount2(others.v[i], MNT_DETACH | UMOUNT_NOFOLLOW))
			debug("drop the copy of %s: %s", others.v[i], strerror(errno));
		free((char *)others.v[i]);
	}
	free(others.v);
	return 0;
}

static int run_box(const struct host_image *h, char **args, const struct box_bind *binds,
	const char *dir, const struct served *s)
{
	const struct image_config *c = &h->img->config;
	cleanup_fd int lower = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct box b = {
		.lower_fd = lower,
		.upper = run_upper,
		.read_only = run_read_only,
		.args = args,
		.env = make_env(c),
		.cwd = run_workdir ? run_workdir : c->workdir,
		.user = run_user ? run_user : c->user,
		.hostname = run_hostname,
		.name = run_name,
		.net_host = !strcmp(run_net, "host"),
		.tty = run_tty,
		.interactive = run_interactive,
		.binds = binds,
		.n_binds = run_volumes.n,
		.upper_size = run_upper_size,
	};
	int code;

	if (lower < 0)
		return warn_errno(-errno, "open the mounted image"), RUN_FAILED;
	code = box_run(&b);
	if (run_explain)
		explain_run(h, lower);
	close(steal_fd(&lower));
	if (umount2(dir, MNT_DETACH | UMOUNT_NOFOLLOW))
		warn_errno(-errno, "unmount the image");
	else
		serve_wait(s);
	return code;
}

static int run(int argc, char **argv)
{
	cleanup_free char *dir = NULL;
	struct serve_conf conf;
	struct box_bind *binds;
	struct host_image *h;
	struct hasten *x;
	char **args;
	struct served s;
	int code;

	if (argc < 1) {
		warn("run takes an IMAGE; try 'fcpull run --help'");
		return RUN_FAILED;
	}
	if (image_opts_finish() || check_run_options() || parse_volumes(&binds) ||
		mount_serve_conf(&conf))
		return RUN_FAILED;
	if (host_open(argv[0], &image_opts.host, &h))
		return RUN_FAILED;
	conf.hasty = true;
	args = make_args(&h->img->config, argc - 1, argv + 1);
	if (!args[0]) {
		warn("%s names no command; give one", h->name);
		return RUN_FAILED;
	}
	dir = xasprintf("%s/mnt", h->store->path);
	// the processes stay in the caller's mount namespace, where others find them; the mount
	// will be in ours
	if (mount_hasten(h, HASTEN_RUN, &conf, &x) || serve_image(h, &conf, &s))
		return RUN_FAILED;
	hasten_go(x);
	if (own_mounts() || serve_attach(&s, dir))
		return RUN_FAILED;
	code = run_box(h, args, binds, dir, &s);
	gc_auto(image_opts.host.root);
	return code;
}

const struct applet applet_run = {
	"run",
	"IMAGE [COMMAND [ARG]...]",
	"run a process in an image, while its data arrives",
	run_opts,
	"Exit code: the process's own; 128+N when signal N ended it; 125 fcpull failed,\n"
	"126 the command is not executable, 127 it was not found.\n\n"
	"  fcpull run registry.example/app:1\n"
	"  fcpull run -it --net=host registry.example/app:1 sh\n",
	run,
	true,
	RUN_FAILED,
};
