// test_tar.c - the tar reader: what GNU tar and Python write, every refusal by name, every limit
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/tarsparse.c"
#include "../../lib/tarpax.c"
#include "../../lib/tarhead.c"
#include "../../lib/tar.c"

#include "hash.h"
#include "inflate.h"
#include "said.h"
#include "tap.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <sys/xattr.h>

// ---- archives made by hand ----

enum {
	NAME = 0,
	MODE = 100,
	UID = 108,
	GID = 116,
	SIZE = 124,
	MTIME = 136,
	SUM = 148,
	TYPE = 156,
	LINK = 157,
	MAGIC = 257,
	MAJOR = 329,
	MINOR = 337,
	PREFIX = 345,
	SPARSE = 386,
	EXTENDED = 482,
	REAL = 483
};

static void put(uint8_t *block, size_t at, const char *s)
{
	memcpy(block + at, s, strlen(s));
}

static void mend_sum(uint8_t *block)
{
	unsigned sum = 0;

	memset(block + SUM, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += block[i];
	snprintf((char *)block + SUM, 8, "%06o", sum);
}

// A pax-era header; its offset in a is returned, for changes (mend_sum after them).
static size_t add_head(struct buf *a, char type, const char *name, uint64_t size)
{
	size_t at = a->len;

	buf_zero(a, 512);
	uint8_t *b = a->data + at;

	memcpy(b + NAME, name, MIN(strlen(name), (size_t)100));
	put(b, MODE, "0000644");
	put(b, UID, "0000000");
	put(b, GID, "0000000");
	snprintf((char *)b + SIZE, 12, "%011" PRIo64, size);
	put(b, MTIME, "00000000007");
	b[TYPE] = (uint8_t)type;
	memcpy(b + MAGIC,
		"ustar\0"
		"00",
		8);
	mend_sum(b);
	return at;
}

static void add_data(struct buf *a, const void *p, size_t n)
{
	buf_add(a, p, n);
	buf_zero(a, (512 - n % 512) % 512);
}

static void add_ext(struct buf *a, char type, const void *p, size_t n)
{
	add_head(a, type, "ext", n);
	add_data(a, p, n);
}

static void add_record(struct buf *r, const char *key, const void *value, size_t n)
{
	size_t len = strlen(key) + n + 3, total = len + 1;

	while (total != len + (size_t)snprintf(NULL, 0, "%zu", total))
		total = len + (size_t)snprintf(NULL, 0, "%zu", total);
	buf_printf(r, "%zu %s=", total, key);
	buf_add(r, value, n);
	buf_add(r, "\n", 1);
}

// An extended header of one record, then an empty file "f".
static void add_pax(struct buf *a, char type, const char *key, const void *value, size_t n)
{
	cleanup_buf struct buf r = { 0 };

	add_record(&r, key, value, n);
	add_ext(a, type, r.data, r.len);
}

// ---- an archive as text ----

static const char *xattr_text(const struct tar_entry *e)
{
	static struct buf b;

	b.len = 0;
	for (size_t i = 0; i < e->n_xattrs; i++) {
		buf_printf(&b, " %s=", e->xattrs[i].name);
		buf_add(&b, e->xattrs[i].value, e->xattrs[i].value_len);
	}
	return buf_str(&b);
}

static size_t read_size = 3000; // of tar_read, up to 200000

static const char *data_text(struct tar *t, int *ret_error)
{
	static char hex[65];
	static uint8_t buf[200000];
	struct sha256 s;
	ssize_t r;

	sha256_init(&s);
	while ((r = tar_read(t, buf, read_size)) > 0)
		sha256_update(&s, buf, (size_t)r);
	struct digest d = sha256_final(&s);

	*ret_error = (int)r;
	digest_hex(&d, hex);
	hex[8] = 0;
	return hex;
}

// "f path mode uid:gid mtime.ns size sha256[0..8] xattrs", one line an entry. 0 or the error.
static int list(struct stream *in, bool data, struct buf *out)
{
	struct tar *t = tar_open(in, "archive-name");
	struct tar_entry e = { 0 };
	int r;

	while ((r = tar_next(t, &e)) > 0) {
		buf_printf(out, "%c %s %o %u:%u %" PRId64 ".%09u", "fdlhcbp"[e.type], e.path,
			e.mode, e.uid, e.gid, e.mtime, e.mtime_ns);
		if (e.type == TAR_FILE)
			buf_printf(out, " %" PRIu64 " %s", e.size, data ? data_text(t, &r) : "-");
		if (e.type == TAR_SYMLINK || e.type == TAR_HARDLINK)
			buf_printf(out, " -> %s", e.link);
		if (e.type == TAR_CHR || e.type == TAR_BLK)
			buf_printf(out, " %u,%u", e.rdev_major, e.rdev_minor);
		buf_printf(out, "%s\n", xattr_text(&e));
		if (r < 0)
			break;
	}
	if (r <= 0 && tar_next(t, &e) != r)
		r = 1; // an end and an error must stay
	tar_close(t);
	return r;
}

static int list_buf(const struct buf *a, struct buf *out)
{
	struct stream *in = stream_of_mem(a->data, a->len);
	int r = list(in, true, out);

	if (!r && stream_read(in, &(char){ 0 }, 1))
		r = 2; // the stream must have been read to its end
	stream_close(in);
	return r;
}

// The archive (emptied afterwards) lists as the text, empty files' digest being left out of it.
static void lists(const char *what, struct buf *a, const char *want)
{
	cleanup_buf struct buf out = { 0 };
	int r = list_buf(a, &out);

	if (!ok(!r && !strcmp(buf_str(&out), want), "%s", what))
		printf("# %d: got %s# want %s", r, buf_str(&out), want);
	a->len = 0;
}

// It is refused with -EBADMSG; the message has the words, the archive's name and a byte offset.
static void refused(const char *what, struct buf *a, const char *words)
{
	cleanup_buf struct buf out = { 0 };

	said_begin();
	int r = list_buf(a, &out);
	const char *said = said_end();

	if (!ok(r == -EBADMSG && strstr(said, words) && strstr(said, "archive-name: entry '") &&
			    strstr(said, " at byte "),
		    "%s is refused", what))
		printf("# %d: %s# %s\n", r, said, buf_str(&out));
	a->len = 0;
}

// A limit: accepted or refused.
static void limit(const char *what, int over, struct buf *a, const char *words)
{
	cleanup_free char *text = xasprintf("%s, limit %+d", what, over);
	cleanup_buf struct buf out = { 0 };

	if (over > 0)
		refused(text, a, words);
	else
		ok(!list_buf(a, &out), "%s", text);
	a->len = 0;
}

#define EMPTY " 644 0:0 7.000000000 0 e3b0c442"

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

// ---- sparse files ----

static void add_gnu_number(struct buf *a, uint64_t v)
{
	char s[13];

	snprintf(s, sizeof s, "%011" PRIo64, v);
	buf_add(a, s, 12);
}

// An old GNU sparse file with n extents of one byte at 2i+1, the last of them `last` bytes long.
static void add_gnu_sparse(struct buf *a, unsigned n, uint64_t last, uint64_t real, uint64_t stored)
{
	struct buf map = { 0 };
	size_t at = add_head(a, 'S', "sparse", stored);

	for (unsigned i = 0; i < n; i++) {
		add_gnu_number(&map, 2 * i + 1);
		add_gnu_number(&map, i + 1 < n ? 1 : last);
	}
	memcpy(a->data + at + MAGIC, "ustar  ", 8);
	if (map.len)
		memcpy(a->data + at + SPARSE, map.data, MIN(map.len, (size_t)96));
	a->data[at + EXTENDED] = n > 4;
	snprintf((char *)a->data + at + REAL, 12, "%011" PRIo64, real);
	mend_sum(a->data + at);
	for (size_t k = 96; k < map.len; k += 504) {
		buf_add(a, map.data + k, MIN(map.len - k, (size_t)504));
		buf_zero(a, 512 - MIN(map.len - k, (size_t)504));
		a->data[a->len - 8] = k + 504 < map.len;
	}
	for (uint64_t i = 0; i < (stored + 511) / 512 * 512; i++)
		buf_add(a, i < stored ? "D" : "\0", 1);
	buf_fini(&map);
}

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

// ---- other people's archives ----

static char *dir; // a scratch directory

static struct stream *open_file(const char *path, int *ret_fd)
{
	struct stat st;

	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 || fstat(*ret_fd, &st) ? NULL
						  : stream_of_fd(*ret_fd, 0, (uint64_t)st.st_size);
}

printf_like(1, 2) static bool run(const char *fmt, ...)
{
	va_list ap;
	char cmd[4096];

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	FILE *p = popen(cmd, "re");

	return p && pclose(p) == 0;
}

// An entry against the file it was made from.
static bool same_as_disk(struct tar *t, const struct tar_entry *e, bool ns, const char *root)
{
	cleanup_free char *path = xasprintf("%s/%s", root, e->path), *link = NULL;
	struct stat st;
	char target[5000];
	int r;

	if (lstat(path, &st))
		return false;
	if ((st.st_mode & 07777) != e->mode || st.st_uid != e->uid || st.st_mtime != e->mtime ||
		(ns && st.st_mtim.tv_nsec != e->mtime_ns))
		return false;
	switch (e->type) {
	case TAR_FILE: {
		char sum[65];
		char *bytes;
		size_t n;

		snprintf(sum, sizeof sum, "%s", data_text(t, &r));
		if (r || read_file_at(AT_FDCWD, path, 1u << 30, &bytes, &n) || n != e->size)
			return false;
		struct digest d = sha256_of(bytes, n);
		char hex[65];

		free(bytes);
		return !strncmp(digest_hex(&d, hex), sum, 8);
	}
	case TAR_SYMLINK:
		return readlink(path, target, sizeof target) == (ssize_t)e->link_len &&
			!memcmp(target, e->link, e->link_len);
	case TAR_HARDLINK: {
		struct stat other;

		link = xasprintf("%s/%s", root, e->link);
		return !lstat(link, &other) && other.st_ino == st.st_ino;
	}
	case TAR_DIR: return S_ISDIR(st.st_mode);
	case TAR_FIFO: return S_ISFIFO(st.st_mode);
	case TAR_CHR: return S_ISCHR(st.st_mode) && major(st.st_rdev) == e->rdev_major;
	default: return false;
	}
}

// Every entry of the archive is as on disk; how many there are, 0 if one is not.
static unsigned compare(const char *archive, bool ns, const char *root, unsigned *ret_xattrs)
{
	int fd;
	struct stream *in = open_file(archive, &fd);
	struct tar *t = tar_open(in, archive);
	struct tar_entry e;
	unsigned n = 0;
	int r;

	*ret_xattrs = 0;
	while ((r = tar_next(t, &e)) > 0) {
		*ret_xattrs += (unsigned)e.n_xattrs;
		n++;
		if (same_as_disk(t, &e, ns, root))
			continue;
		printf("# %s: %s differs\n", archive, log_quote_n(e.path, e.path_len));
		r = -1;
		break;
	}
	tar_close(t);
	stream_close(in);
	close(fd);
	return r ? 0 : n;
}

static void make_tree(void)
{
	char part[200];

	memset(part, 'n', sizeof part - 1);
	part[sizeof part - 1] = 0;
	bool good = run(
		"cd %s && mkdir t && cd t && mkdir -p a/b %s/%s %s/%s && echo hi >a/b/f && ln a/b/f hard &&"
		" ln -s a/b/f soft && ln -s %s%s longlink && echo x >%s/%s/deep && mkfifo fifo && chmod 1777 a &&"
		" printf y >'odd\n\\name \377' && touch -d '1969-12-31 23:59:58.25 UTC' old && : >empty &&"
		" printf 0123456789 >%s && head -c 100000 /dev/urandom >big && chmod 4755 big &&"
		" ln %s/%s/deep %s/hardlong",
		dir, part, part, "p", part, part, part, part, part,
		"d100_345678901234567890123456789012345678901234"
		"567890123456789012345678901234567890123456789012345",
		part, part, part);

	good &= run(
		"cd %s/t && for i in 0 1 2 3 4 5 6 7 8 9; do printf data$i | dd of=holes bs=1 seek=$((i * 70000))"
		" conv=notrunc 2>/dev/null; done && truncate -s 900001 holes && truncate -s 5000000 hole",
		dir);
	ok(good, "makes a tree");
	if (geteuid() == 0)
		ok(run("mknod %s/t/null c 1 3", dir), "makes a device");
	else
		skip("no device: not root");
}

static void test_gnu_tar(void)
{
	static const struct {
		const char *format, *options;
		bool ns;
	} t[] = {
		{ "gnu", "", false },
		{ "gnu", "-S", false },
		{ "oldgnu", "-S", false },
		{ "pax", "", true },
		{ "posix", "-S --sparse-version=0.0", true },
		{ "posix", "-S --sparse-version=0.1", true },
		{ "posix", "-S --sparse-version=1.0", true },
		{ "ustar", "--exclude=nn* --exclude=p --exclude=longlink --exclude=old", false },
		{ "v7", "--exclude=nn* --exclude=p --exclude=longlink --exclude=old --exclude=null --exclude=fifo --exclude=d100*",
			false },
	};
	unsigned xattrs;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		if (!run("tar --format=%s %s -cf %s/a.tar -C %s/t . 2>/dev/null", t[i].format,
			    t[i].options, dir, dir)) {
			skip("GNU tar --format=%s %s does not run here", t[i].format, t[i].options);
			continue;
		}
		cleanup_free char *archive = xasprintf("%s/a.tar", dir),
				  *root = xasprintf("%s/t", dir);
		unsigned n = compare(archive, t[i].ns, root, &xattrs);

		ok(n > 10, "GNU tar --format=%s %s: %u entries as on disk", t[i].format,
			t[i].options, n);
	}
	cleanup_free char *file = xasprintf("%s/t/a/b/f", dir),
			  *archive = xasprintf("%s/a.tar", dir);
	cleanup_free char *root = xasprintf("%s/t", dir);

	if (setxattr(file, "user.fc", "va\0l", 4, 0) ||
		!run("tar --format=posix --xattrs -cf %s -C %s . 2>/dev/null", archive, root)) {
		skip("GNU tar --xattrs: no user xattrs on this file system");
		return;
	}
	unsigned n = compare(archive, true, root, &xattrs);

	ok(n > 10 && xattrs == 1, "GNU tar --xattrs: %u entries as on disk, %u xattr", n, xattrs);
}

