// test_tree.c - layers on top of each other: whiteouts, replacements, hard links, attributes; then
// random sequences against a naive model (treemodel.h)
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/tree.c"

#include "said.h"
#include "tap.h"
#include "treemodel.h"
#include "walkindex.h"

// ---- a tree from a script ----
//
// Entries are separated by spaces, "|" begins a layer: "a/" directory, "a=3" file of mode 03,
// "a->b" symlink, "a=>b" hard link, "a!" fifo, anything else a file of mode 0644.

static void add_entry(struct tar_entry *e, char *word)
{
	char *arrow;

	*e = (struct tar_entry){ .type = TAR_FILE, .path = word, .mode = 0644, .uid = 5 };
	if ((arrow = strstr(word, "=>"))) {
		e->type = TAR_HARDLINK;
	} else if ((arrow = strstr(word, "->"))) {
		e->type = TAR_SYMLINK;
	} else if ((arrow = strchr(word, '='))) {
		e->mode = (uint32_t)strtoul(arrow + 1, NULL, 8);
		*arrow = 0;
		arrow = NULL;
	} else if (word[strlen(word) - 1] == '!') {
		e->type = TAR_FIFO;
		word[strlen(word) - 1] = 0;
	} else if (word[strlen(word) - 1] == '/') {
		e->type = TAR_DIR;
		e->mode = 0701;
		word[strlen(word) - 1] = 0;
	}
	if (arrow) {
		*arrow = 0;
		e->link = arrow + 2;
		e->link_len = strlen(e->link);
	}
	e->path_len = strlen(e->path);
}

static int run_script(struct tree *t, const char *script)
{
	cleanup_free char *copy = xstrdup(script);
	char *save, *word;
	int r = 0;

	tree_begin_layer(t);
	for (word = strtok_r(copy, " ", &save); word && !r; word = strtok_r(NULL, " ", &save)) {
		struct tar_entry e;

		if (!strcmp(word, "|")) {
			r = tree_end_layer(t, "L");
			tree_begin_layer(t);
			continue;
		}
		add_entry(&e, word);
		r = tree_add(t, &e, TREE_NONE, "L");
	}
	return r ? r : tree_end_layer(t, "L");
}

static void list_dir(
	const struct index *ix, uint32_t dir, const char *prefix, uint32_t *first, struct buf *out)
{
	for (uint32_t i = 0; i < index_dir_count(ix, dir); i++) {
		struct dirent_view d;
		struct attr a;
		uint32_t n;

		index_dirent(ix, dir, i, &d);
		index_attr(ix, d.node, &a);
		buf_printf(out, "%s%s%.*s", out->len ? " " : "", prefix, (int)d.name_len, d.name);
		switch (d.type) {
		case S_IFDIR: {
			cleanup_free char *path =
				xasprintf("%s%.*s/", prefix, (int)d.name_len, d.name);

			buf_printf(out, a.uid == 5 ? "/" : "/(implied)");
			list_dir(ix, d.node, path, first, out);
			break;
		}
		case S_IFLNK:
			buf_printf(out, "->%.*s", (int)a.size, index_symlink(ix, d.node, &n));
			break;
		case S_IFIFO: buf_printf(out, "!"); break;
		default:
			if (a.nlink > 1)
				buf_printf(out, "#%u", d.node);
			if ((a.mode & 07777) != 0644)
				buf_printf(out, "=%o", a.mode & 07777);
		}
	}
}

// What stands where; a hard-linked file as "name#node".
static void gives(const char *name, const char *script, const char *want)
{
	cleanup_buf struct buf out = { 0 };
	struct tree *t = tree_new();
	uint32_t first = 0;
	struct index *ix;
	int r;

	r = run_script(t, script);
	if (!r)
		r = build_index(t, &ix);
	if (r) {
		ok(false, "%s: %s", name, strerror(-r));
	} else {
		list_dir(ix, 0, "", &first, &out);
		if (!ok(!strcmp(buf_str(&out), want), "%s", name))
			printf("# is   %s\n# want %s\n", buf_str(&out), want);
		walk_index(ix);
		index_free(ix);
	}
	tree_free(t);
}

