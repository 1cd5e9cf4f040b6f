// dockerar.h - the list of images in what `docker save` writes: private to dockerar.c, for tests and
// fuzzing
// SPDX-License-Identifier: Apache-2.0
#ifndef DOCKERAR_H
#define DOCKERAR_H

#include "image.h"

#define DOCKERAR_IMAGES_MAX 1000 // in one archive
#define DOCKERAR_LAYERS_MAX 512	 // in one image

struct dockerar_item {
	char *config;  // its path in the archive
	char **layers; // theirs, the lowest first
	size_t n_layers;
	char *name; // its first usable tag, "docker.io/library/alpine:3", or NULL
};
// The item of manifest.json that `want` means: "docker.io/library/alpine:3", "@N", or NULL, the only
// one. -EBADMSG, -ENOENT, -EINVAL logged with `what`.
int dockerar_choose(const char *text, size_t n, const char *want, const char *what,
	struct dockerar_item *ret) must_check;
void dockerar_item_fini(struct dockerar_item *it);

#endif
