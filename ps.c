// ps.c - ps, stop, wait, rm: the containers that `run` has started
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/syscall.h>
#include <time.h>

#include "box.h"
#include "containers.h"
#include "fcpull.h"
#include "json.h"
#include "log.h"
#include "mnt.h"

// ---- ps ----

static bool ps_all, ps_json;

static const struct opt ps_rows[] = {
	{ 'a', "all", NULL, "those that have ended, too", opt_flag, &ps_all, false },
	{ 0, "json", NULL, "as JSON", opt_flag, &ps_json, false },
	{ 0 },
};

enum { COLUMNS = 5 };

// Nothing that a terminal would take for more than text.
static char *printable(const char *s)
{
	char *copy = xstrdup(s);

	for (char *p = copy; *p; p++)
		if ((unsigned char)*p < ' ' || *p == 0x7f)
			*p = ' ';
	return copy;
}

static char *age(uint64_t since)
{
	static const struct {
		uint64_t seconds;
		const char *name;
	} units[] = { { 86400, "day" }, { 3600, "hour" }, { 60, "minute" }, { 1, "second" } };
	uint64_t now = (uint64_t)time(NULL), s = now > since ? now - since : 0, n;
	size_t i = 0;

	while (i < ARRAY_LEN(units) - 1 && s < units[i].seconds)
		i++;
	n = s / units[i].seconds;
	return xasprintf("%ju %s%s", (uintmax_t)n, units[i].name, n == 1 ? "" : "s");
}

static char *status_of(const struct container *c)
{
	cleanup_free char *since = age(c->created);

	if (c->running)
		return c->init ? xasprintf("up %s", since) : xstrdup("starting");
	return xasprintf("exited (%d)", c->exit_code);
}

static void fill_row(const struct container *c, char *row[static COLUMNS])
{
	row[0] = xstrdup(c->id);
	row[1] = printable(c->name);
	row[2] = status_of(c);
	row[3] = printable(c->image);
	row[4] = printable(c->command);
}

static void print_table(const struct container *v, size_t n)
{
	static char *const head[COLUMNS] = { (char *)"ID", (char *)"NAME", (char *)"STATUS",
		(char *)"IMAGE", (char *)"COMMAND" };
	char *(*rows)[COLUMNS] = xcalloc(n + 1, sizeof *rows);
	size_t width[COLUMNS] = { 0 };

	memcpy(rows[0], head, sizeof head);
	for (size_t i = 0; i < n; i++)
		fill_row(&v[i], rows[i + 1]);
	for (size_t i = 0; i <= n; i++)
		for (size_t k = 0; k < COLUMNS; k++)
			width[k] = MAX(width[k], strlen(rows[i][k]));
	for (size_t i = 0; i <= n; i++)
		for (size_t k = 0; k < COLUMNS; k++)
			printf("%-*s%s", k < COLUMNS - 1 ? (int)width[k] : 0, rows[i][k],
				k < COLUMNS - 1 ? "  " : "\n");
	for (size_t i = 1; i <= n; i++)
		for (size_t k = 0; k < COLUMNS; k++)
			free(rows[i][k]);
	free(rows);
}

static void print_json(const struct container *v, size_t n)
{
	cleanup_buf struct buf b = { 0 };

	json_open(&b, NULL, '[');
	for (size_t i = 0; i < n; i++) {
		const struct container *c = &v[i];

		json_open(&b, NULL, '{');
		json_put_str(&b, "id", c->id);
		json_put_str(&b, "name", c->name);
		json_put_str(&b, "image", c->image);
		json_put_str(&b, "command", c->command);
		json_put_str(&b, "state",
			!c->running	  ? "exited"
				: c->init ? "running"
					  : "starting");
		json_put_bool(&b, "detached", c->detached);
		json_put_i64(&b, "pid", c->running ? c->init : 0);
		json_put_u64(&b, "created", c->created);
		if (!c->running)
			json_put_i64(&b, "exit_code", c->exit_code);
		json_close(&b, '}');
	}
	json_close(&b, ']');
	puts(buf_str(&b));
}

static int ps(int argc, char **argv)
{
	cleanup_fd int dir = -1;
	struct container *v;
	size_t n, kept = 0;

	(void)argv;
	if (argc) {
		warn("ps takes no arguments; try 'fcpull ps --help'");
		return EXIT_USAGE;
	}
	dir = containers_dir();
	if (dir < 0 || containers_list(dir, &v, &n))
		return EXIT_FAILURE;
	for (size_t i = 0; i < n; i++)
		if (ps_all || v[i].running)
			v[kept++] = v[i];
		else
			container_fini(&v[i]);
	if (ps_json)
		print_json(v, kept);
	else if (opt_quiet)
		for (size_t i = 0; i < kept; i++)
			puts(v[i].id);
	else
		print_table(v, kept);
	containers_free(v, kept);
	containers_tidy();
	return 0;
}

const struct applet applet_ps = {
	"ps",
	"",
	"list the containers that run",
	ps_rows,
	"With -q only their ids, a line each.\n",
	ps,
	false,
	0,
};

// ---- what the others share ----

static bool every; // -a of stop and rm

#define EVERY_ROW                                                                       \
	{                                                                               \
		'a', "all", NULL, "all of them, without names", opt_flag, &every, false \
	}

typedef int container_fn(int dir, struct container *c);