static void refuses(const char *name, const char *script, const char *with)
{
	struct tree *t = tree_new();
	const char *said;
	int r;

	said_begin();
	r = run_script(t, script);
	said = said_end();
	if (!ok(r == -EBADMSG && strstr(said, with) && strstr(said, "layer L: "), "%s", name))
		printf("# r=%d, said %s", r, said);
	tree_free(t);
}

static void test_whiteouts(void)
{
	gives("whiteout of a file", "a b | .wh.a", "b");
	gives("of a directory with all below", "a/ a/b/ a/b/c a/d e | .wh.a", "e");
	gives("of a missing name", "a | .wh.b x/.wh.c", "a");
	gives("below a file", "a | a/.wh.b", "a");
	gives("spares its own layer, entry after", "a=600 | .wh.a a=1", "a=1");
	gives("spares its own layer, entry before", "a=600 | a=1 .wh.a", "a=1");
	gives("only in its own layer", "| a .wh.a", "a");
	gives("of a directory with children of its layer, before", "a/ a/x a/s/ a/s/y | .wh.a a/n",
		"a/(implied) a/n");
	gives("of a directory with children of its layer, after", "a/ a/x a/s/ a/s/y | a/n .wh.a",
		"a/(implied) a/n");
	gives("deep children of its layer", "a/ a/b/ a/b/c/ a/b/c/d a/e/ | a/b/n .wh.a",
		"a/(implied) a/b/(implied) a/b/n");
	gives("and the directory's own entry, after", "a/ a/x | a/n .wh.a a/", "a/ a/n");
	gives("and the directory's own entry, before", "a/ a/x | a/ a/n .wh.a", "a/ a/n");
	gives("and only the directory's entry", "a/ a/x | a/ .wh.a", "a/");
	gives("a directory becomes a file", "a/ a/x | .wh.a a", "a");
	gives("in the first layer", ".wh.a a", "a");
	gives("then again", "a | .wh.a | a=1 | .wh.a | b", "b");
	gives("of a symlink, not its target", "d/ d/x l->d | .wh.l", "d/ d/x");
	gives("through a symlink", "d/ d/x l->d | l/.wh.x", "d/ d/x l->d");
	gives("of one of two hard links", "a b=>a | .wh.a", "b");
	gives("opaque", "a/ a/x a/s/ a/s/y b | a/.wh..wh..opq a/n", "a/ a/n b");
	gives("opaque after the entries", "a/ a/x a/s/ a/s/y b | a/n a/.wh..wh..opq", "a/ a/n b");
	gives("opaque with a kept subdirectory", "a/ a/s/ a/s/y | a/s/n a/.wh..wh..opq",
		"a/ a/s/(implied) a/s/n");
	gives("opaque with a described subdirectory", "a/ a/s/ a/s/y | a/s/ a/.wh..wh..opq",
		"a/ a/s/");
	gives("opaque of the root", "a/ a/x b | c .wh..wh..opq d", "c d");
	gives("opaque of a missing directory", "b | a/.wh..wh..opq", "b");
	gives("opaque of a file", "a | a/.wh..wh..opq", "a");
	gives("aufs's own files", "a | .wh..wh.plnk .wh..wh.aufs .wh..wh.plnk/1.2 d/.wh..wh.orph/x",
		"a");
	refuses("whiteout of nothing", "a | .wh.", "malformed whiteout '.wh.'");
	refuses("of .", "d/.wh..", "malformed whiteout");
	refuses("of ..", ".wh...", "malformed whiteout");
	refuses("as a directory", ".wh.a/ .wh.a/b", "malformed whiteout '.wh.a");
	refuses("as a directory further up", "x/.wh.a/b/c", "malformed whiteout");
	gives("a name that only looks so", ".wha .w/ wh.a x.wh.a", ".w/ .wha wh.a x.wh.a");
}

