// test_lazy.c - the demand engine over a repository in memory that fails on demand, and a store on
// disk that is damaged on purpose
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/lazy.c"

#include "lazymodel.h"
#include "said.h"
#include "tap.h"

// ---- reads ----

static void test_alignments(struct lazy *lz, const char *when)
{
	static const uint32_t lens[] = { 1, 2, 511, 4095, 4096, 4097, CHUNK * 4096 - 1,
		CHUNK * 4096, CHUNK * 4096 + 1, 300000, LAZY_READ_MAX };
	unsigned n = 0, good = 0;

	for (uint32_t s = 0; s < SPACES; s++)
		for (size_t l = 0; l < ARRAY_LEN(lens); l++)
			for (uint64_t block = 0; block < BLOCKS; block += 37)
				for (int d = -1; d <= 1; d++) {
					uint64_t off = block * 4096 +
						(uint64_t)(block	? d
								: d < 0 ? 0
									: d);

					if (off + lens[l] > BLOCKS * BLOCK_BYTES)
						continue;
					n++;
					good += right(lz, s, off, lens[l]);
				}
	ok(good == n, "%u of %u reads at odd places are right, %s", good, n, when);
	ok(right(lz, 0, BLOCKS * BLOCK_BYTES - 1, 1) &&
			right(lz, 1, BLOCKS * BLOCK_BYTES - 70000, 70000),
		"the last bytes, %s", when);
}

static void test_reads(void)
{
	struct lazy *lz = fresh();
	struct lazy_req req = { .len = 1, .buf = data };

	test_alignments(lz, "from the network");
	ok(mock.bytes == bytes_remote, "each byte was asked for once");
	test_alignments(lz, "from the store");
	ok(mock.bytes == bytes_remote, "and never again");
	lazy_close(lz);
	lz = begin();
	test_alignments(lz, "in another life");
	ok(!mock.calls, "nothing was asked for");
	req.space = SPACES;
	ok(lazy_read(lz, &req) == -EINVAL, "a space that is none");
	req = (struct lazy_req){ .len = 0 };
	ok(lazy_read(lz, &req) == -EINVAL, "no bytes");
	req = (struct lazy_req){ .len = LAZY_READ_MAX + 1 };
	ok(lazy_read(lz, &req) == -EINVAL, "too many bytes");
	req = (struct lazy_req){ .len = 2, .off = BLOCKS * BLOCK_BYTES - 1 };
	ok(lazy_read(lz, &req) == -EINVAL, "behind the end");
	req = (struct lazy_req){ .len = 2, .off = UINT64_MAX };
	ok(lazy_read(lz, &req) == -EINVAL, "an offset that wraps");
	ok(lazy_index(lz) == ix && !lazy_damaged(lz), "index, no damage");
	lazy_close(lz);
	lazy_close(NULL);
}

static void test_joins(void)
{
	struct lazy *lz = fresh();

	ok(right(lz, 0, 0, LAZY_READ_MAX) && mock.calls <= 6, "a read of 1 MiB is %u requests",
		mock.calls);
	lazy_close(lz);
	lz = fresh();
	ok(right(lz, 0, 210 * 4096, 4096) && !mock.calls, "zeros are not asked for");
	ok(right(lz, 0, 190 * 4096, 80 * 4096), "nor joined over");
	lazy_close(lz);
	forget_store();
	adopt_local();
	lz = begin_with(&mock.repo, 1, 0);
	mock.most = 0;
	mock_shut(&mock, true);
	struct job_of_test *first, *rest;
	unsigned n;
	bool fine;

	first = ask(lz, 1, 0, 0, 0, 1, &n);
	mock_await(&mock, 1);
	rest = ask(lz, 4, 0, 264 * 4096, LAZY_READ_MAX - 200000, LAZY_READ_MAX - 200000, &n);
	mock_shut(&mock, false);
	ok(n == 4 && answered(rest, 4, 0, &fine) == 4 && fine &&
			answered(first, 1, 0, &fine) == 1 && fine,
		"readers in a row");
	ok(mock.most <= JOIN_BYTES && mock.most > JOIN_BYTES / 2,
		"are joined, but to %zu bytes only", mock.most);
	lazy_close(lz);
}

