// mount.c - mount, umount, run: an image as a file system, and a process in it
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "box.h"
#include "fcpull.h"
#include "log.h"
#include "mnt.h"
#include "serve.h"
#include "state.h"

// ---- what mount and run share ----

static const char *network_loss = "wait";

#define LOSS_OPT_ROW                                                                            \
	{                                                                                       \
		0, "on-network-loss", "HOW", "wait[:SEC], wait:forever or fail[:SEC]", opt_str, \
			&network_loss, false                                                    \
	}

static int serve_options(struct serve_conf *ret)
{
	*ret = (struct serve_conf){ .net = &image_opts.host.net };
	return serve_parse_loss(network_loss, &ret->deadline_ns);
}

// ---- mount ----

static const char *mount_options;

static const struct opt mount_opts[] = {
	{ 'o', "options", "LIST", "as mount(8) has them: ro, nosuid, _netdev ...", opt_str,
		&mount_options, false },
	LOSS_OPT_ROW,
	{ 0, "original", NULL, "use the original, even if it is accelerated", opt_flag,
		&image_opts.host.original, false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

// mount(8) hands on what fstab says. What does not fit a read-only image, or is not known, is
// refused: an option that is silently ignored is worse.
static int check_mount_options(const char *list, const char **ret_driver)
{
	static const char *const known[] = { "ro", "defaults", "nosuid", "nodev", "suid", "dev",
		"exec", "auto", "noauto", "user", "nouser", "nofail", "_netdev", "relatime",
		"noatime" };
	cleanup_free char *copy = list ? xstrdup(list) : NULL;
	char *save = NULL;

	for (char *s = copy ? strtok_r(copy, ",", &save) : NULL; s;
		s = strtok_r(NULL, ",", &save)) {
		bool ok = !strncmp(s, "x-", 2);

		if (!strncmp(s, "driver=", 7)) {
			*ret_driver = xstrdup(s + 7);
			continue;
		}

		for (size_t i = 0; i < ARRAY_LEN(known); i++)
			ok |= !strcmp(s, known[i]);
		if (!ok) {
			warn("mount option %s is not supported%s", log_quote(s),
				strcmp(s, "rw") ? "" : ": images are read-only");
			return -EINVAL;
		}
	}
	return 0;
}

static int check_dir(const char *dir)
{
	struct stat st;

	if (stat(dir, &st))
		return warn_errno(-errno, "mount point %s", log_quote(dir));
	return S_ISDIR(st.st_mode) ? 0 : warn_errno(-ENOTDIR, "mount point %s", log_quote(dir));
}

static int mount_image(int argc, char **argv)
{
	struct serve_conf conf;
	struct host_image *h;
	struct served s;

	if (argc != 2) {
		warn("mount takes IMAGE and DIR; try 'fcpull mount --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish() || serve_options(&conf) ||
		check_mount_options(mount_options, &conf.driver))
		return EXIT_USAGE;
	if (check_dir(argv[1]) || host_open(argv[0], &image_opts.host, &h))
		return EXIT_FAILURE;
	if (serve_start(h, argv[1], &conf, &s))
		return EXIT_FAILURE;
	info("%s is mounted at %s (%s form, %s holder %d)", h->name, argv[1], h->form,
		s.shared ? "shared" : "new", (int)s.holder);
	return 0;
}

const struct applet applet_mount = {
	"mount",
	"IMAGE DIR",
	"mount an image read-only; data arrives when it is read",
	mount_opts,
	"A process stays behind to serve the mount; 'fcpull umount DIR' ends it. An image\n"
	"without an accelerated form is pulled whole first.\n\n"
	"  fcpull mount registry.example/app:1 /mnt\n"
	"  mount -t fcpull registry.example/app:1 /mnt    (mount.fcpull in /sbin)\n",
	mount_image,
	false,
	0,
};

// ---- umount ----

static bool umount_lazy;

static const struct opt umount_opts[] = {
	{ 'l', "lazy", NULL, "detach now, end when nobody uses it any more", opt_flag, &umount_lazy,
		false },
	{ 0 },
};

// mountinfo writes space, tab, newline and backslash as octal (proc(5)).
static void unescape_octal(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

static bool is_live(const char *device)
{
	cleanup_fd int dir = state_dir();
	struct state *v = NULL;
	size_t n = 0;
	bool found = false;

	if (dir < 0 || state_list(dir, &v, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		char text[32];

		snprintf(text, sizeof text, "%u:%u", v[i].major, v[i].minor);
		found |= !strcmp(text, device);
		state_fini(&v[i]);
	}
	free(v);
	return found;
}

// type: what stands behind " - " in mountinfo. The erofs driver's mounts have no name of ours;
// those whose processes are dead are known by their source, a descriptor's path, which nobody else
// has.
static bool is_ours(const char *device, const char *type)
{
	return !strncmp(type, "fuse.fcpull ", 12) || !strncmp(type, "erofs /proc/self/fd/", 20) ||
		(!strncmp(type, "erofs ", 6) && is_live(device));
}

struct mount_line {
	const char *device, *path, *type; // type: and what follows it
};

static void each_mount(void (*fn)(void *arg, const struct mount_line *m), void *arg)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		char *dash = strstr(line, " - "), *save = NULL, *field[5];
		int n = 0;

		if (!dash)
			continue;
		*dash = 0;
		while (n < 5 && (field[n] = strtok_r(n ? NULL : line, " ", &save)))
			n++;
		if (n < 5)
			continue;
		unescape_octal(field[4]);
		fn(arg, &(struct mount_line){ field[2], field[4], dash + 3 });
	}
	if (f)
		fclose(f);
}

struct our_mount {
	const char *path;
	bool ours;
	char device[32];
};

static void look_at(void *arg, const struct mount_line *m)
{
	struct our_mount *o = arg;

	if (strcmp(m->path, o->path))
		return;
	o->ours = is_ours(m->device, m->type); // the last one is the topmost
	snprintf(o->device, sizeof o->device, "%s", m->device);
}

// Is the topmost mount at this absolute path one of ours? Which file system?
static bool is_our_mount(const char *path, char device[static 32])
{
	struct our_mount o = { .path = path };

	each_mount(look_at, &o);
	memcpy(device, o.device, sizeof o.device);
	return o.ours;
}

// Its processes end by themselves when the last mount of the file system is gone; a script that goes
// on to remove the store should not meet them.
static void wait_for_end(const char *device)
{
	unsigned major, minor;
	struct state_mount *m;
	size_t n;

	if (sscanf(device, "%u:%u", &major, &minor) != 2)
		return;
	if (!state_mounts(major, minor, true, &m, &n)) {
		state_mounts_free(m, n);
		return; // others have it
	}
	for (int i = 0; i < 100 && is_live(device); i++)
		usleep(20000);
}

static int umount_image(int argc, char **argv)
{
	cleanup_free char *parent = NULL, *path = NULL;
	const char *slash;
	char device[32];

	if (argc != 1) {
		warn("umount takes one DIR; try 'fcpull umount --help'");
		return EXIT_USAGE;
	}
	// the mount point itself is not looked into: its server may be gone or hang
	slash = strrchr(argv[0], '/');
	parent = slash ? xstrndup(argv[0], slash == argv[0] ? 1 : (size_t)(slash - argv[0]))
		       : xstrdup(".");
	path = realpath(parent, NULL);
	if (path) {
		char *full = xasprintf(
			"%s/%s", strcmp(path, "/") ? path : "", slash ? slash + 1 : argv[0]);

		free(path);
		path = full;
	}
	if (!path || !is_our_mount(path, device)) {
		warn("%s is not a mount of fcpull", log_quote(argv[0]));
		return EXIT_FAILURE;
	}
	if (umount2(path, UMOUNT_NOFOLLOW | (umount_lazy ? MNT_DETACH : 0))) {
		warn_errno(-errno, "umount %s%s", log_quote(path),
			errno == EBUSY ? " (-l detaches it now)" : "");
		return EXIT_FAILURE;
	}
	if (!umount_lazy)
		wait_for_end(device);
	state_clean();
	return 0;
}

const struct applet applet_umount = {
	"umount",
	"DIR",
	"unmount an image; its server ends",
	umount_opts,
	NULL,
	umount_image,
	false,
	0,
};

// ---- run ----

static struct opt_list run_env, run_volumes;
static const char *run_workdir, *run_user, *run_entrypoint, *run_net = "none", *run_name,
							    *run_hostname, *run_upper;
static bool run_interactive, run_tty, run_read_only, run_rm;
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
	LOSS_OPT_ROW,
	{ 0, "original", NULL, "use the original, even if it is accelerated", opt_flag,
		&image_opts.host.original, false },
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
	if (is_ours(m->device, m->type) && !holds_volume(m->path))
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
	each_mount(note_other, &others);
	for (size_t i = others.n; i--;) {
		if (umount2(others.v[i], MNT_DETACH | UMOUNT_NOFOLLOW))
			debug("drop the copy of %s: %s", others.v[i], strerror(errno));
		free((char *)others.v[i]);
	}
	free(others.v);
	return 0;
}

static int attach(struct served *s, const char *dir)
{
	cleanup_fd int target = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	int r = target < 0 ? -errno : mnt_attach(s->mnt, target);

	close(steal_fd(&s->mnt));
	return r ? warn_errno(r, "mount on %s", log_quote(dir)) : 0;
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
	char **args;
	struct served s;

	if (argc < 1) {
		warn("run takes an IMAGE; try 'fcpull run --help'");
		return RUN_FAILED;
	}
	if (image_opts_finish() || check_run_options() || parse_volumes(&binds) ||
		serve_options(&conf))
		return RUN_FAILED;
	if (host_open(argv[0], &image_opts.host, &h))
		return RUN_FAILED;
	args = make_args(&h->img->config, argc - 1, argv + 1);
	if (!args[0]) {
		warn("%s names no command; give one", h->name);
		return RUN_FAILED;
	}
	dir = xasprintf("%s/mnt", h->store->path);
	// the processes stay in the caller's mount namespace, where others find them; the mount
	// will be in ours
	if (serve_image(h, &conf, &s) || own_mounts() || attach(&s, dir))
		return RUN_FAILED;
	return run_box(h, args, binds, dir, &s);
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
