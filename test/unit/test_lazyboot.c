// test_lazyboot.c - the boot stream: frames that come in a pipe, well or badly, and those in the store
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/lazyboot.c"

#include <zstd.h>

#define MODEL_BLOCKS 4000
#define MODEL_FRAMES
#include "lazymodel.h"
#include "tap.h"

// ---- the stream: frame k has 40 blocks of space 0, none at a chunk's border, not in the order of
// the space, and 20 of space 1; every other one is stored as it is. The last one overlaps with
// frame 2 and has nothing else. ----

enum { FRAMES = 60, ALL_FRAMES = FRAMES + 1 };

static uint8_t *stream;
static size_t frame_at[ALL_FRAMES + 1]; // of each frame in the stream, and its end
static struct index *ix_lie;		// the same spaces, but frames that say something else
static uint8_t *stream_lie;
static size_t lie_at[ALL_FRAMES + 1];

static uint32_t block0(uint32_t frame)
{
	return frame == FRAMES ? block0(2) + 10 : 64 * (frame * 7 % FRAMES) + 3;
}

static uint32_t block1(uint32_t frame)
{
	return 30 * frame + 1;
}

static void add_run(struct index_parts *parts, struct buf *bytes, uint32_t space, uint32_t block,
	uint32_t blocks)
{
	struct fmt_run r = { space, block, blocks };

	buf_add(&parts->runs, &r, sizeof r);
	buf_add(bytes, plain[space] + (size_t)block * BLOCK_BYTES, (size_t)blocks * BLOCK_BYTES);
}

static size_t add_frame(struct index_parts *parts, uint32_t k, uint8_t change, uint8_t *out)
{
	struct pack_conf conf = { .codec = CODEC_ZSTD, .level = 1 };
	struct fmt_frame f = { .first_run = (uint32_t)(parts->runs.len / sizeof(struct fmt_run)) };
	cleanup_buf struct buf bytes = { 0 };
	struct digest sha;
	size_t n = 0;

	if (k == FRAMES) {
		add_run(parts, &bytes, 0, block0(k), 20);
	} else {
		add_run(parts, &bytes, 0, block0(k), 40);
		add_run(parts, &bytes, 1, block1(k), 20);
	}
	for (size_t i = 0; i < bytes.len; i++)
		bytes.data[i] ^= change;
	if (k % 2) {
		ZSTD_CCtx *z = ZSTD_createCCtx();

		n = chunk_encode(&conf, z, bytes.data, bytes.len, out);
		ZSTD_freeCCtx(z);
	}
	f.codec = n ? CODEC_ZSTD : CODEC_STORED;
	if (!n)
		memcpy(out, bytes.data, n = bytes.len);
	f.clen = (uint32_t)n;
	f.blocks = (uint32_t)(bytes.len / BLOCK_BYTES);
	f.runs = (uint32_t)(parts->runs.len / sizeof(struct fmt_run)) - f.first_run;
	sha = sha256_of(bytes.data, bytes.len);
	memcpy(f.sha, sha.b, sizeof f.sha);
	buf_add(&parts->frames, &f, sizeof f);
	return n;
}

static uint8_t *add_frames(struct index_parts *parts, uint8_t change, size_t *ret_at)
{
	uint8_t *out = xmalloc(ALL_FRAMES * chunk_bound(FMT_FRAME_BLOCKS_MAX * BLOCK_BYTES));

	parts->frames.len = parts->runs.len = 0;
	for (uint32_t k = 0; k < ALL_FRAMES; k++)
		ret_at[k + 1] = ret_at[k] + add_frame(parts, k, change, out + ret_at[k]);
	return out;
}

static void make_frames(struct index_parts *parts)
{
	stream_lie = add_frames(parts, 0xff, lie_at);
	if (index_build(parts, &ix_lie))
		abort();
	stream = add_frames(parts, 0, frame_at);
}

// ---- who sends it ----

static struct {
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	int fd[2];
	const uint8_t *p;
	size_t sent, until, end;
	bool stop;
} feed = { .lock = PTHREAD_MUTEX_INITIALIZER, .turn = PTHREAD_COND_INITIALIZER };

