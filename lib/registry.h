// registry.h - a repository of a registry: private to registry.c, blob.c and push.c, but for
// registry_try_creds()
// SPDX-License-Identifier: Apache-2.0
#ifndef REGISTRY_H
#define REGISTRY_H

#include "auth.h"

#include <pthread.h>

#define ERROR_BODY_MAX (64u << 10) // bytes of an error's body that are looked at
#define WHOLE_MAX (64ull << 20)	   // bytes of blobs kept in memory when a registry knows no ranges
#define CACHED_URLS 64		   // blobs whose redirect is remembered

extern uint64_t registry_piece; // bytes of a blob that one PATCH sends, 64 MiB; tests shorten it
// bytes that a PATCH has at least while its blob is still being made, 16 MiB; tests shorten it
extern uint64_t registry_ahead;

struct cached_url {
	struct digest digest;
	char *url; // NULL: free
	uint64_t used;
};
struct whole_blob {
	struct whole_blob *next; // the latest first
	struct digest digest;
	uint8_t *data;
	uint64_t size;
};

struct registry {
	struct repo repo; // first: ops get a struct repo *
	struct http *http;
	struct auth *auth;
	char *path;	      // "library/alpine"
	const char *ns;	      // or NULL: the registry that this one stands for (net_opts)
	char *scope;	      // "repository:library/alpine:pull"
	pthread_mutex_t lock; // guards urls and tick
	struct cached_url urls[CACHED_URLS];
	uint64_t tick;
	pthread_mutex_t whole_lock; // guards wholes; held while one is fetched
	struct whole_blob *wholes;
	uint64_t wholes_size;
	_Atomic bool no_ranges;
	_Atomic bool no_pieces; // it takes blobs by one PUT only
	_Atomic uint64_t piece; // bytes that it takes at once, when it has refused more; 0: unknown
};

// "BASE/v2/PATH/" and more, formatted. NULL after -errno was logged. Caller frees.
char *registry_url(struct registry *r, const char *fmt, ...) printf_like(2, 3) must_check;
// Sends q (auth and auth_url are filled in here), answers a challenge. scope NULL = the
// repository's. With body: reads it whole, at most max bytes. The caller looks at the status.
int registry_send(struct registry *r, struct http_req *q, const char *scope, size_t max,
	struct buf *body, struct http_xfer **ret) must_check;
// Says what a status that nobody wanted means ({"errors":[...]} is looked for in the body) and
// returns it as -errno.
int registry_fail(const struct http_req *q, struct http_xfer *x, const struct buf *body) must_check;
int registry_errno(unsigned status) must_check;
// Docker-Content-Digest, when there is one, must be d. -EBADMSG logged.
int registry_check_digest(const struct http_xfer *x, const struct digest *d) must_check;

// Whether the registry takes net->creds: asks /v2/ with them. *ret_asked: it wanted any at all. -EACCES
// and all others logged.
int registry_try_creds(const char *host, const struct net_opts *net, bool *ret_asked) must_check;

// blob.c
int registry_open_blob(
	struct repo *, const struct desc *, uint64_t off, struct stream **ret) must_check;
int registry_read_range(struct repo *, const struct desc *, uint64_t off, void *buf, size_t n,
	const struct range_watch *) must_check;
void registry_blobs_fini(struct registry *r);
// push.c
int registry_has_blob(struct repo *, const struct desc *) must_check;
int registry_put_blob(
	struct repo *, const struct desc *, int fd, const char *mount_from) must_check;
int registry_put_ahead(struct repo *repo, int fd, struct put_ahead **ret);
int registry_put_manifest(
	struct repo *, const char *tag, const char *media_type, const void *, size_t) must_check;

#endif