static void test_changes(void)
{
	gives("directory to file", "a/ a/x | a", "a");
	gives("directory to symlink", "a/ a/x | a->b", "a->b");
	gives("file to directory", "a | a/ a/x", "a/ a/x");
	gives("symlink to directory", "d/ a->d | a/ a/x", "a/ a/x d/");
	gives("file in the way", "a | a/x", "a/(implied) a/x");
	gives("symlink in the way is not followed", "d/ a->d | a/x", "a/(implied) a/x d/");
	gives("the same layer too", "d/ a->d a/x", "a/(implied) a/x d/");
	gives("directory again keeps its entries", "a/ a/x | a/", "a/ a/x");
	gives("implied, then described", "a/b a/", "a/ a/b");
	gives("duplicate file", "a=1 a=2", "a=2");
	gives("duplicate, other types", "a a->b a! a/ a", "a");
	gives("same layer: directory to file", "a/ a/b/ a/b/c a", "a");
	gives("names are reused", "a | .wh.a b | .wh.b c | d e", "c d e");
	gives("an empty image", "", "");
	gives("empty layers", "| | a | |", "a");
	refuses("the root as a file", "=644", "the root is not a directory");
	refuses("symlink to nothing", "a->", "has no target");
}

static void test_hardlinks(void)
{
	gives("hard link", "a b=>a", "a#1 b#1");
	gives("forward", "b=>a a", "a#1 b#1");
	gives("forward, over directories", "x/b=>y/a y/ y/a", "x/(implied) x/b#3 y/ y/a#3");
	gives("chain backward", "a b=>a c=>b", "a#1 b#1 c#1");
	gives("chain forward", "c=>b b=>a a", "a#1 b#1 c#1");
	gives("chain in the worst order", "d=>c b=>a c=>b a", "a#1 b#1 c#1 d#1");
	gives("across layers", "a | b=>a", "a#1 b#1");
	gives("of a symlink", "l->x m=>l", "l->x m->x");
	gives("to itself", "a=7 a=>a", "a=7");
	gives("to itself by another name of it", "a=7 b=>a a=>b", "a#1=7 b#1=7");
	gives("over a file", "a=7 b b=>a", "a#1=7 b#1=7");
	gives("over a directory", "a=7 b/ b/c b=>a", "a#1=7 b#1=7");
	gives("over the target's own directory", "d/ d/f=7 d=>d/f", "d=7");
	gives("then the target changes", "a=7 b=>a a=1", "a=1 b=7");
	gives("then the target goes", "a=7 b=>a | .wh.a", "b=7");
	gives("a later entry of the name wins over a forward link", "b=>a b=1 a=7", "a=7 b=1");
	gives("a forward link wins over an earlier entry", "b=1 b=>a a=7", "a#1=7 b#1=7");
	gives("a later directory wins", "b=>a b/ b/c a=7", "a=7 b/ b/c");
	gives("a later file wins over its directory", "d/b=>a d a=7", "a=7 d");
	gives("a whiteout of its own layer spares it", "b=1 | b=>a .wh.b a=7", "a#1=7 b#1=7");
	gives("and its directory", "d/ d/b=1 | d/b=>a .wh.d a=7", "a#1=7 d/(implied) d/b#1=7");
	gives("its target's name is a link itself", "l=>f f=>g f=1 g=2", "f#1=1 g=2 l#1=1");
	gives("whiteout of its own name again spares", "a b=>a | b=>b .wh.b", "a#1 b#1");
	gives("three names, one goes", "a b=>a c=>a | .wh.b", "a#1 c#1");
	refuses("to nothing", "b=>a", "hard link 'b' points to 'a', which is missing");
	refuses("to nothing in this layer", "a | b=>c", "missing");
	refuses("to a directory", "d/ b=>d", "is missing or a directory");
	refuses("forward to a directory", "b=>d d/", "is missing or a directory");
	refuses("to the root", "b=>", "missing or a directory");
	refuses("to itself, absent", "b=>b", "missing");
	refuses("a circle", "a=>b b=>c c=>a", "missing");
	refuses("a way into a circle", "x=>a a=>b b=>a", "missing");
	refuses("through a symlink", "d/ d/f l->d b=>l/f", "missing");
	refuses("to its own directory", "f f/x=>f", "missing or a directory");
	refuses("to what a whiteout has hidden", "a | .wh.a b=>a", "missing");
}

