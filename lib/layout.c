// layout.c - an OCI image layout (image-spec image-layout.md) as a repository: a directory, or to
// read one, its tar archive
//
// File names are made of digests that we parsed, never of text from JSON. A blob is written
// beside its place and renamed when its digest has been proven; index.json is replaced as a
// whole, under a lock on the directory, so that two writers do not lose each other's entries and
// a reader sees the old list or the new one.
//
// Threads: nothing in a struct layout changes after layout_open. Blocker: flock in put_manifest.
// SPDX-License-Identifier: Apache-2.0
#include "layout.h"
#include "blobfile.h"
#include "desc.h"
#include "format.h"
#include "json.h"
#include "log.h"
#include "tarcat.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#define OCI_INDEX "application/vnd.oci.image.index.v1+json"

struct layout {
	struct repo repo;   // first: ops get a struct repo *
	int dir;	    // or, with tar, the archive
	struct tarcat *tar; // or NULL
};

static const char layout_file[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
static const char empty_index[] =
	"{\"schemaVersion\":2,\"mediaType\":\"" OCI_INDEX "\",\"manifests\":[]}";

#define BLOB_PATH_LEN 80
static const char *blob_path(const struct digest *d, char out[static BLOB_PATH_LEN])
{
	char hex[65];

	snprintf(out, BLOB_PATH_LEN, "blobs/sha256/%s", digest_hex(d, hex));
	return out;
}

static int blob_error(const struct layout *l, const struct digest *d, int e, const char *what)
{
	return blobfile_error(l->repo.name, d, e, what);
}

static int read_small(const struct layout *l, const char *path, size_t max, char **ret, size_t *n)
{
	return l->tar ? tarcat_read(l->tar, path, max, ret, n)
		      : read_file_at(l->dir, path, max, ret, n);
}

// ---- index.json ----

struct entry {
	struct desc desc;
	char media_type[128];
	const char *name; // or NULL; within the document
};

static int parse_entry(const struct layout *l, yyjson_val *v, struct entry *ret)
{
	const char *digest = json_str(v, "digest"), *type = json_str(v, "mediaType");

	*ret = (struct entry){ .name = json_str(json_obj(v, "annotations"), ANN_REF_NAME) };
	if (!digest || digest_parse(digest, &ret->desc.digest) < 0 ||
		json_u64(v, "size", &ret->desc.size) < 0)
		return warn_errno(-EBADMSG,
			"%s: index.json has an entry without a good digest and size: %s",
			l->repo.name, log_quote(digest ? digest : ""));
	if (type)
		snprintf(ret->media_type, sizeof ret->media_type, "%s", type);
	return 0;
}

static int read_index(const struct layout *l, yyjson_doc **ret, yyjson_val **ret_list)
{
	cleanup_free char *what = xasprintf("%s: index.json", l->repo.name);
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	size_t n;
	int r = read_small(l, "index.json", LAYOUT_INDEX_MAX, &text, &n);

	if (r < 0)
		return warn_errno(r, "%s", what);
	r = json_parse(text, n, what, &doc);
	if (r < 0)
		return r;
	*ret_list = json_arr(json_root(doc), "manifests");
	if (!*ret_list || yyjson_arr_size(*ret_list) > LAYOUT_ENTRIES_MAX)
		return warn_errno(-EBADMSG, "%s: no list of manifests, or more than %d of them",
			what, LAYOUT_ENTRIES_MAX);
	*ret = steal(&doc);
	return 0;
}

// "'a', 'b'": the names there are, at most ten. Caller frees.
static char *list_names(yyjson_val *list)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	struct buf b = { 0 };
	unsigned n = 0;

	for (yyjson_val *v; (v = yyjson_arr_iter_next(&it)) && n <= 10;) {
		const char *name = json_str(json_obj(v, "annotations"), ANN_REF_NAME);

		if (name && n++ < 10)
			buf_printf(&b, "%s%s", b.len ? ", " : "", log_quote(name));
	}
	if (n > 10)
		buf_printf(&b, " ...");
	return (char *)(uintptr_t)buf_str(&b);
}

static int too_many(const struct layout *l, yyjson_val *list)
{
	cleanup_free char *names = list_names(list);

	warn("%s has %zu manifests: say which with %s:NAME (%s) or %s@DIGEST", l->repo.name,
		yyjson_arr_size(list), l->repo.name, *names ? names : "none has a name",
		l->repo.name);
	return -EINVAL;
}

