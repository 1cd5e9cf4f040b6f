// worker.c - the process that serves an image on a FUSE connection which its holder owns
//
// Threads: main runs the driver; `control` sends signs of life and hears the holder. Everything
// here is read again from the store and checked, by digest; nothing of a predecessor's memory is
// believed but its ledger, which the same program has written. When the holder is killed the worker
// goes on: readers lose nothing but the next successor.
// SPDX-License-Identifier: Apache-2.0
#include "worker.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include "ctl.h"
#include "fuse.h"
#include "holder.h"
#include "json.h"
#include "lastaddr.h"
#include "kept.h"
#include "log.h"
#include "opt.h"
#include "record.h"
#include "seal.h"

#define THREADS 4
#define BEAT_MS 250
#define TRIES 2
enum { EXIT_REFUSED = 3 };

// ---- what a worker must know ----

void about_write(const struct about *a, struct buf *out)
{
	char index[DIGEST_STR_LEN];

	json_open(out, NULL, '{');
	json_put_u64(out, "version", ABOUT_VERSION);
	json_put_str(out, "reference", a->reference);
	json_put_str(out, "store", a->store);
	json_put_str(out, "index", digest_str(&a->index, index));
	json_put_bool(out, "accelerated", a->accelerated);
	json_put_bool(out, "kept", a->kept);
	json_put_str(out, "form", a->form);
	json_put_bool(out, "record_start", a->record_start);
	json_put_str(out, "driver", a->driver);
	json_put_u64(out, "deadline_ns", a->deadline_ns);
	json_put_str(out, "authfile", a->authfile);
	json_put_str(out, "cacert", a->cacert);
	json_put_str(out, "addresses", a->addresses);
	json_put_bool(out, "plain_http", a->plain_http);
	json_put_u64(out, "retries", a->retries);
	json_put_u64(out, "log_level", a->log_level);
	json_put_bool(out, "foreseen", a->foreseen);
	json_put_u64(out, "boot_first", a->boot_first);
	json_put_u64(out, "fill", a->fill);
	json_put_u64(out, "fill_rate", a->fill_rate);
	json_put_u64(out, "begun", a->begun);
	json_put_u64(out, "resolved", a->resolved);
	json_put_u64(out, "resolve_requests", a->resolve_requests);
	json_put_u64(out, "resolve_bytes", a->resolve_bytes);
	json_put_bool(out, "record", a->record);
	json_put_bool(out, "no_resend", a->no_resend);
	json_close(out, '}');
}

static int read_fields(yyjson_val *o, struct about *a)
{
	const char *index = json_str(o, "index");
	uint64_t retries, level, boot_first, fill;

	*a = (struct about){
		.reference = json_str(o, "reference"),
		.store = json_str(o, "store"),
		.driver = json_str(o, "driver"),
		.accelerated = json_bool(o, "accelerated", false),
		.kept = json_bool(o, "kept", false),
		.form = json_str(o, "form"),
		.record_start = json_bool(o, "record_start", false),
		.authfile = json_str(o, "authfile"),
		.cacert = json_str(o, "cacert"),
		.addresses = json_str(o, "addresses"),
		.plain_http = json_bool(o, "plain_http", false),
		.foreseen = json_bool(o, "foreseen", false),
		.record = json_bool(o, "record", false),
		.no_resend = json_bool(o, "no_resend", false),
	};
	if (!a->reference || !a->store || !a->driver || !index || digest_parse(index, &a->index) ||
		json_u64(o, "deadline_ns", &a->deadline_ns) || json_u64(o, "retries", &retries) ||
		json_u64(o, "log_level", &level) || json_u64(o, "boot_first", &boot_first) ||
		json_u64(o, "begun", &a->begun) || json_u64(o, "resolved", &a->resolved) ||
		json_u64(o, "resolve_requests", &a->resolve_requests) ||
		json_u64(o, "resolve_bytes", &a->resolve_bytes) || json_u64(o, "fill", &fill) ||
		json_u64(o, "fill_rate", &a->fill_rate))
		return -EBADMSG;
	a->boot_first = (uint32_t)MIN(boot_first, (uint64_t)UINT32_MAX);
	a->fill = (unsigned)fill;
	a->retries = (unsigned)retries;
	a->log_level = (unsigned)level;
	return 0;
}

