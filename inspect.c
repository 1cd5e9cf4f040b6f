// inspect.c - inspect: what an image is, what its acceleration holds, what a trace would bring of it
// SPDX-License-Identifier: Apache-2.0
#include <sys/stat.h>

#include "fcpull.h"
#include "format.h"
#include "json.h"
#include "listing.h"
#include "log.h"
#include "trace.h"
#include "walk.h"

static bool inspect_json, inspect_files;
static struct opt_list inspect_traces;

static const struct opt inspect_opts[] = {
	{ 0, "json", NULL, "one JSON object", opt_flag, &inspect_json, false },
	{ 0, "files", NULL, "list the files, as ls -l does", opt_flag, &inspect_files, false },
	{ 0, "trace", "FILE", "how much of a trace the image has (- = stdin)", opt_list_add,
		&inspect_traces, false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

struct totals {
	uint64_t layers, blobs, plain, zero, files, shared;
	uint32_t chunks;
};

// Files whose content is stored elsewhere already: what sharing saved.
static uint64_t shared_bytes(const struct index *ix, uint64_t *ret_files)
{
	uint64_t named = 0, stored = 0;

	*ret_files = 0;
	for (uint32_t i = 0; i < index_nodes(ix); i++) {
		struct attr a;

		index_attr(ix, i, &a);
		*ret_files += S_ISREG(a.mode) != 0;
		if (S_ISREG(a.mode))
			named += blocks_of(a.size);
	}
	for (uint32_t s = 0; s < index_spaces(ix); s++) {
		struct space_view v;

		index_space(ix, s, &v);
		stored += v.blocks;
	}
	return named > stored ? (named - stored) << BLOCK_SHIFT : 0;
}

static void count(const struct host_image *h, struct totals *t)
{
	*t = (struct totals){ .layers = image_layers_size(h->img), .chunks = index_chunks(h->ix) };
	t->shared = shared_bytes(h->ix, &t->files);
	for (uint32_t i = 0; i < t->chunks; i++) {
		struct chunk_view c;

		index_chunk(h->ix, i, &c);
		t->blobs += c.clen;
		*(c.codec == CODEC_ZERO ? &t->zero : &t->plain) += (uint64_t)c.blocks
			<< BLOCK_SHIFT;
	}
}

static void json_strings(struct buf *b, const char *key, char **v, size_t n)
{
	json_open(b, key, '[');
	for (size_t i = 0; i < n; i++)
		json_put_str(b, NULL, v[i]);
	json_close(b, ']');
}

static void json_layers(struct buf *b, const struct host_image *h)
{
	json_open(b, "layers", '[');
	for (uint32_t i = 0; i < h->img->n_layers; i++) {
		const struct image_layer *l = &h->img->layers[i];
		char s[DIGEST_STR_LEN];
		struct space_view v;

		json_open(b, NULL, '{');
		json_put_str(b, "digest", digest_str(&l->desc.digest, s));
		json_put_str(b, "mediaType", l->media_type);
		json_put_u64(b, "size", l->desc.size);
		json_put_str(b, "diffId", digest_str(&l->diff_id, s));
		if (h->img->accel) {
			index_space(h->ix, i, &v);
			json_put_str(b, "data", v.has_blob ? digest_str(&v.blob, s) : NULL);
			json_put_u64(b, "dataSize", v.blob_size);
			json_put_u64(b, "decodedSize", (uint64_t)v.blocks << BLOCK_SHIFT);
		}
		json_close(b, '}');
	}
	json_close(b, ']');
}

static void json_config(struct buf *b, const struct image *img)
{
	const struct image_config *c = &img->config;

	json_open(b, "config", '{');
	json_strings(b, "entrypoint", c->entrypoint, c->n_entrypoint);
	json_strings(b, "cmd", c->cmd, c->n_cmd);
	json_strings(b, "env", c->env, c->n_env);
	json_put_str(b, "user", c->user);
	json_put_str(b, "workingDir", c->workdir);
	json_put_str(b, "stopSignal", c->stop_signal);
	json_close(b, '}');
}

static void print_json(const char *name, const struct host_image *h)
{
	cleanup_buf struct buf b = { 0 };
	char s[DIGEST_STR_LEN], p[100];
	struct totals t;

	json_open(&b, NULL, '{');
	json_put_str(&b, "name", name);
	json_put_str(&b, "digest", digest_str(&h->img->top.digest, s));
	json_put_str(&b, "original", digest_str(&h->img->man.digest, s));
	json_put_str(&b, "accelerated",
		h->img->accel ? digest_str(&h->img->accel->man.digest, s) : NULL);
	json_put_str(&b, "platform", platform_str(&h->img->platform, p));
	json_put_str(&b, "created", h->img->config.created);
	json_put_u64(&b, "size", image_layers_size(h->img));
	if (h->img->accel) {
		count(h, &t);
		json_put_u64(&b, "entries", index_nodes(h->ix));
		json_put_u64(&b, "files", t.files);
		json_put_u64(&b, "acceleratedSize", t.blobs + h->img->accel->boot.size);
		json_put_u64(&b, "indexSize", h->img->accel->index_size);
		json_put_u64(&b, "decodedSize", t.plain + t.zero);
		json_put_u64(&b, "chunks", t.chunks);
		json_put_u64(&b, "zeroSize", t.zero);
		json_put_u64(&b, "sharedSize", t.shared);
	}
	json_config(&b, h->img);
	json_layers(&b, h);
	json_close(&b, '}');
	puts(buf_str(&b));
}

static void print_strings(const char *what, char **v, size_t n)
{
	if (!n)
		return;
	printf("%-13s", what);
	for (size_t i = 0; i < n; i++)
		printf(" %s", log_quote(v[i]));
	putchar('\n');
}

static void print_text(const char *name, const struct host_image *h)
{
	char s[DIGEST_STR_LEN], p[100], a[16], b[16], c[16];
	const struct image *img = h->img;
	struct totals t;
	size_t index_len;

	printf("image         %s\n", name);
	printf("original      %s\n", digest_str(&img->man.digest, s));
	printf("accelerated   %s\n", img->accel ? digest_str(&img->accel->man.digest, s) : "no");
	printf("platform      %s\n", platform_str(&img->platform, p));
	print_strings("entrypoint", img->config.entrypoint, img->config.n_entrypoint);
	print_strings("cmd", img->config.cmd, img->config.n_cmd);
	print_strings("env", img->config.env, img->config.n_env);
	if (img->config.user)
		printf("user          %s\n", log_quote(img->config.user));
	if (img->config.workdir)
		printf("workdir       %s\n", log_quote(img->config.workdir));
	printf("layers        %u, %s compressed\n", img->n_layers,
		human_size(image_layers_size(img), a));
	if (img->accel) {
		count(h, &t);
		printf("entries       %u, of them %llu files\n", index_nodes(h->ix),
			(unsigned long long)t.files);
		printf("decoded       %s, and %s of zeros\n", human_size(t.plain, a),
			human_size(t.zero, b));
		index_bytes(h->ix, &index_len);
		printf("data          %s in %u chunks; index %s, decoded %s\n",
			human_size(t.blobs, a), t.chunks, human_size(img->accel->index_size, b),
			human_size(index_len, c));
		printf("shared        %s of files are stored once only\n", human_size(t.shared, a));
	}
	for (uint32_t i = 0; i < img->n_layers; i++)
		printf("layer %-2u      %s %s\n", i + 1, digest_str(&img->layers[i].desc.digest, s),
			human_size(img->layers[i].desc.size, a));
}

// ---- inspect --files ----

static void print_files(const struct index *ix)
{
	struct walk *w = walk_new(ix, 0);
	struct walk_step s;

	listing_line(ix, "/", 1, 0);
	while (walk_next(w, &s)) {
		cleanup_free char *path = xasprintf("/%.*s", (int)s.len, s.path);

		listing_line(ix, path, s.len + 1, s.node);
	}
	walk_free(w);
}

// ---- inspect --trace ----

static int by_text(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

// The paths of a trace that are no files of the image, sorted, each once. Caller frees *ret.
static size_t missing_paths(const struct trace *t, const struct index *ix, const char ***ret)
{
	const char **v = xcalloc(t->n + 1, sizeof *v);
	size_t all = 0, n = 0;

	for (size_t i = 0; i < t->n; i++)
		if (trace_node(ix, trace_path(t, &t->e[i])) == NODE_NONE)
			v[all++] = trace_path(t, &t->e[i]);
	qsort(v, all, sizeof *v, by_text);
	for (size_t i = 0; i < all; i++)
		if (!n || strcmp(v[n - 1], v[i]))
			v[n++] = v[i];
	*ret = v;
	return n;
}

static void json_trace(const struct trace_stats *s, const char **missing, size_t n)
{
	cleanup_buf struct buf b = { 0 };

	json_open(&b, NULL, '{');
	json_put_u64(&b, "reads", s->entries);
	json_put_u64(&b, "found", s->found);
	json_put_u64(&b, "size", s->bytes);
	json_put_u64(&b, "coveredSize", s->covered);
	json_put_u64(&b, "blocks", s->blocks);
	json_strings(&b, "missing", (char **)missing, n);
	json_close(&b, '}');
	puts(buf_str(&b));
}

static void print_trace(const struct trace *t, const struct index *ix)
{
	cleanup_buf struct buf runs = { 0 };
	cleanup_free const char **missing = NULL;
	size_t n = missing_paths(t, ix, &missing);
	struct trace_stats s;
	char a[16];

	trace_runs(t, ix, &runs, &s);
	if (inspect_json) {
		json_trace(&s, missing, n);
		return;
	}
	printf("reads         %zu, of them %zu of files of the image\n", s.entries, s.found);
	printf("bytes         %s, ", human_size(s.bytes, a));
	printf("of them %s in the image\n", human_size(s.covered, a));
	printf("blocks        %llu, %s\n", (unsigned long long)s.blocks,
		human_size(s.blocks << BLOCK_SHIFT, a));
	printf("missing       %zu paths\n", n);
	for (size_t i = 0; i < n; i++) {
		fputs("  ", stdout);
		listing_name(missing[i], strlen(missing[i]));
		putchar('\n');
	}
}

static int inspect(int argc, char **argv)
{
	struct trace t = { 0 };
	struct host_image *h;
	int r;

	if (argc != 1) {
		warn("inspect takes one IMAGE; try 'fcpull inspect --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish())
		return EXIT_USAGE;
	if (trace_read_all(&t, inspect_traces.v, inspect_traces.n))
		return EXIT_FAILURE;
	image_opts.host.metadata_only = !inspect_files && !inspect_traces.n;
	r = host_open(argv[0], &image_opts.host, &h);
	if (r)
		return EXIT_FAILURE;
	if (inspect_traces.n)
		print_trace(&t, h->ix);
	else if (inspect_files)
		print_files(h->ix);
	else if (inspect_json)
		print_json(h->name, h);
	else
		print_text(h->name, h);
	host_close(h);
	trace_fini(&t);
	return 0;
}

const struct applet applet_inspect = {
	"inspect",
	"IMAGE",
	"say what an image is, and what its acceleration holds",
	inspect_opts,
	"Names in --files are escaped as \\xNN where they are not plain ASCII.\n",
	inspect,
	false,
	0,
};
