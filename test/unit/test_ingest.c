// test_ingest.c - what a layer's files leave in the spool, with few calls
//
// The contents are compared with what they were made of; calls of pwrite are counted.
// SPDX-License-Identifier: Apache-2.0
#include <stdint.h>

#include "base.h"

static unsigned writes;

static int counted_pwrite(int fd, const void *p, size_t n, uint64_t at)
{
	writes++;
	return pwrite_full(fd, p, n, at);
}

#define pwrite_full counted_pwrite
#include "../../lib/ingest.c"
#undef pwrite_full

#include <fcntl.h>
#include <sys/stat.h>

#include "said.h"
#include "tap.h"
#include "tarfile.h"

#define FILES 300u

// Whole blocks, parts of them, the buffer's size and what is beside it, several buffers; 0 = zeros.
static const size_t sizes[] = { 1, 4095, 4096, 4097, 9000, 60000, IO_SIZE - 4096, IO_SIZE - 4095,
	IO_SIZE, IO_SIZE + 1, 2 * IO_SIZE, 300000 };

struct file {
	size_t size;
	uint32_t seed;
};

// A layer whose files come again and again: the number of seeds is small.
static void make_layer(struct file *f, struct buf *tar, uint32_t salt, unsigned seeds)
{
	uint32_t x = salt;

	for (unsigned i = 0; i < FILES; i++) {
		char name[32];

		x = x * 1664525u + 1013904223u;
		f[i].size = sizes[(x >> 24) % ARRAY_LEN(sizes)];
		f[i].seed = (x >> 16) % seeds;
		snprintf(name, sizeof name, "f%u", i);
		put_file(tar, name, f[i].size, f[i].seed);
	}
	buf_add(tar, (uint8_t[1024]){ 0 }, 1024);
}

// Does the spool hold the content c as it was made?
static bool holds(int fd, const struct content *c, const struct file *f)
{
	cleanup_free uint8_t *want = xmalloc(f->size), *is = xmalloc(f->size);
	struct digest d;

	make_bytes(want, f->size, f->seed);
	d = sha256_of(want, f->size);
	return c->size == f->size &&
		!pread_full(fd, is, f->size, (uint64_t)c->spool << BLOCK_SHIFT) &&
		!memcmp(is, want, f->size) && (c->unique || digest_equal(&c->sha, &d));
}

// The files whose contents are new, in their order, stand one behind the other in the spool.
static bool spool_is(const struct ingest *in, const struct file *f, uint32_t first)
{
	uint64_t tail = 0;
	uint32_t k = first;
	struct stat st;

	for (unsigned i = 0; i < FILES && k < tree_contents(in->tree); i++) {
		const struct content *c = tree_content(in->tree, k);

		if (c->spool != tail || !holds(in->spool, c, &f[i]))
			continue; // one that was there already
		tail += blocks_of(c->size);
		k++;
	}
	return k == tree_contents(in->tree) && in->blocks == tail && !fstat(in->spool, &st) &&
		(uint64_t)st.st_size == tail << BLOCK_SHIFT;
}

static void check_sharing(void)
{
	struct tree *t = tree_new();

	for (uint32_t layer = 0; layer < 3; layer++) {
		cleanup_buf struct buf tar = { 0 };
		struct file f[FILES];
		cleanup_fd int fd = scratch_file();
		struct ingest in = {
			.tree = t, .space = layer, .spool = fd, .share = true, .name = "layer"
		};
		uint32_t first = tree_contents(t);
		int r;

		make_layer(f, &tar, 7 * layer + 1, layer == 1 ? 2 : 9);
		r = ingest_layer(&in, stream_of_mem(tar.data, tar.len));
		ok(!r && spool_is(&in, f, first),
			"layer %u: each content once, one behind the other (%u of %u)", layer,
			tree_contents(t) - first, FILES);
		ok(in.shared > 0, "layer %u: %llu bytes were there already", layer,
			(unsigned long long)in.shared);
	}
	tree_free(t);
}

