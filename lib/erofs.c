// erofs.c - EROFS metadata for the tree of an image
//
//	block 0		1024 bytes of zeros, super block, then the device table, whatever it takes
//	behind it	the root directory's inode: its node id must fit 16 bits
//	then		shared xattrs, from the next free block on
//	then		inodes, each with its xattrs and, where they fit, a link's target or the tail of a directory's
//			entries behind it; between them the blocks of directories and long link targets
//
// Two passes over the tree. The first gives each node its place, the second writes it there; they
// share the functions that say how long things are, and the second asserts what the first promised.
// Work and memory are proportional to the index.
//
// Places are given in the order of a walk that goes down before it goes on (as find does): a
// directory's children stand next to each other in the order of its entries, those of its first
// subdirectory follow. The kernel reads metadata block by block, without read-ahead, so what is
// used together should be in one block. An inode that does not cross a block costs the kernel one
// block instead of two and a copy; data behind an inode must not cross one
// (erofs_map_blocks_flatmode), and before Linux 6.15 a link's must even be in the inode's own block
// (erofs_fill_symlink).
//
// SPDX-License-Identifier: Apache-2.0
#include <assert.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>

#include "erofs_fs.h"
#include "erofsint.h"
#include "format.h"
#include "log.h"

#define DEVICE_TABLE_AT (EROFS_SUPER_AT + sizeof(struct erofs_super))

_Static_assert(
	DEVICE_TABLE_AT % sizeof(struct erofs_device) == 0, "the table is addressed in slots");
_Static_assert(DEVICE_TABLE_AT + FMT_SPACES_MAX * sizeof(struct erofs_device) <
		UINT16_MAX * EROFS_NID_BYTES,
	"root's node id");

struct erofs_image {
	int fd; // borrowed; -1: in memory
	uint8_t *mem;
	uint64_t meta_size;
	struct erofs_super super[2]; // by placement; in the metadata as kept is that of EROFS_FLAT
	uint32_t left_out;
	uint32_t spaces;
	uint32_t start[]; // of spaces + 1
};

// ---- directories: the index's entries, and "." and ".." where they belong ----

struct dir {
	const struct index *ix;
	uint32_t node;
	uint32_t count;	      // entries, with these two
	uint32_t dot, dotdot; // their numbers
};

