// blobfile.c - blobs that are files, or parts of one: checked streams, ranges, archives opened
// SPDX-License-Identifier: Apache-2.0
#include "blobfile.h"
#include "inflate.h"
#include "log.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <stdatomic.h>
#include <sys/ioctl.h>
#include <sys/stat.h>

#define COPY_SIZE (256u << 10)

int blobfile_error(const char *name, const struct digest *d, int e, const char *what)
{
	char str[DIGEST_STR_LEN];

	return warn_errno(e, "%s: blob %s: %s", name, digest_str(d, str), what);
}

// ---- streams ----

struct part_stream {
	struct stream s;
	char *name;
	struct desc desc;
	struct blobfile b;
	uint64_t off;
	bool check; // from offset 0: sha counts
	struct sha256 sha;
};

static ssize_t part_read(struct stream *s, void *buf, size_t n)
{
	struct part_stream *p = (struct part_stream *)s;

	n = (size_t)MIN((uint64_t)n, p->desc.size - p->off);
	if (n > 0) {
		int r = pread_full(p->b.fd, buf, n, p->b.base + p->off);

		if (r < 0)
			return blobfile_error(p->name, &p->desc.digest, r, "read");
		p->off += n;
		if (p->check)
			sha256_update(&p->sha, buf, n);
		return (ssize_t)n;
	}
	struct sha256 sha = p->sha;
	struct digest d = sha256_final(&sha);

	if (!p->check || digest_equal(&d, &p->desc.digest))
		return 0;
	return blobfile_error(p->name, &p->desc.digest, -EBADMSG, "its file has another content");
}

static void part_close(struct stream *s)
{
	struct part_stream *p = (struct part_stream *)s;

	close(p->b.fd);
	free(p->name);
	free(p);
}

int blobfile_stream(const char *name, struct blobfile *b, const struct desc *d, uint64_t off,
	struct stream **ret)
{
	static const struct stream_ops ops = { .read = part_read, .close = part_close };

	if (off > d->size) {
		close(b->fd);
		return blobfile_error(name, &d->digest, -EINVAL, "there is nothing behind its end");
	}
	struct part_stream *p = xcalloc(1, sizeof *p);

	*p = (struct part_stream){ .s.ops = &ops,
		.name = xstrdup(name),
		.desc = *d,
		.b = *b,
		.off = off,
		.check = off == 0 };
	sha256_init(&p->sha);
	*ret = &p->s;
	return 0;
}

int blobfile_range(const char *name, struct blobfile *b, const struct desc *d, uint64_t off,
	void *buf, size_t n)
{
	cleanup_fd int fd = b->fd;

	if (off > d->size || n > d->size - off)
		return blobfile_error(name, &d->digest, -EINVAL, "it has not so many bytes");
	int r = pread_full(fd, buf, n, b->base + off);

	return r < 0 ? blobfile_error(name, &d->digest, r, "read") : 0;
}

// ---- writing ----

// Up to size bytes of `from` into `to` (NULL: they are there already), and their digest.
static int copy_and_hash(int from, int to, uint64_t size, struct digest *ret)
{
	cleanup_free uint8_t *buf = xmalloc(COPY_SIZE);
	struct sha256 sha;

	sha256_init(&sha);
	for (uint64_t off = 0; off < size;) {
		size_t n = (size_t)MIN(size - off, (uint64_t)COPY_SIZE);
		int r = pread_full(from, buf, n, off);

		if (r == 0 && to >= 0)
			r = pwrite_full(to, buf, n, off);
		if (r < 0)
			return r;
		sha256_update(&sha, buf, n);
		off += n;
	}
	*ret = sha256_final(&sha);
	return 0;
}

static uint64_t size_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 ? (uint64_t)st.st_size : UINT64_MAX;
}

// A clone shares the source's extents (btrfs, xfs): no byte is written. It is the clone that is
// checked, the source may change.
static int fill_blob(const char *name, const struct desc *d, int from, int to)
{
	struct digest got;
	bool cloned = size_of(from) == d->size && ioctl(to, FICLONE, from) == 0;
	int r = cloned ? copy_and_hash(to, -1, d->size, &got)
		       : copy_and_hash(from, to, d->size, &got);

	if (r < 0)
		return blobfile_error(name, &d->digest, r, "copy");
	if (!digest_equal(&got, &d->digest))
		return blobfile_error(
			name, &d->digest, -EBADMSG, "what is to be stored has another digest");
	return fsync(to) < 0 ? blobfile_error(name, &d->digest, -errno, "fsync") : 0;
}

