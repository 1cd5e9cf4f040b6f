// indexparts.h - a valid index, in parts that a test may break
// SPDX-License-Identifier: Apache-2.0
#ifndef INDEXPARTS_H
#define INDEXPARTS_H

#include "../../lib/index.c"
#include "../../lib/indexw.c"

#include <fcntl.h>

#include "said.h"
#include "tap.h"
#include "walkindex.h"

struct parts {
	struct buf sec[SEC_COUNT];
};

static inline uint32_t add(struct parts *p, enum fmt_section s, const void *d, size_t n)
{
	uint32_t at = (uint32_t)p->sec[s].len;

	buf_add(&p->sec[s], d, n);
	return at;
}

static inline struct fmt_node *node_of(struct parts *p, uint32_t n)
{
	return (struct fmt_node *)p->sec[SEC_NODES].data + n;
}

static inline struct fmt_dirent *dirent_of(struct parts *p, uint32_t n)
{
	return (struct fmt_dirent *)p->sec[SEC_DIRENTS].data + n;
}

static inline struct fmt_space *space_of(struct parts *p, uint32_t n)
{
	return (struct fmt_space *)p->sec[SEC_SPACES].data + n;
}

static inline struct fmt_chunk *chunk_of(struct parts *p, uint32_t n)
{
	return (struct fmt_chunk *)p->sec[SEC_CHUNKS].data + n;
}

static inline struct fmt_frame *frame_of(struct parts *p, uint32_t n)
{
	return (struct fmt_frame *)p->sec[SEC_FRAMES].data + n;
}

static inline struct fmt_run *run_of(struct parts *p, uint32_t n)
{
	return (struct fmt_run *)p->sec[SEC_RUNS].data + n;
}

static uint32_t add_node(
	struct parts *p, uint32_t mode, uint32_t nlink, uint64_t size, uint32_t a, uint32_t b)
{
	struct fmt_node n = { .mode = (uint16_t)mode,
		.nlink = nlink,
		.size = size,
		.a = a,
		.b = b,
		.mtime_ns = 999999999,
		.mtime = -5,
		.uid = UINT32_MAX,
		.gid = 7,
		.xattrs = FMT_NO_XATTRS };

	return add(p, SEC_NODES, &n, sizeof n) / (uint32_t)sizeof n;
}

static inline void add_dirent(struct parts *p, const char *name, uint32_t node)
{
	struct fmt_dirent d = { .name = add(p, SEC_NAMES, name, strlen(name)),
		.name_len = (uint16_t)strlen(name),
		.node = node };

	add(p, SEC_DIRENTS, &d, sizeof d);
}

static void add_chunk(
	struct parts *p, uint32_t block, uint32_t blocks, uint8_t codec, uint32_t clen)
{
	struct fmt_chunk c = { .block = block, .blocks = blocks, .clen = clen, .codec = codec };

	memset(c.sha, codec == CODEC_ZERO ? 0 : 0x5a, sizeof c.sha);
	add(p, SEC_CHUNKS, &c, sizeof c);
}

static inline void add_space(struct parts *p, uint32_t first, uint32_t chunks, uint32_t blocks,
	uint64_t blob_size, bool blob)
{
	struct fmt_space s = {
		.first_chunk = first, .chunks = chunks, .blocks = blocks, .blob_size = blob_size
	};

	memset(s.layer, 1, sizeof s.layer);
	memset(s.diff_id, 2, sizeof s.diff_id);
	memset(s.blob, blob ? 3 : 0, sizeof s.blob);
	add(p, SEC_SPACES, &s, sizeof s);
}

static inline void add_xattr(struct parts *p, const char *name, const char *value)
{
	struct fmt_xattr x = { .name_len = (uint16_t)strlen(name),
		.value_len = (uint32_t)strlen(value) };

	add(p, SEC_XATTRS, &x, sizeof x);
	add(p, SEC_XATTRS, name, strlen(name));
	add(p, SEC_XATTRS, value, strlen(value));
	buf_zero(&p->sec[SEC_XATTRS], -p->sec[SEC_XATTRS].len & 3);
}

#define XATTR_SETS 20u // where the sets begin