// How many names of the directory come before `name`.
static uint32_t names_before(const struct index *ix, uint32_t node, const char *name)
{
	uint32_t lo = 0, hi = index_dir_count(ix, node), len = (uint32_t)strlen(name);
	struct dirent_view e;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		index_dirent(ix, node, mid, &e);
		int c = memcmp(e.name, name, MIN(len, e.name_len));
		if (c < 0 || (c == 0 && e.name_len < len))
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

static struct dir dir_open(const struct index *ix, uint32_t node)
{
	return (struct dir){
		.ix = ix,
		.node = node,
		.count = index_dir_count(ix, node) + 2,
		.dot = names_before(ix, node, "."),
		.dotdot = names_before(ix, node, "..") + 1,
	};
}

static void dir_entry(const struct dir *d, uint32_t i, struct dirent_view *ret)
{
	if (i == d->dot)
		*ret = (struct dirent_view){ ".", 1, d->node, S_IFDIR };
	else if (i == d->dotdot)
		*ret = (struct dirent_view){ "..", 2, index_parent(d->ix, d->node), S_IFDIR };
	else
		index_dirent(d->ix, d->node, i - (i > d->dot) - (i > d->dotdot), ret);
}

// How many entries from `first` on fit into a block, and the bytes that they take.
static uint32_t dir_block(const struct dir *d, uint32_t first, uint32_t *ret_bytes)
{
	struct dirent_view e;
	uint32_t i = first, bytes = 0;

	for (; i < d->count; i++) {
		dir_entry(d, i, &e);
		uint32_t need = (uint32_t)sizeof(struct erofs_dirent) + e.name_len;
		if (need > BLOCK_BYTES - bytes)
			break;
		bytes += need;
	}
	*ret_bytes = bytes;
	return i - first;
}

static uint64_t dir_size(const struct index *ix, uint32_t node)
{
	struct dir d = dir_open(ix, node);
	uint64_t blocks = 0;
	uint32_t bytes = 0;

	for (uint32_t i = 0; i < d.count; blocks++)
		i += dir_block(&d, i, &bytes);
	return (blocks - 1) * BLOCK_BYTES + bytes;
}

// ---- first pass: places ----

struct shape {
	struct attr a;
	const struct set *set; // or NULL
	uint64_t size;	       // as EROFS counts it
	uint32_t tail;	       // bytes of its data that stand behind the inode ...
	uint32_t blocks;       // ... and blocks of the metadata that hold the rest
	uint32_t record;       // bytes of inode, xattrs, tail
};

static void shape_of(const struct build *b, uint32_t node, struct shape *ret)
{
	struct shape s = { .size = 0 };

	index_attr(b->ix, node, &s.a);
	s.set = erofs_set_of(b, node, &s.a);
	s.record = (uint32_t)sizeof(struct erofs_inode) + (s.set ? s.set->len : 0);
	s.size = S_ISDIR(s.a.mode) ? dir_size(b->ix, node) : s.a.size;
	if (S_ISDIR(s.a.mode) || S_ISLNK(s.a.mode)) {
		s.tail = (uint32_t)(s.size % BLOCK_BYTES);
		s.blocks = (uint32_t)(s.size / BLOCK_BYTES);
		if (s.tail && s.record + s.tail > BLOCK_BYTES) {
			s.tail = 0;
			s.blocks++;
		}
	}
	s.record += s.tail;
	*ret = s;
}

static uint32_t alloc_blocks(struct build *b, uint64_t n)
{
	uint64_t at = b->end >> BLOCK_SHIFT;

	b->end += n << BLOCK_SHIFT;
	return n ? (uint32_t)at : 0;
}

// Room for an inode and what follows it: in one block, or from the start of one.
static uint64_t alloc_record(struct build *b, uint32_t bytes)
{
	uint64_t at;

	bytes = (bytes + EROFS_NID_BYTES - 1) & ~(EROFS_NID_BYTES - 1);
	if (bytes <= b->open_room) {
		at = b->open_at;
		b->open_at += bytes;
		b->open_room -= bytes;
		return at;
	}
	at = b->end;
	b->end += blocks_of(bytes) << BLOCK_SHIFT;
	if (b->end - (at + bytes) > b->open_room) {
		b->open_at = at + bytes;
		b->open_room = (uint32_t)(b->end - b->open_at);
	}
	return at;
}

static int place_node(struct build *b, uint32_t node)
{
	struct shape s;

	if (b->place[node].nid)
		return 0;
	shape_of(b, node, &s);
	uint64_t at = alloc_record(b, s.record);
	b->place[node].block = alloc_blocks(b, s.blocks);
	if (b->end > EROFS_META_MAX)
		return warn_whole(-EFBIG,
			"the image's metadata is too large for EROFS: more than %llu bytes",
			EROFS_META_MAX);
	b->place[node].nid = (uint32_t)(at / EROFS_NID_BYTES);
	return 0;
}

// The children of a directory; its subdirectories go onto the stack, the first of them on top.
static int place_children(struct build *b, uint32_t dir, uint32_t *stack, uint32_t *depth)
{
	uint32_t n = index_dir_count(b->ix, dir);
	struct dirent_view e;
	int r = 0;

	for (uint32_t i = 0; i < n && !r; i++) {
		index_dirent(b->ix, dir, i, &e);
		r = place_node(b, e.node);
	}
	for (uint32_t i = n; i-- && !r;) {
		index_dirent(b->ix, dir, i, &e);
		if (S_ISDIR(e.type))
			stack[(*depth)++] = e.node;
	}
	return r;
}

static int place_all(struct build *b, uint32_t devices)
{
	cleanup_free uint32_t *stack = xmalloc(index_nodes(b->ix) * sizeof *stack);
	uint32_t depth = 0;

	b->place = xcalloc(index_nodes(b->ix), sizeof *b->place);
	b->open_at = DEVICE_TABLE_AT + devices * sizeof(struct erofs_device);
	b->end = blocks_of(b->open_at) << BLOCK_SHIFT;
	b->open_room = (uint32_t)(b->end - b->open_at);
	int r = place_node(b, 0);
	b->shared_block = alloc_blocks(b, blocks_of(b->shared.len));
	stack[depth++] = 0;
	while (depth && !r)
		r = place_children(b, stack[--depth], stack, &depth);
	return r;
}

// ---- second pass: bytes ----

static uint8_t type_of(uint32_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG: return EROFS_FT_REG;
	case S_IFDIR: return EROFS_FT_DIR;
	case S_IFCHR: return EROFS_FT_CHR;
	case S_IFBLK: return EROFS_FT_BLK;
	case S_IFIFO: return EROFS_FT_FIFO;
	case S_IFLNK: return EROFS_FT_LNK;
	default: return EROFS_FT_SOCK;
	}
}

