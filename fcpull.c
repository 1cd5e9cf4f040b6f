// fcpull.c - container images that start before they have arrived: the table of verbs
//
// Busybox-style: `fcpull VERB`, or the verb by the name that the program was called by
// (fcpull-mount, mount.fcpull).
// SPDX-License-Identifier: Apache-2.0
#include "fcpull.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>

#include "boxinit.h"
#include "log.h"
#include "lookup.h"
#include "serve.h"

const struct applet *const applets[] = {
	&applet_convert,
	&applet_inspect,
	&applet_check,
	&applet_pull,
	&applet_ls,
	&applet_cat,
	&applet_export,
	&applet_gc,
	&applet_mount,
	&applet_umount,
	&applet_run,
	&applet_exec,
	&applet_ps,
	&applet_stop,
	&applet_wait,
	&applet_rm,
	&applet_bundle,
	&applet_explain,
	&applet_status,
	&applet_info,
	&applet_serve,
	&applet_login,
	&applet_logout,
	&applet_upgrade_mounts,
	&applet_completion,
	&applet_man,
};
const size_t n_applets = ARRAY_LEN(applets);

struct image_opts image_opts;

int read_line(const char *what, char *line, size_t n)
{
	if (!fgets(line, (int)n, stdin)) {
		warn("%s: standard input is empty", what);
		return -EINVAL;
	}
	if (!strchr(line, '\n') && !feof(stdin)) {
		warn("%s: a line of more than %zu bytes", what, n - 2);
		return -EINVAL;
	}
	line[strcspn(line, "\r\n")] = 0;
	return 0;
}

static int read_password(void)
{
	static char line[PASSWORD_MAX + 2];

	image_opts.host.net.password = line;
	return read_line("--password-stdin", line, sizeof line);
}

int image_opts_finish(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	if (!image_opts.jobs)
		image_opts.jobs = cpus > 0 ? (uint64_t)cpus : 1;
	image_opts.host.threads = (unsigned)MIN(image_opts.jobs, (uint64_t)64);
	if (image_opts.password_stdin && !image_opts.host.net.creds) {
		warn("--password-stdin needs --creds USER");
		return -EINVAL;
	}
	if (platform_parse(image_opts.platform, &image_opts.host.platform) ||
		lookup_set(image_opts.find))
		return -EINVAL;
	return image_opts.password_stdin ? read_password() : 0;
}

static const struct applet *find(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(applets); i++)
		if (!strcmp(applets[i]->name, name))
			return applets[i];
	return NULL;
}

// What other tools call a verb, and what does it here.
static const char *verb_of_others(const char *name)
{
	static const char *const names[][2] = {
		{ "copy", "convert SRC DST" },
		{ "images", "gc -n" },
		{ "kill", "stop -t 0" },
		{ "logs", "run -d --output FILE" },
		{ "prune", "gc" },
		{ "push", "convert SRC DST" },
		{ "rmi", "gc" },
		{ "start", "run -d" },
		{ "unmount", "umount" },
	};

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i][0], name))
			return names[i][1];
	return NULL;
}

static int unknown(const char *name)
{
	const char *ours = verb_of_others(name);

	if (*name == '-') {
		warn("option %s: options come after the verb; 'fcpull help' lists the verbs",
			log_quote(name));
		return EXIT_USAGE;
	}
	if (ours) {
		warn("there is no verb %s; what does it here is 'fcpull %s'", log_quote(name),
			ours);
		return EXIT_USAGE;
	}
	warn("there is no verb %s; 'fcpull help' lists them", log_quote(name));
	for (size_t i = 0; i < ARRAY_LEN(applets); i++)
		if (opt_nearly(name, applets[i]->name))
			warn("did you mean '%s'?", applets[i]->name);
	return EXIT_USAGE;
}

static int run_applet(const struct applet *a, int argc, char **argv)
{
	int n, r = opt_parse(a, argc, argv, &n);

	if (r)
		return r > 0 ? 0 : a->usage_code ? a->usage_code : EXIT_USAGE;
	return a->main(n, argv);
}

// ---- the program's own options ----