static void *send_it(void *arg)
{
	(void)arg;
	pthread_mutex_lock(&feed.lock);
	while (feed.sent < feed.end && !(feed.stop && feed.sent == feed.until)) {
		size_t n = MIN(feed.until - feed.sent, (size_t)50000);
		ssize_t w;

		if (!n) {
			pthread_cond_wait(&feed.turn, &feed.lock);
			continue;
		}
		pthread_mutex_unlock(&feed.lock);
		w = write(feed.fd[1], feed.p + feed.sent, n);
		pthread_mutex_lock(&feed.lock);
		if (w < 0)
			break;
		feed.sent += (size_t)w;
	}
	close(feed.fd[1]);
	pthread_mutex_unlock(&feed.lock);
	return NULL;
}

// Bytes [from, end) of p are sent when feed_until() says so.
static void feed_begin(const uint8_t *p, size_t from, size_t end)
{
	if (pipe2(feed.fd, O_CLOEXEC))
		abort();
	feed.p = p;
	feed.sent = feed.until = from;
	feed.end = end;
	feed.stop = false;
	if (pthread_create(&feed.thread, NULL, send_it, NULL))
		abort();
}

static void feed_until(size_t n)
{
	pthread_mutex_lock(&feed.lock);
	feed.until = n;
	pthread_cond_signal(&feed.turn);
	pthread_mutex_unlock(&feed.lock);
}

// What was promised is sent; then the stream ends, here or before its end.
static void feed_end(void)
{
	pthread_mutex_lock(&feed.lock);
	feed.stop = true;
	pthread_cond_signal(&feed.turn);
	pthread_mutex_unlock(&feed.lock);
	pthread_join(feed.thread, NULL);
}

// ---- the engine ----

static _Atomic unsigned hooked[ALL_FRAMES], hooked_more;

static void landed(void *arg, uint32_t space, uint32_t block, uint32_t blocks)
{
	(void)arg;
	for (uint32_t k = 0; k < FRAMES; k++)
		if (space == 0 && block == block0(k) && blocks == 40) {
			hooked[k]++;
			return;
		}
	hooked_more++;
}

static void start(struct lazy *lz, int fd, uint32_t first)
{
	struct lazy_hooks h = { .boot_fd = fd, .boot_first = first, .landed = landed };

	for (uint32_t k = 0; k < ALL_FRAMES; k++)
		hooked[k] = 0;
	hooked_more = 0;
	if (lazy_begin(lz, &h))
		abort();
}

// A fresh store, a stream of which nothing has been sent yet.
static struct lazy *life(const uint8_t *p, size_t end)
{
	struct lazy *lz = fresh();

	feed_begin(p, 0, end);
	start(lz, feed.fd[0], 0);
	return lz;
}

static void await_over(struct lazy *lz)
{
	uint64_t when;

	while (!boot_over(lz, &when))
		usleep(1000);
}

static unsigned here(struct lazy *lz)
{
	unsigned n = 0;

	for (uint32_t k = 0; k < ALL_FRAMES; k++)
		n += lz->boot->state[k] == FRAME_HERE;
	return n;
}

static bool frame_right(struct lazy *lz, uint32_t k)
{
	return right(lz, 0, block0(k) * 4096 + 7, 40 * 4096 - 9) &&
		right(lz, 1, block1(k) * 4096, 20 * 4096);
}

// Frame 2 has a test of its own: of blocks that two frames have, some may be asked for.
static unsigned frames_right(struct lazy *lz, uint32_t from, uint32_t to)
{
	unsigned n = 0;

	for (uint32_t k = from; k < to; k++)
		n += k == 2 || frame_right(lz, k);
	return n;
}

static void flip_boot(uint64_t off)
{
	struct digest key = index_boot_key(ix);
	char hex[65], path[256];
	uint8_t v;

	snprintf(path, sizeof path, "%s/data/%s/blocks", dir, digest_hex(&key, hex));
	cleanup_fd int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || pread_full(fd, &v, 1, off))
		abort();
	v ^= 1;
	if (pwrite_full(fd, &v, 1, off))
		abort();
}

