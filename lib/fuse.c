// fuse.c - the FUSE kernel protocol on a raw /dev/fuse descriptor
//
// Threads. fuse_serve() reads requests with `threads` threads, the caller's included, and starts
// one more, the watcher (below). Replies to data that is not here come from the threads of
// whoever fetches it, by fuse_later_end(). The only blockers are read(2) of the descriptor, and
// fuse_later_new() when FUSE_LATERS_MAX replies are outstanding.
//
// All threads share one open file. FUSE_DEV_IOC_CLONE would give each its own list of unanswered
// requests, but the kernel fails the requests on such a list when that file is closed
// (fuse_dev_release): a dead process's requests could not be answered by its successor. On two
// cores both ways serve 100-190 thousand reads of 4 KiB a second, and their difference is lost in
// the noise.
//
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>

#include "fuseint.h"
#include "log.h"

#define THREADS_MAX FUSE_THREADS_MAX
#define STUCK_BEATS 8 // that a thread may work at one request
#define WAKE_SIGNAL SIGUSR1
#define STACK_SIZE (256u << 10)
#define NOTIFY_RESEND 7 // FUSE_NOTIFY_RESEND, since 7.40

// The fuse_serve() that fuse_beat() and the like are about: there is one in a process that has a
// ledger.
static struct {
	pthread_mutex_t lock; // taken before any lock of struct fuse
	pthread_cond_t begun;
	struct fuse_ledger *ledger;
	struct fuse *fuse; // while it serves
	bool ended;
} life = { .lock = PTHREAD_MUTEX_INITIALIZER, .begun = PTHREAD_COND_INITIALIZER };

int fuse_resend(int fd)
{
	struct fuse_out_header h = { .len = sizeof h, .error = NOTIFY_RESEND };

	return write(fd, &h, sizeof h) < 0 ? -errno : 0;
}

void fuse_send(const struct fuse *f, uint64_t unique, int error, const void *data, size_t len)
{
	size_t body = error ? 0 : len;
	struct fuse_out_header h = { .error = error, .unique = unique };
	struct iovec iov[] = { { &h, sizeof h }, { (void *)(uintptr_t)data, body } };

	h.len = (uint32_t)(sizeof h + body);
	if (writev(f->fd, iov, body ? 2 : 1) >= 0) {
		if (f->ledger)
			atomic_fetch_add_explicit(&f->ledger->answers, 1, memory_order_relaxed);
		return;
	}
	// ENOENT: aborted meanwhile; ENODEV: unmounted; EPERM: no longer connected
	if (errno != ENOENT && errno != ENODEV && errno != EPERM)
		warn_errno(-errno, "fuse: reply to request %llu", (unsigned long long)unique);
}

// ---- the loop ----

static int fuse_dispatch(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	fuse_handler *handler = f->fs->handlers[rq->opcode];

	if (rq->op->own)
		return rq->op->own(f, rq, rp);
	return handler ? handler(f->fs->data, rq, rp) : rq->op->answer;
}

static void fuse_handle(struct fuse_thread *t, size_t len)
{
	struct fuse_reply rp = { .fuse = t->fuse, .buf = t->out, .room = FUSE_IO_MAX };
	struct fuse_request rq;
	int r = fuse_request_check(t->in, len, t->fuse->fs->nodes, &rq);

	if (r == -EBADMSG) {
		warn("fuse: request of %zu bytes without a whole header", len);
		return;
	}
	if (r == 0)
		r = fuse_dispatch(t->fuse, &rq, &rp);
	if (r == FUSE_LATER || (rq.op && rq.op->what & NO_REPLY))
		return;
	fuse_send(t->fuse, rq.unique, r, rp.buf, rp.len);
}

// The request in t->in is answered, or noted as a later one. From the moment at which the kernel
// has copied the next one there, its length is not 0.
static void note_none(struct fuse_thread *t)
{
	if (!t->since)
		return;
	((struct fuse_in_header *)t->in)->len = 0;
	atomic_store(t->since, 0);
}

static void note_one(struct fuse_thread *t)
{
	struct fuse_ledger *l = t->fuse->ledger;

	if (!l)
		return;
	atomic_store(t->since, atomic_load(&l->beats) + 1);
	atomic_fetch_add_explicit(&l->requests, 1, memory_order_relaxed);
}

// Waits for a request and answers it, or starts to. -ENODEV: unmounted; -ECANCELED: stopped; any
// other -errno: the connection is lost.
static int fuse_step(struct fuse_thread *t)
{
	struct pollfd p = { .fd = t->fuse->fd, .events = POLLIN };

	for (;;) {
		if (atomic_load(&t->fuse->stopping))
			return -ECANCELED;
		ssize_t n = read(t->fuse->fd, t->in, FUSE_REQUEST_MAX);

		if (n > 0) {
			note_one(t);
			fuse_handle(t, (size_t)n);
			note_none(t);
			return t->fuse->init_error;
		}
		if (n == 0)
			return -ENODEV;
		// ENOENT: the request was aborted while it was being read
		if (errno == EAGAIN)
			poll(&p, 1, -1);
		else if (errno != EINTR && errno != ENOENT)
			return -errno;
	}
}