static void test_pread(void)
{
	struct lazy *lz = fresh();
	uint32_t node = index_path(ix, "1"), size = BLOCKS * BLOCK_BYTES - 100;
	cleanup_free uint8_t *buf = xmalloc(size + 200);

	ok(lazy_pread(lz, node, buf, size + 200, 0) == (ssize_t)size &&
			!memcmp(buf, plain[1], size),
		"a whole file, more than it has");
	ok(lazy_pread(lz, node, buf, 100, size - 1) == 1 && *buf == plain[1][size - 1],
		"its last byte");
	ok(!lazy_pread(lz, node, buf, 100, size) && !lazy_pread(lz, node, buf, 1, UINT64_MAX),
		"behind its end");
	ok(!lazy_pread(lz, node, buf, 0, 5), "no bytes");
	ok(lazy_pread(lz, 0, buf, 1, 0) == -EINVAL, "a directory");
	lazy_close(lz);
}

// ---- many who wait ----

static void test_single_flight(void)
{
	struct lazy *lz = fresh();
	struct job_of_test *v;
	unsigned waiting, good;
	bool fine;

	mock_shut(&mock, true);
	v = ask(lz, 50, 0, 100, 3, 1000, &waiting);
	mock_await(&mock, 1);
	usleep(50000);
	ok(waiting == 50 && mock.calls == 1, "50 readers of one chunk: %u request", mock.calls);
	mock_shut(&mock, false);
	good = answered(v, 50, 0, &fine);
	ok(good == 50 && fine, "each gets its bytes, once");
	mock_shut(&mock, true);
	v = ask(lz, 30, 0, 0, 4096, 3 * 4096, &waiting);
	mock_shut(&mock, false);
	good = answered(v, 30, 0, &fine);
	ok(waiting && good == 30 && fine, "readers of several chunks each, that overlap");
	ok(mock.bytes <= 6 * CHUNK * BLOCK_BYTES, "and no chunk was asked for twice");
	lazy_close(lz);
}

static void *close_it(void *lz)
{
	lazy_close(lz);
	return NULL;
}

static void test_close(void)
{
	struct lazy *lz = fresh();
	struct job_of_test *v;
	unsigned waiting, done, cancelled = 0;
	pthread_t t;
	bool fine;

	mock_shut(&mock, true);
	// far apart, so that they are not joined
	v = ask(lz, 30, 0, 0, 16 * 4096, 100, &waiting);
	mock_await(&mock, THREADS);
	pthread_create(&t, NULL, close_it, lz);
	usleep(50000);
	mock_shut(&mock, false);
	pthread_join(t, NULL);
	for (unsigned i = 0; i < 30; i++)
		cancelled += v[i].called == 1 && v[i].error == -ECANCELED;
	done = answered(v, 30, 0, &fine);
	ok(fine && done + cancelled == 30 && cancelled > 10 && done >= THREADS,
		"close: %u requests are finished, %u told -ECANCELED", done, cancelled);
}

// ---- faults ----

static void test_faults(void)
{
	struct lazy *lz = fresh();
	struct chunk_view c;
	uint8_t b[100];
	const char *said;
	int r;

	log_level = LOG_QUIET;
	set_fault(fail_first);
	ok(lazy_read_wait(lz, 0, 5, b, 100) == -ETIMEDOUT, "the repository's error is handed on");
	ok(right(lz, 0, 5, 100), "and the next read tries again");
	for (uint32_t s = 0; s < LOCAL; s++) {
		uint32_t chunk = index_chunk_at(ix, s, 40);

		index_chunk(ix, chunk, &c);
		fault_from = c.off + c.clen / 2;
		set_fault(corrupt_once);
		ok(right(lz, s, 32 * 4096, 17 * 4096) && fault_calls == 1,
			"space %u: a byte wrong once is asked for again", s);
		lazy_close(lz);
		lz = fresh();
		set_fault(corrupt_always);
		log_level = LOG_WARN;
		said_begin();
		r = lazy_read_wait(lz, s, 40 * 4096, b, 100);
		said = said_end();
		log_level = LOG_QUIET;
		ok(r == -EBADMSG && fault_calls == 2 && strstr(said, "do not match the index"),
			"space %u: wrong twice is an error", s);
		ok(right(lz, s, 32 * 4096, 8 * 4096) &&
				lazy_read_wait(lz, s, 47 * 4096, b, 100) == -EBADMSG,
			"of that chunk only");
		r = lazy_read_wait(lz, s, 32 * 4096, b, 100);
		set_fault(NULL);
		ok(right(lz, s, 40 * 4096, 100) && right(lz, s, 32 * 4096, 17 * 4096),
			"a later read tries again (%d)", r);
	}
	set_fault(zero_all);
	ok(lazy_read_wait(lz, 1, 560 * 4096, b, 100) == -EBADMSG, "zeros for bytes");
	set_fault(NULL);
	lazy_close(lz);
	log_level = LOG_WARN;
}

