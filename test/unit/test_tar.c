// test_tar.c - the tar reader: headers, names, pax, ends: every refusal by name, every limit
// SPDX-License-Identifier: Apache-2.0
#include "tarmodel.h"

// ---- headers ----

// One field of an empty file's header changed.
static void test_fields(void)
{
	static const struct {
		const char *what;
		size_t at;
		const char *bytes;
		size_t n;
		const char *want;  // the listing, or
		const char *words; // the refusal
	} t[] = {
		{ "octal with spaces", UID, "   144 ", 7, "f f 644 100:0 7.000000000 0 e3b0c442\n",
			NULL },
		{ "junk behind a NUL", UID, "144\0xyz", 7, "f f 644 100:0 7.000000000 0 e3b0c442\n",
			NULL },
		{ "an empty field", UID, "\0\0\0\0\0\0\0", 7, "f f" EMPTY "\n", NULL },
		{ "8 octal digits", UID, "77777777", 8,
			"f f 644 16777215:0 7.000000000 0 e3b0c442\n", NULL },
		{ "base-256 uid 2^32-1", UID, "\x80\0\0\0\xff\xff\xff\xff", 8,
			"f f 644 4294967295:0 7.000000000 0 e3b0c442\n", NULL },
		{ "base-256 uid 2^32", UID, "\x80\0\0\1\0\0\0\0", 8, NULL, "bad user id" },
		{ "base-256 uid -1", UID, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, NULL,
			"bad user id" },
		{ "base-256 gid 2^32", GID, "\x80\0\0\1\0\0\0\0", 8, NULL, "bad group id" },
		{ "octal junk", UID, "0000x00", 7, NULL, "bad user id" },
		{ "an 8 in octal", GID, "0000800", 7, NULL, "bad group id" },
		{ "octal -1", SIZE, "-0000000001", 11, NULL, "bad size" },
		{ "octal with a hole", SIZE, "0000 000001", 11, NULL, "bad size" },
		{ "base-256 size -1", SIZE, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff", 12,
			NULL, "bad size" },
		{ "base-256 size 2^63", SIZE, "\x80\0\0\0\x80\0\0\0\0\0\0\0", 12, NULL,
			"bad size" },
		{ "base-256 size 2^64", SIZE, "\x80\0\0\1\0\0\0\0\0\0\0\0", 12, NULL, "bad size" },
		{ "base-256 size 2^63-1", SIZE, "\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff", 12,
			NULL, "truncated" },
		{ "mode with type bits", MODE, "0104755", 7,
			"f f 4755 0:0 7.000000000 0 e3b0c442\n", NULL },
		{ "base-256 mode", MODE, "\xff\xff\xff\xff\xff\xff\xff\xff", 8, NULL, "bad mode" },
		{ "base-256 mtime -1", MTIME, "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff",
			12, "f f 644 0:0 -1.000000000 0 e3b0c442\n", NULL },
		{ "base-256 mtime 2^63", MTIME, "\x80\0\0\0\x80\0\0\0\0\0\0\0", 12, NULL,
			"bad time" },
		{ "base-256 mtime -2^63", MTIME, "\xff\xff\xff\xff\x80\0\0\0\0\0\0\0", 12,
			"f f 644 0:0 -9223372036854775808.000000000 0 e3b0c442\n", NULL },
		{ "type 7", TYPE, "7", 1, "f f" EMPTY "\n", NULL },
		{ "type NUL", TYPE, "\0", 1, "f f" EMPTY "\n", NULL },
		{ "a vendor's type", TYPE, "Z", 1, "f f" EMPTY "\n", NULL },
		{ "type D", TYPE, "D", 1, NULL, "'D'" },
		{ "type M", TYPE, "M", 1, NULL, "'M'" },
		{ "type N", TYPE, "N", 1, NULL, "'N'" },
		{ "type V", TYPE, "V", 1, NULL, "'V'" },
		{ "type S in a pax archive", TYPE, "S", 1, NULL, "'S'" },
		{ "a fifo", TYPE, "6", 1, "p f 644 0:0 7.000000000\n", NULL },
		{ "a symlink to nothing", TYPE, "2", 1, NULL, "link without a target" },
		{ "a hardlink to nothing", TYPE, "1", 1, NULL, "link without a target" },
		{ "a prefix", PREFIX, "a/b", 3, "f a/b/f" EMPTY "\n", NULL },
		{ "no magic, no prefix", MAGIC,
			"\0\0\0\0\0\0\0\0"
			"0123",
			8, "f f" EMPTY "\n", NULL },
		{ "a name of nothing", NAME, "\0", 1, NULL, "empty name" },
		{ "a file named as the root", NAME, ".", 1, NULL, "root is not a directory" },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct buf a = { 0 };

		add_head(&a, '0', "f", 0);
		memcpy(a.data + t[i].at, t[i].bytes, t[i].n);
		mend_sum(a.data);
		if (t[i].want)
			lists(t[i].what, &a, t[i].want);
		else
			refused(t[i].what, &a, t[i].words);
		buf_fini(&a);
	}
}

