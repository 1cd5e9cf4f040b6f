// hastenjob.c - accelerates an image in the background: the process that does it
//
// It waits until the start has been recorded, then forks a worker, which converts and delivers, and
// watches it: the worker is stopped (SIGSTOP) while the host has too little memory or its disks do
// not keep up. Both have the lowest priorities, and so take the processor only from its idle time.
// The worker dies with the watcher; the conversion's lock goes with the last of them.
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>

#include "accel.h"
#include "driver.h"
#include "format.h"
#include "hastenint.h"
#include "json.h"
#include "kept.h"
#include "log.h"
#include "pagetrace.h"
#include "proc.h"
#include "record.h"
#include "seal.h"
#include "stage.h"
#include "underway.h"

#define START_MAX_MS (10 * 60 * 1000) // a mount that nobody reads is not waited for longer
#define LAST_LINE_MS 3000	      // after a run has ended, for its server to end too
#define TICK_MS 250
#define AGAIN_MS 1000		      // twice that at most, until a push is tried again
#define PAUSE_MAX_MS (20 * 60 * 1000) // of all pauses together; then the priorities must do
#define MEMORY_PRESSURE 20 // per cent of the last ten seconds (kernel: accounting/psi.rst)
#define IO_PRESSURE 40
#define IDLE_IO (3 << 13) // IOPRIO_CLASS_IDLE

struct job {
	const struct hasten_about *about;
	struct store *store;
	struct image *img;	 // the original, from the store
	struct pagetrace *pages; // or NULL
	struct trace trace;
	struct ref ref;
	char *name;
};

// ---- waiting for the start ----

static bool has_ended(void)
{
	static const char end[] = RECORD_END;
	char tail[sizeof end - 1];
	struct stat st;

	return !fstat(HASTEN_TRACE, &st) && st.st_size >= (off_t)sizeof tail &&
		!pread_full(HASTEN_TRACE, tail, sizeof tail, (uint64_t)st.st_size - sizeof tail) &&
		!memcmp(tail, end, sizeof tail);
}

static bool run_has_ended(void)
{
	struct pollfd p = { .fd = HASTEN_ALIVE, .events = POLLIN };
	struct stat st;

	return !fstat(HASTEN_ALIVE, &st) && S_ISFIFO(st.st_mode) && poll(&p, 1, 0) == 1;
}

static void wait_for_start(void)
{
	int waited = 0, left = START_MAX_MS;

	while (waited < left && !has_ended()) {
		if (left == START_MAX_MS && run_has_ended())
			left = waited + LAST_LINE_MS;
		usleep(TICK_MS * 1000);
		waited += TICK_MS;
	}
}

// The process that people see and may end is the watcher.
static void say(const struct hasten_about *about, pid_t watcher, const char *step)
{
	underway_say(HASTEN_LOCK, about->reference, watcher, step);
}

// The recording by ourselves. -errno, logged: what is read is not seen.
static int start_pages(const struct hasten_about *about, struct pagetrace **ret)
{
	int r = pagetrace_start(about->major, about->minor, ret);

	if (!r && write(HASTEN_READY, "", 1) < 0)
		debug("nobody waits for the recording");
	close(HASTEN_READY);
	return r;
}

// All is here: nothing is worth waiting for.
static void raise_readahead(void)
{
	driver_raise_readahead(NULL, true, HASTEN_READAHEAD);
	close(HASTEN_READAHEAD);
}

static void watch_pages(struct pagetrace *p)
{
	uint64_t end = now_ns() + START_MAX_MS * 1000000ull;

	while (!run_has_ended() && !pagetrace_is_over(p) && now_ns() < end)
		pagetrace_wait(p, TICK_MS);
	pagetrace_stop(p);
	raise_readahead();
}

// ---- what is there ----

