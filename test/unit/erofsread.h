// erofsread.h - a reader of EROFS metadata that shares no code with erofs.c: is this the tree of
// that index?
//
// For test_erofs.c and fuzz_erofs.c. It checks more than the kernel asks for: order, no overlaps,
// no inode across blocks.
// SPDX-License-Identifier: Apache-2.0
#ifndef EROFSREAD_H
#define EROFSREAD_H

#include <sys/stat.h>

#include "erofs.h"
#include "erofs_fs.h"

struct er {
	const struct index *ix;
	const struct erofs_image *im;
	uint8_t *m; // all metadata
	uint64_t len;
	struct erofs_super s;
	uint64_t *nid; // by node
	uint8_t *used; // by units of 32 bytes
	char why[300];
};

__attribute__((format(printf, 2, 3))) static bool er_bad(struct er *r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(r->why, sizeof r->why, fmt, ap);
	va_end(ap);
	return false;
}

// Bytes at..at+n are in the metadata, and nobody else's.
static bool er_claim(struct er *r, uint64_t at, uint64_t n, const char *what, uint32_t node)
{
	if (at > r->len || n > r->len - at)
		return er_bad(r, "node %u: %s outside of the metadata", node, what);
	for (uint64_t i = at / 32; i < (at + n + 31) / 32; i++) {
		if (r->used[i])
			return er_bad(r, "node %u: %s at %llu lies on something else", node, what,
				(unsigned long long)at);
		r->used[i] = 1;
	}
	return true;
}

// ---- xattrs ----

static const char *er_prefix(uint8_t id)
{
	switch (id) {
	case 1: return "user.";
	case 2: return "system.posix_acl_access";
	case 3: return "system.posix_acl_default";
	case 4: return "trusted.";
	case 6: return "security.";
	default: return NULL;
	}
}

static bool er_can_name(const struct xattr_view *x)
{
	char name[256] = { 0 };

	memcpy(name, x->name, x->name_len);
	if (strcmp(name, er_prefix(2)) == 0 || strcmp(name, er_prefix(3)) == 0)
		return true;
	return (strncmp(name, "user.", 5) == 0 && name[5]) ||
		(strncmp(name, "trusted.", 8) == 0 && name[8]) ||
		(strncmp(name, "security.", 9) == 0 && name[9]);
}

// The entry at `at` is one of the node's xattrs; how long it is.
static bool er_xattr(struct er *r, uint32_t node, uint64_t at, uint32_t *ret_size)
{
	struct erofs_xattr e;
	struct xattr_view x;
	char name[512];

	if (at % 4 || at > r->len - sizeof e)
		return er_bad(r, "node %u: xattr outside", node);
	memcpy(&e, r->m + at, sizeof e);
	*ret_size = ((uint32_t)sizeof e + e.name_len + e.value_len + 3) & ~3u;
	if (*ret_size > r->len - at || !er_prefix(e.prefix))
		return er_bad(r, "node %u: xattr entry", node);
	int n = snprintf(name, sizeof name, "%s%.*s", er_prefix(e.prefix), e.name_len,
		(const char *)r->m + at + sizeof e);
	for (uint32_t i = 0; i < index_xattr_count(r->ix, node); i++) {
		index_xattr(r->ix, node, i, &x);
		if ((int)x.name_len == n && memcmp(x.name, name, x.name_len) == 0)
			return (x.value_len == e.value_len &&
				       memcmp(x.value, r->m + at + sizeof e + e.name_len,
					       e.value_len) == 0) ||
				er_bad(r, "node %u: value of xattr %s", node, name);
	}
	return er_bad(r, "node %u: xattr %s is not in the index", node, name);
}

static bool er_xattrs(struct er *r, uint32_t node, uint64_t at, uint32_t len)
{
	struct erofs_xattrs h;
	struct xattr_view x;
	uint32_t want = 0, got = 0, size, id;

	for (uint32_t i = 0; i < index_xattr_count(r->ix, node); i++) {
		index_xattr(r->ix, node, i, &x);
		want += er_can_name(&x);
	}
	if (!want || !len)
		return (!want && !len) ||
			er_bad(r, "node %u: %u xattrs, %u bytes", node, want, len);
	memcpy(&h, r->m + at, sizeof h);
	for (uint32_t i = 0; i < h.shared; i++, got++) {
		memcpy(&id, r->m + at + sizeof h + 4ull * i, sizeof id);
		if (!er_xattr(r, node, ((uint64_t)r->s.xattr_block << 12) + 4ull * id, &size))
			return false;
	}
	uint64_t p = at + sizeof h + 4ull * h.shared;
	for (; p < at + len; p += size, got++)
		if (!er_xattr(r, node, p, &size))
			return false;
	return (p == at + len && got == want) ||
		er_bad(r, "node %u: %u of %u xattrs", node, got, want);
}

// ---- directories ----

