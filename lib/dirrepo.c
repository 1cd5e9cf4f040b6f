// dirrepo.c - a directory as skopeo's dir: transport has it, as a repository
//
//	version			"Directory Transport Version: 1.1\n"
//	manifest.json		what the directory holds: an image or an index
//	HEX.manifest.json	the manifests that the index lists
//	HEX			blobs: configs and layers
//
// File names are made of digests that we parsed. There is one image and it has no name.
// SPDX-License-Identifier: Apache-2.0
#include "blobfile.h"
#include "log.h"

#include <fcntl.h>
#include <sys/stat.h>

#define NAME_LEN 96

struct dirrepo {
	struct repo repo; // first: ops get a struct repo *
	int dir;
};

static const char version_text[] = "Directory Transport Version: 1.1\n";

static const char *blob_name(const struct digest *d, char out[static NAME_LEN])
{
	char hex[65];

	snprintf(out, NAME_LEN, "%s", digest_hex(d, hex));
	return out;
}

static const char *manifest_name(const struct digest *d, char out[static NAME_LEN])
{
	char hex[65];

	snprintf(out, NAME_LEN, "%s.manifest.json", digest_hex(d, hex));
	return out;
}

// ---- reading ----

// A file that is a manifest: -ENOENT silent.
static int load_manifest(struct dirrepo *r, const char *name, struct manifest *ret)
{
	cleanup_free char *what = xasprintf("%s/%s", r->repo.name, name);
	struct manifest m = { 0 };
	int e = read_file_at(r->dir, name, MANIFEST_MAX, &m.bytes, &m.len);

	if (e < 0)
		return e == -ENOENT ? e : warn_errno(e, "%s", what);
	m.digest = sha256_of(m.bytes, m.len);
	e = manifest_check(&m, what);
	if (e < 0)
		manifest_fini(&m);
	else
		*ret = m;
	return e;
}

static int load_by_digest(struct dirrepo *r, const struct digest *d, struct manifest *ret)
{
	char name[NAME_LEN];
	int e = load_manifest(r, manifest_name(d, name), ret);
	bool top = e == -ENOENT;

	if (top)
		e = load_manifest(r, "manifest.json", ret);
	if (e < 0 || digest_equal(d, &ret->digest))
		return e;
	manifest_fini(ret);
	return top
		? -ENOENT
		: warn_errno(-EBADMSG, "%s/%s: the content has another digest", r->repo.name, name);
}

static int dirrepo_get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	struct dirrepo *r = (struct dirrepo *)repo;
	struct digest d;

	if (ref && digest_parse(ref, &d) == 0)
		return load_by_digest(r, &d, ret);
	return load_manifest(r, "manifest.json", ret);
}

// -ENOENT none, -EBADMSG another size: silent.
static int open_blob(const struct dirrepo *r, const struct desc *d, struct blobfile *ret)
{
	char name[NAME_LEN];
	struct stat st;
	cleanup_fd int fd = openat(r->dir, blob_name(&d->digest, name),
		O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode) || (uint64_t)st.st_size != d->size)
		return -EBADMSG;
	*ret = (struct blobfile){ steal_fd(&fd), 0, d->size };
	return 0;
}

static int open_loud(const struct dirrepo *r, const struct desc *d, struct blobfile *ret)
{
	int e = open_blob(r, d, ret);

	return e < 0 ? blobfile_error(r->repo.name, &d->digest, e,
			       e == -EBADMSG ? "its file has another size than the manifest says"
					     : "open")
		     : 0;
}

static int dirrepo_open_blob(
	struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	struct blobfile b;
	int e = open_loud((struct dirrepo *)repo, d, &b);

	return e < 0 ? e : blobfile_stream(repo->name, &b, d, off, ret);
}

static int dirrepo_read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *watch)
{
	struct blobfile b;
	int e = open_loud((struct dirrepo *)repo, d, &b);

	(void)watch;
	return e < 0 ? e : blobfile_range(repo->name, &b, d, off, buf, n);
}

static int dirrepo_has_blob(struct repo *repo, const struct desc *d)
{
	struct blobfile b = { .fd = -1 };
	int e = open_blob((struct dirrepo *)repo, d, &b);

	if (b.fd >= 0)
		close(b.fd);
	if (e == -ENOENT || e == -EBADMSG)
		return 0;
	return e < 0 ? blobfile_error(repo->name, &d->digest, e, "open") : 1;
}

// ---- writing ----

static int dirrepo_put_blob(struct repo *repo, const struct desc *d, int fd, const char *mount_from)
{
	struct dirrepo *r = (struct dirrepo *)repo;
	char name[NAME_LEN];
	int e = dirrepo_has_blob(repo, d);

	(void)mount_from;
	if (e != 0 || fd < 0)
		return e;
	return blobfile_write(repo->name, r->dir, blob_name(&d->digest, name), d, fd);
}

static int dirrepo_put_manifest(
	struct repo *repo, const char *tag, const char *media_type, const void *p, size_t n)
{
	struct dirrepo *r = (struct dirrepo *)repo;
	struct digest d = sha256_of(p, n);
	char name[NAME_LEN];

	(void)media_type;
	int e = write_file_at(r->dir, tag ? "manifest.json" : manifest_name(&d, name), p, n, 0644);

	return e < 0 ? warn_errno(e, "%s: write a manifest", repo->name) : 0;
}

// ---- opening ----

static void dirrepo_close(struct repo *repo)
{
	struct dirrepo *r = (struct dirrepo *)repo;

	close(r->dir);
	free(r->repo.name);
	free(r);
}

// 1.0 had layers as HEX.tar; nothing writes that since 2018.
static int check_version(const struct dirrepo *r)
{
	cleanup_free char *text = NULL;
	size_t n;
	int e = read_file_at(r->dir, "version", 4096, &text, &n);

	if (e == -ENOENT)
		return 0;
	if (e == 0 &&
		(n < strlen(version_text) - 4 ||
			strncmp(text, version_text, strlen(version_text) - 3) != 0))
		return warn_errno(-EBADMSG, "%s: its file 'version' says %s, not %s", r->repo.name,
			log_quote_n(text, MIN(n, (size_t)60)),
			"'Directory Transport Version: 1.1'");
	return e < 0 ? warn_errno(e, "%s/version", r->repo.name) : 0;
}

int dirrepo_open(const struct ref *ref, bool write, struct repo **ret)
{
	static const struct repo_ops ops = {
		.get_manifest = dirrepo_get_manifest,
		.open_blob = dirrepo_open_blob,
		.read_range = dirrepo_read_range,
		.has_blob = dirrepo_has_blob,
		.put_blob = dirrepo_put_blob,
		.put_manifest = dirrepo_put_manifest,
		.close = dirrepo_close,
	};
	int e = write ? mkdir_p(ref->dir, 0755) : 0;
	int fd = open(ref->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return warn_errno(e < 0 ? e : -errno, "directory %s", log_quote(ref->dir));
	struct dirrepo *r = xcalloc(1, sizeof *r);

	r->repo = (struct repo){ .ops = &ops, .name = ref_name(ref) };
	r->dir = fd;
	e = check_version(r);
	if (e == 0 && write) {
		e = write_file_at(fd, "version", version_text, strlen(version_text), 0644);
		if (e < 0)
			warn_errno(e, "%s: write version", r->repo.name);
	}
	if (e < 0)
		dirrepo_close(&r->repo);
	else
		*ret = &r->repo;
	return e;
}
