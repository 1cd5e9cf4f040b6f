// image.c - manifests, indexes and configs (image-spec 1.1; Docker image manifest v2 schema 2)
// SPDX-License-Identifier: Apache-2.0
#include "image.h"

#include <sys/utsname.h>

#include "format.h"
#include "json.h"
#include "log.h"

#define INDEX_ENTRIES_MAX 1024
#define CONFIG_STRINGS_MAX 4096
#define ARGS_MAX \
	(128u << 10) // bytes of arguments and environment together (reliability.md section 2A)

// ---- platforms ----

// One part of "os/arch/variant": *s is left behind it.
static bool take_part(const char **s, char out[static 32])
{
	size_t n = strspn(*s, "abcdefghijklmnopqrstuvwxyz0123456789_.");

	if (!n || n > 31 || **s == '.')
		return false;
	memcpy(out, *s, n);
	out[n] = 0;
	*s += n;
	return true;
}

int platform_parse(const char *s, struct platform *ret)
{
	struct platform p = { "linux", "", "" };

	if (!s) {
		struct utsname u;
		static const char *const names[][3] = { { "x86_64", "amd64", "" },
			{ "aarch64", "arm64", "" }, { "armv7l", "arm", "v7" },
			{ "armv6l", "arm", "v6" }, { "i686", "386", "" },
			{ "ppc64le", "ppc64le", "" }, { "s390x", "s390x", "" },
			{ "riscv64", "riscv64", "" } };

		uname(&u);
		snprintf(p.arch, sizeof p.arch, "%.31s", u.machine);
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (!strcmp(u.machine, names[i][0])) {
				snprintf(p.arch, sizeof p.arch, "%s", names[i][1]);
				snprintf(p.variant, sizeof p.variant, "%s", names[i][2]);
			}
	} else {
		const char *at = s;
		bool good = !strchr(s, '/') || (take_part(&at, p.os) && *at++ == '/');

		good = good && take_part(&at, p.arch) &&
			(!*at || (*at++ == '/' && take_part(&at, p.variant))) && !*at;
		if (!good)
			return warn_errno(
				-EINVAL, "platform %s is not OS/ARCH[/VARIANT]", log_quote(s));
	}
	if (!strcmp(p.arch, "x86_64"))
		snprintf(p.arch, sizeof p.arch, "amd64");
	if (!strcmp(p.arch, "aarch64"))
		snprintf(p.arch, sizeof p.arch, "arm64");
	if (!strcmp(p.arch, "arm64") &&
		!strcmp(p.variant, "v8")) // the same thing (image-spec, "Platform Variants")
		p.variant[0] = 0;
	*ret = p;
	return 0;
}

const char *platform_str(const struct platform *p, char out[static 100])
{
	snprintf(out, 100, "%s/%s%s%s", p->os, p->arch, *p->variant ? "/" : "", p->variant);
	return out;
}

// A wanted platform without variant takes any.
static bool platform_fits(const struct platform *want, const struct platform *is)
{
	return !strcmp(want->os, is->os) && !strcmp(want->arch, is->arch) &&
		(!*want->variant || !*is->variant || !strcmp(want->variant, is->variant));
}

static void platform_read(yyjson_val *v, struct platform *ret)
{
	const char *os = json_str(v, "os"), *arch = json_str(v, "architecture"),
		   *variant = json_str(v, "variant");

	snprintf(ret->os, sizeof ret->os, "%s", os ? os : "");
	snprintf(ret->arch, sizeof ret->arch, "%s", arch ? arch : "");
	snprintf(ret->variant, sizeof ret->variant, "%s", variant ? variant : "");
	if (!strcmp(ret->arch, "arm64") && !strcmp(ret->variant, "v8"))
		ret->variant[0] = 0;
}

// ---- descriptors ----

bool media_type_is_index(const char *t)
{
	return !strcmp(t, MT_OCI_INDEX) || !strcmp(t, MT_DOCKER_LIST);
}