// ---- streams that are right ----

static void test_in_order(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
	struct job_of_test *before, *within;
	unsigned n, m;
	bool fine;

	before = ask(lz, 10, 0, block0(0) * 4096, 3 * 4096, 2 * 4096, &n);
	within = ask(lz, 10, 0, block0(3) * 4096 + 5, 4096, 9000, &m);
	ok(n == 10 && m == 10, "readers wait for frames that are near");
	feed_until(frame_at[1] - 1);
	usleep(20000);
	ok(!before[0].called && !within[0].called, "nobody is served before a frame is whole");
	feed_until(frame_at[2]);
	ok(answered(before, 10, 0, &fine) == 10 && fine, "those of the first frame are served");
	ok(!within[0].called && frame_right(lz, 0), "others wait on");
	feed_until(frame_at[ALL_FRAMES]);
	ok(answered(within, 10, 0, &fine) == 10 && fine, "until theirs is here");
	await_over(lz);
	ok(here(lz) == ALL_FRAMES && frames_right(lz, 0, ALL_FRAMES - 1) == FRAMES,
		"all frames are here, and right");
	ok(!mock.calls && lazy_stats(lz)->boot_bytes == frame_at[ALL_FRAMES],
		"nothing was asked for (%u)", mock.calls);
	ok(frame_right(lz, 2), "blocks that two frames have are right");
	n = 0;
	for (uint32_t k = 0; k < FRAMES; k++)
		n += hooked[k] == 1;
	for (unsigned t = 0; n < FRAMES && t < 1000; t++, usleep(1000)) // (told after the state)
		for (uint32_t k = n = 0; k < FRAMES; k++)
			n += hooked[k] == 1;
	ok(n == FRAMES, "each frame was told of once (%u)", n);
	feed_end();
	ok(all_right(lz, 0) && all_right(lz, 1) && all_right(lz, 2) && mock.calls,
		"what no frame has comes from the registry");
	lazy_close(lz);
}

static void test_far(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
	bool good = frame_at[FRAMES - 1] > AHEAD;

	good = good && right(lz, 1, block1(FRAMES - 1) * 4096, 100);
	ok(good && mock.calls == 1 && !lz->boot->next, "what is far behind is asked for at once");
	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	ok(here(lz) == ALL_FRAMES && frames_right(lz, 0, FRAMES) == FRAMES && mock.calls == 1,
		"and nothing else");
	feed_end();
	lazy_close(lz);
}

static void test_second_life(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
	uint32_t k = 20;

	feed_until(frame_at[k]);
	feed_end(); // early
	await_over(lz);
	ok(here(lz) == k && frames_right(lz, 0, k) == k && !mock.calls, "a stream of %u frames", k);
	lazy_close(lz);
	lz = begin();
	feed_begin(stream, frame_at[k], frame_at[ALL_FRAMES]);
	start(lz, feed.fd[0], k);
	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	feed_end();
	ok(here(lz) == ALL_FRAMES && frames_right(lz, 0, FRAMES) == FRAMES && !mock.calls &&
			lazy_stats(lz)->boot_bytes == frame_at[ALL_FRAMES] - frame_at[k],
		"another life's stream begins behind what is in the store");
	lazy_close(lz);
	lz = begin();
	start(lz, 0, UINT32_MAX);
	ok(frames_right(lz, 0, FRAMES) == FRAMES && !mock.calls, "a third one needs no stream");
	await_over(lz);
	ok(here(lz) == ALL_FRAMES && !lazy_stats(lz)->boot_bytes, "all frames were in the store");
	lazy_close(lz);
	flip_boot(6 * 60 * 4096 + 5 * 4096);
	lz = begin();
	start(lz, 0, UINT32_MAX);
	await_over(lz);
	ok(here(lz) == ALL_FRAMES - 1 && lz->boot->state[6] == FRAME_LOST,
		"a damaged frame is not believed (%u are here)", here(lz));
	ok(frames_right(lz, 0, 6) + frames_right(lz, 7, FRAMES) == FRAMES - 1 && !mock.calls,
		"the others are");
	ok(frame_right(lz, 6) && mock.calls, "it is asked for");
	lazy_close(lz);
}

