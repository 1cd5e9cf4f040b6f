// indexcheck.c - proves an index section, before anything reads it
//
// The order rules of doc/format.md make one linear pass a full proof of the tree: directories are
// taken in the order of their node numbers, each one's entries follow the last one's, and a node's
// number is the place of its first name. So a directory stands after its parent (no cycle), under
// one name only, and no node is left over.
// SPDX-License-Identifier: Apache-2.0
#include "indexint.h"

#include <sys/stat.h>

#include "log.h"

static int corrupt(const struct index *ix, const char *what, uint64_t where)
{
	return warn_errno(-EBADMSG, "index of %s is corrupt: %s (at %llu)", log_quote(ix->name),
		what, (unsigned long long)where);
}

// ---- sections ----

static int check_header(struct index *ix, const struct fmt_header *h)
{
	static const uint32_t unit[SEC_COUNT] = {
		[SEC_NODES] = sizeof(struct fmt_node),
		[SEC_DIRENTS] = sizeof(struct fmt_dirent),
		[SEC_NAMES] = 1,
		[SEC_XATTRS] = 4,
		[SEC_SPACES] = sizeof(struct fmt_space),
		[SEC_CHUNKS] = sizeof(struct fmt_chunk),
		[SEC_FRAMES] = sizeof(struct fmt_frame),
		[SEC_RUNS] = sizeof(struct fmt_run),
	};
	uint64_t at = sizeof *h;

	if (ix->len < sizeof *h || ix->len > FMT_INDEX_MAX)
		return corrupt(ix, "impossible length", ix->len);
	if (memcmp(h->magic, FMT_INDEX_MAGIC, 8))
		return corrupt(ix,
			"not an fcpull index, or of a version that this fcpull does not read", 0);
	if (h->incompat)
		return corrupt(ix, "made for a newer fcpull (unknown feature bits)", h->incompat);
	if (!all_zero(h->reserved, sizeof h->reserved))
		return corrupt(ix, "reserved header bytes are set", 0);
	for (unsigned s = 0; s < SEC_COUNT; s++) {
		uint64_t off = h->section[s].off, len = h->section[s].len;

		if (off != at || len > ix->len - off || len % unit[s] ||
			len / unit[s] >= UINT32_MAX)
			return corrupt(ix, "section table", s);
		at = (off + len + 7) & ~7ull;
		if (at > ix->len || !all_zero(ix->buf + off + len, (size_t)(at - off - len)))
			return corrupt(ix, "section padding", s);
	}
	return at == ix->len ? 0 : corrupt(ix, "bytes after the last section", at);
}

static void set_sections(struct index *ix, const struct fmt_header *h)
{
	const void *at[SEC_COUNT];
	uint64_t len[SEC_COUNT];

	for (unsigned s = 0; s < SEC_COUNT; s++) {
		at[s] = ix->buf + h->section[s].off;
		len[s] = h->section[s].len;
	}
	ix->nodes = at[SEC_NODES];
	ix->dirents = at[SEC_DIRENTS];
	ix->names = at[SEC_NAMES];
	ix->xattrs = at[SEC_XATTRS];
	ix->spaces = at[SEC_SPACES];
	ix->chunks = at[SEC_CHUNKS];
	ix->frames = at[SEC_FRAMES];
	ix->runs = at[SEC_RUNS];
	ix->names_len = len[SEC_NAMES];
	ix->xattrs_len = len[SEC_XATTRS];
	ix->n_nodes = (uint32_t)(len[SEC_NODES] / sizeof *ix->nodes);
	ix->n_dirents = (uint32_t)(len[SEC_DIRENTS] / sizeof *ix->dirents);
	ix->n_spaces = (uint32_t)(len[SEC_SPACES] / sizeof *ix->spaces);
	ix->n_chunks = (uint32_t)(len[SEC_CHUNKS] / sizeof *ix->chunks);
	ix->n_frames = (uint32_t)(len[SEC_FRAMES] / sizeof *ix->frames);
	ix->n_runs = (uint32_t)(len[SEC_RUNS] / sizeof *ix->runs);
}

// ---- spaces and chunks ----

