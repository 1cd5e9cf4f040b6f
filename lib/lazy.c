// lazy.c - the demand engine
//
// Threads: callers of lazy_read (FUSE threads, the fill) and conf.threads workers. A caller copies what is here and leaves the rest
// in the queue; a worker takes the head of the queue and its neighbours, tries the disk, then the network, and hands
// the bytes to all who wait. `lock` guards state transitions to and from FLIGHT, the waiters, both queues and every
// pending request's left and error. A chunk in state OK stays OK: readers test that without the lock.
// Lock order: none other is taken under `lock`.
// SPDX-License-Identifier: Apache-2.0
#include "lazy.h"

#include <pthread.h>
#include <sys/stat.h>

#include "format.h"
#include "log.h"
#include "pack.h"
#include "store.h"

#define THREADS 4
#define JOIN_BYTES (1u << 20)		// compressed bytes that one request fetches for readers ...
#define JOIN_BYTES_FILL (4u << 20)	// ... and for the fill
#define CHUNKS_PER_READ (LAZY_READ_MAX / BLOCK_BYTES + 1)

enum state { ST_NONE, ST_FLIGHT, ST_OK };

struct waiter {
	struct lazy_req *req;
	struct waiter *next;
};

struct space {
	struct space_file file;
	const struct desc *blob;	// or NULL: local only
};

// Chunk numbers waiting for a worker, first in first out; cap is a power of two.
struct queue {
	uint32_t *v;
	size_t head, n, cap;
};

struct lazy {
	struct lazy_conf conf;
	struct space *spaces;
	uint32_t n_spaces;
	_Atomic uint8_t *state;
	struct waiter **waiters;
	size_t plain_max;		// bytes of the largest stored chunk
	pthread_t *workers;
	unsigned n_workers;
	pthread_mutex_t lock;
	pthread_cond_t work;
	struct queue demand, fill;
	bool stop;
	_Atomic bool no_cache_said, damaged;
	// of lazy_fetch_all
	pthread_cond_t filled;
	size_t fill_left;
	int fill_error;
	void (*progress)(void *, uint64_t);
	void *progress_arg;
};

// ---- queues ----

static int queue_put(struct queue *q, uint32_t v)
{
	if (q->n == q->cap) {
		size_t cap = q->cap ? q->cap * 2 : 256;
		uint32_t *n = malloc(cap * sizeof *n);

		if (!n)
			return -ENOMEM;
		for (size_t i = 0; i < q->n; i++)
			n[i] = q->v[(q->head + i) & (q->cap - 1)];
		free(q->v);
		*q = (struct queue){ .v = n, .n = q->n, .cap = cap };
	}
	q->v[(q->head + q->n++) & (q->cap - 1)] = v;
	return 0;
}

static uint32_t queue_head(const struct queue *q)
{
	return q->v[q->head];
}

static void queue_drop(struct queue *q)
{
	q->head = (q->head + 1) & (q->cap - 1);
	q->n--;
}

// ---- handing bytes out ----

struct overlap {
	size_t from;		// in the chunk
	size_t to;		// in the request
	size_t n;
};

static struct overlap overlap_of(const struct chunk_view *c, const struct lazy_req *req)
{
	uint64_t c0 = (uint64_t)c->block << BLOCK_SHIFT, c1 = c0 + ((uint64_t)c->blocks << BLOCK_SHIFT);
	uint64_t lo = MAX(c0, req->off), hi = MIN(c1, req->off + req->len);

	return (struct overlap){ (size_t)(lo - c0), (size_t)(lo - req->off), (size_t)(hi - lo) };
}

// One part of a request is settled; the last part calls done.
static void settle(struct lazy *lz, struct lazy_req *req, int error)
{
	bool last;

	pthread_mutex_lock(&lz->lock);
	if (error && !req->error)
		req->error = error;
	last = !--req->left;
	pthread_mutex_unlock(&lz->lock);
	if (last)
		req->done(req, req->error);
}

// Ends a flight: the chunk's new state, and its bytes (or the error) to all who wait.
static void land(struct lazy *lz, uint32_t chunk, const struct chunk_view *c, const uint8_t *plain, enum state st, int error)
{
	struct waiter *w;

	pthread_mutex_lock(&lz->lock);
	w = lz->waiters[chunk];
	lz->waiters[chunk] = NULL;
	lz->state[chunk] = (uint8_t)st;
	pthread_mutex_unlock(&lz->lock);
	while (w) {
		struct waiter *next = w->next;
		struct lazy_req *req = w->req;

		if (!error) {
			struct overlap o = overlap_of(c, req);

			memcpy((uint8_t *)req->buf + o.to, plain + o.from, o.n);
		}
		free(w);
		settle(lz, req, error);
		w = next;
	}
}

