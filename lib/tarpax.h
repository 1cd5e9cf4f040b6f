// tarpax.h - pax extended headers (POSIX.1-2017 pax, "pax Extended Header") of a tar archive
// SPDX-License-Identifier: Apache-2.0
//
// Pure functions over bytes. pax_parse returns NULL when all is well, else what is wrong, for the
// caller's message.
#ifndef TARPAX_H
#define TARPAX_H

#include "tar.h"
#include "tarsparse.h"

#define TAR_XATTRS 512	   // of one entry
#define TAR_XATTR_NAME 255 // bytes of a name

enum pax_field {
	PAX_PATH = 1 << 0,
	PAX_LINK = 1 << 1,
	PAX_SIZE = 1 << 2,
	PAX_UID = 1 << 3,
	PAX_GID = 1 << 4,
	PAX_MTIME = 1 << 5,
	PAX_MAJOR = 1 << 6,
	PAX_MINOR = 1 << 7,
	PAX_SPARSE_NAME = 1 << 8,
	PAX_SPARSE_SIZE = 1 << 9,
	PAX_SPARSE_MAJOR = 1 << 10,
	PAX_SPARSE_MINOR = 1 << 11,
	PAX_SPARSE_MAP = 1 << 12, // format 0.0 or 0.1: the map is here
	PAX_ACL = 1 << 13,
	PAX_DEFAULT_ACL = 1 << 14,
};
#define PAX_SPARSE (PAX_SPARSE_SIZE | PAX_SPARSE_MAJOR | PAX_SPARSE_MINOR | PAX_SPARSE_MAP)

struct pax_text { // a run of pax.text, a NUL behind it
	size_t at, len;
};

struct pax_xattr {
	struct pax_text name, value;
};

struct pax {	      // {0} = empty
	unsigned has; // of enum pax_field: which of these are set
	struct pax_text path, link, sparse_name;
	struct pax_text acl, default_acl; // as text, see taracl.h
	uint64_t size, uid, gid, major, minor;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t sparse_size, sparse_major, sparse_minor, sparse_off;
	bool have_off; // sparse_off waits for its length
	struct sparse_map map;
	struct pax_xattr *xattrs;
	size_t n_xattrs, cap_xattrs, xattr_bytes;
	struct buf text;
};

// Adds the records of one header: of two with one key the later wins. `global`: a 'g' header,
// which may not carry what can only be true of one file (size, sparse map).
const char *pax_parse(struct pax *p, const void *data, size_t n, bool global) must_check;
// Of two attributes with one name the later wins. Copies name and value.
const char *pax_add_xattr(
	struct pax *p, const char *name, size_t name_len, const char *v, size_t n) must_check;
void pax_inherit(struct pax *p, const struct pax *global); // resets to a copy of global
void pax_fini(struct pax *p);

static inline const char *pax_str(const struct pax *p, struct pax_text t)
{
	return (const char *)p->text.data + t.at;
}

#endif
