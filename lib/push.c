// push.c - writing to a registry (distribution-spec 1.1, "Push"): blobs, then manifests
//
// An upload is a session: POST opens it, PUT closes it. A blob that is not larger than a piece goes with
// the PUT; a larger one goes before it, by a PATCH for each piece. When one of these fails, the registry is
// asked how much it has, and the upload goes on from there. Where it cannot say, and after a PUT with
// a body, another attempt is another session; the old one is deleted if the registry cares to.
//
// A blob that is still being made can be sent in such pieces as well (repo_put_ahead).
// SPDX-License-Identifier: Apache-2.0
#include "log.h"
#include "registry.h"
#include "url.h"

int registry_has_blob(struct repo *repo, const struct desc *d)
{
	struct registry *r = (struct registry *)repo;
	char str[DIGEST_STR_LEN];
	cleanup_free char *url = registry_url(r, "blobs/%s", digest_str(&d->digest, str));
	// A redirect says that the blob is there, and the place it leads to may refuse a HEAD
	// (ghcr.io's does).
	struct http_req q = { .method = "HEAD", .url = url, .no_follow = true };
	cleanup_xfer struct http_xfer *x = NULL;
	int e = url ? registry_send(r, &q, NULL, 0, NULL, &x) : -ENOMEM;

	if (e < 0)
		return e;
	unsigned status = http_status(x);

	if (status == 404)
		return 0;
	if (status / 100 == 3)
		return 1;
	if (status != 200)
		return registry_fail(&q, x, NULL);
	if (http_length(x) >= 0 && (uint64_t)http_length(x) != d->size)
		return warn_errno(-EPROTO, "%s: blob %s has %lld bytes at the registry, %llu here",
			repo->name, str, (long long)http_length(x), (unsigned long long)d->size);
	return 1;
}

// ---- one upload ----

#define PIECE_MIN \
	(1u << 20) // a registry (or a proxy before it) that takes no more than this is given up

uint64_t registry_piece = 64u << 20;

// What a session needs beyond the blob.
struct upload {
	struct registry *r;
	const struct desc *desc;
	int fd;
	const char *mount_from; // or NULL
	char *scope;
	char *location; // of the session
	uint64_t piece; // bytes of a PATCH; 0 = all goes with the PUT
	uint64_t least; // that the registry takes as a piece; 0 = any
	struct http_backoff backoff;
	// of the last request
	unsigned status; // 0: there was no response
	int retry_after; // seconds, or -1
};

// The Location of a 202 or 201, absolute. NULL after -EPROTO was logged. Caller frees.
static char *location_of(const struct http_xfer *x)
{
	const char *header = http_header(x, "location", 0);
	char *url = header ? url_resolve(http_url(x), header) : NULL;

	if (!url)
		warn("%s: the registry opens an upload without a usable Location",
			url_show(http_url(x)));
	return url;
}

// How the blob goes, by the answer that opens the session.
static void choose_piece(struct upload *u, const struct http_xfer *x)
{
	const char *min = http_header(x, "oci-chunk-min-length", 0);
	uint64_t n = min && *min >= '0' && *min <= '9' ? strtoull(min, NULL, 10) : 0;

	u->least = n;
	u->piece = MAX(u->r->piece ? u->r->piece : registry_piece, n);
	if (u->r->no_pieces || u->desc->size <= u->piece)
		u->piece = 0;
}

// POST: 1 mounted, 0 a session is open (u->location), -errno.
static int upload_begin(struct upload *u)
{
	char str[DIGEST_STR_LEN];
	cleanup_free char *url = u->mount_from
		? registry_url(u->r, "blobs/uploads/?mount=%s&from=%s",
			  digest_str(&u->desc->digest, str), u->mount_from)
		: registry_url(u->r, "blobs/uploads/");
	struct http_req q = { .method = "POST", .url = url, .backoff = &u->backoff };
	cleanup_xfer struct http_xfer *x = NULL;
	struct buf cleanup_buf body = { 0 };
	int e = url ? registry_send(u->r, &q, u->scope, ERROR_BODY_MAX, &body, &x) : -ENOMEM;

	if (e < 0)
		return e;
	if (http_status(x) == 201 && u->mount_from)
		return 1;
	if (http_status(x) != 202 && u->mount_from) {
		// Not every registry can mount, not every user may: then the bytes are sent.
		u->mount_from = NULL;
		return upload_begin(u);
	}
	if (http_status(x) != 202)
		return registry_fail(&q, x, &body);
	u->location = location_of(x);
	choose_piece(u, x);
	return u->location ? 0 : -EPROTO;
}

