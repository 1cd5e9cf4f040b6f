// test_lazyhedge.c - requests that are late are made a second time, and the first answer counts
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/lazyhedge.c"

#include "lazymodel.h"
#include "said.h"
#include "tap.h"

#define AT(i) ((uint64_t)(i)*CHUNK * BLOCK_BYTES)

static unsigned next; // chunk of space 0 that nobody has read

// So many reads, one after the other, each a request.
static bool warm(struct lazy *lz, unsigned n)
{
	bool fine = true;

	for (; n--; next++)
		fine &= right(lz, 0, AT(next), 100);
	return fine;
}

static struct lazy *engine(bool registry)
{
	forget_store();
	mock.repo.is_registry = registry;
	mock.calls = 0;
	next = 0;
	return begin_with(&mock.repo, 3, 0);
}

// A read whose request is held; answered by the second one?
static void test_late(void)
{
	struct lazy *lz = engine(true);
	struct job_of_test *j;
	unsigned n;
	bool fine;

	ok(warm(lz, SAMPLES_MIN + 1) && mock.calls == SAMPLES_MIN + 1, "requests that are in time");
	ok(lz->stats->hedged_requests == 0, "are made once");
	mock_hold(&mock, mock.calls + 1);
	j = ask(lz, 1, 0, AT(next++), 0, 100, &n);
	ok(n == 1 && answered(j, 1, 0, &fine) == 1 && fine,
		"one that is late is answered by a second one");
	ok(mock.calls == SAMPLES_MIN + 3 && lz->stats->hedged_requests == 1,
		"which is one, and counted");
	mock_hold(&mock, 0);
	ok(warm(lz, 3), "and others go on");
	lazy_close(lz);
}

static int all_fail(struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n)
{
	(void)m, (void)call, (void)off, (void)buf, (void)n;
	return -EIO;
}

// A read of the next chunk, whose first request is held and whose second one, which has been begun, fails.
static struct job_of_test *doubled(struct lazy *lz)
{
	struct job_of_test *j;
	unsigned n;

	ok(warm(lz, SAMPLES_MIN + 1), "requests that are in time");
	mock_hold(&mock, mock.calls + 1);
	mock.fault = all_fail;
	said_begin();
	j = ask(lz, 1, 0, AT(next), 0, 100, &n);
	while (lz->stats->hedged_requests == 0)
		usleep(1000);
	return j;
}

static void test_second_fails(void)
{
	struct lazy *lz = engine(true);
	struct job_of_test *j;
	bool fine;

	j = doubled(lz);
	next++;
	usleep(50000); // the second one has failed by now, or will
	ok(!j->called, "the second one's error is nobody's while the first is under way");
	mock.fault = NULL;
	mock_hold(&mock, 0);
	ok(answered(j, 1, 0, &fine) == 1 && fine, "which brings it");
	said_end();
	lazy_close(lz);
}

static void test_both_fail(void)
{
	struct lazy *lz = engine(true);
	struct job_of_test *j;
	bool fine;

	j = doubled(lz);
	mock_hold(&mock, 0);
	ok(answered(j, 1, -EIO, &fine) == 1, "both fail: an error, once");
	mock.fault = NULL;
	said_end();
	ok(warm(lz, 2), "and it can be asked for again");
	lazy_close(lz);
}

static void test_few(void)
{
	struct lazy *lz = engine(true);
	struct job_of_test *j;
	unsigned n;
	bool fine;

	ok(warm(lz, 3), "few requests");
	mock_hold(&mock, mock.calls + 1);
	j = ask(lz, 1, 0, AT(next++), 0, 100, &n);
	usleep(100000);
	ok(!j->called && lz->stats->hedged_requests == 0, "say nothing of what is late");
	mock_hold(&mock, 0);
	ok(answered(j, 1, 0, &fine) == 1 && fine, "it comes");
	lazy_close(lz);
	lz = engine(false);
	ok(warm(lz, SAMPLES_MIN + 1), "without a registry");
	mock_hold(&mock, mock.calls + 1);
	j = ask(lz, 1, 0, AT(next++), 0, 100, &n);
	usleep(100000);
	ok(!j->called && lz->stats->hedged_requests == 0, "nothing is asked twice");
	mock_hold(&mock, 0);
	ok(answered(j, 1, 0, &fine) == 1 && fine, "it comes");
	lazy_close(lz);
}

// Not more than its part of the requests.
static void test_budget(void)
{
	struct lazy *lz = engine(true);
	unsigned n, late = 0;
	bool fine;

	ok(warm(lz, SAMPLES_MIN + 1), "requests that are in time");
	for (unsigned i = 0; i < 4; i++) {
		struct job_of_test *j;

		mock_hold(&mock, mock.calls + 1);
		j = ask(lz, 1, 0, AT(next++), 0, 100, &n);
		usleep(60000);
		late += !j->called;
		mock_hold(&mock, 0);
		fine = answered(j, 1, 0, &fine) == 1 && fine;
	}
	ok(fine && late >= 3 && lz->stats->hedged_requests <= 1,
		"of four late ones in a row one is doubled");
	lazy_close(lz);
}

int main(void)
{
	if (model_init())
		return 1;
	test_late();
	test_second_fails();
	test_both_fail();
	test_few();
	test_budget();
	model_fini();
	return tap_end();
}
