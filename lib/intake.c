// intake.c - layers that are downloaded and inflated ahead of their reader
//
// Threads: each layer that is open has two, one that downloads and proves the blob, one that
// inflates it (ahead.c); two layers are open at once, so that the wire and the processors have work
// while the last bytes of a layer are taken in. All that waits is bounded by ahead.c's rings: then
// the download waits too, and the sender with it.
// SPDX-License-Identifier: Apache-2.0
#include "intake.h"

#include "ahead.h"
#include "inflate.h"

// A stream that is opened by its first read, so by the thread that reads it.
struct late {
	struct stream s;
	int (*open)(struct late *l);
	struct stream *in; // NULL: not yet
	int error;
	struct repo *repo;
	struct desc blob;
	char name[DIGEST_STR_LEN];
};

struct intake {
	struct repo *repo;
	const struct image_layer *layers;
	uint32_t n, i; // i: of the layer in `next`
	struct stream *next;
};

static ssize_t late_read(struct stream *s, void *buf, size_t n)
{
	struct late *l = (struct late *)s;

	if (!l->in && !l->error)
		l->error = l->open(l);
	return l->error ? l->error : stream_read(l->in, buf, n);
}

static void late_close(struct stream *s)
{
	struct late *l = (struct late *)s;

	stream_close(l->in);
	free(l);
}

static struct stream *late_new(struct repo *repo, const struct desc *d, int (*open)(struct late *l))
{
	static const struct stream_ops ops = { .read = late_read, .close = late_close };
	struct late *l = xmalloc(sizeof *l);

	*l = (struct late){ .s.ops = &ops, .open = open, .repo = repo, .blob = *d };
	digest_str(&d->digest, l->name);
	return &l->s;
}

static int open_blob(struct late *l)
{
	return repo_open_blob(l->repo, &l->blob, 0, &l->in);
}

static int open_decoded(struct late *l)
{
	return inflate_open(ahead_open(late_new(l->repo, &l->blob, open_blob)), l->name, &l->in);
}

static void open_next(struct intake *f)
{
	f->next = f->i < f->n ? ahead_open(late_new(f->repo, &f->layers[f->i].desc, open_decoded))
			      : NULL;
}

struct intake *intake_new(struct repo *repo, const struct image_layer *layers, uint32_t n)
{
	struct intake *f = xmalloc(sizeof *f);

	*f = (struct intake){ .repo = repo, .layers = layers, .n = n };
	open_next(f);
	return f;
}

struct stream *intake_next(struct intake *f)
{
	struct stream *s = f->next;

	f->i++;
	open_next(f);
	return s;
}

void intake_free(struct intake *f)
{
	if (!f)
		return;
	stream_close(f->next);
	free(f);
}