static void test_long_chain(void)
{
	enum { LINKS = 200000 };
	struct tree *t = tree_new();
	uint64_t start = now_ns();
	struct tar_entry e = { .type = TAR_HARDLINK };
	struct index *ix;
	struct attr a;
	int r = 0;

	tree_begin_layer(t);
	for (unsigned i = 0; i <= LINKS && !r; i++) {
		char path[32], link[32];

		snprintf(path, sizeof path, "n%u", i);
		snprintf(link, sizeof link, "n%u", i + 1);
		e.path = path, e.path_len = strlen(path), e.link = link, e.link_len = strlen(link);
		if (i == LINKS)
			e.type = TAR_FILE;
		r = tree_add(t, &e, TREE_NONE, "L");
	}
	if (!r)
		r = tree_end_layer(t, "L");
	if (!r)
		r = build_index(t, &ix);
	if (ok(!r, "a chain of %u forward links", LINKS)) {
		index_attr(ix, 1, &a);
		ok(a.nlink == LINKS + 1 && index_nodes(ix) == 2, "is one file of as many names");
		index_free(ix);
	}
	ok(now_ns() - start < 10000000000ull, "in linear time");
	tree_free(t);
}

// ---- one entry with everything ----

static int add_xattrs(struct tree *t, const char *path, const struct tar_xattr *x, size_t n)
{
	struct tar_entry e = {
		.type = TAR_FILE, .path = path, .path_len = strlen(path), .xattrs = x, .n_xattrs = n
	};

	return tree_add(t, &e, TREE_NONE, "L");
}

#define X(n, v)                                                                    \
	{                                                                          \
		.name = n, .name_len = sizeof(n) - 1, .value = (const uint8_t *)v, \
		.value_len = sizeof(v) - 1                                         \
	}

static void test_xattrs(void)
{
	static const struct tar_xattr some[] = { X("user.b", "1"), X("trusted.overlay.opaque", "y"),
		X("user.", ""), X("user.overlay.x", "y"), X("security.capability", "\1\0\0"),
		X("security.selinux", "s"), X("security.ima", "s"), X("user.a", "2"),
		X("security.SMACK64EXEC", "s"), X("security.evm", "s"),
		X("system.posix_acl_access", "acl"), X("user.overlayx", "z") };
	static const struct tar_xattr twice[] = { X("user.a", "1"), X("user.b", "1"),
		X("user.a", "2") },
				      unnamed[] = { X("", "1") };
	static const struct tar_xattr dropped[] = { X("trusted.overlay.opaque", "y") };
	struct tar_xattr reversed[ARRAY_LEN(some)];
	cleanup_free char *big = xcalloc(1, 70000), *name = xcalloc(1, 300);
	struct tar_xattr one = { .name = name, .value = (uint8_t *)big };
	struct tree *t = tree_new();
	cleanup_buf struct buf b = { 0 };
	struct index *ix;
	struct attr a;
	int r = 0;

	log_level = LOG_QUIET;
	memset(name, 'n', 299);
	tree_begin_layer(t);
	for (size_t i = 0; i < ARRAY_LEN(some); i++)
		reversed[i] = some[ARRAY_LEN(some) - 1 - i];
	ok(!add_xattrs(t, "a", some, ARRAY_LEN(some)) &&
			!add_xattrs(t, "b", reversed, ARRAY_LEN(some)),
		"xattrs in any order");
	ok(add_xattrs(t, "c", twice, 3) == -EBADMSG, "a name twice");
	ok(add_xattrs(t, "c", unnamed, 1) == -EBADMSG, "no name");
	ok(!add_xattrs(t, "c", dropped, 1), "only such as are dropped");
	for (unsigned d = 0; d < 3; d++) {
		name[254 + d] = 0;
		one.name_len = 254 + d;
		one.value_len = 1;
		r = add_xattrs(t, "d", &one, 1);
		ok(r == (d == 2 ? -EBADMSG : 0), "name of %u bytes", one.name_len);
		name[254 + d] = 'n';
	}
	name[4] = 0;
	one.name_len = 4;
	for (unsigned d = 0; d < 3; d++) {
		one.value_len = FMT_XATTR_SET_MAX - 13 + d;
		r = add_xattrs(t, "e", &one, 1);
		ok(r == (d == 2 ? -EBADMSG : 0), "set of %u bytes", one.value_len + 12);
	}
	ok(!tree_end_layer(t, "L") && t->n_xattrs < 8, "equal sets are one");
	if (ok(!build_index(t, &ix), "they serialise")) {
		for (uint32_t i = 0; i < index_xattr_count(ix, index_path(ix, "b")); i++) {
			struct xattr_view x;

			index_xattr(ix, index_path(ix, "b"), i, &x);
			buf_printf(&b, "%.*s:%u ", (int)x.name_len, x.name, x.value_len);
		}
		ok(!strcmp(buf_str(&b),
			   "security.capability:3 system.posix_acl_access:3 user.:0 user.a:1 user.b:1 user.overlayx:1 "),
			"sorted, without overlayfs's and the security modules'");
		index_attr(ix, index_path(ix, "c"), &a);
		ok(!a.has_xattrs, "a set without anything is none");
		walk_index(ix);
		index_free(ix);
	}
	tree_free(t);
	// a total: each of these sets is another one
	t = tree_new();
	tree_begin_layer(t);
	one.value_len = 65000;
	t->xattrs.len = 0;
	for (unsigned i = 0; i < 20000 && !r; i++) {
		memcpy(big, &i, sizeof i);
		r = add_xattrs(t, "f", &one, 1);
	}
	ok(r == -EBADMSG && t->xattrs.len <= FMT_INDEX_MAX, "1.3 GB of different xattrs");
	tree_free(t);
	log_level = LOG_WARN;
}