static void test_checksum(void)
{
	struct buf a = { 0 };
	int sum = 0;

	add_head(&a, '0', "f", 0);
	a.data[5] = 1;
	refused("no tar at all", &a, "not a tar archive");
	add_head(&a, '0', "f", 0);
	add_head(&a, '0', "g", 0);
	a.data[513] = 'x';
	refused("a bad checksum later", &a, "entry 'gx' at byte 512: bad header checksum");
	add_head(&a, '0', "\xc3\xbc", 0);
	memset(a.data + SUM, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += (int8_t)a.data[i];
	snprintf((char *)a.data + SUM, 8, "%06o", (unsigned)sum);
	lists("a checksum of signed bytes", &a, "f \xc3\xbc" EMPTY "\n");
	buf_fini(&a);
}

static void test_devices(void)
{
	struct buf a = { 0 };

	for (int over = -1; over <= 1; over++) {
		add_head(&a, '3', "dev", 0);
		snprintf((char *)a.data + MAJOR, 8, "%07o", TAR_MAJOR_MAX + (unsigned)over);
		mend_sum(a.data);
		limit("device major", over, &a, "bad device number");
		add_head(&a, '4', "dev", 0);
		snprintf((char *)a.data + MINOR, 8, "%07o", TAR_MINOR_MAX + (unsigned)over);
		mend_sum(a.data);
		limit("device minor", over, &a, "bad device number");
	}
	add_pax(&a, 'x', "SCHILY.devmajor", "12", 2);
	size_t at = add_head(&a, '4', "dev", 0);

	put(a.data + at, MINOR, "0000003");
	mend_sum(a.data + at);
	lists("SCHILY.devmajor", &a, "b dev 644 0:0 7.000000000 12,3\n");
	add_pax(&a, 'x', "SCHILY.devminor", "1048576", 7);
	add_head(&a, '3', "dev", 0);
	refused("SCHILY.devminor 2^20", &a, "bad device number");
	buf_fini(&a);
}

// Sizes: only files have data, pax has the last word, nothing resynchronises.
static void test_sizes(void)
{
	struct buf a = { 0 };

	size_t at = add_head(&a, '1', "h", 1000);

	put(a.data + at, LINK, "./f/");
	mend_sum(a.data + at);
	add_head(&a, '5', "d", 4096);
	at = add_head(&a, '2', "s", 5);
	put(a.data + at, LINK, "../x");
	mend_sum(a.data + at);
	add_head(&a, '0', "f", 0);
	lists("links and directories have no data whatever their size", &a,
		"h h 644 0:0 7.000000000 -> f\nd d 644 0:0 7.000000000\n"
		"l s 644 0:0 7.000000000 -> ../x\nf f" EMPTY "\n");
	add_head(&a, '0', "d/", 512);
	refused("an old directory with data", &a, "a directory with data");
	add_head(&a, 0, "d/", 0);
	lists("an old directory", &a, "d d 644 0:0 7.000000000\n");

	// CVE-2025-62518: ustar says 0, pax says 1024, the data looks like an archive
	add_pax(&a, 'x', "size", "1024", 4);
	add_head(&a, '0', "outer", 0);
	add_head(&a, '0', "smuggled", 0);
	buf_zero(&a, 512);
	add_head(&a, '0', "f", 0);
	cleanup_buf struct buf out = { 0 };

	ok(!list_buf(&a, &out) && !strstr(buf_str(&out), "smuggled") &&
			strstr(buf_str(&out), " 1024 "),
		"pax size wins over ustar size");
	a.len = 0;
	add_pax(&a, 'x', "size", "0", 1);
	add_head(&a, '0', "outer", 1024);
	buf_zero(&a, 512);
	buf_add(&a, "junk", 4);
	buf_zero(&a, 508);
	refused("a pax size that ends in data", &a, "different sizes");
	// the size of the file is not the size of the header in between
	add_pax(&a, 'x', "size", "600", 3);
	add_ext(&a, 'L', "long", 5);
	add_head(&a, '0', "f", 0);
	buf_zero(&a, 1024);
	lists("pax size skips over a GNU name", &a, "f long 644 0:0 7.000000000 600 bd50e12c\n");
	buf_fini(&a);
}

// ---- names ----

static void test_names(void)
{
	static const struct {
		const char *raw, *path, *words;
	} t[] = {
		{ "a", "a", NULL },
		{ "/a", "a", NULL },
		{ "./a", "a", NULL },
		{ "a//b/./c/", "a/b/c", NULL },
		{ "././//a/.", "a", NULL },
		{ ".", "", NULL },
		{ "/", "", NULL },
		{ "./", "", NULL },
		{ "...", "...", NULL },
		{ "..a/b..", "..a/b..", NULL },
		{ "\xff\n\x1b[m", "\xff\n\x1b[m", NULL },
		{ ".wh..wh..opq", ".wh..wh..opq", NULL },
		{ "..", NULL, "'..' in a name" },
		{ "../a", NULL, "'..' in a name" },
		{ "a/../b", NULL, "'..' in a name" },
		{ "a/..", NULL, "'..' in a name" },
		{ "/../etc", NULL, "'..' in a name" },
	};
	struct buf a = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		cleanup_free char *want =
			xasprintf("d %s 644 0:0 7.000000000\n", t[i].path ? t[i].path : "");

		add_head(&a, '5', t[i].raw, 0);
		if (t[i].path)
			lists("a name", &a, want);
		else
			refused(t[i].raw, &a, t[i].words);
	}
	size_t at = add_head(&a, '1', "h", 0);

	put(a.data + at, LINK, "../f");
	mend_sum(a.data + at);
	refused("a hardlink out of the tree", &a, "'..' in a name");
	add_pax(&a, 'x', "path", "a\0b", 3);
	add_head(&a, '0', "f", 0);
	refused("NUL in a pax path", &a, "NUL in a name");
	add_pax(&a, 'x', "linkpath", "a\0b", 3);
	add_head(&a, '2', "f", 0);
	refused("NUL in a pax linkpath", &a, "NUL in a name");
	add_ext(&a, 'L', "a\0b", 4);
	add_head(&a, '0', "f", 0);
	refused("NUL in a GNU name", &a, "NUL in a name");
	add_ext(&a, 'L', "", 1);
	add_head(&a, '0', "f", 0);
	refused("an empty GNU name", &a, "empty name");
	buf_fini(&a);
}