struct er_list {
	uint32_t dir, i; // next entry of the index
	unsigned dots;
	char last[256];
	uint32_t last_len;
	bool any;
};

static bool er_entry(struct er *r, struct er_list *l, const struct erofs_dirent *d,
	const char *name, uint32_t len)
{
	static const uint8_t types[16] = {
		[1] = 5, [2] = 3, [4] = 2, [6] = 4, [8] = 1, [10] = 7, [12] = 6
	};
	struct dirent_view e = { .name = "", .node = l->dir, .type = S_IFDIR };
	int c = memcmp(l->last, name, MIN(len, l->last_len));

	if (l->any && (c > 0 || (c == 0 && l->last_len >= len)))
		return er_bad(r, "directory %u: not sorted at %.*s", l->dir, (int)len, name);
	memcpy(l->last, name, len);
	l->last_len = len;
	l->any = true;
	if ((len == 1 && name[0] == '.') || (len == 2 && memcmp(name, "..", 2) == 0)) {
		l->dots++;
		e.node = len == 1 ? l->dir : index_parent(r->ix, l->dir);
	} else {
		if (l->i == index_dir_count(r->ix, l->dir))
			return er_bad(r, "directory %u: more names than in the index", l->dir);
		index_dirent(r->ix, l->dir, l->i++, &e);
		if (e.name_len != len || memcmp(e.name, name, len) != 0)
			return er_bad(r, "directory %u: name %.*s", l->dir, (int)len, name);
	}
	if (d->type != types[e.type >> 12])
		return er_bad(r, "directory %u: type of %.*s", l->dir, (int)len, name);
	if (r->nid[e.node] && r->nid[e.node] != d->nid)
		return er_bad(r, "directory %u: %.*s leads elsewhere", l->dir, (int)len, name);
	r->nid[e.node] = d->nid;
	return true;
}

static bool er_dir_block(struct er *r, struct er_list *l, const uint8_t *b, uint32_t len)
{
	struct erofs_dirent d, next;

	memcpy(&d, b, sizeof d);
	uint32_t n = d.name_off / 12u;
	if (!n || d.name_off % 12 || d.name_off > len)
		return er_bad(r, "directory %u: head of a block", l->dir);
	for (uint32_t i = 0; i < n; i++) {
		memcpy(&d, b + 12 * i, sizeof d);
		uint32_t end = len;
		if (i + 1 < n) {
			memcpy(&next, b + 12 * (i + 1), sizeof next);
			end = next.name_off;
		}
		if (d.name_off >= end || end > len)
			return er_bad(r, "directory %u: name offset", l->dir);
		if (i + 1 == n)
			end = d.name_off +
				(uint32_t)strnlen((const char *)b + d.name_off, end - d.name_off);
		if (end - d.name_off > 255 ||
			!er_entry(r, l, &d, (const char *)b + d.name_off, end - d.name_off))
			return *r->why ? false
				       : er_bad(r, "directory %u: length of a name", l->dir);
	}
	return true;
}

static bool er_dir(struct er *r, uint32_t node, const struct erofs_inode *in, uint64_t tail_at)
{
	struct er_list l = { .dir = node };
	bool is_inline = in->format >> 1 == EROFS_INLINE;

	for (uint64_t off = 0; off < in->size; off += 4096) {
		uint32_t n = (uint32_t)MIN(in->size - off, 4096u);
		bool tail = is_inline && n < 4096;
		uint64_t at = tail ? tail_at : ((uint64_t)in->u << 12) + off;

		if (!tail && !er_claim(r, at, 4096, "block of a directory", node))
			return false;
		if (!er_dir_block(r, &l, r->m + at, n))
			return false;
	}
	return (l.dots == 2 && l.i == index_dir_count(r->ix, node)) ||
		er_bad(r, "directory %u: names are missing", node);
}

// ---- inodes ----

static bool er_fields(
	struct er *r, uint32_t node, const struct erofs_inode *in, const struct attr *a)
{
	uint32_t dev =
		(a->rdev_minor & 0xff) | a->rdev_major << 8 | (a->rdev_minor & 0xfff00) << 12;

	if (in->mode != a->mode || in->nlink != a->nlink || in->uid != a->uid ||
		in->gid != a->gid || in->mtime != a->mtime || in->mtime_ns != a->mtime_ns ||
		(!S_ISDIR(a->mode) && in->size != a->size))
		return er_bad(r, "node %u: attributes", node);
	if (in->reserved || (in->format != 1 && in->format != (1 | EROFS_INLINE << 1)))
		return er_bad(r, "node %u: format %u", node, in->format);
	if (S_ISREG(a->mode) && a->size && in->u != erofs_space_start(r->im, a->space) + a->block)
		return er_bad(r, "node %u: data at %u", node, in->u);
	if ((S_ISCHR(a->mode) || S_ISBLK(a->mode)) && in->u != dev)
		return er_bad(r, "node %u: device number %x", node, in->u);
	return true;
}

