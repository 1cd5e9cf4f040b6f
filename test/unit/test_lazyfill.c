// test_lazyfill.c - the background fill: when it begins, what it fetches, how fast, and what ends it
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/lazyfill.c"

#include "lazymodel.h"
#include "tap.h"

static _Atomic unsigned starts;

static void on_start(void *arg)
{
	(void)arg;
	starts++;
}

static struct lazy *life(enum lazy_fill fill, uint64_t rate)
{
	struct lazy_hooks h = {
		.boot_first = UINT32_MAX, .fill = fill, .fill_rate = rate, .started = on_start
	};
	struct lazy *lz = fresh();

	starts = 0;
	if (lazy_begin(lz, &h))
		abort();
	return lz;
}

// The quiet time after a start is over, as if it had been waited for.
static void let_time_pass(struct lazy *lz)
{
	pthread_mutex_lock(&lz->lock);
	lz->background->begun -= (QUIET_NONE_MS + 1000) * 1000000ull;
	pthread_mutex_unlock(&lz->lock);
}

// Until the thread has ended by itself.
static bool ends(struct lazy *lz)
{
	for (unsigned t = 0; t < 20000; t++, usleep(1000))
		if (!pthread_tryjoin_np(lz->background->thread, NULL)) {
			lz->background->running = false;
			return true;
		}
	return false;
}

static bool all_is_here(void)
{
	struct lazy *lz = begin_with(NULL, 0, 0);
	bool good = all_right(lz, 0) && all_right(lz, 1) && all_right(lz, 2);

	lazy_close(lz);
	return good;
}

static void test_when(void)
{
	struct lazy *lz = life(LAZY_FILL_NOW, 0);

	ok(ends(lz) && starts == 1, "now: it begins, and ends");
	ok(mock.bytes == bytes_remote && lazy_stats(lz)->fill_bytes == bytes_remote &&
			!lazy_stats(lz)->demand_bytes,
		"each byte was fetched once");
	lazy_close(lz);
	ok(all_is_here(), "all of the image is here");
	lz = life(LAZY_FILL_OFF, 0);
	let_time_pass(lz);
	ok(ends(lz) && starts == 1 && !mock.calls, "off: the start is over, nothing is fetched");
	lazy_close(lz);
	lz = life(LAZY_FILL_AUTO, 0);
	usleep(200000);
	ok(!starts && !mock.calls, "auto: not at once");
	let_time_pass(lz);
	ok(ends(lz) && starts == 1 && mock.bytes == bytes_remote, "but when the start is over");
	lazy_close(lz);
	lz = life(LAZY_FILL_AUTO, 0);
	ok(right(lz, 0, 400 * 4096, 4096), "a reader before it");
	let_time_pass(lz);
	ok(ends(lz) && mock.bytes == bytes_remote, "nothing is fetched twice");
	lazy_close(lz);
	lz = life(LAZY_FILL_AUTO, 0);
	lazy_unhook(lz);
	let_time_pass(lz);
	ok(ends(lz) && !starts && mock.bytes == bytes_remote,
		"after lazy_unhook nobody is told, and the fill goes on");
	lazy_close(lz);
}

static void test_bulk(void)
{
	struct lazy *lz = life(LAZY_FILL_AUTO, 0);

	lz->stats->demand_bytes = BULK_BYTES + 1; // as if readers had
	ok(ends(lz) && starts == 1, "readers who read all of it end the start");
	lazy_close(lz);
}

// A reader needs chunk 3 from the network while others are queued.
static void test_follow(void)
{
	struct lazy *lz = life(LAZY_FILL_OFF, 0);
	struct background *b;
	struct chunk_view c;
	uint32_t next;
	bool put;

	ok(ends(lz), "(its own thread is not in the way)");
	b = lz->background;
	pthread_mutex_lock(&lz->lock);
	index_chunk(lz->conf.ix, 0, &c);
	put = !queue_put(&lz->fill, 0);
	b->sent = c.clen + 7;
	b->passed = 5;
	lz->demanded = now_ns();
	lz->demanded_chunk = 3;
	lz->fill_left = 1;
	follow_readers(lz);
	ok(put && lz->fill.n == 1 && b->passed == 5, "a pull goes on in its order");
	lz->fill_left = 0;
	follow_readers(lz);
	ok(!lz->fill.n && b->sent == 7, "what was queued is not, and does not count");
	ok(next_missing(lz, &next) && next == 3 && b->passed == 1, "the fill goes on there");
	b->pos = 1;
	follow_readers(lz);
	ok(b->pos == 1 && b->passed == 1, "once for each time");
	pthread_mutex_unlock(&lz->lock);
	lazy_close(lz);
}

