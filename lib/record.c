// record.c - writes down what the readers of an image ask for, as a trace
//
// Threads: any may call record_read; `lock` guards all.
// SPDX-License-Identifier: Apache-2.0
#include "record.h"

#include <fcntl.h>
#include <pthread.h>

#include "log.h"
#include "trace.h"

#define START_NS 60000000000ull // the longest one that is believed in
#define QUIET_NS 5000000000ull

struct record {
	int fd;
	struct trace_files *files;
	pthread_mutex_t lock;
	uint64_t begun; // ns
	uint64_t last;	// when something was read, 0: never
	bool start_only, over;
	// the line that may still grow; file NULL: none
	const struct trace_file *file;
	uint64_t off, len; // in the file
	double seconds;
	struct buf path, line;
	bool failed;
};

static void put(struct record *r, const void *p, size_t n)
{
	int e = write_full(r->fd, p, n);

	if (e && !r->failed)
		warn_errno(e, "write the trace");
	r->failed |= e != 0;
}

static void write_line(struct record *r)
{
	if (!r->file)
		return;
	trace_file_path(r->files, r->file, &r->path);
	r->line.len = 0;
	trace_put(&r->line, r->seconds, (const char *)r->path.data, r->path.len, r->off, r->len);
	r->file = NULL;
	put(r, r->line.data, r->line.len);
}

// The lock is held.
static void end_start(struct record *r)
{
	write_line(r);
	put(r, RECORD_END, strlen(RECORD_END));
	r->over = true;
}

bool record_is_over(uint64_t begun, uint64_t last)
{
	return last && (now_ns() - last > QUIET_NS || now_ns() - begun > START_NS);
}

bool record_tick(struct record *r)
{
	bool now_over;

	if (!r || !r->start_only)
		return false;
	pthread_mutex_lock(&r->lock);
	now_over = !r->over && record_is_over(r->begun, r->last);
	if (now_over)
		end_start(r);
	pthread_mutex_unlock(&r->lock);
	return now_over;
}

// Blocks of one file: the line grows, or another begins.
static void note(struct record *r, const struct trace_file *file, uint64_t off, uint64_t len)
{
	if (file == r->file && off == r->off + r->len) {
		r->len += len;
		return;
	}
	write_line(r);
	r->file = file;
	r->off = off;
	r->len = len;
	r->seconds = (double)(r->last - r->begun) / 1e9;
}

void record_since(struct record *r, uint64_t begun)
{
	r->begun = begun;
}

void record_read_at(struct record *r, uint64_t ns, uint32_t space, uint64_t off, uint64_t len)
{
	uint64_t block = off >> BLOCK_SHIFT, end = (off + len + BLOCK_BYTES - 1) >> BLOCK_SHIFT;

	pthread_mutex_lock(&r->lock);
	if (r->over)
		end = block;
	else
		r->last = ns;
	while (block < end) {
		uint64_t at, n = 1;
		const struct trace_file *f = trace_file_at(r->files, space, (uint32_t)block, &at);

		if (f) {
			n = MIN(end, (uint64_t)f->block + f->blocks) - block;
			note(r, f, at, n << BLOCK_SHIFT);
		}
		block += n;
	}
	pthread_mutex_unlock(&r->lock);
}

void record_read(struct record *r, uint32_t space, uint64_t off, uint32_t len)
{
	record_read_at(r, now_ns(), space, off, len);
}

int record_start(int fd, const struct index *ix, bool start_only, struct record **ret)
{
	struct record *r = xcalloc(1, sizeof *r);

	r->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	r->start_only = start_only;
	r->begun = now_ns();
	pthread_mutex_init(&r->lock, NULL);
	if (r->fd < 0 || trace_files(ix, &r->files)) {
		record_end(r);
		return warn_errno(-ENOMEM, "record what is read");
	}
	*ret = r;
	return 0;
}

void record_stop(struct record *r)
{
	if (!r)
		return;
	pthread_mutex_lock(&r->lock);
	if (r->start_only && !r->over)
		end_start(r);
	else
		write_line(r);
	r->over = true;
	pthread_mutex_unlock(&r->lock);
}

void record_end(struct record *r)
{
	if (!r)
		return;
	record_stop(r);
	if (r->fd >= 0)
		close(r->fd);
	trace_files_free(r->files);
	buf_fini(&r->path);
	buf_fini(&r->line);
	pthread_mutex_destroy(&r->lock);
	free(r);
}
