// blob.c - reading a registry's blobs: streams that survive dropped connections, and ranges
//
// Registries redirect blobs to object stores by URLs that expire. The last good URL of a blob is
// kept, which saves a round trip per range; when it is refused the registry is asked once for a
// new one.
//
// A registry that answers a Range with the whole blob (RFC 9110 section 14.2 allows it) gets no
// second chance to: blobs up to WHOLE_MAX are then fetched whole, checked and kept in memory.
//
// Threads: registry.lock guards the URLs; whole_lock the blobs in memory, and is held while one
// comes in, so that others wait for it instead of fetching it again. A stream belongs to one
// thread.
// SPDX-License-Identifier: Apache-2.0
#include "log.h"
#include "registry.h"
#include "url.h"

#include <stdatomic.h>

#define PROGRESS (64u << 10) // bytes after which a stream's failed attempts are forgotten

// ---- redirects that are remembered ----

static struct cached_url *find_url(struct registry *r, const struct digest *d)
{
	for (size_t i = 0; i < CACHED_URLS; i++)
		if (r->urls[i].url && digest_equal(&r->urls[i].digest, d))
			return &r->urls[i];
	return NULL;
}

// Caller frees; NULL when there is none.
static char *cached_url(struct registry *r, const struct digest *d)
{
	pthread_mutex_lock(&r->lock);
	struct cached_url *c = find_url(r, d);

	if (c)
		c->used = ++r->tick;
	char *url = c ? xstrdup(c->url) : NULL;

	pthread_mutex_unlock(&r->lock);
	return url;
}

static void forget_url(struct registry *r, const struct digest *d)
{
	pthread_mutex_lock(&r->lock);
	struct cached_url *c = find_url(r, d);

	if (c)
		free(steal(&c->url));
	pthread_mutex_unlock(&r->lock);
}

// The blob's own slot, else a free one, else the one not used for longest.
static struct cached_url *pick_slot(struct registry *r, const struct digest *d)
{
	struct cached_url *c = find_url(r, d), *oldest = &r->urls[0];

	for (size_t i = 0; !c && i < CACHED_URLS; i++) {
		if (!r->urls[i].url)
			c = &r->urls[i];
		else if (r->urls[i].used < oldest->used)
			oldest = &r->urls[i];
	}
	return c ? c : oldest;
}

static void remember_url(struct registry *r, const struct digest *d, const char *url)
{
	pthread_mutex_lock(&r->lock);
	struct cached_url *c = pick_slot(r, d);

	free(c->url);
	*c = (struct cached_url){ .digest = *d, .url = xstrdup(url), .used = ++r->tick };
	pthread_mutex_unlock(&r->lock);
}

// Object stores say in many ways that a signature has expired.
static bool is_stale(unsigned status)
{
	return status == 400 || status == 401 || status == 403 || status == 404 || status == 410 ||
		status == 416;
}

// A GET of d's blob by q, which has its range. *ret has any status.
static int get_blob(
	struct registry *r, const struct desc *d, struct http_req *q, struct http_xfer **ret)
{
	char str[DIGEST_STR_LEN];
	cleanup_free char *cached = cached_url(r, &d->digest);
	int e;

	q->method = "GET";
	if (cached) {
		q->url = cached;
		e = registry_send(r, q, NULL, 0, NULL, ret);
		q->url = NULL;
		if (e == 0 && !is_stale(http_status(*ret)))
			return 0;
		forget_url(r, &d->digest);
		if (e < 0)
			return e;
		debug("the address of blob %s has expired", digest_str(&d->digest, str));
		http_close(*ret);
		*ret = NULL;
	}
	cleanup_free char *url = registry_url(r, "blobs/%s", digest_str(&d->digest, str));

	if (!url)
		return -ENOMEM;
	q->url = url;
	e = registry_send(r, q, NULL, 0, NULL, ret);
	if (e == 0 && http_status(*ret) / 100 == 2 && strcmp(http_url(*ret), url) != 0)
		remember_url(r, &d->digest, http_url(*ret));
	q->url = NULL;
	return e;
}

