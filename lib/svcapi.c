// svcapi.c - the service's answers: a table of paths and methods
// SPDX-License-Identifier: Apache-2.0
#include <time.h>

#include "log.h"
#include "platform.h"
#include "statuspage.h"
#include "svc.h"

#define LIST_MAX 1000 // conversions of each state in one answer
#define CONVERSIONS "/v1/conversions"

struct ask {
	struct svc *s;
	const struct httpd_request *q;
	struct httpd_reply *a;
	char id[JOB_ID_LEN + 1]; // of the path, where it has one
};

static void fail(struct ask *k, unsigned status, const char *why)
{
	k->a->status = status;
	k->a->type = "application/json";
	k->a->body.len = 0;
	json_open(&k->a->body, NULL, '{');
	json_put_str(&k->a->body, "error", why);
	json_close(&k->a->body, '}');
}

// What could not be taken is to be sent again: registries do so after a 5xx.
static void fail_errno(struct ask *k, int r)
{
	if (r == -EAGAIN)
		fail(k, 503, "the queue is full (--queue)");
	else if (r == -ENOSPC || r == -EDQUOT)
		fail(k, 507, "no room on the disk for the queue");
	else
		fail(k, 500, "the queue could not be written");
	k->a->retry_after = 10;
}

// ---- notifications ----

static void post_notification(struct ask *k)
{
	struct buf *b = &k->a->body;
	size_t taken[SVC_TAKEN];
	struct pushes ps;
	const char *why;
	int r = notify_parse(k->q->body, k->q->len, &ps, &why);

	if (r) {
		fail(k, 400, why);
		return;
	}
	r = svc_put_all(k->s, &ps, taken);
	pushes_fini(&ps);
	if (r) {
		fail_errno(k, r);
		return;
	}
	k->a->status = taken[SVC_ACCEPTED] + taken[SVC_KNOWN] ? 202 : 200;
	json_open(b, NULL, '{');
	for (size_t i = 0; i < SVC_TAKEN; i++)
		json_put_u64(b, svc_taken_names[i], taken[i]);
	json_close(b, '}');
}

// ---- conversions ----

static void put_one(struct buf *b, struct svc *s, const struct job *j)
{
	json_open(b, NULL, '{');
	job_put(b, j);
	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < s->n_runs && j->state == JOB_RUNNING; i++) {
		const struct svc_run *r = &s->runs[i];

		if (strcmp(r->id, j->id))
			continue;
		json_open(b, "progress", '{');
		json_put_str(b, "step", r->step);
		json_put_u64(b, "done", r->done);
		json_put_u64(b, "total", r->total);
		json_close(b, '}');
	}
	pthread_mutex_unlock(&s->lock);
	json_close(b, '}');
}

static void get_conversions(struct ask *k)
{
	struct buf *b = &k->a->body;
	size_t count[JOB_STATES];

	jobq_count(k->s->queue, count);
	json_open(b, NULL, '{');
	json_open(b, "counts", '{');
	for (size_t i = 0; i < JOB_STATES; i++)
		json_put_u64(b, job_state_names[i], count[i]);
	json_close(b, '}');
	json_open(b, "conversions", '[');
	for (int i = 0; i < JOB_STATES; i++) {
		cleanup_free struct job *v = NULL;
		size_t n = jobq_list(k->s->queue, i, LIST_MAX, &v);

		for (size_t m = 0; m < n; m++)
			put_one(b, k->s, &v[m]);
	}
	json_close(b, ']');
	json_close(b, '}');
}

static void put_asked(struct ask *k, const char *host, const struct push *p, const char *platform)
{
	char id[JOB_ID_LEN + 1];
	int r = svc_put(k->s, host, p, platform, id);
	struct job j;

	if (r == SVC_DENIED) {
		fail(k, 403, "the rules (--allow, --deny) do not let this repository in");
	} else if (r < 0) {
		fail_errno(k, r);
	} else if (jobq_get(k->s->queue, id, &j)) {
		fail(k, 404, "it was removed meanwhile");
	} else {
		if (!*k->a->location)
			snprintf(k->a->location, sizeof k->a->location, CONVERSIONS "/%s", id);
		put_one(&k->a->body, k->s, &j);
	}
}

