// convjob.c - a conversion in a process of its own: started, followed, bounded, judged
//
// Between fork and exec only what is async-signal-safe: the service has threads.
// SPDX-License-Identifier: Apache-2.0
#include "convjob.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "log.h"

extern char **environ;

enum { ARGS = 32, START_FAILED = 126, STDOUT_MAX = 64 << 10, LINE_MAX_BYTES = 4096 };

// ---- its arguments and environment ----

struct args {
	const char *v[ARGS];
	size_t n;
	char threads[24];
	char *record, *trace;
};

static void add(struct args *a, const char *name, const char *value)
{
	if (!value)
		return;
	a->v[a->n++] = name;
	a->v[a->n++] = value;
}

// The stored trace of the image's repository, or NULL. Caller frees.
static char *trace_of(const char *dir, const char *image)
{
	const char *colon = strrchr(image, ':'); // of the tag: it is always there
	char *path;

	if (!dir || !colon)
		return NULL;
	path = xasprintf("%s/%.*s.trace", dir, (int)(colon - image), image);
	if (!access(path, R_OK))
		return path;
	free(path);
	return NULL;
}

static void make_args(struct args *a, const struct convjob_conf *c, const struct job *j)
{
	*a = (struct args){
		.v = { "fcpull", "convert", "--if-needed", "--json", "--progress=json" }, .n = 5
	};
	add(a, "--platform", j->platform);
	add(a, "--authfile", c->authfile);
	add(a, "--cacert", c->cacert);
	add(a, "--codec", c->codec);
	if (c->plain_http)
		a->v[a->n++] = "--plain-http";
	if (c->threads) {
		snprintf(a->threads, sizeof a->threads, "%llu", (unsigned long long)c->threads);
		add(a, "--jobs", a->threads);
	}
	if (c->record)
		a->v[a->n++] = a->record = xasprintf("--record-run=%s", c->record);
	a->trace = trace_of(c->traces, j->image);
	add(a, "--trace", a->trace);
	a->v[a->n++] = "--";
	a->v[a->n++] = j->image;
}

// Ours, with the scratch directory. Caller frees the list and its first string.
static char **make_env(const char *tmp)
{
	size_t n = 0, m = 1;
	char **v;

	while (environ[n])
		n++;
	v = xcalloc(n + 2, sizeof *v);
	v[0] = xasprintf("TMPDIR=%s", tmp);
	for (size_t i = 0; i < n; i++)
		if (strncmp(environ[i], "TMPDIR=", 7))
			v[m++] = environ[i];
	return v;
}

// ---- the process ----

struct birth {
	const struct convjob_conf *conf;
	const struct cgroup *group;
	char *const *argv, *const *env;
	int out, err, in, lock;
	pid_t parent;
};

static void limit(int what, uint64_t value)
{
	struct rlimit was, l;

	if (!value || getrlimit(what, &was))
		return;
	l.rlim_cur = l.rlim_max = MIN((rlim_t)value, was.rlim_max);
	setrlimit(what, &l);
}

static void say_oom_victim(void)
{
	int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "800", 3) < 0) {
	} // a hint
	if (fd >= 0)
		close(fd);
}

static _Noreturn void be_child(const struct birth *b)
{
	static const struct rlimit no_core;
	sigset_t none;

	sigemptyset(&none);
	prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0);
	if (getppid() != b->parent)
		_exit(START_FAILED);
	setpgid(0, 0);
	setrlimit(RLIMIT_CORE, &no_core);
	if (cgroup_enter(b->group))
		_exit(START_FAILED);
	if (!b->group->n && !b->conf->record) // what an image runs may reserve as much as it likes
		limit(RLIMIT_AS, b->conf->memory);
	limit(RLIMIT_FSIZE, b->conf->file_size);
	say_oom_victim();
	sigprocmask(SIG_SETMASK, &none, NULL);
	if (dup2(b->in, STDIN_FILENO) < 0 || dup2(b->out, STDOUT_FILENO) < 0 ||
		dup2(b->err, STDERR_FILENO) < 0 || fcntl(b->lock, F_SETFD, 0))
		_exit(START_FAILED);
	execve("/proc/self/exe", b->argv, b->env);
	_exit(START_FAILED);
}

static int spawn(struct convjob *c, struct birth *b)
{
	int out[2], err[2] = { -1, -1 };
	cleanup_fd int in = open("/dev/null", O_RDONLY | O_CLOEXEC);
	int r;

	if (in < 0 || pipe2(out, O_CLOEXEC))
		return warn_errno(-errno, "make a pipe");
	r = pipe2(err, O_CLOEXEC) ? warn_errno(-errno, "make a pipe") : 0;
	b->in = in;
	b->out = out[1];
	b->err = err[1];
	c->pid = r ? -1 : fork();
	if (!c->pid)
		be_child(b);
	if (!r && c->pid < 0)
		r = warn_errno(-errno, "start a conversion");
	if (!r) {
		setpgid(c->pid, c->pid); // whoever comes first
		c->out = out[0];
		c->err = err[0];
		fcntl(c->out, F_SETFL, O_NONBLOCK);
		fcntl(c->err, F_SETFL, O_NONBLOCK);
		close(err[1]);
	} else {
		close(out[0]);
		if (err[0] >= 0)
			close(err[0]), close(err[1]);
	}
	close(out[1]);
	return r;
}

