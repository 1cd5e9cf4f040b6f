// tarpax.c - pax extended headers (POSIX.1-2017 pax, "pax Extended Header") of a tar archive
// SPDX-License-Identifier: Apache-2.0
//
// A header is a list of records "LENGTH KEY=VALUE\n", LENGTH counting all of it. Keys that say
// nothing about what is kept (atime, comment, hdrcharset, uname, ...) are skipped;
// names are bytes whatever hdrcharset says. Texts are copied, so nothing points into the caller's
// bytes.
#include "tarpax.h"

#include "base64.h"

typedef const char *set_fn(struct pax *p, const char *v, size_t n);

static struct pax_text add_text(struct pax *p, const char *s, size_t n)
{
	struct pax_text t = { p->text.len, n };

	buf_add(&p->text, s, n);
	buf_zero(&p->text, 1);
	return t;
}

//
// Plain fields.
//

static const char *set_name(struct pax *p, struct pax_text *to, const char *v, size_t n)
{
	if (memchr(v, 0, n))
		return "NUL in a name of a pax header";
	*to = add_text(p, v, n);
	return NULL;
}

static const char *set_path(struct pax *p, const char *v, size_t n)
{
	return set_name(p, &p->path, v, n);
}

static const char *set_link(struct pax *p, const char *v, size_t n)
{
	return set_name(p, &p->link, v, n);
}

static const char *set_sparse_name(struct pax *p, const char *v, size_t n)
{
	return set_name(p, &p->sparse_name, v, n);
}

static const char *set_acl(struct pax *p, const char *v, size_t n)
{
	p->acl = add_text(p, v, n);
	return NULL;
}

static const char *set_default_acl(struct pax *p, const char *v, size_t n)
{
	p->default_acl = add_text(p, v, n);
	return NULL;
}

static const char *set_number(uint64_t *to, const char *v, size_t n)
{
	return sparse_decimal(v, n, to) ? NULL : "bad number in a pax header";
}

static const char *set_size(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->size, v, n);
}

static const char *set_uid(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->uid, v, n);
}

static const char *set_gid(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->gid, v, n);
}

static const char *set_major(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->major, v, n);
}

static const char *set_minor(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->minor, v, n);
}

// Nine digits of a fraction; what is behind them is cut off.
static bool parse_fraction(const char *p, size_t n, uint32_t *ret)
{
	uint32_t ns = 0;

	for (size_t i = 0; i < MAX(n, (size_t)9); i++) {
		if (i < n && (p[i] < '0' || p[i] > '9'))
			return false;
		if (i < 9)
			ns = ns * 10 + (i < n ? (uint32_t)(p[i] - '0') : 0);
	}
	*ret = ns;
	return true;
}

// "[-]SECONDS[.FRACTION]". The fraction counts away from zero: -1.25 is second -2 and 750000000 ns.
static const char *set_mtime(struct pax *p, const char *v, size_t n)
{
	bool negative = *v == '-';
	const char *s = v + negative, *end = v + n, *dot = memchr(v, '.', n);
	const char *stop = dot ? dot : end;
	uint64_t sec;
	uint32_t ns = 0;

	if (stop < s || !sparse_decimal(s, (size_t)(stop - s), &sec) || sec > INT64_MAX ||
		(dot && !parse_fraction(dot + 1, (size_t)(end - dot - 1), &ns)))
		return "bad time in a pax header";
	p->mtime = negative ? -(int64_t)sec - (ns > 0) : (int64_t)sec;
	p->mtime_ns = negative && ns ? 1000000000 - ns : ns;
	return NULL;
}

//
// Sparse files, as GNU tar writes them.
//

static const char *set_sparse_size(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->sparse_size, v, n);
}

static const char *set_sparse_major(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->sparse_major, v, n);
}

static const char *set_sparse_minor(struct pax *p, const char *v, size_t n)
{
	return set_number(&p->sparse_minor, v, n);
}

static const char *set_sparse_map(struct pax *p, const char *v, size_t n)
{
	sparse_reset(&p->map);
	return sparse_add_list(&p->map, v, n);
}

// How many extents there are: they are counted instead.
static const char *set_sparse_count(struct pax *p, const char *v, size_t n)
{
	uint64_t count;

	(void)p;
	return set_number(&count, v, n);
}

