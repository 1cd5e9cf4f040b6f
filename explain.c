// explain.c - explain: what a start has cost, and what would make it cheaper
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "fcpull.h"
#include "json.h"
#include "log.h"
#include "state.h"
#include "stats.h"
#include "trace.h"

#define MISSES_SHOWN 20
#define STALLS_SHOWN 10

// ---- what is known ----

// The waits for one file, put together.
struct stall {
	const struct trace_file *file;
	uint64_t off, ns, waits;
	uint64_t demanded; // of the waits: those that needed a request of their own
};

struct account {
	const char *name, *form, *why_form; // why_form: "" = not known
	const struct index *ix;
	const struct stats *t;
	struct trace_files *files;
	struct stall *stalls; // the longest first
	size_t n_stalls;
	uint64_t demand_waits;
	uint64_t boot_blocks, boot_unused; // unused: of those that could be looked at
	bool looked;			   // boot_unused is known
};

static int by_time(const void *pa, const void *pb)
{
	const struct stall *a = pa, *b = pb;

	return a->ns == b->ns ? 0 : a->ns > b->ns ? -1 : 1;
}

static struct stall *stall_of(struct account *a, const struct trace_file *f)
{
	for (size_t i = 0; i < a->n_stalls; i++)
		if (a->stalls[i].file == f)
			return &a->stalls[i];
	a->stalls[a->n_stalls] = (struct stall){ .file = f };
	return &a->stalls[a->n_stalls++];
}

// The figures come from a file that anything may have happened to: what is not of this image is
// left out.
static void sum_stalls(struct account *a)
{
	size_t n = stats_events(a->t);

	a->stalls = xcalloc(n + 1, sizeof *a->stalls);
	for (size_t i = 0; i < n; i++) {
		const struct stats_event *e = &a->t->event[i];
		const struct trace_file *f;
		uint64_t off;
		struct stall *s;

		f = e->space < index_spaces(a->ix)
			? trace_file_at(a->files, e->space, e->block, &off)
			: NULL;
		a->demand_waits += e->kind == STATS_DEMAND;
		if (!f)
			continue;
		s = stall_of(a, f);
		if (!s->waits++)
			s->off = off;
		s->ns += e->waited;
		s->demanded += e->kind == STATS_DEMAND;
	}
	qsort(a->stalls, a->n_stalls, sizeof *a->stalls, by_time);
}

static void account_fini(struct account *a)
{
	trace_files_free(a->files);
	free(a->stalls);
}

static int account_init(
	struct account *a, const char *name, const struct index *ix, const struct stats *t)
{
	*a = (struct account){ .name = name, .ix = ix, .t = t };
	if (trace_files(ix, &a->files))
		return warn_errno(-ENOMEM, "explain %s", name);
	sum_stalls(a);
	a->boot_blocks = index_frames_blocks(ix);
	return 0;
}

// ---- which blocks of the boot stream were used ----

// While the start lasts nothing is read ahead, so that a page of a file is in the page cache only
// if it was read.
struct resident {
	const struct trace_file *file;
	unsigned char *vec;
	size_t pages;
};