// A plain pull keeps every file, and its chunks' digests are those of what stands in the file.
static void check_chunks(void)
{
	struct tree *t = tree_new();
	cleanup_buf struct buf tar = { 0 };
	struct file f[FILES];
	cleanup_fd int fd = scratch_file();
	struct cutter cut = { 0 };
	struct ingest in = { .tree = t, .spool = fd, .cut = &cut, .name = "layer" };
	bool same = true;
	uint64_t block = 0;

	make_layer(f, &tar, 5, 9);
	ok(!ingest_layer(&in, stream_of_mem(tar.data, tar.len)) && spool_is(&in, f, 0) &&
			tree_contents(t) == FILES,
		"every file, one behind the other");
	for (size_t i = 0; i < cut.n; i++) {
		size_t n = (size_t)cut.chunks[i].blocks << BLOCK_SHIFT;
		cleanup_free uint8_t *p = xmalloc(n);
		struct digest d;

		same = same && cut.chunks[i].block == block &&
			!pread_full(fd, p, n, block << BLOCK_SHIFT);
		d = sha256_of(p, n);
		same = same &&
			(cut.chunks[i].codec == CODEC_ZERO
					? is_zero(p, n)
					: !memcmp(cut.chunks[i].sha, d.b, sizeof d.b));
		block += cut.chunks[i].blocks;
	}
	ok(same && block == in.blocks, "the chunks' digests are of what is in the file");
	cutter_fini(&cut);
	tree_free(t);
}

// A write takes as many as the buffer holds; the digest of the whole stream is made besides.
static void check_calls(void)
{
	struct tree *t = tree_new();
	cleanup_buf struct buf tar = { 0 };
	cleanup_fd int fd = scratch_file();
	struct digest diff_id;
	struct ingest in = {
		.tree = t, .spool = fd, .share = true, .diff_id = &diff_id, .name = "layer"
	};

	for (uint32_t i = 1; i <= 1000; i++) {
		char name[32];

		snprintf(name, sizeof name, "f%u", i);
		put_file(&tar, name, 3000, i);
	}
	buf_add(&tar, (uint8_t[1024]){ 0 }, 1024);
	diff_id = sha256_of(tar.data, tar.len);
	writes = 0;
	ok(!ingest_layer(&in, stream_of_mem(tar.data, tar.len)), "a thousand small files");
	ok(writes == (1000u + IO_SIZE / BLOCK_BYTES - 1) / (IO_SIZE / BLOCK_BYTES),
		"a write for each %u of them (%u)", IO_SIZE / BLOCK_BYTES, writes);
	tree_free(t);
}

static void check_holes(void)
{
	struct tree *t = tree_new();
	cleanup_buf struct buf tar = { 0 };
	cleanup_fd int fd = scratch_file();
	struct ingest in = { .tree = t, .spool = fd, .share = true, .name = "layer" };
	struct stat st;

	put_file(&tar, "zeros", 4 << 20, 0);
	buf_add(&tar, (uint8_t[1024]){ 0 }, 1024);
	writes = 0;
	ok(!ingest_layer(&in, stream_of_mem(tar.data, tar.len)) && !fstat(fd, &st) && !writes &&
			st.st_size == 4 << 20 && !st.st_blocks,
		"zeros are a hole");
	tree_free(t);
}

// The last bytes are written at the layer's end only: a disk that is full there is said too.
static void check_full(void)
{
	static const size_t sizes_full[] = { 100, IO_SIZE, 3 * IO_SIZE + 5 };

	for (size_t i = 0; i < ARRAY_LEN(sizes_full); i++) {
		struct tree *t = tree_new();
		cleanup_buf struct buf tar = { 0 };
		cleanup_fd int fd = open("/dev/full", O_RDWR | O_CLOEXEC);
		struct ingest in = { .tree = t, .spool = fd, .share = true, .name = "layer" };
		int r;

		put_file(&tar, "f", sizes_full[i], 3);
		buf_add(&tar, (uint8_t[1024]){ 0 }, 1024);
		said_begin();
		r = ingest_layer(&in, stream_of_mem(tar.data, tar.len));
		ok(strstr(said_end(), "TMPDIR") && r == -ENOSPC, "%zu bytes, but the disk is full",
			sizes_full[i]);
		tree_free(t);
	}
}

int main(void)
{
	check_sharing();
	check_chunks();
	check_calls();
	check_holes();
	check_full();
	return tap_end();
}
