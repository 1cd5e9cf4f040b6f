// credstore.c - where credentials are kept, looked for, and put by `login`
// SPDX-License-Identifier: Apache-2.0
#include "credstore.h"
#include "credhelper.h"
#include "json.h"
#include "log.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

// Docker keeps its own registry's under this name, in helpers too.
#define DOCKER_HUB_SERVER "https://index.docker.io/v1/"

static void secret_text_free(char *text, size_t n)
{
	if (text)
		explicit_bzero(text, n);
	free(text);
}

// ---- looking ----

// 1 found, 0 not. For Docker Hub helpers may use docker's name or podman's.
static int ask_helper(const char *helper, const char *host, struct creds *ret)
{
	bool hub = creds_key_is("docker.io", host, "");
	int r = hub ? credhelper_get(helper, DOCKER_HUB_SERVER, ret) : 0;

	if (r == 0)
		r = credhelper_get(helper, hub ? "docker.io" : host, ret);
	if (r == 1) {
		debug("credentials for %s from the helper %s", log_quote(host), log_quote(helper));
		ret->from = xasprintf("the credential helper %s", helper);
	}
	// Perhaps none are needed, or another file has them; the registry will say.
	return MAX(r, 0);
}

// A file's text: 1 found, 0 not. name: for messages.
static int look_in_text(const char *text, size_t n, bool legacy, const char *name, const char *host,
	const char *repo, struct creds *ret)
{
	cleanup_free char *helper = NULL;
	int r = creds_parse(text, n, legacy, host, repo, ret, &helper);

	if (r < 0)
		return warn_errno(r, "credentials file %s: %s", log_quote(name),
			r == -EBADMSG
				? "it is no valid JSON, or its 'auth' is not base64 of USER:PASSWORD"
				: "");
	if (helper)
		return ask_helper(helper, host, ret);
	if (r == 1) {
		debug("credentials for %s from %s", log_quote(host), log_quote(name));
		ret->from = xstrdup(name);
	}
	return r;
}

// 1 found, 0 not. A file that is not there is not an error unless `named` on the command line.
static int look_in(
	const char *path, bool named, const char *host, const char *repo, struct creds *ret)
{
	const char *base = strrchr(path, '/');
	char *text;
	size_t n;
	int r = read_file_at(AT_FDCWD, path, AUTHFILE_MAX, &text, &n);

	if ((r == -ENOENT || r == -ENOTDIR || r == -EACCES) && !named)
		return 0;
	if (r < 0) {
		warn_errno(r, "credentials file %s", log_quote(path));
		return -EACCES; // not -ENOENT: that would be the image's
	}
	r = look_in_text(text, n, base && !strcmp(base, "/.dockercfg"), path, host, repo, ret);
	secret_text_free(text, n);
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

// Gone with the next boot: that is where podman's login puts them.
static char *runtime_place(void)
{
	const char *dir = env("XDG_RUNTIME_DIR");

	return dir ? place(dir, "containers/auth.json", NULL)
		   : xasprintf("/run/containers/%u/auth.json", (unsigned)geteuid());
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
	ret->from = xstrdup("--creds");
	return 0;
}

enum { PLACES = 4 };

static void list_places(char *ret[static PLACES])
{
	ret[0] = runtime_place();
	ret[1] = place(
		env("XDG_CONFIG_HOME"), "containers/auth.json", ".config/containers/auth.json");
	ret[2] = place(env("DOCKER_CONFIG"), "config.json", ".docker/config.json");
	ret[3] = place(NULL, NULL, ".dockercfg");
}

void creds_each_file(const struct net_opts *net, void (*fn)(void *arg, const char *path), void *arg)
{
	const char *file = net->authfile ? net->authfile : env("REGISTRY_AUTH_FILE");
	char *places[PLACES];

	if (file) {
		fn(arg, file);
		return;
	}
	list_places(places);
	for (size_t i = 0; i < PLACES; i++) {
		if (places[i])
			fn(arg, places[i]);
		free(places[i]);
	}
}

int creds_find(const char *host, const char *repo, const struct net_opts *net, struct creds *ret)
{
	const char *file = net->authfile ? net->authfile : env("REGISTRY_AUTH_FILE");
	char *places[PLACES];
	int r = 0;

	list_places(places);

	*ret = (struct creds){ 0 };
	if (net->creds)
		r = from_command_line(net, ret);
	else if (net->authfile && net->in_memory)
		r = look_in_text(file, strlen(file), false, "in memory", host, repo, ret);
	else if (file)
		r = look_in(file, net->authfile != NULL, host, repo, ret);
	for (size_t i = 0; i < PLACES; i++) {
		if (!net->creds && !file && r == 0 && places[i])
			r = look_in(places[i], false, host, repo, ret);
		free(places[i]);
	}
	return MIN(r, 0);
}

// ---- login and logout ----

char *creds_login_file(const struct net_opts *net)
{
	const char *file = net->authfile ? net->authfile : env("REGISTRY_AUTH_FILE");

	return file ? xstrdup(file) : runtime_place();
}

// A file that is about to be changed: what a symbolic link leads to, its text, its owner.
struct open_file {
	char *path, *text;
	size_t n;
	int lock; // its directory, locked: two logins do not lose each other's entries
	uid_t uid;
	gid_t gid;
	bool is_new;
};

static void close_file(struct open_file *f)
{
	if (f->lock >= 0)
		close(f->lock);
	secret_text_free(f->text, f->n);
	free(f->path);
}

static int lock_dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir =
		slash ? xstrndup(path, (size_t)MAX(slash - path, 1)) : xstrdup(".");
	int r = mkdir_p(dir, 0700);
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return r < 0 ? r : -errno;
	while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
		;
	return fd;
}