static void test_deadline(void)
{
	struct lazy *lz;
	uint64_t start;
	uint8_t b[100];
	int r;

	forget_store();
	adopt_local();
	log_level = LOG_QUIET;
	lz = begin_with(&mock.repo, 0, 2000000000);
	set_fault(fail_first);
	ok(right(lz, 0, 0, 100) && fault_calls == 2,
		"before its deadline a read outlives a failure");
	set_fault(fail_always);
	start = now_ns();
	r = lazy_read_wait(lz, 0, 100 * 4096, b, 100);
	start = now_ns() - start;
	ok(r == -ETIMEDOUT && fault_calls > 1 && start > 1500000000 && start < 10000000000,
		"at its deadline it fails (%d, %llu ms, %u attempts)", r,
		(unsigned long long)start / 1000000, fault_calls);
	ok(right(lz, 0, 0, 100), "what is here is read meanwhile");
	start = now_ns();
	r = lazy_read_wait(lz, 0, 100 * 4096 + 5, b, 100);
	start = now_ns() - start;
	ok(r == -ETIMEDOUT && start < 1500000000,
		"the next read of it, at once, does not wait as long (%llu ms)",
		(unsigned long long)start / 1000000);
	set_fault(NULL);
	usleep((HURRY_MAX_MS + 2 * HURRY_MS) * 1000);
	ok(right(lz, 0, 100 * 4096, 100), "a later one succeeds");
	mock_shut(&mock, true);
	r = lazy_read_wait(lz, 0, 300 * 4096, b, 100);
	ok(r == -ETIMEDOUT, "a repository that never answers");
	mock_shut(&mock, false);
	lazy_close(lz);
	log_level = LOG_WARN;
}

// ---- the store's disk ----

static void test_damage(void)
{
	struct lazy *lz = fresh();
	bool good = true;

	ok(!lazy_fetch_all(lz, NULL, NULL), "fetch all");
	lazy_close(lz);
	log_level = LOG_QUIET;
	for (uint32_t s = 0; s < LOCAL; s++)
		for (uint32_t b = 0; b < BLOCKS; b += 100)
			flip(s, "blocks", b * 4096 + b, 0x40);
	lz = begin();
	// block 200 lies in zeros, which are never read from the disk
	good = all_right(lz, 0) && all_right(lz, 1);
	ok(good && mock.calls == 22, "22 damaged chunks are fetched again (%u)", mock.calls);
	// while it is open: a chunk that this life has not used yet
	lazy_close(lz);
	lz = begin();
	flip(0, "blocks", 300 * 4096, 1);
	ok(right(lz, 0, 300 * 4096, 100) && mock.calls == 1,
		"damage while open, before the first use");
	lazy_close(lz);
	lz = begin();
	ok(right(lz, 0, 0, 100), "a chunk is used");
	struct lazy_req req = { .len = 100, .buf = (uint8_t[100]){ 0 } };

	ok(lazy_read(lz, &req) == 1 && !memcmp(req.buf, plain[0], 100),
		"then reads of it are answered at once");
	cut_blocks(0);
	ok(right(lz, 0, 0, 100) && mock.calls == 1, "until the file is cut: it is fetched again");
	lazy_close(lz);
	lz = begin();
	ok(!lazy_fetch_all(lz, NULL, NULL), "all again");
	lazy_close(lz);
	flip(0, "map", 0, 0xff);
	flip(0, "map", 50, 0x10);
	lz = begin();
	ok(all_right(lz, 0) && mock.calls == 2, "bits lost from the map only cost a fetch (%u)",
		mock.calls);
	lazy_close(lz);
	lz = fresh();
	for (uint32_t i = 0; i < BLOCKS / 8; i++) {
		flip(0, "map", i, 0xff);
		flip(1, "map", i, 0x81);
	}
	ok(all_right(lz, 0) && all_right(lz, 1), "bits of a map that lies are not believed");
	lazy_close(lz);
	log_level = LOG_WARN;
}

