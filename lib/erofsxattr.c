// erofsxattr.c - EROFS metadata: the xattrs
//
// Nodes share sets of xattrs in the index, so each set is looked at once. One that appears
// in several nodes is stored once, in the shared area, if that saves bytes; at most 255 of a node
// can be shared.
//
// SPDX-License-Identifier: Apache-2.0
#include <assert.h>

#include "erofs_fs.h"
#include "erofsint.h"

#define NONE UINT32_MAX
#define SHARED_MAX 255u // struct erofs_xattrs.shared

// ---- tables ----

static struct table table_new(uint64_t items)
{
	uint64_t n = 16;

	while (n < 2 * items)
		n *= 2;
	struct table t = { .slot = xmalloc(n * sizeof *t.slot), .mask = n - 1 };
	memset(t.slot, 0xff, n * sizeof *t.slot);
	return t;
}

static uint64_t mix(uint64_t h)
{
	h ^= h >> 32;
	h *= 0x9e3779b97f4a7c15;
	return h ^ h >> 29;
}

static uint64_t hash(uint64_t seed, const void *p, size_t n)
{
	const uint8_t *b = p;
	uint64_t h = seed ^ n, v;

	for (; n >= sizeof v; b += sizeof v, n -= sizeof v) {
		memcpy(&v, b, sizeof v);
		h = mix(h ^ v);
	}
	v = 0;
	if (n)
		memcpy(&v, b, n);
	return mix(h ^ v);
}

// ---- xattrs ----

static const struct prefix {
	const char *text;
	uint8_t id;
	bool whole; // it is the whole name
} prefixes[] = {
	{ "user.", EROFS_XATTR_USER, false },
	{ "system.posix_acl_access", EROFS_XATTR_ACL_ACCESS, true },
	{ "system.posix_acl_default", EROFS_XATTR_ACL_DEFAULT, true },
	{ "trusted.", EROFS_XATTR_TRUSTED, false },
	{ "security.", EROFS_XATTR_SECURITY, false },
};

static struct entry entry_of(const struct xattr_view *x)
{
	struct entry e = { .x = *x, .id = NONE };

	for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
		const struct prefix *p = &prefixes[i];
		uint32_t n = (uint32_t)strlen(p->text);

		if (x->name_len < n || memcmp(x->name, p->text, n) != 0 ||
			(x->name_len == n) != p->whole)
			continue;
		e.prefix = p->id;
		e.x.name += n;
		e.x.name_len -= n;
		break;
	}
	return e;
}

static uint32_t entry_size(const struct entry *e)
{
	return ((uint32_t)sizeof(struct erofs_xattr) + e->x.name_len + e->x.value_len + 3) & ~3u;
}

static bool entry_equal(const struct entry *a, const struct entry *b)
{
	return a->prefix == b->prefix && a->x.name_len == b->x.name_len &&
		a->x.value_len == b->x.value_len &&
		memcmp(a->x.name, b->x.name, a->x.name_len) == 0 &&
		(!a->x.value_len || memcmp(a->x.value, b->x.value, a->x.value_len) == 0);
}

// The record of an xattr; a new one, of no uses, if there is none. The table has room.
static struct entry *entry_find(struct build *b, const struct xattr_view *x)
{
	struct entry e = entry_of(x);
	uint64_t h = hash(b->seed, x->name, x->name_len);

	if (x->value_len)
		h = hash(h, x->value, x->value_len);
	for (uint64_t i = h;; i++) {
		uint32_t *slot = &b->by_content.slot[i & b->by_content.mask];

		if (*slot == NONE) {
			*slot = b->n_entries++;
			b->entries[*slot] = e;
		} else if (!entry_equal(&b->entries[*slot], &e)) {
			continue;
		}
		return &b->entries[*slot];
	}
}

// The slot of the set that node has.
static uint32_t *set_slot(const struct build *b, uint32_t node, const void **ret_key)
{
	struct xattr_view x;

	index_xattr(b->ix, node, 0, &x);
	*ret_key = x.name;
	for (uint64_t i = mix((uintptr_t)x.name);; i++) {
		uint32_t *slot = &b->by_key.slot[i & b->by_key.mask];

		if (*slot == NONE || b->sets[*slot].key == x.name)
			return slot;
	}
}

