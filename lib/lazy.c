// lazy.c - the demand engine
//
// Threads: callers of lazy_read (FUSE threads, the page cache's) and conf.threads workers
// (lazywork.c). A caller copies what is here and leaves the rest in a queue. Chunks that the store
// has, but that were not used yet in this process's life, have a queue and a thread of their own,
// so that they never wait behind the network. With a deadline, one more thread fails what has
// waited too long. What each lock guards is said in lazyint.h.
// SPDX-License-Identifier: Apache-2.0
#include "lazyint.h"

#include <sys/stat.h>
#include <time.h>

#include "format.h"
#include "log.h"

#define THREADS 6
#define EXPIRE_MS 100
// A kernel whose read-ahead has failed asks at once, in other ways, for what is needed: its reader
// has waited already. So what comes directly after a failure for lack of time fails soon, for at
// most HURRY_MAX_MS.
#define HURRY_MS 100
#define HURRY_MAX_MS 1000
#define CHUNKS_PER_READ (LAZY_READ_MAX / BLOCK_BYTES + 1)

// ---- queues ----

int queue_put(struct queue *q, uint32_t v)
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

uint32_t queue_head(const struct queue *q)
{
	return q->v[q->head];
}

void queue_drop(struct queue *q)
{
	q->head = (q->head + 1) & (q->cap - 1);
	q->n--;
}

// ---- handing bytes out ----

struct overlap lazy_overlap(const struct chunk_view *c, const struct lazy_req *req)
{
	uint64_t c0 = (uint64_t)c->block << BLOCK_SHIFT,
		 c1 = c0 + ((uint64_t)c->blocks << BLOCK_SHIFT);
	uint64_t lo = MAX(c0, req->off), hi = MIN(c1, req->off + req->len);

	return (struct overlap){ (size_t)(lo - c0), (size_t)(lo - req->off), (size_t)(hi - lo) };
}

static void count_wait(struct lazy *lz, const struct lazy_req *req)
{
	uint64_t waited = now_ns() - req->since;
	struct stats_event e = {
		.at = req->since - lz->stats->begun,
		.waited = waited,
		.space = req->space,
		.block = (uint32_t)(req->off >> BLOCK_SHIFT),
		.blocks = (uint32_t)((req->len + BLOCK_BYTES - 1) >> BLOCK_SHIFT),
		.kind = req->kind,
	};

	atomic_fetch_add(&lz->stats->waits, 1);
	atomic_fetch_add(&lz->stats->waited_ns, waited);
	stats_event(lz->stats, &e);
}

void lazy_settle(struct lazy *lz, struct lazy_req *req, int error)
{
	bool last;

	pthread_mutex_lock(&lz->lock);
	if (error && !req->error)
		req->error = error;
	last = !--req->left;
	pthread_mutex_unlock(&lz->lock);
	if (!last)
		return;
	count_wait(lz, req);
	req->done(req, req->error);
}

bool lazy_transient(int error)
{
	return error && error != -EBADMSG && error != -ENOENT && error != -EACCES &&
		error != -ENOMEM && error != -EFBIG && error != -ECANCELED;
}

// The registry could not be asked, and there are readers whose deadline is still to come: the
// flight goes on. Called with the lock held.
static bool fly_on(struct lazy *lz, uint32_t chunk, int error)
{
	if (!lz->conf.deadline_ns || !lz->conf.repo || !lazy_transient(error) || lz->stop ||
		!lz->waiters[chunk] || queue_put(&lz->demand, chunk))
		return false;
	pthread_cond_signal(&lz->work);
	return true;
}

