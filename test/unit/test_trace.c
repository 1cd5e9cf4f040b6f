// test_trace.c - traces: every kind of line, every limit at -1, 0 and +1, merging, mapping onto an
// image, and back
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/trace.c"

#include "indexw.h"
#include "said.h"
#include "tap.h"

static char said_text[8192];

static int parse(struct trace *t, const char *s, size_t n)
{
	cleanup_free char *exact = xmalloc(n);
	int r;

	memcpy(exact, s, n); // so that a byte read beyond the end is caught
	said_begin();
	r = trace_parse(t, exact, n, "T");
	snprintf(said_text, sizeof said_text, "%s", said_end());
	return r;
}

static int parse_str(struct trace *t, const char *s)
{
	return parse(t, s, strlen(s));
}

// ---- lines ----

static void test_good(void)
{
	static const char text[] = "# a comment 1 2\n\n"
				   "0.000000 /a 0 4096\n"
				   "  1.5\t/b\\x20c\\x5c\\x0A/\\xff   7 8  \r\n"
				   "2 /\xc3\xa4 0 0\n"
				   "   # another\n"
				   "999999999.1234567 /z 1 4398046511103";
	struct trace t = { 0 };

	ok(!parse_str(&t, text) && t.n == 4 && !*said_text, "good lines");
	ok(t.e[0].us == 0 && !strcmp(trace_path(&t, &t.e[0]), "/a") && t.e[0].off == 0 &&
			t.e[0].len == 4096,
		"a plain one");
	ok(t.e[1].us == 1500000 && !strcmp(trace_path(&t, &t.e[1]), "/b c\\\n/\xff") &&
			t.e[1].off == 7 && t.e[1].len == 8,
		"escapes, blanks, carriage return");
	ok(t.e[2].us == 2000000 && !strcmp(trace_path(&t, &t.e[2]), "/\xc3\xa4"), "raw UTF-8");
	ok(t.e[3].us == 999999999123456 && t.e[3].len == TRACE_END_MAX - 1,
		"finer than a microsecond, no newline at the end");
	ok(!parse_str(&t, "") && !parse_str(&t, "\n\n#") && t.n == 4, "nothing");
	ok(!parse_str(&t, "3 /more 1 2\n") && t.n == 5 && t.e[4].seq == 4, "a second text");
	trace_fini(&t);
}

static void test_bad(void)
{
	static const struct {
		const char *line, *said;
	} v[] = { { "x /a 0 1", "seconds" }, { "-1 /a 0 1", "seconds" }, { ".5 /a 0 1", "seconds" },
		{ "1000000000 /a 0 1", "seconds" }, { "1.5x /a 0 1", "seconds" },
		{ "1e3 /a 0 1", "seconds" }, { "1", "second field" }, { "1 ", "second field" },
		{ "1 a 0 1", "second field" }, { "1 /a\\ 0 1", "second field" },
		{ "1 /a\\x4 0 1", "second field" }, { "1 /a\\x4", "second field" },
		{ "1 /a\\xg0 0 1", "second field" }, { "1 /a\\x00 0 1", "second field" },
		{ "1 /a\\n00 0 1", "second field" }, { "1 /a", "third field" },
		{ "1 /a -1 1", "third field" }, { "1 /a 0x1 1", "third field" },
		{ "1 /a 4398046511105 0", "third field" },
		{ "1 /a 99999999999999999999999 0", "third field" }, { "1 /a 0", "fourth field" },
		{ "1 /a 0 ", "fourth field" }, { "1 /a 0 1k", "fourth field" },
		{ "1 /a 4398046511104 1", "fourth field" }, { "1 /a 0 1 2", "more than four" },
		{ "1 /a 0 1 #", "more than four" } };
	struct trace t = { 0 };
	bool good = !parse_str(&t, "1 /kept 0 1\n");

	for (size_t i = 0; i < ARRAY_LEN(v); i++) {
		cleanup_free char *text = xasprintf("1 /x 0 1\n#\n%s\n2 /y 0 1\n", v[i].line);
		int r = parse_str(&t, text);

		if (!ok(r == -EBADMSG && strstr(said_text, "line 3") &&
				    strstr(said_text, v[i].said) && t.n == 1 && t.paths.len == 6,
			    "refused: %s", v[i].line))
			printf("# r=%d, said %s", r, said_text);
	}
	ok(good && !strcmp(trace_path(&t, &t.e[0]), "/kept"), "what was there is kept");
	ok(parse(&t, "1 /a\0b 0 1", 10) == -EBADMSG, "a NUL in a path");
	ok(parse(&t, "\0", 1) == -EBADMSG, "a NUL");
	trace_fini(&t);
}