// ---- streams ----

struct blob_stream {
	struct stream s;
	struct registry *r;
	struct desc desc;
	uint64_t off;  // of the next byte
	uint64_t skip; // bytes that a registry without ranges sends again
	bool check;    // from offset 0: sha counts
	struct sha256 sha;
	struct http_req q; // borrowed by x
	struct http_xfer *x;
	struct http_backoff backoff;
	uint64_t progress; // off at the last failure
	int error;	   // final, said already
};

static int blob_fail(const struct blob_stream *b, int e, const char *why)
{
	char str[DIGEST_STR_LEN];

	return warn_errno(
		e, "%s: blob %s: %s", b->r->repo.name, digest_str(&b->desc.digest, str), why);
}

// What a response to a request from b->off on must look like.
static int accept_response(struct blob_stream *b)
{
	uint64_t first, last, total, want = b->desc.size - b->off;
	const char *range = http_header(b->x, "content-range", 0);
	unsigned status = http_status(b->x);
	int64_t length = http_length(b->x);

	b->skip = 0;
	if (status == 206 && b->q.range) {
		if (!range || url_content_range(range, &first, &last, &total) < 0 ||
			first != b->off || last != b->desc.size - 1 ||
			(total != UINT64_MAX && total != b->desc.size))
			return blob_fail(
				b, -EPROTO, "the reply's Content-Range is not what was asked for");
	} else if (status == 200) {
		b->skip = b->off;
		want = b->desc.size;
	} else if (status / 100 == 2) {
		return blob_fail(b, -EPROTO, "the reply's status fits no request");
	} else {
		return registry_fail(&b->q, b->x, NULL);
	}
	if (length >= 0 && (uint64_t)length != want)
		return blob_fail(
			b, -EBADMSG, "the registry's has another size than the manifest says");
	return 0;
}

static int blob_connect(struct blob_stream *b)
{
	b->q = (struct http_req){
		.range = b->off > 0,
		.first = b->off,
		.last = b->desc.size - 1,
		.backoff = &b->backoff,
	};
	int e = get_blob(b->r, &b->desc, &b->q, &b->x);

	return e < 0 ? e : accept_response(b);
}

static int blob_finish(struct blob_stream *b)
{
	char got[DIGEST_STR_LEN], want[DIGEST_STR_LEN];
	struct sha256 sha = b->sha; // a second read at the end says the same
	struct digest d = sha256_final(&sha);

	if (!b->check || digest_equal(&d, &b->desc.digest))
		return 0;
	return warn_errno(-EBADMSG, "%s: blob %s: the digest of what came is %s", b->r->repo.name,
		digest_str(&b->desc.digest, want), digest_str(&d, got));
}

// 0 = go on reading, on a new connection.
static int blob_retry(struct blob_stream *b, int e)
{
	cleanup_free char *why = xstrdup(http_why(b->x));

	http_close(steal(&b->x));
	if (b->off - b->progress > PROGRESS)
		b->backoff = (struct http_backoff){ 0 };
	b->progress = b->off;
	if (!http_try_again(b->r->http, &b->backoff, -1))
		return blob_fail(b, e, why);
	debug("%s: a blob broke off at %llu: %s", b->r->repo.name, (unsigned long long)b->off, why);
	return blob_connect(b);
}

// Bytes into buf, connection trouble apart: 0 = the body's end.
static ssize_t blob_pull(struct blob_stream *b, uint8_t *buf, size_t n)
{
	uint8_t junk[16384];

	while (b->skip > 0) {
		ssize_t got = http_read(b->x, junk, (size_t)MIN(b->skip, (uint64_t)sizeof junk));

		if (got <= 0)
			return got < 0 ? got : -ECONNRESET;
		b->skip -= (uint64_t)got;
	}
	return http_read(b->x, buf, n);
}

