// journal.c - what a plain pull has read of an image's layers
// SPDX-License-Identifier: Apache-2.0
#include "journal.h"

#include <sys/stat.h>
#include <zstd.h>

#include "hash.h"
#include "log.h"

static const uint8_t magic[8] = "fcpullJ1";
#define HEAD_LEN 40u // magic and sum
#define LEVEL 1
#define TYPE_END 0xffu
#define IO_SIZE (128u << 10)

// Before each entry's path, link and extended attributes (for each: two lengths of 4 bytes, name, value).
struct fixed {
	uint32_t type, mode, uid, gid, mtime_ns, content;
	int64_t mtime;
	uint64_t size;
	uint32_t rdev_major, rdev_minor;
	uint32_t path_len, link_len, n_xattrs, xattrs_len;
};

// ---- writing ----

struct journal_w {
	int fd, error;
	uint64_t at;
	struct sha256 h;
	ZSTD_CCtx *z;
	struct buf in;
	uint8_t out[IO_SIZE];
};

int journal_begin(int fd, struct journal_w **ret)
{
	struct journal_w *j = xcalloc(1, sizeof *j);

	j->fd = fd;
	j->at = HEAD_LEN;
	j->z = ZSTD_createCCtx();
	sha256_init(&j->h);
	if (!j->z || ZSTD_isError(ZSTD_CCtx_setParameter(j->z, ZSTD_c_compressionLevel, LEVEL))) {
		journal_drop(j);
		return -ENOMEM;
	}
	*ret = j;
	return 0;
}

void journal_drop(struct journal_w *j)
{
	if (!j)
		return;
	ZSTD_freeCCtx(j->z);
	buf_fini(&j->in);
	free(j);
}

static void pack_pending(struct journal_w *j, ZSTD_EndDirective how)
{
	ZSTD_inBuffer in = { j->in.data, j->in.len, 0 };
	size_t left;

	do {
		ZSTD_outBuffer out = { j->out, sizeof j->out, 0 };

		left = ZSTD_compressStream2(j->z, &out, &in, how);
		if (!j->error && ZSTD_isError(left))
			j->error = -ENOMEM;
		if (j->error)
			break;
		sha256_update(&j->h, j->out, out.pos);
		j->error = pwrite_full(j->fd, j->out, out.pos, j->at);
		j->at += out.pos;
	} while (in.pos < in.size || (how == ZSTD_e_end && left));
	j->in.len = 0;
}

static void put_xattrs(struct buf *b, const struct tar_entry *e)
{
	for (size_t i = 0; i < e->n_xattrs; i++) {
		const struct tar_xattr *x = &e->xattrs[i];

		buf_add(b, &x->name_len, 4);
		buf_add(b, &x->value_len, 4);
		buf_add(b, x->name, x->name_len + 1u); // with its NUL
		buf_add(b, x->value, x->value_len);
	}
}

static uint32_t xattrs_len(const struct tar_entry *e)
{
	uint32_t n = 0;

	for (size_t i = 0; i < e->n_xattrs; i++)
		n += 9 + e->xattrs[i].name_len + e->xattrs[i].value_len;
	return n;
}

void journal_put(struct journal_w *j, const struct tar_entry *e, uint32_t content)
{
	struct fixed f = {
		.type = (uint32_t)e->type,
		.mode = e->mode,
		.uid = e->uid,
		.gid = e->gid,
		.mtime_ns = e->mtime_ns,
		.content = content,
		.mtime = e->mtime,
		.size = e->size,
		.rdev_major = e->rdev_major,
		.rdev_minor = e->rdev_minor,
		.path_len = (uint32_t)e->path_len,
		.link_len = (uint32_t)e->link_len,
		.n_xattrs = (uint32_t)e->n_xattrs,
		.xattrs_len = xattrs_len(e),
	};

	buf_add(&j->in, &f, sizeof f);
	buf_add(&j->in, e->path, e->path_len);
	buf_add(&j->in, e->link, e->link_len);
	put_xattrs(&j->in, e);
	if (j->in.len >= IO_SIZE)
		pack_pending(j, ZSTD_e_continue);
}

void journal_put_end(struct journal_w *j)
{
	struct fixed f = { .type = TYPE_END };

	buf_add(&j->in, &f, sizeof f);
	pack_pending(j, ZSTD_e_continue);
}

int journal_end(struct journal_w *j)
{
	uint8_t head[HEAD_LEN];
	struct digest d;
	int r;

	pack_pending(j, ZSTD_e_end);
	d = sha256_final(&j->h);
	memcpy(head, magic, sizeof magic);
	memcpy(head + 8, d.b, sizeof d.b);
	r = j->error ? j->error : pwrite_full(j->fd, head, sizeof head, 0);
	journal_drop(j);
	return r;
}

// ---- reading ----

struct journal_r {
	int fd;
	char *name;
	uint64_t at, end; // in the file
	ZSTD_DCtx *z;
	ZSTD_inBuffer in;
	uint8_t packed[IO_SIZE];
	struct buf entry; // of the current one: path, NUL, link, NUL, attributes
	struct tar_xattr *xattrs;
	size_t cap_xattrs;
};

