// compare.c - is an accelerated image its original?
//
// The original is read again, layer by layer, as a plain pull reads it; the data blobs are read
// whole, decoded and laid out as data spaces in scratch files. Then both trees are walked side by
// side, and the boot frames are compared with the data that they stand for.
// SPDX-License-Identifier: Apache-2.0
#include "compare.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "format.h"
#include "log.h"
#include "pack.h"
#include "plain.h"
#include "progress.h"

#define SHOW_MAX 20
#define IO_SIZE ((size_t)FMT_FRAME_BLOCKS_MAX * BLOCK_BYTES)

struct side {
	const struct index *ix;
	int *fds; // one per space
};

struct comparison {
	struct side orig, acc;
	int64_t differences;
	uint8_t *a, *b; // IO_SIZE each
	uint32_t *
		other; // original node -> accelerated node, to compare link groups; NODE_NONE = not met yet
};

// ---- the accelerated form's data, checked ----

static int read_chunks(
	const struct index *ix, uint32_t space, struct stream *s, int fd, const char *name)
{
	struct space_view sp;
	cleanup_free uint8_t *in = NULL, *out = NULL;
	size_t in_cap = 0, out_cap = 0;

	index_space(ix, space, &sp);
	for (uint32_t i = sp.first_chunk; i < sp.first_chunk + sp.chunks; i++) {
		struct chunk_view c;
		struct digest d;
		size_t plain;
		int r;

		index_chunk(ix, i, &c);
		if (c.codec == CODEC_ZERO)
			continue;
		plain = (size_t)c.blocks << BLOCK_SHIFT;
		in = xgrow(in, &in_cap, c.clen, 1);
		out = xgrow(out, &out_cap, plain, 1);
		r = stream_read_full(s, in, c.clen);
		if (r)
			return r == -ENODATA
				? warn_errno(-EBADMSG, "%s: data blob of layer %u is too short",
					  name, space)
				: r;
		r = chunk_decode(c.codec, in, c.clen, out, plain);
		d = sha256_of(out, plain);
		if (r || !digest_equal(&d, &c.sha))
			return warn_errno(-EBADMSG,
				"%s: layer %u, chunk %u does not have the digest that the index gives",
				name, space, i - sp.first_chunk);
		r = pwrite_full(fd, out, plain, (uint64_t)c.block << BLOCK_SHIFT);
		if (r)
			return warn_errno(r, "write a scratch file");
	}
	return 0;
}

static int read_space(
	struct image *img, const struct index *ix, uint32_t space, const struct desc *blob, int fd)
{
	cleanup_stream struct stream *s = NULL;
	struct space_view sp;
	uint8_t end;
	ssize_t n;
	int r;

	index_space(ix, space, &sp);
	if (ftruncate(fd, (off_t)sp.blocks << BLOCK_SHIFT))
		return warn_errno(-errno, "make a scratch file of %llu bytes",
			(unsigned long long)sp.blocks << BLOCK_SHIFT);
	if (!sp.has_blob)
		return 0;
	r = repo_open_blob(img->repo, blob, 0, &s);
	if (!r)
		r = read_chunks(ix, space, s, fd, img->repo->name);
	if (r)
		return r;
	n = stream_read(s, &end, 1); // its end: the blob's own digest is checked there
	return n > 0 ? warn_errno(-EBADMSG, "%s: data blob of layer %u is too long",
			       img->repo->name, space)
		     : (int)n;
}

static int read_spaces(struct image *img, const struct index *ix, const int *fds)
{
	uint32_t blob = 0;
	int r = 0;

	for (uint32_t i = 0; i < index_spaces(ix) && !r; i++) {
		struct space_view sp;

		index_space(ix, i, &sp);
		r = read_space(img, ix, i, sp.has_blob ? &img->accel->data[blob] : NULL, fds[i]);
		blob += sp.has_blob;
	}
	return r;
}

// ---- comparing ----

// The path of a name: walked up from its directory.
static char *path_of(const struct index *ix, uint32_t dir, const char *name, size_t len)
{
	char *path = xasprintf("/%.*s", (int)len, name);

	while (dir) {
		uint32_t up = index_parent(ix, dir);
		char *longer = NULL;

		for (uint32_t i = 0; i < index_dir_count(ix, up) && !longer; i++) {
			struct dirent_view e;

			index_dirent(ix, up, i, &e);
			if (e.node == dir)
				longer = xasprintf("/%.*s%s", (int)e.name_len, e.name, path);
		}
		free(path);
		path = longer;
		dir = up;
	}
	return path;
}

static void differ(struct comparison *c, const struct index *ix, uint32_t dir, const char *name,
	size_t len, const char *what)
{
	cleanup_free char *path = NULL;

	if (c->differences++ >= SHOW_MAX)
		return;
	path = path_of(ix, dir, name, len);
	printf("%s: %s\n", log_quote(path), what);
}

