// statuspage.c - the service's one page for people: waiting, running, done, parked
//
// Plain HTML that renews itself by a header line; no script, nothing is loaded.
// SPDX-License-Identifier: Apache-2.0
#include "statuspage.h"

void statuspage_escape(struct buf *b, const char *text)
{
	for (; *text; text++) {
		switch (*text) {
		case '<': buf_printf(b, "&lt;"); break;
		case '>': buf_printf(b, "&gt;"); break;
		case '&': buf_printf(b, "&amp;"); break;
		case '"': buf_printf(b, "&quot;"); break;
		case '\'': buf_printf(b, "&#39;"); break;
		default: buf_add(b, text, 1);
		}
	}
}

// ---- cells ----

static void put_age(struct buf *b, int64_t s)
{
	s = MAX(s, 0);
	if (s < 60)
		buf_printf(b, "%lld s", (long long)s);
	else if (s < 3600)
		buf_printf(b, "%lld min", (long long)(s / 60));
	else if (s < 86400)
		buf_printf(b, "%lld h %02lld min", (long long)(s / 3600), (long long)(s / 60 % 60));
	else
		buf_printf(b, "%lld d", (long long)(s / 86400));
}

// An image's name may break at its slashes, so that a long one does not widen the page.
static void put_image(struct buf *b, const struct job *j)
{
	char part[JOB_IMAGE_MAX + 1];
	const char *p = j->image;

	buf_printf(b, "<td class=\"image\"><a href=\"/v1/conversions/%s\">", j->id);
	while (*p) {
		size_t n = strcspn(p, "/");

		n += p[n] == '/';
		snprintf(part, sizeof part, "%.*s", (int)n, p);
		statuspage_escape(b, part);
		buf_printf(b, "<wbr>");
		p += n;
	}
	buf_printf(b, "</a><td>");
	statuspage_escape(b, j->platform);
}

static void put_size(struct buf *b, uint64_t n)
{
	char s[16];

	buf_printf(b, "<td class=\"n\">%s", human_size(n, s));
}

// What a start waits for, where it was all layers: the index and, with a trace, the boot stream; without
// one the rest comes as it is read.
static void put_gain(struct buf *b, const struct job_result *r)
{
	uint64_t needed = r->index + r->boot;
	char s[16];

	if (!needed || !r->size)
		buf_printf(b, "<td class=\"n\">\xe2\x80\x93");
	else if (!r->boot)
		buf_printf(b, "<td class=\"n\">%s, and what it reads", human_size(needed, s));
	else if (r->size > needed)
		buf_printf(b, "<td class=\"n\">%s, <b>1/%llu</b>", human_size(needed, s),
			(unsigned long long)((r->size + needed / 2) / needed));
	else
		buf_printf(b, "<td class=\"n\">%s", human_size(needed, s));
}

static void begin_table(
	struct buf *b, const char *title, const char *id, size_t n, size_t all, const char *head)
{
	buf_printf(b, "<section id=\"%s\"><h2>%s <span>%zu</span></h2>\n", id, title, all);
	if (!n) {
		buf_printf(b, "<p class=\"none\">none</p></section>\n");
		return;
	}
	buf_printf(b, "<table><thead><tr>%s<tbody>\n", head);
}

static void end_table(struct buf *b, size_t n, size_t all)
{
	if (!n)
		return;
	buf_printf(b, "</table>");
	if (all > n)
		buf_printf(b, "<p class=\"none\">and %zu more</p>", all - n);
	buf_printf(b, "</section>\n");
}

// ---- the tables ----

static void put_error(struct buf *b, const char *error)
{
	buf_printf(b, "<td class=\"error\">");
	statuspage_escape(b, error);
}