static void emit_dir_block(
	struct build *b, const struct dir *d, uint32_t first, uint32_t n, uint8_t *out)
{
	uint32_t name_off = n * (uint32_t)sizeof(struct erofs_dirent);
	struct dirent_view e;

	for (uint32_t i = 0; i < n; i++) {
		dir_entry(d, first + i, &e);
		struct erofs_dirent de = {
			.nid = b->place[e.node].nid,
			.name_off = (uint16_t)name_off,
			.type = type_of(e.type),
		};
		memcpy(out + i * sizeof de, &de, sizeof de);
		memcpy(out + name_off, e.name, e.name_len);
		name_off += e.name_len;
	}
}

// The blocks of a directory; the last one is its tail, if it has one.
static void emit_dir(
	struct build *b, uint32_t node, const struct shape *s, uint8_t *blocks, uint8_t *tail)
{
	struct dir d = dir_open(b->ix, node);
	uint32_t i = 0, k = 0, bytes;

	for (; i < d.count; k++) {
		uint32_t n = dir_block(&d, i, &bytes);
		bool last = i + n == d.count;

		assert(last && s->tail ? bytes == s->tail : k < s->blocks);
		emit_dir_block(
			b, &d, i, n, last && s->tail ? tail : blocks + (size_t)k * BLOCK_BYTES);
		i += n;
	}
	assert(k == s->blocks + (s->tail != 0));
}

// As the kernel's new_encode_dev.
static uint32_t encode_dev(const struct attr *a)
{
	return (a->rdev_minor & 0xff) | a->rdev_major << 8 | (a->rdev_minor & ~0xffu) << 12;
}

static uint32_t inode_u(
	const struct build *b, const struct erofs_image *im, uint32_t node, const struct attr *a)
{
	switch (a->mode & S_IFMT) {
	case S_IFREG: return a->size ? im->start[a->space] + a->block : 0;
	case S_IFCHR:
	case S_IFBLK: return encode_dev(a);
	default: return b->place[node].block;
	}
}

static void emit_node(struct build *b, const struct erofs_image *im, uint32_t node)
{
	uint8_t *at = b->out + (uint64_t)b->place[node].nid * EROFS_NID_BYTES;
	uint8_t *blocks = b->out + ((uint64_t)b->place[node].block << BLOCK_SHIFT);
	struct shape s;
	uint32_t len;

	shape_of(b, node, &s);
	uint32_t xattrs = s.set ? s.set->len : 0;
	struct erofs_inode in = {
		.format = (uint16_t)(EROFS_EXTENDED | (s.tail ? EROFS_INLINE : EROFS_PLAIN) << 1),
		.xattr_count =
			xattrs ? (uint16_t)((xattrs - sizeof(struct erofs_xattrs)) / 4 + 1) : 0,
		.mode = (uint16_t)s.a.mode,
		.size = s.size,
		.u = inode_u(b, im, node, &s.a),
		.ino = node + 1,
		.uid = s.a.uid,
		.gid = s.a.gid,
		.mtime = s.a.mtime,
		.mtime_ns = s.a.mtime_ns,
		.nlink = s.a.nlink,
	};
	memcpy(at, &in, sizeof in);
	if (xattrs)
		memcpy(at + sizeof in, b->bodies.data + s.set->at, xattrs);
	at += sizeof in + xattrs;
	if (S_ISDIR(s.a.mode)) {
		emit_dir(b, node, &s, blocks, at);
	} else if (S_ISLNK(s.a.mode)) {
		const char *target = index_symlink(b->ix, node, &len);

		memcpy(s.tail ? at : blocks, target, len);
	}
}