static ssize_t blob_read(struct stream *s, void *buf, size_t n)
{
	struct blob_stream *b = (struct blob_stream *)s;
	uint64_t left = b->desc.size - b->off;
	uint8_t more;

	while (left > 0 && !b->error) {
		ssize_t got = blob_pull(b, buf, (size_t)MIN((uint64_t)n, left));

		if (got > 0) {
			b->off += (uint64_t)got;
			if (b->check)
				sha256_update(&b->sha, buf, (size_t)got);
			return got;
		}
		b->error = blob_retry(b, got < 0 ? (int)got : -ECONNRESET);
	}
	if (b->error)
		return b->error;
	// At the end the connection becomes free for others; a body that goes on is no blob of
	// this size.
	if (b->x && http_read(b->x, &more, 1) > 0)
		return blob_fail(b, -EBADMSG, "the registry's is larger than the manifest says");
	http_close(steal(&b->x));
	return blob_finish(b);
}

static void blob_close(struct stream *s)
{
	struct blob_stream *b = (struct blob_stream *)s;

	http_close(b->x);
	free(b);
}

static void blob_abandon(struct stream *s)
{
	struct blob_stream *b = (struct blob_stream *)s;

	http_abandon(b->x);
	free(b);
}

int registry_open_blob(struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	static const struct stream_ops ops = {
		.read = blob_read, .close = blob_close, .abandon = blob_abandon
	};
	struct blob_stream *b = xcalloc(1, sizeof *b);
	int e = 0;

	b->s.ops = &ops;
	b->r = (struct registry *)repo;
	b->desc = *d;
	b->off = b->progress = off;
	b->check = off == 0;
	sha256_init(&b->sha);
	if (off > d->size)
		e = blob_fail(b, -EINVAL, "there is nothing behind its end");
	else if (off < d->size || off == 0)
		e = blob_connect(b);
	if (e < 0) {
		blob_close(&b->s);
		return e;
	}
	*ret = &b->s;
	return 0;
}

// ---- whole blobs in memory ----

static struct whole_blob *whole_find(struct registry *r, const struct digest *d)
{
	for (struct whole_blob **p = &r->wholes; *p; p = &(*p)->next) {
		struct whole_blob *w = *p;

		if (!digest_equal(&w->digest, d))
			continue;
		*p = w->next;
		w->next = r->wholes;
		r->wholes = w;
		return w;
	}
	return NULL;
}

static void whole_free(struct whole_blob *w)
{
	free(w->data);
	free(w);
}

// Drops the oldest until `size` more bytes fit.
static void whole_make_room(struct registry *r, uint64_t size)
{
	while (r->wholes && r->wholes_size + size > WHOLE_MAX) {
		struct whole_blob **last = &r->wholes;

		while ((*last)->next)
			last = &(*last)->next;
		r->wholes_size -= (*last)->size;
		whole_free(*last);
		*last = NULL;
	}
}

static int whole_get(struct registry *r, const struct desc *d, struct whole_blob **ret)
{
	struct whole_blob *w = whole_find(r, &d->digest);
	char *data;

	if (w) {
		*ret = w;
		return 0;
	}
	whole_make_room(r, d->size);
	int e = repo_read_blob(&r->repo, d, WHOLE_MAX, &data);

	if (e < 0)
		return e;
	w = xcalloc(1, sizeof *w);
	*w = (struct whole_blob){
		.next = r->wholes, .digest = d->digest, .data = (uint8_t *)data, .size = d->size
	};
	r->wholes = w;
	r->wholes_size += d->size;
	*ret = w;
	return 0;
}

static int read_from_whole(
	struct registry *r, const struct desc *d, uint64_t off, void *buf, size_t n)
{
	char str[DIGEST_STR_LEN];
	struct whole_blob *w;

	if (d->size > WHOLE_MAX)
		return warn_errno(-EOPNOTSUPP,
			"%s: the registry does not serve ranges, and blob %s is too large "
			"to be kept in memory"
			" (pull the image instead)",
			r->repo.name, digest_str(&d->digest, str));
	pthread_mutex_lock(&r->whole_lock);
	int e = whole_get(r, d, &w);

