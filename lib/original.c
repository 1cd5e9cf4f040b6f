// original.c - an original copied to another place
// SPDX-License-Identifier: Apache-2.0
#include "original.h"

#include <fcntl.h>

#include "copy.h"
#include "log.h"

static int copy_all(const struct image *img, struct repo *from, struct repo *to, const char *tag)
{
	int r = copy_blob(from, to, &img->config_desc, NULL, "config");

	for (uint32_t i = 0; i < img->n_layers && !r; i++) {
		char what[64], hex[65];

		snprintf(what, sizeof what, "layer %u/%u %.12s", i + 1, img->n_layers,
			digest_hex(&img->layers[i].desc.digest, hex));
		r = copy_blob(from, to, &img->layers[i].desc, NULL, what);
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
