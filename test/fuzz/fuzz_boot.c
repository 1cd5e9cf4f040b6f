// fuzz_boot.c - a whole boot stream, as it comes from a registry
// SPDX-License-Identifier: Apache-2.0
//
// The input is: the frame it begins with; the stream's bytes, which may end anywhere and go on beyond the last
// frame. Whatever they are, readers get the image's bytes; a frame of the right bytes is taken, those before
// the first are not.
#include "../../lib/lazyboot.c"

#include <sys/mman.h>
#include <zstd.h>

#define MODEL_BLOCKS 300
#define MODEL_FRAMES
#include "../unit/lazymodel.h"

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size);

// Frame k has a block of space 0 and one of space 1, of one byte's value each, so that it is short; one is
// stored as it is.
enum { FRAMES = 7 };

static uint8_t stream[FRAMES * 3 * BLOCK_BYTES];
static size_t frame_at[FRAMES + 1];

static uint32_t block_of(uint32_t frame, uint32_t space)
{
	return 3 * (space ? 2 * frame : 50 - frame);
}

static void add_block(struct index_parts *parts, uint8_t *to, uint32_t space, uint32_t frame)
{
	struct fmt_run r = { space, block_of(frame, space), 1 };

	buf_add(&parts->runs, &r, sizeof r);
	memcpy(to, plain[space] + (size_t)r.block * BLOCK_BYTES, BLOCK_BYTES);
}

static void add_frame(struct index_parts *parts, uint32_t k)
{
	const struct pack_conf conf = { .codec = CODEC_ZSTD, .level = 1 };
	struct fmt_frame f = { .first_run = 2 * k, .runs = 2, .blocks = 2 };
	uint8_t bytes[2 * BLOCK_BYTES];
	struct digest sha;
	size_t n = 0;

	add_block(parts, bytes, 0, k);
	add_block(parts, bytes + BLOCK_BYTES, 1, k);
	if (k != 3) {
		ZSTD_CCtx *z = ZSTD_createCCtx();

		n = chunk_encode(&conf, z, bytes, sizeof bytes, stream + frame_at[k]);
		ZSTD_freeCCtx(z);
	}
	f.codec = n ? CODEC_ZSTD : CODEC_STORED;
	if (!n)
		memcpy(stream + frame_at[k], bytes, n = sizeof bytes);
	f.clen = (uint32_t)n;
	frame_at[k + 1] = frame_at[k] + n;
	sha = sha256_of(bytes, sizeof bytes);
	memcpy(f.sha, sha.b, sizeof f.sha);
	buf_add(&parts->frames, &f, sizeof f);
}

static void make_frames(struct index_parts *parts)
{
	for (uint32_t k = 0; k < FRAMES; k++)
		add_frame(parts, k);
}

static void end_model(void)
{
	if (model_fini())
		abort();
}

static void begin_model(void)
{
	log_level = LOG_QUIET;
	if (model_init() || atexit(end_model))
		abort();
}

static int file_with(const uint8_t *p, size_t n)
{
	int fd = memfd_create("stream", MFD_CLOEXEC);

	if (fd < 0 || pwrite_full(fd, p, n, 0))
		abort();
	return fd;
}

// Bytes of the stream that are the image's, of a frame that was to come.
static bool is_sent(uint32_t frame, uint32_t first, const uint8_t *p, size_t n)
{
	size_t skip = frame_at[first];

	return frame >= first && frame_at[frame + 1] - skip <= n &&
		!memcmp(p + frame_at[frame] - skip, stream + frame_at[frame],
			frame_at[frame + 1] - frame_at[frame]);
}

static void check(struct lazy *lz, uint32_t first, const uint8_t *p, size_t n)
{
	for (uint32_t k = 0; k < FRAMES; k++) {
		bool here = lz->boot->state[k] == FRAME_HERE;

		if (lz->boot->state[k] == FRAME_COMING || (here && k < first) ||
			(!here && is_sent(k, first, p, n)))
			abort();
		for (uint32_t s = 0; s < 2; s++)
			if (!right(lz, s, (uint64_t)block_of(k, s) * BLOCK_BYTES, BLOCK_BYTES))
				abort();
	}
}

static void take(uint32_t first, const uint8_t *p, size_t n)
{
	struct lazy_hooks h = { .boot_fd = file_with(p, n), .boot_first = first };
	struct lazy *lz;
	uint64_t when;

	forget_store();
	lz = begin_with(&mock.repo, 1, 0);
	if (lazy_begin(lz, &h))
		abort();
	while (!boot_over(lz, &when))
		usleep(100);
	check(lz, first, p, n);
	lazy_close(lz);
}

int LLVMFuzzerTestOneInput(const uint8_t *p, size_t size)
{
	if (!store) {
		begin_model();
		// (whatever this libzstd makes of the frames, the right ones are taken)
		for (uint32_t k = 0; k < FRAMES; k++)
			take(k, stream + frame_at[k], frame_at[FRAMES] - frame_at[k]);
	}
	if (size)
		take(p[0] % FRAMES, p + 1, size - 1);
	return 0;
}
