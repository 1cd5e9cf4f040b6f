// xfer.h - one HTTP transfer: private to http.c and xfer.c
// SPDX-License-Identifier: Apache-2.0
#ifndef XFER_H
#define XFER_H

#include "ca.h"
#include "http.h"

#include <curl/curl.h>
#include <pthread.h>
#include <stdatomic.h>

// A connection slot. One thread at a time.
struct conn {
	struct conn *next;
	CURL *easy;
	CURLM *multi;
};

struct http {
	char *host;
	const struct net_opts *net;
	struct ca ca;
	_Atomic bool loopback; // the registry is on this machine
	CURLSH *share;
	pthread_mutex_t share_locks[CURL_LOCK_DATA_LAST];
	pthread_mutex_t lock;
	struct conn *idle;
	unsigned n_idle;
	pthread_mutex_t base_lock;
	char *base; // NULL until decided
	_Atomic bool plain;
	_Atomic uint64_t quiet_until; // the registry asked for silence (429, 503): now_ns
};

struct http_xfer {
	struct http *h;
	struct conn *c;
	const struct http_req *q;
	char *url;
	bool own; // at the origin of q->auth_url
	struct curl_slist *headers, *resolve;
	char err[CURL_ERROR_SIZE];
	const char *refusal; // why our callbacks stopped it; then no other attempt is made
	// response head: lines of the current block, each ended by NUL
	struct buf head;
	size_t head_bytes;
	unsigned informational, status;
	bool head_done, done, paused;
	CURLcode result;
	// body
	uint8_t *dst;
	size_t room;
	struct buf spill;
	size_t spill_at;
	uint64_t sent; // of the request's body
	// stall watch
	uint64_t moved, window_start, window_ns;
};

// From the pool, or a new one; NULL without memory. conn_put gives it back.
struct conn *conn_get(struct http *h);
void conn_put(struct http *h, struct conn *c);

// Sends q to url and waits for the headers of the response. 0; -errno, silent, *ret tells why
// (http_why). *ret is set in both cases, unless -ENOMEM.
int xfer_open(struct http *h, const struct http_req *q, const char *url,
	struct http_xfer **ret) must_check;
// It failed because of the peer's certificate. libcurl has one code for a handshake that broke off and
// for a certificate that mbed TLS could not even read (its algorithm, an extension) or that is for
// another purpose: the words tell them apart.
bool xfer_is_certificate(const struct http_xfer *x);
// Another attempt may go better.
bool xfer_is_transient(const struct http_xfer *x);
// Reads what is left, if it is little, so that the connection can be used again.
void xfer_drain(struct http_xfer *x);

// What this process did so far.
extern _Atomic uint64_t xfer_requests, xfer_bytes_in, xfer_bytes_out;

#endif