// Codec and length agree: compressed chunks are never longer than stored ones would be.
static bool codec_ok(uint8_t codec, uint32_t clen, uint64_t plain)
{
	switch (codec) {
	case CODEC_STORED: return clen == plain;
	case CODEC_LZ4:
	case CODEC_ZSTD: return clen > 0 && clen < plain;
	default: return false;
	}
}

static bool chunk_ok(const struct fmt_chunk *c, bool has_blob)
{
	uint64_t plain = (uint64_t)c->blocks << BLOCK_SHIFT;

	if (!c->blocks || !all_zero(c->reserved, sizeof c->reserved))
		return false;
	if (c->codec == CODEC_ZERO)
		return !c->clen && all_zero(c->sha, sizeof c->sha);
	if (c->blocks > FMT_CHUNK_BLOCKS_MAX)
		return false;
	// a space without a blob lives on this host only: its chunks have a digest but no
	// compressed form
	return has_blob ? codec_ok(c->codec, c->clen, plain) : c->codec == CODEC_STORED && !c->clen;
}

static int check_space(struct index *ix, uint32_t s, uint32_t *chunk)
{
	const struct fmt_space *sp = &ix->spaces[s];
	bool has_blob = !all_zero(sp->blob, sizeof sp->blob);
	uint64_t block = 0, off = 0;

	if (sp->first_chunk != *chunk || sp->chunks > ix->n_chunks - *chunk ||
		!all_zero(sp->reserved, sizeof sp->reserved))
		return corrupt(ix, "data space", s);
	for (uint32_t i = 0; i < sp->chunks; i++, ++*chunk) {
		const struct fmt_chunk *c = &ix->chunks[*chunk];

		if (c->block != block || !chunk_ok(c, has_blob))
			return corrupt(ix, "chunk", *chunk);
		ix->chunk_off[*chunk] = off;
		block += c->blocks;
		off += c->clen;
	}
	if (block != sp->blocks || off != sp->blob_size)
		return corrupt(ix, "data space is longer or shorter than its chunks", s);
	return has_blob && !off ? corrupt(ix, "data space with an empty blob", s) : 0;
}

static int check_spaces(struct index *ix)
{
	uint32_t chunk = 0;
	uint64_t blocks = 0;
	int r = 0;

	if (ix->n_spaces > FMT_SPACES_MAX)
		return corrupt(ix, "too many data spaces", ix->n_spaces);
	ix->chunk_off = malloc(((size_t)ix->n_chunks + 1) * sizeof *ix->chunk_off);
	if (!ix->chunk_off)
		return -ENOMEM;
	for (uint32_t s = 0; s < ix->n_spaces && !r; s++) {
		r = check_space(ix, s, &chunk);
		blocks += ix->spaces[s].blocks;
	}
	if (!r && blocks > FMT_BLOCKS_MAX)
		r = corrupt(ix, "more than 1 TiB of data", blocks);
	if (!r && chunk != ix->n_chunks)
		r = corrupt(ix, "chunks without a data space", chunk);
	return r;
}

static int check_frames(struct index *ix)
{
	uint32_t run = 0;
	uint64_t all = 0;

	ix->frame_off = malloc(((size_t)ix->n_frames + 1) * sizeof *ix->frame_off);
	if (!ix->frame_off)
		return -ENOMEM;
	ix->frame_off[0] = 0;
	for (uint32_t f = 0; f < ix->n_frames; f++) {
		const struct fmt_frame *fr = &ix->frames[f];
		uint64_t blocks = 0;

		if (fr->first_run != run || fr->runs > ix->n_runs - run || !fr->blocks ||
			fr->blocks > FMT_FRAME_BLOCKS_MAX ||
			!codec_ok(fr->codec, fr->clen, (uint64_t)fr->blocks << BLOCK_SHIFT) ||
			!all_zero(fr->reserved, sizeof fr->reserved))
			return corrupt(ix, "boot frame", f);
		for (uint32_t i = 0; i < fr->runs; i++, run++) {
			const struct fmt_run *r = &ix->runs[run];

			if (r->space >= ix->n_spaces || !r->blocks ||
				(uint64_t)r->block + r->blocks > ix->spaces[r->space].blocks)
				return corrupt(ix, "boot run", run);
			blocks += r->blocks;
		}
		if (blocks != fr->blocks)
			return corrupt(ix, "boot frame's length", f);
		all += blocks;
		if (all > FMT_BLOCKS_MAX)
			return corrupt(ix, "more than 1 TiB of boot frames", all);
		ix->frame_off[f + 1] = ix->frame_off[f] + fr->clen;
	}
	return run == ix->n_runs ? 0 : corrupt(ix, "boot runs without a frame", run);
}