// ---- chunks: from the disk, from the network ----

static bool sound(const struct chunk_view *c, const uint8_t *plain)
{
	struct digest d = sha256_of(plain, (size_t)c->blocks << BLOCK_SHIFT);

	return digest_equal(&d, &c->sha);
}

// The chunk's bytes from the store, checked. Damaged ones lose their bits, so that they are fetched again.
static bool load_local(struct lazy *lz, const struct chunk_view *c, uint8_t *plain)
{
	struct space *sp = &lz->spaces[c->space];

	if (!space_has(&sp->file, c->block, c->blocks))
		return false;
	if (!pread_full(sp->file.fd, plain, (size_t)c->blocks << BLOCK_SHIFT, (uint64_t)c->block << BLOCK_SHIFT) &&
	    sound(c, plain))
		return true;
	warn("the store's copy of space %u, block %u is damaged%s", c->space, c->block,
	     sp->blob && lz->conf.repo ? "; it is fetched again" : "");
	space_mark(&sp->file, c->block, c->blocks, false);
	return false;
}

// Keeps a chunk. A cache that cannot be written only costs a later fetch.
static bool keep(struct lazy *lz, const struct chunk_view *c, const uint8_t *plain)
{
	struct space *sp = &lz->spaces[c->space];
	int r = pwrite_full(sp->file.fd, plain, (size_t)c->blocks << BLOCK_SHIFT, (uint64_t)c->block << BLOCK_SHIFT);

	if (r) {
		if (!lz->no_cache_said)
			warn_errno(r, "keep data in the store %s; readers are served from the network", log_quote(lz->conf.store->path));
		lz->no_cache_said = true;
		return false;
	}
	space_mark(&sp->file, c->block, c->blocks, true);
	return true;
}

static int decode(const struct chunk_view *c, const uint8_t *packed, uint8_t *plain)
{
	int r = chunk_decode(c->codec, packed, c->clen, plain, (size_t)c->blocks << BLOCK_SHIFT);

	if (!r && !sound(c, plain))
		r = -EBADMSG;
	return r;
}

static int corrupt(const struct lazy *lz, const struct chunk_view *c)
{
	char blob[DIGEST_STR_LEN];

	return warn_errno(-EBADMSG, "%s: blob %s, bytes %llu+%u do not match the index", lz->conf.repo->name,
			  digest_str(&lz->spaces[c->space].blob->digest, blob), (unsigned long long)c->off, c->clen);
}

// ---- workers ----

struct job {
	uint32_t first, n;	// chunks, neighbours in one blob
	bool fill;
};

struct worker {
	struct lazy *lz;
	uint8_t *packed, *plain;
	size_t packed_cap;
};

static void report(struct lazy *lz, const struct job *j, const struct chunk_view *c, int error)
{
	if (!j->fill)
		return;
	if (lz->progress && !error)
		lz->progress(lz->progress_arg, c->clen);
	pthread_mutex_lock(&lz->lock);
	if (error && !lz->fill_error)
		lz->fill_error = error;
	if (!--lz->fill_left)
		pthread_cond_broadcast(&lz->filled);
	pthread_mutex_unlock(&lz->lock);
}

static void finish(struct worker *w, const struct job *j, uint32_t chunk, const struct chunk_view *c, int error, bool kept)
{
	land(w->lz, chunk, c, w->plain, !error && kept ? ST_OK : ST_NONE, error);
	report(w->lz, j, c, error);
}

// Fetches chunks [first, first + n) with one request and hands them out. A chunk that does not match is asked for once more alone: a
// cache on the way may have spoilt it.
static void fetch(struct worker *w, const struct job *j, uint32_t first, uint32_t n)
{
	struct lazy *lz = w->lz;
	struct chunk_view a, c;
	const struct desc *blob;
	size_t len;
	int r = 0;

	index_chunk(lz->conf.ix, first, &a);
	index_chunk(lz->conf.ix, first + n - 1, &c);
	blob = lz->spaces[a.space].blob;
	len = (size_t)(c.off + c.clen - a.off);
	if (len > w->packed_cap) {
		free(w->packed);
		w->packed = malloc(len);
		w->packed_cap = w->packed ? len : 0;
	}
	if (!w->packed)
		r = -ENOMEM;
	else
		r = repo_read_range(lz->conf.repo, blob, a.off, w->packed, len);
	for (uint32_t i = first; i < first + n; i++) {
		int e = r;

		index_chunk(lz->conf.ix, i, &c);
		if (!e && decode(&c, w->packed + (c.off - a.off), w->plain)) {
			// (the tail of the buffer is still needed: the second try reads into this chunk's own place)
			e = repo_read_range(lz->conf.repo, blob, c.off, w->packed + (c.off - a.off), c.clen);
			if (!e && decode(&c, w->packed + (c.off - a.off), w->plain))
				e = corrupt(lz, &c);
		}
		finish(w, j, i, &c, e, !e && keep(lz, &c, w->plain));
	}
}

