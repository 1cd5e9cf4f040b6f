// tree.c - the merged tree of an image while it is being built
//
// Nodes, names (dirents) and contents live in three growing arrays and refer to each other by
// number. Names are found through one hash table over (directory, name). Every name remembers the
// layer that set it last, so that a whiteout can spare what its own layer brought, in whatever
// order the tar has them (image-spec layer.md, "Whiteouts").
// SPDX-License-Identifier: Apache-2.0
#include "tree.h"

#include <sys/stat.h>

#include "format.h"
#include "log.h"

struct tnode {
	uint16_t mode;	// no type: a pending hard link
	uint32_t nlink; // names (directories: 1)
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint32_t xattrs;
	uint32_t number; // when serialised
	union {
		struct {
			uint64_t size;
			uint32_t content;
		} file;
		struct {
			uint32_t first;	 // newest entry
			uint32_t dirent; // its own name; TREE_NONE for the root
			uint32_t entries;
			uint32_t touched; // last layer that set something at or below it
		} dir;
		struct {
			uint32_t name, len; // target in the heap
		} link;
		struct {
			uint32_t major, minor;
		} dev;
		struct {
			uint32_t number; // in tree.pending
			uint32_t dirent; // its only name
		} pending;
	};
};

struct tdirent {
	uint32_t dir, node;
	uint32_t next, prev; // in the directory
	uint32_t chain;	     // in the hash table
	uint32_t name;	     // offset in the heap
	uint16_t name_len;
	uint16_t layer;
};

struct pending { // a hard link whose target has not been seen: a node without a type keeps its place
	uint32_t node;
	uint32_t path, target; // in the heap
	uint32_t path_len, target_len;
	bool seen; // on the way from another one
};

struct tree {
	struct tnode *nodes;
	struct tdirent *dirents;
	struct content *contents;
	size_t n_nodes, cap_nodes, n_dirents, cap_dirents, n_contents, cap_contents;
	uint32_t free_node, free_dirent; // lists of released ones, linked by .number / .next
	size_t live_nodes;
	uint32_t *table;
	size_t table_size, n_names;
	uint32_t *by_sha; // open addressing over contents
	size_t by_sha_size;
	struct buf heap;     // names and link targets
	struct buf xattrs;   // serialised sets ...
	uint32_t *xattr_off; // ... and where each begins
	size_t n_xattrs, cap_xattrs;
	struct pending *pending;
	size_t n_pending, cap_pending;
	uint32_t layer;
};

static struct tnode *dir_of(struct tree *t, uint32_t n)
{
	return S_ISDIR(t->nodes[n].mode) ? &t->nodes[n] : NULL;
}

// ---- names ----

static uint32_t hash_bytes(uint32_t h, const void *p, size_t n) // FNV-1a, 32 bit
{
	const uint8_t *b = p;

	for (size_t i = 0; i < n; i++)
		h = (h ^ b[i]) * 16777619u;
	return h ^ h >> 15;
}

static uint32_t name_hash(uint32_t dir, const char *name, size_t len)
{
	return hash_bytes(2166136261u ^ dir * 2654435761u, name, len);
}

static const char *name_of(const struct tree *t, const struct tdirent *d)
{
	return (const char *)t->heap.data + d->name;
}

static uint32_t find_name(const struct tree *t, uint32_t dir, const char *name, size_t len)
{
	uint32_t d = t->table[name_hash(dir, name, len) & (t->table_size - 1)];

	for (; d != TREE_NONE; d = t->dirents[d].chain) {
		const struct tdirent *e = &t->dirents[d];

		if (e->dir == dir && e->name_len == len && !memcmp(name_of(t, e), name, len))
			break;
	}
	return d;
}

static void table_insert(struct tree *t, uint32_t d)
{
	struct tdirent *e = &t->dirents[d];
	uint32_t *slot =
		&t->table[name_hash(e->dir, name_of(t, e), e->name_len) & (t->table_size - 1)];

	e->chain = *slot;
	*slot = d;
}

static void table_grow(struct tree *t)
{
	size_t size = t->table_size ? t->table_size * 2 : 1024;

	t->table = xrealloc(t->table, size * sizeof *t->table);
	t->table_size = size;
	memset(t->table, 0xff, size * sizeof *t->table);
	for (size_t i = 0; i < t->n_dirents; i++)
		if (t->dirents[i].node != TREE_NONE)
			table_insert(t, (uint32_t)i);
}

