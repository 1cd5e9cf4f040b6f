// test_index.c - the index section: every check by a change that only it refuses, every limit at
// -1, 0 and +1, every byte flipped
// SPDX-License-Identifier: Apache-2.0
#include "indexparts.h"

static int try_bytes(const void *p, size_t n, const char **ret_said)
{
	uint8_t *copy = xmalloc(n);
	struct index *ix;
	int r;

	memcpy(copy, p, n);
	said_begin();
	r = index_open(copy, n, "a\033b", &ix);
	*ret_said = said_end();
	if (r) {
		free(copy);
		return r;
	}
	walk_index(ix);
	index_free(ix);
	return 0;
}

static bool refused(struct buf *b, const char *with)
{
	const char *said;
	int r = try_bytes(b->data, b->len, &said);
	bool good = r == -EBADMSG && strstr(said, with) && strstr(said, "'a\\x1bb'");

	if (!good)
		printf("# r=%d said %s", r, *said ? said : "nothing\n");
	buf_fini(b);
	return good;
}

static bool accepted(struct buf *b)
{
	const char *said;
	int r = try_bytes(b->data, b->len, &said);

	if (r || *said)
		printf("# r=%d said %s", r, *said ? said : "nothing\n");
	buf_fini(b);
	return !r && !*said;
}

// Makes a fresh index, runs the statements on its parts, and wants `with` in the refusal ("" =
// accepted).
#define CHANGED(name, with, ...)                                              \
	do {                                                                  \
		struct parts pt, *p = &pt;                                    \
		struct buf b_;                                                \
                                                                              \
		make_parts(p);                                                \
		__VA_ARGS__;                                                  \
		b_ = assemble(p);                                             \
		ok(*(with) ? refused(&b_, with) : accepted(&b_), "%s", name); \
	} while (0)

// The same on the finished bytes (h = header).
#define MAULED(name, with, ...)                                             \
	do {                                                                \
		struct parts pt;                                            \
		struct buf b;                                               \
		struct fmt_header *h;                                       \
                                                                            \
		make_parts(&pt);                                            \
		b = assemble(&pt);                                          \
		h = (struct fmt_header *)b.data;                            \
		__VA_ARGS__;                                                \
		(void)h;                                                    \
		ok(*(with) ? refused(&b, with) : accepted(&b), "%s", name); \
	} while (0)

static void test_header(void)
{
	MAULED("a valid index", "", (void)0);
	MAULED("255 bytes", "impossible length", b.len = 255);
	MAULED("no bytes", "impossible length", b.len = 0);
	MAULED("header only, no sections", "section table", b.len = 256);
	MAULED("magic", "not an fcpull index", b.data[7]++);
	MAULED("incompat bit", "newer fcpull", h->incompat = 1u << 31);
	MAULED("compat bit", "", h->compat = UINT32_MAX);
	MAULED("reserved, first byte", "reserved header", h->reserved[0] = 1);
	MAULED("reserved, last byte", "reserved header", h->reserved[47] = 1);
	MAULED("section begins late", "section table", h->section[3].off += 8);
	MAULED("section begins early", "section table", h->section[3].off -= 8);
	MAULED("first section inside the header", "section table", h->section[0].off = 248);
	MAULED("section length beyond the end", "section table", h->section[7].len = b.len);
	MAULED("section length wraps", "section table", h->section[7].len = UINT64_MAX - 11);
	MAULED("bytes at the end", "bytes after", buf_zero(&b, 8));
	MAULED("one byte at the end", "bytes after", buf_zero(&b, 1));
	MAULED("cut by one", "section", b.len--);
	MAULED("padding set", "section padding",
		b.data[h->section[SEC_NAMES].off + h->section[SEC_NAMES].len] = 1);
}

static void nothing(struct parts *p)
{
	for (unsigned i = 0; i < SEC_COUNT; i++)
		p->sec[i].len = 0;
}

static void test_lengths(void)
{
	CHANGED("eight empty sections", "no root", nothing(p));
	CHANGED("nodes of an odd length", "section table", p->sec[SEC_NODES].len -= 8);
	CHANGED("dirents of an odd length", "section table", p->sec[SEC_DIRENTS].len -= 1);
	CHANGED("xattrs of an odd length", "section table", p->sec[SEC_XATTRS].len -= 2);
	CHANGED("spaces of an odd length", "section table", p->sec[SEC_SPACES].len -= 8);
	CHANGED("chunks of an odd length", "section table", p->sec[SEC_CHUNKS].len -= 8);
	CHANGED("frames of an odd length", "section table", p->sec[SEC_FRAMES].len -= 8);
	CHANGED("runs of an odd length", "section table", p->sec[SEC_RUNS].len -= 4);
}