// Sizes that need more than octal: 8 GiB of a hole, as GNU and pax store it, whole.
static void test_huge(void)
{
	static const uint64_t sizes[] = { 077777777777, 0100000000000, 0x7fffffffffffffff };
	struct buf a = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		cleanup_buf struct buf out = { 0 };
		cleanup_free char *want = xasprintf(" %" PRIu64 " -", sizes[i]);
		cleanup_free char *value = xasprintf("%" PRIu64, sizes[i]);

		for (int pax = 0; pax < 2; pax++) {
			a.len = out.len = 0;
			if (pax)
				add_pax(&a, 'x', "size", value, strlen(value));
			size_t at = add_head(&a, '0', "f", 0);
			uint64_t be = __builtin_bswap64(sizes[i]);

			if (!pax) {
				memcpy(a.data + at + SIZE, "\x80\0\0\0", 4);
				memcpy(a.data + at + SIZE + 4, &be, 8);
				mend_sum(a.data + at);
			}
			struct stream *in = stream_of_mem(a.data, a.len);

			said_begin();
			int r = list(in, false, &out);

			ok(r == -EBADMSG && strstr(said_end(), "in its data") &&
					strstr(buf_str(&out), want),
				"a size of %" PRIu64 " by %s", sizes[i], pax ? "pax" : "base-256");
			said_end();
			stream_close(in);
		}
	}
	buf_fini(&a);
}