// What path leads to: where a link points counts, even when nothing is there yet. Caller frees.
static char *resolve(const char *path)
{
	char target[4096];
	char *real = realpath(path, NULL);
	ssize_t n = real ? 0 : readlink(path, target, sizeof target - 1);
	const char *slash = strrchr(path, '/');

	if (real || n <= 0)
		return real ? real : xstrdup(path);
	target[n] = 0;
	if (*target == '/' || !slash)
		return xstrdup(target);
	return xasprintf("%.*s/%s", (int)(slash - path), path, target);
}

// With `create` a missing file is taken for an empty one, else -ENOENT silent.
static int open_file(const char *path, bool create, struct open_file *f)
{
	struct stat st;
	int r;

	*f = (struct open_file){ .path = resolve(path), .lock = -1 };
	if (!create && access(f->path, F_OK) < 0 && errno == ENOENT)
		return -ENOENT;
	f->lock = lock_dir_of(f->path);
	if (f->lock < 0)
		return warn_errno(f->lock, "directory of %s", log_quote(f->path));
	r = read_file_at(AT_FDCWD, f->path, AUTHFILE_MAX, &f->text, &f->n);
	f->is_new = r == -ENOENT;
	if (f->is_new && create) {
		f->text = xstrdup("{}");
		f->n = 2;
		return 0;
	}
	if (r == 0 && stat(f->path, &st) == 0) {
		f->uid = st.st_uid;
		f->gid = st.st_gid;
	}
	return r < 0 ? warn_errno(r, "credentials file %s", log_quote(path)) : 0;
}

static int bad_file(const struct open_file *f, int r)
{
	return warn_errno(r,
		"credentials file %s is not what docker or podman write; it was left as it is",
		log_quote(f->path));
}

// auth as creds_edit() has it. 1 there was an entry before, 0 not.
static int rewrite(struct open_file *f, const char *host, const char *ns, const char *auth)
{
	struct buf b = { 0 };
	int w = 0, r;

	// sized beforehand: growing would leave copies of secrets behind
	buf_reserve(&b, 2 * f->n + (auth ? strlen(auth) : 0) + 4096);
	r = creds_edit(f->text, f->n, host, ns, auth, &b);
	if (r < 0)
		r = bad_file(f, r);
	else if (auth || r == 1)
		w = write_file_at(AT_FDCWD, f->path, b.data, b.len, 0600);
	// run by root for somebody else's file (sudo): it stays theirs
	if (r >= 0 && w == 0 && !f->is_new && f->uid != geteuid() &&
		lchown(f->path, f->uid, f->gid) < 0)
		w = -errno;
	explicit_bzero(b.data, b.cap);
	buf_fini(&b);
	return w < 0 ? warn_errno(w, "write %s", log_quote(f->path)) : r;
}

