// http.c - requests with redirects and retries, over a pool of connections
//
// Threads: http.lock guards the idle list; base_lock the decision on the scheme; DNS results and
// TLS sessions are shared by all slots through a CURLSH with our locks (connections cannot be
// shared between threads, see CURLSHOPT_SHARE). Blockers: xfer_open, nanosleep in wait_ns.
// SPDX-License-Identifier: Apache-2.0
#include "http.h"
#include "log.h"
#include "url.h"
#include "xfer.h"

#include <strings.h>
#include <sys/random.h>
#include <time.h>

#define IDLE_MAX 16 // slots kept
#define BACKOFF_FIRST_MS 200
#define BACKOFF_MAX_MS 30000

static _Atomic uint64_t retries;

void net_stats_get(struct net_stats *ret)
{
	*ret = (struct net_stats){
		.requests = xfer_requests,
		.bytes_in = xfer_bytes_in,
		.bytes_out = xfer_bytes_out,
		.retries = retries,
	};
}

// ---- the pool ----

static void share_lock(CURL *easy, curl_lock_data what, curl_lock_access access, void *arg)
{
	struct http *h = arg;

	(void)easy, (void)access;
	pthread_mutex_lock(&h->share_locks[what]);
}

static void share_unlock(CURL *easy, curl_lock_data what, void *arg)
{
	struct http *h = arg;

	(void)easy;
	pthread_mutex_unlock(&h->share_locks[what]);
}

static void conn_free(struct conn *c)
{
	curl_easy_cleanup(c->easy);
	curl_multi_cleanup(c->multi);
	free(c);
}

struct conn *conn_get(struct http *h)
{
	pthread_mutex_lock(&h->lock);
	struct conn *c = h->idle;

	if (c) {
		h->idle = c->next;
		h->n_idle--;
	}
	pthread_mutex_unlock(&h->lock);
	if (c)
		return c;
	c = calloc(1, sizeof *c);
	if (!c)
		return NULL;
	c->easy = curl_easy_init();
	c->multi = curl_multi_init();
	if (!c->easy || !c->multi) {
		conn_free(c);
		return NULL;
	}
	// registry, token server, and one or two hosts that blobs are redirected to
	curl_multi_setopt(c->multi, CURLMOPT_MAXCONNECTS, 4L);
	return c;
}

void conn_put(struct http *h, struct conn *c)
{
	curl_easy_reset(c->easy); // lets go of everything that it borrowed
	pthread_mutex_lock(&h->lock);
	bool keep = h->n_idle < IDLE_MAX;

	if (keep) {
		c->next = h->idle;
		h->idle = c;
		h->n_idle++;
	}
	pthread_mutex_unlock(&h->lock);
	if (!keep)
		conn_free(c);
}

static void global_init(void)
{
	curl_global_init(CURL_GLOBAL_DEFAULT);
}

// Whom this registry's certificate may come from, and what shows it who we are: the command line's, then
// the configuration's, then certs.d's.
static int trust_load(const char *host, const struct net_opts *net, struct ca *ret)
{
	int r = ca_load(net->cacert, net->in_memory, ret);

	if (r == 0 && net->ca)
		r = ca_add(net->ca, ret);
	if (r == 0 && net->cert) {
		ret->cert = xstrdup(net->cert);
		ret->key = xstrdup(net->key ? net->key : net->cert);
	}
	return r < 0 ? r : ca_add_host(host, !net->cacert, ret);
}

