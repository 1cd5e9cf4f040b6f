// image.h - what a reference resolves to: the original, its config, and its accelerated form if
// there is one
// SPDX-License-Identifier: Apache-2.0
#ifndef IMAGE_H
#define IMAGE_H

#include "accelman.h"
#include "json.h"
#include "platform.h"
#include "repo.h"

struct image_layer {
	struct desc desc;
	char media_type[128];
	struct digest diff_id;
};

// Settings of the config that `run` and `inspect` use. Strings point into the image; NULL or n = 0
// when absent.
struct image_config {
	char **entrypoint, **cmd, **env; // NULL-terminated
	size_t n_entrypoint, n_cmd, n_env;
	char *user, *workdir, *stop_signal, *created;
	struct platform platform;
};

struct image {
	struct repo *repo;   // borrowed
	struct manifest top; // what the reference names: an index, or the same manifest
	bool top_is_index;
	bool looked_up;	     // accel was found by image_look_up()
	bool no_copies;	     // what is inline in descriptors is not used: each object is read
	struct manifest man; // the original's manifest
	struct desc config_desc;
	char *config_json;
	size_t config_len;
	struct image_config config;
	struct image_layer *layers;
	uint32_t n_layers;
	struct platform platform; // of the entry that was chosen (index), else of the config
	struct accel *accel;	  // or NULL
	// a form that was found and left out: its manifest, and why: -EPERM, the caller has refused
	// it; else what was wrong with it, or with the way to it. 0: none was
	struct digest left_out;
	int left_out_error;
	char left_out_why[512]; // what was said then
};

enum image_want {
	IMAGE_ORIGINAL, // the original only
	IMAGE_ANY, // with its accelerated form when the reference carries one; a broken one is warned of and left out
	IMAGE_PROOF, // as above, but each object is read, inline copies are not used, and any fault of the accelerated form is an error
	IMAGE_ACCELERATED, // as above, and its absence is an error
};

// Whether an accelerated form, by the digest of its manifest, must not be used.
struct image_veto {
	bool (*bad)(void *arg, const struct digest *form);
	void *arg;
};

// Resolves ref in repo. ref names a manifest, an index (the entry for `platform` is taken: first
// match by os, arch, variant), or an accelerated manifest itself (its subject is the original).
// -ENOENT and all others logged, with the remedy.
int image_open(struct repo *repo, const struct ref *ref, const struct platform *platform,
	enum image_want want, struct image **ret) must_check;
// The same; what veto (or NULL) refuses is not even read.
int image_open_but(struct repo *repo, const struct ref *ref, const struct platform *platform,
	enum image_want want, const struct image_veto *veto, struct image **ret) must_check;
// Looks for the accelerated form where the reference itself does not list it (lookup.h), when img
// has none. 0: img->accel is set, or there is none; a broken one: as image_open() does for `want`.
int image_look_up(struct image *img, const struct ref *ref, enum image_want want,
	const struct image_veto *veto) must_check;
void image_free(struct image *img);

// Gives img, which has none, an accelerated form that was found elsewhere: its manifest, taken over in
// any case. -EBADMSG logged: it is none, or not of this original.
int image_add_form(struct image *img, struct manifest *form) must_check;
// Img has none any more.
void image_drop_form(struct image *img);

// Total of the layers' sizes as published.
uint64_t image_layers_size(const struct image *img);
bool media_type_is_index(const char *media_type);

#endif
