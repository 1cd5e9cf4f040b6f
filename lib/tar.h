// tar.h - a tar stream (ustar, pax, GNU; POSIX.1-2017 pax, GNU tar manual) as a sequence of entries
// SPDX-License-Identifier: Apache-2.0
#ifndef TAR_H
#define TAR_H

#include "stream.h"

#define TAR_PATH_MAX 4096 // bytes, after canonicalisation
#define TAR_NAME_MAX 255  // one component
#define TAR_LINK_MAX 4095
#define TAR_PAX_MAX (1u << 20) // one pax header's data
#define TAR_PAX_RECORDS 4096
#define TAR_XATTR_MAX 65536 // all names and values of one entry
#define TAR_DEPTH_MAX 256
#define TAR_LONG_MAX 65536	    // a GNU long name as it stands in the archive
#define TAR_EXT_MAX 64		    // extension headers before one entry
#define TAR_GLOBAL_MAX (128u << 10) // kept texts of all global pax headers
#define TAR_HOLES_MAX (1ull << 38)  // bytes of holes in all sparse files of an archive
#define TAR_MAJOR_MAX 4095u	    // Linux's dev_t
#define TAR_MINOR_MAX 1048575u

struct tar_xattr {
	const char *name; // NUL-terminated, without "SCHILY.xattr."
	const uint8_t *value;
	uint32_t name_len, value_len;
};

enum tar_type { TAR_FILE, TAR_DIR, TAR_SYMLINK, TAR_HARDLINK, TAR_CHR, TAR_BLK, TAR_FIFO };

// One entry. Everything it points at belongs to the reader and is valid until the next call.
struct tar_entry {
	enum tar_type type;
	const char *path; // canonical: "a/b", no "." or empty parts; "" = the root
	size_t path_len;  // any byte but NUL may stand in it
	const char *link; // symlink: target verbatim; hardlink: canonical like path
	size_t link_len;
	uint32_t mode; // & 07777
	uint32_t uid, gid;
	int64_t mtime;	   // seconds
	uint32_t mtime_ns; // 0..999999999
	uint32_t rdev_major, rdev_minor;
	uint64_t size; // TAR_FILE only: bytes that tar_read() will give
	const struct tar_xattr *xattrs;
	size_t n_xattrs;
	bool sparse; // holes are delivered as zeros by tar_read()
};

struct tar;
// Borrows `in` (must outlive the reader). `name` is copied, for messages.
struct tar *tar_open(struct stream *in, const char *name) must_check;
// 1 = *ret filled, 0 = end of archive, -errno logged (with name, entry and its offset); an error
// stays. Unread data of the entry before is skipped. At the end the rest of the stream is read,
// and ignored as GNU tar does, so that a digest over the stream is complete. An archive that ends
// between two entries without the end marker is whole. Refused with -EBADMSG: bad checksum, `..`,
// NUL in names, numbers out of range, bad sparse maps, the limits above, GNU's types 'D', 'M',
// 'N', 'V'. Unknown types are read as files (POSIX). Links, directories and devices have no data
// whatever their size field says, as in Go's archive/tar, which is what made nearly every layer.
int tar_next(struct tar *t, struct tar_entry *ret) must_check;
// Data of the current file: 1..n, 0 at its end, -errno.
ssize_t tar_read(struct tar *t, void *buf, size_t n) must_check;
// NULL is allowed.
void tar_close(struct tar *t);

#endif
