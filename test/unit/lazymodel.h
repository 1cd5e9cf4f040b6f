// lazymodel.h - an image, the repository that has its data and a store, for tests of the demand engine
//
// MODEL_BLOCKS: of each space. With MODEL_FRAMES defined, the test's make_frames() adds a boot stream.
// SPDX-License-Identifier: Apache-2.0
#ifndef LAZYMODEL_H
#define LAZYMODEL_H

#include <fcntl.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "indexw.h"
#include "lazy.h"
#include "mockrepo.h"
#include "packwhole.h"
#include "store.h"

// ---- an image of three spaces: 0 zstd, 1 LZ4, 2 local only; each has random, compressible and
// zero blocks ----

#ifndef MODEL_BLOCKS
#define MODEL_BLOCKS 1200
#endif
enum { SPACES = 3, BLOCKS = MODEL_BLOCKS, CHUNK = 8, LOCAL = 2 };

static uint8_t *plain[SPACES];
static struct index *ix;
static struct mock mock;
static struct desc data[SPACES];
static struct store *store;
static char dir[] = "/tmp/test_lazy-XXXXXX";
#ifdef MODEL_FRAMES
// adds the boot stream
static void make_frames(struct index_parts *parts);
#endif
static uint32_t chunks_with_bytes, chunks_remote;
static uint64_t bytes_remote;

static inline void fill(uint8_t *p, uint32_t space)
{
	uint32_t seed = space + 7;

	for (uint32_t b = 0; b < BLOCKS; b++)
		for (uint32_t i = 0; i < BLOCK_BYTES; i++) {
			seed = seed * 1664525u + 1013904223u;
			// a long zero chunk in the middle, a short one at the end (but of the
			// first: chunks of two spaces follow each other)
			p[b * BLOCK_BYTES + i] = (b >= 200 && b < 264) || (space && b >= BLOCKS - 8)
				? 0
				: b % 3 ? (uint8_t)(seed >> 24)
					: (uint8_t)(b + 1);
		}
}

static inline int file_of(const void *p, size_t n)
{
	int fd = scratch_file();

	if (fd < 0 || pwrite_full(fd, p, n, 0))
		abort();
	return fd;
}

// As the table of a space that was pulled whole.
static inline void forget_blob(struct fmt_chunk *c, uint32_t n)
{
	for (; n--; c++)
		if (c->codec != CODEC_ZERO) {
			c->codec = CODEC_STORED;
			c->clen = 0;
		}
}

static inline void make_space(uint32_t s, struct fmt_space *sp, struct buf *chunks)
{
	struct pack_conf conf = { .codec = s ? CODEC_LZ4 : CODEC_ZSTD,
		.level = s ? 0 : 1,
		.chunk_blocks = CHUNK,
		.threads = 2 };
	struct pack *p = pack_new(&conf, s);
	cleanup_fd int spool = -1, out = scratch_file();
	const struct fmt_chunk *c;

	plain[s] = xmalloc(BLOCKS * BLOCK_BYTES);
	fill(plain[s], s);
	spool = file_of(plain[s], BLOCKS * BLOCK_BYTES);
	pack_whole(p, s, BLOCKS);
	if (pack_run(p, spool, out))
		abort();
	c = pack_chunks(p, &sp->chunks);
	buf_add(chunks, c, sp->chunks * sizeof *c);
	if (s == LOCAL)
		forget_blob(
			(struct fmt_chunk *)(chunks->data + chunks->len) - sp->chunks, sp->chunks);
	sp->blocks = pack_blocks(p);
	if (s != LOCAL) {
		cleanup_free uint8_t *blob = NULL;

		pack_blob(p, &data[s].digest, &data[s].size);
		blob = xmalloc(data[s].size);
		if (pread_full(out, blob, data[s].size, 0))
			abort();
		mock_add(&mock, NULL, NULL, blob, data[s].size);
		sp->blob_size = data[s].size;
		memcpy(sp->blob, data[s].digest.b, sizeof sp->blob);
	}
	pack_free(p);
}

