// lazyhedge.c - second requests for what readers wait for
//
// A request of which nothing has come after the time in which 95 of 100 of those before it had begun to
// answer is made once more, by a worker that has nothing else to do; the first that brings a chunk hands it
// out. One in sixteen at most is doubled, so that a slow registry is not asked twice for everything.
// (Dean and Barroso, "The Tail at Scale", 2013.)
//
// Threads: workers. lazy.lock guards all of it.
// SPDX-License-Identifier: Apache-2.0
#include "lazyint.h"

#define SAMPLES_MIN 16	       // before that there is no 95th percentile worth the name
#define PART 16		       // one request in so many may be doubled
#define DELAY_MIN_NS 10000000u // a busy processor looks like a slow registry

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

// Of the last answers. Called with the lock held.
static void set_delay(struct hedges *h)
{
	uint32_t v[HEDGE_SAMPLES];
	size_t n = MIN(h->samples, (uint64_t)HEDGE_SAMPLES);

	memcpy(v, h->sample, n * sizeof *v);
	qsort(v, n, sizeof *v, by_size);
	h->delay = MAX((uint64_t)v[(n - 1) * 95 / 100] * 1000, (uint64_t)DELAY_MIN_NS);
}

struct flight *flight_begin(struct lazy *lz, uint32_t first, uint32_t n)
{
	struct flight *f;

	if (!lz->conf.repo || !lz->conf.repo->is_registry || !(f = calloc(1, sizeof *f)))
		return NULL;
	*f = (struct flight){ .first = first, .n = n, .since = now_ns(), .parties = 1 };
	pthread_mutex_lock(&lz->lock);
	f->next = lz->hedges.flights;
	lz->hedges.flights = f;
	lz->hedges.begun++;
	if (lz->hedges.delay)
		pthread_cond_signal(&lz->work); // somebody is to look at the clock
	pthread_mutex_unlock(&lz->lock);
	return f;
}

void flight_arrived(struct lazy *lz, struct flight *f)
{
	struct hedges *h = &lz->hedges;

	pthread_mutex_lock(&lz->lock);
	if (!f->arrived) {
		uint64_t us = (now_ns() - f->since) / 1000;

		f->arrived = true;
		h->sample[h->samples++ % HEDGE_SAMPLES] = (uint32_t)MIN(us, (uint64_t)UINT32_MAX);
		if (h->samples >= SAMPLES_MIN)
			set_delay(h);
	}
	pthread_mutex_unlock(&lz->lock);
}

bool flight_end(struct lazy *lz, struct flight *f)
{
	bool last = true;

	if (!f)
		return true;
	pthread_mutex_lock(&lz->lock);
	last = !--f->parties;
	for (struct flight **p = &lz->hedges.flights; last && *p; p = &(*p)->next)
		if (*p == f) {
			*p = f->next;
			break;
		}
	pthread_mutex_unlock(&lz->lock);
	if (last)
		free(f);
	return last;
}

struct flight *flight_late(struct lazy *lz, uint64_t *ret_wait_ns)
{
	struct hedges *h = &lz->hedges;
	uint64_t now = now_ns();

	*ret_wait_ns = UINT64_MAX;
	if (!h->delay || (h->doubled + 1) * PART > h->begun)
		return NULL;
	for (struct flight *f = h->flights; f; f = f->next) {
		uint64_t due = f->since + h->delay;

		if (f->arrived || f->doubled)
			continue;
		if (due > now) {
			*ret_wait_ns = MIN(*ret_wait_ns, due - now);
			continue;
		}
		f->doubled = true;
		f->parties++;
		h->doubled++;
		atomic_fetch_add(&lz->stats->hedged_requests, 1);
		return f;
	}
	return NULL;
}
