// test_bootw.c - boot frames: their sizes, runs and bytes, for any number of threads; errors; the
// source of plain blocks
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/bootw.c"

#include <fcntl.h>

#include "said.h"
#include "packwhole.h"
#include "tap.h"

enum { SPACES = 2, BLOCKS = 4000, CHUNK = 8 };

static uint8_t *plain[SPACES];
static unsigned reads, fail_at;

static void make_plain(void)
{
	uint32_t seed = 5;

	for (unsigned s = 0; s < SPACES; s++) {
		plain[s] = xmalloc(BLOCKS * (size_t)BLOCK_BYTES);
		for (size_t i = 0; i < BLOCKS * (size_t)BLOCK_BYTES; i++) {
			seed = seed * 1664525u + 1013904223u;
			// blocks 100..139 are zeros: five chunks
			plain[s][i] = i / BLOCK_BYTES >= 100 && i / BLOCK_BYTES < 140 ? 0
				: i / BLOCK_BYTES % 1000 < 300 ? (uint8_t)(seed >> 24)
							       : (uint8_t)(i / 200);
		}
	}
}

static int from_memory(void *arg, uint32_t space, uint32_t block, uint32_t blocks, void *buf)
{
	if (++reads == fail_at)
		return -EIO;
	if (arg != &reads || space >= SPACES || (uint64_t)block + blocks > BLOCKS)
		abort();
	memcpy(buf, plain[space] + (size_t)block * BLOCK_BYTES, (size_t)blocks * BLOCK_BYTES);
	return 0;
}

// Checks frames and bytes against the runs; the frames' sizes are "16,32,...".
static bool check(const struct fmt_run *runs, size_t n, const struct index_parts *p, int fd,
	uint64_t size, char *sizes, size_t cap)
{
	const struct fmt_frame *f = (const struct fmt_frame *)p->frames.data;
	const struct fmt_run *part = (const struct fmt_run *)p->runs.data;
	static uint8_t packed[1 << 20], out[1 << 20];
	uint64_t at = 0;
	size_t run = 0, parts = 0;
	uint32_t done = 0; // blocks of runs[run]
	bool good = true;

	*sizes = 0;
	for (size_t i = 0; i < p->frames.len / sizeof *f; i++, f++) {
		size_t len = (size_t)f->blocks << BLOCK_SHIFT, to = 0;
		struct digest sha;

		snprintf(sizes + strlen(sizes), cap - strlen(sizes), "%s%u", i ? "," : "",
			f->blocks);
		good &= f->first_run == parts && f->clen <= sizeof packed &&
			!pread_full(fd, packed, f->clen, at) &&
			!chunk_decode(f->codec, packed, f->clen, out, len) &&
			(f->codec == CODEC_STORED) == (f->clen == len);
		sha = sha256_of(out, len);
		good &= !memcmp(sha.b, f->sha, sizeof f->sha);
		for (uint32_t k = 0; k < f->runs && good; k++, parts++, part++) {
			good &= run < n && part->space == runs[run].space &&
				part->block == runs[run].block + done &&
				done + part->blocks <= runs[run].blocks &&
				!memcmp(out + to,
					plain[part->space] + (size_t)part->block * BLOCK_BYTES,
					(size_t)part->blocks * BLOCK_BYTES);
			to += (size_t)part->blocks << BLOCK_SHIFT;
			done += part->blocks;
			if (good && done == runs[run].blocks) {
				run++;
				done = 0;
			}
		}
		good &= to == len;
		at += f->clen;
	}
	return good && run == n && !done && at == size && parts == p->runs.len / sizeof *part;
}

static void test_frames(void)
{
	static const struct {
		struct fmt_run runs[4];
		size_t n;
		const char *sizes;
	} v[] = { { { { 0 } }, 0, "" }, { { { 0, 7, 1 } }, 1, "1" },
		{ { { 0, 0, 15 }, { 1, 0, 1 } }, 2, "16" },
		{ { { 0, 0, 15 }, { 1, 0, 2 } }, 2, "16,1" }, { { { 0, 0, 48 } }, 1, "16,32" },
		{ { { 0, 0, 49 } }, 1, "16,32,1" },
		{ { { 1, 3000, 1000 }, { 0, 0, 1 }, { 1, 0, 2000 }, { 0, 90, 400 } }, 4,
			"16,32,64,128,256,256,256,256,256,256,256,256,256,256,256,256,89" } };
	static const struct {
		enum codec codec;
		int level;
	} codecs[] = { { CODEC_STORED, 0 }, { CODEC_LZ4, 0 }, { CODEC_LZ4, 9 }, { CODEC_ZSTD, 3 } };

	for (size_t c = 0; c < ARRAY_LEN(codecs); c++)
		for (size_t i = 0; i < ARRAY_LEN(v); i++) {
			cleanup_buf struct buf first = { 0 };
			bool good = true;
			char sizes[200];

			for (unsigned threads = 0; threads <= 9; threads += 3) {
				struct pack_conf conf = { .codec = codecs[c].codec,
					.level = codecs[c].level,
					.threads = threads };
				struct index_parts p = { 0 };
				cleanup_fd int fd = scratch_file();
				uint64_t size = 0;

				buf_add(&p.frames, "junk", 4); // what is there is replaced
				buf_add(&p.runs, "junk", 4);
				good &= !boot_build(v[i].runs, v[i].n, &conf, from_memory, &reads,
						&p, fd, &size) &&
					check(v[i].runs, v[i].n, &p, fd, size, sizes,
						sizeof sizes) &&
					!strcmp(sizes, v[i].sizes);
				if (!threads)
					buf_add(&first, p.frames.data, p.frames.len);
				good &= first.len == p.frames.len &&
					(!first.len ||
						!memcmp(first.data, p.frames.data, first.len));
				buf_fini(&p.frames);
				buf_fini(&p.runs);
			}
			if (!ok(good, "codec %d/%d: frames of %s", codecs[c].codec, codecs[c].level,
				    v[i].sizes))
				printf("# %s\n", sizes);
		}
}

