// httpd.c - the service's HTTP: who may ask, how much, how slowly
//
// A browser that a stranger's page leads here cannot do harm: what changes something takes JSON by its
// media type, which a page cannot send elsewhere without being asked first (Fetch standard, "simple"
// requests); and where nothing is asked for but the address, Host must be a loopback name (DNS
// rebinding).
//
// Threads: libmicrohttpd's one, in which everything between httpd_start and httpd_stop runs but
// httpd_tick, httpd_reload and httpd_counts; with TLS tlsd's, which hands connections over.
// SPDX-License-Identifier: Apache-2.0
#include "httpd.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <microhttpd.h>
#include <netdb.h>
#include <pthread.h>
#include <sys/socket.h>

#include "base64.h"
#include "filemark.h"
#include "hash.h"
#include "json.h"
#include "log.h"
#include "ref.h"
#include "tlsd.h"

// A client. Made and freed by libmicrohttpd's thread.
struct peer {
	struct peer *next;
	int fd;
	uint64_t since; // now_ns() at the end of its last request
};

struct call {
	struct httpd *h;
	struct buf body;
	bool counted; // its length, in h->bodies
	size_t promised;
};

struct httpd {
	struct httpd_conf conf;
	bool has_token, open; // open: nobody has to show anything
	bool quiet;
	int listener;
	unsigned port;
	struct MHD_Daemon *mhd;
	struct tlsd *tls;
	struct filemark marks[4]; // of token, certificate, key, authorities
	uint64_t looked;	  // at them, now_ns()
	pthread_mutex_t lock;	  // guards peers, counts and token
	struct digest token;
	struct peer *peers;
	uint64_t counts[6];
	size_t bodies; // bytes; libmicrohttpd's thread's
};

// ---- who may ask ----

// Hashes are compared, and wholly: neither the place of the first difference nor the length shows.
static bool same_token(const char *p, size_t n, const struct digest *token)
{
	struct digest d = sha256_of(p, n);
	uint8_t differs = 0;

	for (size_t i = 0; i < sizeof d.b; i++)
		differs |= (uint8_t)(d.b[i] ^ token->b[i]);
	return !*(volatile uint8_t *)&differs;
}

// "Basic": what a browser can send; the token is the password, the user does not matter.
static bool basic_may(const char *text, const struct digest *token)
{
	size_t n = strlen(text);
	cleanup_free char *plain = NULL;
	const char *colon;
	ssize_t len;

	if (n > 2 * HTTPD_TOKEN_MAX)
		return false;
	plain = xmalloc(n / 4 * 3 + 3);
	len = base64_decode(text, n, plain);
	colon = len > 0 ? memchr(plain, ':', (size_t)len) : NULL;
	return colon && same_token(colon + 1, (size_t)(plain + len - colon - 1), token);
}

bool httpd_may(const char *authorization, const struct digest *token)
{
	if (!authorization)
		return false;
	if (!strncasecmp(authorization, "Bearer ", 7))
		return same_token(authorization + 7, strlen(authorization + 7), token);
	if (!strncasecmp(authorization, "Basic ", 6))
		return basic_may(authorization + 6, token);
	return false;
}

static int read_token(struct httpd *h, const char *file)
{
	cleanup_free char *text = NULL;
	struct digest d;
	size_t n;
	int r = read_file_at(AT_FDCWD, file, HTTPD_TOKEN_MAX, &text, &n);

	if (r)
		return warn_errno(r, "read the token in %s", log_quote(file));
	n = strcspn(text, "\r\n");
	if (n < HTTPD_TOKEN_MIN)
		return warn_whole(-EINVAL, "the token in %s is shorter than %d bytes",
			log_quote(file), HTTPD_TOKEN_MIN);
	d = sha256_of(text, n);
	memset(text, 0, n);
	pthread_mutex_lock(&h->lock);
	h->token = d;
	h->has_token = true;
	pthread_mutex_unlock(&h->lock);
	return 0;
}

static struct digest token_now(struct httpd *h)
{
	struct digest d;

