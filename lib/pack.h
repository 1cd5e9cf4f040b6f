// pack.h - blocks of a layer's spool, laid out as a data space, cut into chunks, compressed on all
// cores
// SPDX-License-Identifier: Apache-2.0
#ifndef PACK_H
#define PACK_H

#include "format.h"
#include "index.h"
#include "tree.h"

struct pack_conf {
	enum codec codec;
	int level;	       // of the codec; LZ4: 0 = fast, 1..12 = LZ4-HC
	uint32_t chunk_blocks; // power of two, 1..FMT_CHUNK_BLOCKS_MAX
	unsigned threads;
};

// The place of a content in the data space `space`, which has *blocks so far: at its end, unless it is placed already
// or belongs to another space (format.md 5). 1: placed; 0; -EFBIG, silent: the space is full (2^32 blocks).
int content_place(struct content *c, uint32_t space, uint32_t *blocks) must_check;

struct pack;
// An empty data space number `space`.
struct pack *pack_new(const struct pack_conf *conf, uint32_t space);
void pack_free(struct pack *p);
// Places a content at the end of the space (sets c->block) unless it is placed already or belongs
// to another space. A content of a chunk or more gets chunks of its own, so that equal big files
// give equal chunks; smaller ones share, none straddles two. 0, or
// -EFBIG: the space is full (2^32 blocks).
int pack_place(struct pack *p, struct content *c) must_check;
// Tells fn, from pack_run's thread, how many bytes of the data blob have been written so far.
typedef void pack_growth(void *arg, uint64_t size);
void pack_on_growth(struct pack *p, pack_growth *fn, void *arg);
// Reads, hashes and compresses all chunks and writes the data blob. The result does not depend on the
// number of threads. -errno logged.
int pack_run(struct pack *p, int spool_fd, int out_fd) must_check;

// After pack_run.
uint32_t pack_blocks(const struct pack *p);
const struct fmt_chunk *pack_chunks(const struct pack *p, uint32_t *ret_n);
void pack_blob(const struct pack *p, struct digest *ret_digest, uint64_t *ret_size);

// One chunk's or frame's stored form. z is a ZSTD_CCtx; out has room for chunk_bound(n) bytes.
// Returns its length, or 0: the plain bytes are to be stored. n <= 4 MiB.
struct ZSTD_CCtx_s;
size_t chunk_encode(const struct pack_conf *conf, struct ZSTD_CCtx_s *z, const void *in, size_t n,
	void *out) must_check;
size_t chunk_bound(size_t n);
// One chunk's plain bytes from its stored form: exactly `plain` bytes, or -EBADMSG (silent).
// CODEC_ZERO takes no input.
int chunk_decode(enum codec codec, const void *in, size_t clen, void *out, size_t plain) must_check;

#endif
