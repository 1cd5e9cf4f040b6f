// mirrors.c - where else a registry's repository may be read: registries.conf and hosts.toml
// SPDX-License-Identifier: Apache-2.0
#include "mirrors.h"
#include "log.h"

#include <dirent.h>
#include <fcntl.h>
#include <strings.h>

static void endpoint_fini(struct endpoint *e)
{
	free(e->host);
	free(e->repo);
	free(e->ns);
	free(e->ca);
	free(e->cert);
	free(e->key);
}

void mirrors_fini(struct mirrors *m)
{
	for (size_t i = 0; i < m->n; i++)
		endpoint_fini(&m->v[i]);
	free(m->v);
	*m = (struct mirrors){ 0 };
}

static int bad(const char *what, const char *why, const char *value)
{
	return warn_errno(-EBADMSG, "%s: %s: %s", what, why, log_quote(value ? value : ""));
}

// Takes e over in any case.
static int add(struct mirrors *m, struct endpoint *e, const char *what)
{
	if (m->n == ENDPOINTS_MAX) {
		int r = bad(what, "more than 16 places of one registry", e->host);

		endpoint_fini(e);
		return r;
	}
	m->v = xrealloc(m->v, (m->n + 1) * sizeof *m->v);
	m->v[m->n++] = *e;
	return 0;
}

static void set_place(struct endpoint *e, const char *host, const char *repo)
{
	free(e->host);
	free(e->repo);
	e->host = xstrdup(host);
	e->repo = xstrdup(repo);
}

// "HOST[:PORT]/REPOSITORY" by the grammar of references, which nothing from here may step out of.
static int take_name(struct endpoint *e, const char *name, const char *what)
{
	struct ref ref;
	int r = ref_parse(name, &ref);

	if (r < 0)
		return bad(what, "a registry's location and what is asked for make no name", name);
	const char *slash = strchr(name, '/');

	// "mirror/x" would be docker.io/mirror/x
	if (ref.transport != REF_DOCKER || !slash || ref.digest || strcmp(ref.tag, "latest") ||
		strncmp(ref.host, name, (size_t)(slash - name)) != 0)
		r = bad(what,
			"a location is HOST[:PORT][/NAMESPACE], the host with a '.', a ':' or as localhost",
			name);
	else
		set_place(e, ref.host, ref.repo);
	ref_fini(&ref);
	return r;
}

// ---- registries.conf ----

// How many bytes of "host/repo" the prefix takes, 0: it does not fit. "*.example.com" is any host
// below example.com.
static size_t prefix_len(const char *prefix, const char *name)
{
	size_t n = strlen(prefix), host = strcspn(name, "/");

	if (strncmp(prefix, "*.", 2) == 0) {
		size_t tail = n - 1; // with the dot

		return !strchr(prefix, '/') && host > tail &&
				strncasecmp(name + host - tail, prefix + 1, tail) == 0
			? host
			: 0;
	}
	while (n > 0 && prefix[n - 1] == '/')
		n--;
	if (n == 0 || strncmp(prefix, name, n) != 0 || (name[n] && name[n] != '/'))
		return 0;
	return n;
}

// One location, a mirror's or the registry's own; the prefix is replaced by it.
static int add_location(struct mirrors *m, const struct toml *t, const char *name, size_t prefix,
	struct endpoint *e, const char *what)
{
	const char *location = toml_str(t, "location");
	cleanup_free char *full =
		location ? xasprintf("%s%s", location, name + prefix) : xstrdup(name);

	e->may_be_plain = toml_bool(t, "insecure", false);
	int r = take_name(e, full, what);

	if (r < 0) {
		endpoint_fini(e);
		return r;
	}
	return add(m, e, what);
}

static int add_mirror(struct mirrors *m, const struct toml *t, const char *name, size_t prefix,
	bool digest_only, const char *what)
{
	const char *from = toml_str(t, "pull-from-mirror");
	struct endpoint e = { .by_tag = true, .by_digest = true };

	if (!toml_str(t, "location"))
		return bad(what, "a mirror without location", "");
	if (from && strcmp(from, "all") && strcmp(from, "digest-only") && strcmp(from, "tag-only"))
		return bad(what, "pull-from-mirror is all, digest-only or tag-only, not", from);
	e.by_tag = !digest_only && !(from && !strcmp(from, "digest-only"));
	e.by_digest = !(from && !strcmp(from, "tag-only"));
	return add_location(m, t, name, prefix, &e, what);
}

