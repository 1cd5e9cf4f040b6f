// creds.c - credentials for a registry: command line, and the files of docker and podman
// SPDX-License-Identifier: Apache-2.0
#include "creds.h"
#include "base64.h"
#include "json.h"
#include "log.h"

#include <fcntl.h>
#include <strings.h>

void secret_free(char *s)
{
	if (s)
		explicit_bzero(s, strlen(s));
	free(s);
}

void creds_fini(struct creds *c)
{
	secret_free(c->user);
	secret_free(c->password);
	secret_free(c->identity_token);
	*c = (struct creds){ 0 };
}

// The text that s is base64 of; NULL when it is not base64 or has a NUL in it. secret_free it.
static char *decode_text(const char *s)
{
	size_t n = strlen(s);
	cleanup_secret char *out = xcalloc(1, n / 4 * 3 + 4);
	ssize_t len;

	while (n > 0 && s[n - 1] == '\n')
		n--;
	len = base64_decode(s, n, out);
	return len < 0 || memchr(out, 0, (size_t)len) ? NULL : steal(&out);
}

char *creds_basic(const struct creds *c)
{
	cleanup_secret char *pair = xasprintf("%s:%s", c->user, c->password);
	size_t n = strlen(pair);
	char *out = xmalloc(6 + base64_len(n) + 1);

	memcpy(out, "Basic ", 6);
	base64_encode(pair, n, out + 6);
	return out;
}

// "user:password"; only the first colon counts (RFC 7617 section 2).
static int take_pair(const char *pair, struct creds *c)
{
	const char *colon = strchr(pair, ':');

	if (!colon || colon == pair || strlen(pair) > CREDS_FIELD_MAX)
		return -EBADMSG;
	c->user = xstrndup(pair, (size_t)(colon - pair));
	c->password = xstrdup(colon + 1);
	return 0;
}

// ---- one file ----

static bool is_docker_hub(const char *host, size_t n)
{
	static const char *const names[] = { "docker.io", "index.docker.io",
		"registry-1.docker.io" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i]) == n && strncasecmp(host, names[i], n) == 0)
			return true;
	return false;
}

// How well a key fits "host/repo": the length of what it says, 0 = not at all. Keys are "host",
// "host/namespace", and docker's old "https://host/v1/", of which only the host counts.
static size_t key_fit(const char *key, const char *host, const char *repo)
{
	const char *scheme = strstr(key, "://");
	const char *name = scheme ? scheme + 3 : key;
	size_t n = strcspn(name, "/"), host_len = strlen(host);
	const char *path = name[n] ? name + n + 1 : "";
	size_t path_len = strlen(path);
	bool old = scheme || strcmp(path, "v1/") == 0 || strcmp(path, "v2/") == 0;

	if (!(n == host_len && strncasecmp(name, host, n) == 0) &&
		!(is_docker_hub(name, n) && is_docker_hub(host, host_len)))
		return 0;
	if (old || path_len == 0)
		return 1;
	while (path_len > 0 && path[path_len - 1] == '/')
		path_len--;
	if (strncmp(repo, path, path_len) != 0 || (repo[path_len] && repo[path_len] != '/'))
		return 0;
	return 2 + path_len;
}

static int take_entry(yyjson_val *entry, struct creds *c)
{
	const char *auth = json_str(entry, "auth"), *user = json_str(entry, "username");
	const char *password = json_str(entry, "password"),
		   *token = json_str(entry, "identitytoken");
	int r = 0;

	if (token && *token && strlen(token) <= CREDS_FIELD_MAX)
		c->identity_token = xstrdup(token);
	if (auth && *auth) {
		cleanup_secret char *pair = decode_text(auth);

		r = pair ? take_pair(pair, c) : -EBADMSG;
	} else if (user && *user && password) {
		c->user = xstrdup(user);
		c->password = xstrdup(password);
	}
	return r < 0 && !c->identity_token ? r : c->user || c->identity_token;
}

static const char *helper_of(yyjson_val *root, const char *host)
{
	yyjson_val *helpers = json_obj(root, "credHelpers"), *key;
	yyjson_obj_iter it = yyjson_obj_iter_with(helpers);

	while (helpers && (key = yyjson_obj_iter_next(&it)))
		if (json_str_of(key) && key_fit(json_str_of(key), host, "") > 0)
			return json_str_of(yyjson_obj_iter_get_val(key));
	return json_str(root, "credsStore");
}

static bool has_helper(yyjson_val *root, const char *host, char **ret_helper)
{
	const char *helper = helper_of(root, host);

	*ret_helper = helper && *helper ? xstrdup(helper) : NULL;
	return *ret_helper;
}