// As if four requests had taken 4 s in all, their first bytes 10 ms.
static size_t request_after(struct lazy *lz, uint64_t bytes)
{
	uint64_t begun = now_ns() - 4000 * 1000000ull;

	lz->background->measured = 0;
	for (unsigned i = 0; i < PACE_REQUESTS; i++)
		background_fetched(lz, begun, begun + 10000000, bytes / PACE_REQUESTS);
	return background_request(lz);
}

static void test_request(void)
{
	struct lazy *lz = life(LAZY_FILL_OFF, 0);
	size_t n;

	ok(ends(lz), "(its own thread is not in the way)");
	ok(background_request(lz) == REQUEST_FIRST, "a request before any has come");
	n = request_after(lz, 100000000);
	ok(n > 300000 && n < 385000, "at 25 MB/s: as much as comes in 15 ms (%zu)", n);
	background_fetched(lz, now_ns() - 1000, now_ns(), 1);
	ok(background_request(lz) == n, "one request alone changes nothing");
	lz->background->requests = 0;
	ok(request_after(lz, 1000000) == REQUEST_MIN, "not less than the least");
	ok(request_after(lz, 4000000000) == REQUEST_MAX, "nor more than the most");
	ok(request_after(lz, 1000000) == REQUEST_MIN, "a link that gets slow");
	lz->taken = BULK_BYTES + 1; // as if readers had
	ok(background_request(lz) == REQUEST_MAX, "the most for who reads all of the image");
	lazy_close(lz);
}

static void test_rate(void)
{
	struct lazy *lz = life(LAZY_FILL_OFF, 100000);
	struct background *b;

	ok(ends(lz), "(its own thread is not in the way)");
	b = lz->background;
	b->since = now_ns() - 10000 * 1000000ull; // 10 s: a million bytes
	b->sent = 999999;
	ok(may_queue(lz), "within the rate");
	b->sent = 1300000;
	ok(!may_queue(lz), "beyond it");
	b->sent = 0;
	b->pos = b->passed = 0;
	top_up(lz);
	ok(b->sent > 1000000 && b->sent < 1000000 + 2000 * 1000,
		"the queue is topped up to the rate (%llu bytes)", (unsigned long long)b->sent);
	lazy_close(lz);
}

static void test_failure(void)
{
	struct lazy *lz;

	log_level = LOG_QUIET;
	lz = life(LAZY_FILL_OFF, 0);
	ok(ends(lz), "(its own thread is not in the way)");
	set_fault(fail_always);
	begin_round(lz);
	top_up(lz);
	while (!is_incomplete(lz))
		usleep(1000);
	ok(!may_queue(lz), "after a failure it waits");
	set_fault(NULL);
	lz->background->failed -= (AGAIN_MS + 1000) * 1000000ull;
	ok(may_queue(lz), "and tries again");
	lazy_close(lz);
	lz = life(LAZY_FILL_AUTO, 0);
	set_fault(fail_first);
	let_time_pass(lz);
	while (!fault_calls)
		usleep(1000);
	for (unsigned t = 0; t < 10000 && !is_incomplete(lz); t++)
		usleep(1000);
	set_fault(NULL);
	pthread_mutex_lock(&lz->lock);
	lz->background->failed -= (AGAIN_MS + 1000) * 1000000ull;
	pthread_mutex_unlock(&lz->lock);
	ok(ends(lz), "a round with a failure is followed by another");
	lazy_close(lz);
	ok(all_is_here(), "until all is here");
	log_level = LOG_WARN;
}

static void test_full(void)
{
	struct lazy *lz;

	log_level = LOG_QUIET;
	lazy_close(fresh()); // (the files of the store are made)
	lz = life(LAZY_FILL_AUTO, 0);
	limit_files(64 * 4096);
	let_time_pass(lz);
	ok(ends(lz) && lz->background->full, "a full disk ends it");
	ok(all_right(lz, 0) && all_right(lz, 1), "readers get their bytes all the same");
	limit_files(RLIM_INFINITY);
	lazy_close(lz);
	log_level = LOG_WARN;
}

static void test_close(void)
{
	struct lazy *lz = life(LAZY_FILL_NOW, 0);

	mock_shut(&mock, true);
	usleep(50000);
	mock_shut(&mock, false);
	lazy_close(lz);
	lz = life(LAZY_FILL_AUTO, 0);
	lazy_close(lz);
	ok(!starts, "close before and during the fill");
}

int main(void)
{
	if (model_init())
		return 1;
	test_when();
	test_bulk();
	test_follow();
	test_request();
	test_rate();
	test_failure();
	test_full();
	test_close();
	ok(!model_fini(), "clean up");
	return tap_end();
}