static int add_one(struct tree *t, struct tar_entry e, const char *path)
{
	e.path = path;
	e.path_len = strlen(path);
	return tree_add(t, &e, TREE_NONE, "L");
}

static void test_entries(void)
{
	struct tree *t = tree_new();
	char name[256], deep[2 * TAR_DEPTH_MAX + 1];
	struct index *ix;
	struct attr a;
	struct tar_entry dev = { .type = TAR_CHR };

	log_level = LOG_QUIET;
	memset(name, 'n', 255);
	name[255] = 0;
	for (unsigned i = 0; i < TAR_DEPTH_MAX; i++)
		memcpy(deep + 2 * i, "d/", 2);
	deep[2 * TAR_DEPTH_MAX - 1] = 0;
	tree_begin_layer(t);
	ok(add_one(t, dev, "null") == -EBADMSG, "character device 0:0");
	ok(!add_one(t, (struct tar_entry){ .type = TAR_CHR, .rdev_minor = 1 }, "c"), "0:1");
	ok(!add_one(t, (struct tar_entry){ .type = TAR_BLK }, "b"), "block device 0:0");
	ok(!add_one(t,
		   (struct tar_entry){ .type = TAR_BLK,
			   .rdev_major = TAR_MAJOR_MAX,
			   .rdev_minor = TAR_MINOR_MAX },
		   "m"),
		"the highest device");
	ok(!add_one(t,
		   (struct tar_entry){ .type = TAR_FILE,
			   .mode = 07777,
			   .uid = UINT32_MAX,
			   .mtime = INT64_MIN,
			   .mtime_ns = 999999999 },
		   name),
		"a name of 255 bytes");
	ok(!add_one(t, (struct tar_entry){ .type = TAR_FILE }, deep), "%u components",
		TAR_DEPTH_MAX);
	ok(!add_one(t, (struct tar_entry){ .type = TAR_DIR, .mode = 01750, .gid = 3, .mtime = -1 },
		   ""),
		"the root");
	ok(!tree_end_layer(t, "L") && !build_index(t, &ix), "they serialise");
	index_attr(ix, 0, &a);
	ok(a.mode == (S_IFDIR | 01750) && a.gid == 3 && a.mtime == -1, "the root's attributes");
	index_attr(ix, index_path(ix, name), &a);
	ok(a.mode == (S_IFREG | 07777) && a.uid == UINT32_MAX && a.mtime == INT64_MIN &&
			a.mtime_ns == 999999999,
		"extreme attributes");
	index_attr(ix, index_path(ix, "m"), &a);
	ok(a.rdev_major == TAR_MAJOR_MAX && a.rdev_minor == TAR_MINOR_MAX, "device number");
	ok(index_path(ix, deep) != NODE_NONE, "the deep one");
	ok(tree_nodes(t) == index_nodes(ix), "tree_nodes");
	index_free(ix);
	tree_free(t);
	log_level = LOG_WARN;
}

// ---- contents ----

