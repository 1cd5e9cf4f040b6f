// dockerar.c - what `docker save` and `podman save` write, as a repository to read from
//
// Such an archive has no manifest as registries know it: manifest.json lists configs and layers by
// path. So one is made here, always the same for the same archive: an OCI manifest, each layer of the
// type that its first bytes say. A plain layer's digest is its diff_id, which the config lists and
// which is proved when the layer is read; only compressed ones must be read beforehand.
//
// Threads: lock guards the list of blobs, which get_manifest fills and never shortens.
// SPDX-License-Identifier: Apache-2.0
#include "dockerar.h"
#include "blobfile.h"
#include "desc.h"
#include "format.h"
#include "inflate.h"
#include "log.h"
#include "tarcat.h"
#include "tarhead.h"

#include <fcntl.h>
#include <pthread.h>

struct blob {
	struct desc desc;
	uint64_t off;
};

struct dockerar {
	struct repo repo; // first: ops get a struct repo *
	int fd;
	struct tarcat *tar;
	pthread_mutex_t lock;
	struct blob *blobs;
	size_t n, cap;
};

// ---- manifest.json ----

void dockerar_item_fini(struct dockerar_item *it)
{
	for (size_t i = 0; i < it->n_layers; i++)
		free(it->layers[i]);
	free(it->layers);
	free(it->config);
	free(it->name);
	*it = (struct dockerar_item){ 0 };
}

// A path in the archive, in the form that tarcat looks up. NULL when it is none.
static char *take_path(const char *s)
{
	char path[TAR_PATH_MAX + 1];
	size_t n;

	if (!s || !*s || tarhead_canonical(s, strlen(s), path, &n))
		return NULL;
	return xstrdup(path);
}

// "alpine:3" -> "docker.io/library/alpine:3"; NULL when it is no reference.
static char *full_name(const char *tag)
{
	cleanup_hush bool hush = log_hush();
	struct ref ref;

	if (!tag || ref_parse(tag, &ref))
		return NULL;
	char *s = ref.transport == REF_DOCKER && ref.tag ? ref_str(&ref) : NULL;

	ref_fini(&ref);
	return s;
}

static bool has_tag(yyjson_val *item, const char *want, char **ret_first)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(json_arr(item, "RepoTags"));
	bool found = false;

	for (yyjson_val *v; (v = yyjson_arr_iter_next(&it)) && !found;) {
		cleanup_free char *name = full_name(json_str_of(v));

		found = want && name && !strcmp(name, want);
		if (name && !*ret_first)
			*ret_first = steal(&name);
	}
	return found;
}

static int say_names(yyjson_val *root, const char *want, const char *what)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(root);
	struct buf cleanup_buf names = { 0 };
	size_t i = 0;

	for (yyjson_val *v; (v = yyjson_arr_iter_next(&it)) && i < 10; i++) {
		cleanup_free char *name = NULL;

		has_tag(v, NULL, &name);
		if (name)
			buf_printf(&names, "%s%s", i ? ", " : "", log_quote(name));
		else
			buf_printf(&names, "%s:@%zu", i ? ", " : "", i);
	}
	warn("%s: %s%s; there %s %s", what, want ? "it has no image " : "say which image",
		want ? log_quote(want) : "", yyjson_arr_size(root) == 1 ? "is" : "are",
		names.len ? buf_str(&names) : "none");
	return want ? -ENOENT : -EINVAL;
}

// The entry, with its place in the list. Two entries of one name are no answer.
static int choose(yyjson_val *root, const char *want, const char *what, yyjson_val **ret)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(root);
	size_t at = want && *want == '@' ? strtoul(want + 1, NULL, 10) : SIZE_MAX, i = 0;
	yyjson_val *found = NULL;

	if (!want && yyjson_arr_size(root) != 1)
		return say_names(root, NULL, what);
	for (yyjson_val *v; (v = yyjson_arr_iter_next(&it)); i++) {
		cleanup_free char *first = NULL;

		if (want && (at != SIZE_MAX ? i != at : !has_tag(v, want, &first)))
			continue;
		if (found)
			return warn_errno(-EBADMSG,
				"%s: manifest.json gives the name %s to two images", what,
				log_quote(want));
		found = v;
	}
	*ret = found;
	return found ? 0 : say_names(root, want, what);
}

