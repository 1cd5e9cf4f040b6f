// lazyboot.c - the boot stream: what a start needs, in the order in which it needs it
//
// Frames come from a descriptor, one after the other, or are in the store already. A few threads
// take them in order: who holds `order` reads the next one; decoding and proving go on side by side.
// A frame that is here has proved its blocks, and the readers who wait for them are served. Readers
// do not wait for what is far behind in the stream, or when it stands still: that is asked for as
// ever. A stream that breaks, lies or ends early costs only that.
//
// The store has frames in a file of their own, one after the other (index_boot_key()): what proves
// them is the image's word only, which must not reach the spaces, for these are other images' too.
//
// Threads: `order` guards next and fd; lazy.lock all changes of the frames' states, the waiters,
// stalled. That a frame is here is read without it.
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
#define GIVE_UP_MS 30000   // for as little: it is over
#define AHEAD (8ull << 20) // compressed bytes: farther behind, readers do not wait

enum frame_state { FRAME_COMING, FRAME_HERE, FRAME_LOST };

// A run of blocks with the frame that brings it.
struct piece {
	uint32_t space, block, blocks, frame;
	uint32_t at; // block in the store's file of frames
};

struct lazy_boot {
	struct lazy *lz;
	uint32_t frames, pieces;
	uint32_t
		first; // the stream begins with this frame; those before it are in the store or lost
	int fd;	       // -1: no stream (any more)
	struct space_file file;
	uint32_t *at; // of each frame: its first block in the file
	_Atomic uint8_t *state;
	struct piece *piece;   // by space and block
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
	const struct lazy_boot *b = lz->boot;
	uint32_t block, end;

	if (!b)
		return false;
	for (wanted(c, req, &block, &end); block < end;) {
		const struct piece *p = find_piece(b, c->space, block);

		if (!p || b->state[p->frame] != FRAME_HERE)
			return false;
		block = p->block + p->blocks;
	}
	return true;
}

