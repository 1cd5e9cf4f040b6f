// lazyint.h - the inside of the demand engine: what lazy.c, lazyboot.c and lazyfill.c share
//
// Not for anybody else. `lock` guards state transitions to and from FLIGHT, the waiters, the
// queues, all of the fill, and every pending request's left and error. A chunk in state OK stays
// OK, and a frame that is here stays here: readers test that without the lock. Lock order: none other
// is taken under `lock`.
// SPDX-License-Identifier: Apache-2.0
#ifndef LAZYINT_H
#define LAZYINT_H

#include <pthread.h>

#include "lazy.h"
#include "stats.h"
#include "store.h"

enum state { ST_NONE, ST_FLIGHT, ST_OK };

// A part of a request: what it wants of one chunk.
struct waiter {
	struct lazy_req *req;
	uint32_t chunk;
	struct waiter *next;
};

struct space {
	struct space_file file;
	const struct desc *blob; // or NULL: local only
};

// Chunk numbers waiting for a worker, first in first out; cap is a power of two.
struct queue {
	uint32_t *v;
	size_t head, n, cap;
};

// A request for readers that is under way, by one worker, or by a second one too.
struct flight {
	struct flight *next;
	uint32_t first, n; // chunks
	uint64_t since;	   // ns
	unsigned parties;
	bool arrived; // something of it
	bool doubled;
};
#define HEDGE_SAMPLES 64
struct hedges {
	struct flight *flights;
	uint32_t sample[HEDGE_SAMPLES]; // us until the first byte, the last ones
	uint64_t samples, begun, doubled;
	uint64_t delay; // ns after which a request is late; 0: not known
};

struct lazy_boot;
struct background;

struct lazy {
	struct lazy_conf conf;
	struct space *spaces;
	uint32_t n_spaces;
	_Atomic uint8_t *state;
	struct waiter **waiters;
	bool *awaited;	  // by lazy_fetch_all
	size_t plain_max; // bytes of the largest stored chunk
	pthread_t *workers;
	unsigned n_workers;
	pthread_mutex_t lock;
	pthread_cond_t work, near; // for the workers; for the one that serves `local` alone
	pthread_cond_t expiry;
	struct queue local, demand, fill;
	struct queue lost; // chunks that the source has not, in flight still: for the rescuer
	pthread_t rescuer;
	bool rescues;	     // it has been started
	pthread_cond_t loss; // for it
	char why_bad[512];   // set before bad_source is
	struct hedges hedges;
	unsigned filling;     // workers that fetch for the fill
	size_t waiting;	      // waiters, of chunks and of the boot stream
	uint64_t late, later; // when readers had last waited in vain: all their time; or in a hurry
	_Atomic bool stop;
	_Atomic bool no_cache_said, damaged, bad_source;
	struct lazy_boot *boot; // or NULL: the image has no frames
	struct waiter *boot_waiters;
	struct lazy_hooks hooks;
	_Atomic bool asking;	   // hooks.asked is there
	pthread_mutex_t hook_lock; // held while a hook runs; guards which there are
	struct background *background;
	struct stats *stats, *own_stats; // own: conf has none
	_Atomic uint64_t demanded;	 // when a reader last needed the network, ns
	_Atomic uint32_t demanded_chunk; // and what
	_Atomic uint64_t
		taken; // plain bytes of chunks that readers were given (but for the boot stream's)
	// of lazy_fetch_all
	pthread_cond_t filled;
	size_t fill_left; // chunks that are awaited
	int fill_error;
	void (*progress)(void *, uint64_t);
	void *progress_arg;
};

// The part of a request that lies in a chunk.
struct overlap {
	size_t from; // in the chunk
	size_t to;   // in the request
	size_t n;
};
struct overlap lazy_overlap(const struct chunk_view *c, const struct lazy_req *req);

// One part of a request is settled; the last part calls done.
void lazy_settle(struct lazy *lz, struct lazy_req *req, int error);
// Puts a request's part on a chunk's list; the first one starts a flight. Called with the lock
// held. 0 or -ENOMEM.
int lazy_wait_for(struct lazy *lz, uint32_t chunk, struct lazy_req *req) must_check;
// Copies the request's part of a chunk that is here and proved, or zero.
bool lazy_copy_here(struct lazy *lz, uint32_t chunk, const struct lazy_req *req);
// Writes blocks to a file of the store and marks them: 0 or -errno, said once.
int lazy_keep(struct lazy *lz, struct space_file *f, uint32_t block, uint32_t blocks,
	const uint8_t *plain) must_check;