// The index that the first start has made. -errno logged.
static int open_index(const struct job *j, struct host_image **ret)
{
	struct host_opts o = { .root = j->store->path };
	struct digest index, original = j->about->original;
	int r = store_local_index(j->store, &original, &index);

	if (!r)
		r = host_open_index(j->about->reference, &index, false, &o, ret);
	return r ? warn_errno(r, "%s: the layers are not in the store", j->name) : 0;
}

static int write_pages(const struct job *j)
{
	cleanup_fd int tmp = store_tmp(j->store);
	struct host_image *h;
	int r = tmp < 0 ? tmp : open_index(j, &h);

	if (r)
		return r;
	r = pagetrace_write(j->pages, h->ix, tmp, HASTEN_TRACE);
	host_close(h);
	return r;
}

static int read_trace(struct job *j)
{
	cleanup_free char *text = NULL;
	struct stat st;
	int r = fstat(HASTEN_TRACE, &st) ? -errno : 0;

	if (r || !S_ISREG(st.st_mode) || !st.st_size)
		return 0;
	if ((uint64_t)st.st_size > TRACE_TEXT_MAX)
		return warn_errno(-EFBIG, "%s: the recording", j->name);
	text = xmalloc((size_t)st.st_size);
	r = pread_full(HASTEN_TRACE, text, (size_t)st.st_size, 0);
	if (!r)
		r = trace_parse(&j->trace, text, (size_t)st.st_size, "the recording");
	if (!r)
		trace_merge(&j->trace);
	if (!r && j->about->recording && j->trace.n)
		kept_set_trace(j->store, &j->about->original, text, (size_t)st.st_size);
	return r;
}

// The original as the first start has left it in the store: nobody is asked.
static int open_original(struct job *j)
{
	char s[DIGEST_STR_LEN];
	struct ref own = { .transport = REF_OCI, .dir = j->store->path, .digest = s };

	digest_str(&j->about->original, s);
	return image_open(j->store->repo, &own, &j->about->platform, IMAGE_ORIGINAL, &j->img);
}

// Proves what was not proved since the machine was started, and opens the blocks of each layer.
static int open_blocks(struct job *j, int **ret)
{
	struct host_image *h;
	int r = open_index(j, &h);

	if (r)
		return r;
	if (!sealed_image(h->store, h->ix)) {
		r = host_start(h);
		if (!r)
			r = lazy_fetch_all(h->lz, NULL, NULL);
	}
	*ret = xcalloc(index_spaces(h->ix), sizeof **ret);
	for (uint32_t i = 0; i < index_spaces(h->ix); i++)
		(*ret)[i] = -1;
	for (uint32_t i = 0; i < index_spaces(h->ix) && !r; i++) {
		struct digest key = index_space_key(h->ix, i);
		struct space_file f;
		struct space_view sp;

		index_space(h->ix, i, &sp);
		r = sp.blocks ? store_space(h->store, &key, sp.blocks, &f) : 0;
		if (r || !sp.blocks)
			continue;
		(*ret)[i] = fcntl(f.fd, F_DUPFD_CLOEXEC, HASTEN_END);
		r = (*ret)[i] < 0 ? -errno : 0;
		space_file_close(&f);
	}
	host_close(h);
	return r;
}

// A conversion writes about as much as the layers have, compressed, once more when it is kept. The
// host's disk must not become full by something that nobody has asked for.
static int check_room(const struct job *j)
{
	uint64_t want = 3 * image_layers_size(j->img);
	struct statvfs fs;
	uint64_t has;

	if (fstatvfs(j->store->fd, &fs))
		return 0;
	has = (uint64_t)fs.f_bavail * fs.f_frsize;
	if (has >= want + (uint64_t)fs.f_blocks * fs.f_frsize / 50)
		return 0;
	return warn_whole(-ENOSPC, "%s: the store's disk has %llu MB left, a conversion needs %llu",
		j->name, (unsigned long long)has >> 20, (unsigned long long)want >> 20);
}

// ---- delivery ----

