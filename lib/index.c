// index.c - reads a checked index section in place
// SPDX-License-Identifier: Apache-2.0
#include "index.h"

#include <sys/stat.h>

#include "indexint.h"

int index_open(void *buf, size_t len, const char *name, struct index **ret)
{
	struct index *ix = calloc(1, sizeof *ix);
	int r;

	if (!ix)
		return -ENOMEM;
	ix->buf = buf;
	ix->len = len;
	ix->name = name;
	r = index_check(ix);
	ix->name = NULL;
	if (r) {
		free(ix->chunk_off);
		free(ix->frame_off);
		free(ix);
		return r;
	}
	*ret = ix;
	return 0;
}

void index_free(struct index *ix)
{
	if (!ix)
		return;
	free((void *)ix->buf);
	free(ix->chunk_off);
	free(ix->frame_off);
	free(ix);
}

const void *index_bytes(const struct index *ix, size_t *ret_len)
{
	*ret_len = ix->len;
	return ix->buf;
}

// ---- reading ----

uint32_t index_nodes(const struct index *ix)
{
	return ix->n_nodes;
}

void index_attr(const struct index *ix, uint32_t node, struct attr *ret)
{
	const struct fmt_node *n = &ix->nodes[node];

	*ret = (struct attr){
		.mode = n->mode,
		.nlink = n->nlink,
		.uid = n->uid,
		.gid = n->gid,
		.mtime = n->mtime,
		.mtime_ns = n->mtime_ns,
		.size = n->size,
		.has_xattrs = n->xattrs != FMT_NO_XATTRS,
	};
	if (S_ISREG(n->mode)) {
		ret->space = n->a;
		ret->block = n->b;
	} else if (S_ISDIR(n->mode)) {
		ret->size = BLOCK_BYTES * (1 + n->size / 64);
	} else if (S_ISCHR(n->mode) || S_ISBLK(n->mode)) {
		ret->rdev_major = n->a;
		ret->rdev_minor = n->b;
	}
}

uint32_t index_dir_count(const struct index *ix, uint32_t dir)
{
	return (uint32_t)ix->nodes[dir].size;
}

void index_dirent(const struct index *ix, uint32_t dir, uint32_t i, struct dirent_view *ret)
{
	const struct fmt_dirent *e = &ix->dirents[ix->nodes[dir].a + i];

	*ret = (struct dirent_view){
		.name = ix->names + e->name,
		.name_len = e->name_len,
		.node = e->node,
		.type = ix->nodes[e->node].mode & S_IFMT,
	};
}

uint32_t index_parent(const struct index *ix, uint32_t dir)
{
	return ix->nodes[dir].b;
}

uint32_t index_lookup(const struct index *ix, uint32_t dir, const char *name, size_t len)
{
	const struct fmt_dirent *e = &ix->dirents[ix->nodes[dir].a];
	uint32_t lo = 0, hi = (uint32_t)ix->nodes[dir].size;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = name_cmp(name, len, ix->names + e[mid].name, e[mid].name_len);

		if (!c)
			return e[mid].node;
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NODE_NONE;
}

uint32_t index_path(const struct index *ix, const char *path)
{
	uint32_t node = 0;

	while (*path) {
		size_t n = strcspn(path, "/");

		if (n && !(n == 1 && *path == '.')) {
			if (!S_ISDIR(ix->nodes[node].mode))
				return NODE_NONE;
			node = index_lookup(ix, node, path, n);
			if (node == NODE_NONE)
				return node;
		}
		path += n;
		path += *path == '/';
	}
	return node;
}

const char *index_symlink(const struct index *ix, uint32_t node, uint32_t *ret_len)
{
	*ret_len = (uint32_t)ix->nodes[node].size;
	return ix->names + ix->nodes[node].a;
}

uint32_t index_xattr_count(const struct index *ix, uint32_t node)
{
	uint32_t set = ix->nodes[node].xattrs, n = 0;

	if (set == FMT_NO_XATTRS)
		return 0;
	for (uint32_t at = xattr_set_off(ix, set); at < xattr_set_off(ix, set + 1); n++)
		at += (uint32_t)xattr_size((const void *)(ix->xattrs + at));
	return n;
}

void index_xattr(const struct index *ix, uint32_t node, uint32_t i, struct xattr_view *ret)
{
	uint32_t at = xattr_set_off(ix, ix->nodes[node].xattrs);
	const struct fmt_xattr *x;

	while (i--)
		at += (uint32_t)xattr_size((const void *)(ix->xattrs + at));
	x = (const void *)(ix->xattrs + at);
	*ret = (struct xattr_view){
		.name = (const char *)(x + 1),
		.name_len = x->name_len,
		.value = (const uint8_t *)(x + 1) + x->name_len,
		.value_len = x->value_len,
	};
}