static int help(int argc, char **argv)
{
	const struct applet *a = argc > 0 ? find(argv[0]) : NULL;

	if (argc > 0 && !a)
		return unknown(argv[0]);
	if (a) {
		opt_help(a, stdout);
		return 0;
	}
	puts("fcpull " FCPULL_VERSION " - container images that start before they have arrived\n\n"
	     "usage: fcpull VERB [OPTION]... [ARGUMENT]...\n");
	for (size_t i = 0; i < ARRAY_LEN(applets); i++)
		printf("  %-10s %s\n", applets[i]->name, applets[i]->line);
	puts("\n  fcpull help VERB          options of a verb\n"
	     "  fcpull --list             the verbs, a line each\n"
	     "  fcpull --install -s DIR   links fcpull-VERB and mount.fcpull in DIR\n"
	     "  fcpull --version\n\n"
	     "examples:\n"
	     "  fcpull convert registry.example/team/app:1\n"
	     "  fcpull run registry.example/team/app:1\n"
	     "  fcpull mount registry.example/team/app:1 /mnt");
	return 0;
}

static int list(void)
{
	for (size_t i = 0; i < ARRAY_LEN(applets); i++)
		puts(applets[i]->name);
	return 0;
}

static int make_link(const char *self, const char *dir, const char *name)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	if (unlink(path) && errno != ENOENT)
		return warn_errno(-errno, "replace %s", log_quote(path));
	return symlink(self, path) ? warn_errno(-errno, "make %s", log_quote(path)) : 0;
}

// --install -s DIR: symbolic links to this binary, as busybox does.
static int install(int argc, char **argv)
{
	char self[4096];
	ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
	int r = 0;

	if (argc != 2 || strcmp(argv[0], "-s")) {
		warn("usage: fcpull --install -s DIR");
		return EXIT_USAGE;
	}
	if (n < 0)
		return warn_errno(-errno, "find this program (/proc/self/exe)"), EXIT_FAILURE;
	self[n] = 0;
	for (size_t i = 0; i < ARRAY_LEN(applets) && !r; i++) {
		cleanup_free char *name = xasprintf("fcpull-%s", applets[i]->name);

		r = make_link(self, argv[1], name);
	}
	if (!r)
		r = make_link(self, argv[1], "mount.fcpull");
	return r ? EXIT_FAILURE : 0;
}

// "fcpull-mount" and "mount.fcpull" both mean mount.
static const struct applet *by_program_name(const char *argv0)
{
	const char *base = strrchr(argv0, '/');

	base = base ? base + 1 : argv0;
	if (!strncmp(base, "fcpull-", 7))
		return find(base + 7);
	return !strcmp(base, "mount.fcpull") ? &applet_mount : NULL;
}

// mount(8) knows its helpers' exit codes by other numbers.
static int mount_code(int r)
{
	return r == EXIT_USAGE ? 1 : r == EXIT_FAILURE ? 32 : r;
}

static int dispatch(int argc, char **argv)
{
	const struct applet *a = by_program_name(argv[0]);

	mount_is_helper = a == &applet_mount && strstr(argv[0], "mount.fcpull");
	if (mount_is_helper)
		return mount_code(run_applet(a, argc, argv));
	if (a)
		return run_applet(a, argc, argv);
	if (argc < 2) {
		help(0, NULL);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "help") || !strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		return help(argc - 2, argv + 2);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "version"))
		return puts("fcpull " FCPULL_VERSION) < 0;
	if (!strcmp(argv[1], "--list"))
		return list();
	if (!strcmp(argv[1], "--install"))
		return install(argc - 2, argv + 2);
	a = find(argv[1]);
	return a ? run_applet(a, argc - 1, argv + 1) : unknown(argv[1]);
}

// A descriptor that is closed at the start would be given to the next file that is opened, and be
// written to as an error message.
static void fill_standard_fds(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDWR);
	while (fd >= 0 && fd <= STDERR_FILENO);
	if (fd >= 0)
		close(fd);
}

// A reader that has left early is no failure. What went wrong before the last flush is known no more.
static int finish_output(void)
{
	struct pollfd p = { .fd = STDOUT_FILENO };
	bool before = ferror(stdout);

	if (!fflush(stdout) && !before)
		return 0;
	if (before && poll(&p, 1, 0) == 1 && p.revents & POLLERR)
		return 0;
	if (before)
		warn("the result could not be written whole");
	else if (errno != EPIPE)
		warn_errno(-errno, "write the result");
	return before || errno != EPIPE ? -EIO : 0;
}

int main(int argc, char **argv)
{
	int r;

	fill_standard_fds();
	boxinit_enter(argc, argv); // a container's pid 1 does not come back
	serve_enter(argc, argv);   // nor does a server
	signal(SIGPIPE, SIG_IGN);
	r = dispatch(argc, argv);
	return finish_output() && !r ? EXIT_FAILURE : r;
}