int blobfile_write(const char *name, int dir, const char *path, const struct desc *d, int from)
{
	static _Atomic unsigned serial;
	const char *slash = strrchr(path, '/');
	cleanup_free char *tmp = xasprintf("%.*s.tmp-%d-%u", slash ? (int)(slash + 1 - path) : 0,
		path, (int)getpid(), serial++);
	cleanup_fd int to = openat(dir, tmp, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0644);

	if (to < 0)
		return blobfile_error(name, &d->digest, -errno, "create");
	int r = fill_blob(name, d, from, to);

	if (r == 0 && renameat(dir, tmp, dir, path) < 0)
		r = blobfile_error(name, &d->digest, -errno, "rename");
	if (r < 0)
		unlinkat(dir, tmp, 0);
	return r;
}

// ---- archives ----

// A stream over a descriptor that has no size: a pipe, or what is being read through one.
struct fd_stream {
	struct stream s;
	int fd; // borrowed
	const char *name;
};

static ssize_t fd_read(struct stream *s, void *buf, size_t n)
{
	struct fd_stream *f = (struct fd_stream *)s;
	ssize_t r;

	do
		r = read(f->fd, buf, n);
	while (r < 0 && errno == EINTR);
	return r < 0 ? warn_errno(-errno, "%s: read", f->name) : r;
}

static void fd_close(struct stream *s)
{
	free(s);
}

// With `decode` inflate_open recognises what it is, and lets a plain tar through.
static int spool(int fd, const char *name, bool decode)
{
	static const struct stream_ops ops = { .read = fd_read, .close = fd_close };
	cleanup_free uint8_t *buf = xmalloc(COPY_SIZE);
	cleanup_stream struct stream *plain = NULL;
	struct fd_stream *in = xcalloc(1, sizeof *in);
	uint64_t off = 0;
	ssize_t n = 0;

	*in = (struct fd_stream){ .s.ops = &ops, .fd = fd, .name = name };
	int r = 0;

	if (decode)
		r = inflate_open(&in->s, name, &plain);
	else
		plain = &in->s;
	cleanup_fd int out = r < 0 ? -1 : scratch_file();

	if (r == 0 && out < 0)
		r = out;
	while (r == 0 && (n = stream_read(plain, buf, COPY_SIZE)) > 0) {
		r = pwrite_full(out, buf, (size_t)n, off);
		if (r < 0)
			warn_errno(r, "%s: write a scratch copy%s", name,
				r == -ENOSPC ? " (TMPDIR names another place)" : "");
		off += (uint64_t)n;
	}
	if (n < 0)
		r = (int)n;
	return r < 0 ? r : steal_fd(&out);
}

// Whether fd's first bytes are those of a compressed file.
static bool is_compressed(int fd)
{
	uint8_t m[4];

	if (pread_full(fd, m, sizeof m, 0) < 0)
		return false;
	return (m[0] == 0x1f && m[1] == 0x8b) || get_le32(m) == 0xfd2fb528u ||
		(get_le32(m) & 0xfffffff0u) == 0x184d2a50u || !memcmp(m, "BZh", 3) ||
		!memcmp(m,
			"\xfd"
			"7zX",
			4);
}

static int open_seekable(const char *path, const char *name, bool decode)
{
	bool standard = !strcmp(path, "-");
	cleanup_fd int fd = standard ? fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, 3)
				     : open(path, O_RDONLY | O_CLOEXEC);
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return warn_errno(-errno, "open %s", name);
	if (S_ISDIR(st.st_mode))
		return warn_whole(-EISDIR, "%s: an archive is a file", name);
	if (standard && isatty(fd))
		return warn_whole(-EINVAL, "%s: standard input is a terminal", name);
	if (S_ISREG(st.st_mode) && lseek(fd, 0, SEEK_CUR) == 0 && !(decode && is_compressed(fd)))
		return steal_fd(&fd);
	return spool(fd, name, decode);
}

int blobfile_open_archive(const char *path, const char *name)
{
	return open_seekable(path, name, true);
}

int blobfile_open_as_is(const char *path, const char *name)
{
	return open_seekable(path, name, false);
}
