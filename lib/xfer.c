// xfer.c - one HTTP transfer over libcurl, pulled by its reader
//
// libcurl pushes; a reader of layers wants to pull. So each connection slot (struct conn) is an
// easy handle in a multi handle of its own: the multi keeps the TCP and TLS connections alive
// between requests, and is driven only while somebody waits for bytes. Callbacks copy straight
// into the reader's buffer; what does not fit waits in `spill`, and a full spill pauses the
// transfer, so that TCP slows the sender down.
//
// Threads: a transfer and its slot belong to one thread at a time. Blocker: curl_multi_poll in
// xfer_pump.
// SPDX-License-Identifier: Apache-2.0
#include "xfer.h"
#include "lastaddr.h"
#include "log.h"
#include "url.h"

#include <fcntl.h>
#include <strings.h>
#include <sys/socket.h>

#ifndef FCPULL_VERSION
#define FCPULL_VERSION "0"
#endif

#define CONNECT_MS 10000
#define INFORMATIONAL_MAX 20 // 1xx responses to one request
#define COMMIT_SECONDS 300 // a registry may take so long to answer after the last byte of an upload
#define DRAIN_MAX \
	(64u << 10) // bytes of an unwanted body that are read for the sake of the connection

unsigned http_stall_seconds = 30;
_Atomic uint64_t xfer_requests, xfer_bytes_in, xfer_bytes_out;

// ---- libcurl's callbacks ----

static size_t refuse(struct http_xfer *x, const char *why)
{
	x->refusal = why;
	return 0; // fewer than was given: libcurl stops
}

// Of a status line of n bytes, which nothing ends; 0: none.
static unsigned status_of(const char *p, size_t n)
{
	const char *s = memchr(p, ' ', n);
	unsigned status = 0;

	for (s = s ? s + 1 : p + n; s < p + n && *s >= '0' && *s <= '9' && status < 1000; s++)
		status = status * 10 + (unsigned)(*s - '0');
	return status;
}

static size_t on_header(char *p, size_t size, size_t count, void *arg)
{
	struct http_xfer *x = arg;
	size_t all = size * count, n = all;

	if (x->head_done) // trailers
		return all;
	x->head_bytes += all;
	x->moved += all;
	if (x->head_bytes > HTTP_HEAD_MAX)
		return refuse(x, "its headers are larger than 64 KiB");
	while (n > 0 &&
		(p[n - 1] == '\n' || p[n - 1] == '\r' || p[n - 1] == ' ' || p[n - 1] == '\t'))
		n--;
	if (n > 9 && memcmp(p, "HTTP/", 5) == 0) {
		x->head.len = 0;
		x->status = status_of(p, n);
	} else if (n > 0) {
		buf_add(&x->head, p, n);
		buf_add(&x->head, "", 1);
	} else if (x->status >= 200) {
		x->head_done = true;
	} else if (++x->informational > INFORMATIONAL_MAX) {
		return refuse(x, "it sends 1xx responses without end");
	}
	return all;
}

static size_t on_body(char *p, size_t size, size_t count, void *arg)
{
	struct http_xfer *x = arg;
	size_t all = size * count;
	size_t direct = x->spill.len > x->spill_at ? 0 : MIN(x->room, all);

	if (x->spill.len - x->spill_at + all - direct > HTTP_BUFFER) {
		x->paused = true;
		return CURL_WRITEFUNC_PAUSE;
	}
	if (direct > 0)
		memcpy(x->dst, p, direct);
	x->dst += direct;
	x->room -= direct;
	if (x->spill_at == x->spill.len)
		x->spill_at = x->spill.len = 0;
	buf_add(&x->spill, p + direct, all - direct);
	x->moved += all;
	xfer_bytes_in += all;
	return all;
}

static size_t on_send(char *p, size_t size, size_t count, void *arg)
{
	struct http_xfer *x = arg;
	size_t n = (size_t)MIN((uint64_t)size * count, x->q->body_len - x->sent);

	if (x->q->body_is_fd && n > 0) {
		if (pread_full(x->q->fd, p, n, x->q->fd_off + x->sent) < 0) {
			x->refusal = "what is to be sent cannot be read";
			return CURL_READFUNC_ABORT;
		}
	} else if (n > 0) {
		memcpy(p, (const uint8_t *)x->q->body + x->sent, n);
	}
	x->sent += n;
	x->moved += n;
	xfer_bytes_out += n;
	return n;
}