static void test_spaces(void)
{
	CHANGED("first_chunk with a gap", "data space", space_of(p, 0)->first_chunk = 1);
	CHANGED("chunks overlap", "data space", space_of(p, 2)->first_chunk = 3);
	CHANGED("more chunks than there are", "data space", space_of(p, 2)->chunks = 2);
	CHANGED("chunk count wraps", "data space", space_of(p, 2)->chunks = UINT32_MAX - 2);
	CHANGED("a chunk without a space", "chunks without", space_of(p, 2)->chunks = 0;
		space_of(p, 2)->blocks = 0;
		node_of(p, FILE_IN)->size = node_of(p, FILE_IN)->a = node_of(p, FILE_IN)->b = 0);
	CHANGED("space reserved", "data space", space_of(p, 1)->reserved[2] = 1);
	CHANGED("space too long", "longer or shorter", space_of(p, 0)->blocks++);
	CHANGED("space too short", "longer or shorter", space_of(p, 0)->blocks--);
	CHANGED("blob_size", "longer or shorter", space_of(p, 0)->blob_size--);
	CHANGED("blob_size of no blob", "longer or shorter", space_of(p, 2)->blob_size = 1);
	CHANGED("blocks wrap to the right number", "longer or shorter",
		chunk_of(p, 3)->codec = CODEC_ZERO;
		memset(chunk_of(p, 3)->sha, 0, 32); chunk_of(p, 3)->blocks = UINT32_MAX;
		chunk_of(p, 3)->clen = 0; space_of(p, 0)->blob_size -= 4096;
		space_of(p, 0)->blocks = 5004);
	for (unsigned d = 0; d < 3; d++) {
		uint32_t n = (uint32_t)FMT_BLOCKS_MAX - 1 + d;

		CHANGED("2^28-1, 2^28, 2^28+1 blocks in all", d == 2 ? "1 TiB" : "",
			n -= space_of(p, 1)->blocks + space_of(p, 2)->blocks;
			chunk_of(p, 2)->blocks = n - 6; chunk_of(p, 3)->block = n - 1;
			space_of(p, 0)->blocks = n);
	}
	CHANGED("2^32-1 blocks", "1 TiB", chunk_of(p, 2)->blocks = UINT32_MAX - 6;
		chunk_of(p, 3)->block = UINT32_MAX - 1; space_of(p, 0)->blocks = UINT32_MAX);
	CHANGED("a blob of nothing", "data space", memset(space_of(p, 1)->blob, 1, 32));
}

static void test_chunks(void)
{
	CHANGED("chunk with a gap", "chunk", chunk_of(p, 1)->block++);
	CHANGED("chunk overlaps", "chunk", chunk_of(p, 1)->block--);
	CHANGED("empty chunk", "chunk", chunk_of(p, 2)->blocks = 0; chunk_of(p, 3)->block = 5;
		space_of(p, 0)->blocks = 6);
	CHANGED("chunk reserved", "chunk", chunk_of(p, 0)->reserved[0] = 1);
	CHANGED("chunk reserved", "chunk", chunk_of(p, 0)->reserved[2] = 1);
	CHANGED("unknown codec", "chunk", chunk_of(p, 0)->codec = 3);
	CHANGED("zero chunk with bytes", "chunk", chunk_of(p, 2)->clen = 1;
		space_of(p, 0)->blob_size++);
	CHANGED("zero chunk with a digest", "chunk", chunk_of(p, 2)->sha[31] = 1);
	CHANGED("LZ4 not shorter than plain", "chunk", chunk_of(p, 0)->clen = 8192;
		space_of(p, 0)->blob_size++);
	CHANGED("zstd of no bytes", "chunk", chunk_of(p, 1)->clen = 0; space_of(p, 0)->blob_size--);
	CHANGED("stored, one byte short", "chunk", chunk_of(p, 3)->clen--;
		space_of(p, 0)->blob_size--);
	CHANGED("stored, one byte long", "chunk", chunk_of(p, 3)->clen++;
		space_of(p, 0)->blob_size++);
	CHANGED("local chunk with bytes", "chunk", chunk_of(p, 4)->clen = 8192;
		space_of(p, 2)->blob_size = 8192);
	CHANGED("local chunk, compressed", "chunk", chunk_of(p, 4)->codec = CODEC_LZ4);
	CHANGED("local chunk in a space with a blob", "chunk", memset(space_of(p, 2)->blob, 1, 32));
	for (uint32_t d = 0; d < 3; d++) {
		uint32_t n = FMT_CHUNK_BLOCKS_MAX - 1 + d;

		CHANGED("chunk of 1023, 1024, 1025 blocks", d == 2 ? "chunk" : "",
			chunk_of(p, 4)->blocks = space_of(p, 2)->blocks = n);
	}
}