// ---- extended attributes ----

static int check_xattr_set(struct index *ix, uint32_t set, uint32_t at, uint32_t end)
{
	const struct fmt_xattr *last = NULL;

	if (at >= end || end - at > FMT_XATTR_SET_MAX)
		return corrupt(ix, "xattr set", set);
	while (at < end) {
		const struct fmt_xattr *x = (const void *)(ix->xattrs + at);
		const char *name = (const char *)(x + 1);
		size_t used;

		if (end - at < sizeof *x || x->reserved || !x->name_len ||
			x->name_len > FMT_XATTR_NAME_MAX || x->value_len > FMT_XATTR_SET_MAX ||
			xattr_size(x) > end - at || memchr(name, 0, x->name_len))
			return corrupt(ix, "xattr", at);
		used = sizeof *x + x->name_len + x->value_len;
		if (!all_zero((const uint8_t *)x + used, xattr_size(x) - used))
			return corrupt(ix, "xattr padding", at);
		if (last) {
			size_t n = MIN(last->name_len, x->name_len);
			int c = memcmp(last + 1, name, n);

			if (c > 0 || (!c && last->name_len >= x->name_len))
				return corrupt(ix, "xattrs out of order", at);
		}
		last = x;
		at += (uint32_t)xattr_size(x);
	}
	return 0;
}

static int check_xattrs(struct index *ix)
{
	uint64_t at;
	int r = 0;

	if (!ix->xattrs_len)
		return 0;
	ix->n_xattrs = get_le32(ix->xattrs);
	at = 4 + 4 * ((uint64_t)ix->n_xattrs + 1);
	if (!ix->n_xattrs || at > ix->xattrs_len || xattr_set_off(ix, 0) != at ||
		xattr_set_off(ix, ix->n_xattrs) != ix->xattrs_len)
		return corrupt(ix, "xattr table", ix->n_xattrs);
	for (uint32_t s = 0; s < ix->n_xattrs && !r; s++) {
		uint32_t from = xattr_set_off(ix, s), to = xattr_set_off(ix, s + 1);

		if (to > ix->xattrs_len)
			return corrupt(ix, "xattr table", s);
		r = check_xattr_set(ix, s, from, to);
	}
	return r;
}

// ---- tree ----

static bool name_ok(const char *s, uint32_t n)
{
	if (!n || n > FMT_NAME_MAX || memchr(s, 0, n) || memchr(s, '/', n))
		return false;
	return !(n == 1 && s[0] == '.') && !(n == 2 && s[0] == '.' && s[1] == '.');
}

static bool file_ok(const struct index *ix, const struct fmt_node *n)
{
	if (!n->size)
		return !n->a && !n->b;
	return n->a < ix->n_spaces && n->size <= (uint64_t)UINT32_MAX << BLOCK_SHIFT &&
		n->b + blocks_of(n->size) <= ix->spaces[n->a].blocks;
}

static bool node_ok(const struct index *ix, const struct fmt_node *n)
{
	if (n->reserved || n->mtime_ns > 999999999 || !n->nlink ||
		(n->xattrs != FMT_NO_XATTRS && n->xattrs >= ix->n_xattrs))
		return false;
	switch (n->mode & S_IFMT) {
	case S_IFREG: return file_ok(ix, n);
	case S_IFDIR: return true; // the walk checks the rest
	case S_IFLNK:
		return n->size && n->size <= FMT_LINK_MAX && n->a <= ix->names_len &&
			n->size <= ix->names_len - n->a && !n->b &&
			!memchr(ix->names + n->a, 0, n->size);
	case S_IFCHR:
		// 0:0 is overlayfs's whiteout: it would make names vanish from a container's root
		return !n->size && (n->a || n->b) && n->a < 1u << 12 && n->b < 1u << 20;
	case S_IFBLK: return !n->size && n->a < 1u << 12 && n->b < 1u << 20;
	case S_IFIFO: return !n->size && !n->a && !n->b;
	default: return false;
	}
}

