// tar.c - a tar stream as a sequence of entries
// SPDX-License-Identifier: Apache-2.0
//
// Formats: V7, ustar and pax (POSIX.1-2017 pax, "ustar Interchange Format"), GNU (GNU tar manual,
// "Basic Tar Format"), star's prefix. Where readers differ, Go's archive/tar is followed: it made
// nearly every layer and it is what other engines unpack with, so what they see is what is seen
// here.
//
// An entry is built by a row of small steps (build_steps), each of which takes a part of the
// header, lets the pax records win, and returns NULL or what is wrong. A size is believed only
// once: it decides where the next header is, and that header's checksum must be right; there is
// never a search for one (CVE-2025-62518). Memory: one window, the names, one pax header (1 MiB),
// one sparse map (1 MiB).
#include "tar.h"

#include "log.h"
#include "taracl.h"
#include "tarhead.h"
#include "tarsparse.h"

#include <inttypes.h>

#define WINDOW_SIZE (128u << 10)

#define DIRECT_MIN (16u << 10) // a read that goes round the window

struct tar {
	struct stream *in;
	char *name;
	size_t pos, len;    // what is unread in `window`
	uint64_t off;	    // in the archive, of window[pos]
	uint64_t entry_off; // of the current header
	const char *shown;  // the entry's name for messages
	size_t shown_len;
	int error;
	bool ended, acl_said;

	uint64_t left;	   // stored bytes of the entry that are still in the stream
	uint64_t at, size; // tar_read's place in the file
	size_t extent;	   // and in the sparse map
	uint64_t holes;	   // of all entries so far

	union tar_block block; // the current header
	struct pax global, pax;
	struct buf records; // of the 'x' header that waits for its entry
	struct buf long_name, long_link;
	bool has_records, has_long_name, has_long_link, slash; // slash: the name ends in one
	struct tar_entry e;
	struct tar_xattr *xattrs;
	size_t cap_xattrs;
	char raw[TARHEAD_NAME_MAX];
	char path[TAR_PATH_MAX + 1], link[TAR_PATH_MAX + 1];
	uint8_t window[WINDOW_SIZE];
};

static int bad(struct tar *t, const char *why)
{
	return warn_errno(-EBADMSG, "%s: entry %s at byte %" PRIu64 ": %s", t->name,
		log_quote_n(t->shown, t->shown_len), t->entry_off, why);
}

static int cut_off(struct tar *t, const char *where)
{
	return warn_errno(-EBADMSG,
		"%s: entry %s at byte %" PRIu64 ": truncated: the archive ends at byte %" PRIu64
		" in its %s",
		t->name, log_quote_n(t->shown, t->shown_len), t->entry_off, t->off, where);
}

//
// Bytes of the stream.
//

// Fills the window when it is empty. 1 = there are bytes, 0 = the stream has ended, -errno.
static int ready(struct tar *t)
{
	if (t->pos < t->len)
		return 1;
	t->pos = t->len = 0;
	ssize_t r = stream_read(t->in, t->window, WINDOW_SIZE);

	if (r <= 0)
		return (int)r;
	t->len = (size_t)r;
	return 1;
}

static void took(struct tar *t, size_t n)
{
	t->pos += n;
	t->off += n;
}

// Exactly n bytes, to p or, when that is NULL, to nowhere.
static int take(struct tar *t, void *p, uint64_t n, const char *where)
{
	for (uint8_t *to = p; n;) {
		int r = ready(t);

		if (r <= 0)
			return r ? r : cut_off(t, where);
		size_t k = (size_t)MIN(n, t->len - t->pos);

		if (to) {
			memcpy(to, t->window + t->pos, k);
			to += k;
		}
		took(t, k);
		n -= k;
	}
	return 0;
}

static uint64_t padding(uint64_t size)
{
	return (TAR_BLOCK - size % TAR_BLOCK) % TAR_BLOCK;
}

// The rest of the entry's data, and the padding to the next header: `off` keeps step with the
// blocks.
static int skip_data(struct tar *t)
{
	int r = take(t, NULL, t->left, "data");

	t->left = 0;
	return r ? r : take(t, NULL, padding(t->off), "padding");
}

static int drain(struct tar *t)
{
	int r;

	while ((r = ready(t)) > 0)
		took(t, t->len - t->pos);
	return r;
}

//
// Steps of an entry: header and pax records into t->e.
//

typedef const char *build_step(struct tar *t);

