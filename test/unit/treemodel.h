// treemodel.h - what a tree of layers should be: a flat list of paths, searched from end to end
//
// Shares no code and no idea with lib/tree.c but the rules themselves: parents that are missing or
// no directories are made; the last entry of a name wins; whiteouts hide what lower layers brought,
// and directories that stay only for what this layer has below them forget what they were; hard
// links are settled at the layer's end.
// SPDX-License-Identifier: Apache-2.0
#ifndef TREEMODEL_H
#define TREEMODEL_H

#include <sys/stat.h>

#include "format.h"
#include "index.h"
#include "tar.h"
#include "tree.h"

struct mfile { // what names point at
	uint32_t mode, uid, gid, names, major, minor, mtime_ns;
	int64_t mtime;
	uint64_t size;
	char *link;    // symlink's target, or a pending hard link's
	char *xattrs;  // "name=value\n...", sorted
	uint32_t node; // of the index, when compared
};

struct mname {
	char *path;
	struct mfile *file;
	uint32_t layer;
};

struct model {
	struct mname *v;
	size_t n, cap;
	uint32_t layer;
};

#define M_PENDING 0u // mode of a pending hard link

static inline void mfile_put(struct mfile *f)
{
	if (--f->names)
		return;
	free(f->link);
	free(f->xattrs);
	free(f);
}

static inline struct mfile *mfile_new(uint32_t mode)
{
	struct mfile *f = xcalloc(1, sizeof *f);

	f->mode = mode;
	f->xattrs = xstrdup("");
	return f;
}

static inline struct mname *m_find(struct model *m, const char *path)
{
	for (size_t i = 0; i < m->n; i++)
		if (!strcmp(m->v[i].path, path))
			return &m->v[i];
	return NULL;
}

static inline bool m_below(const char *path, const char *dir)
{
	size_t n = strlen(dir);

	return n ? !strncmp(path, dir, n) && path[n] == '/' : *path != 0;
}

static inline void m_drop(struct model *m, size_t i)
{
	free(m->v[i].path);
	mfile_put(m->v[i].file);
	m->v[i] = m->v[--m->n];
}

static inline void m_remove(struct model *m, const char *path)
{
	for (size_t i = m->n; i--;)
		if (!strcmp(m->v[i].path, path) || m_below(m->v[i].path, path))
			m_drop(m, i);
}

static inline void m_put(struct model *m, const char *path, struct mfile *f)
{
	m->v = xgrow(m->v, &m->cap, m->n + 1, sizeof *m->v);
	f->names++;
	m->v[m->n++] = (struct mname){ xstrdup(path), f, m->layer };
}

static inline void model_init(struct model *m)
{
	*m = (struct model){ .layer = UINT32_MAX };
	m_put(m, "", mfile_new(S_IFDIR | 0755));
}

static inline void model_fini(struct model *m)
{
	m_remove(m, "");
	free(m->v);
}

static inline void m_parents(struct model *m, const char *path)
{
	for (const char *s = path; (s = strchr(s, '/')); s++) {
		cleanup_free char *dir = xstrndup(path, (size_t)(s - path));
		struct mname *n = m_find(m, dir);

		if (n && S_ISDIR(n->file->mode))
			continue;
		if (n)
			m_remove(m, dir);
		m_put(m, dir, mfile_new(S_IFDIR | 0755));
	}
}

// Hides what lower layers have below dir (and dir itself). Longest paths first, so that directories
// are empty when their turn comes.
static inline void m_hide(struct model *m, const char *dir, bool itself)
{
	size_t longest = 0;

	for (size_t i = 0; i < m->n; i++)
		longest = MAX(longest, strlen(m->v[i].path));
	for (size_t len = longest + 1; len--;)
		for (size_t i = m->n; i--;) {
			struct mname *n = &m->v[i];
			bool kept = false;

			if (strlen(n->path) != len || n->layer == m->layer)
				continue;
			if (!m_below(n->path, dir) && !(itself && !strcmp(n->path, dir)))
				continue;
			for (size_t k = 0; k < m->n; k++)
				kept |= m_below(m->v[k].path, n->path);
			if (!kept) {
				m_drop(m, i);
				continue;
			}
			mfile_put(n->file);
			n->file = mfile_new(S_IFDIR | 0755);
			n->file->names = 1;
			n->layer = m->layer;
		}
}

