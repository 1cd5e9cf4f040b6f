// http.h - HTTP/1.1 over libcurl: bodies pulled by their reader, redirects by hand, retries
//
// An http is one registry's origin with its trust and its pool of connections. Any number of
// threads may open transfers on it; one transfer belongs to one thread at a time. TLS is verified
// always. A redirect is followed to https only (to http too when the registry itself is plain),
// never to this machine unless the registry is here; Authorization goes to the origin it is meant
// for and nowhere else.
// SPDX-License-Identifier: Apache-2.0
#ifndef HTTP_H
#define HTTP_H

#include "repo.h"

#define HTTP_TRIES 5	// attempts of a request when the command line names no other number
#define HTTP_HOPS_MAX 5 // redirects of one request
#define HTTP_HEAD_MAX (64u << 10) // bytes of all headers of a response, 1xx responses included
#define HTTP_BUFFER \
	(256u << 10) // body bytes that wait for their reader (libcurl holds up to 64 KiB more)
#define HTTP_STALL_RATE \
	1024 // bytes per second, below which for http_stall_seconds a transfer is given up

extern unsigned http_stall_seconds; // 30; tests shorten it

struct http;
// `host` as in a reference. `net` is borrowed for the life of the http. No traffic. -errno logged.
int http_new(const char *host, const struct net_opts *net, struct http **ret) must_check;
void http_free(struct http *h);
// "https://registry-1.docker.io", no slash at the end; valid as long as h. For a loopback
// registry that --plain-http and --cacert say nothing about, the first call asks it whether it
// speaks TLS.
int http_base(struct http *h, const char **ret) must_check;

// How often one task tries again, counted over all its requests. {0} = not begun.
struct http_backoff {
	unsigned done; // attempts that failed
};

// All borrowed until http_close. URLs are absolute.
struct http_req {
	const char *method;
	const char *url;
	const char *auth; // value of Authorization, sent only to the origin of auth_url
	const char *auth_url;
	const char *accept;
	const char *content_type;
	const void *body; // body_len bytes
	uint64_t body_len;
	bool body_is_fd; // the body is body_len bytes of fd from fd_off on
	int fd;
	uint64_t fd_off;
	const char
		*content_range; // of the body, as the distribution-spec has it ("0-1023"), or NULL
	bool range;		// Range: bytes=first-last
	uint64_t first, last;
	bool once;		      // not idempotent: no second attempt here
	bool no_follow;		      // a redirect is the answer
	struct http_backoff *backoff; // shared with other requests of the task, or NULL
};

struct http_xfer;
// Sends the request and waits for the headers of the final response, whatever its status.
// Connection errors, 408, 429, 500, 502, 503, 504 are tried again (jittered exponential backoff,
// Retry-After honoured up to 30 s); the last attempt's status is handed out. -errno logged: no
// connection, redirect refused, Content-Encoding, headers too big.
int http_open(struct http *h, const struct http_req *q, struct http_xfer **ret) must_check;
// The body: 1..n, 0 = end, -errno when it broke off, silently: http_why() says it.
ssize_t http_read(struct http_xfer *x, void *buf, size_t n);
const char *http_why(const struct http_xfer *x);
// NULL is allowed. A connection whose response was read to its end is kept.
void http_close(struct http_xfer *x);
// http_close, without a word on the connection, which a fork has too. NULL is allowed.
void http_abandon(struct http_xfer *x);
#define cleanup_xfer __attribute__((cleanup(http_close_p)))
static inline void http_close_p(struct http_xfer **x)
{
	http_close(*x);
	*x = NULL;
}

unsigned http_status(const struct http_xfer *x);
// The i-th header of that name, trimmed; NULL when there are no more.
const char *http_header(const struct http_xfer *x, const char *name, unsigned i);
// Content-Length, or -1.
int64_t http_length(const struct http_xfer *x);
// Where the response came from, after redirects, and whether that is auth_url's origin.
const char *http_url(const struct http_xfer *x);
bool http_is_own(const struct http_xfer *x);

// http_open and the whole body, at most max bytes (-EFBIG logged above); a body that breaks off
// is asked for again. `body` is emptied first. The transfer is handed out for its status and
// headers.
int http_fetch(struct http *h, const struct http_req *q, size_t max, struct buf *body,
	struct http_xfer **ret) must_check;

// Seconds that the response asks us to wait, or -1.
int http_retry_after(const struct http_xfer *x);
// One more failed attempt: waits, and says whether to try again. retry_after: seconds, or -1.
bool http_try_again(struct http *h, struct http_backoff *b, int retry_after);

#endif