static int no_source(struct lazy *lz, const struct chunk_view *c)
{
	if (!lz->spaces[c->space].blob) {
		lz->damaged = true;
		return warn_errno(-EIO, "space %u, block %u is missing or damaged; pull the image again", c->space, c->block);
	}
	return warn_errno(-EIO, "space %u, block %u is not in the store, and there is no registry to ask", c->space, c->block);
}

// Serves a job: what the disk has from there, the rest in runs from the network.
static void serve(struct worker *w, const struct job *j)
{
	struct lazy *lz = w->lz;
	uint32_t run = j->first, end = j->first + j->n;

	for (uint32_t i = j->first; i < end; i++) {
		struct chunk_view c;
		bool local, source;

		index_chunk(lz->conf.ix, i, &c);
		local = load_local(lz, &c, w->plain);
		source = lz->conf.repo && lz->spaces[c.space].blob;
		if (!local && source)
			continue;	// joins the run
		if (run < i) {
			fetch(w, j, run, i - run);
			if (local && !load_local(lz, &c, w->plain))	// the buffer was used for the run
				local = false;
		}
		run = i + 1;
		finish(w, j, i, &c, local ? 0 : no_source(lz, &c), local);
	}
	if (run < end)
		fetch(w, j, run, end - run);
}

// Takes the head of a queue and the neighbours that follow it there. Called with the lock held.
static bool take(struct lazy *lz, struct job *j)
{
	struct queue *q = lz->demand.n ? &lz->demand : &lz->fill;
	size_t limit = q == &lz->demand ? JOIN_BYTES : JOIN_BYTES_FILL, bytes;
	struct chunk_view c;
	uint32_t space;

	if (!q->n)
		return false;
	*j = (struct job){ .first = queue_head(q), .n = 1, .fill = q == &lz->fill };
	index_chunk(lz->conf.ix, j->first, &c);
	space = c.space;
	bytes = c.clen;
	for (queue_drop(q); q->n && queue_head(q) == j->first + j->n; queue_drop(q)) {
		index_chunk(lz->conf.ix, j->first + j->n, &c);
		if (c.space != space || bytes + c.clen > limit)
			break;
		bytes += c.clen;
		j->n++;
	}
	return true;
}

// The fill's chunks that a reader has asked for meanwhile are the reader's; the rest become flights. Called with the lock held.
// Returns false when nothing of the job is left; a job is cut at the first chunk that is not the fill's.
static bool claim(struct lazy *lz, struct job *j)
{
	uint32_t n = 0;

	if (!j->fill)
		return true;
	while (n < j->n && lz->state[j->first + n] == ST_NONE)
		lz->state[j->first + n++] = ST_FLIGHT;
	for (uint32_t i = n; i < j->n; i++)	// not ours, or behind one that is not: counted as done, or asked again
		if (lz->state[j->first + i] != ST_NONE || queue_put(&lz->fill, j->first + i))
			lz->fill_left--;
	if (!lz->fill_left)
		pthread_cond_broadcast(&lz->filled);
	j->n = n;
	return n > 0;
}

static void *work(void *arg)
{
	struct worker w = { .lz = arg };
	struct lazy *lz = w.lz;
	struct job j;

	w.plain = malloc(lz->plain_max);
	pthread_mutex_lock(&lz->lock);
	while (!lz->stop) {
		if (!take(lz, &j)) {
			pthread_cond_wait(&lz->work, &lz->lock);
			continue;
		}
		if (!claim(lz, &j))
			continue;
		pthread_mutex_unlock(&lz->lock);
		serve(&w, &j);
		pthread_mutex_lock(&lz->lock);
	}
	pthread_mutex_unlock(&lz->lock);
	free(w.packed);
	free(w.plain);
	return NULL;
}

// ---- reading ----

