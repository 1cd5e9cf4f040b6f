// mockrepo.h - a repository in memory whose answers a test scripts
// SPDX-License-Identifier: Apache-2.0
#ifndef MOCKREPO_H
#define MOCKREPO_H

#include <pthread.h>

#include "base64.h"
#include "repo.h"

struct mock_object {
	char *ref;	// tag of a manifest, or NULL
	char type[128]; // of a manifest
	struct digest digest;
	void *p;
	size_t n;
};

struct mock {
	struct repo repo;
	struct mock_object *v;
	size_t n, cap;
	unsigned asked; // calls of get_manifest and open_blob
	pthread_mutex_t lock;
	pthread_cond_t turn;
	// of read_range
	unsigned calls, inside;
	uint64_t bytes; // asked for
	size_t most;	// by one call
	bool shut;	// calls wait until it is false
	unsigned hold;	// the call of this number (from 1) does, until it is another
	// may change the bytes or refuse; called without the lock
	int (*fault)(struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n);
};

static inline struct mock_object *mock_find(struct mock *m, const struct digest *d)
{
	for (size_t i = 0; i < m->n; i++)
		if (digest_equal(&m->v[i].digest, d))
			return &m->v[i];
	return NULL;
}

static inline int mock_get_manifest(struct repo *r, const char *ref, struct manifest *ret)
{
	struct mock *m = (struct mock *)r;
	struct mock_object *o = NULL;
	struct digest d;
	int e;

	m->asked++;
	if (ref && !digest_parse(ref, &d))
		o = mock_find(m, &d);
	for (size_t i = 0; i < m->n && !o; i++)
		if (ref && m->v[i].ref && !strcmp(m->v[i].ref, ref))
			o = &m->v[i];
	if (!o)
		return -ENOENT;
	*ret = (struct manifest){ .len = o->n, .digest = o->digest };
	ret->bytes = xmalloc(o->n + 1);
	memcpy(ret->bytes, o->p, o->n);
	ret->bytes[o->n] = 0;
	memcpy(ret->media_type, o->type, sizeof ret->media_type);
	e = manifest_check(ret, "mock");
	if (e)
		manifest_fini(ret);
	return e;
}

// Like the real ones, the bytes are those of the digest, or an error.
static inline int mock_open_blob(
	struct repo *r, const struct desc *d, uint64_t off, struct stream **ret)
{
	struct mock_object *o = mock_find((struct mock *)r, &d->digest);

	((struct mock *)r)->asked++;
	if (!o)
		return -ENOENT;
	if (o->n != d->size)
		return -EBADMSG;
	*ret = stream_of_mem((uint8_t *)o->p + off, o->n - off);
	return 0;
}

static inline int mock_read_range(struct repo *r, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *watch)
{
	struct mock *m = (struct mock *)r;
	int (*fault)(struct mock *, unsigned, uint64_t, uint8_t *, size_t);
	struct mock_object *o;
	unsigned call;

	pthread_mutex_lock(&m->lock);
	call = m->calls++;
	m->bytes += n;
	m->most = MAX(m->most, n);
	m->inside++;
	pthread_cond_broadcast(&m->turn);
	while (m->shut || m->hold == call + 1)
		pthread_cond_wait(&m->turn, &m->lock);
	m->inside--;
	o = mock_find(m, &d->digest);
	fault = m->fault;
	pthread_mutex_unlock(&m->lock);
	if (!o || off > o->n || n > o->n - off)
		return -ERANGE;
	memcpy(buf, (uint8_t *)o->p + off, n);
	int e = fault ? fault(m, call, off, buf, n) : 0;

	for (unsigned part = 1; watch && part <= (e ? 3u : 4u); part++)
		watch->arrived(watch, n * part / 4);
	return e;
}

static inline void mock_close(struct repo *r)
{
	(void)r;
}

static inline struct mock_object *mock_add(
	struct mock *m, const char *ref, const char *type, const void *p, size_t n)
{
	struct mock_object *o;