static inline void make_image(void)
{
	struct index_parts parts = { .n_spaces = SPACES };

	parts.tree = tree_new();
	parts.spaces = xcalloc(SPACES, sizeof *parts.spaces);
	tree_begin_layer(parts.tree);
	for (uint32_t s = 0; s < SPACES; s++) {
		struct content c = { .size = BLOCKS * BLOCK_BYTES - 100, .space = s, .block = 0 };
		char name[] = { (char)('0' + s), 0 };
		struct tar_entry e = {
			.type = TAR_FILE, .path = name, .path_len = 1, .size = c.size
		};

		if (tree_add(parts.tree, &e, tree_add_content(parts.tree, &c), "t"))
			abort();
		make_space(s, &parts.spaces[s], &parts.chunks);
	}
	if (tree_end_layer(parts.tree, "t"))
		abort();
#ifdef MODEL_FRAMES
	make_frames(&parts);
#endif
	if (index_build(&parts, &ix))
		abort();
	index_parts_fini(&parts);
	for (uint32_t i = 0; i < index_chunks(ix); i++) {
		struct chunk_view c;

		index_chunk(ix, i, &c);
		chunks_with_bytes += c.codec != CODEC_ZERO;
		chunks_remote += c.codec != CODEC_ZERO && c.space != LOCAL;
		bytes_remote += c.clen;
	}
}

// ---- the engine under test ----

static inline void forget_store(void)
{
	store_close(store);
	if (remove_tree_at(AT_FDCWD, dir) || mkdir(dir, 0700) || store_open(dir, &store))
		abort();
}

static inline void adopt_local(void)
{
	struct digest key = index_space_key(ix, LOCAL);
	cleanup_fd int fd = store_tmp(store);

	if (fd < 0 || pwrite_full(fd, plain[LOCAL], BLOCKS * BLOCK_BYTES, 0) ||
		store_adopt(store, fd, &key, BLOCKS))
		abort();
}

static inline struct lazy *begin_with(struct repo *repo, unsigned threads, uint64_t deadline_ns)
{
	struct lazy_conf conf = { .ix = ix,
		.store = store,
		.repo = repo,
		.data = data,
		.threads = threads,
		.deadline_ns = deadline_ns };
	struct lazy *lz;

	mock.calls = 0;
	mock.bytes = 0;
	if (lazy_open(&conf, &lz))
		abort();
	return lz;
}

static inline struct lazy *begin(void)
{
	return begin_with(&mock.repo, 0, 0);
}

// Another process's life: what is known of the blocks is gone.
static inline struct lazy *fresh(void)
{
	forget_store();
	adopt_local();
	return begin();
}

static inline bool right(struct lazy *lz, uint32_t space, uint64_t off, uint32_t len)
{
	cleanup_free uint8_t *buf = xmalloc(len + 2);

	memset(buf, 0xa5, len + 2);
	if (lazy_read_wait(lz, space, off, buf + 1, len))
		return false;
	return !memcmp(buf + 1, plain[space] + off, len) && buf[0] == 0xa5 && buf[len + 1] == 0xa5;
}

static inline bool all_right(struct lazy *lz, uint32_t space)
{
	for (uint64_t off = 0; off < BLOCKS * BLOCK_BYTES; off += LAZY_READ_MAX)
		if (!right(lz, space, off,
			    (uint32_t)MIN(LAZY_READ_MAX, BLOCKS * BLOCK_BYTES - off)))
			return false;
	return true;
}

static inline void flip(uint32_t space, const char *file, uint64_t off, uint8_t mask)
{
	struct digest key = index_space_key(ix, space);
	char hex[65], path[256];
	uint8_t v;

	snprintf(path, sizeof path, "%s/data/%s/%s", dir, digest_hex(&key, hex), file);
	cleanup_fd int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 || pread_full(fd, &v, 1, off))
		abort();
	v ^= mask;
	if (pwrite_full(fd, &v, 1, off))
		abort();
}

