// fuzz_image.c - indexes, manifests, configs and accelerated manifests, through a repository in
// memory
// SPDX-License-Identifier: Apache-2.0
//
// The input is cut into documents at NUL bytes: what the tag names, then up to 7 others, which they
// can name (mockrepo.h).
#include "image.h"
#include "json.h"
#include "log.h"

#include "../unit/mockrepo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool good)
{
	if (!good)
		abort();
}

static void check_strings(char **v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		must(v[i] != NULL);
	must(!v ? !n : !v[n]);
}

// What callers rely on.
static void check(const struct image *img, enum image_want want)
{
	char s[100];

	must(img->man.bytes && img->config_json && !img->config_json[img->config_len]);
	must(img->n_layers <= 512 && img->config_len == img->config_desc.size);
	must(want != IMAGE_ACCELERATED || img->accel);
	must(want != IMAGE_ORIGINAL || !img->accel);
	check_strings(img->config.entrypoint, img->config.n_entrypoint);
	check_strings(img->config.cmd, img->config.n_cmd);
	check_strings(img->config.env, img->config.n_env);
	must(strlen(platform_str(&img->platform, s)) < sizeof s);
	if (!img->accel)
		return;
	must(img->accel->index_size && img->accel->index_size <= img->accel->boot.size &&
		img->accel->n_data <= img->n_layers);
}

static void open_it(struct mock *m, enum image_want want)
{
	struct ref ref = { .tag = (char *)"t" };
	struct platform p = { "linux", "amd64", "" };
	struct image *img;

	if (image_open(&m->repo, &ref, &p, want, &img))
		return;
	check(img, want);
	(void)image_layers_size(img);
	image_free(img);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const char *doc[MOCK_DOCS];
	size_t len[MOCK_DOCS], n = 0;
	struct mock m;

	log_level = LOG_QUIET;
	for (const uint8_t *p = data, *end = data + size; p < end && n < MOCK_DOCS; n++) {
		const uint8_t *nul = memchr(p, 0, (size_t)(end - p));

		doc[n] = (const char *)p;
		len[n] = (size_t)((nul ? nul : end) - p);
		p = nul ? nul + 1 : end;
	}
	mock_init(&m);
	mock_add_docs(&m, doc, len, n);
	open_it(&m, IMAGE_ORIGINAL);
	open_it(&m, IMAGE_ANY);
	open_it(&m, IMAGE_ACCELERATED);
	mock_fini(&m);
	return 0;
}
