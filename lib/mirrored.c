// mirrored.c - a repository that can be read at several places: the next takes over when one fails
//
// Each place is a registry of its own, with its own connections, trust and credentials. A place that
// fails rests for a while, so that a mount whose mirror is gone pays for it once and not at each
// read. A range that is asked for again soon was wrong (nobody else asks twice), so then another place
// goes first.
//
// Threads: lock guards recent and next; rest_until is atomic; the rest does not change. A stream belongs to
// one thread.
// SPDX-License-Identifier: Apache-2.0
#include "mirrored.h"
#include "log.h"

#include <pthread.h>
#include <stdatomic.h>

#define RECENT 32 // ranges whose place is remembered

struct place {
	struct repo *repo;
	struct net_opts net; // borrowed by repo
	struct endpoint *e;
	_Atomic uint64_t rest_until; // now_ns
};

struct recent {
	struct digest digest;
	uint64_t off, n;
	size_t place;
};

struct mirrored {
	struct repo repo; // first: ops get a struct repo *
	struct mirrors m;
	struct place *v;
	size_t n;
	pthread_mutex_t lock;
	struct recent recent[RECENT];
	size_t next;
};

// ---- which place ----

static bool serves(const struct place *p, bool by_tag)
{
	return by_tag ? p->e->by_tag : p->e->by_digest;
}

static void let_rest(const struct mirrored *m, struct place *p)
{
	p->rest_until = now_ns() + MIRROR_REST_SECONDS * NS_PER_SEC;
	info("%s: %s failed, the next place is asked", m->repo.name, p->repo->name);
}

// The places in order, those that rest behind them, `last` (or SIZE_MAX) behind all. Returns how many.
static size_t make_order(
	const struct mirrored *m, bool by_tag, size_t last, size_t out[static ENDPOINTS_MAX])
{
	uint64_t now = now_ns();
	size_t n = 0;

	for (unsigned pass = 0; pass < 3; pass++) {
		for (size_t i = 0; i < m->n; i++) {
			const struct place *p = &m->v[i];
			unsigned own = i == last ? 2 : p->rest_until > now ? 1 : 0;

			if (own == pass && serves(p, by_tag))
				out[n++] = i;
		}
	}
	return n;
}

// ---- manifests ----

static int mirrored_get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	struct mirrored *m = (struct mirrored *)repo;
	size_t order[ENDPOINTS_MAX];
	struct digest d;
	size_t n = make_order(m, !ref || digest_parse(ref, &d) < 0, SIZE_MAX, order);
	int r = -ENOENT;

	for (size_t i = 0; i < n; i++) {
		struct place *p = &m->v[order[i]];

		r = repo_get_manifest(p->repo, ref, ret);
		if (r == 0)
			debug("%s: %s comes from %s", repo->name, ref ? ref : "it", p->repo->name);
		if (r == 0)
			return 0;
		// what one does not have the next may, and no harm is done
		if (r != -ENOENT)
			let_rest(m, p);
	}
	return r;
}

static int mirrored_each_referrer(struct repo *repo, const struct digest *subject, const char *type,
	bool patient, referrer_fn *fn, void *arg)
{
	struct mirrored *m = (struct mirrored *)repo;
	size_t order[ENDPOINTS_MAX], n = make_order(m, true, SIZE_MAX, order);
	int r = -ENOENT;

	// (what a place has said before it broke off is said once more by the next, which does no harm)
	for (size_t i = 0; i < n && r; i++)
		r = repo_each_referrer(m->v[order[i]].repo, subject, type, patient, fn, arg);
	return r;
}

// ---- streams ----

struct mirror_stream {
	struct stream s;
	struct mirrored *m;
	struct desc desc;
	uint64_t off;
	bool check; // from offset 0: sha counts
	struct sha256 sha;
	struct stream *in; // NULL: none is open
	size_t order[ENDPOINTS_MAX], n, at;
	int error; // final
};

