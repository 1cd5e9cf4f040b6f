// lazyrescue.c - the demand engine's second source: chunks that the first has damaged, or not at all
//
// Such a chunk stays in flight and goes into a queue of its own, whose thread asks the original
// (rescue.h). The first one may have to wait for the original's pull; the workers go on meanwhile,
// and the readers' deadlines count as ever. When the original is here, the workers ask it first.
//
// Threads: the rescuer, started by the first loss.
// SPDX-License-Identifier: Apache-2.0
#include <sys/prctl.h>

#include "lazyint.h"
#include "log.h"
#include "rescue.h"

#define AGAIN_MS 250 // until an original that cannot be reached is asked for again

void lazy_rescued(struct lazy *lz, const struct chunk_view *c)
{
	atomic_fetch_add(&lz->stats->rescued_chunks, 1);
	atomic_fetch_add(&lz->stats->rescued_bytes, (uint64_t)c->blocks << BLOCK_SHIFT);
}

static void rescue(struct lazy *lz, uint32_t chunk, uint8_t *plain)
{
	struct chunk_view c;
	int r, kept = 0;

	index_chunk(lz->conf.ix, chunk, &c);
	r = plain ? rescue_get(lz->conf.rescue, &c, lz->why_bad, plain) : -ENOMEM;
	if (!r) {
		lazy_rescued(lz, &c);
		kept = lazy_keep(lz, &lz->spaces[c.space].file, c.block, c.blocks, plain);
	} else if (repo_is_silence(r)) {
		lazy_pause(AGAIN_MS);
	} else {
		r = -EBADMSG; // for good
	}
	lazy_land(lz, chunk, &c, plain, r, kept);
}

static void *rescue_all(void *arg)
{
	struct lazy *lz = arg;
	uint8_t *plain = malloc(lz->plain_max);

	prctl(PR_SET_NAME, "rescue");
	pthread_mutex_lock(&lz->lock);
	while (!lz->stop) {
		uint32_t chunk;

		if (!lz->lost.n) {
			pthread_cond_wait(&lz->loss, &lz->lock);
			continue;
		}
		chunk = queue_head(&lz->lost);
		queue_drop(&lz->lost);
		pthread_mutex_unlock(&lz->lock);
		rescue(lz, chunk, plain);
		pthread_mutex_lock(&lz->lock);
	}
	pthread_mutex_unlock(&lz->lock);
	free(plain);
	return NULL;
}

// Called with the lock held.
static bool have_rescuer(struct lazy *lz)
{
	if (!lz->rescues)
		lz->rescues = !pthread_create(&lz->rescuer, NULL, rescue_all, lz);
	return lz->rescues;
}

// What was said of the blob last, by this thread; which blob it is must be in it.
static void set_why(struct lazy *lz, const struct desc *blob, int error)
{
	const char *said = *log_last() ? log_last() : strerror(-error);
	char d[DIGEST_STR_LEN];

	digest_str(&blob->digest, d);
	if (strstr(said, d))
		snprintf(lz->why_bad, sizeof lz->why_bad, "%s", said);
	else
		snprintf(lz->why_bad, sizeof lz->why_bad, "blob %s: %s", d, said);
}

bool lazy_lost(struct lazy *lz, uint32_t chunk, int error)
{
	struct chunk_view c;
	bool taken;

	index_chunk(lz->conf.ix, chunk, &c);
	pthread_mutex_lock(&lz->lock);
	if (!lz->bad_source)
		set_why(lz, lz->spaces[c.space].blob, error);
	lz->bad_source = true;
	taken = lz->conf.rescue && !lz->stop && have_rescuer(lz) && !queue_put(&lz->lost, chunk);
	pthread_cond_signal(&lz->loss);
	pthread_mutex_unlock(&lz->lock);
	return taken;
}
