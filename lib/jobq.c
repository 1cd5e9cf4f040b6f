// jobq.c - the service's queue of conversions, on disk
//
// All jobs are in memory, in the order in which they were asked for, and each in a file of its own. A
// change is made on a copy, written, and only then taken over: so memory never runs ahead of the disk,
// but for a job's end, which must not be undone by a full disk.
// SPDX-License-Identifier: Apache-2.0
#include "jobq.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "log.h"

struct jobq {
	struct jobq_conf conf;
	char *dir, *tmp;
	int lock_fd, jobs_fd;
	pthread_mutex_t lock; // guards all below
	struct job **v;
	size_t n, cap;
	size_t count[JOB_STATES];
};

// ---- files ----

#define FILE_NAME_LEN (JOB_ID_LEN + 6)

static const char *file_name(const char *id, char out[static FILE_NAME_LEN])
{
	snprintf(out, FILE_NAME_LEN, "%s.json", id);
	return out;
}

static int save(struct jobq *q, const struct job *j)
{
	cleanup_buf struct buf b = { 0 };
	char name[FILE_NAME_LEN];
	int r;

	json_open(&b, NULL, '{');
	job_put(&b, j);
	json_close(&b, '}');
	r = write_file_at(q->jobs_fd, file_name(j->id, name), b.data, b.len, 0600);
	return r ? warn_errno(r, "write %s/jobs/%s", q->dir, name) : 0;
}

// Forgetting may be forgotten: a file that comes back after a power cut is a job that is done again.
static int erase(struct jobq *q, const struct job *j)
{
	char name[FILE_NAME_LEN];

	if (!unlinkat(q->jobs_fd, file_name(j->id, name), 0) || errno == ENOENT)
		return 0;
	return warn_errno(-errno, "remove %s/jobs/%s", q->dir, name);
}

// ---- the list; q->lock is held ----

static struct job **find(struct jobq *q, const char *id)
{
	for (size_t i = 0; i < q->n; i++)
		if (!memcmp(q->v[i]->id, id, JOB_ID_LEN))
			return &q->v[i];
	return NULL;
}

static void append(struct jobq *q, const struct job *j)
{
	struct job *copy = xmalloc(sizeof *copy);

	*copy = *j;
	q->v = xgrow(q->v, &q->cap, q->n + 1, sizeof *q->v);
	q->v[q->n++] = copy;
	q->count[j->state]++;
}

static void drop(struct jobq *q, struct job **at)
{
	size_t i = (size_t)(at - q->v);

	q->count[(*at)->state]--;
	free(*at);
	memmove(at, at + 1, (q->n - i - 1) * sizeof *at);
	q->n--;
}

static void replace(struct jobq *q, struct job *was, const struct job *is)
{
	q->count[was->state]--;
	q->count[is->state]++;
	*was = *is;
}

// What is done and parked is kept up to a number.
static void forget_oldest(struct jobq *q)
{
	while (q->count[JOB_DONE] + q->count[JOB_PARKED] > q->conf.max_kept) {
		struct job **oldest = NULL;

		for (size_t i = 0; i < q->n; i++)
			if (q->v[i]->state >= JOB_DONE &&
				(!oldest || q->v[i]->finished < (*oldest)->finished))
				oldest = &q->v[i];
		if (!oldest || erase(q, *oldest))
			return;
		drop(q, oldest);
	}
}

// ---- opening ----

// A job as a killed service has left it.
static void recover(struct jobq *q, struct job *j)
{
	if (j->state != JOB_RUNNING)
		return;
	j->state = JOB_QUEUED;
	j->again = false;
	*j->again_digest = 0;
	if (++j->interrupted < JOBQ_INTERRUPTED_MAX)
		return;
	j->state = JOB_PARKED;
	j->finished = j->started;
	snprintf(j->error, sizeof j->error,
		"the service ended %u times in a row while it was converted", j->interrupted);
	warn("%s: parked: %s", log_quote(j->image), j->error);
	if (save(q, j))
		j->state = JOB_QUEUED;
}