static void many_spaces(struct parts *p, uint32_t n)
{
	for (uint32_t i = 3; i < n; i++)
		add_space(p, 5, 0, 0, 0, false);
}

static void test_frames(void)
{
	CHANGED("frame with a gap in its runs", "boot frame", frame_of(p, 1)->first_run = 1);
	CHANGED("frame with more runs than there are", "boot frame", frame_of(p, 1)->runs = 2);
	CHANGED("frame's runs wrap", "boot frame", frame_of(p, 1)->runs = UINT32_MAX);
	CHANGED("run without a frame", "without a frame", frame_of(p, 1)->runs = 0,
		p->sec[SEC_FRAMES].len = 64);
	CHANGED("empty frame", "boot frame", frame_of(p, 1)->runs = 0; frame_of(p, 1)->blocks = 0;
		frame_of(p, 1)->clen = 0; p->sec[SEC_RUNS].len = 24);
	CHANGED("frame's length", "boot frame's length", frame_of(p, 0)->blocks = 6);
	CHANGED("frame's codec", "boot frame", frame_of(p, 0)->codec = CODEC_ZERO);
	CHANGED("frame's compressed length", "boot frame", frame_of(p, 0)->clen = 5 * 4096);
	CHANGED("frame's reserved", "boot frame", frame_of(p, 0)->reserved[14] = 1);
	CHANGED("run's space", "boot run", run_of(p, 0)->space = 3);
	CHANGED("run of an empty space", "boot run", run_of(p, 0)->space = 1);
	CHANGED("empty run", "boot run", run_of(p, 2)->blocks = 0);
	CHANGED("run ends at the end", "", run_of(p, 0)->block = 5003);
	CHANGED("run ends behind the end", "boot run", run_of(p, 0)->block = 5004);
	CHANGED("run wraps", "boot run", run_of(p, 0)->block = UINT32_MAX - 1);
	for (uint32_t d = 0; d < 3; d++) {
		uint32_t n = FMT_FRAME_BLOCKS_MAX - 1 + d;

		CHANGED("frame of 255, 256, 257 blocks", d == 2 ? "boot frame (" : "",
			run_of(p, 0)->blocks = n - 2;
			frame_of(p, 0)->blocks = n);
		CHANGED("511, 512, 513 spaces", d == 2 ? "too many" : "",
			many_spaces(p, FMT_SPACES_MAX - 1 + d));
	}
	CHANGED("frame lengths wrap to the right sum", "1 TiB", run_of(p, 0)->space = 0;
		run_of(p, 1)->space = 0; chunk_of(p, 2)->blocks = UINT32_MAX - 6;
		chunk_of(p, 3)->block = UINT32_MAX - 1; space_of(p, 0)->blocks = UINT32_MAX;
		run_of(p, 0)->block = 0; run_of(p, 0)->blocks = UINT32_MAX;
		run_of(p, 1)->blocks = 6);
}

// ---- extended attributes ----

static uint32_t *xattr_head(struct parts *p)
{
	return (uint32_t *)p->sec[SEC_XATTRS].data;
}

static struct fmt_xattr *xattr_at(struct parts *p, uint32_t at)
{
	return (struct fmt_xattr *)(p->sec[SEC_XATTRS].data + at);
}

// One set of one attribute in place of all.
static void one_xattr(struct parts *p, size_t name_len, size_t value_len)
{
	uint32_t head[] = { 1, 12, 0 };
	cleanup_free char *name = xmalloc(name_len + 1), *value = xmalloc(value_len + 1);

	memset(name, 'n', name_len);
	memset(value, 'v', value_len);
	name[name_len] = value[value_len] = 0;
	p->sec[SEC_XATTRS].len = 0;
	add(p, SEC_XATTRS, head, sizeof head);
	add_xattr(p, name, value);
	xattr_head(p)[2] = (uint32_t)p->sec[SEC_XATTRS].len;
	node_of(p, ROOT)->xattrs = node_of(p, FILE_F)->xattrs = node_of(p, FILE_IN)->xattrs = 0;
}