// ---- limits ----

static void test_path_limit(void)
{
	for (size_t n = TRACE_PATH_MAX - 1; n <= TRACE_PATH_MAX + 1; n++) {
		cleanup_buf struct buf b = { 0 };
		cleanup_free char *path = xmalloc(n);
		struct trace t = { 0 };
		bool fits = n <= TRACE_PATH_MAX;

		memset(path, 'p', n);
		path[0] = '/';
		path[1] = '\n';
		buf_printf(&b, "1 /\\x0a");
		buf_add(&b, path + 2, n - 2);
		buf_printf(&b, " 0 1\n");
		ok(parse(&t, (char *)b.data, b.len) == (fits ? 0 : -EBADMSG) && t.n == fits,
			"a path of %zu bytes", n);
		trace_fini(&t);
		b.len = 0;
		trace_put(&b, 1, path, n, 0, 1);
		ok(b.len ? fits && !parse(&t, (char *)b.data, b.len) && t.n == 1 : !fits,
			"written");
		trace_fini(&t);
	}
}

static void test_entry_limit(void)
{
	for (size_t n = TRACE_ENTRIES_MAX - 1; n <= TRACE_ENTRIES_MAX + 1; n++) {
		cleanup_buf struct buf b = { 0 };
		struct trace t = { 0 };
		size_t first = n / 2;

		for (size_t i = 0; i < n - first; i++)
			buf_add(&b, "0 / 0 1\n", 8);
		ok(!parse(&t, (char *)b.data, first * 8), "half of %zu entries", n);
		ok(parse(&t, (char *)b.data, b.len) == (n <= TRACE_ENTRIES_MAX ? 0 : -EBADMSG) &&
				t.n == (n <= TRACE_ENTRIES_MAX ? n : first),
			"the other half");
		trace_merge(&t);
		ok(t.n == 1 && t.e[0].seq == 0, "are one");
		trace_fini(&t);
	}
}

static void test_text_limit(void)
{
	for (size_t n = TRACE_TEXT_MAX - 1; n <= TRACE_TEXT_MAX + 1; n++) {
		struct trace t = { 0 };
		cleanup_free char *p = xmalloc(n);

		memset(p, '\n', n);
		ok(parse(&t, p, n) == (n <= TRACE_TEXT_MAX ? 0 : -EBADMSG), "a text of %zu bytes",
			n);
		trace_fini(&t);
	}
}

// ---- writing, merging ----

static void test_put(void)
{
	cleanup_buf struct buf b = { 0 };
	struct trace t = { 0 };
	char path[257] = "/";

	trace_put(&b, 0.1234567, "/usr/bin/a b\\\x7f\xff", 15, 4096, 131072);
	ok(!strcmp(buf_str(&b), "0.123457 /usr/bin/a\\x20b\\x5c\\x7f\\xff 4096 131072\n"),
		"a line is written");
	for (unsigned c = 1; c < 256; c++)
		path[c] = (char)c;
	trace_put(&b, 2, path, 256, 0, 0);
	ok(!parse_str(&t, buf_str(&b)) && t.n == 2 && t.e[0].us == 123457 &&
			!strcmp(trace_path(&t, &t.e[1]), path),
		"and read again, whatever the bytes");
	trace_fini(&t);
}

// "path:off+len path:off+len ..."
static const char *entries(const struct trace *t)
{
	static char s[400];

	*s = 0;
	for (size_t i = 0; i < t->n; i++)
		snprintf(s + strlen(s), sizeof s - strlen(s), "%s%s:%llu+%llu", i ? " " : "",
			trace_path(t, &t->e[i]), (unsigned long long)t->e[i].off,
			(unsigned long long)t->e[i].len);
	return s;
}

static void test_merge(void)
{
	struct trace t = { 0 };

	trace_merge(&t);
	ok(!t.n, "an empty one");
	if (parse_str(&t, "5 /a 0 1\n1 /b 0 1\n3 /a 0 1\n3 /a 0 2\n") ||
		parse_str(&t, "1 /c 0 1\n2 /a 0 1\n1 /b 0 1\n3 /a 1 1\n"))
		abort();
	trace_merge(&t);
	ok(!strcmp(entries(&t), "/b:0+1 /c:0+1 /a:0+1 /a:0+2 /a:1+1"), "merged: %s", entries(&t));
	trace_fini(&t);
}

// ---- onto an image ----

// Files (blocks of 4096): space 0: /d/one 3 blocks and 5 bytes at 0, /two 1 block at 4, /hole at 5
// (2 blocks, zeros), /last at 7; space 1: /d/big 200 blocks at 64; /d/same has the extent of
// /d/one; /link -> two; /empty.
static struct index *ix;

