// ahead.h - a stream whose source is read by a thread of its own, some buffers ahead of the reader
// SPDX-License-Identifier: Apache-2.0
#ifndef AHEAD_H
#define AHEAD_H

#include "stream.h"

// Takes `in` over, in any case. At most 2 MiB is held. Closing ends the thread; it may have to wait
// for the source's current read. Without a thread to be had, `in` itself is returned.
struct stream *ahead_open(struct stream *in) must_check;

#endif