// A file that is no job is put aside, not removed: somebody's notification may be in it.
static void set_aside(struct jobq *q, const char *name)
{
	cleanup_free char *bad = xasprintf("%s.bad", name);

	if (renameat(q->jobs_fd, name, q->jobs_fd, bad))
		warn_errno(-errno, "rename %s/jobs/%s", q->dir, log_quote(name));
	else
		warn("%s/jobs/%s cannot be used, and is %s now", q->dir, name, bad);
}

static int load(struct jobq *q, const char *name)
{
	cleanup_free char *text = NULL, *path = xasprintf("%s/jobs/%s", q->dir, name);
	struct job j;
	size_t n;
	int r = read_file_at(q->jobs_fd, name, JOB_FILE_MAX, &text, &n);

	if (r && r != -EFBIG && r != -EINVAL)
		return warn_errno(r, "read %s", path);
	if (r || job_parse(text, n, path, &j) || strncmp(name, j.id, JOB_ID_LEN)) {
		set_aside(q, name);
		return 0;
	}
	recover(q, &j);
	append(q, &j);
	return 0;
}

static int by_created(const void *a, const void *b)
{
	const struct job *x = *(struct job *const *)a, *y = *(struct job *const *)b;

	return x->created < y->created ? -1 : x->created > y->created;
}