// The field, or the pax record where there is one; 0..max.
static bool pick_number(const struct tar *t, unsigned pax_field, uint64_t pax_value, const char *p,
	size_t n, uint64_t max, uint64_t *ret)
{
	int64_t v;

	if (!tarhead_number(p, n, &v))
		return false;
	if (!(t->pax.has & pax_field) && v < 0)
		return false;
	*ret = t->pax.has & pax_field ? pax_value : (uint64_t)v;
	return *ret <= max;
}

static const char *build_pax(struct tar *t)
{
	pax_inherit(&t->pax, &t->global);
	return t->has_records ? pax_parse(&t->pax, t->records.data, t->records.len, false) : NULL;
}

// The name by precedence: GNU sparse, GNU long name, pax, header.
static const char *build_path(struct tar *t)
{
	const struct tar_header *h = &t->block.h;
	const struct pax *p = &t->pax;
	const char *s = t->raw;
	size_t n;

	if ((p->has & PAX_SPARSE_NAME) && (p->has & PAX_SPARSE))
		s = pax_str(p, p->sparse_name), n = p->sparse_name.len;
	else if (t->has_long_name)
		s = buf_str(&t->long_name), n = t->long_name.len;
	else if (p->has & PAX_PATH)
		s = pax_str(p, p->path), n = p->path.len;
	else
		n = tarhead_name(h, t->raw);
	t->shown = s;
	t->shown_len = n;
	if (!n)
		return "empty name";
	t->slash = s[n - 1] == '/';
	t->e.path = t->path;
	return tarhead_canonical(s, n, t->path, &t->e.path_len);
}

static const char *build_type(struct tar *t)
{
	switch (t->block.h.type) {
	case '1': t->e.type = TAR_HARDLINK; break;
	case '2': t->e.type = TAR_SYMLINK; break;
	case '3': t->e.type = TAR_CHR; break;
	case '4': t->e.type = TAR_BLK; break;
	case '5': t->e.type = TAR_DIR; break;
	case '6': t->e.type = TAR_FIFO; break;
	case 'D': return "GNU type 'D' (dumped directory) is not supported";
	case 'M': return "GNU type 'M' (continued from another volume) is not supported";
	case 'N': return "GNU type 'N' (old long names) is not supported";
	case 'V': return "GNU type 'V' (volume header) is not supported";
	case 0:
	case '0': // V7 had no type for directories
		t->e.type = t->slash ? TAR_DIR : TAR_FILE;
		break;
	default: // '7' contiguous file, 'S' sparse file, and what POSIX wants read as a file
		t->e.type = TAR_FILE;
	}
	return t->e.type != TAR_DIR && !t->e.path_len ? "the root is not a directory" : NULL;
}

static const char *build_link(struct tar *t)
{
	const struct tar_header *h = &t->block.h;
	const char *s = h->linkname;
	size_t n = strnlen(h->linkname, sizeof h->linkname);

	if (t->e.type != TAR_SYMLINK && t->e.type != TAR_HARDLINK)
		return NULL;
	if (t->has_long_link)
		s = buf_str(&t->long_link), n = t->long_link.len;
	else if (t->pax.has & PAX_LINK)
		s = pax_str(&t->pax, t->pax.link), n = t->pax.link.len;
	if (!n)
		return "link without a target";
	t->e.link = t->link;
	if (t->e.type == TAR_HARDLINK)
		return tarhead_canonical(s, n, t->link, &t->e.link_len);
	if (n > TAR_LINK_MAX)
		return "target of a symbolic link longer than 4095 bytes";
	memcpy(t->link, s, n);
	t->link[n] = 0;
	t->e.link_len = n;
	return NULL;
}

static const char *build_owner(struct tar *t)
{
	const struct tar_header *h = &t->block.h;
	const struct pax *p = &t->pax;
	uint64_t mode, uid, gid;

	if (!pick_number(t, 0, 0, h->mode, sizeof h->mode, INT64_MAX, &mode))
		return "bad mode";
	if (!pick_number(t, PAX_UID, p->uid, h->uid, sizeof h->uid, UINT32_MAX, &uid))
		return "bad user id";
	if (!pick_number(t, PAX_GID, p->gid, h->gid, sizeof h->gid, UINT32_MAX, &gid))
		return "bad group id";
	t->e.mode = mode & 07777;
	t->e.uid = (uint32_t)uid;
	t->e.gid = (uint32_t)gid;
	return NULL;
}

static const char *build_mtime(struct tar *t)
{
	if (!TARHEAD_NUMBER(t->block.h.mtime, &t->e.mtime))
		return "bad time";
	if (t->pax.has & PAX_MTIME) {
		t->e.mtime = t->pax.mtime;
		t->e.mtime_ns = t->pax.mtime_ns;
	}
	return NULL;
}