int queue_put(struct queue *q, uint32_t v) must_check;

// Calls the hook, if there is one. Called without the lock.
void lazy_landed(struct lazy *lz, uint32_t space, uint32_t block, uint32_t blocks);

// Ends a flight: the chunk's new state, and its bytes (or the error) to all who wait. not_kept: why
// the store does not have it.
void lazy_land(struct lazy *lz, uint32_t chunk, const struct chunk_view *c, const uint8_t *plain,
	int error, int not_kept);
// An error that may be gone when the registry is asked again.
bool lazy_transient(int error);
void lazy_pause(unsigned ms);

// ---- lazywork.c ----

#define JOIN_BYTES (1u << 20) // compressed bytes that one request fetches for readers
// Threads of workers; arg: the engine. The second one only takes what the store should have.
void *lazy_work_any(void *lz);
void *lazy_work_local(void *lz);

// ---- lazyrescue.c ----

// The source has not given a chunk that is in flight, or given a wrong one: `error`, which
// another attempt would not mend. It is remembered, and the original asked; the chunk lands when that has answered.
// False: there is nobody to be asked, and the caller lands it.
bool lazy_lost(struct lazy *lz, uint32_t chunk, int error) must_check;
// Counts a chunk that came from there.
void lazy_rescued(struct lazy *lz, const struct chunk_view *c);

// ---- lazyhedge.c ----

// A request for readers begins, and goes into the list. NULL: it is not watched (without a registry).
struct flight *flight_begin(struct lazy *lz, uint32_t first, uint32_t n);
// Its first bytes are here.
void flight_arrived(struct lazy *lz, struct flight *f);
// One party is done with it, well or not; NULL is allowed. Returns whether no other is at it; then f is
// freed.
bool flight_end(struct lazy *lz, struct flight *f);
// One that is to be made a second time, which the caller has joined now; or NULL, and how long until there
// may be one. Called with the lock held.
struct flight *flight_late(struct lazy *lz, uint64_t *ret_wait_ns);

// ---- lazyboot.c ----

// Starts to take frames, from hooks.boot_fd, which it takes over, or the store. -errno logged.
// Nothing to do, or the store has no room: boot = NULL.
int boot_open(struct lazy *lz) must_check;
// Ends its threads; those that wait for frames are told -ECANCELED.
void boot_close(struct lazy *lz);
// Have frames brought all that the request wants of the chunk? And copied: no, or the disk fails.
bool boot_has(const struct lazy *lz, const struct chunk_view *c, const struct lazy_req *req);
bool boot_copy(const struct lazy *lz, const struct chunk_view *c, const struct lazy_req *req);
// Will they be, soon? Then the request's part waits for that: true. Called with the lock held.
bool boot_wait(struct lazy *lz, uint32_t chunk, struct lazy_req *req);
// All frames have come or been given up; *ret_when: since when.
bool boot_over(struct lazy *lz, uint64_t *ret_when);

// ---- lazyfill.c ----

// Starts the background fill, if hooks.fill says so, and the watch on the start. -errno logged.
int background_open(struct lazy *lz) must_check;
void background_close(struct lazy *lz);
// A chunk that lazy_fetch_all awaits has arrived, or failed. It counts until progress has been
// called. Called without the lock.
void fill_landed(struct lazy *lz, const struct chunk_view *c, int error);
// A chunk that nobody awaits could not be fetched, or not be kept. Called with the lock held.
void background_failed(struct lazy *lz, int error);
// Compressed bytes of the background's next request. Called with the lock held.
size_t background_request(const struct lazy *lz);
// One of its requests, begun at `begun` (ns), whose first byte came at `first`, has brought `bytes`.
void background_fetched(struct lazy *lz, uint64_t begun, uint64_t first, size_t bytes);
void queue_drop(struct queue *q);
uint32_t queue_head(const struct queue *q);

#endif
