// status.c - status, upgrade-mounts: the mounts that live now
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <time.h>

#include "fcpull.h"
#include "json.h"
#include "log.h"
#include "places.h"
#include "seal.h"
#include "state.h"
#include "stats.h"
#include "underway.h"

#define ASK_MS 2000
#define UPGRADE_MS 60000
#define BUSY_TRIES 100

// ---- what there is ----

struct live {
	struct state s;
	struct ctl holder; // its answer
	bool answers;
	struct state_mount *mounts; // here
	size_t n_mounts, elsewhere;
	uint64_t present, total; // blocks
	bool counted;
	bool sealed; // what is mounted from now on needs no process
	struct stats stats;
	bool has_stats; // a mount without a process has none
};

// Blocks of zeros are neither fetched nor kept.
static int count_blocks(const struct host_image *h, struct live *l)
{
	for (uint32_t i = 0; i < index_spaces(h->ix); i++) {
		struct digest key = index_space_key(h->ix, i);
		struct space_file f;
		struct space_view sp;
		int r;

		index_space(h->ix, i, &sp);
		r = store_space(h->store, &key, sp.blocks, &f);
		if (r)
			return r;
		for (uint32_t c = sp.first_chunk; c < sp.first_chunk + sp.chunks; c++) {
			struct chunk_view v;

			index_chunk(h->ix, c, &v);
			if (v.codec == CODEC_ZERO)
				continue;
			l->total += v.blocks;
			l->present += space_has(&f, v.block, v.blocks) ? v.blocks : 0;
		}
		space_file_close(&f);
	}
	l->counted = true;
	l->sealed = sealed_image(h->store, h->ix);
	return 0;
}

static void look_at(int dir, struct live *l)
{
	struct host_opts o = { .root = l->s.store };
	const struct stats *stats;
	struct host_image *h;

	l->answers = !l->s.local && !state_ask(dir, l->s.id, CTL_STATUS, -1, ASK_MS, &l->holder);
	if (state_mounts(l->s.major, l->s.minor, true, &l->mounts, &l->n_mounts))
		debug("%s is mounted nowhere that can be seen", l->s.image);
	for (size_t i = 0; i < l->n_mounts; i++)
		l->elsewhere += l->mounts[i].pid != 0;
	if (host_open_index(l->s.image, &l->s.index, false, &o, &h))
		return;
	if (count_blocks(h, l))
		debug("the blocks of %s cannot be counted", l->s.image);
	l->has_stats = !l->s.local && !stats_open(h->store, &l->s.index, &stats);
	if (l->has_stats) {
		l->stats = *stats;
		stats_free(stats);
	}
	host_close(h);
}

// Caller frees with free_all. -errno logged.
static int look_at_all(struct live **ret, size_t *ret_n)
{
	cleanup_fd int dir = state_dir();
	struct state *v;
	size_t n;
	int r = dir < 0 ? dir : state_list(dir, &v, &n);

	if (r)
		return r;
	*ret = xcalloc(n, sizeof **ret);
	for (size_t i = 0; i < n; i++) {
		(*ret)[i].s = v[i];
		look_at(dir, &(*ret)[i]);
	}
	free(v);
	*ret_n = n;
	return 0;
}

static void free_all(struct live *v, size_t n)
{
	for (size_t i = 0; i < n; i++) {
		state_mounts_free(v[i].mounts, v[i].n_mounts);
		state_fini(&v[i].s);
	}
	free(v);
}

// ---- status ----

static bool status_json, status_metrics;

static const struct opt status_opts[] = {
	{ 0, "json", NULL, "one JSON document", opt_flag, &status_json, false },
	{ 0, "metrics", NULL, "counters, as Prometheus reads them", opt_flag, &status_metrics,
		false },
	{ 0 },
};

