// trace.h - what a recorded run read: read, written, merged, and mapped onto an image
//
// A trace is plain text, one line for each read: "SECONDS PATH OFFSET LENGTH". Seconds since the
// start with 6 decimals; the path absolute in the image, without links on its way, blanks,
// backslash and what is not plain ASCII as \xNN; byte offset and length, decimal. Lines that begin
// with # are comments, empty ones are skipped. It belongs to paths, so it serves other builds of
// an image too: what does not fit an image is left out, never an error.
// SPDX-License-Identifier: Apache-2.0
#ifndef TRACE_H
#define TRACE_H

#include "index.h"

// ---- limits of what is read. Each is tested at -1, 0 and +1. ----
#define TRACE_TEXT_MAX (64u << 20)   // bytes of one trace
#define TRACE_ENTRIES_MAX (1u << 20) // of all traces that are merged
#define TRACE_PATH_MAX 4095u	     // bytes of a path, unescaped
#define TRACE_SECONDS_MAX 999999999u // 31 years
#define TRACE_END_MAX (1ull << 42)   // offset + length: more than all data of an image

struct trace_entry {
	uint64_t us;   // since the start
	uint32_t path; // offset in paths, of a NUL-terminated path
	uint32_t seq;  // order of arrival
	uint64_t off, len;
};
struct trace { // {0} is an empty one
	struct trace_entry *e;
	size_t n, cap;
	struct buf paths;
};
void trace_fini(struct trace *t);
static inline const char *trace_path(const struct trace *t, const struct trace_entry *e)
{
	return (const char *)t->paths.data + e->path;
}

// Appends a trace's text. `name` for messages, as it is. -EBADMSG logged with the line's number,
// and t is as before.
int trace_parse(struct trace *t, const char *p, size_t n, const char *name) must_check;
// The same for a file; "-" is standard input.
int trace_read(struct trace *t, const char *path) must_check;
// After all traces have been parsed: orders the entries by time (of equal times, the first that
// came) and keeps each (path, offset, length) once, where it was needed first.
void trace_merge(struct trace *t);
// Reads n files, one after the other, and merges them. -errno logged.
int trace_read_all(struct trace *t, const char *const *paths, size_t n) must_check;
// Appends one line. A path that is too long to be read again is left out.
void trace_put(struct buf *out, double seconds, const char *path, size_t path_len, uint64_t off,
	uint64_t len);

struct trace_stats {
	size_t entries, found; // found: the path is a file of the image
	uint64_t bytes;	       // that the entries ask for
	uint64_t covered;      // of them, in files of the image
	uint64_t blocks;       // of the runs
};
// The file at a path, links not followed, or NODE_NONE: missing or not a regular file.
uint32_t trace_node(const struct index *ix, const char *path);
// The blocks that the entries name, in the order of the entries: appends struct fmt_run. Each block
// once, neighbours that follow each other joined, blocks of zero chunks left out.
void trace_runs(const struct trace *t, const struct index *ix, struct buf *ret_runs,
	struct trace_stats *ret);

// ---- the reverse: which file a block belongs to ----
struct trace_file {
	uint32_t space, block, blocks; // its extent
	uint32_t node;
	uint32_t dir, entry; // its first name in tree order
};
struct trace_files;
// Of each extent the first file in tree order. -ENOMEM, silent. ix is borrowed.
int trace_files(const struct index *ix, struct trace_files **ret) must_check;
void trace_files_free(struct trace_files *f);
// The file that has a block, and where in it the block begins; NULL: none has.
const struct trace_file *trace_file_at(
	const struct trace_files *f, uint32_t space, uint32_t block, uint64_t *ret_off);
// Its path, for trace_put: "/usr/bin/env". Replaces what `out` holds.
void trace_file_path(const struct trace_files *f, const struct trace_file *file, struct buf *out);

#endif