static void running_row(struct buf *b, struct svc *s, const struct job *j, int64_t now)
{
	struct svc_run is = { 0 };

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n_runs; i++)
		if (!strcmp(s->runs[i].id, j->id))
			is = s->runs[i];
	pthread_mutex_unlock(&s->lock);
	put_image(b, j);
	buf_printf(b, "<td>");
	statuspage_escape(b, *is.step ? is.step : "begins");
	if (is.total) {
		char x[16], y[16];

		buf_printf(b, " <progress max=\"100\" value=\"%u\"></progress> %s of %s",
			(unsigned)(MIN(is.done, is.total) * 100 / is.total), human_size(is.done, x),
			human_size(is.total, y));
	}
	buf_printf(b, "<td class=\"n\">");
	put_age(b, now - j->started);
}

static void done_row(struct buf *b, const struct job *j, int64_t now)
{
	const struct job_result *r = &j->result;

	put_image(b, j);
	put_size(b, r->size);
	if (!strcmp(r->outcome, "already")) {
		buf_printf(b, "<td class=\"n\" colspan=\"2\">was accelerated already");
	} else {
		put_size(b, r->data + r->index + r->boot);
		buf_printf(b, "<td class=\"n\">");
		put_age(b, j->finished - j->started);
	}
	put_gain(b, r);
	buf_printf(b, "<td class=\"n\">");
	put_age(b, now - j->finished);
}

static void waiting_row(struct buf *b, const struct job *j, int64_t now)
{
	put_image(b, j);
	buf_printf(b, "<td class=\"n\">");
	put_age(b, now - j->created);
	buf_printf(b, "<td class=\"n\">");
	if (j->due > now) {
		buf_printf(b, "in ");
		put_age(b, j->due - now);
	} else {
		buf_printf(b, "as soon as it can");
	}
	put_error(b, j->error);
}

static void parked_row(struct buf *b, const struct job *j, int64_t now)
{
	put_image(b, j);
	buf_printf(b, "<td class=\"n\">%u", j->attempts);
	buf_printf(b, "<td class=\"n\">");
	put_age(b, now - j->finished);
	put_error(b, j->error);
}

static void put_rows(struct buf *b, struct svc *s, enum job_state state, const struct job *v,
	size_t n, int64_t now)
{
	for (size_t i = 0; i < n; i++) {
		buf_printf(b, "<tr>");
		if (state == JOB_RUNNING)
			running_row(b, s, &v[i], now);
		else if (state == JOB_DONE)
			done_row(b, &v[i], now);
		else if (state == JOB_QUEUED)
			waiting_row(b, &v[i], now);
		else
			parked_row(b, &v[i], now);
		buf_printf(b, "\n");
	}
}

static const struct {
	enum job_state state;
	const char *title, *head;
} tables[] = {
	{ JOB_RUNNING, "Running", "<th>Image<th>Platform<th>Progress<th class=\"n\">For" },
	{ JOB_QUEUED, "Waiting",
		"<th>Image<th>Platform<th class=\"n\">Since<th class=\"n\">Begins<th>Failed before with" },
	{ JOB_PARKED, "Parked",
		"<th>Image<th>Platform<th class=\"n\">Attempts<th class=\"n\">Ago<th>Reason" },
	{ JOB_DONE, "Done",
		"<th>Image<th>Platform<th class=\"n\">Layers<th class=\"n\">Accelerated<th class=\"n\">Took"
		"<th class=\"n\">A start waits for<th class=\"n\">Ago" },
};