// The entry that `digest`, or else `name` (NULL: the only one), means. -ENOENT silent.
static int find_entry(const struct layout *l, yyjson_val *list, const struct digest *digest,
	const char *name, struct entry *ret)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	struct entry e, found;
	unsigned n = 0;

	if (!digest && !name && yyjson_arr_size(list) > 1)
		return too_many(l, list);
	for (yyjson_val *v; (v = yyjson_arr_iter_next(&it));) {
		int r = parse_entry(l, v, &e);

		if (r < 0)
			return r;
		if (digest ? !digest_equal(digest, &e.desc.digest)
			   : name && (!e.name || strcmp(name, e.name) != 0))
			continue;
		if (n++ > 0 && !digest_equal(&found.desc.digest, &e.desc.digest))
			return warn_errno(-EBADMSG,
				"%s: index.json gives the name %s to two manifests", l->repo.name,
				log_quote(name ? name : ""));
		found = e;
	}
	if (n == 0)
		return -ENOENT;
	*ret = found;
	return 0;
}

// ---- reading ----

static int load_manifest(struct layout *l, const struct entry *e, bool sized, struct manifest *ret)
{
	cleanup_free char *what = NULL;
	char path[BLOB_PATH_LEN], str[DIGEST_STR_LEN];
	struct manifest m = { 0 };
	int r = read_small(l, blob_path(&e->desc.digest, path), MANIFEST_MAX, &m.bytes, &m.len);

	if (r == -ENOENT)
		return r;
	if (r < 0)
		return blob_error(l, &e->desc.digest, r, "manifest");
	what = xasprintf("%s@%s", l->repo.name, digest_str(&e->desc.digest, str));
	m.digest = sha256_of(m.bytes, m.len);
	snprintf(m.media_type, sizeof m.media_type, "%s", e->media_type);
	if ((sized && m.len != e->desc.size) || !digest_equal(&m.digest, &e->desc.digest))
		r = warn_errno(
			-EBADMSG, "%s: size or digest of the manifest's file are wrong", what);
	else
		r = manifest_check(&m, what);
	if (r < 0)
		manifest_fini(&m);
	else
		*ret = m;
	return r;
}

static int layout_get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	struct layout *l = (struct layout *)repo;
	cleanup_json yyjson_doc *doc = NULL;
	struct digest digest;
	struct entry e = { 0 };
	yyjson_val *list;
	bool by_digest = ref && digest_parse(ref, &digest) == 0;
	int r = read_index(l, &doc, &list);

	if (r == 0)
		r = find_entry(l, list, by_digest ? &digest : NULL, ref, &e);
	bool listed = r == 0;

	// The manifests that an index lists are blobs like others.
	if (r == -ENOENT && by_digest) {
		e = (struct entry){ .desc.digest = digest };
		r = 0;
	}
	if (r == 0)
		r = load_manifest(l, &e, listed, ret);
	if (r == 0 && listed && e.name)
		ret->ref_name = xstrdup(e.name);
	return r;
}

// A regular file of the right size, or -errno silent: -ENOENT none, -EBADMSG another size.
static int open_blob_file(const struct layout *l, const struct desc *d, struct blobfile *ret)
{
	char path[BLOB_PATH_LEN];
	struct stat st;
	cleanup_fd int fd =
		openat(l->dir, blob_path(&d->digest, path), O_RDONLY | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->size)
		return -EBADMSG;
	*ret = (struct blobfile){ steal_fd(&fd), 0, d->size };
	return 0;
}

// The same in the archive; what tarcat refuses is logged.
static int open_blob_entry(const struct layout *l, const struct desc *d, struct blobfile *ret)
{
	char path[BLOB_PATH_LEN];
	uint64_t off, size;
	int r = tarcat_find(l->tar, blob_path(&d->digest, path), false, &off, &size);

	if (r == 0 && size != d->size)
		r = -EBADMSG;
	if (r < 0)
		return r;
	*ret = (struct blobfile){ fcntl(l->dir, F_DUPFD_CLOEXEC, 3), off, size };
	return ret->fd < 0 ? -errno : 0;
}

static int open_blob(const struct layout *l, const struct desc *d, struct blobfile *ret)
{
	return l->tar ? open_blob_entry(l, d, ret) : open_blob_file(l, d, ret);
}

