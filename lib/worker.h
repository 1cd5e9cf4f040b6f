// worker.h - the process that serves an image on a FUSE connection which its holder owns
// SPDX-License-Identifier: Apache-2.0
#ifndef WORKER_H
#define WORKER_H

#include "driver.h"

#define ABOUT_VERSION 2
#define ABOUT_MAX (4u << 20)

// What a worker must know: all that is needed to serve without a registry, and to ask one.
// Versioned, so that a later fcpull understands it.
struct about {
	const char *reference; // complete; a layout's directory absolute
	const char *store;     // absolute
	struct digest index;
	bool accelerated; // missing data can be asked for
	bool kept;	  // in the store itself
	const char
		*form; // digest of the accelerated manifest, or NULL: to be remembered if it is bad
	const char *driver;
	uint64_t deadline_ns;
	const char *authfile;  // the text of one, or NULL
	const char *cacert;    // PEM, or NULL
	const char *addresses; // lastaddr_write's, or NULL
	bool plain_http;
	unsigned retries;
	unsigned log_level;
	bool foreseen;	     // what the start reads is known: the kernel is not to read ahead
	uint32_t boot_first; // frame with which HOLD_BOOT begins; UINT32_MAX: no stream
	unsigned fill;	     // enum lazy_fill
	uint64_t fill_rate;
	uint64_t begun, resolved, resolve_requests, resolve_bytes; // for struct stats
	bool record;						   // to HOLD_RECORD
	bool record_start;					   // only what the start reads
	bool no_resend; // for tests: as if the kernel were older than 6.9
};
void about_write(const struct about *a, struct buf *out);
// Strings point into *ret_doc, to be freed by yyjson_doc_free. -EBADMSG, -EPROTO (a later version):
// logged.
struct yyjson_doc;
int about_read(const void *p, size_t n, struct about *ret, struct yyjson_doc **ret_doc) must_check;

// Becomes the worker. Returns the exit code: 0, unmounted or replaced.
int worker_main(void);

#endif
