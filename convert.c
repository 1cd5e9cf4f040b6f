// convert.c - convert, inspect, check: an image's accelerated form is made, shown, proved
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>

#include "accel.h"
#include "compare.h"
#include "fcpull.h"
#include "format.h"
#include "json.h"
#include "listing.h"
#include "log.h"
#include "multi.h"
#include "rehearse.h"
#include "walk.h"

// ---- convert ----

static const char *codec_name = "zstd", *suffix;
static uint64_t level = UINT64_MAX, chunk_size = 128 << 10;
static bool as_referrer, all_platforms;
static struct opt_list traces;
static uint64_t record_seconds; // 0: no recorded run
static bool convert_json, if_needed;

// --record-run[=SECONDS]
static int set_record_run(const struct opt *o, const char *value)
{
	int r;

	record_seconds = 60;
	r = value ? opt_u64(o, value) : 0;
	if (r || (record_seconds && record_seconds <= 86400))
		return r;
	warn("--record-run takes 1 to 86400 seconds");
	return -EINVAL;
}

static const struct opt convert_opts[] = {
	{ 0, "codec", "NAME", "zstd (default), lz4, lz4hc or none", opt_str, &codec_name, false },
	{ 0, "level", "N", "of the codec (zstd 3, lz4hc 9)", opt_u64, &level, false },
	{ 0, "suffix", "TEXT", "DST is SRC with TEXT (-fcpull) after its tag", opt_str, &suffix,
		false },
	{ 0, "referrer", NULL, "leave the tag alone, be listed as SRC's referrer", opt_flag,
		&as_referrer, false },
	{ 0, "all-platforms", NULL, "convert all Linux images of an index", opt_flag,
		&all_platforms, false },
	{ 0, "chunk-size", "SIZE", "4k to 4m, a power of two (default 128k)", opt_size, &chunk_size,
		false },
	{ 0, "trace", "FILE", "what a start reads, boot frames of it (- = stdin)", opt_list_add,
		&traces, false },
	{ 0, "record-run", "[SECONDS", "run it once (60 s at most), use what it reads",
		set_record_run, &record_seconds, false },
	{ 0, "if-needed", NULL, "do nothing if it is accelerated already", opt_flag, &if_needed,
		false },
	{ 0, "json", NULL, "one JSON object, in place of the name", opt_flag, &convert_json,
		false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

static int usage(const char *text)
{
	warn("%s", text);
	return -EINVAL;
}

static int pack_conf(struct pack_conf *ret)
{
	static const struct {
		const char *name;
		enum codec codec;
		int level, max;
	} codecs[] = { { "zstd", CODEC_ZSTD, 3, 19 }, { "lz4", CODEC_LZ4, 0, 0 },
		{ "lz4hc", CODEC_LZ4, 9, 12 }, { "none", CODEC_STORED, 0, 0 } };

	if (chunk_size < BLOCK_BYTES || chunk_size > (uint64_t)FMT_CHUNK_BLOCKS_MAX * BLOCK_BYTES ||
		chunk_size & (chunk_size - 1))
		return usage("--chunk-size is a power of two from 4k to 4m");
	for (size_t i = 0; i < ARRAY_LEN(codecs); i++) {
		if (strcmp(codecs[i].name, codec_name))
			continue;
		if (level != UINT64_MAX &&
			(level > (uint64_t)codecs[i].max || (codecs[i].max && !level))) {
			warn("--level of %s is 1 to %d", codec_name, codecs[i].max);
			return -EINVAL;
		}
		*ret = (struct pack_conf){ .codec = codecs[i].codec,
			.level = level == UINT64_MAX ? codecs[i].level : (int)level,
			.chunk_blocks = (uint32_t)(chunk_size >> BLOCK_SHIFT),
			.threads = image_opts.host.threads };
		return 0;
	}
	return opt_bad_word("--codec", "zstd, lz4, lz4hc or none", codec_name);
}

// ---- traces ----

// Reads and merges traces; -errno logged.
static int read_traces(const struct opt_list *files, struct trace *ret)
{
	int r = 0;

	for (size_t i = 0; i < files->n && !r; i++)
		r = trace_read(ret, files->v[i]);
	trace_merge(ret);
	return r;
}

static void report_trace(const struct accel_stats *s)
{
	char a[16], b[16], c[16];

	fprintf(stderr,
		"boot stream %s, decoded %s; of %zu traced reads %zu are of files of the image, %s not\n",
		human_size(s->frames, a), human_size(s->trace.blocks << BLOCK_SHIFT, b),
		s->trace.entries, s->trace.found, human_size(s->trace.bytes - s->trace.covered, c));
}

static void report(const struct image *img, const struct accel_stats *s)
{
	char a[16], b[16], c[16], d[16], e[16];

	if (opt_quiet)
		return;
	fprintf(stderr,
		"%u layers, %u entries; %s compressed, %s decoded; accelerated: data %s in %u chunks, index %s; %s shared\n",
		img->n_layers, s->nodes, human_size(s->original, a), human_size(s->decoded, b),
		human_size(s->data, c), s->chunks, human_size(s->index, d),
		human_size(s->shared, e));
	if (s->trace.entries)
		report_trace(s);
}

// The last line of output. s: NULL when nothing had to be done.
static void print_result(const char *name, const struct digest *d, const struct image *img,
	const struct accel_stats *s)
{
	static const struct accel_stats none;
	cleanup_buf struct buf b = { 0 };
	char text[DIGEST_STR_LEN];

	digest_str(d, text);
	if (!convert_json) {
		printf("%s@%s\n", name, text);
		return;
	}
	json_open(&b, NULL, '{');
	json_put_str(&b, "name", name);
	json_put_str(&b, "digest", text);
	json_put_str(&b, "outcome", s ? "converted" : "already");
	json_put_u64(&b, "size", image_layers_size(img));
	s = s ? s : &none;
	json_put_u64(&b, "decodedSize", s->decoded);
	json_put_u64(&b, "dataSize", s->data);
	json_put_u64(&b, "indexSize", img->accel ? img->accel->index_size : s->index);
	json_put_u64(&b, "bootSize",
		img->accel ? img->accel->boot.size - img->accel->index_size : s->frames);
	json_put_u64(&b, "sharedSize", s->shared);
	json_put_u64(&b, "entries", s->nodes);
	json_close(&b, '}');
	puts(buf_str(&b));
}

// Is DST a directory that is not there yet? Then it is ours to remove when the conversion fails.
static bool is_new_layout(const struct ref *dst)
{
	return (dst->transport == REF_OCI || dst->transport == REF_DIR) && access(dst->dir, F_OK) &&
		errno == ENOENT;
}

// An archive is written anew, so what else the old one held would be lost, and its last copy with it
// if that failed.
static int check_places(const struct ref *src, const struct ref *dst)
{
	bool archive = dst->transport != REF_DOCKER && dst->transport != REF_OCI;
	struct stat a, b;

	if (record_seconds && dst->transport == REF_OCI_ARCHIVE) {
		warn("--record-run delivers twice, and an archive is written once: give DST as oci:DIR, "
		     "or the trace with --trace");
		return -EINVAL;
	}
	if (!archive || !src->dir || stat(src->dir, &a) || stat(dst->dir, &b) ||
		a.st_dev != b.st_dev || a.st_ino != b.st_ino)
		return 0;
	warn("%s: the result cannot go where the source is; give another DST", log_quote(dst->dir));
	return -EINVAL;
}

// Runs what has been delivered, adds what it reads to t, and delivers it anew: only the boot blob
// and the manifests change.
static int record_run(
	struct accel_job *j, const char *dst_name, struct trace *t, struct digest *ret)
{
	char s[DIGEST_STR_LEN];
	cleanup_free char *name = xasprintf("%s@%s", dst_name, digest_str(ret, s));
	int r = rehearse(
		name, &image_opts.host.net, &image_opts.host.platform, (unsigned)record_seconds, t);

	if (r) {
		warn("%s: it is converted, but without what a run would have shown", name);
		return r;
	}
	trace_merge(t);
	r = accel_boot(j, t);
	return r ? r : accel_deliver(j, ret);
}

static int make_and_deliver(struct image *img, struct repo *to, const char *dst_name,
	const struct accel_conf *conf, struct trace *t, struct digest *ret, bool *ret_delivered)
{
	struct accel_job *j;
	int r = accel_layers(img, to, conf, &j);

	if (!r)
		r = accel_boot(j, t->n ? t : NULL);
	if (!r)
		r = accel_deliver(j, ret);
	*ret_delivered = !r;
	if (!r && record_seconds)
		r = record_run(j, dst_name, t, ret);
	if (!r) {
		report(img, accel_stats(j));
		print_result(dst_name, ret, img, accel_stats(j));
	}
	accel_free(j);
	return r;
}

static int convert_one(const struct ref *src, struct repo *from, struct repo *to,
	const char *dst_name, struct accel_conf *conf, struct trace *t, struct digest *ret,
	bool *ret_delivered)
{
	struct image *img = NULL;
	int r = image_open(
		from, src, &image_opts.host.platform, if_needed ? IMAGE_ANY : IMAGE_ORIGINAL, &img);

	if (!r && !conf->tag && conf->same_place)
		conf->tag = img->top.ref_name; // the only image of a layout keeps its name
	if (!r && if_needed && img->accel) {
		*ret = img->top.digest;
		print_result(dst_name, ret, img, NULL);
	} else if (!r)
		r = make_and_deliver(img, to, dst_name, conf, t, ret, ret_delivered);
	image_free(img);
	return r;
}

// Opens both ends and converts.
static int convert_refs(
	const struct ref *src, const struct ref *dst, struct accel_conf *conf, struct trace *t)
{
	cleanup_free char *src_name = ref_name(src), *dst_name = ref_name(dst);
	bool same_repo = !strcmp(src_name, dst_name);
	struct repo *from = NULL, *to = NULL;
	bool new_layout = is_new_layout(dst), delivered = false;
	struct digest d;
	int r = repo_open(src, &image_opts.host.net, false, &from);

	if (!r)
		r = repo_open(dst, &image_opts.host.net, true, &to);
	conf->tag = dst->tag;
	conf->same_place = same_repo &&
		(src->tag == dst->tag || (src->tag && dst->tag && !strcmp(src->tag, dst->tag)));
	conf->mount_from = !same_repo && src->transport == REF_DOCKER &&
			dst->transport == REF_DOCKER && !strcmp(src->host, dst->host)
		? src->repo
		: NULL;
	if (!r && all_platforms) {
		char s[DIGEST_STR_LEN];

		r = multi_convert(
			&(struct multi){ from, to, src, conf, t->n ? t : NULL, report }, &d);
		if (!r)
			printf("%s@%s\n", dst_name, digest_str(&d, s));
	}
	if (r == 1 || (!r && !all_platforms)) // one, or an index of which one is wanted
		r = convert_one(src, from, to, dst_name, conf, t, &d, &delivered);
	repo_close(from);
	repo_close(to);
	if (r && new_layout && !delivered && remove_tree_at(AT_FDCWD, dst->dir))
		warn("%s could not be removed again", log_quote(dst->dir));
	return r;
}

static void add_suffix(struct ref *dst)
{
	char *tag = xasprintf("%s%s", dst->tag, suffix);

	free(dst->tag);
	dst->tag = tag;
	free(dst->digest); // SRC's: the result has another
	dst->digest = NULL;
}

static int convert(int argc, char **argv)
{
	struct accel_conf conf = { 0 };
	struct trace t = { 0 };
	struct ref src, dst;
	int r;

	if (argc < 1 || argc > 2 || ((suffix || as_referrer) && argc == 2) ||
		(suffix && as_referrer)) {
		warn("convert takes SRC and perhaps one of DST, --suffix and --referrer; try 'fcpull convert --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish() || pack_conf(&conf.pack) || ref_parse(argv[0], &src))
		return EXIT_USAGE;
	if (ref_parse(argv[argc - 1], &dst)) {
		ref_fini(&src);
		return EXIT_USAGE;
	}
	if (suffix && dst.tag)
		add_suffix(&dst);
	if (check_places(&src, &dst)) {
		r = -EINVAL;
	} else if (all_platforms && record_seconds) {
		warn("--record-run runs one platform; give the trace with --trace");
		r = -EINVAL;
	} else if (as_referrer && src.transport != REF_DOCKER) {
		warn("--referrer is for registries; in %s the result goes beside the original",
			log_quote(argv[0]));
		r = -EINVAL;
	} else if (if_needed && (argc == 2 || suffix || as_referrer)) {
		warn("--if-needed looks at SRC, where the result would go: it takes neither DST nor "
		     "--suffix nor --referrer");
		r = -EINVAL;
	} else if (all_platforms && (if_needed || convert_json)) {
		warn("--if-needed and --json are of one platform: leave out --all-platforms, or choose "
		     "with --platform");
		r = -EINVAL;
	} else if (!as_referrer && dst.digest && (argc == 2 || !dst.tag)) {
		warn("%s names no tag that could hold the result; give DST with a tag",
			log_quote(argv[argc - 1]));
		r = -EINVAL;
	} else {
		conf.referrer = as_referrer;
		conf.keep_data = traces.n || record_seconds;
		r = read_traces(&traces, &t);
		if (!r)
			r = convert_refs(&src, &dst, &conf, &t);
	}
	trace_fini(&t);
	ref_fini(&src);
	ref_fini(&dst);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_convert = {
	"convert",
	"SRC [DST]",
	"make an image's accelerated form, and keep the original beside it",
	convert_opts,
	"The result is an index that lists the original first and its accelerated form\n"
	"second; docker, podman and skopeo go on running the original from it. Without\n"
	"DST it takes SRC's own tag. SRC and DST are references (docker:// is implied),\n"
	"oci:DIR[:NAME], oci-archive:FILE[:NAME] or dir:DIR; SRC also\n"
	"docker-archive:FILE[:NAME], tar:FILE or rootfs:DIR. The last line of output\n"
	"is NAME@DIGEST of the result.\n"
	"Where the tag may not change, --suffix -fcpull and --referrer put the result\n"
	"beside it; mount, run and pull find it there (--find), at the cost of a request.\n"
	"--all-platforms converts what --platform would choose one by one; attestations\n"
	"and images of other systems stay in the index as they are.\n"
	"Traces say what a start reads (run --record writes them); several are merged.\n"
	"What a trace names and the image does not have is left out. --record-run makes\n"
	"one: it runs the converted image's own process once, in a store of its own,\n"
	"without network, and delivers again with what that has read.\n\n"
	"  fcpull convert registry.example/app:1\n"
	"  fcpull convert registry.example/app:1 registry.example/app:1-fast\n"
	"  fcpull convert oci:layout:app\n",
	convert,
	false,
	0,
};

// ---- inspect ----

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
	if (read_traces(&inspect_traces, &t))
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

// ---- check ----

static const struct opt check_opts[] = { IMAGE_OPT_ROWS, { 0 } };

static int check(int argc, char **argv)
{
	struct host_image *h;
	int64_t n;
	int r;

	if (argc != 1) {
		warn("check takes one IMAGE; try 'fcpull check --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish())
		return EXIT_USAGE;
	image_opts.host.metadata_only = true;
	image_opts.host.must_be_accelerated = true;
	r = host_open(argv[0], &image_opts.host, &h);
	if (r)
		return EXIT_FAILURE;
	h->img->repo = h->repo;
	n = compare_forms(h->img, h->ix);
	if (n > 0)
		printf("%lld differences\n", (long long)n);
	else if (!n)
		printf("%s: the accelerated form equals the original (%u entries), all digests hold\n",
			h->name, index_nodes(h->ix));
	host_close(h);
	return n ? EXIT_FAILURE : 0;
}

const struct applet applet_check = {
	"check",
	"IMAGE",
	"prove that the accelerated form equals the original",
	check_opts,
	"Reads both forms whole from where they are, checks every digest, and compares\n"
	"entry by entry and byte by byte. Prints the first 20 differences. Needs scratch\n"
	"space for twice the decoded image in $TMPDIR (else /var/tmp).\n",
	check,
	false,
	0,
};
