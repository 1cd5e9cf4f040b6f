// registry.c - a repository of a registry (distribution-spec 1.1): requests, errors, manifests
// SPDX-License-Identifier: Apache-2.0
#include "registry.h"
#include "json.h"
#include "log.h"
#include "url.h"

#include <strings.h>

#define ANSWERS_MAX 3 // challenges answered for one request: stale token, too narrow scope

// All that fcpull can read (image-spec media-types.md and Docker's schema 2).
static const char accept_manifests[] =
	"application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json, "
	"application/vnd.docker.distribution.manifest.list.v2+json, "
	"application/vnd.docker.distribution.manifest.v2+json";

static const char accept_index[] = "application/vnd.oci.image.index.v1+json";

char *registry_url(struct registry *r, const char *fmt, ...)
{
	cleanup_free char *rest = NULL;
	const char *base;
	va_list ap;

	if (http_base(r->http, &base) < 0)
		return NULL;
	va_start(ap, fmt);
	if (vasprintf(&rest, fmt, ap) < 0)
		rest = NULL;
	va_end(ap);
	if (!rest)
		return NULL;
	return xasprintf("%s/v2/%s/%s%s%s", base, r->path, rest,
		r->ns ? (strchr(rest, '?') ? "&ns=" : "?ns=") : "", r->ns ? r->ns : "");
}

// One round: the request with what is known of auth.
static int send_once(struct registry *r, struct http_req *q, const char *auth, size_t max,
	struct buf *body, struct http_xfer **ret)
{
	q->auth = auth;
	int n = body ? http_fetch(r->http, q, max, body, ret) : http_open(r->http, q, ret);

	q->auth = NULL;
	return n;
}

int registry_send(struct registry *r, struct http_req *q, const char *scope, size_t max,
	struct buf *body, struct http_xfer **ret)
{
	cleanup_secret char *auth = NULL;

	scope = scope ? scope : r->scope;
	int e = http_base(r->http, &q->auth_url);

	if (e == 0)
		e = auth_get(r->auth, scope, &auth);
	for (unsigned answers = 0; e == 0; answers++) {
		cleanup_xfer struct http_xfer *x = NULL;
		char *next = NULL;

		e = send_once(r, q, auth, max, body, &x);
		if (e < 0)
			return e;
		// Only the registry itself may ask who we are, never where it sends us to.
		if (http_status(x) != 401 || !http_is_own(x) || answers == ANSWERS_MAX) {
			*ret = steal(&x);
			return 0;
		}
		e = auth_answer(r->auth, scope, x, auth, &next);
		secret_free(auth);
		auth = next;
	}
	return e;
}

int registry_errno(unsigned status)
{
	switch (status) {
	case 401:
	case 403: return -EACCES;
	case 404:
	case 410: return -ENOENT;
	case 408:
	case 504: return -ETIMEDOUT;
	case 429: return -EBUSY;
	case 413: return -EFBIG;
	default: return status >= 500 ? -EREMOTEIO : -EPROTO;
	}
}

// "CODE: message" of the first error in the body, quoted; or the body's beginning; "" when there
// is nothing. Caller frees.
static char *error_text(const char *p, size_t n)
{
	cleanup_json yyjson_doc *doc = NULL;

	if (n == 0)
		return xstrdup("");
	if (json_parse(p, n, NULL, &doc) < 0)
		return xasprintf(": %s", log_quote_n(p, MIN(n, (size_t)50)));
	yyjson_val *first = yyjson_arr_get_first(json_arr(json_root(doc), "errors"));
	const char *code = json_str(first, "code"), *message = json_str(first, "message");

	if (!code && !message)
		return xasprintf(": %s", log_quote_n(p, MIN(n, (size_t)50)));
	return xasprintf(": %s %s", code ? log_quote(code) : "", message ? log_quote(message) : "");
}

int registry_fail(const struct http_req *q, struct http_xfer *x, const struct buf *body)
{
	char some[2048];
	ssize_t n = 0;
	unsigned status = http_status(x);

	if (!body && strcmp(q->method, "HEAD") != 0)
		n = http_read(x, some, sizeof some);
	cleanup_free char *text = body ? error_text((char *)body->data, body->len)
				       : error_text(some, (size_t)MAX(n, 0));

	warn("%s %s: status %u%s", q->method, url_show(http_url(x)), status, text);
	return registry_errno(status);
}

