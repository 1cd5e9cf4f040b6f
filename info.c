// info.c - info: what fcpull would use here, and why
//
// Made as JSON, and for people printed from that: so the two never differ. Nothing is made, no
// registry is asked, no secret is read out.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/utsname.h>

#include "census.h"
#include "credstore.h"
#include "driver.h"
#include "erofsmnt.h"
#include "fcpull.h"
#include "json.h"
#include "log.h"
#include "lookup.h"
#include "mirrors.h"
#include "policy.h"
#include "url.h"

static bool info_json;

static const struct opt info_opts[] = {
	{ 0, "json", NULL, "one JSON object", opt_flag, &info_json, false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

// ---- kernel and drivers ----

static void put_driver(struct buf *b, const char *name, bool usable, const char *why)
{
	json_open(b, name, '{');
	json_put_bool(b, "usable", usable);
	json_put_str(b, "why", why);
	json_close(b, '}');
}

// Whether /dev/fuse can be opened: opening it has no effect.
static bool fuse_usable(char why[static 160])
{
	cleanup_fd int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd >= 0)
		snprintf(why, 160, "/dev/fuse can be opened");
	else
		snprintf(why, 160, "/dev/fuse: %s", strerror(errno));
	return fd >= 0;
}

static void put_kernel(struct buf *b)
{
	struct utsname u = { 0 };
	struct erofs_gates g;

	if (uname(&u))
		return;
	g = erofs_gates_of(u.release);
	json_open(b, "kernel", '{');
	json_put_str(b, "release", u.release);
	json_put_str(b, "machine", u.machine);
	json_put_bool(b, "root", !geteuid());
	json_put_bool(b, "erofsDevices", g.erofs);
	json_put_bool(b, "erofsOnFiles", g.file);
	json_put_bool(b, "erofsDirectio", g.directio);
	json_close(b, '}');
}

static void put_drivers(struct buf *b)
{
	char erofs[160] = "this kernel can read it", fuse[160], why[160];
	bool can_fuse = fuse_usable(fuse), can_erofs = !erofs_supported(erofs);
	const char *chosen;

	json_open(b, "drivers", '{');
	put_driver(b, "erofs", can_erofs, erofs);
	put_driver(b, "fuse", can_fuse, fuse);
	if (!driver_choose(NULL, &chosen, why)) {
		json_put_str(b, "chosen", chosen);
		json_put_str(b, "why", why);
	}
	json_close(b, '}');
}

// ---- store ----

static int put_census(struct buf *b, const char *path)
{
	struct store *s;
	struct census c;
	int r = store_open(path, &s);

	if (r)
		return r;
	store_hold(s);
	r = census_take(s, &c);
	if (!r) {
		json_put_u64(b, "size", c.bytes);
		json_put_u64(b, "images", c.n_images);
		json_put_u64(b, "mounts", c.n_mounts);
		census_fini(&c);
	}
	store_close(s);
	return r;
}

static int put_store(struct buf *b)
{
	cleanup_free char *path = store_path(image_opts.host.root);
	cleanup_free char *mark = path ? xasprintf("%s/oci-layout", path) : NULL;
	bool there = mark && !access(mark, F_OK);
	int r = 0;

	json_open(b, "store", '{');
	json_put_str(b, "path", path);
	json_put_bool(b, "exists", there);
	if (there)
		r = put_census(b, path);
	json_close(b, '}');
	return r;
}

// ---- configuration ----

static void put_file(void *arg, const char *path)
{
	if (!access(path, F_OK))
		json_put_str(arg, NULL, path);
}

static int put_key(void *arg, const char *key)
{
	json_put_str(arg, NULL, key);
	return 0;
}

// The registries that a credentials file knows; what is beside their names is not looked at.
static void put_authfile(void *arg, const char *path)
{
	struct buf *b = arg;
	char *text;
	size_t n;
	int r;

	if (access(path, F_OK))
		return;
	r = read_file_at(AT_FDCWD, path, AUTHFILE_MAX, &text, &n);
	json_open(b, NULL, '{');
	json_put_str(b, "file", path);
	json_open(b, "registries", '[');
	if (!r) {
		r = creds_keys(text, n, put_key, b);
		explicit_bzero(text, n);
		free(text);
	}
	json_close(b, ']');
	if (r < 0)
		json_put_str(
			b, "error", r == -EBADMSG ? "it is no credentials file" : strerror(-r));
	json_close(b, '}');
}

// A proxy's URL may have a user and a password in it.
static void put_proxies(struct buf *b)
{
	static const char *const names[] = { "http_proxy", "https_proxy", "HTTPS_PROXY",
		"all_proxy", "ALL_PROXY", "no_proxy", "NO_PROXY" };

	json_open(b, "proxies", '{');
	for (size_t i = 0; i < ARRAY_LEN(names); i++) {
		const char *v = getenv(names[i]), *at = v ? strrchr(v, '@') : NULL;
		cleanup_free char *text = at ? xasprintf("[secret]%s", at) : NULL;

		if (v && *v)
			json_put_str(b, names[i], text ? text : v);
	}
	json_close(b, '}');
}

// Whether a repository ("": any that no rule names) is accelerated by itself, and who says so.
static int put_policy(struct buf *b, const char *repository)
{
	struct policy p;
	int r = policy_find(repository, NULL, &p);

	if (r)
		return r;
	json_open(b, "accelerate", '{');
	json_put_str(b, "mode", accelerate_name(p.how));
	json_put_str(b, "from", p.from);
	json_close(b, '}');
	return 0;
}

static void put_config(struct buf *b)
{
	cleanup_free char *find = lookup_text();

	json_put_str(b, "find", find);
	json_open(b, "registryFiles", '[');
	mirrors_each_file(put_file, b);
	json_close(b, ']');
	json_open(b, "credentials", '[');
	creds_each_file(&image_opts.host.net, put_authfile, b);
	json_close(b, ']');
	put_proxies(b);
}

// ---- one registry or repository ----

static int put_places(struct buf *b, const struct ref *ref)
{
	struct mirrors m;
	int r = mirrors_find(ref, false, &m);

	if (r)
		return r;
	json_open(b, "places", '[');
	for (size_t i = 0; i < m.n; i++) {
		const struct endpoint *e = &m.v[i];

		json_open(b, NULL, '{');
		json_put_str(b, "host", e->host);
		json_put_str(b, "repository", e->repo);
		json_put_bool(b, "byTag", e->by_tag);
		json_put_bool(b, "byDigest", e->by_digest);
		json_put_bool(b, "plainHttp", e->plain || e->may_be_plain);
		json_close(b, '}');
	}
	json_close(b, ']');
	mirrors_fini(&m);
	return 0;
}

static int put_registry(struct buf *b, const char *name)
{
	struct creds c = { 0 };
	struct ref ref;
	int r = ref_parse(name, &ref);

	if (r)
		return r;
	json_open(b, NULL, '{');
	json_put_str(b, "name", name);
	if (ref.transport == REF_DOCKER) {
		cleanup_free char *repository = xasprintf("%s/%s", ref.host, ref.repo);

		r = put_policy(b, repository);
		if (!r)
			r = put_places(b, &ref);
		if (!r)
			r = creds_find(ref.host, ref.repo, &image_opts.host.net, &c);
		json_put_str(b, "user", c.user);
		json_put_str(b, "credentials", c.from);
		creds_fini(&c);
	}
	json_close(b, '}');
	ref_fini(&ref);
	return r;
}

static int make(struct buf *b, int argc, char **argv)
{
	int r;

	json_open(b, NULL, '{');
	json_put_str(b, "version", FCPULL_VERSION);
	put_kernel(b);
	put_drivers(b);
	r = put_store(b);
	if (!r)
		r = put_policy(b, "");
	put_config(b);
	json_open(b, "images", '[');
	for (int i = 0; i < argc && !r; i++)
		r = put_registry(b, argv[i]);
	json_close(b, ']');
	json_close(b, '}');
	return r;
}

// ---- for people ----

static void print_scalar(const char *name, unsigned depth, yyjson_val *v)
{
	const char *s = json_str_of(v);
	int width = (int)(18 - MIN(depth * 2, 16u));

	printf("%*s%-*s ", (int)depth * 2, "", width, name);
	if (yyjson_is_bool(v))
		puts(yyjson_get_bool(v) ? "yes" : "no");
	else if (yyjson_is_uint(v))
		printf("%llu\n", (unsigned long long)yyjson_get_uint(v));
	else
		puts(s ? log_quote(s) : "none");
}

// One level of the document after the other; it is ours and at most four deep.
static void print_value(const char *name, unsigned depth, yyjson_val *v)
{
	yyjson_obj_iter obj = yyjson_obj_iter_with(v);
	yyjson_arr_iter arr = yyjson_arr_iter_with(v);
	yyjson_val *x;

	if (!yyjson_is_ctn(v)) {
		print_scalar(name, depth, v);
		return;
	}
	if (!yyjson_get_len(v))
		return;
	printf("%*s%s\n", (int)depth * 2, "", name);
	while ((x = yyjson_arr_iter_next(&arr)))
		print_value("-", depth + 1, x);
	while ((x = yyjson_obj_iter_next(&obj)))
		print_value(yyjson_get_str(x), depth + 1, yyjson_obj_iter_get_val(x));
}

static int print_text(const struct buf *b)
{
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_obj_iter it;
	yyjson_val *k;
	int r = json_parse(b->data, b->len, "info", &doc);

	if (r)
		return r;
	it = yyjson_obj_iter_with(json_root(doc));
	while ((k = yyjson_obj_iter_next(&it)))
		print_value(yyjson_get_str(k), 0, yyjson_obj_iter_get_val(k));
	return 0;
}

static int info_main(int argc, char **argv)
{
	cleanup_buf struct buf b = { 0 };
	int r;

	if (image_opts_finish())
		return EXIT_USAGE;
	r = make(&b, argc, argv);
	if (!r && info_json)
		puts(buf_str(&b));
	else if (!r)
		r = print_text(&b);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_info = {
	"info",
	"[IMAGE]...",
	"say what would be used here, and why: drivers, store, mirrors",
	info_opts,
	"For each IMAGE (a repository is enough) also the places where it is asked for,\n"
	"in order, and where credentials come from; a credential helper is asked for\n"
	"them. Passwords and tokens are never shown. No registry is asked.\n",
	info_main,
	false,
	0,
};
