// push.c - writing to a registry (distribution-spec 1.1, "Push"): blobs, then manifests
//
// An upload is a session: POST opens it, PUT with the whole body closes it. A PUT that fails
// leaves nothing to build upon, so another attempt is another session; the old one is deleted if
// the registry cares to.
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

// What a session needs beyond the blob.
struct upload {
	struct registry *r;
	const struct desc *desc;
	int fd;
	const char *mount_from; // or NULL
	char *scope;
	char *location; // of the session
	struct http_backoff backoff;
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

// PUT. 0 or -errno logged; *ret_status is 0 when there was no response.
static int upload_send(struct upload *u, unsigned *ret_status)
{
	char str[DIGEST_STR_LEN];
	cleanup_free char *url = xasprintf("%s%cdigest=%s", u->location,
		strchr(u->location, '?') ? '&' : '?', digest_str(&u->desc->digest, str));
	struct http_req q = {
		.method = "PUT",
		.url = url,
		.content_type = "application/octet-stream",
		.once = true,
		.body_is_fd = true,
		.fd = u->fd,
		.body_len = u->desc->size,
	};
	cleanup_xfer struct http_xfer *x = NULL;
	struct buf cleanup_buf body = { 0 };

	*ret_status = 0;
	int e = registry_send(u->r, &q, u->scope, ERROR_BODY_MAX, &body, &x);

	if (e < 0)
		return e;
	*ret_status = http_status(x);
	// 204 from a few; the blob is asked for again by the manifest in any case
	if (*ret_status == 201 || *ret_status == 204)
		return registry_check_digest(x, &u->desc->digest);
	return registry_fail(&q, x, &body);
}

// Whether a failed PUT may go better in another session. A 404 means that the session is gone.
static bool may_retry(int e, unsigned status)
{
	if (status == 0)
		return e == -ECONNRESET || e == -ETIMEDOUT || e == -ECONNREFUSED ||
			e == -EHOSTUNREACH;
	return status == 404 || status == 408 || status == 416 || status == 429 || status >= 500;
}

static int upload(struct upload *u)
{
	for (;;) {
		unsigned status;
		int e = upload_begin(u);

		if (e != 0)
			return e;
		e = upload_send(u, &status);
		if (e < 0 && status != 404)
			upload_cancel(u);
		free(steal(&u->location));
		if (e == 0 || !may_retry(e, status) || !http_try_again(u->r->http, &u->backoff, -1))
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
