// progress.c - how far a long operation is
// SPDX-License-Identifier: Apache-2.0
#include "progress.h"

#include <pthread.h>
#include <sys/ioctl.h>

#include "json.h"
#include "opt.h"

enum mode { TTY, PLAIN, JSON, NONE };

static const struct {
	const char *name;
	enum mode mode;
	uint64_t every_ns; // at most so often
} modes[] = {
	{ "tty", TTY, 100000000 },
	{ "plain", PLAIN, 10000000000 },
	{ "json", JSON, 500000000 },
	{ "none", NONE, UINT64_MAX },
};

struct progress {
	char *what;
	uint64_t total, done;
	uint64_t started, said;
	size_t mode;	      // of modes
	pthread_mutex_t lock; // guards done and said
};

static bool can_redraw(void)
{
	const char *term = getenv("TERM");

	return isatty(STDERR_FILENO) && (!term || strcmp(term, "dumb"));
}

static size_t choose_mode(void)
{
	const char *want = opt_quiet	       ? "none"
		: strcmp(opt_progress, "auto") ? opt_progress
		: can_redraw()		       ? "tty"
					       : "plain";

	for (size_t i = 0; i < ARRAY_LEN(modes); i++)
		if (!strcmp(want, modes[i].name))
			return i;
	return ARRAY_LEN(modes) - 1; // opt.c has refused all others
}

static size_t columns(void)
{
	struct winsize w;

	return ioctl(STDERR_FILENO, TIOCGWINSZ, &w) || !w.ws_col ? 80 : w.ws_col;
}

static uint64_t rate_of(const struct progress *p)
{
	uint64_t ns = now_ns() - p->started;

	return ns < 1000000 ? 0 : (uint64_t)((double)p->done * 1e9 / (double)ns);
}

static void put_left(struct buf *b, const struct progress *p, uint64_t rate)
{
	uint64_t s = rate ? (p->total - p->done) / rate : 0;

	if (s >= 3600)
		buf_printf(b, ", %llu h %02llu min left", (unsigned long long)s / 3600,
			(unsigned long long)s / 60 % 60);
	else if (s >= 60)
		buf_printf(b, ", %llu min %02llu s left", (unsigned long long)s / 60,
			(unsigned long long)s % 60);
	else if (s)
		buf_printf(b, ", %llu s left", (unsigned long long)s);
}

static void put_text(struct buf *b, const struct progress *p, const char *how)
{
	uint64_t rate = rate_of(p);
	char size[16];

	buf_printf(b, "%s: %s", p->what, human_size(p->done, size));
	if (p->total && !how)
		buf_printf(b, " of %s, %u %%", human_size(p->total, size),
			(unsigned)(p->done * 100 / p->total));
	if (rate)
		buf_printf(b, ", %s/s", human_size(rate, size));
	if (p->total > p->done && !how)
		put_left(b, p, rate);
	if (how)
		buf_printf(b, ", %s", how);
}

static void put_json(struct buf *b, const struct progress *p, const char *how)
{
	json_open(b, NULL, '{');
	json_put_str(b, "event", how ? "end" : p->said == p->started ? "start" : "progress");
	json_put_str(b, "what", p->what);
	json_put_u64(b, "done", p->done);
	if (p->total)
		json_put_u64(b, "total", p->total);
	json_put_u64(b, "bytesPerSecond", rate_of(p));
	if (how)
		json_put_str(b, "result", how);
	json_close(b, '}');
}

// One write, so that lines of others do not come between.
static void say(struct progress *p, const char *how)
{
	cleanup_buf struct buf b = { 0 };
	enum mode mode = modes[p->mode].mode;

	if (mode == NONE)
		return;
	if (mode == JSON)
		put_json(&b, p, how);
	else
		put_text(&b, p, how);
	// a line that is broken cannot be drawn over
	if (mode == TTY && !how)
		b.len = MIN(b.len, columns() - 1);
	fprintf(stderr, "%s%.*s%s%s", mode == TTY ? "\r" : "", (int)b.len, (char *)b.data,
		mode == TTY ? "\033[K" : "", how || mode != TTY ? "\n" : "");
}

struct progress *progress_start(const char *what, uint64_t total)
{
	struct progress *p = xcalloc(1, sizeof *p);

	p->what = xstrdup(what);
	p->total = total;
	p->mode = choose_mode();
	p->started = p->said = now_ns();
	pthread_mutex_init(&p->lock, NULL);
	if (modes[p->mode].mode == JSON)
		say(p, NULL);
	return p;
}

void progress_add(struct progress *p, uint64_t bytes)
{
	uint64_t now = now_ns();

	pthread_mutex_lock(&p->lock);
	p->done += bytes;
	if (now - p->said >= modes[p->mode].every_ns) {
		p->said = now;
		say(p, NULL);
	}
	pthread_mutex_unlock(&p->lock);
}

void progress_end(struct progress *p, const char *how)
{
	if (!p)
		return;
	say(p, how);
	pthread_mutex_destroy(&p->lock);
	free(p->what);
	free(p);
}