// ---- the images of others ----

static struct lazy *other_image(void)
{
	struct lazy_conf conf = { .ix = ix_lie, .store = store, .repo = &mock.repo, .data = data };
	struct lazy *lz;

	if (lazy_open(&conf, &lz))
		abort();
	return lz;
}

static void test_others(void)
{
	struct lazy *mine = fresh(), *other;
	struct digest a = index_space_key(ix, 0), b = index_space_key(ix_lie, 0);
	uint8_t byte;

	ok(digest_equal(&a, &b) && all_right(mine, 0), "an image shares its spaces with another");
	other = other_image();
	feed_begin(stream_lie, 0, lie_at[ALL_FRAMES]);
	start(other, feed.fd[0], 0);
	feed_until(lie_at[ALL_FRAMES]);
	await_over(other);
	feed_end();
	ok(here(other) == ALL_FRAMES && !lazy_read_wait(other, 0, block0(5) * 4096, &byte, 1) &&
			(byte ^ plain[0][block0(5) * 4096]) == 0xff,
		"whose frames say something else, to its own readers");
	ok(all_right(mine, 0) && all_right(mine, 1), "nobody else's data changes by them");
	lazy_close(other);
	lazy_close(mine);
	mine = begin();
	ok(all_right(mine, 0) && !mock.calls, "nor what is in the store");
	lazy_close(mine);
}

// ---- streams that are not ----

static void test_wrong_bytes(void)
{
	cleanup_free uint8_t *bad = xmalloc(frame_at[ALL_FRAMES]);
	struct job_of_test *v;
	struct lazy *lz;
	unsigned n;
	bool fine;

	memcpy(bad, stream, frame_at[ALL_FRAMES]);
	bad[frame_at[4] + 1000] ^= 1; // stored
	bad[frame_at[5] + 1000] ^= 1; // zstd
	log_level = LOG_QUIET;
	lz = life(bad, frame_at[ALL_FRAMES]);
	v = ask(lz, 8, 0, block0(4) * 4096, 4096, 100, &n);
	feed_until(frame_at[ALL_FRAMES]);
	ok(n == 8 && answered(v, 8, 0, &fine) == 8 && fine && mock.calls,
		"a wrong frame's readers ask the registry");
	await_over(lz);
	feed_end();
	ok(here(lz) == ALL_FRAMES - 2 && frames_right(lz, 0, FRAMES) == FRAMES,
		"two wrong frames of %u", ALL_FRAMES);
	lazy_close(lz);
	for (size_t i = 0; i < frame_at[ALL_FRAMES]; i++)
		bad[i] = (uint8_t)(i * 7 + i / 251);
	lz = life(bad, frame_at[ALL_FRAMES]);
	feed_until(frame_at[ALL_FRAMES]);
	ok(frames_right(lz, 0, FRAMES) == FRAMES, "garbage: all is right");
	await_over(lz);
	feed_end();
	ok(!here(lz), "no frame of it is believed");
	lazy_close(lz);
	log_level = LOG_WARN;
}

static void test_cut(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
	struct job_of_test *v;
	unsigned n;
	bool fine;

	v = ask(lz, 6, 0, block0(3) * 4096, 4096, 100, &n);
	feed_until(frame_at[3] + 10);
	feed_end();
	ok(n == 6 && answered(v, 6, 0, &fine) == 6 && fine && mock.calls,
		"a stream that ends within a frame: its readers ask the registry");
	await_over(lz);
	ok(here(lz) == 3 && frames_right(lz, 0, FRAMES) == FRAMES, "so do the others");
	lazy_close(lz);
	lz = life(stream, frame_at[ALL_FRAMES]);
	feed_end();
	await_over(lz);
	ok(!here(lz) && frame_right(lz, 0), "an empty stream");
	lazy_close(lz);
}

