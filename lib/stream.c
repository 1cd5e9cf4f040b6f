// stream.c - streams over a file's range and over memory
// SPDX-License-Identifier: Apache-2.0
#include "stream.h"

#include "log.h"

#include <inttypes.h>

struct fd_stream {
	struct stream s;
	int fd;
	uint64_t off, left;
};

static ssize_t fd_read(struct stream *s, void *buf, size_t n)
{
	struct fd_stream *f = (struct fd_stream *)s;
	ssize_t r;

	n = (size_t)MIN(MIN(f->left, n), 1u << 30);
	if (!n)
		return 0;
	do
		r = pread(f->fd, buf, n, (off_t)f->off);
	while (r < 0 && errno == EINTR);
	if (r < 0)
		return warn_errno(-errno, "read file descriptor %d at %" PRIu64, f->fd, f->off);
	if (!r)
		return warn_errno(-ENODATA,
			"file descriptor %d ends at %" PRIu64 ", %" PRIu64 " bytes early", f->fd,
			f->off, f->left);
	f->off += (uint64_t)r;
	f->left -= (uint64_t)r;
	return r;
}

static void fd_close(struct stream *s)
{
	free(s);
}

struct stream *stream_of_fd(int fd, uint64_t off, uint64_t len)
{
	static const struct stream_ops ops = { .read = fd_read, .close = fd_close };
	struct fd_stream *f = xmalloc(sizeof *f);

	*f = (struct fd_stream){ { &ops }, fd, off, len };
	return &f->s;
}

struct mem_stream {
	struct stream s;
	const uint8_t *p;
	size_t left;
};

static ssize_t mem_read(struct stream *s, void *buf, size_t n)
{
	struct mem_stream *m = (struct mem_stream *)s;

	n = MIN(n, m->left);
	if (!n)
		return 0;
	memcpy(buf, m->p, n);
	m->p += n;
	m->left -= n;
	return (ssize_t)n;
}

static void mem_close(struct stream *s)
{
	free(s);
}

struct stream *stream_of_mem(const void *p, size_t n)
{
	static const struct stream_ops ops = { .read = mem_read, .close = mem_close };
	struct mem_stream *m = xmalloc(sizeof *m);

	*m = (struct mem_stream){ { &ops }, p, n };
	return &m->s;
}

int stream_read_full(struct stream *s, void *buf, size_t n)
{
	uint8_t *p = buf;

	while (n) {
		ssize_t r = stream_read(s, p, n);

		if (r <= 0)
			return r ? (int)r : -ENODATA;
		p += r;
		n -= (size_t)r;
	}
	return 0;
}
