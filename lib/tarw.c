// tarw.c - writes tar entries
// SPDX-License-Identifier: Apache-2.0
#include "tarw.h"

#include <sys/stat.h>

#include "tarhead.h"

// Octal digits and a NUL fill the field. False: the number needs more.
static bool put_octal(char *field, size_t n, uint64_t v)
{
	char text[32];
	int len = snprintf(text, sizeof text, "%0*llo", (int)n - 1, (unsigned long long)v);

	if (len != (int)n - 1)
		return false;
	memcpy(field, text, n - 1);
	return true;
}
#define PUT(field, v) put_octal((field), sizeof(field), (v))

// ---- pax records: "LENGTH KEY=VALUE\n", LENGTH counting itself ----

static void add_record(struct buf *b, const char *key, size_t key_len, const void *v, size_t n)
{
	size_t body = key_len + n + 3, len = body + 1;
	char text[24];

	// one digit more may need one more still
	while (len != body + (size_t)snprintf(text, sizeof text, "%zu", len))
		len = body + strlen(text);
	buf_printf(b, "%zu ", len);
	buf_add(b, key, key_len);
	buf_add(b, "=", 1);
	buf_add(b, v, n);
	buf_add(b, "\n", 1);
}

static void add_text(struct buf *b, const char *key, const char *v)
{
	add_record(b, key, strlen(key), v, strlen(v));
}

static void add_number(struct buf *b, const char *key, uint64_t v)
{
	char text[24];

	snprintf(text, sizeof text, "%llu", (unsigned long long)v);
	add_text(b, key, text);
}

// Seconds before 1970 count down, the fraction of a pax time counts up only in the text: -1.5 s is
// -2 s + 500,000,000 ns here.
static void add_mtime(struct buf *b, const struct attr *a)
{
	bool minus = a->mtime < 0 && a->mtime_ns;
	uint32_t ns = minus ? 1000000000u - a->mtime_ns : a->mtime_ns;
	long long s = minus ? a->mtime + 1 : a->mtime;
	char text[48];
	int n = snprintf(text, sizeof text, "%s%lld", minus && !s ? "-" : "", s);

	if (ns) {
		n += snprintf(text + n, sizeof text - (size_t)n, ".%09u", ns);
		while (text[n - 1] == '0')
			text[--n] = 0;
	}
	add_text(b, "mtime", text);
}

// GNU tar writes '=' in names as %3D and '%' as %25; a name without either is the same to all
// readers, one with '=' could not be read back by anyone.
static int add_xattrs(struct buf *b, const struct index *ix, uint32_t node)
{
	for (uint32_t i = 0; i < index_xattr_count(ix, node); i++) {
		cleanup_buf struct buf key = { 0 };
		struct xattr_view x;

		index_xattr(ix, node, i, &x);
		if (memchr(x.name, '=', x.name_len))
			return -EINVAL;
		buf_printf(&key, "SCHILY.xattr.");
		buf_add(&key, x.name, x.name_len);
		add_record(b, (const char *)key.data, key.len, x.value, x.value_len);
	}
	return 0;
}

// ---- headers ----

static void seal(union tar_block *u)
{
	unsigned sum = 0;

	memcpy(u->h.magic, "ustar\00000", 8);
	memset(u->h.chksum, ' ', sizeof u->h.chksum);
	for (size_t i = 0; i < sizeof u->bytes; i++)
		sum += u->bytes[i];
	snprintf(u->h.chksum, sizeof u->h.chksum, "%06o", sum); // and a blank behind the NUL
}

static void add_padded(struct buf *b, const void *p, size_t n)
{
	buf_add(b, p, n);
	buf_zero(b, (TAR_BLOCK - n % TAR_BLOCK) % TAR_BLOCK);
}

static void add_pax(struct buf *b, const struct buf *records)
{
	union tar_block u = { 0 };

	if (!records->len)
		return;
	memcpy(u.h.name, "PaxHeader", 9);
	u.h.type = 'x';
	if (!PUT(u.h.mode, 0644) || !PUT(u.h.uid, 0) || !PUT(u.h.gid, 0) || !PUT(u.h.mtime, 0) ||
		!PUT(u.h.size, records->len))
		abort(); // 64 KiB at most: constants of format.h
	seal(&u);
	buf_add(b, u.bytes, sizeof u.bytes);
	add_padded(b, records->data, records->len);
}

// A field that is full needs no NUL.
static void put_name(
	struct buf *pax, const char *key, char *field, size_t room, const char *s, size_t n)
{
	memcpy(field, s, MIN(n, room));
	if (n > room)
		add_record(pax, key, strlen(key), s, n);
}

static char type_of(const struct attr *a, const char *link)
{
	return link		    ? '1'
		: S_ISREG(a->mode)  ? '0'
		: S_ISLNK(a->mode)  ? '2'
		: S_ISCHR(a->mode)  ? '3'
		: S_ISBLK(a->mode)  ? '4'
		: S_ISDIR(a->mode)  ? '5'
		: S_ISFIFO(a->mode) ? '6'
				    : 0;
}

static void put_numbers(struct tar_header *h, struct buf *pax, const struct attr *a, bool contents)
{
	uint64_t size = contents ? a->size : 0;

	if (!PUT(h->mode, a->mode & 07777))
		abort(); // four digits of seven
	if (!PUT(h->uid, a->uid))
		add_number(pax, "uid", a->uid);
	if (!PUT(h->gid, a->gid))
		add_number(pax, "gid", a->gid);
	if (!PUT(h->size, size))
		add_number(pax, "size", size);
	// what stands in the field is for readers that know no pax
	if (a->mtime < 0 || !PUT(h->mtime, (uint64_t)a->mtime) || a->mtime_ns)
		add_mtime(pax, a);
	if (!S_ISCHR(a->mode) && !S_ISBLK(a->mode))
		return;
	if (!PUT(h->major, a->rdev_major))
		add_number(pax, "SCHILY.devmajor", a->rdev_major);
	if (!PUT(h->minor, a->rdev_minor))
		add_number(pax, "SCHILY.devminor", a->rdev_minor);
}

int tarw_entry(
	struct buf *b, const struct index *ix, uint32_t node, const char *path, const char *link)
{
	cleanup_buf struct buf pax = { 0 };
	cleanup_free char *name = NULL;
	union tar_block u = { 0 };
	struct attr a;
	int r = 0;

	index_attr(ix, node, &a);
	u.h.type = type_of(&a, link);
	if (!u.h.type)
		return -ENOTSUP;
	name = xasprintf("%s%s", path, S_ISDIR(a.mode) ? "/" : "");
	put_name(&pax, "path", u.h.name, sizeof u.h.name, name, strlen(name));
	if (link) {
		put_name(&pax, "linkpath", u.h.linkname, sizeof u.h.linkname, link, strlen(link));
	} else if (S_ISLNK(a.mode)) {
		uint32_t n;
		const char *target = index_symlink(ix, node, &n);

		put_name(&pax, "linkpath", u.h.linkname, sizeof u.h.linkname, target, n);
	}
	put_numbers(&u.h, &pax, &a, S_ISREG(a.mode) && !link);
	if (!link)
		r = add_xattrs(&pax, ix, node);
	if (r)
		return r;
	seal(&u);
	add_pax(b, &pax);
	buf_add(b, u.bytes, sizeof u.bytes);
	return 0;
}
