// lazywork.c - the demand engine's workers: chunks from the store's disk and from the network
//
// A worker takes the head of a queue and its neighbours, tries the disk, then the network, proves
// what came, keeps it, and hands it to all who wait. What readers want goes before the fill, and
// what the store should have is served by a thread of its own as well, so that it never waits
// behind the network.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <time.h>

#include "format.h"
#include "lazyint.h"
#include "log.h"
#include "pack.h"
#include "rescue.h"

#define JOIN_BYTES_FILL (4u << 20) // compressed bytes of one request for lazy_fetch_all
#define AGAIN_MS 250		   // until the registry is asked again for what a reader waits for
#define OTHERS_MS 5000		   // to wait for another process that fetches the same

// ---- chunks: from the disk, from the network ----

static bool sound(const struct chunk_view *c, const uint8_t *plain)
{
	struct digest d = sha256_of(plain, (size_t)c->blocks << BLOCK_SHIFT);

	return digest_equal(&d, &c->sha);
}

static bool has_source(const struct lazy *lz, const struct chunk_view *c)
{
	return lz->conf.repo && lz->spaces[c->space].blob;
}

// The chunk's bytes from the store, checked. Damaged ones lose their bits, so that they are fetched
// again. Where nothing can be fetched the map is not asked: it may have been lost, and only the
// digest counts.
static bool load_local(struct lazy *lz, const struct chunk_view *c, uint8_t *plain)
{
	struct space *sp = &lz->spaces[c->space];
	bool mapped = space_has(&sp->file, c->block, c->blocks);

	if (!mapped && has_source(lz, c))
		return false;
	if (!pread_full(sp->file.fd, plain, (size_t)c->blocks << BLOCK_SHIFT,
		    (uint64_t)c->block << BLOCK_SHIFT) &&
		sound(c, plain))
		return true;
	if (mapped)
		warn("the store's copy of space %u, block %u is damaged%s", c->space, c->block,
			has_source(lz, c) ? "; it is fetched again" : "");
	space_mark(&sp->file, c->block, c->blocks, false);
	return false;
}

static struct lazy_req all_of(const struct chunk_view *c, uint8_t *plain)
{
	return (struct lazy_req){ .space = c->space,
		.off = (uint64_t)c->block << BLOCK_SHIFT,
		.len = c->blocks << BLOCK_SHIFT,
		.buf = plain };
}

// May it be had without the network?
static bool is_near(const struct lazy *lz, const struct chunk_view *c)
{
	const struct lazy_req all = all_of(c, NULL);

	if (lz->conf.rescue && rescue_ready(lz->conf.rescue))
		return true;
	return space_has(&lz->spaces[c->space].file, c->block, c->blocks) || boot_has(lz, c, &all);
}

// The chunk's bytes from boot frames that have brought all of it; kept as the chunk that it is.
static bool load_boot(struct lazy *lz, const struct chunk_view *c, uint8_t *plain)
{
	const struct lazy_req all = all_of(c, plain);

	return boot_copy(lz, c, &all) && sound(c, plain) &&
		!lazy_keep(lz, &lz->spaces[c->space].file, c->block, c->blocks, plain);
}

// Or from the original, when that has been needed: its data is here, and the source is known for
// worse.
static bool load_original(struct lazy *lz, const struct chunk_view *c, uint8_t *plain)
{
	if (!lz->conf.rescue || rescue_read(lz->conf.rescue, c, plain))
		return false;
	lazy_rescued(lz, c);
	if (lazy_keep(lz, &lz->spaces[c->space].file, c->block, c->blocks, plain))
		debug("space %u, block %u is not kept", c->space, c->block);
	return true;
}

// To readers, a cache that cannot be written only costs a later fetch.
int lazy_keep(struct lazy *lz, struct space_file *f, uint32_t block, uint32_t blocks,
	const uint8_t *plain)
{
	int r = pwrite_full(
		f->fd, plain, (size_t)blocks << BLOCK_SHIFT, (uint64_t)block << BLOCK_SHIFT);

	if (r) {
		if (!lz->no_cache_said)
			warn_errno(r,
				"keep data in the store %s; readers are served from the network",
				log_quote(lz->conf.store->path));
		lz->no_cache_said = true;
		return r;
	}
	space_mark(f, block, blocks, true);
	return 0;
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

	return warn_errno(-EBADMSG, "%s: blob %s, bytes %llu+%u do not match the index",
		lz->conf.repo->name, digest_str(&lz->spaces[c->space].blob->digest, blob),
		(unsigned long long)c->off, c->clen);
}