// V7 has no fields for them.
static const char *build_device(struct tar *t)
{
	const struct tar_header *h = &t->block.h;
	const struct pax *p = &t->pax;
	size_t n = tarhead_is_ustar(h) || tarhead_is_gnu(h) ? sizeof h->major : 0;
	uint64_t major = 0, minor = 0;

	if (t->e.type != TAR_CHR && t->e.type != TAR_BLK)
		return NULL;
	if (!pick_number(t, PAX_MAJOR, p->major, n ? h->major : "", n, TAR_MAJOR_MAX, &major) ||
		!pick_number(t, PAX_MINOR, p->minor, n ? h->minor : "", n, TAR_MINOR_MAX, &minor))
		return "bad device number";
	t->e.rdev_major = (uint32_t)major;
	t->e.rdev_minor = (uint32_t)minor;
	return NULL;
}

// A header that could have said the record's size (less than 8 GiB), and says another one but 0:
// readers that heed the one see
// other entries than readers that heed the other (CVE-2025-62518).
static bool size_contradicts(const struct tar *t, uint64_t size)
{
	int64_t v;

	return (t->pax.has & PAX_SIZE) && size < 1ull << 33 &&
		tarhead_number(t->block.h.size, sizeof t->block.h.size, &v) && v != 0 &&
		(uint64_t)v != size;
}

// Only a file has data. Some tars give links and directories the size of the inode: like Go, take
// no notice of it; but a file whose name makes it a directory would hide its data.
static const char *build_size(struct tar *t)
{
	const struct tar_header *h = &t->block.h;
	uint64_t size;

	if (!pick_number(t, PAX_SIZE, t->pax.size, h->size, sizeof h->size, INT64_MAX, &size))
		return "bad size";
	if (size_contradicts(t, size))
		return "the pax record and the header give different sizes";
	if (t->e.type == TAR_DIR && h->type != '5' && size)
		return "a directory with data";
	t->left = t->e.type == TAR_FILE ? size : 0;
	t->e.size = t->left;
	return NULL;
}

// Said once for an archive: what was written without numbers has them nowhere.
static const char *build_acls(struct tar *t)
{
	struct pax_text who;
	const char *why = taracl_apply(&t->pax, t->e.type, &t->e.mode, &who);

	if (!why && who.len && !t->acl_said)
		warn("%s: entry %s: its ACL names %s without a number, so it is left out, as are others "
		     "like it (bsdtar --format=pax writes numbers)",
			t->name, log_quote_n(t->path, t->e.path_len),
			log_quote_n(pax_str(&t->pax, who), who.len));
	t->acl_said |= who.len > 0;
	return why;
}

static const char *build_xattrs(struct tar *t)
{
	const struct pax *p = &t->pax;

	t->xattrs = xgrow(t->xattrs, &t->cap_xattrs, p->n_xattrs, sizeof *t->xattrs);
	for (size_t i = 0; i < p->n_xattrs; i++)
		t->xattrs[i] = (struct tar_xattr){
			.name = pax_str(p, p->xattrs[i].name),
			.name_len = (uint32_t)p->xattrs[i].name.len,
			.value = (const uint8_t *)pax_str(p, p->xattrs[i].value),
			.value_len = (uint32_t)p->xattrs[i].value.len,
		};
	t->e.xattrs = t->xattrs;
	t->e.n_xattrs = p->n_xattrs;
	return NULL;
}

static build_step *const build_steps[] = {
	build_pax,
	build_path,
	build_type,
	build_link,
	build_owner,
	build_mtime,
	build_device,
	build_size,
	build_acls,
	build_xattrs,
};

//
// Sparse files: the map, from wherever the format keeps it. These read on in the stream.
//

// Extents of one block of the old GNU format; an empty offset ends them.
static const char *add_gnu_extents(struct tar *t, const struct tar_gnu_extent *v, size_t n)
{
	for (size_t i = 0; i < n && v[i].off[0]; i++) {
		int64_t off, len;

		if (!TARHEAD_NUMBER(v[i].off, &off) || !TARHEAD_NUMBER(v[i].len, &len) || off < 0 ||
			len < 0)
			return "sparse map: bad number";
		const char *why = sparse_add(&t->pax.map, (uint64_t)off, (uint64_t)len);

		if (why)
			return why;
	}
	return NULL;
}