static int take_registry(
	const struct toml *t, const char *name, size_t prefix, const char *what, struct mirrors *m)
{
	bool digest_only = toml_bool(t, "mirror-by-digest-only", false);
	struct endpoint own = { .by_tag = true, .by_digest = true };
	int r = 0;

	if (toml_bool(t, "blocked", false))
		return warn_whole(-EACCES, "%s blocks the registry of %s", what, log_quote(name));
	for (const struct toml *v = toml_array(t, "mirror"); v && r == 0; v = v->next)
		r = add_mirror(m, v, name, prefix, digest_only, what);
	return r < 0 ? r : add_location(m, t, name, prefix, &own, what);
}

int mirrors_of_registries(const struct toml *root, const struct ref *ref, const char *what,
	size_t *best, struct mirrors *ret)
{
	cleanup_free char *name = xasprintf("%s/%s", ref->host, ref->repo);
	const struct toml *found = NULL;
	size_t taken = 0;

	for (const struct toml *t = toml_array(root, "registry"); t; t = t->next) {
		const char *prefix = toml_str(t, "prefix");
		const char *p = prefix && *prefix ? prefix : toml_str(t, "location");
		size_t n = p ? prefix_len(p, name) : 0;

		// a wildcard is weaker than any name
		size_t fit = n > 0 ? (*p == '*' ? 1 : 1 + n) : 0;

		if (fit == 0 || fit < *best)
			continue;
		*best = fit;
		found = t;
		taken = n;
	}
	if (!found)
		return 0;
	mirrors_fini(ret);
	return take_registry(found, name, taken, what, ret);
}

// ---- hosts.toml ----

// A file named there, relative to it. Caller frees.
static char *file_of(const char *dir, const char *path)
{
	return !path ? NULL : *path == '/' ? xstrdup(path) : xasprintf("%s/%s", dir, path);
}

// ca = "file" or ["file", ...]; client = "file", or [["cert", "key"], ...]. The first counts.
static int take_files(struct endpoint *e, const struct toml *t, const char *dir, const char *what)
{
	const struct toml *ca = toml_get(t, "ca"), *client = toml_get(t, "client");
	const char *key = NULL;

	if (ca && ca->kind == TOML_ARRAY) {
		if (ca->first && ca->first->next)
			return bad(
				what, "put several CAs into one file; ca lists more than", "one");
		ca = ca->first;
	}
	e->ca = file_of(dir, ca ? ca->str : NULL);
	if (client && client->kind == TOML_ARRAY)
		client = client->first;
	if (client && client->kind == TOML_ARRAY) {
		key = client->first && client->first->next ? client->first->next->str : NULL;
		client = client->first;
	}
	e->cert = file_of(dir, client ? client->str : NULL);
	e->key = file_of(dir, key ? key : client ? client->str : NULL);
	return 0;
}

static void take_capabilities(struct endpoint *e, const struct toml *t)
{
	const struct toml *v = toml_array(t, "capabilities");

	e->by_tag = e->by_digest = !toml_get(t, "capabilities");
	for (; v; v = v->next) {
		e->by_digest |= v->str && !strcmp(v->str, "pull");
		e->by_tag |= v->str && !strcmp(v->str, "resolve");
	}
}

// "https://host[:port][/v2/namespace]"; without a scheme https.
static int take_url(
	struct endpoint *e, const char *url, bool path_as_is, const char *repo, const char *what)
{
	const char *scheme = strstr(url, "://"), *host = scheme ? scheme + 3 : url;
	size_t n = strcspn(host, "/");
	const char *path = host + n;

