// ahead.c - a stream whose source is read by a thread of its own
//
// Threads: `fill` reads the source into the ring, the caller takes from it. `lock` guards filled,
// ended and stop; a buffer belongs to the filler until it is counted in filled, then to the reader.
// SPDX-License-Identifier: Apache-2.0
#include "ahead.h"

#include <pthread.h>

#define BUFFERS 8u
#define BUFFER_SIZE (256u << 10)

struct ahead {
	struct stream s;
	struct stream *in;
	pthread_t thread;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	unsigned filled; // buffers that wait for the reader
	ssize_t ended;	 // 1 = not yet; 0 or -errno: how the source ended
	bool stop;
	unsigned head; // reader's buffer ...
	size_t at;     // ... and place in it
	size_t len[BUFFERS];
	uint8_t *buf[BUFFERS];
};

// A whole buffer, or less at the end: *ret_len bytes. Returns 1 while there may be more, 0 at the
// end, -errno.
static ssize_t fill_buffer(struct stream *in, uint8_t *buf, size_t *ret_len)
{
	ssize_t r = 1;

	*ret_len = 0;
	while (*ret_len < BUFFER_SIZE &&
		(r = stream_read(in, buf + *ret_len, BUFFER_SIZE - *ret_len)) > 0)
		*ret_len += (size_t)r;
	return r > 0 ? 1 : r;
}

static void *fill(void *arg)
{
	struct ahead *a = arg;
	ssize_t r = 1;

	for (unsigned i = 0; r == 1; i = (i + 1) % BUFFERS) {
		pthread_mutex_lock(&a->lock);
		while (a->filled == BUFFERS && !a->stop)
			pthread_cond_wait(&a->turn, &a->lock);
		if (a->stop)
			r = -ECANCELED;
		pthread_mutex_unlock(&a->lock);
		if (r == 1)
			r = fill_buffer(a->in, a->buf[i], &a->len[i]);
		else
			a->len[i] = 0;
		pthread_mutex_lock(&a->lock);
		a->filled++;
		a->ended = r;
		pthread_cond_signal(&a->turn);
		pthread_mutex_unlock(&a->lock);
	}
	return NULL;
}

// Waits for the head buffer to hold something: 1, or how the source ended.
static ssize_t wait_head(struct ahead *a)
{
	ssize_t r = 1;

	pthread_mutex_lock(&a->lock);
	while (!a->filled && a->ended == 1)
		pthread_cond_wait(&a->turn, &a->lock);
	if (!a->filled)
		r = a->ended;
	pthread_mutex_unlock(&a->lock);
	return r;
}

static void release_head(struct ahead *a)
{
	pthread_mutex_lock(&a->lock);
	// a filler that had to wait goes on when half is free: it is woken once for many buffers
	if (--a->filled == BUFFERS / 2)
		pthread_cond_signal(&a->turn);
	pthread_mutex_unlock(&a->lock);
	a->head = (a->head + 1) % BUFFERS;
	a->at = 0;
}

static ssize_t ahead_read(struct stream *s, void *buf, size_t n)
{
	struct ahead *a = (struct ahead *)s;
	ssize_t r;

	while ((r = wait_head(a)) == 1 && a->at == a->len[a->head])
		release_head(a);
	if (r != 1)
		return r;
	n = MIN(n, a->len[a->head] - a->at);
	memcpy(buf, a->buf[a->head] + a->at, n);
	a->at += n;
	return (ssize_t)n;
}

static void ahead_free(struct ahead *a)
{
	for (unsigned i = 0; i < BUFFERS; i++)
		free(a->buf[i]);
	pthread_cond_destroy(&a->turn);
	pthread_mutex_destroy(&a->lock);
	free(a);
}

static void ahead_close(struct stream *s)
{
	struct ahead *a = (struct ahead *)s;

	pthread_mutex_lock(&a->lock);
	a->stop = true;
	pthread_cond_signal(&a->turn);
	pthread_mutex_unlock(&a->lock);
	pthread_join(a->thread, NULL);
	stream_close(a->in);
	ahead_free(a);
}

struct stream *ahead_open(struct stream *in)
{
	static const struct stream_ops ops = { .read = ahead_read, .close = ahead_close };
	struct ahead *a = xcalloc(1, sizeof *a);

	a->s.ops = &ops;
	a->in = in;
	a->ended = 1;
	for (unsigned i = 0; i < BUFFERS; i++)
		a->buf[i] = xmalloc(BUFFER_SIZE);
	pthread_mutex_init(&a->lock, NULL);
	pthread_cond_init(&a->turn, NULL);
	if (!pthread_create(&a->thread, NULL, fill, a))
		return &a->s;
	ahead_free(a);
	return in;
}