static void test_name_limits(void)
{
	struct buf a = { 0 }, n = { 0 };

	for (int over = -1; over <= 1; over++) {
		n.len = 0;
		while (n.len < TAR_NAME_MAX + (size_t)over)
			buf_add(&n, "n", 1);
		add_ext(&a, 'L', buf_str(&n), n.len + 1);
		add_head(&a, '0', "f", 0);
		limit("part of a name", over, &a, "longer than 255 bytes");
		n.len = 0;
		while (n.len < TAR_PATH_MAX + (size_t)over)
			buf_add(&n, n.len % 100 ? "p" : "/", 1);
		buf_add(&n, "q", 1); // the first slash does not count
		add_pax(&a, 'x', "path", n.data, n.len);
		add_head(&a, '0', "f", 0);
		limit("path", over, &a, "longer than 4096 bytes");
		n.len = 0;
		for (int i = 0; i < TAR_DEPTH_MAX + over; i++)
			buf_add(&n, "./d//", 5);
		add_pax(&a, 'x', "path", n.data, n.len);
		add_head(&a, '5', "f", 0);
		limit("depth", over, &a, "deeper than 256");
		n.len = 0;
		while (n.len < TAR_LINK_MAX + (size_t)over)
			buf_add(&n, "l", 1);
		add_ext(&a, 'K', buf_str(&n), n.len + 1);
		add_head(&a, '2', "f", 0);
		limit("target of a symlink", over, &a, "longer than 4095 bytes");
		n.len = 0;
		while (n.len < TAR_LONG_MAX - 2 + (size_t)over)
			buf_add(&n, "/", 1);
		buf_add(&n, "f", 2);
		add_ext(&a, 'L', n.data, n.len);
		add_head(&a, '0', "f", 0);
		limit("GNU long name as stored", over, &a, "extension header too long");
	}
	buf_fini(&a), buf_fini(&n);
}

