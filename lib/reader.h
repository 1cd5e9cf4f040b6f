// reader.h - long runs of an image's data in order, with the next ones already under way
//
// The demand engine answers reads one by one; who wants everything of a file, or of many, would wait
// for the network once per read. A reader asks ahead: up to READER_PIECES reads of READER_BYTES
// together are in flight.
// SPDX-License-Identifier: Apache-2.0
#ifndef READER_H
#define READER_H

#include "lazy.h"

#define READER_PIECES 256u
#define READER_BYTES (16u << 20)

struct reader_piece {
	uint32_t space;
	uint64_t off; // bytes from the space's start
	uint32_t len; // 1..LAZY_READ_MAX
};
// What comes next; false = nothing more. Called by reader_get, some pieces ahead of it.
typedef bool reader_next(void *arg, struct reader_piece *ret);

struct reader;
struct reader *reader_new(struct lazy *lz, reader_next *next, void *arg);
// Waits for the next piece; the bytes are valid until the next call. -ENODATA at the end, else
// -errno of the engine.
int reader_get(struct reader *r, const uint8_t **ret, uint32_t *ret_len) must_check;
// Waits for what is in flight. NULL is allowed.
void reader_free(struct reader *r);

// The pieces of a regular file: arg of reader_file_next.
struct reader_file {
	struct attr attr;
	uint64_t at; // bytes that have been asked for
};
reader_next reader_file_next;

#endif