void lazy_land(struct lazy *lz, uint32_t chunk, const struct chunk_view *c, const uint8_t *plain,
	int error, int not_kept)
{
	struct waiter *w;
	bool awaited, wanted;

	pthread_mutex_lock(&lz->lock);
	// (it may have landed by another request)
	if (lz->state[chunk] != ST_FLIGHT || fly_on(lz, chunk, error)) {
		pthread_mutex_unlock(&lz->lock);
		return;
	}
	w = lz->waiters[chunk];
	wanted = w != NULL;
	for (struct waiter *i = w; i; i = i->next)
		lz->waiting--;
	lz->waiters[chunk] = NULL;
	lz->state[chunk] = error || not_kept ? ST_NONE : ST_OK;
	awaited = lz->awaited[chunk];
	lz->awaited[chunk] = false;
	if ((error || not_kept) && !w && !awaited)
		background_failed(lz, error);
	pthread_mutex_unlock(&lz->lock);
	while (w) {
		struct waiter *next = w->next;
		struct lazy_req *req = w->req;

		if (!error) {
			struct overlap o = lazy_overlap(c, req);

			memcpy((uint8_t *)req->buf + o.to, plain + o.from, o.n);
			atomic_fetch_add(&lz->taken, o.n);
		}
		free(w);
		lazy_settle(lz, req, error);
		w = next;
	}
	if (wanted && !error && !not_kept)
		lazy_landed(lz, c->space, c->block, c->blocks);
	if (awaited)
		fill_landed(lz, c, error ? error : not_kept);
}

void lazy_pause(unsigned ms)
{
	nanosleep(&(struct timespec){ .tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000L }, NULL);
}

// ---- deadlines ----

// Takes the waiters whose time is over off a list, to *out. Called with the lock held.
static void take_expired(struct lazy *lz, struct waiter **list, uint64_t now, struct waiter **out)
{
	struct waiter *w;

	for (struct waiter **p = list; (w = *p);) {
		if (w->req->deadline > now) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		w->next = *out;
		*out = w;
		lz->waiting--;
		lz->later = now;
		if (!w->req->hurried)
			lz->late = now;
	}
}

static struct waiter *expired(struct lazy *lz)
{
	uint32_t chunks = index_chunks(lz->conf.ix);
	struct waiter *out = NULL;
	uint64_t now = now_ns();

	for (uint32_t i = 0; i < chunks; i++)
		if (lz->waiters[i])
			take_expired(lz, &lz->waiters[i], now, &out);
	take_expired(lz, &lz->boot_waiters, now, &out);
	return out;
}

static void *expire(void *arg)
{
	struct lazy *lz = arg;

	pthread_mutex_lock(&lz->lock);
	while (!lz->stop) {
		struct waiter *w;

		if (!lz->waiting) {
			pthread_cond_wait(&lz->expiry, &lz->lock);
			continue;
		}
		w = expired(lz);
		pthread_mutex_unlock(&lz->lock);
		if (w)
			warn("%s did not give data in time: readers get errors",
				log_quote(lz->conf.repo ? lz->conf.repo->name : "the store"));
		while (w) {
			struct waiter *next = w->next;

			lazy_settle(lz, w->req, -ETIMEDOUT);
			free(w);
			w = next;
		}
		lazy_pause(EXPIRE_MS);
		pthread_mutex_lock(&lz->lock);
	}
	pthread_mutex_unlock(&lz->lock);
	return NULL;
}

// ---- reading ----

// Copies the request's part of a chunk that is here and proved, or zero. A disk that fails is
// answered by a fetch.
bool lazy_copy_here(struct lazy *lz, uint32_t chunk, const struct lazy_req *req)
{
	struct chunk_view c;
	struct overlap o;
	uint64_t at;

	index_chunk(lz->conf.ix, chunk, &c);
	o = lazy_overlap(&c, req);
	if (c.codec == CODEC_ZERO) {
		memset((uint8_t *)req->buf + o.to, 0, o.n);
		return true;
	}
	if (lz->state[chunk] != ST_OK)
		return boot_copy(lz, &c, req);
	at = ((uint64_t)c.block << BLOCK_SHIFT) + o.from;
	if (pread_full(lz->spaces[c.space].file.fd, (uint8_t *)req->buf + o.to, o.n, at))
		return false;
	atomic_fetch_add(&lz->taken, o.n);
	return true;
}

static void set_deadline(const struct lazy *lz, struct lazy_req *req)
{
	uint64_t now = now_ns();

	req->hurried = lz->late && now - lz->later < HURRY_MS * 1000000ull &&
		now - lz->late < HURRY_MAX_MS * 1000000ull;
	req->deadline = req->hurried ? now : now + MIN(lz->conf.deadline_ns, UINT64_MAX - now);
}

