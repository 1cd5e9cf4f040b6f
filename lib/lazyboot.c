// lazyboot.c - the boot stream: what a start needs, in the order in which it needs it
//
// Frames come from a descriptor, one after the other, or are in the store already. A few threads
// take them in order: who holds `order` reads the next one; decoding and proving go on side by side.
// A frame that is here has proved its blocks, and the readers who wait for them are served. Readers
// do not wait for what is far behind in the stream, or when it stands still: that is asked for as
// ever. A stream that breaks, lies or ends early costs only that.
//
// Threads: `order` guards next and fd; lazy.lock the frames' states, the waiters, stalled.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>

#include "format.h"
#include "lazyint.h"
#include "log.h"
#include "pack.h"

#define THREADS 2
#define TICK_MS 100
#define STALL_MS 1000 // for less than STALL_BYTES: readers no longer wait for it
#define STALL_BYTES (16u << 10)
#define AHEAD (8ull << 20) // compressed bytes: farther behind, readers do not wait

enum frame_state { FRAME_COMING, FRAME_HERE, FRAME_LOST };

// A run of blocks with the frame that brings it.
struct piece {
	uint32_t space, block, blocks, frame;
};

struct lazy_boot {
	struct lazy *lz;
	uint32_t frames, pieces;
	uint32_t
		first; // the stream begins with this frame; those before it are in the store or lost
	int fd;	       // -1: no stream (any more)
	uint8_t *state;
	struct piece *piece; // by space and block
	struct waiter *waiters;
	_Atomic uint32_t next; // frame
	uint32_t settled;      // frames that are here or lost
	_Atomic bool stalled;
	uint64_t over; // since when all frames are settled, ns; 0: they are not
	pthread_mutex_t order;
	pthread_t threads[THREADS];
	unsigned n_threads;
};

// ---- which frame brings a block ----

static int by_place(const void *pa, const void *pb)
{
	const struct piece *a = pa, *b = pb;

	if (a->space != b->space)
		return a->space < b->space ? -1 : 1;
	if (a->block != b->block)
		return a->block < b->block ? -1 : 1;
	return a->frame < b->frame ? -1 : a->frame > b->frame;
}

// Of pieces that overlap (writers make none) any will do: a block that is not found is asked for.
static const struct piece *find_piece(const struct lazy_boot *b, uint32_t space, uint32_t block)
{
	uint32_t lo = 0, hi = b->pieces;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct piece *p = &b->piece[mid];

		if (p->space < space || (p->space == space && p->block + p->blocks <= block))
			lo = mid + 1;
		else
			hi = mid;
	}
	if (lo == b->pieces || b->piece[lo].space != space || b->piece[lo].block > block)
		return NULL;
	return &b->piece[lo];
}

static bool is_proved(const struct space *sp, uint32_t block)
{
	return sp->proved[block / 8] & 1u << block % 8;
}

static void set_proved(struct space *sp, uint32_t block, uint32_t n)
{
	for (; n--; block++)
		atomic_fetch_or(&sp->proved[block / 8], (uint8_t)(1u << block % 8));
}

// The blocks [*ret_first, *ret_end) that a request wants of a chunk.
static void wanted(const struct chunk_view *c, const struct lazy_req *req, uint32_t *ret_first,
	uint32_t *ret_end)
{
	struct overlap o = lazy_overlap(c, req);

	*ret_first = c->block + (uint32_t)(o.from >> BLOCK_SHIFT);
	*ret_end = c->block + (uint32_t)((o.from + o.n + BLOCK_BYTES - 1) >> BLOCK_SHIFT);
}

bool boot_has(const struct lazy *lz, const struct chunk_view *c, const struct lazy_req *req)
{
	const struct space *sp = &lz->spaces[c->space];
	uint32_t block, end;

	if (!sp->proved)
		return false;
	wanted(c, req, &block, &end);
	while (block < end)
		if (!is_proved(sp, block++))
			return false;
	return true;
}

