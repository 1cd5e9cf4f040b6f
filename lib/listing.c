// listing.c - what a node of a tree is, in words
// SPDX-License-Identifier: Apache-2.0
#include "listing.h"

#include <sys/stat.h>
#include <time.h>

#include "json.h"

// ---- lines ----

static void print_mode(uint32_t m, char out[static 11])
{
	static const char bits[] = "rwxrwxrwx";

	out[0] = S_ISDIR(m)   ? 'd'
		: S_ISLNK(m)  ? 'l'
		: S_ISCHR(m)  ? 'c'
		: S_ISBLK(m)  ? 'b'
		: S_ISFIFO(m) ? 'p'
			      : '-';
	for (unsigned i = 0; i < 9; i++)
		out[1 + i] = m & 0400u >> i ? bits[i] : '-';
	if (m & S_ISUID)
		out[3] = m & 0100 ? 's' : 'S';
	if (m & S_ISGID)
		out[6] = m & 0010 ? 's' : 'S';
	if (m & S_ISVTX)
		out[9] = m & 0001 ? 't' : 'T';
	out[10] = 0;
}

void listing_name(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		unsigned char c = (unsigned char)s[i];

		if (c < 0x20 || c >= 0x7f || c == '\\')
			printf("\\x%02x", c);
		else
			putchar(c);
	}
}

void listing_line(const struct index *ix, const char *path, size_t len, uint32_t node)
{
	struct attr a;
	char mode[11], when[32], size[24];
	struct tm tm;
	time_t t;

	index_attr(ix, node, &a);
	print_mode(a.mode, mode);
	t = (time_t)a.mtime;
	if (!gmtime_r(&t, &tm) || !strftime(when, sizeof when, "%Y-%m-%d %H:%M:%S", &tm))
		snprintf(when, sizeof when, "%lld", (long long)a.mtime);
	if (S_ISCHR(a.mode) || S_ISBLK(a.mode))
		snprintf(size, sizeof size, "%u, %u", a.rdev_major, a.rdev_minor);
	else
		snprintf(size, sizeof size, "%llu",
			(unsigned long long)(S_ISDIR(a.mode) ? 0 : a.size));
	printf("%s%c %3u %5u %5u %11s %s.%09u ", mode, a.has_xattrs ? '@' : ' ', a.nlink, a.uid,
		a.gid, size, when, a.mtime_ns);
	listing_name(path, len);
	if (S_ISLNK(a.mode)) {
		uint32_t n;
		const char *target = index_symlink(ix, node, &n);

		fputs(" -> ", stdout);
		listing_name(target, n);
	}
	putchar('\n');
}

// ---- JSON ----

static const char *type_name(uint32_t mode)
{
	return S_ISDIR(mode)	 ? "directory"
		: S_ISREG(mode)	 ? "file"
		: S_ISLNK(mode)	 ? "symlink"
		: S_ISCHR(mode)	 ? "char"
		: S_ISBLK(mode)	 ? "block"
		: S_ISFIFO(mode) ? "fifo"
				 : "socket";
}

static void json_xattrs(struct buf *b, const struct index *ix, uint32_t node)
{
	json_open(b, "xattrs", '{');
	for (uint32_t i = 0; i < index_xattr_count(ix, node); i++) {
		cleanup_buf struct buf hex = { 0 };
		cleanup_free char *name = NULL;
		struct xattr_view x;

		index_xattr(ix, node, i, &x);
		name = xstrndup(x.name, x.name_len);
		for (uint32_t k = 0; k < x.value_len; k++)
			buf_printf(&hex, "%02x", x.value[k]);
		json_put_str(b, name, buf_str(&hex));
	}
	json_close(b, '}');
}

void listing_json(
	struct buf *b, const struct index *ix, const char *path, size_t len, uint32_t node)
{
	struct attr a;
	char mode[8];

	index_attr(ix, node, &a);
	snprintf(mode, sizeof mode, "%04o", a.mode & 07777);
	json_open(b, NULL, '{');
	json_put_strn(b, "path", path, len);
	json_put_str(b, "type", type_name(a.mode));
	json_put_str(b, "mode", mode);
	json_put_u64(b, "links", a.nlink);
	json_put_u64(b, "uid", a.uid);
	json_put_u64(b, "gid", a.gid);
	json_put_u64(b, "size", S_ISREG(a.mode) ? a.size : 0);
	json_put_i64(b, "mtime", a.mtime);
	json_put_u64(b, "mtimeNs", a.mtime_ns);
	if (S_ISLNK(a.mode)) {
		uint32_t n;
		const char *target = index_symlink(ix, node, &n);

		json_put_strn(b, "target", target, n);
	}
	if (S_ISCHR(a.mode) || S_ISBLK(a.mode)) {
		json_put_u64(b, "major", a.rdev_major);
		json_put_u64(b, "minor", a.rdev_minor);
	}
	if (a.has_xattrs)
		json_xattrs(b, ix, node);
	json_close(b, '}');
}
