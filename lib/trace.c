// trace.c - reads, writes, merges traces, and maps them onto an image
// SPDX-License-Identifier: Apache-2.0
#include "trace.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "format.h"
#include "log.h"

void trace_fini(struct trace *t)
{
	free(t->e);
	buf_fini(&t->paths);
	*t = (struct trace){ 0 };
}

// ---- reading ----

struct line {
	const char *p, *end;
};

static bool is_blank(char c)
{
	return c == ' ' || c == '\t';
}

static void skip_blanks(struct line *l)
{
	while (l->p < l->end && is_blank(*l->p))
		l->p++;
}

// Is the field at its end?
static bool at_blank(const struct line *l)
{
	return l->p == l->end || is_blank(*l->p);
}

static bool take_number(struct line *l, uint64_t max, uint64_t *ret)
{
	const char *from = l->p;
	uint64_t v = 0;

	for (; l->p < l->end && *l->p >= '0' && *l->p <= '9'; l->p++) {
		v = v * 10 + (uint64_t)(*l->p - '0');
		if (v > max)
			return false;
	}
	*ret = v;
	return l->p > from;
}

// "12.345678" in microseconds; what is finer is cut off.
static bool take_seconds(struct line *l, uint64_t *ret)
{
	uint64_t unit = 1000000, s;

	if (!take_number(l, TRACE_SECONDS_MAX, &s))
		return false;
	*ret = s * unit;
	if (l->p < l->end && *l->p == '.')
		for (l->p++; l->p < l->end && *l->p >= '0' && *l->p <= '9'; l->p++) {
			unit /= 10;
			*ret += (uint64_t)(*l->p - '0') * unit;
		}
	return at_blank(l);
}

static int hex_digit(char c)
{
	return c >= '0' && c <= '9'    ? c - '0'
		: c >= 'a' && c <= 'f' ? c - 'a' + 10
		: c >= 'A' && c <= 'F' ? c - 'A' + 10
				       : -1;
}

// \xNN at l->p, or -1.
static int take_escape(struct line *l)
{
	int hi, lo;

	if (l->end - l->p < 4 || l->p[1] != 'x')
		return -1;
	hi = hex_digit(l->p[2]);
	lo = hex_digit(l->p[3]);
	l->p += 4;
	return hi < 0 || lo < 0 ? -1 : hi << 4 | lo;
}

// Appends the path, unescaped, and a NUL. Bytes above 0x7f may stand for themselves.
static bool take_path(struct line *l, struct buf *out)
{
	size_t from = out->len;

	if (l->p == l->end || *l->p != '/')
		return false;
	while (!at_blank(l)) {
		int c = *l->p == '\\' ? take_escape(l) : (uint8_t)*l->p++;
		uint8_t byte = (uint8_t)c;

		if (c <= 0 || out->len - from == TRACE_PATH_MAX)
			return false;
		buf_add(out, &byte, 1);
	}
	buf_zero(out, 1);
	return true;
}

// NULL, or what is wrong with the line.
static const char *parse_line(struct trace *t, struct line *l)
{
	struct trace_entry e = { .path = (uint32_t)t->paths.len, .seq = (uint32_t)t->n };

	skip_blanks(l);
	if (l->p == l->end || *l->p == '#')
		return NULL;
	if (t->n == TRACE_ENTRIES_MAX)
		return "more than 1,048,576 entries";
	if (!take_seconds(l, &e.us))
		return "it does not begin with the seconds";
	skip_blanks(l);
	if (!take_path(l, &t->paths))
		return "the second field is no absolute path, or too long, or badly escaped";
	skip_blanks(l);
	if (!take_number(l, TRACE_END_MAX, &e.off) || !at_blank(l))
		return "the third field is no proper offset";
	skip_blanks(l);
	if (!take_number(l, TRACE_END_MAX - e.off, &e.len) || !at_blank(l))
		return "the fourth field is no proper length";
	skip_blanks(l);
	if (l->p != l->end)
		return "it has more than four fields";
	t->e = xgrow(t->e, &t->cap, t->n + 1, sizeof *t->e);
	t->e[t->n++] = e;
	return NULL;
}

