// prefill.c - what will be read is put into the kernel's page cache before it is asked for
//
// The kernel may keep a store waiting: for a page that a read has locked until it is answered. So
// it is done by a thread that nobody waits for, and the queue drops what does not fit.
//
// Threads: `store`, which takes from the queue; lock guards all but the borrowed.
// SPDX-License-Identifier: Apache-2.0
#include "prefill.h"

#include <linux/fuse.h>
#include <pthread.h>
#include <sys/uio.h>
#include <time.h>

#include "log.h"

#define QUEUE 8192u
#define PIECE (256u << 10) // bytes of one message

struct range {
	uint32_t space, block, blocks;
};

struct prefill {
	int fuse;
	uint64_t node;
	struct lazy *lz;
	const struct erofs_image *im;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	bool opened, stop;
	struct range queue[QUEUE];
	uint32_t head, n;
	uint8_t *buf; // PIECE bytes
};

// One message. -errno.
static int store_bytes(struct prefill *p, uint64_t off, uint32_t len)
{
	struct fuse_out_header h = { .error = FUSE_NOTIFY_STORE };
	struct fuse_notify_store_out out = { .nodeid = p->node, .offset = off, .size = len };
	struct iovec v[] = { { &h, sizeof h }, { &out, sizeof out }, { p->buf, len } };

	h.len = (uint32_t)(sizeof h + sizeof out + len);
	return writev(p->fuse, v, ARRAY_LEN(v)) < 0 ? -errno : 0;
}

static bool stopped(struct prefill *p)
{
	bool stop;

	pthread_mutex_lock(&p->lock);
	stop = p->stop;
	pthread_mutex_unlock(&p->lock);
	return stop;
}

static int store_metadata(struct prefill *p)
{
	uint64_t size = erofs_meta_size(p->im);
	int r = 0;

	for (uint64_t off = 0; off < size && !r && !stopped(p); off += PIECE) {
		uint32_t n = (uint32_t)MIN(size - off, (uint64_t)PIECE);

		r = erofs_read(p->im, EROFS_FLAT, p->buf, n, off);
		if (!r)
			r = store_bytes(p, off, n);
	}
	return r;
}

// The engine has just said that the blocks are here: this does not wait.
static int store_range(struct prefill *p, const struct range *g)
{
	uint64_t off = (uint64_t)g->block << BLOCK_SHIFT,
		 end = off + ((uint64_t)g->blocks << BLOCK_SHIFT);
	uint64_t base = (uint64_t)erofs_space_start(p->im, g->space) << BLOCK_SHIFT;
	int r = 0;

	for (; off < end && !r && !stopped(p); off += PIECE) {
		uint32_t n = (uint32_t)MIN(end - off, (uint64_t)PIECE);

		r = lazy_read_wait(p->lz, g->space, off, p->buf, n);
		if (!r)
			r = store_bytes(p, base + off, n);
	}
	return r;
}

// Waits for the next range; false: it is time to end.
static bool next_range(struct prefill *p, struct range *ret)
{
	bool more;

	pthread_mutex_lock(&p->lock);
	while (!p->stop && (!p->opened || !p->n))
		pthread_cond_wait(&p->turn, &p->lock);
	more = !p->stop;
	if (more) {
		*ret = p->queue[p->head];
		p->head = (p->head + 1) % QUEUE;
		p->n--;
	}
	pthread_mutex_unlock(&p->lock);
	return more;
}

static void wait_opened(struct prefill *p)
{
	pthread_mutex_lock(&p->lock);
	while (!p->stop && !p->opened)
		pthread_cond_wait(&p->turn, &p->lock);
	pthread_mutex_unlock(&p->lock);
}

static void *store(void *arg)
{
	struct prefill *p = arg;
	struct range g;
	int r;

	wait_opened(p);
	r = store_metadata(p);
	while (!r && next_range(p, &g))
		r = store_range(p, &g);
	if (r)
		debug("nothing more is put into the page cache: %s", strerror(-r));
	return NULL;
}

void prefill_opened(struct prefill *p)
{
	pthread_mutex_lock(&p->lock);
	p->opened = true;
	pthread_cond_signal(&p->turn);
	pthread_mutex_unlock(&p->lock);
}

void prefill_put(struct prefill *p, uint32_t space, uint32_t block, uint32_t blocks)
{
	pthread_mutex_lock(&p->lock);
	if (p->n < QUEUE) {
		p->queue[(p->head + p->n++) % QUEUE] = (struct range){ space, block, blocks };
		pthread_cond_signal(&p->turn);
	}
	pthread_mutex_unlock(&p->lock);
}

int prefill_start(int fuse, uint64_t node, struct lazy *lz, const struct erofs_image *im,
	struct prefill **ret)
{
	struct prefill *p = xcalloc(1, sizeof *p);

	p->fuse = fuse;
	p->node = node;
	p->lz = lz;
	p->im = im;
	p->buf = xmalloc(PIECE);
	pthread_mutex_init(&p->lock, NULL);
	pthread_cond_init(&p->turn, NULL);
	if (pthread_create(&p->thread, NULL, store, p)) {
		free(p->buf);
		free(p);
		return warn_errno(-EAGAIN, "start a thread");
	}
	*ret = p;
	return 0;
}

void prefill_end(struct prefill *p)
{
	struct timespec until;

	if (!p)
		return;
	pthread_mutex_lock(&p->lock);
	p->stop = true;
	pthread_cond_signal(&p->turn);
	pthread_mutex_unlock(&p->lock);
	clock_gettime(CLOCK_REALTIME, &until);
	until.tv_sec++;
	if (pthread_timedjoin_np(p->thread, NULL, &until))
		return; // it looks at nothing but `stop` when it comes back
	pthread_cond_destroy(&p->turn);
	pthread_mutex_destroy(&p->lock);
	free(p->buf);
	free(p);
}