// Will the frame come soon? Called with the lock held.
static bool is_near(const struct lazy_boot *b, uint32_t frame)
{
	struct frame_view f, now;
	uint32_t next = b->next;

	if (b->state[frame] != FRAME_COMING || b->stalled)
		return false;
	if (frame < next)
		return true;
	index_frame(b->lz->conf.ix, frame, &f);
	index_frame(b->lz->conf.ix, next, &now);
	return f.off - now.off <= AHEAD;
}

// Does all that a request wants of a chunk come soon, if it is not here? Called with the lock held.
static bool comes(const struct lazy_boot *b, const struct chunk_view *c, const struct lazy_req *req)
{
	const struct space *sp = &b->lz->spaces[c->space];
	uint32_t block, end;

	if (!sp->proved)
		return false;
	for (wanted(c, req, &block, &end); block < end; block++) {
		const struct piece *p;

		if (is_proved(sp, block))
			continue;
		p = find_piece(b, c->space, block);
		if (!p || !is_near(b, p->frame))
			return false;
	}
	return true;
}

// ---- readers who wait ----

bool boot_wait(struct lazy *lz, uint32_t chunk, struct lazy_req *req)
{
	struct lazy_boot *b = lz->boot;
	struct chunk_view c;
	struct waiter *w;

	if (!b || b->over)
		return false;
	index_chunk(lz->conf.ix, chunk, &c);
	if (!comes(b, &c, req))
		return false;
	w = malloc(sizeof *w);
	if (!w)
		return false;
	*w = (struct waiter){ req, chunk, b->waiters };
	b->waiters = w;
	req->left++;
	return true;
}

// A waiter becomes one of those that ask the registry. Called with the lock held; false: it could
// not.
static bool ask_instead(struct lazy *lz, struct waiter *w)
{
	if (lazy_wait_for(lz, w->chunk, w->req))
		return false;
	w->req->left--; // one part in place of another
	free(w);
	return true;
}

// Takes off the list who need wait no longer: those whose blocks are here, to be served; the others
// whose blocks do not come ask for them. Returns the former and, with an error, the few that could
// not. Called with the lock held.
static struct waiter *sift(struct lazy_boot *b)
{
	struct lazy *lz = b->lz;
	struct waiter *out = NULL, *w;

	for (struct waiter **p = &b->waiters; (w = *p);) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, w->chunk, &c);
		if (!boot_has(lz, &c, w->req) && !lz->stop && comes(b, &c, w->req)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		if (!boot_has(lz, &c, w->req) && !lz->stop && ask_instead(lz, w))
			continue;
		w->next = out;
		out = w;
	}
	return out;
}

static void serve(struct lazy *lz, struct waiter *w)
{
	while (w) {
		struct waiter *next = w->next;
		bool here = lazy_copy_here(lz, w->chunk, w->req);

		lazy_settle(lz, w->req, here ? 0 : lz->stop ? -ECANCELED : -EIO);
		free(w);
		w = next;
	}
}

// ---- frames ----

// A frame is here, or will not come.
static void settle_frame(struct lazy_boot *b, uint32_t frame, bool here)
{
	struct lazy *lz = b->lz;
	struct waiter *w;

	pthread_mutex_lock(&lz->lock);
	b->state[frame] = here ? FRAME_HERE : FRAME_LOST;
	if (++b->settled == b->frames) {
		b->over = now_ns();
		lz->stats->boot_over = b->over;
	}
	w = sift(b);
	pthread_mutex_unlock(&lz->lock);
	serve(lz, w);
}

static void set_stalled(struct lazy_boot *b, bool stalled)
{
	struct lazy *lz = b->lz;
	struct waiter *w;

	if (b->stalled == stalled)
		return;
	debug("%s: the boot stream %s", lz->conf.repo ? lz->conf.repo->name : "",
		stalled ? "stands still" : "goes on");
	pthread_mutex_lock(&lz->lock);
	b->stalled = stalled;
	w = sift(b);
	pthread_mutex_unlock(&lz->lock);
	serve(lz, w);
}