	pthread_mutex_lock(&h->lock);
	d = h->token;
	pthread_mutex_unlock(&h->lock);
	return d;
}

// ---- answers ----

static void count(struct httpd *h, unsigned status)
{
	pthread_mutex_lock(&h->lock);
	h->counts[MIN(status / 100, 5u)]++;
	pthread_mutex_unlock(&h->lock);
}

static void add_headers(struct MHD_Response *r, const struct httpd_reply *a)
{
	char seconds[16];

	MHD_add_response_header(r, "Content-Type", a->type);
	MHD_add_response_header(r, "Cache-Control", "no-store");
	MHD_add_response_header(r, "X-Content-Type-Options", "nosniff");
	MHD_add_response_header(r, "Content-Security-Policy",
		"default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; "
		"base-uri 'none'; form-action 'none'");
	if (*a->location)
		MHD_add_response_header(r, "Location", a->location);
	if (a->allow)
		MHD_add_response_header(r, "Allow", a->allow);
	if (a->status == 401)
		MHD_add_response_header(r, "WWW-Authenticate", "Basic realm=\"fcpull\"");
	if (a->retry_after) {
		snprintf(seconds, sizeof seconds, "%u", a->retry_after);
		MHD_add_response_header(r, "Retry-After", seconds);
	}
}

static enum MHD_Result answer(
	struct httpd *h, struct MHD_Connection *c, const struct httpd_reply *a)
{
	struct MHD_Response *r =
		MHD_create_response_from_buffer(a->body.len, a->body.data, MHD_RESPMEM_MUST_COPY);
	enum MHD_Result ret;

	if (!r)
		return MHD_NO;
	add_headers(r, a);
	ret = MHD_queue_response(c, a->status, r);
	MHD_destroy_response(r);
	count(h, a->status);
	return ret;
}

static enum MHD_Result refuse(
	struct httpd *h, struct MHD_Connection *c, unsigned status, const char *why)
{
	struct httpd_reply a = { .status = status, .type = "application/json" };
	enum MHD_Result r;

	if (status == 503)
		a.retry_after = 5;
	json_open(&a.body, NULL, '{');
	json_put_str(&a.body, "error", why);
	json_close(&a.body, '}');
	r = answer(h, c, &a);
	buf_fini(&a.body);
	return r;
}

// ---- requests ----

static const char *header(struct MHD_Connection *c, const char *name)
{
	return MHD_lookup_connection_value(c, MHD_HEADER_KIND, name);
}

static bool is_json(const char *type)
{
	size_t n = type ? strcspn(type, "; \t") : 0;

	return (n == 16 && !strncasecmp(type, "application/json", n)) ||
		(n > 17 && !strncasecmp(type, "application/", 12) &&
			!strncasecmp(type + n - 5, "+json", 5));
}

// The status that refuses a request by its head alone, or 0.
static unsigned judge(struct httpd *h, struct MHD_Connection *c, const char *path,
	const char *method, const char **ret_why)
{
	const char *host = header(c, "Host");
	struct digest token = token_now(h);

	if (h->open && host && !ref_host_is_loopback(host)) {
		*ret_why =
			"Host is no loopback name; --token-file or --client-ca opens the service to others";
		return 403;
	}
	if (h->has_token && strcmp(path, "/healthz") &&
		!httpd_may(header(c, "Authorization"), &token)) {
		*ret_why = "the token is missing or wrong";
		return 401;
	}
	if (!strcmp(method, "POST") && header(c, "Content-Length") &&
		strcmp(header(c, "Content-Length"), "0") && !is_json(header(c, "Content-Type"))) {
		*ret_why = "the body must be JSON, and Content-Type say so";
		return 415;
	}
	return 0;
}

// Room for a body is taken by what its head promises, else as it comes.
static unsigned admit(struct call *k, struct MHD_Connection *c, const char **ret_why)
{
	const char *length = header(c, "Content-Length");
	uint64_t n = length			 ? strtoull(length, NULL, 10)
		: header(c, "Transfer-Encoding") ? HTTPD_BODY_MAX
						 : 0;

	if (n > HTTPD_BODY_MAX) {
		*ret_why = "the body is larger than 1 MiB";
		return 413;
	}
	if (k->h->bodies + n > HTTPD_BODIES_MAX) {
		*ret_why = "too much is being received already";
		return 503;
	}
	k->promised = (size_t)n;
	k->h->bodies += k->promised;
	k->counted = true;
	return 0;
}