static int bad(const struct journal_r *j)
{
	return warn_errno(-EBADMSG,
		"%s: what its pull has written down is damaged; pull the image again", j->name);
}

static int check_sum(struct journal_r *j)
{
	uint8_t head[HEAD_LEN];
	struct sha256 h;
	struct digest d;
	int r = j->end < HEAD_LEN ? -EBADMSG : pread_full(j->fd, head, sizeof head, 0);

	sha256_init(&h);
	for (uint64_t at = HEAD_LEN; !r && at < j->end;) {
		size_t n = (size_t)MIN(j->end - at, (uint64_t)IO_SIZE);

		r = pread_full(j->fd, j->packed, n, at);
		sha256_update(&h, j->packed, n);
		at += n;
	}
	if (r)
		return r == -EBADMSG ? bad(j) : warn_errno(r, "%s: read the journal", j->name);
	d = sha256_final(&h);
	return memcmp(head, magic, sizeof magic) || memcmp(head + 8, d.b, sizeof d.b) ? bad(j) : 0;
}

int journal_open(int fd, const char *name, struct journal_r **ret)
{
	struct journal_r *j = xcalloc(1, sizeof *j);
	struct stat st;
	int r = fstat(fd, &st) ? -errno : 0;

	j->fd = fd;
	j->name = xstrdup(name);
	j->end = (uint64_t)st.st_size;
	j->at = HEAD_LEN;
	j->z = ZSTD_createDCtx();
	if (!r)
		r = j->z ? check_sum(j) : -ENOMEM;
	if (r) {
		journal_close(j);
		return r;
	}
	*ret = j;
	return 0;
}

void journal_close(struct journal_r *j)
{
	if (!j)
		return;
	ZSTD_freeDCtx(j->z);
	buf_fini(&j->entry);
	free(j->xattrs);
	free(j->name);
	free(j);
}

// Exactly n plain bytes.
static int take(struct journal_r *j, void *p, size_t n)
{
	ZSTD_outBuffer out = { p, n, 0 };

	while (out.pos < n) {
		size_t before = out.pos;

		if (j->in.pos == j->in.size && j->at < j->end) {
			size_t len = (size_t)MIN(j->end - j->at, (uint64_t)IO_SIZE);

			if (pread_full(j->fd, j->packed, len, j->at))
				return bad(j);
			j->at += len;
			j->in = (ZSTD_inBuffer){ j->packed, len, 0 };
		}
		if (ZSTD_isError(ZSTD_decompressStream(j->z, &out, &j->in)))
			return bad(j);
		if (out.pos == before && j->in.pos == j->in.size && j->at == j->end)
			return bad(j);
	}
	return 0;
}

static int take_xattrs(struct journal_r *j, const uint8_t *p, const struct fixed *f)
{
	const uint8_t *end = p + f->xattrs_len;

	j->xattrs = xgrow(j->xattrs, &j->cap_xattrs, f->n_xattrs, sizeof *j->xattrs);
	for (uint32_t i = 0; i < f->n_xattrs; i++) {
		struct tar_xattr *x = &j->xattrs[i];

		if (end - p < 8)
			return bad(j);
		x->name_len = get_le32(p);
		x->value_len = get_le32(p + 4);
		p += 8;
		if ((uint64_t)x->name_len + 1 + x->value_len > (uint64_t)(end - p) ||
			p[x->name_len])
			return bad(j);
		x->name = (const char *)p;
		x->value = p + x->name_len + 1;
		p = x->value + x->value_len;
	}
	return 0;
}

static bool is_sound(const struct fixed *f)
{
	return f->type <= TAR_FIFO && f->path_len <= TAR_PATH_MAX && f->link_len <= TAR_PATH_MAX &&
		f->n_xattrs <= TAR_XATTR_MAX && f->xattrs_len <= 16 * TAR_XATTR_MAX;
}

int journal_next(struct journal_r *j, struct tar_entry *ret, uint32_t *ret_content)
{
	struct fixed f = { 0 };
	uint8_t *p;
	int r = take(j, &f, sizeof f);

	if (r || f.type == TYPE_END)
		return r;
	if (!is_sound(&f))
		return bad(j);
	j->entry.len = 0;
	buf_zero(&j->entry, (size_t)f.path_len + f.link_len + f.xattrs_len + 2);
	p = j->entry.data;
	r = take(j, p, f.path_len);
	if (!r)
		r = take(j, p + f.path_len + 1, f.link_len);
	if (!r)
		r = take(j, p + f.path_len + f.link_len + 2, f.xattrs_len);
	if (!r)
		r = take_xattrs(j, p + f.path_len + f.link_len + 2, &f);
	if (r)
		return r;
	*ret = (struct tar_entry){
		.type = (enum tar_type)f.type,
		.path = (char *)p,
		.path_len = f.path_len,
		.link = (char *)p + f.path_len + 1,
		.link_len = f.link_len,
		.mode = f.mode,
		.uid = f.uid,
		.gid = f.gid,
		.mtime = f.mtime,
		.mtime_ns = f.mtime_ns,
		.rdev_major = f.rdev_major,
		.rdev_minor = f.rdev_minor,
		.size = f.size,
		.xattrs = j->xattrs,
		.n_xattrs = f.n_xattrs,
	};
	*ret_content = f.content;
	return 1;
}