struct walk {
	uint32_t next;	 // number of the next node to get its first name
	uint32_t entry;	 // next directory entry
	uint32_t *names; // per node: names seen (directory: 2 + subdirectories)
	uint16_t *depth;
};

// An entry of directory d: its name, its order after the one before, its node.
static int check_entry(struct index *ix, struct walk *w, uint32_t d, bool first)
{
	const struct fmt_dirent *e = &ix->dirents[w->entry];
	const struct fmt_node *n;
	bool is_dir;

	if (e->reserved || e->name > ix->names_len || e->name_len > ix->names_len - e->name ||
		!name_ok(ix->names + e->name, e->name_len))
		return corrupt(ix, "name in a directory", w->entry);
	if (!first &&
		name_cmp(ix->names + e[-1].name, e[-1].name_len, ix->names + e->name,
			e->name_len) >= 0)
		return corrupt(ix, "directory is not sorted", w->entry);
	if (e->node > w->next || e->node >= ix->n_nodes || !e->node)
		return corrupt(ix, "node number in a directory", w->entry);
	n = &ix->nodes[e->node];
	is_dir = S_ISDIR(n->mode);
	if (e->node < w->next && is_dir)
		return corrupt(ix, "directory has two names", e->node);
	if (is_dir) {
		if (n->b != d || w->depth[d] >= FMT_DEPTH_MAX)
			return corrupt(ix, "directory's parent or depth", e->node);
		w->depth[e->node] = (uint16_t)(w->depth[d] + 1);
		w->names[d]++;
		w->names[e->node] = 2;
	} else {
		w->names[e->node]++;
	}
	w->next += e->node == w->next;
	return 0;
}

static int walk_tree(struct index *ix, struct walk *w)
{
	int r = 0;

	w->next = 1;
	w->names[0] = 2;
	for (uint32_t d = 0; d < ix->n_nodes && !r; d++) {
		const struct fmt_node *n = &ix->nodes[d];

		if (d >= w->next)
			return corrupt(ix, "node without a name", d);
		if (!node_ok(ix, n))
			return corrupt(ix, "node", d);
		if (!S_ISDIR(n->mode))
			continue;
		if (n->a != w->entry || n->size > ix->n_dirents - w->entry)
			return corrupt(ix, "directory's entries", d);
		for (uint64_t i = 0; i < n->size && !r; i++, w->entry++)
			r = check_entry(ix, w, d, !i);
	}
	if (!r && w->entry != ix->n_dirents)
		r = corrupt(ix, "entries without a directory", w->entry);
	for (uint32_t i = 0; i < ix->n_nodes && !r; i++)
		if (ix->nodes[i].nlink != w->names[i])
			r = corrupt(ix, "link count", i);
	return r;
}

static int check_tree(struct index *ix)
{
	struct walk w = { 0 };
	int r;

	if (!ix->n_nodes || !S_ISDIR(ix->nodes[0].mode) || ix->nodes[0].b)
		return corrupt(ix, "no root directory", 0);
	w.names = calloc(ix->n_nodes, sizeof *w.names);
	w.depth = calloc(ix->n_nodes, sizeof *w.depth);
	r = w.names && w.depth ? walk_tree(ix, &w) : -ENOMEM;
	free(w.names);
	free(w.depth);
	return r;
}

int index_check(struct index *ix)
{
	const struct fmt_header *h = (const void *)ix->buf;
	int r = check_header(ix, h);

	if (!r) {
		set_sections(ix, h);
		r = check_spaces(ix);
	}
	if (!r)
		r = check_xattrs(ix);
	if (!r)
		r = check_frames(ix);
	return r ? r : check_tree(ix);
}
