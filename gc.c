// gc.c - gc: how big the store is, and how it stays small
// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include "fcpull.h"
#include "gc.h"
#include "json.h"
#include "log.h"

#define NOT_SET (UINT64_MAX - 1)

static uint64_t cache_size = NOT_SET, set_cache_size = NOT_SET;
static const char *root, *pin, *unpin;
static bool dry_run, gc_json;

// A size, or "none".
static int opt_limit(const struct opt *o, const char *value)
{
	if (strcmp(value, "none"))
		return opt_size(o, value);
	*(uint64_t *)o->to = UINT64_MAX;
	return 0;
}

static const struct opt gc_opts[] = {
	{ 0, "cache-size", "SIZE", "trim to this many bytes now: 20g", opt_limit, &cache_size,
		false },
	{ 0, "set-cache-size", "SIZE", "and at the end of pull, run and mount; or none", opt_limit,
		&set_cache_size, false },
	{ 'n', "dry-run", NULL, "say what is there and what would be done", opt_flag, &dry_run,
		false },
	{ 0, "pin", "IMAGE", "never trim this image", opt_str, &pin, false },
	{ 0, "unpin", "IMAGE", "trim it as others", opt_str, &unpin, false },
	{ 0, "json", NULL, "one JSON document", opt_flag, &gc_json, false },
	{ 0, "root", "DIR", "the store (else $FCPULL_ROOT, /var/lib/fcpull)", opt_str, &root,
		false },
	{ 0 },
};

struct report {
	struct buf steps; // JSON
	struct buf lines;
	uint64_t freed;
};

static void tell(void *arg, const char *step, const char *what, uint64_t bytes)
{
	struct report *rp = arg;
	char size[16];

	rp->freed += bytes;
	json_open(&rp->steps, NULL, '{');
	json_put_str(&rp->steps, "step", step);
	json_put_str(&rp->steps, "what", what);
	json_put_u64(&rp->steps, "bytes", bytes);
	json_close(&rp->steps, '}');
	if (!gc_json && (!strcmp(step, "forget") || log_level >= LOG_INFO))
		buf_printf(&rp->lines, "%s%s %s%s%s\n", dry_run ? "would " : "", step,
			log_quote(what), bytes ? ", " : "", bytes ? human_size(bytes, size) : "");
}

static void time_text(int64_t t, char out[static 32])
{
	struct tm tm;
	time_t at = (time_t)t;

	if (!t || !gmtime_r(&at, &tm) || !strftime(out, 32, "%Y-%m-%dT%H:%M:%SZ", &tm))
		snprintf(out, 32, "-");
}

static void list_images(const struct census *c)
{
	char when[32], all[16], own[16];

	printf("%-20s  %9s  %9s  %-7s  %s\n", "last use", "data", "alone", "", "image");
	for (size_t i = 0; i < c->n_images; i++) {
		const struct census_image *im = &c->images[i];

		time_text(im->used, when);
		printf("%-20s  %9s  %9s  %-7s  %s\n", when, human_size(im->bytes, all),
			human_size(im->own, own),
			im->mounted	     ? "mounted"
				: im->pinned ? "pinned"
					     : "",
			im->key);
	}
}

static void print_json(const struct store *s, const struct census *c, uint64_t limit,
	const struct gc_result *result, struct report *rp)
{
	cleanup_buf struct buf b = { 0 };
	char d[DIGEST_STR_LEN], when[32];

	json_open(&b, NULL, '{');
	json_put_str(&b, "store", s->path);
	json_put_bool(&b, "dryRun", dry_run);
	if (limit == UINT64_MAX)
		json_put_str(&b, "limit", NULL);
	else
		json_put_u64(&b, "limit", limit);
	json_put_u64(&b, "bytesBefore", result->before);
	json_put_u64(&b, "bytesAfter", result->after);
	json_put_u64(&b, "spaces", c->n_spaces);
	json_put_u64(&b, "blobs", c->n_blobs);
	json_open(&b, "images", '[');
	for (size_t i = 0; i < c->n_images; i++) {
		const struct census_image *im = &c->images[i];

		time_text(im->used, when);
		json_open(&b, NULL, '{');
		json_put_str(&b, "name", im->key);
		json_put_str(&b, "digest", digest_str(&im->top, d));
		json_put_str(&b, "lastUse", im->used ? when : NULL);
		json_put_u64(&b, "bytes", im->bytes);
		json_put_u64(&b, "ownBytes", im->own);
		json_put_bool(&b, "pinned", im->pinned);
		json_put_bool(&b, "mounted", im->mounted);
		json_close(&b, '}');
	}
	json_close(&b, ']');
	json_put_raw(&b, "steps", buf_str(&rp->steps), rp->steps.len);
	json_close(&b, '}');
	puts(buf_str(&b));
}

static int set_pin(struct store *s, const char *image, bool pinned)
{
	cleanup_free char *key = NULL;
	int r = host_key(image, &key);
	struct manifest m = { 0 };

	if (!r)
		r = repo_get_manifest(s->repo, key, &m);
	if (r == -ENOENT)
		return warn_errno(-ECANCELED, "%s is not in the store %s; pull it first",
			log_quote(image), log_quote(s->path));
	manifest_fini(&m);
	return r ? r : store_pin(s, key, pinned);
}

static int settle(struct store *s, uint64_t *ret_limit)
{
	int r = 0;

	if (pin)
		r = set_pin(s, pin, true);
	if (!r && unpin)
		r = set_pin(s, unpin, false);
	if (!r && set_cache_size != NOT_SET)
		r = gc_set_limit(s, set_cache_size);
	*ret_limit = cache_size != NOT_SET ? cache_size : gc_limit(s);
	return r;
}

static int collect(struct store *s)
{
	struct report rp = { 0 };
	struct gc_opts o = {
		.dry_run = dry_run, .wait = true, .forget_bad = true, .say = tell, .arg = &rp
	};
	struct gc_result result = { 0 };
	struct census c = { 0 };
	char before[16], after[16];
	int r = settle(s, &o.limit);

	if (r)
		return r;
	json_open(&rp.steps, NULL, '[');
	r = gc_run(s, &o, &c, &result);
	json_close(&rp.steps, ']');
	if (!r && gc_json) {
		print_json(s, &c, o.limit, &result, &rp);
	} else if (!r) {
		if (dry_run)
			list_images(&c);
		fputs(buf_str(&rp.lines), stdout);
		printf("%s: %s, %s %s\n", s->path, human_size(result.before, before),
			dry_run ? "would be" : "now", human_size(result.after, after));
	}
	if (!r && result.above)
		warn("what is left is mounted, pinned or in use, and more than the limit");
	buf_fini(&rp.steps);
	buf_fini(&rp.lines);
	census_fini(&c);
	return r;
}

static int gc(int argc, char **argv)
{
	struct store *s;
	int r;

	(void)argv;
	if (argc) {
		warn("gc takes no operands; try 'fcpull gc --help'");
		return EXIT_USAGE;
	}
	if (store_open(root, &s))
		return EXIT_FAILURE;
	r = collect(s);
	store_close(s);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_gc = {
	"gc",
	"",
	"remove from the store what nothing needs; keep it below a size",
	gc_opts,
	"Data of images that no name in the store leads to is removed, and what died\n"
	"half way. Above the limit the images used least recently go first: of the last\n"
	"one only as much as is needed. Mounted and pinned images and data that is in use\n"
	"stay. What was removed is fetched again when it is read.\n\n"
	"  fcpull gc --dry-run\n"
	"  fcpull gc --set-cache-size 20g\n",
	gc,
	false,
	0,
};