static int open_blob_loud(const struct layout *l, const struct desc *d, struct blobfile *ret)
{
	int r = open_blob(l, d, ret);

	return r < 0 ? blob_error(l, &d->digest, r,
			       r == -EBADMSG ? "its file has another size than the manifest says"
					     : "open")
		     : 0;
}

static int layout_open_blob(
	struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	struct blobfile b;
	int r = open_blob_loud((struct layout *)repo, d, &b);

	return r < 0 ? r : blobfile_stream(repo->name, &b, d, off, ret);
}

static int layout_read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *watch)
{
	struct blobfile b;
	int r = open_blob_loud((struct layout *)repo, d, &b);

	(void)watch;
	return r < 0 ? r : blobfile_range(repo->name, &b, d, off, buf, n);
}

// A file of the wrong size is not the blob: put_blob then replaces it.
static int layout_has_blob(struct repo *repo, const struct desc *d)
{
	struct blobfile b = { .fd = -1 };
	int r = open_blob((struct layout *)repo, d, &b);

	if (b.fd >= 0)
		close(b.fd);
	if (r == -ENOENT || r == -EBADMSG)
		return 0;
	return r < 0 ? blob_error((struct layout *)repo, &d->digest, r, "open") : 1;
}

// ---- writing ----

static int layout_put_blob(struct repo *repo, const struct desc *d, int fd, const char *mount_from)
{
	struct layout *l = (struct layout *)repo;
	char path[BLOB_PATH_LEN];
	int r = layout_has_blob(repo, d);

	(void)mount_from;
	if (r != 0 || fd < 0)
		return r;
	return blobfile_write(repo->name, l->dir, blob_path(&d->digest, path), d, fd);
}

// The new entry takes the place of what has its name; without a name, of what has none: of two such
// neither could be asked for by name.
static bool is_replaced(yyjson_val *v, const char *tag)
{
	const char *name = json_str(json_obj(v, "annotations"), ANN_REF_NAME);

	return *tag ? name && strcmp(name, tag) == 0 : !name;
}

static int rewrite_index(yyjson_doc *doc, const char *tag, const char *media_type,
	const struct desc *d, struct buf *b)
{
	yyjson_obj_iter it = yyjson_obj_iter_with(json_root(doc));
	yyjson_arr_iter list = yyjson_arr_iter_with(json_arr(json_root(doc), "manifests"));
	int r = 0;

	json_open(b, NULL, '{');
	for (yyjson_val *key; r == 0 && (key = yyjson_obj_iter_next(&it));) {
		const char *name = json_str_of(key);

		if (name && strcmp(name, "manifests") != 0)
			r = json_put_val(b, name, yyjson_obj_iter_get_val(key));
	}
	json_open(b, "manifests", '[');
	for (yyjson_val *v; r == 0 && (v = yyjson_arr_iter_next(&list));)
		if (!is_replaced(v, tag))
			r = json_put_val(b, NULL, v);
	if (d)
		desc_put_named(b, tag, media_type, d);
	json_close(b, ']');
	json_close(b, '}');
	return r;
}

// d = NULL: only removes what has the name.
static int change_index(
	struct layout *l, const char *tag, const char *media_type, const struct desc *d)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct buf cleanup_buf b = { 0 };
	yyjson_val *list;
	// a descriptor of our own: flock belongs to the open file, and l->dir is shared by all
	// threads
	cleanup_fd int lock = openat(l->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (lock < 0)
		return warn_errno(-errno, "open %s", l->repo.name);
	while (flock(lock, LOCK_EX) < 0)
		if (errno != EINTR)
			return warn_errno(-errno, "lock %s", l->repo.name);
	int r = read_index(l, &doc, &list);

	if (r < 0)
		return r;
	r = rewrite_index(doc, tag, media_type, d, &b);
	if (r == 0 && b.len > LAYOUT_INDEX_MAX)
		r = -EFBIG;
	if (r == 0)
		r = write_file_at(l->dir, "index.json", b.data, b.len, 0644);
	return r < 0 ? warn_errno(r, "%s: write index.json", l->repo.name) : 0;
}

static int layout_put_manifest(
	struct repo *repo, const char *tag, const char *media_type, const void *p, size_t n)
{
	struct layout *l = (struct layout *)repo;
	struct desc d = { .digest = sha256_of(p, n), .size = n };
	char path[BLOB_PATH_LEN];