static void no_xattrs(struct parts *p)
{
	node_of(p, ROOT)->xattrs = node_of(p, FILE_F)->xattrs = node_of(p, FILE_IN)->xattrs =
		FMT_NO_XATTRS;
	p->sec[SEC_XATTRS].len = 0;
}

static void test_xattrs(void)
{
	static const uint32_t none[] = { 0, 8 };

	CHANGED("no xattrs", "", no_xattrs(p));
	CHANGED("a table of no sets", "xattr table", no_xattrs(p);
		add(p, SEC_XATTRS, none, sizeof none));
	CHANGED("four bytes", "xattr table", no_xattrs(p); add(p, SEC_XATTRS, none, 4));
	CHANGED("set number too high", "node", node_of(p, ROOT)->xattrs = 3);
	CHANGED("set number none - 1", "node", node_of(p, ROOT)->xattrs = FMT_NO_XATTRS - 1);
	CHANGED("2^32-1 sets", "xattr table", xattr_head(p)[0] = UINT32_MAX);
	CHANGED("2^30 sets", "xattr table", xattr_head(p)[0] = 1u << 30);
	CHANGED("first set begins late", "xattr", xattr_head(p)[1] += 4);
	CHANGED("first set begins in the table", "xattr table", xattr_head(p)[1] -= 4);
	CHANGED("last set ends early", "xattr table", xattr_head(p)[4] -= 4);
	CHANGED("last set ends behind the end", "xattr table", xattr_head(p)[4] += 4);
	CHANGED("set ends behind the end", "xattr table", xattr_head(p)[3] = 1u << 31);
	CHANGED("sets backwards", "xattr set", xattr_head(p)[3] = XATTR_SETS);
	CHANGED("empty set", "xattr set", xattr_head(p)[3] = xattr_head(p)[2]);
	CHANGED("set at an odd place", "xattr", xattr_head(p)[2] += 2);
	CHANGED("xattr reserved", "xattr", xattr_at(p, XATTR_SETS)->reserved = 1);
	CHANGED("xattr without a name", "xattr", xattr_at(p, XATTR_SETS)->value_len = 7;
		xattr_at(p, XATTR_SETS)->name_len = 0);
	CHANGED("NUL in a name", "xattr", p->sec[SEC_XATTRS].data[XATTR_SETS + 8 + 5] = 0);
	CHANGED("value longer than the set", "xattr", xattr_at(p, XATTR_SETS)->value_len = 100);
	CHANGED("value length wraps", "xattr", xattr_at(p, XATTR_SETS)->value_len = UINT32_MAX - 8);
	CHANGED("name longer than the set", "xattr", xattr_at(p, XATTR_SETS)->name_len = 255);
	CHANGED("padding set", "xattr padding", xattr_at(p, XATTR_SETS)->value_len = 0;
		p->sec[SEC_XATTRS].data[XATTR_SETS + 8 + 6] = 1);
	CHANGED("a name twice", "out of order",
		memcpy(xattr_at(p, XATTR_SETS + 16), xattr_at(p, XATTR_SETS), 16));
	CHANGED("names out of order", "out of order",
		p->sec[SEC_XATTRS].data[XATTR_SETS + 8 + 5] = 'b');
	CHANGED("longer name first", "out of order", xattr_at(p, XATTR_SETS)->name_len = 7;
		xattr_at(p, XATTR_SETS)->value_len = 0;
		memcpy(xattr_at(p, XATTR_SETS) + 1, "user.ab", 8);
		xattr_at(p, XATTR_SETS + 16)->name_len = 6;
		memcpy(xattr_at(p, XATTR_SETS + 16) + 1, "user.a\0", 7));
	CHANGED("name of 254 bytes", "", one_xattr(p, 254, 3));
	CHANGED("name of 255 bytes", "", one_xattr(p, 255, 0));
	CHANGED("name of 256 bytes", "xattr", one_xattr(p, 256, 0));
	// a set's bytes: 8 + 4 + value
	CHANGED("set of 65532 bytes", "", one_xattr(p, 4, FMT_XATTR_SET_MAX - 16));
	CHANGED("set of 65536 bytes", "", one_xattr(p, 4, FMT_XATTR_SET_MAX - 12));
	CHANGED("set of 65540 bytes", "xattr set", one_xattr(p, 4, FMT_XATTR_SET_MAX - 11));
}