static const char *compare_attr(const struct attr *a, const struct attr *b)
{
	if ((a->mode & S_IFMT) != (b->mode & S_IFMT))
		return "type";
	if (a->mode != b->mode)
		return "mode";
	if (a->uid != b->uid || a->gid != b->gid)
		return "owner";
	if (a->mtime != b->mtime || a->mtime_ns != b->mtime_ns)
		return "mtime";
	if (a->rdev_major != b->rdev_major || a->rdev_minor != b->rdev_minor)
		return "device number";
	if (!S_ISDIR(a->mode) && (a->nlink != b->nlink || a->size != b->size))
		return a->size != b->size ? "size" : "link count";
	return NULL;
}

static bool same_xattrs(const struct comparison *c, uint32_t a, uint32_t b)
{
	uint32_t n = index_xattr_count(c->orig.ix, a);

	if (n != index_xattr_count(c->acc.ix, b))
		return false;
	for (uint32_t i = 0; i < n; i++) {
		struct xattr_view x, y;

		index_xattr(c->orig.ix, a, i, &x);
		index_xattr(c->acc.ix, b, i, &y);
		if (x.name_len != y.name_len || x.value_len != y.value_len ||
			memcmp(x.name, y.name, x.name_len) || memcmp(x.value, y.value, x.value_len))
			return false;
	}
	return true;
}

static bool same_target(const struct comparison *c, uint32_t a, uint32_t b)
{
	uint32_t n, m;
	const char *s = index_symlink(c->orig.ix, a, &n), *t = index_symlink(c->acc.ix, b, &m);

	return n == m && !memcmp(s, t, n);
}

static int same_bytes(struct comparison *c, const struct attr *a, const struct attr *b, bool *ret)
{
	for (uint64_t at = 0; at < a->size; at += IO_SIZE) {
		size_t n = (size_t)MIN(a->size - at, (uint64_t)IO_SIZE);
		int r = pread_full(
			c->orig.fds[a->space], c->a, n, ((uint64_t)a->block << BLOCK_SHIFT) + at);

		if (!r)
			r = pread_full(c->acc.fds[b->space], c->b, n,
				((uint64_t)b->block << BLOCK_SHIFT) + at);
		if (r)
			return warn_errno(r, "read a scratch file");
		if (memcmp(c->a, c->b, n)) {
			*ret = false;
			return 0;
		}
	}
	*ret = true;
	return 0;
}

static int compare_node(
	struct comparison *c, uint32_t dir, const struct dirent_view *e, uint32_t x, uint32_t y)
{
	struct attr a, b;
	const char *what;
	bool same = true;
	int r = 0;

	if (c->other[x] != NODE_NONE) { // a further name of a file
		if (c->other[x] != y)
			differ(c, c->orig.ix, dir, e->name, e->name_len,
				"hard link to another file");
		return 0;
	}
	c->other[x] = y;
	index_attr(c->orig.ix, x, &a);
	index_attr(c->acc.ix, y, &b);
	what = compare_attr(&a, &b);
	if (!what && !same_xattrs(c, x, y))
		what = "extended attributes";
	if (!what && S_ISLNK(a.mode) && !same_target(c, x, y))
		what = "link target";
	if (!what && S_ISREG(a.mode)) {
		r = same_bytes(c, &a, &b, &same);
		what = same ? NULL : "content";
	}
	if (what)
		differ(c, c->orig.ix, dir, e->name, e->name_len, what);
	return r;
}

// Merges the sorted entries of a directory of either tree.
static int compare_dir(struct comparison *c, uint32_t x, uint32_t y)
{
	uint32_t n = index_dir_count(c->orig.ix, x), m = index_dir_count(c->acc.ix, y), i = 0,
		 j = 0;
	int r = 0;

	while ((i < n || j < m) && !r) {
		struct dirent_view a = { 0 }, b = { 0 };
		int order = i < n ? -1 : 1;

		if (i < n)
			index_dirent(c->orig.ix, x, i, &a);
		if (j < m)
			index_dirent(c->acc.ix, y, j, &b);
		if (i < n && j < m) {
			order = memcmp(a.name, b.name, MIN(a.name_len, b.name_len));
			order = order ? order : (int)a.name_len - (int)b.name_len;
		}
		if (order < 0)
			differ(c, c->orig.ix, x, a.name, a.name_len, "only in the original");
		else if (order > 0)
			differ(c, c->acc.ix, y, b.name, b.name_len, "only in the accelerated form");
		else
			r = compare_node(c, x, &a, a.node, b.node);
		i += order <= 0;
		j += order >= 0;
	}
	return r;
}