static inline int m_cmp_xattr(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static inline bool m_set_xattrs(struct mfile *f, const struct tar_entry *e)
{
	cleanup_free char **lines = xcalloc(e->n_xattrs, sizeof *lines);
	struct buf b = { 0 };
	size_t n = 0;

	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct tar_xattr *x = &e->xattrs[i];

		if (strstr(x->name, ".overlay.") || !strncmp(x->name, "security.s", 10))
			continue;
		lines[n++] =
			xasprintf("%s=%.*s\n", x->name, (int)x->value_len, (const char *)x->value);
	}
	qsort(lines, n, sizeof *lines, m_cmp_xattr);
	for (size_t i = 0; i < n; i++) {
		buf_add(&b, lines[i], strlen(lines[i]));
		free(lines[i]);
	}
	free(f->xattrs);
	f->xattrs = xstrdup(buf_str(&b));
	buf_fini(&b);
	return true;
}

static inline void m_set(struct mfile *f, const struct tar_entry *e)
{
	f->mode = (f->mode & S_IFMT) | (S_ISLNK(f->mode) ? 0777 : e->mode);
	f->uid = e->uid;
	f->gid = e->gid;
	f->mtime = e->mtime;
	f->mtime_ns = e->mtime_ns;
	m_set_xattrs(f, e);
}

static inline void model_begin(struct model *m)
{
	m->layer++;
}

// 0, or the same refusal as the tree's.
static inline int model_add(struct model *m, const struct tar_entry *e)
{
	static const uint32_t types[] = { [TAR_FILE] = S_IFREG,
		[TAR_SYMLINK] = S_IFLNK,
		[TAR_CHR] = S_IFCHR,
		[TAR_BLK] = S_IFBLK,
		[TAR_FIFO] = S_IFIFO };
	const char *slash = strrchr(e->path, '/'), *base = slash ? slash + 1 : e->path;
	struct mfile *f;
	struct mname *n;

	for (const char *s = e->path; strchr(s, '/'); s = strchr(s, '/') + 1)
		if (!strncmp(s, ".wh.", 4))
			return strncmp(s, ".wh..wh.", 8) ? -EBADMSG : 0;
	if (!strncmp(base, ".wh.", 4)) {
		if (e->type != TAR_FILE && e->type != TAR_HARDLINK && strncmp(base, ".wh..wh.", 8))
			return -EBADMSG;
		cleanup_free char *dir = xstrndup(e->path, slash ? (size_t)(slash - e->path) : 0);
		cleanup_free char *name = xasprintf("%s%s%s", dir, slash ? "/" : "", base + 4);

		if (!strcmp(base, ".wh..wh..opq"))
			m_hide(m, dir, false);
		else if (!strncmp(base, ".wh..wh.", 8))
			return 0;
		else if (!base[4] || !strcmp(base + 4, ".") || !strcmp(base + 4, ".."))
			return -EBADMSG;
		else
			m_hide(m, name, true);
		return 0;
	}
	if ((!*base && e->type != TAR_DIR) || (e->type == TAR_SYMLINK && !e->link_len) ||
		(e->type == TAR_CHR && !e->rdev_major && !e->rdev_minor))
		return -EBADMSG;
	for (size_t i = 0; i < e->n_xattrs; i++)
		for (size_t k = 0; k < i; k++)
			if (!strcmp(e->xattrs[i].name, e->xattrs[k].name))
				return -EBADMSG;
	m_parents(m, e->path);
	n = m_find(m, e->path);
	if (e->type == TAR_DIR) {
		if (n && !S_ISDIR(n->file->mode)) {
			m_remove(m, e->path);
			n = NULL;
		}
		if (!n) {
			m_put(m, e->path, mfile_new(S_IFDIR | 0755));
			n = m_find(m, e->path);
		}
		n->layer = m->layer;
		m_set(n->file, e);
		return 0;
	}
	if (e->type == TAR_HARDLINK) {
		struct mname *to = m_find(m, e->link);

		if (to && S_ISDIR(to->file->mode))
			return -EBADMSG;
		if (to && to == n && to->file->mode != M_PENDING) {
			n->layer = m->layer;
			return 0;
		}
		if (to && to->file->mode != M_PENDING) {
			f = to->file;
			f->names++;
			if (!n || n->file != f) {
				m_remove(m, e->path);
				m_put(m, e->path, f);
			} else {
				n->layer = m->layer;
			}
			f->names--;
			return 0;
		}
		f = mfile_new(M_PENDING);
		f->link = xstrdup(e->link);
		m_remove(m, e->path);
		m_put(m, e->path, f);
		return 0;
	}
	m_remove(m, e->path);
	f = mfile_new(types[e->type]);
	m_set(f, e);
	if (e->type == TAR_FILE)
		f->size = e->size;
	if (e->type == TAR_SYMLINK)
		f->link = xstrdup(e->link), f->size = e->link_len;
	if (e->type == TAR_CHR || e->type == TAR_BLK)
		f->major = e->rdev_major, f->minor = e->rdev_minor;
	m_put(m, e->path, f);
	return 0;
}