// Exactly n bytes of the stream, or -errno. Called with `order` held.
static int read_stream(struct lazy_boot *b, uint8_t *buf, size_t n)
{
	uint64_t since = now_ns();
	size_t some = 0;

	while (n) {
		struct pollfd p = { .fd = b->fd, .events = POLLIN };
		int r = poll(&p, 1, TICK_MS);
		ssize_t got;

		if (b->lz->stop)
			return -ECANCELED;
		if (r < 0 && errno != EINTR)
			return -errno;
		if (now_ns() - since > STALL_MS * 1000000ull)
			set_stalled(b, true);
		if (r <= 0)
			continue;
		got = read(b->fd, buf, n);
		if (got < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (got <= 0)
			return got ? -errno : -ENODATA;
		buf += got;
		n -= (size_t)got;
		some += (size_t)got;
		if (n && some < STALL_BYTES)
			continue;
		some = 0;
		since = now_ns();
		set_stalled(b, false);
	}
	return 0;
}

static bool is_sound(const struct frame_view *f, const uint8_t *plain)
{
	struct digest d = sha256_of(plain, (size_t)f->blocks << BLOCK_SHIFT);

	return digest_equal(&d, &f->sha);
}

// The frame's blocks from the store, when all are there and right.
static bool load_frame(struct lazy *lz, const struct frame_view *f, uint8_t *plain)
{
	for (uint32_t i = f->first_run, at = 0; i < f->first_run + f->runs; i++) {
		struct run_view r;

		index_run(lz->conf.ix, i, &r);
		if (!space_has(&lz->spaces[r.space].file, r.block, r.blocks) ||
			pread_full(lz->spaces[r.space].file.fd, plain + ((size_t)at << BLOCK_SHIFT),
				(size_t)r.blocks << BLOCK_SHIFT, (uint64_t)r.block << BLOCK_SHIFT))
			return false;
		at += r.blocks;
	}
	return is_sound(f, plain);
}

static void prove_frame(struct lazy *lz, const struct frame_view *f)
{
	for (uint32_t i = f->first_run; i < f->first_run + f->runs; i++) {
		struct run_view r;

		index_run(lz->conf.ix, i, &r);
		set_proved(&lz->spaces[r.space], r.block, r.blocks);
	}
}

static bool keep_frame(struct lazy *lz, const struct frame_view *f, const uint8_t *plain)
{
	for (uint32_t i = f->first_run, at = 0; i < f->first_run + f->runs; i++) {
		struct run_view r;

		index_run(lz->conf.ix, i, &r);
		if (lazy_keep(lz, r.space, r.block, r.blocks, plain + ((size_t)at << BLOCK_SHIFT)))
			return false;
		at += r.blocks;
	}
	return true;
}

// Only after its readers were served: the watcher may be slow.
static void tell_frame(struct lazy *lz, const struct frame_view *f)
{
	for (uint32_t i = f->first_run; i < f->first_run + f->runs; i++) {
		struct run_view r;

		index_run(lz->conf.ix, i, &r);
		lazy_landed(lz, r.space, r.block, r.blocks);
	}
}

// packed: what the stream has brought, or NULL.
static void take_frame(struct lazy_boot *b, uint32_t frame, const uint8_t *packed, uint8_t *plain)
{
	struct lazy *lz = b->lz;
	struct frame_view f;
	bool here;

	index_frame(lz->conf.ix, frame, &f);
	if (packed) {
		here = !chunk_decode(
			       f.codec, packed, f.clen, plain, (size_t)f.blocks << BLOCK_SHIFT) &&
			is_sound(&f, plain);
		if (!here)
			warn("boot frame %u does not match the index; its data is fetched in the usual way",
				frame);
		here = here && keep_frame(lz, &f, plain);
		atomic_fetch_add(&lz->stats->boot_bytes, f.clen);
	} else {
		here = load_frame(lz, &f, plain);
	}
	atomic_fetch_add(
		packed ? &lz->stats->boot_frames : &lz->stats->boot_frames_here, here ? 1 : 0);
	if (here)
		prove_frame(lz, &f);
	settle_frame(b, frame, here);
	if (here)
		tell_frame(lz, &f);
}

static void end_stream(struct lazy_boot *b, int r)
{
	if (r != -ECANCELED)
		debug("the boot stream ended early: %s", strerror(-r));
	close(steal_fd(&b->fd));
}

static void *take_frames(void *arg)
{
	struct lazy_boot *b = arg;
	size_t max = FMT_FRAME_BLOCKS_MAX * BLOCK_BYTES;
	uint8_t *packed = malloc(max), *plain = malloc(max);

	while (packed && plain && !b->lz->stop) {
		struct frame_view f;
		uint32_t frame;
		bool came = false;

		pthread_mutex_lock(&b->order);
		frame = b->next;
		if (frame < b->frames && b->fd >= 0 && frame >= b->first) {
			int r;

			index_frame(b->lz->conf.ix, frame, &f);
			r = read_stream(b, packed, f.clen);
			if (r)
				end_stream(b, r);
			came = !r;
		}
		if (frame < b->frames)
			b->next++;
		else if (b->fd >= 0)
			close(steal_fd(&b->fd));
		pthread_mutex_unlock(&b->order);
		if (frame == b->frames)
			break;
		take_frame(b, frame, came ? packed : NULL, plain);
	}
	free(packed);
	free(plain);
	return NULL;
}

// ---- life ----

static void list_pieces(struct lazy_boot *b)
{
	const struct index *ix = b->lz->conf.ix;
	uint32_t n = 0;

	for (uint32_t i = 0; i < b->frames; i++) {
		struct frame_view f;

		index_frame(ix, i, &f);
		n = MAX(n, f.first_run + f.runs);
	}
	b->piece = xcalloc(n, sizeof *b->piece);
	for (uint32_t i = 0; i < b->frames; i++) {
		struct frame_view f;

		index_frame(ix, i, &f);
		for (uint32_t j = f.first_run; j < f.first_run + f.runs; j++) {
			struct run_view r;

			index_run(ix, j, &r);
			b->piece[b->pieces++] = (struct piece){ r.space, r.block, r.blocks, i };
		}
	}
	qsort(b->piece, b->pieces, sizeof *b->piece, by_place);
}

static void make_bits(struct lazy_boot *b)
{
	for (uint32_t i = 0; i < b->pieces; i++) {
		struct space *sp = &b->lz->spaces[b->piece[i].space];
		struct space_view v;

		index_space(b->lz->conf.ix, b->piece[i].space, &v);
		if (!sp->proved)
			sp->proved = xcalloc(((size_t)v.blocks + 7) / 8, 1);
	}
}

int boot_open(struct lazy *lz)
{
	struct lazy_boot *b;

	if (!index_frames(lz->conf.ix))
		return 0;
	b = xcalloc(1, sizeof *b);
	b->lz = lz;
	b->frames = index_frames(lz->conf.ix);
	b->state = xcalloc(b->frames, sizeof *b->state);
	b->fd = lz->hooks.boot_fd > 0 ? fcntl(lz->hooks.boot_fd, F_DUPFD_CLOEXEC, 3) : -1;
	b->first = lz->hooks.boot_first;
	pthread_mutex_init(&b->order, NULL);
	list_pieces(b);
	make_bits(b);
	lz->boot = b;
	while (b->n_threads < THREADS &&
		!pthread_create(&b->threads[b->n_threads], NULL, take_frames, b))
		b->n_threads++;
	return b->n_threads ? 0 : warn_errno(-EAGAIN, "start a thread");
}

void boot_close(struct lazy *lz)
{
	struct lazy_boot *b = lz->boot;
	struct waiter *w;

	if (!b)
		return;
	for (unsigned i = 0; i < b->n_threads; i++)
		pthread_join(b->threads[i], NULL);
	pthread_mutex_lock(&lz->lock);
	w = sift(b);
	pthread_mutex_unlock(&lz->lock);
	serve(lz, w);
	if (b->fd >= 0)
		close(b->fd);
	pthread_mutex_destroy(&b->order);
	for (uint32_t i = 0; i < lz->n_spaces; i++)
		free((void *)lz->spaces[i].proved);
	free(b->state);
	free(b->piece);
	free(b);
	lz->boot = NULL;
}

bool boot_over(struct lazy *lz, uint64_t *ret_when)
{
	bool over;

	pthread_mutex_lock(&lz->lock);
	over = !lz->boot || lz->boot->over;
	*ret_when = lz->boot ? lz->boot->over : 0;
	pthread_mutex_unlock(&lz->lock);
	return over;
}