static void add_sets(struct build *b, uint32_t node)
{
	const void *key;
	uint32_t *slot = set_slot(b, node, &key);

	if (*slot == NONE) {
		*slot = b->n_sets++;
		b->sets[*slot] = (struct set){ .key = key, .node = node };
	}
	b->sets[*slot].uses++;
}

static void add_entry(struct buf *to, const struct entry *e)
{
	struct erofs_xattr head = {
		.name_len = (uint8_t)e->x.name_len,
		.prefix = e->prefix,
		.value_len = (uint16_t)e->x.value_len,
	};

	assert(e->x.name_len <= UINT8_MAX && e->x.value_len <= UINT16_MAX);
	buf_add(to, &head, sizeof head);
	buf_add(to, e->x.name, e->x.name_len);
	buf_add(to, e->x.value, e->x.value_len);
	buf_zero(to, -to->len & 3);
}

// Which entries are stored once and where; those that EROFS cannot name get no place.
static uint32_t share_entries(struct build *b)
{
	uint32_t left_out = 0;

	for (uint32_t i = 0; i < b->n_entries; i++) {
		struct entry *e = &b->entries[i];
		uint64_t size = entry_size(e);

		left_out += !e->prefix;
		if (!e->prefix || e->uses * (size - sizeof e->id) <= size)
			continue;
		e->id = (uint32_t)(b->shared.len / sizeof e->id);
		add_entry(&b->shared, e);
	}
	return left_out;
}

static void build_body(struct build *b, struct set *s)
{
	struct erofs_xattrs head = { .filter = 0 };
	uint32_t n = index_xattr_count(b->ix, s->node);
	struct buf own = { 0 };
	struct xattr_view x;

	s->at = (uint32_t)b->bodies.len;
	buf_zero(&b->bodies, sizeof head);
	for (uint32_t i = 0; i < n; i++) {
		index_xattr(b->ix, s->node, i, &x);
		const struct entry *e = entry_find(b, &x);
		if (e->id != NONE && head.shared < SHARED_MAX) {
			buf_add(&b->bodies, &e->id, sizeof e->id);
			head.shared++;
		} else if (e->prefix) {
			add_entry(&own, e);
		}
	}
	buf_add(&b->bodies, own.data, own.len);
	buf_fini(&own);
	memcpy(b->bodies.data + s->at, &head, sizeof head);
	s->len = (uint32_t)b->bodies.len - s->at;
	assert(s->len <= sizeof head + (UINT16_MAX - 1) * 4);
	if (s->len == sizeof head) { // none left: a header alone is not allowed
		b->bodies.len = s->at;
		s->len = 0;
	}
}

uint32_t erofs_build_xattrs(struct build *b)
{
	uint32_t nodes = index_nodes(b->ix), having = 0;
	uint64_t entries = 0;
	struct xattr_view x;
	struct attr a;

	for (uint32_t i = 0; i < nodes; i++) {
		index_attr(b->ix, i, &a);
		having += a.has_xattrs;
	}
	if (!having)
		return 0;
	b->sets = xcalloc(having, sizeof *b->sets);
	b->by_key = table_new(having);
	for (uint32_t i = 0; i < nodes; i++) {
		index_attr(b->ix, i, &a);
		if (a.has_xattrs)
			add_sets(b, i);
	}
	for (uint32_t i = 0; i < b->n_sets; i++)
		entries += index_xattr_count(b->ix, b->sets[i].node);
	b->entries = xcalloc(entries, sizeof *b->entries);
	b->by_content = table_new(entries);
	for (uint32_t i = 0; i < b->n_sets; i++)
		for (uint32_t k = 0, n = index_xattr_count(b->ix, b->sets[i].node); k < n; k++) {
			index_xattr(b->ix, b->sets[i].node, k, &x);
			entry_find(b, &x)->uses += b->sets[i].uses;
		}
	uint32_t left_out = share_entries(b);
	for (uint32_t i = 0; i < b->n_sets; i++)
		build_body(b, &b->sets[i]);
	return left_out;
}

const struct set *erofs_set_of(const struct build *b, uint32_t node, const struct attr *a)
{
	const void *key;

	return a->has_xattrs ? &b->sets[*set_slot(b, node, &key)] : NULL;
}
