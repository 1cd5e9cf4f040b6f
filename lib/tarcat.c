// tarcat.c - where the files of a tar archive are: a catalogue, so that they can be read by offset
//
// A second, smaller reader beside tar.c, which takes a stream and delivers data; they share the
// parsers of headers. What an archive of an image never has, and readers disagree on, is noted as
// "odd" and only refused when it is asked for.
// SPDX-License-Identifier: Apache-2.0
#include "tarcat.h"
#include "log.h"
#include "tarhead.h"
#include "tarpax.h"

#include <sys/stat.h>

enum kind { KIND_FILE, KIND_HARDLINK, KIND_SYMLINK, KIND_OTHER, KIND_SPARSE };

struct entry {
	size_t path, link; // in names; each ended by NUL
	uint64_t off, size;
	uint32_t order; // in the archive
	enum kind kind;
};

struct tarcat {
	int fd;
	char *name;
	struct entry *v; // sorted by path, then order
	size_t n, cap;
	struct buf names;
};

// What the headers before an entry said of it.
struct scan {
	struct tarcat *c;
	uint64_t size, at; // of the file; of the next header
	struct pax global, pax;
	struct buf path, link; // GNU long names; len 0: none
	unsigned extensions;   // headers in a row
};

static int bad(const struct scan *s, const char *why)
{
	return warn_errno(
		-EBADMSG, "%s: at byte %llu: %s", s->c->name, (unsigned long long)s->at, why);
}

static int read_at(const struct scan *s, void *buf, size_t n, uint64_t off)
{
	int r = pread_full(s->c->fd, buf, n, off);

	return r < 0 ? warn_errno(r, "%s: read", s->c->name) : 0;
}

// ---- extension headers ----

static int read_extension(const struct scan *s, uint64_t size, size_t max, struct buf *b)
{
	b->len = 0;
	if (size > max)
		return bad(s, "an extension header is too long");
	buf_reserve(b, (size_t)size + 1);
	int r = read_at(s, b->data, (size_t)size, s->at + TAR_BLOCK);

	b->len = r < 0 ? 0 : (size_t)size;
	return r;
}

static int take_pax(struct scan *s, uint64_t size, bool global)
{
	struct buf cleanup_buf b = { 0 };
	int r = read_extension(s, size, TAR_PAX_MAX, &b);

	if (r < 0)
		return r;
	const char *why = pax_parse(global ? &s->global : &s->pax, b.data, b.len, global);

	if (!why && global && s->global.text.len > TAR_GLOBAL_MAX)
		why = "its global headers are too long";
	if (!why && global)
		pax_inherit(&s->pax, &s->global);
	return why ? bad(s, why) : 0;
}

// A name ends at its first NUL.
static int take_long(struct scan *s, uint64_t size, struct buf *b)
{
	int r = read_extension(s, size, TAR_LONG_MAX, b);

	b->len = b->len ? strnlen((char *)b->data, b->len) : 0;
	return r;
}

static bool is_extension(char type)
{
	return type == 'x' || type == 'g' || type == 'L' || type == 'K';
}

static int take_extension(struct scan *s, char type, uint64_t size)
{
	if (++s->extensions > TAR_EXT_MAX)
		return bad(s, "extension headers without end");
	switch (type) {
	case 'x': return take_pax(s, size, false);
	case 'g': return take_pax(s, size, true);
	case 'L': return take_long(s, size, &s->path);
	default: return take_long(s, size, &s->link);
	}
}

// ---- entries ----

static enum kind kind_of(const struct scan *s, const struct tar_header *h)
{
	if (h->type == 'S' || (s->pax.has & PAX_SPARSE))
		return KIND_SPARSE;
	switch (h->type) {
	case 0:
	case '0':
	case '7': return KIND_FILE;
	case '1': return KIND_HARDLINK;
	case '2': return KIND_SYMLINK;
	default: return KIND_OTHER;
	}
}

static size_t add_name(struct tarcat *c, const char *s, size_t n)
{
	size_t at = c->names.len;

	buf_add(&c->names, s, n);
	buf_add(&c->names, "", 1);
	return at;
}