static inline void cut_blocks(uint32_t space)
{
	struct digest key = index_space_key(ix, space);
	char hex[65], path[256];

	snprintf(path, sizeof path, "%s/data/%s/blocks", dir, digest_hex(&key, hex));
	if (truncate(path, 0))
		abort();
}

// ---- requests that do not wait ----

struct job_of_test {
	struct lazy_req req;
	_Atomic int called;
	_Atomic int error;
};

static inline void called(struct lazy_req *req, int error)
{
	struct job_of_test *j = (struct job_of_test *)req;

	j->error = error;
	j->called++;
}

static inline struct job_of_test *ask(struct lazy *lz, unsigned n, uint32_t space, uint64_t off,
	uint64_t step, uint32_t len, unsigned *ret_wait)
{
	struct job_of_test *v = xcalloc(n, sizeof *v);

	*ret_wait = 0;
	for (unsigned i = 0; i < n; i++) {
		int r;

		v[i].req = (struct lazy_req){ .space = space,
			.off = off + i * step,
			.len = len,
			.buf = xmalloc(len),
			.done = called };
		r = lazy_read(lz, &v[i].req);
		if (r < 0)
			abort();
		*ret_wait += !r;
		if (r)
			v[i].called = 1;
	}
	return v;
}

// All have been called once; how many with `error`. Waits up to 10 s.
static inline unsigned answered(struct job_of_test *v, unsigned n, int error, bool *ret_right)
{
	unsigned count = 0;

	*ret_right = true;
	for (unsigned i = 0; i < n; i++) {
		for (unsigned t = 0; !v[i].called && t < 10000; t++)
			usleep(1000);
		*ret_right &= v[i].called == 1;
		count += v[i].error == error;
		if (!v[i].error)
			*ret_right &= !memcmp(
				v[i].req.buf, plain[v[i].req.space] + v[i].req.off, v[i].req.len);
		free(v[i].req.buf);
	}
	free(v);
	return count;
}

// ---- faults ----

static _Atomic unsigned fault_calls;
static uint64_t fault_from; // offset in the blob

static inline int fail_first(struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n)
{
	(void)m, (void)call, (void)off, (void)buf, (void)n;
	return fault_calls++ ? 0 : -ETIMEDOUT;
}

static inline int fail_always(struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n)
{
	(void)m, (void)call, (void)off, (void)buf, (void)n;
	fault_calls++;
	return -ENETUNREACH;
}

static inline bool spoil(uint64_t off, uint8_t *buf, size_t n)
{
	if (off > fault_from || off + n <= fault_from)
		return false;
	buf[fault_from - off] ^= 1;
	return true;
}

static inline int corrupt_once(struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n)
{
	(void)m, (void)call;
	if (!fault_calls && spoil(off, buf, n))
		fault_calls++;
	return 0;
}

static inline int corrupt_always(
	struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n)
{
	(void)m, (void)call;
	fault_calls += spoil(off, buf, n);
	return 0;
}

static inline int zero_all(struct mock *m, unsigned call, uint64_t off, uint8_t *buf, size_t n)
{
	(void)m, (void)call, (void)off;
	memset(buf, 0, n);
	return 0;
}

static inline void set_fault(int (*f)(struct mock *, unsigned, uint64_t, uint8_t *, size_t))
{
	fault_calls = 0;
	pthread_mutex_lock(&mock.lock);
	mock.fault = f;
	pthread_mutex_unlock(&mock.lock);
}

// A full disk: no file may grow beyond.
static inline void limit_files(rlim_t to)
{
	struct rlimit l;

	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &l);
	l.rlim_cur = to;
	if (setrlimit(RLIMIT_FSIZE, &l))
		abort();
}

// ---- life ----

static inline int model_init(void)
{
	mock_init(&mock);
	make_image();
	return !mkdtemp(dir) || store_open(dir, &store);
}

static inline int model_fini(void)
{
	int r;

	store_close(store);
	r = remove_tree_at(AT_FDCWD, dir);
	index_free(ix);
	for (uint32_t i = 0; i < SPACES; i++)
		free(plain[i]);
	mock_fini(&mock);
	return r;
}

#endif