static void remove_map(uint32_t space)
{
	struct digest key = index_space_key(ix, space);
	char hex[65], path[256];

	snprintf(path, sizeof path, "%s/data/%s/map", dir, digest_hex(&key, hex));
	if (unlink(path))
		abort();
}

static void test_local(void)
{
	struct lazy *lz;
	uint8_t b[100];

	forget_store();
	adopt_local();
	flip(LOCAL, "blocks", 300 * 4096, 1);
	log_level = LOG_QUIET;
	lz = begin();
	ok(!lazy_damaged(lz) && right(lz, LOCAL, 0, 100), "local data");
	ok(lazy_read_wait(lz, LOCAL, 300 * 4096, b, 100) == -EIO && lazy_damaged(lz),
		"damaged: -EIO, and it is told");
	ok(right(lz, LOCAL, 320 * 4096, 4096), "the rest stays readable");
	flip(LOCAL, "blocks", 300 * 4096, 1);
	ok(right(lz, LOCAL, 300 * 4096, 100), "once mended it is read");
	flip(LOCAL, "blocks", 400 * 4096, 1);
	ok(lazy_fetch_all(lz, NULL, NULL) == -EIO, "fetch_all says so");
	lazy_close(lz);
	flip(LOCAL, "blocks", 400 * 4096, 1);
	remove_map(LOCAL);
	lz = begin();
	ok(all_right(lz, LOCAL) && !lazy_damaged(lz), "without its map");
	// a pull again under an open image: the old file's readers must not spoil the new file's
	// map
	lazy_close(lz);
	flip(LOCAL, "blocks", 300 * 4096, 1);
	lz = begin();
	adopt_local();
	ok(lazy_read_wait(lz, LOCAL, 300 * 4096, b, 100) == -EIO,
		"an old damaged file that is still open");
	lazy_close(lz);
	lz = begin();
	ok(all_right(lz, LOCAL), "does not spoil the new one");
	lazy_close(lz);
	forget_store();
	lz = begin_with(NULL, 0, 0);
	ok(lazy_read_wait(lz, 0, 0, b, 100) == -EIO && !lazy_damaged(lz),
		"no repository and nothing here");
	ok(right(lz, 0, 210 * 4096, 4096), "but zeros are zeros");
	lazy_close(lz);
	log_level = LOG_WARN;
}

static void test_full(void)
{
	struct lazy *lz = fresh();
	unsigned calls;
	int r;

	log_level = LOG_QUIET;
	limit_files(64 * 4096);
	ok(all_right(lz, 0) && all_right(lz, 1), "a full disk: readers get their bytes");
	calls = mock.calls;
	ok(all_right(lz, 0) && mock.calls > calls, "from the network each time");
	calls = mock.calls;
	ok(right(lz, 0, 0, 60 * 4096) && mock.calls == calls, "but for what was kept");
	lazy_close(lz);
	limit_files(RLIM_INFINITY);
	lazy_close(fresh());
	lz = begin_with(&mock.repo, 1, 0);
	limit_files(4096);
	r = lazy_fetch_all(lz, NULL, NULL);
	limit_files(RLIM_INFINITY);
	ok(r == -EFBIG && mock.bytes < bytes_remote, "fetch_all fails, and stops (%d)", r);
	ok(!lazy_fetch_all(lz, NULL, NULL), "with room again it succeeds");
	lazy_close(lz);
	log_level = LOG_WARN;
}

// ---- everything ----

static void add_up(void *arg, uint64_t bytes)
{
	*(_Atomic uint64_t *)arg += bytes;
}

static void *fetch_all(void *lz)
{
	return (void *)(intptr_t)lazy_fetch_all(lz, NULL, NULL);
}