// The entry's name as the last of pax, GNU's long name, the header says it.
static int take_path(const struct scan *s, const struct tar_header *h, size_t *ret)
{
	char own[TARHEAD_NAME_MAX], path[TAR_PATH_MAX + 1];
	const char *name = own;
	size_t n;

	if (s->pax.has & PAX_PATH) {
		name = pax_str(&s->pax, s->pax.path);
		n = s->pax.path.len;
	} else if (s->path.len) {
		name = (char *)s->path.data;
		n = s->path.len;
	} else {
		n = tarhead_name(h, own);
	}
	const char *why = tarhead_canonical(name, n, path, &n);

	if (why)
		return bad(s, why);
	*ret = add_name(s->c, path, n);
	return 0;
}

// A link's target as it stands; what it leads to is looked at when it is followed.
static int take_link(const struct scan *s, const struct tar_header *h, size_t *ret)
{
	const char *name = h->linkname;
	size_t n = strnlen(h->linkname, sizeof h->linkname);

	if (s->pax.has & PAX_LINK) {
		name = pax_str(&s->pax, s->pax.link);
		n = s->pax.link.len;
	} else if (s->link.len) {
		name = (char *)s->link.data;
		n = s->link.len;
	}
	if (n > TAR_LINK_MAX || memchr(name, 0, n))
		return bad(s, "a link's target is too long or has a NUL");
	*ret = add_name(s->c, name, n);
	return 0;
}

static int add_entry(struct scan *s, const struct tar_header *h, uint64_t size)
{
	struct tarcat *c = s->c;
	struct entry e = { .off = s->at + TAR_BLOCK,
		.size = size,
		.order = (uint32_t)c->n,
		.kind = kind_of(s, h) };
	int r = 0;

	if (h->type != '5') { // directories say nothing here
		r = take_path(s, h, &e.path);
		if (r == 0)
			r = take_link(s, h, &e.link);
		if (r == 0 && (c->n == TARCAT_ENTRIES_MAX || c->names.len > TARCAT_NAMES_MAX))
			r = bad(s, "it has more files than an image's archive can have");
		if (r == 0) {
			c->v = xgrow(c->v, &c->cap, c->n + 1, sizeof *c->v);
			c->v[c->n++] = e;
		}
	}
	pax_inherit(&s->pax, &s->global);
	s->path.len = s->link.len = 0;
	s->extensions = 0;
	return r;
}

// Links, directories and devices have no data whatever their size says (as tar.c has it).
static bool has_data(char type)
{
	return !type || !strchr("123456", type);
}

// One header: 1, 0 at the end, -errno logged.
static int scan_one(struct scan *s)
{
	union tar_block b;
	int64_t n;

	// an archive that ends between two entries is whole
	if (s->size - s->at < TAR_BLOCK)
		return s->size == s->at && s->at > 0
			? 0
			: bad(s, "it ends inside an entry, or is no tar archive");
	int r = read_at(s, &b, sizeof b, s->at);

	if (r < 0)
		return r;
	if (tarhead_all_zero(&b))
		return 0;
	if (!tarhead_checksum_ok(&b))
		return bad(s, "no tar header, or a damaged one");
	if (!TARHEAD_NUMBER(b.h.size, &n) || n < 0)
		return bad(s, "a size that is no number");
	bool extension = is_extension(b.h.type);
	uint64_t size = !extension && (s->pax.has & PAX_SIZE) ? s->pax.size : (uint64_t)n;
	uint64_t room = s->size - s->at - TAR_BLOCK;

	if (!extension && !has_data(b.h.type))
		size = 0;
	if (size > room)
		return bad(s, "it ends inside a file: it is truncated");
	r = extension ? take_extension(s, b.h.type, size) : add_entry(s, &b.h, size);
	uint64_t padded = (size + TAR_BLOCK - 1) & ~(uint64_t)(TAR_BLOCK - 1);

	s->at += TAR_BLOCK + MIN(padded, room);
	return r < 0 ? r : 1;
}

// ---- the catalogue ----

static int by_path(const void *a, const void *b, void *arg)
{
	const struct tarcat *c = arg;
	const struct entry *x = a, *y = b;
	int r = strcmp((char *)c->names.data + x->path, (char *)c->names.data + y->path);

	return r ? r : x->order < y->order ? -1 : 1;
}

void tarcat_free(struct tarcat *c)
{
	if (!c)
		return;
	buf_fini(&c->names);
	free(c->v);
	free(c->name);
	free(c);
}