	if (e == 0)
		memcpy(buf, w->data + off, n);
	pthread_mutex_unlock(&r->whole_lock);
	return e;
}

void registry_blobs_fini(struct registry *r)
{
	while (r->wholes) {
		struct whole_blob *w = r->wholes;

		r->wholes = w->next;
		whole_free(w);
	}
	for (size_t i = 0; i < CACHED_URLS; i++)
		free(r->urls[i].url);
}

// ---- ranges ----

#define RANGE_IGNORED 1 // from range_once: the whole blob is being sent instead

static bool is_exact(const struct http_xfer *x, const struct http_req *q, uint64_t size)
{
	uint64_t first, last, total;
	const char *range = http_header(x, "content-range", 0);
	int64_t length = http_length(x);

	return range && url_content_range(range, &first, &last, &total) == 0 && first == q->first &&
		last == q->last && (total == UINT64_MAX || total == size) &&
		(length < 0 || (uint64_t)length == last - first + 1);
}

// The body into buf: n bytes and not one more. 0 or -errno, silent.
static int read_body(struct http_xfer *x, uint8_t *buf, size_t n, const struct range_watch *watch)
{
	uint8_t more;

	for (size_t done = 0; done < n;) {
		ssize_t got = http_read(x, buf + done, n - done);

		if (got <= 0)
			return got < 0 ? (int)got : -ECONNRESET;
		done += (size_t)got;
		if (watch)
			watch->arrived(watch, done);
	}
	ssize_t end = http_read(x, &more, 1);

	return end > 0 ? -EPROTO : (int)end;
}

// One request. *ret_why is set with -errno that may be tried again; other errors are logged.
static int range_once(struct registry *r, const struct desc *d, struct http_req *q, void *buf,
	const struct range_watch *watch, char **ret_why)
{
	cleanup_xfer struct http_xfer *x = NULL;
	size_t n = (size_t)(q->last - q->first + 1);
	int e = get_blob(r, d, q, &x);

	if (e < 0)
		return e;
	unsigned status = http_status(x);

	if (status == 200 && !(n == d->size && http_length(x) == (int64_t)n))
		return RANGE_IGNORED;
	if (status / 100 != 2)
		return registry_fail(q, x, NULL);
	if (status != 200 && (status != 206 || !is_exact(x, q, d->size))) {
		const char *range = http_header(x, "content-range", 0);

		*ret_why = xasprintf(
			"status %u with Content-Range %s", status, log_quote(range ? range : ""));
		return -EPROTO;
	}
	e = read_body(x, buf, n, watch);
	if (e < 0)
		*ret_why =
			xstrdup(e == -EPROTO ? "more bytes came than were asked for" : http_why(x));
	return e;
}

int registry_read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf, size_t n,
	const struct range_watch *watch)
{
	struct registry *r = (struct registry *)repo;
	struct http_backoff backoff = { 0 };
	struct http_req q = {
		.range = true, .first = off, .last = off + n - 1, .backoff = &backoff
	};
	char str[DIGEST_STR_LEN];

	if (n == 0)
		return 0;
	if (off > d->size || n > d->size - off)
		return warn_errno(-EINVAL, "%s: blob %s has not so many bytes", repo->name,
			digest_str(&d->digest, str));
	while (!r->no_ranges) {
		cleanup_free char *why = NULL;
		int e = range_once(r, d, &q, buf, watch, &why);

		if (e == 0)
			return 0;
		if (e == RANGE_IGNORED) {
			info("%s: the registry does not serve ranges", repo->name);
			r->no_ranges = true;
			break;
		}
		// A wrong answer may come from one bad mirror behind the redirect: ask the
		// registry for the way again.
		forget_url(r, &d->digest);
		if (!why)
			return e;
		if (!http_try_again(r->http, &backoff, -1))
			return warn_errno(e, "%s: blob %s at %llu: %s", repo->name,
				digest_str(&d->digest, str), (unsigned long long)off, why);
	}
	return read_from_whole(r, d, off, buf, n);
}