int http_new(const char *host, const struct net_opts *net, struct http **ret)
{
	static pthread_once_t once = PTHREAD_ONCE_INIT;
	struct http *h = xcalloc(1, sizeof *h);

	pthread_once(&once, global_init);
	h->host = xstrdup(strcmp(host, "docker.io") == 0 ? "registry-1.docker.io" : host);
	h->net = net;
	h->loopback = ref_host_is_loopback(host);
	pthread_mutex_init(&h->lock, NULL);
	pthread_mutex_init(&h->base_lock, NULL);
	for (size_t i = 0; i < ARRAY_LEN(h->share_locks); i++)
		pthread_mutex_init(&h->share_locks[i], NULL);
	h->share = curl_share_init();
	int r = h->share ? trust_load(host, net, &h->ca) : warn_errno(-ENOMEM, "libcurl");

	if (r < 0) {
		http_free(h);
		return r;
	}
	curl_share_setopt(h->share, CURLSHOPT_LOCKFUNC, share_lock);
	curl_share_setopt(h->share, CURLSHOPT_UNLOCKFUNC, share_unlock);
	curl_share_setopt(h->share, CURLSHOPT_USERDATA, h);
	curl_share_setopt(h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_DNS);
	curl_share_setopt(h->share, CURLSHOPT_SHARE, CURL_LOCK_DATA_SSL_SESSION);
	*ret = h;
	return 0;
}

void http_free(struct http *h)
{
	if (!h)
		return;
	while (h->idle) {
		struct conn *c = h->idle;

		h->idle = c->next;
		conn_free(c);
	}
	curl_share_cleanup(h->share);
	for (size_t i = 0; i < ARRAY_LEN(h->share_locks); i++)
		pthread_mutex_destroy(&h->share_locks[i]);
	pthread_mutex_destroy(&h->base_lock);
	pthread_mutex_destroy(&h->lock);
	ca_fini(&h->ca);
	free(h->base);
	free(h->host);
	free(h);
}

// ---- waiting ----

static void wait_ns(uint64_t ns)
{
	struct timespec left = { (time_t)(ns / NS_PER_SEC), (long)(ns % NS_PER_SEC) };

	while (nanosleep(&left, &left) < 0 && errno == EINTR)
		;
}

// A registry that asked one request to wait asked them all.
static void wait_quiet(struct http *h)
{
	uint64_t until = h->quiet_until, now = now_ns();

	if (until > now)
		wait_ns(MIN(until - now, RETRY_AFTER_MAX * NS_PER_SEC));
}

static unsigned tries_of(const struct http *h)
{
	return h->net->retries > 0 ? h->net->retries : HTTP_TRIES;
}

bool http_try_again(struct http *h, struct http_backoff *b, int retry_after)
{
	uint64_t ms =
		MIN((uint64_t)BACKOFF_FIRST_MS << MIN(b->done, 16u), (uint64_t)BACKOFF_MAX_MS);
	uint32_t dice = 0;

	if (++b->done >= tries_of(h))
		return false;
	// Half of it fixed, half by lot, so that clients that fell together do not come back
	// together.
	if (getrandom(&dice, sizeof dice, GRND_NONBLOCK) < 0)
		dice = (uint32_t)now_ns();
	uint64_t ns = (ms / 2 + dice % (ms / 2 + 1)) * 1000000;

	if (retry_after >= 0) {
		ns = MAX(ns, (uint64_t)retry_after * NS_PER_SEC + dice % NS_PER_SEC);
		h->quiet_until = now_ns() + (uint64_t)retry_after * NS_PER_SEC;
	}
	retries++;
	wait_ns(ns);
	return true;
}

// ---- redirects ----

// The next URL of a redirect, NULL when this is none that we follow. 303 changes the method to
// GET, which no request of ours that writes can want; 301 and 302 may (RFC 9110 section 15.4), so
// only reads follow them.
static const char *redirect_of(const struct http_xfer *x, const struct http_req *q)
{
	unsigned s = http_status(x);
	bool reads = strcmp(q->method, "GET") == 0 || strcmp(q->method, "HEAD") == 0;

	if (q->no_follow ||
		!(s == 307 || s == 308 || (reads && (s == 301 || s == 302 || s == 303))))
		return NULL;
	return http_header(x, "location", 0);
}

