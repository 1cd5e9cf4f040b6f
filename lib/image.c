// image.c - manifests, indexes and configs (image-spec 1.1; Docker image manifest v2 schema 2)
// SPDX-License-Identifier: Apache-2.0
#include "image.h"

#include "entry.h"
#include "format.h"
#include "json.h"
#include "log.h"
#include "lookup.h"

#define CONFIG_STRINGS_MAX 4096
#define ARGS_MAX \
	(128u << 10) // bytes of arguments and environment together (reliability.md section 2A)

// ---- the original's manifest and config ----

bool media_type_is_index(const char *t)
{
	return !strcmp(t, MT_OCI_INDEX) || !strcmp(t, MT_DOCKER_LIST);
}

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

		r = desc_read(v, img->repo->name, &l->desc, l->media_type);
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
	r = desc_read(json_obj(root, "config"), img->repo->name, &img->config_desc, type);
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

// copy: the config, taken over, or NULL: it is fetched.
static int read_config(struct image *img, char *copy)
{
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_val *root;
	int r = 0;

	img->config_json = copy;
	if (!copy)
		r = repo_read_blob(img->repo, &img->config_desc, CONFIG_MAX, &img->config_json);
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

// ---- indexes ----

// A copy in the descriptor is not used when each object is to be read.
static void drop_copy(const struct image *img, struct entry *e)
{
	if (img->no_copies)
		free(steal(&e->copy));
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
		int r;

		if (entry_is_ours(v))
			continue;
		platform_read(pv, &p);
		// (what has a type of its own and no platform is no image)
		if (pv ? !platform_fits(want, &p) : json_get(v, "artifactType") != NULL)
			continue;
		r = entry_read(v, img->repo->name, ret);
		if (r)
			return r;
		ret->platform = p;
		drop_copy(img, ret);
		return 0;
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
		return warn_whole(r, "%s has no image %s", repo->name, ref ? ref : "");
	return r;
}

// The manifest that an entry of an index describes, as it describes it. copy: its bytes, taken
// over, or NULL: it is fetched.
static int get_described(struct repo *repo, const struct entry *e, char *copy, struct manifest *ret)
{
	int r;

	if (copy) {
		*ret = (struct manifest){ .bytes = copy, .len = e->size };
		ret->digest = sha256_of(copy, ret->len);
		memcpy(ret->media_type, e->media_type, sizeof ret->media_type);
		r = manifest_check(ret, repo->name);
	} else {
		r = get_manifest(repo, e->digest, ret);
	}
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

// Reads the accelerated manifest. f is as it was when that fails.
static int accel_get(struct image *img, struct entry *e, struct accelman *f)
{
	int r;

	f->accel = xcalloc(1, sizeof *f->accel);
	r = get_described(img->repo, e, steal(&e->copy), &f->accel->man);
	if (!r)
		r = accelman_parse(img->repo->name, f);
	if (!r && img->no_copies) {
		free(steal(&f->subject_copy));
		free(steal(&f->config_copy));
	}
	if (r)
		accelman_fini(f);
	return r;
}

// Proves that it belongs to img's original, and gives it to img.
static int accel_take(struct image *img, struct accelman *f)
{
	char s[DIGEST_STR_LEN];

	if (!digest_equal(&f->subject.digest, &img->man.digest) ||
		!digest_equal(&f->config.digest, &img->config_desc.digest) ||
		f->accel->n_data > img->n_layers)
		return warn_errno(-EBADMSG,
			"%s: accelerated manifest %s was made from another image", img->repo->name,
			digest_str(&f->accel->man.digest, s));
	img->accel = steal(&f->accel);
	return 0;
}

static bool same_desc(const struct desc *a, const struct desc *b)
{
	return digest_equal(&a->digest, &b->digest) && a->size == b->size;
}

// Reads the original's manifest, that e describes, and its config: out of the accelerated manifest
// when that carries them.
static int open_original(struct image *img, struct entry *e, struct accelman *f)
{
	char subject[DIGEST_STR_LEN];
	int r;

	digest_str(&f->subject.digest, subject);
	if (!e->copy && f->subject.size == e->size && !strcmp(subject, e->digest))
		e->copy = steal(&f->subject_copy);
	r = get_described(img->repo, e, steal(&e->copy), &img->man);
	if (r)
		return r;
	if (media_type_is_index(img->man.media_type))
		return warn_errno(-EBADMSG,
			"%s: an index inside an index inside an index, or under another name",
			img->repo->name);
	r = read_manifest(img);
	if (r)
		return r;
	return read_config(
		img, same_desc(&f->config, &img->config_desc) ? steal(&f->config_copy) : NULL);
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

// e is an index that an index lists (image-spec allows it; one is enough for anybody): it becomes that
// one's entry for the platform.
static int enter_nested(
	struct image *img, const struct platform *want, struct entry *e, yyjson_doc **ret_doc)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct manifest m = { 0 };
	struct entry next = { 0 };
	int r = get_described(img->repo, e, steal(&e->copy), &m);

	if (!r)
		r = json_parse(m.bytes, m.len, img->repo->name, &doc);
	if (!r)
		r = find_entry(img, json_root(doc), want, &next);
	if (!r && !*next.digest)
		r = no_platform(img, json_root(doc), want);
	manifest_fini(&m);
	*e = next;
	*ret_doc = r ? NULL : steal(&doc);
	return r;
}

// Whether a form may be tried; it is the one that is left out until it turns out to be good.
static bool may_try(struct image *img, const char *digest, const struct image_veto *veto)
{
	bool refused;

	if (digest_parse(digest, &img->left_out))
		return false;
	refused = veto && veto->bad(veto->arg, &img->left_out);
	img->left_out_error = refused ? -EPERM : 0;
	return !refused;
}

// How a try has ended. Returns r.
static int tried(struct image *img, int r)
{
	img->left_out_error = r;
	snprintf(img->left_out_why, sizeof img->left_out_why, "%s", r ? log_last() : "");
	return r;
}

// The accelerated form of e, which either index may list.
static int get_accel(struct image *img, yyjson_doc *doc, yyjson_doc *inner, const struct entry *e,
	const struct image_veto *veto, struct accelman *ret)
{
	struct entry ours = { 0 };
	const char *name = img->repo->name;
	int r = entry_find_accel(json_root(doc), e->digest, name, &ours);

	if (!r && !*ours.digest && inner)
		r = entry_find_accel(json_root(inner), e->digest, name, &ours);
	drop_copy(img, &ours);
	if (!r && *ours.digest && may_try(img, ours.digest, veto))
		r = tried(img, accel_get(img, &ours, ret));
	free(ours.copy);
	return r;
}

// An index: chooses the original and, when wanted, its accelerated form.
static int open_index(struct image *img, const struct platform *want, enum image_want accel,
	const struct image_veto *veto)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_json yyjson_doc *inner = NULL;
	struct entry e = { 0 };
	struct accelman f = { 0 };
	int r = json_parse(img->top.bytes, img->top.len, img->repo->name, &doc);

	if (!r)
		r = find_entry(img, json_root(doc), want, &e);
	if (!r && !*e.digest)
		r = no_platform(img, json_root(doc), want);
	if (!r && media_type_is_index(e.media_type))
		r = enter_nested(img, want, &e, &inner);
	if (r) {
		free(e.copy);
		return r;
	}
	if (accel != IMAGE_ORIGINAL) {
		r = get_accel(img, doc, inner, &e, veto, &f);
		r = r && accel == IMAGE_ANY ? leave_accel(img) : r;
	}
	img->platform = e.platform;
	if (!r)
		r = open_original(img, &e, &f);
	if (!r && f.accel) {
		r = tried(img, accel_take(img, &f));
		r = r && accel == IMAGE_ANY ? leave_accel(img) : r;
	}
	free(e.copy);
	accelman_fini(&f);
	return r;
}

static char *copy_bytes(const struct manifest *m)
{
	char *p = xmalloc(m->len + 1);

	memcpy(p, m->bytes, m->len);
	p[m->len] = 0;
	return p;
}

// An accelerated manifest: its subject is the original.
static int open_accelerated(
	struct image *img, yyjson_val *subject, enum image_want want, const struct image_veto *veto)
{
	struct manifest *top = &img->top;
	struct entry e = { 0 }, ours = { .size = top->len };
	struct accelman f = { 0 };
	struct desc d;
	int r = desc_read(subject, img->repo->name, &d, e.media_type);

	if (r)
		return r;
	e.size = d.size;
	digest_str(&d.digest, e.digest);
	digest_str(&top->digest, ours.digest);
	if (want != IMAGE_ORIGINAL && may_try(img, ours.digest, veto)) {
		ours.copy = copy_bytes(top);
		r = tried(img, accel_get(img, &ours, &f));
		r = r && want == IMAGE_ANY ? leave_accel(img) : r;
	}
	if (!r)
		r = open_original(img, &e, &f);
	if (!r && f.accel) {
		r = tried(img, accel_take(img, &f));
		r = r && want == IMAGE_ANY ? leave_accel(img) : r;
	}
	free(e.copy);
	accelman_fini(&f);
	return r;
}

// A single manifest: the original, or an accelerated one.
static int open_single(struct image *img, enum image_want want, const struct image_veto *veto)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct manifest *top = &img->top;
	yyjson_val *subject;
	const char *type;
	int r = json_parse(top->bytes, top->len, img->repo->name, &doc);

	if (r)
		return r;
	type = json_str(json_root(doc), "artifactType");
	subject = json_obj(json_root(doc), "subject");
	if (type && !strcmp(type, MT_FCPULL_IMAGE) && subject)
		return open_accelerated(img, subject, want, veto);
	img->man = *top;
	img->man.ref_name = NULL;
	img->man.bytes = copy_bytes(top);
	r = read_manifest(img);
	return r ? r : read_config(img, NULL);
}

