// fuzz_erofs.c - EROFS metadata of random trees: built, read back by a reader of our own, equal
// SPDX-License-Identifier: Apache-2.0
//
// The input is a program: each step adds an entry to a tree, which goes through tree, index and
// erofs_build. What index_open has accepted must be built.
#include "../unit/erofsread.h"
#include "format.h"
#include "indexw.h"
#include "log.h"
#include "tree.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct input {
	const uint8_t *p;
	size_t n;
};

static uint32_t take(struct input *in, unsigned bytes)
{
	uint32_t v = 0;

	while (bytes-- && in->n) {
		v = v << 8 | *in->p++;
		in->n--;
	}
	return v;
}

// A path of up to three parts, of names that collide, sort around "." and are sometimes long.
static void make_path(struct input *in, char out[static 1024])
{
	size_t len = 0;

	for (uint32_t parts = 1 + take(in, 1) % 3; parts--;) {
		uint32_t c = take(in, 1), n = c % 8 == 7 ? take(in, 1) : 1 + c % 3;

		for (uint32_t i = 0; i < n; i++) {
			char b = (char)(c % 8 == 7 ? (uint8_t) "-./0a\xff"[(c / 8 + i) % 6]
						   : take(in, 1));
			out[len++] = b && b != '/' ? b : '.';
		}
		if (!n || strspn(out + len - n, ".") >= n)
			out[len++] = 'x';
		out[len++] = '/';
	}
	out[len - 1] = '\0';
}

static size_t make_xattrs(
	struct input *in, struct tar_xattr out[static 8], char names[static 8][40])
{
	static const char *const prefixes[] = { "user.", "trusted.", "security.",
		"system.posix_acl_access", "system.posix_acl_default", "btrfs.", "user" };
	static const uint8_t value[65000];
	size_t n = take(in, 1) % 8;

	for (size_t i = 0; i < n; i++) {
		uint32_t how = take(in, 1);

		snprintf(names[i], 40, "%s%.*s", prefixes[how % 7], (int)(how / 7 % 3),
			i % 2 ? "bb" : "ab");
		out[i] = (struct tar_xattr){ .name = names[i],
			.name_len = (uint32_t)strlen(names[i]),
			.value = value,
			.value_len = take(in, 1) << (how >> 5) };
	}
	return n;
}

#define SPACES 3
// One of the paths that were added last; a hard link to nothing would end the run.
static char seen[16][1024];
static uint32_t n_seen;

static void add(struct input *in, struct tree *t, uint32_t blocks[static SPACES])
{
	static const enum tar_type types[] = { TAR_FILE, TAR_FILE, TAR_DIR, TAR_SYMLINK,
		TAR_HARDLINK, TAR_CHR, TAR_BLK, TAR_FIFO };
	char path[1024], link[1024], target[4096], names[8][40];
	struct tar_xattr xattrs[8];
	uint32_t content = TREE_NONE;
	struct tar_entry e = { .type = types[take(in, 1) % 8], .path = path, .link = link };

	make_path(in, path);
	snprintf(link, sizeof link, "%s", seen[take(in, 1) % 16]);
	e.path_len = strlen(path);
	e.link_len = strlen(link);
	e.mode = take(in, 2) & 07777;
	e.uid = take(in, 4);
	e.gid = take(in, 1);
	e.mtime = (int32_t)take(in, 4);
	e.mtime_ns = take(in, 4) % 1000000000;
	e.rdev_major = 1 + take(in, 2) % 4095;
	e.rdev_minor = take(in, 3) % 1048576;
	e.n_xattrs = make_xattrs(in, xattrs, names);
	e.xattrs = xattrs;
	if (e.type == TAR_SYMLINK) {
		e.link_len = 1 + take(in, 2) % 4095;
		memset(target, 'l', e.link_len);
		target[e.link_len] = '\0';
		e.link = target;
	}
	if (e.type == TAR_FILE)
		e.size = take(in, 3);
	if (e.size) {
		struct content c = { .size = e.size, .space = take(in, 1) % SPACES };

		c.block = blocks[c.space];
		blocks[c.space] += (uint32_t)blocks_of(e.size);
		content = tree_add_content(t, &c);
	}
	if ((e.type == TAR_HARDLINK && !*link) || tree_add(t, &e, content, "fuzz"))
		return; // refused, as a layer's entry would be
	if (e.type != TAR_DIR && e.type != TAR_HARDLINK)
		memcpy(seen[n_seen++ % 16], path, sizeof path);
}

static void zero_chunks(struct index_parts *parts, const uint32_t blocks[static SPACES])
{
	parts->spaces = xcalloc(SPACES, sizeof *parts->spaces);
	parts->n_spaces = SPACES;
	for (uint32_t i = 0; i < SPACES; i++) {
		struct fmt_chunk c = { .blocks = blocks[i], .codec = CODEC_ZERO };

		parts->spaces[i].blocks = blocks[i];
		parts->spaces[i].chunks = blocks[i] != 0;
		if (blocks[i])
			buf_add(&parts->chunks, &c, sizeof c);
	}
}

static void check(const struct index *ix)
{
	struct erofs_image *im;
	char why[300];

	if (erofs_build(ix, -1, &im))
		abort();
	for (int p = EROFS_FLAT; p <= EROFS_DEVICES; p++)
		if (!er_check(ix, im, (enum erofs_placement)p, why)) {
			fprintf(stderr, "%s\n", why);
			abort();
		}
	erofs_free(im);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct input in = { data, size };
	uint32_t blocks[SPACES] = { 0 };
	struct index_parts parts = { .tree = tree_new() };
	struct index *ix;

	log_level = LOG_QUIET;
	memset(seen, 0, sizeof seen);
	n_seen = 0;
	tree_begin_layer(parts.tree);
	while (in.n)
		add(&in, parts.tree, blocks);
	if (!tree_end_layer(parts.tree, "fuzz")) {
		zero_chunks(&parts, blocks);
		if (index_build(&parts, &ix))
			abort();
		check(ix);
		index_free(ix);
	}
	index_parts_fini(&parts);
	return 0;
}