// Puts a request on a chunk's list; the first one starts a flight. Called with the lock held.
int lazy_wait_for(struct lazy *lz, uint32_t chunk, struct lazy_req *req)
{
	struct waiter *w = malloc(sizeof *w);
	bool local = false;

	if (!w)
		return -ENOMEM;
	if (lz->state[chunk] != ST_FLIGHT) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, chunk, &c);
		local = space_has(&lz->spaces[c.space].file, c.block, c.blocks);
		if (queue_put(local ? &lz->local : &lz->demand, chunk)) {
			free(w);
			return -ENOMEM;
		}
		lz->state[chunk] = ST_FLIGHT;
		debug("a reader wants space %u block %llu: chunk %u, %s", req->space,
			(unsigned long long)(req->off >> BLOCK_SHIFT), chunk,
			local ? "from the store" : "from the network");
		pthread_cond_signal(&lz->work);
		if (local)
			pthread_cond_signal(&lz->near);
	}
	if (!local)
		req->kind = STATS_DEMAND;
	*w = (struct waiter){ req, chunk, lz->waiters[chunk] };
	lz->waiters[chunk] = w;
	req->left++;
	if (!lz->waiting++)
		pthread_cond_signal(&lz->expiry);
	return 0;
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

static void tell_asked(struct lazy *lz, const struct lazy_req *req)
{
	if (!lz->asking)
		return;
	pthread_mutex_lock(&lz->hook_lock);
	if (lz->hooks.asked)
		lz->hooks.asked(lz->hooks.arg, req->space, req->off, req->len);
	pthread_mutex_unlock(&lz->hook_lock);
}

// A frame has brought it since it was found missing. Its part is counted. Called with the lock held.
static bool came_meanwhile(struct lazy *lz, uint32_t chunk, struct lazy_req *req)
{
	struct chunk_view c;

	index_chunk(lz->conf.ix, chunk, &c);
	if (!boot_has(lz, &c, req))
		return false;
	req->left++;
	return true;
}

// Settles the part of came_meanwhile(). What the disk does not give after all is asked for.
static void take_what_came(struct lazy *lz, uint32_t chunk, struct lazy_req *req)
{
	int r = 0;

	if (!lazy_copy_here(lz, chunk, req)) {
		pthread_mutex_lock(&lz->lock);
		r = lz->stop ? -ECANCELED : lazy_wait_for(lz, chunk, req);
		pthread_mutex_unlock(&lz->lock);
	}
	lazy_settle(lz, req, r);
}

int lazy_read(struct lazy *lz, struct lazy_req *req)
{
	uint32_t missing[CHUNKS_PER_READ], n = 0, came[CHUNKS_PER_READ], n_came = 0, first, last;
	struct space_view sp;
	int r = 0;
	bool idle;

	if (req->space >= lz->n_spaces || !req->len || req->len > LAZY_READ_MAX)
		return -EINVAL;
	index_space(lz->conf.ix, req->space, &sp);
	if (req->off > (uint64_t)sp.blocks << BLOCK_SHIFT ||
		req->len > ((uint64_t)sp.blocks << BLOCK_SHIFT) - req->off)
		return -EINVAL;
	first = index_chunk_at(lz->conf.ix, req->space, (uint32_t)(req->off >> BLOCK_SHIFT));
	last = index_chunk_at(
		lz->conf.ix, req->space, (uint32_t)((req->off + req->len - 1) >> BLOCK_SHIFT));
	for (uint32_t c = first; c <= last; c++)
		if (!lazy_copy_here(lz, c, req))
			missing[n++] = c;
	if (req->done != wait_done) { // (not our own, for the page cache or a proof)
		atomic_fetch_add(&lz->stats->reads, 1);
		tell_asked(lz, req);
	}
	if (!n)
		return 1;
	// one part for this call itself, so that done cannot come before all parts are counted
	req->left = 1;
	req->error = 0;
	req->kind = STATS_LOCAL;
	req->since = now_ns();
	pthread_mutex_lock(&lz->lock);
	set_deadline(lz, req);
	if (lz->stop)
		r = -ECANCELED;
	for (uint32_t i = 0; i < n && !r; i++)
		if (came_meanwhile(lz, missing[i], req))
			came[n_came++] = missing[i];
		else if (boot_wait(lz, missing[i], req))
			req->kind = MAX(req->kind, STATS_BOOT);
		else
			r = lazy_wait_for(lz, missing[i], req);
	if (r && !req->error)
		req->error = r;
	pthread_mutex_unlock(&lz->lock);
	for (uint32_t i = 0; i < n_came; i++)
		take_what_came(lz, came[i], req);
	pthread_mutex_lock(&lz->lock);
	idle = !--req->left; // nothing was queued, or all has been answered
	r = req->error;
	pthread_mutex_unlock(&lz->lock);
	if (!idle)
		return 0;
	count_wait(lz, req);
	return r ? r : 1;
}