static void test_errors(void)
{
	struct fmt_run runs[] = { { 0, 0, 2000 }, { 1, 5, 1000 } };
	struct pack_conf conf = { .codec = CODEC_ZSTD, .level = 1, .threads = 3 };
	cleanup_fd int full = open("/dev/full", O_WRONLY | O_CLOEXEC), fd = scratch_file();
	struct index_parts p = { 0 };
	uint64_t size = 77;

	said_begin();
	for (fail_at = 1; fail_at <= 15; fail_at += 2) {
		reads = 0;
		if (boot_build(runs, 2, &conf, from_memory, &reads, &p, fd, &size) != -EIO)
			break;
	}
	said_end();
	ok(fail_at == 17 && size == 77, "a read that fails, anywhere");
	fail_at = 0;
	said_begin();
	ok(boot_build(runs, 2, &conf, from_memory, &reads, &p, full, &size) == -ENOSPC &&
			strstr(said_end(), "boot stream") && size == 77,
		"the disk is full");
	buf_fini(&p.frames);
	buf_fini(&p.runs);
}

// ---- the source ----

static struct index *ix;
static int fds[SPACES];

static void make_index(void)
{
	struct index_parts p = { .n_spaces = SPACES };

	p.tree = tree_new();
	p.spaces = xcalloc(SPACES, sizeof *p.spaces);
	tree_begin_layer(p.tree);
	for (uint32_t s = 0; s < SPACES; s++) {
		struct pack_conf conf = { .codec = s ? CODEC_LZ4 : CODEC_ZSTD,
			.level = 1,
			.chunk_blocks = CHUNK,
			.threads = 2 };
		struct pack *k = pack_new(&conf, s);
		cleanup_fd int in = scratch_file();
		const struct fmt_chunk *c;
		struct digest d;

		fds[s] = scratch_file();
		pack_whole(k, s, BLOCKS);
		if (pwrite_full(in, plain[s], BLOCKS * (size_t)BLOCK_BYTES, 0) ||
			pack_run(k, in, fds[s]))
			abort();
		c = pack_chunks(k, &p.spaces[s].chunks);
		buf_add(&p.chunks, c, p.spaces[s].chunks * sizeof *c);
		p.spaces[s].blocks = BLOCKS;
		pack_blob(k, &d, &p.spaces[s].blob_size);
		memcpy(p.spaces[s].blob, d.b, sizeof d.b);
		pack_free(k);
	}
	if (tree_end_layer(p.tree, "t") || index_build(&p, &ix))
		abort();
	index_parts_fini(&p);
}

static void test_source(void)
{
	static uint8_t out[300 * BLOCK_BYTES];
	struct boot_source *s = boot_source_new(ix, fds);
	uint32_t seed = 9;
	bool good = true;
	uint8_t was, bad;

	for (unsigned i = 0; i < 3000 && good; i++) {
		uint32_t space, block, n;

		seed = seed * 1664525u + 1013904223u;
		space = seed >> 31;
		block = 140 + (seed >> 8) % (BLOCKS - 140);
		n = MIN(1 + (seed >> 4) % (i % 10 ? 9 : 300), BLOCKS - block);
		good = !boot_source_read(s, space, block, n, out) &&
			!memcmp(out, plain[space] + (size_t)block * BLOCK_BYTES,
				(size_t)n * BLOCK_BYTES);
	}
	ok(good, "any blocks out of data blobs");
	said_begin();
	ok(boot_source_read(s, 0, 110, 1, out) == -EINVAL && strstr(said_end(), "no data"),
		"zeros are in no frame");
	boot_source_free(s);
	if (pread(fds[0], &was, 1, 40) != 1)
		abort();
	bad = was ^ 1;
	if (pwrite(fds[0], &bad, 1, 40) != 1)
		abort();
	s = boot_source_new(ix, fds);
	said_begin();
	ok(boot_source_read(s, 0, 3, 1, out) == -EIO && boot_source_read(s, 0, 3, 1, out) == -EIO &&
			!boot_source_read(s, 0, 9, 1, out) && strstr(said_end(), "damaged"),
		"a damaged scratch file is found out, each time");
	boot_source_free(s);
	boot_source_free(NULL);
}

int main(void)
{
	make_plain();
	test_frames();
	test_errors();
	make_index();
	test_source();
	index_free(ix);
	for (unsigned s = 0; s < SPACES; s++) {
		close(fds[s]);
		free(plain[s]);
	}
	return tap_end();
}
