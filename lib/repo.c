// repo.c - one repository, wherever it lives: what registries and layouts share
// SPDX-License-Identifier: Apache-2.0
#include "repo.h"

#include <strings.h>
#include "json.h"
#include "log.h"
#include "mirrored.h"

// ---- manifests ----

enum shape { SHAPE_MANIFEST, SHAPE_INDEX, SHAPE_OTHER };

static enum shape shape_of_type(const char *type)
{
	static const struct {
		const char *type;
		enum shape shape;
	} types[] = {
		{ "application/vnd.oci.image.manifest.v1+json", SHAPE_MANIFEST },
		{ "application/vnd.oci.image.index.v1+json", SHAPE_INDEX },
		{ "application/vnd.docker.distribution.manifest.v2+json", SHAPE_MANIFEST },
		{ "application/vnd.docker.distribution.manifest.list.v2+json", SHAPE_INDEX },
	};

	for (size_t i = 0; i < ARRAY_LEN(types); i++)
		if (strcmp(types[i].type, type) == 0)
			return types[i].shape;
	return SHAPE_OTHER;
}

// What the document is by its members. One that could be read both ways means different images to
// different clients.
static int shape_of_body(yyjson_val *root, const char *what, enum shape *ret)
{
	bool index = json_get(root, "manifests");
	bool manifest = json_get(root, "layers") || json_get(root, "config");

	if (json_get(root, "fsLayers") || json_get(root, "history"))
		return warn_errno(-EBADMSG,
			"%s: it is a manifest of Docker's schema 1, which is not supported: "
			"push the image again"
			" with a client made after 2016",
			what);
	if (index == manifest)
		return warn_errno(-EBADMSG, "%s: it is neither an image manifest nor an index%s",
			what, index ? ", but looks like both" : "");
	*ret = index ? SHAPE_INDEX : SHAPE_MANIFEST;
	return 0;
}

// m->media_type holds the server's claim, or what is no manifest type
// ("application/octet-stream"): then it claims nothing.
static int settle_type(
	struct manifest *m, const char *body_type, enum shape shape, const char *what)
{
	bool claimed = shape_of_type(m->media_type) != SHAPE_OTHER;

	if (body_type &&
		(strlen(body_type) >= sizeof m->media_type || shape_of_type(body_type) != shape))
		return warn_errno(-EBADMSG, "%s: mediaType %s is not what the manifest is", what,
			log_quote(body_type));
	if (body_type && claimed && strcmp(body_type, m->media_type) != 0)
		return warn_errno(-EBADMSG, "%s: mediaType is %s, but it was sent as %s", what,
			log_quote(body_type), log_quote(m->media_type));
	if (!body_type && claimed && shape_of_type(m->media_type) != shape)
		return warn_errno(-EBADMSG, "%s: it was sent as %s, which it is not", what,
			log_quote(m->media_type));
	if (!body_type && !claimed) // OCI manifests need not have a mediaType
		body_type = shape == SHAPE_INDEX ? "application/vnd.oci.image.index.v1+json"
						 : "application/vnd.oci.image.manifest.v1+json";
	if (body_type)
		snprintf(m->media_type, sizeof m->media_type, "%s", body_type);
	return 0;
}

// A member whose name is a known one but for the case: to programs in Go, whose parser does not
// mind the case, the document says something else than to us (GHSA-5j5w-g665-5m35's class).
static int check_keys(yyjson_val *root, const char *what)
{
	static const char *const known[] = { "schemaVersion", "mediaType", "artifactType", "config",
		"layers", "manifests", "subject", "annotations" };
	yyjson_obj_iter it = yyjson_obj_iter_with(root);

	for (yyjson_val *key; (key = yyjson_obj_iter_next(&it));) {
		const char *name = json_str_of(key);

		for (size_t i = 0; name && i < ARRAY_LEN(known); i++)
			if (strcasecmp(name, known[i]) == 0 && strcmp(name, known[i]) != 0)
				return warn_errno(-EBADMSG,
					"%s: the manifest has a member %s, which is not %s", what,
					log_quote(name), known[i]);
	}
	return 0;
}