int lazy_read_wait(struct lazy *lz, uint32_t space, uint64_t off, void *buf, uint32_t len)
{
	struct wait w = {
		.req = { .space = space, .off = off, .len = len, .buf = buf, .done = wait_done }
	};
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
		int r = lazy_read_wait(lz, a.space, ((uint64_t)a.block << BLOCK_SHIFT) + off + got,
			(uint8_t *)buf + got, part);

		if (r)
			return r;
		got += part;
	}
	return (ssize_t)got;
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
		if (sp.has_blob && lz->conf.data)
			lz->spaces[i].blob = &lz->conf.data[blob++];
		r = store_space(lz->conf.store, &key, sp.blocks, &lz->spaces[i].file);
		if (r)
			return r;
	}
	return 0;
}

static int start_threads(struct lazy *lz)
{
	unsigned threads = lz->conf.threads ? lz->conf.threads : THREADS;

	lz->workers = xcalloc(threads + 2, sizeof *lz->workers);
	while (lz->n_workers < threads &&
		!pthread_create(&lz->workers[lz->n_workers], NULL, lazy_work_any, lz))
		lz->n_workers++;
	if (!lz->n_workers)
		return warn_errno(-EAGAIN, "start a thread");
	if (pthread_create(&lz->workers[lz->n_workers], NULL, lazy_work_local, lz))
		return warn_errno(-EAGAIN, "start a thread");
	lz->n_workers++;
	if (!lz->conf.deadline_ns || lz->conf.deadline_ns == UINT64_MAX)
		return 0;
	if (pthread_create(&lz->workers[lz->n_workers], NULL, expire, lz))
		return warn_errno(-EAGAIN, "start a thread");
	lz->n_workers++;
	return 0;
}

// All chunks that are here are as good as those that were proved in this process.
static void trust_present(struct lazy *lz)
{
	for (uint32_t i = 0; i < index_chunks(lz->conf.ix); i++) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, i, &c);
		if (c.codec != CODEC_ZERO &&
			space_has(&lz->spaces[c.space].file, c.block, c.blocks))
			lz->state[i] = ST_OK;
	}
}

int lazy_open(const struct lazy_conf *conf, struct lazy **ret)
{
	struct lazy *lz = xcalloc(1, sizeof *lz);
	uint32_t chunks = index_chunks(conf->ix);
	int r;

	lz->conf = *conf;
	lz->own_stats = conf->stats ? NULL : xcalloc(1, sizeof *lz->own_stats);
	lz->stats = conf->stats ? conf->stats : lz->own_stats;
	if (!lz->stats->begun)
		lz->stats->begun = now_ns();
	lz->state = xcalloc(chunks, sizeof *lz->state);
	lz->waiters = xcalloc(chunks, sizeof(struct waiter *));
	lz->awaited = xcalloc(chunks, sizeof *lz->awaited);
	lz->plain_max = BLOCK_BYTES;
	for (uint32_t i = 0; i < chunks; i++) {
		struct chunk_view c;

		index_chunk(conf->ix, i, &c);
		if (c.codec != CODEC_ZERO)
			lz->plain_max = MAX(lz->plain_max, (size_t)c.blocks << BLOCK_SHIFT);
	}
	pthread_mutex_init(&lz->lock, NULL);
	pthread_mutex_init(&lz->hook_lock, NULL);
	cond_init(&lz->work);
	pthread_cond_init(&lz->near, NULL);
	pthread_cond_init(&lz->expiry, NULL);
	pthread_cond_init(&lz->loss, NULL);
	pthread_cond_init(&lz->filled, NULL);
	r = open_spaces(lz);
	if (!r && conf->proved)
		trust_present(lz);
	if (!r)
		r = start_threads(lz);
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
	while (lz->local.n || lz->demand.n || lz->lost.n) {
		struct queue *q = lz->local.n ? &lz->local : lz->demand.n ? &lz->demand : &lz->lost;
		uint32_t chunk = queue_head(q);

		struct chunk_view c;

		queue_drop(q);
		index_chunk(lz->conf.ix, chunk, &c);
		lazy_land(lz, chunk, &c, NULL, -ECANCELED, 0);
	}
}