static uint32_t heap_add(struct tree *t, const char *s, size_t len)
{
	uint32_t at = (uint32_t)t->heap.len;

	buf_add(&t->heap, s, len);
	return at;
}

// ---- nodes ----

static uint32_t new_node(struct tree *t)
{
	uint32_t n = t->free_node;

	if (n != TREE_NONE) {
		t->free_node = t->nodes[n].number;
	} else {
		t->nodes = xgrow(t->nodes, &t->cap_nodes, t->n_nodes + 1, sizeof *t->nodes);
		n = (uint32_t)t->n_nodes++;
	}
	t->nodes[n] = (struct tnode){ .xattrs = FMT_NO_XATTRS };
	t->live_nodes++;
	return n;
}

static void drop_node(struct tree *t, uint32_t n)
{
	if (--t->nodes[n].nlink)
		return;
	t->nodes[n] = (struct tnode){ .number = t->free_node };
	t->free_node = n;
	t->live_nodes--;
}

static void touch(struct tree *t, uint32_t dir)
{
	while (t->nodes[dir].dir.touched != t->layer) {
		t->nodes[dir].dir.touched = t->layer;
		if (!dir)
			return;
		dir = t->dirents[t->nodes[dir].dir.dirent].dir;
	}
}

// A new name in dir for node (its nlink is counted up).
static uint32_t link_node(struct tree *t, uint32_t dir, const char *name, size_t len, uint32_t node)
{
	uint32_t d = t->free_dirent, first = t->nodes[dir].dir.first;

	if (d != TREE_NONE) {
		t->free_dirent = t->dirents[d].next;
	} else {
		t->dirents =
			xgrow(t->dirents, &t->cap_dirents, t->n_dirents + 1, sizeof *t->dirents);
		d = (uint32_t)t->n_dirents++;
	}
	t->dirents[d] = (struct tdirent){
		.dir = dir,
		.node = node,
		.next = first,
		.prev = TREE_NONE,
		.name = heap_add(t, name, len),
		.name_len = (uint16_t)len,
		.layer = (uint16_t)t->layer,
	};
	if (first != TREE_NONE)
		t->dirents[first].prev = d;
	t->nodes[dir].dir.first = d;
	t->nodes[dir].dir.entries++;
	t->nodes[node].nlink++;
	if (S_ISDIR(t->nodes[node].mode))
		t->nodes[node].dir.dirent = d;
	if (++t->n_names > t->table_size)
		table_grow(t);
	else
		table_insert(t, d);
	return d;
}

static void unlink_dirent(struct tree *t, uint32_t d)
{
	struct tdirent *e = &t->dirents[d];
	uint32_t *slot =
		&t->table[name_hash(e->dir, name_of(t, e), e->name_len) & (t->table_size - 1)];
	uint32_t node = e->node;

	while (*slot != d)
		slot = &t->dirents[*slot].chain;
	*slot = e->chain;
	if (e->prev != TREE_NONE)
		t->dirents[e->prev].next = e->next;
	else
		t->nodes[e->dir].dir.first = e->next;
	if (e->next != TREE_NONE)
		t->dirents[e->next].prev = e->prev;
	t->nodes[e->dir].dir.entries--;
	t->n_names--;
	e->node = TREE_NONE;
	e->next = t->free_dirent;
	t->free_dirent = d;
	drop_node(t, node);
}

// A directory of a lower layer that has been hidden, but stays for what this layer has put below
// it: what the lower layer said of it is gone.
static void forget_dir(struct tree *t, uint32_t d)
{
	struct tnode *n = &t->nodes[t->dirents[d].node];

	n->mode = S_IFDIR | 0755;
	n->uid = n->gid = n->mtime_ns = 0;
	n->mtime = 0;
	n->xattrs = FMT_NO_XATTRS;
	t->dirents[d].layer = (uint16_t)t->layer;
}

// Removes a directory's name when nothing is left below it.
static void drop_dir(struct tree *t, uint32_t d)
{
	if (t->nodes[t->dirents[d].node].dir.entries)
		forget_dir(t, d);
	else
		unlink_dirent(t, d);
}