static void emit_devices(struct build *b, const struct erofs_image *im)
{
	uint8_t *at = b->out + DEVICE_TABLE_AT;

	for (uint32_t i = 0; i < im->spaces; i++) {
		struct erofs_device d = { .blocks = im->start[i + 1] - im->start[i],
			.mapped = im->start[i] };

		if (!d.blocks)
			continue;
		snprintf((char *)d.tag, sizeof d.tag, "space%u", i);
		memcpy(at, &d, sizeof d);
		at += sizeof d;
	}
}

static uint32_t crc32c(uint32_t crc, const uint8_t *p, size_t n)
{
	while (n--) {
		crc ^= *p++;
		for (int i = 0; i < 8; i++)
			crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
	}
	return crc;
}

// The rest of block 0 is in place.
static void emit_super(
	struct build *b, struct erofs_image *im, enum erofs_placement p, uint32_t devices)
{
	struct digest original = index_original(b->ix);
	uint8_t *at = b->out + EROFS_SUPER_AT;
	struct erofs_super s = {
		.magic = EROFS_MAGIC,
		.compat = EROFS_COMPAT_CHECKSUM | EROFS_COMPAT_MTIME,
		.block_bits = BLOCK_SHIFT,
		.root_nid = (uint16_t)b->place[0].nid,
		.inodes = index_nodes(b->ix),
		.blocks = im->start[p == EROFS_DEVICES ? 0 : im->spaces],
		.xattr_block = b->shared_block,
		.volume = "fcpull",
	};

	memcpy(s.uuid, original.b, sizeof s.uuid);
	if (p == EROFS_DEVICES && devices) {
		s.incompat = EROFS_INCOMPAT_DEVICES;
		s.devices = (uint16_t)devices;
		s.device_slot = DEVICE_TABLE_AT / sizeof(struct erofs_device);
	}
	memcpy(at, &s, sizeof s);
	s.checksum = crc32c(UINT32_MAX, at, BLOCK_BYTES - EROFS_SUPER_AT);
	memcpy(at, &s, sizeof s);
	im->super[p] = s;
}

static void emit_all(struct build *b, struct erofs_image *im, uint32_t devices)
{
	assert(b->place[0].nid <= UINT16_MAX);
	emit_devices(b, im);
	if (b->shared.len)
		memcpy(b->out + ((uint64_t)b->shared_block << BLOCK_SHIFT), b->shared.data,
			b->shared.len);
	for (uint32_t i = 0, n = index_nodes(b->ix); i < n; i++)
		emit_node(b, im, i);
	emit_super(b, im, EROFS_DEVICES, devices);
	emit_super(b, im, EROFS_FLAT, devices);
}

// ---- all together ----

static int lay_out_spaces(const struct index *ix, uint64_t meta_size, struct erofs_image *im)
{
	uint64_t block = meta_size >> BLOCK_SHIFT;
	struct space_view sp;

	for (uint32_t i = 0; i < im->spaces; i++) {
		im->start[i] = (uint32_t)block;
		index_space(ix, i, &sp);
		block += sp.blocks;
		if (block > UINT32_MAX)
			return warn_errno(
				-EFBIG, "the image is too large for EROFS: 16 TiB or more");
	}
	im->start[im->spaces] = (uint32_t)block;
	im->meta_size = meta_size;
	return 0;
}

