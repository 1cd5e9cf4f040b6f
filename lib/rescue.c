// rescue.c - the data of an accelerated image from its original
//
// Threads: rescue_get() is called by one; any number reads meanwhile, what was ready before. `lock`
// guards the layers, and is held alone while they change.
// SPDX-License-Identifier: Apache-2.0
#include "rescue.h"

#include <pthread.h>
#include <stdatomic.h>

#include "format.h"
#include "indexw.h"
#include "ingest.h"
#include "log.h"
#include "pack.h"
#include "plain.h"

#define AGAIN_MS 30000 // after a failure that another attempt would meet again

// Blocks of a data space, and where the original's space of the same layer has them.
struct extent {
	uint32_t to, from, n;
};

struct layer {
	uint32_t space;
	struct space_file file; // the original's
	struct extent *v;	// sorted by `to`, from 0 on, without gaps
	size_t n, cap;
	uint32_t blocks; // of all of them
};

struct rescue {
	const struct index *ix;
	struct store *store;
	struct repo *repo;
	const char *name;
	pthread_rwlock_t lock;
	struct layer *layers;
	uint32_t n_layers;
	_Atomic bool ready;
	bool pulled; // by this process: what it gives is not going to change
	bool said;
	int error;	 // of the last attempt
	uint64_t failed; // when that was, ns; 0: another one may go better
};

struct rescue *rescue_new(
	const struct index *ix, struct store *s, struct repo *repo, const char *name)
{
	struct rescue *x = xcalloc(1, sizeof *x);

	*x = (struct rescue){ .ix = ix, .store = s, .repo = repo, .name = name };
	pthread_rwlock_init(&x->lock, NULL);
	return x;
}

static void free_layers(struct layer *v, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		space_file_close(&v[i].file);
		free(v[i].v);
	}
	free(v);
}

void rescue_free(struct rescue *x)
{
	if (!x)
		return;
	free_layers(x->layers, x->n_layers);
	pthread_rwlock_destroy(&x->lock);
	free(x);
}

bool rescue_ready(const struct rescue *x)
{
	return x->ready;
}

// ---- which blocks are which ----

// The next content of the layer in the order of format.md 5.
static int place(void *arg, struct content *c)
{
	struct layer *l = arg;
	struct extent *last = l->n ? &l->v[l->n - 1] : NULL;
	int r = content_place(c, l->space, &l->blocks);
	uint32_t n = (uint32_t)blocks_of(c->size); // if it is placed

	if (r <= 0)
		return r;
	if (last && last->from + last->n == c->spool) {
		last->n += n;
		return 0;
	}
	l->v = xgrow(l->v, &l->cap, l->n + 1, sizeof *l->v);
	l->v[l->n++] = (struct extent){ c->block, c->spool, n };
	return 0;
}

// A layer is taken in again, as a conversion of it would be.
static int map_layer(struct rescue *x, const struct index *orig, uint32_t i, struct tree *t,
	struct journal_r *j, struct layer *l)
{
	struct digest key = index_space_key(orig, i);
	struct ingest in = { .tree = t, .space = i, .share = true, .name = x->name };
	struct space_view sp;
	int r;

	index_space(orig, i, &sp);
	l->space = i;
	r = store_space(x->store, &key, sp.blocks, &l->file);
	in.spool = l->file.fd;
	if (!r)
		r = ingest_again(&in, j);
	if (!r)
		r = tree_walk_layer(t, place, l);
	return r;
}

static int map_layers(struct rescue *x, const struct index *orig, struct layer *v, uint32_t n)
{
	struct digest d = index_original(orig);
	cleanup_fd int fd = store_journal(x->store, &d);
	struct journal_r *j = NULL;
	struct tree *t;
	int r = fd < 0 ? fd : journal_open(fd, x->name, &j);

	if (r)
		return r;
	t = tree_new();
	for (uint32_t i = 0; i < n && !r; i++)
		r = map_layer(x, orig, i, t, j, &v[i]);
	tree_free(t);
	journal_close(j);
	return r;
}

// ---- the original ----

static int find_original(struct rescue *x, struct index **ret)
{
	struct digest original = index_original(x->ix), is, d;
	cleanup_free char *p = NULL;
	struct index *ix;
	size_t n;
	int r = store_local_index(x->store, &original, &d);

	if (!r)
		r = store_get(x->store, &d, FMT_INDEX_PACKED_MAX, &p, &n);
	if (!r)
		r = index_unpack(p, n, x->name, &ix);
	if (r)
		return r;
	is = index_original(ix);
	if (!digest_equal(&is, &original)) {
		index_free(ix);
		return -EBADMSG;
	}
	*ret = ix;
	return 0;
}

static int pull_original(struct rescue *x, struct index **ret)
{
	struct digest original = index_original(x->ix);
	struct platform any = { 0 };
	char s[DIGEST_STR_LEN];
	struct image *img;
	struct ref ref;
	int r = x->repo ? ref_parse(x->name, &ref) : -ENOENT;

	if (r)
		return r;
	free(ref.digest);
	ref.digest = xstrdup(digest_str(&original, s));
	r = image_open(x->repo, &ref, &any, IMAGE_ORIGINAL, &img);
	ref_fini(&ref);
	if (r)
		return r;
	r = plain_pull(x->store, img, ret);
	image_free(img);
	x->pulled = !r;
	return r;
}

