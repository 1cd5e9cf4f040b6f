// svcloop.c - the service's loop: starts conversions, follows them, takes their ends
//
// One thread, the program's first, as conversions end with the thread that has started them. It sleeps in
// poll() for signals, for what conversions say, for the HTTP side's word that something was queued, and
// a second at most.
// SPDX-License-Identifier: Apache-2.0
#include "svc.h"

#include <poll.h>
#include <signal.h>
#include <sys/signalfd.h>
#include <sys/statvfs.h>
#include <time.h>

#include "log.h"

#define KILL_AFTER 5 // seconds between SIGTERM and SIGKILL

struct loop {
	struct svc *s;
	struct convjob *jobs[SVC_WORKERS_MAX];
	size_t n;
	int signals;
	bool ending;
	int64_t stop_at;  // seconds: then what runs is told to end
	int64_t retry_at; // seconds: nothing is started before; 0
};

static int64_t seconds(void)
{
	return (int64_t)(now_ns() / 1000000000);
}

// ---- what runs, for the others to see ----

static void publish(struct loop *l)
{
	struct svc *s = l->s;

	pthread_mutex_lock(&s->lock);
	for (size_t i = 0; i < l->n; i++) {
		const struct convjob *c = l->jobs[i];
		struct svc_run *r = &s->runs[i];

		memcpy(r->id, c->job.id, sizeof r->id);
		memcpy(r->step, c->step, sizeof r->step);
		r->done = c->done;
		r->total = c->total;
	}
	s->n_runs = l->n;
	pthread_mutex_unlock(&s->lock);
	s->ticked = now_ns();
}

static void set_trouble(struct svc *s, const char *what)
{
	pthread_mutex_lock(&s->lock);
	bool is_new = strcmp(s->trouble, what) != 0;

	snprintf(s->trouble, sizeof s->trouble, "%s", what);
	pthread_mutex_unlock(&s->lock);
	if (is_new && *what)
		warn("%s", what);
}

// ---- disk ----

static uint64_t free_bytes(const struct svc *s)
{
	struct statvfs v;

	if (statvfs(jobq_tmp(s->queue), &v))
		return UINT64_MAX;
	return (uint64_t)v.f_bavail * v.f_frsize;
}

static bool has_room(struct svc *s)
{
	uint64_t is = free_bytes(s);
	char a[16], b[16], text[200];

	if (is >= s->conf.min_free) {
		set_trouble(s, "");
		return true;
	}
	snprintf(text, sizeof text, "nothing is started: %s free in %s, and --min-free is %s",
		human_size(is, a), jobq_tmp(s->queue), human_size(s->conf.min_free, b));
	set_trouble(s, text);
	return false;
}

// What is about to fill the disk ends before it is full: the one that has begun last.
static void guard_disk(struct loop *l)
{
	if (!l->n || free_bytes(l->s) >= l->s->conf.min_free / 2)
		return;
	convjob_kill(l->jobs[l->n - 1], SIGKILL, "the disk was nearly full (--min-free)");
}

// ---- starting ----

static void not_started(struct loop *l, const struct job *j)
{
	jobq_end(l->s->queue, j->id, JOBQ_INTERRUPTED, &(struct job_result){ 0 }, "", time(NULL));
	l->retry_at = seconds() + 5;
}

static void start_some(struct loop *l)
{
	struct svc *s = l->s;
	int64_t due;
	struct job j;

	while (!l->ending && l->n < s->conf.workers && seconds() >= l->retry_at) {
		int r = has_room(s) ? jobq_take(s->queue, time(NULL), &j, &due) : 0;

		if (r < 0)
			l->retry_at = seconds() + 5;
		if (r != 1)
			return;
		r = convjob_start(&s->conf.job, &j, jobq_tmp(s->queue), jobq_lock_fd(s->queue),
			&l->jobs[l->n]);
		if (r) {
			not_started(l, &j);
			return;
		}
		info("%s, %s: conversion begins, process %d", j.image, j.platform,
			(int)l->jobs[l->n]->pid);
		l->n++;
	}
}

// ---- ending ----

static void count_end(
	struct svc *s, enum svc_ended how, const struct convjob *c, const struct job_result *r)
{
	pthread_mutex_lock(&s->lock);
	s->ended[how]++;
	if (how == SVC_CONVERTED) {
		s->seconds += (uint64_t)(seconds() - c->begun);
		s->bytes_in += r->size;
		s->bytes_out += r->data + r->index + r->boot;
	}
	pthread_mutex_unlock(&s->lock);
}

