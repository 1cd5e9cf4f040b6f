// credhelper.c - docker's credential helpers: programs that keep credentials elsewhere
//
// The helper's standard error is ours, so that it can tell the user something; its standard input
// and output are pipes that never block us: one poll loop feeds the one, drains the other, and watches
// the process itself, since a daemon that the helper leaves behind may keep the pipe open.
//
// Blockers: poll in converse(), for credhelper_seconds at most.
// SPDX-License-Identifier: Apache-2.0
#include "credhelper.h"
#include "json.h"
#include "log.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#define TOKEN_USER "<token>" // a helper's Secret is then an identity token

unsigned credhelper_seconds = 60;

bool credhelper_is_name(const char *name)
{
	size_t n =
		strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-");

	return n > 0 && n <= HELPER_NAME_MAX && !name[n] && *name != '.' && *name != '-' &&
		*name != '_';
}

// ---- the process ----

static bool is_program(const char *path)
{
	struct stat st;

	return stat(path, &st) == 0 && S_ISREG(st.st_mode) && access(path, X_OK) == 0;
}

// The program in $PATH, of which only absolute directories count: the working directory is not to
// say who gets the passwords. NULL when there is none. Caller frees.
static char *find_program(const char *name)
{
	const char *path = getenv("PATH");

	for (const char *p = path ? path : ""; *p;) {
		size_t n = strcspn(p, ":");
		cleanup_free char *full = xasprintf("%.*s/docker-credential-%s", (int)n, p, name);

		if (*p == '/' && is_program(full))
			return steal(&full);
		p += n + (p[n] == ':');
	}
	return NULL;
}

struct helper {
	const char *name, *action;
	pid_t pid;
	int pidfd, in, out; // -1: closed
	const struct buf *input;
	size_t sent;
	struct buf output;
};

static void close_fd(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

// SIGPIPE is ignored here and must not be there; nor may a blocked signal be.
static int spawn(const char *path, const char *action, int in, int out, pid_t *ret)
{
	extern char **environ;
	const char *base = strrchr(path, '/') + 1;
	char *argv[] = { (char *)(uintptr_t)base, (char *)(uintptr_t)action, NULL };
	posix_spawn_file_actions_t files;
	posix_spawnattr_t attr;
	sigset_t none, pipe_only;

	sigemptyset(&none);
	sigemptyset(&pipe_only);
	sigaddset(&pipe_only, SIGPIPE);
	posix_spawn_file_actions_init(&files);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_adddup2(&files, in, STDIN_FILENO);
	posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &pipe_only);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
	int e = posix_spawn(ret, path, &files, &attr, argv, environ);

	posix_spawn_file_actions_destroy(&files);
	posix_spawnattr_destroy(&attr);
	return -e;
}

static int start(struct helper *h)
{
	cleanup_free char *path = find_program(h->name);
	int in[2], out[2], r;

	if (!path)
		return -ENOENT;
	if (pipe2(in, O_CLOEXEC) < 0)
		return -errno;
	if (pipe2(out, O_CLOEXEC) < 0) {
		r = -errno;
		close(in[0]);
		close(in[1]);
		return r;
	}
	r = spawn(path, h->action, in[0], out[1], &h->pid);
	close(in[0]);
	close(out[1]);
	h->in = in[1];
	h->out = out[0];
	fcntl(h->in, F_SETFL, O_NONBLOCK);
	fcntl(h->out, F_SETFL, O_NONBLOCK);
	if (r == 0)
		h->pidfd = (int)syscall(SYS_pidfd_open, h->pid, 0);
	return r;
}

// A helper that does not want its input is no trouble (EPIPE).
static void feed(struct helper *h)
{
	ssize_t n = write(h->in, h->input->data + h->sent, h->input->len - h->sent);

	if (n > 0)
		h->sent += (size_t)n;
	if (h->sent == h->input->len || (n < 0 && errno != EAGAIN && errno != EINTR))
		close_fd(&h->in);
}

// What is there now.
static int drain(struct helper *h)
{
	for (;;) {
		ssize_t n =
			read(h->out, h->output.data + h->output.len, h->output.cap - h->output.len);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return 0;
		if (n <= 0) {
			close_fd(&h->out);
			return 0;
		}
		h->output.len += (size_t)n;
		if (h->output.len > HELPER_REPLY_MAX)
			return -EFBIG;
	}
}

static int converse(struct helper *h)
{
	uint64_t end = now_ns() + credhelper_seconds * NS_PER_SEC;
	int r = 0;

	// sized beforehand: growing would leave copies of the secret behind
	buf_reserve(&h->output, HELPER_REPLY_MAX + 1);
	for (;;) {
		struct pollfd fds[] = { { h->pidfd, POLLIN, 0 }, { h->in, POLLOUT, 0 },
			{ h->out, POLLIN, 0 } };
		uint64_t now = now_ns();

		if (now >= end)
			return -ETIMEDOUT;
		if (poll(fds, 3, (int)((end - now) / 1000000 + 1)) < 0 && errno != EINTR)
			return -errno;
		if (h->in >= 0 && fds[1].revents)
			feed(h);
		if (h->out >= 0 && (fds[2].revents || fds[0].revents))
			r = drain(h);
		if (r < 0 || (fds[0].revents && fds[0].revents != POLLNVAL))
			return r;
	}
}