struct blobs {		    // of the form: where they are
	struct repo *stage; // or NULL: the store has them
	struct store *store;
};

static int send_blob(const struct blobs *b, struct repo *to, const struct desc *d)
{
	cleanup_fd int own = b->stage ? -1 : kept_blob(b->store, &d->digest);
	int fd = b->stage ? stage_blob(b->stage, &d->digest) : own, r;

	if (fd < 0)
		return fd;
	r = repo_put_blob(to, d, fd, NULL);
	return r < 0 ? r : 0;
}

static int send_blobs(const struct blobs *b, struct repo *to, const struct accel *form)
{
	int r = send_blob(b, to, &form->boot);

	for (uint32_t i = 0; i < form->n_data && !r; i++)
		r = send_blob(b, to, &form->data[i]);
	return r;
}

static struct desc desc_of(const struct buf *manifest)
{
	return (struct desc){ sha256_of(manifest->data, manifest->len), manifest->len };
}

// Puts the form beside its original: under the tag if that still means it, else as a referrer. 1:
// another host has been first. What was sent by then and is not used is the registry's garbage.
static int push_beside(const struct job *j, const struct image *form, struct image *now,
	struct repo *to, const struct blobs *b)
{
	bool same = digest_equal(&now->man.digest, &j->about->original);
	struct accel_conf conf = {
		.same_place = true, .tag = j->ref.tag, .referrer = j->ref.digest || !same
	};
	struct accel_job *a;
	struct digest d;
	int r;

	if (same && now->accel)
		return 1;
	r = send_blobs(b, to, form->accel);
	if (r)
		return r;
	a = accel_made(same ? now : j->img, to, &conf, form->accel);
	r = accel_deliver(a, &d);
	accel_free(a);
	return r;
}

static int push_now(const struct job *j, const struct image *form, const struct blobs *b)
{
	struct image *now = NULL;
	struct repo *to = NULL;
	int r = repo_open(&j->ref, &j->about->net, true, &to);

	if (!r)
		r = image_open(to, &j->ref, &j->about->platform, IMAGE_ANY, &now);
	if (!r)
		r = push_beside(j, form, now, to, b);
	image_free(now);
	repo_close(to);
	return r;
}

// Once more when it has failed: others may have changed the tag's index meanwhile, and registries
// stumble over two who push the same at the same time. A second look says.
static int push(const struct job *j, const struct image *form, const struct blobs *b)
{
	int r = push_now(j, form, b);

	if (r >= 0 || r == -EACCES)
		return r;
	usleep(AGAIN_MS * 1000 + (unsigned)getpid() % AGAIN_MS * 1000);
	return push_now(j, form, b);
}

static int note(struct job *j, const struct buf *manifest, bool here, bool pushed, const char *why)
{
	struct kept k = {
		.here = here, .pushed = pushed, .why = (char *)(uintptr_t)why, .when = time(NULL)
	};

	if (manifest)
		k.form = desc_of(manifest).digest;
	return kept_write(j->store, &j->about->original, &k);
}

static int keep_form(struct job *j, struct repo *stage, const struct buf *manifest, const char *why)
{
	int r;

	store_hold(j->store);
	r = stage_keep(stage, j->store);
	if (!r)
		r = repo_put_manifest(
			j->store->repo, NULL, MT_OCI_MANIFEST, manifest->data, manifest->len);
	if (!r)
		r = note(j, manifest, true, false, why);
	store_release(j->store);
	return r;
}

// Where to, and what becomes of it. stage: NULL when the store has it already.
static int deliver(
	struct job *j, const struct image *form, const struct buf *manifest, struct repo *stage)
{
	const struct blobs b = { stage, j->store };
	struct digest d = desc_of(manifest).digest;
	int r = -ENOTSUP;