int about_read(const void *p, size_t n, struct about *ret, struct yyjson_doc **ret_doc)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	uint64_t version;

	if (json_parse(p, n, NULL, &doc) || json_u64(json_root(doc), "version", &version))
		return warn_errno(-EBADMSG, "the state that a mount hands over cannot be read");
	if (version != ABOUT_VERSION)
		return warn_errno(-EPROTO,
			"the state that a mount hands over has version %llu, this is fcpull %s, which knows %d",
			(unsigned long long)version, FCPULL_VERSION, ABOUT_VERSION);
	if (read_fields(json_root(doc), ret))
		return warn_errno(-EBADMSG, "the state that a mount hands over lacks something");
	*ret_doc = steal(&doc);
	return 0;
}

static int map_about(struct about *ret, yyjson_doc **ret_doc)
{
	struct stat st;
	void *p;
	int r;

	if (fstat(HOLD_ABOUT, &st) || st.st_size <= 0 || st.st_size > ABOUT_MAX)
		return warn_errno(-EBADMSG, "not started by a holder");
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, HOLD_ABOUT, 0);
	if (p == MAP_FAILED)
		return warn_errno(-errno, "map the state");
	r = about_read(p, (size_t)st.st_size, ret, ret_doc);
	munmap(p, (size_t)st.st_size);
	return r;
}

// Without the file (a full disk) the engine counts for itself.
static void count_from_here(const struct about *a, struct host_image *h)
{
	if (stats_create(h->store, &a->index, &h->stats))
		return;
	h->stats->begun = a->begun;
	h->stats->resolve_requests = a->resolve_requests;
	h->stats->resolve_bytes = a->resolve_bytes;
	h->stats->resolved = a->resolved;
	h->stats->serving = now_ns();
}

static int open_image(const struct about *a, struct host_image **ret)
{
	static struct host_opts o; // the repo borrows its net for as long as it is open

	o = (struct host_opts){
		.root = a->store,
		.root_fd = HOLD_STORE,
		.kept = a->kept,
		.net = { .plain_http = a->plain_http },
	};
	// secrets never touch a disk, and after a switch_root not even /proc can be reached by name
	o.net.in_memory = true;
	if (a->addresses)
		lastaddr_read(a->addresses);
	o.net.authfile = a->authfile;
	o.net.cacert = a->cacert;
	// the engine itself asks again, until the readers' deadline; long pauses in between would
	// be felt when the network is back
	o.net.retries = a->retries ? a->retries : TRIES;
	int r = host_open_index(a->reference, &a->index, a->accelerated, &o, ret);

	if (r)
		return r;
	(*ret)->deadline_ns = a->deadline_ns;
	// while its start is recorded, an image that could be mounted without us must not be slower
	(*ret)->trust_seal = a->record_start;
	count_from_here(a, *ret);
	return host_start(*ret);
}

// ---- control ----

static bool no_resend;

// The settings of read-ahead, to be raised when the start is over, and again when all is here.
static struct {
	pthread_mutex_t lock;
	const struct driver *driver;
	bool over, whole;
	int fd[4];
	unsigned n;
} tunes = { .lock = PTHREAD_MUTEX_INITIALIZER };

static void add_tune(int fd)
{
	pthread_mutex_lock(&tunes.lock);
	if (tunes.over)
		driver_raise_readahead(tunes.driver, tunes.whole, fd);
	if (!tunes.whole && tunes.n < ARRAY_LEN(tunes.fd))
		tunes.fd[tunes.n++] = fcntl(fd, F_DUPFD_CLOEXEC, HOLD_END);
	pthread_mutex_unlock(&tunes.lock);
}

static void raise_all(bool whole)
{
	pthread_mutex_lock(&tunes.lock);
	tunes.over = true;
	tunes.whole |= whole;
	for (unsigned i = 0; i < tunes.n; i++)
		driver_raise_readahead(tunes.driver, tunes.whole, tunes.fd[i]);
	for (; tunes.whole && tunes.n; tunes.n--)
		close(tunes.fd[tunes.n - 1]);
	pthread_mutex_unlock(&tunes.lock);
}