static void test_fetch_all(void)
{
	struct lazy *lz = fresh();
	_Atomic uint64_t sum = 0;

	ok(!lazy_fetch_all(lz, add_up, (void *)&sum) && sum == bytes_remote &&
			mock.bytes == bytes_remote,
		"fetch_all, with progress");
	ok(!lazy_fetch_all(lz, NULL, NULL) && mock.bytes == bytes_remote,
		"again: nothing is asked for");
	lazy_close(lz);
	lz = begin();
	sum = 0;
	ok(!lazy_fetch_all(lz, add_up, (void *)&sum) && sum == bytes_remote && !mock.calls,
		"in another life it checks what is here");
	lazy_close(lz);
}

static void test_fetch_all_errors(void)
{
	struct lazy *lz = fresh();

	log_level = LOG_QUIET;
	set_fault(fail_always);
	ok(lazy_fetch_all(lz, NULL, NULL) == -ENETUNREACH && mock.calls <= 2 * THREADS,
		"the first error ends it (%u requests)", mock.calls);
	set_fault(fail_first);
	ok(lazy_fetch_all(lz, NULL, NULL) == -ETIMEDOUT, "one error is an error");
	set_fault(NULL);
	ok(!lazy_fetch_all(lz, NULL, NULL), "then it goes on");
	lazy_close(lz);
	log_level = LOG_WARN;
}

static void test_fetch_all_begun(void)
{
	struct lazy *lz = fresh();
	struct job_of_test *v;
	unsigned waiting;
	bool fine;
	pthread_t t;
	void *r;

	mock_shut(&mock, true);
	v = ask(lz, 8, 0, 0, 32 * 4096, 10, &waiting);
	mock_await(&mock, 4);
	pthread_create(&t, NULL, fetch_all, lz);
	usleep(50000);
	ok(pthread_tryjoin_np(t, &r) == EBUSY, "fetch_all waits for what readers have begun");
	mock_shut(&mock, false);
	pthread_join(t, &r);
	ok(!r && answered(v, 8, 0, &fine) == 8 && fine && mock.bytes == bytes_remote,
		"and asks for nothing twice");
	lazy_close(lz);
}

static void test_fetch_all_partly(void)
{
	struct lazy *lz = fresh();
	struct job_of_test *v;
	unsigned waiting;
	bool fine;
	pthread_t t;
	void *r;

	ok(right(lz, 0, 32 * 4096, 4096), "a chunk in the middle");
	lazy_close(lz);
	lz = begin();
	ok(!lazy_fetch_all(lz, NULL, NULL) && all_right(lz, 0) && mock.bytes < bytes_remote &&
			mock.bytes > bytes_remote - 50000,
		"fetch_all around what is here");
	lazy_close(lz);
	flip(0, "map", 4, 0xff); // blocks 32 to 39: the only chunk that is missing
	lz = begin();
	mock_shut(&mock, true);
	v = ask(lz, 1, 0, 33 * 4096, 1, 10, &waiting);
	mock_await(&mock, 1);
	pthread_create(&t, NULL, fetch_all, lz);
	usleep(300000);
	ok(pthread_tryjoin_np(t, &r) == EBUSY,
		"fetch_all waits for a reader's chunk, the last one");
	mock_shut(&mock, false);
	pthread_join(t, &r);
	ok(!r && answered(v, 1, 0, &fine) == 1 && fine && mock.calls == 1,
		"which is asked for once");
	lazy_close(lz);
}

static void test_fetch_all_overtaken(void)
{
	struct lazy *lz;
	struct job_of_test *v;
	unsigned waiting;
	bool fine;
	pthread_t t;
	void *r;

	forget_store();
	adopt_local();
	lz = begin_with(&mock.repo, 1, 0);
	mock_shut(&mock, true);
	pthread_create(&t, NULL, fetch_all, lz);
	mock_await(&mock, 1);
	v = ask(lz, 1, 1, 100 * 4096, 1, 10, &waiting);
	mock_shut(&mock, false);
	pthread_join(t, &r);
	ok(!r && answered(v, 1, 0, &fine) == 1 && fine && mock.bytes == bytes_remote,
		"a reader overtakes the fill; nothing is asked for twice");
	lazy_close(lz);
}

