// walkindex.h - uses every function of lib/index.h on everything in an index, and aborts on what
// its header excludes
// SPDX-License-Identifier: Apache-2.0
#ifndef WALKINDEX_H
#define WALKINDEX_H

#include <sys/stat.h>

#include "format.h"
#include "index.h"

static inline void walk_must(bool good)
{
	if (!good)
		abort();
}

static inline void walk_xattrs(const struct index *ix, uint32_t node, struct sha256 *h)
{
	for (uint32_t i = 0; i < index_xattr_count(ix, node); i++) {
		struct xattr_view x;

		index_xattr(ix, node, i, &x);
		walk_must(x.name_len && x.name_len <= FMT_XATTR_NAME_MAX &&
			!memchr(x.name, 0, x.name_len));
		sha256_update(h, x.name, x.name_len);
		sha256_update(h, x.value, x.value_len);
	}
}

static inline void walk_dir(const struct index *ix, uint32_t dir, struct sha256 *h)
{
	for (uint32_t i = 0; i < index_dir_count(ix, dir); i++) {
		struct dirent_view e;
		struct attr a;

		index_dirent(ix, dir, i, &e);
		walk_must(e.name_len && e.name_len <= FMT_NAME_MAX && e.node &&
			e.node < index_nodes(ix));
		walk_must(!memchr(e.name, '/', e.name_len) && !memchr(e.name, 0, e.name_len));
		walk_must(index_lookup(ix, dir, e.name, e.name_len) == e.node);
		index_attr(ix, e.node, &a);
		walk_must((a.mode & S_IFMT) == e.type);
		walk_must(!S_ISDIR(a.mode) || (index_parent(ix, e.node) == dir && e.node > dir));
		sha256_update(h, e.name, e.name_len);
	}
	walk_must(index_lookup(ix, dir, "", 0) == NODE_NONE &&
		index_lookup(ix, dir, "..", 2) == NODE_NONE);
}

static inline void walk_node(const struct index *ix, uint32_t node, struct sha256 *h)
{
	struct space_view sp;
	struct attr a;
	uint32_t len;

	index_attr(ix, node, &a);
	walk_must(a.nlink && a.mtime_ns < 1000000000 && a.mode <= 0177777);
	walk_must(a.has_xattrs == (index_xattr_count(ix, node) != 0));
	walk_xattrs(ix, node, h);
	switch (a.mode & S_IFMT) {
	case S_IFREG:
		if (a.size) {
			index_space(ix, a.space, &sp);
			walk_must(a.block + blocks_of(a.size) <= sp.blocks);
			walk_must(index_chunk_at(ix, a.space, a.block) < index_chunks(ix));
		}
		break;
	case S_IFDIR: walk_dir(ix, node, h); break;
	case S_IFLNK:
		sha256_update(h, index_symlink(ix, node, &len), a.size);
		walk_must(len == a.size && len && len <= FMT_LINK_MAX);
		break;
	case S_IFCHR: walk_must(a.rdev_major || a.rdev_minor); break;
	default: walk_must(S_ISBLK(a.mode) || (S_ISFIFO(a.mode) && !a.size));
	}
}

static inline void walk_space(const struct index *ix, uint32_t s)
{
	struct space_view sp;
	uint64_t block = 0, off = 0;
	struct digest key = index_space_key(ix, s);

	(void)key;
	index_space(ix, s, &sp);
	for (uint32_t i = sp.first_chunk; i < sp.first_chunk + sp.chunks; i++) {
		struct chunk_view c;

		index_chunk(ix, i, &c);
		walk_must(c.space == s && c.block == block && c.off == off && c.blocks);
		walk_must(c.codec == CODEC_ZERO || c.blocks <= FMT_CHUNK_BLOCKS_MAX);
		walk_must(index_chunk_at(ix, s, c.block) == i &&
			index_chunk_at(ix, s, c.block + c.blocks - 1) == i);
		block += c.blocks;
		off += c.clen;
	}
	walk_must(block == sp.blocks && off == sp.blob_size && (sp.has_blob || !off));
}

static inline void walk_index(const struct index *ix)
{
	struct digest original = index_original(ix), config = index_config(ix), all;
	struct sha256 h;
	size_t len;

	sha256_init(&h);
	sha256_update(&h, index_bytes(ix, &len), sizeof original + sizeof config);
	for (uint32_t s = 0; s < index_spaces(ix); s++)
		walk_space(ix, s);
	for (uint32_t n = 0; n < index_nodes(ix); n++)
		walk_node(ix, n, &h);
	walk_must(index_path(ix, "/") == 0 && index_path(ix, "//.") == 0);
	all = sha256_final(&h);
	(void)all;
}

#endif
