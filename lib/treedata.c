// treedata.c - what the nodes of a tree point at: contents and sets of xattrs, each kept once
// SPDX-License-Identifier: Apache-2.0
#include "treeint.h"

// ---- contents ----

static size_t sha_slot(const struct tree *t, const struct digest *sha, uint64_t size)
{
	size_t i = get_le32(sha->b) & (t->by_sha_size - 1);

	for (; t->by_sha[i] != TREE_NONE; i = (i + 1) & (t->by_sha_size - 1)) {
		const struct content *c = &t->contents[t->by_sha[i]];

		if (c->size == size && digest_equal(&c->sha, sha))
			break;
	}
	return i;
}

static void by_sha_grow(struct tree *t)
{
	t->by_sha_size = t->by_sha_size ? t->by_sha_size * 2 : 1024;
	t->by_sha = xrealloc(t->by_sha, t->by_sha_size * sizeof *t->by_sha);
	memset(t->by_sha, 0xff, t->by_sha_size * sizeof *t->by_sha);
	for (size_t i = 0; i < t->n_contents; i++)
		if (!t->contents[i].unique)
			t->by_sha[sha_slot(t, &t->contents[i].sha, t->contents[i].size)] =
				(uint32_t)i;
}

uint32_t tree_add_content(struct tree *t, const struct content *c)
{
	if (2 * (t->n_contents + 1) > t->by_sha_size)
		by_sha_grow(t);
	t->contents = xgrow(t->contents, &t->cap_contents, t->n_contents + 1, sizeof *t->contents);
	t->contents[t->n_contents] = *c;
	if (!c->unique)
		t->by_sha[sha_slot(t, &c->sha, c->size)] = (uint32_t)t->n_contents;
	return (uint32_t)t->n_contents++;
}

struct content *tree_content(struct tree *t, uint32_t content)
{
	return &t->contents[content];
}

uint32_t tree_contents(const struct tree *t)
{
	return (uint32_t)t->n_contents;
}

uint32_t tree_find_content(const struct tree *t, const struct digest *sha, uint64_t size)
{
	return t->by_sha_size ? t->by_sha[sha_slot(t, sha, size)] : TREE_NONE;
}

// ---- extended attributes ----

static int xattr_cmp(const void *a, const void *b)
{
	return strcmp(((const struct tar_xattr *)a)->name, ((const struct tar_xattr *)b)->name);
}

// What a foreign layer may not set: overlayfs's control attributes (a lower layer could hide or
// redirect files of the container), and the labels that the host's own security modules would act
// upon (field/reliability.md section 2B).
static bool xattr_kept(const struct tar_xattr *x)
{
	static const char *const dropped[] = { "trusted.overlay.", "user.overlay.",
		"security.selinux", "security.ima", "security.evm", "security.SMACK64",
		"security.apparmor" };

	for (size_t i = 0; i < ARRAY_LEN(dropped); i++)
		if (!strncmp(x->name, dropped[i], strlen(dropped[i])))
			return false;
	return true;
}

static void put_xattr(struct buf *b, const struct tar_xattr *x)
{
	struct fmt_xattr h = { .name_len = (uint16_t)x->name_len, .value_len = x->value_len };

	buf_add(b, &h, sizeof h);
	buf_add(b, x->name, x->name_len);
	buf_add(b, x->value, x->value_len);
	buf_zero(b, -b->len & 3);
}

// Images have few sets, in runs: the search back is bounded, so that 10^6 different ones stay
// linear.
#define XATTR_SEARCH 256

static uint32_t add_xattr_set(struct tree *t, const struct buf *set)
{
	for (size_t i = t->n_xattrs; i-- && t->n_xattrs - i <= XATTR_SEARCH;) {
		size_t end = i + 1 < t->n_xattrs ? t->xattr_off[i + 1] : t->xattrs.len;

		if (end - t->xattr_off[i] == set->len &&
			!memcmp(t->xattrs.data + t->xattr_off[i], set->data, set->len))
			return (uint32_t)i;
	}
	t->xattr_off = xgrow(t->xattr_off, &t->cap_xattrs, t->n_xattrs + 1, sizeof *t->xattr_off);
	t->xattr_off[t->n_xattrs] = (uint32_t)t->xattrs.len;
	buf_add(&t->xattrs, set->data, set->len);
	return (uint32_t)t->n_xattrs++;
}

int tree_intern_xattrs(struct tree *t, const struct tar_entry *e, uint32_t *ret)
{
	cleanup_free struct tar_xattr *v = NULL;
	cleanup_buf struct buf set = { 0 };

	*ret = FMT_NO_XATTRS;
	if (!e->n_xattrs)
		return 0;
	v = xmalloc(e->n_xattrs * sizeof *v);
	memcpy(v, e->xattrs, e->n_xattrs * sizeof *v);
	// stable for equal names is not needed: the reader of tar keeps the last of a name
	qsort(v, e->n_xattrs, sizeof *v, xattr_cmp);
	for (size_t i = 0; i < e->n_xattrs; i++) {
		if (v[i].name_len > FMT_XATTR_NAME_MAX || !v[i].name_len ||
			(i && !xattr_cmp(&v[i - 1], &v[i])))
			return -EBADMSG;
		if (xattr_kept(&v[i]))
			put_xattr(&set, &v[i]);
	}
	if (set.len > FMT_XATTR_SET_MAX || t->xattrs.len + set.len > FMT_INDEX_MAX)
		return -EBADMSG;
	if (set.len)
		*ret = add_xattr_set(t, &set);
	return 0;
}
