// fetch.c - pull: everything of an image into the store
// SPDX-License-Identifier: Apache-2.0
#include "fcpull.h"
#include "gc.h"
#include "log.h"
#include "progress.h"
#include "seal.h"

static bool pull_pin, pull_lazy;

static const struct opt pull_opts[] = {
	{ 0, "pin", NULL, "gc never trims it, until it is unpinned", opt_flag, &pull_pin, false },
	{ 0, "lazy", NULL, "only what a start needs: index and boot stream", opt_flag, &pull_lazy,
		false },
	{ 0, "original", NULL, "pull the original, even if it is accelerated", opt_flag,
		&image_opts.host.original, false },
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

static int pull(int argc, char **argv)
{
	struct host_image *h;
	char s[DIGEST_STR_LEN];
	int r;

	if (argc != 1) {
		warn("pull takes one IMAGE; try 'fcpull pull --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish())
		return EXIT_USAGE;
	image_opts.host.boot = pull_lazy;
	r = host_open(argv[0], &image_opts.host, &h);
	if (r)
		return EXIT_FAILURE;
	r = host_start(h);
	if (r) {
		host_close(h);
		return EXIT_FAILURE;
	}
	r = pull_lazy && h->img->accel ? fetch_start(h) : fetch_whole(h);
	if (r)
		warn("%s was not pulled completely; what has arrived is kept, the same command goes on",
			h->name);
	if (!r)
		printf("%s@%s\n", h->repo->name, digest_str(&h->img->top.digest, s));
	if (!r && pull_pin)
		r = store_pin(h->store, h->key, true);
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