static int bad_list(const char *what, const char *why)
{
	return warn_errno(-EBADMSG, "%s: manifest.json %s", what, why);
}

static int take_item(yyjson_val *v, const char *what, struct dockerar_item *ret)
{
	yyjson_val *layers = json_arr(v, "Layers");
	yyjson_arr_iter it = yyjson_arr_iter_with(layers);

	ret->config = take_path(json_str(v, "Config"));
	if (!ret->config || !layers)
		return bad_list(what, "has an image without Config or Layers");
	if (yyjson_arr_size(layers) > DOCKERAR_LAYERS_MAX)
		return bad_list(what, "has an image with more than 512 layers");
	ret->layers = xcalloc(yyjson_arr_size(layers) + 1, sizeof *ret->layers);
	for (yyjson_val *l; (l = yyjson_arr_iter_next(&it));) {
		char *path = take_path(json_str_of(l));

		if (!path)
			return bad_list(what, "has a layer that is no path in the archive");
		ret->layers[ret->n_layers++] = path;
	}
	has_tag(v, NULL, &ret->name);
	return 0;
}

int dockerar_choose(
	const char *text, size_t n, const char *want, const char *what, struct dockerar_item *ret)
{
	cleanup_free char *name = xasprintf("%s: manifest.json", what);
	cleanup_json yyjson_doc *doc = NULL;
	struct dockerar_item it = { 0 };
	yyjson_val *v = NULL;
	int r = json_parse(text, n, name, &doc);

	if (r < 0)
		return r;
	yyjson_val *root = json_root(doc);

	if (!yyjson_is_arr(root))
		return bad_list(what,
			yyjson_is_obj(root)
				? "is no list: if a directory of skopeo's was packed, unpack it and use dir:"
				: "is no list of images");
	if (yyjson_arr_size(root) > DOCKERAR_IMAGES_MAX)
		return bad_list(what, "lists more than 1000 images");
	r = choose(root, want, what, &v);
	if (r == 0)
		r = take_item(v, what, &it);
	if (r < 0)
		dockerar_item_fini(&it);
	else
		*ret = it;
	return r;
}

// ---- blobs ----

static void add_blob(struct dockerar *a, const struct desc *d, uint64_t off)
{
	pthread_mutex_lock(&a->lock);
	a->blobs = xgrow(a->blobs, &a->cap, a->n + 1, sizeof *a->blobs);
	a->blobs[a->n++] = (struct blob){ *d, off };
	pthread_mutex_unlock(&a->lock);
}

// -ENOENT silent.
static int find_blob(struct dockerar *a, const struct desc *d, struct blobfile *ret)
{
	int r = -ENOENT;

	pthread_mutex_lock(&a->lock);
	for (size_t i = 0; i < a->n && r < 0; i++) {
		if (!digest_equal(&a->blobs[i].desc.digest, &d->digest) ||
			a->blobs[i].desc.size != d->size)
			continue;
		*ret = (struct blobfile){ -1, a->blobs[i].off, d->size };
		r = 0;
	}
	pthread_mutex_unlock(&a->lock);
	if (r < 0)
		return r;
	ret->fd = fcntl(a->fd, F_DUPFD_CLOEXEC, 3);
	return ret->fd < 0 ? -errno : 0;
}

static int find_loud(struct dockerar *a, const struct desc *d, struct blobfile *ret)
{
	int r = find_blob(a, d, ret);

	return r < 0 ? blobfile_error(a->repo.name, &d->digest, r, "open") : 0;
}

static int dockerar_open_blob(
	struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	struct blobfile b;
	int r = find_loud((struct dockerar *)repo, d, &b);

	return r < 0 ? r : blobfile_stream(repo->name, &b, d, off, ret);
}

static int dockerar_read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *watch)
{
	struct blobfile b;
	int r = find_loud((struct dockerar *)repo, d, &b);

	(void)watch;
	return r < 0 ? r : blobfile_range(repo->name, &b, d, off, buf, n);
}