static void *serve(void *arg)
{
	struct fuse_thread *t = arg;

	while (t->result == 0)
		t->result = fuse_step(t);
	atomic_fetch_sub(&t->fuse->reading, 1);
	return NULL;
}

// With a ledger, fuse_stop() must be able to end its read(2).
static void enter(struct fuse_thread *t)
{
	sigset_t wake;

	atomic_fetch_add(&t->fuse->reading, 1);
	t->tid = (pid_t)syscall(SYS_gettid);
	if (!t->fuse->ledger)
		return;
	sigemptyset(&wake);
	sigaddset(&wake, WAKE_SIGNAL);
	pthread_sigmask(SIG_UNBLOCK, &wake, NULL);
}

static void *reader_thread(void *arg)
{
	prctl(PR_SET_NAME, "fuse-read");
	enter(arg);
	return serve(arg);
}

// Signals are for the threads that the rest of the program has.
static int start_thread(pthread_t *ret, void *(*fn)(void *), void *arg)
{
	pthread_attr_t attr;
	sigset_t all, old;

	sigfillset(&all);
	int r = pthread_attr_init(&attr);
	if (r)
		return -r;
	pthread_attr_setstacksize(&attr, STACK_SIZE);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	r = pthread_create(ret, &attr, fn, arg);
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	pthread_attr_destroy(&attr);
	return -r;
}

// The first request is INIT, or of a connection that was taken over; when that is done the others
// may come.
static int run_threads(struct fuse *f)
{
	struct fuse_thread *t = f->threads;
	unsigned started = 1;

	enter(&t[0]);
	f->started = started;
	int r = t[0].result = fuse_step(&t[0]);

	for (; r == 0 && started < f->thread_count; f->started = ++started) {
		int e = start_thread(&t[started].id, reader_thread, &t[started]);

		if (e) {
			warn_errno(e, "fuse: only %u of %u threads", started, f->thread_count);
			break;
		}
	}
	serve(&t[0]);
	for (unsigned i = 1; i < started; i++)
		pthread_join(t[i].id, NULL);
	// an abort or unmount ends all of them by the same error
	r = t[0].result;
	if (r != -ENODEV && r != -ECANCELED && r != f->init_error)
		warn_errno(r, "fuse: connection lost");
	return r == -ENODEV ? 0 : r;
}

static int fuse_run(struct fuse *f)
{
	int r = start_thread(&f->watcher, fuse_watch, f);

	if (r)
		return warn_errno(r, "fuse: start a thread");
	r = run_threads(f);
	pthread_mutex_lock(&f->lock);
	while (f->in_use)
		pthread_cond_wait(&f->freed, &f->lock);
	f->ending = true;
	pthread_cond_signal(&f->watch);
	pthread_mutex_unlock(&f->lock);
	pthread_join(f->watcher, NULL);
	return r;
}

static void fuse_fini(struct fuse *f)
{
	fuse_laters_fini(f);
	free(f->threads);
	pthread_cond_destroy(&f->watch);
	pthread_cond_destroy(&f->freed);
	pthread_mutex_destroy(&f->lock);
}

// A thread that is being killed may still take a request. If the page for it is not there, the
// kernel cannot get one for a dying process, and the request fails (fuse_dev_do_read: EIO); if it
// is, the request waits for the successor.
static void settle_in(struct fuse_thread *t)
{
	if (mlock(t->in, FUSE_REQUEST_MAX))
		debug("mlock: %s", strerror(errno));
	for (volatile uint8_t *p = t->in; p < t->in + FUSE_REQUEST_MAX; p += 64)
		*p = 0;
}

// Needs fuse_fini() also when it has failed.
static int fuse_init(struct fuse *f, int fd, const struct fuse_fs *fs, unsigned threads)
{
	*f = (struct fuse){ .fd = fd, .fs = fs, .thread_count = threads, .ledger = life.ledger };
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->freed, NULL);
	cond_init(&f->watch);
	f->threads = calloc(threads, sizeof *f->threads);
	int r = f->threads ? fuse_laters_init(f) : -ENOMEM;
	for (unsigned i = 0; r == 0 && i < threads; i++) {
		f->threads[i].fuse = f;
		f->threads[i].in = f->ledger ? f->ledger->threads[i].in : f->threads[i].own_in;
		f->threads[i].since = f->ledger ? &f->ledger->threads[i].since : NULL;
		settle_in(&f->threads[i]);
		f->threads[i].out = f->bufs + ((size_t)f->laters_max + i) * FUSE_IO_MAX;
	}
	return r;
}

// ---- life: stopping, signs of it, taking over ----

