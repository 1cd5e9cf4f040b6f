// hasten.c - accelerates an image by itself: the decision, and the start of the process that does it
// SPDX-License-Identifier: Apache-2.0
#include "hasten.h"

#include <fcntl.h>
#include <linux/close_range.h>
#include <poll.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "hastenint.h"
#include "json.h"
#include "kept.h"
#include "log.h"
#include "policy.h"

#define AGAIN_FAILED (60 * 60)	  // seconds until a failed conversion is tried again
#define AGAIN_PUSH (24 * 60 * 60) // ... a push that was refused, or one that nobody can see
#define READY_MS 2000
#define PROCESS_NAME "@fcpull: accelerate "

struct hasten {
	struct hasten_about about;
	char *reference, *store, *authfile, *cacert;
	int lock, trace, readahead;
	bool run;
};

// ---- what the process must know ----

void hasten_about_write(const struct hasten_about *a, struct buf *out)
{
	char s[DIGEST_STR_LEN];

	json_open(out, NULL, '{');
	json_put_str(out, "reference", a->reference);
	json_put_str(out, "store", a->store);
	json_put_str(out, "original", digest_str(&a->original, s));
	json_put_str(out, "os", a->platform.os);
	json_put_str(out, "architecture", a->platform.arch);
	json_put_str(out, "variant", a->platform.variant);
	json_put_bool(out, "recording", a->recording);
	json_put_bool(out, "pages", a->pages);
	json_put_u64(out, "major", a->major);
	json_put_u64(out, "minor", a->minor);
	json_put_bool(out, "push", a->push);
	json_put_str(out, "authfile", a->net.authfile);
	json_put_str(out, "creds", a->net.creds);
	json_put_str(out, "password", a->net.password);
	json_put_str(out, "cacert", a->net.cacert);
	json_put_bool(out, "plain_http", a->net.plain_http);
	json_put_u64(out, "threads", a->threads);
	json_put_u64(out, "log_level", a->log_level);
	json_close(out, '}');
}

int hasten_about_read(
	const void *p, size_t n, struct hasten_about *ret, struct yyjson_doc **ret_doc)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	yyjson_val *o;
	const char *original;
	uint64_t major, minor;

	if (json_parse(p, n, NULL, &doc))
		return -EBADMSG;
	o = json_root(doc);
	*ret = (struct hasten_about){
		.reference = json_str(o, "reference"),
		.store = json_str(o, "store"),
		.recording = json_bool(o, "recording", false),
		.pages = json_bool(o, "pages", false),
		.push = json_bool(o, "push", false),
		.net = { .authfile = json_str(o, "authfile"),
			.creds = json_str(o, "creds"),
			.password = json_str(o, "password"),
			.cacert = json_str(o, "cacert"),
			.plain_http = json_bool(o, "plain_http", false) },
	};
	platform_read(o, &ret->platform);
	original = json_str(o, "original");
	if (!ret->reference || !ret->store || !original || digest_parse(original, &ret->original) ||
		json_u64(o, "threads", &ret->threads) ||
		json_u64(o, "log_level", &ret->log_level) || json_u64(o, "major", &major) ||
		json_u64(o, "minor", &minor))
		return -EBADMSG;
	ret->major = (uint32_t)major;
	ret->minor = (uint32_t)minor;
	*ret_doc = steal(&doc);
	return 0;
}

// ---- the decision ----

// May it be tried now, after what became of it before? Who asks for it by the command line or the
// environment need not wait.
static bool is_due(const struct kept *k, const struct policy *p)
{
	int64_t age = time(NULL) - k->when;

	if (p->asked || age < 0)
		return true;
	return age >= (k->here || k->pushed ? AGAIN_PUSH : AGAIN_FAILED);
}

static bool wants(const struct host_image *h, const struct policy *p, enum hasten_after after)
{
	struct kept k = { 0 };
	bool known = !kept_read(h->store, &h->img->man.digest, &k), r;

	if (known && k.here) // only to be pushed, when nobody else has
		r = p->how != ACCELERATE_LOCAL && (h->kept || h->lacks) && is_due(&k, p);
	else if (known)
		r = h->lacks && is_due(&k, p);
	else
		r = h->lacks;
	// what a pull does not show, the first run will
	r = r && (after != HASTEN_PULL || p->how != ACCELERATE_AUTO || (known && k.here));
	if (!r && known && *k.why && h->lacks)
		info("%s: not accelerated: %s", h->name, k.why);
	if (known && p->how == ACCELERATE_PUSH && k.here && *k.why)
		warn("%s: the accelerated form is kept here, it could not be pushed: %s", h->name,
			k.why);
	kept_fini(&k);
	return r;
}