// The next place that opens, from s->off on.
static int open_next(struct mirror_stream *s)
{
	int r = -EIO;

	while (s->at < s->n) {
		struct place *p = &s->m->v[s->order[s->at]];

		r = repo_open_blob(p->repo, &s->desc, s->off, &s->in);
		if (r == 0)
			return 0;
		if (r != -ENOENT)
			let_rest(s->m, p);
		s->at++;
	}
	return r;
}

static int finish(struct mirror_stream *s)
{
	struct sha256 sha = s->sha;
	struct digest d = sha256_final(&sha);
	char want[DIGEST_STR_LEN];

	if (!s->check || digest_equal(&d, &s->desc.digest))
		return 0;
	return warn_errno(-EBADMSG, "%s: blob %s: another content came, in part from %s",
		s->m->repo.name, digest_str(&s->desc.digest, want),
		s->m->v[s->order[MIN(s->at, s->n - 1)]].repo->name);
}

static ssize_t mirror_read(struct stream *stream, void *buf, size_t n)
{
	struct mirror_stream *s = (struct mirror_stream *)stream;

	while (s->error == 0) {
		ssize_t got = s->off == s->desc.size && !s->in ? 0 : stream_read(s->in, buf, n);

		if (got > 0) {
			if (s->check)
				sha256_update(&s->sha, buf, (size_t)got);
			s->off += (uint64_t)got;
			return got;
		}
		// Wrong bytes are among those that the reader has already: nothing can mend that.
		if (got == 0 || got == -EBADMSG || s->at + 1 >= s->n) {
			s->error = got < 0 ? (int)got : finish(s);
			if (s->error == -EBADMSG)
				let_rest(s->m, &s->m->v[s->order[s->at]]);
			return s->error;
		}
		stream_close(s->in);
		s->in = NULL;
		let_rest(s->m, &s->m->v[s->order[s->at++]]);
		s->error = open_next(s);
	}
	return s->error;
}

static void mirror_close(struct stream *stream)
{
	struct mirror_stream *s = (struct mirror_stream *)stream;

	stream_close(s->in);
	free(s);
}

static void mirror_abandon(struct stream *stream)
{
	struct mirror_stream *s = (struct mirror_stream *)stream;

	stream_abandon(s->in);
	free(s);
}

static int mirrored_open_blob(
	struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	static const struct stream_ops ops = {
		.read = mirror_read, .close = mirror_close, .abandon = mirror_abandon
	};
	struct mirrored *m = (struct mirrored *)repo;
	struct mirror_stream *s = xcalloc(1, sizeof *s);

	*s = (struct mirror_stream){
		.s.ops = &ops, .m = m, .desc = *d, .off = off, .check = off == 0
	};
	sha256_init(&s->sha);
	s->n = make_order(m, false, SIZE_MAX, s->order);
	int r = open_next(s);

	if (r < 0)
		mirror_close(&s->s);
	else
		*ret = &s->s;
	return r;
}

// ---- ranges ----

// The place that gave these bytes lately, SIZE_MAX: none.
static size_t recall(struct mirrored *m, const struct desc *d, uint64_t off)
{
	size_t place = SIZE_MAX;

	pthread_mutex_lock(&m->lock);
	for (size_t i = 0; i < RECENT; i++) {
		struct recent *r = &m->recent[i];

		if (r->n > 0 && off >= r->off && off - r->off < r->n &&
			digest_equal(&r->digest, &d->digest))
			place = r->place;
	}
	pthread_mutex_unlock(&m->lock);
	return place;
}

static void remember(struct mirrored *m, const struct desc *d, uint64_t off, size_t n, size_t place)
{
	pthread_mutex_lock(&m->lock);
	m->recent[m->next++ % RECENT] = (struct recent){ d->digest, off, n, place };
	pthread_mutex_unlock(&m->lock);
}