	e->plain = scheme && strncasecmp(url, "http://", 7) == 0;
	if (scheme && !e->plain && strncasecmp(url, "https://", 8) != 0)
		return bad(what, "a host is http:// or https://, not", url);
	if (strncmp(path, "/v2", 3) == 0 && (!path[3] || path[3] == '/'))
		path += 3;
	else if (path_as_is && *path && strcmp(path, "/"))
		return bad(what, "with override_path only paths below /v2 are supported, not", url);
	while (*path == '/')
		path++;
	size_t len = strlen(path);

	while (len > 0 && path[len - 1] == '/')
		len--;
	// one label is a host here, as the URL says so
	cleanup_free char *h = xasprintf("%.*s%s", (int)n, host,
		memchr(host, '.', n) || memchr(host, ':', n) ? ""
			: e->plain			     ? ":80"
							     : ":443");
	cleanup_free char *name = xasprintf("%s/%.*s%s%s", h, (int)len, path, len ? "/" : "", repo);

	return take_name(e, name, what);
}

static int add_host(struct mirrors *m, const struct toml *t, const char *url, const struct ref *ref,
	const char *dir, const char *what)
{
	struct endpoint e = { 0 };

	take_capabilities(&e, t);
	int r = take_url(&e, url, toml_bool(t, "override_path", false), ref->repo, what);

	if (r == 0)
		r = take_files(&e, t, dir, what);
	if (r < 0) {
		endpoint_fini(&e);
		return r;
	}
	if (toml_bool(t, "skip_verify", false))
		warn("%s: skip_verify is not obeyed: %s must have a certificate that can be verified (ca)",
			what, log_quote(url));
	if (!e.host || strcmp(e.host, ref->host) != 0)
		e.ns = xstrdup(ref->host);
	return add(m, &e, what);
}

int mirrors_of_hosts(const struct toml *root, const struct ref *ref, const char *dir,
	const char *what, struct mirrors *ret)
{
	const struct toml *hosts = toml_get(root, "host");
	const char *server = toml_str(root, "server");
	struct endpoint own = { .by_tag = true, .by_digest = true };
	int r = 0;

	for (const struct toml *t = hosts && hosts->kind == TOML_TABLE ? hosts->first : NULL;
		t && r == 0; t = t->next)
		if (t->kind == TOML_TABLE)
			r = add_host(ret, t, t->key, ref, dir, what);
	if (r < 0)
		return r;
	if (server && *server)
		return add_host(ret, root, server, ref, dir, what);
	set_place(&own, ref->host, ref->repo);
	return add(ret, &own, what);
}

// ---- finding the files ----

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

// 1 read, 0 not there.
static int load(const char *path, struct toml **ret)
{
	cleanup_free char *text = NULL;
	size_t n;
	int r = read_file_at(AT_FDCWD, path, TOML_SIZE_MAX, &text, &n);

	if (r == -ENOENT || r == -ENOTDIR || r == -EACCES)
		return 0;
	if (r < 0)
		return warn_errno(r, "%s", log_quote(path));
	r = toml_parse(text, n, path, ret);
	return r < 0 ? r : 1;
}

// 1 it is there, 0 not.
static int look_in(const char *path, const struct ref *ref, size_t *best, struct mirrors *ret)
{
	cleanup_toml struct toml *t = NULL;
	int r = load(path, &t);

	if (r <= 0)
		return r;
	r = mirrors_of_registries(t, ref, path, best, ret);
	return r < 0 ? r : 1;
}

static int is_conf(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return n > 5 && *d->d_name != '.' && strcmp(d->d_name + n - 5, ".conf") == 0;
}

static int look_in_dir(const char *dir, const struct ref *ref, size_t *best, struct mirrors *ret)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, is_conf, alphasort), r = 0;

	for (int i = 0; i < n; i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, list[i]->d_name);

		if (r >= 0)
			r = look_in(path, ref, best, ret);
		free(list[i]);
	}
	free(list);
	return MIN(r, 0);
}

