// tlsd.c - TLS for the service: connections come in encrypted, and go on as plain sockets
//
// TLS 1.2 and 1.3 by mbed TLS, without renegotiation, tickets and resumption: a registry keeps its
// connection. All descriptors are non-blocking; each direction of a connection has one buffer, and
// nothing is read that has no room. Nothing here waits but poll().
//
// Files that have changed are read by the thread itself: mbed TLS keeps state that two may not use at
// once. A connection goes on with what it has begun with, which lives as long as any needs it.
// SPDX-License-Identifier: Apache-2.0
#include "tlsd.h"

#include <fcntl.h>
#include <mbedtls/error.h>
#include <mbedtls/psa_util.h>
#include <mbedtls/ssl.h>
#include <mbedtls/x509_crt.h>
#include <poll.h>
#include <psa/crypto.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/eventfd.h>
#include <sys/socket.h>

#include "log.h"

#define BUFFER 16384 // a record's worth

struct way {
	uint8_t bytes[BUFFER];
	size_t at, end;
	bool closed; // nothing more will come
};

// What is read out of the files. Never moved: parts of it point at others.
struct identity {
	size_t users; // connections, and tlsd.id
	mbedtls_ssl_config ssl;
	mbedtls_x509_crt cert, ca;
	mbedtls_pk_context key;
};

struct conn {
	struct conn *next;
	struct identity *id;
	int net, inside; // the client; our end of the pair, -1 until hands are shaken
	mbedtls_ssl_context ssl;
	bool wants_write;   // so says mbed TLS
	uint64_t until;	    // the handshake's end, now_ns()
	struct way in, out; // from the client; to it
	short net_events, inside_events;
	bool dead;
};

struct tlsd {
	struct tlsd_conf conf;
	struct identity *id;
	struct conn *conns;
	size_t n;
	int wake; // eventfd
	_Atomic bool quiet, stop, reload;
	pthread_t thread;
};

// ---- configuration ----

static int tls_error(int e, const char *what, const char *file)
{
	char text[100];

	mbedtls_strerror(e, text, sizeof text);
	return warn_errno(-EBADMSG, "%s %s: %s", what, log_quote(file), text);
}