// ---- pax ----

static void test_pax_values(void)
{
	static const struct {
		const char *key, *value, *want, *words;
	} t[] = {
		{ "mtime", "1.5", "f f 644 0:0 1.500000000 0 e3b0c442\n", NULL },
		{ "mtime", "-1.25", "f f 644 0:0 -2.750000000 0 e3b0c442\n", NULL },
		{ "mtime", "-0.5", "f f 644 0:0 -1.500000000 0 e3b0c442\n", NULL },
		{ "mtime", "-3", "f f 644 0:0 -3.000000000 0 e3b0c442\n", NULL },
		{ "mtime", "5.", "f f 644 0:0 5.000000000 0 e3b0c442\n", NULL },
		{ "mtime", "5.1234567899", "f f 644 0:0 5.123456789 0 e3b0c442\n", NULL },
		{ "mtime", "9223372036854775807",
			"f f 644 0:0 9223372036854775807.000000000 0 e3b0c442\n", NULL },
		{ "mtime", "9223372036854775808", NULL, "bad time" },
		{ "mtime", "1.-5", NULL, "bad time" },
		{ "mtime", "-", NULL, "bad time" },
		{ "mtime", ".5", NULL, "bad time" },
		{ "mtime", "-.5", NULL, "bad time" },
		{ "mtime", "1.2.3", NULL, "bad time" },
		{ "mtime", "NaN", NULL, "bad time" },
		{ "mtime", "1e9", NULL, "bad time" },
		{ "mtime", "--1", NULL, "bad time" },
		{ "mtime", "", "f f" EMPTY "\n", NULL },
		{ "uid", "4294967295", "f f 644 4294967295:0 7.000000000 0 e3b0c442\n", NULL },
		{ "uid", "4294967296", NULL, "bad user id" },
		{ "uid", "-1", NULL, "bad number" },
		{ "uid", "18446744073709551616", NULL, "bad number" },
		{ "gid", "4294967296", NULL, "bad group id" },
		{ "gid", "0x10", NULL, "bad number" },
		{ "size", "9223372036854775807", NULL, "truncated" },
		{ "size", "9223372036854775808", NULL, "bad size" },
		{ "size", "-1", NULL, "bad number" },
		{ "path", "other", "f other" EMPTY "\n", NULL },
		{ "path", "", "f f" EMPTY "\n", NULL },
		{ "hdrcharset", "BINARY", "f f" EMPTY "\n", NULL },
		{ "VENDOR.key", "v", "f f" EMPTY "\n", NULL },
		{ "SCHILY.xattr.user.a", "b=c", "f f" EMPTY " user.a=b=c\n", NULL },
		{ "SCHILY.xattr.user.a", "", "f f" EMPTY " user.a=\n", NULL },
		{ "LIBARCHIVE.xattr.user.a%20%c3b", "aGVsbG8",
			"f f" EMPTY " user.a \xc3"
			"b=hello\n",
			NULL },
		{ "LIBARCHIVE.xattr.user.a", "aGVsbG8=", "f f" EMPTY " user.a=hello\n", NULL },
		{ "LIBARCHIVE.xattr.user.%4", "aGVsbG8", NULL, "bad encoding" },
		{ "LIBARCHIVE.xattr.user.%zz", "aGVsbG8", NULL, "bad encoding" },
		{ "LIBARCHIVE.xattr.%00", "aGVsbG8", NULL, "bad name" },
		{ "LIBARCHIVE.xattr.user.a", "a", NULL, "bad encoding" },
		{ "LIBARCHIVE.xattr.user.a", "a*b", NULL, "bad encoding" },
		{ "SCHILY.xattr.", "b", NULL, "bad name" },
		{ "SCHILY.realsize", "5", NULL, "star's sparse" },
	};

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		struct buf a = { 0 };
		cleanup_free char *what = xasprintf("pax %s=%s", t[i].key, t[i].value);

		add_pax(&a, 'x', t[i].key, t[i].value, strlen(t[i].value));
		add_head(&a, '0', "f", 0);
		if (t[i].want)
			lists(what, &a, t[i].want);
		else
			refused(what, &a, t[i].words);
		buf_fini(&a);
	}
}