static int read_digest(yyjson_val *v, const char *key, const char *where, struct digest *ret)
{
	const char *s = json_str(v, key);
	int r = s ? digest_parse(s, ret) : -EINVAL;

	if (r == -ENOTSUP)
		return warn_errno(-EBADMSG,
			"%s: digest %s is of an algorithm that fcpull does not know; sha256 is",
			where, log_quote(s));
	return r ? warn_errno(-EBADMSG, "%s: %s is not a digest", where,
			   s ? log_quote(s) : "a missing value")
		 : 0;
}

static int read_desc(
	yyjson_val *v, const char *where, struct desc *ret, char media_type[static 128])
{
	const char *type = json_str(v, "mediaType");
	uint64_t size;
	int r = read_digest(v, "digest", where, &ret->digest);

	if (r)
		return r;
	if (json_u64(v, "size", &size) || size > INT64_MAX)
		return warn_errno(-EBADMSG, "%s: a descriptor without a proper size", where);
	if (type && strlen(type) > 127)
		return warn_errno(
			-EBADMSG, "%s: media type %s is too long", where, log_quote(type));
	ret->size = size;
	snprintf(media_type, 128, "%s", type ? type : "");
	return 0;
}

// ---- the original's manifest and config ----

static bool media_type_is_manifest(const char *t)
{
	return !strcmp(t, MT_OCI_MANIFEST) || !strcmp(t, MT_DOCKER_MANIFEST);
}

static int read_layers(struct image *img, yyjson_val *root)
{
	yyjson_val *arr = json_arr(root, "layers"), *v;
	yyjson_arr_iter it;
	int r;

	if (!arr || yyjson_arr_size(arr) > FMT_SPACES_MAX)
		return warn_errno(-EBADMSG, "%s: the manifest has %s", img->repo->name,
			arr ? "more than 512 layers" : "no layers");
	img->layers = xcalloc(yyjson_arr_size(arr), sizeof *img->layers);
	yyjson_arr_iter_init(arr, &it);
	while ((v = yyjson_arr_iter_next(&it))) {
		struct image_layer *l = &img->layers[img->n_layers++];

		r = read_desc(v, img->repo->name, &l->desc, l->media_type);
		if (r)
			return r;
		if (strstr(l->media_type, "foreign") || strstr(l->media_type, "nondistributable"))
			return warn_errno(-EBADMSG,
				"%s: a layer is not in the registry (foreign layer, %s)",
				img->repo->name, log_quote(l->media_type));
	}
	return 0;
}

static int read_manifest(struct image *img)
{
	cleanup_json yyjson_doc *doc = NULL;
	char type[128];
	yyjson_val *root;
	uint64_t version;
	int r = json_parse(img->man.bytes, img->man.len, img->repo->name, &doc);

	if (r)
		return r;
	root = json_root(doc);
	if (!json_u64(root, "schemaVersion", &version) && version == 1)
		return warn_errno(-EBADMSG,
			"%s: Docker schema 1 is no longer supported anywhere; push the image again with a "
			"current tool",
			img->repo->name);
	if (*img->man.media_type && !media_type_is_manifest(img->man.media_type))
		return warn_errno(-EBADMSG, "%s: %s is not an image manifest", img->repo->name,
			log_quote(img->man.media_type));
	if (!json_obj(root, "config"))
		return warn_errno(-EBADMSG, "%s: the manifest has no config", img->repo->name);
	r = read_desc(json_obj(root, "config"), img->repo->name, &img->config_desc, type);
	return r ? r : read_layers(img, root);
}

// An array of strings as a NULL-terminated vector; strings that C cannot say are refused.
static int read_strings(struct image *img, yyjson_val *cfg, const char *key, char ***ret,
	size_t *ret_n, size_t *budget)
{
	yyjson_val *arr = json_arr(cfg, key), *v;
	yyjson_arr_iter it;

	if (!arr)
		return json_get(cfg, key)
			? warn_errno(-EBADMSG, "%s: config's %s is no list", img->repo->name, key)
			: 0;
	if (yyjson_arr_size(arr) > CONFIG_STRINGS_MAX)
		return warn_errno(
			-EBADMSG, "%s: config's %s has too many values", img->repo->name, key);
	*ret = xcalloc(yyjson_arr_size(arr) + 1, sizeof **ret);
	yyjson_arr_iter_init(arr, &it);
	while ((v = yyjson_arr_iter_next(&it))) {
		const char *s = json_str_of(v);

		if (!s || strlen(s) >= *budget)
			return warn_errno(-EBADMSG,
				"%s: config's %s has a value that is no proper string or is too long",
				img->repo->name, key);
		*budget -= strlen(s) + 1;
		(*ret)[(*ret_n)++] = xstrdup(s);
	}
	return 0;
}

