// archivew.c - writes an OCI image layout as a tar archive: oci-archive: as a destination
//
// Blobs are appended as they come, to a file beside the one that is asked for, which takes its place
// when the image's manifest has been put: then index.json and the end are written. So an archive is
// written once, and never seen half. Nothing in it depends on when or by whom it is made.
//
// Threads: lock guards everything that changes.
// SPDX-License-Identifier: Apache-2.0
#include "blobfile.h"
#include "desc.h"
#include "format.h"
#include "json.h"
#include "log.h"
#include "tarhead.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

#define COPY_SIZE (256u << 10)
#define ENTRY_MAX (1ull << 33) // bytes that an octal size field can say, and one

struct archivew {
	struct repo repo; // first: ops get a struct repo *
	char *path, *tmp; // tmp: NULL when it has got its place
	int fd;
	pthread_mutex_t lock;
	uint64_t at;
	struct digest *blobs;
	size_t n, cap;
	bool broken; // an entry was not finished: nothing more can follow
};

// ---- entries ----

static void make_header(union tar_block *b, const char *name, uint64_t size)
{
	memset(b, 0, sizeof *b);
	snprintf(b->h.name, sizeof b->h.name, "%s", name);
	TARHEAD_PUT(b->h.mode, 0644);
	TARHEAD_PUT(b->h.uid, 0);
	TARHEAD_PUT(b->h.gid, 0);
	TARHEAD_PUT(b->h.size, size);
	TARHEAD_PUT(b->h.mtime, 0);
	b->h.type = '0';
	tarhead_seal(b);
}

static int put_bytes(struct archivew *a, const void *p, size_t n)
{
	int r = pwrite_full(a->fd, p, n, a->at);

	a->at += n;
	return r;
}

static int pad(struct archivew *a, uint64_t size)
{
	static const uint8_t zeros[TAR_BLOCK];

	return put_bytes(a, zeros, (size_t)(-size & (TAR_BLOCK - 1)));
}

static int put_entry(struct archivew *a, const char *name, const void *p, size_t n)
{
	union tar_block b;

	make_header(&b, name, n);
	int r = put_bytes(a, &b, sizeof b);

	if (r == 0)
		r = put_bytes(a, p, n);
	return r < 0 ? r : pad(a, n);
}

// size bytes of fd; what was written must be what it is called.
static int put_from(struct archivew *a, const char *name, const struct desc *d, int fd)
{
	cleanup_free uint8_t *buf = xmalloc(COPY_SIZE);
	union tar_block b;
	struct sha256 sha;

	if (d->size >= ENTRY_MAX)
		return -EFBIG;
	make_header(&b, name, d->size);
	int r = put_bytes(a, &b, sizeof b);

	sha256_init(&sha);
	for (uint64_t off = 0; off < d->size && r == 0;) {
		size_t n = (size_t)MIN(d->size - off, (uint64_t)COPY_SIZE);

		r = pread_full(fd, buf, n, off);
		if (r == 0)
			r = put_bytes(a, buf, n);
		sha256_update(&sha, buf, n);
		off += n;
	}
	struct digest is = sha256_final(&sha);

	if (r == 0 && !digest_equal(&is, &d->digest))
		r = -EBADMSG;
	return r < 0 ? r : pad(a, d->size);
}

static bool has(const struct archivew *a, const struct digest *d)
{
	for (size_t i = 0; i < a->n; i++)
		if (digest_equal(&a->blobs[i], d))
			return true;
	return false;
}

static void add(struct archivew *a, const struct digest *d)
{
	a->blobs = xgrow(a->blobs, &a->cap, a->n + 1, sizeof *a->blobs);
	a->blobs[a->n++] = *d;
}

static const char *blob_path(const struct digest *d, char out[static 80])
{
	char hex[65];

	snprintf(out, 80, "blobs/sha256/%s", digest_hex(d, hex));
	return out;
}

// ---- the repository ----

// What is being written cannot be read; convert never asks.
static int no_reading(const struct repo *repo)
{
	return warn_errno(-EINVAL, "%s is being written", repo->name);
}

static int get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	(void)ref, (void)ret;
	return no_reading(repo);
}

static int open_blob(struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	(void)d, (void)off, (void)ret;
	return no_reading(repo);
}

static int read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf, size_t n,
	const struct range_watch *watch)
{
	(void)d, (void)off, (void)buf, (void)n, (void)watch;
	return no_reading(repo);
}

static int has_blob(struct repo *repo, const struct desc *d)
{
	struct archivew *a = (struct archivew *)repo;

	pthread_mutex_lock(&a->lock);
	int r = has(a, &d->digest);

	pthread_mutex_unlock(&a->lock);
	return r;
}