// A failed upload's bytes are the registry's to throw away; saying so is a courtesy
// (distribution-spec, "Cancel a blob upload").
static void upload_cancel(struct upload *u)
{
	struct http_req q = { .method = "DELETE", .url = u->location, .once = true };
	cleanup_xfer struct http_xfer *x = NULL;

	if (registry_send(u->r, &q, u->scope, 0, NULL, &x) < 0)
		debug("an upload could not be cancelled");
}

// Sends a request of the session. 0: u->status is one of two that are good; -errno logged.
static int session_send(struct upload *u, struct http_req *q, unsigned good, unsigned also_good,
	struct http_xfer **ret)
{
	cleanup_xfer struct http_xfer *x = NULL;
	struct buf cleanup_buf body = { 0 };

	u->status = 0;
	u->retry_after = -1;
	int e = registry_send(u->r, q, u->scope, ERROR_BODY_MAX, &body, &x);

	if (e < 0)
		return e;
	u->status = http_status(x);
	u->retry_after = http_retry_after(x);
	if (u->status != good && u->status != also_good)
		return registry_fail(q, x, &body);
	*ret = steal(&x);
	return 0;
}

// PUT: with the whole blob, or, when it is there already, without.
static int upload_close(struct upload *u, bool with_body)
{
	char str[DIGEST_STR_LEN];
	cleanup_free char *url = xasprintf("%s%cdigest=%s", u->location,
		strchr(u->location, '?') ? '&' : '?', digest_str(&u->desc->digest, str));
	struct http_req q = {
		.method = "PUT",
		.url = url,
		.content_type = "application/octet-stream",
		.once = true,
		.body_is_fd = with_body,
		.fd = u->fd,
		.body_len = with_body ? u->desc->size : 0,
	};
	cleanup_xfer struct http_xfer *x = NULL;
	// 204 from a few; the blob is asked for again by the manifest in any case
	int e = session_send(u, &q, 201, 204, &x);

	return e < 0 ? e : registry_check_digest(x, &u->desc->digest);
}

// ---- by pieces ----

// The session goes on at another place after each answer. false: none that could be used.
static bool next_location(struct upload *u, const struct http_xfer *x)
{
	char *next = http_header(x, "location", 0) ? location_of(x) : xstrdup(u->location);

	if (!next)
		return false;
	free(u->location);
	u->location = next;
	return true;
}

// How many bytes an answer says are there: "Range: 0-N", by a few "bytes=0-N". 0-0 is none: registries
// have no other word for it. false: it does not say.
static bool there_now(const struct http_xfer *x, uint64_t *ret)
{
	const char *v = http_header(x, "range", 0);
	char *end;

	v = v && !strncmp(v, "bytes=", 6) ? v + 6 : v;
	if (!v || strncmp(v, "0-", 2) || v[2] < '0' || v[2] > '9')
		return false;
	uint64_t last = strtoull(v + 2, &end, 10);

	*ret = last ? last + 1 : 0;
	return !*end && last < INT64_MAX;
}

// PATCH with the piece at *at; *at is where the next one begins.
static int send_piece(struct upload *u, uint64_t *at)
{
	uint64_t n = MIN(u->piece, u->desc->size - *at), have;
	char range[64];
	struct http_req q = {
		.method = "PATCH",
		.url = u->location,
		.content_type = "application/octet-stream",
		.content_range = range,
		.once = true,
		.body_is_fd = true,
		.fd = u->fd,
		.fd_off = *at,
		.body_len = n,
	};
	cleanup_xfer struct http_xfer *x = NULL;

	snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)*at,
		(unsigned long long)(*at + n - 1));
	int e = session_send(u, &q, 202, 204, &x);

	if (e < 0)
		return e;
	if (!next_location(u, x))
		return -EPROTO;
	// it may have kept less
	*at = there_now(x, &have) && have > *at && have < *at + n ? have : *at + n;
	return 0;
}