// ---- nodes ----

static void test_nodes(void)
{
	CHANGED("no nodes", "no root", p->sec[SEC_NODES].len = 0);
	CHANGED("root is a file", "no root", node_of(p, ROOT)->mode = S_IFREG);
	CHANGED("root's parent", "no root", node_of(p, ROOT)->b = 1);
	CHANGED("node reserved", "node (", node_of(p, FIFO_P)->reserved = 1);
	CHANGED("10^9 ns", "node (", node_of(p, FIFO_P)->mtime_ns = 1000000000);
	CHANGED("mtime of any value", "", node_of(p, FIFO_P)->mtime = INT64_MIN);
	CHANGED("no link", "node (", node_of(p, FIFO_P)->nlink = 0);
	CHANGED("link count too high", "link count (at 7", node_of(p, FIFO_P)->nlink = 2);
	CHANGED("link count too low", "link count (at 3", node_of(p, FILE_F)->nlink = 2);
	CHANGED("directory's link count", "link count (at 1", node_of(p, DIR_D)->nlink = 2);
	CHANGED("root's link count", "link count (at 0", node_of(p, ROOT)->nlink = 3);
	CHANGED("socket", "node (", node_of(p, FIFO_P)->mode = S_IFSOCK);
	CHANGED("no type", "node (", node_of(p, FIFO_P)->mode = 0600);
	CHANGED("unknown type", "node (", node_of(p, FIFO_P)->mode = 0030600);
	CHANGED("fifo with a size", "node (", node_of(p, FIFO_P)->size = 1);
	CHANGED("fifo with a", "node (", node_of(p, FIFO_P)->a = 1);
	CHANGED("fifo with b", "node (", node_of(p, FIFO_P)->b = 1);
	CHANGED("character device 0:0", "node (", node_of(p, CHR_N)->a = node_of(p, CHR_N)->b = 0);
	CHANGED("character device 0:1", "", node_of(p, CHR_N)->a = 0; node_of(p, CHR_N)->b = 1);
	CHANGED("major 4096", "node (", node_of(p, CHR_N)->a = 4096);
	CHANGED("minor 2^20", "node (", node_of(p, CHR_N)->b = 1 << 20);
	CHANGED("device with a size", "node (", node_of(p, CHR_N)->size = 1);
	CHANGED("block device's major", "node (", node_of(p, BLK_O)->a = 4096);
	CHANGED("block device's minor", "node (", node_of(p, BLK_O)->b = 1 << 20);
	CHANGED("block device with a size", "node (", node_of(p, BLK_O)->size = 1);
}

static void test_files(void)
{
	CHANGED("empty file with a place", "node (", node_of(p, FILE_Z)->b = 1);
	CHANGED("empty file with a space", "node (", node_of(p, FILE_Z)->a = 1);
	CHANGED("file's space", "node (", node_of(p, FILE_F)->a = 3);
	CHANGED("file in an empty space", "node (", node_of(p, FILE_F)->a = 1);
	CHANGED("file ends at the end", "", node_of(p, FILE_F)->b = 5002);
	CHANGED("file ends behind the end", "node (", node_of(p, FILE_F)->b = 5003);
	CHANGED("last byte behind the end", "node (", node_of(p, FILE_IN)->size++);
	CHANGED("file of the whole space", "", node_of(p, FILE_F)->b = 0;
		node_of(p, FILE_F)->size = 5006 << 12);
	CHANGED("file longer than its space", "node (", node_of(p, FILE_F)->b = 0;
		node_of(p, FILE_F)->size = (5006 << 12) + 1);
	CHANGED("file of 2^64-1 bytes", "node (", node_of(p, FILE_F)->size = UINT64_MAX);
	CHANGED("file of 2^63 bytes", "node (", node_of(p, FILE_F)->size = 1ull << 63);
	CHANGED("file's last block wraps", "node (", node_of(p, FILE_F)->b = UINT32_MAX);
}

static void long_link(struct parts *p, uint32_t n)
{
	cleanup_free char *s = xmalloc(n);

	memset(s, 't', n);
	node_of(p, LINK_L)->size = n;
	node_of(p, LINK_L)->a = add(p, SEC_NAMES, s, n);
}

