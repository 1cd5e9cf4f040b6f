// treew.c - a tree from the root down, in the order of names: its contents, and its sections
// SPDX-License-Identifier: Apache-2.0
#include "treeint.h"

// ---- walks in path order ----

static _Thread_local const struct tree *sort_tree;

static int dirent_cmp(const void *a, const void *b)
{
	const struct tdirent *x = &sort_tree->dirents[*(const uint32_t *)a],
			     *y = &sort_tree->dirents[*(const uint32_t *)b];
	int c = memcmp(
		tree_name(sort_tree, x), tree_name(sort_tree, y), MIN(x->name_len, y->name_len));

	return c ? c : (int)x->name_len - (int)y->name_len;
}

// Appends the names of dir, sorted, to *v (which has *n).
static void sorted_entries(const struct tree *t, uint32_t dir, uint32_t **v, size_t *n, size_t *cap)
{
	size_t from = *n;

	for (uint32_t d = t->nodes[dir].dir.first; d != TREE_NONE; d = t->dirents[d].next) {
		*v = xgrow(*v, cap, *n + 1, sizeof **v);
		(*v)[(*n)++] = d;
	}
	if (*n == from)
		return;
	sort_tree = t;
	qsort(*v + from, *n - from, sizeof **v, dirent_cmp);
}

static void reverse(uint32_t *v, size_t n)
{
	for (size_t i = 0; i < n / 2; i++) {
		uint32_t x = v[i];

		v[i] = v[n - 1 - i];
		v[n - 1 - i] = x;
	}
}

int tree_walk_layer(struct tree *t, int (*fn)(void *arg, struct content *c), void *arg)
{
	cleanup_free uint32_t *stack = NULL;
	size_t n = 0, cap = 0;
	int r = 0;

	if (t->nodes[0].dir.touched == t->layer)
		sorted_entries(t, 0, &stack, &n, &cap);
	reverse(stack, n);
	while (n && !r) {
		const struct tdirent *e = &t->dirents[stack[--n]];
		const struct tnode *node = &t->nodes[e->node];
		size_t from = n;

		if (S_ISDIR(node->mode) && node->dir.touched == t->layer) {
			sorted_entries(t, e->node, &stack, &n, &cap);
			reverse(stack + from, n - from);
		} else if (S_ISREG(node->mode) && node->file.size && e->layer == t->layer) {
			r = fn(arg, &t->contents[node->file.content]);
		}
	}
	return r;
}

// ---- serialising: doc/format.md, "Tree" ----

static struct fmt_node packed_node(const struct tree *t, const struct tnode *n, struct buf *names)
{
	struct fmt_node f = {
		.mode = n->mode,
		.nlink = n->nlink,
		.uid = n->uid,
		.gid = n->gid,
		.mtime = n->mtime,
		.mtime_ns = n->mtime_ns,
		.xattrs = n->xattrs,
	};

	switch (n->mode & S_IFMT) {
	case S_IFREG:
		f.size = n->file.size;
		if (f.size) {
			f.a = t->contents[n->file.content].space;
			f.b = t->contents[n->file.content].block;
		}
		break;
	case S_IFLNK:
		f.size = n->link.len;
		f.a = (uint32_t)names->len;
		buf_add(names, t->heap.data + n->link.name, n->link.len);
		break;
	case S_IFCHR:
	case S_IFBLK:
		f.a = n->dev.major;
		f.b = n->dev.minor;
		break;
	}
	return f;
}

struct packer {
	struct tree *t;
	struct buf *nodes, *dirents, *names;
	uint32_t *order; // node of each number
	size_t n, cap;
};

static void pack_entry(struct packer *p, uint32_t d, uint32_t parent_number)
{
	const struct tdirent *e = &p->t->dirents[d];
	struct tnode *n = &p->t->nodes[e->node];
	struct fmt_dirent f = { .name = (uint32_t)p->names->len, .name_len = e->name_len };

	buf_add(p->names, tree_name(p->t, e), e->name_len);
	if (n->number == TREE_NONE) {
		struct fmt_node node = packed_node(p->t, n, p->names);

		n->number = (uint32_t)p->n;
		p->order = xgrow(p->order, &p->cap, p->n + 1, sizeof *p->order);
		p->order[p->n++] = e->node;
		if (S_ISDIR(n->mode))
			node.b = parent_number;
		buf_add(p->nodes, &node, sizeof node);
	}
	f.node = n->number;
	buf_add(p->dirents, &f, sizeof f);
}

// Entries of the directory with this number; completes its node.
static void pack_dir(struct packer *p, uint32_t number)
{
	uint32_t subdirs = 0, first = (uint32_t)(p->dirents->len / sizeof(struct fmt_dirent));
	cleanup_free uint32_t *v = NULL;
	size_t n = 0, cap = 0;
	struct fmt_node *f;

	sorted_entries(p->t, p->order[number], &v, &n, &cap);
	for (size_t i = 0; i < n; i++) {
		subdirs += S_ISDIR(p->t->nodes[p->t->dirents[v[i]].node].mode) != 0;
		pack_entry(p, v[i], number);
	}
	f = (struct fmt_node *)p->nodes->data + number;
	f->size = n;
	f->a = first;
	f->nlink = 2 + subdirs;
}

static void pack_xattrs(const struct tree *t, struct buf *out)
{
	uint32_t base = 4 + 4 * ((uint32_t)t->n_xattrs + 1), n = (uint32_t)t->n_xattrs,
		 end = base + (uint32_t)t->xattrs.len;

	if (!n)
		return;
	buf_add(out, &n, 4);
	for (uint32_t i = 0; i < n; i++) {
		uint32_t at = base + t->xattr_off[i];

		buf_add(out, &at, 4);
	}
	buf_add(out, &end, 4);
	buf_add(out, t->xattrs.data, t->xattrs.len);
}

void tree_serialise(struct tree *t, struct buf out[static 4])
{
	struct packer p = { .t = t,
		.nodes = &out[SEC_NODES],
		.dirents = &out[SEC_DIRENTS],
		.names = &out[SEC_NAMES] };
	struct fmt_node root = packed_node(t, &t->nodes[0], p.names);

	for (size_t i = 0; i < t->n_nodes; i++)
		t->nodes[i].number = TREE_NONE;
	p.order = xgrow(NULL, &p.cap, 1, sizeof *p.order);
	p.order[p.n++] = 0;
	t->nodes[0].number = 0;
	buf_add(p.nodes, &root, sizeof root);
	for (uint32_t d = 0; d < p.n; d++)
		if (S_ISDIR(t->nodes[p.order[d]].mode))
			pack_dir(&p, d);
	free(p.order);
	pack_xattrs(t, &out[SEC_XATTRS]);
}