static enum MHD_Result begin(struct httpd *h, struct MHD_Connection *c, const char *path,
	const char *method, void **ret_call)
{
	struct call *k = xcalloc(1, sizeof *k);
	const char *why;
	unsigned status;

	k->h = h;
	*ret_call = k;
	status = judge(h, c, path, method, &why);
	if (!status)
		status = admit(k, c, &why);
	return status ? refuse(h, c, status, why) : MHD_YES;
}

static enum MHD_Result finish(struct httpd *h, struct MHD_Connection *c, struct call *k,
	const char *path, const char *method)
{
	struct httpd_request q = { .method = strcmp(method, "HEAD") ? method : "GET",
		.path = path,
		.body = k->body.data,
		.len = k->body.len };
	struct httpd_reply a = { .status = 500, .type = "application/json" };
	enum MHD_Result r;

	h->conf.handler(h->conf.arg, &q, &a);
	r = answer(h, c, &a);
	buf_fini(&a.body);
	return r;
}

static enum MHD_Result on_request(void *arg, struct MHD_Connection *c, const char *path,
	const char *method, const char *version, const char *data, size_t *n, void **call)
{
	struct call *k = *call;

	(void)version;
	if (!k)
		return begin(arg, c, path, method, call);
	if (!*n)
		return finish(arg, c, k, path, method);
	if (k->body.len + *n > k->promised)
		return MHD_NO; // chunked, and too much of it: the connection is closed
	buf_add(&k->body, data, *n);
	*n = 0;
	return MHD_YES;
}

// ---- connections ----

static struct peer *peer_of(struct MHD_Connection *c)
{
	const union MHD_ConnectionInfo *i =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_SOCKET_CONTEXT);

	return i ? i->socket_context : NULL;
}

static void on_completed(
	void *arg, struct MHD_Connection *c, void **call, enum MHD_RequestTerminationCode how)
{
	struct httpd *h = arg;
	struct call *k = *call;
	struct peer *p = peer_of(c);

	(void)how;
	if (k) {
		h->bodies -= k->counted ? k->promised : 0;
		buf_fini(&k->body);
		free(k);
		*call = NULL;
	}
	pthread_mutex_lock(&h->lock);
	if (p)
		p->since = now_ns();
	pthread_mutex_unlock(&h->lock);
}

static void peer_begins(struct httpd *h, struct MHD_Connection *c, void **ret)
{
	const union MHD_ConnectionInfo *i =
		MHD_get_connection_info(c, MHD_CONNECTION_INFO_CONNECTION_FD);
	struct peer *p = xcalloc(1, sizeof *p);

	p->fd = i ? (int)i->connect_fd : -1;
	p->since = now_ns();
	*ret = p;
	pthread_mutex_lock(&h->lock);
	p->next = h->peers;
	h->peers = p;
	pthread_mutex_unlock(&h->lock);
}

static void peer_ends(struct httpd *h, struct peer *p)
{
	pthread_mutex_lock(&h->lock);
	for (struct peer **at = &h->peers; *at; at = &(*at)->next)
		if (*at == p) {
			*at = p->next;
			break;
		}
	pthread_mutex_unlock(&h->lock);
	free(p);
}

static void on_connection(void *arg, struct MHD_Connection *c, void **context,
	enum MHD_ConnectionNotificationCode what)
{
	if (what == MHD_CONNECTION_NOTIFY_STARTED)
		peer_begins(arg, c, context);
	else
		peer_ends(arg, *context);
}

