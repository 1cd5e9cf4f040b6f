// tarmodel.h - archives made by hand, and what is read from them as text
// SPDX-License-Identifier: Apache-2.0
#ifndef TARMODEL_H
#define TARMODEL_H

#include "../../lib/tarsparse.c"
#include "../../lib/tarpax.c"
#include "../../lib/taracl.c"
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

static inline void put(uint8_t *block, size_t at, const char *s)
{
	memcpy(block + at, s, strlen(s));
}

static inline void mend_sum(uint8_t *block)
{
	unsigned sum = 0;

	memset(block + SUM, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += block[i];
	snprintf((char *)block + SUM, 8, "%06o", sum);
}

// A pax-era header; its offset in a is returned, for changes (mend_sum after them).
static inline size_t add_head(struct buf *a, char type, const char *name, uint64_t size)
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

static inline void add_data(struct buf *a, const void *p, size_t n)
{
	buf_add(a, p, n);
	buf_zero(a, (512 - n % 512) % 512);
}

static inline void add_ext(struct buf *a, char type, const void *p, size_t n)
{
	add_head(a, type, "ext", n);
	add_data(a, p, n);
}

static inline void add_record(struct buf *r, const char *key, const void *value, size_t n)
{
	size_t len = strlen(key) + n + 3, total = len + 1;

	while (total != len + (size_t)snprintf(NULL, 0, "%zu", total))
		total = len + (size_t)snprintf(NULL, 0, "%zu", total);
	buf_printf(r, "%zu %s=", total, key);
	buf_add(r, value, n);
	buf_add(r, "\n", 1);
}

// An extended header of one record, then an empty file "f".
static inline void add_pax(struct buf *a, char type, const char *key, const void *value, size_t n)
{
	cleanup_buf struct buf r = { 0 };

	add_record(&r, key, value, n);
	add_ext(a, type, r.data, r.len);
}

static inline void add_gnu_number(struct buf *a, uint64_t v)
{
	char s[13];

	snprintf(s, sizeof s, "%011" PRIo64, v);
	buf_add(a, s, 12);
}

// An old GNU sparse file with n extents of one byte at 2i+1, the last of them `last` bytes long.
static inline void add_gnu_sparse(
	struct buf *a, unsigned n, uint64_t last, uint64_t real, uint64_t stored)
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
static inline int list(struct stream *in, bool data, struct buf *out)
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

static inline int list_buf(const struct buf *a, struct buf *out)
{
	struct stream *in = stream_of_mem(a->data, a->len);
	int r = list(in, true, out);

	if (!r && stream_read(in, &(char){ 0 }, 1))
		r = 2; // the stream must have been read to its end
	stream_close(in);
	return r;
}

// The archive (emptied afterwards) lists as the text, empty files' digest being left out of it.
static inline void lists(const char *what, struct buf *a, const char *want)
{
	cleanup_buf struct buf out = { 0 };
	int r = list_buf(a, &out);

	if (!ok(!r && !strcmp(buf_str(&out), want), "%s", what))
		printf("# %d: got %s# want %s", r, buf_str(&out), want);
	a->len = 0;
}

// It is refused with -EBADMSG; the message has the words, the archive's name and a byte offset.
static inline void refused(const char *what, struct buf *a, const char *words)
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
static inline void limit(const char *what, int over, struct buf *a, const char *words)
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

#endif