// libcurl rewinds when a kept-alive connection turned out to be dead.
static int on_seek(void *arg, curl_off_t offset, int origin)
{
	struct http_xfer *x = arg;

	if (origin != SEEK_SET || offset < 0 || (uint64_t)offset > x->q->body_len)
		return CURL_SEEKFUNC_FAIL;
	x->sent = (uint64_t)offset;
	return CURL_SEEKFUNC_OK;
}

// The last word on where a redirect goes: the name has been resolved, nothing has been sent.
// Behind a proxy it is the proxy that connects, and its own address, often this machine, says
// nothing.
static int on_connected(void *arg, char *remote, char *local, int remote_port, int local_port)
{
	struct http_xfer *x = arg;
	long proxy = 0;

	(void)local, (void)remote_port, (void)local_port;
	curl_easy_getinfo(x->c->easy, CURLINFO_USED_PROXY, &proxy);
	if (!proxy)
		lastaddr_note(x->url, remote);
	if (proxy || !url_address_is_local(remote))
		return CURL_PREREQFUNC_OK;
	// The registry itself is here, by whatever name: then so may be its token server.
	if (url_same_origin(x->url, x->h->base))
		x->h->loopback = true;
	if (x->h->loopback)
		return CURL_PREREQFUNC_OK;
	x->refusal = "its name resolves to this machine or its link";
	return CURL_PREREQFUNC_ABORT;
}

// ---- one transfer ----

static void set_trust(CURL *e, struct http *h)
{
	struct curl_blob pem = { h->ca.pem, h->ca.pem_len, CURL_BLOB_NOCOPY };

	curl_easy_setopt(e, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYPEER, 1L);
	curl_easy_setopt(e, CURLOPT_SSL_VERIFYHOST, 2L);
	curl_easy_setopt(e, CURLOPT_CAINFO, NULL);
	curl_easy_setopt(e, CURLOPT_CAPATH, h->ca.dir);
	if (h->ca.pem)
		curl_easy_setopt(e, CURLOPT_CAINFO_BLOB, &pem);
}

// The registry alone is told who we are, not its token server and not the hosts that it sends us to.
static void set_client(CURL *e, struct http_xfer *x)
{
	const struct ca *ca = &x->h->ca;

	if (!ca->cert || !x->h->base || !url_same_origin(x->url, x->h->base))
		return;
	curl_easy_setopt(e, CURLOPT_SSLCERT, ca->cert);
	curl_easy_setopt(e, CURLOPT_SSLKEY, ca->key);
}

static void set_body(struct http_xfer *x)
{
	CURL *e = x->c->easy;
	const struct http_req *q = x->q;

	if (strcmp(q->method, "HEAD") == 0) {
		curl_easy_setopt(e, CURLOPT_NOBODY, 1L);
	} else if (q->body_len > 0) {
		curl_easy_setopt(e, CURLOPT_UPLOAD, 1L);
		curl_easy_setopt(e, CURLOPT_INFILESIZE_LARGE, (curl_off_t)q->body_len);
		curl_easy_setopt(e, CURLOPT_READFUNCTION, on_send);
		curl_easy_setopt(e, CURLOPT_READDATA, x);
		curl_easy_setopt(e, CURLOPT_SEEKFUNCTION, on_seek);
		curl_easy_setopt(e, CURLOPT_SEEKDATA, x);
		curl_easy_setopt(e, CURLOPT_UPLOAD_BUFFERSIZE, 256L << 10);
	} else if (strcmp(q->method, "POST") == 0 || strcmp(q->method, "PUT") == 0) {
		curl_easy_setopt(e, CURLOPT_POSTFIELDS, "");
		curl_easy_setopt(e, CURLOPT_POSTFIELDSIZE, 0L);
	}
	if (strcmp(q->method, "GET") != 0 && strcmp(q->method, "HEAD") != 0)
		curl_easy_setopt(e, CURLOPT_CUSTOMREQUEST, q->method);
}

static void add_header(struct http_xfer *x, const char *name, const char *value)
{
	cleanup_free char *line = value ? xasprintf("%s: %s", name, value) : xasprintf("%s:", name);
	struct curl_slist *more = curl_slist_append(x->headers, line);

	explicit_bzero(line, strlen(line)); // it may be a secret
	if (more)
		x->headers = more;
	else
		x->refusal = "out of memory";
}

