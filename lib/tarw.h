// tarw.h - writes tar entries: ustar (POSIX.1-2017), with pax headers for what that cannot say
//
// Deterministic: the same entry gives the same bytes. Pure functions into a buffer; the contents of
// files are the caller's to write, and to pad to TAR_BLOCK.
// SPDX-License-Identifier: Apache-2.0
#ifndef TARW_H
#define TARW_H

#include "index.h"

#define TARW_END (2 * 512u)	// zero bytes that end an archive ...
#define TARW_RECORD (20 * 512u) // ... which is filled to a multiple of this (blocking factor 20)

// Appends the headers of one entry. ix and node say its attributes; a name without slashes in front
// ("etc/passwd"; a directory gets its slash here; the root is "."). link: the path of the file whose further
// name this is (then it has no contents), else NULL. -ENOTSUP, silent: tar has no such type (a
// socket); -EINVAL, silent: an extended attribute's name cannot be written.
int tarw_entry(struct buf *b, const struct index *ix, uint32_t node, const char *path,
	const char *link) must_check;

#endif