static int compare_trees(struct comparison *c)
{
	uint32_t n = index_nodes(c->orig.ix);
	struct dirent_view root = { .name = "", .name_len = 0 };
	int r;

	memset(c->other, 0xff, n * sizeof *c->other);
	r = compare_node(c, 0, &root, 0, 0);
	// nodes are numbered so that a directory's number comes after its parent's: it has been met
	// when its turn comes
	for (uint32_t x = 0; x < n && !r; x++) {
		struct attr a, b;

		index_attr(c->orig.ix, x, &a);
		if (!S_ISDIR(a.mode) || c->other[x] == NODE_NONE)
			continue;
		index_attr(c->acc.ix, c->other[x], &b);
		if (S_ISDIR(b.mode))
			r = compare_dir(c, x, c->other[x]);
	}
	return r;
}

// ---- the boot stream ----

// A frame must hold what the data blobs have at its places: it is served in their stead.
static bool frame_equals(
	struct comparison *c, const struct frame_view *f, const uint8_t *plain, uint8_t *data)
{
	struct digest d = sha256_of(plain, (size_t)f->blocks << BLOCK_SHIFT);

	for (uint32_t i = f->first_run; i < f->first_run + f->runs; i++) {
		struct run_view v;
		size_t n;

		index_run(c->acc.ix, i, &v);
		n = (size_t)v.blocks << BLOCK_SHIFT;
		if (pread_full(c->acc.fds[v.space], data, n, (uint64_t)v.block << BLOCK_SHIFT) ||
			memcmp(plain, data, n))
			return false;
		plain += n;
	}
	return digest_equal(&d, &f->sha);
}

// Its index section has been checked when it was loaded.
static int skip_index(struct stream *s, uint8_t *buf, uint64_t left)
{
	int r = 0;

	for (; left && !r; left -= MIN(left, (uint64_t)IO_SIZE))
		r = stream_read_full(s, buf, (size_t)MIN(left, (uint64_t)IO_SIZE));
	return r;
}

// The boot blob, read whole for its digest; c->a and c->b hold a frame each.
static int compare_boot(struct comparison *c, struct image *img)
{
	cleanup_stream struct stream *s = NULL;
	cleanup_free uint8_t *data = xmalloc(IO_SIZE);
	int r = repo_open_blob(img->repo, &img->accel->boot, 0, &s);
	ssize_t n;

	if (!r)
		r = skip_index(s, c->a, img->accel->index_size);
	for (uint32_t i = 0; i < index_frames(c->acc.ix) && !r; i++) {
		struct frame_view f;

		index_frame(c->acc.ix, i, &f);
		r = stream_read_full(s, c->a, f.clen);
		if (r)
			break;
		if (!chunk_decode(f.codec, c->a, f.clen, c->b, (size_t)f.blocks << BLOCK_SHIFT) &&
			frame_equals(c, &f, c->b, data))
			continue;
		if (c->differences++ < SHOW_MAX)
			printf("boot frame %u: not the data that it stands for\n", i);
	}
	n = r ? r : stream_read(s, c->a, 1); // its end: the blob's own digest is checked there
	return n > 0 ? warn_errno(-EBADMSG, "%s: the boot blob is too long", img->repo->name)
		     : (int)n;
}

static int open_scratch(int *fds, uint32_t n)
{
	memset(fds, 0xff, n * sizeof *fds);
	for (uint32_t i = 0; i < n; i++) {
		fds[i] = scratch_file();
		if (fds[i] < 0)
			return fds[i];
	}
	return 0;
}

static void close_all(int *fds, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (fds[i] >= 0)
			close(fds[i]);
	free(fds);
}

int64_t compare_forms(struct image *img, const struct index *ix)
{
	struct comparison c = { .acc.ix = ix };
	struct index *orig = NULL;
	uint32_t n = img->n_layers;
	int r;

	c.orig.fds = xmalloc(n * sizeof *c.orig.fds);
	c.acc.fds = xmalloc(n * sizeof *c.acc.fds);
	memset(c.acc.fds, 0xff, n * sizeof *c.acc.fds);
	r = open_scratch(c.orig.fds, n);
	if (!r)
		r = open_scratch(c.acc.fds, n);
	if (!r)
		r = plain_read(img, c.orig.fds, &orig);
	if (!r)
		r = read_spaces(img, ix, c.acc.fds);
	if (!r) {
		c.orig.ix = orig;
		c.a = xmalloc(IO_SIZE);
		c.b = xmalloc(IO_SIZE);
		c.other = xmalloc(index_nodes(orig) * sizeof *c.other);
		r = compare_trees(&c);
		if (!r)
			r = compare_boot(&c, img);
		free(c.a);
		free(c.b);
		free(c.other);
	}
	index_free(orig);
	close_all(c.orig.fds, n);
	close_all(c.acc.fds, n);
	return r ? r : c.differences;
}