static void put_live(struct buf *b, const struct live *l)
{
	char d[DIGEST_STR_LEN];

	json_open(b, NULL, '{');
	json_put_str(b, "id", l->s.id);
	json_put_str(b, "image", l->s.image);
	json_put_str(b, "digest", digest_str(&l->s.digest, d));
	json_put_str(b, "index", digest_str(&l->s.index, d));
	json_put_str(b, "form", l->s.form);
	json_put_str(b, "why_form", l->s.why_form);
	json_put_str(b, "store", l->s.store);
	json_open(b, "mounts", '[');
	for (size_t i = 0; i < l->n_mounts; i++)
		if (!l->mounts[i].pid)
			json_put_str(b, NULL, l->mounts[i].path);
	json_close(b, ']');
	json_put_u64(b, "mounts_elsewhere", l->elsewhere);
	json_put_str(b, "driver", l->s.driver);
	json_put_str(b, "why", l->s.why);
	json_put_u64(b, "connection", l->s.connection);
	if (l->s.deadline_ns == UINT64_MAX)
		json_put_str(b, "network_loss_seconds", NULL);
	else
		json_put_u64(b, "network_loss_seconds", l->s.deadline_ns / 1000000000u);
	json_put_bool(b, "process", !l->s.local);
	json_put_bool(b, "answers", l->answers);
	json_put_i64(b, "holder_pid", l->holder.holder);
	json_put_i64(b, "worker_pid", l->holder.worker);
	json_put_u64(b, "restarts", l->holder.restarts);
	json_put_u64(b, "handovers", l->holder.handovers);
	if (l->has_stats)
		json_put_u64(b, "rescued_bytes", l->stats.rescued_bytes);
	json_put_u64(b, "blocks_present", l->present);
	json_put_u64(b, "blocks_total", l->total);
	json_put_bool(b, "complete", l->counted && l->present == l->total);
	json_put_bool(b, "proved", l->sealed);
	json_close(b, '}');
}

static void print_json(
	const struct live *v, size_t n, const struct underway *conversions, size_t n_conversions)
{
	cleanup_buf struct buf b = { 0 };

	json_open(&b, NULL, '{');
	json_open(&b, "mounts", '[');
	for (size_t i = 0; i < n; i++)
		put_live(&b, &v[i]);
	json_close(&b, ']');
	json_open(&b, "conversions", '[');
	for (size_t i = 0; i < n_conversions; i++) {
		json_open(&b, NULL, '{');
		json_put_str(&b, "image", conversions[i].image);
		json_put_str(&b, "step", conversions[i].step);
		json_put_i64(&b, "pid", conversions[i].pid);
		json_put_i64(&b, "since", conversions[i].since);
		json_close(&b, '}');
	}
	json_close(&b, ']');
	json_close(&b, '}');
	puts(buf_str(&b));
}

static void print_live(const struct live *l)
{
	char size[16], present[16];

	printf("%s\n", l->s.image);
	for (size_t i = 0; i < l->n_mounts; i++)
		if (!l->mounts[i].pid)
			printf("  at        %s\n", l->mounts[i].path);
	if (l->elsewhere)
		printf("  at        %zu more in other mount namespaces\n", l->elsewhere);
	printf("  form      %s%s%s%s\n", l->s.form, *l->s.why_form ? " (" : "", l->s.why_form,
		*l->s.why_form ? ")" : "");
	printf("  driver    %s (%s)\n", l->s.driver, l->s.why);
	if (l->s.local)
		printf("  served    by the kernel from local files, no process\n");
	else if (l->answers)
		printf("  served    by %d, held by %d, %u restarts, %u hand-overs\n",
			(int)l->holder.worker, (int)l->holder.holder, l->holder.restarts,
			l->holder.handovers);
	else
		printf("  served    the holder does not answer\n");
	printf("  here      %s of %s%s%s\n", human_size(l->present << BLOCK_SHIFT, present),
		human_size(l->total << BLOCK_SHIFT, size),
		l->counted && l->present == l->total ? ", complete" : "",
		l->sealed ? ": new mounts use local files only" : "");
	if (l->has_stats && l->stats.rescued_bytes)
		printf("  rescued   %s from the original: data of the accelerated form is damaged or missing\n",
			human_size(l->stats.rescued_bytes, size));
}