static int mirrored_read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *watch)
{
	struct mirrored *m = (struct mirrored *)repo;
	size_t order[ENDPOINTS_MAX], count = make_order(m, false, recall(m, d, off), order);
	int r = -EIO;

	for (size_t i = 0; i < count; i++) {
		struct place *p = &m->v[order[i]];

		r = repo_watch_range(p->repo, d, off, buf, n, watch);
		if (r == 0) {
			remember(m, d, off, n, order[i]);
			return 0;
		}
		if (r != -ENOENT)
			let_rest(m, p);
	}
	return r;
}

static int mirrored_has_blob(struct repo *repo, const struct desc *d)
{
	struct mirrored *m = (struct mirrored *)repo;

	return repo_has_blob(m->v[m->n - 1].repo, d);
}

// ---- writing: at the last, the registry itself ----

static int mirrored_put_blob(
	struct repo *repo, const struct desc *d, int fd, const char *mount_from)
{
	struct mirrored *m = (struct mirrored *)repo;

	return repo_put_blob(m->v[m->n - 1].repo, d, fd, mount_from);
}

static int mirrored_put_ahead(struct repo *repo, int fd, struct put_ahead **ret)
{
	struct mirrored *m = (struct mirrored *)repo;

	return repo_put_ahead(m->v[m->n - 1].repo, fd, ret);
}

static int mirrored_put_manifest(
	struct repo *repo, const char *tag, const char *media_type, const void *p, size_t n)
{
	struct mirrored *m = (struct mirrored *)repo;

	struct repo *own = m->v[m->n - 1].repo;

	return own->ops->put_manifest(own, tag, media_type, p, n);
}

// ---- opening ----

static void mirrored_close(struct repo *repo)
{
	struct mirrored *m = (struct mirrored *)repo;

	for (size_t i = 0; i < m->n; i++)
		repo_close(m->v[i].repo);
	mirrors_fini(&m->m);
	pthread_mutex_destroy(&m->lock);
	free(m->v);
	free(m->repo.name);
	free(m);
}

// What the command line says is meant for the registry that it names, the last: its user and password
// above all.
static void set_net(struct place *p, const struct net_opts *net, bool own, bool last)
{
	p->net = *net;
	if (!own)
		p->net.creds = p->net.password = NULL;
	if (!last)
		p->net.retries = MIRROR_TRIES;
	if (last && !own && net->creds)
		warn("--creds are not sent to %s, where the configuration has the registry; "
		     "'fcpull login' keeps some for it",
			log_quote(p->e->host));
	mirrors_net(p->e, own, &p->net);
}

int mirrored_open(const struct ref *ref, const struct net_opts *net, bool write,
	struct mirrors *mirrors, struct repo **ret)
{
	static const struct repo_ops ops = {
		.get_manifest = mirrored_get_manifest,
		.open_blob = mirrored_open_blob,
		.read_range = mirrored_read_range,
		.has_blob = mirrored_has_blob,
		.put_blob = mirrored_put_blob,
		.put_ahead = mirrored_put_ahead,
		.put_manifest = mirrored_put_manifest,
		.each_referrer = mirrored_each_referrer,
		.close = mirrored_close,
	};
	struct mirrored *m = xcalloc(1, sizeof *m);
	int r = 0;

	m->repo = (struct repo){
		.ops = &ops, .name = ref_name(ref), .is_registry = true, .several = mirrors->n > 1
	};
	m->m = *mirrors;
	m->v = xcalloc(m->m.n, sizeof *m->v);
	pthread_mutex_init(&m->lock, NULL);
	for (size_t i = 0; i < m->m.n && r == 0; i++) {
		struct place *p = &m->v[i];
		struct ref there = { .host = m->m.v[i].host, .repo = m->m.v[i].repo };

		p->e = &m->m.v[i];
		bool last = i + 1 == m->m.n;

		set_net(p, net, last && !strcmp(there.host, ref->host), last);
		r = registry_open(&there, &p->net, write, &p->repo);
		m->n += r == 0;
	}
	if (r < 0)
		mirrored_close(&m->repo);
	else
		*ret = &m->repo;
	return r;
}