// GET: how much the registry has. Not to know it is no failure of ours: silent.
static int ask_progress(struct upload *u, uint64_t *ret)
{
	struct http_req q = { .method = "GET", .url = u->location };
	cleanup_xfer struct http_xfer *x = NULL;
	struct buf cleanup_buf body = { 0 };
	int e = registry_send(u->r, &q, u->scope, ERROR_BODY_MAX, &body, &x);

	if (e < 0)
		return e;
	if (http_status(x) / 100 != 2 || !there_now(x, ret) || *ret > u->desc->size ||
		!next_location(u, x))
		return -ENOENT;
	return 0;
}

// 413: the registry, or a proxy before it, takes no bodies of n bytes. false: smaller ones would be too small.
static bool take_smaller(struct upload *u, uint64_t n)
{
	if (n <= PIECE_MIN)
		return false;
	u->r->piece = u->piece = MAX(n / 4, (uint64_t)PIECE_MIN);
	info("%s: bodies of %llu bytes are too large; pieces of %llu are sent", u->r->repo.name,
		(unsigned long long)n, (unsigned long long)u->piece);
	return true;
}

// Does the answer to a PATCH say that there is no such way to send? first: of the first piece, so that a 404
// is no lost session.
static bool refuses_pieces(const struct upload *u, bool first)
{
	return u->status == 400 || u->status == 405 || u->status == 411 || u->status == 413 ||
		u->status == 415 || u->status == 501 || (u->status == 404 && first);
}

// Whether a failed request may go better, in this session or another. A 404 means that the session is gone.
static bool may_retry(const struct upload *u, int e)
{
	if (u->status == 0)
		return e == -ECONNRESET || e == -ETIMEDOUT || e == -ECONNREFUSED ||
			e == -EHOSTUNREACH;
	return u->status == 404 || u->status == 408 || u->status == 416 || u->status == 429 ||
		u->status >= 500;
}

// All pieces. What has got through since the last failure pays for that: only failures in a row are
// counted.
static int send_pieces(struct upload *u)
{
	uint64_t at = 0, good = 0;

	while (at < u->desc->size) {
		int e = send_piece(u, &at);

		if (e == 0)
			continue;
		bool smaller = u->status == 413 && take_smaller(u, u->piece);

		if (at > good)
			u->backoff.done = 0;
		good = at;
		if (!smaller && refuses_pieces(u, at == 0))
			u->r->no_pieces = true;
		if (!smaller && (u->r->no_pieces || u->status == 404 || !may_retry(u, e)))
			return e;
		if (!smaller && !http_try_again(u->r->http, &u->backoff, u->retry_after))
			return e;
		if (ask_progress(u, &at) < 0)
			return e;
		warn("%s: the upload goes on at byte %llu of %llu", u->r->repo.name,
			(unsigned long long)at, (unsigned long long)u->desc->size);
	}
	return 0;
}

// ---- a whole blob ----

static int upload_once(struct upload *u)
{
	int e = u->piece ? send_pieces(u) : 0;

	return e < 0 ? e : upload_close(u, !u->piece);
}

// After a failure: whether it is worth another session.
static bool another_session(struct upload *u, int e, bool none_before)
{
	// the way was the fault, not the moment
	if (u->piece && u->r->no_pieces && !none_before) {
		info("%s: blobs are sent in one request", u->r->repo.name);
		return true;
	}
	if (!u->piece && u->status == 413 && !u->r->no_pieces && take_smaller(u, u->desc->size))
		return true;
	return may_retry(u, e) && http_try_again(u->r->http, &u->backoff, u->retry_after);
}

static int upload(struct upload *u)
{
	for (;;) {
		bool none_before = u->r->no_pieces;
		int e = upload_begin(u);

		if (e != 0)
			return e;
		e = upload_once(u);
		if (e < 0 && u->status != 404)
			upload_cancel(u);
		free(steal(&u->location));
		if (e == 0 || !another_session(u, e, none_before))
			return e;
		u->mount_from = NULL;
		warn("%s: sending the blob once more", u->r->repo.name);
		// Perhaps only the answer was lost.
		if (registry_has_blob(&u->r->repo, u->desc) == 1)
			return 0;
	}
}

// 1 when the registry could take the blob from the other repository, 0 when it must be sent.
static int mount_only(struct upload *u)
{
	int e = upload_begin(u);

	if (e == 0)
		upload_cancel(u);
	free(steal(&u->location));
	return e;
}

