// tree.c - the merged tree of an image while it is being built
//
// Nodes, names (dirents) and contents live in three growing arrays and refer to each other by
// number. Names are found through one hash table over (directory, name). Every name remembers the
// layer that set it last, so that a whiteout can spare what its own layer brought, in whatever
// order the tar has them (image-spec layer.md, "Whiteouts").
// SPDX-License-Identifier: Apache-2.0
#include "treeint.h"

#include "log.h"

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

static uint32_t find_name(const struct tree *t, uint32_t dir, const char *name, size_t len)
{
	uint32_t d = t->table[name_hash(dir, name, len) & (t->table_size - 1)];

	for (; d != TREE_NONE; d = t->dirents[d].chain) {
		const struct tdirent *e = &t->dirents[d];

		if (e->dir == dir && e->name_len == len && !memcmp(tree_name(t, e), name, len))
			break;
	}
	return d;
}

static void table_insert(struct tree *t, uint32_t d)
{
	struct tdirent *e = &t->dirents[d];
	uint32_t *slot =
		&t->table[name_hash(e->dir, tree_name(t, e), e->name_len) & (t->table_size - 1)];

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
		&t->table[name_hash(e->dir, tree_name(t, e), e->name_len) & (t->table_size - 1)];
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
	if (tree_intern_xattrs(t, e, &xattrs))
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