static void add_file(struct tree *tree, const char *path, const struct content *c)
{
	struct tar_entry e = {
		.type = TAR_FILE, .path = path, .path_len = strlen(path), .size = c ? c->size : 0
	};

	if (tree_add(tree, &e, c ? tree_add_content(tree, c) : TREE_NONE, "t"))
		abort();
}

static void add_chunk(struct index_parts *p, uint32_t space, uint32_t blocks, enum codec codec)
{
	struct fmt_space *sp = &p->spaces[space];
	struct fmt_chunk c = { .block = sp->blocks,
		.blocks = blocks,
		.codec = (uint8_t)codec,
		.clen = codec == CODEC_ZERO ? 0 : 10 };

	sp->chunks++;
	sp->blocks += blocks;
	sp->blob_size += c.clen;
	memset(sp->blob, 1, sizeof sp->blob);
	buf_add(&p->chunks, &c, sizeof c);
}

static void make_index(void)
{
	struct index_parts p = { .n_spaces = 2 };
	struct tar_entry link = {
		.type = TAR_SYMLINK, .path = "link", .path_len = 4, .link = "two", .link_len = 3
	};
	struct content one = { .size = 3 * 4096 + 5, .space = 0, .block = 0 },
		       two = { .size = 4096, .space = 0, .block = 4 },
		       hole = { .size = 8192, .space = 0, .block = 5 },
		       last = { .size = 1, .space = 0, .block = 7 },
		       big = { .size = 200 * 4096, .space = 1, .block = 64 };

	p.tree = tree_new();
	p.spaces = xcalloc(2, sizeof *p.spaces);
	tree_begin_layer(p.tree);
	add_file(p.tree, "d/one", &one);
	add_file(p.tree, "d/same", &one);
	add_file(p.tree, "d/big", &big);
	add_file(p.tree, "two", &two);
	add_file(p.tree, "hole", &hole);
	add_file(p.tree, "last", &last);
	add_file(p.tree, "empty", NULL);
	if (tree_add(p.tree, &link, TREE_NONE, "t") || tree_end_layer(p.tree, "t"))
		abort();
	add_chunk(&p, 0, 5, CODEC_ZSTD);
	add_chunk(&p, 0, 2, CODEC_ZERO);
	add_chunk(&p, 0, 1, CODEC_ZSTD);
	add_chunk(&p, 1, 64, CODEC_ZSTD);
	add_chunk(&p, 1, 200, CODEC_ZSTD);
	if (index_build(&p, &ix))
		abort();
	index_parts_fini(&p);
}

// "space:block+blocks ..."
static const char *runs_of(const char *text, struct trace_stats *ret)
{
	static char s[2000];
	cleanup_buf struct buf b = { 0 };
	struct trace t = { 0 };
	uint64_t blocks = 0;

	if (parse_str(&t, text))
		abort();
	trace_merge(&t);
	buf_zero(&b, sizeof(struct fmt_run)); // what is there is not touched
	trace_runs(&t, ix, &b, ret);
	*s = 0;
	for (size_t i = 1; i < b.len / sizeof(struct fmt_run); i++) {
		const struct fmt_run *r = (const struct fmt_run *)b.data + i;

		snprintf(s + strlen(s), sizeof s - strlen(s), "%s%u:%u+%u", i > 1 ? " " : "",
			r->space, r->block, r->blocks);
		blocks += r->blocks;
	}
	trace_fini(&t);
	if (blocks != ret->blocks || b.data[0])
		abort();
	return s;
}

static void maps(const char *name, const char *text, const char *want)
{
	struct trace_stats st;
	const char *is = runs_of(text, &st);

	if (!ok(!strcmp(is, want), "%s", name))
		printf("# %s\n", is);
}