static void set_headers(struct http_xfer *x)
{
	const struct http_req *q = x->q;
	char range[64];

	add_header(x, "Accept-Encoding", "identity");
	add_header(x, "Expect", NULL);
	add_header(x, "Accept", q->accept ? q->accept : "*/*");
	add_header(x, "Content-Type", q->content_type);
	if (q->content_range)
		add_header(x, "Content-Range", q->content_range);
	if (q->auth && x->own)
		add_header(x, "Authorization", q->auth);
	if (q->range) {
		snprintf(range, sizeof range, "bytes=%llu-%llu", (unsigned long long)q->first,
			(unsigned long long)q->last);
		add_header(x, "Range", range);
	}
	curl_easy_setopt(x->c->easy, CURLOPT_HTTPHEADER, x->headers);
}

static void set_options(struct http_xfer *x)
{
	CURL *e = x->c->easy;

	curl_easy_setopt(e, CURLOPT_URL, x->url);
	curl_easy_setopt(e, CURLOPT_PROTOCOLS_STR, x->h->plain ? "http,https" : "https");
	curl_easy_setopt(e, CURLOPT_PATH_AS_IS, 1L);
	curl_easy_setopt(e, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
	curl_easy_setopt(e, CURLOPT_USERAGENT, "fcpull/" FCPULL_VERSION);
	curl_easy_setopt(e, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(e, CURLOPT_SHARE, x->h->share);
	curl_easy_setopt(e, CURLOPT_CONNECTTIMEOUT_MS, (long)CONNECT_MS);
	curl_easy_setopt(e, CURLOPT_TCP_KEEPALIVE, 1L);
	curl_easy_setopt(e, CURLOPT_BUFFERSIZE, 64L << 10);
	curl_easy_setopt(e, CURLOPT_SUPPRESS_CONNECT_HEADERS, 1L);
	curl_easy_setopt(e, CURLOPT_ERRORBUFFER, x->err);
	curl_easy_setopt(e, CURLOPT_HEADERFUNCTION, on_header);
	curl_easy_setopt(e, CURLOPT_HEADERDATA, x);
	curl_easy_setopt(e, CURLOPT_WRITEFUNCTION, on_body);
	curl_easy_setopt(e, CURLOPT_WRITEDATA, x);
	curl_easy_setopt(e, CURLOPT_PREREQFUNCTION, on_connected);
	curl_easy_setopt(e, CURLOPT_PREREQDATA, x);
	// No proxy can reach this machine's loopback for us; Go's clients skip it there too.
	if (url_is_loopback(x->url))
		curl_easy_setopt(e, CURLOPT_NOPROXY, "*");
	set_trust(e, x->h);
	set_client(e, x);
	set_body(x);
	set_headers(x);
}

// A transfer that runs dry: less than the rate over http_stall_seconds of waiting (waiting for us
// does not count).
static bool is_stalled(struct http_xfer *x, uint64_t waited)
{
	bool committing = x->q->body_len > 0 && x->sent == x->q->body_len;
	uint64_t seconds =
		committing ? MAX(http_stall_seconds, COMMIT_SECONDS) : http_stall_seconds;

	x->window_ns += waited;
	if (x->moved - x->window_start >= seconds * HTTP_STALL_RATE) {
		x->window_start = x->moved;
		x->window_ns = 0;
	}
	return x->window_ns > seconds * NS_PER_SEC;
}

// Lets libcurl do what can be done now, waiting if it is nothing. Sets x->done and x->result at
// the end.
static void xfer_pump(struct http_xfer *x)
{
	uint64_t before = x->moved;
	int running, left;
	CURLMcode m = curl_multi_perform(x->c->multi, &running);

	for (CURLMsg *msg; m == CURLM_OK && (msg = curl_multi_info_read(x->c->multi, &left));) {
		if (msg->msg == CURLMSG_DONE) {
			x->done = true;
			x->result = msg->data.result;
			x->err[strcspn(x->err, "\n")] = 0; // mbed TLS's reasons end with one
		}
	}
	if (m == CURLM_OK && !x->done && !x->paused && x->moved == before) {
		uint64_t start = now_ns();

		m = curl_multi_poll(x->c->multi, NULL, 0, 1000, NULL);
		if (is_stalled(x, now_ns() - start)) {
			snprintf(
				x->err, sizeof x->err, "nothing came for %u s", http_stall_seconds);
			x->done = true;
			x->result = CURLE_OPERATION_TIMEDOUT;
		}
	}
	if (m != CURLM_OK) {
		snprintf(x->err, sizeof x->err, "%s", curl_multi_strerror(m));
		x->done = true;
		x->result = CURLE_OUT_OF_MEMORY;
	}
}

static void free_secret_list(struct curl_slist *list)
{
	for (struct curl_slist *l = list; l; l = l->next)
		explicit_bzero(l->data, strlen(l->data));
	curl_slist_free_all(list);
}

void http_close(struct http_xfer *x)
{
	if (!x)
		return;
	if (x->c) {
		curl_multi_remove_handle(x->c->multi, x->c->easy);
		conn_put(x->h, x->c);
	}
	free_secret_list(x->headers);
	curl_slist_free_all(x->resolve);
	buf_fini(&x->head);
	buf_fini(&x->spill);
	free(x->url);
	free(x);
}

// Puts a socket that nobody is at the other end of in place of s: the connection is closed here.
static int disconnect(curl_socket_t s)
{
	int p[2], r;

	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, p))
		return -errno;
	close(p[1]);
	r = dup3(p[0], s, O_CLOEXEC) < 0 ? -errno : 0;
	close(p[0]);
	return r;
}