// Whether a hop may be made: nothing but the registry's own origin is beyond doubt.
static int check_hop(struct http *h, const char *from, const char *to)
{
	if (strncasecmp(to, "https:", 6) == 0 && !h->ca.pem && !h->ca.dir) {
		warn("no certificate authorities are on this system, so %s cannot be trusted: "
		     "install the package"
		     " ca-certificates, or name a PEM file with --cacert or $SSL_CERT_FILE",
			url_show(to));
		return -ENOENT;
	}
	if (url_same_origin(to, h->base))
		return 0;
	const char *why = url_refusal(to, h->plain, h->loopback);

	if (why && from)
		return warn_errno(-EPROTO, "%s redirects to %s, which is refused: %s",
			url_show(from), url_show(to), why);
	return why ? warn_errno(-EPROTO, "%s is refused: %s", url_show(to), why) : 0;
}

static void say_result(const struct http_req *q, const struct http_xfer *x, int r, uint64_t start)
{
	unsigned ms = (unsigned)((now_ns() - start) / 1000000);

	if (r < 0)
		debug("%s %s: %s, %u ms", q->method, url_show(http_url(x)), log_quote(http_why(x)),
			ms);
	else
		debug("%s %s: %u, %u ms", q->method, url_show(http_url(x)), http_status(x), ms);
}

// One attempt, redirects followed. 0 with *ret; -errno with *ret: the connection failed, silent;
// -errno without: refused, logged.
static int attempt(struct http *h, const struct http_req *q, struct http_xfer **ret)
{
	cleanup_free char *url = xstrdup(q->url);

	*ret = NULL;
	wait_quiet(h);
	for (unsigned hops = 0; hops <= HTTP_HOPS_MAX; hops++) {
		uint64_t start = now_ns();
		cleanup_xfer struct http_xfer *x = NULL;
		int r = xfer_open(h, q, url, &x);

		if (!x)
			return warn_errno(r, "%s", url_show(url));
		say_result(q, x, r, start);
		const char *location = r < 0 ? NULL : redirect_of(x, q);

		if (!location) {
			*ret = steal(&x);
			return r;
		}
		cleanup_free char *next = url_resolve(url, location);

		if (!next)
			return warn_errno(-EPROTO, "%s redirects to %s, which is no URL",
				url_show(url), url_show(location));
		r = check_hop(h, url, next);
		if (r < 0)
			return r;
		xfer_drain(x);
		free(url);
		url = steal(&next);
	}
	return warn_errno(-EPROTO, "%s: more than %d redirects", url_show(q->url), HTTP_HOPS_MAX);
}

// ---- attempts ----

static bool is_busy(unsigned status)
{
	return status == 408 || status == 429 || status == 500 || (status >= 502 && status <= 504);
}

int http_retry_after(const struct http_xfer *x)
{
	const char *v = http_header(x, "retry-after", 0);

	return v ? url_retry_after(v, time(NULL)) : -1;
}

// Of a certificate whose dates are not now's. Caller frees.
static char *hint_of_clock(void)
{
	time_t now = time(NULL);
	struct tm tm;
	char text[48];

	if (!gmtime_r(&now, &tm) || !strftime(text, sizeof text, "%Y-%m-%d %H:%M UTC", &tm))
		return xstrdup(" (look at this machine's clock)");
	return xasprintf(" (by this machine's clock it is %s)", text);
}

// What a user can do about it. Caller frees.
static char *hint_for(int r, const struct http_xfer *x)
{
	cleanup_free char *host = NULL;

	if (r != -EKEYREJECTED)
		return xstrdup("");
	// Certificates live by the calendar; a board without a clock starts in 1970.
	if (time(NULL) < 1700000000)
		return xstrdup(" (this machine's clock is before 2023: set it)");
	if (!xfer_is_certificate(x))
		return xstrdup(" (if it speaks plain http, use --plain-http)");
	// the other side's matter, unless it is this machine that is wrong about the day
	if (strstr(http_why(x), "expired") || strstr(http_why(x), "future"))
		return hint_of_clock();
	// a name that is wrong is the server's matter
	if (!strstr(http_why(x), "trusted CA"))
		return xstrdup("");
	host = url_host_port(http_url(x));
	return xasprintf(
		" (an authority of your own: --cacert FILE, or as /etc/containers/certs.d/%s/ca.crt)",
		host ? host : "HOST:PORT");
}