static int for_every(int dir, container_fn *fn)
{
	struct container *v;
	size_t n;
	int code = 0;

	if (containers_list(dir, &v, &n))
		return EXIT_FAILURE;
	for (size_t i = 0; i < n; i++)
		if (fn(dir, &v[i]))
			code = EXIT_FAILURE;
	containers_free(v, n);
	return code;
}

static int for_named(int dir, int argc, char **argv, container_fn *fn)
{
	int code = 0;

	for (int i = 0; i < argc; i++) {
		struct container c;

		if (container_find(dir, argv[i], &c)) {
			code = EXIT_FAILURE;
			continue;
		}
		if (fn(dir, &c))
			code = EXIT_FAILURE;
		container_fini(&c);
	}
	return code;
}

// Each of the names in turn; what goes wrong with one does not keep the others.
static int for_each(int argc, char **argv, const char *verb, container_fn *fn)
{
	cleanup_fd int dir = -1;
	int code;

	if (every ? argc > 0 : argc < 1) {
		warn("%s takes %s; try 'fcpull %s --help'", verb,
			every ? "names or --all, not both" : "a CONTAINER or more", verb);
		return EXIT_USAGE;
	}
	dir = containers_dir();
	if (dir < 0)
		return EXIT_FAILURE;
	code = every ? for_every(dir, fn) : for_named(dir, argc, argv, fn);
	containers_tidy();
	return code;
}

// To pid 1, which hands all but KILL on to the payload; before there is one, to the process that is
// about to start it. That the record is locked after the
// descriptor was opened says that the number is still its own.
static int send_signal(int dir, const struct container *c, int sig)
{
	cleanup_fd int fd = (int)syscall(SYS_pidfd_open, c->init ? c->init : c->monitor, 0);
	struct container again;
	int r;

	if (fd < 0)
		return errno == ESRCH ? 0 : -errno;
	if (container_find(dir, c->id, &again))
		return 0;
	r = again.running ? sys_pidfd_send_signal(fd, sig) : 0;
	container_fini(&again);
	return r == -ESRCH ? 0 : r;
}

enum { KILL_MS = 30000 };

static int kill_it(int dir, struct container *c)
{
	int r = send_signal(dir, c, SIGKILL);

	if (!r)
		r = container_wait(dir, c, KILL_MS);
	return r && r != -ENOENT ? warn_errno(r, "kill container %s", c->name) : 0;
}

// ---- stop ----

static const char *stop_time;

static const struct opt stop_rows[] = {
	EVERY_ROW,
	{ 't', "time", "SECONDS", "before it is killed (else --stop-timeout's)", opt_str,
		&stop_time, false },
	{ 0 },
};

static int stop_one(int dir, struct container *c)
{
	uint64_t seconds = c->stop_timeout;
	char *end = NULL;
	int r;

	if (stop_time)
		seconds = strtoull(stop_time, &end, 10);
	if (!c->running) {
		if (!every)
			puts(c->name);
		return 0;
	}
	r = send_signal(dir, c, c->stop_signal);
	if (r)
		return warn_errno(r, "stop container %s", c->name);
	r = container_wait(dir, c, (int64_t)(MIN(seconds, 1000000u) * 1000));
	if (r == -ETIMEDOUT)
		r = kill_it(dir, c);
	else if (r == -ENOENT)
		r = 0;
	if (!r)
		puts(c->name);
	return r;
}

static int stop(int argc, char **argv)
{
	if (stop_time && (!*stop_time || strspn(stop_time, "0123456789") != strlen(stop_time))) {
		warn("--time is a number of seconds, not %s", log_quote(stop_time));
		return EXIT_USAGE;
	}
	return for_each(argc, argv, "stop", stop_one);
}

const struct applet applet_stop = {
	"stop",
	"CONTAINER...|-a",
	"end containers: the stop signal, after a while KILL",
	stop_rows,
	NULL,
	stop,
	false,
	0,
};

// ---- wait ----

static const struct opt wait_rows[] = { { 0 } };

static int wait_one(int dir, struct container *c)
{
	int r = c->running ? container_wait(dir, c, -1) : 0;

	if (r)
		return warn_errno(r, "wait for container %s", c->name);
	printf("%d\n", c->exit_code);
	fflush(stdout);
	return 0;
}

static int wait_for(int argc, char **argv)
{
	return for_each(argc, argv, "wait", wait_one);
}

const struct applet applet_wait = {
	"wait",
	"CONTAINER...",
	"wait until containers have ended; print their exit codes",
	wait_rows,
	NULL,
	wait_for,
	false,
	0,
};

// ---- rm ----

static bool rm_force;

static const struct opt rm_rows[] = {
	EVERY_ROW,
	{ 'f', "force", NULL, "kill those that run", opt_flag, &rm_force, false },
	{ 0 },
};

static int rm_one(int dir, struct container *c)
{
	int r = 0;

	if (c->running && !rm_force) {
		warn("container %s is running ('fcpull stop' ends it, 'rm -f' kills it)", c->name);
		return -EBUSY;
	}
	if (c->running)
		r = kill_it(dir, c);
	if (r)
		return r;
	container_remove(dir, c->id);
	puts(c->name);
	return 0;
}

static int rm(int argc, char **argv)
{
	return for_each(argc, argv, "rm", rm_one);
}

const struct applet applet_rm = {
	"rm",
	"CONTAINER...|-a",
	"remove containers that have ended",
	rm_rows,
	NULL,
	rm,
	false,
	0,
};