static int dockerar_has_blob(struct repo *repo, const struct desc *d)
{
	struct blobfile b;
	int r = find_blob((struct dockerar *)repo, d, &b);

	if (r == 0)
		close(b.fd);
	return r == -ENOENT ? 0 : r < 0 ? r : 1;
}

// ---- the manifest that is made ----

struct layer {
	struct desc desc;
	const char *type;
};

// The digest of the layer as it stands in the archive.
static int hash_layer(struct dockerar *a, uint64_t off, uint64_t size, struct digest *ret)
{
	struct stream *s = stream_of_fd(a->fd, off, size);
	cleanup_free uint8_t *buf = xmalloc(1 << 18);
	struct sha256 sha;
	ssize_t n;

	sha256_init(&sha);
	while ((n = stream_read(s, buf, 1 << 18)) > 0)
		sha256_update(&sha, buf, (size_t)n);
	stream_close(s);
	*ret = sha256_final(&sha);
	return n < 0 ? warn_errno((int)n, "%s: read", a->repo.name) : 0;
}

static int take_layer(
	struct dockerar *a, const char *path, const struct digest *diff_id, struct layer *ret)
{
	uint64_t off, size;
	uint8_t magic[4] = { 0 };
	int r = tarcat_find(a->tar, path, true, &off, &size);

	if (r == -ENOENT)
		return warn_errno(-EBADMSG,
			"%s: manifest.json names the layer %s, which is not there", a->repo.name,
			log_quote(path));
	if (r == 0 && size >= sizeof magic)
		r = pread_full(a->fd, magic, sizeof magic, off);
	if (r < 0)
		return r == -EBADMSG ? r : warn_errno(r, "%s: read", a->repo.name);
	bool gzip = magic[0] == 0x1f && magic[1] == 0x8b, zstd = get_le32(magic) == 0xfd2fb528u;

	*ret = (struct layer){ { *diff_id, size },
		gzip	       ? MT_OCI_LAYER "+gzip"
			: zstd ? MT_OCI_LAYER "+zstd"
			       : MT_OCI_LAYER };
	if (gzip || zstd)
		r = hash_layer(a, off, size, &ret->desc.digest);
	if (r == 0)
		add_blob(a, &ret->desc, off);
	return r;
}

static int take_layers(
	struct dockerar *a, const struct dockerar_item *it, yyjson_val *diff_ids, struct buf *b)
{
	yyjson_arr_iter ids = yyjson_arr_iter_with(diff_ids);
	int r = 0;

	if (!diff_ids || yyjson_arr_size(diff_ids) != it->n_layers)
		return warn_errno(-EBADMSG, "%s: the config lists %zu layers, manifest.json %zu",
			a->repo.name, diff_ids ? yyjson_arr_size(diff_ids) : 0, it->n_layers);
	for (size_t i = 0; i < it->n_layers && r == 0; i++) {
		const char *id = json_str_of(yyjson_arr_iter_next(&ids));
		struct digest diff_id;
		struct layer l;

		if (!id || digest_parse(id, &diff_id) < 0)
			return warn_errno(-EBADMSG, "%s: config: diff_id %s", a->repo.name,
				id ? log_quote(id) : "is no string");
		r = take_layer(a, it->layers[i], &diff_id, &l);
		if (r == 0)
			desc_put(b, NULL, l.type, &l.desc);
	}
	return r;
}

// Docker names a config by its digest ("HEX.json", "blobs/sha256/HEX", "sha256:HEX"): then that is
// to be believed only if it is true.
static int check_config_name(const struct dockerar *a, const char *path, const struct digest *is)
{
	const char *base = strrchr(path, '/');
	char hex[65];

	base = base ? base + 1 : path;
	if (strncmp(base, "sha256:", 7) == 0)
		base += 7;
	size_t n = strspn(base, "0123456789abcdef");

	if (n != 64 || (base[n] && strcmp(base + n, ".json")) ||
		!strncmp(base, digest_hex(is, hex), 64))
		return 0;
	return warn_errno(-EBADMSG, "%s: the config %s has the digest %s", a->repo.name,
		log_quote(path), hex);
}