int tarcat_open(int fd, const char *name, struct tarcat **ret)
{
	struct tarcat *c = xcalloc(1, sizeof *c);
	struct scan s = { .c = c };
	struct stat st;
	int r = 1;

	c->fd = fd;
	c->name = xstrdup(name);
	if (fstat(fd, &st) < 0)
		r = warn_errno(-errno, "%s", name);
	else if (!S_ISREG(st.st_mode))
		r = warn_whole(-EINVAL, "%s is no regular file", name);
	s.size = r < 0 ? 0 : (uint64_t)st.st_size;
	while (r > 0)
		r = scan_one(&s);
	pax_fini(&s.pax);
	pax_fini(&s.global);
	buf_fini(&s.path);
	buf_fini(&s.link);
	if (r < 0) {
		tarcat_free(c);
		return r;
	}
	if (c->n)
		qsort_r(c->v, c->n, sizeof *c->v, by_path, c);
	*ret = c;
	return 0;
}

// ---- look-ups ----

static const char *text(const struct tarcat *c, size_t at)
{
	return (const char *)c->names.data + at;
}

static int bad_entry(const struct tarcat *c, const char *path, const char *why)
{
	return warn_errno(-EBADMSG, "%s: %s in it %s", c->name, log_quote(path), why);
}

// The only entry of that path.
static int find(const struct tarcat *c, const char *path, const struct entry **ret)
{
	size_t low = 0, high = c->n;

	while (low < high) {
		size_t mid = low + (high - low) / 2;

		if (strcmp(text(c, c->v[mid].path), path) < 0)
			low = mid + 1;
		else
			high = mid;
	}
	if (low == c->n || strcmp(text(c, c->v[low].path), path) != 0)
		return -ENOENT;
	if (low + 1 < c->n && strcmp(text(c, c->v[low + 1].path), path) == 0)
		return bad_entry(
			c, path, "stands there twice; which one counts, readers do not agree on");
	*ret = &c->v[low];
	return 0;
}

// Where a link leads, seen from the archive's root: NULL when that is outside of it. Caller frees.
static char *target_of(const struct tarcat *c, const struct entry *e)
{
	const char *from = text(c, e->path), *to = text(c, e->link);
	const char *slash = e->kind == KIND_SYMLINK ? strrchr(from, '/') : NULL;
	struct buf b = { 0 };

	if (slash && *to != '/')
		buf_add(&b, from, (size_t)(slash - from));
	if (e->kind == KIND_SYMLINK && *to == '/')
		to = "..";
	while (*to) {
		size_t n = strcspn(to, "/");

		if (n == 2 && to[0] == '.' && to[1] == '.') {
			const uint8_t *last = b.len ? memrchr(b.data, '/', b.len) : NULL;

			if (!b.len) {
				buf_fini(&b);
				return NULL;
			}
			b.len = last ? (size_t)(last - b.data) : 0;
		} else if (n > 0 && !(n == 1 && *to == '.')) {
			if (b.len)
				buf_add(&b, "/", 1);
			buf_add(&b, to, n);
		}
		to += n + (to[n] == '/');
	}
	buf_add(&b, "", 1);
	return (char *)b.data;
}

static int follow_link(const struct tarcat *c, const struct entry **e)
{
	cleanup_free char *to = target_of(c, *e);
	const char *path = text(c, (*e)->path);
	int r = to ? find(c, to, e) : -ENOENT;

	return r == -ENOENT ? bad_entry(c, path, "is a link to what is not there") : r;
}

int tarcat_find(const struct tarcat *c, const char *path, bool follow, uint64_t *ret_off,
	uint64_t *ret_size)
{
	const struct entry *e;
	int r = find(c, path, &e);

	if (r == 0 && (e->kind == KIND_HARDLINK || (follow && e->kind == KIND_SYMLINK)))
		r = follow_link(c, &e);
	if (r < 0)
		return r;
	if (e->kind == KIND_SPARSE)
		return bad_entry(
			c, path, "is stored as a sparse file, which is not supported here");
	if (e->kind != KIND_FILE)
		return bad_entry(c, path, "is no file, or a link that is not followed");
	*ret_off = e->off;
	*ret_size = e->size;
	return 0;
}

int tarcat_read(const struct tarcat *c, const char *path, size_t max, char **ret, size_t *ret_n)
{
	uint64_t off, size;
	int r = tarcat_find(c, path, false, &off, &size);

	if (r < 0)
		return r;
	if (size > max)
		return -EFBIG;
	cleanup_free char *p = xmalloc((size_t)size + 1);

	r = pread_full(c->fd, p, (size_t)size, off);
	if (r < 0)
		return r;
	p[size] = 0;
	*ret = steal(&p);
	*ret_n = (size_t)size;
	return 0;
}
