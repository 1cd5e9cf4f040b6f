// tarsparse.c - the map of a sparse file in a tar archive (GNU tar manual, "Storing Sparse Files")
// SPDX-License-Identifier: Apache-2.0
#include "tarsparse.h"

void sparse_reset(struct sparse_map *m)
{
	m->n = 0;
	m->stored = 0;
}

void sparse_fini(struct sparse_map *m)
{
	free(m->v);
	*m = (struct sparse_map){ 0 };
}

const char *sparse_add(struct sparse_map *m, uint64_t off, uint64_t len)
{
	if (off > INT64_MAX || len > INT64_MAX - off)
		return "sparse map: offset or length too large";
	if (m->n && off < m->v[m->n - 1].off + m->v[m->n - 1].len)
		return "sparse map: extents overlap or are not in order";
	if (m->n == SPARSE_EXTENTS_MAX)
		return "sparse map: more than 65536 extents";
	m->v = xgrow(m->v, &m->cap, m->n + 1, sizeof *m->v);
	m->v[m->n++] = (struct sparse_extent){ off, len };
	m->stored += len; // cannot overflow: extents are disjoint and below 2^63
	return NULL;
}

const char *sparse_check(const struct sparse_map *m, uint64_t size, uint64_t stored)
{
	if (m->n && m->v[m->n - 1].off + m->v[m->n - 1].len > size)
		return "sparse map: extent past the end of the file";
	if (m->stored != stored)
		return "sparse map: its lengths disagree with the stored size";
	return NULL;
}

uint64_t sparse_run(
	const struct sparse_map *m, uint64_t size, uint64_t at, size_t *i, bool *ret_stored)
{
	while (*i < m->n && m->v[*i].off + m->v[*i].len <= at)
		++*i;
	*ret_stored = *i < m->n && m->v[*i].off <= at;
	if (*ret_stored)
		return m->v[*i].off + m->v[*i].len - at;
	return (*i < m->n ? m->v[*i].off : size) - at;
}

bool sparse_decimal(const char *p, size_t n, uint64_t *ret)
{
	uint64_t v = 0;

	for (size_t i = 0; i < n; i++) {
		if (p[i] < '0' || p[i] > '9')
			return false;
		if (__builtin_mul_overflow(v, 10u, &v) ||
			__builtin_add_overflow(v, (unsigned)(p[i] - '0'), &v))
			return false;
	}
	*ret = v;
	return n > 0;
}

// One number of a list, up to a comma or the end; moves *p behind the comma.
static bool next_number(const char **p, const char *end, uint64_t *ret)
{
	const char *comma = memchr(*p, ',', (size_t)(end - *p));
	const char *stop = comma ? comma : end;
	bool ok = sparse_decimal(*p, (size_t)(stop - *p), ret);

	*p = comma ? comma + 1 : end;
	return ok;
}

const char *sparse_add_list(struct sparse_map *m, const char *p, size_t n)
{
	const char *end = p + n;

	while (p < end) {
		uint64_t off, len;

		if (!next_number(&p, end, &off) || !next_number(&p, end, &len))
			return "sparse map: bad number";
		const char *why = sparse_add(m, off, len);

		if (why)
			return why;
	}
	return NULL;
}

// A line is complete.
static const char *take_line(struct sparse_lines *l, struct sparse_map *m)
{
	uint64_t v;

	if (!sparse_decimal(l->digits, l->n_digits, &v))
		return "sparse map: bad number";
	l->n_digits = 0;
	if (!l->have_count) {
		l->have_count = true;
		l->left = v;
		return v > SPARSE_EXTENTS_MAX ? "sparse map: more than 65536 extents" : NULL;
	}
	l->have_off = !l->have_off;
	if (l->have_off) {
		l->off = v;
		return NULL;
	}
	l->left--;
	return sparse_add(m, l->off, v);
}

const char *sparse_feed(
	struct sparse_lines *l, struct sparse_map *m, const void *data, size_t n, bool *ret_done)
{
	const char *p = data;

	for (size_t i = 0; i < n && !(l->have_count && !l->left); i++) {
		if (p[i] != '\n') {
			if (l->n_digits == sizeof l->digits)
				return "sparse map: bad number";
			l->digits[l->n_digits++] = p[i];
			continue;
		}
		const char *why = take_line(l, m);

		if (why)
			return why;
	}
	*ret_done = l->have_count && !l->left;
	return NULL;
}