// Removes what lower layers (all = false) or all layers (true) have put below a directory. No
// recursion: the walk goes down to a directory's first remaining candidate and up again through the
// parents.
static void empty_dir(struct tree *t, uint32_t top, bool all)
{
	uint32_t dir = top, d = t->nodes[top].dir.first;

	for (;;) {
		struct tdirent *e;
		uint32_t next;

		if (d == TREE_NONE) {
			uint32_t own = t->nodes[dir].dir.dirent;

			if (dir == top)
				return;
			next = t->dirents[own].next;
			dir = t->dirents[own].dir;
			if (all || t->dirents[own].layer < t->layer)
				drop_dir(t, own);
			d = next;
			continue;
		}
		e = &t->dirents[d];
		if (S_ISDIR(t->nodes[e->node].mode)) {
			dir = e->node;
			d = t->nodes[dir].dir.first;
			continue;
		}
		next = e->next;
		if (all || e->layer < t->layer)
			unlink_dirent(t, d);
		d = next;
	}
}

// ---- walking to an entry's place ----

static uint32_t make_dir(struct tree *t, uint32_t parent, const char *name, size_t len)
{
	uint32_t n = new_node(t);

	t->nodes[n].mode = S_IFDIR | 0755;
	t->nodes[n].dir.first = t->nodes[n].dir.dirent = TREE_NONE;
	t->nodes[n].dir.touched = TREE_NONE;
	link_node(t, parent, name, len, n);
	return n;
}

// The directory of path[0..len), made where missing (0755, root, time 0). A component that is not a
// directory is replaced by one: this is what a union of unpacked layers shows (docker, podman);
// links are never followed.
static uint32_t walk_dirs(struct tree *t, const char *path, size_t len)
{
	uint32_t dir = 0;

	for (size_t at = 0; at < len;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t n = slash ? (size_t)(slash - path) - at : len - at;
		uint32_t d = find_name(t, dir, path + at, n);

		if (d != TREE_NONE && !dir_of(t, t->dirents[d].node)) {
			unlink_dirent(t, d);
			d = TREE_NONE;
		}
		dir = d == TREE_NONE ? make_dir(t, dir, path + at, n) : t->dirents[d].node;
		at += n + 1;
	}
	return dir;
}