// Python writes an archive and, to the side, what it should list as.
static const char python[] =
	"import hashlib, io, sys, tarfile\n"
	"T = tarfile\n"
	"fmt = {'ustar': T.USTAR_FORMAT, 'gnu': T.GNU_FORMAT, 'pax': T.PAX_FORMAT}[sys.argv[1]]\n"
	"pax = fmt == T.PAX_FORMAT\n"
	"kinds = {T.REGTYPE: 'f', T.DIRTYPE: 'd', T.SYMTYPE: 'l', T.LNKTYPE: 'h', T.CHRTYPE: 'c', T.BLKTYPE: 'b', T.FIFOTYPE: 'p'}\n"
	"t = T.open(sys.argv[2], 'w', format=fmt, pax_headers={'comment': 'global'} if pax else None)\n"
	"out = open(sys.argv[3], 'wb')\n"
	"def add(name, type=T.REGTYPE, data=b'', link='', dev=(0, 0), mtime=(7, 0), xattrs={}, **kw):\n"
	"    i = T.TarInfo(name)\n"
	"    i.type, i.size, i.linkname, (i.devmajor, i.devminor) = type, len(data), link, dev\n"
	"    i.mtime = mtime[0]\n"
	"    for k, v in kw.items(): setattr(i, k, v)\n"
	"    if pax:\n"
	"        i.pax_headers = {'SCHILY.xattr.' + k: v for k, v in xattrs.items()}\n"
	"        if mtime[1]: i.pax_headers['mtime'] = '%d.%09d' % mtime\n"
	"    t.addfile(i, io.BytesIO(data))\n"
	"    s = '%s %s %o %d:%d %d.%09d' % (kinds[type], name, i.mode, i.uid, i.gid, mtime[0], mtime[1] if pax else 0)\n"
	"    if type == T.REGTYPE: s += ' %d %s' % (len(data), hashlib.sha256(data).hexdigest()[:8])\n"
	"    if link: s += ' -> ' + link\n"
	"    if type in (T.CHRTYPE, T.BLKTYPE): s += ' %d,%d' % dev\n"
	"    if pax: s += ''.join(' %s=%s' % x for x in xattrs.items())\n"
	"    out.write(s.encode('utf-8', 'surrogateescape') + b'\\n')\n"
	"add('dir', T.DIRTYPE, mode=0o755)\n"
	"for n in (0, 1, 511, 512, 513, 70000, 131072, 400000): add('dir/%d' % n, data=bytes(i * i % 251 for i in range(n)))\n"
	"add('link', T.SYMTYPE, link='../../x')\n"
	"add('hard', T.LNKTYPE, link='dir/1')\n"
	"add('chr', T.CHRTYPE, dev=(5, 1)); add('blk', T.BLKTYPE, dev=(259, 1048575 if pax or fmt == T.GNU_FORMAT else 7))\n"
	"add('pipe', T.FIFOTYPE)\n"
	"add('x' * 99); add('y' * 100); add('d/' * 60 + 'e' * 80); add('time', mtime=(1600000000, 123456789))\n"
	"add('xa', xattrs={'user.k': 'v', 'security.capability': 'abc'})\n"
	"if fmt != T.USTAR_FORMAT:\n"
	"    add('z' * 255); add('w' * 255 + '/' + 'v' * 255, data=b'q'); add('ll', T.SYMTYPE, link='t' * 3000)\n"
	"    add('hl', T.LNKTYPE, link='w' * 255 + '/' + 'v' * 255)\n"
	"    add('ids', uid=3000000, gid=4294967295); add('past', mtime=(-5, 0)); add('sch\\u00f6n\\u4e2d')\n"
	"t.close(); out.close()\n";