static int from_registries_conf(const struct ref *ref, size_t *best, struct mirrors *ret)
{
	const char *named = env("CONTAINERS_REGISTRIES_CONF"), *home = env("HOME");
	cleanup_free char *user =
		home ? xasprintf("%s/.config/containers/registries.conf", home) : NULL;
	cleanup_free char *user_dir = user ? xasprintf("%s.d", user) : NULL;

	if (named)
		return look_in(named, ref, best, ret);
	int r = user ? look_in(user, ref, best, ret) : 0;

	if (r == 0)
		r = look_in("/etc/containers/registries.conf", ref, best, ret);
	if (r >= 0)
		r = look_in_dir("/etc/containers/registries.conf.d", ref, best, ret);
	if (r >= 0 && user_dir)
		r = look_in_dir(user_dir, ref, best, ret);
	return r;
}

// The directory's name is the host, its ':' as it is or as containerd writes it ("host_5000_").
static int from_hosts_toml(const struct ref *ref, struct mirrors *ret)
{
	const char *named = env("FCPULL_CERTS_D");
	const char *base = named ? named : "/etc/containerd/certs.d",
		   *colon = strrchr(ref->host, ':');
	cleanup_free char *escaped = colon && !strchr(colon, ']')
		? xasprintf("%.*s_%s_", (int)(colon - ref->host), ref->host, colon + 1)
		: NULL;
	const char *names[] = { escaped, ref->host, "_default" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		cleanup_toml struct toml *t = NULL;

		if (!names[i])
			continue;
		cleanup_free char *dir = xasprintf("%s/%s", base, names[i]);
		cleanup_free char *path = xasprintf("%s/hosts.toml", dir);
		int r = load(path, &t);

		if (r != 0)
			return r < 0 ? r : mirrors_of_hosts(t, ref, dir, path, ret);
	}
	return 0;
}

static int is_visible(const struct dirent *d)
{
	return *d->d_name != '.';
}

// fn for DIR/NAME/sub of the names that are chosen, or DIR/NAME.
static void each_in_dir(const char *dir, int (*choose)(const struct dirent *), const char *sub,
	void (*fn)(void *arg, const char *path), void *arg)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, choose, alphasort);

	for (int i = 0; i < n; i++) {
		cleanup_free char *path = xasprintf("%s/%s%s", dir, list[i]->d_name, sub);

		fn(arg, path);
		free(list[i]);
	}
	free(list);
}

void mirrors_each_file(void (*fn)(void *arg, const char *path), void *arg)
{
	const char *named = env("CONTAINERS_REGISTRIES_CONF"), *home = env("HOME"),
		   *certs = env("FCPULL_CERTS_D");
	cleanup_free char *user =
		home ? xasprintf("%s/.config/containers/registries.conf", home) : NULL;
	cleanup_free char *user_dir = user ? xasprintf("%s.d", user) : NULL;
	bool own = user && !access(user, F_OK);

	if (named) {
		fn(arg, named);
	} else {
		fn(arg, own ? user : "/etc/containers/registries.conf");
		each_in_dir("/etc/containers/registries.conf.d", is_conf, "", fn, arg);
		if (user_dir)
			each_in_dir(user_dir, is_conf, "", fn, arg);
	}
	each_in_dir(certs ? certs : "/etc/containerd/certs.d", is_visible, "/hosts.toml", fn, arg);
}

void mirrors_net(const struct endpoint *e, bool own, struct net_opts *net)
{
	if (!own)
		net->plain_http = e->plain;
	net->may_be_plain = e->may_be_plain;
	net->ns = e->ns;
	net->ca = e->ca;
	net->cert = e->cert;
	net->key = e->key;
}

int mirrors_find(const struct ref *ref, bool write, struct mirrors *ret)
{
	struct mirrors m = { 0 };
	struct endpoint own = { .by_tag = true, .by_digest = true };
	size_t best = 0;
	int r = from_registries_conf(ref, &best, &m);

	if (r >= 0 && best == 0)
		r = from_hosts_toml(ref, &m);
	// What is written goes to the registry that was named, by that name.
	if (r >= 0 && (write || m.n == 0)) {
		own.may_be_plain = m.n > 0 && m.v[m.n - 1].may_be_plain;
		mirrors_fini(&m);
		set_place(&own, ref->host, ref->repo);
		r = add(&m, &own, "");
	}
	if (r < 0)
		mirrors_fini(&m);
	else
		*ret = m;
	return MIN(r, 0);
}
