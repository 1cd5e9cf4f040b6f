// tarcat.h - where the files of a tar archive are: a catalogue, so that they can be read by offset
//
// Only headers are read (ustar, pax, GNU long names); nothing is unpacked. Names are keys for a
// look-up here and nothing else.
// SPDX-License-Identifier: Apache-2.0
#ifndef TARCAT_H
#define TARCAT_H

#include "base.h"

#define TARCAT_ENTRIES_MAX 65536u    // files and links
#define TARCAT_NAMES_MAX (16u << 20) // bytes of all their names

struct tarcat;
// Reads the headers of fd (borrowed, must outlive the catalogue; a regular file). `name` is copied,
// for messages. -EBADMSG and others logged, with the offset.
int tarcat_open(int fd, const char *name, struct tarcat **ret) must_check;
void tarcat_free(struct tarcat *c);

// Where the bytes of the file `path` are ("a/b"; not canonical is not found). A hard link leads to
// the file it names, with `follow` a symbolic link too (one, and only to what the archive holds).
// -ENOENT silent; -EBADMSG logged: the archive has it twice, a link that leads nowhere or a second
// time, a sparse file, no file.
int tarcat_find(const struct tarcat *c, const char *path, bool follow, uint64_t *ret_off,
	uint64_t *ret_size) must_check;
// The whole of a small file, a NUL behind it: caller frees. As tarcat_find, and -EFBIG silent.
int tarcat_read(
	const struct tarcat *c, const char *path, size_t max, char **ret, size_t *ret_n) must_check;

#endif
