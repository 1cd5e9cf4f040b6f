// lazyfill.c - what nobody has asked for yet: all of it for lazy_fetch_all, and the background fill
// of a mount
//
// A mount fills itself when its start is over, so that a lazy start is never slower than a plain
// pull in the end, and a registry that goes away later is no longer needed. The start is over some
// time after the boot stream has ended, or, without one, when the image has been mounted for a
// while; at once, when readers want so much that they are reading all of it. Chunks are taken in
// the order of the data, from where readers are; few at a time, so that a reader never waits behind
// many of them.
//
// Threads: `background`, which only puts chunks into the fill's queue. lazy.lock guards that and
// the background's fields.
// SPDX-License-Identifier: Apache-2.0
#include "format.h"
#include "lazyint.h"
#include "log.h"

#define NAP_MS 20
#define QUIET_BOOT_MS 4000     // after the boot stream: the start is over
#define QUIET_NONE_MS 10000    // after the mount, without one
#define BULK_BYTES (64u << 20) // taken by readers, and ...
#define BULK_PART 8	       // ... this part of the image: it is being read whole
#define MISSES 32	       // requests for readers: what the start reads was not foreseen
#define AGAIN_MS 15000	       // after a failure
#define QUEUE_LOW 16	       // chunks
#define QUEUED_BYTES (8u << 20)
// of one request: what the wire brings in this time, besides the way there and back
#define REQUEST_NS 5000000u
#define REQUEST_MIN (256u << 10)
#define REQUEST_FIRST (512u << 10)
#define REQUEST_MAX (2u << 20)
#define PACE_REQUESTS 4 // from which the rate is learnt

struct background {
	pthread_t thread;
	bool running;
	uint64_t begun;
	uint64_t failed;       // when, ns; 0: not
	_Atomic bool full;     // what is fetched cannot be kept
	uint64_t total, plain; // bytes of the image, compressed and not
	uint64_t sent;	       // put into the queue since ...
	uint64_t since;	       // ... this, for the rate
	uint32_t pos;	       // next chunk
	uint32_t passed;       // chunks looked at in this round
	uint64_t followed;     // when the reader whose place is that of the fill needed it
	bool started_said, whole_said;
	size_t request;		      // compressed bytes of the next request
	uint64_t nearest;	      // ns, the shortest time until a request's first byte
	uint64_t measured, measuring; // when the last measurement ended, and this one began
	uint64_t got;		      // bytes since
	unsigned requests;
};

// ---- everything, for pull ----

// Ends the fill: nothing more is begun. Called with the lock held.
static void drop_fill(struct lazy *lz)
{
	for (; lz->fill.n; queue_drop(&lz->fill)) {
		uint32_t chunk = queue_head(&lz->fill);

		// one that is in flight will land
		if (lz->state[chunk] != ST_FLIGHT && lz->awaited[chunk]) {
			lz->awaited[chunk] = false;
			lz->fill_left--;
		}
	}
}

void fill_landed(struct lazy *lz, const struct chunk_view *c, int error)
{
	if (lz->progress && !error)
		lz->progress(lz->progress_arg, c->clen);
	pthread_mutex_lock(&lz->lock);
	if (error && !lz->fill_error) {
		lz->fill_error = error;
		drop_fill(lz);
	}
	if (!--lz->fill_left)
		pthread_cond_broadcast(&lz->filled);
	pthread_mutex_unlock(&lz->lock);
}

int lazy_fetch_all(struct lazy *lz, void (*progress)(void *, uint64_t), void *arg)
{
	uint32_t n = index_chunks(lz->conf.ix);
	int r = 0;

	pthread_mutex_lock(&lz->lock);
	lz->progress = progress;
	lz->progress_arg = arg;
	lz->fill_error = 0;
	for (uint32_t i = 0; i < n && !r; i++) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, i, &c);
		if (c.codec == CODEC_ZERO || lz->state[i] == ST_OK)
			continue;
		if (lz->state[i] == ST_NONE) // else a reader's flight brings it
			r = queue_put(&lz->fill, i);
		lz->awaited[i] = !r;
		lz->fill_left += !r;
	}
	if (r)
		drop_fill(lz);
	pthread_cond_broadcast(&lz->work);
	while (lz->fill_left)
		pthread_cond_wait(&lz->filled, &lz->lock);
	if (!r)
		r = lz->fill_error;
	pthread_mutex_unlock(&lz->lock);
	return r;
}