static int give_up(const struct http_req *q, const struct http_xfer *x, int r, unsigned tries)
{
	cleanup_free char *hint = hint_for(r, x);
	char after[32] = "";

	if (tries > 1)
		snprintf(after, sizeof after, " after %u attempts", tries);
	warn("%s %s: %s%s%s", q->method, url_show(http_url(x)), log_quote(http_why(x)), after,
		hint);
	return r;
}

int http_open(struct http *h, const struct http_req *q, struct http_xfer **ret)
{
	struct http_backoff own = { 0 }, *b = q->backoff ? q->backoff : &own;
	int r = check_hop(h, NULL, q->url);

	if (r < 0)
		return r;
	for (;;) {
		cleanup_xfer struct http_xfer *x = NULL;

		r = attempt(h, q, &x);
		if (!x)
			return r < 0 ? r : -ENOMEM;
		bool again = !q->once && (r < 0 ? xfer_is_transient(x) : is_busy(http_status(x)));
		int after = again && r == 0 ? http_retry_after(x) : -1;

		if (again && http_try_again(h, b, after)) {
			if (r == 0)
				xfer_drain(x);
			continue;
		}
		if (r < 0)
			return give_up(q, x, r, b->done);
		*ret = steal(&x);
		return 0;
	}
}

static int read_all(struct http_xfer *x, size_t max, struct buf *body)
{
	body->len = 0;
	for (;;) {
		buf_reserve(body, 16384);
		ssize_t n = http_read(x, body->data + body->len, 16384);

		if (n <= 0)
			return (int)n;
		body->len += (size_t)n;
		if (body->len > max)
			return -EFBIG;
	}
}

int http_fetch(struct http *h, const struct http_req *q, size_t max, struct buf *body,
	struct http_xfer **ret)
{
	struct http_backoff own = { 0 };
	struct http_req shared = *q;

	shared.backoff = q->backoff ? q->backoff : &own;
	for (;;) {
		cleanup_xfer struct http_xfer *x = NULL;
		int r = http_open(h, &shared, &x);

		if (r < 0)
			return r;
		x->q = q; // `shared` ends here, the transfer does not
		r = read_all(x, max, body);
		if (r == -EFBIG)
			return warn_errno(r, "%s: the response is larger than %zu bytes",
				url_show(http_url(x)), max);
		if (r < 0 && !q->once && xfer_is_transient(x) &&
			http_try_again(h, shared.backoff, -1))
			continue;
		if (r < 0)
			return give_up(q, x, r, shared.backoff->done);
		*ret = steal(&x);
		return 0;
	}
}

// ---- the scheme ----

// A registry on this machine may speak either, and nobody said which. Asking in plain text gives
// nothing away: no credentials go along, and a TLS server answers 400 or hangs up.
static bool speaks_plain(struct http *h, const char *base)
{
	cleanup_free char *url = xasprintf("%s/v2/", base);
	struct http_req q = { .method = "GET", .url = url };
	cleanup_xfer struct http_xfer *x = NULL;
	int r = xfer_open(h, &q, url, &x);

	if (r == 0)
		xfer_drain(x);
	return r == 0 ? http_status(x) != 400 : r == -ECONNREFUSED || r == -ETIMEDOUT;
}

int http_base(struct http *h, const char **ret)
{
	pthread_mutex_lock(&h->base_lock);
	if (!h->base &&
		(h->net->plain_http || h->net->may_be_plain || (h->loopback && !h->net->cacert))) {
		h->base = xasprintf("http://%s", h->host);
		h->plain = true;
		if (!h->net->plain_http && !speaks_plain(h, h->base)) {
			free(steal(&h->base));
			h->plain = false;
		}
	}
	if (!h->base)
		h->base = xasprintf("https://%s", h->host);
	pthread_mutex_unlock(&h->base_lock);
	*ret = h->base;
	return 0;
}
