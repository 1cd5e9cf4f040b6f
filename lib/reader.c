// reader.c - long runs of an image's data in order
//
// A ring of pieces: [head, head + n) are asked for. Threads: one caller; done() runs on engine
// threads and touches its slot's `over` and `error` only, under the lock.
// SPDX-License-Identifier: Apache-2.0
#include "reader.h"

#include <pthread.h>

struct slot {
	struct lazy_req req; // first: piece_done gets its address
	struct reader *r;
	bool over;
	int error;
};

struct reader {
	struct lazy *lz;
	reader_next *next;
	void *arg;
	struct slot slots[READER_PIECES];
	size_t head, n, bytes;
	bool ended;
	uint8_t *given; // the last piece's buffer, with the caller
	pthread_mutex_t lock;
	pthread_cond_t cond;
};

struct reader *reader_new(struct lazy *lz, reader_next *next, void *arg)
{
	struct reader *r = xcalloc(1, sizeof *r);

	r->lz = lz;
	r->next = next;
	r->arg = arg;
	pthread_mutex_init(&r->lock, NULL);
	pthread_cond_init(&r->cond, NULL);
	return r;
}

static void end_piece(struct slot *s, int error)
{
	struct reader *r = s->r;

	pthread_mutex_lock(&r->lock);
	s->over = true;
	s->error = error;
	pthread_cond_signal(&r->cond);
	pthread_mutex_unlock(&r->lock);
}

static void piece_done(struct lazy_req *req, int error)
{
	end_piece((struct slot *)req, error);
}

// Asks for pieces until enough are on their way.
static void fill(struct reader *r)
{
	while (!r->ended && r->n < READER_PIECES && r->bytes < READER_BYTES) {
		struct slot *s = &r->slots[(r->head + r->n) % READER_PIECES];
		struct reader_piece p;
		int done;

		if (!r->next(r->arg, &p)) {
			r->ended = true;
			return;
		}
		*s = (struct slot){ .req = { .space = p.space,
					    .off = p.off,
					    .len = p.len,
					    .buf = xmalloc(p.len),
					    .done = piece_done },
			.r = r };
		r->n++;
		r->bytes += p.len;
		done = lazy_read(r->lz, &s->req);
		if (done)
			end_piece(s, done < 0 ? done : 0);
	}
}

static struct slot *wait_head(struct reader *r)
{
	struct slot *s = &r->slots[r->head];

	pthread_mutex_lock(&r->lock);
	while (!s->over)
		pthread_cond_wait(&r->cond, &r->lock);
	pthread_mutex_unlock(&r->lock);
	r->head = (r->head + 1) % READER_PIECES;
	r->n--;
	r->bytes -= s->req.len;
	return s;
}

int reader_get(struct reader *r, const uint8_t **ret, uint32_t *ret_len)
{
	struct slot *s;

	free(r->given);
	r->given = NULL;
	fill(r);
	if (!r->n)
		return -ENODATA;
	s = wait_head(r);
	r->given = s->req.buf;
	if (s->error)
		return s->error;
	*ret = r->given;
	*ret_len = s->req.len;
	return 0;
}

void reader_free(struct reader *r)
{
	if (!r)
		return;
	while (r->n)
		free(wait_head(r)->req.buf);
	free(r->given);
	pthread_mutex_destroy(&r->lock);
	pthread_cond_destroy(&r->cond);
	free(r);
}

bool reader_file_next(void *arg, struct reader_piece *ret)
{
	struct reader_file *f = arg;

	if (f->at >= f->attr.size)
		return false;
	*ret = (struct reader_piece){ .space = f->attr.space,
		.off = ((uint64_t)f->attr.block << BLOCK_SHIFT) + f->at,
		.len = (uint32_t)MIN(f->attr.size - f->at, (uint64_t)LAZY_READ_MAX) };
	f->at += ret->len;
	return true;
}