// ---- workers ----

struct job {
	uint32_t first, n; // chunks, neighbours in one blob
	bool local, fill;
};

struct worker {
	struct lazy *lz;
	bool local_only;
	uint8_t *packed, *plain;
	size_t packed_cap;
};

static void count_request(struct lazy *lz, bool fill, uint32_t chunk, size_t bytes)
{
	struct stats *s = lz->stats;

	atomic_fetch_add(fill ? &s->fill_requests : &s->demand_requests, 1);
	atomic_fetch_add(fill ? &s->fill_bytes : &s->demand_bytes, bytes);
	if (fill)
		return;
	lz->demanded_chunk = chunk;
	lz->demanded = now_ns();
}

// Asking again would not help: it is not what it should be, or (EOPNOTSUPP) the registry gives it in one
// piece only, which is too large.
static bool is_lost(int e)
{
	return repo_is_content(e) || e == -EOPNOTSUPP;
}

// What is on its way by one request.
struct arrival {
	struct range_watch watch;
	struct worker *w;
	struct flight *flight; // or NULL
	uint64_t off;	       // of the request, in the blob
	uint32_t next, end;    // chunks that have not been handed out
	uint64_t begun;	       // ns, when something came; 0: nothing yet
	bool wrong;	       // the next one does not match
};

// Proves, keeps and hands out what has come whole, while the rest is under way.
static void on_arrival(const struct range_watch *watch, size_t n)
{
	struct arrival *a = (struct arrival *)(uintptr_t)watch;
	struct lazy *lz = a->w->lz;
	struct chunk_view c;

	if (a->flight && !a->begun)
		flight_arrived(lz, a->flight);
	if (!a->begun)
		a->begun = now_ns();
	for (; a->next < a->end && !a->wrong; a->next++) {
		index_chunk(lz->conf.ix, a->next, &c);
		if (c.off + c.clen - a->off > n)
			return;
		if (lz->state[a->next] != ST_FLIGHT)
			continue; // the other request was faster
		if (decode(&c, a->w->packed + (c.off - a->off), a->w->plain)) {
			a->wrong = true;
			return;
		}
		lazy_land(lz, a->next, &c, a->w->plain, 0,
			lazy_keep(lz, &lz->spaces[c.space].file, c.block, c.blocks, a->w->plain));
	}
}

// Fetches chunks [first, first + n) with one request and hands them out. A chunk that does not
// match is asked for once more alone: a cache on the way may have spoilt it. flight: NULL, or that which this
// is a party of; while the other one is under way, errors are left to it.
static void fetch(struct worker *w, uint32_t first, uint32_t n, bool fill, struct flight *flight)
{
	struct lazy *lz = w->lz;
	struct chunk_view a, c;
	struct arrival way = {
		.watch = { on_arrival }, .w = w, .flight = flight, .next = first, .end = first + n
	};
	bool last;
	const struct desc *blob;
	uint64_t since = now_ns();
	size_t len;
	int r = 0;

	index_chunk(lz->conf.ix, first, &a);
	way.off = a.off;
	index_chunk(lz->conf.ix, first + n - 1, &c);
	blob = lz->spaces[a.space].blob;
	len = (size_t)(c.off + c.clen - a.off);
	if (len > w->packed_cap) {
		free(w->packed);
		w->packed = malloc(len);
		w->packed_cap = w->packed ? len : 0;
	}
	count_request(lz, fill, first, len);
	if (!w->packed)
		r = -ENOMEM;
	else
		r = repo_watch_range(lz->conf.repo, blob, a.off, w->packed, len, &way.watch);
	if (!r && fill && lz->background && way.begun)
		background_fetched(lz, since, way.begun, len);
	last = flight_end(lz, flight);
	if (lz->conf.deadline_ns && lazy_transient(r) && last)
		lazy_pause(AGAIN_MS);
	for (uint32_t i = way.next; i < way.end; i++) {
		int e = r;

		if (lz->state[i] != ST_FLIGHT || (e && !last))
			continue;
		index_chunk(lz->conf.ix, i, &c);
		if (!e && decode(&c, w->packed + (c.off - a.off), w->plain)) {
			if (!last)
				continue;
			// (the tail of the buffer is still needed: the second try reads into this
			// chunk's own place)
			e = repo_read_range(
				lz->conf.repo, blob, c.off, w->packed + (c.off - a.off), c.clen);
			if (!e && decode(&c, w->packed + (c.off - a.off), w->plain))
				e = corrupt(lz, &c);
		}
		if (is_lost(e) && lazy_lost(lz, i, e))
			continue;
		lazy_land(lz, i, &c, w->plain, e,
			e ? 0
			  : lazy_keep(lz, &lz->spaces[c.space].file, c.block, c.blocks, w->plain));
	}
}