// Where the metadata goes: pages of zeros, of the file if there is one. Its blocks are reserved, so
// that no write can fail where it would be a signal.
static int map_out(int fd, uint64_t size, uint8_t **ret)
{
	int r = fd < 0 ? 0 : posix_fallocate(fd, 0, (off_t)size);
	void *p;

	if (r)
		return warn_errno(
			-r, "make room for %llu bytes of metadata", (unsigned long long)size);
	p = mmap(NULL, size, PROT_READ | PROT_WRITE,
		fd < 0 ? MAP_PRIVATE | MAP_ANONYMOUS : MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return warn_errno(-errno, "map %llu bytes of metadata", (unsigned long long)size);
	*ret = p;
	return 0;
}

static void build_fini(struct build *b)
{
	free(b->sets);
	free(b->entries);
	free(b->by_key.slot);
	free(b->by_content.slot);
	buf_fini(&b->bodies);
	buf_fini(&b->shared);
	free(b->place);
}

static uint32_t count_devices(const struct index *ix)
{
	uint32_t n = 0;
	struct space_view sp;

	for (uint32_t i = 0; i < index_spaces(ix); i++) {
		index_space(ix, i, &sp);
		n += sp.blocks != 0;
	}
	return n;
}

static int build_image(struct build *b, struct erofs_image *im)
{
	uint32_t devices = count_devices(b->ix);

	im->left_out = erofs_build_xattrs(b);
	int r = place_all(b, devices);
	if (!r)
		r = lay_out_spaces(b->ix, b->end, im);
	if (!r)
		r = map_out(im->fd, b->end, &b->out);
	if (r)
		return r;
	emit_all(b, im, devices);
	if (im->fd < 0)
		im->mem = b->out;
	else
		munmap(b->out, b->end);
	return 0;
}

int erofs_build(const struct index *ix, int fd, struct erofs_image **ret)
{
	uint32_t spaces = index_spaces(ix);
	struct erofs_image *im = xcalloc(1, sizeof *im + (spaces + 1) * sizeof *im->start);
	struct build b = { .ix = ix };
	int r;

	im->fd = fd;
	im->spaces = spaces;
	if (getrandom(&b.seed, sizeof b.seed, GRND_NONBLOCK) < 0)
		debug("getrandom: %s", strerror(errno));
	r = build_image(&b, im);
	build_fini(&b);
	if (r) {
		free(im);
		return r;
	}
	*ret = im;
	return 0;
}

void erofs_free(struct erofs_image *im)
{
	if (im && im->mem)
		munmap(im->mem, im->meta_size);
	free(im);
}

// ---- reading ----

uint64_t erofs_meta_size(const struct erofs_image *im)
{
	return im->meta_size;
}

uint64_t erofs_flat_size(const struct erofs_image *im)
{
	return (uint64_t)im->start[im->spaces] << BLOCK_SHIFT;
}

uint32_t erofs_spaces(const struct erofs_image *im)
{
	return im->spaces;
}

uint32_t erofs_space_start(const struct erofs_image *im, uint32_t space)
{
	return im->start[space];
}

uint32_t erofs_xattrs_left_out(const struct erofs_image *im)
{
	return im->left_out;
}

int erofs_read(
	const struct erofs_image *im, enum erofs_placement p, void *buf, size_t n, uint64_t off)
{
	uint64_t from = MAX(off, (uint64_t)EROFS_SUPER_AT);
	uint64_t to = MIN(off + n, (uint64_t)DEVICE_TABLE_AT);
	int r = 0;

	assert(off <= im->meta_size && n <= im->meta_size - off);
	if (im->mem)
		memcpy(buf, im->mem + off, n);
	else
		r = pread_full(im->fd, buf, n, off);
	if (from < to)
		memcpy((uint8_t *)buf + (from - off),
			(const uint8_t *)&im->super[p] + (from - EROFS_SUPER_AT), to - from);
	return r;
}

int erofs_write(const struct erofs_image *im, enum erofs_placement p, int fd)
{
	size_t step = 1u << 20;
	cleanup_free uint8_t *buf = xmalloc(step);
	int r = 0;

	for (uint64_t off = 0; off < im->meta_size && !r; off += step) {
		size_t n = (size_t)MIN((uint64_t)step, im->meta_size - off);

		r = erofs_read(im, p, buf, n, off);
		if (!r)
			r = pwrite_full(fd, buf, n, off);
	}
	return r;
}