static void test_pax_records(void)
{
	static const struct {
		const char *bytes;
		size_t n;
	} bad_records[] = {
		{ "7 a=bc", 6 }, // no newline, past the end
		{ "6 a=bc\n", 7 },
		{ "8 a=bc\n", 7 },
		{ "7 a bc\n", 7 },
		{ "6 =abc\n", 7 },
		{ "0 a=bc\n", 7 },
		{ "-7 a=bc\n", 8 },
		{ "1 ", 2 },
		{ "2 \n", 3 },
		{ "99999999999999999999 a=b\n", 25 },
		{ "a=b\n", 4 },
		{ "8 a\0=bc\n", 8 },
		{ "7 a=bc\n\0\0\0", 10 },
	};
	struct buf a = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(bad_records); i++) {
		add_ext(&a, 'x', bad_records[i].bytes, bad_records[i].n);
		add_head(&a, '0', "f", 0);
		refused("a bad record", &a, "bad record");
	}
	add_ext(&a, 'x', "12 path=one\n12 path=two\n", 24);
	add_head(&a, '0', "f", 0);
	lists("of two records the later wins", &a, "f two" EMPTY "\n");
	add_ext(&a, 'x', "12 path=one\n", 12);
	add_ext(&a, 'x', "9 uid=12\n", 9);
	add_head(&a, '0', "f", 0);
	lists("a second header replaces the first", &a, "f f 644 12:0 7.000000000 0 e3b0c442\n");
	add_ext(&a, 'x', "12 path=one\n", 12);
	add_head(&a, '0', "f", 0);
	add_head(&a, '0', "g", 0);
	lists("it says something about one entry only", &a, "f one" EMPTY "\nf g" EMPTY "\n");
	add_ext(&a, 'x', "12 path=one\n", 12);
	refused("an extended header and no entry", &a, "without an entry");
	add_ext(&a, 'K', "x", 2);
	buf_zero(&a, 1024);
	refused("a long link and no entry", &a, "without an entry");
	buf_fini(&a);
}

static void test_globals(void)
{
	struct buf a = { 0 }, v = { 0 };

	add_pax(&a, 'g', "mtime", "5", 1);
	add_pax(&a, 'g', "SCHILY.xattr.user.g", "h", 1);
	add_head(&a, '0', "f", 0);
	add_pax(&a, 'x', "mtime", "6", 1);
	add_head(&a, '0', "g", 0);
	add_pax(&a, 'x', "mtime", "", 0);
	add_head(&a, '0', "h", 0);
	add_pax(&a, 'g', "mtime", "", 0);
	add_pax(&a, 'g', "SCHILY.xattr.user.g", "i", 1);
	add_head(&a, '0', "i", 0);
	lists("global records", &a,
		"f f 644 0:0 5.000000000 0 e3b0c442 user.g=h\nf g 644 0:0 6.000000000 0 e3b0c442 user.g=h\n"
		"f h" EMPTY " user.g=h\nf i" EMPTY " user.g=i\n");
	add_pax(&a, 'g', "comment", "0123456789abcdef", 16);
	lists("an archive with a comment only", &a, "");
	add_pax(&a, 'g', "size", "5", 1);
	refused("a global size", &a, "size of one file");
	add_pax(&a, 'g', "GNU.sparse.map", "0,1", 3);
	refused("a global sparse map", &a, "size of one file");
	for (int over = -1; over <= 1; over++) {
		v.len = 0;
		buf_zero(&v, TAR_GLOBAL_MAX - 1 - 10 + (size_t)over);
		memset(v.data, 'v', v.len);
		add_pax(&a, 'g', "path", "123456789", 9);
		add_pax(&a, 'g', "linkpath", v.data, v.len);
		limit("global texts", over, &a, "above 128 KiB");
	}
	buf_fini(&a), buf_fini(&v);
}