void lazy_close(struct lazy *lz)
{
	if (!lz)
		return;
	pthread_mutex_lock(&lz->lock);
	lz->stop = true;
	pthread_cond_broadcast(&lz->work);
	pthread_cond_broadcast(&lz->near);
	pthread_cond_broadcast(&lz->expiry);
	pthread_cond_broadcast(&lz->loss);
	pthread_mutex_unlock(&lz->lock);
	background_close(lz);
	for (unsigned i = 0; i < lz->n_workers; i++)
		pthread_join(lz->workers[i], NULL);
	if (lz->rescues)
		pthread_join(lz->rescuer, NULL);
	boot_close(lz);
	cancel_rest(lz);
	for (uint32_t i = 0; i < lz->n_spaces; i++)
		space_file_close(&lz->spaces[i].file);
	pthread_cond_destroy(&lz->work);
	pthread_cond_destroy(&lz->near);
	pthread_cond_destroy(&lz->expiry);
	pthread_cond_destroy(&lz->loss);
	pthread_cond_destroy(&lz->filled);
	pthread_mutex_destroy(&lz->lock);
	pthread_mutex_destroy(&lz->hook_lock);
	free(lz->own_stats);
	free(lz->spaces);
	free(lz->state);
	free(lz->waiters);
	free(lz->awaited);
	free(lz->workers);
	free(lz->local.v);
	free(lz->demand.v);
	free(lz->fill.v);
	free(lz->lost.v);
	free(lz);
}

void lazy_landed(struct lazy *lz, uint32_t space, uint32_t block, uint32_t blocks)
{
	pthread_mutex_lock(&lz->hook_lock);
	if (lz->hooks.landed)
		lz->hooks.landed(lz->hooks.arg, space, block, blocks);
	pthread_mutex_unlock(&lz->hook_lock);
}

void lazy_unhook(struct lazy *lz)
{
	pthread_mutex_lock(&lz->hook_lock);
	lz->hooks.landed = NULL;
	lz->hooks.started = NULL;
	lz->hooks.asked = NULL;
	lz->asking = false;
	pthread_mutex_unlock(&lz->hook_lock);
}

int lazy_begin(struct lazy *lz, const struct lazy_hooks *hooks)
{
	int r;

	pthread_mutex_lock(&lz->hook_lock);
	lz->hooks = *hooks;
	lz->asking = hooks->asked != NULL;
	pthread_mutex_unlock(&lz->hook_lock);
	r = boot_open(lz);
	return r ? r : background_open(lz);
}

const struct stats *lazy_stats(const struct lazy *lz)
{
	return lz->stats;
}

bool lazy_complete(const struct lazy *lz, bool proved, uint32_t *cursor)
{
	uint32_t chunks = index_chunks(lz->conf.ix);

	// a chunk in state OK stays OK
	for (; *cursor < chunks; ++*cursor) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, *cursor, &c);
		if (c.codec == CODEC_ZERO || lz->state[*cursor] == ST_OK)
			continue;
		if (proved || !space_has(&lz->spaces[c.space].file, c.block, c.blocks))
			return false;
	}
	return true;
}

bool lazy_bad_source(const struct lazy *lz, const char **ret_why)
{
	if (ret_why)
		*ret_why = lz->why_bad;
	return lz->bad_source;
}

bool lazy_damaged(const struct lazy *lz)
{
	return lz->damaged;
}

const struct index *lazy_index(const struct lazy *lz)
{
	return lz->conf.ix;
}