static void test_links(void)
{
	CHANGED("symlink without a target", "node (", node_of(p, LINK_L)->size = 0);
	CHANGED("target begins behind the names", "node (",
		node_of(p, LINK_L)->a = (uint32_t)p->sec[SEC_NAMES].len + 1);
	CHANGED("target ends behind the names", "node (",
		node_of(p, LINK_L)->a = (uint32_t)p->sec[SEC_NAMES].len - 4);
	CHANGED("target ends with the names", "",
		node_of(p, LINK_L)->a = (uint32_t)p->sec[SEC_NAMES].len - 5);
	CHANGED("target wraps", "node (", node_of(p, LINK_L)->a = UINT32_MAX - 3);
	CHANGED("NUL in a target", "node (", p->sec[SEC_NAMES].data[4] = 0);
	CHANGED("symlink with b", "node (", node_of(p, LINK_L)->b = 1);
	for (uint32_t d = 0; d < 3; d++)
		CHANGED("target of 4094, 4095, 4096 bytes", d == 2 ? "node (" : "",
			long_link(p, FMT_LINK_MAX - 1 + d));
}

// ---- directories ----

static void name_in_root(struct parts *p, const char *s, size_t n)
{
	dirent_of(p, 8)->name = add(p, SEC_NAMES, s, n);
	dirent_of(p, 8)->name_len = (uint16_t)n;
}

static void long_name(struct parts *p, size_t n)
{
	char s[300];

	memset(s, 'z', sizeof s);
	name_in_root(p, s, n);
}

static void test_names(void)
{
	CHANGED("name .", "name in", name_in_root(p, ".", 1));
	CHANGED("name ..", "name in", name_in_root(p, "..", 2));
	CHANGED("name z..", "", name_in_root(p, "z..", 3));
	CHANGED("empty name", "name in", name_in_root(p, "", 0));
	CHANGED("/ in a name", "name in", name_in_root(p, "z/z", 3));
	CHANGED("NUL in a name", "name in", name_in_root(p, "z\0z", 3));
	CHANGED("name with other bytes", "", name_in_root(p, "\xff\n\033", 3));
	CHANGED("name begins behind the names", "name in",
		dirent_of(p, 8)->name = (uint32_t)p->sec[SEC_NAMES].len + 1);
	CHANGED("name ends behind the names", "name in",
		dirent_of(p, 8)->name = (uint32_t)p->sec[SEC_NAMES].len);
	CHANGED("dirent reserved", "name in", dirent_of(p, 8)->reserved = 1);
	for (size_t d = 0; d < 3; d++)
		CHANGED("name of 254, 255, 256 bytes", d == 2 ? "name in" : "",
			long_name(p, FMT_NAME_MAX - 1 + d));
	CHANGED("a name twice", "not sorted", name_in_root(p, "p", 1));
	CHANGED("names out of order", "not sorted", name_in_root(p, "o", 1));
	CHANGED("longer name first", "not sorted", name_in_root(p, "p", 1);
		dirent_of(p, 7)->name = add(p, SEC_NAMES, "pp", 2); dirent_of(p, 7)->name_len = 2);
	CHANGED("names are bytes, not characters", "", name_in_root(p, "\x80", 1));
}

static void test_dirs(void)
{
	CHANGED("entry of the root node", "node number", dirent_of(p, 10)->node = ROOT);
	CHANGED("entry of a later node", "node number", dirent_of(p, 7)->node = FILE_Z;
		dirent_of(p, 8)->node = FIFO_P);
	CHANGED("entry of no node", "node number", dirent_of(p, 11)->node = NODES;
		p->sec[SEC_NODES].len -= sizeof(struct fmt_node); dirent_of(p, 11)->node = FILE_IN);
	CHANGED("directory twice", "two names", dirent_of(p, 10)->node = DIR_E);
	CHANGED("directory's parent", "parent or depth", node_of(p, DIR_SUB)->b = ROOT);
	CHANGED("node without a name", "without a name", add_node(p, S_IFIFO, 1, 0, 0, 0));
	CHANGED("directory begins elsewhere", "directory's entries", node_of(p, DIR_E)->a = 9);
	CHANGED("root begins elsewhere", "directory's entries", node_of(p, ROOT)->a = 1);
	CHANGED("directory with too many entries", "directory's entries",
		node_of(p, DIR_SUB)->size = 3);
	CHANGED("directory with 2^64-1 entries", "directory's entries",
		node_of(p, DIR_SUB)->size = UINT64_MAX);
	CHANGED("entry without a directory", "without a directory", add_dirent(p, "x", FILE_F));
	CHANGED("directory with an entry less", "", node_of(p, DIR_SUB)->size = 1;
		node_of(p, DIR_SUB)->size = 2);
}

