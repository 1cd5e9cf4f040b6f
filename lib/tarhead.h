// tarhead.h - one header block of a tar archive: its layout, numbers, checksum and names
// SPDX-License-Identifier: Apache-2.0
//
// POSIX.1-2017 pax, "ustar Interchange Format"; GNU tar manual, "Basic Tar Format". Pure
// functions over bytes.
#ifndef TARHEAD_H
#define TARHEAD_H

#include "tar.h"

#define TAR_BLOCK 512u
struct tar_header { // one block
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], chksum[8], type,
		linkname[100];
	char magic[8]; // with the version
	char uname[32], gname[32], major[8], minor[8], prefix[155], pad[12];
};

struct tar_gnu_extent {
	char off[12], len[12];
};

struct tar_gnu_header { // the same block, old GNU format
	char common[345], atime[12], ctime[12], offset[12], longnames[4], unused;
	struct tar_gnu_extent sparse[4];
	char extended, real_size[12], pad[17];
};

struct tar_gnu_sparse { // the blocks that follow it
	struct tar_gnu_extent sparse[21];
	char extended, pad[7];
};

_Static_assert(sizeof(struct tar_header) == TAR_BLOCK, "header");
_Static_assert(sizeof(struct tar_gnu_header) == TAR_BLOCK, "header");
_Static_assert(offsetof(struct tar_gnu_header, real_size) == 483, "header");
_Static_assert(sizeof(struct tar_gnu_sparse) == TAR_BLOCK, "header");

union tar_block {
	struct tar_header h;
	struct tar_gnu_header gnu;
	struct tar_gnu_sparse more;
	uint8_t bytes[TAR_BLOCK];
};

// A number in a field of n bytes: octal, or GNU's base-256; may be negative. An empty field is 0.
bool tarhead_number(const char *p, size_t n, int64_t *ret) must_check;
#define TARHEAD_NUMBER(field, ret) tarhead_number((field), sizeof(field), (ret))

// Writers: a number into an octal field (n digits and a NUL; what does not fit is written as 0: a pax
// record says it), then magic and checksum over the whole.
void tarhead_put(char *field, size_t n, uint64_t v);
#define TARHEAD_PUT(field, v) tarhead_put((field), sizeof(field), (v))
void tarhead_seal(union tar_block *b);

bool tarhead_is_gnu(const struct tar_header *h);
bool tarhead_is_ustar(const struct tar_header *h); // or pax
bool tarhead_checksum_ok(const union tar_block *b);
bool tarhead_all_zero(const union tar_block *b);

// The header's own name, with ustar's prefix; its length. No NUL is written.
#define TARHEAD_NAME_MAX 256
size_t tarhead_name(const struct tar_header *h, char out[static TARHEAD_NAME_MAX]);
// Writes the canonical form of a path (see struct tar_entry), a NUL behind it, to
// out[TAR_PATH_MAX + 1]. NULL, or what is wrong with it.
const char *tarhead_canonical(const char *s, size_t n, char *out, size_t *ret_len) must_check;

#endif
