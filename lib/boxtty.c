// boxtty.c - the host's terminal and the container's
// SPDX-License-Identifier: Apache-2.0
#include "boxtty.h"

#include <fcntl.h>
#include <sys/ioctl.h>

#define KEY_EOF 4 // ^D

void boxtty_raw(struct boxtty *t)
{
	struct termios raw;

	if (t->master < 0 || t->raw || t->in.from < 0 || tcgetattr(STDIN_FILENO, &t->saved) < 0)
		return;
	raw = t->saved;
	cfmakeraw(&raw);
	t->raw = tcsetattr(STDIN_FILENO, TCSADRAIN, &raw) == 0;
}

void boxtty_restore(struct boxtty *t)
{
	if (t->raw)
		tcsetattr(STDIN_FILENO, TCSADRAIN, &t->saved);
	t->raw = false;
}

void boxtty_resize(const struct boxtty *t)
{
	struct winsize size;

	if (t->master >= 0 &&
		(ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0 ||
			ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0))
		ioctl(t->master, TIOCSWINSZ, &size);
}

void boxtty_start(struct boxtty *t, int master, bool input)
{
	t->master = master;
	t->in = (struct flow){ .from = input ? STDIN_FILENO : -1, .to = master };
	t->out = (struct flow){ .from = master, .to = STDOUT_FILENO };
	t->eof_key = input && !isatty(STDIN_FILENO);
	// the master is nobody else's; our standard descriptors are the shell's too, so they stay
	// blocking
	fcntl(master, F_SETFL, O_RDWR | O_NONBLOCK);
	boxtty_resize(t);
	boxtty_raw(t);
}

static struct pollfd want(const struct flow *f)
{
	if (f->len > 0)
		return (struct pollfd){ .fd = f->to, .events = POLLOUT };
	return (struct pollfd){ .fd = f->from, .events = POLLIN };
}

void boxtty_want(const struct boxtty *t, struct pollfd fds[static 2])
{
	fds[0] = fds[1] = (struct pollfd){ .fd = -1 };
	if (t->master < 0)
		return;
	fds[0] = want(&t->in);
	fds[1] = want(&t->out);
}

static bool retry(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

static void move(struct flow *f, short revents)
{
	ssize_t n;

	if (!revents)
		return;
	if (f->len == 0) {
		n = read(f->from, f->buf, sizeof f->buf);
		if (retry(n))
			return;
		// EIO: the other side of a pty is closed
		if (n <= 0)
			f->from = -1;
		f->pos = 0;
		f->len = n > 0 ? (size_t)n : 0;
		return;
	}
	n = write(f->to, f->buf + f->pos, f->len);
	if (retry(n))
		return;
	// nobody reads: what comes is dropped, so that the container does not stand still
	f->len = n < 0 ? 0 : f->len - (size_t)n;
	f->pos += n < 0 ? 0 : (size_t)n;
}

void boxtty_move(struct boxtty *t, const struct pollfd fds[static 2])
{
	if (t->master < 0)
		return;
	move(&t->in, fds[0].revents);
	move(&t->out, fds[1].revents);
	if (t->eof_key && t->in.from < 0 && t->in.len == 0) {
		t->eof_key = false;
		t->in.buf[0] = KEY_EOF;
		t->in.pos = 0;
		t->in.len = 1;
	}
}

bool boxtty_done(const struct boxtty *t)
{
	return t->master < 0 || (t->out.from < 0 && t->out.len == 0);
}

void boxtty_stop(struct boxtty *t)
{
	boxtty_restore(t);
	if (t->master >= 0)
		close(t->master);
	t->master = -1;
}