// For one platform if it is named, else for those of the service.
static void post_conversion(struct ask *k)
{
	const struct svc_conf *c = &k->s->conf;
	char platform[NOTIFY_PLATFORM_MAX];
	struct platform parsed;
	struct push p;
	const char *why, *host;

	if (notify_parse_request(k->q->body, k->q->len, &p, platform, &why)) {
		fail(k, 400, why);
		return;
	}
	host = svc_registry(c, p.host);
	if (!host || strcmp(host, p.host)) {
		fail(k, 403, "the image's registry is none of --registry");
		return;
	}
	if (*platform && platform_parse(platform, &parsed)) {
		fail(k, 400, "\"platform\" is not OS/ARCH[/VARIANT]");
		return;
	}
	k->a->status = 202;
	json_open(&k->a->body, NULL, '{');
	json_open(&k->a->body, "conversions", '[');
	if (*platform)
		put_asked(k, host, &p, platform_str(&parsed, platform));
	for (size_t i = 0; !*platform && i < c->n_platforms && k->a->status == 202; i++)
		put_asked(k, host, &p, c->platforms[i]);
	if (k->a->status != 202)
		return;
	json_close(&k->a->body, ']');
	json_close(&k->a->body, '}');
}

static void get_conversion(struct ask *k)
{
	struct job j;

	if (jobq_get(k->s->queue, k->id, &j))
		fail(k, 404, "there is no such conversion");
	else
		put_one(&k->a->body, k->s, &j);
}

static void changed(struct ask *k, int r, const char *busy)
{
	uint64_t one = 1;

	if (r == -ENOENT)
		fail(k, 404, "there is no such conversion");
	else if (r == -EBUSY)
		fail(k, 409, busy);
	else if (r)
		fail_errno(k, r);
	if (!r && write(k->s->wake, &one, sizeof one) < 0)
		debug("the loop could not be woken");
}

static void delete_conversion(struct ask *k)
{
	k->a->status = 204;
	changed(k, jobq_remove(k->s->queue, k->id), "it runs");
}

static void retry_conversion(struct ask *k)
{
	int r = jobq_retry(k->s->queue, k->id, time(NULL));

	k->a->status = 202;
	changed(k, r, "it runs, or is done");
	if (!r)
		get_conversion(k);
}

// ---- for machines and people ----

static void get_health(struct ask *k)
{
	bool stuck = now_ns() - k->s->ticked > SVC_STUCK_S * 1000000000ull;

	k->a->type = "text/plain; charset=utf-8";
	k->a->status = stuck || k->s->stopping ? 503 : 200;
	buf_printf(&k->a->body, "%s\n",
		k->s->stopping	? "ending"
			: stuck ? "the loop shows no sign of life"
				: "ok");
}

static void metric(struct buf *b, const char *name, const char *type, const char *help)
{
	buf_printf(b, "# HELP fcpull_serve_%s %s\n# TYPE fcpull_serve_%s %s\n", name, help, name,
		type);
}

static void labelled(struct buf *b, const char *name, const char *type, const char *help,
	const char *label, const char *const *names, const uint64_t *v, size_t n)
{
	metric(b, name, type, help);
	for (size_t i = 0; i < n; i++)
		buf_printf(b, "fcpull_serve_%s{%s=\"%s\"} %llu\n", name, label, names[i],
			(unsigned long long)v[i]);
}

static void single(struct buf *b, const char *name, const char *type, const char *help, uint64_t v)
{
	metric(b, name, type, help);
	buf_printf(b, "fcpull_serve_%s %llu\n", name, (unsigned long long)v);
}

static uint64_t oldest_wait(struct svc *s)
{
	cleanup_free struct job *v = NULL;
	int64_t now = time(NULL);

	return jobq_list(s->queue, JOB_QUEUED, 1, &v) && v->created < now
		? (uint64_t)(now - v->created)
		: 0;
}