void http_abandon(struct http_xfer *x)
{
	curl_socket_t s = CURL_SOCKET_BAD;

	// what libcurl may say at the end, such as TLS's farewell, goes nowhere then
	if (!x || !x->c || curl_easy_getinfo(x->c->easy, CURLINFO_ACTIVESOCKET, &s) ||
		s == CURL_SOCKET_BAD || !disconnect(s)) {
		http_close(x);
		return;
	}
	// libcurl's part is lost to this process: better than a word to the other end
	close(s);
}

static int curl_errno(CURLcode c)
{
	switch (c) {
	case CURLE_OK: return 0;
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY: return -EHOSTUNREACH;
	case CURLE_COULDNT_CONNECT: return -ECONNREFUSED;
	case CURLE_OPERATION_TIMEDOUT: return -ETIMEDOUT;
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE: return -ECONNRESET;
	case CURLE_OUT_OF_MEMORY: return -ENOMEM;
	case CURLE_PEER_FAILED_VERIFICATION:
	case CURLE_SSL_CONNECT_ERROR: return -EKEYREJECTED;
	default: return -EPROTO;
	}
}

bool xfer_is_certificate(const struct http_xfer *x)
{
	return x->result == CURLE_PEER_FAILED_VERIFICATION ||
		(x->result == CURLE_SSL_CONNECT_ERROR &&
			(strstr(x->err, "X509 - ") ||
				strstr(x->err, "Certificate handshake message")));
}

bool xfer_is_transient(const struct http_xfer *x)
{
	if (x->refusal)
		return false;
	switch (x->result) {
	case CURLE_COULDNT_RESOLVE_HOST:
	case CURLE_COULDNT_RESOLVE_PROXY:
	case CURLE_COULDNT_CONNECT:
	case CURLE_OPERATION_TIMEDOUT:
	case CURLE_RECV_ERROR:
	case CURLE_SEND_ERROR:
	case CURLE_GOT_NOTHING:
	case CURLE_PARTIAL_FILE: return true;
	case CURLE_SSL_CONNECT_ERROR: return !xfer_is_certificate(x);
	default: return false;
	}
}

const char *http_why(const struct http_xfer *x)
{
	if (x->refusal)
		return x->refusal;
	if (x->result == CURLE_OK)
		return "it ended";
	return x->err[0] ? x->err : curl_easy_strerror(x->result);
}

ssize_t http_read(struct http_xfer *x, void *buf, size_t n)
{
	size_t waiting = x->spill.len - x->spill_at;

	if (waiting > 0) {
		n = MIN(n, waiting);
		memcpy(buf, x->spill.data + x->spill_at, n);
		x->spill_at += n;
		return (ssize_t)n;
	}
	x->dst = buf;
	x->room = n;
	while (x->room == n && !x->done) {
		if (x->paused) {
			x->paused = false;
			curl_easy_pause(x->c->easy, CURLPAUSE_CONT);
			continue;
		}
		xfer_pump(x);
	}
	size_t got = n - x->room;

	x->dst = NULL;
	x->room = 0;
	return got > 0 ? (ssize_t)got : curl_errno(x->result);
}