int registry_check_digest(const struct http_xfer *x, const struct digest *d)
{
	const char *header = http_header(x, "docker-content-digest", 0);
	char want[DIGEST_STR_LEN];
	struct digest got;

	// sha512 and what may come after it tell us nothing, but are no lie
	if (!header || digest_parse(header, &got) == -ENOTSUP)
		return 0;
	if (digest_parse(header, &got) == 0 && digest_equal(&got, d))
		return 0;
	return warn_errno(-EBADMSG, "%s: Docker-Content-Digest is %s, but the content's is %s",
		url_show(http_url(x)), log_quote(header), digest_str(d, want));
}

// ---- manifests ----

// The media type without parameters ("; charset=utf-8"), lower case left alone. "" when it is
// longer than can be.
static void copy_type(const char *header, char out[static 128])
{
	size_t n = header ? strcspn(header, "; \t") : 0;

	n = n < 128 ? n : 0;
	if (n > 0)
		memcpy(out, header, n);
	out[n] = 0;
}

static int take_manifest(const char *what, const struct digest *want, struct http_xfer *x,
	struct buf *body, struct manifest *ret)
{
	char str[DIGEST_STR_LEN];
	struct manifest m = { .bytes = (char *)body->data, .len = body->len };

	m.digest = sha256_of(body->data, body->len);
	if (want && !digest_equal(want, &m.digest))
		return warn_errno(-EBADMSG, "%s: the digest of what came is %s; it begins with %s",
			what, digest_str(&m.digest, str),
			log_quote_n(m.bytes, MIN(m.len, (size_t)50)));
	int r = registry_check_digest(x, &m.digest);

	if (r < 0)
		return r;
	copy_type(http_header(x, "content-type", 0), m.media_type);
	r = manifest_check(&m, what);
	if (r < 0)
		return r;
	buf_str(body); // one NUL follows
	m.bytes = (char *)body->data;
	*body = (struct buf){ 0 };
	*ret = m;
	return 0;
}

static int registry_get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	struct registry *r = (struct registry *)repo;
	struct buf cleanup_buf body = { 0 };
	struct digest want;
	bool by_digest = ref && digest_parse(ref, &want) == 0;

	if (!ref)
		ref = "latest";
	if (!by_digest && !ref_is_tag(ref))
		return warn_errno(-EINVAL, "%s has no manifest %s", repo->name, log_quote(ref));
	cleanup_free char *url = registry_url(r, "manifests/%s", ref);
	struct http_req q = { .method = "GET", .url = url, .accept = accept_manifests };
	cleanup_xfer struct http_xfer *x = NULL;
	int e = url ? registry_send(r, &q, NULL, MANIFEST_MAX, &body, &x) : -ENOMEM;

	if (e < 0)
		return e;
	if (http_status(x) == 404)
		return -ENOENT;
	if (http_status(x) != 200)
		return registry_fail(&q, x, &body);
	cleanup_free char *what = xasprintf("%s%c%s", repo->name, by_digest ? '@' : ':', ref);

	return take_manifest(what, by_digest ? &want : NULL, x, &body, ret);
}

// ---- referrers ----

#define REFERRER_PAGES_MAX 64

// The next page of a list, or NULL. Caller frees.
static char *next_page(const struct http_xfer *x)
{
	const char *h;
	bool found = false;
	char *to = NULL;

	for (unsigned i = 0; !found && (h = http_header(x, "link", i)); i++)
		found = url_link_next(http_url(x), h, &to);
	return to;
}

// No list, whatever the registry says instead: that it does not know the page, may not show it, or
// shows one that it has for people.
static bool has_no_list(unsigned status)
{
	return status / 100 == 4 && status != 408 && status != 429;
}

