// test_tarsparse.c - sparse files in tar archives, of GNU's old form and of the three in pax
// SPDX-License-Identifier: Apache-2.0
#include "tarmodel.h"

// ---- sparse files ----

static void test_sparse_gnu(void)
{
	struct buf a = { 0 };

	add_gnu_sparse(&a, 3, 1, 10, 3);
	add_head(&a, '0', "next", 0); // sha256 of "\0D\0D\0D\0\0\0\0"
	lists("GNU sparse, 3 extents", &a,
		"f sparse 644 0:0 7.000000000 10 469f78de\nf next" EMPTY "\n");
	add_gnu_sparse(&a, 0, 0, 10, 0);
	lists("GNU sparse, a hole alone", &a, "f sparse 644 0:0 7.000000000 10 01d448af\n");
	add_gnu_sparse(&a, 3, 1, 5, 3);
	refused("GNU sparse past its size", &a, "past the end");
	add_gnu_sparse(&a, 3, 1, 10, 4);
	refused("GNU sparse with too much data", &a, "disagree");
	add_gnu_sparse(&a, 3, 7, 20, 3);
	refused("GNU sparse with too little data", &a, "disagree");
	add_gnu_sparse(&a, 3, 1, 10, 3);
	put(a.data, SPARSE + 24, "00000000001");
	mend_sum(a.data);
	refused("GNU sparse, overlapping", &a, "overlap");
	add_gnu_sparse(&a, 3, 1, 10, 3);
	memcpy(a.data + SPARSE, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	mend_sum(a.data);
	refused("GNU sparse, negative", &a, "bad number");
	add_gnu_sparse(&a, 4, 1, 100, 4);
	a.data[EXTENDED] = 1;
	mend_sum(a.data);
	memset(a.data + 512, 0, 512);
	refused("GNU sparse, an empty block of extents", &a, "empty block");
	add_gnu_sparse(&a, 3, 1, 10, 3);
	memcpy(a.data + REAL, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12);
	mend_sum(a.data);
	refused("GNU sparse, a negative size", &a, "bad size");
	for (int over = -1; over <= 1; over++) {
		unsigned n = SPARSE_EXTENTS_MAX + (unsigned)over;

		add_gnu_sparse(&a, n, 1, 1 << 20, n);
		limit("GNU sparse extents", over, &a, "more than 65536 extents");
	}
	buf_fini(&a);
}

// A pax sparse file: records of a table, then the data.
static void add_pax_sparse(struct buf *a, const char *const *kv, const char *data)
{
	cleanup_buf struct buf r = { 0 };

	for (; kv[0]; kv += 2)
		add_record(&r, kv[0], kv[1], strlen(kv[1]));
	add_ext(a, 'x', r.data, r.len);
	add_head(a, '0', "GNUSparseFile.0/sparse", strlen(data));
	add_data(a, data, strlen(data));
}

#define GS "GNU.sparse."

static void test_sparse_pax(void)
{
	static const struct {
		const char *what;
		const char *kv[14];
		const char *data, *want, *words;
	} t[] = {
		{ "sparse 0.0",
			{ GS "size", "10", GS "numblocks", "2", GS "offset", "1", GS "numbytes",
				"1", GS "offset", "3", GS "numbytes", "1" },
			"DD", "f GNUSparseFile.0/sparse 644 0:0 7.000000000 10 127316c6\n", NULL },
		{ "sparse 0.1", { GS "size", "10", GS "map", "1,1,3,1", GS "name", "real" }, "DD",
			"f real 644 0:0 7.000000000 10 127316c6\n", NULL },
		{ "0.1, odd map", { GS "size", "10", GS "map", "1,1,3" }, "D", NULL, "bad number" },
		{ "0.1, junk map", { GS "size", "10", GS "map", "1,1,3,-1" }, "D", NULL,
			"bad number" },
		{ "0.1, overlap", { GS "size", "10", GS "map", "1,2,2,1" }, "DDD", NULL,
			"overlap" },
		{ "0.1, not sorted", { GS "size", "10", GS "map", "3,1,1,1" }, "DD", NULL,
			"overlap or are not in order" },
		{ "0.1, past the size", { GS "size", "3", GS "map", "1,1,3,1" }, "DD", NULL,
			"past the end" },
		{ "0.1, less data", { GS "size", "9", GS "map", "1,1,3,1" }, "D", NULL,
			"disagree" },
		{ "0.1, more data", { GS "size", "9", GS "map", "1,1,3,1" }, "DDD", NULL,
			"disagree" },
		{ "0.1, overflow", { GS "size", "9", GS "map", "1,18446744073709551615" }, "D",
			NULL, "too large" },
		{ "0.1, no size", { GS "map", "1,1" }, "D", NULL, "without its size" },
		{ "0.0, offset alone", { GS "size", "10", GS "offset", "1" }, "", NULL,
			"without a length" },
		{ "0.0, length alone", { GS "size", "10", GS "numbytes", "1" }, "", NULL,
			"bad length" },
		{ "0.0, two offsets", { GS "size", "10", GS "offset", "1", GS "offset", "1" }, "",
			NULL, "without a length" },
		{ "sparse 2.0", { GS "major", "2", GS "minor", "0", GS "realsize", "1" }, "", NULL,
			"unknown format" },
		{ "sparse 1.1", { GS "major", "1", GS "minor", "1", GS "realsize", "1" }, "", NULL,
			"unknown format" },
		{ "1.0, no map", { GS "major", "1", GS "minor", "0", GS "realsize", "1" }, "", NULL,
			"longer than the data" },
		{ "1.0, short map", { GS "major", "1", GS "minor", "0", GS "realsize", "1" },
			"1\n0\n", NULL, "longer than the data" },
	};
	struct buf a = { 0 };

	add_pax(&a, 'x', GS "size", "5", 1);
	add_head(&a, '5', "d", 0);
	refused("a sparse directory", &a, "not a file");
	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		add_pax_sparse(&a, t[i].kv, t[i].data);
		if (t[i].want)
			lists(t[i].what, &a, t[i].want);
		else
			refused(t[i].what, &a, t[i].words);
	}
	buf_fini(&a);
}