// The header holds 4 extents, each block behind it 21. Blocks without an extent would be a way to
// go on for ever.
static int read_gnu_map(struct tar *t)
{
	const struct tar_gnu_header *h = &t->block.gnu;
	const char *why = add_gnu_extents(t, h->sparse, ARRAY_LEN(h->sparse));
	bool more = h->extended;
	int64_t size;

	if (!tarhead_is_gnu(&t->block.h))
		return bad(t, "GNU type 'S' (sparse file) in another format");
	if (!TARHEAD_NUMBER(h->real_size, &size) || size < 0)
		return bad(t, "sparse map: bad size");
	t->e.size = (uint64_t)size;
	while (!why && more) {
		union tar_block b;
		size_t before = t->pax.map.n;
		int r = take(t, b.bytes, TAR_BLOCK, "sparse map");

		if (r)
			return r;
		why = add_gnu_extents(t, b.more.sparse, ARRAY_LEN(b.more.sparse));
		if (!why && t->pax.map.n == before)
			why = "sparse map: empty block";
		more = b.more.extended;
	}
	return why ? bad(t, why) : 0;
}

// Format 1.0: the map is the head of the data, in whole blocks.
static int read_map_lines(struct tar *t)
{
	struct sparse_lines lines = { 0 };

	for (bool done = false; !done;) {
		union tar_block b;

		if (t->left < TAR_BLOCK)
			return bad(t, "sparse map: longer than the data");
		int r = take(t, b.bytes, TAR_BLOCK, "sparse map");

		if (r)
			return r;
		t->left -= TAR_BLOCK;
		const char *why = sparse_feed(&lines, &t->pax.map, b.bytes, TAR_BLOCK, &done);

		if (why)
			return bad(t, why);
	}
	return 0;
}

static int read_pax_map(struct tar *t)
{
	const struct pax *p = &t->pax;
	uint64_t major = p->has & PAX_SPARSE_MAJOR ? p->sparse_major : 0;
	uint64_t minor = p->has & PAX_SPARSE_MINOR ? p->sparse_minor : 0;
	bool map = p->has & PAX_SPARSE_MAP;

	if (major > 1 || minor > 1 || (major == 1 && minor) || (major == 1) == map)
		return bad(t, "sparse file of an unknown format");
	if (!(p->has & PAX_SPARSE_SIZE))
		return bad(t, "sparse file without its size");
	t->e.size = p->sparse_size;
	return major ? read_map_lines(t) : 0;
}

static int read_map(struct tar *t)
{
	bool pax = t->pax.has & PAX_SPARSE, gnu = t->block.h.type == 'S';

	if (!pax && !gnu)
		return 0;
	if ((pax && gnu) || t->e.type != TAR_FILE)
		return bad(t, "sparse map of something that is not a file");
	int r = gnu ? read_gnu_map(t) : read_pax_map(t);

	if (r)
		return r;
	const char *why =
		t->e.size > INT64_MAX ? "bad size" : sparse_check(&t->pax.map, t->e.size, t->left);

	if (why)
		return bad(t, why);
	if (t->e.size - t->left > TAR_HOLES_MAX - t->holes)
		return bad(t, "more than 256 GiB of holes in the archive");
	t->holes += t->e.size - t->left;
	t->e.sparse = true;
	return 0;
}

//
// Extension headers: entries that say something about the next one.
//

static bool is_extension(char type)
{
	return type && strchr("xXgLK", type); // X: Solaris's x
}

static int read_data_into(struct tar *t, size_t max, struct buf *to)
{
	int64_t size;

	if (!TARHEAD_NUMBER(t->block.h.size, &size) || size < 0)
		return bad(t, "bad size");
	if ((uint64_t)size > max)
		return bad(t, "extension header too long");
	to->len = 0;
	buf_reserve(to, (size_t)size + 1);
	int r = take(t, to->data, (uint64_t)size, "extension header");

	to->len = r ? 0 : (size_t)size;
	return r ? r : skip_data(t);
}

// GNU's long names end with a NUL.
static int read_long(struct tar *t, struct buf *to, bool *ret_has)
{
	int r = read_data_into(t, TAR_LONG_MAX, to);

	if (r)
		return r;
	while (to->len && !to->data[to->len - 1])
		to->len--;
	*ret_has = true;
	return memchr(buf_str(to), 0, to->len) ? bad(t, "NUL in a name") : 0;
}

static int read_global(struct tar *t)
{
	cleanup_buf struct buf b = { 0 };
	int r = read_data_into(t, TAR_PAX_MAX, &b);

	if (r)
		return r;
	const char *why = pax_parse(&t->global, b.data, b.len, true);

	if (!why && t->global.text.len > TAR_GLOBAL_MAX)
		why = "global pax headers above 128 KiB";
	return why ? bad(t, why) : 0;
}

