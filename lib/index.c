// index.c - checks an index section and reads it in place
//
// The order rules of doc/format.md make one linear pass a full proof of the tree: directories are
// taken in the order of their node numbers, each one's entries follow the last one's, and a node's
// number is the place of its first name. So a directory stands after its parent (no cycle), under
// one name only, and no node is left over.
// SPDX-License-Identifier: Apache-2.0
#include "index.h"

#include <sys/stat.h>

#include "format.h"
#include "log.h"

struct index {
	const uint8_t *buf;
	size_t len;
	const struct fmt_node *nodes;
	const struct fmt_dirent *dirents;
	const char *names;
	const uint8_t *xattrs;
	const struct fmt_space *spaces;
	const struct fmt_chunk *chunks;
	const struct fmt_frame *frames;
	const struct fmt_run *runs;
	uint32_t n_nodes, n_dirents, n_spaces, n_chunks, n_frames, n_runs, n_xattrs;
	size_t names_len, xattrs_len;
	uint64_t *chunk_off; // place of each chunk in its blob: owned
	uint64_t *frame_off; // place of each frame behind the packed index, and their end: owned
	const char *name;    // during the check only
};

static int corrupt(const struct index *ix, const char *what, uint64_t where)
{
	return warn_errno(-EBADMSG, "index of %s is corrupt: %s (at %llu)", log_quote(ix->name),
		what, (unsigned long long)where);
}

static bool all_zero(const void *p, size_t n)
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		if (b[i])
			return false;
	return true;
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

static uint32_t xattr_set_off(const struct index *ix, uint32_t set)
{
	return get_le32(ix->xattrs + 4 + 4 * (size_t)set);
}

static size_t xattr_size(const struct fmt_xattr *x)
{
	return (sizeof *x + x->name_len + x->value_len + 3) & ~(size_t)3;
}

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

static int name_cmp(const char *a, size_t an, const char *b, size_t bn)
{
	int c = memcmp(a, b, MIN(an, bn));

	return c ? c : an < bn ? -1 : an > bn;
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

int index_open(void *buf, size_t len, const char *name, struct index **ret)
{
	struct index *ix = calloc(1, sizeof *ix);
	int r;

	if (!ix)
		return -ENOMEM;
	ix->buf = buf;
	ix->len = len;
	ix->name = name;
	r = check_header(ix, buf);
	if (!r) {
		set_sections(ix, buf);
		r = check_spaces(ix);
	}
	if (!r)
		r = check_xattrs(ix);
	if (!r)
		r = check_frames(ix);
	if (!r)
		r = check_tree(ix);
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