int trace_parse(struct trace *t, const char *p, size_t n, const char *name)
{
	size_t entries = t->n, paths = t->paths.len;
	const char *end, *wrong = NULL;
	unsigned line = 0;

	if (!n)
		return 0;
	if (n > TRACE_TEXT_MAX)
		return warn_errno(-EBADMSG, "trace %s is longer than 64 MiB", name);
	if (n > UINT32_MAX - paths) // each path is shorter than its line
		return warn_errno(-EBADMSG, "trace %s: all traces together are too long", name);
	end = p + n;
	while (p < end && !wrong) {
		const char *nl = memchr(p, '\n', (size_t)(end - p));
		struct line l = { p, nl ? nl : end };

		line++;
		p = nl ? nl + 1 : end;
		if (l.end > l.p && l.end[-1] == '\r')
			l.end--;
		wrong = parse_line(t, &l);
	}
	if (!wrong)
		return 0;
	t->n = entries;
	t->paths.len = paths;
	return warn_errno(-EBADMSG, "trace %s, line %u: %s; a line is SECONDS PATH OFFSET LENGTH",
		name, line, wrong);
}

static int read_stdin(struct buf *ret)
{
	ssize_t n;

	do {
		buf_reserve(ret, 1 << 16);
		n = read(STDIN_FILENO, ret->data + ret->len, 1 << 16);
		ret->len += n > 0 ? (size_t)n : 0;
	} while ((n > 0 || (n < 0 && errno == EINTR)) && ret->len <= TRACE_TEXT_MAX);
	return n < 0 ? -errno : 0;
}

int trace_read(struct trace *t, const char *path)
{
	cleanup_buf struct buf b = { 0 };
	int r = !strcmp(path, "-")
		? read_stdin(&b)
		: read_file_at(AT_FDCWD, path, TRACE_TEXT_MAX, (char **)&b.data, &b.len);

	return r ? warn_errno(r, "trace %s", log_quote(path))
		 : trace_parse(t, (const char *)b.data, b.len, log_quote(path));
}

// ---- merging ----