// A second 'x', 'L' or 'K' before an entry replaces the first, as in Go.
static int read_extension(struct tar *t)
{
	switch (t->block.h.type) {
	case 'g': return read_global(t);
	case 'L': return read_long(t, &t->long_name, &t->has_long_name);
	case 'K': return read_long(t, &t->long_link, &t->has_long_link);
	default: t->has_records = true; return read_data_into(t, TAR_PAX_MAX, &t->records);
	}
}

//
// Entries.
//

// 1 = a header, checked; 0 = the archive is over, -errno.
static int read_header(struct tar *t)
{
	t->entry_off = t->off;
	t->shown_len = 0;
	int r = ready(t);

	if (r <= 0)
		return r;
	r = take(t, &t->block, TAR_BLOCK, "header");
	if (r)
		return r;
	if (tarhead_all_zero(&t->block)) {
		r = ready(t);
		if (r <= 0)
			return r;
		r = take(t, &t->block, TAR_BLOCK, "header");
		if (r)
			return r;
		return tarhead_all_zero(&t->block) ? drain(t) : bad(t, "a lone zero block");
	}
	t->shown = t->block.h.name;
	t->shown_len = strnlen(t->block.h.name, sizeof t->block.h.name);
	if (!tarhead_checksum_ok(&t->block))
		return bad(t,
			t->entry_off ? "bad header checksum"
				     : "not a tar archive (bad header checksum)");
	return 1;
}

static int build_entry(struct tar *t)
{
	t->e = (struct tar_entry){ 0 };
	for (size_t i = 0; i < ARRAY_LEN(build_steps); i++) {
		const char *why = build_steps[i](t);

		if (why)
			return bad(t, why);
	}
	int r = read_map(t);

	if (r)
		return r;
	t->shown = t->path;
	t->shown_len = t->e.path_len;
	t->at = 0;
	t->size = t->e.size;
	t->extent = 0;
	return 1;
}

static int next_entry(struct tar *t)
{
	t->has_records = t->has_long_name = t->has_long_link = false;
	t->size = t->at = 0;
	int r = skip_data(t);

	for (unsigned n = 0; !r; n++) {
		r = read_header(t);
		if (!r && (t->has_records || t->has_long_name || t->has_long_link))
			return bad(t, "extension header without an entry");
		if (r <= 0)
			return r;
		if (!is_extension(t->block.h.type))
			return build_entry(t);
		r = n < TAR_EXT_MAX ? read_extension(t)
				    : bad(t, "too many extension headers before an entry");
	}
	return r;
}

int tar_next(struct tar *t, struct tar_entry *ret)
{
	if (t->error)
		return t->error;
	if (t->ended)
		return 0;
	int r = next_entry(t);

	if (r < 0)
		t->error = r;
	else if (!r)
		t->ended = true;
	else
		*ret = t->e;
	return r;
}

// Stored bytes: big reads go round the window.
static ssize_t read_stored(struct tar *t, void *buf, size_t n)
{
	ssize_t r;

	n = (size_t)MIN(n, t->left);
	if (t->pos == t->len && n >= DIRECT_MIN) {
		r = stream_read(t->in, buf, n);
		t->off += r > 0 ? (uint64_t)r : 0;
	} else {
		r = ready(t);
		if (r > 0) {
			r = (ssize_t)MIN(n, t->len - t->pos);
			memcpy(buf, t->window + t->pos, (size_t)r);
			took(t, (size_t)r);
		}
	}
	if (r <= 0)
		return r ? r : cut_off(t, "data");
	t->left -= (uint64_t)r;
	return r;
}

ssize_t tar_read(struct tar *t, void *buf, size_t n)
{
	bool stored = true;
	ssize_t r;

	if (t->error)
		return t->error;
	n = (size_t)MIN(n, t->size - t->at);
	if (!n)
		return 0;
	if (t->e.sparse)
		n = (size_t)MIN(n, sparse_run(&t->pax.map, t->size, t->at, &t->extent, &stored));
	if (stored) {
		r = read_stored(t, buf, n);
	} else {
		memset(buf, 0, n);
		r = (ssize_t)n;
	}
	if (r < 0)
		t->error = (int)r;
	else
		t->at += (uint64_t)r;
	return r;
}

struct tar *tar_open(struct stream *in, const char *name)
{
	struct tar *t = xmalloc(sizeof *t);

	memset(t, 0, offsetof(struct tar, window));
	t->in = in;
	t->name = xstrdup(name);
	t->shown = t->raw;
	return t;
}

void tar_close(struct tar *t)
{
	if (!t)
		return;
	pax_fini(&t->global);
	pax_fini(&t->pax);
	buf_fini(&t->records);
	buf_fini(&t->long_name);
	buf_fini(&t->long_link);
	free(t->xattrs);
	free(t->name);
	free(t);
}