static uint32_t content_of(struct tree *t, uint8_t id, uint32_t space)
{
	struct content c = { .size = 10, .space = space, .block = TREE_NONE, .sha.b[0] = id };

	return tree_add_content(t, &c);
}

static void add_file(struct tree *t, const char *path, uint32_t content)
{
	struct tar_entry e = {
		.type = TAR_FILE, .path = path, .path_len = strlen(path), .size = 10
	};

	if (tree_add(t, &e, content, "L"))
		abort();
}

static int visit(void *arg, struct content *c)
{
	buf_printf(arg, "%c", c->sha.b[0]);
	return c->sha.b[0] == '!' ? -EIO : 0;
}

static void add_link(struct tree *t, const char *path, const char *to)
{
	struct tar_entry e = { .type = TAR_HARDLINK,
		.path = path,
		.path_len = strlen(path),
		.link = to,
		.link_len = strlen(to) };

	if (tree_add(t, &e, TREE_NONE, "L"))
		abort();
}

static void test_walk(void)
{
	struct tree *t = tree_new();
	cleanup_buf struct buf b = { 0 };
	struct digest sha = { { 'b' } };

	ok(tree_find_content(t, &sha, 10) == TREE_NONE, "no content yet");
	tree_begin_layer(t);
	add_file(t, "b", content_of(t, 'b', 0));
	add_file(t, "a/z", content_of(t, 'z', 0));
	add_file(t, "a.b", content_of(t, '.', 0));
	add_file(t, "a/b/c", content_of(t, 'c', 0));
	add_file(t, "ab", content_of(t, '?', 0));
	add_file(t, "ab", content_of(t, 'B', 0)); // the first one is dropped
	add_file(t, "a", content_of(t, 'x', 0));  // ... and all below a
	add_file(t, "a/y", content_of(t, 'y', 0));
	add_link(t, "s/f", "g/f");
	add_file(t, "g/f", content_of(t, 'g', 0));
	ok(!tree_end_layer(t, "L") && !tree_walk_layer(t, visit, &b), "walk");
	ok(!strcmp(buf_str(&b), "y.Bbgg"), "in path order, without what was dropped: %s",
		buf_str(&b));
	b.len = 0;
	tree_begin_layer(t);
	ok(!tree_walk_layer(t, visit, &b) && !b.len, "a new layer has nothing");
	add_file(t, "a/n", content_of(t, 'n', 1));
	add_link(t, "k", "b");
	ok(!tree_end_layer(t, "L") && !tree_walk_layer(t, visit, &b) && !strcmp(buf_str(&b), "nb"),
		"only what it set: %s", buf_str(&b));
	b.len = 0;
	// a name that only the resolution of a forward link brings into an untouched directory
	tree_begin_layer(t);
	add_link(t, "u/l", "f");
	add_link(t, "f", "h");
	add_file(t, "h", content_of(t, 'h', 2));
	ok(!tree_end_layer(t, "L") && !tree_walk_layer(t, visit, &b) && !strcmp(buf_str(&b), "hhh"),
		"forward links: %s", buf_str(&b));
	b.len = 0;
	tree_begin_layer(t);
	add_file(t, "1", content_of(t, '1', 3));
	add_file(t, "2", content_of(t, '!', 3));
	add_file(t, "3", content_of(t, '3', 3));
	ok(tree_walk_layer(t, visit, &b) == -EIO && !strcmp(buf_str(&b), "1!"),
		"the walk ends at an error");
	ok(tree_find_content(t, &sha, 10) == 0 && tree_find_content(t, &sha, 11) == TREE_NONE,
		"find by digest and size");
	for (unsigned i = 0; i < 5000; i++) {
		struct content c = { .size = i,
			.sha.b = { 7, 7, 7, 7, (uint8_t)i, (uint8_t)(i >> 8) } };

		(void)tree_add_content(t, &c);
	}
	bool all = true;

	for (unsigned i = 0; i < 5000; i++) {
		struct digest d = { { 7, 7, 7, 7, (uint8_t)i, (uint8_t)(i >> 8) } };
		uint32_t c = tree_find_content(t, &d, i);

		all &= c != TREE_NONE && tree_content(t, c)->size == i;
	}
	ok(all, "5000 contents whose digests collide in the table");
	tree_free(t);
}