	// whatever was wrong with one of the same bytes, this one is right
	kept_clear_bad(j->store, &d);
	if (j->about->push) {
		say(j->about, getppid(), "pushes");
		r = push(j, form, &b);
	}
	if (r >= 0)
		return note(j, manifest, false, true, r ? "another host was first" : "");
	if (!stage)
		return note(j, manifest, true, false, log_last());
	return keep_form(j, stage, manifest, j->about->push ? log_last() : "");
}

// ---- the worker ----

static int read_form(const struct job *j, const struct buf *manifest)
{
	struct manifest m = { .len = manifest->len, .media_type = MT_OCI_MANIFEST };

	m.bytes = xmalloc(m.len + 1);
	memcpy(m.bytes, manifest->data, m.len);
	m.bytes[m.len] = 0;
	m.digest = desc_of(manifest).digest;
	return image_add_form(j->img, &m);
}

static int convert(struct job *j, const struct accel_conf *conf, struct repo *stage)
{
	struct accel_job *a;
	int r = accel_layers(j->img, stage, conf, &a);

	if (!r)
		r = accel_boot(a, j->trace.n ? &j->trace : NULL);
	if (!r)
		r = read_form(j, accel_manifest(a));
	if (!r)
		r = deliver(j, j->img, accel_manifest(a), stage);
	accel_free(a);
	return r;
}

static int convert_stored(struct job *j)
{
	cleanup_free int *blocks = NULL;
	cleanup_fd int fd = store_journal(j->store, &j->about->original);
	struct accel_conf conf = { .pack = accel_pack((unsigned)j->about->threads),
		.keep_data = true };
	struct repo *stage = stage_open(j->name);
	int r = check_room(j);

	if (!r)
		r = fd < 0 ? warn_errno(fd, "%s: there is no journal of its layers", j->name)
			   : journal_open(fd, j->name, &conf.journal);
	if (!r)
		r = open_blocks(j, &blocks);
	conf.blocks = blocks;
	if (!r)
		r = convert(j, &conf, stage);
	repo_close(stage);
	journal_close(conf.journal);
	return r;
}

// What an earlier one has made and could not push.
static int push_kept(struct job *j, const struct digest *form)
{
	char s[DIGEST_STR_LEN];
	struct manifest m = { 0 };
	cleanup_buf struct buf manifest = { 0 };
	int r = repo_get_manifest(j->store->repo, digest_str(form, s), &m);

	if (r)
		return r;
	buf_add(&manifest, m.bytes, m.len);
	r = image_add_form(j->img, &m);
	return r ? r : deliver(j, j->img, &manifest, NULL);
}

static int work(struct job *j)
{
	struct kept k = { 0 };
	bool here = !kept_read(j->store, &j->about->original, &k) && k.here;
	int r = open_original(j);

	if (!r && here)
		r = push_kept(j, &k.form);
	if (!r && here)
		return 0;
	if (!r && j->pages)
		r = write_pages(j);
	if (!r)
		r = read_trace(j);
	// a run or a mount that has read nothing has shown nothing
	if (!r && j->about->recording && !j->trace.n)
		r = warn_whole(-ENODATA, "%s: its first start has read nothing", j->name);
	if (!r)
		r = convert_stored(j);
	if (r && note(j, NULL, false, false, log_last()))
		debug("what has failed cannot be noted");
	return r;
}

static void use_store_tmp(const struct job *j)
{
	cleanup_free char *tmp = xasprintf("%s/tmp", j->store->path);

	setenv("TMPDIR", tmp, 1); // it is on the disk that is meant for images
}

static int worker(const struct hasten_about *about, struct pagetrace *pages)
{
	struct job j = { .about = about, .pages = pages };
	int r = ref_parse(about->reference, &j.ref);

	j.name = r ? NULL : ref_name(&j.ref);
	if (!r)
		r = store_open(about->store, &j.store);
	if (r)
		return r;
	use_store_tmp(&j);
	say(about, getppid(), "converts");
	return work(&j);
}

// ---- the watcher ----