// Copies the request's part of a chunk that is here and proved, or zero. A disk that fails is answered by a fetch.
static bool copy_here(struct lazy *lz, uint32_t chunk, const struct lazy_req *req)
{
	struct chunk_view c;
	struct overlap o;
	uint64_t at;

	index_chunk(lz->conf.ix, chunk, &c);
	o = overlap_of(&c, req);
	if (c.codec == CODEC_ZERO) {
		memset((uint8_t *)req->buf + o.to, 0, o.n);
		return true;
	}
	if (lz->state[chunk] != ST_OK)
		return false;
	at = ((uint64_t)c.block << BLOCK_SHIFT) + o.from;
	return !pread_full(lz->spaces[c.space].file.fd, (uint8_t *)req->buf + o.to, o.n, at);
}

// Puts a request on a chunk's list; the first one starts a flight. Called with the lock held.
static int wait_for(struct lazy *lz, uint32_t chunk, struct lazy_req *req)
{
	struct waiter *w = malloc(sizeof *w);

	if (!w)
		return -ENOMEM;
	if (lz->state[chunk] != ST_FLIGHT) {
		if (queue_put(&lz->demand, chunk)) {
			free(w);
			return -ENOMEM;
		}
		lz->state[chunk] = ST_FLIGHT;
		pthread_cond_signal(&lz->work);
	}
	*w = (struct waiter){ req, lz->waiters[chunk] };
	lz->waiters[chunk] = w;
	req->left++;
	return 0;
}

int lazy_read(struct lazy *lz, struct lazy_req *req)
{
	uint32_t missing[CHUNKS_PER_READ], n = 0, first, last;
	struct space_view sp;
	int r = 0;
	bool idle;

	if (req->space >= lz->n_spaces || !req->len || req->len > LAZY_READ_MAX)
		return -EINVAL;
	index_space(lz->conf.ix, req->space, &sp);
	if (req->off > (uint64_t)sp.blocks << BLOCK_SHIFT || req->len > ((uint64_t)sp.blocks << BLOCK_SHIFT) - req->off)
		return -EINVAL;
	first = index_chunk_at(lz->conf.ix, req->space, (uint32_t)(req->off >> BLOCK_SHIFT));
	last = index_chunk_at(lz->conf.ix, req->space, (uint32_t)((req->off + req->len - 1) >> BLOCK_SHIFT));
	for (uint32_t c = first; c <= last; c++)
		if (!copy_here(lz, c, req))
			missing[n++] = c;
	if (!n)
		return 1;
	// one part for this call itself, so that done cannot come before all parts are counted
	req->left = 1;
	req->error = 0;
	pthread_mutex_lock(&lz->lock);
	if (lz->stop)
		r = -ECANCELED;
	for (uint32_t i = 0; i < n && !r; i++)
		r = wait_for(lz, missing[i], req);
	if (r && !req->error)
		req->error = r;
	idle = !--req->left;	// nothing was queued
	pthread_mutex_unlock(&lz->lock);
	return idle ? r : 0;
}

struct wait {
	struct lazy_req req;
	pthread_mutex_t lock;
	pthread_cond_t cond;
	bool over;
	int error;
};

static void wait_done(struct lazy_req *req, int error)
{
	struct wait *w = (struct wait *)req;

	pthread_mutex_lock(&w->lock);
	w->over = true;
	w->error = error;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->lock);
}

int lazy_read_wait(struct lazy *lz, uint32_t space, uint64_t off, void *buf, uint32_t len)
{
	struct wait w = { .req = { .space = space, .off = off, .len = len, .buf = buf, .done = wait_done } };
	int r = 0;

	pthread_mutex_init(&w.lock, NULL);
	pthread_cond_init(&w.cond, NULL);
	r = lazy_read(lz, &w.req);
	if (!r) {
		pthread_mutex_lock(&w.lock);
		while (!w.over)
			pthread_cond_wait(&w.cond, &w.lock);
		pthread_mutex_unlock(&w.lock);
		r = w.error;
	}
	pthread_cond_destroy(&w.cond);
	pthread_mutex_destroy(&w.lock);
	return r < 0 ? r : 0;
}

ssize_t lazy_pread(struct lazy *lz, uint32_t node, void *buf, size_t n, uint64_t off)
{
	struct attr a;
	size_t got = 0;

	index_attr(lz->conf.ix, node, &a);
	if (!S_ISREG(a.mode))
		return -EINVAL;
	if (off >= a.size)
		return 0;
	n = (size_t)MIN((uint64_t)n, a.size - off);
	while (got < n) {
		uint32_t part = (uint32_t)MIN(n - got, (size_t)LAZY_READ_MAX);
		int r = lazy_read_wait(lz, a.space, ((uint64_t)a.block << BLOCK_SHIFT) + off + got, (uint8_t *)buf + got, part);

		if (r)
			return r;
		got += part;
	}
	return (ssize_t)got;
}

// ---- everything ----