static void get_metrics(struct ask *k)
{
	static const char *const classes[] = { "0xx", "1xx", "2xx", "3xx", "4xx", "5xx" };
	uint64_t taken[SVC_TAKEN], ended[SVC_ENDED], states[JOB_STATES], answers[6], seconds, in,
		out;
	struct buf *b = &k->a->body;
	struct svc *s = k->s;
	size_t count[JOB_STATES];
	bool trouble;

	pthread_mutex_lock(&s->lock);
	memcpy(taken, s->taken, sizeof taken);
	memcpy(ended, s->ended, sizeof ended);
	seconds = s->seconds, in = s->bytes_in, out = s->bytes_out, trouble = *s->trouble;
	pthread_mutex_unlock(&s->lock);
	jobq_count(s->queue, count);
	httpd_counts(s->httpd, answers);
	for (size_t i = 0; i < JOB_STATES; i++)
		states[i] = count[i];
	k->a->type = "text/plain; version=0.0.4; charset=utf-8";
	labelled(b, "conversions", "gauge", "conversions that are known, by their state", "state",
		job_state_names, states, JOB_STATES);
	labelled(b, "pushes_total", "counter", "pushes that were heard of, by how they were taken",
		"result", svc_taken_names, taken, SVC_TAKEN);
	labelled(b, "ended_total", "counter", "runs that ended, by what came of them", "result",
		svc_ended_names, ended, SVC_ENDED);
	labelled(b, "answers_total", "counter", "answers to requests, by status", "status",
		classes + 2, answers + 2, 4);
	single(b, "oldest_wait_seconds", "gauge", "for which the next conversion has waited",
		oldest_wait(s));
	single(b, "conversion_seconds_total", "counter", "spent on what was converted", seconds);
	single(b, "original_bytes_total", "counter", "of layers that were converted", in);
	single(b, "accelerated_bytes_total", "counter", "that were made of them", out);
	single(b, "blocked", "gauge", "nothing is started, for want of disk", trouble);
}

static void get_page(struct ask *k)
{
	k->a->type = "text/html; charset=utf-8";
	statuspage(k->s, time(NULL), &k->a->body);
}

// ---- the table ----

static const struct {
	const char *method, *path; // '*' = an id
	void (*answer)(struct ask *k);
} routes[] = {
	{ "GET", "/", get_page },
	{ "GET", "/healthz", get_health },
	{ "GET", "/metrics", get_metrics },
	{ "POST", "/v1/notifications", post_notification },
	{ "GET", CONVERSIONS, get_conversions },
	{ "POST", CONVERSIONS, post_conversion },
	{ "GET", CONVERSIONS "/*", get_conversion },
	{ "DELETE", CONVERSIONS "/*", delete_conversion },
	{ "POST", CONVERSIONS "/*/retry", retry_conversion },
};

static bool fits(const char *route, const char *path, char id[static JOB_ID_LEN + 1])
{
	const char *star = strchr(route, '*');
	size_t n = star ? (size_t)(star - route) : 0;

	if (!star)
		return !strcmp(route, path);
	if (strncmp(route, path, n) || strlen(path) < n + JOB_ID_LEN ||
		!job_is_id(path + n, JOB_ID_LEN) || strcmp(path + n + JOB_ID_LEN, star + 1))
		return false;
	memcpy(id, path + n, JOB_ID_LEN);
	id[JOB_ID_LEN] = 0;
	return true;
}

void svc_answer(void *arg, const struct httpd_request *q, struct httpd_reply *ret)
{
	struct ask k = { .s = arg, .q = q, .a = ret };
	const char *allow = NULL;

	ret->status = 200;
	ret->type = "application/json";
	for (size_t i = 0; i < ARRAY_LEN(routes); i++) {
		if (!fits(routes[i].path, q->path, k.id))
			continue;
		if (!strcmp(routes[i].method, q->method)) {
			routes[i].answer(&k);
			return;
		}
		allow = allow && strcmp(allow, routes[i].method) ? "GET, POST, DELETE"
								 : routes[i].method;
	}
	fail(&k, allow ? 405 : 404, allow ? "not by this method" : "there is nothing here");
	ret->allow = allow;
}