	m->v = xgrow(m->v, &m->cap, m->n + 1, sizeof *m->v);
	o = &m->v[m->n++];
	*o = (struct mock_object){
		.ref = ref ? xstrdup(ref) : NULL, .digest = sha256_of(p, n), .p = xmalloc(n), .n = n
	};
	snprintf(o->type, sizeof o->type, "%s", type ? type : "");
	memcpy(o->p, p, n);
	return o;
}

static inline void mock_init(struct mock *m)
{
	static const struct repo_ops ops = { .get_manifest = mock_get_manifest,
		.open_blob = mock_open_blob,
		.read_range = mock_read_range,
		.close = mock_close };

	*m = (struct mock){ .repo = { .ops = &ops, .name = (char *)"mock" },
		.lock = PTHREAD_MUTEX_INITIALIZER,
		.turn = PTHREAD_COND_INITIALIZER };
}

static inline void mock_fini(struct mock *m)
{
	for (size_t i = 0; i < m->n; i++) {
		free(m->v[i].ref);
		free(m->v[i].p);
	}
	free(m->v);
	m->v = NULL;
	m->n = m->cap = 0;
}

static inline void mock_shut(struct mock *m, bool shut)
{
	pthread_mutex_lock(&m->lock);
	m->shut = shut;
	pthread_cond_broadcast(&m->turn);
	pthread_mutex_unlock(&m->lock);
}

// Which call is to wait; 0: none.
static inline void mock_hold(struct mock *m, unsigned call)
{
	pthread_mutex_lock(&m->lock);
	m->hold = call;
	pthread_cond_broadcast(&m->turn);
	pthread_mutex_unlock(&m->lock);
}

// Until n calls stand before the shut gate.
static inline void mock_await(struct mock *m, unsigned n)
{
	pthread_mutex_lock(&m->lock);
	while (m->inside < n)
		pthread_cond_wait(&m->turn, &m->lock);
	pthread_mutex_unlock(&m->lock);
}

// ---- documents that name each other: "@N" (N = 1..7) in one becomes the digest of document N,
// "#N" its size, "~N" its bytes in base64. Document 0 has the tag "t"; later ones are stored first. ----
#define MOCK_DOCS 8

static inline void mock_base64(struct buf *out, struct mock *m, const struct digest *d)
{
	struct mock_object *o = mock_find(m, d);

	if (!o)
		return;
	buf_reserve(out, base64_len(o->n) + 1);
	base64_encode(o->p, o->n, (char *)out->data + out->len);
	out->len += base64_len(o->n);
}

static inline void mock_expand(
	struct mock *m, struct buf *out, const char *p, size_t n, const struct desc *known)
{
	for (size_t i = 0; i < n; i++) {
		unsigned d = i + 1 < n && p[i + 1] > '0' && p[i + 1] < '0' + MOCK_DOCS
			? (unsigned)(p[i + 1] - '0')
			: 0;
		char s[DIGEST_STR_LEN];

		if (d && p[i] == '@')
			buf_printf(out, "%s", digest_str(&known[d].digest, s));
		else if (d && p[i] == '#')
			buf_printf(out, "%llu", (unsigned long long)known[d].size);
		else if (d && p[i] == '~')
			mock_base64(out, m, &known[d].digest);
		else
			buf_add(out, p + i, 1);
		i += d && (p[i] == '@' || p[i] == '#' || p[i] == '~');
	}
}

static inline void mock_add_docs(
	struct mock *m, const char *const *doc, const size_t *len, size_t n)
{
	struct desc known[MOCK_DOCS] = { 0 };

	while (n--) {
		cleanup_buf struct buf b = { 0 };
		struct mock_object *o;

		mock_expand(m, &b, doc[n], len[n], known);
		o = mock_add(m, n ? NULL : "t", "", b.data ? b.data : (uint8_t *)"", b.len);
		known[n] = (struct desc){ o->digest, o->n };
	}
}

#endif
