// copy.c - blobs and manifests copied from one repository to another
// SPDX-License-Identifier: Apache-2.0
#include "copy.h"

#include "desc.h"
#include "log.h"
#include "progress.h"

#define COPY_SIZE (256u << 10)
#define DEPTH_MAX 2 // of indexes inside each other

// By way of a scratch file: a repository takes a blob when its digest is proved.
static int fetch_blob(struct repo *from, const struct desc *d, int fd, struct progress *p)
{
	cleanup_stream struct stream *s = NULL;
	cleanup_free uint8_t *buf = xmalloc(COPY_SIZE);
	uint64_t off = 0;
	ssize_t n = 0;
	int r = repo_open_blob(from, d, 0, &s);

	while (!r && (n = stream_read(s, buf, COPY_SIZE)) > 0) {
		r = pwrite_full(fd, buf, (size_t)n, off);
		if (r)
			return warn_errno(r, "write a scratch file");
		off += (uint64_t)n;
		if (p)
			progress_add(p, (uint64_t)n);
	}
	return r ? r : (int)n;
}

int copy_blob(struct repo *from, struct repo *to, const struct desc *d, const char *mount_from,
	const char *what)
{
	cleanup_fd int fd = -1;
	struct progress *p = NULL;
	int r = repo_put_blob(to, d, -1, mount_from);

	if (r)
		return r < 0 ? r : 0;
	fd = scratch_file();
	if (fd < 0)
		return fd;
	if (what)
		p = progress_start(what, d->size);
	r = fetch_blob(from, d, fd, p);
	if (!r)
		r = repo_put_blob(to, d, fd, NULL);
	if (what)
		progress_end(p, r < 0 ? "failed" : "copied");
	return r < 0 ? r : 0;
}

static int copy_described(struct repo *from, struct repo *to, yyjson_val *v, const char *mount_from)
{
	char type[128];
	struct desc d;
	int r = desc_read(v, from->name, &d, type);

	return r ? r : copy_blob(from, to, &d, mount_from, NULL);
}

static int copy_at(struct repo *from, struct repo *to, const char *digest, const char *mount_from,
	unsigned depth);

// The blobs of a manifest, the manifests of an index.
static int copy_children(struct repo *from, struct repo *to, yyjson_val *root,
	const char *mount_from, unsigned depth)
{
	yyjson_val *config = json_obj(root, "config"), *v;
	yyjson_arr_iter it;
	int r = config ? copy_described(from, to, config, mount_from) : 0;

	yyjson_arr_iter_init(json_arr(root, "layers"), &it);
	while (!r && (v = yyjson_arr_iter_next(&it)))
		r = copy_described(from, to, v, mount_from);
	yyjson_arr_iter_init(json_arr(root, "manifests"), &it);
	while (!r && (v = yyjson_arr_iter_next(&it))) {
		struct digest d;
		char s[DIGEST_STR_LEN];

		r = desc_read_digest(v, "digest", from->name, &d);
		if (!r)
			r = copy_at(from, to, digest_str(&d, s), mount_from, depth + 1);
	}
	return r;
}

static int copy_at(struct repo *from, struct repo *to, const char *digest, const char *mount_from,
	unsigned depth)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct manifest m = { 0 };
	int r = depth > DEPTH_MAX ? -ELOOP : repo_get_manifest(from, digest, &m);

	if (r)
		return warn_errno(r, "%s: copy %s", from->name, digest);
	r = json_parse(m.bytes, m.len, from->name, &doc);
	if (!r)
		r = copy_children(from, to, json_root(doc), mount_from, depth);
	if (!r)
		r = repo_put_manifest(to, NULL, m.media_type, m.bytes, m.len);
	manifest_fini(&m);
	return r;
}

int copy_manifest(struct repo *from, struct repo *to, const char *digest, const char *mount_from)
{
	return copy_at(from, to, digest, mount_from, 0);
}