// An image that a registry has just named, and not one of a host's own files.
static bool is_eligible(
	const struct host_image *h, const struct host_opts *o, const struct ref *ref)
{
	return ref->transport == REF_DOCKER && h->fresh && !o->original && h->img && h->ix;
}

// Its layers must have been read by a plain pull that kept a journal.
static bool has_journal(const struct host_image *h)
{
	cleanup_fd int fd = store_journal(h->store, &h->img->man.digest);

	return fd >= 0;
}

static bool is_kept(const struct host_image *h)
{
	struct kept k = { 0 };
	bool here = !kept_read(h->store, &h->img->man.digest, &k) && k.here;

	kept_fini(&k);
	return here;
}

static int decide(const struct host_image *h, const struct host_opts *o, const char *option,
	enum hasten_after after, struct policy *ret, bool *ret_yes)
{
	cleanup_free char *name = NULL;
	struct ref ref;
	int r = ref_parse(h->name, &ref);

	if (r)
		return r;
	name = ref_name(&ref);
	r = policy_find(name, option, ret);
	*ret_yes =
		!r && ret->how != ACCELERATE_OFF && is_eligible(h, o, &ref) && wants(h, ret, after);
	if (!r && option && ret->how != ACCELERATE_OFF && ref.transport != REF_DOCKER)
		warn("%s: only images of registries are accelerated by themselves; 'fcpull convert' makes an accelerated form of others",
			h->name);
	if (*ret_yes && !is_kept(h) && !has_journal(h)) {
		info("%s: not accelerated: an older fcpull has pulled it; 'fcpull convert' does it",
			h->name);
		*ret_yes = false;
	}
	ref_fini(&ref);
	return r;
}

// ---- before the start ----

static char *absolute(const char *path)
{
	return path ? realpath(path, NULL) : NULL;
}

// What an earlier start has recorded, or room for what this one does.
static int open_trace(struct hasten *x, struct store *s, enum hasten_after after)
{
	x->trace = kept_trace(s, &x->about.original);
	if (x->trace >= 0)
		return 0;
	x->trace = store_tmp(s);
	x->about.recording = after != HASTEN_PULL && x->trace >= 0;
	return x->trace < 0 ? x->trace : 0;
}

static void fill_about(struct hasten *x, const struct host_image *h, const struct host_opts *o,
	const struct policy *p)
{
	struct hasten_about *a = &x->about;
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	x->reference = xstrdup(h->name);
	x->store = absolute(h->store->path);
	x->authfile = absolute(o->net.authfile);
	x->cacert = absolute(o->net.cacert);
	*a = (struct hasten_about){
		.reference = x->reference,
		.store = x->store,
		.original = h->img->man.digest,
		.platform = o->platform,
		.push = p->how == ACCELERATE_AUTO || p->how == ACCELERATE_PUSH,
		.net = o->net,
		.threads = (uint64_t)MIN(MAX(cpus / 2, 1), 4),
		.log_level = log_level,
	};
	a->net.authfile = x->authfile;
	a->net.cacert = x->cacert;
}

int hasten_begin(struct host_image *h, const struct host_opts *o, const char *option,
	enum hasten_after after, struct hasten **ret)
{
	struct hasten *x;
	struct policy p;
	bool yes = false;
	int lock, r = decide(h, o, option, after, &p, &yes);

	*ret = NULL;
	if (r || !yes)
		return r;
	lock = kept_lock(h->store, &h->img->man.digest);
	if (lock == -EWOULDBLOCK)
		info("%s: another process of this host accelerates it", h->name);
	if (lock < 0)
		return 0;
	x = xcalloc(1, sizeof *x);
	x->lock = lock;
	x->trace = x->readahead = -1;
	x->run = after == HASTEN_RUN;
	fill_about(x, h, o, &p);
	if (!x->store || (!is_kept(h) && open_trace(x, h->store, after))) {
		hasten_drop(x);
		return 0;
	}
	info("%s: will be accelerated in the background (%s: %s)", h->name, p.from,
		accelerate_name(p.how));
	*ret = x;
	return 0;
}