static int read_diff_ids(struct image *img, yyjson_val *root)
{
	const char *type = json_str(json_obj(root, "rootfs"), "type");
	yyjson_val *arr = json_arr(json_obj(root, "rootfs"), "diff_ids"), *v;
	yyjson_arr_iter it;
	uint32_t i = 0;

	if (type && strcmp(type, "layers"))
		return warn_errno(-EBADMSG, "%s: config: rootfs.type %s is not known",
			img->repo->name, log_quote(type));
	if (!arr || yyjson_arr_size(arr) != img->n_layers)
		return warn_errno(-EBADMSG, "%s: the config lists %zu layers, the manifest %u",
			img->repo->name, arr ? yyjson_arr_size(arr) : 0, img->n_layers);
	yyjson_arr_iter_init(arr, &it);
	while ((v = yyjson_arr_iter_next(&it))) {
		const char *s = json_str_of(v);

		if (!s || digest_parse(s, &img->layers[i++].diff_id))
			return warn_errno(-EBADMSG, "%s: config: diff_id %s", img->repo->name,
				s ? log_quote(s) : "is no string");
	}
	return 0;
}

// A member that is no string must not pass for a missing one: no "User" means root.
static int dup_str(struct image *img, yyjson_val *v, const char *key, char **ret)
{
	const char *s;
	int r = json_get_str(v, key, &s);

	if (r == -EBADMSG)
		return warn_errno(r, "%s: config's %s is no proper string", img->repo->name, key);
	if (!r && *s)
		*ret = xstrdup(s);
	return 0;
}

static int read_settings(struct image *img, yyjson_val *root)
{
	struct image_config *c = &img->config;
	yyjson_val *cfg = json_obj(root, "config");
	size_t budget = ARGS_MAX;
	int r;

	if (!cfg && json_get(root, "config"))
		return warn_errno(-EBADMSG, "%s: config's config is no object", img->repo->name);
	r = dup_str(img, cfg, "User", &c->user);
	if (!r)
		r = dup_str(img, cfg, "WorkingDir", &c->workdir);
	if (!r)
		r = dup_str(img, cfg, "StopSignal", &c->stop_signal);
	if (!r)
		r = dup_str(img, root, "created", &c->created);
	if (!r)
		r = read_strings(img, cfg, "Entrypoint", &c->entrypoint, &c->n_entrypoint, &budget);
	if (!r)
		r = read_strings(img, cfg, "Cmd", &c->cmd, &c->n_cmd, &budget);
	if (!r)
		r = read_strings(img, cfg, "Env", &c->env, &c->n_env, &budget);
	return r;
}

static int read_config(struct image *img)
{
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_val *root;
	int r = repo_read_blob(img->repo, &img->config_desc, CONFIG_MAX, &img->config_json);

	if (r)
		return r;
	img->config_len = img->config_desc.size;
	r = json_parse(img->config_json, img->config_len, img->repo->name, &doc);
	if (r)
		return r;
	root = json_root(doc);
	platform_read(root, &img->config.platform);
	r = read_diff_ids(img, root);
	return r ? r : read_settings(img, root);
}

// ---- the accelerated manifest ----

static void accel_free(struct accel *a)
{
	if (!a)
		return;
	manifest_fini(&a->man);
	free(a->data);
	free(a);
}

