// plain.c - an original pulled whole
// SPDX-License-Identifier: Apache-2.0
#include "plain.h"

#include "indexw.h"
#include "ingest.h"
#include "intake.h"
#include "log.h"
#include "seal.h"
#include "progress.h"

// Takes in one layer, `plain` (taken over), to the file `spool`; appends its space and chunks to
// parts.
static int read_layer(struct image *img, uint32_t i, struct stream *plain, int spool,
	struct index_parts *parts, struct journal_w *journal)
{
	const struct image_layer *l = &img->layers[i];
	struct fmt_space *sp = &parts->spaces[i];
	struct cutter cut = { 0 };
	char name[DIGEST_STR_LEN];
	struct ingest in = { .tree = parts->tree,
		.space = i,
		.spool = spool,
		.cut = &cut,
		.journal = journal,
		.diff_id = &l->diff_id,
		.name = digest_str(&l->desc.digest, name) };
	int r = ingest_layer(&in, plain);

	if (!r) {
		buf_add(&parts->chunks, cut.chunks, cut.n * sizeof *cut.chunks);
		memcpy(sp->layer, l->desc.digest.b, sizeof sp->layer);
		memcpy(sp->diff_id, l->diff_id.b, sizeof sp->diff_id);
		sp->chunks = (uint32_t)cut.n;
		sp->blocks = in.blocks;
	}
	cutter_fini(&cut);
	return r;
}

// The blocks lie in the tar's order, so that they were written only once.
static void place_contents(struct tree *t)
{
	for (uint32_t i = 0; i < tree_contents(t); i++)
		tree_content(t, i)->block = tree_content(t, i)->spool;
}

static int read_layers(
	struct image *img, const int *spools, struct index_parts *parts, struct journal_w *journal)
{
	struct intake *in = intake_new(img->repo, img->layers, img->n_layers);
	int r = 0;

	for (uint32_t i = 0; i < img->n_layers && !r; i++) {
		char what[64], hex[65];
		struct progress *p;

		snprintf(what, sizeof what, "layer %u/%u %.12s", i + 1, img->n_layers,
			digest_hex(&img->layers[i].desc.digest, hex));
		p = progress_start(what, img->layers[i].desc.size);
		r = read_layer(img, i, intake_next(in), spools[i], parts, journal);
		if (!r)
			progress_add(p, img->layers[i].desc.size);
		progress_end(p, r ? "failed" : "read");
	}
	intake_free(in);
	return r;
}

static int read_image(
	struct image *img, const int *spools, struct journal_w *journal, struct index **ret)
{
	struct index_parts parts = { .original = img->man.digest,
		.config = img->config_desc.digest,
		.n_spaces = img->n_layers };
	int r;

	parts.tree = tree_new();
	parts.spaces = xcalloc(img->n_layers, sizeof *parts.spaces);
	r = read_layers(img, spools, &parts, journal);
	if (!r) {
		place_contents(parts.tree);
		r = index_build(&parts, ret);
	}
	index_parts_fini(&parts);
	return r;
}

int plain_read(struct image *img, const int *spools, struct index **ret)
{
	return read_image(img, spools, NULL, ret);
}

// ---- into the store ----

// The blocks come last into their places, under names that are computed from them.
static int adopt_all(struct store *s, const int *spools, const struct index *ix)
{
	int r = 0;

	for (uint32_t i = 0; i < index_spaces(ix) && !r; i++) {
		struct digest key = index_space_key(ix, i);
		struct space_view sp;

		index_space(ix, i, &sp);
		r = store_adopt(s, spools[i], &key, sp.blocks);
	}
	return r;
}

static int keep_index(struct store *s, const struct image *img, const struct index *ix)
{
	cleanup_buf struct buf packed = { 0 };
	struct digest d;
	int r = index_pack(ix, &packed);

	if (r)
		return r;
	d = sha256_of(packed.data, packed.len);
	r = store_put(s, &d, packed.data, packed.len);
	return r ? r : store_set_local_index(s, &img->man.digest, &d);
}

static int open_spools(struct store *s, int *spools, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		spools[i] = store_tmp(s);
		if (spools[i] < 0)
			return spools[i];
	}
	return 0;
}

// The journal is for a later conversion only: without it the image is as good.
static struct journal_w *begin_journal(struct store *s, int *ret_fd)
{
	struct journal_w *j;

	*ret_fd = store_tmp(s);
	return *ret_fd < 0 || journal_begin(*ret_fd, &j) ? NULL : j;
}

static void keep_journal(struct store *s, const struct image *img, struct journal_w *j, int fd)
{
	int r = journal_end(j);

	if (!r)
		r = store_adopt_journal(s, fd, &img->man.digest);
	if (r)
		debug("keep the journal of the image's layers: %s", strerror(-r));
}

int plain_pull(struct store *s, struct image *img, struct index **ret)
{
	int *spools = xmalloc(img->n_layers * sizeof *spools), fd;
	struct journal_w *journal = begin_journal(s, &fd);
	struct index *ix = NULL;
	int r;

	for (uint32_t i = 0; i < img->n_layers; i++)
		spools[i] = -1;
	r = open_spools(s, spools, img->n_layers);
	if (!r)
		r = read_image(img, spools, journal, &ix);
	store_hold(s); // until the caller has named what comes now
	if (!r)
		r = adopt_all(s, spools, ix);
	if (!r)
		r = keep_index(s, img, ix);
	if (!r)
		seal_image(s, ix); // what was hashed here is what was written
	if (journal && !r)
		keep_journal(s, img, steal(&journal), fd);
	journal_drop(journal);
	if (fd >= 0)
		close(fd);
	for (uint32_t i = 0; i < img->n_layers; i++)
		if (spools[i] >= 0)
			close(spools[i]);
	free(spools);
	if (r) {
		index_free(ix);
		return r;
	}
	*ret = ix;
	return 0;
}
