// inflate.h - layer streams decoded: plain, gzip (RFC 1952, many members), zstd (RFC 8878)
// SPDX-License-Identifier: Apache-2.0
#ifndef INFLATE_H
#define INFLATE_H

#include "stream.h"

// The compression is recognised by its magic, whatever a media type claims: gzip 1f 8b 08, zstd
// 28 b5 2f fd or a skippable frame 5? 2a 4d 18, else plain. xz, bzip2, lz4, compress: refused by
// name, -EBADMSG.
enum inflate_kind { INFLATE_PLAIN, INFLATE_GZIP, INFLATE_ZSTD };

#define INFLATE_MAX_RATIO 1032	       // the most deflate can; beyond INFLATE_FREE_OUT
#define INFLATE_FREE_OUT (64ull << 20) // bytes that any ratio may give
#define INFLATE_MAX_OUT (1ull << 44)
#define INFLATE_MAX_IDLE (64u << 20)   // input in a row that decodes to nothing
#define INFLATE_MAX_EMPTY 65536u       // and members or frames in a row
#define INFLATE_MAX_PADDING (1u << 20) // zeros after the last member
#define INFLATE_WINDOW_LOG 27	       // zstd: 128 MiB

// A stream of the decoded bytes of `in`. Takes `in` over in any case. `name` (copied) is used in
// messages. Its end (0) comes only after the end of `in`, so that a check of `in` at its end has
// been made. Errors while reading, all logged with name: truncated, bad CRC or size, trailing
// garbage (zero padding after the last member is garbage too, except whole zero blocks up to 1
// MiB as tar tools write them), window above 128 MiB, bomb (the limits above): -EBADMSG. An error
// stays: later reads return it again, silently.
int inflate_open(struct stream *in, const char *name, struct stream **ret) must_check;
enum inflate_kind inflate_kind_of(const struct stream *s);

#endif