static int make_manifest(struct dockerar *a, const struct dockerar_item *it, struct buf *b)
{
	cleanup_free char *text = NULL, *what = xasprintf("%s: config", a->repo.name);
	cleanup_json yyjson_doc *doc = NULL;
	struct desc config;
	uint64_t off, size;
	size_t n;
	int r = tarcat_find(a->tar, it->config, false, &off, &size);

	if (r == 0)
		r = tarcat_read(a->tar, it->config, CONFIG_MAX, &text, &n);
	if (r < 0)
		return r == -EBADMSG
			? r
			: warn_errno(r == -ENOENT ? -EBADMSG : r, "%s %s", what,
				  r == -ENOENT ? "is not there" : log_quote(it->config));
	config = (struct desc){ sha256_of(text, n), n };
	r = check_config_name(a, it->config, &config.digest);
	if (r == 0)
		r = json_parse(text, n, what, &doc);
	if (r < 0)
		return r;
	add_blob(a, &config, off);
	json_open(b, NULL, '{');
	json_put_u64(b, "schemaVersion", 2);
	json_put_str(b, "mediaType", MT_OCI_MANIFEST);
	desc_put(b, "config", MT_OCI_CONFIG, &config);
	json_open(b, "layers", '[');
	r = take_layers(a, it, json_path(json_root(doc), "rootfs/diff_ids"), b);
	json_close(b, ']');
	json_close(b, '}');
	return r;
}

static int read_list(struct dockerar *a, const char *want, struct dockerar_item *ret)
{
	cleanup_free char *text = NULL;
	size_t n;
	int r = tarcat_read(a->tar, "manifest.json", MANIFEST_MAX, &text, &n);

	if (r == -ENOENT)
		return warn_errno(-EBADMSG,
			"%s: there is no manifest.json in it: it is no 'docker save' archive (or one of "
			"docker before 1.10); an OCI layout's is read as oci-archive:, a root file system's as tar:",
			a->repo.name);
	if (r < 0)
		return r == -EBADMSG ? r : warn_errno(r, "%s: manifest.json", a->repo.name);
	return dockerar_choose(text, n, want, a->repo.name, ret);
}

static int dockerar_get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	struct dockerar *a = (struct dockerar *)repo;
	struct dockerar_item it = { 0 };
	struct buf cleanup_buf b = { 0 };
	int r = read_list(a, ref, &it);

	if (r == 0)
		r = make_manifest(a, &it, &b);
	if (r == 0) {
		*ret = (struct manifest){ .len = b.len, .digest = sha256_of(b.data, b.len) };
		snprintf(ret->media_type, sizeof ret->media_type, "%s", MT_OCI_MANIFEST);
		ret->bytes = xstrdup(buf_str(&b));
	}
	dockerar_item_fini(&it);
	return r;
}

// ---- opening ----

static void dockerar_close(struct repo *repo)
{
	struct dockerar *a = (struct dockerar *)repo;

	tarcat_free(a->tar);
	close(a->fd);
	pthread_mutex_destroy(&a->lock);
	free(a->blobs);
	free(a->repo.name);
	free(a);
}

int dockerar_open(const struct ref *ref, struct repo **ret)
{
	static const struct repo_ops ops = {
		.get_manifest = dockerar_get_manifest,
		.open_blob = dockerar_open_blob,
		.read_range = dockerar_read_range,
		.has_blob = dockerar_has_blob,
		.close = dockerar_close,
	};
	cleanup_free char *name = ref_name(ref);
	int fd = blobfile_open_archive(ref->dir, name);

	if (fd < 0)
		return fd;
	struct dockerar *a = xcalloc(1, sizeof *a);

	a->repo = (struct repo){ .ops = &ops, .name = steal(&name) };
	a->fd = fd;
	pthread_mutex_init(&a->lock, NULL);
	int r = tarcat_open(fd, a->repo.name, &a->tar);

	if (r < 0)
		dockerar_close(&a->repo);
	else
		*ret = &a->repo;
	return r;
}