static int load_certs(const struct tlsd_conf *f, struct identity *id)
{
	int e = mbedtls_x509_crt_parse_file(&id->cert, f->cert);

	if (e)
		return tls_error(e < 0 ? e : 0, "certificate", f->cert);
	e = mbedtls_pk_parse_keyfile(
		&id->key, f->key, NULL, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
	if (e)
		return tls_error(e, "key", f->key);
	e = mbedtls_pk_check_pair(
		&id->cert.pk, &id->key, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
	if (e)
		return tls_error(e, "key, which is not that of the certificate,", f->key);
	e = f->client_ca ? mbedtls_x509_crt_parse_file(&id->ca, f->client_ca) : 0;
	return e ? tls_error(e < 0 ? e : 0, "authority of clients", f->client_ca) : 0;
}

static int configure(const struct tlsd_conf *f, struct identity *id)
{
	mbedtls_ssl_config *c = &id->ssl;
	int r = load_certs(f, id);

	if (r)
		return r;
	if (mbedtls_ssl_config_defaults(c, MBEDTLS_SSL_IS_SERVER, MBEDTLS_SSL_TRANSPORT_STREAM,
		    MBEDTLS_SSL_PRESET_DEFAULT) ||
		mbedtls_ssl_conf_own_cert(c, &id->cert, &id->key))
		return warn_errno(-ENOMEM, "set up TLS");
	mbedtls_ssl_conf_rng(c, mbedtls_psa_get_random, MBEDTLS_PSA_RANDOM_STATE);
	mbedtls_ssl_conf_authmode(
		c, f->client_ca ? MBEDTLS_SSL_VERIFY_REQUIRED : MBEDTLS_SSL_VERIFY_NONE);
	if (f->client_ca)
		mbedtls_ssl_conf_ca_chain(c, &id->ca, NULL);
	return 0;
}

static void identity_put(struct identity *id)
{
	if (!id || --id->users)
		return;
	mbedtls_ssl_config_free(&id->ssl);
	mbedtls_x509_crt_free(&id->cert);
	mbedtls_x509_crt_free(&id->ca);
	mbedtls_pk_free(&id->key);
	free(id);
}

// What is read out of the files from now on. -errno logged: it stays as it was.
static int load_identity(struct tlsd *t)
{
	struct identity *id = xcalloc(1, sizeof *id);
	int r;

	id->users = 1;
	mbedtls_ssl_config_init(&id->ssl);
	mbedtls_x509_crt_init(&id->cert);
	mbedtls_x509_crt_init(&id->ca);
	mbedtls_pk_init(&id->key);
	r = configure(&t->conf, id);
	if (r) {
		identity_put(id);
		return r;
	}
	identity_put(t->id);
	t->id = id;
	return 0;
}

// ---- mbed TLS' way to the client ----

static int net_send(void *ctx, const unsigned char *p, size_t n)
{
	ssize_t r = send(((struct conn *)ctx)->net, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);

	if (r >= 0)
		return (int)r;
	return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_WRITE
						 : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

static int net_recv(void *ctx, unsigned char *p, size_t n)
{
	ssize_t r = recv(((struct conn *)ctx)->net, p, n, MSG_DONTWAIT);

	if (r >= 0)
		return (int)r;
	return errno == EAGAIN || errno == EINTR ? MBEDTLS_ERR_SSL_WANT_READ
						 : MBEDTLS_ERR_SSL_INTERNAL_ERROR;
}

// ---- connections ----

static void conn_free(struct conn *c)
{
	if (c->net >= 0)
		close(c->net);
	if (c->inside >= 0)
		close(c->inside);
	mbedtls_ssl_free(&c->ssl);
	identity_put(c->id);
	free(c);
}

static void accept_one(struct tlsd *t)
{
	int fd = accept4(t->conf.listener, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
	struct conn *c = fd < 0 ? NULL : calloc(1, sizeof *c);

	if (!c) {
		if (fd >= 0)
			close(fd);
		return;
	}
	c->net = fd;
	c->inside = -1;
	c->until = now_ns() + TLSD_HANDSHAKE_MS * 1000000ull;
	mbedtls_ssl_init(&c->ssl);
	c->id = t->id;
	c->id->users++;
	if (mbedtls_ssl_setup(&c->ssl, &c->id->ssl)) {
		conn_free(c);
		return;
	}
	mbedtls_ssl_set_bio(&c->ssl, c, net_send, net_recv, NULL);
	c->next = t->conns;
	t->conns = c;
	t->n++;
}

// Whether the call may be made again later; notes what for.
static bool may_wait(struct conn *c, int e)
{
	c->wants_write = e == MBEDTLS_ERR_SSL_WANT_WRITE;
	return c->wants_write || e == MBEDTLS_ERR_SSL_WANT_READ ||
		e == MBEDTLS_ERR_SSL_RECEIVED_NEW_SESSION_TICKET;
}

static void shake_hands(struct tlsd *t, struct conn *c)
{
	int e = mbedtls_ssl_handshake(&c->ssl), p[2];

	if (e) {
		c->dead = !may_wait(c, e);
		if (c->dead) {
			char text[100];

			mbedtls_strerror(e, text, sizeof text);
			info("a TLS handshake failed: %s", text);
		}
		return;
	}
	c->wants_write = false;
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, p)) {
		c->dead = true;
		return;
	}
	c->inside = p[0];
	t->conf.take(t->conf.arg, p[1]);
}

static void from_client(struct conn *c)
{
	while (!c->in.closed && c->in.end < BUFFER) {
		int e = mbedtls_ssl_read(&c->ssl, c->in.bytes + c->in.end, BUFFER - c->in.end);

		if (e > 0) {
			c->in.end += (size_t)e;
			continue;
		}
		if (e && may_wait(c, e))
			return;
		c->in.closed = true; // properly or not: HTTP says itself where its messages end
	}
}

static void to_client(struct conn *c)
{
	while (c->out.at < c->out.end) {
		int e = mbedtls_ssl_write(
			&c->ssl, c->out.bytes + c->out.at, c->out.end - c->out.at);

		if (e <= 0) {
			c->dead = !may_wait(c, e);
			return;
		}
		c->out.at += (size_t)e;
	}
	c->out.at = c->out.end = 0;
	if (c->out.closed) {
		mbedtls_ssl_close_notify(&c->ssl);
		c->dead = true;
	}
}

static void from_inside(struct conn *c)
{
	ssize_t n;

	if (c->out.closed || c->out.end)
		return; // what is being written must not move: mbed TLS may be half through
	n = recv(c->inside, c->out.bytes, BUFFER, MSG_DONTWAIT);
	if (n > 0)
		c->out.end = (size_t)n;
	else if (!n || (errno != EAGAIN && errno != EINTR))
		c->out.closed = true;
}

static void to_inside(struct conn *c)
{
	while (c->in.at < c->in.end) {
		ssize_t n = send(c->inside, c->in.bytes + c->in.at, c->in.end - c->in.at,
			MSG_NOSIGNAL | MSG_DONTWAIT);

		if (n <= 0) {
			c->dead = errno != EAGAIN && errno != EINTR;
			return;
		}
		c->in.at += (size_t)n;
	}
	c->in.at = c->in.end = 0;
	if (c->in.closed)
		shutdown(c->inside, SHUT_WR);
}

// Does what can be done now, and says what to wait for.
static void serve(struct tlsd *t, struct conn *c)
{
	if (c->inside < 0)
		shake_hands(t, c);
	if (c->inside >= 0 && !c->dead) {
		do {
			from_client(c);
			to_inside(c);
		} while (!c->dead && !c->in.end && mbedtls_ssl_check_pending(&c->ssl));
		from_inside(c);
		to_client(c);
	}
	if (c->inside < 0 && now_ns() >= c->until)
		c->dead = true;
	c->net_events = (short)((c->wants_write || c->out.at < c->out.end ? POLLOUT : 0) |
		(!c->in.closed && c->in.end < BUFFER ? POLLIN : 0));
	c->inside_events = (short)((c->in.at < c->in.end ? POLLOUT : 0) |
		(!c->out.closed && !c->out.end ? POLLIN : 0));
}

static void bury(struct tlsd *t)
{
	for (struct conn **at = &t->conns; *at;) {
		struct conn *c = *at;

		if (!c->dead) {
			at = &c->next;
			continue;
		}
		*at = c->next;
		conn_free(c);
		t->n--;
	}
}

// ---- the thread ----

static int wait_for_something(struct tlsd *t, struct pollfd *p)
{
	bool takes = !t->quiet && t->n < TLSD_CONNS_MAX;
	nfds_t n = 0;

	p[n++] = (struct pollfd){ .fd = t->wake, .events = POLLIN };
	p[n++] = (struct pollfd){ .fd = takes ? t->conf.listener : -1, .events = POLLIN };
	for (struct conn *c = t->conns; c; c = c->next) {
		// a hang-up would be reported again and again to who waits for nothing else
		p[n++] = (struct pollfd){ c->net_events ? c->net : -1, c->net_events, 0 };
		p[n++] = (struct pollfd){ c->inside_events ? c->inside : -1, c->inside_events, 0 };
	}
	return poll(p, n, 1000);
}

// Only who has something to do, or may have waited too long.
static void serve_all(struct tlsd *t, const struct pollfd *p)
{
	p += 2;
	for (struct conn *c = t->conns; c; c = c->next, p += 2)
		if (p[0].revents || p[1].revents || c->inside < 0)
			serve(t, c);
}

static void reload(struct tlsd *t)
{
	if (load_identity(t))
		warn("the certificate and authorities from before stay in use");
	else
		info("%s has been read again", log_quote(t->conf.cert));
}

static void *run(void *arg)
{
	struct pollfd p[2 + 2 * TLSD_CONNS_MAX];
	struct tlsd *t = arg;

	while (!t->stop) {
		if (wait_for_something(t, p) < 0 && errno != EINTR)
			break;
		if (atomic_exchange(&t->reload, false))
			reload(t);
		serve_all(t, p);
		if (p[1].revents & POLLIN) {
			accept_one(t);
			if (t->conns)
				serve(t, t->conns);
		}
		bury(t);
	}
	return NULL;
}

static void nudge(struct tlsd *t)
{
	uint64_t one = 1;

	if (write(t->wake, &one, sizeof one) < 0)
		debug("the TLS thread could not be woken");
}

static void release(struct tlsd *t)
{
	while (t->conns) {
		struct conn *c = t->conns;

		t->conns = c->next;
		conn_free(c);
	}
	identity_put(t->id);
	if (t->wake >= 0)
		close(t->wake);
	free(t);
}

int tlsd_start(const struct tlsd_conf *conf, struct tlsd **ret)
{
	struct tlsd *t = xcalloc(1, sizeof *t);
	int r;

	t->conf = *conf;
	t->wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	r = t->wake < 0 ? warn_errno(-errno, "make an eventfd") : 0;
	if (!r && psa_crypto_init() != PSA_SUCCESS)
		r = warn_errno(-EIO, "start the cryptography");
	if (!r)
		r = load_identity(t);
	if (!r) {
		r = -pthread_create(&t->thread, NULL, run, t);
		if (r)
			r = warn_errno(r, "start a thread");
	}
	if (r) {
		release(t);
		return r;
	}
	*ret = t;
	return 0;
}

void tlsd_quiesce(struct tlsd *t)
{
	t->quiet = true;
	nudge(t);
}

void tlsd_reload(struct tlsd *t)
{
	t->reload = true;
	nudge(t);
}

void tlsd_stop(struct tlsd *t)
{
	if (!t)
		return;
	t->stop = true;
	nudge(t);
	pthread_join(t->thread, NULL);
	release(t);
}