static int put_blob(struct repo *repo, const struct desc *d, int fd, const char *mount_from)
{
	struct archivew *a = (struct archivew *)repo;
	char path[80];
	int r = 0;

	(void)mount_from;
	if (fd < 0)
		return has_blob(repo, d);
	pthread_mutex_lock(&a->lock);
	bool there = has(a, &d->digest);

	if (!there)
		r = a->broken ? -EIO : put_from(a, blob_path(&d->digest, path), d, fd);
	a->broken |= r < 0;
	if (!there && r == 0)
		add(a, &d->digest);
	pthread_mutex_unlock(&a->lock);
	return r < 0 ? blobfile_error(repo->name, &d->digest, r, "write") : there;
}

static void make_index(struct buf *b, const char *tag, const char *media_type, const struct desc *d)
{
	json_open(b, NULL, '{');
	json_put_u64(b, "schemaVersion", 2);
	json_put_str(b, "mediaType", MT_OCI_INDEX);
	json_open(b, "manifests", '[');
	desc_put_named(b, tag, media_type, d);
	json_close(b, ']');
	json_close(b, '}');
}

// Directories are not listed: tar makes them, and readers of images look names up. Two blocks of zeros
// end the archive.
static int finish(struct archivew *a, const char *tag, const char *media_type, const struct desc *d)
{
	static const char layout[] = "{\"imageLayoutVersion\":\"1.0.0\"}";
	static const uint8_t end[2 * TAR_BLOCK];
	struct buf cleanup_buf index = { 0 };

	make_index(&index, tag, media_type, d);
	int r = put_entry(a, "index.json", index.data, index.len);

	if (r == 0)
		r = put_entry(a, "oci-layout", layout, sizeof layout - 1);
	if (r == 0)
		r = put_bytes(a, end, sizeof end);
	if (r == 0 && (fsync(a->fd) < 0 || rename(a->tmp, a->path) < 0))
		r = -errno;
	if (r == 0)
		free(steal(&a->tmp));
	return r;
}

static int put_manifest(
	struct repo *repo, const char *tag, const char *media_type, const void *p, size_t n)
{
	struct archivew *a = (struct archivew *)repo;
	struct desc d = { sha256_of(p, n), n };
	char path[80];
	int r = 0;

	if (tag && *tag && !ref_is_oci_name(tag))
		return warn_errno(
			-EINVAL, "%s: %s is no name for an image", repo->name, log_quote(tag));
	pthread_mutex_lock(&a->lock);
	if (a->broken || !a->tmp)
		r = -EIO;
	else if (!has(a, &d.digest))
		r = put_entry(a, blob_path(&d.digest, path), p, n);
	if (r == 0)
		add(a, &d.digest);
	if (r == 0 && tag)
		r = finish(a, tag, media_type, &d);
	a->broken |= r < 0;
	pthread_mutex_unlock(&a->lock);
	return r < 0 ? warn_errno(r, "%s: write", repo->name) : 0;
}

static void close_archive(struct repo *repo)
{
	struct archivew *a = (struct archivew *)repo;

	if (a->tmp && a->fd >= 0 && unlink(a->tmp) < 0)
		warn("%s could not be removed again", log_quote(a->tmp));
	if (a->fd >= 0)
		close(a->fd);
	pthread_mutex_destroy(&a->lock);
	free(a->blobs);
	free(a->tmp);
	free(a->path);
	free(a->repo.name);
	free(a);
}

int archivew_open(const struct ref *ref, struct repo **ret)
{
	static const struct repo_ops ops = {
		.get_manifest = get_manifest,
		.open_blob = open_blob,
		.read_range = read_range,
		.has_blob = has_blob,
		.put_blob = put_blob,
		.put_manifest = put_manifest,
		.close = close_archive,
	};
	struct archivew *a = xcalloc(1, sizeof *a);
	const char *slash = strrchr(ref->dir, '/');
	struct stat st;
	int r = 0;

	a->repo = (struct repo){ .ops = &ops, .name = ref_name(ref) };
	a->path = xstrdup(ref->dir);
	a->tmp = xasprintf(
		"%.*s.tmp-%d", slash ? (int)(slash + 1 - ref->dir) : 0, ref->dir, (int)getpid());
	a->fd = -1;
	pthread_mutex_init(&a->lock, NULL);
	if (stat(ref->dir, &st) == 0 && !S_ISREG(st.st_mode))
		r = warn_whole(-EINVAL, "%s is there and is no file", a->repo.name);
	if (r == 0)
		a->fd = open(a->tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (r == 0 && a->fd < 0)
		r = warn_errno(-errno, "create %s", a->repo.name);
	if (r < 0)
		close_archive(&a->repo);
	else
		*ret = &a->repo;
	return r;
}