static void start_over(void *arg)
{
	(void)arg;
	raise_all(false);
}

static void all_here(void *arg)
{
	(void)arg;
	raise_all(true);
}

static void take(int ledger)
{
	struct ctl m = { .verb = CTL_TAKEN };
	struct fuse_ledger *dead = MAP_FAILED;

	if (ledger >= 0)
		dead = mmap(NULL, sizeof *dead, PROT_READ, MAP_SHARED, ledger, 0);
	m.result = dead == MAP_FAILED ? -ENOMEM : fuse_take_over(dead, no_resend);
	if (m.result && m.result != -ENODEV)
		warn_errno(m.result,
			"take over what a worker has left; its readers wait until they are interrupted");
	if (dead != MAP_FAILED)
		munmap(dead, sizeof *dead);
	ctl_send(WORK_CTL, m, -1);
}

// ---- an image that is complete: mounts that are made from then on need no process ----

static struct {
	pthread_t thread;
	bool begun;
	_Atomic bool stop;
} sealing;

// Proves what came by the boot stream or was here before, by reading a block of each chunk. (The
// thread of lazy.c that does it serves readers first come, first served; a chunk takes a
// millisecond.)
static int prove_rest(struct host_image *h)
{
	uint8_t buf[BLOCK_BYTES];
	int r = 0;

	for (uint32_t i = 0; i < index_chunks(h->ix) && !r; i++) {
		struct chunk_view c;

		index_chunk(h->ix, i, &c);
		r = sealing.stop ? -ECANCELED
				 : lazy_read_wait(h->lz, c.space, (uint64_t)c.block << BLOCK_SHIFT,
					   buf, sizeof buf);
	}
	return r;
}

static void *seal(void *arg)
{
	struct host_image *h = arg;
	uint32_t cursor = 0;

	prctl(PR_SET_NAME, "seal");
	if (!prove_rest(h) && lazy_complete(h->lz, true, &cursor))
		seal_image(h->store, h->ix);
	return NULL;
}

// Called often. What nobody has read is proved when the start is over, and not at all when there is
// to be no fill: it would only be in the way. (Waiting for the disk must not keep the caller from
// beating: hence the thread.)
static void seal_when_complete(struct host_image *h, bool fill)
{
	static uint32_t here, proved;
	bool over;

	if (sealing.begun || h->sealed)
		return;
	pthread_mutex_lock(&tunes.lock);
	over = tunes.over;
	pthread_mutex_unlock(&tunes.lock);
	if (lazy_complete(h->lz, true, &proved) ||
		(fill && over && lazy_complete(h->lz, false, &here)))
		sealing.begun = !pthread_create(&sealing.thread, NULL, seal, h);
}

static void end_sealing(void)
{
	sealing.stop = true;
	if (sealing.begun)
		pthread_join(sealing.thread, NULL);
}

// ---- control: messages and signs of life ----

struct control {
	struct host_image *h;
	bool fill;
	struct record *record; // or NULL
	const char *form;      // digest of the accelerated manifest, or NULL
};

// A form whose data is not to be had, or not what it should be, must not be used by the next start.
static void note_damage(const struct control *c)
{
	static atomic_flag noted = ATOMIC_FLAG_INIT;
	struct digest form;
	const char *why;

	if (!c->form || !lazy_bad_source(c->h->lz, &why) || atomic_flag_test_and_set(&noted))
		return;
	cleanup_free char *text = xasprintf("its data is damaged or missing: %s", why);

	if (!digest_parse(c->form, &form))
		kept_set_bad(c->h->store, &form, text);
}

