// referrers.c - an image's accelerated form as a referrer of it
// SPDX-License-Identifier: Apache-2.0
#include "referrers.h"

#include "format.h"
#include "log.h"

#define TAG_TRIES 3 // writes of the tag, when others write it too

// ---- found ----

struct search {
	const char *where;
	char original[DIGEST_STR_LEN];
	struct referrer best;
};

static uint64_t serial_of(yyjson_val *v)
{
	const char *s = json_str(json_obj(v, "annotations"), ANN_SERIAL);
	char *end;
	uint64_t n = s && *s >= '0' && *s <= '9' ? strtoull(s, &end, 10) : 0;

	return n && !*end ? n : 0;
}

// Ours, and not said to be of another original. (What it is made from is proved when it is used.)
static bool is_candidate(const struct search *s, yyjson_val *v)
{
	const char *artifact = json_str(v, "artifactType"), *type = json_str(v, "mediaType"),
		   *of = entry_original(v);

	return artifact && !strcmp(artifact, MT_FCPULL_IMAGE) && type &&
		!strcmp(type, MT_OCI_MANIFEST) && (!of || !strcmp(of, s->original));
}

static void consider(void *arg, yyjson_val *v)
{
	struct search *s = arg;
	uint64_t serial = serial_of(v);
	struct entry e;

	if (!is_candidate(s, v) || (*s->best.entry.digest && serial <= s->best.serial) ||
		entry_read(v, s->where, &e))
		return;
	free(s->best.entry.copy);
	s->best = (struct referrer){ e, serial };
}

static char *tag_of(const struct digest *original)
{
	char hex[65];

	return xasprintf("sha256-%s", digest_hex(original, hex));
}

// The index under the tag, parsed; *ret = NULL: there is none. -EEXIST: the tag is something else.
static int read_tag(struct repo *repo, const char *tag, yyjson_doc **ret)
{
	struct manifest m = { 0 };
	int r = repo_get_manifest(repo, tag, &m);

	*ret = NULL;
	if (r)
		return r == -ENOENT ? 0 : r;
	r = json_parse(m.bytes, m.len, repo->name, ret);
	manifest_fini(&m);
	if (r || json_arr(json_root(*ret), "manifests"))
		return r;
	yyjson_doc_free(*ret);
	*ret = NULL;
	return -EEXIST;
}

static int search_tag(struct repo *repo, const struct digest *original, struct search *s)
{
	cleanup_free char *tag = tag_of(original);
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_arr_iter it;
	yyjson_val *v;
	int r = read_tag(repo, tag, &doc);

	if (r || !doc)
		return r == -EEXIST ? 0 : r;
	yyjson_arr_iter_init(json_arr(json_root(doc), "manifests"), &it);
	while ((v = yyjson_arr_iter_next(&it)))
		consider(s, v);
	return 0;
}

int referrers_find(
	struct repo *repo, const struct digest *original, bool patient, struct referrer *ret)
{
	struct search s = { .where = repo->name };
	int r;

	digest_str(original, s.original);
	r = repo_each_referrer(repo, original, MT_FCPULL_IMAGE, patient, consider, &s);
	if (r == -ENOENT)
		r = search_tag(repo, original, &s);
	if (r) {
		free(s.best.entry.copy);
		return r;
	}
	*ret = s.best;
	return 0;
}

// ---- entered ----

static bool is_the_same(yyjson_val *v, const char *digest)
{
	const char *d = json_str(v, "digest");

	return d && !strcmp(d, digest);
}

static bool lists(yyjson_doc *doc, const char *digest)
{
	yyjson_arr_iter it;
	yyjson_val *v;

	yyjson_arr_iter_init(json_arr(json_root(doc), "manifests"), &it);
	while ((v = yyjson_arr_iter_next(&it)))
		if (is_the_same(v, digest))
			return true;
	return false;
}