// One page. *ret_next: the next one's address, or NULL.
static int each_of_page(struct registry *r, const char *url, bool patient, referrer_fn *fn,
	void *arg, char **ret_next)
{
	struct http_req q = {
		.method = "GET", .url = url, .accept = accept_index, .once = !patient
	};
	struct buf cleanup_buf body = { 0 };
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_xfer struct http_xfer *x = NULL;
	yyjson_val *arr, *v;
	yyjson_arr_iter it;
	int e = registry_send(r, &q, NULL, MANIFEST_MAX, &body, &x);

	if (e < 0)
		return e;
	if (has_no_list(http_status(x)))
		return -ENOENT;
	if (http_status(x) != 200)
		return patient ? registry_fail(&q, x, &body) : -EREMOTEIO;
	if (json_parse(body.data, body.len, NULL, &doc) < 0)
		return -ENOENT;
	arr = json_arr(json_root(doc), "manifests");
	if (!arr)
		return -ENOENT;
	yyjson_arr_iter_init(arr, &it);
	while ((v = yyjson_arr_iter_next(&it)))
		fn(arg, v);
	*ret_next = next_page(x);
	return 0;
}

static int registry_each_referrer(struct repo *repo, const struct digest *subject, const char *type,
	bool patient, referrer_fn *fn, void *arg)
{
	struct registry *r = (struct registry *)repo;
	char s[DIGEST_STR_LEN];
	char *url = registry_url(r, "referrers/%s?artifactType=%s", digest_str(subject, s), type);
	int e = url ? 0 : -ENOMEM;

	for (unsigned page = 0; url && !e && page < REFERRER_PAGES_MAX; page++) {
		char *next = NULL;

		e = each_of_page(r, url, patient, fn, arg, &next);
		free(url);
		url = next;
	}
	free(url);
	return e;
}

static void registry_close(struct repo *repo)
{
	struct registry *r = (struct registry *)repo;

	registry_blobs_fini(r);
	auth_free(r->auth);
	http_free(r->http);
	pthread_mutex_destroy(&r->lock);
	pthread_mutex_destroy(&r->whole_lock);
	free(r->path);
	free(r->scope);
	free(r->repo.name);
	free(r);
}

static const struct repo_ops registry_ops = {
	.get_manifest = registry_get_manifest,
	.open_blob = registry_open_blob,
	.read_range = registry_read_range,
	.has_blob = registry_has_blob,
	.put_blob = registry_put_blob,
	.put_ahead = registry_put_ahead,
	.put_manifest = registry_put_manifest,
	.each_referrer = registry_each_referrer,
	.close = registry_close,
};

int registry_open(const struct ref *ref, const struct net_opts *net, bool write, struct repo **ret)
{
	struct http *h;
	int e = http_new(ref->host, net, &h);

	if (e < 0)
		return e;
	struct registry *r = xcalloc(1, sizeof *r);

	r->repo = (struct repo){ .ops = &registry_ops, .name = ref_name(ref), .is_registry = true };
	r->http = h;
	r->auth = auth_new(h, ref->host, ref->repo, net);
	r->path = xstrdup(ref->repo);
	r->ns = net->ns;
	r->scope = xasprintf("repository:%s:%s", ref->repo, write ? "pull,push" : "pull");
	pthread_mutex_init(&r->lock, NULL);
	pthread_mutex_init(&r->whole_lock, NULL);
	*ret = &r->repo;
	return 0;
}

int registry_try_creds(const char *host, const struct net_opts *net, bool *ret_asked)
{
	struct ref ref = { .host = (char *)(uintptr_t)host, .repo = (char *)(uintptr_t) "" };
	struct repo *repo;
	struct buf cleanup_buf body = { 0 };
	cleanup_xfer struct http_xfer *x = NULL;
	cleanup_secret char *auth = NULL;
	const char *base;
	int e = registry_open(&ref, net, false, &repo);

	if (e < 0)
		return e;
	struct registry *r = (struct registry *)repo;

	e = http_base(r->http, &base);
	cleanup_free char *url = e < 0 ? NULL : xasprintf("%s/v2/", base);
	struct http_req q = { .method = "GET", .url = url };

	// No scope: whether these credentials are somebody's, not what they may do.
	if (e == 0)
		e = registry_send(r, &q, "", ERROR_BODY_MAX, &body, &x);
	if (e == 0 && http_status(x) != 200)
		e = registry_fail(&q, x, &body);
	if (e == 0)
		e = auth_get(r->auth, "", &auth);
	*ret_asked = auth;
	http_close(steal(&x));
	repo_close(repo);
	return e;
}
