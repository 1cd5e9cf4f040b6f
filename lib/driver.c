// driver.c - the ways to show an image as a file system
//
// fuse: our own file system. erofs: the kernel's EROFS on one virtual file, image.erofs, that our
// worker serves by FUSE; its metadata is generated here, from the checked tree, so that the kernel
// never parses a publisher's. image-file: that virtual file itself.
// SPDX-License-Identifier: Apache-2.0
#include "driver.h"

#include <fcntl.h>

#include "erofsmnt.h"
#include "imagefile.h"
#include "log.h"
#include "opt.h"
#include "treefs.h"

#define WHOLE_READAHEAD_KB 1024
#define FUSE_READAHEAD_KB 256 // it is alone, with no other read-ahead above it

static int fuse_driver_serve(
	struct host_image *h, const struct serving *s, int fuse, unsigned threads)
{
	int r = lazy_begin(h->lz, &s->hooks);

	return r ? r : treefs_serve(h->lz, fuse, threads);
}

// The metadata goes to a file without a name, so that it costs page cache that can be dropped, not
// memory.
static int serve_image_file(
	struct host_image *h, const struct serving *s, bool alone, int fuse, unsigned threads)
{
	cleanup_fd int meta = store_tmp(h->store);
	struct erofs_image *im;
	int r = meta < 0 ? meta : erofs_build(h->ix, meta, &im);

	if (r)
		return r;
	r = imagefile_serve(h->lz, im, alone, &s->hooks, s->foreseen && !s->record, fuse, threads);
	erofs_free(im);
	return r;
}

static int erofs_driver_serve(
	struct host_image *h, const struct serving *s, int fuse, unsigned threads)
{
	return serve_image_file(h, s, false, fuse, threads);
}

static int file_driver_serve(
	struct host_image *h, const struct serving *s, int fuse, unsigned threads)
{
	return serve_image_file(h, s, true, fuse, threads);
}

static int erofs_driver_make(
	struct host_image *h, const struct serving *s, int fuse_mnt, struct made_mount *ret)
{
	cleanup_fd int image = openat(fuse_mnt, IMAGEFILE_NAME, O_RDONLY | O_CLOEXEC);
	struct erofs_mount_opts o = {
		.directio = s->record,
		.no_readahead = s->foreseen || s->record,
	};
	struct erofs_mount m;
	int r = image < 0 ? -errno : erofs_mount_fd(image, &o, &m, &ret->mnt);

	if (r)
		return warn_errno(r, "%s: mount by the erofs driver%s%s", h->name,
			r == -ENODEV ? ": " : "", r == -ENODEV ? m.why : "");
	info("%s: %s", h->name, m.why);
	ret->readahead = m.readahead;
	return 0;
}

const struct driver *driver_find(const char *name)
{
	static const struct driver drivers[] = {
		{ "erofs", false, EROFS_READAHEAD_LAZY_KB, erofs_driver_serve, erofs_driver_make },
		{ "fuse", false, FUSE_READAHEAD_KB, fuse_driver_serve, NULL },
		{ DRIVER_IMAGE_FILE, true, FUSE_READAHEAD_KB, file_driver_serve, NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(drivers); i++)
		if (!strcmp(drivers[i].name, name))
			return &drivers[i];
	return NULL;
}

void driver_raise_readahead(const struct driver *d, bool whole, int fd)
{
	char text[16];
	int n = snprintf(text, sizeof text, "%u\n", whole ? WHOLE_READAHEAD_KB : d->readahead_kb);

	if (pwrite(fd, text, (size_t)n, 0) < 0)
		debug("raise the read-ahead: %s", strerror(errno));
}

int driver_choose(const char *name, const char **ret_name, char why[static 160])
{
	int r;

	if (name && !driver_find(name))
		return opt_bad_word("the driver", "erofs or fuse", name);
	if (name && strcmp(name, "erofs")) {
		snprintf(why, 160, "asked for");
		*ret_name = driver_find(name)->name;
		return 0;
	}
	r = erofs_supported(why);
	if (r && name)
		return warn_errno(r, "the erofs driver: %s", why);
	*ret_name = r ? "fuse" : "erofs";
	if (!r)
		snprintf(why, 160, name ? "asked for" : "this kernel reads EROFS");
	return 0;
}
