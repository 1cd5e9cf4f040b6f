// httpd.h - the service's HTTP: who may ask, how much, how slowly; answers come from a handler
//
// libmicrohttpd parses; one thread of it calls the handler, a request at a time, when its body is there
// whole. Bounded: connections, a body, all bodies together, the time of a request.
// SPDX-License-Identifier: Apache-2.0
#ifndef HTTPD_H
#define HTTPD_H

#include "base.h"

#define HTTPD_CONNS_MAX 128
#define HTTPD_BODY_MAX (1u << 20)    // bytes of a body
#define HTTPD_BODIES_MAX (16u << 20) // of all that are being received
#define HTTPD_IDLE_S 8		     // without a byte
#define HTTPD_REQUEST_S 15	     // from the end of the last request to the end of this
#define HTTPD_TOKEN_MIN 16	     // bytes of a token: shorter ones are guessed
#define HTTPD_TOKEN_MAX 4096
#define HTTPD_WATCH_S 10 // between two looks at the files

struct httpd_request {
	const char *method; // HEAD comes as GET
	const char *path;   // decoded
	const uint8_t *body;
	size_t len;
};
struct httpd_reply {
	unsigned status;
	const char *type; // of the body
	struct buf body;
	char location[80];    // or ""
	unsigned retry_after; // seconds, or 0
	const char *allow;    // methods, with 405
};
typedef void httpd_handler(void *arg, const struct httpd_request *q, struct httpd_reply *ret);

struct httpd_conf {
	const char *listen;	// "ADDRESS:PORT", "[ADDRESS]:PORT"; port 0: any
	const char *token_file; // its first line must be presented; or NULL
	const char *cert, *key; // PEM files; or NULL: without TLS
	const char *client_ca;	// PEM file; or NULL
	httpd_handler *handler;
	void *arg;
};
struct httpd;
// -EINVAL: what was asked for is unsafe or wrong; all logged.
int httpd_start(const struct httpd_conf *conf, struct httpd **ret) must_check;
unsigned httpd_port(const struct httpd *h);
// Reads token, certificate, key and authorities again, where they have changed. Connections go on; what
// cannot be used is warned of, and what was used before stays in use.
void httpd_reload(struct httpd *h);
// To be called about once a second: closes connections that take too long; every HTTPD_WATCH_S seconds
// httpd_reload.
void httpd_tick(struct httpd *h);
// Answers so far, by the first digit of their status.
void httpd_counts(struct httpd *h, uint64_t ret[static 6]);
// Accepts no more connections.
void httpd_quiesce(struct httpd *h);
void httpd_stop(struct httpd *h);

// ---- for tests ----
// Does an Authorization header's value carry the token with this hash? Its time does not depend on how
// much of it is right.
struct digest;
bool httpd_may(const char *authorization, const struct digest *token);

#endif
