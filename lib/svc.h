// svc.h - the conversion service: what its parts share; who is taken in
// SPDX-License-Identifier: Apache-2.0
#ifndef SVC_H
#define SVC_H

#include <pthread.h>

#include "convjob.h"
#include "httpd.h"
#include "notify.h"
#include "jobq.h"

#define SVC_WORKERS_MAX 32
#define SVC_STUCK_S 60 // without a sign of life of the loop, /healthz says so

struct svc_conf {
	const char *const *registries; // where images may be converted
	size_t n_registries;
	const char *const *allow, *const *deny; // patterns of HOST/REPOSITORY
	size_t n_allow, n_deny;
	const char *const *platforms; // as platform_str gives them
	size_t n_platforms;
	unsigned workers;
	uint64_t min_free; // bytes of disk below which nothing is started
	unsigned grace;	   // seconds that conversions have to end when the service does
	struct convjob_conf job;
};

enum svc_taken { SVC_ACCEPTED, SVC_KNOWN, SVC_OWN, SVC_DENIED, SVC_IGNORED, SVC_TAKEN };
enum svc_ended { SVC_CONVERTED, SVC_ALREADY, SVC_FAILED, SVC_PARKED, SVC_ENDED };
extern const char *const svc_taken_names[SVC_TAKEN], *const svc_ended_names[SVC_ENDED];

struct svc_run { // a conversion, as the status page sees it
	char id[JOB_ID_LEN + 1];
	char step[100];
	uint64_t done, total;
};

struct svc {
	struct svc_conf conf;
	struct jobq *queue;
	struct httpd *httpd;
	int wake; // eventfd: something was queued
	_Atomic bool stopping;
	_Atomic uint64_t ticked; // the loop's last sign of life, now_ns()
	pthread_mutex_t lock;	 // guards all below
	struct svc_run runs[SVC_WORKERS_MAX];
	size_t n_runs;
	char trouble[200]; // why nothing is started, or ""
	uint64_t taken[SVC_TAKEN], ended[SVC_ENDED];
	uint64_t seconds, bytes_in, bytes_out; // of conversions that ended well
};

// The registry that a notification is about: the only one there is, else the one that it names; NULL:
// none of ours.
const char *svc_registry(const struct svc_conf *c, const char *host) must_check;
// Do the rules let it in? name: HOST/REPOSITORY.
bool svc_allows(const struct svc_conf *c, const char *name) must_check;

// Asks for one push's conversion, for a platform. host: a registry of ours. How it was taken (counted);
// -EAGAIN, others as of jobq_put.
int svc_put(struct svc *s, const char *host, const struct push *p, const char *platform,
	char ret_id[static JOB_ID_LEN + 1]) must_check;
// All of a notification. The first -errno ends it: what was taken before stays, and is known when the
// notification comes again. ret: how many were taken how.
int svc_put_all(struct svc *s, const struct pushes *ps, size_t ret[static SVC_TAKEN]) must_check;
void svc_count(struct svc *s, enum svc_taken how, size_t n);

// svcapi.c: answers requests. arg: a struct svc.
httpd_handler svc_answer;
// svcloop.c: runs conversions until SIGTERM or SIGINT, which must be blocked in all threads, as SIGHUP (httpd_reload), SIGCHLD
// must. -errno logged.
int svc_loop(struct svc *s) must_check;

#endif
