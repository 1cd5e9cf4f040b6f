// flatten.c - an image as one stream of bytes
//
// Data is asked for ahead in the order in which it is written. Threads: the caller's alone.
// SPDX-License-Identifier: Apache-2.0
#include "flatten.h"

#include <sys/stat.h>

#include "erofs.h"
#include "log.h"
#include "reader.h"
#include "tarhead.h"
#include "tarw.h"
#include "walk.h"

static int read_error(int r, const char *what)
{
	return warn_errno(r == -ENODATA ? -EIO : r, "read the data of %s", what);
}

// ---- tar ----

// The contents of the files in the archive's order.
struct contents {
	const struct index *ix;
	struct walk *walk;
	struct reader_file file;
};

static bool next_content(void *arg, struct reader_piece *ret)
{
	struct contents *c = arg;
	struct walk_step s;

	while (!reader_file_next(&c->file, ret)) {
		do
			if (!walk_next(c->walk, &s))
				return false;
		while (!S_ISREG(s.type) || s.again);
		c->file.at = 0;
		index_attr(c->ix, s.node, &c->file.attr);
	}
	return true;
}

struct tar_out {
	const struct index *ix;
	struct outfile *out;
	struct reader *reader;
	char **names; // by node: the first name of those that have several
};

static int put_contents(struct tar_out *t, const char *path, uint64_t size)
{
	for (uint64_t left = size; left;) {
		const uint8_t *p;
		uint32_t n;
		int r = reader_get(t->reader, &p, &n);

		if (r)
			return read_error(r, log_quote(path));
		r = outfile_add(t->out, p, n);
		if (r)
			return r;
		left -= n;
	}
	return outfile_zeros(t->out, (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK);
}

static int refuse(int r, const char *path)
{
	if (r == -ENOTSUP) {
		warn("%s is a socket, which tar does not know; it is left out", log_quote(path));
		return 0;
	}
	return warn_errno(r, "%s has an extended attribute that tar cannot name", log_quote(path));
}

static int put_node(struct tar_out *t, const char *path, uint32_t node, bool again)
{
	cleanup_buf struct buf head = { 0 };
	const char *link = again ? t->names[node] : NULL;
	struct attr a;
	int r = tarw_entry(&head, t->ix, node, path, link);

	if (r)
		return refuse(r, path);
	index_attr(t->ix, node, &a);
	if (!S_ISDIR(a.mode) && a.nlink > 1 && !t->names[node])
		t->names[node] = xstrdup(path);
	r = outfile_add(t->out, head.data, head.len);
	return r || link || !S_ISREG(a.mode) ? r : put_contents(t, path, a.size);
}

static int put_tree(struct tar_out *t)
{
	struct walk *w = walk_new(t->ix, 0);
	int r = put_node(t, ".", 0, false);
	struct walk_step s;

	while (!r && walk_next(w, &s)) {
		cleanup_free char *path = xstrndup(s.path, s.len);

		r = put_node(t, path, s.node, s.again);
	}
	walk_free(w);
	return r;
}

static int put_end(struct outfile *out)
{
	uint64_t end = outfile_size(out) + TARW_END;

	return outfile_zeros(out, TARW_END + (TARW_RECORD - end % TARW_RECORD) % TARW_RECORD);
}

int flatten_tar(struct lazy *lz, struct outfile *out)
{
	const struct index *ix = lazy_index(lz);
	struct contents c = { .ix = ix, .walk = walk_new(ix, 0) };
	struct tar_out t = { .ix = ix,
		.out = out,
		.reader = reader_new(lz, next_content, &c),
		.names = xcalloc(index_nodes(ix), sizeof *t.names) };
	int r = put_tree(&t);

	if (!r)
		r = put_end(out);
	reader_free(t.reader);
	walk_free(c.walk);
	for (uint32_t i = 0; i < index_nodes(ix); i++)
		free(t.names[i]);
	free(t.names);
	return r;
}

// ---- EROFS ----

struct spaces {
	const struct index *ix;
	uint32_t space;
	uint64_t at;
};

static bool next_of_spaces(void *arg, struct reader_piece *ret)
{
	struct spaces *s = arg;

	for (; s->space < index_spaces(s->ix); s->space++, s->at = 0) {
		struct space_view v;
		uint64_t end;

		index_space(s->ix, s->space, &v);
		end = (uint64_t)v.blocks << BLOCK_SHIFT;
		if (s->at == end)
			continue;
		*ret = (struct reader_piece){ .space = s->space,
			.off = s->at,
			.len = (uint32_t)MIN(end - s->at, (uint64_t)LAZY_READ_MAX) };
		s->at += ret->len;
		return true;
	}
	return false;
}

static int put_metadata(const struct erofs_image *im, struct outfile *out)
{
	cleanup_free uint8_t *buf = xmalloc(LAZY_READ_MAX);
	int r = 0;

	for (uint64_t at = 0, n; at < erofs_meta_size(im) && !r; at += n) {
		n = MIN(erofs_meta_size(im) - at, (uint64_t)LAZY_READ_MAX);
		r = erofs_read(im, EROFS_FLAT, buf, (size_t)n, at);
		if (r)
			return warn_errno(r, "read the generated metadata");
		r = outfile_add(out, buf, (size_t)n);
	}
	return r;
}

// Spaces lie behind the metadata and one behind the other, without gaps.
static int put_spaces(struct lazy *lz, const struct erofs_image *im, struct outfile *out)
{
	struct spaces s = { .ix = lazy_index(lz) };
	struct reader *reader = reader_new(lz, next_of_spaces, &s);
	int r = 0;

	while (!r && outfile_size(out) < erofs_flat_size(im)) {
		const uint8_t *p;
		uint32_t n;

		r = reader_get(reader, &p, &n);
		r = r ? read_error(r, "the image") : outfile_add(out, p, n);
	}
	reader_free(reader);
	return r;
}

int flatten_erofs(struct lazy *lz, struct outfile *out)
{
	cleanup_fd int fd = scratch_file();
	struct erofs_image *im;
	int r = fd < 0 ? fd : erofs_build(lazy_index(lz), fd, &im);

	if (r)
		return r;
	if (erofs_xattrs_left_out(im))
		warn("%u extended attributes that EROFS cannot name are left out",
			erofs_xattrs_left_out(im));
	r = put_metadata(im, out);
	if (!r)
		r = put_spaces(lz, im, out);
	erofs_free(im);
	return r;
}