static struct digest digest_at(const uint8_t *p)
{
	struct digest d;

	memcpy(d.b, p, sizeof d.b);
	return d;
}

uint32_t index_spaces(const struct index *ix)
{
	return ix->n_spaces;
}

void index_space(const struct index *ix, uint32_t space, struct space_view *ret)
{
	const struct fmt_space *s = &ix->spaces[space];

	*ret = (struct space_view){
		.layer = digest_at(s->layer),
		.diff_id = digest_at(s->diff_id),
		.blob = digest_at(s->blob),
		.blob_size = s->blob_size,
		.blocks = s->blocks,
		.first_chunk = s->first_chunk,
		.chunks = s->chunks,
		.has_blob = !all_zero(s->blob, sizeof s->blob),
	};
}

uint32_t index_chunks(const struct index *ix)
{
	return ix->n_chunks;
}

// The space whose range of chunks holds `chunk`: the last one that begins at or before it and is
// not empty.
static uint32_t space_of_chunk(const struct index *ix, uint32_t chunk)
{
	uint32_t lo = 0, hi = ix->n_spaces;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (ix->spaces[mid].first_chunk <= chunk)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

void index_chunk(const struct index *ix, uint32_t chunk, struct chunk_view *ret)
{
	const struct fmt_chunk *c = &ix->chunks[chunk];

	*ret = (struct chunk_view){
		.space = space_of_chunk(ix, chunk),
		.block = c->block,
		.blocks = c->blocks,
		.codec = c->codec,
		.off = ix->chunk_off[chunk],
		.clen = c->clen,
		.sha = digest_at(c->sha),
	};
}

uint32_t index_chunk_at(const struct index *ix, uint32_t space, uint32_t block)
{
	uint32_t lo = ix->spaces[space].first_chunk, hi = lo + ix->spaces[space].chunks;

	while (hi - lo > 1) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (ix->chunks[mid].block <= block)
			lo = mid;
		else
			hi = mid;
	}
	return lo;
}

struct digest index_space_key(const struct index *ix, uint32_t space)
{
	const struct fmt_space *s = &ix->spaces[space];
	struct sha256 h;

	sha256_init(&h);
	for (uint32_t i = 0; i < s->chunks; i++) {
		const struct fmt_chunk *c = &ix->chunks[s->first_chunk + i];
		uint8_t zero = c->codec == CODEC_ZERO;

		sha256_update(&h, &c->block, sizeof c->block);
		sha256_update(&h, &c->blocks, sizeof c->blocks);
		sha256_update(&h, &zero, 1);
		sha256_update(&h, c->sha, sizeof c->sha);
	}
	return sha256_final(&h);
}

struct digest index_boot_key(const struct index *ix)
{
	struct sha256 h;

	// no space's key begins so: its first block is 0
	sha256_init(&h);
	sha256_update(&h, "boot", 4);
	for (uint32_t i = 0; i < ix->n_frames; i++) {
		sha256_update(&h, &ix->frames[i].blocks, sizeof ix->frames[i].blocks);
		sha256_update(&h, ix->frames[i].sha, sizeof ix->frames[i].sha);
	}
	return sha256_final(&h);
}

uint32_t index_frames(const struct index *ix)
{
	return ix->n_frames;
}

void index_frame(const struct index *ix, uint32_t frame, struct frame_view *ret)
{
	const struct fmt_frame *f = &ix->frames[frame];

	*ret = (struct frame_view){
		.off = ix->frame_off[frame],
		.clen = f->clen,
		.blocks = f->blocks,
		.codec = f->codec,
		.sha = digest_at(f->sha),
		.first_run = f->first_run,
		.runs = f->runs,
	};
}

void index_run(const struct index *ix, uint32_t run, struct run_view *ret)
{
	const struct fmt_run *r = &ix->runs[run];

	*ret = (struct run_view){ r->space, r->block, r->blocks };
}

uint64_t index_frames_size(const struct index *ix)
{
	return ix->frame_off[ix->n_frames];
}

uint32_t index_frames_blocks(const struct index *ix)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < ix->n_frames; i++)
		n += ix->frames[i].blocks;
	return n;
}

struct digest index_original(const struct index *ix)
{
	return digest_at(((const struct fmt_header *)ix->buf)->original);
}

struct digest index_config(const struct index *ix)
{
	return digest_at(((const struct fmt_header *)ix->buf)->config);
}