// ---- in the background ----

void background_failed(struct lazy *lz, int error)
{
	if (lz->background && error)
		lz->background->failed = now_ns();
	else if (lz->background)
		lz->background->full = true;
}

static uint64_t ms_since(uint64_t ns)
{
	uint64_t now = now_ns();

	return now > ns ? (now - ns) / 1000000 : 0;
}

static bool is_much(uint64_t bytes, uint64_t of)
{
	return bytes > BULK_BYTES && bytes > of / BULK_PART;
}

// Readers have wanted a good part of the image that neither the store nor the boot stream had.
static bool is_unforeseen(const struct lazy *lz)
{
	return is_much(lz->stats->demand_bytes, lz->background->total);
}

// They are reading all of it.
static bool is_bulk(const struct lazy *lz)
{
	return is_unforeseen(lz) || is_much(lz->taken, lz->background->plain);
}

static bool start_is_over(struct lazy *lz)
{
	uint64_t when;

	if (is_unforeseen(lz))
		return true;
	if (!boot_over(lz, &when))
		return false;
	if (lz->hooks.fill == LAZY_FILL_NOW)
		return true;
	return when ? ms_since(when) > QUIET_BOOT_MS
		    : ms_since(lz->background->begun) > QUIET_NONE_MS;
}

static bool may_queue(const struct lazy *lz)
{
	const struct background *b = lz->background;
	uint64_t rate = lz->hooks.fill_rate;

	if (b->failed && ms_since(b->failed) < AGAIN_MS)
		return false;
	return !rate || b->sent <= ms_since(b->since) * rate / 1000;
}

// ---- the size of its requests ----

// Requests of the fill are under way when a reader wants something else, and what is under way shares the wire with
// that: so a request is as small as it may be without the wire having to wait for the next one. Who reads all of
// the image has no use for that.
size_t background_request(const struct lazy *lz)
{
	return is_bulk(lz) ? REQUEST_MAX : lz->background->request;
}

// bytes came from `begun` to now, the first at `first` (ns).
void background_fetched(struct lazy *lz, uint64_t begun, uint64_t first, size_t bytes)
{
	struct background *b = lz->background;
	uint64_t now = now_ns();

	pthread_mutex_lock(&lz->lock);
	b->nearest = MIN(b->nearest, first - begun);
	if (!b->requests++)
		b->measuring = MAX(begun, b->measured);
	b->got += bytes;
	if (b->requests == PACE_REQUESTS) {
		uint64_t rate =
			b->got * 1000000 / (MAX(now - b->measuring, 1000u) / 1000); // a second

		b->request = (size_t)MIN(REQUEST_MAX,
			MAX(REQUEST_MIN, rate / 1000 * ((REQUEST_NS + b->nearest) / 1000) / 1000));
		b->measured = now;
		b->requests = 0;
		b->got = 0;
	}
	pthread_mutex_unlock(&lz->lock);
}

// ---- what is to be fetched ----

// The next chunk that is neither here nor on its way. Called with the lock held.
static bool next_missing(struct lazy *lz, uint32_t *ret)
{
	struct background *b = lz->background;
	uint32_t n = index_chunks(lz->conf.ix);

	for (; b->passed < n; b->passed++, b->pos = (b->pos + 1) % n) {
		struct chunk_view c;

		if (lz->state[b->pos] != ST_NONE)
			continue;
		index_chunk(lz->conf.ix, b->pos, &c);
		if (c.codec == CODEC_ZERO || !lz->spaces[c.space].blob ||
			space_has(&lz->spaces[c.space].file, c.block, c.blocks))
			continue;
		*ret = b->pos;
		b->passed++;
		b->pos = (b->pos + 1) % n;
		return true;
	}
	return false;
}

// Goes on from where a reader has just needed something that was not here: what comes behind it is what is
// likely to be needed next. What is queued elsewhere is found again by the round. Called with the lock held.
static void follow_readers(struct lazy *lz)
{
	struct background *b = lz->background;

	if (lz->demanded == b->followed || lz->fill_left)
		return;
	b->followed = lz->demanded;
	b->pos = lz->demanded_chunk;
	b->passed = 0;
	for (; lz->fill.n; queue_drop(&lz->fill)) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, queue_head(&lz->fill), &c);
		b->sent -= MIN(b->sent, (uint64_t)c.clen);
	}
}