// The files as they are now. Bits of those that have changed, in the order of h->marks.
static unsigned look_at_files(struct httpd *h)
{
	const char *const files[ARRAY_LEN(h->marks)] = { h->conf.token_file, h->conf.cert,
		h->conf.key, h->conf.client_ca };
	unsigned changed = 0;

	for (size_t i = 0; i < ARRAY_LEN(files); i++)
		if (filemark_take(&h->marks[i], files[i]))
			changed |= 1u << i;
	h->looked = now_ns();
	return changed;
}

void httpd_reload(struct httpd *h)
{
	unsigned changed = look_at_files(h);

	if (changed & 1) {
		if (read_token(h, h->conf.token_file))
			warn("the token from before stays in use");
		else
			info("%s has been read again", log_quote(h->conf.token_file));
	}
	if (changed & ~1u && h->tls)
		tlsd_reload(h->tls);
}

void httpd_tick(struct httpd *h)
{
	uint64_t now = now_ns();

	if (now - h->looked > HTTPD_WATCH_S * 1000000000ull)
		httpd_reload(h);

	pthread_mutex_lock(&h->lock);
	for (struct peer *p = h->peers; p; p = p->next)
		if (p->fd >= 0 && now - p->since > HTTPD_REQUEST_S * 1000000000ull)
			shutdown(p->fd, SHUT_RDWR); // closed by its owner: it is in our list still
	pthread_mutex_unlock(&h->lock);
}

void httpd_counts(struct httpd *h, uint64_t ret[static 6])
{
	pthread_mutex_lock(&h->lock);
	memcpy(ret, h->counts, sizeof h->counts);
	pthread_mutex_unlock(&h->lock);
}

// ---- the address ----

static bool is_loopback(const struct sockaddr *sa)
{
	const struct sockaddr_in *in = (const void *)sa;
	const struct sockaddr_in6 *in6 = (const void *)sa;

	if (sa->sa_family == AF_INET)
		return ntohl(in->sin_addr.s_addr) >> 24 == 127;
	return sa->sa_family == AF_INET6 && IN6_IS_ADDR_LOOPBACK(&in6->sin6_addr);
}

static int resolve(const char *text, struct addrinfo **ret)
{
	const struct addrinfo hints = { .ai_family = AF_UNSPEC,
		.ai_socktype = SOCK_STREAM,
		.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV | AI_PASSIVE };
	const char *colon = strrchr(text, ':');
	size_t n = colon ? (size_t)(colon - text) : 0;
	bool bracket = n >= 2 && *text == '[' && text[n - 1] == ']';
	cleanup_free char *host = bracket ? xstrndup(text + 1, n - 2) : xstrndup(text, n);

	if (colon && n && colon[1] && !getaddrinfo(host, colon + 1, &hints, ret))
		return 0;
	warn("--listen %s: must be ADDRESS:PORT, with an address in numbers", log_quote(text));
	return -EINVAL;
}