static inline int model_end(struct model *m)
{
	for (bool moved = true, left = true; left;) {
		left = moved = false;
		for (size_t i = 0; i < m->n; i++) {
			struct mname *n = &m->v[i], *to;

			if (n->file->mode != M_PENDING)
				continue;
			left = true;
			to = m_find(m, n->file->link);
			if (!to || S_ISDIR(to->file->mode))
				return -EBADMSG;
			if (to->file->mode == M_PENDING)
				continue;
			mfile_put(n->file);
			n->file = to->file;
			n->file->names++;
			moved = true;
		}
		if (left && !moved)
			return -EBADMSG;
	}
	return 0;
}

// ---- the tree's outcome against it ----

static inline const char *m_compare_file(
	const struct index *ix, const struct mname *n, uint32_t node)
{
	const struct mfile *f = n->file;
	struct buf b = { 0 };
	struct attr a;
	uint32_t len;
	bool same;

	index_attr(ix, node, &a);
	if (a.mode != f->mode)
		return "mode";
	if (a.uid != f->uid || a.gid != f->gid || a.mtime != f->mtime || a.mtime_ns != f->mtime_ns)
		return "owner or time";
	if (!S_ISDIR(a.mode) && (a.size != f->size || a.nlink != f->names))
		return "size or links";
	if (a.rdev_major != f->major || a.rdev_minor != f->minor)
		return "device";
	if (S_ISLNK(a.mode) &&
		(memcmp(index_symlink(ix, node, &len), f->link, f->size) || len != f->size))
		return "target";
	for (uint32_t i = 0; i < index_xattr_count(ix, node); i++) {
		struct xattr_view x;

		index_xattr(ix, node, i, &x);
		buf_printf(&b, "%.*s=%.*s\n", (int)x.name_len, x.name, (int)x.value_len,
			(const char *)x.value);
	}
	same = !strcmp(buf_str(&b), f->xattrs);
	buf_fini(&b);
	return same ? NULL : "xattrs";
}

// NULL, or what differs; *ret_path where.
static inline const char *model_compare(
	struct model *m, const struct index *ix, const char **ret_path)
{
	uint64_t entries = 0;

	for (uint32_t i = 0; i < index_nodes(ix); i++) {
		struct attr a;

		index_attr(ix, i, &a);
		if (S_ISDIR(a.mode))
			entries += index_dir_count(ix, i);
	}
	*ret_path = "";
	if (entries + 1 != m->n)
		return "number of names";
	for (size_t i = 0; i < m->n; i++)
		m->v[i].file->node = NODE_NONE;
	for (size_t i = 0; i < m->n; i++) {
		struct mname *n = &m->v[i];
		uint32_t node = index_path(ix, n->path);
		const char *what = node == NODE_NONE ? "missing" : m_compare_file(ix, n, node);

		*ret_path = n->path;
		if (what)
			return what;
		if (n->file->node != NODE_NONE && n->file->node != node)
			return "hard link";
		n->file->node = node;
	}
	return NULL;
}

// ---- a sequence of operations from bytes: 4 bytes an operation ----

// A path from a byte: one to three components of a, b, c ... so that they meet often.
static inline void op_path(uint8_t v, char out[static 16])
{
	static const char *const names[] = { "a", "b", "ab", "c" };
	unsigned depth = 1 + (v >> 6) % 3;

	*out = 0;
	for (unsigned i = 0; i < depth; i++, v >>= 2) {
		if (i)
			strcat(out, "/");
		strcat(out, names[v & 3]);
	}
}

