// rawimage.c - a root file system without an image around it (tar:, rootfs:), as a repository
//
// The image is made here: one layer, as it is; a config that says nothing but the platform (linux, this
// machine's) and a PATH. The same bytes give the same image. The layer must be read once beforehand, for
// its digests; a directory is made a tar in a scratch file.
//
// Threads: nothing changes after rawimage_open.
// SPDX-License-Identifier: Apache-2.0
#include "blobfile.h"
#include "desc.h"
#include "dirtar.h"
#include "format.h"
#include "image.h"
#include "inflate.h"
#include "log.h"

#include <fcntl.h>
#include <sys/stat.h>

#define PATH_ENV "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
#define IO_SIZE (256u << 10)

struct rawimage {
	struct repo repo; // first: ops get a struct repo *
	int fd;		  // of the layer
	struct desc layer, config;
	struct digest diff_id;
	const char *type;
	struct buf config_json, manifest;
};

// ---- blobs ----

static bool is_layer(const struct rawimage *w, const struct desc *d)
{
	return digest_equal(&d->digest, &w->layer.digest) && d->size == w->layer.size;
}

static bool is_config(const struct rawimage *w, const struct desc *d)
{
	return digest_equal(&d->digest, &w->config.digest) && d->size == w->config.size;
}

static int none(const struct rawimage *w, const struct desc *d)
{
	return blobfile_error(w->repo.name, &d->digest, -ENOENT, "it is none of this image");
}

static int layer_part(const struct rawimage *w, struct blobfile *ret)
{
	*ret = (struct blobfile){ fcntl(w->fd, F_DUPFD_CLOEXEC, 3), 0, w->layer.size };
	return ret->fd < 0 ? warn_errno(-errno, "%s", w->repo.name) : 0;
}

static int rawimage_open_blob(
	struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	struct rawimage *w = (struct rawimage *)repo;
	struct blobfile b;

	if (is_config(w, d) && off <= d->size) {
		*ret = stream_of_mem(w->config_json.data + off, (size_t)(d->size - off));
		return 0;
	}
	int r = is_layer(w, d) ? layer_part(w, &b) : none(w, d);

	return r < 0 ? r : blobfile_stream(repo->name, &b, d, off, ret);
}

static int rawimage_read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *watch)
{
	struct rawimage *w = (struct rawimage *)repo;
	struct blobfile b;
	int r = is_layer(w, d) ? layer_part(w, &b) : none(w, d);

	(void)watch;
	return r < 0 ? r : blobfile_range(repo->name, &b, d, off, buf, n);
}

static int rawimage_has_blob(struct repo *repo, const struct desc *d)
{
	struct rawimage *w = (struct rawimage *)repo;

	return is_layer(w, d) || is_config(w, d);
}

static int rawimage_get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	struct rawimage *w = (struct rawimage *)repo;
	struct manifest m = { .len = w->manifest.len,
		.digest = sha256_of(w->manifest.data, w->manifest.len) };
	struct digest want;

	if (ref && (digest_parse(ref, &want) < 0 || !digest_equal(&want, &m.digest)))
		return -ENOENT;
	snprintf(m.media_type, sizeof m.media_type, "%s", MT_OCI_MANIFEST);
	m.bytes = xstrdup(buf_str(&w->manifest));
	*ret = m;
	return 0;
}

static void rawimage_close(struct repo *repo)
{
	struct rawimage *w = (struct rawimage *)repo;

	if (w->fd >= 0)
		close(w->fd);
	buf_fini(&w->config_json);
	buf_fini(&w->manifest);
	free(w->repo.name);
	free(w);
}

// ---- the image that is made ----