static void wake(int sig)
{
	(void)sig; // read(2) returns EINTR, that is all
}

static void life_begin(struct fuse *f)
{
	struct sigaction sa = { .sa_handler = wake };

	if (!f->ledger)
		return;
	f->ledger->version = FUSE_LEDGER_VERSION;
	sigaction(WAKE_SIGNAL, &sa, NULL);
	pthread_mutex_lock(&life.lock);
	life.fuse = f;
	pthread_cond_broadcast(&life.begun);
	pthread_mutex_unlock(&life.lock);
}

static void life_end(struct fuse *f)
{
	if (!f->ledger)
		return;
	pthread_mutex_lock(&life.lock);
	life.fuse = NULL;
	life.ended = true;
	pthread_cond_broadcast(&life.begun);
	pthread_mutex_unlock(&life.lock);
}

// The lock is held when it returns.
static struct fuse *life_lock(void)
{
	pthread_mutex_lock(&life.lock);
	while (!life.fuse && !life.ended)
		pthread_cond_wait(&life.begun, &life.lock);
	return life.fuse;
}

void fuse_ledger_use(struct fuse_ledger *l)
{
	life.ledger = l;
}

// All threads have been at the same request for long, and not because the table of later ones is
// full, which the network may be the reason for. Taking the locks is a part of the proof.
static bool all_stuck(struct fuse *f)
{
	uint64_t now = atomic_load(&f->ledger->beats);
	unsigned stuck = 0;

	for (unsigned i = 0; i < f->started; i++) {
		uint64_t since = atomic_load(f->threads[i].since);

		stuck += since && now + 1 - since > STUCK_BEATS;
	}
	pthread_mutex_lock(&f->lock);
	bool starved = f->starved;
	pthread_mutex_unlock(&f->lock);
	return stuck && stuck == f->started && !starved;
}

void fuse_beat(void)
{
	pthread_mutex_lock(&life.lock);
	if (life.ledger && !(life.fuse && all_stuck(life.fuse)))
		atomic_fetch_add(&life.ledger->beats, 1);
	pthread_mutex_unlock(&life.lock);
}

// A signal that comes just before read(2) is lost, so it is sent until all have heard it.
int fuse_stop(void)
{
	const struct timespec pause = { .tv_nsec = 1000000 };
	struct fuse *f = life_lock();

	if (f) {
		atomic_store(&f->stopping, true);
		while (f->reading) {
			for (unsigned i = 0; i < f->started; i++)
				syscall(SYS_tgkill, getpid(), f->threads[i].tid, WAKE_SIGNAL);
			nanosleep(&pause, NULL);
		}
	}
	pthread_mutex_unlock(&life.lock);
	return f ? 0 : -ENODEV;
}

static void replay_one(struct fuse_thread *t, const void *message, size_t room)
{
	uint32_t len = ((const struct fuse_in_header *)message)->len;

	if (len < sizeof(struct fuse_in_header) || len > room)
		return;
	memcpy(t->in, message, len);
	fuse_handle(t, len);
}

// Requests that have been answered after all are answered twice; the kernel refuses the second
// answer.
static int replay(struct fuse *f, const struct fuse_ledger *dead)
{
	struct fuse_thread *t = calloc(1, sizeof *t);
	void *out =
		mmap(NULL, FUSE_IO_MAX, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (t && out != MAP_FAILED) {
		t->fuse = f;
		t->in = t->own_in;
		t->out = out;
		for (size_t i = 0; i < FUSE_THREADS_MAX; i++)
			replay_one(t, dead->threads[i].in, FUSE_REQUEST_MAX);
		for (size_t i = 0; i < FUSE_LATERS_MAX; i++)
			if (dead->laters[i].unique)
				replay_one(t, dead->laters[i].message, FUSE_LATER_BYTES);
	}
	bool failed = !t || out == MAP_FAILED;
	if (out != MAP_FAILED)
		munmap(out, FUSE_IO_MAX);
	free(t);
	return failed ? -ENOMEM : 0;
}

int fuse_take_over(const struct fuse_ledger *dead, bool no_resend)
{
	struct fuse *f = life_lock();
	int r = !f ? -ENODEV : no_resend ? -EINVAL : fuse_resend(f->fd);

	if (f && r == -EINVAL)
		r = dead->version == FUSE_LEDGER_VERSION || !dead->version ? replay(f, dead)
									   : -EPROTO;
	pthread_mutex_unlock(&life.lock);
	return r;
}

// ---- the server ----

int fuse_serve(int fd, const struct fuse_fs *fs, unsigned threads)
{
	struct fuse f;
	int r = fuse_init(&f, fd, fs, MIN(MAX(threads, 1u), (unsigned)THREADS_MAX));

	if (r == 0) {
		life_begin(&f);
		r = fuse_run(&f);
		life_end(&f);
	} else {
		warn_errno(r, "fuse: reserve buffers");
	}
	fuse_fini(&f);
	return r;
}
