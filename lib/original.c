// original.c - an original copied to another place
// SPDX-License-Identifier: Apache-2.0
#include "original.h"

#include <fcntl.h>

#include "log.h"
#include "progress.h"

#define COPY_SIZE (256u << 10)

// By way of a scratch file: a repository takes a blob when its digest is proved.
static int fetch_blob(struct repo *from, const struct desc *d, int fd, struct progress *p)
{
	cleanup_stream struct stream *s = NULL;
	cleanup_free uint8_t *buf = xmalloc(COPY_SIZE);
	uint64_t off = 0;
	ssize_t n = 0;
	int r = repo_open_blob(from, d, 0, &s);

	while (!r && (n = stream_read(s, buf, COPY_SIZE)) > 0) {
		r = pwrite_full(fd, buf, (size_t)n, off);
		if (r)
			return warn_errno(r, "write a scratch file");
		off += (uint64_t)n;
		progress_add(p, (uint64_t)n);
	}
	return r ? r : (int)n;
}

static int copy_blob(struct repo *from, struct repo *to, const struct desc *d, const char *what)
{
	cleanup_fd int fd = -1;
	struct progress *p;
	int r = repo_put_blob(to, d, -1, NULL);

	if (r)
		return r < 0 ? r : 0;
	fd = scratch_file();
	if (fd < 0)
		return fd;
	p = progress_start(what, d->size);
	r = fetch_blob(from, d, fd, p);
	if (!r)
		r = repo_put_blob(to, d, fd, NULL);
	progress_end(p, r < 0 ? "failed" : "copied");
	return r < 0 ? r : 0;
}

static int copy_all(const struct image *img, struct repo *from, struct repo *to, const char *tag)
{
	int r = copy_blob(from, to, &img->config_desc, "config");

	for (uint32_t i = 0; i < img->n_layers && !r; i++) {
		char what[64], hex[65];

		snprintf(what, sizeof what, "layer %u/%u %.12s", i + 1, img->n_layers,
			digest_hex(&img->layers[i].desc.digest, hex));
		r = copy_blob(from, to, &img->layers[i].desc, what);
	}
	return r ? r
		 : repo_put_manifest(to, tag, img->man.media_type, img->man.bytes, img->man.len);
}

int original_copy(const struct ref *src, const struct ref *dst, const struct net_opts *net,
	const struct platform *platform, struct digest *ret)
{
	bool new_layout = dst->transport == REF_OCI && access(dst->dir, F_OK) && errno == ENOENT;
	struct repo *from = NULL, *to = NULL;
	struct image *img = NULL;
	int r = repo_open(src, net, false, &from);

	if (!r)
		r = image_open(from, src, platform, IMAGE_ORIGINAL, &img);
	if (!r)
		r = repo_open(dst, net, true, &to);
	if (!r)
		r = copy_all(img, from, to, dst->tag ? dst->tag : "");
	if (!r)
		*ret = img->man.digest;
	image_free(img);
	repo_close(to);
	repo_close(from);
	if (r && new_layout && remove_tree_at(AT_FDCWD, dst->dir))
		warn("%s could not be removed again", log_quote(dst->dir));
	return r;
}