static void test_python(void)
{
	static const char *const formats[] = { "ustar", "gnu", "pax" };
	cleanup_free char *script = xasprintf("%s/make.py", dir),
			  *archive = xasprintf("%s/p.tar", dir);
	cleanup_free char *want_path = xasprintf("%s/want", dir);

	if (write_file_at(AT_FDCWD, script, python, sizeof python - 1, 0644))
		abort();
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		cleanup_buf struct buf out = { 0 };
		cleanup_free char *want = NULL;
		size_t n;
		int fd;

		if (!run("python3 %s %s %s %s", script, formats[i], archive, want_path)) {
			skip("python3's tarfile does not run here");
			continue;
		}
		struct stream *in = open_file(archive, &fd);

		read_size = i ? 200000 : 1;
		int r = list(in, true, &out);

		read_size = 3000;
		if (read_file_at(AT_FDCWD, want_path, 1u << 20, &want, &n))
			abort();
		if (!ok(!r && !strcmp(buf_str(&out), want), "Python tarfile, %s", formats[i]))
			printf("# %d: got\n%s# want\n%s", r, buf_str(&out), want);
		stream_close(in);
		close(fd);
	}
}

// Reads a layer as convert does. The error.
static int read_layer(const char *path, const char *name)
{
	cleanup_buf struct buf out = { 0 };
	struct stream *in;
	int fd, r = inflate_open(open_file(path, &fd), name, &in);

	if (!r) {
		r = list(in, true, &out);
		stream_close(in);
	}
	close(fd);
	return r;
}