// Opens what the original is, and takes the place of what was there of it.
static int use_original(struct rescue *x, const struct index *orig)
{
	uint32_t n = index_spaces(orig);
	struct layer *v;
	int r;

	if (n != index_spaces(x->ix))
		return -EBADMSG;
	v = xcalloc(n, sizeof *v);
	for (uint32_t i = 0; i < n; i++)
		v[i].file.fd = -1;
	r = map_layers(x, orig, v, n);
	if (r) {
		free_layers(v, n);
		return r;
	}
	pthread_rwlock_wrlock(&x->lock);
	free_layers(x->layers, x->n_layers);
	x->layers = v;
	x->n_layers = n;
	pthread_rwlock_unlock(&x->lock);
	x->ready = true;
	return 0;
}

// The store's is not proved: what comes of it is.
static int get_original(struct rescue *x, bool pull)
{
	struct index *orig;
	int r;

	store_hold(x->store);
	r = pull ? -ENOENT : find_original(x, &orig);
	if (pull) {
		store_release(x->store); // not over the network
		r = pull_original(x, &orig);
	}
	if (!r) {
		r = use_original(x, orig);
		index_free(orig);
	}
	store_release(x->store);
	if (!r)
		info("%s: the original is in the store; its data is used", x->name);
	return r;
}

// ---- chunks ----

static const struct extent *extent_at(const struct layer *l, uint32_t block)
{
	size_t lo = 0, hi = l->n;

	while (lo < hi) {
		size_t mid = lo + (hi - lo) / 2;

		if (l->v[mid].to + l->v[mid].n <= block)
			lo = mid + 1;
		else
			hi = mid;
	}
	return &l->v[lo];
}

static int gather(const struct layer *l, const struct chunk_view *c, uint8_t *plain)
{
	const struct extent *e = extent_at(l, c->block);

	if (c->block > l->blocks || c->blocks > l->blocks - c->block)
		return -EBADMSG;
	for (uint32_t done = 0; done < c->blocks; e++) {
		uint32_t skip = c->block + done - e->to, n = MIN(e->n - skip, c->blocks - done);
		int r = pread_full(l->file.fd, plain + ((size_t)done << BLOCK_SHIFT),
			(size_t)n << BLOCK_SHIFT, (uint64_t)(e->from + skip) << BLOCK_SHIFT);

		if (r)
			return r;
		done += n;
	}
	return 0;
}

int rescue_read(struct rescue *x, const struct chunk_view *c, uint8_t *plain)
{
	struct digest d;
	int r = -ENODATA;

	if (!x->ready)
		return r;
	pthread_rwlock_rdlock(&x->lock);
	if (c->space < x->n_layers)
		r = gather(&x->layers[c->space], c, plain);
	pthread_rwlock_unlock(&x->lock);
	if (r)
		return r;
	d = sha256_of(plain, (size_t)c->blocks << BLOCK_SHIFT);
	return digest_equal(&d, &c->sha) ? 0 : -EBADMSG;
}

static bool has_just_failed(const struct rescue *x)
{
	return x->failed && now_ns() - x->failed < AGAIN_MS * 1000000ull;
}

// One message names both reasons; an outage has one, however often the original is asked for.
static int give_up(struct rescue *x, const char *why, const char *before, int r)
{
	const char *reason = strcmp(log_last(), before) ? log_last() : strerror(-r);
	struct digest original = index_original(x->ix);
	bool silence = repo_is_silence(r);
	char s[DIGEST_STR_LEN];

	if (silence && x->error == r)
		return r;
	x->error = r;
	x->failed = silence ? 0 : now_ns();
	warn("%s: data of the accelerated form cannot be used (%s), and the original %s cannot be used in its place (%s)",
		x->name, why, digest_str(&original, s), reason);
	return r;
}

int rescue_get(struct rescue *x, const struct chunk_view *c, const char *why, uint8_t *plain)
{
	cleanup_free char *before = NULL;
	int r = rescue_read(x, c, plain);

	if (!r)
		return 0;
	if (has_just_failed(x))
		return x->error;
	if (!x->said)
		warn("%s: data of the accelerated form cannot be used (%s); the original is used in its place",
			x->name, why);
	x->said = true;
	before = xstrdup(log_last());
	if (!x->ready && !get_original(x, false))
		r = rescue_read(x, c, plain);
	// neither the store's disk nor an older fcpull's journal need be right
	if (r && !x->pulled) {
		r = get_original(x, true);
		if (!r)
			r = rescue_read(x, c, plain);
	} else if (r && x->ready) {
		return warn_errno(-EBADMSG,
			"%s: space %u, block %u: the original's data does not match the index either",
			x->name, c->space, c->block);
	}
	if (!r)
		x->error = 0;
	return r ? give_up(x, why, before, r) : 0;
}
