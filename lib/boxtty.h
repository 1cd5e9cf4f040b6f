// boxtty.h - the host's terminal on one side, the container's pty on the other, and what flows
// between
// SPDX-License-Identifier: Apache-2.0
#ifndef BOXTTY_H
#define BOXTTY_H

#include <poll.h>
#include <termios.h>

#include "base.h"

// One direction. `from` is read only when the buffer is empty, so a slow reader holds up the writer
// and nothing is dropped.
struct flow {
	int from, to; // -1: ended
	size_t pos, len;
	char buf[4096]; // PIPE_BUF: what poll's POLLOUT promises to take without waiting
};

struct boxtty {
	int master; // -1: no terminal
	bool raw;
	bool eof_key; // the end of standard input, when that is no terminal, becomes ^D
	struct termios saved;
	struct flow in, out;
};

// Takes master over; with input, standard input flows in, and goes to raw mode if it is a terminal.
void boxtty_start(struct boxtty *t, int master, bool input);
// Fills two entries for poll, and moves what poll found possible.
void boxtty_want(const struct boxtty *t, struct pollfd fds[static 2]);
void boxtty_move(struct boxtty *t, const struct pollfd fds[static 2]);
// All output is out; true also when there is no terminal.
bool boxtty_done(const struct boxtty *t);
void boxtty_resize(const struct boxtty *t);
// The host terminal's mode: back to what it was, and raw again (around a stop).
void boxtty_restore(struct boxtty *t);
void boxtty_raw(struct boxtty *t);
void boxtty_stop(struct boxtty *t);

#endif