static int by_range(const void *a, const void *b, void *arg)
{
	const struct trace *t = arg;
	const struct trace_entry *x = a, *y = b;
	int c = strcmp(trace_path(t, x), trace_path(t, y));

	if (c)
		return c;
	if (x->off != y->off)
		return x->off < y->off ? -1 : 1;
	if (x->len != y->len)
		return x->len < y->len ? -1 : 1;
	if (x->us != y->us)
		return x->us < y->us ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static int by_time(const void *a, const void *b)
{
	const struct trace_entry *x = a, *y = b;

	if (x->us != y->us)
		return x->us < y->us ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

static bool same_range(
	const struct trace *t, const struct trace_entry *x, const struct trace_entry *y)
{
	return x->off == y->off && x->len == y->len && !strcmp(trace_path(t, x), trace_path(t, y));
}

void trace_merge(struct trace *t)
{
	size_t n = 0;

	if (!t->n)
		return;
	qsort_r(t->e, t->n, sizeof *t->e, by_range, t);
	for (size_t i = 0; i < t->n; i++)
		if (!n || !same_range(t, &t->e[n - 1], &t->e[i]))
			t->e[n++] = t->e[i];
	t->n = n;
	qsort(t->e, t->n, sizeof *t->e, by_time);
}

int trace_read_all(struct trace *t, const char *const *paths, size_t n)
{
	int r = 0;

	for (size_t i = 0; i < n && !r; i++)
		r = trace_read(t, paths[i]);
	trace_merge(t);
	return r;
}

// ---- writing ----

void trace_put(struct buf *out, double seconds, const char *path, size_t path_len, uint64_t off,
	uint64_t len)
{
	static const char hex[] = "0123456789abcdef";

	if (path_len > TRACE_PATH_MAX)
		return;
	buf_printf(out, "%.6f ", seconds);
	for (size_t i = 0; i < path_len; i++) {
		uint8_t c = (uint8_t)path[i];
		char esc[4] = { '\\', 'x', hex[c >> 4], hex[c & 15] };

		if (c <= ' ' || c >= 0x7f || c == '\\')
			buf_add(out, esc, sizeof esc);
		else
			buf_add(out, &c, 1);
	}
	buf_printf(out, " %llu %llu\n", (unsigned long long)off, (unsigned long long)len);
}

// ---- onto an index ----

// Which blocks have been taken: a bit for each, in words of 64, each space beginning a word.
// next[w] leads to the first word at or after w that has a free bit (a forest with its paths
// halved, as in union-find), so that a range costs what it takes anew, however often it is named.
struct taken {
	uint64_t *bits;
	uint32_t *next;
	uint32_t *first; // word of each space
};

static void taken_init(struct taken *k, const struct index *ix)
{
	uint32_t words = 0;

	k->first = xcalloc(index_spaces(ix) + 1, sizeof *k->first);
	for (uint32_t s = 0; s < index_spaces(ix); s++) {
		struct space_view v;

		index_space(ix, s, &v);
		k->first[s] = words;
		words += (uint32_t)((v.blocks + 63ull) / 64);
	}
	k->bits = xcalloc((size_t)words + 1, sizeof *k->bits);
	k->next = xcalloc((size_t)words + 1, sizeof *k->next);
	for (uint32_t w = 0; w <= words; w++)
		k->next[w] = w;
}

static void taken_fini(struct taken *k)
{
	free(k->bits);
	free(k->next);
	free(k->first);
}

static uint32_t open_word(struct taken *k, uint32_t w)
{
	while (k->next[w] != w) {
		k->next[w] = k->next[k->next[w]];
		w = k->next[w];
	}
	return w;
}

static void add_run(struct buf *runs, size_t from, uint32_t space, uint32_t block)
{
	struct fmt_run *last =
		runs->len > from ? (struct fmt_run *)(runs->data + runs->len) - 1 : NULL;
	struct fmt_run new = { space, block, 1 };

	if (last && last->space == space && last->block + last->blocks == block)
		last->blocks++;
	else
		buf_add(runs, &new, sizeof new);
}

static bool is_zero_block(const struct index *ix, uint32_t space, uint32_t block)
{
	struct chunk_view c;

	index_chunk(ix, index_chunk_at(ix, space, block), &c);
	return c.codec == CODEC_ZERO;
}

// Takes what is free of blocks [block, end) of a space. Returns how many blocks were added.
static uint64_t take_range(struct taken *k, const struct index *ix, uint32_t space, uint64_t block,
	uint64_t end, struct buf *runs, size_t from)
{
	uint32_t w = k->first[space] + (uint32_t)(block / 64);
	uint32_t last = k->first[space] + (uint32_t)((end - 1) / 64);
	uint64_t added = 0;

	for (w = open_word(k, w); w <= last; w = open_word(k, w + 1)) {
		uint64_t base = (uint64_t)(w - k->first[space]) * 64;

		for (uint64_t b = MAX(base, block); b < MIN(base + 64, end); b++) {
			if (k->bits[w] >> (b - base) & 1)
				continue;
			k->bits[w] |= 1ull << (b - base);
			if (is_zero_block(ix, space, (uint32_t)b))
				continue;
			add_run(runs, from, space, (uint32_t)b);
			added++;
		}
		if (k->bits[w] == UINT64_MAX)
			k->next[w] = w + 1;
	}
	return added;
}

uint32_t trace_node(const struct index *ix, const char *path)
{
	uint32_t node = index_path(ix, path);
	struct attr a;

	if (node == NODE_NONE)
		return node;
	index_attr(ix, node, &a);
	return S_ISREG(a.mode) ? node : NODE_NONE;
}

void trace_runs(const struct trace *t, const struct index *ix, struct buf *ret_runs,
	struct trace_stats *ret)
{
	struct trace_stats s = { .entries = t->n };
	size_t from = ret_runs->len;
	struct taken k;

	taken_init(&k, ix);
	for (size_t i = 0; i < t->n; i++) {
		const struct trace_entry *e = &t->e[i];
		uint32_t node = trace_node(ix, trace_path(t, e));
		struct attr a;
		uint64_t end;

		s.bytes += e->len;
		if (node == NODE_NONE)
			continue;
		s.found++;
		index_attr(ix, node, &a);
		end = MIN(e->off + e->len, a.size);
		if (e->off >= end)
			continue;
		s.covered += end - e->off;
		s.blocks += take_range(&k, ix, a.space, a.block + (e->off >> BLOCK_SHIFT),
			a.block + blocks_of(end), ret_runs, from);
	}
	taken_fini(&k);
	*ret = s;
}

// ---- the reverse ----

struct trace_files {
	const struct index *ix;
	size_t n;
	struct trace_file f[];
};

static int by_place(const void *a, const void *b)
{
	const struct trace_file *x = a, *y = b;

	if (x->space != y->space)
		return x->space < y->space ? -1 : 1;
	if (x->block != y->block)
		return x->block < y->block ? -1 : 1;
	return x->node < y->node ? -1 : x->node > y->node;
}

// A node's number is the place of its first name (format.md 4), so the first name is the entry
// with a number above all before it.
static void add_files(struct trace_files *f, uint32_t dir, uint32_t *seen)
{
	for (uint32_t i = 0; i < index_dir_count(f->ix, dir); i++) {
		struct dirent_view e;
		struct attr a;

		index_dirent(f->ix, dir, i, &e);
		if (e.node <= *seen)
			continue;
		*seen = e.node;
		index_attr(f->ix, e.node, &a);
		if (S_ISREG(a.mode) && a.size)
			f->f[f->n++] = (struct trace_file){ a.space, a.block,
				(uint32_t)blocks_of(a.size), e.node, dir, i };
	}
}

int trace_files(const struct index *ix, struct trace_files **ret)
{
	uint32_t nodes = index_nodes(ix), seen = 0;
	struct trace_files *f = malloc(sizeof *f + nodes * sizeof *f->f);
	size_t n = 0;

	if (!f)
		return -ENOMEM;
	f->ix = ix;
	f->n = 0;
	for (uint32_t d = 0; d < nodes; d++) {
		struct attr a;

		index_attr(ix, d, &a);
		if (S_ISDIR(a.mode))
			add_files(f, d, &seen);
	}
	qsort(f->f, f->n, sizeof *f->f, by_place);
	for (size_t i = 0; i < f->n; i++)
		if (!n || f->f[n - 1].space != f->f[i].space || f->f[n - 1].block != f->f[i].block)
			f->f[n++] = f->f[i];
	f->n = n;
	*ret = f;
	return 0;
}

void trace_files_free(struct trace_files *f)
{
	free(f);
}

const struct trace_file *trace_file_at(
	const struct trace_files *f, uint32_t space, uint32_t block, uint64_t *ret_off)
{
	size_t lo = 0, hi = f->n;

	// the last one that begins at or before the block
	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;
		const struct trace_file *m = &f->f[mid];

		if (m->space < space || (m->space == space && m->block <= block))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (!lo || f->f[lo - 1].space != space || block - f->f[lo - 1].block >= f->f[lo - 1].blocks)
		return NULL;
	*ret_off = (uint64_t)(block - f->f[lo - 1].block) << BLOCK_SHIFT;
	return &f->f[lo - 1];
}

// The entry of a directory in its parent.
static void name_of_dir(const struct index *ix, uint32_t dir, struct dirent_view *ret)
{
	uint32_t parent = index_parent(ix, dir), lo = 0, hi = index_dir_count(ix, parent);

	for (; lo < hi; lo++) {
		index_dirent(ix, parent, lo, ret);
		if (ret->node == dir)
			return;
	}
	*ret = (struct dirent_view){ .name = "" }; // cannot be: the index has been checked
}

void trace_file_path(const struct trace_files *f, const struct trace_file *file, struct buf *out)
{
	uint32_t chain[FMT_DEPTH_MAX + 1];
	size_t depth = 0;
	struct dirent_view e;

	for (uint32_t d = file->dir; d; d = index_parent(f->ix, d))
		chain[depth++] = d;
	out->len = 0;
	while (depth) {
		name_of_dir(f->ix, chain[--depth], &e);
		buf_add(out, "/", 1);
		buf_add(out, e.name, e.name_len);
	}
	index_dirent(f->ix, file->dir, file->entry, &e);
	buf_add(out, "/", 1);
	buf_add(out, e.name, e.name_len);
}