static void add_lines(struct buf *a, uint64_t real, unsigned n, const char *head)
{
	cleanup_buf struct buf d = { 0 }, r = { 0 };
	cleanup_free char *size = xasprintf("%" PRIu64, real);

	buf_printf(&d, "%s", head);
	for (unsigned i = 0; i < n; i++)
		buf_printf(&d, "%u\n0\n", i);
	buf_zero(&d, (512 - d.len % 512) % 512);
	add_record(&r, GS "major", "1", 1);
	add_record(&r, GS "minor", "0", 1);
	add_record(&r, GS "realsize", size, strlen(size));
	add_ext(a, 'x', r.data, r.len);
	add_head(a, '0', "f", d.len);
	add_data(a, d.data, d.len);
}

static void test_sparse_lines(void)
{
	struct buf a = { 0 };

	add_lines(&a, 10, 0, "0\n");
	lists("1.0, no extent", &a, "f f 644 0:0 7.000000000 10 01d448af\n");
	add_lines(&a, 10, 0, "1\n4\nx\n");
	refused("1.0, junk", &a, "bad number");
	add_lines(&a, 10, 0, "123456789012345678901\n");
	refused("1.0, a long number", &a, "bad number");
	add_lines(&a, 10, 0, "\n");
	refused("1.0, an empty line", &a, "bad number");
	add_lines(&a, 10, 0, "2\n5\n0\n4\n0\n");
	refused("1.0, not sorted", &a, "not in order");
	for (int over = -1; over <= 1; over++) {
		unsigned n = SPARSE_EXTENTS_MAX + (unsigned)over;
		cleanup_free char *head = xasprintf("%u\n", n);

		add_lines(&a, 1 << 20, n, head);
		limit("1.0 extents", over, &a, "more than 65536 extents");
	}
	buf_fini(&a);
}

// Holes cost an attacker nothing, so their sum is bounded. Nobody reads them here.
static void test_holes(void)
{
	struct buf a = { 0 }, out = { 0 };

	for (int over = -1; over <= 1; over++) {
		a.len = 0;
		add_lines(&a, TAR_HOLES_MAX / 2, 0, "0\n");
		add_lines(&a, TAR_HOLES_MAX / 2 + (uint64_t)over, 0, "0\n");
		struct stream *in = stream_of_mem(a.data, a.len);

		said_begin();
		int r = list(in, false, &out);

		ok(r == (over > 0 ? -EBADMSG : 0) && (!r || strstr(said_end(), "256 GiB of holes")),
			"holes, limit %+d", over);
		said_end();
		stream_close(in);
	}
	buf_fini(&a), buf_fini(&out);
}

int main(void)
{
	test_sparse_gnu();
	test_sparse_pax();
	test_sparse_lines();
	test_holes();
	return tap_end();
}