static void take_success(struct svc *s, const struct convjob *c, const struct job_result *r)
{
	bool already = !strcmp(r->outcome, "already");
	char a[16], b[16];

	jobq_end(s->queue, c->job.id, JOBQ_ENDED, r, NULL, time(NULL));
	count_end(s, already ? SVC_ALREADY : SVC_CONVERTED, c, r);
	if (already)
		info("%s, %s: is accelerated already", c->job.image, c->job.platform);
	else
		info("%s, %s: converted in %lld s, %s became %s", c->job.image, c->job.platform,
			(long long)(seconds() - c->begun), human_size(r->size, a),
			human_size(r->data + r->index + r->boot, b));
}

static void take_failure(struct svc *s, const struct convjob *c)
{
	enum job_state state;

	if (c->asked) {
		jobq_end(s->queue, c->job.id, JOBQ_INTERRUPTED, &(struct job_result){ 0 }, "",
			time(NULL));
		return;
	}
	state = jobq_end(s->queue, c->job.id, c->lasting ? JOBQ_LASTING : JOBQ_FAILED, NULL,
		c->error, time(NULL));
	count_end(s, state == JOB_PARKED ? SVC_PARKED : SVC_FAILED, c, NULL);
	warn("%s, %s: %s: %s", log_quote(c->job.image), c->job.platform,
		state == JOB_PARKED ? "parked" : "failed, will be tried again", c->error);
}

static void take_ends(struct loop *l)
{
	for (size_t i = 0; i < l->n;) {
		struct convjob *c = l->jobs[i];
		struct job_result result;
		int r = convjob_end(c, &result);

		if (r == -EAGAIN) {
			i++;
			continue;
		}
		if (r)
			take_failure(l->s, c);
		else
			take_success(l->s, c, &result);
		convjob_free(c);
		l->n--;
		memmove(&l->jobs[i], &l->jobs[i + 1], (l->n - i) * sizeof *l->jobs);
	}
}

static void end_slow_ones(struct loop *l)
{
	unsigned limit = l->s->conf.job.timeout;

	for (size_t i = 0; i < l->n; i++)
		if (limit && seconds() - l->jobs[i]->begun > limit)
			convjob_kill(l->jobs[i], SIGKILL, "it took longer than --timeout");
}

// ---- the end of the service ----

static void take_signals(struct loop *l)
{
	struct signalfd_siginfo s;

	while (read(l->signals, &s, sizeof s) == sizeof s) {
		if (s.ssi_signo == SIGHUP)
			httpd_reload(l->s->httpd);
		if (s.ssi_signo == SIGHUP || s.ssi_signo == SIGCHLD)
			continue;
		if (l->ending)
			l->stop_at = 0; // asked twice
		else
			l->stop_at = seconds() + l->s->conf.grace;
		l->ending = true;
		l->s->stopping = true;
		httpd_quiesce(l->s->httpd);
		info("ending; %zu conversions run", l->n);
	}
}

static void end_all(struct loop *l)
{
	if (!l->ending || seconds() < l->stop_at)
		return;
	for (size_t i = 0; i < l->n; i++) {
		l->jobs[i]->asked = true;
		convjob_kill(l->jobs[i], seconds() < l->stop_at + KILL_AFTER ? SIGTERM : SIGKILL,
			"the service ends");
	}
}

// ---- the loop ----

static void wait_for_something(struct loop *l)
{
	struct pollfd p[2 + 2 * SVC_WORKERS_MAX];
	uint64_t count;
	nfds_t n = 0;

	p[n++] = (struct pollfd){ .fd = l->signals, .events = POLLIN };
	p[n++] = (struct pollfd){ .fd = l->s->wake, .events = POLLIN };
	for (size_t i = 0; i < l->n; i++) {
		p[n++] = (struct pollfd){ .fd = l->jobs[i]->out, .events = POLLIN };
		p[n++] = (struct pollfd){ .fd = l->jobs[i]->err, .events = POLLIN };
	}
	if (poll(p, n, 1000) < 0 && errno != EINTR)
		usleep(100000);
	if (p[1].revents && read(l->s->wake, &count, sizeof count) < 0)
		debug("nothing was queued after all");
}

int svc_loop(struct svc *s)
{
	struct loop l = { .s = s };
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	l.signals = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (l.signals < 0)
		return warn_errno(-errno, "make a signalfd");
	while (!l.ending || l.n) {
		start_some(&l);
		publish(&l);
		wait_for_something(&l);
		take_signals(&l);
		for (size_t i = 0; i < l.n; i++)
			convjob_read(l.jobs[i]);
		take_ends(&l);
		end_slow_ones(&l);
		end_all(&l);
		guard_disk(&l);
		httpd_tick(s->httpd);
	}
	close(l.signals);
	return 0;
}