static void test_stall(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
	struct job_of_test *v;
	unsigned n, calls;
	bool fine;

	feed_until(frame_at[2] + 100);
	v = ask(lz, 5, 0, block0(2) * 4096, 4096, 100, &n);
	ok(answered(v, 5, 0, &fine) == 5 && fine && mock.calls,
		"when the stream stands still its readers ask the registry");
	ok(lz->boot->stalled && right(lz, 0, block0(9) * 4096, 100), "new ones at once");
	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	feed_end();
	calls = mock.calls;
	ok(here(lz) == ALL_FRAMES && frames_right(lz, 0, FRAMES) == FRAMES && mock.calls == calls,
		"then it goes on");
	lazy_close(lz);
}

// The registry answers nobody, and the stream gives a little now and then.
static void test_deadline(void)
{
	struct lazy *lz;
	uint8_t b[10];
	int r;

	forget_store();
	adopt_local();
	log_level = LOG_QUIET;
	lz = begin_with(&mock.repo, 0, 1000000000);
	feed_begin(stream, 0, frame_at[ALL_FRAMES]);
	start(lz, feed.fd[0], 0);
	mock_shut(&mock, true);
	r = lazy_read_wait(lz, 0, block0(1) * 4096, b, 10);
	ok(r == -ETIMEDOUT, "who waits for a frame waits until the deadline (%d)", r);
	mock_shut(&mock, false);
	feed_end();
	lazy_close(lz);
	log_level = LOG_WARN;
}

// ---- the store's disk ----

static void test_disk(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);

	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	feed_end();
	if (ftruncate(lz->boot->file.fd, 0))
		abort();
	ok(frames_right(lz, 0, FRAMES) == FRAMES && mock.calls,
		"frames that the disk does not give any more are asked for");
	lazy_close(lz);
	log_level = LOG_QUIET;
	lz = fresh();
	feed_begin(stream, 0, frame_at[ALL_FRAMES]);
	start(lz, feed.fd[0], 0);
	limit_files(64 * 4096);
	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	feed_end();
	ok(here(lz) == 1 && frames_right(lz, 0, FRAMES) == FRAMES,
		"a full disk: what cannot be kept is asked for");
	limit_files(RLIM_INFINITY);
	lazy_close(lz);
	log_level = LOG_WARN;
}

// Chunks that frames have brought whole need no request.
static void test_whole_chunks(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
	uint64_t boot;

	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	feed_end();
	ok(!lazy_fetch_all(lz, NULL, NULL), "the rest is fetched");
	boot = bytes_remote - mock.bytes;
	ok(boot > bytes_remote / 4, "but for %llu bytes that the stream has brought",
		(unsigned long long)boot);
	lazy_close(lz);
	lz = begin();
	ok(all_right(lz, 0) && all_right(lz, 1) && !mock.calls, "then all is in the spaces");
	lazy_close(lz);
}

// ---- the end ----

static void test_close(void)
{
	static const size_t sent[] = { 0, 1, 2, 3 };
	unsigned good = 0;

	for (size_t i = 0; i < ARRAY_LEN(sent); i++) {
		struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
		size_t until = (size_t[]){ 0, frame_at[1] / 2, frame_at[8],
			frame_at[ALL_FRAMES] }[sent[i]];
		struct job_of_test *v = ask(lz, 30, 0, block0(7) * 4096, 4096, 1000,
					   &(unsigned){ 0 }),
				   *far = ask(lz, 3, 1, block1(FRAMES - 1) * 4096, 4096, 100,
					   &(unsigned){ 0 });
		unsigned n = 0, told = 0;

		feed_until(until);
		if (until > frame_at[1])
			usleep(i * 5000);
		lazy_close(lz);
		for (unsigned j = 0; j < 30; j++)
			told += v[j].called == 1 && v[j].error == -ECANCELED;
		feed_end();
		n = answered(v, 30, 0, &(bool){ 0 });
		answered(far, 3, 0, &(bool){ 0 });
		good += n + told == 30;
	}
	ok(good == ARRAY_LEN(sent), "close in each phase: each reader is told once (%u)", good);
}

