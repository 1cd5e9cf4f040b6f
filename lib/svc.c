// svc.c - the conversion service: who is taken in
// SPDX-License-Identifier: Apache-2.0
#include "svc.h"

#include "log.h"
#include "pattern.h"

const char *const svc_taken_names[SVC_TAKEN] = { "accepted", "known", "own", "denied", "ignored" };
const char *const svc_ended_names[SVC_ENDED] = { "converted", "already", "failed", "parked" };

const char *svc_registry(const struct svc_conf *c, const char *host)
{
	if (c->n_registries == 1)
		return c->registries[0];
	for (size_t i = 0; i < c->n_registries; i++)
		if (!strcmp(c->registries[i], host))
			return c->registries[i];
	return NULL;
}

static bool fits_any(const char *const *patterns, size_t n, const char *name)
{
	for (size_t i = 0; i < n; i++)
		if (pattern_fits(patterns[i], name))
			return true;
	return false;
}

bool svc_allows(const struct svc_conf *c, const char *name)
{
	return (!c->n_allow || fits_any(c->allow, c->n_allow, name)) &&
		!fits_any(c->deny, c->n_deny, name);
}

void svc_count(struct svc *s, enum svc_taken how, size_t n)
{
	pthread_mutex_lock(&s->lock);
	s->taken[how] += n;
	pthread_mutex_unlock(&s->lock);
}

static void wake_loop(struct svc *s)
{
	uint64_t one = 1;

	if (write(s->wake, &one, sizeof one) < 0)
		debug("the loop could not be woken"); // it looks by itself each second
}

int svc_put(struct svc *s, const char *host, const struct push *p, const char *platform,
	char ret_id[static JOB_ID_LEN + 1])
{
	static const enum svc_taken how[] = {
		[JOBQ_NEW] = SVC_ACCEPTED, [JOBQ_KNOWN] = SVC_KNOWN, [JOBQ_OWN] = SVC_OWN
	};
	cleanup_free char *name = xasprintf("%s/%s", host, p->repo);
	cleanup_free char *image = xasprintf("%s:%s", name, p->tag);
	int r;

	if (!svc_allows(&s->conf, name)) {
		svc_count(s, SVC_DENIED, 1);
		return SVC_DENIED;
	}
	r = jobq_put(s->queue, image, platform, p->digest, ret_id);
	if (r < 0)
		return r;
	info("%s, %s: %s", image, platform, svc_taken_names[how[r]]);
	svc_count(s, how[r], 1);
	if (r != JOBQ_OWN)
		wake_loop(s);
	return how[r];
}

static int put_one(struct svc *s, const struct push *p, size_t ret[static SVC_TAKEN])
{
	const char *host = svc_registry(&s->conf, p->host);
	char id[JOB_ID_LEN + 1];

	if (!host) {
		info("a push to %s is denied: it is none of --registry", log_quote(p->host));
		svc_count(s, SVC_DENIED, 1);
		ret[SVC_DENIED]++;
		return 0;
	}
	for (size_t i = 0; i < s->conf.n_platforms; i++) {
		int r = svc_put(s, host, p, s->conf.platforms[i], id);

		if (r < 0)
			return r;
		ret[r]++;
	}
	return 0;
}

int svc_put_all(struct svc *s, const struct pushes *ps, size_t ret[static SVC_TAKEN])
{
	int r = 0;

	memset(ret, 0, SVC_TAKEN * sizeof *ret);
	for (size_t i = 0; i < ps->n && !r; i++)
		r = put_one(s, &ps->v[i], ret);
	ret[SVC_IGNORED] += ps->ignored;
	if (!r)
		svc_count(s, SVC_IGNORED, ps->ignored);
	return r;
}