static void look_into(struct account *a, int root, const struct trace_file *f, struct resident *r)
{
	cleanup_buf struct buf path = { 0 };
	size_t len;
	void *p;

	free(r->vec);
	*r = (struct resident){ .file = f };
	trace_file_path(a->files, f, &path);
	cleanup_fd int fd = openat(root, buf_str(&path) + 1, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	len = (size_t)f->blocks << BLOCK_SHIFT;
	p = fd < 0 ? MAP_FAILED : mmap(NULL, len, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return;
	r->vec = xcalloc(f->blocks, 1);
	r->pages = f->blocks;
	if (mincore(p, len, r->vec)) {
		free(r->vec);
		*r = (struct resident){ .file = f };
	}
	munmap(p, len);
}

static void look_at_run(struct account *a, int root, const struct run_view *v, struct resident *r)
{
	for (uint32_t i = 0; i < v->blocks; i++) {
		uint64_t off;
		const struct trace_file *f = trace_file_at(a->files, v->space, v->block + i, &off);

		if (!f)
			continue;
		if (f != r->file)
			look_into(a, root, f, r);
		if (r->vec && (off >> BLOCK_SHIFT) < r->pages)
			a->boot_unused += !(r->vec[off >> BLOCK_SHIFT] & 1);
	}
}

static void look_at_boot(struct account *a, int root)
{
	struct resident r = { 0 };

	for (uint32_t i = 0; i < index_frames(a->ix); i++) {
		struct frame_view f;

		index_frame(a->ix, i, &f);
		for (uint32_t j = f.first_run; j < f.first_run + f.runs; j++) {
			struct run_view v;

			index_run(a->ix, j, &v);
			look_at_run(a, root, &v, &r);
		}
	}
	free(r.vec);
	a->looked = true;
}

// ---- advice ----

static const char *advice(const struct account *a)
{
	const struct stats *t = a->t;
	uint64_t total = a->boot_blocks;

	if (!total)
		return "make a boot stream: fcpull convert --record-run, or run --record FILE and convert --trace FILE";
	if (a->demand_waits > 3)
		return "the boot stream lacks what this start has read: record it too, and give convert both traces";
	if (a->looked && a->boot_unused > total / 4)
		return "much of the boot stream was not used: record this start anew";
	if (t->boot_over && t->waited_ns > (t->boot_over - t->begun) / 2)
		return "the start waits for the network: a faster link or a nearer registry would help, nothing else";
	return "nothing: the start found what it needed";
}

// ---- text ----

static double ms_of(const struct stats *t, uint64_t ns)
{
	return ns > t->begun ? (double)(ns - t->begun) / 1e6 : 0;
}

static void print_time(FILE *to, const struct stats *t, const char *what, uint64_t ns)
{
	if (ns)
		fprintf(to, "  %10.1f ms  %s\n", ms_of(t, ns), what);
}

static void print_kind(FILE *to, const char *kind, uint64_t requests, uint64_t bytes)
{
	char size[16];

	fprintf(to, "  %-22s %6llu  %10s\n", kind, (unsigned long long)requests,
		human_size(bytes, size));
}

static void print_path(FILE *to, const struct account *a, const struct trace_file *f)
{
	cleanup_buf struct buf path = { 0 };

	trace_file_path(a->files, f, &path);
	fputs(log_quote_n((const char *)path.data, path.len), to);
}

static void print_stalls(FILE *to, const struct account *a)
{
	size_t shown = 0;

	if (a->n_stalls)
		fprintf(to, "longest waits by file\n");
	for (size_t i = 0; i < a->n_stalls && i < STALLS_SHOWN; i++) {
		fprintf(to, "  %10.1f ms  %5llu waits  ", (double)a->stalls[i].ns / 1e6,
			(unsigned long long)a->stalls[i].waits);
		print_path(to, a, a->stalls[i].file);
		fputc('\n', to);
	}
	if (!a->boot_blocks || !a->demand_waits)
		return;
	fprintf(to, "missed by the boot stream\n");
	for (size_t i = 0; i < a->n_stalls && shown < MISSES_SHOWN; i++) {
		if (!a->stalls[i].demanded)
			continue;
		shown++;
		fprintf(to, "  %5llu reads  from byte %-10llu ",
			(unsigned long long)a->stalls[i].demanded,
			(unsigned long long)a->stalls[i].off);
		print_path(to, a, a->stalls[i].file);
		fputc('\n', to);
	}
}

static void print_boot(FILE *to, const struct account *a)
{
	const struct stats *t = a->t;
	char unused[16], all[16];

	if (!a->boot_blocks)
		return;
	fprintf(to, "boot stream  %llu frames came, %llu were here already\n",
		(unsigned long long)t->boot_frames, (unsigned long long)t->boot_frames_here);
	if (a->looked)
		fprintf(to, "             %s of its %s (decoded) were not read\n",
			human_size(a->boot_unused << BLOCK_SHIFT, unused),
			human_size(a->boot_blocks << BLOCK_SHIFT, all));
}

static void print_account(FILE *to, const struct account *a)
{
	const struct stats *t = a->t;

	fprintf(to, "image        %s\n", a->name);
	fprintf(to, "form         %s%s%s%s\n", a->form, *a->why_form ? " (" : "", a->why_form,
		*a->why_form ? ")" : "");
	fprintf(to, "time line\n");
	print_time(to, t, "the image is known", t->resolved);
	print_time(to, t, "its server is ready", t->serving);
	print_time(to, t, "the boot stream is over", a->boot_blocks ? t->boot_over : 0);
	print_time(to, t, "the start is over: read-ahead and fill begin", t->start_over);
	print_time(to, t, "all of the image is here", t->complete);
	fprintf(to, "traffic                requests  bytes received\n");
	print_kind(to, "manifests, index", t->resolve_requests, t->resolve_bytes);
	print_kind(to, "boot (same request)", 0, t->boot_bytes);
	print_kind(to, "for readers", t->demand_requests, t->demand_bytes);
	print_kind(to, "background fill", t->fill_requests, t->fill_bytes);
	if (t->rescued_chunks)
		fprintf(to,
			"rescued      %llu chunks (%llu bytes) from the original: the accelerated form's are damaged or missing\n",
			(unsigned long long)t->rescued_chunks,
			(unsigned long long)t->rescued_bytes);
	print_boot(to, a);
	fprintf(to, "reads        %llu, of them %llu waited, %.1f ms in sum\n",
		(unsigned long long)t->reads, (unsigned long long)t->waits,
		(double)t->waited_ns / 1e6);
	print_stalls(to, a);
	fprintf(to, "advice       %s\n", advice(a));
}

// ---- JSON ----

static void put_ms(struct buf *b, const struct stats *t, const char *key, uint64_t ns)
{
	if (ns)
		json_put_u64(b, key, (uint64_t)ms_of(t, ns));
	else
		json_put_str(b, key, NULL);
}

static void put_traffic(struct buf *b, const char *key, uint64_t requests, uint64_t bytes)
{
	json_open(b, key, '{');
	json_put_u64(b, "requests", requests);
	json_put_u64(b, "bytes", bytes);
	json_close(b, '}');
}

static void put_stalls(struct buf *b, const struct account *a)
{
	json_open(b, "waits", '[');
	for (size_t i = 0; i < a->n_stalls; i++) {
		cleanup_buf struct buf path = { 0 }, text = { 0 };

		trace_file_path(a->files, a->stalls[i].file, &path);
		buf_printf(&text, "%s", log_quote_n((const char *)path.data, path.len));
		json_open(b, NULL, '{');
		json_put_str(b, "path", buf_str(&text));
		json_put_u64(b, "offset", a->stalls[i].off);
		json_put_u64(b, "waits", a->stalls[i].waits);
		json_put_u64(b, "requested", a->stalls[i].demanded);
		json_put_u64(b, "us", a->stalls[i].ns / 1000);
		json_close(b, '}');
	}
	json_close(b, ']');
}

static void print_account_json(const struct account *a)
{
	cleanup_buf struct buf b = { 0 };
	const struct stats *t = a->t;

	json_open(&b, NULL, '{');
	json_put_str(&b, "image", a->name);
	json_put_str(&b, "form", a->form);
	json_put_str(&b, "why_form", a->why_form);
	json_open(&b, "milliseconds", '{');
	put_ms(&b, t, "resolved", t->resolved);
	put_ms(&b, t, "serving", t->serving);
	put_ms(&b, t, "boot_over", a->boot_blocks ? t->boot_over : 0);
	put_ms(&b, t, "start_over", t->start_over);
	put_ms(&b, t, "complete", t->complete);
	json_close(&b, '}');
	json_open(&b, "traffic", '{');
	put_traffic(&b, "resolve", t->resolve_requests, t->resolve_bytes);
	put_traffic(&b, "boot", 0, t->boot_bytes);
	put_traffic(&b, "demand", t->demand_requests, t->demand_bytes);
	put_traffic(&b, "fill", t->fill_requests, t->fill_bytes);
	json_close(&b, '}');
	json_put_u64(&b, "hedged_requests", t->hedged_requests);
	json_put_u64(&b, "rescued_chunks", t->rescued_chunks);
	json_put_u64(&b, "rescued_bytes", t->rescued_bytes);
	json_put_u64(&b, "boot_frames_received", t->boot_frames);
	json_put_u64(&b, "boot_frames_present", t->boot_frames_here);
	json_put_u64(&b, "boot_bytes_decoded", a->boot_blocks << BLOCK_SHIFT);
	if (a->looked)
		json_put_u64(&b, "boot_bytes_unused", a->boot_unused << BLOCK_SHIFT);
	json_put_u64(&b, "reads", t->reads);
	json_put_u64(&b, "reads_waited", t->waits);
	json_put_u64(&b, "waited_us", t->waited_ns / 1000);
	put_stalls(&b, a);
	json_put_str(&b, "advice", advice(a));
	json_close(&b, '}');
	puts(buf_str(&b));
}

// ---- the verb ----

static bool explain_json;

static const struct opt explain_rows[] = {
	{ 0, "json", NULL, "one JSON object", opt_flag, &explain_json, false },
	IMAGE_OPT_ROWS,
	{ 0 },
};

// root: the mounted image, or -1.
static int explain_image(const struct host_image *h, int root, FILE *to, bool json)
{
	const struct stats *t;
	struct account a;
	int r = stats_open(h->store, &h->index, &t);

	if (r) {
		warn("%s: nothing is known of a mount or run of it in the store %s", h->name,
			log_quote(h->store->path));
		return r;
	}
	r = account_init(&a, h->name, h->ix, t);
	a.form = h->form;
	a.why_form = h->why_form;
	if (!r && root >= 0 && a.boot_blocks)
		look_at_boot(&a, root);
	if (!r && json)
		print_account_json(&a);
	else if (!r)
		print_account(to, &a);
	account_fini(&a);
	stats_free(t);
	return r;
}

void explain_run(const struct host_image *h, int root)
{
	if (explain_image(h, root, stderr, false))
		debug("there is nothing to explain");
}

// The state of the mount at a directory. -ENOENT.
static int state_at(const char *path, struct state *ret)
{
	cleanup_fd int dir = state_dir();
	struct state *v = NULL;
	struct statx st;
	size_t n = 0;
	int r = -ENOENT;

	if (dir < 0 || statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, 0, &st) || state_list(dir, &v, &n))
		return r;
	for (size_t i = 0; i < n; i++) {
		if (r && v[i].major == st.stx_dev_major && v[i].minor == st.stx_dev_minor) {
			*ret = v[i];
			r = 0;
			continue;
		}
		state_fini(&v[i]);
	}
	free(v);
	return r;
}

static int explain_mount(const char *path)
{
	cleanup_fd int root = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct host_opts o = { 0 };
	struct host_image *h;
	struct state s;
	int r = state_at(path, &s);

	if (r)
		return warn_errno(r, "%s is not a mount of fcpull", log_quote(path));
	o.root = s.store;
	r = host_open_index(s.image, &s.index, false, &o, &h);
	if (!r) {
		h->form = s.form;
		snprintf(h->why_form, sizeof h->why_form, "%s", s.why_form);
		r = explain_image(h, root, stdout, explain_json);
		host_close(h);
	}
	state_fini(&s);
	return r;
}

static int explain_reference(const char *reference)
{
	struct host_image *h;
	int r;

	image_opts.host.metadata_only = true;
	r = host_open(reference, &image_opts.host, &h);
	if (r)
		return r;
	r = h->ix ? explain_image(h, -1, stdout, explain_json)
		  : warn_whole(-ENODATA, "%s is not in the store", h->name);
	host_close(h);
	return r;
}

static int explain(int argc, char **argv)
{
	struct stat st;

	if (argc != 1) {
		warn("explain takes one IMAGE or DIR; try 'fcpull explain --help'");
		return EXIT_USAGE;
	}
	if (image_opts_finish())
		return EXIT_USAGE;
	// a path says that it is one; what is only a name is an image's
	if ((*argv[0] == '/' || *argv[0] == '.') && !stat(argv[0], &st) && S_ISDIR(st.st_mode))
		return explain_mount(argv[0]) ? EXIT_FAILURE : 0;
	return explain_reference(argv[0]) ? EXIT_FAILURE : 0;
}

const struct applet applet_explain = {
	"explain",
	"IMAGE|DIR",
	"what the newest start of an image has cost, and why",
	explain_rows,
	"DIR (with a / or . in front) is where an image is mounted now: then it is also\n"
	"known which part of the boot stream nobody has read. 'fcpull run --explain'\n"
	"prints the same after a run.\n",
	explain,
	false,
	0,
};
