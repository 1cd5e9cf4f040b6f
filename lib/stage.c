// stage.c - a place for what a conversion makes
//
// Threads: put_blob may be called by several; `lock` guards the list.
// SPDX-License-Identifier: Apache-2.0
#include "stage.h"

#include <fcntl.h>
#include <pthread.h>

#include "log.h"

struct staged {
	struct desc desc;
	int fd;
};

struct stage {
	struct repo repo;
	pthread_mutex_t lock;
	struct staged *v;
	size_t n, cap;
	struct buf manifest; // the last one
	char media_type[128];
};

static int find(struct stage *g, const struct digest *d)
{
	int fd = -ENOENT;

	pthread_mutex_lock(&g->lock);
	for (size_t i = 0; i < g->n; i++)
		if (digest_equal(&g->v[i].desc.digest, d))
			fd = g->v[i].fd;
	pthread_mutex_unlock(&g->lock);
	return fd;
}

int stage_blob(struct repo *stage, const struct digest *d)
{
	return find((struct stage *)stage, d);
}

static int stage_has_blob(struct repo *repo, const struct desc *d)
{
	return find((struct stage *)repo, &d->digest) >= 0;
}

static int stage_put_blob(struct repo *repo, const struct desc *d, int fd, const char *mount_from)
{
	struct stage *g = (struct stage *)repo;
	int own;

	(void)mount_from;
	if (stage_has_blob(repo, d))
		return 1;
	if (fd < 0)
		return 0;
	own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	if (own < 0)
		return warn_errno(-errno, "keep a scratch file");
	pthread_mutex_lock(&g->lock);
	g->v = xgrow(g->v, &g->cap, g->n + 1, sizeof *g->v);
	g->v[g->n++] = (struct staged){ *d, own };
	pthread_mutex_unlock(&g->lock);
	return 0;
}

static int stage_put_manifest(
	struct repo *repo, const char *tag, const char *media_type, const void *p, size_t n)
{
	struct stage *g = (struct stage *)repo;

	(void)tag;
	g->manifest.len = 0;
	buf_add(&g->manifest, p, n);
	snprintf(g->media_type, sizeof g->media_type, "%s", media_type);
	return 0;
}

static int stage_get_manifest(struct repo *repo, const char *ref, struct manifest *ret)
{
	(void)repo;
	(void)ref;
	(void)ret;
	return -ENOENT;
}

static int stage_open_blob(
	struct repo *repo, const struct desc *d, uint64_t off, struct stream **ret)
{
	(void)repo;
	(void)d;
	(void)off;
	(void)ret;
	return -ENOENT;
}

static int stage_read_range(struct repo *repo, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *w)
{
	int fd = find((struct stage *)repo, &d->digest);

	(void)w;
	return fd < 0 ? fd : pread_full(fd, buf, n, off);
}

static void stage_close(struct repo *repo)
{
	struct stage *g = (struct stage *)repo;

	for (size_t i = 0; i < g->n; i++)
		close(g->v[i].fd);
	pthread_mutex_destroy(&g->lock);
	buf_fini(&g->manifest);
	free(g->v);
	free(g->repo.name);
	free(g);
}

struct repo *stage_open(const char *name)
{
	static const struct repo_ops ops = {
		.get_manifest = stage_get_manifest,
		.open_blob = stage_open_blob,
		.read_range = stage_read_range,
		.has_blob = stage_has_blob,
		.put_blob = stage_put_blob,
		.put_manifest = stage_put_manifest,
		.close = stage_close,
	};
	struct stage *g = xcalloc(1, sizeof *g);

	g->repo = (struct repo){ .ops = &ops, .name = xstrdup(name) };
	pthread_mutex_init(&g->lock, NULL);
	return &g->repo;
}

int stage_keep(struct repo *stage, struct store *s)
{
	struct stage *g = (struct stage *)stage;
	int r = 0;

	for (size_t i = 0; i < g->n && r >= 0; i++)
		r = repo_put_blob(s->repo, &g->v[i].desc, g->v[i].fd, NULL);
	if (r >= 0 && g->manifest.len)
		r = repo_put_manifest(
			s->repo, NULL, g->media_type, g->manifest.data, g->manifest.len);
	return r < 0 ? r : 0;
}
