// census.c - what is in a store, and what of it anything still needs
// SPDX-License-Identifier: Apache-2.0
#include "census.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "format.h"
#include "indexw.h"
#include "json.h"
#include "kept.h"
#include "layout.h"
#include "log.h"
#include "state.h"

// ---- what there is ----

// Calls fn for each name of 64 hex digits in a directory of the store.
static int each_hex(struct store *s, const char *dir, struct census *c,
	void (*fn)(struct census *c, int dir, const struct digest *d))
{
	int fd = openat(s->fd, dir, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	if (!d) {
		int r = -errno;

		if (fd >= 0)
			close(fd);
		return warn_errno(r, "read %s in the store %s", dir, log_quote(s->path));
	}
	while ((e = readdir(d))) {
		cleanup_free char *text = xasprintf("sha256:%s", e->d_name);
		struct digest digest;

		if (!digest_parse(text, &digest))
			fn(c, dirfd(d), &digest);
	}
	closedir(d);
	return 0;
}

static uint64_t bytes_at(int dir, const char *path)
{
	struct stat st;

	return fstatat(dir, path, &st, AT_SYMLINK_NOFOLLOW) ? 0 : (uint64_t)st.st_blocks * 512;
}

static bool is_open(int dir, const char *path)
{
	cleanup_fd int fd = openat(dir, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);

	return fd >= 0 && flock(fd, LOCK_EX | LOCK_NB);
}

static void add_space(struct census *c, int dir, const struct digest *d)
{
	char hex[65], blocks[80], map[80];
	struct census_space *sp;

	snprintf(blocks, sizeof blocks, "%s/blocks", digest_hex(d, hex));
	snprintf(map, sizeof map, "%s/map", hex);
	c->spaces = xgrow(c->spaces, &c->cap_spaces, c->n_spaces + 1, sizeof *c->spaces);
	sp = &c->spaces[c->n_spaces++];
	*sp = (struct census_space){ .key = *d,
		.bytes = bytes_at(dir, blocks) + bytes_at(dir, map),
		.open = is_open(dir, hex),
		.fetchable = true };
	c->bytes += sp->bytes;
}

static void add_blob(struct census *c, int dir, const struct digest *d)
{
	struct census_blob *b;
	char hex[65];

	c->blobs = xgrow(c->blobs, &c->cap_blobs, c->n_blobs + 1, sizeof *c->blobs);
	b = &c->blobs[c->n_blobs++];
	*b = (struct census_blob){ .digest = *d, .bytes = bytes_at(dir, digest_hex(d, hex)) };
	c->bytes += b->bytes;
}

static void add_local(struct census *c, int dir, const struct digest *d)
{
	(void)dir;
	c->locals = xgrow(c->locals, &c->cap_locals, c->n_locals + 1, sizeof *c->locals);
	c->locals[c->n_locals++] = (struct census_local){ .manifest = *d };
}

static int add_images(struct census *c)
{
	struct store *s = c->store;
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	yyjson_arr_iter it;
	size_t n;
	int r = read_file_at(s->fd, "index.json", LAYOUT_INDEX_MAX, &text, &n);

	if (!r)
		r = json_parse(text, n, "the store's index.json", &doc);
	if (r)
		return warn_errno(r, "index.json of the store %s", log_quote(s->path));
	it = yyjson_arr_iter_with(json_arr(json_root(doc), "manifests"));
	for (yyjson_val *v; (v = yyjson_arr_iter_next(&it));) {
		const char *digest = json_str(v, "digest"),
			   *key = json_str(json_obj(v, "annotations"), ANN_REF_NAME);
		struct census_image im = { 0 };

		if (!key || !digest || digest_parse(digest, &im.top))
			continue;
		im.key = xstrdup(key);
		im.used = store_last_use(s, key, &im.pinned);
		c->images = xgrow(c->images, &c->cap_images, c->n_images + 1, sizeof im);
		c->images[c->n_images++] = im;
	}
	return 0;
}

// ---- what is needed ----

// Marks a blob. False: it is not there.
static bool need(struct census *c, const struct digest *d)
{
	for (size_t i = 0; i < c->n_blobs; i++)
		if (digest_equal(&c->blobs[i].digest, d))
			return c->blobs[i].needed = true;
	return false;
}

static bool need_text(struct census *c, const char *digest, struct digest *ret)
{
	return digest && !digest_parse(digest, ret) && need(c, ret);
}

static void use_space(struct census *c, struct census_image *im, const struct index *ix, uint32_t i)
{
	struct digest key = index_space_key(ix, i);
	struct space_view v;

	index_space(ix, i, &v);
	for (size_t k = 0; k < c->n_spaces; k++) {
		struct census_space *sp = &c->spaces[k];
		bool known = false;

		if (!digest_equal(&sp->key, &key))
			continue;
		sp->fetchable &= v.has_blob;
		if (!im) {
			sp->mounted = true;
			return;
		}
		for (size_t u = 0; u < im->n_spaces; u++)
			known |= im->spaces[u] == k;
		if (known)
			return;
		im->spaces =
			xgrow(im->spaces, &im->cap_spaces, im->n_spaces + 1, sizeof *im->spaces);
		im->spaces[im->n_spaces++] = (uint32_t)k;
		sp->users++;
		return;
	}
}

// The spaces of an index: an image's, or, with im = NULL, a mount's.
static void use_index(struct census *c, struct census_image *im, const struct digest *d)
{
	cleanup_free char *p = NULL;
	struct index *ix;
	size_t n;

	for (size_t i = 0; im && i < c->n_mounts; i++)
		im->mounted |= digest_equal(&c->mounts[i], d);
	if (!need(c, d) || store_get(c->store, d, FMT_INDEX_PACKED_MAX, &p, &n) ||
		index_unpack(p, n, "an index in the store", &ix))
		return;
	for (uint32_t i = 0; i < index_spaces(ix); i++)
		use_space(c, im, ix, i);
	index_free(ix);
}

static void use_local(struct census *c, struct census_image *im, const struct digest *manifest)
{
	struct digest index;

	for (size_t i = 0; i < c->n_locals; i++) {
		if (!digest_equal(&c->locals[i].manifest, manifest))
			continue;
		c->locals[i].needed = true;
		im->locals =
			xgrow(im->locals, &im->cap_locals, im->n_locals + 1, sizeof *im->locals);
		im->locals[im->n_locals++] = *manifest;
		if (!store_local_index(c->store, manifest, &index))
			use_index(c, im, &index);
	}
}

static void use_manifest(struct census *c, struct census_image *im, yyjson_val *root)
{
	yyjson_val *first = yyjson_arr_get_first(json_arr(root, "layers"));
	const char *index = json_str(json_obj(first, "annotations"), ANN_INDEX_DIGEST);
	struct digest d;

	need_text(c, json_str(json_obj(root, "config"), "digest"), &d);
	if (index && !digest_parse(index, &d))
		use_index(c, im, &d);
}

// A form of this original that was made here and could not be pushed: its blobs are nowhere else.
static void use_kept(struct census *c, struct census_image *im, const struct digest *manifest)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *p = NULL;
	struct kept k = { 0 };
	yyjson_arr_iter it;
	yyjson_val *v;
	struct digest d;
	size_t n;
	bool here = !kept_read(c->store, manifest, &k) && k.here;

	free(steal(&k.why));
	if (!here || !need(c, &k.form) || store_get(c->store, &k.form, MANIFEST_MAX, &p, &n) ||
		json_parse(p, n, NULL, &doc))
		return;
	use_manifest(c, im, json_root(doc));
	it = yyjson_arr_iter_with(json_arr(json_root(doc), "layers"));
	while ((v = yyjson_arr_iter_next(&it)))
		need_text(c, json_str(v, "digest"), &d);
}