int manifest_check(struct manifest *m, const char *what)
{
	cleanup_json yyjson_doc *doc = NULL;
	const char *body_type = NULL;
	enum shape shape = SHAPE_OTHER;
	int r = json_parse(m->bytes, m->len, what, &doc);

	if (r < 0)
		return r;
	yyjson_val *root = json_root(doc);

	if (!yyjson_is_obj(root) || json_get_str(root, "mediaType", &body_type) == -EBADMSG)
		return warn_errno(-EBADMSG, "%s: it is no manifest", what);
	r = check_keys(root, what);
	if (r == 0)
		r = shape_of_body(root, what, &shape);
	return r < 0 ? r : settle_type(m, body_type, shape, what);
}

void manifest_fini(struct manifest *m)
{
	free(m->bytes);
	free(m->ref_name);
	*m = (struct manifest){ 0 };
}

// ---- repositories ----

// One place, or several.
static int open_registry(
	const struct ref *ref, const struct net_opts *net, bool write, struct repo **ret)
{
	struct mirrors m;
	int r = mirrors_find(ref, write, &m);

	if (r < 0)
		return r;
	if (m.n > 1 || m.v[0].ns || m.v[0].ca || m.v[0].cert || m.v[0].may_be_plain ||
		strcmp(m.v[0].host, ref->host) != 0 || strcmp(m.v[0].repo, ref->repo) != 0)
		return mirrored_open(ref, net, write, &m, ret);
	mirrors_fini(&m);
	return registry_open(ref, net, write, ret);
}

int repo_open(const struct ref *ref, const struct net_opts *net, bool write, struct repo **ret)
{
	cleanup_free char *name = NULL;

	switch (ref->transport) {
	case REF_DOCKER: return open_registry(ref, net, write, ret);
	case REF_OCI: return layout_open(ref, write, ret);
	case REF_OCI_ARCHIVE:
		return write ? archivew_open(ref, ret) : layout_open_archive(ref, ret);
	case REF_DIR: return dirrepo_open(ref, write, ret);
	default: break;
	}
	name = ref_name(ref);
	if (write)
		return warn_whole(-EINVAL,
			"%s: it can only be read; write to a registry, oci:, oci-archive: or dir:",
			name);
	return ref->transport == REF_DOCKER_ARCHIVE ? dockerar_open(ref, ret)
						    : rawimage_open(ref, ret);
}

bool repo_is_content(int r)
{
	return r == -EBADMSG || r == -ENOENT || r == -EFBIG || r == -EPROTO || r == -ENODATA;
}

bool repo_is_silence(int r)
{
	return r == -EHOSTUNREACH || r == -ENETUNREACH || r == -ECONNREFUSED || r == -ECONNRESET ||
		r == -ETIMEDOUT || r == -EREMOTEIO || r == -EBUSY;
}

void repo_close(struct repo *r)
{
	if (r)
		r->ops->close(r);
}

static int read_once(struct repo *r, const struct desc *d, size_t max, char **ret)
{
	char str[DIGEST_STR_LEN], more;
	cleanup_stream struct stream *s = NULL;

	if (d->size > max)
		return warn_errno(-EFBIG, "%s: blob %s of %llu bytes", r->name,
			digest_str(&d->digest, str), (unsigned long long)d->size);
	int e = repo_open_blob(r, d, 0, &s);

	if (e < 0)
		return e;
	cleanup_free char *p = xmalloc((size_t)d->size + 1);

	e = stream_read_full(s, p, (size_t)d->size);
	// the read that returns 0 is the one that has checked the digest
	ssize_t end = e < 0 ? 0 : stream_read(s, &more, 1);

	if (e == -ENODATA || end > 0)
		return warn_errno(-EBADMSG, "%s: blob %s has not %llu bytes", r->name,
			digest_str(&d->digest, str), (unsigned long long)d->size);
	if (e < 0 || end < 0)
		return e < 0 ? e : (int)end;
	p[d->size] = 0;
	*ret = steal(&p);
	return 0;
}

int repo_read_blob(struct repo *r, const struct desc *d, size_t max, char **ret)
{
	int e = read_once(r, d, max, ret);

	return e == -EBADMSG && r->several ? read_once(r, d, max, ret) : e;
}