// The bad layers of test/bad/make.py, which says the words each must be refused with.
static void test_bad_layers(void)
{
	cleanup_free char *list_path = xasprintf("%s/bad/expect", dir), *expect = NULL;
	size_t n;

	if (access("test/bad/make.py", R_OK) || !run("python3 test/bad/make.py %s/bad", dir)) {
		skip("test/bad/make.py does not run here");
		return;
	}
	if (read_file_at(AT_FDCWD, list_path, 1u << 20, &expect, &n))
		abort();
	for (char *line = expect, *next; *line; line = next) {
		char *end = strchr(line, '\n'), *tab = strchr(line, '\t');

		next = end + 1;
		*end = *tab = 0;
		cleanup_free char *path = xasprintf("%s/bad/%s", dir, line);

		said_begin();
		int r = read_layer(path, line);
		const char *said = said_end();

		if (!ok(r == -EBADMSG && strstr(said, tab + 1), "bad/%s", line))
			printf("# %d: %s", r, said);
	}
}

int main(void)
{
	char scratch[] = "/tmp/test_tar.XXXXXX";

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
	test_sparse_gnu();
	test_sparse_pax();
	test_sparse_lines();
	test_holes();
	test_ends();
	test_truncation();
	test_huge();
	dir = mkdtemp(scratch);
	if (!dir)
		abort();
	make_tree();
	test_gnu_tar();
	test_python();
	test_bad_layers();
	if (remove_tree_at(AT_FDCWD, dir))
		abort();
	return tap_end();
}