static const char *set_sparse_offset(struct pax *p, const char *v, size_t n)
{
	if (p->have_off)
		return "sparse map: offset without a length";
	p->have_off = true;
	return set_number(&p->sparse_off, v, n);
}

static const char *set_sparse_length(struct pax *p, const char *v, size_t n)
{
	uint64_t len;

	if (!p->have_off || !sparse_decimal(v, n, &len))
		return "sparse map: bad length";
	p->have_off = false;
	return sparse_add(&p->map, p->sparse_off, len);
}

static const char *refuse_star(struct pax *p, const char *v, size_t n)
{
	(void)p, (void)v, (void)n;
	return "star's sparse format is not supported";
}

//
// Extended attributes.
//

const char *pax_add_xattr(struct pax *p, const char *name, size_t name_len, const char *v, size_t n)
{
	if (!name_len || name_len > TAR_XATTR_NAME || memchr(name, 0, name_len))
		return "bad name of an extended attribute";
	size_t i = 0;

	while (i < p->n_xattrs &&
		(p->xattrs[i].name.len != name_len ||
			memcmp(pax_str(p, p->xattrs[i].name), name, name_len) != 0))
		i++;
	if (i < p->n_xattrs) {
		p->xattr_bytes -= name_len + p->xattrs[i].value.len;
	} else {
		if (i == TAR_XATTRS)
			return "more than 512 extended attributes";
		p->xattrs = xgrow(p->xattrs, &p->cap_xattrs, i + 1, sizeof *p->xattrs);
		p->xattrs[i].name = add_text(p, name, name_len);
		p->n_xattrs++;
	}
	p->xattr_bytes += name_len + n;
	if (p->xattr_bytes > TAR_XATTR_MAX)
		return "extended attributes above 64 KiB";
	p->xattrs[i].value = add_text(p, v, n);
	return NULL;
}

static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = (char)(c | 0x20);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

// libarchive's names: %XX for bytes outside the printable ASCII range.
static bool decode_percent(const char *s, size_t n, struct buf *out)
{
	for (size_t i = 0; i < n; i++) {
		uint8_t c = (uint8_t)s[i];

		if (c == '%') {
			int hi = i + 2 < n ? hex_value(s[i + 1]) : -1;
			int lo = i + 2 < n ? hex_value(s[i + 2]) : -1;

			if (hi < 0 || lo < 0)
				return false;
			c = (uint8_t)(hi << 4 | lo);
			i += 2;
		}
		buf_add(out, &c, 1);
	}
	return true;
}

// libarchive writes no padding.
static bool decode_base64(const char *s, size_t n, struct buf *out)
{
	ssize_t len;

	buf_reserve(out, n / 4 * 3 + 3);
	len = base64_decode(s, n, out->data);
	out->len = len > 0 ? (size_t)len : 0;
	return len >= 0;
}

static const char *add_encoded_xattr(
	struct pax *p, const char *name, size_t name_len, const char *v, size_t n)
{
	cleanup_buf struct buf key = { 0 }, value = { 0 };

	if (name_len > (size_t)3 * TAR_XATTR_NAME || n > TAR_XATTR_MAX / 3 * 4 + 4)
		return "extended attribute too long";
	if (!decode_percent(name, name_len, &key) || !decode_base64(v, n, &value))
		return "bad encoding of an extended attribute";
	return pax_add_xattr(p, buf_str(&key), key.len, buf_str(&value), value.len);
}

//
// Records.
//

static const struct key {
	const char *name;
	set_fn *set;
	unsigned field; // cleared by an empty value
	bool single;	// makes sense for one file only: refused in a global header
} keys[] = {
	{ "path", set_path, PAX_PATH, false },
	{ "linkpath", set_link, PAX_LINK, false },
	{ "size", set_size, PAX_SIZE, true },
	{ "uid", set_uid, PAX_UID, false },
	{ "gid", set_gid, PAX_GID, false },
	{ "mtime", set_mtime, PAX_MTIME, false },
	{ "SCHILY.devmajor", set_major, PAX_MAJOR, false },
	{ "SCHILY.devminor", set_minor, PAX_MINOR, false },
	{ "SCHILY.acl.access", set_acl, PAX_ACL, false },
	{ "SCHILY.acl.default", set_default_acl, PAX_DEFAULT_ACL, false },
	{ "SCHILY.realsize", refuse_star, 0, true },
	{ "GNU.sparse.name", set_sparse_name, PAX_SPARSE_NAME, true },
	{ "GNU.sparse.size", set_sparse_size, PAX_SPARSE_SIZE, true },
	{ "GNU.sparse.realsize", set_sparse_size, PAX_SPARSE_SIZE, true },
	{ "GNU.sparse.major", set_sparse_major, PAX_SPARSE_MAJOR, true },
	{ "GNU.sparse.minor", set_sparse_minor, PAX_SPARSE_MINOR, true },
	{ "GNU.sparse.map", set_sparse_map, PAX_SPARSE_MAP, true },
	{ "GNU.sparse.numblocks", set_sparse_count, PAX_SPARSE_MAP, true },
	{ "GNU.sparse.offset", set_sparse_offset, PAX_SPARSE_MAP, true },
	{ "GNU.sparse.numbytes", set_sparse_length, PAX_SPARSE_MAP, true },
};