int hasten_trace(const struct hasten *x)
{
	return x && x->about.recording ? x->trace : 0;
}

void hasten_watch(struct hasten *x, uint32_t major, uint32_t minor, int readahead)
{
	x->about.pages = true;
	x->about.major = major;
	x->about.minor = minor;
	x->readahead = readahead;
	info("%s: the start is recorded by what comes into the page cache", x->reference);
}

void hasten_drop(struct hasten *x)
{
	if (!x)
		return;
	if (x->lock >= 0)
		close(x->lock);
	if (x->trace >= 0)
		close(x->trace);
	if (x->readahead >= 0)
		close(x->readahead);
	free(x->reference);
	free(x->store);
	free(x->authfile);
	free(x->cacert);
	free(x);
}

// ---- the start ----

static int about_file(const struct hasten_about *a)
{
	cleanup_fd int fd = memfd_create("fcpull-accelerate", MFD_CLOEXEC);
	struct buf b = { 0 };
	int r;

	hasten_about_write(a, &b);
	r = fd < 0 ? -errno : write_full(fd, b.data, b.len);
	explicit_bzero(b.data, b.cap);
	buf_fini(&b);
	return r ? r : steal_fd(&fd);
}

// Standard error stays only for who debugs: a caller that reads it to its end must not wait for us.
static void exec_job(const struct hasten *x, int about, int alive, int ready)
{
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	const int from[] = { [HASTEN_ABOUT] = about,
		[HASTEN_LOCK] = x->lock,
		[HASTEN_TRACE] = x->trace < 0 ? null : x->trace,
		[HASTEN_ALIVE] = alive < 0 ? null : alive,
		[HASTEN_READY] = ready < 0 ? null : ready,
		[HASTEN_READAHEAD] = x->readahead < 0 ? null : x->readahead };
	cleanup_free char *name = xasprintf(PROCESS_NAME "%s", x->reference);
	char *argv[] = { name, HASTEN_ROLE, NULL };
	int high[HASTEN_END];

	for (int i = HASTEN_ABOUT; i < HASTEN_END; i++)
		high[i] = fcntl(from[i], F_DUPFD_CLOEXEC, HASTEN_END);
	for (int i = HASTEN_ABOUT; i < HASTEN_END; i++)
		if (high[i] < 0 || dup2(high[i], i) < 0)
			_exit(EXIT_FAILURE);
	if (setsid() < 0 || null < 0 || dup2(null, STDIN_FILENO) < 0 ||
		dup2(null, STDOUT_FILENO) < 0 ||
		(log_level < LOG_DEBUG && dup2(null, STDERR_FILENO) < 0) || chdir("/"))
		_exit(EXIT_FAILURE);
	syscall(SYS_close_range, HASTEN_END, ~0u, CLOSE_RANGE_CLOEXEC);
	execv("/proc/self/exe", argv);
	_exit(EXIT_FAILURE);
}

// Forked twice: nobody's child. It must not be started again and again when that fails.
static void fork_job(const struct hasten *x, int about, int alive, int ready)
{
	pid_t child;

	fflush(NULL);
	child = fork();
	if (!child) {
		if (!fork())
			exec_job(x, about, alive, ready);
		_exit(0);
	}
	if (child > 0)
		waitpid(child, NULL, 0);
	else
		debug("start a process: %s", strerror(errno));
}

// Until the process sees what is read, or has failed to.
static void wait_ready(int fd)
{
	struct pollfd p = { .fd = fd, .events = POLLIN };

	if (poll(&p, 1, READY_MS) != 1)
		debug("the recording does not begin");
}

void hasten_go(struct hasten *x)
{
	int p[2] = { -1, -1 }, ready[2] = { -1, -1 };
	cleanup_fd int about = -1;

	if (!x)
		return;
	about = about_file(&x->about);
	// the writing end stays open until this process ends, however it does
	if (about >= 0 && (!x->run || !pipe2(p, O_CLOEXEC)) &&
		(!x->about.pages || !pipe2(ready, O_CLOEXEC)))
		fork_job(x, about, p[0], ready[1]);
	if (p[0] >= 0)
		close(p[0]);
	if (ready[0] >= 0) {
		close(ready[1]);
		wait_ready(ready[0]);
		close(ready[0]);
	}
	hasten_drop(x);
}