static int make_config(struct rawimage *w)
{
	struct buf *b = &w->config_json;
	char str[DIGEST_STR_LEN];
	struct platform p;
	int r = platform_parse(NULL, &p);

	if (r < 0)
		return r;
	json_open(b, NULL, '{');
	json_put_str(b, "architecture", p.arch);
	json_put_str(b, "os", p.os);
	if (*p.variant)
		json_put_str(b, "variant", p.variant);
	json_open(b, "config", '{');
	json_open(b, "Env", '[');
	json_put_str(b, NULL, PATH_ENV);
	json_close(b, ']');
	json_close(b, '}');
	json_open(b, "rootfs", '{');
	json_put_str(b, "type", "layers");
	json_open(b, "diff_ids", '[');
	json_put_str(b, NULL, digest_str(&w->diff_id, str));
	json_close(b, ']');
	json_close(b, '}');
	json_close(b, '}');
	w->config = (struct desc){ sha256_of(b->data, b->len), b->len };
	return 0;
}

static void make_manifest(struct rawimage *w)
{
	struct buf *b = &w->manifest;

	json_open(b, NULL, '{');
	json_put_u64(b, "schemaVersion", 2);
	json_put_str(b, "mediaType", MT_OCI_MANIFEST);
	desc_put(b, "config", MT_OCI_CONFIG, &w->config);
	json_open(b, "layers", '[');
	desc_put(b, NULL, w->type, &w->layer);
	json_close(b, ']');
	json_close(b, '}');
}

static int hash_stream(struct stream *s, struct digest *ret)
{
	cleanup_free uint8_t *buf = xmalloc(IO_SIZE);
	struct sha256 sha;
	ssize_t n;

	sha256_init(&sha);
	while ((n = stream_read(s, buf, IO_SIZE)) > 0)
		sha256_update(&sha, buf, (size_t)n);
	*ret = sha256_final(&sha);
	return (int)n;
}

// Both digests of the layer; they are one when it is not compressed.
static int hash_layer(struct rawimage *w)
{
	static const char *const types[] = { [INFLATE_PLAIN] = MT_OCI_LAYER,
		[INFLATE_GZIP] = MT_OCI_LAYER "+gzip",
		[INFLATE_ZSTD] = MT_OCI_LAYER "+zstd" };
	cleanup_stream struct stream *plain = NULL;
	cleanup_stream struct stream *raw = stream_of_fd(w->fd, 0, w->layer.size);
	int r = hash_stream(raw, &w->layer.digest);

	if (r < 0)
		return warn_errno(r, "%s: read", w->repo.name);
	r = inflate_open(stream_of_fd(w->fd, 0, w->layer.size), w->repo.name, &plain);
	if (r < 0)
		return r;
	enum inflate_kind kind = inflate_kind_of(plain);

	w->type = types[kind];
	w->diff_id = w->layer.digest;
	return kind == INFLATE_PLAIN ? 0 : hash_stream(plain, &w->diff_id);
}

static int size_layer(struct rawimage *w)
{
	struct stat st;

	if (fstat(w->fd, &st) < 0)
		return warn_errno(-errno, "%s", w->repo.name);
	w->layer.size = (uint64_t)st.st_size;
	return w->layer.size ? 0 : warn_errno(-EBADMSG, "%s is empty", w->repo.name);
}

static int open_layer(struct rawimage *w, const struct ref *ref)
{
	if (ref->transport == REF_ROOTFS) {
		w->fd = scratch_file();
		return w->fd < 0 ? w->fd : dirtar_write(ref->dir, w->fd, &w->layer.size);
	}
	w->fd = blobfile_open_as_is(ref->dir, w->repo.name);
	return w->fd < 0 ? w->fd : size_layer(w);
}

int rawimage_open(const struct ref *ref, struct repo **ret)
{
	static const struct repo_ops ops = {
		.get_manifest = rawimage_get_manifest,
		.open_blob = rawimage_open_blob,
		.read_range = rawimage_read_range,
		.has_blob = rawimage_has_blob,
		.close = rawimage_close,
	};
	struct rawimage *w = xcalloc(1, sizeof *w);

	w->repo = (struct repo){ .ops = &ops, .name = ref_name(ref) };
	w->fd = -1;
	int r = open_layer(w, ref);

	if (r == 0)
		r = hash_layer(w);
	if (r == 0)
		r = make_config(w);
	if (r < 0) {
		rawimage_close(&w->repo);
		return r;
	}
	make_manifest(w);
	*ret = &w->repo;
	return 0;
}
