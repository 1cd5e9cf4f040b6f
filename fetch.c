// fetch.c - pull: everything of an image into the store
// SPDX-License-Identifier: Apache-2.0
#include "fcpull.h"
#include "gc.h"
#include "log.h"
#include "policy.h"
#include "progress.h"
#include "seal.h"

static bool pull_pin, pull_lazy;

static const struct opt pull_opts[] = {
	{ 0, "pin", NULL, "gc never trims it, until it is unpinned", opt_flag, &pull_pin, false },
	{ 0, "lazy", NULL, "only what a start needs: index and boot stream", opt_flag, &pull_lazy,
		false },
	{ 0, "original", NULL, "pull the original, even if it is accelerated", opt_flag,
		&image_opts.host.original, false },
	ACCELERATE_OPT_ROW,
	IMAGE_OPT_ROWS,
	{ 0 },
};

static void add(void *arg, uint64_t bytes)
{
	progress_add(arg, bytes);
}

static uint64_t packed_size(const struct index *ix)
{
	uint64_t n = 0;

	for (uint32_t i = 0; i < index_spaces(ix); i++) {
		struct space_view sp;

		index_space(ix, i, &sp);
		n += sp.blob_size;
	}
	return n;
}

// Everything: 0 or -errno logged.
static int fetch_whole(struct host_image *h)
{
	struct progress *p = progress_start(h->form, packed_size(h->ix));
	int r = lazy_fetch_all(h->lz, add, p);

	progress_end(p, r ? "failed" : "complete");
	if (!r)
		seal_image(h->store, h->ix); // the next mount needs no process
	return r;
}

// The boot stream into the store, where the next start finds it. (The index is there already.)
static int fetch_start(struct host_image *h)
{
	struct lazy_hooks hooks = {
		.boot_fd = steal_fd(&h->boot_fd), .boot_first = h->boot_first, .fill = LAZY_FILL_OFF
	};
	uint32_t lost = 0;
	int r;

	hooks.boot_fd = MAX(hooks.boot_fd, 0);
	r = lazy_begin(h->lz, &hooks);
	if (r)
		return r;
	while (!lazy_boot_over(h->lz, &lost))
		usleep(20000);
	return lost ? warn_errno(-EIO, "%s: %u of %u frames of the boot stream have not come",
			      h->name, lost, index_frames(h->ix))
		    : 0;
}

static int fetch_all(struct host_image *h)
{
	h->no_rescue = true; // the original is pulled instead, and nothing else is needed then
	int r = host_start(h);

	if (r)
		return r;
	return pull_lazy && h->img && h->img->accel ? fetch_start(h) : fetch_whole(h);
}

// What is wanted of the image, in the store. An accelerated form whose data turns out to be missing or
// wrong is left, and remembered, for the original.
static int pull_image(const char *reference, struct host_image **ret)
{
	struct host_image *h;
	const char *why;
	int r;

	image_opts.host.boot = pull_lazy;
	r = host_open(reference, &image_opts.host, &h);
	if (r)
		return r;
	r = fetch_all(h);
	if (r && h->img && h->img->accel && h->lz && lazy_bad_source(h->lz, &why)) {
		cleanup_free char *text = xasprintf("its data is damaged or missing: %s", why);

		host_refuse_form(h, text);
		warn("%s: the accelerated form is not usable; the original is used", h->name);
		host_close(h);
		r = host_open(reference, &image_opts.host, &h);
		if (r)
			return r;
		r = fetch_all(h);
	}
	if (r) {
		warn("%s was not pulled completely; what has arrived is kept, the same command goes on",
			h->name);
		host_close(h);
		return r;
	}
	*ret = h;
	return 0;
}

static int pull(int argc, char **argv)
{
	struct host_image *h;
	struct hasten *x;
	char s[DIGEST_STR_LEN];
	int r;

	if (argc != 1) {
		warn("pull takes one IMAGE; try 'fcpull pull --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish() || policy_check(mount_opts.accelerate))
		return EXIT_USAGE;
	if (pull_image(argv[0], &h))
		return EXIT_FAILURE;
	printf("%s@%s\n", h->repo->name, digest_str(&h->img->top.digest, s));
	r = pull_pin ? store_pin(h->store, h->key, true) : 0;
	if (hasten_begin(h, &image_opts.host, mount_opts.accelerate, HASTEN_PULL, &x))
		r = -EINVAL;
	else
		hasten_go(x);
	host_close(h);
	gc_auto(image_opts.host.root);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_pull = {
	"pull",
	"IMAGE",
	"bring all of an image into the store",
	pull_opts,
	"The accelerated form if there is one, else the original; verified either way.\n"
	"What has arrived stays when it is interrupted; the same command goes on.\n"
	"With --lazy the next start needs no network as far as its trace goes; what else\n"
	"it reads arrives then. An original is pulled whole all the same.\n"
	"The last line of output is NAME@DIGEST.\n",
	pull,
	false,
	0,
};