// Among processes of several sessions it is the session's weight that counts, and ours is one of its own
// (hasten.c): without this the policy would mean nothing to a container (sched(7), "The autogroup feature").
static void be_a_humble_session(void)
{
	cleanup_fd int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);

	if (fd >= 0 && write(fd, "19", 2) != 2)
		debug("autogroup: %s", strerror(errno));
}

// Not before the start is over: whoever is preempted while it looks at the recording would hold up the
// server that writes it.
static void be_humble(void)
{
	struct sched_param none = { 0 };

	if (sched_setscheduler(0, SCHED_IDLE, &none))
		debug("SCHED_IDLE: %s", strerror(errno));
	if (setpriority(PRIO_PROCESS, 0, 19))
		debug("nice: %s", strerror(errno));
	if (syscall(SYS_ioprio_set, 1, 0, IDLE_IO))
		debug("ioprio_set: %s", strerror(errno));
	be_a_humble_session();
}

// The share of the last ten seconds, in per cent, of a line of /proc/pressure/WHAT.
static unsigned pressure(const char *what, const char *line)
{
	cleanup_free char *path = xasprintf("/proc/pressure/%s", what);
	char text[256], *p;

	read_text_at(AT_FDCWD, path, text, sizeof text);
	p = strstr(text, line);
	p = p ? strstr(p, "avg10=") : NULL;
	return p ? (unsigned)strtoul(p + 6, NULL, 10) : 0;
}

static bool is_short(void)
{
	return pressure("memory", "some") >= MEMORY_PRESSURE ||
		pressure("io", "full") >= IO_PRESSURE;
}

static int watch(pid_t pid)
{
	bool stopped = false;
	int status, paused = 0;

	while (waitpid(pid, &status, WNOHANG) == 0) {
		bool wanted = paused < PAUSE_MAX_MS && is_short();

		if (wanted != stopped)
			kill(pid, wanted ? SIGSTOP : SIGCONT);
		stopped = wanted;
		paused += stopped ? TICK_MS : 0;
		usleep(TICK_MS * 1000);
	}
	return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

static int read_about(struct hasten_about *ret, yyjson_doc **ret_doc)
{
	cleanup_free char *text = NULL;
	struct stat st;
	int r;

	if (fstat(HASTEN_ABOUT, &st) || st.st_size <= 0 || st.st_size > HASTEN_ABOUT_MAX)
		return warn_errno(-EBADMSG, "not started by a start");
	text = xmalloc((size_t)st.st_size);
	r = pread_full(HASTEN_ABOUT, text, (size_t)st.st_size, 0);
	if (!r)
		r = hasten_about_read(text, (size_t)st.st_size, ret, ret_doc);
	explicit_bzero(text, (size_t)st.st_size);
	return r;
}

int hasten_main(void)
{
	struct hasten_about about;
	struct pagetrace *pages = NULL;
	pid_t pid, self = getpid();
	yyjson_doc *doc;

	prctl(PR_SET_NAME, "@fcpull-accel", 0, 0, 0);
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	signal(SIGPIPE, SIG_IGN);
	for (int fd = HASTEN_ABOUT; fd < HASTEN_END; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	if (read_about(&about, &doc))
		return EXIT_FAILURE;
	log_level = (enum log_level)about.log_level;
	if (about.pages && start_pages(&about, &pages)) {
		raise_readahead();
		return EXIT_FAILURE;
	}
	proc_own_cgroup();
	say(&about, self, "records the start");
	if (pages) // not to be killed before it has raised the read-ahead
		watch_pages(pages);
	if (proc_oom_score(1000))
		debug("the OOM killer is not told");
	if (about.recording && !pages)
		wait_for_start();
	be_humble();
	pid = fork();
	if (!pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		_exit(getppid() != self || worker(&about, pages) ? EXIT_FAILURE : 0);
	}
	return pid < 0 ? EXIT_FAILURE : watch(pid);
}
