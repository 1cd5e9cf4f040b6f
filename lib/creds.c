// creds.c - credentials for a registry, and the files that docker and podman keep them in
// SPDX-License-Identifier: Apache-2.0
#include "creds.h"
#include "base64.h"
#include "json.h"
#include "log.h"

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
	free(c->from);
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

	memcpy(out, "Basic ", sizeof "Basic ");
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
	bool same = n == host_len && strncasecmp(name, host, n) == 0;

	if (!same && !(is_docker_hub(name, n) && is_docker_hub(host, host_len)))
		return 0;
	while (path_len > 0 && path[path_len - 1] == '/')
		path_len--;
	if (old || path_len == 0)
		return 1 + !old + same;
	if (strncmp(repo, path, path_len) != 0 || (repo[path_len] && repo[path_len] != '/'))
		return 0;
	return 4 + path_len;
}

bool creds_key_is(const char *key, const char *host, const char *ns)
{
	cleanup_free char *own = *ns ? xasprintf("%s/%s", host, ns) : NULL;
	size_t fit = key_fit(key, host, "");

	return own ? strcmp(key, own) == 0 : fit > 0 && fit < 4;
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

// credHelpers name one for a registry, and win over what the file itself holds; an empty name means
// that file. *ret_named: it says something of this registry.
static const char *named_helper(yyjson_val *root, const char *host, bool *ret_named)
{
	yyjson_val *helpers = json_obj(root, "credHelpers"), *key;
	yyjson_obj_iter it = yyjson_obj_iter_with(helpers);
	const char *found = NULL;
	size_t best = 0;

	while (helpers && (key = yyjson_obj_iter_next(&it))) {
		size_t fit = json_str_of(key) ? key_fit(json_str_of(key), host, "") : 0;

		if (fit <= best)
			continue;
		best = fit;
		found = json_str_of(yyjson_obj_iter_get_val(key));
	}
	*ret_named = best > 0;
	return found && *found ? found : NULL;
}

int creds_helper(const char *text, size_t n, const char *host, char **ret)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	bool named;
	int r = json_parse(text, n, NULL, &doc);

	if (r < 0)
		return r;
	const char *helper = named_helper(json_root(doc), host, &named);

	if (!named)
		helper = json_str(json_root(doc), "credsStore");
	*ret = helper && *helper ? xstrdup(helper) : NULL;
	return 0;
}

int creds_parse(const char *text, size_t n, bool legacy, const char *host, const char *repo,
	struct creds *ret, char **ret_helper)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	int r = json_parse(text, n, NULL, &doc);
	struct creds c = { 0 };
	size_t best = 0;
	bool named;

	*ret_helper = NULL;
	if (r < 0)
		return r;
	yyjson_val *root = json_root(doc), *key, *entry = NULL;
	yyjson_val *auths = !legacy ? json_obj(root, "auths") : yyjson_is_obj(root) ? root : NULL;
	yyjson_obj_iter it = yyjson_obj_iter_with(auths);
	const char *helper = legacy ? NULL : named_helper(root, host, &named);

	if (helper) {
		*ret_helper = xstrdup(helper);
		return 0;
	}
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
	helper = r == 0 && !legacy && !named ? json_str(root, "credsStore") : NULL;
	if (helper && *helper)
		*ret_helper = xstrdup(helper);
	return r;
}

// ---- a file is changed ----

static void put_auth(struct buf *b, const char *key, const char *auth)
{
	json_open(b, key, '{');
	if (*auth)
		json_put_str(b, "auth", auth);
	json_close(b, '}');
}

// The members of auths, changed. 1 when one was replaced or left out.
static int edit_auths(
	yyjson_val *auths, const char *host, const char *ns, const char *auth, struct buf *b)
{
	yyjson_obj_iter it = yyjson_obj_iter_with(auths);
	int r = 0, found = 0;

	for (yyjson_val *key; r == 0 && auths && (key = yyjson_obj_iter_next(&it));) {
		const char *name = json_str_of(key);

		if (!name)
			return -EBADMSG;
		if (!creds_key_is(name, host, ns)) {
			r = json_put_val(b, name, yyjson_obj_iter_get_val(key));
			continue;
		}
		found = 1;
		if (auth)
			put_auth(b, name, auth);
	}
	return r < 0 ? r : found;
}

int creds_edit(const char *text, size_t n, const char *host, const char *ns, const char *auth,
	struct buf *ret)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	int r = json_parse(text, n, NULL, &doc);

	if (r < 0)
		return r;
	yyjson_val *root = json_root(doc), *auths = json_get(root, "auths");
	yyjson_obj_iter it = yyjson_obj_iter_with(root);

	if (!yyjson_is_obj(root) || (auths && !yyjson_is_obj(auths)))
		return -EBADMSG;
	json_open(ret, NULL, '{');
	json_open(ret, "auths", '{');
	int found = edit_auths(auths, host, ns, auth, ret);

	if (found == 0 && auth) {
		cleanup_free char *key = xasprintf("%s%s%s", host, *ns ? "/" : "", ns);

		put_auth(ret, key, auth);
	}
	json_close(ret, '}');
	r = MIN(found, 0);
	for (yyjson_val *key; r == 0 && (key = yyjson_obj_iter_next(&it));) {
		const char *name = json_str_of(key);

		if (!name)
			r = -EBADMSG;
		else if (strcmp(name, "auths") != 0)
			r = json_put_val(ret, name, yyjson_obj_iter_get_val(key));
	}
	json_close(ret, '}');
	return r < 0 ? r : found;
}

int creds_keys(const char *text, size_t n, int (*each)(void *arg, const char *key), void *arg)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	static const char *const lists[] = { "auths", "credHelpers" };
	int r = json_parse(text, n, NULL, &doc);

	for (size_t i = 0; i < ARRAY_LEN(lists) && r == 0; i++) {
		yyjson_val *list = json_obj(json_root(doc), lists[i]);
		yyjson_obj_iter it = yyjson_obj_iter_with(list);

		for (yyjson_val *key; r == 0 && list && (key = yyjson_obj_iter_next(&it));)
			r = json_str_of(key) ? each(arg, json_str_of(key)) : -EBADMSG;
	}
	return r;
}
