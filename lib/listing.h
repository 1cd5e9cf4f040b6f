// listing.h - a line, or a JSON object, that says what a node of a tree is
// SPDX-License-Identifier: Apache-2.0
#ifndef LISTING_H
#define LISTING_H

#include "index.h"

// Backslash, control bytes and what is not ASCII as \xNN: terminals and scripts get one line per
// entry, whatever the name.
void listing_name(const char *s, size_t n);
// As `ls -l` has it, on stdout: mode, links, uid, gid, size or device, mtime (UTC), name.
void listing_line(const struct index *ix, const char *path, size_t len, uint32_t node);
// Appends an object: see fcpull(1), "ls --json".
void listing_json(
	struct buf *b, const struct index *ix, const char *path, size_t len, uint32_t node);

#endif