int registry_put_blob(struct repo *repo, const struct desc *d, int fd, const char *mount_from)
{
	struct registry *r = (struct registry *)repo;
	int e = registry_has_blob(repo, d);

	if (e != 0)
		return e;
	if (mount_from && (!ref_is_repo(mount_from) || strcmp(mount_from, r->path) == 0))
		mount_from = NULL;
	cleanup_free char *scope = mount_from
		? xasprintf("%s repository:%s:pull", r->scope, mount_from)
		: xstrdup(r->scope);
	struct upload u = { .r = r, .desc = d, .fd = fd, .mount_from = mount_from, .scope = scope };

	return fd >= 0 ? upload(&u) : mount_from ? mount_only(&u) : 0;
}

// ---- a blob that is still being made ----

uint64_t registry_ahead = 16u << 20;

struct push_ahead {
	struct put_ahead a;
	struct upload u;
	struct desc so_far; // size: what has been made; the digest comes at the end
	uint64_t at;	    // bytes that have been sent
};

static void ahead_free(struct push_ahead *p)
{
	free(p->u.location);
	free(p);
}

static void ahead_cancel(struct put_ahead *a)
{
	struct push_ahead *p = (struct push_ahead *)a;

	upload_cancel(&p->u);
	ahead_free(p);
}

// One piece: no second try, as whoever called can begin anew with the whole blob.
static int ahead_send(struct push_ahead *p)
{
	int e = send_piece(&p->u, &p->at);

	if (e < 0 && refuses_pieces(&p->u, p->at == 0))
		p->u.r->no_pieces = true;
	return e;
}

static int ahead_more(struct put_ahead *a, uint64_t have)
{
	struct push_ahead *p = (struct push_ahead *)a;
	uint64_t least = MAX(registry_ahead, p->u.least);
	int e = 0;

	p->so_far.size = have;
	while (have - p->at >= least && !e)
		e = ahead_send(p);
	return e;
}

static int ahead_end(struct put_ahead *a, const struct desc *d)
{
	struct push_ahead *p = (struct push_ahead *)a;
	int e = 0;

	p->so_far = *d;
	while (p->at < d->size && !e)
		e = ahead_send(p);
	if (!e)
		e = upload_close(&p->u, false);
	if (e < 0)
		upload_cancel(&p->u);
	ahead_free(p);
	return e;
}

int registry_put_ahead(struct repo *repo, int fd, struct put_ahead **ret)
{
	static const struct put_ahead_ops ops = {
		.more = ahead_more, .end = ahead_end, .cancel = ahead_cancel
	};
	struct registry *r = (struct registry *)repo;
	struct push_ahead *p;
	int e;

	if (r->no_pieces)
		return -EOPNOTSUPP;
	p = xcalloc(1, sizeof *p);
	p->a.ops = &ops;
	p->so_far.size = UINT64_MAX; // larger than any piece
	p->u = (struct upload){ .r = r, .desc = &p->so_far, .fd = fd, .scope = r->scope };
	e = upload_begin(&p->u);
	if (e < 0) {
		ahead_free(p);
		return e;
	}
	*ret = &p->a;
	return 0;
}

// ---- manifests ----

int registry_put_manifest(
	struct repo *repo, const char *tag, const char *media_type, const void *p, size_t n)
{
	struct registry *r = (struct registry *)repo;
	struct digest d = sha256_of(p, n);
	char str[DIGEST_STR_LEN];

	if (tag && !*tag)
		tag = NULL;
	if (tag && !ref_is_tag(tag))
		return warn_errno(-EINVAL, "%s: %s is no tag", repo->name, log_quote(tag));
	cleanup_free char *url = registry_url(r, "manifests/%s", tag ? tag : digest_str(&d, str));
	struct http_req q = {
		.method = "PUT", .url = url, .content_type = media_type, .body = p, .body_len = n
	};
	cleanup_xfer struct http_xfer *x = NULL;
	struct buf cleanup_buf body = { 0 };
	int e = url ? registry_send(r, &q, NULL, ERROR_BODY_MAX, &body, &x) : -ENOMEM;

	if (e < 0)
		return e;
	if (http_status(x) != 201 && http_status(x) != 200)
		return registry_fail(&q, x, &body);
	e = registry_check_digest(x, &d);
	return e ? e : http_header(x, "oci-subject", 0) != NULL;
}
