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
#include "fuse.h"

#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>

#include "log.h"

#define MINOR_LEAST 23 // the first that has today's fuse_init_out
#define MINOR_KNOWN 38
#define MAX_READAHEAD (1u << 20)
// Requests beyond it wait in the kernel, those for data that is here behind those for data that
// is not: so it is large.
#define MAX_BACKGROUND 1024
#define CONGESTION 768 // from here on the kernel leaves out speculative read-ahead
#define LATERS_LEAST 64
#define LATERS_HOT 8
#define LATER_NONE UINT32_MAX
#define MISSED 16 // interrupts that may overtake their requests at once
#define WATCH_MS 200
#define THREADS_MAX FUSE_THREADS_MAX
#define STUCK_BEATS 8 // that a thread may work at one request
#define WAKE_SIGNAL SIGUSR1
#define STACK_SIZE (256u << 10)
#define NOTIFY_RESEND 7 // FUSE_NOTIFY_RESEND, since 7.40

// Not FUSE_ASYNC_DIO: a reader of O_DIRECT would wait unkillably (fuse_direct_IO:
// wait_for_completion).
#define WANTED                                                                                    \
	(FUSE_ASYNC_READ | FUSE_EXPORT_SUPPORT | FUSE_DO_READDIRPLUS | FUSE_READDIRPLUS_AUTO |    \
		FUSE_NO_OPEN_SUPPORT | FUSE_PARALLEL_DIROPS | FUSE_ABORT_ERROR | FUSE_MAX_PAGES | \
		FUSE_CACHE_SYMLINKS | FUSE_NO_OPENDIR_SUPPORT | FUSE_EXPLICIT_INVAL_DATA)

struct fuse_thread {
	_Alignas(8) uint8_t own_in[FUSE_REQUEST_MAX];
	struct fuse *fuse;
	uint8_t *in;		 // FUSE_REQUEST_MAX: own_in, or its place in the ledger
	_Atomic uint64_t *since; // in the ledger, or NULL
	_Atomic pid_t tid;
	uint8_t *out; // FUSE_IO_MAX
	pthread_t id;
	int result;
};

struct fuse {
	int fd;
	unsigned thread_count;
	struct fuse_thread *threads;
	_Atomic unsigned started; // of them
	_Atomic unsigned reading; // have not ended
	_Atomic bool stopping;
	struct fuse_ledger *ledger; // or NULL
	pthread_t watcher;
	const struct fuse_fs *fs;
	// Set by INIT, which the kernel sends first and alone; false on a connection taken over:
	// then the answers that cost a request more, but are always right.
	bool no_open, no_opendir;
	int init_error;
	uint8_t *bufs; // laters_max of FUSE_IO_MAX, then one for each thread
	size_t bufs_len;
	uint32_t laters_max;
	struct fuse_later *laters;
	pthread_mutex_t lock; // for all below, and the records
	pthread_cond_t freed; // a record has been given back
	pthread_cond_t watch; // an interrupt has come, or the end
	uint32_t hot, cold;   // heads of the lists of free records, with pages and without
	uint32_t hot_count;
	uint32_t high; // records below it have been in use before
	uint32_t in_use;
	uint32_t starved;	 // threads that wait for a free record
	uint32_t interrupted;	 // of these
	uint64_t missed[MISSED]; // requests interrupted before they had a record
	uint32_t missed_next;
	bool ending;
};

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

// ---- replies ----

// The one writer of replies. What fails here cannot be reported to the kernel in another way.
static void fuse_send(
	const struct fuse *f, uint64_t unique, int error, const void *data, size_t len)
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

// ---- later replies ----

static int laters_init(struct fuse *f)
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

static void laters_fini(struct fuse *f)
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
	note->total_extlen = 0;
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

static void *watch_thread(void *arg)
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
		struct timespec t;
		clock_gettime(CLOCK_MONOTONIC, &t);
		t.tv_nsec += WATCH_MS * 1000000L;
		t.tv_sec += t.tv_nsec / 1000000000L;
		t.tv_nsec %= 1000000000L;
		if (!f->ending)
			pthread_cond_timedwait(&f->watch, &f->lock, &t);
	}
	pthread_mutex_unlock(&f->lock);
	return NULL;
}

// ---- requests that are the protocol's own business ----

static int op_init(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	const struct fuse_init_in *in = rq->arg; // its first 16 bytes; the rest came with 7.36
	struct fuse_init_out *out = (void *)rp->buf;
	uint32_t want = WANTED | (f->fs->acl ? FUSE_POSIX_ACL : 0u);

	rp->len = sizeof *out;
	memset(out, 0, sizeof *out);
	out->major = FUSE_KERNEL_VERSION;
	out->minor = MIN(in->minor, (uint32_t)MINOR_KNOWN);
	if (in->major > FUSE_KERNEL_VERSION) // the kernel will ask again, in our version
		return 0;
	if (in->major < FUSE_KERNEL_VERSION || in->minor < MINOR_LEAST) {
		f->init_error = warn_errno(-EPROTO,
			"fuse: the kernel speaks %u.%u, needed is %d.%d (Linux 3.15) or later",
			in->major, in->minor, FUSE_KERNEL_VERSION, MINOR_LEAST);
		return f->init_error;
	}
	out->flags = in->flags & want;
	out->max_readahead = MIN(in->max_readahead, MAX_READAHEAD);
	out->max_background = MAX_BACKGROUND;
	out->congestion_threshold = CONGESTION;
	out->max_write = 4096; // the least there is
	out->time_gran = 1;
	out->max_pages = FUSE_IO_MAX / 4096;
	f->no_open = in->flags & FUSE_NO_OPEN_SUPPORT;
	f->no_opendir = in->flags & FUSE_NO_OPENDIR_SUPPORT;
	debug("fuse: protocol 7.%u, kernel offers %#x, taken %#x", in->minor, in->flags,
		out->flags);
	return 0;
}

