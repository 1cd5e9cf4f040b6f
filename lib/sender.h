// sender.h - uploads a blob in a thread of its own, from before it is complete if that pays
// SPDX-License-Identifier: Apache-2.0
#ifndef SENDER_H
#define SENDER_H

#include "repo.h"

struct sender;
// A blob that is being written into fd will go to dst (borrowed). Takes fd over. ahead: what is there is sent while
// the rest is being written; otherwise nothing is sent before it is complete, and only if dst has not got it.
struct sender *sender_start(struct repo *dst, int fd, bool ahead) must_check;
// `have` bytes are there now. Any thread.
void sender_grown(struct sender *s, uint64_t have);
// The blob is complete; d->size = 0: there will be none, nothing is left behind. `spool` (-1: none) is a large file
// that is to be closed, which takes its time. Once per sender.
void sender_complete(struct sender *s, const struct desc *d, int spool);
// Waits until all is sent, after sender_complete. 0 or -errno, logged. NULL is allowed: 0.
int sender_end(struct sender *s) must_check;

#endif