int image_open_but(struct repo *repo, const struct ref *ref, const struct platform *platform,
	enum image_want want, const struct image_veto *veto, struct image **ret)
{
	struct image *img = xcalloc(1, sizeof *img);
	int r;

	img->repo = repo;
	img->no_copies = want == IMAGE_PROOF || want == IMAGE_ACCELERATED;
	r = get_manifest(repo, ref->digest ? ref->digest : ref->tag, &img->top);
	if (!r) {
		img->top_is_index = media_type_is_index(img->top.media_type);
		r = img->top_is_index ? open_index(img, platform, want, veto)
				      : open_single(img, want, veto);
	}
	if (!r && !*img->platform.os)
		img->platform = img->config.platform;
	if (!r && want == IMAGE_ACCELERATED && !img->accel)
		r = warn_whole(-ENOENT,
			"%s has no accelerated form; make one with 'fcpull convert'", repo->name);
	if (r) {
		image_free(img);
		return r;
	}
	*ret = img;
	return 0;
}

int image_open(struct repo *repo, const struct ref *ref, const struct platform *platform,
	enum image_want want, struct image **ret)
{
	return image_open_but(repo, ref, platform, want, NULL, ret);
}

int image_look_up(struct image *img, const struct ref *ref, enum image_want want,
	const struct image_veto *veto)
{
	struct entry e = { 0 };
	struct accelman f = { 0 };
	const char *where = NULL;
	size_t place = 0;
	int r;

	if (img->accel)
		return 0;
	do {
		free(steal(&e.copy));
		where = lookup_accel(img->repo, ref, &img->man.digest, &place, &e);
	} while (where && !may_try(img, e.digest, veto));
	if (!where)
		return 0;
	drop_copy(img, &e);
	r = accel_get(img, &e, &f);
	if (!r)
		r = accel_take(img, &f);
	tried(img, r);
	if (r)
		warn("%s: so said %s", img->repo->name, where);
	else
		info("%s: the accelerated form is known by %s", img->repo->name, where);
	img->looked_up = !r;
	free(e.copy);
	accelman_fini(&f);
	return r && want == IMAGE_ANY ? leave_accel(img) : r;
}

int image_add_form(struct image *img, struct manifest *form)
{
	struct accelman f = { .accel = xcalloc(1, sizeof *f.accel) };
	int r;

	f.accel->man = *form;
	*form = (struct manifest){ 0 };
	r = accelman_parse(img->repo->name, &f);
	if (!r)
		r = accel_take(img, &f);
	accelman_fini(&f);
	return r;
}

void image_drop_form(struct image *img)
{
	accelman_free(steal(&img->accel));
	img->looked_up = false;
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
	accelman_free(img->accel);
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