// As a registry would write it: the manifest's artifactType and annotations.
static void json_referrer(struct buf *b, const struct desc *d, uint64_t serial)
{
	char text[24];

	desc_open(b, NULL, MT_OCI_MANIFEST, d);
	json_put_str(b, "artifactType", MT_FCPULL_IMAGE);
	if (serial) {
		snprintf(text, sizeof text, "%llu", (unsigned long long)serial);
		json_open(b, "annotations", '{');
		json_put_str(b, ANN_SERIAL, text);
		json_close(b, '}');
	}
	json_close(b, '}');
}

// Others' entries stay as they are; those of ours that were there give way.
static int json_entries(
	struct buf *b, yyjson_val *manifests, const struct desc *ours, uint64_t serial)
{
	yyjson_arr_iter it;
	yyjson_val *v;
	int r = 0;

	json_open(b, "manifests", '[');
	yyjson_arr_iter_init(manifests, &it);
	while (!r && (v = yyjson_arr_iter_next(&it)))
		if (!entry_is_ours(v))
			r = json_put_val(b, NULL, v);
	json_referrer(b, ours, serial);
	json_close(b, ']');
	return r;
}

// The index that was there (doc, or NULL) with ours: all members are kept.
static int make_tag_index(struct buf *b, yyjson_doc *doc, const struct desc *ours, uint64_t serial)
{
	yyjson_val *root = doc ? json_root(doc) : NULL;
	yyjson_obj_iter it = { 0 };
	yyjson_val *k;
	int r;

	json_open(b, NULL, '{');
	json_put_u64(b, "schemaVersion", 2);
	json_put_str(b, "mediaType", MT_OCI_INDEX);
	r = json_entries(b, json_arr(root, "manifests"), ours, serial);
	if (root)
		yyjson_obj_iter_init(root, &it);
	while (!r && (k = yyjson_obj_iter_next(&it))) {
		const char *key = yyjson_get_str(k);

		if (strcmp(key, "schemaVersion") && strcmp(key, "mediaType") &&
			strcmp(key, "manifests"))
			r = json_put_val(b, key, yyjson_obj_iter_get_val(k));
	}
	json_close(b, '}');
	return r;
}

static int write_tag(struct repo *repo, const char *tag, yyjson_doc *doc, const struct desc *ours,
	uint64_t serial)
{
	cleanup_buf struct buf b = { 0 };
	int r = make_tag_index(&b, doc, ours, serial);

	return r ? r : repo_put_manifest(repo, tag, MT_OCI_INDEX, b.data, b.len);
}

// Registries have no compare-and-swap for tags that could be relied on: so the tag is read once more
// after it was written, and written again when another writer has come between.
static int enter_in_tag(
	struct repo *repo, const struct digest *original, const struct desc *ours, uint64_t serial)
{
	cleanup_free char *tag = tag_of(original);
	char digest[DIGEST_STR_LEN];
	int r = 0;

	digest_str(&ours->digest, digest);
	for (unsigned i = 0; !r && i <= TAG_TRIES; i++) {
		cleanup_json yyjson_doc *doc = NULL;

		r = read_tag(repo, tag, &doc);
		if (r == -EEXIST)
			return warn_errno(r,
				"%s: the tag %s, where referrers would be listed, is no index; it is left alone",
				repo->name, tag);
		if (r || (doc && lists(doc, digest)))
			return r;
		if (i < TAG_TRIES)
			r = write_tag(repo, tag, doc, ours, serial);
	}
	return r ? r
		 : warn_whole(-EAGAIN,
			   "%s: somebody else writes the tag %s all the time; run it again",
			   repo->name, tag);
}

int referrers_put(
	struct repo *repo, const struct digest *original, uint64_t serial, const void *p, size_t n)
{
	struct desc d = { sha256_of(p, n), n };
	char hex[65];
	int r = repo_put_referrer(repo, MT_OCI_MANIFEST, p, n);

	if (r)
		return r < 0 ? r : 0;
	warn("%s: the registry lists no referrers; the tag sha256-%.12s... does, which only clients keep",
		repo->name, digest_hex(original, hex));
	return enter_in_tag(repo, original, &d, serial);
}