static int load_all(struct jobq *q)
{
	DIR *d = fdopendir(openat(q->jobs_fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct dirent *e;
	int r = 0;

	if (!d)
		return warn_errno(-errno, "read %s/jobs", q->dir);
	while (!r && (errno = 0, e = readdir(d))) {
		size_t n = strlen(e->d_name);

		if (!strncmp(e->d_name, ".tmp-", 5))
			unlinkat(q->jobs_fd, e->d_name, 0); // never became a job
		else if (n == JOB_ID_LEN + 5 && job_is_id(e->d_name, JOB_ID_LEN) &&
			!strcmp(e->d_name + JOB_ID_LEN, ".json"))
			r = load(q, e->d_name);
	}
	if (!r && errno)
		r = warn_errno(-errno, "read %s/jobs", q->dir);
	closedir(d);
	if (q->n)
		qsort(q->v, q->n, sizeof *q->v, by_created);
	return r;
}

static int take_lock(struct jobq *q, unsigned wait_s)
{
	cleanup_free char *path = xasprintf("%s/lock", q->dir);
	bool said = false;

	q->lock_fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (q->lock_fd < 0)
		return warn_errno(-errno, "open %s", path);
	for (unsigned i = 0; flock(q->lock_fd, LOCK_EX | LOCK_NB); i++) {
		if (errno != EWOULDBLOCK)
			return warn_errno(-errno, "lock %s", path);
		if (i >= wait_s * 10)
			return warn_whole(-EBUSY,
				"another service, or a conversion of it, uses %s; give each its own --state",
				q->dir);
		if (!said && i >= 10)
			warn("waiting for the conversions of the service before, in %s", q->dir);
		said |= i >= 10;
		usleep(100000);
	}
	return 0;
}

static int make_dirs(struct jobq *q)
{
	cleanup_free char *jobs = xasprintf("%s/jobs", q->dir);
	int r = mkdir_p(jobs, 0700);

	if (!r)
		r = mkdir_p(q->tmp, 0700);
	if (r)
		return warn_errno(r, "make %s", jobs);
	q->jobs_fd = open(jobs, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return q->jobs_fd < 0 ? warn_errno(-errno, "open %s", jobs) : 0;
}

// What interrupted conversions have left.
static int empty_tmp(struct jobq *q)
{
	int r = remove_tree_at(AT_FDCWD, q->tmp);

	if (!r)
		r = mkdir_p(q->tmp, 0700);
	return r ? warn_errno(r, "empty %s", q->tmp) : 0;
}

int jobq_open(const char *dir, const struct jobq_conf *conf, unsigned wait_s, struct jobq **ret)
{
	struct jobq *q = xcalloc(1, sizeof *q);
	int r;

	*q = (struct jobq){ .conf = *conf, .lock_fd = -1, .jobs_fd = -1 };
	pthread_mutex_init(&q->lock, NULL);
	q->dir = xstrdup(dir);
	q->tmp = xasprintf("%s/tmp", dir);
	r = make_dirs(q);
	if (!r)
		r = take_lock(q, wait_s);
	if (!r)
		r = empty_tmp(q);
	if (!r)
		r = load_all(q);
	if (r) {
		jobq_close(q);
		return r;
	}
	forget_oldest(q);
	*ret = q;
	return 0;
}

void jobq_close(struct jobq *q)
{
	if (!q)
		return;
	for (size_t i = 0; i < q->n; i++)
		free(q->v[i]);
	free(q->v);
	if (q->jobs_fd >= 0)
		close(q->jobs_fd);
	if (q->lock_fd >= 0)
		close(q->lock_fd);
	pthread_mutex_destroy(&q->lock);
	free(q->dir);
	free(q->tmp);
	free(q);
}

int jobq_lock_fd(const struct jobq *q)
{
	return q->lock_fd;
}

const char *jobq_tmp(const struct jobq *q)
{
	return q->tmp;
}

// ---- asking ----

static void set_digest(char to[static JOB_DIGEST_MAX], const char *digest)
{
	snprintf(to, JOB_DIGEST_MAX, "%s", digest);
}

// It is to be converted as if it had never been asked for before.
static void renew(struct job *j, const char *digest, int64_t now)
{
	j->state = JOB_QUEUED;
	j->attempts = j->interrupted = 0;
	j->created = j->due = now;
	*j->error = 0;
	set_digest(j->digest, digest);
}

// The running one may have read the tag before this push: it is to be looked at once more, unless the
// push proves to have been the job's own. Of two pushes one is not.
static void look_again(struct job *j, const char *digest)
{
	bool other = j->again && strcmp(j->again_digest, digest) != 0;

	j->again = true;
	set_digest(j->again_digest, other ? "" : digest);
}

static int put_known(struct jobq *q, struct job *is, const char *digest, int64_t now)
{
	struct job j = *is;
	int r;

	if (j.state == JOB_DONE && *digest && !strcmp(j.result.digest, digest))
		return JOBQ_OWN;
	if (j.state == JOB_PARKED && *digest && !strcmp(j.digest, digest))
		return JOBQ_KNOWN;
	if (j.state == JOB_QUEUED && !strcmp(j.digest, digest))
		return JOBQ_KNOWN;
	if (j.state == JOB_RUNNING)
		look_again(&j, digest);
	else if (j.state == JOB_QUEUED)
		set_digest(j.digest, digest);
	else if (q->count[JOB_QUEUED] >= q->conf.max_waiting)
		return -EAGAIN;
	else
		renew(&j, digest, now);
	r = save(q, &j);
	if (r)
		return r;
	r = is->state >= JOB_DONE ? JOBQ_NEW : JOBQ_KNOWN;
	replace(q, is, &j);
	return r;
}

static int put_new(struct jobq *q, struct job *j, const char *digest, int64_t now)
{
	int r;

	if (q->count[JOB_QUEUED] >= q->conf.max_waiting)
		return -EAGAIN;
	renew(j, digest, now);
	r = save(q, j);
	if (r)
		return r;
	append(q, j);
	return JOBQ_NEW;
}

int jobq_put(struct jobq *q, const char *image, const char *platform, const char *digest,
	char ret_id[static JOB_ID_LEN + 1])
{
	int64_t now = time(NULL);
	struct job j = { 0 }, **at;
	int r;

	if (strlen(image) >= sizeof j.image || strlen(platform) >= sizeof j.platform ||
		strlen(digest) >= sizeof j.digest)
		return warn_errno(-ENAMETOOLONG, "%s", log_quote(image));
	memcpy(j.image, image, strlen(image) + 1);
	memcpy(j.platform, platform, strlen(platform) + 1);
	job_id(image, platform, j.id);
	memcpy(ret_id, j.id, sizeof j.id);
	pthread_mutex_lock(&q->lock);
	at = find(q, j.id);
	r = at ? put_known(q, *at, digest, now) : put_new(q, &j, digest, now);
	pthread_mutex_unlock(&q->lock);
	return r;
}

// ---- running ----

// Two jobs of one tag, for two platforms, would both extend the same index.
static bool image_runs(struct job *const *running, size_t n, const char *image)
{
	for (size_t i = 0; i < n; i++)
		if (!strcmp(running[i]->image, image))
			return true;
	return false;
}

// Caller frees.
static struct job **list_running(const struct jobq *q, size_t *ret_n)
{
	struct job **v = xcalloc(q->count[JOB_RUNNING], sizeof *v);

	*ret_n = 0;
	for (size_t i = 0; i < q->n && *ret_n < q->count[JOB_RUNNING]; i++)
		if (q->v[i]->state == JOB_RUNNING)
			v[(*ret_n)++] = q->v[i];
	return v;
}

static struct job *next_due(struct jobq *q, int64_t now, int64_t *ret_due)
{
	size_t n;
	cleanup_free struct job **running = list_running(q, &n);
	struct job *best = NULL;

	*ret_due = INT64_MAX;
	for (size_t i = 0; i < q->n; i++) {
		struct job *j = q->v[i];

		if (j->state != JOB_QUEUED || image_runs(running, n, j->image))
			continue;
		*ret_due = MIN(*ret_due, j->due);
		if (j->due <= now && (!best || j->due < best->due))
			best = j;
	}
	return best;
}

int jobq_take(struct jobq *q, int64_t now, struct job *ret, int64_t *ret_due)
{
	struct job *next;
	int r = 0;

	pthread_mutex_lock(&q->lock);
	next = next_due(q, now, ret_due);
	if (next) {
		struct job j = *next;

		j.state = JOB_RUNNING;
		j.started = now;
		j.again = false;
		*j.again_digest = 0;
		r = save(q, &j);
		if (!r) {
			replace(q, next, &j);
			*ret = j;
			r = 1;
		}
	}
	pthread_mutex_unlock(&q->lock);
	return r;
}

// Seconds: doubled each time, and each a quarter more or less, so that what failed together does not
// come back together.
static int64_t backoff(const struct jobq *q, uint32_t attempts)
{
	uint64_t s = q->conf.backoff, random = 0;

	for (uint32_t i = 1; i < attempts && s < JOBQ_BACKOFF_MAX; i++)
		s *= 2;
	s = MIN(s, (uint64_t)JOBQ_BACKOFF_MAX);
	if (getrandom(&random, sizeof random, GRND_NONBLOCK) < 0)
		random = now_ns();
	return (int64_t)(s - s / 4 + random % (s / 2 + 1));
}

static void end_ok(struct job *j, const struct job_result *result, int64_t now)
{
	bool own = *j->again_digest && !strcmp(j->again_digest, result->digest);

	// cppcheck-suppress ctunullpointer ; jobq_end says with which ends it is there
	j->result = *result;
	j->state = JOB_DONE;
	j->finished = now;
	*j->error = 0;
	if (j->again && !own)
		renew(j, j->again_digest, now);
	j->attempts = j->interrupted = 0;
}

static void end_badly(
	const struct jobq *q, struct job *j, bool lasting, const char *error, int64_t now)
{
	unsigned most = lasting && !j->again ? MIN(q->conf.attempts, JOBQ_LASTING_ATTEMPTS)
					     : q->conf.attempts;

	// cppcheck-suppress ctunullpointer ; as above
	snprintf(j->error, sizeof j->error, "%s", error);
	j->finished = now;
	j->interrupted = 0;
	if (j->again) { // of another image, perhaps
		uint32_t attempts = j->attempts;

		renew(j, j->again_digest, now);
		snprintf(j->error, sizeof j->error, "%s", error);
		j->attempts = attempts;
	}
	j->attempts++;
	j->due = now + backoff(q, j->attempts);
	j->state = j->attempts < most ? JOB_QUEUED : JOB_PARKED;
}

enum job_state jobq_end(struct jobq *q, const char *id, enum jobq_end how,
	const struct job_result *result, const char *error, int64_t now)
{
	enum job_state state = JOB_DONE;
	struct job **at;

	pthread_mutex_lock(&q->lock);
	at = find(q, id);
	if (at) {
		struct job j = **at;

		if (how == JOBQ_ENDED)
			end_ok(&j, result, now);
		else if (how == JOBQ_FAILED || how == JOBQ_LASTING)
			end_badly(q, &j, how == JOBQ_LASTING, error, now);
		else
			j.state = JOB_QUEUED; // asked to end: not the image's doing
		j.again = false;
		*j.again_digest = 0;
		if (save(q, &j))
			warn("%s: after a restart it is converted once more", log_quote(j.image));
		replace(q, *at, &j);
		state = j.state;
		forget_oldest(q);
	}
	pthread_mutex_unlock(&q->lock);
	return state;
}

// ---- looking and changing ----

int jobq_get(struct jobq *q, const char *id, struct job *ret)
{
	struct job **at;

	pthread_mutex_lock(&q->lock);
	at = find(q, id);
	if (at)
		*ret = **at;
	pthread_mutex_unlock(&q->lock);
	return at ? 0 : -ENOENT;
}

int jobq_remove(struct jobq *q, const char *id)
{
	struct job **at;
	int r;

	pthread_mutex_lock(&q->lock);
	at = find(q, id);
	r = !at ? -ENOENT : (*at)->state == JOB_RUNNING ? -EBUSY : erase(q, *at);
	if (!r)
		drop(q, at);
	pthread_mutex_unlock(&q->lock);
	return r;
}

static int retry(struct jobq *q, struct job *is, int64_t now)
{
	struct job j = *is;
	int r;

	if (j.state != JOB_PARKED && j.state != JOB_QUEUED)
		return -EBUSY;
	j.state = JOB_QUEUED;
	j.attempts = j.interrupted = 0;
	j.due = now;
	r = save(q, &j);
	if (!r)
		replace(q, is, &j);
	return r;
}

int jobq_retry(struct jobq *q, const char *id, int64_t now)
{
	struct job **at;
	int r;

	pthread_mutex_lock(&q->lock);
	at = find(q, id);
	r = at ? retry(q, *at, now) : -ENOENT;
	pthread_mutex_unlock(&q->lock);
	return r;
}

void jobq_count(struct jobq *q, size_t ret[static JOB_STATES])
{
	pthread_mutex_lock(&q->lock);
	memcpy(ret, q->count, sizeof q->count);
	pthread_mutex_unlock(&q->lock);
}

static int by_due(const void *a, const void *b)
{
	const struct job *x = *(struct job *const *)a, *y = *(struct job *const *)b;

	return x->due < y->due ? -1 : x->due > y->due;
}

static int latest_first(const void *a, const void *b)
{
	const struct job *x = *(struct job *const *)a, *y = *(struct job *const *)b;
	int64_t s = MAX(x->finished, x->started), t = MAX(y->finished, y->started);

	return s > t ? -1 : s < t;
}

size_t jobq_list(struct jobq *q, enum job_state state, size_t max, struct job **ret)
{
	cleanup_free struct job **v = NULL;
	size_t n = 0;

	pthread_mutex_lock(&q->lock);
	v = xcalloc(q->n, sizeof *v);
	for (size_t i = 0; i < q->n; i++)
		if (q->v[i]->state == state)
			v[n++] = q->v[i];
	if (n)
		qsort(v, n, sizeof *v, state == JOB_QUEUED ? by_due : latest_first);
	n = MIN(n, max);
	*ret = xcalloc(n, sizeof **ret);
	for (size_t i = 0; i < n; i++)
		(*ret)[i] = *v[i];
	pthread_mutex_unlock(&q->lock);
	return n;
}