static void test_no_frames_wanted(void)
{
	struct lazy *lz = fresh();
	int fd;

	feed_begin(stream, 0, frame_at[ALL_FRAMES]);
	fd = feed.fd[0];
	start(lz, fd, 0);
	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	feed_end();
	for (unsigned t = 0; fcntl(fd, F_GETFD) >= 0 && t < 5000; t++)
		usleep(1000);
	ok(fcntl(fd, F_GETFD) < 0, "the stream is closed at its end: its sender can end");
	lazy_close(lz);
}

// ---- many readers ----

static struct lazy *shared;
static _Atomic unsigned wrong;

static void *reader(void *arg)
{
	unsigned seed = (unsigned)(uintptr_t)arg;

	for (unsigned i = 0; i < 150; i++) {
		uint32_t k = (uint32_t)rand_r(&seed) % FRAMES, space = (uint32_t)rand_r(&seed) % 2;
		uint64_t off =
			(space ? block1(k) : block0(k)) * 4096ull + (uint64_t)rand_r(&seed) % 80000;
		uint32_t len = 1 + (uint32_t)rand_r(&seed) % 100000;

		if (off + len <= (uint64_t)BLOCKS * BLOCK_BYTES)
			wrong += !right(shared, space, off, len);
	}
	return NULL;
}

static void hammer(const uint8_t *p, const char *what)
{
	enum { READERS = 8 };
	pthread_t t[READERS];

	shared = life(p, frame_at[ALL_FRAMES]);
	wrong = 0;
	for (unsigned i = 0; i < READERS; i++)
		pthread_create(&t[i], NULL, reader, (void *)(uintptr_t)(i + 1));
	for (uint32_t k = 0; k < ALL_FRAMES; k++) {
		feed_until(frame_at[k + 1] - 100);
		usleep(500);
	}
	feed_until(frame_at[ALL_FRAMES]);
	for (unsigned i = 0; i < READERS; i++)
		pthread_join(t[i], NULL);
	await_over(shared);
	lazy_unhook(shared);
	feed_end();
	ok(!wrong && frames_right(shared, 0, FRAMES) == FRAMES, "8 readers while %s comes", what);
	lazy_close(shared);
}

static void test_threads(void)
{
	cleanup_free uint8_t *bad = xmalloc(frame_at[ALL_FRAMES]);

	hammer(stream, "the stream");
	memcpy(bad, stream, frame_at[ALL_FRAMES]);
	for (uint32_t k = 0; k < ALL_FRAMES; k += 3)
		bad[frame_at[k] + k] ^= 0x20;
	log_level = LOG_QUIET;
	hammer(bad, "one with many wrong frames");
	log_level = LOG_WARN;
}

static void test_unhook(void)
{
	struct lazy *lz = life(stream, frame_at[ALL_FRAMES]);
	unsigned n = 0, more = 0;

	feed_until(frame_at[5]);
	while (lz->boot->state[4] != FRAME_HERE)
		usleep(1000);
	lazy_unhook(lz);
	for (uint32_t k = 0; k < FRAMES; k++)
		n += hooked[k];
	feed_until(frame_at[ALL_FRAMES]);
	await_over(lz);
	feed_end();
	frames_right(lz, 0, FRAMES);
	lazy_close(lz);
	for (uint32_t k = 0; k < FRAMES; k++)
		more += hooked[k];
	ok(n && more == n, "after lazy_unhook no function is called (%u, %u)", n, more);
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	if (model_init())
		return 1;
	test_in_order();
	test_far();
	test_second_life();
	test_others();
	test_wrong_bytes();
	test_cut();
	test_stall();
	test_deadline();
	test_disk();
	test_whole_chunks();
	test_close();
	test_no_frames_wanted();
	test_threads();
	test_unhook();
	index_free(ix_lie);
	free(stream);
	free(stream_lie);
	ok(!model_fini(), "clean up");
	return tap_end();
}
