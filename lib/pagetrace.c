// pagetrace.c - which pages of a file system come into the page cache
//
// One event and one ring for each processor that is online; no threads. What the rings say is kept
// in memory, runs of pages joined, until the start is over: only then is the index opened, and an
// inode number of the mount looked up, which is a place in the EROFS metadata (erofs.c).
//
// The rings are bounded: pages that come faster than they are taken are lost, and counted.
// SPDX-License-Identifier: Apache-2.0
#include "pagetrace.h"

#include <fcntl.h>
#include <linux/mount.h>
#include <linux/perf_event.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>

#include "erofs.h"
#include "erofs_fs.h"
#include "log.h"
#include "record.h"

#define EVENT_DIR "events/filemap/mm_filemap_add_to_page_cache/"
#define FORMAT_MAX 16384
#define CPUS_MAX 4096
#define RINGS_BYTES (8u << 20) // of all rings; each has
#define RING_MIN (32u << 10)
#define RING_MAX (512u << 10)	    // 8,000 pages
#define RUNS_MAX (1u << 20)	    // that are kept: 24 MiB; a start has some thousand
#define MINOR_BITS 20		    // of the kernel's own dev_t (linux/kdev_t.h)
#define SAMPLE_MAX (UINT16_MAX + 1) // bytes: perf_event_header.size has 16 bits

// Where a field is in the event's bytes; size 0: there is none.
struct field {
	uint32_t off, size;
};

// What the kernel says of the event, in EVENT_DIR.
struct layout {
	uint64_t id;
	struct field ino, index, order; // order: Linux 6.14; one page before
};

struct run { // pages of a file, that came one after the other
	uint64_t ns, ino, page;
	uint32_t n;
	uint32_t seq; // order of arrival
};

struct ring {
	int fd;
	struct perf_event_mmap_page *head; // the data is behind its page
	size_t last;			   // its run that may still grow, SIZE_MAX: none
};

struct pagetrace {
	struct layout layout;
	uint64_t begun, last, lost;
	struct ring *ring;
	struct pollfd *poll;
	size_t rings, ring_bytes;
	struct run *run;
	size_t n, cap;
	uint8_t sample[SAMPLE_MAX]; // one that goes round the end of its ring
};

// ---- what the event looks like ----

// "	field:unsigned long i_ino;	offset:16;	size:8;	signed:0;"
static struct field find_field(const char *format, const char *name)
{
	cleanup_free char *key = xasprintf(" %s;\toffset:", name);
	const char *at = strstr(format, key);
	struct field f = { 0 };

	if (at && sscanf(at + strlen(key), "%u;\tsize:%u;", &f.off, &f.size) != 2)
		f.size = 0;
	return f;
}

static bool is_number(const struct field *f)
{
	return f->size == 8 || f->size == 4 || f->size == 1;
}

static int parse_layout(const char *format, struct layout *ret)
{
	const char *id = strstr(format, "\nID: ");

	ret->id = id ? strtoull(id + 5, NULL, 10) : 0;
	ret->ino = find_field(format, "i_ino");
	ret->index = find_field(format, "index");
	ret->order = find_field(format, "order");
	return ret->id && is_number(&ret->ino) && is_number(&ret->index) &&
			find_field(format, "s_dev").size
		? 0
		: -EPROTO;
}

// A tracefs of our own, mounted nowhere: not every system has one.
static int open_tracefs(void)
{
	cleanup_fd int fs = (int)syscall(SYS_fsopen, "tracefs", FSOPEN_CLOEXEC);
	int fd;

	if (fs < 0 || syscall(SYS_fsconfig, fs, FSCONFIG_CMD_CREATE, NULL, NULL, 0) < 0)
		return -errno;
	fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, 0);
	return fd < 0 ? -errno : fd;
}

static int read_layout(struct layout *ret)
{
	char format[FORMAT_MAX];
	cleanup_fd int dir = open_tracefs();
	if (dir < 0)
		return dir;
	ssize_t n = read_text_at(dir, EVENT_DIR "format", format, sizeof format);

	return n < 0 ? (int)n : parse_layout(format, ret);
}

// ---- the events ----

static int open_event(const struct perf_event_attr *a, int cpu)
{
	struct perf_event_attr copy = *a;
	int fd = (int)syscall(SYS_perf_event_open, &copy, -1, cpu, -1, PERF_FLAG_FD_CLOEXEC);

	return fd < 0 ? -errno : fd;
}

// The event itself is not tried: to end the last user of a tracepoint takes the kernel a while (it
// waits until no processor can still be in it). One that counts nothing needs the same rights.
bool pagetrace_possible(char why[static 160])
{
	const struct perf_event_attr dummy = { .size = sizeof dummy,
		.type = PERF_TYPE_SOFTWARE,
		.config = PERF_COUNT_SW_DUMMY,
		.disabled = 1 };
	struct layout l;
	int r = read_layout(&l), fd;

	if (r) {
		snprintf(why, 160, "the kernel's tracepoints cannot be used: %s", strerror(-r));
		return false;
	}
	fd = open_event(&dummy, 0);
	if (fd < 0) {
		snprintf(why, 160, "the kernel's perf events cannot be used: %s", strerror(-fd));
		return false;
	}
	close(fd);
	return true;
}