static int read_boot(const char *where, yyjson_val *v, struct accel *a)
{
	yyjson_val *ann = json_obj(v, "annotations");
	const char *size = json_str(ann, ANN_INDEX_SIZE);
	char type[128], *end;
	int r = read_desc(v, where, &a->boot, type);

	if (r)
		return r;
	if (strcmp(type, MT_FCPULL_BOOT))
		return warn_errno(-EBADMSG,
			"%s: accelerated manifest: the first layer is no boot blob", where);
	r = read_digest(ann, ANN_INDEX_DIGEST, where, &a->index_digest);
	if (r)
		return r;
	a->index_size = size && *size >= '0' && *size <= '9' ? strtoull(size, &end, 10) : 0;
	if (!a->index_size || *end || a->index_size > a->boot.size ||
		a->index_size > FMT_INDEX_PACKED_MAX)
		return warn_errno(-EBADMSG, "%s: accelerated manifest: bad " ANN_INDEX_SIZE, where);
	return 0;
}

static int read_data(const char *where, yyjson_val *arr, struct accel *a)
{
	yyjson_arr_iter it;
	yyjson_val *v;
	int r = 0;

	a->data = xcalloc(yyjson_arr_size(arr), sizeof *a->data);
	yyjson_arr_iter_init(arr, &it);
	yyjson_arr_iter_next(&it); // the boot blob
	while (!r && (v = yyjson_arr_iter_next(&it))) {
		char type[128];

		r = read_desc(v, where, &a->data[a->n_data++], type);
		if (!r && strcmp(type, MT_FCPULL_DATA))
			r = warn_errno(-EBADMSG, "%s: accelerated manifest: a layer of type %s",
				where, log_quote(type));
	}
	return r;
}

static int accel_parse(
	const char *where, struct accel *a, struct digest *ret_subject, struct digest *ret_config)
{
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_val *root, *layers;
	const char *type;
	struct desc d;
	char mt[128];
	int r = json_parse(a->man.bytes, a->man.len, where, &doc);

	if (r)
		return r;
	root = json_root(doc);
	type = json_str(root, "artifactType");
	if (!type || strcmp(type, MT_FCPULL_IMAGE))
		return warn_errno(-EBADMSG,
			"%s: accelerated manifest: artifactType is not " MT_FCPULL_IMAGE, where);
	r = read_digest(json_obj(root, "subject"), "digest", where, ret_subject);
	if (r)
		return r;
	r = read_desc(json_obj(root, "config"), where, &d, mt);
	if (r)
		return r;
	*ret_config = d.digest;
	layers = json_arr(root, "layers");
	if (!layers || !yyjson_arr_size(layers) || yyjson_arr_size(layers) > FMT_SPACES_MAX + 1)
		return warn_errno(
			-EBADMSG, "%s: accelerated manifest: no layers, or more than 512", where);
	r = read_boot(where, yyjson_arr_get_first(layers), a);
	return r ? r : read_data(where, layers, a);
}

// ---- indexes ----

struct entry {
	char digest[DIGEST_STR_LEN]; // "" = none
	uint64_t size;
	char media_type[128];
	struct platform platform;
};

const char *image_entry_original(yyjson_val *v)
{
	return json_str(json_obj(v, "annotations"), ANN_ORIGINAL);
}

static bool is_ours(yyjson_val *v)
{
	const char *t = json_str(v, "artifactType");

	return image_entry_original(v) || (t && !strcmp(t, MT_FCPULL_IMAGE));
}

// The first entry for the platform; its media type may say that it is an index again.
static int find_entry(
	struct image *img, yyjson_val *root, const struct platform *want, struct entry *ret)
{
	yyjson_val *arr = json_arr(root, "manifests"), *v;
	yyjson_arr_iter it;

	*ret = (struct entry){ 0 };
	if (!arr || yyjson_arr_size(arr) > INDEX_ENTRIES_MAX)
		return warn_errno(-EBADMSG, "%s: an index %s", img->repo->name,
			arr ? "with more than 1024 entries" : "without manifests");
	yyjson_arr_iter_init(arr, &it);
	while ((v = yyjson_arr_iter_next(&it))) {
		yyjson_val *pv = json_obj(v, "platform");
		struct platform p;
		struct desc d;
		int r;

		if (is_ours(v))
			continue;
		platform_read(pv, &p);
		if (pv && !platform_fits(want, &p))
			continue;
		r = read_desc(v, img->repo->name, &d, ret->media_type);
		if (r)
			return r;
		ret->platform = p;
		ret->size = d.size;
		digest_str(&d.digest, ret->digest);
		return 0;
	}
	return 0;
}

