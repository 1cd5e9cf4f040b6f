// blobfile.h - blobs that are files, or parts of one: checked streams, ranges, archives opened
// SPDX-License-Identifier: Apache-2.0
#ifndef BLOBFILE_H
#define BLOBFILE_H

#include "repo.h"

// Where a blob's bytes are. `size` is what the file system or the archive says.
struct blobfile {
	int fd; // -1 = none
	uint64_t base, size;
};

// What repo_open_blob promises, over [base, base + d->size) of b. Takes b->fd over in any case. `name`
// (copied) is the repository's, for messages. -errno logged.
int blobfile_stream(const char *name, struct blobfile *b, const struct desc *d, uint64_t off,
	struct stream **ret) must_check;
// What repo_read_range promises. b->fd is closed in any case.
int blobfile_range(const char *name, struct blobfile *b, const struct desc *d, uint64_t off,
	void *buf, size_t n) must_check;
// Writes d->size bytes of `from` (from offset 0) beside dir/path and renames them into place when
// their digest is right. -errno logged.
int blobfile_write(
	const char *name, int dir, const char *path, const struct desc *d, int from) must_check;
// "NAME: blob DIGEST: WHAT", with the error; returns e.
int blobfile_error(const char *name, const struct digest *d, int e, const char *what);

// A descriptor for reading an archive by offset: the file `path` itself when it is a plain tar,
// else (compressed, "-" = standard input, a pipe) a scratch file with its plain bytes. -errno logged.
int blobfile_open_archive(const char *path, const char *name) must_check;
// The same, left compressed.
int blobfile_open_as_is(const char *path, const char *name) must_check;

#endif