bool convjob_groups(uint64_t memory)
{
	cleanup_free char *name = xasprintf("serve-%d", (int)getpid());
	struct cgroup g = { 0 };
	int r;

	if (!memory)
		return false;
	{
		cleanup_hush bool hush = log_hush();
		r = cgroup_make(name, &(struct cgroup_limits){ .memory = memory }, &g);
	}
	if (r)
		info("conversions have no control groups here (%s): --memory is of their addresses",
			log_last());
	else
		cgroup_free(&g);
	return !r;
}

// -errno logged.
static int make_group(struct convjob *c, const struct convjob_conf *conf)
{
	cleanup_free char *name = xasprintf("serve-%d-%s", (int)getpid(), c->job.id);

	return conf->cgroups
		? cgroup_make(name, &(struct cgroup_limits){ .memory = conf->memory }, &c->group)
		: 0;
}

int convjob_start(const struct convjob_conf *conf, const struct job *j, const char *tmp, int lock,
	struct convjob **ret)
{
	struct convjob *c = xcalloc(1, sizeof *c);
	struct birth b = { .conf = conf, .lock = lock, .parent = getpid() };
	struct args a;
	char **env;
	int r;

	*c = (struct convjob){
		.job = *j, .out = -1, .err = -1, .begun = (int64_t)(now_ns() / 1000000000)
	};
	c->tmp = xasprintf("%s/%s", tmp, j->id);
	if (mkdir(c->tmp, 0700) && errno != EEXIST) {
		r = warn_errno(-errno, "make %s", c->tmp);
		convjob_free(c);
		return r;
	}
	env = make_env(c->tmp);
	make_args(&a, conf, j);
	b.argv = (char *const *)a.v;
	b.env = env;
	b.group = &c->group;
	r = make_group(c, conf);
	if (!r)
		r = spawn(c, &b);
	free(env[0]);
	free(env);
	free(a.record);
	free(a.trace);
	if (r) {
		convjob_free(c);
		return r;
	}
	*ret = c;
	return 0;
}

// ---- what it says ----

static bool take_progress(struct convjob *c, const char *text, size_t n)
{
	cleanup_json yyjson_doc *doc = NULL;
	const char *what;

	if (*text != '{' || json_parse(text, n, NULL, &doc))
		return false;
	what = json_str(json_root(doc), "what");
	if (!json_str(json_root(doc), "event") || !what)
		return false;
	snprintf(c->step, sizeof c->step, "%s", what);
	if (json_u64(json_root(doc), "done", &c->done))
		c->done = 0;
	if (json_u64(json_root(doc), "total", &c->total))
		c->total = 0;
	return true;
}

// Of what it says, the last lines that have room are kept; what it was when it failed is among them.
static void take_message(struct convjob *c, const char *text, size_t n)
{
	size_t have = strlen(c->error);

	if (n > 8 && !memcmp(text, "fcpull: ", 8)) {
		text += 8;
		n -= 8;
	}
	n = MIN(n, (size_t)JOB_TEXT_MAX / 2);
	if (have + n + 2 > JOB_TEXT_MAX)
		have = 0;
	if (have) {
		memcpy(c->error + have, "; ", 2);
		have += 2;
	}
	for (size_t i = 0; i < n; i++)
		c->error[have + i] =
			(unsigned char)text[i] < ' ' || text[i] == 0x7f ? '?' : text[i];
	c->error[have + n] = 0;
}

static void take_line(struct convjob *c)
{
	const char *text = buf_str(&c->line);

	if (c->line.len && !take_progress(c, text, c->line.len)) {
		take_message(c, text, c->line.len);
		debug("%s: %s", c->job.image, log_quote(text));
	}
	c->line.len = 0;
}

static void take_stderr(struct convjob *c, const char *p, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		if (p[i] == '\n')
			take_line(c);
		else if (c->line.len < LINE_MAX_BYTES)
			buf_add(&c->line, p + i, 1);
	}
}

static void take_stdout(struct convjob *c, const char *p, size_t n)
{
	buf_add(&c->stdout_text, p, MIN(n, STDOUT_MAX - c->stdout_text.len));
}

// Reads what is there, at most so much at once that others have their turn.
static void drain(struct convjob *c, int *fd, void (*take)(struct convjob *, const char *, size_t))
{
	char text[4096];

	for (int i = 0; *fd >= 0 && i < 64; i++) {
		ssize_t n = read(*fd, text, sizeof text);

		if (n > 0) {
			take(c, text, (size_t)n);
		} else if (!n || (errno != EAGAIN && errno != EINTR)) {
			close(*fd);
			*fd = -1;
		} else {
			return;
		}
	}
}