// A chain of n directories below the root.
static void deep(struct parts *p, uint32_t n)
{
	nothing(p);
	add_node(p, S_IFDIR, 3, 1, 0, 0);
	for (uint32_t i = 1; i <= n; i++) {
		add_node(p, S_IFDIR, i < n ? 3 : 2, i < n, i, i - 1);
		add_dirent(p, "d", i);
	}
}

static void test_depth(void)
{
	CHANGED("1023 directories deep", "", deep(p, FMT_DEPTH_MAX - 1));
	CHANGED("1024 directories deep", "", deep(p, FMT_DEPTH_MAX));
	CHANGED("1025 directories deep", "parent or depth", deep(p, FMT_DEPTH_MAX + 1));
}

// ---- sizes of the whole ----

static void test_size(void)
{
	struct parts pt;
	struct buf b;
	const char *said;
	struct fmt_header *h;
	struct index *ix;
	uint8_t *big;
	int r;

	said_begin();
	r = index_open((void *)"", (size_t)FMT_INDEX_MAX + 1, "a", &ix);
	said = said_end();
	ok(r == -EBADMSG && strstr(said, "impossible length"), "an index of 2^30+1 bytes");
	for (unsigned s = 0; s < SEC_COUNT; s++)
		pt.sec[s] = (struct buf){ 0 };
	add_node(&pt, S_IFDIR, 2, 0, 0, 0);
	b = assemble(&pt);
	for (unsigned d = 0; d < 2; d++) {
		size_t len = FMT_INDEX_MAX - 8 * d;

		big = calloc(1, len);
		if (!big) {
			skip("no memory for an index of 2^30 bytes");
			break;
		}
		memcpy(big, b.data, b.len);
		h = (struct fmt_header *)big;
		h->section[SEC_NAMES].len = len - h->section[SEC_NAMES].off;
		for (unsigned s = SEC_NAMES + 1; s < SEC_COUNT; s++)
			h->section[s].off = len;
		r = index_open(big, len, "a", &ix);
		ok(!r, "an index of 2^30%s bytes", d ? "-8" : "");
		if (r)
			free(big);
		else
			index_free(ix);
	}
	buf_fini(&b);
}

// ---- every byte ----

static void test_flips(void)
{
	struct parts pt;
	struct buf b;
	unsigned taken = 0, total = 0;

	make_parts(&pt);
	b = assemble(&pt);
	log_level = LOG_QUIET;
	for (size_t i = 0; i < b.len; i++)
		for (unsigned bit = 0; bit < 9; bit++) {
			uint8_t was = b.data[i], *copy = xmalloc(b.len);
			struct index *ix;

			b.data[i] = bit == 8 ? (uint8_t)~was : (uint8_t)(was ^ 1u << bit);
			memcpy(copy, b.data, b.len);
			total++;
			if (index_open(copy, b.len, "flipped", &ix)) {
				free(copy);
			} else {
				walk_index(ix);
				index_free(ix);
				taken++;
			}
			b.data[i] = was;
		}
	log_level = LOG_WARN;
	ok(true,
		"each bit of %zu bytes flipped: %u of %u changes are refused, the others are safe to walk",
		b.len, total - taken, total);
	for (size_t n = 0; n < b.len; n++) {
		uint8_t *copy = xmalloc(n);
		struct index *ix;
		int r;

		memcpy(copy, b.data, n);
		log_level = LOG_QUIET;
		r = index_open(copy, n, "cut", &ix);
		log_level = LOG_WARN;
		if (!r) {
			ok(false, "cut to %zu bytes", n);
			index_free(ix);
			break;
		}
		free(copy);
	}
	ok(true, "cut at every byte");
	buf_fini(&b);
}

// ---- reading ----