// A manifest, or an index whose entries are manifests: one level, as everywhere here.
static void use_top(struct census *c, struct census_image *im, const struct digest *d, bool nested)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *p = NULL;
	yyjson_val *list, *v;
	yyjson_arr_iter it;
	size_t n;

	if (!need(c, d) || store_get(c->store, d, MANIFEST_MAX, &p, &n) ||
		json_parse(p, n, NULL, &doc))
		return;
	list = json_arr(json_root(doc), "manifests");
	if (!list) {
		use_manifest(c, im, json_root(doc));
		use_local(c, im, d);
		use_kept(c, im, d);
		return;
	}
	it = yyjson_arr_iter_with(list);
	while (!nested && (v = yyjson_arr_iter_next(&it))) {
		const char *digest = json_str(v, "digest");
		struct digest entry;

		if (digest && !digest_parse(digest, &entry))
			use_top(c, im, &entry, true);
	}
}

// What is mounted is needed, whether anything names it or not.
static int use_mounts(struct census *c)
{
	cleanup_fd int dir = state_dir();
	struct state *v;
	size_t n;
	int r = dir < 0 ? dir : state_list(dir, &v, &n);

	if (r)
		return r;
	c->mounts = xcalloc(n, sizeof *c->mounts);
	for (size_t i = 0; i < n; i++) {
		c->mounts[c->n_mounts++] = v[i].index;
		use_index(c, NULL, &v[i].index);
		state_fini(&v[i]);
	}
	free(v);
	return 0;
}

static void use_images(struct census *c)
{
	if (!c->images)
		return;
	for (size_t i = 0; i < c->n_images; i++)
		use_top(c, &c->images[i], &c->images[i].top, false);
	for (size_t i = 0; i < c->n_images; i++) {
		struct census_image *im = &c->images[i];

		for (size_t k = 0; k < im->n_spaces; k++)
			im->bytes += c->spaces[im->spaces[k]].bytes;
		im->own = census_own_bytes(c, im);
	}
}

int census_take(struct store *s, struct census *ret)
{
	struct census c = { .store = s };
	int r = each_hex(s, "data", &c, add_space);

	if (!r)
		r = each_hex(s, "blobs/sha256", &c, add_blob);
	if (!r)
		r = each_hex(s, "local", &c, add_local);
	if (!r)
		r = add_images(&c);
	if (!r)
		r = use_mounts(&c);
	if (r) {
		census_fini(&c);
		return r;
	}
	use_images(&c);
	*ret = c;
	return 0;
}

void census_fini(struct census *c)
{
	for (size_t i = 0; i < c->n_images; i++) {
		free(c->images[i].key);
		free(c->images[i].spaces);
		free(c->images[i].locals);
	}
	free(c->spaces);
	free(c->blobs);
	free(c->locals);
	free(c->images);
	free(c->mounts);
	*c = (struct census){ 0 };
}

uint64_t census_own_bytes(const struct census *c, const struct census_image *im)
{
	uint64_t n = 0;

	for (size_t i = 0; i < im->n_spaces; i++) {
		const struct census_space *sp = &c->spaces[im->spaces[i]];

		n += sp->users == 1 && !sp->gone && !census_busy(sp) ? sp->bytes : 0;
	}
	return n;
}