static void test_skips(void)
{
	static const struct {
		const char *path;
		bool skip;
	} v[] = { { "a", false }, { ".wh.a", true }, { "a/.wh.b", true },
		{ "a/.wh..wh..opq", true }, { ".wh..wh.plnk/x", true }, { "a.wh.b", false },
		{ "", false } };
	bool good = true;

	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		struct tar_entry e = { .path = v[i].path, .path_len = strlen(v[i].path) };

		good &= tree_skips(&e) == v[i].skip;
	}
	ok(good, "tree_skips");
}

// As if there were that many already.
static void test_limit(void)
{
	for (int d = -1; d <= 1; d++) {
		struct tar_entry e = { .type = TAR_DIR, .path = "d", .path_len = 1 };
		struct tree *t = tree_new();
		int r;

		tree_begin_layer(t);
		t->live_nodes = (uint32_t)((int)TREE_MAX_NODES + d);
		said_begin();
		r = tree_add(t, &e, TREE_NONE, "L");
		ok((strstr(said_end(), "more than 16777216 files") != NULL) == (d >= 0) &&
				r == (d < 0 ? 0 : -EBADMSG),
			"one more than %u nodes: %d", TREE_MAX_NODES + (unsigned)d, r);
		tree_free(t);
	}
}

static void test_many(void)
{
	enum { FILES = 200000 };
	struct tree *t = tree_new();
	struct index *ix;
	bool good = true;

	for (unsigned round = 0; round < 3; round++) {
		tree_begin_layer(t);
		for (unsigned i = 0; i < FILES; i++) {
			char path[40];

			snprintf(path, sizeof path, "d%u/%s%u", i % 7, round == 1 ? ".wh.f" : "f",
				i);
			good &= !add_one(t, (struct tar_entry){ .type = TAR_FILE }, path);
		}
		good &= !tree_end_layer(t, "L");
	}
	ok(good && t->n_nodes < FILES + 100 && tree_nodes(t) == FILES + 8,
		"%u files, deleted, made again: the room is reused", FILES);
	ok(!build_index(t, &ix) && index_path(ix, "d3/f10") != NODE_NONE, "they serialise");
	index_free(ix);
	tree_free(t);
}

static void test_random(void)
{
	enum { RUNS = 3000, OPS = 40 };
	uint32_t seed = 1;
	unsigned taken = 0;

	log_level = LOG_QUIET;
	for (unsigned run = 0; run < RUNS; run++) {
		uint8_t op[4 * OPS];
		struct tree *t = tree_new();
		struct model m;
		const char *what = NULL, *path = "";
		struct index *ix;
		int r;

		for (size_t i = 0; i < sizeof op; i++) {
			seed = seed * 1664525u + 1013904223u;
			op[i] = (uint8_t)(seed >> 24);
			if (i % 4)
				continue;
			// mostly what is not refused: hard links to what is missing, devices,
			// whiteouts of nothing are rare
			if (seed % 64 && ((op[i] & 7) == 2 || (op[i] & 7) == 4 || (op[i] & 7) == 6))
				op[i] &= (uint8_t)~6u;
			if (seed % 64 && op[i] >> 3 == 0x1e)
				op[i] ^= 0x80;
			if (seed % 41 == 0)
				op[i] = 0xff;
		}
		model_init(&m);
		r = run_ops(t, &m, op, sizeof op);
		if (!r && !build_index(t, &ix)) {
			walk_index(ix);
			what = model_compare(&m, ix, &path);
			index_free(ix);
			taken++;
		} else if (r != -EBADMSG) {
			what = "refused by one of the two, or not serialised";
		}
		model_fini(&m);
		tree_free(t);
		if (what) {
			ok(false, "run %u: '%s': %s", run, path, what);
			return;
		}
	}
	log_level = LOG_WARN;
	ok(taken > RUNS / 2,
		"%u random sequences of %u entries are what the model says; %u were refused by both",
		RUNS, OPS, RUNS - taken);
}

int main(void)
{
	test_whiteouts();
	test_changes();
	test_hardlinks();
	test_long_chain();
	test_xattrs();
	test_entries();
	test_walk();
	test_skips();
	test_limit();
	test_many();
	test_random();
	return tap_end();
}
