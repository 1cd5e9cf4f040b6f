// multi.c - all platforms of an index, accelerated
// SPDX-License-Identifier: Apache-2.0
#include "multi.h"

#include "copy.h"
#include "entry.h"
#include "format.h"
#include "log.h"
#include "tagindex.h"

// An image that is to be converted, then its form.
struct member {
	char digest[DIGEST_STR_LEN];
	struct platform platform;
	struct form form;
	char *manifest; // form's bytes
};

struct work {
	const struct multi *m;
	struct manifest top;
	struct member *v;
	size_t n, cap;
};

// ---- which ----

// Attestations have the platform unknown/unknown (buildkit) or an artifactType; they are no images.
static bool is_image(yyjson_val *v, const struct platform *p)
{
	const char *type = json_str(v, "mediaType");

	return !entry_is_ours(v) && !json_get(v, "artifactType") &&
		(!*p->os || !strcmp(p->os, "linux")) &&
		(!type || !strcmp(type, MT_OCI_MANIFEST) || !strcmp(type, MT_DOCKER_MANIFEST));
}

static bool is_index(yyjson_val *v)
{
	const char *type = json_str(v, "mediaType");

	return type && media_type_is_index(type);
}

static int add_member(struct work *w, yyjson_val *v, const struct platform *p)
{
	struct member mem = { .platform = *p };
	struct digest d;
	int r = desc_read_digest(v, "digest", w->m->from->name, &d);

	if (r)
		return r;
	digest_str(&d, mem.digest);
	for (size_t i = 0; i < w->n; i++)
		if (!strcmp(w->v[i].digest, mem.digest))
			return 0;
	w->v = xgrow(w->v, &w->cap, w->n + 1, sizeof *w->v);
	w->v[w->n++] = mem;
	return 0;
}

static int list_images(struct work *w, const struct manifest *index, bool nested);

static int enter_index(struct work *w, yyjson_val *v)
{
	struct manifest m = { 0 };
	char s[DIGEST_STR_LEN];
	struct digest d;
	int r = desc_read_digest(v, "digest", w->m->from->name, &d);

	if (!r)
		r = repo_get_manifest(w->m->from, digest_str(&d, s), &m);
	if (r == -ENOENT)
		return warn_errno(r, "%s: the index lists %s", w->m->from->name, s);
	if (!r)
		r = list_images(w, &m, true);
	manifest_fini(&m);
	return r;
}

// One level of indexes in the index is looked into, as everywhere here.
static int list_images(struct work *w, const struct manifest *index, bool nested)
{
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_val *arr, *v;
	yyjson_arr_iter it;
	int r = json_parse(index->bytes, index->len, w->m->from->name, &doc);

	if (r)
		return r;
	arr = json_arr(json_root(doc), "manifests");
	if (!arr || yyjson_arr_size(arr) > INDEX_ENTRIES_MAX)
		return warn_errno(-EBADMSG, "%s: an index without manifests, or with more than %d",
			w->m->from->name, INDEX_ENTRIES_MAX);
	yyjson_arr_iter_init(arr, &it);
	while (!r && (v = yyjson_arr_iter_next(&it))) {
		struct platform p;

		platform_read(json_obj(v, "platform"), &p);
		if (is_index(v) && !nested && !entry_is_ours(v))
			r = enter_index(w, v);
		else if (is_image(v, &p))
			r = add_member(w, v, &p);
	}
	return r;
}

// ---- each ----

static int convert_image(struct work *w, struct member *mem, struct image *img)
{
	const struct multi *m = w->m;
	struct accel_job *j;
	struct digest d;
	int r = accel_layers(img, m->to, m->conf, &j);

	if (!r)
		r = accel_boot(j, m->trace);
	if (!r)
		r = m->conf->referrer ? accel_deliver(j, &d) : accel_put(j, &mem->form);
	if (!r && mem->form.manifest) { // (a referrer has none)
		mem->manifest = xmalloc(mem->form.len);
		memcpy(mem->manifest, mem->form.manifest, mem->form.len);
		mem->form.manifest = mem->manifest;
	}
	if (!r)
		m->report(img, accel_stats(j));
	accel_free(j);
	return r;
}

static int convert_member(struct work *w, struct member *mem)
{
	struct ref ref = { .transport = w->m->src->transport, .digest = mem->digest };
	struct image *img;
	char s[100];
	int r = image_open(w->m->from, &ref, &mem->platform, IMAGE_ORIGINAL, &img);

	if (r)
		return r;
	info("%s: %s is converted", w->m->from->name, platform_str(&img->platform, s));
	r = convert_image(w, mem, img);
	if (r)
		warn("%s: the image for %s could not be converted", w->m->from->name,
			platform_str(&img->platform, s));
	image_free(img);
	return r;
}

// ---- the whole ----

// In another place, all that the index lists must be there before it.
static int copy_entries(struct work *w)
{
	const struct multi *m = w->m;
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_arr_iter it;
	yyjson_val *v;
	int r = json_parse(w->top.bytes, w->top.len, m->from->name, &doc);

	yyjson_arr_iter_init(r ? NULL : json_arr(json_root(doc), "manifests"), &it);
	while (!r && (v = yyjson_arr_iter_next(&it))) {
		struct digest d;
		char s[DIGEST_STR_LEN];

		r = desc_read_digest(v, "digest", m->from->name, &d);
		if (!r)
			r = copy_manifest(m->from, m->to, digest_str(&d, s), m->conf->mount_from);
	}
	return r;
}

static int put_index(struct work *w, struct digest *ret)
{
	const struct multi *m = w->m;
	cleanup_free struct form *forms = xcalloc(w->n, sizeof *forms);
	cleanup_buf struct buf b = { 0 };
	const char *tag = m->conf->tag ? m->conf->tag
		: m->conf->same_place  ? w->top.ref_name
				       : NULL;
	int r;

	for (size_t i = 0; i < w->n; i++)
		forms[i] = w->v[i].form;
	r = tagindex_extend(&b, &w->top, forms, w->n, m->to->name);
	if (!r && m->conf->same_place)
		r = accel_still_there(m->to, tag, &w->top.digest);
	if (!r)
		r = repo_put_manifest(m->to, tag ? tag : "", MT_OCI_INDEX, b.data, b.len);
	*ret = sha256_of(b.data, b.len);
	return r;
}

static int convert_all(struct work *w, struct digest *ret)
{
	int r = list_images(w, &w->top, false);

	if (!r && !w->n)
		r = warn_whole(-ENOENT, "%s: the index lists no image for Linux", w->m->from->name);
	if (!r && !w->m->conf->same_place)
		r = copy_entries(w);
	for (size_t i = 0; i < w->n && !r; i++)
		r = convert_member(w, &w->v[i]);
	if (r)
		return r;
	*ret = w->top.digest;
	return w->m->conf->referrer ? 0 : put_index(w, ret);
}

int multi_convert(const struct multi *m, struct digest *ret)
{
	struct work w = { .m = m };
	const char *name = m->src->digest ? m->src->digest : m->src->tag;
	int r = repo_get_manifest(m->from, name, &w.top);

	if (r)
		return r == -ENOENT
			? warn_whole(r, "%s has no image %s", m->from->name, name ? name : "")
			: r;
	r = media_type_is_index(w.top.media_type) ? convert_all(&w, ret) : 1;
	for (size_t i = 0; i < w.n; i++)
		free(w.v[i].manifest);
	free(w.v);
	manifest_fini(&w.top);
	return r;
}