static inline void add_xattrs(struct parts *p)
{
	uint32_t head[] = { 3, XATTR_SETS, 0, 0, 0 };

	add(p, SEC_XATTRS, head, sizeof head);
	add_xattr(p, "user.a", "1"); // 8 + 7 + 1
	add_xattr(p, "user.ab", "");
	((uint32_t *)p->sec[SEC_XATTRS].data)[2] = (uint32_t)p->sec[SEC_XATTRS].len;
	add_xattr(p, "security.capability", "abcd");
	((uint32_t *)p->sec[SEC_XATTRS].data)[3] = (uint32_t)p->sec[SEC_XATTRS].len;
	add_xattr(p, "user.z", "z");
	((uint32_t *)p->sec[SEC_XATTRS].data)[4] = (uint32_t)p->sec[SEC_XATTRS].len;
}

// One of everything. Nodes: 0 root, 1 d, 2 e, 3 file, 4 link, 5 null, 6 disk, 7 fifo, 8 empty file,
// 9 d/sub, 10 in it.
enum { ROOT, DIR_D, DIR_E, FILE_F, LINK_L, CHR_N, BLK_O, FIFO_P, FILE_Z, DIR_SUB, FILE_IN, NODES };

static inline void make_parts(struct parts *p)
{
	struct fmt_frame f = {
		.clen = 100, .blocks = 5, .first_run = 0, .runs = 2, .codec = CODEC_ZSTD
	};
	struct fmt_run r[] = { { 0, 1, 3 }, { 2, 0, 2 }, { 0, 0, 1 } };

	*p = (struct parts){ 0 };
	add_xattrs(p);
	add_node(p, S_IFDIR | 0755, 4, 9, 0, 0);
	add_node(p, S_IFDIR | 01777, 3, 1, 9, ROOT);
	add_node(p, S_IFDIR | 0700, 2, 0, 10, ROOT);
	add_node(p, S_IFREG | 06755, 3, 3 * 4096 + 1, 0, 1);
	node_of(p, FILE_F)->xattrs = 0;
	add_node(p, S_IFLNK | 0777, 1, 5, add(p, SEC_NAMES, "a/b/c", 5), 0);
	add_node(p, S_IFCHR | 0666, 1, 0, 4095, 1048575);
	add_node(p, S_IFBLK | 0660, 1, 0, 0, 0);
	add_node(p, S_IFIFO | 0600, 1, 0, 0, 0);
	add_node(p, S_IFREG | 0644, 1, 0, 0, 0);
	add_node(p, S_IFDIR | 0755, 2, 2, 10, DIR_D);
	add_node(p, S_IFREG | 0, 1, 4096, 2, 1);
	node_of(p, FILE_IN)->xattrs = 2;
	node_of(p, ROOT)->xattrs = 1;
	add_dirent(p, "d", DIR_D);
	add_dirent(p, "e", DIR_E);
	add_dirent(p, "f", FILE_F);
	add_dirent(p, "fa", FILE_F);
	add_dirent(p, "l", LINK_L);
	add_dirent(p, "n", CHR_N);
	add_dirent(p, "o", BLK_O);
	add_dirent(p, "p", FIFO_P);
	add_dirent(p, "z", FILE_Z);
	add_dirent(p, "sub", DIR_SUB);
	add_dirent(p, "f", FILE_F);
	add_dirent(p, "in", FILE_IN);
	add_chunk(p, 0, 2, CODEC_LZ4, 8191);
	add_chunk(p, 2, 3, CODEC_ZSTD, 1);
	add_chunk(p, 5, 5000, CODEC_ZERO, 0);
	add_chunk(p, 5005, 1, CODEC_STORED, 4096);
	add_chunk(p, 0, 2, CODEC_STORED, 0);
	add_space(p, 0, 4, 5006, 8191 + 1 + 4096, true);
	add_space(p, 4, 0, 0, 0, false);
	add_space(p, 4, 1, 2, 0, false);
	add(p, SEC_FRAMES, &f, sizeof f);
	f = (struct fmt_frame){
		.clen = 4096, .blocks = 1, .first_run = 2, .runs = 1, .codec = CODEC_STORED
	};
	add(p, SEC_FRAMES, &f, sizeof f);
	add(p, SEC_RUNS, r, sizeof r);
}

static inline struct buf assemble(struct parts *p)
{
	struct fmt_header h = { .compat = 4 };
	struct buf b = { 0 };

	memcpy(h.magic, FMT_INDEX_MAGIC, sizeof h.magic);
	memset(h.original, 0x11, sizeof h.original);
	memset(h.config, 0x22, sizeof h.config);
	buf_add(&b, &h, sizeof h);
	for (unsigned s = 0; s < SEC_COUNT; s++) {
		add_section(&b, s, p->sec[s].data, p->sec[s].len);
		buf_fini(&p->sec[s]);
	}
	return b;
}

// The buffer is given a block of its own exact size, so that a read beyond it is caught.

#endif