static bool has_prefix(const char *s, size_t n, const char *prefix)
{
	return n >= strlen(prefix) && !memcmp(s, prefix, strlen(prefix));
}

// An empty value takes back what was said before, so that the ustar field counts (POSIX); but it
// is a legal value of an extended attribute.
static const char *set_record(
	struct pax *p, const char *name, size_t name_len, const char *v, size_t n, bool global)
{
	static const char schily[] = "SCHILY.xattr.", libarchive[] = "LIBARCHIVE.xattr.";

	if (has_prefix(name, name_len, schily))
		return pax_add_xattr(p, name + strlen(schily), name_len - strlen(schily), v, n);
	if (has_prefix(name, name_len, libarchive))
		return add_encoded_xattr(
			p, name + strlen(libarchive), name_len - strlen(libarchive), v, n);
	for (const struct key *k = keys; k < keys + ARRAY_LEN(keys); k++) {
		if (strlen(k->name) != name_len || memcmp(k->name, name, name_len) != 0)
			continue;
		if (global && k->single)
			return "a global pax header with the size of one file";
		p->has &= ~k->field;
		if (!n)
			return NULL;
		p->has |= k->field;
		return k->set(p, v, n);
	}
	return NULL;
}

// One record at the head of s: its length in *ret_len.
static const char *parse_record(
	struct pax *p, const char *s, size_t n, bool global, size_t *ret_len)
{
	static const char bad[] = "bad record in a pax header";
	const char *space = memchr(s, ' ', MIN(n, (size_t)8));
	uint64_t len;

	if (!space || !sparse_decimal(s, (size_t)(space - s), &len) || len > n)
		return bad;
	const char *key = space + 1, *end = s + len;

	if (end <= key || end[-1] != '\n')
		return bad;
	const char *eq = memchr(key, '=', (size_t)(end - key));

	if (!eq || eq == key || memchr(key, 0, (size_t)(eq - key)))
		return bad;
	*ret_len = (size_t)len;
	return set_record(p, key, (size_t)(eq - key), eq + 1, (size_t)(end - 1 - (eq + 1)), global);
}

const char *pax_parse(struct pax *p, const void *data, size_t n, bool global)
{
	const char *s = data;
	unsigned records = 0;

	while (n) {
		size_t len;
		const char *why = parse_record(p, s, n, global, &len);

		if (why)
			return why;
		if (++records > TAR_PAX_RECORDS)
			return "more than 4096 records in a pax header";
		s += len;
		n -= len;
	}
	return p->have_off ? "sparse map: offset without a length" : NULL;
}

void pax_inherit(struct pax *p, const struct pax *global)
{
	struct pax old = *p;

	*p = *global; // the values; not its memory
	p->map = old.map;
	p->xattrs = old.xattrs;
	p->cap_xattrs = old.cap_xattrs;
	p->text = old.text;
	p->text.len = 0;
	sparse_reset(&p->map);
	buf_add(&p->text, global->text.data, global->text.len);
	p->xattrs = xgrow(p->xattrs, &p->cap_xattrs, global->n_xattrs, sizeof *p->xattrs);
	if (global->n_xattrs)
		memcpy(p->xattrs, global->xattrs, global->n_xattrs * sizeof *p->xattrs);
}

void pax_fini(struct pax *p)
{
	sparse_fini(&p->map);
	free(p->xattrs);
	buf_fini(&p->text);
	*p = (struct pax){ 0 };
}
