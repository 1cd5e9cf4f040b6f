// hastenint.h - what hasten.c hands to the process that hastenjob.c is
// SPDX-License-Identifier: Apache-2.0
#ifndef HASTENINT_H
#define HASTENINT_H

#include "hasten.h"

// Its descriptors by number.
enum {
	HASTEN_ABOUT = 3,     // memfd: struct hasten_about
	HASTEN_LOCK = 4,      // kept_lock's
	HASTEN_TRACE = 5,     // the recording
	HASTEN_ALIVE = 6,     // a pipe whose other end the run holds; /dev/null: nothing follows
	HASTEN_READY = 7,     // with `pages`: a pipe, a byte goes there when what is read is seen
	HASTEN_READAHEAD = 8, // ... the mount's setting; /dev/null: it is not to be raised
	HASTEN_END = 9,
};

#define HASTEN_ABOUT_MAX (4u << 20)

struct hasten_about {
	const char *reference, *store; // complete; absolute
	struct digest original;
	struct platform platform;
	bool recording; // HASTEN_TRACE is being written; else it is complete, or empty
	bool pages;	// ... by this process, from the page cache of this device
	uint32_t major, minor;
	bool push;
	struct net_opts net;
	uint64_t threads, log_level;
};
void hasten_about_write(const struct hasten_about *a, struct buf *out);
// Strings point into *ret_doc. -EBADMSG, silent.
struct yyjson_doc;
int hasten_about_read(
	const void *p, size_t n, struct hasten_about *ret, struct yyjson_doc **ret_doc) must_check;

#endif
