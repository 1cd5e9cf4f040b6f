// test_tarw.c - what tarw.c writes, tar.c reads back as it was: extremes of every field
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/tarw.c"

#include "indexw.h"
#include "tap.h"
#include "tar.h"

#define NAME_100                                                                                   \
	"0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567" \
	"890123456789"

static const struct tar_xattr xattrs[] = {
	{ "security.capability", (const uint8_t *)"\1\0\0\2\n=\0", 19, 7 },
	{ "user.empty", (const uint8_t *)"", 10, 0 },
	{ "user.p%rcent", (const uint8_t *)"x", 12, 1 },
};

// In path order: that of the archive.
static const struct tar_entry entries[] = {
	{ TAR_DIR, "d", 1, NULL, 0, 01777, 0, 0, 0, 0, 0, 0, 0, NULL, 0, false },
	{ TAR_FILE, "d/" NAME_100 "x", 103, NULL, 0, 06755, 2097151, 2097152, 1, 1, 0, 0, 0, NULL,
		0, false },
	{ TAR_FILE, "e", 1, NULL, 0, 0, UINT32_MAX, 7, -1, 500000000, 0, 0, 0, xattrs, 3, false },
	{ TAR_SYMLINK, "f", 1, NAME_100, 100, 0777, 0, 0, 8589934591, 0, 0, 0, 0, NULL, 0, false },
	{ TAR_SYMLINK, "g", 1, NAME_100 "y", 101, 0777, 0, 0, 8589934592, 0, 0, 0, 0, NULL, 0,
		false },
	{ TAR_CHR, "h", 1, NULL, 0, 0666, 0, 0, -2, 999999999, 4095, 1048575, 0, NULL, 0, false },
	{ TAR_BLK, "i", 1, NULL, 0, 0600, 0, 0, -1, 1, 0, 0, 0, NULL, 0, false },
	{ TAR_FIFO, "j", 1, NULL, 0, 0600, 0, 0, -100, 0, 0, 0, 0, NULL, 0, false },
	{ TAR_FILE, NAME_100, 100, NULL, 0, 0600, 0, 0, 5, 120000000, 0, 0, 0, NULL, 0, false },
};

static struct index *make(void)
{
	struct index_parts parts = { .tree = tree_new() };
	struct index *ix;
	bool good = true;

	tree_begin_layer(parts.tree);
	for (size_t i = 0; i < ARRAY_LEN(entries); i++)
		good &= !tree_add(parts.tree, &entries[i], TREE_NONE, "L");
	good &= !tree_end_layer(parts.tree, "L") && !index_build(&parts, &ix);
	if (!good)
		abort();
	index_parts_fini(&parts);
	return ix;
}

static bool same_text(const char *a, size_t n, const char *b, size_t m)
{
	return n == m && !memcmp(a, b, n);
}

static bool same_xattrs(const struct tar_entry *a, const struct tar_entry *b)
{
	bool same = a->n_xattrs == b->n_xattrs;

	for (size_t i = 0; same && i < a->n_xattrs; i++) {
		const struct tar_xattr *x = &a->xattrs[i], *y = &b->xattrs[i];

		same = same_text(x->name, x->name_len, y->name, y->name_len) &&
			same_text((const char *)x->value, x->value_len, (const char *)y->value,
				y->value_len);
	}
	return same;
}

static bool same(const struct tar_entry *a, const struct tar_entry *b)
{
	return a->type == b->type && same_text(a->path, a->path_len, b->path, b->path_len) &&
		a->link_len == b->link_len &&
		same_text(
			a->link ? a->link : "", a->link_len, b->link ? b->link : "", b->link_len) &&
		a->mode == b->mode && a->uid == b->uid && a->gid == b->gid &&
		a->mtime == b->mtime && a->mtime_ns == b->mtime_ns &&
		a->rdev_major == b->rdev_major && a->rdev_minor == b->rdev_minor &&
		a->size == b->size && same_xattrs(a, b);
}

static void test_round_trip(void)
{
	cleanup_buf struct buf b = { 0 };
	struct index *ix = make();
	struct stream *in;
	struct tar_entry e;
	struct tar *t;
	bool good = true;

	for (size_t i = 0; i < ARRAY_LEN(entries); i++)
		good &= !tarw_entry(&b, ix, index_path(ix, entries[i].path), entries[i].path, NULL);
	ok(good && b.len % TAR_BLOCK == 0, "entries are written");
	buf_zero(&b, TARW_END);
	in = stream_of_mem(b.data, b.len);
	t = tar_open(in, "written");
	for (size_t i = 0; i < ARRAY_LEN(entries); i++)
		ok(tar_next(t, &e) == 1 && same(&e, &entries[i]), "read back: %.20s",
			entries[i].path);
	ok(tar_next(t, &e) == 0, "and no more");
	tar_close(t);
	stream_close(in);
	index_free(ix);
}

static void test_link(void)
{
	cleanup_buf struct buf b = { 0 };
	struct index *ix = make();
	struct tar_entry e;
	struct stream *in;
	struct tar *t;
	int r = tarw_entry(&b, ix, index_path(ix, "e"), "z", "d/" NAME_100 "x");

	in = stream_of_mem(b.data, b.len);
	t = tar_open(in, "written");
	ok(!r && tar_next(t, &e) == 1 && e.type == TAR_HARDLINK && !strcmp(e.path, "z") &&
			same_text(e.link, e.link_len, "d/" NAME_100 "x", 103) && !e.n_xattrs,
		"a further name");
	tar_close(t);
	stream_close(in);
	index_free(ix);
}

// A record's length counts its own digits.
static void test_records(void)
{
	bool good = true;

	for (size_t n = 0; n < 1100; n++) {
		cleanup_buf struct buf b = { 0 }, v = { 0 };
		char *end;

		buf_zero(&v, n);
		add_record(&b, "k", 1, v.data, n);
		good &= strtoul(buf_str(&b), &end, 10) == b.len && *end == ' ' &&
			b.data[b.len - 1] == '\n';
	}
	ok(good, "the length of records of every size");
}

static void test_octal(void)
{
	char f[8];

	ok(put_octal(f, 8, 07777777) && !memcmp(f, "7777777", 7), "the largest number of a field");
	ok(!put_octal(f, 8, 010000000), "one more");
	ok(put_octal(f, 8, 0) && !memcmp(f, "0000000", 7), "zero");
}

int main(void)
{
	test_records();
	test_octal();
	test_round_trip();
	test_link();
	return tap_end();
}