static void test_pax_limits(void)
{
	struct buf a = { 0 }, r = { 0 }, v = { 0 };

	buf_zero(&v, TAR_PAX_MAX + 100);
	for (int over = -1; over <= 1; over++) {
		r.len = 0;
		add_record(&r, "k", v.data, TAR_PAX_MAX - 11 + (size_t)over);
		add_ext(&a, 'x', r.data, r.len);
		add_head(&a, '0', "f", 0);
		limit("pax header", over, &a, "extension header too long");
		r.len = 0;
		for (int i = 0; i < TAR_PAX_RECORDS + over; i++)
			add_record(&r, "k", "v", 1);
		add_ext(&a, 'x', r.data, r.len);
		add_head(&a, '0', "f", 0);
		limit("pax records", over, &a, "more than 4096 records");
		add_pax(&a, 'x', "SCHILY.xattr.user.abcde", v.data,
			TAR_XATTR_MAX - 10 + (size_t)over);
		add_head(&a, '0', "f", 0);
		limit("bytes of xattrs", over, &a, "above 64 KiB");
		r.len = 0;
		for (int i = 0; i < TAR_XATTRS + over; i++) {
			cleanup_free char *key = xasprintf("SCHILY.xattr.user.%d", i);

			add_record(&r, key, "v", 1);
		}
		add_ext(&a, 'x', r.data, r.len);
		add_head(&a, '0', "f", 0);
		limit("xattrs", over, &a, "more than 512");
		cleanup_free char *key = xasprintf("SCHILY.xattr.%0*d", TAR_XATTR_NAME + over, 0);

		add_pax(&a, 'x', key, "v", 1);
		add_head(&a, '0', "f", 0);
		limit("name of an xattr", over, &a, "bad name of an extended attribute");
		for (int i = 0; i < TAR_EXT_MAX + over; i++)
			add_ext(&a, 'x', "7 a=bc\n", 7);
		add_head(&a, '0', "f", 0);
		limit("extension headers", over, &a, "too many extension headers");
	}
	buf_fini(&a), buf_fini(&r), buf_fini(&v);
}

// ---- ends ----

static void test_ends(void)
{
	struct buf a = { 0 };

	lists("nothing at all", &a, "");
	add_head(&a, '0', "f", 0);
	lists("no end marker", &a, "f f" EMPTY "\n");
	add_head(&a, '0', "f", 0);
	buf_zero(&a, 512);
	lists("one zero block", &a, "f f" EMPTY "\n");
	add_head(&a, '0', "f", 0);
	buf_zero(&a, 300000);
	lists("many zero blocks", &a, "f f" EMPTY "\n");
	add_head(&a, '0', "f", 0);
	buf_zero(&a, 1024);
	buf_add(&a, "anything", 8);
	lists("garbage after the end", &a, "f f" EMPTY "\n");
	add_head(&a, '0', "f", 0);
	buf_zero(&a, 512);
	add_head(&a, '0', "g", 0);
	refused("a zero block and then a header", &a, "at byte 512: a lone zero block");
	buf_fini(&a);
}

// Cut at every byte: whole between entries only.
static void test_truncation(void)
{
	struct buf a = { 0 }, out = { 0 };
	size_t ends[4];
	unsigned n = 0, wrong = 0;

	ends[n++] = 0;
	add_head(&a, '5', "d", 0);
	ends[n++] = a.len;
	add_pax(&a, 'x', "mtime", "1", 1);
	add_head(&a, '0', "f", 700);
	buf_zero(&a, 1024);
	ends[n++] = a.len;
	add_gnu_sparse(&a, 6, 1, 20, 6);
	ends[n++] = a.len;
	said_begin();
	for (size_t len = 0; len <= a.len; len++) {
		struct buf part = { a.data, len, a.cap };
		bool whole = false;

		for (unsigned i = 0; i < n; i++)
			whole |= ends[i] == len;
		// an extended header alone says so; all else is truncated
		int r = list_buf(&part, &out);

		wrong += r != (whole ? 0 : -EBADMSG);
	}
	const char *said = said_end();

	ok(!wrong, "cut at each of %zu bytes: whole between entries only", a.len);
	ok(strstr(said,
		   "entry '' at byte 0: truncated: the archive ends at byte 1 in its header") !=
			NULL,
		"says where the archive ends");
	buf_fini(&a), buf_fini(&out);
}

int main(void)
{
	test_fields();
	test_checksum();
	test_devices();
	test_sizes();
	test_names();
	test_name_limits();
	test_pax_values();
	test_pax_records();
	test_globals();
	test_pax_limits();
	test_ends();
	test_truncation();
	return tap_end();
}
