// env.c - a container's environment
// SPDX-License-Identifier: Apache-2.0
#include "env.h"

#include <fcntl.h>

#include "log.h"

#define ENV_FILE_MAX (1u << 20)

#define refuse(...) (warn(__VA_ARGS__), -EINVAL)

// ---- files: docker's format ----

static int take_line(const char *path, unsigned line, char *s, struct opt_list *env)
{
	size_t len;

	s += strspn(s, " \t");
	if (!*s || *s == '#')
		return 0;
	len = strcspn(s, "=");
	if (!len || strcspn(s, " \t") < len)
		return refuse("--env-file %s, line %u: %s", log_quote(path), line,
			len ? "white space in a variable's name" : "no name before '='");
	return opt_list_add(&(struct opt){ .to = env }, xstrdup(s));
}

static int read_env_file(const char *path, struct opt_list *env)
{
	cleanup_free char *text = NULL;
	unsigned line = 0;
	size_t len;
	int r = read_file_at(AT_FDCWD, path, ENV_FILE_MAX, &text, &len);

	if (r)
		return warn_errno(r, "--env-file %s", log_quote(path));
	if (memchr(text, 0, len))
		return refuse("--env-file %s: a NUL byte", log_quote(path));
	char *s = !strncmp(text, "\xef\xbb\xbf", 3) ? text + 3 : text; // docker's tolerance
	while (s && !r) {
		char *end = strchr(s, '\n');

		if (end)
			*end++ = 0;
		len = strlen(s);
		if (len && s[len - 1] == '\r')
			s[len - 1] = 0;
		r = take_line(path, ++line, s, env);
		s = end;
	}
	return r;
}

int env_gather(const struct opt_list *files, struct opt_list *env)
{
	struct opt_list all = { 0 };
	int r = 0;

	for (size_t i = 0; i < files->n && !r; i++)
		r = read_env_file(files->v[i], &all);
	for (size_t i = 0; i < env->n; i++)
		opt_list_add(&(struct opt){ .to = &all }, env->v[i]);
	free(env->v);
	*env = all;
	return r;
}

// ---- all of it ----

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

char **env_make(char *const *base, const struct opt_list *changes)
{
	size_t max = changes->n + 1, n = 0;
	const char **env;

	for (char *const *s = base; s && *s; s++)
		max++;
	env = xcalloc(max, sizeof *env);
	for (char *const *s = base; s && *s; s++)
		if (strchr(*s, '=') && **s != '=')
			set_env(env, &n, *s);
	for (size_t i = 0; i < changes->n; i++) {
		const char *s = changes->v[i], *own;

		if (strchr(s, '='))
			set_env(env, &n, s);
		else if ((own = getenv(s)))
			set_env(env, &n, xasprintf("%s=%s", s, own));
	}
	return (char **)env;
}

char **env_base(const struct image_config *c, bool tty)
{
	char **env = xcalloc(c->n_env + 3, sizeof *env);
	size_t n = 0;

	env[n++] = (char *)"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	if (tty)
		env[n++] = (char *)"TERM=xterm";
	for (size_t i = 0; i < c->n_env; i++)
		env[n++] = c->env[i];
	return env;
}

char **env_args(const char *name, const struct image_config *c, const char *entrypoint, int argc,
	char **argv)
{
	char **args = xcalloc(c->n_entrypoint + c->n_cmd + (size_t)argc + 2, sizeof *args);
	size_t n = 0;

	if (entrypoint && *entrypoint)
		args[n++] = (char *)entrypoint;
	for (size_t i = 0; !entrypoint && i < c->n_entrypoint; i++)
		args[n++] = c->entrypoint[i];
	for (int i = 0; i < argc; i++)
		args[n++] = argv[i];
	for (size_t i = 0; !argc && !entrypoint && i < c->n_cmd; i++)
		args[n++] = c->cmd[i];
	if (n)
		return args;
	warn("%s names no command; give one", name);
	free(args);
	return NULL;
}
