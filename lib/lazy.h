// lazy.h - the demand engine: blocks that are asked for are fetched, checked, decoded, kept and
// handed out
//
// One flight per chunk whoever waits. Every chunk is checked against its sha256 before its first
// use in the life of this process, whether it came over the network or from the store's disk. When
// the cache cannot be written (disk full), readers are served from memory all the same.
// SPDX-License-Identifier: Apache-2.0
#ifndef LAZY_H
#define LAZY_H

#include "index.h"
#include "repo.h"

struct lazy;
struct rescue;
struct stats;
struct store;

#define LAZY_READ_MAX (1u << 20) // bytes of one request

// A read of data-space bytes. The caller owns the struct and buf until done is called.
struct lazy_req {
	uint32_t space;
	uint64_t off; // bytes from the start of the space
	uint32_t len; // 1..LAZY_READ_MAX, within the space
	void *buf;
	void (*done)(struct lazy_req *req,
		int error); // 0 or -errno; runs on an engine thread, must not block
	// the engine's own
	uint64_t deadline, since;
	uint32_t left;
	int error;
	bool hurried;
	uint8_t kind; // enum stats_kind: what it waits for
};

// 1 = all bytes are in buf now (done is not called and will not be); 0 = under way, done will be
// called exactly once, perhaps before this returns; -errno = refused (done is not called). Never
// waits for the network.
int lazy_read(struct lazy *lz, struct lazy_req *req) must_check;
// The same, waiting. 0 or -errno.
int lazy_read_wait(
	struct lazy *lz, uint32_t space, uint64_t off, void *buf, uint32_t len) must_check;
// Bytes of a regular file (any size, any offset): returns the count (short only at the end of
// file), or -errno. Waits.
ssize_t lazy_pread(struct lazy *lz, uint32_t node, void *buf, size_t n, uint64_t off) must_check;

// Starts the engine over an index. store: where blocks are kept. repo + data: where they come from;
// data[] are the descriptors of the spaces' blobs, in order of the spaces that have one; repo =
// NULL: nothing can be fetched. All are borrowed until lazy_close. -errno logged.
struct lazy_conf {
	const struct index *ix;
	struct store *store;
	struct repo *repo;
	const struct desc *data;
	unsigned threads; // that fetch; 0 = 4
	// How long a read may wait for the registry, which is asked again meanwhile; then it fails
	// with -ETIMEDOUT. UINT64_MAX: for ever; 0: until the first attempt has failed.
	uint64_t deadline_ns;
	struct stats *stats; // where it counts; NULL: its own. Borrowed.
	struct rescue
		*rescue; // gives what repo has damaged or not at all; NULL: nobody does. Borrowed.
	bool proved;	 // what the store has was proved since the machine was started (seal.h)
};
int lazy_open(const struct lazy_conf *conf, struct lazy **ret) must_check;

enum lazy_fill { LAZY_FILL_OFF, LAZY_FILL_AUTO, LAZY_FILL_NOW };

// What a server of the image adds. Functions run on engine threads and must not wait for data.
struct lazy_hooks {
	int boot_fd; // the boot stream, from frame boot_first on, to its end (taken over); 0: none
	uint32_t boot_first;
	enum lazy_fill fill;
	uint64_t fill_rate; // bytes per second from the network; 0: as fast as it comes
	void *arg;
	// blocks that a frame has brought or a reader has waited for are here and proved; or NULL
	void (*landed)(void *arg, uint32_t space, uint32_t block, uint32_t blocks);
	// a reader asks for this: for recording; or NULL
	void (*asked)(void *arg, uint32_t space, uint64_t off, uint32_t len);
	// the start is over: what is read from now on is not foreseen; or NULL
	void (*started)(void *arg);
	// all of it is here, or readers want most of it: reading ahead wastes nothing; or NULL
	void (*whole)(void *arg);
};
// The boot stream and the background fill begin. Once, after lazy_open. -errno logged.
int lazy_begin(struct lazy *lz, const struct lazy_hooks *hooks) must_check;

// Whether the boot stream is over, or there is none; then *ret_lost = the frames of it that have not come.
bool lazy_boot_over(struct lazy *lz, uint32_t *ret_lost) must_check;

// Its functions are not called any more, from when this returns. The rest goes on.
void lazy_unhook(struct lazy *lz);

// What the engine has done so far.
const struct stats *lazy_stats(const struct lazy *lz);
// Requests that have not been begun fail with -ECANCELED; those under way are waited for.
void lazy_close(struct lazy *lz);

// Fetches (and checks) everything that is not here yet; returns when all is here, or the first
// error. progress (or NULL) is called from engine threads with the compressed bytes of each chunk
// that has arrived or was found.
int lazy_fetch_all(
	struct lazy *lz, void (*progress)(void *arg, uint64_t bytes), void *arg) must_check;

// Everything but zeros is here; with `proved`, and was proved in the life of this process. Cheap:
// *cursor (0 at first) keeps how far the last call came. One caller at a time.
bool lazy_complete(const struct lazy *lz, bool proved, uint32_t *cursor);

// A local-only chunk was found damaged: nothing but a new pull can mend it.
bool lazy_damaged(const struct lazy *lz);
// The registry has sent data that does not match the index, twice, or says that it has none.
// And what was said of it then: *ret_why, NULL allowed.
bool lazy_bad_source(const struct lazy *lz, const char **ret_why);

const struct index *lazy_index(const struct lazy *lz);

#endif