static void *control(void *arg)
{
	const struct control *c = arg;
	bool alone = false;

	prctl(PR_SET_NAME, "control");
	for (;;) {
		struct ctl m;
		int fd = -1, r;

		fuse_beat();
		seal_when_complete(c->h, c->fill);
		note_damage(c);
		if (record_tick(c->record))
			start_over(NULL);
		if (alone) {
			usleep(BEAT_MS * 1000);
			continue;
		}
		r = ctl_recv(WORK_CTL, BEAT_MS, &m, &fd);
		if (r == -ENODATA || r == -ECONNRESET) {
			warn("the holder is gone: when this process ends, the mount ends");
			alone = true;
		} else if (!r && m.verb == CTL_TAKE) {
			take(fd);
		} else if (!r && m.verb == CTL_TUNE && fd >= 0) {
			add_tune(fd);
		} else if (!r && m.verb == CTL_STOP && !fuse_stop()) {
			ctl_send(WORK_CTL, (struct ctl){ .verb = CTL_STOPPED }, -1);
		}
		if (fd >= 0)
			close(fd);
	}
	return NULL;
}

static int wait_go(void)
{
	struct ctl m;
	int fd, r;

	ctl_send(WORK_CTL, (struct ctl){ .verb = CTL_READY }, -1);
	do
		r = ctl_recv(WORK_CTL, -1, &m, &fd);
	while (r == -EINTR);
	return r ? r : m.verb == CTL_GO ? 0 : -EPROTO;
}

static int start_control(struct control *c)
{
	pthread_t id;
	sigset_t all, old;
	int r;

	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(&id, NULL, control, c);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return r ? warn_errno(-r, "start a thread") : 0;
}

// ---- life ----

static int use_ledger(void)
{
	struct fuse_ledger *l =
		mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE, MAP_SHARED, WORK_LEDGER, 0);

	if (l == MAP_FAILED || ftruncate(WORK_LEDGER, sizeof *l))
		return warn_errno(-errno, "map the ledger");
	fuse_ledger_use(l);
	return 0;
}

static void write_down(void *arg, uint32_t space, uint64_t off, uint32_t len)
{
	record_read(arg, space, off, len);
}

static struct serving serving_of(const struct about *a)
{
	struct serving s = {
		.foreseen = a->foreseen,
		.record = a->record,
		.hooks = { .boot_first = a->boot_first,
			.fill = a->fill,
			.fill_rate = a->fill_rate,
			// a recording sees reads, not guesses, to its end
			.started = a->record ? NULL : start_over,
			.whole = a->record ? NULL : all_here },
	};

	// only the first worker has the stream
	if (a->boot_first != UINT32_MAX && fcntl(HOLD_BOOT, F_GETFD) >= 0)
		s.hooks.boot_fd = HOLD_BOOT;
	return s;
}

static int serve(const struct about *a)
{
	static struct control c; // the thread is never joined
	struct serving s = serving_of(a);
	const struct driver *d = driver_find(a->driver);
	struct record *record = NULL;
	struct host_image *h;
	int r;

	if (!d)
		return warn_errno(-EPROTO, "there is no driver %s here", log_quote(a->driver));
	tunes.driver = d;
	r = open_image(a, &h);
	if (!r)
		r = use_ledger();
	if (!r)
		r = wait_go();
	if (r)
		return r;
	dup2(HOLD_LOG, STDERR_FILENO);
	r = a->record ? record_start(HOLD_RECORD, h->ix, a->record_start, &record) : 0;
	if (record) {
		s.hooks.arg = record;
		s.hooks.asked = write_down;
	}
	c = (struct control){
		.h = h, .fill = s.hooks.fill != LAZY_FILL_OFF, .record = record, .form = a->form
	};
	if (!r)
		r = start_control(&c);
	if (!r)
		r = d->serve(h, &s, HOLD_FUSE, THREADS);
	lazy_unhook(h->lz);
	record_stop(record); // not freed: the control thread looks at it to the end
	note_damage(&c);
	if (r && r != -ECANCELED)
		return r;
	// nobody waits for an answer any more; what is under way for the store may be cut short at
	// any point, as by a power cut
	if (lazy_damaged(h->lz)) {
		end_sealing();
		host_close(h);
	}
	return 0;
}

int worker_main(void)
{
	struct about a;
	yyjson_doc *doc;

	prctl(PR_SET_NAME, "@fcpull-worker", 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
	opt_quiet = true; // no progress, when the original is pulled
	for (int fd = HOLD_FUSE; fd < HOLD_END; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (map_about(&a, &doc))
		return EXIT_REFUSED;
	log_level = (enum log_level)a.log_level;
	return serve(&a) ? EXIT_FAILURE : 0;
}
