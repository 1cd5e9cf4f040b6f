// url.h - URLs and header values that a server sends us, judged before use (no network here)
// SPDX-License-Identifier: Apache-2.0
#ifndef URL_H
#define URL_H

#include "base.h"

#define URL_MAX 8192	   // bytes of a URL that we follow
#define RETRY_AFTER_MAX 30 // seconds that a server may make us wait

// Same scheme, host and port (RFC 6454). False when one is no URL.
bool url_same_origin(const char *a, const char *b);
// `location` (absolute or relative) seen from base, without fragment. NULL when it is no URL, is
// too long or has a user or password in it. Caller frees.
char *url_resolve(const char *base, const char *location);
// NULL when a request may go to url, else why not. http: only with plain_ok. Loopback, link-local
// and unspecified addresses, written as numbers or "localhost": only with local_ok.
const char *url_refusal(const char *url, bool plain_ok, bool local_ok);
// A numeric address, IPv4 or IPv6 (also v4-mapped), that means this host or this link.
bool url_address_is_local(const char *address);
// "HOST:PORT", with the scheme's port if it names none; NULL when it is no URL. Caller frees.
char *url_host_port(const char *url);
// The host of a URL is literally loopback.
bool url_is_loopback(const char *url);
// For messages: without query, which may hold a signature, and quoted. In one of log_quote's
// buffers.
const char *url_show(const char *url);

// Whether a Link header's value (RFC 8288) has a target with rel=next; *ret is it, absolute, or NULL
// when it is no URL of the origin of base. Caller frees.
bool url_link_next(const char *base, const char *value, char **ret) must_check;

// Retry-After (RFC 9110 section 10.2.3), seconds or date: 0..RETRY_AFTER_MAX. -1 when it is
// neither.
int url_retry_after(const char *value, int64_t now);
// "bytes FIRST-LAST/TOTAL" (RFC 9110 section 14.4), FIRST <= LAST < TOTAL; "*" as total gives
// UINT64_MAX. 0 or -EPROTO, silent.
int url_content_range(
	const char *value, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total) must_check;

#endif
