// tagindex.c - the index under an image's tag, written
// SPDX-License-Identifier: Apache-2.0
#include "tagindex.h"

#include "entry.h"
#include "format.h"
#include "log.h"

// Our entry: a platform that nobody has keeps other clients from choosing it (as build attestations
// do).
static void json_form(struct buf *b, const struct form *f)
{
	struct desc d = { sha256_of(f->manifest, f->len), f->len };
	char s[DIGEST_STR_LEN];

	desc_open(b, NULL, MT_OCI_MANIFEST, &d);
	json_put_str(b, "artifactType", MT_FCPULL_IMAGE);
	json_open(b, "platform", '{');
	json_put_str(b, "architecture", "unknown");
	json_put_str(b, "os", "unknown");
	json_close(b, '}');
	json_open(b, "annotations", '{');
	json_put_str(b, ANN_ORIGINAL, digest_str(&f->original, s));
	json_close(b, '}');
	desc_put_data(b, f->manifest, f->len, FMT_INLINE_MANIFEST_MAX);
	json_close(b, '}');
}

static void json_original(struct buf *b, const struct image *img)
{
	struct desc d = { img->man.digest, img->man.len };

	desc_open(b, NULL, img->man.media_type, &d);
	json_open(b, "platform", '{');
	json_put_str(b, "architecture", img->platform.arch);
	json_put_str(b, "os", img->platform.os);
	if (*img->platform.variant)
		json_put_str(b, "variant", img->platform.variant);
	json_close(b, '}');
	json_close(b, '}');
}

static void json_begin(struct buf *b)
{
	json_open(b, NULL, '{');
	json_put_u64(b, "schemaVersion", 2);
	json_put_str(b, "mediaType", MT_OCI_INDEX);
}

void tagindex_pair(struct buf *b, const struct image *img, const struct form *f, bool local)
{
	json_begin(b);
	json_open(b, "manifests", '[');
	json_original(b, img);
	json_form(b, f);
	json_close(b, ']');
	if (local) {
		json_open(b, "annotations", '{');
		json_put_str(b, ANN_LOCAL, "true");
		json_close(b, '}');
	}
	json_close(b, '}');
}

bool tagindex_has_forms(const struct manifest *m)
{
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_arr_iter it;
	yyjson_val *v;

	if (!media_type_is_index(m->media_type) || json_parse(m->bytes, m->len, NULL, &doc))
		return false;
	yyjson_arr_iter_init(json_arr(json_root(doc), "manifests"), &it);
	while ((v = yyjson_arr_iter_next(&it)))
		if (entry_is_ours(v))
			return true;
	return false;
}

bool tagindex_is_local(const struct manifest *m)
{
	cleanup_json yyjson_doc *doc = NULL;

	if (!media_type_is_index(m->media_type) || json_parse(m->bytes, m->len, NULL, &doc))
		return false;
	return json_str(json_obj(json_root(doc), "annotations"), ANN_LOCAL);
}

// ---- what was there ----

static bool has_digest(yyjson_val *manifests, const char *digest)
{
	yyjson_arr_iter it;
	yyjson_val *v;

	yyjson_arr_iter_init(manifests, &it);
	while ((v = yyjson_arr_iter_next(&it))) {
		const char *d = json_str(v, "digest");

		if (d && !strcmp(d, digest))
			return true;
	}
	return false;
}

// What an index lists inside it is not seen here.
static bool has_index(yyjson_val *manifests)
{
	yyjson_arr_iter it;
	yyjson_val *v;

	yyjson_arr_iter_init(manifests, &it);
	while ((v = yyjson_arr_iter_next(&it))) {
		const char *type = json_str(v, "mediaType");

		if (type && media_type_is_index(type))
			return true;
	}
	return false;
}

static bool replaces(const struct form *v, size_t n, const char *original)
{
	char s[DIGEST_STR_LEN];

	for (size_t i = 0; i < n; i++)
		if (!strcmp(digest_str(&v[i].original, s), original))
			return true;
	return false;
}

static bool keep_entry(yyjson_val *manifests, yyjson_val *entry, const struct form *v, size_t n)
{
	const char *of = entry_original(entry);

	return !of || (!replaces(v, n, of) && (has_digest(manifests, of) || has_index(manifests)));
}

static int json_entries(struct buf *b, yyjson_val *manifests, const struct form *v, size_t n)
{
	yyjson_arr_iter it;
	yyjson_val *entry;
	int r = 0;

	json_open(b, "manifests", '[');
	yyjson_arr_iter_init(manifests, &it);
	while (!r && (entry = yyjson_arr_iter_next(&it)))
		if (keep_entry(manifests, entry, v, n))
			r = json_put_val(b, NULL, entry);
	for (size_t i = 0; i < n; i++)
		json_form(b, &v[i]);
	json_close(b, ']');
	return r;
}

int tagindex_extend(struct buf *b, const struct manifest *top, const struct form *v, size_t n,
	const char *where)
{
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_obj_iter it;
	yyjson_val *k;
	int r = json_parse(top->bytes, top->len, where, &doc);

	if (r)
		return r;
	json_begin(b);
	yyjson_obj_iter_init(json_root(doc), &it);
	while (!r && (k = yyjson_obj_iter_next(&it))) {
		const char *key = yyjson_get_str(k);
		yyjson_val *val = yyjson_obj_iter_get_val(k);

		if (!strcmp(key, "mediaType") || !strcmp(key, "schemaVersion"))
			continue;
		r = strcmp(key, "manifests") ? json_put_val(b, key, val)
					     : json_entries(b, val, v, n);
	}
	json_close(b, '}');
	return r;
}