static void print_conversion(const struct underway *u)
{
	printf("%s\n  is being accelerated in the background: process %d %s, for %lld s\n",
		u->image, (int)u->pid, u->step,
		(long long)MAX((int64_t)time(NULL) - u->since, (int64_t)0));
}

// ---- metrics ----

// Prometheus' text format 0.0.4: backslash, quote and newline of a label's value are escaped.
static void print_label(const char *name, const char *value)
{
	printf("%s=\"", name);
	for (; *value; value++)
		if (*value == '\n')
			fputs("\\n", stdout);
		else if (*value == '\\' || *value == '"')
			printf("\\%c", *value);
		else
			putchar(*value);
	putchar('"');
}

struct metric {
	const char *name, *type, *help;
	bool (*value)(const struct live *l, uint64_t *ret); // false: this mount has none
};

#define COUNTER(field)                                               \
	static bool get_##field(const struct live *l, uint64_t *ret) \
	{                                                            \
		*ret = l->stats.field;                               \
		return l->has_stats;                                 \
	}
COUNTER(resolve_requests)
COUNTER(resolve_bytes)
COUNTER(boot_bytes)
COUNTER(demand_requests)
COUNTER(demand_bytes)
COUNTER(hedged_requests)
COUNTER(fill_requests)
COUNTER(fill_bytes)
COUNTER(rescued_chunks)
COUNTER(rescued_bytes)
COUNTER(reads)
COUNTER(waits)

static bool get_waited(const struct live *l, uint64_t *ret)
{
	*ret = l->stats.waited_ns / 1000;
	return l->has_stats;
}

static bool get_present(const struct live *l, uint64_t *ret)
{
	*ret = l->present << BLOCK_SHIFT;
	return l->counted;
}

static bool get_total(const struct live *l, uint64_t *ret)
{
	*ret = l->total << BLOCK_SHIFT;
	return l->counted;
}

static bool get_restarts(const struct live *l, uint64_t *ret)
{
	*ret = l->holder.restarts;
	return l->answers;
}

static bool get_up(const struct live *l, uint64_t *ret)
{
	*ret = l->answers || l->s.local;
	return true;
}

static const struct metric metrics[] = {
	{ "fcpull_mount_up", "gauge", "the kernel or a holder serves it", get_up },
	{ "fcpull_mount_present_bytes", "gauge", "decoded data in the store", get_present },
	{ "fcpull_mount_size_bytes", "gauge", "decoded data of the image", get_total },
	{ "fcpull_worker_restarts_total", "counter", "workers that died", get_restarts },
	{ "fcpull_resolve_requests_total", "counter", "requests until the image was known",
		get_resolve_requests },
	{ "fcpull_resolve_bytes_total", "counter", "bytes received by them", get_resolve_bytes },
	{ "fcpull_boot_bytes_total", "counter", "bytes of the boot stream", get_boot_bytes },
	{ "fcpull_demand_requests_total", "counter", "requests for readers", get_demand_requests },
	{ "fcpull_demand_bytes_total", "counter", "bytes asked for by them", get_demand_bytes },
	{ "fcpull_hedged_requests_total", "counter",
		"of them: made a second time, as the first was late", get_hedged_requests },
	{ "fcpull_fill_requests_total", "counter", "requests of the background fill",
		get_fill_requests },
	{ "fcpull_fill_bytes_total", "counter", "bytes asked for by it", get_fill_bytes },
	{ "fcpull_rescued_chunks_total", "counter",
		"chunks taken from the original, as the accelerated form's are damaged or missing",
		get_rescued_chunks },
	{ "fcpull_rescued_bytes_total", "counter", "decoded bytes of them", get_rescued_bytes },
	{ "fcpull_reads_total", "counter", "reads that came to the worker", get_reads },
	{ "fcpull_waits_total", "counter", "of them, those that had to wait", get_waits },
	{ "fcpull_waited_microseconds_total", "counter", "their waits in sum", get_waited },
};