// Other processes of this store may be fetching the same: who fetches holds a lock on the place of
// the blocks (fcntl(2), F_OFD_SETLK: it goes with its holder, however that ends). Returns whether
// there was anybody to wait for; one who takes too long is not waited for.
static bool claim(struct lazy *lz, const struct chunk_view *a, const struct chunk_view *z)
{
	struct flock l = { .l_type = F_WRLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)a->block << BLOCK_SHIFT,
		.l_len = (off_t)(z->block + z->blocks - a->block) << BLOCK_SHIFT };
	unsigned waited = 0;

	while (fcntl(lz->spaces[a->space].file.fd, F_OFD_SETLK, &l) &&
		(errno == EAGAIN || errno == EACCES) && waited < OTHERS_MS && !lz->stop) {
		lazy_pause(OTHERS_MS / 500);
		waited += OTHERS_MS / 500;
	}
	return waited;
}

static void release(struct lazy *lz, const struct chunk_view *a, const struct chunk_view *z)
{
	struct flock l = { .l_type = F_UNLCK,
		.l_whence = SEEK_SET,
		.l_start = (off_t)a->block << BLOCK_SHIFT,
		.l_len = (off_t)(z->block + z->blocks - a->block) << BLOCK_SHIFT };

	if (fcntl(lz->spaces[a->space].file.fd, F_OFD_SETLK, &l))
		debug("unlock: %s", strerror(errno));
}

// fetch(), unless another process has just brought it.
static void fetch_once(struct worker *w, uint32_t first, uint32_t n, bool fill)
{
	struct lazy *lz = w->lz;
	uint32_t run = first, end = first + n;
	struct chunk_view a, z, c;
	bool others;

	index_chunk(lz->conf.ix, first, &a);
	index_chunk(lz->conf.ix, end - 1, &z);
	others = claim(lz, &a, &z);
	for (uint32_t i = first; others && i < end; i++) {
		index_chunk(lz->conf.ix, i, &c);
		if (!load_local(lz, &c, w->plain))
			continue;
		lazy_land(lz, i, &c, w->plain, 0, 0);
		if (run < i)
			fetch(w, run, i - run, fill, NULL);
		run = i + 1;
	}
	if (run < end)
		fetch(w, run, end - run, fill, fill ? NULL : flight_begin(lz, run, end - run));
	release(lz, &a, &z);
}

static int no_source(struct lazy *lz, const struct chunk_view *c)
{
	if (!lz->spaces[c->space].blob) {
		lz->damaged = true;
		return warn_errno(-EIO,
			"space %u, block %u is missing or damaged; pull the image again", c->space,
			c->block);
	}
	return warn_errno(-EIO,
		"space %u, block %u is not in the store, and there is no registry to ask", c->space,
		c->block);
}

// Serves a job: what the disk has from there, the rest in runs from the network.
static void serve(struct worker *w, const struct job *j)
{
	struct lazy *lz = w->lz;
	uint32_t run = j->first, end = j->first + j->n;

	for (uint32_t i = j->first; i < end; i++) {
		struct chunk_view c;
		bool local;

		index_chunk(lz->conf.ix, i, &c);
		if (run < i && is_near(lz, &c)) { // both need the buffer
			fetch_once(w, run, i - run, j->fill);
			run = i;
		}
		local = load_local(lz, &c, w->plain) || load_boot(lz, &c, w->plain) ||
			load_original(lz, &c, w->plain);
		if (!local && has_source(lz, &c))
			continue; // joins the run
		run = i + 1;
		lazy_land(lz, i, &c, w->plain, local ? 0 : no_source(lz, &c), 0);
	}
	if (run < end)
		fetch_once(w, run, end - run, j->fill);
}

// Chunks that the store should have. What it has not, after all, is for the others.
static void serve_local(struct worker *w, const struct job *j)
{
	struct lazy *lz = w->lz;

	for (uint32_t i = j->first; i < j->first + j->n; i++) {
		struct chunk_view c;
		bool passed_on = false, here;

		index_chunk(lz->conf.ix, i, &c);
		here = load_local(lz, &c, w->plain);
		if (!here) {
			pthread_mutex_lock(&lz->lock);
			passed_on = !queue_put(&lz->demand, i);
			pthread_cond_signal(&lz->work);
			pthread_mutex_unlock(&lz->lock);
		}
		if (!passed_on)
			lazy_land(lz, i, &c, w->plain, here ? 0 : -ENOMEM, 0);
	}
}