static uint32_t find_path(const struct tree *t, const char *path, size_t len)
{
	uint32_t node = 0;

	for (size_t at = 0; at < len;) {
		const char *slash = memchr(path + at, '/', len - at);
		size_t n = slash ? (size_t)(slash - path) - at : len - at;
		uint32_t d;

		if (!S_ISDIR(t->nodes[node].mode))
			return TREE_NONE;
		d = find_name(t, node, path + at, n);
		if (d == TREE_NONE)
			return TREE_NONE;
		node = t->dirents[d].node;
		at += n + 1;
	}
	return node;
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

static int intern_xattrs(struct tree *t, const struct tar_entry *e, uint32_t *ret)
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

// ---- entries ----

#define HEAP_ENTRY_MAX 16384u // bytes of names that one entry can bring

#define WH ".wh."
#define WH_LEN 4u
#define WH_OPAQUE ".wh..wh..opq"

static void split(
	const struct tar_entry *e, size_t *ret_dir_len, const char **ret_base, size_t *ret_base_len)
{
	const char *slash = memrchr(e->path, '/', e->path_len);

	*ret_dir_len = slash ? (size_t)(slash - e->path) : 0;
	*ret_base = slash ? slash + 1 : e->path;
	*ret_base_len = e->path_len - (size_t)(*ret_base - e->path);
}

static bool is_whiteout(const char *base, size_t len)
{
	return len >= WH_LEN && !memcmp(base, WH, WH_LEN);
}

// The first directory on the way to an entry whose name is a whiteout's; NULL when there is none,
// as it should be.
static const char *whiteout_dir(const struct tar_entry *e, size_t dir_len)
{
	const char *s = e->path, *end = e->path + dir_len;

	while (s < end) {
		const char *slash = memchr(s, '/', (size_t)(end - s));

		if (is_whiteout(s, (size_t)((slash ? slash : end) - s)))
			return s;
		s = slash ? slash + 1 : end;
	}
	return NULL;
}

bool tree_skips(const struct tar_entry *e)
{
	const char *base;
	size_t dir_len, base_len;

	split(e, &dir_len, &base, &base_len);
	return is_whiteout(base, base_len) || whiteout_dir(e, dir_len);
}

static int bad_whiteout(const struct tar_entry *e, const char *layer)
{
	return warn_errno(-EBADMSG, "layer %s: malformed whiteout %s", layer,
		log_quote_n(e->path, e->path_len));
}

// .wh.NAME hides NAME of lower layers, .wh..wh..opq all of them in its directory; .wh..wh.* are
// aufs's own files, ignored.
static int apply_whiteout(struct tree *t, const struct tar_entry *e, size_t dir_len,
	const char *base, size_t len, const char *layer)
{
	uint32_t dir, d;

	// a hard link: aufs made its whiteouts so
	if (e->type != TAR_FILE && e->type != TAR_HARDLINK &&
		!(len >= 2 * WH_LEN && !memcmp(base + WH_LEN, WH, WH_LEN)))
		return bad_whiteout(e, layer);
	if (len == sizeof WH_OPAQUE - 1 && !memcmp(base, WH_OPAQUE, len)) {
		dir = find_path(t, e->path, dir_len);
		if (dir != TREE_NONE && dir_of(t, dir))
			empty_dir(t, dir, false);
		return 0;
	}
	if (len >= 2 * WH_LEN && !memcmp(base + WH_LEN, WH, WH_LEN))
		return 0;
	base += WH_LEN;
	len -= WH_LEN;
	if (!len || (len == 1 && base[0] == '.') || (len == 2 && !memcmp(base, "..", 2)))
		return bad_whiteout(e, layer);
	dir = find_path(t, e->path, dir_len);
	if (dir == TREE_NONE || !dir_of(t, dir))
		return 0;
	d = find_name(t, dir, base, len);
	if (d == TREE_NONE)
		return 0;
	if (dir_of(t, t->dirents[d].node))
		empty_dir(t, t->dirents[d].node, false);
	if (t->dirents[d].layer == t->layer)
		return 0;
	if (dir_of(t, t->dirents[d].node))
		drop_dir(t, d);
	else
		unlink_dirent(t, d);
	return 0;
}

static void set_common(struct tnode *n, const struct tar_entry *e, uint32_t xattrs)
{
	n->uid = e->uid;
	n->gid = e->gid;
	n->mtime = e->mtime;
	n->mtime_ns = e->mtime_ns;
	n->xattrs = xattrs;
	n->mode = (uint16_t)((n->mode & S_IFMT) | (e->mode & 07777));
}

static void set_dir(struct tree *t, const struct tar_entry *e, uint32_t dir, const char *base,
	size_t len, uint32_t xattrs)
{
	uint32_t d = len ? find_name(t, dir, base, len) : TREE_NONE, n = 0;

	if (len && d != TREE_NONE && !dir_of(t, t->dirents[d].node)) {
		unlink_dirent(t, d);
		d = TREE_NONE;
	}
	if (len) {
		n = d == TREE_NONE ? make_dir(t, dir, base, len) : t->dirents[d].node;
		t->dirents[t->nodes[n].dir.dirent].layer = (uint16_t)t->layer;
	}
	set_common(&t->nodes[n], e, xattrs);
}

// Makes room for a name that is not a directory: what stood there goes, a whole directory too.
static void clear_name(struct tree *t, uint32_t dir, const char *base, size_t len)
{
	uint32_t d = find_name(t, dir, base, len);

	if (d == TREE_NONE)
		return;
	if (dir_of(t, t->dirents[d].node))
		empty_dir(t, t->dirents[d].node, true);
	unlink_dirent(t, d);
}

static int set_other(struct tree *t, const struct tar_entry *e, uint32_t content, uint32_t dir,
	const char *base, size_t len, uint32_t xattrs)
{
	static const uint16_t type[] = { [TAR_FILE] = S_IFREG,
		[TAR_SYMLINK] = S_IFLNK,
		[TAR_CHR] = S_IFCHR,
		[TAR_BLK] = S_IFBLK,
		[TAR_FIFO] = S_IFIFO };
	struct tnode *n;
	uint32_t node;

	clear_name(t, dir, base, len);
	node = new_node(t);
	n = &t->nodes[node];
	n->mode = type[e->type];
	set_common(n, e, xattrs);
	if (e->type == TAR_FILE) {
		n->file.size = e->size;
		n->file.content = content;
	} else if (e->type == TAR_SYMLINK) {
		n->mode = S_IFLNK | 0777;
		n->link.name = heap_add(t, e->link, e->link_len);
		n->link.len = (uint32_t)e->link_len;
	} else if (e->type != TAR_FIFO) {
		n->dev.major = e->rdev_major;
		n->dev.minor = e->rdev_minor;
	}
	link_node(t, dir, base, len, node);
	return 0;
}

static bool is_pending(const struct tree *t, uint32_t node)
{
	return !(t->nodes[node].mode & S_IFMT);
}

// Keeps the link's place, so that a later entry of the same name wins as it should.
static void add_pending(
	struct tree *t, const struct tar_entry *e, uint32_t dir, const char *base, size_t len)
{
	uint32_t node, d;

	clear_name(t, dir, base, len);
	node = new_node(t);
	d = link_node(t, dir, base, len, node);
	t->nodes[node].pending.number = (uint32_t)t->n_pending;
	t->nodes[node].pending.dirent = d;
	t->pending = xgrow(t->pending, &t->cap_pending, t->n_pending + 1, sizeof *t->pending);
	t->pending[t->n_pending++] = (struct pending){ .node = node,
		.path = heap_add(t, e->path, e->path_len),
		.path_len = (uint32_t)e->path_len,
		.target = heap_add(t, e->link, e->link_len),
		.target_len = (uint32_t)e->link_len };
}

static int set_hardlink(
	struct tree *t, const struct tar_entry *e, uint32_t dir, const char *base, size_t len)
{
	uint32_t target = find_path(t, e->link, e->link_len), d;

	if (target == TREE_NONE || is_pending(t, target)) {
		add_pending(t, e, dir, base, len);
		return 0;
	}
	if (dir_of(t, target))
		return -EBADMSG;
	d = find_name(t, dir, base, len);
	if (d != TREE_NONE && t->dirents[d].node == target) { // to itself
		t->dirents[d].layer = (uint16_t)t->layer;
		return 0;
	}
	t->nodes[target].nlink++; // clear_name must not free it
	clear_name(t, dir, base, len);
	link_node(t, dir, base, len, target);
	t->nodes[target].nlink--;
	return 0;
}

static int bad_link(
	const char *layer, const char *path, size_t path_len, const char *target, size_t target_len)
{
	return warn_errno(-EBADMSG,
		"layer %s: hard link %s points to %s, which is missing or a directory", layer,
		log_quote_n(path, path_len), log_quote_n(target, target_len));
}

int tree_add(struct tree *t, const struct tar_entry *e, uint32_t content, const char *layer)
{
	const char *base, *hidden;
	size_t dir_len, len;
	uint32_t dir, xattrs;
	int r;

	split(e, &dir_len, &base, &len);
	hidden = whiteout_dir(e, dir_len);
	if (hidden) // aufs's own again, or nonsense
		return strncmp(hidden, WH WH, 2 * WH_LEN) ? bad_whiteout(e, layer) : 0;
	if (is_whiteout(base, len))
		return apply_whiteout(t, e, dir_len, base, len, layer);
	if (t->live_nodes >= TREE_MAX_NODES || t->heap.len > UINT32_MAX - HEAP_ENTRY_MAX)
		return warn_errno(-EBADMSG, "layer %s: more than %u files", layer, TREE_MAX_NODES);
	if (!len && e->type != TAR_DIR)
		return warn_errno(-EBADMSG, "layer %s: the root is not a directory", layer);
	if (e->type == TAR_SYMLINK && !e->link_len)
		return warn_errno(-EBADMSG, "layer %s: symlink %s has no target", layer,
			log_quote_n(e->path, e->path_len));
	if (e->type == TAR_CHR && !e->rdev_major && !e->rdev_minor)
		return warn_errno(-EBADMSG,
			"layer %s: %s is a character device 0:0 (an overlayfs whiteout); "
			"OCI layers mark deletions by names, not devices",
			layer, log_quote_n(e->path, e->path_len));
	if (intern_xattrs(t, e, &xattrs))
		return warn_errno(-EBADMSG,
			"layer %s: %s has malformed extended attributes, or too many", layer,
			log_quote_n(e->path, e->path_len));
	dir = walk_dirs(t, e->path, dir_len);
	touch(t, dir);
	if (e->type == TAR_DIR) {
		set_dir(t, e, dir, base, len, xattrs);
		return 0;
	}
	if (e->type != TAR_HARDLINK)
		return set_other(t, e, content, dir, base, len, xattrs);
	r = set_hardlink(t, e, dir, base, len);
	return r ? bad_link(layer, e->path, e->path_len, e->link, e->link_len) : 0;
}

static uint32_t target_of(const struct tree *t, uint32_t node)
{
	const struct pending *p = &t->pending[t->nodes[node].pending.number];

	return find_path(t, (const char *)t->heap.data + p->target, p->target_len);
}

// The file that a pending link ends at, over others of its kind; TREE_NONE: nothing, a directory,
// or a circle.
static uint32_t follow(struct tree *t, uint32_t node)
{
	while (node != TREE_NONE && is_pending(t, node)) {
		struct pending *p = &t->pending[t->nodes[node].pending.number];

		if (p->seen)
			return TREE_NONE;
		p->seen = true;
		node = target_of(t, node);
	}
	return node == TREE_NONE || dir_of(t, node) ? TREE_NONE : node;
}

// Settles a pending link and all on its way, so that a chain of any length is walked once.
static int settle(struct tree *t, uint32_t node)
{
	uint32_t file = follow(t, node);

	if (file == TREE_NONE)
		return -EBADMSG;
	while (is_pending(t, node)) {
		uint32_t next = target_of(t, node);

		t->dirents[t->nodes[node].pending.dirent].node = file;
		t->nodes[file].nlink++;
		drop_node(t, node);
		node = next;
	}
	return 0;
}

int tree_end_layer(struct tree *t, const char *layer)
{
	for (size_t i = 0; i < t->n_pending; i++) {
		const struct pending *p = &t->pending[i];
		const struct tnode *n = &t->nodes[p->node];
		const char *heap = (const char *)t->heap.data;

		// settled before, or its name has gone to a later entry (then the node may be
		// another one's by now)
		if (!n->nlink || !is_pending(t, p->node) || n->pending.number != i)
			continue;
		if (settle(t, p->node))
			return bad_link(layer, heap + p->path, p->path_len, heap + p->target,
				p->target_len);
	}
	t->n_pending = 0;
	return 0;
}

void tree_begin_layer(struct tree *t)
{
	t->layer++;
}

struct tree *tree_new(void)
{
	struct tree *t = xcalloc(1, sizeof *t);

	t->free_node = t->free_dirent = TREE_NONE;
	t->layer = UINT32_MAX; // the first layer is 0
	table_grow(t);
	new_node(t);
	t->nodes[0].mode = S_IFDIR | 0755;
	t->nodes[0].nlink = 1;
	t->nodes[0].dir.first = t->nodes[0].dir.dirent = t->nodes[0].dir.touched = TREE_NONE;
	return t;
}

void tree_free(struct tree *t)
{
	if (!t)
		return;
	free(t->pending);
	free(t->nodes);
	free(t->dirents);
	free(t->contents);
	free(t->table);
	free(t->by_sha);
	free(t->xattr_off);
	buf_fini(&t->heap);
	buf_fini(&t->xattrs);
	free(t);
}

uint32_t tree_nodes(const struct tree *t)
{
	return (uint32_t)t->live_nodes;
}

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

// ---- walks in path order ----

static _Thread_local const struct tree *sort_tree;

static int dirent_cmp(const void *a, const void *b)
{
	const struct tdirent *x = &sort_tree->dirents[*(const uint32_t *)a],
			     *y = &sort_tree->dirents[*(const uint32_t *)b];
	int c = memcmp(name_of(sort_tree, x), name_of(sort_tree, y), MIN(x->name_len, y->name_len));

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

	buf_add(p->names, name_of(p->t, e), e->name_len);
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