// ENOSYS, once, makes the kernel open without asking, with exactly these flags
// (FUSE_NO_OPEN_SUPPORT).
static int reply_open(bool none, uint32_t flags, struct fuse_reply *rp)
{
	struct fuse_open_out out = { .open_flags = flags };

	if (none)
		return -ENOSYS;
	memcpy(rp->buf, &out, sizeof out);
	rp->len = sizeof out;
	return 0;
}

static int op_open(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	(void)rq;
	return reply_open(f->no_open, FOPEN_KEEP_CACHE, rp);
}

static int op_opendir(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
{
	(void)rq;
	return reply_open(f->no_opendir, FOPEN_KEEP_CACHE | FOPEN_CACHE_DIR, rp);
}

static int op_interrupt(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp)
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

// ---- the protocol table ----

enum {
	NODE = 1, // is about an existing node
	NAME = 2, // one name follows the struct
	NO_REPLY = 4,
};

struct fuse_op {
	const char *name;
	uint16_t least; // bytes of its struct that it must have
	uint8_t what;
	int16_t answer; // where there is no handler
	int (*own)(struct fuse *f, const struct fuse_request *rq, struct fuse_reply *rp);
};

// Minimum sizes are given where the struct is looked at. Forgetting is free: node ids are fixed.
// RELEASE and the like are not refused, for an old kernel sends them. The rest is answered so
// that the kernel does not ask again: ENOSYS to FLUSH, FSYNC, ACCESS, POLL, LSEEK, STATX and
// locks means "do it yourself"; what would write is EROFS, though the kernel refuses it before it
// comes here.
static const struct fuse_op op_table[FUSE_OPCODES] = {
	[FUSE_LOOKUP] = { "LOOKUP", 0, NODE | NAME, -ENOSYS, NULL },
	[FUSE_FORGET] = { "FORGET", 0, NO_REPLY, 0, NULL },
	[FUSE_GETATTR] = { "GETATTR", 0, NODE, -ENOSYS, NULL },
	[FUSE_SETATTR] = { "SETATTR", 0, 0, -EROFS, NULL },
	[FUSE_READLINK] = { "READLINK", 0, NODE, -ENOSYS, NULL },
	[FUSE_SYMLINK] = { "SYMLINK", 0, 0, -EROFS, NULL },
	[FUSE_MKNOD] = { "MKNOD", 0, 0, -EROFS, NULL },
	[FUSE_MKDIR] = { "MKDIR", 0, 0, -EROFS, NULL },
	[FUSE_UNLINK] = { "UNLINK", 0, 0, -EROFS, NULL },
	[FUSE_RMDIR] = { "RMDIR", 0, 0, -EROFS, NULL },
	[FUSE_RENAME] = { "RENAME", 0, 0, -EROFS, NULL },
	[FUSE_LINK] = { "LINK", 0, 0, -EROFS, NULL },
	[FUSE_OPEN] = { "OPEN", 0, NODE, 0, op_open },
	[FUSE_READ] = { "READ", sizeof(struct fuse_read_in), NODE, -ENOSYS, NULL },
	[FUSE_WRITE] = { "WRITE", 0, 0, -EROFS, NULL },
	[FUSE_STATFS] = { "STATFS", 0, 0, -ENOSYS, NULL },
	[FUSE_RELEASE] = { "RELEASE", 0, 0, 0, NULL },
	[FUSE_FSYNC] = { "FSYNC", 0, 0, -ENOSYS, NULL },
	[FUSE_SETXATTR] = { "SETXATTR", 0, 0, -EROFS, NULL },
	[FUSE_GETXATTR] = { "GETXATTR", sizeof(struct fuse_getxattr_in), NODE | NAME, -ENOSYS,
		NULL },
	[FUSE_LISTXATTR] = { "LISTXATTR", sizeof(struct fuse_getxattr_in), NODE, -ENOSYS, NULL },
	[FUSE_REMOVEXATTR] = { "REMOVEXATTR", 0, 0, -EROFS, NULL },
	[FUSE_FLUSH] = { "FLUSH", 0, 0, -ENOSYS, NULL },
	[FUSE_INIT] = { "INIT", 16, 0, 0, op_init },
	[FUSE_OPENDIR] = { "OPENDIR", 0, NODE, 0, op_opendir },
	[FUSE_READDIR] = { "READDIR", sizeof(struct fuse_read_in), NODE, -ENOSYS, NULL },
	[FUSE_RELEASEDIR] = { "RELEASEDIR", 0, 0, 0, NULL },
	[FUSE_FSYNCDIR] = { "FSYNCDIR", 0, 0, -ENOSYS, NULL },
	[FUSE_GETLK] = { "GETLK", 0, 0, -ENOSYS, NULL },
	[FUSE_SETLK] = { "SETLK", 0, 0, -ENOSYS, NULL },
	[FUSE_SETLKW] = { "SETLKW", 0, 0, -ENOSYS, NULL },
	[FUSE_ACCESS] = { "ACCESS", 0, 0, -ENOSYS, NULL },
	[FUSE_CREATE] = { "CREATE", 0, 0, -EROFS, NULL },
	[FUSE_INTERRUPT] = { "INTERRUPT", sizeof(struct fuse_interrupt_in), NO_REPLY, 0,
		op_interrupt },
	[FUSE_BMAP] = { "BMAP", 0, 0, -ENOSYS, NULL },
	[FUSE_DESTROY] = { "DESTROY", 0, 0, 0, NULL },
	[FUSE_IOCTL] = { "IOCTL", 0, 0, -ENOTTY, NULL },
	[FUSE_POLL] = { "POLL", 0, 0, -ENOSYS, NULL },
	[FUSE_NOTIFY_REPLY] = { "NOTIFY_REPLY", 0, NO_REPLY, 0, NULL },
	[FUSE_BATCH_FORGET] = { "BATCH_FORGET", 0, NO_REPLY, 0, NULL },
	[FUSE_FALLOCATE] = { "FALLOCATE", 0, 0, -EROFS, NULL },
	[FUSE_READDIRPLUS] = { "READDIRPLUS", sizeof(struct fuse_read_in), NODE, -ENOSYS, NULL },
	[FUSE_RENAME2] = { "RENAME2", 0, 0, -EROFS, NULL },
	[FUSE_LSEEK] = { "LSEEK", 0, 0, -ENOSYS, NULL },
	[FUSE_COPY_FILE_RANGE] = { "COPY_FILE_RANGE", 0, 0, -EROFS, NULL },
	[FUSE_SETUPMAPPING] = { "SETUPMAPPING", 0, 0, -ENOSYS, NULL },
	[FUSE_REMOVEMAPPING] = { "REMOVEMAPPING", 0, 0, -ENOSYS, NULL },
	[FUSE_SYNCFS] = { "SYNCFS", 0, 0, -ENOSYS, NULL },
	[FUSE_TMPFILE] = { "TMPFILE", 0, 0, -EROFS, NULL },
	[FUSE_OPCODES - 1] = { "STATX", 0, 0, -ENOSYS, NULL },
};

// What every read-like opcode asks for must fit into the buffer of a reply: a shorter one would
// mean the end of the file, and the kernel would believe it (fuse_short_read).
static bool reads(uint32_t opcode)
{
	return opcode == FUSE_READ || opcode == FUSE_READDIR || opcode == FUSE_READDIRPLUS;
}

int fuse_request_check(const void *msg, size_t len, uint64_t nodes, struct fuse_request *ret)
{
	const struct fuse_in_header *h = msg;

	if (len < sizeof *h || h->len != len)
		return -EBADMSG;
	*ret = (struct fuse_request){
		.unique = h->unique, .nodeid = h->nodeid, .opcode = h->opcode, .pid = h->pid
	};
	if (h->opcode >= FUSE_OPCODES || !op_table[h->opcode].name)
		return -ENOSYS;
	const struct fuse_op *op = ret->op = &op_table[h->opcode];
	if (op->what & NODE && (h->nodeid < 1 || h->nodeid > nodes))
		return -ESTALE;
	ret->arg = h + 1;
	// extensions, at the end, are none of those that were asked for; before 7.38 the field is
	// zero padding
	size_t rest = len - sizeof *h, ext = (size_t)h->total_extlen * 8;
	if (ext > rest || rest - ext < op->least)
		return -EINVAL;
	if (reads(h->opcode) && ((const struct fuse_read_in *)ret->arg)->size > FUSE_IO_MAX)
		return -EINVAL;
	if (!(op->what & NAME))
		return 0;
	rest -= ext + op->least;
	ret->name = (const char *)ret->arg + op->least;
	ret->name_len = strnlen(ret->name, rest);
	if (ret->name_len == 0 || ret->name_len + 1 != rest)
		return -EINVAL;
	return ret->name_len < FUSE_NAME_LIMIT ? 0 : -ENAMETOOLONG;
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
	int r = start_thread(&f->watcher, watch_thread, f);

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
	laters_fini(f);
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
	pthread_condattr_t attr;

	*f = (struct fuse){ .fd = fd, .fs = fs, .thread_count = threads, .ledger = life.ledger };
	pthread_mutex_init(&f->lock, NULL);
	pthread_cond_init(&f->freed, NULL);
	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(&f->watch, &attr);
	pthread_condattr_destroy(&attr);
	f->threads = calloc(threads, sizeof *f->threads);
	int r = f->threads ? laters_init(f) : -ENOMEM;
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
