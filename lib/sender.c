// sender.c - uploads a blob in a thread of its own, from before it is complete if that pays
//
// Threads: `lock` guards have and complete; the descriptor and the repository's upload belong to the sender's
// thread until it has ended.
// SPDX-License-Identifier: Apache-2.0
#include "sender.h"

#include <pthread.h>

#include "log.h"

struct sender {
	struct repo *dst;
	int fd, spool;
	bool ahead;
	pthread_mutex_t lock;
	pthread_cond_t turn;
	uint64_t have;
	bool complete;
	struct desc blob; // when complete
	bool running;	  // has a thread
	pthread_t thread;
	int error;
};

// More than `sent` bytes, or the end: true.
static bool wait_for_more(struct sender *s, uint64_t sent, uint64_t *ret_have)
{
	bool complete;

	pthread_mutex_lock(&s->lock);
	while (!s->complete && s->have == sent)
		pthread_cond_wait(&s->turn, &s->lock);
	*ret_have = s->have;
	complete = s->complete;
	pthread_mutex_unlock(&s->lock);
	return complete;
}

// Sends what there is as it comes. True: the blob is delivered. False: it is still to be sent, when it is complete.
static bool send_ahead(struct sender *s)
{
	struct put_ahead *p = NULL;
	uint64_t have = 0;
	int r = repo_put_ahead(s->dst, s->fd, &p);

	while (!r && !wait_for_more(s, have, &have))
		r = put_ahead_more(p, have);
	if (!r && s->blob.size)
		return !put_ahead_end(p, &s->blob);
	put_ahead_cancel(p);
	return false;
}

static void *work(void *arg)
{
	struct sender *s = arg;
	uint64_t have = 0;
	bool sent = s->ahead && send_ahead(s);

	while (!sent && !wait_for_more(s, have, &have))
		;
	if (s->spool >= 0)
		close(s->spool);
	if (!sent && s->blob.size) {
		int r = repo_put_blob(s->dst, &s->blob, s->fd, NULL);

		s->error = MIN(r, 0);
	}
	return NULL;
}

struct sender *sender_start(struct repo *dst, int fd, bool ahead)
{
	struct sender *s = xcalloc(1, sizeof *s);

	*s = (struct sender){ .dst = dst, .fd = fd, .spool = -1, .ahead = ahead };
	pthread_mutex_init(&s->lock, NULL);
	pthread_cond_init(&s->turn, NULL);
	s->running = !pthread_create(&s->thread, NULL, work, s);
	return s;
}

void sender_grown(struct sender *s, uint64_t have)
{
	pthread_mutex_lock(&s->lock);
	s->have = have;
	pthread_cond_signal(&s->turn);
	pthread_mutex_unlock(&s->lock);
}

void sender_complete(struct sender *s, const struct desc *d, int spool)
{
	pthread_mutex_lock(&s->lock);
	s->blob = *d;
	s->spool = spool;
	s->complete = true;
	pthread_cond_signal(&s->turn);
	pthread_mutex_unlock(&s->lock);
}

int sender_end(struct sender *s)
{
	int r;

	if (!s)
		return 0;
	if (s->running)
		pthread_join(s->thread, NULL);
	else
		work(s);
	r = s->error;
	pthread_cond_destroy(&s->turn);
	pthread_mutex_destroy(&s->lock);
	close(s->fd);
	free(s);
	return r;
}