bool boot_copy(const struct lazy *lz, const struct chunk_view *c, const struct lazy_req *req)
{
	const struct lazy_boot *b = lz->boot;
	struct overlap o = lazy_overlap(c, req);
	uint64_t pos = ((uint64_t)c->block << BLOCK_SHIFT) + o.from, end = pos + o.n;
	uint8_t *to = (uint8_t *)req->buf + o.to;

	if (!boot_has(lz, c, req))
		return false;
	while (pos < end) {
		const struct piece *p = find_piece(b, c->space, (uint32_t)(pos >> BLOCK_SHIFT));
		uint64_t begin = (uint64_t)p->block << BLOCK_SHIFT;
		size_t n = (size_t)MIN(end, begin + ((uint64_t)p->blocks << BLOCK_SHIFT)) - pos;

		if (pread_full(b->file.fd, to, n, ((uint64_t)p->at << BLOCK_SHIFT) + pos - begin))
			return false;
		pos += n;
		to += n;
	}
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
	uint32_t block, end;

	for (wanted(c, req, &block, &end); block < end;) {
		const struct piece *p = find_piece(b, c->space, block);

		if (!p || (b->state[p->frame] != FRAME_HERE && !is_near(b, p->frame)))
			return false;
		block = p->block + p->blocks;
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
	*w = (struct waiter){ req, chunk, lz->boot_waiters };
	lz->boot_waiters = w;
	req->left++;
	if (!lz->waiting++)
		pthread_cond_signal(&lz->expiry);
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
static struct waiter *sift(struct lazy *lz)
{
	const struct lazy_boot *b = lz->boot;
	struct waiter *out = NULL, *w;

	for (struct waiter **p = &lz->boot_waiters; (w = *p);) {
		struct chunk_view c;

		index_chunk(lz->conf.ix, w->chunk, &c);
		bool here = boot_has(lz, &c, w->req);

		if (!here && !lz->stop && comes(b, &c, w->req)) {
			p = &w->next;
			continue;
		}
		*p = w->next;
		lz->waiting--;
		if (!here && !lz->stop && ask_instead(lz, w))
			continue;
		w->next = out;
		out = w;
	}
	return out;
}

// A disk that fails is answered by a fetch. False: that could not be begun.
static bool serve_one(struct lazy *lz, struct waiter *w)
{
	bool asked;

	if (lazy_copy_here(lz, w->chunk, w->req)) {
		lazy_settle(lz, w->req, 0);
		free(w);
		return true;
	}
	pthread_mutex_lock(&lz->lock);
	asked = !lz->stop && ask_instead(lz, w);
	pthread_mutex_unlock(&lz->lock);
	return asked;
}

static void serve(struct lazy *lz, struct waiter *w)
{
	while (w) {
		struct waiter *next = w->next;

		if (!serve_one(lz, w)) {
			lazy_settle(lz, w->req, lz->stop ? -ECANCELED : -ENOMEM);
			free(w);
		}
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
	w = sift(lz);
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
	w = sift(lz);
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
		if (now_ns() - since > GIVE_UP_MS * 1000000ull)
			return -ETIMEDOUT;
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
static bool load_frame(
	struct lazy_boot *b, uint32_t frame, const struct frame_view *f, uint8_t *plain)
{
	return space_has(&b->file, b->at[frame], f->blocks) &&
		!pread_full(b->file.fd, plain, (size_t)f->blocks << BLOCK_SHIFT,
			(uint64_t)b->at[frame] << BLOCK_SHIFT) &&
		is_sound(f, plain);
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
		here = here && !lazy_keep(lz, &b->file, b->at[frame], f.blocks, plain);
		atomic_fetch_add(&lz->stats->boot_bytes, f.clen);
	} else {
		here = load_frame(b, frame, &f, plain);
	}
	atomic_fetch_add(
		packed ? &lz->stats->boot_frames : &lz->stats->boot_frames_here, here ? 1 : 0);
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

// The next frame: its number, or that of frames when there is no more. *ret_came: its bytes are in
// packed. Without buffers (NULL) there is no stream.
static uint32_t next_frame(struct lazy_boot *b, uint8_t *packed, bool *ret_came)
{
	uint32_t frame;

	*ret_came = false;
	pthread_mutex_lock(&b->order);
	frame = b->next;
	if (frame < b->frames && b->fd >= 0 && frame >= b->first) {
		struct frame_view f;
		int r;

		index_frame(b->lz->conf.ix, frame, &f);
		r = packed ? read_stream(b, packed, f.clen) : -ENOMEM;
		if (r)
			end_stream(b, r);
		*ret_came = !r;
	}
	if (frame < b->frames)
		b->next++;
	else if (b->fd >= 0)
		close(steal_fd(&b->fd));
	pthread_mutex_unlock(&b->order);
	return frame;
}

static void *take_frames(void *arg)
{
	struct lazy_boot *b = arg;
	size_t max = FMT_FRAME_BLOCKS_MAX * BLOCK_BYTES;
	uint8_t *packed = malloc(max), *plain = malloc(max);
	bool came;

	while (!b->lz->stop) {
		// cppcheck-suppress uninitdata ; it is filled there
		uint32_t frame = next_frame(b, plain ? packed : NULL, &came);

		if (frame == b->frames)
			break;
		if (plain)
			take_frame(b, frame, came ? packed : NULL, plain);
		else
			settle_frame(b, frame, false);
	}
	free(packed);
	free(plain);
	return NULL;
}

// ---- life ----

static void list_pieces(struct lazy_boot *b)
{
	const struct index *ix = b->lz->conf.ix;
	struct frame_view last;
	uint32_t at = 0;

	index_frame(ix, b->frames - 1, &last);
	b->piece = xcalloc(last.first_run + last.runs, sizeof *b->piece);
	b->at = xcalloc(b->frames, sizeof *b->at);
	for (uint32_t i = 0; i < b->frames; i++) {
		struct frame_view f;

		index_frame(ix, i, &f);
		b->at[i] = at;
		for (uint32_t j = f.first_run; j < f.first_run + f.runs; j++) {
			struct run_view r;

			index_run(ix, j, &r);
			b->piece[b->pieces++] = (struct piece){ r.space, r.block, r.blocks, i, at };
			at += r.blocks;
		}
	}
	qsort(b->piece, b->pieces, sizeof *b->piece, by_place);
}

static void boot_free(struct lazy_boot *b)
{
	if (b->fd >= 0)
		close(b->fd);
	space_file_close(&b->file);
	pthread_mutex_destroy(&b->order);
	free((void *)b->state);
	free(b->at);
	free(b->piece);
	free(b);
}

static struct lazy_boot *boot_new(struct lazy *lz)
{
	const struct index *ix = lz->conf.ix;
	struct digest key = index_boot_key(ix);
	struct lazy_boot *b = xcalloc(1, sizeof *b);

	b->lz = lz;
	b->frames = index_frames(ix);
	b->state = xcalloc(b->frames, sizeof *b->state);
	b->fd = lz->hooks.boot_fd > 0 ? lz->hooks.boot_fd : -1;
	b->first = lz->hooks.boot_first;
	b->file.fd = -1;
	pthread_mutex_init(&b->order, NULL);
	list_pieces(b);
	if (!store_space(lz->conf.store, &key, index_frames_blocks(ix), &b->file))
		return b;
	boot_free(b); // (it has been said)
	return NULL;
}

int boot_open(struct lazy *lz)
{
	struct lazy_boot *b;

	if (!index_frames(lz->conf.ix)) {
		if (lz->hooks.boot_fd > 0)
			close(lz->hooks.boot_fd);
		return 0;
	}
	b = boot_new(lz);
	if (!b)
		return 0;
	pthread_mutex_lock(&lz->lock);
	lz->boot = b;
	pthread_mutex_unlock(&lz->lock);
	while (b->n_threads < THREADS &&
		!pthread_create(&b->threads[b->n_threads], NULL, take_frames, b))
		b->n_threads++;
	return b->n_threads ? 0 : warn_errno(-EAGAIN, "start a thread");
}

void boot_close(struct lazy *lz)
{
	struct waiter *w;

	if (!lz->boot)
		return;
	for (unsigned i = 0; i < lz->boot->n_threads; i++)
		pthread_join(lz->boot->threads[i], NULL);
	pthread_mutex_lock(&lz->lock);
	w = sift(lz);
	pthread_mutex_unlock(&lz->lock);
	serve(lz, w);
	boot_free(steal(&lz->boot));
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

bool lazy_boot_over(struct lazy *lz, uint32_t *ret_lost)
{
	uint64_t when;
	bool over = boot_over(lz, &when);
	const struct lazy_boot *b = lz->boot;

	*ret_lost = 0;
	for (uint32_t i = 0; over && b && i < b->frames; i++)
		*ret_lost += b->state[i] != FRAME_HERE;
	return over;
}