static bool er_node(struct er *r, uint32_t node)
{
	uint64_t at = r->nid[node] * 32, block = at & ~4095ull;
	struct erofs_inode in;
	struct attr a;
	uint32_t len;

	if (!at || at > r->len - sizeof in || (at & 4095) > 4096 - sizeof in)
		return er_bad(r, "node %u: inode at %llu", node, (unsigned long long)at);
	memcpy(&in, r->m + at, sizeof in);
	index_attr(r->ix, node, &a);
	if (!er_fields(r, node, &in, &a))
		return false;
	uint32_t xattrs = in.xattr_count ? 12 + 4 * (in.xattr_count - 1u) : 0;
	bool is_inline = in.format >> 1 == EROFS_INLINE;
	uint32_t tail = is_inline ? (uint32_t)(in.size % 4096) : 0;
	if (!er_claim(r, at, sizeof in + xattrs + tail, "inode", node) ||
		!er_xattrs(r, node, at + sizeof in, xattrs))
		return false;
	at += sizeof in + xattrs;
	if (tail && at + tail > block + 4096)
		return er_bad(r, "node %u: inline data leaves the inode's block", node);
	if (S_ISDIR(a.mode))
		return er_dir(r, node, &in, at);
	if (!S_ISLNK(a.mode))
		return !is_inline || er_bad(r, "node %u: inline data", node);
	if (!is_inline && !er_claim(r, (uint64_t)in.u << 12, 4096, "link's target", node))
		return false;
	const char *target = index_symlink(r->ix, node, &len);
	return memcmp(r->m + (is_inline ? at : (uint64_t)in.u << 12), target, len) == 0 ||
		er_bad(r, "node %u: target", node);
}

// ---- the super block, and all ----

static uint32_t er_crc(const uint8_t *p, size_t n)
{
	uint32_t crc = ~0u;

	for (size_t i = 0; i < n * 8; i++) {
		uint32_t bit = (crc ^ (uint32_t)(p[i / 8] >> i % 8)) & 1;

		crc = crc >> 1 ^ (bit ? 0x82f63b78 : 0);
	}
	return crc;
}

static bool er_super(struct er *r, enum erofs_placement p)
{
	uint8_t block[4096];
	uint32_t slot = 0, n = erofs_spaces(r->im);
	struct erofs_device d;

	memcpy(block, r->m, sizeof block);
	memcpy(&r->s, block + 1024, sizeof r->s);
	memset(block + 1024 + 4, 0, 4);
	if (r->s.magic != 0xe0f5e1e2 || r->s.checksum != er_crc(block + 1024, 3072) ||
		r->s.block_bits != 12 || r->s.meta_block)
		return er_bad(r, "super block");
	if (r->s.inodes != index_nodes(r->ix))
		return er_bad(r, "count of inodes");
	r->nid[0] = r->s.root_nid;
	if (p == EROFS_FLAT)
		return (!r->s.incompat && !r->s.devices &&
			       r->s.blocks == erofs_space_start(r->im, n)) ||
			er_bad(r, "super block of the flat image");
	for (uint32_t i = 0; i < n; i++) {
		uint32_t blocks = erofs_space_start(r->im, i + 1) - erofs_space_start(r->im, i);

		if (!blocks)
			continue;
		if (!er_claim(r, (r->s.device_slot + slot) * 128u, 128, "device", slot))
			return false;
		memcpy(&d, r->m + (r->s.device_slot + slot++) * 128u, sizeof d);
		if (d.blocks != blocks || d.mapped != erofs_space_start(r->im, i))
			return er_bad(r, "device slot of space %u", i);
	}
	return (r->s.incompat == (slot ? 8 : 0) && r->s.devices == slot &&
		       r->s.blocks == r->len >> 12) ||
		er_bad(r, "super block for devices");
}

// Whether the metadata of im says exactly what ix says. why: what is wrong.
static bool er_check(const struct index *ix, const struct erofs_image *im, enum erofs_placement p,
	char why[static 300])
{
	struct er r = { .ix = ix, .im = im, .len = erofs_meta_size(im) };
	bool good = r.len % 4096 == 0 || er_bad(&r, "size");

	r.m = malloc(r.len);
	r.nid = calloc(index_nodes(ix), sizeof *r.nid);
	r.used = calloc(r.len / 32, 1);
	if (erofs_read(im, p, r.m, r.len, 0))
		good = er_bad(&r, "cannot be read");
	good = good && er_claim(&r, 1024, 128, "super block", 0) && er_super(&r, p);
	for (uint32_t i = 0; good && i < index_nodes(ix); i++)
		good = er_node(&r, i);
	snprintf(why, 300, "%s", r.why);
	free(r.m);
	free(r.nid);
	free(r.used);
	return good;
}

#endif