static size_t ring_bytes(size_t cpus)
{
	size_t n = RING_MIN;

	while (n < RING_MAX && 2 * n * cpus <= RINGS_BYTES)
		n *= 2;
	return n;
}

static int start_ring(struct pagetrace *p, int cpu, const char *filter)
{
	size_t page = (size_t)sysconf(_SC_PAGESIZE);
	const struct perf_event_attr a = {
		.size = sizeof a,
		.type = PERF_TYPE_TRACEPOINT,
		.config = p->layout.id,
		.sample_period = 1,
		.sample_type = PERF_SAMPLE_TIME | PERF_SAMPLE_RAW,
		.disabled = 1,
		.watermark = 1,
		.wakeup_watermark = (uint32_t)p->ring_bytes / 4,
		.use_clockid = 1,
		.clockid = CLOCK_MONOTONIC,
	};
	struct ring *r = &p->ring[p->rings];
	void *m;

	r->last = SIZE_MAX;
	r->fd = open_event(&a, cpu);
	if (r->fd == -ENODEV) // it is offline
		return 0;
	if (r->fd < 0)
		return r->fd;
	p->poll[p->rings++] = (struct pollfd){ .fd = r->fd, .events = POLLIN };
	m = mmap(NULL, page + p->ring_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, r->fd, 0);
	if (m == MAP_FAILED)
		return -errno;
	r->head = m;
	if (ioctl(r->fd, PERF_EVENT_IOC_SET_FILTER, filter) ||
		ioctl(r->fd, PERF_EVENT_IOC_ENABLE, 0))
		return -errno;
	return 0;
}

int pagetrace_start(uint32_t major, uint32_t minor, struct pagetrace **ret)
{
	long cpus = sysconf(_SC_NPROCESSORS_CONF);
	struct pagetrace *p = xcalloc(1, sizeof *p);
	char filter[40];
	int r;

	cpus = MIN(MAX(cpus, 1), CPUS_MAX);
	p->begun = now_ns();
	p->ring = xcalloc((size_t)cpus, sizeof *p->ring);
	p->poll = xcalloc((size_t)cpus, sizeof *p->poll);
	p->ring_bytes = ring_bytes((size_t)cpus);
	snprintf(filter, sizeof filter, "s_dev == %llu",
		(unsigned long long)major << MINOR_BITS | minor);
	r = read_layout(&p->layout);
	for (int i = 0; i < cpus && !r; i++)
		r = start_ring(p, i, filter);
	if (r) {
		pagetrace_free(p);
		return warn_errno(r, "record by the kernel's tracepoints");
	}
	*ret = p;
	return 0;
}

// ---- what they say ----

static uint64_t number(const uint8_t *raw, size_t n, const struct field *f)
{
	uint64_t v = 0;
	uint32_t v4;

	if (!f->size || f->off > n || f->size > n - f->off)
		return 0;
	if (f->size == 8) {
		memcpy(&v, raw + f->off, 8);
	} else if (f->size == 4) {
		memcpy(&v4, raw + f->off, 4);
		v = v4;
	} else {
		v = raw[f->off];
	}
	return v;
}

static void add_page(struct pagetrace *p, struct ring *r, const struct run *new)
{
	struct run *last = r->last == SIZE_MAX ? NULL : &p->run[r->last];

	p->last = MAX(p->last, new->ns);
	if (last && last->ino == new->ino &&
		last->page + last->n == new->page &&new->n <= UINT32_MAX - last->n) {
		last->n += new->n;
		return;
	}
	if (p->n == RUNS_MAX) {
		p->lost += new->n;
		return;
	}
	p->run = xgrow(p->run, &p->cap, p->n + 1, sizeof *p->run);
	p->run[p->n] = *new;
	p->run[p->n].seq = (uint32_t)p->n;
	r->last = p->n++;
}

// struct { header; u64 time; u32 size; char raw[size]; }, or { header; u64 id; u64 lost; }
static void take_record(struct pagetrace *p, struct ring *r, const uint8_t *at, size_t n)
{
	struct perf_event_header h;
	uint64_t v;
	uint32_t raw;
	struct run new = { .n = 1 };

	memcpy(&h, at, sizeof h);
	if (h.type == PERF_RECORD_LOST && n >= sizeof h + 16) {
		memcpy(&v, at + sizeof h + 8, sizeof v);
		p->lost += v;
	}
	if (h.type != PERF_RECORD_SAMPLE || n < sizeof h + 12)
		return;
	memcpy(&new.ns, at + sizeof h, sizeof new.ns);
	memcpy(&raw, at + sizeof h + 8, sizeof raw);
	if (raw > n - sizeof h - 12)
		return;
	at += sizeof h + 12;
	new.ino = number(at, raw, &p->layout.ino);
	new.page = number(at, raw, &p->layout.index);
	new.n = 1u << MIN(number(at, raw, &p->layout.order), 30);
	add_page(p, r, &new);
}