void xfer_drain(struct http_xfer *x)
{
	uint8_t junk[4096];

	for (size_t total = 0; total < DRAIN_MAX; total += sizeof junk)
		if (http_length(x) > (int64_t)DRAIN_MAX || http_read(x, junk, sizeof junk) <= 0)
			return;
}

// A body that we could not read is worth no byte of it (RFC 9110 section 8.4; we asked for
// "identity").
static bool is_encoded(struct http_xfer *x)
{
	const char *e = http_header(x, "content-encoding", 0);

	return e && *e && strcasecmp(e, "identity") != 0 && x->status >= 200 && x->status < 300;
}

// Sends the request and waits for the response's headers.
static void exchange(struct http_xfer *x)
{
	x->done = false;
	x->result = CURLE_FAILED_INIT;
	if (x->refusal || curl_multi_add_handle(x->c->multi, x->c->easy) != CURLM_OK)
		return;
	x->result = CURLE_OK;
	while (!x->head_done && !x->done)
		xfer_pump(x);
}

// The resolver has failed, or has not answered before the time was over.
static bool is_unresolved(struct http_xfer *x)
{
	curl_off_t t = 0;

	if (x->result == CURLE_OPERATION_TIMEDOUT)
		return curl_easy_getinfo(x->c->easy, CURLINFO_NAMELOOKUP_TIME_T, &t) == CURLE_OK &&
			t == 0;
	return x->result == CURLE_COULDNT_RESOLVE_HOST;
}

// Once more, at the address at which the host has answered before. libcurl keeps it for a minute.
static void exchange_at_last_address(struct http_xfer *x)
{
	cleanup_free char *known = lastaddr_of(x->url),
			  *entry = known ? xasprintf("+%s", known) : NULL;

	if (!entry)
		return;
	debug("%s: %s; trying %s", url_show(x->url), http_why(x), known);
	x->resolve = curl_slist_append(NULL, entry);
	curl_multi_remove_handle(x->c->multi, x->c->easy);
	curl_easy_setopt(x->c->easy, CURLOPT_RESOLVE, x->resolve);
	exchange(x);
}

int xfer_open(struct http *h, const struct http_req *q, const char *url, struct http_xfer **ret)
{
	struct http_xfer *x = calloc(1, sizeof *x);

	if (!x)
		return -ENOMEM;
	x->h = h;
	x->q = q;
	x->url = xstrdup(url);
	x->own = url_same_origin(url, q->auth_url ? q->auth_url : q->url);
	x->c = conn_get(h);
	if (!x->c) {
		http_close(x);
		return -ENOMEM;
	}
	set_options(x);
	xfer_requests += !x->refusal;
	exchange(x);
	if (!x->head_done && !x->refusal && is_unresolved(x))
		exchange_at_last_address(x);
	if (x->head_done && is_encoded(x))
		x->refusal = "the body has a Content-Encoding, though none was asked for";
	*ret = x;
	if (x->head_done && !x->refusal)
		return 0;
	return x->refusal || x->result == CURLE_OK ? -EPROTO : curl_errno(x->result);
}

// ---- the response ----

unsigned http_status(const struct http_xfer *x)
{
	return x->status;
}

const char *http_header(const struct http_xfer *x, const char *name, unsigned i)
{
	size_t n = strlen(name);

	if (x->head.len == 0)
		return NULL;
	const char *line = (const char *)x->head.data, *end = line + x->head.len;

	for (; line < end; line += strlen(line) + 1)
		if (strncasecmp(line, name, n) == 0 && line[n] == ':' && i-- == 0)
			return line + n + 1 + strspn(line + n + 1, " \t");
	return NULL;
}

int64_t http_length(const struct http_xfer *x)
{
	curl_off_t n = -1;

	curl_easy_getinfo(x->c->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &n);
	return n;
}

const char *http_url(const struct http_xfer *x)
{
	return x->url;
}

bool http_is_own(const struct http_xfer *x)
{
	return x->own;
}