void convjob_read(struct convjob *c)
{
	drain(c, &c->out, take_stdout);
	drain(c, &c->err, take_stderr);
}

// ---- its end ----

void convjob_kill(struct convjob *c, int sig, const char *why)
{
	if (!*c->killed)
		snprintf(c->killed, sizeof c->killed, "%s", why);
	kill(-c->pid, sig);
}

int convjob_parse(const char *text, size_t n, struct job_result *ret)
{
	cleanup_json yyjson_doc *doc = NULL;
	const char *outcome, *digest;
	yyjson_val *v;

	*ret = (struct job_result){ 0 };
	if (json_parse(text, n, NULL, &doc))
		return -EBADMSG;
	v = json_root(doc);
	outcome = json_str(v, "outcome");
	digest = json_str(v, "digest");
	if (!outcome || strlen(outcome) >= sizeof ret->outcome || !digest ||
		strlen(digest) >= sizeof ret->digest)
		return -EBADMSG;
	memcpy(ret->outcome, outcome, strlen(outcome) + 1);
	memcpy(ret->digest, digest, strlen(digest) + 1);
	if (json_u64(v, "size", &ret->size) || json_u64(v, "decodedSize", &ret->decoded) ||
		json_u64(v, "dataSize", &ret->data) || json_u64(v, "indexSize", &ret->index) ||
		json_u64(v, "bootSize", &ret->boot) || json_u64(v, "entries", &ret->entries))
		return -EBADMSG;
	return 0;
}

bool convjob_lasts(const char *text, size_t n)
{
	cleanup_json yyjson_doc *doc = NULL;

	return !json_parse(text, n, NULL, &doc) && json_bool(json_root(doc), "lasting", false);
}

// What it says when an allocation fails: its addresses are limited, or the host has no more.
static bool is_short_of_memory(const struct convjob *c)
{
	return !*c->killed && !c->group.n &&
		(strstr(c->error, "out of memory") || strstr(c->error, strerror(ENOMEM)));
}

// Its error, from how it ended and what it said.
static void explain(struct convjob *c, int status)
{
	char said[JOB_TEXT_MAX + 1], how[160];

	if (*c->killed)
		snprintf(how, sizeof how, "%s", c->killed);
	else if (WIFSIGNALED(status))
		snprintf(how, sizeof how, "the conversion died of signal %d%s", WTERMSIG(status),
			WTERMSIG(status) == SIGKILL ? " (of too little memory, perhaps)"
				: WTERMSIG(status) == SIGXFSZ
				? " (a file would be larger than --max-file)"
				: "");
	else if (WEXITSTATUS(status) == 0)
		snprintf(how, sizeof how, "the conversion did not say what it has done");
	else
		snprintf(how, sizeof how, "exit code %d", WEXITSTATUS(status));
	memcpy(said, c->error, sizeof said);
	if (is_short_of_memory(c)) {
		c->lasting = true;
		snprintf(c->error, sizeof c->error, "it needs more addresses than --memory: %.300s",
			said);
		return;
	}
	if (*said && WIFEXITED(status) && WEXITSTATUS(status) && !*c->killed)
		return;
	snprintf(c->error, sizeof c->error, "%s%s%.300s", how, *said ? ": " : "", said);
}

int convjob_end(struct convjob *c, struct job_result *ret)
{
	siginfo_t is = { 0 };
	int status;

	if (waitid(P_PID, (id_t)c->pid, &is, WEXITED | WNOHANG | WNOWAIT) || !is.si_pid)
		return -EAGAIN;
	kill(-c->pid,
		SIGKILL); // what it may have left behind; its number is its own until it is reaped
	convjob_read(c);
	take_line(c);
	if (waitpid(c->pid, &status, 0) < 0)
		status = 0;
	if (WIFEXITED(status) && !WEXITSTATUS(status) && !*c->killed &&
		!convjob_parse((const char *)c->stdout_text.data, c->stdout_text.len, ret))
		return 0;
	if (cgroup_oom_kills(&c->group) && !*c->killed) {
		snprintf(c->killed, sizeof c->killed, "it needs more memory than --memory");
		c->lasting = true;
	}
	c->lasting |= !*c->killed &&
		(WIFSIGNALED(status) ? WTERMSIG(status) == SIGXFSZ
				     : convjob_lasts((const char *)c->stdout_text.data,
					       c->stdout_text.len));
	explain(c, status);
	return -ECANCELED;
}

void convjob_free(struct convjob *c)
{
	if (c->out >= 0)
		close(c->out);
	if (c->err >= 0)
		close(c->err);
	if (c->tmp && remove_tree_at(AT_FDCWD, c->tmp))
		warn("%s could not be removed", c->tmp);
	cgroup_free(&c->group);
	free(c->tmp);
	buf_fini(&c->stdout_text);
	buf_fini(&c->line);
	free(c);
}