// Our entry for this original. Two of them that differ are a contradiction: neither is used.
static int find_accel(struct image *img, yyjson_val *root, struct entry *ret)
{
	yyjson_val *arr = json_arr(root, "manifests"), *v;
	char original[DIGEST_STR_LEN];
	yyjson_arr_iter it;

	*ret = (struct entry){ 0 };
	digest_str(&img->man.digest, original);
	yyjson_arr_iter_init(arr, &it);
	while ((v = yyjson_arr_iter_next(&it))) {
		const char *of = image_entry_original(v);
		char digest[DIGEST_STR_LEN];
		struct desc d;
		int r;

		if (!of || strcmp(of, original))
			continue;
		r = read_desc(v, img->repo->name, &d, ret->media_type);
		if (r)
			return r;
		digest_str(&d.digest, digest);
		if (*ret->digest && strcmp(digest, ret->digest))
			return warn_errno(-EBADMSG,
				"%s: the index has two accelerated forms of one image",
				img->repo->name);
		memcpy(ret->digest, digest, sizeof digest);
		ret->size = d.size;
	}
	return 0;
}

static void say_platforms(yyjson_val *root, struct buf *out)
{
	yyjson_arr_iter it;
	yyjson_val *v;

	yyjson_arr_iter_init(json_arr(root, "manifests"), &it);
	while (out->len < 400 && (v = yyjson_arr_iter_next(&it))) {
		struct platform p;
		char s[100];

		platform_read(json_obj(v, "platform"), &p);
		if (*p.os && strcmp(p.os, "unknown"))
			buf_printf(out, "%s%s", out->len ? ", " : "", platform_str(&p, s));
	}
}

static int get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	int r = repo_get_manifest(repo, ref, ret);

	if (r == -ENOENT)
		return warn_errno(r, "%s has no image %s", repo->name, ref ? ref : "");
	return r;
}

// The manifest that an entry of an index describes, as it describes it.
static int get_described(struct repo *repo, const struct entry *e, struct manifest *ret)
{
	int r = get_manifest(repo, e->digest, ret);

	if (r)
		return r;
	if (ret->len != e->size)
		return warn_errno(-EBADMSG,
			"%s: manifest %s has %zu bytes, but the index says %llu", repo->name,
			e->digest, ret->len, (unsigned long long)e->size);
	if (*e->media_type && strcmp(e->media_type, ret->media_type))
		return warn_errno(-EBADMSG, "%s: manifest %s is of type %s, but the index says %s",
			repo->name, e->digest, log_quote(ret->media_type),
			log_quote(e->media_type));
	return 0;
}

// Reads the accelerated manifest and proves that it belongs to img's original.
static int accel_open(struct image *img, const struct entry *e)
{
	struct accel *a = xcalloc(1, sizeof *a);
	struct digest subject, config;
	int r = get_described(img->repo, e, &a->man);

	if (!r)
		r = accel_parse(img->repo->name, a, &subject, &config);
	if (!r &&
		(!digest_equal(&subject, &img->man.digest) ||
			!digest_equal(&config, &img->config_desc.digest) ||
			a->n_data > img->n_layers))
		r = warn_errno(-EBADMSG, "%s: accelerated manifest %s was made from another image",
			img->repo->name, e->digest);
	if (r) {
		accel_free(a);
		return r;
	}
	img->accel = a;
	return 0;
}

static int no_platform(struct image *img, yyjson_val *root, const struct platform *want)
{
	cleanup_buf struct buf has = { 0 };
	char s[100];

	say_platforms(root, &has);
	warn("%s has no image for %s; it has %s (--platform chooses)", img->repo->name,
		platform_str(want, s), has.len ? log_quote(buf_str(&has)) : "none");
	return -ENOENT;
}