// Applies the operations to both. 0 = both took all of them; -EBADMSG = both refused the same one;
// 1 = they disagree.
static inline int run_ops(struct tree *t, struct model *m, const uint8_t *op, size_t n)
{
	static const enum tar_type types[] = { TAR_FILE, TAR_DIR, TAR_HARDLINK, TAR_SYMLINK,
		TAR_HARDLINK, TAR_FILE, TAR_CHR, TAR_DIR };
	static const char *const whiteout[] = { "", "", "", "", "", ".wh.", ".wh.",
		".wh..wh..opq" };
	int r, s;

	tree_begin_layer(t);
	model_begin(m);
	for (; n >= 4; n -= 4, op += 4) {
		char path[64], base[16], link[16];
		struct tar_xattr x[2] = { { .name = op[3] & 1 ? "user.a" : "trusted.overlay.opaque",
						  .value = (const uint8_t *)"xyz",
						  .value_len = op[3] >> 2 & 3 },
			{ .name = op[3] & 2 ? "user.A" : "security.selinux",
				.value = (const uint8_t *)"q" } };
		struct tar_entry e = { .type = types[op[0] & 7],
			.path = path,
			.link = link,
			.mode = op[3] & 07777u,
			.uid = op[3],
			.gid = op[0],
			.mtime = (int8_t)op[3],
			.mtime_ns = op[2],
			.rdev_major = op[3] & 3,
			.size = op[3] & 3,
			.xattrs = x,
			.n_xattrs = op[0] >> 6 & 1 ? 2 : 0 };
		uint32_t content = TREE_NONE;

		x[0].name_len = (uint32_t)strlen(x[0].name);
		x[1].name_len = (uint32_t)strlen(x[1].name);
		if (op[0] == 0xff) { // the next layer
			r = tree_end_layer(t, "fuzz");
			s = model_end(m);
			if (r || s)
				return r == s ? r : 1;
			tree_begin_layer(t);
			model_begin(m);
			continue;
		}
		op_path(op[1], base);
		op_path(op[2], link);
		e.link_len = strlen(link);
		if (whiteout[op[0] >> 3 & 7][0]) {
			char *slash = strrchr(base, '/');

			snprintf(path, sizeof path, "%.*s%s%s", slash ? (int)(slash - base + 1) : 0,
				base, whiteout[op[0] >> 3 & 7],
				strlen(whiteout[op[0] >> 3 & 7]) > 4 ? ""
					: slash			     ? slash + 1
								     : base);
			if (op[3] >
				0xfc) // below a directory of such a name; else a directory now and then
				strcat(path, op[3] > 0xfe ? "/x" : "");
			else if (op[0] >> 3 != 0x1e)
				e.type = TAR_FILE;
		} else {
			snprintf(path, sizeof path, "%s", base);
		}
		if (op[0] >> 3 == 0x1e) // the root itself
			*path = 0;
		e.path_len = strlen(path);
		if (e.type != TAR_FILE)
			e.size = 0;
		if (e.size) {
			struct content c = { .size = e.size, .space = 0, .block = 0 };

			content = tree_add_content(t, &c);
		}
		r = tree_add(t, &e, content, "fuzz");
		s = model_add(m, &e);
		if (r || s)
			return r == s ? r : 1;
	}
	r = tree_end_layer(t, "fuzz");
	s = model_end(m);
	return r == s ? r : 1;
}

// The tree's serialised form around one data space of a block.
static inline int build_index(struct tree *t, struct index **ret)
{
	static const char *const blank = "fcpullI1";
	struct buf part[4] = { 0 }, out = { 0 };
	struct fmt_space sp = { .blocks = 1, .chunks = 1 };
	struct fmt_chunk ch = { .blocks = 1, .codec = CODEC_ZERO };
	struct fmt_header h = { .incompat = 0 };
	int r;

	memcpy(h.magic, blank, sizeof h.magic);
	tree_serialise(t, part);
	buf_add(&out, &h, sizeof h);
	for (unsigned s = 0; s < SEC_COUNT; s++) {
		const void *p = s < 4	  ? part[s].data
			: s == SEC_SPACES ? (void *)&sp
			: s == SEC_CHUNKS ? (void *)&ch
					  : NULL;
		size_t n = s < 4	  ? part[s].len
			: s == SEC_SPACES ? sizeof sp
			: s == SEC_CHUNKS ? sizeof ch
					  : 0;

		((struct fmt_header *)out.data)->section[s].off = out.len;
		((struct fmt_header *)out.data)->section[s].len = n;
		buf_add(&out, p, n);
		buf_zero(&out, -out.len & 7);
		if (s < 4)
			buf_fini(&part[s]);
	}
	r = index_open(out.data, out.len, "the tree", ret);
	if (r)
		buf_fini(&out);
	return r;
}

#endif