static void test_runs(void)
{
	struct trace_stats s;

	maps("a file", "0 /two 0 4096\n", "0:4+1");
	maps("in order of need", "2 /two 0 1\n1 /last 0 1\n", "0:7+1 0:4+1");
	maps("each block once", "0 /d/one 4096 1\n1 /d/one 0 99999\n2 /d/same 0 5\n",
		"0:1+1 0:0+1 0:2+2");
	maps("neighbours are one", "0 /d/one 0 4096\n1 /d/one 4096 12000\n2 /two 0 5\n", "0:0+5");
	maps("the last byte of a block", "0 /d/one 4095 1\n", "0:0+1");
	maps("across a block's edge", "0 /d/one 4095 2\n", "0:0+2");
	maps("zeros are left out", "0 /hole 0 8192\n", "");
	maps("at the end", "0 /d/one 12288 5\n1 /d/one 12293 1\n2 /d/one 12292 1000\n", "0:3+1");
	maps("beyond it, empty, missing, no file",
		"0 /two 4096 9\n1 /two 0 0\n2 /empty 0 9\n3 /nope 0 9\n4 /d 0 9\n5 /link 0 9\n6 / 0 9\n"
		"7 /two/x 0 9\n8 /d/../two 0 9\n9 /link/x 0 9\n",
		"");
	maps("slashes and dots", "0 //./two 0 9\n", "0:4+1");
	maps("over words of the map",
		"0 /d/big 40960 4096\n1 /d/big 278528 8192\n2 /d/big 0 819200\n3 /d/big 0 819200\n",
		"1:74+1 1:132+2 1:64+10 1:75+57 1:134+130");
	runs_of("0 /two 0 9999\n1 /nope 0 100\n2 /d/one 4 8\n3 /two 0 1\n", &s);
	ok(s.entries == 4 && s.found == 3 && s.bytes == 10108 && s.covered == 4096 + 8 + 1 &&
			s.blocks == 2,
		"what is covered");
}

// Every block of every file, in any order, against a model.
static void test_random(void)
{
	uint32_t seed = 1;
	bool good = true;

	for (unsigned round = 0; round < 200 && good; round++) {
		cleanup_buf struct buf b = { 0 }, runs = { 0 };
		bool seen[200] = { false };
		struct trace t = { 0 };
		struct trace_stats s;
		size_t at = 0;

		for (unsigned i = 0; i < 40; i++) {
			seed = seed * 1664525u + 1013904223u;
			buf_printf(&b, "%u /d/big %u %u\n", i, (seed >> 8) % (200 * 4096),
				(seed >> 16) % 100000);
		}
		if (parse(&t, (char *)b.data, b.len))
			abort();
		trace_runs(&t, ix, &runs, &s);
		for (size_t i = 0; i < runs.len / sizeof(struct fmt_run); i++) {
			const struct fmt_run *r = (const struct fmt_run *)runs.data + i;

			for (uint32_t k = 0; k < r->blocks; k++) {
				good &= !seen[r->block + k - 64];
				seen[r->block + k - 64] = true;
				at++;
			}
		}
		for (size_t i = 0; i < t.n; i++) {
			uint64_t end = MIN(t.e[i].off + t.e[i].len, 200 * 4096ull);

			for (uint64_t o = t.e[i].off; o < end; o++)
				good &= seen[o / 4096];
		}
		good &= at == s.blocks;
		trace_fini(&t);
	}
	ok(good, "random ranges: all of them, nothing twice");
}

// ---- back ----

static void is_at(
	const struct trace_files *f, uint32_t space, uint32_t block, const char *path, uint64_t off)
{
	cleanup_buf struct buf b = { 0 };
	uint64_t o = 77;
	const struct trace_file *tf = trace_file_at(f, space, block, &o);
	bool good = path ? tf != NULL : !tf && o == 77;

	buf_add(&b, "junk", 4);
	if (tf && path) {
		trace_file_path(f, tf, &b);
		good = !strcmp(buf_str(&b), path) && o == off && trace_node(ix, path) == tf->node;
	}
	ok(good, "block %u:%u is of %s", space, block, path ? path : "no file");
}

static void test_files(void)
{
	struct trace_files *f;

	if (trace_files(ix, &f))
		abort();
	is_at(f, 0, 0, "/d/one", 0);
	is_at(f, 0, 3, "/d/one", 3 * 4096);
	is_at(f, 0, 4, "/two", 0);
	is_at(f, 0, 6, "/hole", 4096);
	is_at(f, 0, 7, "/last", 0);
	is_at(f, 0, 8, NULL, 0);
	is_at(f, 1, 0, NULL, 0);
	is_at(f, 1, 63, NULL, 0);
	is_at(f, 1, 64, "/d/big", 0);
	is_at(f, 1, 263, "/d/big", 199 * 4096);
	is_at(f, 1, 264, NULL, 0);
	is_at(f, 2, 0, NULL, 0);
	is_at(f, UINT32_MAX, UINT32_MAX, NULL, 0);
	trace_files_free(f);
	trace_files_free(NULL);
}

int main(void)
{
	test_good();
	test_bad();
	test_path_limit();
	test_entry_limit();
	test_text_limit();
	test_put();
	test_merge();
	make_index();
	test_runs();
	test_random();
	test_files();
	index_free(ix);
	return tap_end();
}