static void take_ring(struct pagetrace *p, struct ring *r)
{
	const uint8_t *data = (const uint8_t *)r->head + sysconf(_SC_PAGESIZE);
	uint64_t head = __atomic_load_n(&r->head->data_head, __ATOMIC_ACQUIRE);
	uint64_t tail = r->head->data_tail;

	while (head - tail >= sizeof(struct perf_event_header)) {
		size_t at = (size_t)(tail & (p->ring_bytes - 1)), n, first;
		struct perf_event_header h;

		// (records are multiples of 8 bytes: a header never goes round the end)
		memcpy(&h, data + at, sizeof h);
		n = h.size;
		if (n < sizeof h || n > head - tail)
			break; // cannot be
		first = MIN(n, p->ring_bytes - at);
		memcpy(p->sample, data + at, first);
		memcpy(p->sample + first, data, n - first);
		take_record(p, r, p->sample, n);
		tail += n;
	}
	__atomic_store_n(&r->head->data_tail, head, __ATOMIC_RELEASE);
}

static void take(struct pagetrace *p)
{
	for (size_t i = 0; i < p->rings; i++)
		if (p->ring[i].head)
			take_ring(p, &p->ring[i]);
}

void pagetrace_wait(struct pagetrace *p, int ms)
{
	if (poll(p->poll, (nfds_t)p->rings, ms) < 0)
		debug("wait for pages: %s", strerror(errno));
	for (size_t i = 0; i < p->rings; i++)
		if (p->poll[i].revents & ~POLLIN)
			p->poll[i].fd = -1; // its processor is gone
	take(p);
}

bool pagetrace_is_over(const struct pagetrace *p)
{
	return record_is_over(p->begun, p->last);
}

static void close_rings(struct pagetrace *p)
{
	for (size_t i = 0; i < p->rings; i++) {
		if (p->ring[i].head)
			munmap(p->ring[i].head, (size_t)sysconf(_SC_PAGESIZE) + p->ring_bytes);
		close(p->ring[i].fd);
	}
	p->rings = 0;
}

void pagetrace_stop(struct pagetrace *p)
{
	take(p);
	close_rings(p);
	if (p->lost)
		info("%llu pages were read too fast to be recorded", (unsigned long long)p->lost);
}

void pagetrace_free(struct pagetrace *p)
{
	if (!p)
		return;
	close_rings(p);
	free(p->ring);
	free(p->poll);
	free(p->run);
	free(p);
}

// ---- the trace ----

static int by_time(const void *a, const void *b)
{
	const struct run *x = a, *y = b;

	if (x->ns != y->ns)
		return x->ns < y->ns ? -1 : 1;
	return x->seq < y->seq ? -1 : x->seq > y->seq;
}

// The node that an inode number of the mount means, or NODE_NONE: none of ours.
static uint32_t node_of(const struct erofs_image *im, uint64_t ino)
{
	uint64_t size = erofs_meta_size(im);
	struct erofs_inode in;

	if (ino > size / EROFS_NID_BYTES || ino * EROFS_NID_BYTES + sizeof in > size ||
		erofs_read(im, EROFS_DEVICES, &in, sizeof in, ino * EROFS_NID_BYTES))
		return NODE_NONE;
	return in.ino - 1; // as emit_node() has it
}

static void write_run(
	struct record *rec, const struct index *ix, uint32_t node, const struct run *r)
{
	const uint64_t scale = (uint64_t)sysconf(_SC_PAGESIZE) / BLOCK_BYTES;
	uint64_t from = r->page * scale, end;
	struct attr a;

	if (node >= index_nodes(ix))
		return;
	index_attr(ix, node, &a);
	if (!S_ISREG(a.mode))
		return; // a directory's blocks are metadata
	end = MIN(from + r->n * scale, blocks_of(a.size));
	if (from < end)
		record_read_at(rec, r->ns, a.space, (a.block + from) << BLOCK_SHIFT,
			(end - from) << BLOCK_SHIFT);
}

int pagetrace_write(struct pagetrace *p, const struct index *ix, int tmp, int fd)
{
	struct erofs_image *im;
	struct record *rec;
	int r = erofs_build(ix, tmp, &im);

	if (r)
		return r;
	qsort(p->run, p->n, sizeof *p->run, by_time);
	r = record_start(fd, ix, true, &rec);
	if (!r) {
		record_since(rec, p->begun);
		for (size_t i = 0; i < p->n; i++)
			write_run(rec, ix, node_of(im, p->run[i].ino), &p->run[i]);
		record_end(rec);
	}
	erofs_free(im);
	return r;
}