int creds_parse(const char *text, size_t n, const char *host, const char *repo, struct creds *ret,
	char **ret_helper)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	int r = json_parse(text, n, NULL, &doc);
	struct creds c = { 0 };
	size_t best = 0;

	*ret_helper = NULL;
	if (r < 0)
		return r;
	yyjson_val *auths = json_obj(json_root(doc), "auths"), *key, *entry = NULL;
	yyjson_obj_iter it = yyjson_obj_iter_with(auths);

	while (auths && (key = yyjson_obj_iter_next(&it))) {
		size_t fit = json_str_of(key) ? key_fit(json_str_of(key), host, repo) : 0;

		if (fit > best) {
			best = fit;
			entry = yyjson_obj_iter_get_val(key);
		}
	}
	r = entry ? take_entry(entry, &c) : 0;
	if (r == 1)
		*ret = c;
	else
		creds_fini(&c);
	if (r == 0)
		has_helper(json_root(doc), host, ret_helper);
	return r;
}

// ---- which file ----

// name: of the file, for messages.
static int look_in_text(const char *text, size_t n, const char *name, const char *host,
	const char *repo, struct creds *ret)
{
	cleanup_free char *helper = NULL;
	int r = creds_parse(text, n, host, repo, ret, &helper);

	if (r < 0)
		return warn_errno(r, "credentials file %s: %s", log_quote(name),
			r == -EBADMSG
				? "it is no valid JSON, or its 'auth' is not base64 of USER:PASSWORD"
				: "");
	if (r == 1)
		debug("credentials for %s from %s", log_quote(host), log_quote(name));
	if (helper)
		warn("%s names the credential helper %s for %s: helpers are not supported yet, "
		     "going on without credentials"
		     " (--creds or --authfile give them)",
			log_quote(name), log_quote(helper), log_quote(host));
	return r;
}

// 1 found, 0 not. A file that is not there is not an error unless `named` on the command line.
static int look_in(
	const char *path, bool named, const char *host, const char *repo, struct creds *ret)
{
	char *text;
	size_t n;
	int r = read_file_at(AT_FDCWD, path, AUTHFILE_MAX, &text, &n);

	if ((r == -ENOENT || r == -ENOTDIR || r == -EACCES) && !named)
		return 0;
	if (r < 0)
		return warn_errno(r, "credentials file %s", log_quote(path));
	r = look_in_text(text, n, path, host, repo, ret);
	explicit_bzero(text, n);
	free(text);
	return r;
}

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

// base/sub, base NULL = $HOME/home_sub. NULL when there is neither. Caller frees.
static char *place(const char *base, const char *sub, const char *home_sub)
{
	const char *home = env("HOME");

	if (base)
		return xasprintf("%s/%s", base, sub);
	return home && home_sub ? xasprintf("%s/%s", home, home_sub) : NULL;
}

static int from_command_line(const struct net_opts *net, struct creds *ret)
{
	const char *colon = strchr(net->creds, ':');

	if (net->password && colon) {
		warn("--creds has a password already: with --password-stdin it has only the user");
		return -EINVAL;
	}
	if (colon == net->creds || !*net->creds) {
		warn("--creds is USER[:PASSWORD], and the user is missing");
		return -EINVAL;
	}
	ret->user = xstrndup(net->creds, colon ? (size_t)(colon - net->creds) : strlen(net->creds));
	ret->password = xstrdup(net->password ? net->password : colon ? colon + 1 : "");
	return 0;
}

int creds_find(const char *host, const char *repo, const struct net_opts *net, struct creds *ret)
{
	const char *file = net->authfile ? net->authfile : env("REGISTRY_AUTH_FILE");
	char *places[] = {
		place(env("XDG_RUNTIME_DIR"), "containers/auth.json", NULL),
		place(env("XDG_CONFIG_HOME"), "containers/auth.json",
			".config/containers/auth.json"),
		place(env("DOCKER_CONFIG"), "config.json", ".docker/config.json"),
	};
	int r = 0;

	*ret = (struct creds){ 0 };
	if (net->creds)
		r = from_command_line(net, ret);
	else if (net->authfile && net->in_memory)
		r = look_in_text(file, strlen(file), "in memory", host, repo, ret);
	else if (file)
		r = look_in(file, net->authfile != NULL, host, repo, ret);
	for (size_t i = 0; i < ARRAY_LEN(places); i++) {
		if (!net->creds && !file && r == 0 && places[i])
			r = look_in(places[i], false, host, repo, ret);
		free(places[i]);
	}
	return MIN(r, 0);
}