static void test_reading(void)
{
	struct parts pt;
	struct buf b;
	struct index *ix;
	struct attr a;
	struct space_view sp;
	struct chunk_view c;
	struct xattr_view x;
	struct digest k1, k2;
	uint32_t n;

	make_parts(&pt);
	b = assemble(&pt);
	if (!ok(!index_open(b.data, b.len, "a", &ix), "open"))
		return;
	ok(index_path(ix, "d/sub/in") == FILE_IN && index_path(ix, "/d//./sub/in") == FILE_IN,
		"path");
	ok(index_path(ix, "d/sub/ix") == NODE_NONE && index_path(ix, "f/x") == NODE_NONE &&
			index_path(ix, "..") == NODE_NONE,
		"paths of nothing");
	ok(index_lookup(ix, ROOT, "fa", 2) == FILE_F &&
			index_lookup(ix, ROOT, "fab", 3) == NODE_NONE &&
			index_lookup(ix, DIR_E, "f", 1) == NODE_NONE,
		"lookup");
	index_attr(ix, FILE_F, &a);
	ok(a.mode == (S_IFREG | 06755) && a.nlink == 3 && a.uid == UINT32_MAX && a.gid == 7 &&
			a.mtime == -5 && a.mtime_ns == 999999999 && a.size == 3 * 4096 + 1 &&
			!a.space && a.block == 1 && a.has_xattrs,
		"attributes");
	index_attr(ix, CHR_N, &a);
	ok(a.rdev_major == 4095 && a.rdev_minor == 1048575 && !a.has_xattrs, "device number");
	index_attr(ix, DIR_D, &a);
	ok(S_ISDIR(a.mode) && a.size == 4096 && a.nlink == 3, "directory");
	ok(!memcmp(index_symlink(ix, LINK_L, &n), "a/b/c", 5) && n == 5, "symlink");
	ok(index_parent(ix, DIR_SUB) == DIR_D && !index_parent(ix, ROOT), "parent");
	index_xattr(ix, FILE_F, 1, &x);
	ok(index_xattr_count(ix, FILE_F) == 2 && x.name_len == 7 && !memcmp(x.name, "user.ab", 7) &&
			!x.value_len,
		"xattrs");
	ok(!index_xattr_count(ix, DIR_E), "no xattrs");
	index_space(ix, 0, &sp);
	ok(sp.has_blob && sp.chunks == 4 && sp.layer.b[31] == 1 && sp.diff_id.b[0] == 2 &&
			sp.blob.b[0] == 3,
		"space");
	index_chunk(ix, 3, &c);
	ok(c.space == 0 && c.off == 8192 && c.clen == 4096 && c.block == 5005 && c.sha.b[9] == 0x5a,
		"chunk");
	index_chunk(ix, 4, &c);
	ok(c.space == 2, "an empty space has no chunk");
	ok(index_original(ix).b[31] == 0x11 && index_config(ix).b[0] == 0x22, "digests");
	k1 = index_space_key(ix, 0);
	index_free(ix);
	// its name in the store: another codec is the same content, another digest, place or length
	// is not
	for (unsigned i = 0; i < 4; i++) {
		make_parts(&pt);
		if (i == 0)
			chunk_of(&pt, 0)->codec = CODEC_ZSTD;
		if (i == 1)
			chunk_of(&pt, 3)->sha[31]++;
		if (i == 2)
			chunk_of(&pt, 2)->blocks++, chunk_of(&pt, 3)->block++,
				space_of(&pt, 0)->blocks++;
		if (i == 3)
			chunk_of(&pt, 2)->codec = CODEC_ZSTD, chunk_of(&pt, 2)->blocks = 1,
				      chunk_of(&pt, 2)->clen = 1, chunk_of(&pt, 3)->block = 6,
				      space_of(&pt, 0)->blocks = 7, space_of(&pt, 0)->blob_size++;
		b = assemble(&pt);
		log_level = LOG_QUIET;
		if (index_open(b.data, b.len, "a", &ix)) {
			ok(false, "variant %u opens", i);
			continue;
		}
		log_level = LOG_WARN;
		k2 = index_space_key(ix, 0);
		ok(digest_equal(&k1, &k2) == !i, "space key, variant %u", i);
		index_free(ix);
	}
}

int main(void)
{
	test_header();
	test_lengths();
	test_spaces();
	test_chunks();
	test_frames();
	test_xattrs();
	test_nodes();
	test_files();
	test_links();
	test_names();
	test_dirs();
	test_depth();
	test_size();
	test_flips();
	test_reading();
	return tap_end();
}
