// walk.c - paths of an image's tree
// SPDX-License-Identifier: Apache-2.0
#include "walk.h"

#include <sys/stat.h>

#include "format.h"

// ---- finding ----

// What is left to walk, from `at` on.
struct rest {
	char *text;
	size_t at;
};

// Cuts the next component off. False: there is none.
static bool component(struct rest *r, const char **ret, size_t *ret_len)
{
	const char *s = r->text + r->at;

	s += strspn(s, "/");
	*ret = s;
	*ret_len = strcspn(s, "/");
	r->at = (size_t)(s - r->text) + *ret_len;
	return *ret_len;
}

// The target of a link takes the place of the component that named it.
static void lead(struct rest *r, const char *target, uint32_t len)
{
	char *text = xasprintf("%.*s%s", (int)len, target, r->text + r->at);

	free(r->text);
	*r = (struct rest){ .text = text };
}

static int step(
	const struct index *ix, struct rest *r, bool follow, unsigned *links, uint32_t *node)
{
	const char *name;
	struct attr a;
	size_t len;
	uint32_t next, n;

	if (!component(r, &name, &len))
		return 1;
	index_attr(ix, *node, &a);
	if (!S_ISDIR(a.mode))
		return -ENOTDIR;
	if (len == 1 && *name == '.')
		return 0;
	if (len == 2 && !memcmp(name, "..", 2)) {
		*node = index_parent(ix, *node);
		return 0;
	}
	next = index_lookup(ix, *node, name, len);
	if (next == NODE_NONE)
		return -ENOENT;
	index_attr(ix, next, &a);
	if (S_ISLNK(a.mode) && (follow || r->text[r->at])) {
		const char *target = index_symlink(ix, next, &n);

		if (++*links > WALK_LINKS_MAX)
			return -ELOOP;
		if (n && *target == '/')
			*node = 0;
		lead(r, target, n);
		return 0;
	}
	*node = next;
	return 0;
}

int walk_find(const struct index *ix, const char *path, bool follow, uint32_t *ret)
{
	struct rest rest = { .text = xstrdup(path) };
	size_t len = strlen(path);
	unsigned links = 0;
	uint32_t node = 0;
	struct attr a;
	int r;

	do
		r = step(ix, &rest, follow, &links, &node);
	while (!r);
	free(rest.text);
	if (r < 0)
		return r;
	index_attr(ix, node, &a);
	if (len && path[len - 1] == '/' && !S_ISDIR(a.mode))
		return -ENOTDIR;
	*ret = node;
	return 0;
}

// ---- visiting ----

struct level {
	uint32_t dir, next;
	size_t path_len;
};

struct walk {
	const struct index *ix;
	struct buf path;
	uint8_t *met; // one bit per node
	uint32_t depth;
	struct level stack[FMT_DEPTH_MAX + 2];
};

struct walk *walk_new(const struct index *ix, uint32_t dir)
{
	struct walk *w = xcalloc(1, sizeof *w);

	w->ix = ix;
	w->met = xcalloc((size_t)index_nodes(ix) / 8 + 1, 1);
	w->stack[w->depth++] = (struct level){ .dir = dir };
	return w;
}

static bool meet(struct walk *w, uint32_t node)
{
	uint8_t bit = (uint8_t)(1u << node % 8), *byte = &w->met[node / 8];
	bool met = *byte & bit;

	*byte |= bit;
	return met;
}

bool walk_next(struct walk *w, struct walk_step *ret)
{
	struct dirent_view e;
	struct level *l;

	while (w->stack[w->depth - 1].next == index_dir_count(w->ix, w->stack[w->depth - 1].dir))
		if (!--w->depth)
			return w->depth++, false; // stays at the end
	l = &w->stack[w->depth - 1];
	index_dirent(w->ix, l->dir, l->next++, &e);
	w->path.len = l->path_len;
	if (w->path.len)
		buf_add(&w->path, "/", 1);
	buf_add(&w->path, e.name, e.name_len);
	*ret = (struct walk_step){ .path = (const char *)w->path.data,
		.len = w->path.len,
		.node = e.node,
		.type = e.type,
		.again = meet(w, e.node),
		.depth = w->depth };
	if (S_ISDIR(e.type))
		w->stack[w->depth++] = (struct level){ e.node, 0, w->path.len };
	return true;
}

void walk_free(struct walk *w)
{
	buf_fini(&w->path);
	free(w->met);
	free(w);
}