static int finish(struct helper *h, int r)
{
	int status = -1;

	close_fd(&h->in);
	close_fd(&h->out);
	close_fd(&h->pidfd);
	if (h->pid <= 0)
		return r;
	if (r < 0)
		kill(h->pid, SIGKILL);
	while (waitpid(h->pid, &status, 0) < 0 && errno == EINTR)
		;
	return r < 0 ? r : WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static void secret_buf_fini(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_fini(b);
}

static int complain(const char *name, int r)
{
	switch (r) {
	case -ENOENT:
		warn("credential helper %s: there is no program docker-credential-%s in $PATH",
			log_quote(name), name);
		return r;
	case -ETIMEDOUT:
		warn("credential helper %s: it did not answer for %u s", log_quote(name),
			credhelper_seconds);
		return r;
	default: return warn_errno(r, "credential helper %s", log_quote(name));
	}
}

// Runs it: its exit status with what it wrote in *ret, to be overwritten; -errno logged.
static int run(const char *name, const char *action, const struct buf *input, struct buf *ret)
{
	struct helper h = { name, action, -1, -1, -1, -1, input, 0, { 0 } };
	int r = credhelper_is_name(name) ? 0 : -EINVAL;

	if (r == 0)
		r = start(&h);
	if (r == 0 && h.pidfd < 0)
		r = -errno;
	if (r == 0)
		r = converse(&h);
	r = finish(&h, r);
	if (r < 0) {
		secret_buf_fini(&h.output);
		return complain(name, r);
	}
	h.output.data[h.output.len] = 0;
	*ret = h.output;
	return r;
}

// ---- the protocol ----

// Helpers say so in words, on standard output (credentials.errCredentialsNotFoundMessage).
static bool is_not_found(const struct buf *b)
{
	static const char words[] = "credentials not found";

	return b->len > 0 && memmem(b->data, b->len, words, sizeof words - 1);
}

static int failed(const char *name, const char *action, int status, const struct buf *said)
{
	const char *p = (const char *)said->data;
	size_t n = said->len ? strcspn(p, "\r\n") : 0;

	return warn_errno(-EACCES, "credential helper %s: '%s' failed (exit %d)%s%s",
		log_quote(name), action, status, n ? ": " : "", n ? log_quote_n(p, n) : "");
}

// Some helpers compare the server's name with what they have byte by byte, so it is sent as it is.
static int take_server(const char *server, struct buf *input)
{
	size_t n = strlen(server);

	if (n == 0 || n > HELPER_SERVER_MAX || strpbrk(server, "\r\n"))
		return warn_errno(-EINVAL, "registry %s", log_quote(server));
	buf_add(input, server, n);
	return 0;
}

int credhelper_parse(const char *text, size_t n, struct creds *ret)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	int r = json_parse(text, n, NULL, &doc);

	if (r < 0)
		return -EBADMSG;
	const char *user = json_str(json_root(doc), "Username");
	const char *secret = json_str(json_root(doc), "Secret");

	if (!user || !secret || !*secret || strlen(user) > CREDS_FIELD_MAX ||
		strlen(secret) > CREDS_FIELD_MAX)
		return -EBADMSG;
	if (strcmp(user, TOKEN_USER) == 0) {
		ret->identity_token = xstrdup(secret);
		return 1;
	}
	if (!*user || strchr(user, ':')) // RFC 7617: no user has a colon
		return -EBADMSG;
	ret->user = xstrdup(user);
	ret->password = xstrdup(secret);
	return 1;
}

int credhelper_get(const char *name, const char *server, struct creds *ret)
{
	struct buf cleanup_buf input = { 0 };
	struct buf output = { 0 };
	int r = take_server(server, &input);

	if (r < 0)
		return r;
	int status = run(name, "get", &input, &output);

	if (status < 0)
		return status;
	if (status > 0 && is_not_found(&output))
		r = 0;
	else if (status > 0)
		r = failed(name, "get", status, &output);
	else
		r = credhelper_parse((char *)output.data, output.len, ret);
	if (r == -EBADMSG)
		warn("credential helper %s: the answer for %s is no JSON with Username and Secret",
			log_quote(name), log_quote(server));
	secret_buf_fini(&output);
	return r;
}

static int tell(const char *name, const char *action, const struct buf *input)
{
	struct buf output = { 0 };
	int status = run(name, action, input, &output);
	int r = status > 0 && !is_not_found(&output) ? failed(name, action, status, &output)
						     : MIN(status, 0);

	secret_buf_fini(&output);
	return r;
}

int credhelper_store(const char *name, const char *server, const struct creds *c)
{
	struct buf input = { 0 };

	if (strlen(server) > HELPER_SERVER_MAX)
		return warn_errno(-EINVAL, "registry %s", log_quote(server));
	buf_reserve(&input, 6 * (strlen(server) + strlen(c->user) + strlen(c->password)) + 64);
	json_open(&input, NULL, '{');
	json_put_str(&input, "ServerURL", server);
	json_put_str(&input, "Username", c->user);
	json_put_str(&input, "Secret", c->password);
	json_close(&input, '}');
	int r = tell(name, "store", &input);

	secret_buf_fini(&input);
	return r;
}

int credhelper_erase(const char *name, const char *server)
{
	struct buf cleanup_buf input = { 0 };
	int r = take_server(server, &input);

	return r < 0 ? r : tell(name, "erase", &input);
}