// What a chunk counts when jobs are cut: on the wire, or, of one that is only here, on the disk.
static size_t weight(const struct chunk_view *c)
{
	return c->clen ? c->clen : (size_t)c->blocks << BLOCK_SHIFT;
}

// Takes the head of a queue and the neighbours that follow it there. The fill's become flights, but
// for those that a reader has asked for meanwhile. Called with the lock held.
static bool take(struct lazy *lz, bool local_only, struct job *j)
{
	struct queue *q = lz->local.n || local_only ? &lz->local
		: lz->demand.n			    ? &lz->demand
						    : &lz->fill;
	bool fill = q == &lz->fill;
	// beside a mount's readers it takes little at a time, and never every worker
	size_t limit = !fill	 ? JOIN_BYTES
		: lz->background ? background_request(lz)
				 : JOIN_BYTES_FILL;
	size_t bytes = 0;
	uint32_t space = 0;

	while (fill && q->n && lz->state[queue_head(q)] != ST_NONE)
		queue_drop(q);
	if (!q->n || (fill && lz->background && lz->filling >= lz->n_workers / 2))
		return false;
	*j = (struct job){ .first = queue_head(q), .local = q == &lz->local, .fill = fill };
	lz->filling += fill;
	for (; q->n && queue_head(q) == j->first + j->n; queue_drop(q), j->n++) {
		uint32_t chunk = queue_head(q);
		struct chunk_view c;

		index_chunk(lz->conf.ix, chunk, &c);
		if (j->n && (c.space != space || bytes + weight(&c) > limit))
			break;
		if (fill && lz->state[chunk] != ST_NONE)
			break;
		if (fill)
			lz->state[chunk] = ST_FLIGHT;
		space = c.space;
		bytes += weight(&c);
	}
	return true;
}

static void fail_job(struct lazy *lz, const struct job *j, int error)
{
	for (uint32_t i = j->first; i < j->first + j->n; i++) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, i, &c);
		lazy_land(lz, i, &c, NULL, error, 0);
	}
}

// A request that another worker waits for, once more. Called with the lock held.
static void double_flight(struct worker *w, struct flight *f)
{
	struct lazy *lz = w->lz;
	struct job j = { .first = f->first, .n = f->n };

	pthread_mutex_unlock(&lz->lock);
	if (!w->plain)
		w->plain = malloc(lz->plain_max);
	if (w->plain)
		fetch(w, j.first, j.n, false, f);
	else if (flight_end(lz, f))
		fail_job(lz, &j, -ENOMEM);
	pthread_mutex_lock(&lz->lock);
}

// For work; or, where nothing is to be done, until a request of another worker is late. Called with the
// lock held.
static void wait_for_work(struct worker *w)
{
	struct lazy *lz = w->lz;
	struct flight *f;
	uint64_t ns;

	if (w->local_only) {
		pthread_cond_wait(&lz->near, &lz->lock);
		return;
	}
	f = flight_late(lz, &ns);
	if (f) {
		double_flight(w, f);
	} else if (ns == UINT64_MAX) {
		pthread_cond_wait(&lz->work, &lz->lock);
	} else {
		cond_wait_ns(&lz->work, &lz->lock, ns);
	}
}

static void *work(struct lazy *lz, bool local_only)
{
	struct worker w = { .lz = lz, .local_only = local_only };
	struct job j;

	pthread_mutex_lock(&lz->lock);
	while (!lz->stop) {
		if (!take(lz, w.local_only, &j)) {
			wait_for_work(&w);
			continue;
		}
		pthread_mutex_unlock(&lz->lock);
		if (!w.plain)
			w.plain = malloc(lz->plain_max);
		if (!w.plain)
			fail_job(lz, &j, -ENOMEM);
		else if (j.local)
			serve_local(&w, &j);
		else
			serve(&w, &j);
		pthread_mutex_lock(&lz->lock);
		lz->filling -= j.fill;
		if (j.fill && w.packed_cap > JOIN_BYTES) {
			free(steal(&w.packed));
			w.packed_cap = 0;
		}
	}
	pthread_mutex_unlock(&lz->lock);
	free(w.packed);
	free(w.plain);
	return NULL;
}

void *lazy_work_any(void *arg)
{
	return work(arg, false);
}

void *lazy_work_local(void *arg)
{
	return work(arg, true);
}