static const char style[] =
	":root{color-scheme:light dark;--line:#d8dee4;--dim:#59636e;--bad:#b3261e;--back:#f6f8fa}"
	"@media(prefers-color-scheme:dark){:root{--line:#3d444d;--dim:#9198a1;--bad:#ff8a80;--back:#20262d}}"
	"body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;max-width:76rem;padding:0 1.25rem}"
	"h1{font-size:1.35rem;margin:0}h2{font-size:1.05rem;margin:2rem 0 .5rem}"
	"h2 span{color:var(--dim);font-weight:400}"
	"header p,.none{color:var(--dim);margin:.25rem 0}.trouble{color:var(--bad);font-weight:600}"
	"table{border-collapse:collapse;width:100%}"
	"th,td{text-align:left;padding:.4rem .75rem .4rem 0;border-bottom:1px solid var(--line);vertical-align:top}"
	"th{font-weight:600;color:var(--dim);font-size:.85rem;white-space:nowrap}"
	"td.n,th.n{text-align:right;padding-left:.75rem;white-space:nowrap;font-variant-numeric:tabular-nums}"
	"td:nth-child(2){white-space:nowrap}td.image{overflow-wrap:anywhere;min-width:12rem;max-width:28rem}a{color:inherit}"
	"td.error{color:var(--bad);overflow-wrap:anywhere;min-width:14rem;max-width:32rem}td.n+td.error,th.n+th{padding-left:.75rem}"
	"tbody tr:hover{background:var(--back)}progress{width:6rem;vertical-align:middle}"
	"section{overflow-x:auto}footer{color:var(--dim);margin-top:2.5rem;font-size:.85rem}"
	// on a narrow screen each row becomes a few lines, and the heads words before or after its cells
	"@media(max-width:46rem){thead{display:none}table,tbody,tr,td{display:block}"
	"tr{padding:.5rem 0;border-bottom:1px solid var(--line)}"
	"td,td.n,td.n+td.error{border:0;padding:0;min-width:0;max-width:none;white-space:normal}"
	"td.n,td:nth-child(2){display:inline-block;margin-right:1rem;color:var(--dim)}td.n{text-align:left}"
	"#running td:nth-child(4)::before{content:'for '}#queued td:nth-child(3)::before{content:'for '}"
	"#queued td:nth-child(4)::before{content:'begins '}"
	"#parked td:nth-child(3)::before{content:'attempts: '}"
	"#parked td:nth-child(4)::after,#done td:last-child::after{content:' ago'}"
	"#done td:nth-child(3)::before{content:'layers '}"
	"#done td:nth-child(4):nth-last-child(4)::before{content:'accelerated '}"
	"#done td:nth-child(5):nth-last-child(3)::before{content:'took '}"
	"#done td:nth-last-child(2)::before{content:'a start waits for '}}";

static void put_head(struct svc *s, struct buf *b, const size_t count[static JOB_STATES])
{
	buf_printf(b,
		"<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">"
		"<meta name=\"viewport\" content=\"width=device-width\">"
		"<meta http-equiv=\"refresh\" content=\"5\"><title>fcpull: %zu running, %zu waiting</title>"
		"<style>%s</style></head>\n<body><header><h1>fcpull conversions</h1><p>%zu running, %zu "
		"waiting, %zu parked, %zu done",
		count[JOB_RUNNING], count[JOB_QUEUED], style, count[JOB_RUNNING], count[JOB_QUEUED],
		count[JOB_PARKED], count[JOB_DONE]);
	if (s->stopping)
		buf_printf(b, "; the service is ending");
	buf_printf(b, "</p>");
	pthread_mutex_lock(&s->lock);
	if (*s->trouble) {
		buf_printf(b, "<p class=\"trouble\">");
		statuspage_escape(b, s->trouble);
		buf_printf(b, "</p>");
	}
	pthread_mutex_unlock(&s->lock);
	buf_printf(b, "</header>\n");
}

void statuspage(struct svc *s, int64_t now, struct buf *b)
{
	size_t count[JOB_STATES];

	jobq_count(s->queue, count);
	put_head(s, b, count);
	for (size_t i = 0; i < ARRAY_LEN(tables); i++) {
		cleanup_free struct job *v = NULL;
		enum job_state state = tables[i].state;
		size_t n = jobq_list(s->queue, state, STATUSPAGE_ROWS, &v);

		begin_table(b, tables[i].title, job_state_names[state], n, MAX(count[state], n),
			tables[i].head);
		put_rows(b, s, state, v, n, now);
		end_table(b, n, count[state]);
	}
	buf_printf(b,
		"<footer>fcpull " FCPULL_VERSION
		"; the same as JSON: <a href=\"/v1/conversions\">/v1/conversions</a>, for "
		"Prometheus: <a href=\"/metrics\">/metrics</a></footer></body></html>\n");
}
