// fuselater.c - FUSE replies that come later, and the interrupts of those who wait for them
//
// Later replies. Each takes a record with a buffer of FUSE_IO_MAX bytes out of one reservation of
// address space: nothing is allocated while serving, and memory is used only by buffers that hold
// data. A freed buffer keeps its pages if fewer than LATERS_HOT free ones do. The number of
// requests under way is bounded by the kernel: MAX_BACKGROUND read-ahead requests, and one for
// each thread that waits for a page of its own.
//
// Interrupts. The kernel sends INTERRUPT for the first signal that hits a waiting task, fatal or
// not, and nothing for a later SIGKILL (request_wait_answer: "Any signal may interrupt this",
// then "Wait it out"). To answer each with EINTR would be wrong: a page fault would become SIGBUS
// because a timer went off. To answer none would leave killed tasks unkillable until the network
// comes back. So the watcher looks at the tasks of interrupted requests, a few times a second,
// and answers for those that are dying.
//
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <time.h>

#include "fuseint.h"

#define LATERS_LEAST 64
#define LATERS_HOT 8
#define LATER_NONE UINT32_MAX
#define WATCH_MS 200

// ---- later replies ----

int fuse_laters_init(struct fuse *f)
{
	f->hot = f->cold = LATER_NONE;
	// where address space counts as memory (vm.overcommit_memory = 2), be content with less
	for (uint32_t n = FUSE_LATERS_MAX; n >= LATERS_LEAST; n /= 2) {
		size_t len = ((size_t)n + f->thread_count) * FUSE_IO_MAX;
		void *p = mmap(NULL, len, PROT_READ | PROT_WRITE,
			MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

		if (p == MAP_FAILED)
			continue;
		f->bufs = p;
		f->bufs_len = len;
		f->laters_max = n;
		f->laters = calloc(n, sizeof *f->laters);
		return f->laters ? 0 : -ENOMEM;
	}
	return -ENOMEM;
}

void fuse_laters_fini(struct fuse *f)
{
	free(f->laters);
	if (f->bufs)
		munmap(f->bufs, f->bufs_len);
}

// A free record, those with pages first; LATER_NONE when all are in use.
static uint32_t later_take(struct fuse *f)
{
	uint32_t i = f->hot;

	if (i != LATER_NONE) {
		f->hot = f->laters[i].next;
		f->hot_count--;
	} else if ((i = f->cold) != LATER_NONE) {
		f->cold = f->laters[i].next;
	} else if (f->high < f->laters_max) {
		i = f->high++;
	}
	return i;
}

// Whether the request was interrupted before it had a record: another thread may have read the
// INTERRUPT already.
static bool missed_take(struct fuse *f, uint64_t unique)
{
	for (size_t i = 0; i < MISSED; i++)
		if (f->missed[i] == unique) {
			f->missed[i] = 0;
			return true;
		}
	return false;
}

static void later_interrupt(struct fuse *f, struct fuse_later *l)
{
	if (l->interrupted)
		return;
	l->interrupted = true;
	f->interrupted++;
	pthread_cond_signal(&f->watch);
}

// Notes a request before its message is overwritten. What a handler answers later is a READ;
// extensions that might follow it are left out.
static void later_note(struct fuse *f, uint32_t i, const struct fuse_request *rq)
{
	const struct fuse_in_header *h = (const struct fuse_in_header *)rq->arg - 1;
	struct fuse_in_header *note = (void *)f->ledger->laters[i].message;

	memcpy(note, h, MIN(h->len, (uint32_t)FUSE_LATER_BYTES));
	note->len = MIN(h->len, (uint32_t)FUSE_LATER_BYTES);
	memset((uint8_t *)note + EXTLEN_AT, 0, sizeof(uint16_t));
	atomic_store(&f->ledger->laters[i].unique, rq->unique);
}

struct fuse_later *fuse_later_new(struct fuse *f, const struct fuse_request *rq)
{
	pthread_mutex_lock(&f->lock);
	uint32_t i;
	while ((i = later_take(f)) == LATER_NONE) {
		f->starved++;
		pthread_cond_wait(&f->freed, &f->lock);
		f->starved--;
	}
	struct fuse_later *l = &f->laters[i];
	l->buf = f->bufs + (size_t)i * FUSE_IO_MAX;
	l->fuse = f;
	l->unique = rq->unique;
	l->pid = rq->pid;
	l->in_use = true;
	l->interrupted = false;
	atomic_store(&l->answered, false);
	f->in_use++;
	if (missed_take(f, rq->unique))
		later_interrupt(f, l);
	pthread_mutex_unlock(&f->lock);
	if (f->ledger)
		later_note(f, i, rq);
	return l;
}

static void later_free(struct fuse *f, struct fuse_later *l)
{
	uint32_t i = (uint32_t)(l - f->laters);

	pthread_mutex_lock(&f->lock);
	bool keep = f->hot_count < LATERS_HOT;
	if (keep) {
		f->hot_count++;
	} else {
		pthread_mutex_unlock(&f->lock);
		madvise(l->buf, FUSE_IO_MAX, MADV_DONTNEED);
		pthread_mutex_lock(&f->lock);
	}
	uint32_t *head = keep ? &f->hot : &f->cold;
	l->next = *head;
	*head = i;
	l->in_use = false;
	f->interrupted -= l->interrupted;
	f->in_use--;
	// under the lock: the last one to be freed lets fuse_serve() return, and f with it
	pthread_cond_broadcast(&f->freed);
	pthread_mutex_unlock(&f->lock);
}

void fuse_later_end(struct fuse_later *l, int error, size_t len)
{
	struct fuse *f = l->fuse;

	if (!atomic_exchange(&l->answered, true))
		fuse_send(f, l->unique, error, l->buf, len);
	if (f->ledger)
		atomic_store(&f->ledger->laters[l - f->laters].unique, 0);
	later_free(f, l);
}

// ---- interrupts ----

// Whether SIGKILL is pending for thread tid: the kernel adds it to each thread of a process that
// is to die of whatever cause (complete_signal, zap_other_threads). Field 31 of /proc/TID/stat,
// the thread's own pending signals, shows it.
static bool task_dying(uint32_t tid)
{
	char path[32], text[1024];

	snprintf(path, sizeof path, "/proc/%u/stat", tid);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return false;
	ssize_t n = read(fd, text, sizeof text - 1);
	if (n <= 0)
		return false;
	text[n] = '\0';
	char *p = strrchr(text, ')'); // the name before it may hold anything; field 3 follows
	for (int field = 2; p && field < 31; field++)
		p = strchr(p + 1, ' ');
	return p && (strtoull(p, NULL, 10) & 1ull << (SIGKILL - 1));
}

// The next interrupted record that is not answered, from *i on.
static bool watch_next(struct fuse *f, uint32_t *i, uint64_t *ret_unique, uint32_t *ret_pid)
{
	bool found = false;

	pthread_mutex_lock(&f->lock);
	for (; *i < f->high && !found; ++*i) {
		const struct fuse_later *l = &f->laters[*i];

		if (!l->in_use || !l->interrupted || l->pid == 0 || atomic_load(&l->answered))
			continue;
		*ret_unique = l->unique;
		*ret_pid = l->pid;
		found = true;
	}
	pthread_mutex_unlock(&f->lock);
	return found;
}

static void watch_scan(struct fuse *f)
{
	uint64_t unique;
	uint32_t pid;

	for (uint32_t i = 0; watch_next(f, &i, &unique, &pid);) {
		if (!task_dying(pid))
			continue;
		struct fuse_later *l = &f->laters[i - 1];
		// it may have ended, and another taken its place
		pthread_mutex_lock(&f->lock);
		bool mine =
			l->in_use && l->unique == unique && !atomic_exchange(&l->answered, true);
		pthread_mutex_unlock(&f->lock);
		if (mine)
			fuse_send(f, unique, -EINTR, NULL, 0);
	}
}

void *fuse_watch(void *arg)
{
	struct fuse *f = arg;

	prctl(PR_SET_NAME, "fuse-watch");
	pthread_mutex_lock(&f->lock);
	while (!f->ending) {
		if (f->interrupted == 0) {
			pthread_cond_wait(&f->watch, &f->lock);
			continue;
		}
		pthread_mutex_unlock(&f->lock);
		watch_scan(f);
		pthread_mutex_lock(&f->lock);
		if (!f->ending)
			cond_wait_ns(&f->watch, &f->lock, WATCH_MS * 1000000ull);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

int fuse_interrupt(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct fuse_interrupt_in *in = rq->arg;
	bool found = false;

	(void)rp;
	pthread_mutex_lock(&f->lock);
	for (uint32_t i = 0; i < f->high && !found; i++) {
		struct fuse_later *l = &f->laters[i];

		found = l->in_use && l->unique == in->unique;
		if (found)
			later_interrupt(f, l);
	}
	if (!found)
		f->missed[f->missed_next++ % MISSED] = in->unique;
	pthread_mutex_unlock(&f->lock);
	return 0;
}