static const char *server_name(const char *host)
{
	return creds_key_is("docker.io", host, "") ? DOCKER_HUB_SERVER : host;
}

static int save_in_helper(struct open_file *f, const char *helper, const char *host, const char *ns,
	const struct creds *c)
{
	if (*ns)
		return warn_whole(-EINVAL,
			"the credential helper %s of %s keeps one login per registry, not for %s/%s",
			log_quote(helper), log_quote(f->path), host, log_quote(ns));
	int r = credhelper_store(helper, server_name(host), c);

	// an empty entry tells other programs, and logout --all, that the helper has it
	if (r == 0)
		r = rewrite(f, host, ns, "");
	return r;
}

int creds_save(
	const char *file, const char *host, const char *ns, const struct creds *c, char **ret_where)
{
	cleanup_free char *helper = NULL;
	cleanup_secret char *basic = creds_basic(c);
	struct open_file f;
	int r = open_file(file, true, &f);

	if (r == 0) {
		r = creds_helper(f.text, f.n, host, &helper);
		if (r < 0)
			r = bad_file(&f, r);
	}
	if (r == 0 && helper)
		r = save_in_helper(&f, helper, host, ns, c);
	else if (r == 0)
		r = rewrite(&f, host, ns, basic + strlen("Basic "));
	if (r >= 0)
		*ret_where =
			helper ? xasprintf("the credential helper %s", helper) : xstrdup(f.path);
	close_file(&f);
	return MIN(r, 0);
}

static int erase_in_helper(const char *helper, const char *host)
{
	struct creds c = { 0 };
	int had = ask_helper(helper, host, &c);

	creds_fini(&c);
	int r = had ? credhelper_erase(helper, server_name(host)) : 0;

	if (r == 0 && had && strcmp(server_name(host), host) != 0)
		r = credhelper_erase(helper, "docker.io");
	return r < 0 ? r : had;
}

static int remove_from(struct open_file *f, const char *host, const char *ns)
{
	cleanup_free char *helper = NULL;
	int r = creds_helper(f->text, f->n, host, &helper), had = 0;

	if (r < 0)
		return bad_file(f, r);
	if (helper && !*ns)
		had = erase_in_helper(helper, host);
	if (had < 0)
		return had;
	r = rewrite(f, host, ns, NULL);
	return r < 0 ? r : had || r;
}

int creds_remove(const char *file, const char *host, const char *ns)
{
	struct open_file f;
	int r = open_file(file, false, &f);

	if (r == 0)
		r = remove_from(&f, host, ns);
	close_file(&f);
	return r == -ENOENT ? 0 : r;
}

// ---- all of them ----

struct keys {
	char **v;
	size_t n, cap;
};

static int add_key(void *arg, const char *key)
{
	struct keys *k = arg;

	k->v = xgrow(k->v, &k->cap, k->n + 1, sizeof *k->v);
	k->v[k->n++] = xstrdup(key);
	return 0;
}

// "https://host/v1/" -> host and "", "host/a/b" -> host and "a/b".
static int remove_key(const char *file, const char *key)
{
	const char *scheme = strstr(key, "://"), *name = scheme ? scheme + 3 : key;
	cleanup_free char *host = xstrndup(name, strcspn(name, "/"));
	const char *ns =
		name[strlen(host)] && !creds_key_is(key, host, "") ? name + strlen(host) + 1 : "";

	return creds_remove(file, host, ns);
}

int creds_remove_all(const char *file)
{
	struct open_file f;
	struct keys k = { 0 };
	int r = open_file(file, false, &f), had = 0;

	if (r == 0) {
		r = creds_keys(f.text, f.n, add_key, &k);
		if (r < 0)
			r = bad_file(&f, r);
	}
	close_file(&f);
	for (size_t i = 0; i < k.n; i++) {
		int one = r < 0 ? 0 : remove_key(file, k.v[i]);

		had |= one > 0;
		r = r < 0 ? r : MIN(one, 0);
		free(k.v[i]);
	}
	free(k.v);
	return r == -ENOENT ? 0 : r < 0 ? r : had;
}