int lazy_fetch_all(struct lazy *lz, void (*progress)(void *, uint64_t), void *arg)
{
	uint32_t n = index_chunks(lz->conf.ix);
	int r = 0;

	pthread_mutex_lock(&lz->lock);
	lz->progress = progress;
	lz->progress_arg = arg;
	lz->fill_error = 0;
	lz->fill_left = 0;
	for (uint32_t i = 0; i < n && !r; i++) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, i, &c);
		if (c.codec == CODEC_ZERO || lz->state[i] != ST_NONE)
			continue;
		r = queue_put(&lz->fill, i);
		lz->fill_left += !r;
	}
	pthread_cond_broadcast(&lz->work);
	while (lz->fill_left)
		pthread_cond_wait(&lz->filled, &lz->lock);
	if (!r)
		r = lz->fill_error;
	pthread_mutex_unlock(&lz->lock);
	return r;
}

// ---- life ----

static int open_spaces(struct lazy *lz)
{
	uint32_t blob = 0;

	lz->n_spaces = index_spaces(lz->conf.ix);
	lz->spaces = xcalloc(lz->n_spaces, sizeof *lz->spaces);
	for (uint32_t i = 0; i < lz->n_spaces; i++)
		lz->spaces[i].file.fd = -1;
	for (uint32_t i = 0; i < lz->n_spaces; i++) {
		struct digest key = index_space_key(lz->conf.ix, i);
		struct space_view sp;
		int r;

		index_space(lz->conf.ix, i, &sp);
		if (sp.has_blob)
			lz->spaces[i].blob = &lz->conf.data[blob++];
		r = store_space(lz->conf.store, &key, sp.blocks, &lz->spaces[i].file);
		if (r)
			return r;
	}
	return 0;
}

int lazy_open(const struct lazy_conf *conf, struct lazy **ret)
{
	struct lazy *lz = xcalloc(1, sizeof *lz);
	uint32_t chunks = index_chunks(conf->ix);
	unsigned threads = conf->threads ? conf->threads : THREADS;
	int r;

	lz->conf = *conf;
	lz->state = xcalloc(chunks, sizeof *lz->state);
	lz->waiters = xcalloc(chunks, sizeof(struct waiter *));
	lz->workers = xcalloc(threads, sizeof *lz->workers);
	lz->plain_max = BLOCK_BYTES;
	for (uint32_t i = 0; i < chunks; i++) {
		struct chunk_view c;

		index_chunk(conf->ix, i, &c);
		if (c.codec != CODEC_ZERO)
			lz->plain_max = MAX(lz->plain_max, (size_t)c.blocks << BLOCK_SHIFT);
	}
	pthread_mutex_init(&lz->lock, NULL);
	pthread_cond_init(&lz->work, NULL);
	pthread_cond_init(&lz->filled, NULL);
	r = open_spaces(lz);
	while (!r && lz->n_workers < threads && !pthread_create(&lz->workers[lz->n_workers], NULL, work, lz))
		lz->n_workers++;
	if (!r && !lz->n_workers)
		r = warn_errno(-EAGAIN, "start a thread");
	if (r) {
		lazy_close(lz);
		return r;
	}
	*ret = lz;
	return 0;
}

// With the workers gone: what still waits is told so.
static void cancel_rest(struct lazy *lz)
{
	while (lz->demand.n) {
		uint32_t chunk = queue_head(&lz->demand);
		struct chunk_view c;

		queue_drop(&lz->demand);
		index_chunk(lz->conf.ix, chunk, &c);
		land(lz, chunk, &c, NULL, ST_NONE, -ECANCELED);
	}
}

void lazy_close(struct lazy *lz)
{
	if (!lz)
		return;
	pthread_mutex_lock(&lz->lock);
	lz->stop = true;
	pthread_cond_broadcast(&lz->work);
	pthread_mutex_unlock(&lz->lock);
	for (unsigned i = 0; i < lz->n_workers; i++)
		pthread_join(lz->workers[i], NULL);
	cancel_rest(lz);
	for (uint32_t i = 0; i < lz->n_spaces; i++)
		space_file_close(&lz->spaces[i].file);
	pthread_cond_destroy(&lz->work);
	pthread_cond_destroy(&lz->filled);
	pthread_mutex_destroy(&lz->lock);
	free(lz->spaces);
	free(lz->state);
	free(lz->waiters);
	free(lz->workers);
	free(lz->demand.v);
	free(lz->fill.v);
	free(lz);
}

bool lazy_damaged(const struct lazy *lz)
{
	return lz->damaged;
}

const struct index *lazy_index(const struct lazy *lz)
{
	return lz->conf.ix;
}
