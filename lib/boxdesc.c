// boxdesc.c - what a container's init is told: a header, the binds, then strings
//
// Numbers and structs are as they lie in memory: writer and reader are the same program.
// SPDX-License-Identifier: Apache-2.0
#include "boxinit.h"

#include <sys/stat.h>

#include "boxexec.h"
#include "log.h"

struct header {
	int ctl, lower, upper, log_level;
	uint32_t n_args, n_env, n_binds;
	bool read_only, net_host, tty, interactive, detached;
	bool no_user_ns, rootless, one_id, new_privs, no_seccomp, unmasked, joins;
	uint64_t upper_size;
	struct caps_change caps;
	struct winsize size;
	struct box_join join;
};

struct bind_header {
	int fd;
	bool read_only;
};

static uint32_t count(char *const *list)
{
	uint32_t n = 0;

	while (list && list[n])
		n++;
	return n;
}

static void put_string(struct buf *out, const char *s)
{
	buf_add(out, s ? s : "", s ? strlen(s) + 1 : 1);
}

void boxinit_describe(const struct boxinit *i, struct buf *out)
{
	const struct box *b = &i->box;
	struct header h = {
		.ctl = i->ctl,
		.lower = i->from.lower,
		.upper = i->from.upper,
		.log_level = (int)log_level,
		.n_args = count(b->args),
		.n_env = count(b->env),
		.n_binds = (uint32_t)b->n_binds,
		.read_only = b->read_only,
		.net_host = b->net_host,
		.tty = b->tty,
		.interactive = b->interactive,
		.detached = b->detached,
		.no_user_ns = b->no_user_ns,
		.rootless = b->rootless,
		.one_id = b->one_id,
		.new_privs = b->new_privs,
		.no_seccomp = b->no_seccomp,
		.unmasked = b->unmasked,
		.joins = b->join,
		.upper_size = b->upper_size,
		.caps = b->caps,
		.size = i->size,
	};

	if (b->join)
		h.join = *b->join;

	buf_add(out, &h, sizeof h);
	for (size_t k = 0; k < b->n_binds; k++) {
		struct bind_header bh = { .fd = i->from.binds[k],
			.read_only = b->binds[k].read_only };

		buf_add(out, &bh, sizeof bh);
	}
	put_string(out, b->upper);
	put_string(out, b->cwd);
	put_string(out, b->user);
	put_string(out, b->hostname);
	for (uint32_t k = 0; k < h.n_args; k++)
		put_string(out, b->args[k]);
	for (uint32_t k = 0; k < h.n_env; k++)
		put_string(out, b->env[k]);
	for (size_t k = 0; k < b->n_binds; k++) {
		put_string(out, b->binds[k].src ? b->binds[k].src : "tmpfs");
		put_string(out, b->binds[k].dst);
	}
}

// The description lives in memory as long as this process; its writer is our own parent, so it is
// not checked but for its end.
struct reader {
	const char *p, *end;
};

static const void *take(struct reader *d, size_t n)
{
	const char *p = d->p;

	if (n > (size_t)(d->end - p))
		_exit(BOX_EXIT_SETUP);
	d->p += n;
	return p;
}

static const char *take_string(struct reader *d)
{
	const char *nul = memchr(d->p, '\0', (size_t)(d->end - d->p));

	if (!nul)
		_exit(BOX_EXIT_SETUP);
	return take(d, (size_t)(nul - d->p) + 1);
}

static char **take_strings(struct reader *d, uint32_t n)
{
	char **list = xcalloc(n + 1, sizeof *list);

	for (uint32_t k = 0; k < n; k++)
		list[k] = (char *)take_string(d);
	return list;
}

static void understand(struct reader *d, struct boxinit *i)
{
	struct header h;

	memcpy(&h, take(d, sizeof h), sizeof h);
	log_level = (enum log_level)h.log_level;
	i->ctl = h.ctl;
	i->size = h.size;
	i->from = (struct box_sources){ h.lower, h.upper, xcalloc(h.n_binds + 1, sizeof(int)) };
	struct box_bind *binds = xcalloc(h.n_binds + 1, sizeof *binds);
	for (uint32_t k = 0; k < h.n_binds; k++) {
		struct bind_header bh;

		memcpy(&bh, take(d, sizeof bh), sizeof bh);
		i->from.binds[k] = bh.fd;
		binds[k].read_only = bh.read_only;
	}
	i->box = (struct box){
		.read_only = h.read_only,
		.net_host = h.net_host,
		.tty = h.tty,
		.interactive = h.interactive,
		.detached = h.detached,
		.no_user_ns = h.no_user_ns,
		.rootless = h.rootless,
		.one_id = h.one_id,
		.new_privs = h.new_privs,
		.no_seccomp = h.no_seccomp,
		.unmasked = h.unmasked,
		.caps = h.caps,
		.upper_size = h.upper_size,
		.binds = binds,
		.n_binds = h.n_binds,
		.lower_fd = h.lower,
	};
	if (h.joins) {
		struct box_join *join = xmalloc(sizeof *join);

		*join = h.join;
		i->box.join = join;
	}
	i->box.upper = take_string(d);
	i->box.cwd = take_string(d);
	i->box.user = take_string(d);
	i->box.hostname = take_string(d);
	if (h.upper < 0)
		i->box.upper = NULL;
	i->box.args = take_strings(d, h.n_args);
	i->box.env = take_strings(d, h.n_env);
	for (uint32_t k = 0; k < h.n_binds; k++) {
		binds[k].src = take_string(d);
		binds[k].dst = take_string(d);
	}
}

int boxinit_read(int fd, struct boxinit *i)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return last_errno();
	char *text = xmalloc((size_t)st.st_size + 1); // never freed: i points into it
	int r = pread_full(fd, text, (size_t)st.st_size, 0);
	if (r < 0)
		return r;
	struct reader d = { text, text + st.st_size };
	understand(&d, i);
	return 0;
}
