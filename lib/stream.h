// stream.h - a sequence of bytes that is pulled by its reader
// SPDX-License-Identifier: Apache-2.0
#ifndef STREAM_H
#define STREAM_H

#include "base.h"

struct stream;
struct stream_ops {
	// 1..n bytes read, 0 = end, or -errno (already logged with the name of the thing)
	ssize_t (*read)(struct stream *s, void *buf, size_t n);
	void (*close)(struct stream *s); // frees s
	// or NULL: close does it
	void (*abandon)(struct stream *s);
};
struct stream {
	const struct stream_ops *ops;
};

static inline ssize_t stream_read(struct stream *s, void *buf, size_t n)
{
	return s->ops->read(s, buf, n);
}
// NULL is allowed.
static inline void stream_close(struct stream *s)
{
	if (s)
		s->ops->close(s);
}
// After a fork whose child reads on: lets go of s without a word to the other end.
static inline void stream_abandon(struct stream *s)
{
	if (s && s->ops->abandon)
		s->ops->abandon(s);
	else
		stream_close(s);
}
static inline void stream_close_p(struct stream **s)
{
	stream_close(*s);
	*s = NULL;
}
#define cleanup_stream __attribute__((cleanup(stream_close_p)))
// A stream over [off, off+len) of fd (not taken over), and one over memory (borrowed).
struct stream *stream_of_fd(int fd, uint64_t off, uint64_t len);
struct stream *stream_of_mem(const void *p, size_t n);
// Exactly n bytes, or -ENODATA at a premature end, or the stream's error. Silent by itself.
int stream_read_full(struct stream *s, void *buf, size_t n) must_check;

#endif
