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
	test_rate();
	test_failure();
	test_full();
	test_close();
	ok(!model_fini(), "clean up");
	return tap_end();
}