static void print_metrics(const struct live *v, size_t n)
{
	for (size_t m = 0; m < ARRAY_LEN(metrics); m++) {
		printf("# HELP %s %s\n# TYPE %s %s\n", metrics[m].name, metrics[m].help,
			metrics[m].name, metrics[m].type);
		for (size_t i = 0; i < n; i++) {
			uint64_t value;

			if (!metrics[m].value(&v[i], &value))
				continue;
			printf("%s{", metrics[m].name);
			print_label("image", v[i].s.image);
			putchar(',');
			print_label("id", v[i].s.id);
			printf("} %llu\n", (unsigned long long)value);
		}
	}
}

static int status(int argc, char **argv)
{
	cleanup_free char *store = places_store();
	struct underway *conversions = NULL;
	size_t n, n_conversions = 0;
	struct live *v;
	int r;

	(void)argv;
	if (argc) {
		warn("status takes no operands; try 'fcpull status --help'");
		return EXIT_USAGE;
	}
	if (look_at_all(&v, &n))
		return EXIT_FAILURE;
	r = store ? underway_list(store, &conversions, &n_conversions) : 0;
	if (!r && status_json)
		print_json(v, n, conversions, n_conversions);
	if (!r && status_metrics)
		print_metrics(v, n);
	for (size_t i = 0; i < n && !r && !status_json && !status_metrics; i++)
		print_live(&v[i]);
	for (size_t i = 0; i < n_conversions && !r && !status_json && !status_metrics; i++)
		print_conversion(&conversions[i]);
	underway_free(conversions, n_conversions);
	free_all(v, n);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_status = {
	"status",
	"",
	"the live mounts, who serves them, what is being accelerated",
	status_opts,
	NULL,
	status,
	false,
	0,
};

// ---- upgrade-mounts ----

static const char *upgrade_exe;

static const struct opt upgrade_opts[] = {
	{ 0, "exe", "PATH", "serve by this executable (else by this one)", opt_str, &upgrade_exe,
		false },
	{ 0 },
};

static int upgrade(int dir, const struct state *s, int exe)
{
	struct ctl c = { 0 };
	int r = -EBUSY;

	// the last hand-over's old worker may still be answering
	for (int i = 0; i < BUSY_TRIES && r == -EBUSY; i++) {
		if (i)
			usleep(100000);
		r = state_ask(dir, s->id, CTL_UPGRADE, exe, UPGRADE_MS, &c);
	}
	if (r)
		return warn_errno(r, "%s is still served by the old worker%s%s",
			log_quote(s->image), *c.text ? ": " : "", c.text);
	info("%s is served by %d now", s->image, (int)c.worker);
	return 0;
}

static int upgrade_mounts(int argc, char **argv)
{
	cleanup_fd int exe = -1, dir = -1;
	struct state *v;
	size_t n;
	int failed = 0;

	(void)argv;
	if (argc) {
		warn("upgrade-mounts takes no operands; try 'fcpull upgrade-mounts --help'");
		return EXIT_USAGE;
	}
	exe = open(upgrade_exe ? upgrade_exe : "/proc/self/exe", O_RDONLY | O_CLOEXEC);
	if (exe < 0)
		return warn_errno(-errno, "open %s", upgrade_exe ? upgrade_exe : "this program"),
		       EXIT_FAILURE;
	dir = state_dir();
	if (dir < 0 || state_list(dir, &v, &n))
		return EXIT_FAILURE;
	for (size_t i = 0; i < n; i++) {
		if (!v[i].local) // the kernel's
			failed |= upgrade(dir, &v[i], exe);
		state_fini(&v[i]);
	}
	free(v);
	return failed ? EXIT_FAILURE : 0;
}

const struct applet applet_upgrade_mounts = {
	"upgrade-mounts",
	"",
	"hand every mount over to another fcpull",
	upgrade_opts,
	"Readers notice nothing. A mount whose state the new program does not understand\n"
	"stays with its old one.",
	upgrade_mounts,
	false,
	0,
};