static int bind_to(struct httpd *h, const struct addrinfo *a)
{
	union {
		struct sockaddr any;
		struct sockaddr_in v4;
		struct sockaddr_in6 v6;
	} is = { 0 };
	socklen_t n = sizeof is;
	int one = 1;

	h->listener = socket(a->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	if (h->listener < 0 ||
		setsockopt(h->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) ||
		bind(h->listener, a->ai_addr, a->ai_addrlen) || listen(h->listener, 128) ||
		getsockname(h->listener, &is.any, &n))
		return warn_errno(-errno, "listen on %s", log_quote(h->conf.listen));
	h->port = ntohs(is.any.sa_family == AF_INET ? is.v4.sin_port : is.v6.sin6_port);
	return 0;
}

// Who can reach the address without showing anything can have images converted.
static int check_safe(struct httpd *h, const struct addrinfo *a)
{
	const struct httpd_conf *c = &h->conf;

	if (!c->cert != !c->key) {
		warn("--tls-cert and --tls-key belong together");
		return -EINVAL;
	}
	if (c->client_ca && !c->cert) {
		warn("--client-ca needs --tls-cert and --tls-key");
		return -EINVAL;
	}
	h->open = !c->token_file && !c->client_ca;
	if (is_loopback(a->ai_addr))
		return 0;
	if (h->open) {
		warn("--listen %s can be reached from elsewhere: give --token-file FILE, or --tls-cert, "
		     "--tls-key and --client-ca",
			log_quote(c->listen));
		return -EINVAL;
	}
	if (!c->cert)
		warn("without --tls-cert the token goes over the network in clear: have TLS in front");
	return 0;
}

static int open_listener(struct httpd *h)
{
	struct addrinfo *a;
	int r = resolve(h->conf.listen, &a);

	if (r)
		return r;
	r = check_safe(h, a);
	if (!r)
		r = bind_to(h, a);
	freeaddrinfo(a);
	return r;
}

// ---- the whole ----

// From tlsd's thread.
static void take(void *arg, int fd)
{
	struct httpd *h = arg;
	struct sockaddr sa = { .sa_family = AF_UNIX };

	// closes fd when it cannot have it
	if (MHD_add_connection(h->mhd, fd, &sa, sizeof sa) != MHD_YES)
		debug("a connection too many");
}

static int start_mhd(struct httpd *h)
{
	bool tls = h->conf.cert;
	unsigned flags = MHD_USE_EPOLL_INTERNAL_THREAD |
		(tls ? MHD_USE_NO_LISTEN_SOCKET | MHD_USE_ITC : MHD_USE_ITC);
	struct MHD_OptionItem options[] = {
		{ MHD_OPTION_CONNECTION_LIMIT, HTTPD_CONNS_MAX, NULL },
		{ MHD_OPTION_CONNECTION_TIMEOUT, HTTPD_IDLE_S, NULL },
		{ MHD_OPTION_CONNECTION_MEMORY_LIMIT, 16384, NULL },
		{ MHD_OPTION_CLIENT_DISCIPLINE_LVL, 1, NULL },
		{ MHD_OPTION_SIGPIPE_HANDLED_BY_APP, 1, NULL },
		{ tls ? MHD_OPTION_END : MHD_OPTION_LISTEN_SOCKET, h->listener, NULL },
		{ MHD_OPTION_END, 0, NULL },
	};

	h->mhd = MHD_start_daemon(flags, 0, NULL, NULL, on_request, h, MHD_OPTION_ARRAY, options,
		MHD_OPTION_NOTIFY_COMPLETED, on_completed, h, MHD_OPTION_NOTIFY_CONNECTION,
		on_connection, h, MHD_OPTION_END);
	return h->mhd ? 0 : warn_errno(-ENOMEM, "start to serve HTTP");
}

static int start_tls(struct httpd *h)
{
	struct tlsd_conf c = { .cert = h->conf.cert,
		.key = h->conf.key,
		.client_ca = h->conf.client_ca,
		.listener = h->listener,
		.take = take,
		.arg = h };

	return h->conf.cert ? tlsd_start(&c, &h->tls) : 0;
}

int httpd_start(const struct httpd_conf *conf, struct httpd **ret)
{
	struct httpd *h = xcalloc(1, sizeof *h);
	int r;

	*h = (struct httpd){ .conf = *conf, .listener = -1 };
	pthread_mutex_init(&h->lock, NULL);
	look_at_files(h);
	r = conf->token_file ? read_token(h, conf->token_file) : 0;
	if (!r)
		r = open_listener(h);
	if (!r)
		r = start_mhd(h);
	if (!r)
		r = start_tls(h);
	if (r) {
		httpd_stop(h);
		return r;
	}
	*ret = h;
	return 0;
}

unsigned httpd_port(const struct httpd *h)
{
	return h->port;
}

void httpd_quiesce(struct httpd *h)
{
	h->quiet = true;
	if (h->tls)
		tlsd_quiesce(h->tls);
	else
		MHD_quiesce_daemon(h->mhd);
}

void httpd_stop(struct httpd *h)
{
	if (!h)
		return;
	tlsd_stop(h->tls);
	if (h->mhd) {
		MHD_stop_daemon(h->mhd);
		if (!h->conf.cert && !h->quiet)
			h->listener = -1; // it has closed that
	}
	if (h->listener >= 0)
		close(h->listener);
	pthread_mutex_destroy(&h->lock);
	free(h);
}