static void test_fetch_all_failed_reader(void)
{
	struct lazy *lz = fresh();
	struct job_of_test *v;
	unsigned waiting;
	bool fine;
	pthread_t t;
	void *r;

	mock_shut(&mock, true);
	set_fault(fail_always);
	log_level = LOG_QUIET;
	v = ask(lz, 1, 0, 0, 1, 10, &waiting);
	mock_await(&mock, 1);
	pthread_create(&t, NULL, fetch_all, lz);
	usleep(20000);
	mock_shut(&mock, false);
	pthread_join(t, &r);
	ok((intptr_t)r == -ENETUNREACH, "a reader's failure is the fill's");
	answered(v, 1, 0, &fine);
	set_fault(NULL);
	log_level = LOG_WARN;
	lazy_close(lz);
}

// ---- threads ----

static struct lazy *shared;
static _Atomic unsigned wrong, reads;

static void *reader(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < 150; i++) {
		uint32_t space = (uint32_t)rand_r(&seed) % SPACES;
		uint64_t off = (uint64_t)rand_r(&seed) % (BLOCKS * BLOCK_BYTES);
		uint32_t len = 1 + (uint32_t)rand_r(&seed) % 100000;

		len = (uint32_t)MIN((uint64_t)len, BLOCKS * BLOCK_BYTES - off);
		wrong += !right(shared, space, off, len);
		reads++;
	}
	return NULL;
}

static int now_and_then(struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n)
{
	(void)m, (void)off;
	if (call % 5 == 1)
		usleep(2000);
	if (call % 7 == 3)
		buf[n / 2] ^= 8;
	return 0;
}

static void test_threads(void)
{
	enum { READERS = 64 };
	pthread_t t[READERS], all;
	void *r;

	log_level = LOG_QUIET;
	for (unsigned round = 0; round < 2; round++) {
		if (!round)
			forget_store(), adopt_local();
		shared = begin_with(&mock.repo, 6, 20000000000);
		wrong = reads = 0;
		set_fault(round ? NULL : now_and_then);
		for (unsigned i = 0; i < READERS; i++)
			pthread_create(&t[i], NULL, reader, (void *)(uintptr_t)(i + 1));
		pthread_create(&all, NULL, fetch_all, shared);
		for (unsigned i = 0; i < READERS; i++)
			pthread_join(t[i], NULL);
		pthread_join(all, &r);
		// a chunk may be spoilt twice by chance: then readers see an error, never wrong
		// bytes
		ok(round ? !wrong && !r : wrong < reads / 20,
			"%u threads, %u reads, %u failed, during fetch_all", READERS, reads, wrong);
		set_fault(NULL);
		lazy_close(shared);
	}
	log_level = LOG_WARN;
}

static void test_stopped(void)
{
	struct lazy *lz = fresh();
	uint8_t b[10];

	pthread_mutex_lock(&lz->lock);
	lz->stop = true; // as lazy_close begins
	pthread_mutex_unlock(&lz->lock);
	ok(lazy_read_wait(lz, 0, 0, b, 10) == -ECANCELED, "a read while it closes");
	lazy_close(lz);
}

static void test_missing_data(void)
{
	struct lazy_conf conf = { .ix = ix, .store = store };
	struct lazy *lz;
	uint8_t b[10];

	log_level = LOG_QUIET;
	forget_store();
	conf.store = store;
	ok(!lazy_open(&conf, &lz), "without data and repository");
	ok(lazy_read_wait(lz, 1, 0, b, 10) == -EIO, "nothing can be fetched");
	lazy_close(lz);
	log_level = LOG_WARN;
}

int main(void)
{
	if (model_init())
		return 1;
	test_reads();
	test_joins();
	test_pread();
	test_single_flight();
	test_close();
	test_faults();
	test_deadline();
	test_damage();
	test_local();
	test_full();
	test_fetch_all();
	test_fetch_all_errors();
	test_fetch_all_begun();
	test_fetch_all_partly();
	test_fetch_all_overtaken();
	test_fetch_all_failed_reader();
	test_threads();
	test_stopped();
	test_missing_data();
	ok(!model_fini(), "clean up");
	return tap_end();
}