// Tops the queue up if it is low. False: there is nothing left to fetch.
static bool top_up(struct lazy *lz)
{
	struct background *b = lz->background;
	uint64_t queued = 0;
	uint32_t chunk;
	bool more = true, low;

	pthread_mutex_lock(&lz->lock);
	follow_readers(lz);
	low = lz->fill.n < QUEUE_LOW;
	while (low && queued < QUEUED_BYTES && !b->full && may_queue(lz) &&
		(more = next_missing(lz, &chunk))) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, chunk, &c);
		if (queue_put(&lz->fill, chunk))
			break;
		queued += c.clen;
		b->sent += c.clen;
	}
	if (queued)
		pthread_cond_broadcast(&lz->work);
	more = (more && !b->full) || lz->fill.n || lz->filling;
	pthread_mutex_unlock(&lz->lock);
	return more;
}

// From where readers are, once around.
static void begin_round(struct lazy *lz)
{
	struct background *b = lz->background;

	pthread_mutex_lock(&lz->lock);
	b->pos = lz->demanded ? lz->demanded_chunk : 0;
	b->passed = 0;
	b->sent = 0;
	b->since = now_ns();
	b->failed = 0;
	pthread_mutex_unlock(&lz->lock);
}

// Some of the round was not fetched.
static bool is_incomplete(struct lazy *lz)
{
	bool failed;

	pthread_mutex_lock(&lz->lock);
	failed = lz->background->failed;
	pthread_mutex_unlock(&lz->lock);
	return failed;
}

static void say_started(struct lazy *lz)
{
	struct background *b = lz->background;

	if (b->started_said)
		return;
	b->started_said = true;
	lz->stats->start_over = now_ns();
	pthread_mutex_lock(&lz->hook_lock);
	if (lz->hooks.started)
		lz->hooks.started(lz->hooks.arg);
	pthread_mutex_unlock(&lz->hook_lock);
}

static void say_whole(struct lazy *lz)
{
	struct background *b = lz->background;

	if (b->whole_said)
		return;
	b->whole_said = true;
	pthread_mutex_lock(&lz->hook_lock);
	if (lz->hooks.whole)
		lz->hooks.whole(lz->hooks.arg);
	pthread_mutex_unlock(&lz->hook_lock);
}

static void *fill_in_background(void *arg)
{
	struct lazy *lz = arg;
	struct background *b = lz->background;
	bool more;

	while (!lz->stop && !start_is_over(lz)) {
		if (lz->stats->demand_requests > MISSES)
			say_started(lz);
		lazy_pause(NAP_MS);
	}
	if (lz->stop)
		return NULL;
	say_started(lz);
	if (lz->hooks.fill == LAZY_FILL_OFF || !lz->conf.repo)
		return NULL;
	debug("%s: the background fill begins", lz->conf.repo->name);
	do {
		begin_round(lz);
		for (more = true; more && !lz->stop; lazy_pause(NAP_MS)) {
			more = top_up(lz);
			if (is_bulk(lz))
				say_whole(lz);
		}
	} while (!b->full && !lz->stop && is_incomplete(lz));
	if (!b->full && !lz->stop) {
		lz->stats->complete = now_ns();
		say_whole(lz);
	}
	if (b->full)
		info("%s: the background fill ends: the store cannot be written",
			lz->conf.repo->name);
	else if (!lz->stop)
		info("%s: all of the image is here", lz->conf.repo->name);
	return NULL;
}

int background_open(struct lazy *lz)
{
	struct background *b = xcalloc(1, sizeof *b);

	for (uint32_t i = 0; i < lz->n_spaces; i++) {
		struct space_view sp;

		index_space(lz->conf.ix, i, &sp);
		b->total += sp.blob_size;
		b->plain += (uint64_t)sp.blocks << BLOCK_SHIFT;
	}
	b->begun = now_ns();
	b->request = REQUEST_FIRST;
	b->nearest = UINT64_MAX;
	pthread_mutex_lock(&lz->lock);
	lz->background = b;
	pthread_mutex_unlock(&lz->lock);
	if (pthread_create(&b->thread, NULL, fill_in_background, lz))
		return warn_errno(-EAGAIN, "start a thread");
	b->running = true;
	return 0;
}

void background_close(struct lazy *lz)
{
	if (!lz->background)
		return;
	if (lz->background->running)
		pthread_join(lz->background->thread, NULL);
	free(lz->background);
	lz->background = NULL;
}
