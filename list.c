// list.c - ls, cat: the files of an image, without a mount
// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include "fcpull.h"
#include "json.h"
#include "listing.h"
#include "log.h"
#include "reader.h"
#include "walk.h"

static bool is_dir(const struct index *ix, uint32_t node)
{
	struct attr a;

	index_attr(ix, node, &a);
	return S_ISDIR(a.mode);
}

static int no_path(const struct host_image *h, const char *path, int r)
{
	return warn_errno(r, "%s in %s", log_quote(path), h->name);
}

// ---- ls ----

static bool ls_long, ls_recursive, ls_directory, ls_json;

static const struct opt ls_opts[] = {
	{ 'l', "long", NULL, "mode, links, owner, size, time and target too", opt_flag, &ls_long,
		false },
	{ 'R', "recursive", NULL, "everything below, with its path", opt_flag, &ls_recursive,
		false },
	{ 'd', "directory", NULL, "directories themselves, not what they hold", opt_flag,
		&ls_directory, false },
	{ 'a', "all", NULL, "nothing is ever hidden", opt_flag, &(bool){ false }, true },
	{ 0, "json", NULL, "one JSON document", opt_flag, &ls_json, false },
	{ 0, "original", NULL, "of the original, even if it is accelerated", opt_flag,
		&image_opts.host.original, false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

struct ls {
	const struct index *ix;
	struct buf json;
};

static void show(struct ls *ls, const char *path, size_t len, uint32_t node)
{
	if (ls_json) {
		listing_json(&ls->json, ls->ix, path, len, node);
	} else if (ls_long) {
		listing_line(ls->ix, path, len, node);
	} else {
		listing_name(path, len);
		putchar('\n');
	}
}

static void show_dir(struct ls *ls, uint32_t dir)
{
	for (uint32_t i = 0; i < index_dir_count(ls->ix, dir); i++) {
		struct dirent_view e;

		index_dirent(ls->ix, dir, i, &e);
		show(ls, e.name, e.name_len, e.node);
	}
}

// With the paths that lead there from the image's root, as they were given.
static void show_below(struct ls *ls, const char *path, uint32_t dir)
{
	struct walk *w = walk_new(ls->ix, dir);
	size_t len = strlen(path);
	struct walk_step s;

	while (len && path[len - 1] == '/')
		len--;
	show(ls, len ? path : "/", len ? len : 1, dir);
	while (walk_next(w, &s)) {
		cleanup_free char *full =
			xasprintf("%.*s/%.*s", (int)len, path, (int)s.len, s.path);

		show(ls, full, strlen(full), s.node);
	}
	walk_free(w);
}

static int ls_path(const struct host_image *h, struct ls *ls, const char *path, bool head)
{
	uint32_t node;
	// as ls(1): a link that is named is listed itself where more than its name is said
	int r = walk_find(ls->ix, path, !ls_long && !ls_directory && !ls_json, &node);

	if (r)
		return no_path(h, path, r);
	if (ls_directory || !is_dir(ls->ix, node)) {
		show(ls, path, strlen(path), node);
	} else if (ls_recursive) {
		show_below(ls, path, node);
	} else {
		if (head && !ls_json) {
			listing_name(path, strlen(path));
			puts(":");
		}
		show_dir(ls, node);
	}
	return 0;
}

static int ls_paths(const struct host_image *h, int n, char **paths)
{
	struct ls ls = { .ix = h->ix };
	int r = 0;

	if (ls_json)
		json_open(&ls.json, NULL, '[');
	if (!n)
		r = ls_path(h, &ls, "/", false);
	for (int i = 0; i < n; i++)
		r |= ls_path(h, &ls, paths[i], n > 1);
	if (ls_json) {
		json_close(&ls.json, ']');
		puts(buf_str(&ls.json));
	}
	buf_fini(&ls.json);
	return r ? EXIT_FAILURE : 0;
}

static int ls_image(int argc, char **argv)
{
	struct host_image *h;
	int r;

	if (argc < 1) {
		warn("ls takes IMAGE and perhaps PATHs; try 'fcpull ls --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish())
		return EXIT_USAGE;
	if (host_open(argv[0], &image_opts.host, &h))
		return EXIT_FAILURE;
	r = ls_paths(h, argc - 1, argv + 1);
	host_close(h);
	return r;
}

const struct applet applet_ls = {
	"ls",
	"IMAGE [PATH]...",
	"list the files of an image",
	ls_opts,
	"Only the index is fetched. Links are followed inside the image. Names that are\n"
	"not plain ASCII are escaped as \\xNN; --json has them as they are.\n\n"
	"  fcpull ls -l registry.example/app:1 /usr/bin\n",
	ls_image,
	false,
	0,
};

// ---- cat ----

static const struct opt cat_opts[] = {
	{ 0, "original", NULL, "of the original, even if it is accelerated", opt_flag,
		&image_opts.host.original, false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

static int find_file(const struct host_image *h, const char *path, struct reader_file *ret)
{
	uint32_t node;
	int r = walk_find(h->ix, path, true, &node);

	if (r)
		return no_path(h, path, r);
	*ret = (struct reader_file){ 0 };
	index_attr(h->ix, node, &ret->attr);
	if (S_ISDIR(ret->attr.mode))
		return no_path(h, path, -EISDIR);
	if (!S_ISREG(ret->attr.mode))
		return warn_errno(
			-ECANCELED, "%s in %s is no regular file", log_quote(path), h->name);
	return 0;
}

// Reads and writes; -EPIPE: nobody listens any more, silent.
static int copy_out(const struct host_image *h, const char *path, struct reader *reader)
{
	const uint8_t *p;
	uint32_t n;
	int r;

	while (!(r = reader_get(reader, &p, &n))) {
		r = write_full(STDOUT_FILENO, p, n);
		if (r)
			return r == -EPIPE ? r : warn_errno(r, "write the output");
	}
	return r == -ENODATA ? 0
			     : warn_errno(r, "read %s in %s to its end", log_quote(path), h->name);
}

static int cat_file(const struct host_image *h, const char *path)
{
	struct reader_file file;
	struct reader *reader;
	int r = find_file(h, path, &file);

	if (r)
		return r;
	reader = reader_new(h->lz, reader_file_next, &file);
	r = copy_out(h, path, reader);
	reader_free(reader);
	return r;
}

static int cat_image(int argc, char **argv)
{
	struct host_image *h;
	int r = 0;

	if (argc < 2) {
		warn("cat takes IMAGE and PATHs; try 'fcpull cat --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish())
		return EXIT_USAGE;
	if (host_open(argv[0], &image_opts.host, &h))
		return EXIT_FAILURE;
	if (host_start(h)) {
		host_close(h);
		return EXIT_FAILURE;
	}
	for (int i = 1; i < argc && r != -EPIPE; i++) {
		int e = cat_file(h, argv[i]);

		r = e ? e : r;
	}
	host_close(h);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_cat = {
	"cat",
	"IMAGE PATH...",
	"write files of an image to standard output",
	cat_opts,
	"Only the chunks that the files lie in are fetched, and kept in the store. Links\n"
	"are followed inside the image.\n\n"
	"  fcpull cat registry.example/app:1 /etc/os-release\n",
	cat_image,
	false,
	0,
};
