// convert.c - convert, check: an image's accelerated form is made, proved
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/stat.h>

#include "accel.h"
#include "compare.h"
#include "fcpull.h"
#include "format.h"
#include "json.h"
#include "log.h"
#include "multi.h"
#include "rehearse.h"

// ---- convert ----

static const char *codec_name = "zstd", *suffix;
static uint64_t level = UINT64_MAX, chunk_size = ACCEL_CHUNK_BLOCKS * BLOCK_BYTES;
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
	{ 0, "level", "N", "of the codec (zstd 1, lz4hc 9)", opt_u64, &level, false },
	{ 0, "suffix", "TEXT", "DST is SRC with TEXT (-fcpull) after its tag", opt_str, &suffix,
		false },
	{ 0, "referrer", NULL, "leave the tag alone, be listed as SRC's referrer", opt_flag,
		&as_referrer, false },
	{ 0, "all-platforms", NULL, "convert all Linux images of an index", opt_flag,
		&all_platforms, false },
	{ 0, "chunk-size", "SIZE", "4k to 4m, a power of two (default 256k)", opt_size, &chunk_size,
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
	} codecs[] = { { "zstd", CODEC_ZSTD, ACCEL_ZSTD_LEVEL, 19 }, { "lz4", CODEC_LZ4, 0, 0 },
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

// ---- what is said of it ----

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

// Does the failure lie in the image itself? Then only another push can mend it. What the registry, the
// network or this host refuse may be granted later.
static bool is_lasting(int r)
{
	return r == -EBADMSG || r == -ENOENT || r == -EFBIG || r == -E2BIG || r == -ENAMETOOLONG ||
		r == -EOVERFLOW || r == -EOPNOTSUPP;
}

// For who reads --json: what went wrong was said already, on standard error.
static void print_failure(int r)
{
	cleanup_buf struct buf b = { 0 };

	json_open(&b, NULL, '{');
	json_put_str(&b, "outcome", "failed");
	json_put_str(&b, "error", log_last());
	json_put_bool(&b, "lasting", is_lasting(r));
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
		r = trace_read_all(&t, traces.v, traces.n);
		if (!r)
			r = convert_refs(&src, &dst, &conf, &t);
	}
	trace_fini(&t);
	ref_fini(&src);
	ref_fini(&dst);
	if (r && convert_json)
		print_failure(r);
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
