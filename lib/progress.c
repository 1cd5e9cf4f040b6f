// progress.c - how far a long operation is
// SPDX-License-Identifier: Apache-2.0
#include "progress.h"

#include <pthread.h>

#include "opt.h"

#define REDRAW_NS 100000000ull	 // tty: 10 times a second
#define REPEAT_NS 10000000000ull // else: every 10 s

struct progress {
	char *what;
	uint64_t total, done;
	uint64_t started, said;
	bool tty;
	pthread_mutex_t lock; // guards done and said
};

static void say(struct progress *p, const char *how)
{
	uint64_t ns = now_ns() - p->started;
	char done[16], total[16], rate[16], line[256];
	int n = snprintf(line, sizeof line, "%s%s: %s", p->tty ? "\r" : "", p->what,
		human_size(p->done, done));

	if (p->total && !how)
		n += snprintf(line + n, sizeof line - (size_t)n, " of %s, %u %%",
			human_size(p->total, total), (unsigned)(p->done * 100 / p->total));
	if (ns > 1000000)
		n += snprintf(line + n, sizeof line - (size_t)n, ", %s/s",
			human_size((uint64_t)((double)p->done * 1e9 / (double)ns), rate));
	if (how)
		n += snprintf(line + n, sizeof line - (size_t)n, ", %s", how);
	fprintf(stderr, "%s%s%s", line, p->tty ? "\033[K" : "", how || !p->tty ? "\n" : "");
}

struct progress *progress_start(const char *what, uint64_t total)
{
	struct progress *p = xcalloc(1, sizeof *p);

	p->what = xstrdup(what);
	p->total = total;
	p->tty = isatty(STDERR_FILENO);
	p->started = p->said = now_ns();
	pthread_mutex_init(&p->lock, NULL);
	return p;
}

void progress_add(struct progress *p, uint64_t bytes)
{
	uint64_t now = now_ns();

	pthread_mutex_lock(&p->lock);
	p->done += bytes;
	if (!opt_quiet && now - p->said >= (p->tty ? REDRAW_NS : REPEAT_NS)) {
		p->said = now;
		say(p, NULL);
	}
	pthread_mutex_unlock(&p->lock);
}

void progress_end(struct progress *p, const char *how)
{
	if (!p)
		return;
	if (!opt_quiet)
		say(p, how);
	pthread_mutex_destroy(&p->lock);
	free(p->what);
	free(p);
}