static int leave_accel(const struct image *img)
{
	warn("%s: the accelerated form is not usable; the original is used", img->repo->name);
	return 0;
}

// An index: chooses the original and, when wanted, its accelerated form.
static int open_index(struct image *img, const struct platform *want, enum image_want accel)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct entry e, ours;
	int r = json_parse(img->top.bytes, img->top.len, img->repo->name, &doc);

	if (!r)
		r = find_entry(img, json_root(doc), want, &e);
	if (r)
		return r;
	if (!*e.digest)
		return no_platform(img, json_root(doc), want);
	r = get_described(img->repo, &e, &img->man);
	if (r)
		return r;
	if (media_type_is_index(img->man.media_type))
		return warn_errno(-EBADMSG, "%s: an index inside an index is not supported yet",
			img->repo->name);
	img->platform = e.platform;
	r = read_manifest(img);
	if (!r)
		r = read_config(img);
	if (r || accel == IMAGE_ORIGINAL)
		return r;
	r = find_accel(img, json_root(doc), &ours);
	if (!r && *ours.digest)
		r = accel_open(img, &ours);
	return r && accel == IMAGE_ANY ? leave_accel(img) : r;
}

// A single manifest: the original, or an accelerated one, whose subject then is the original.
static int open_single(struct image *img, enum image_want want)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct manifest *top = &img->top;
	struct entry ours = { 0 };
	const char *type, *subject;
	int r = json_parse(top->bytes, top->len, img->repo->name, &doc);

	if (r)
		return r;
	type = json_str(json_root(doc), "artifactType");
	subject = json_str(json_obj(json_root(doc), "subject"), "digest");
	if (type && !strcmp(type, MT_FCPULL_IMAGE) && subject) {
		r = get_manifest(img->repo, subject, &img->man);
		if (!r)
			r = read_manifest(img);
		if (!r)
			r = read_config(img);
		if (r || want == IMAGE_ORIGINAL)
			return r;
		ours.size = top->len;
		digest_str(&top->digest, ours.digest);
		r = accel_open(img, &ours);
		return r && want == IMAGE_ANY ? leave_accel(img) : r;
	}
	img->man = *top;
	img->man.ref_name = NULL;
	img->man.bytes = xmalloc(top->len + 1);
	memcpy(img->man.bytes, top->bytes, top->len);
	img->man.bytes[top->len] = 0;
	r = read_manifest(img);
	return r ? r : read_config(img);
}

int image_open(struct repo *repo, const struct ref *ref, const struct platform *platform,
	enum image_want want, struct image **ret)
{
	struct image *img = xcalloc(1, sizeof *img);
	int r;

	img->repo = repo;
	r = get_manifest(repo, ref->digest ? ref->digest : ref->tag, &img->top);
	if (!r) {
		img->top_is_index = media_type_is_index(img->top.media_type);
		r = img->top_is_index ? open_index(img, platform, want) : open_single(img, want);
	}
	if (!r && !*img->platform.os)
		img->platform = img->config.platform;
	if (!r && want == IMAGE_ACCELERATED && !img->accel)
		r = warn_errno(-ENOENT,
			"%s has no accelerated form; make one with 'fcpull convert'", repo->name);
	if (r) {
		image_free(img);
		return r;
	}
	*ret = img;
	return 0;
}

static void free_strings(char **v)
{
	for (char **s = v; s && *s; s++)
		free(*s);
	free(v);
}

void image_free(struct image *img)
{
	if (!img)
		return;
	manifest_fini(&img->top);
	manifest_fini(&img->man);
	accel_free(img->accel);
	free(img->config_json);
	free(img->layers);
	free_strings(img->config.entrypoint);
	free_strings(img->config.cmd);
	free_strings(img->config.env);
	free(img->config.user);
	free(img->config.workdir);
	free(img->config.stop_signal);
	free(img->config.created);
	free(img);
}

uint64_t image_layers_size(const struct image *img)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < img->n_layers; i++)
		n += img->layers[i].desc.size;
	return n;
}
