// export.c - export: an image as something that other programs read
// SPDX-License-Identifier: Apache-2.0
#include "fcpull.h"
#include "flatten.h"
#include "log.h"
#include "original.h"

static const char *output, *format = "tar";

static const struct opt export_opts[] = {
	{ 'o', "output", "FILE", "where to (else standard output)", opt_str, &output, false },
	{ 0, "format", "NAME", "tar (default), erofs or oci", opt_str, &format, false },
	{ 0, "original", NULL, "of the original, even if it is accelerated", opt_flag,
		&image_opts.host.original, false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

typedef int flattener(struct lazy *lz, struct outfile *out);

static int export_flat(const char *image, flattener *flatten)
{
	struct outfile *out = NULL;
	struct host_image *h;
	int r = host_open(image, &image_opts.host, &h);

	if (r)
		return r;
	r = host_start(h);
	if (!r)
		r = outfile_open(output, &out);
	if (!r)
		r = outfile_close(out, flatten(h->lz, out));
	host_close(h);
	return r;
}

static int export_oci(const char *image)
{
	struct ref src, dst;
	struct digest d;
	char s[DIGEST_STR_LEN];
	int r = ref_parse(image, &src);

	if (r)
		return r;
	r = ref_parse(output, &dst);
	if (!r) {
		cleanup_free char *name = ref_name(&dst);

		r = original_copy(&src, &dst, &image_opts.host.net, &image_opts.host.platform, &d);
		if (!r)
			printf("%s@%s\n", name, digest_str(&d, s));
		ref_fini(&dst);
	}
	ref_fini(&src);
	return r;
}

static int usage(const char *text)
{
	warn("%s; try 'fcpull export --help'", text);
	return EXIT_USAGE;
}

static int export(int argc, char **argv)
{
	flattener *flatten = !strcmp(format, "tar") ? flatten_tar
		: !strcmp(format, "erofs")	    ? flatten_erofs
						    : NULL;
	bool oci = !strcmp(format, "oci");
	int r;

	if (argc != 1)
		return usage("export takes one IMAGE");
	if (!flatten && !oci) {
		opt_bad_word("--format", "tar, erofs or oci", format);
		return EXIT_USAGE;
	}
	if (oci && (!output || strncmp(output, "oci:", 4)))
		return usage("--format oci needs -o oci:DIR[:NAME]");
	if (flatten && !output && isatty(STDOUT_FILENO))
		return usage("an archive is not written to a terminal; say where to with -o FILE");
	if (image_opts_finish())
		return EXIT_USAGE;
	r = oci ? export_oci(argv[0]) : export_flat(argv[0], flatten);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_export = {
	"export",
	"IMAGE [-o FILE]",
	"write an image as a tar archive, an EROFS image or an OCI layout",
	export_opts,
	"tar: the merged root file system, pax format, with hard links, extended\n"
	"attributes, devices and times to the nanosecond. erofs: metadata and all data\n"
	"in one file, for mount(8) or as the disk of a virtual machine. oci: the original\n"
	"as it was published, fetched again from its registry into a layout directory.\n"
	"FILE appears when it is complete.\n\n"
	"  fcpull export registry.example/app:1 | tar -x -C rootfs\n"
	"  fcpull export --format erofs -o app.erofs registry.example/app:1\n"
	"  fcpull export --format oci -o oci:dir:app registry.example/app:1\n",
	export,
	false,
	0,
};
