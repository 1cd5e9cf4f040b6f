// feed.h - a stream that another process reads on, for a process that is not there yet
// SPDX-License-Identifier: Apache-2.0
#ifndef FEED_H
#define FEED_H

#include "repo.h"
#include "stream.h"

// Forks a process that copies the rest of `s` into a pipe, whose other end is *ret_fd, until the
// stream or its reader ends. Nobody's child; it holds neither standard files nor a working
// directory. The stream's connection is that process's from here on: the caller must not touch s
// again but by stream_abandon(). net: as the stream's repo was opened with; there a lost connection
// is not replaced. Must be called while the process has one thread. -errno logged.
int feed_start(struct stream *s, struct net_opts *net, int *ret_fd) must_check;

#endif