	if (tag && *tag && !ref_is_oci_name(tag))
		return warn_errno(
			-EINVAL, "%s: %s is no name for an image", repo->name, log_quote(tag));
	int r = write_file_at(l->dir, blob_path(&d.digest, path), p, n, 0644);

	if (r < 0)
		return blob_error(l, &d.digest, r, "write");
	return tag ? change_index(l, tag, media_type, &d) : 0;
}

int layout_forget(struct repo *repo, const char *tag)
{
	return change_index((struct layout *)repo, tag, NULL, NULL);
}

// ---- opening ----

static void layout_close(struct repo *repo)
{
	struct layout *l = (struct layout *)repo;

	tarcat_free(l->tar);
	close(l->dir);
	free(l->repo.name);
	free(l);
}

static int init_in(const char *dir, int fd)
{
	static const struct {
		const char *name, *text;
		size_t n;
	} files[] = {
		{ "index.json", empty_index, sizeof empty_index - 1 },
		{ "oci-layout", layout_file, sizeof layout_file - 1 }, // last: now it is a layout
	};
	int r = 0;

	if ((mkdirat(fd, "blobs", 0755) < 0 && errno != EEXIST) ||
		(mkdirat(fd, "blobs/sha256", 0755) < 0 && errno != EEXIST))
		r = -errno;
	for (size_t i = 0; i < ARRAY_LEN(files) && r == 0; i++)
		if (faccessat(fd, files[i].name, F_OK, 0) < 0)
			r = write_file_at(fd, files[i].name, files[i].text, files[i].n, 0644);
	return r < 0 ? warn_errno(r, "make %s an OCI layout", log_quote(dir)) : 0;
}

int layout_init(const char *dir)
{
	int r = mkdir_p(dir, 0755);
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return warn_errno(r < 0 ? r : -errno, "directory %s", log_quote(dir));
	while (flock(fd, LOCK_EX) < 0 && errno == EINTR)
		;
	return init_in(dir, fd);
}

static int check_layout(const struct layout *l)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	size_t n;
	int r = read_small(l, "oci-layout", 4096, &text, &n);

	if (r == -ENOENT && l->tar)
		return warn_errno(-EBADMSG,
			"%s: there is no oci-layout in it (what 'docker save' writes is read as docker-archive:)",
			l->repo.name);
	if (r < 0)
		return warn_errno(r, "%s is no OCI layout: oci-layout", l->repo.name);
	cleanup_free char *what = xasprintf("%s: oci-layout", l->repo.name);

	r = json_parse(text, n, what, &doc);
	if (r < 0)
		return r;
	const char *version = json_str(json_root(doc), "imageLayoutVersion");

	if (!version || strncmp(version, "1.", 2) != 0)
		return warn_errno(-EBADMSG, "%s: imageLayoutVersion is %s, not 1.0.0", what,
			log_quote(version ? version : ""));
	return 0;
}

static const struct repo_ops layout_ops = {
	.get_manifest = layout_get_manifest,
	.open_blob = layout_open_blob,
	.read_range = layout_read_range,
	.has_blob = layout_has_blob,
	.put_blob = layout_put_blob,
	.put_manifest = layout_put_manifest,
	.close = layout_close,
};

// Takes fd over in any case.
static int open_on(const struct ref *ref, int fd, bool archive, struct repo **ret)
{
	struct layout *l = xcalloc(1, sizeof *l);

	l->repo = (struct repo){ .ops = &layout_ops, .name = ref_name(ref) };
	l->dir = fd;
	int r = archive ? tarcat_open(fd, l->repo.name, &l->tar) : 0;

	if (r == 0)
		r = check_layout(l);
	if (r < 0)
		layout_close(&l->repo);
	else
		*ret = &l->repo;
	return r;
}

int layout_open(const struct ref *ref, bool write, struct repo **ret)
{
	int r = write ? layout_init(ref->dir) : 0;

	if (r < 0)
		return r;
	int fd = open(ref->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return warn_errno(-errno, "OCI layout %s", log_quote(ref->dir));
	return open_on(ref, fd, false, ret);
}

int layout_open_archive(const struct ref *ref, struct repo **ret)
{
	cleanup_free char *name = ref_name(ref);
	int fd = blobfile_open_archive(ref->dir, name);

	return fd < 0 ? fd : open_on(ref, fd, true, ret);
}
