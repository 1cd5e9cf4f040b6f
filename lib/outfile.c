// outfile.c - a file that appears when it is complete
// SPDX-License-Identifier: Apache-2.0
#include "outfile.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "log.h"

#define FLUSH (256u << 10)
#define HOLE (64u << 10) // zeros of this length and more are worth one

struct outfile {
	const char *path;
	char *dir;  // of the file that is to come; NULL: written in place
	char *temp; // its name until then, where a file cannot be without
	int fd;
	bool holes;
	struct buf b;
	uint64_t flushed; // bytes, holes included
	int error;
};

static char *dir_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return !slash		? xstrdup(".")
		: slash == path ? xstrdup("/")
				: xstrndup(path, (size_t)(slash - path));
}

// Not every file system has files without names.
static int make_temp(struct outfile *o)
{
	int fd = open(o->dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666);

	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR && errno != ENOENT))
		return fd < 0 ? -errno : fd;
	o->temp = xasprintf("%s.fcpull-%d", o->path, (int)getpid());
	fd = open(o->temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	return fd < 0 ? -errno : fd;
}

int outfile_open(const char *path, struct outfile **ret)
{
	struct outfile *o = xcalloc(1, sizeof *o);
	struct stat st;

	o->path = path && strcmp(path, "-") ? path : NULL;
	if (!o->path) {
		o->path = "standard output";
		o->fd = STDOUT_FILENO;
	} else if (!stat(path, &st) && !S_ISREG(st.st_mode)) {
		o->fd = open(path, O_WRONLY | O_CLOEXEC);
		o->fd = o->fd < 0 ? -errno : o->fd;
	} else {
		o->dir = dir_of(path);
		o->fd = make_temp(o);
		o->holes = true;
	}
	if (o->fd < 0) {
		int r = warn_errno(o->fd, "make %s", log_quote(path));

		free(o->dir);
		free(o->temp);
		free(o);
		return r;
	}
	*ret = o;
	return 0;
}

static int say(struct outfile *o, int r)
{
	if (o->error)
		return o->error;
	o->error = r;
	// a reader that has read enough is no error that anyone needs to be told of
	return r == -EPIPE ? r : warn_errno(r, "write %s", log_quote(o->path));
}

static int flush(struct outfile *o)
{
	int r = o->b.len ? write_full(o->fd, o->b.data, o->b.len) : 0;

	if (r)
		return say(o, r);
	o->flushed += o->b.len;
	o->b.len = 0;
	return 0;
}

static int add(struct outfile *o, const void *p, size_t n)
{
	buf_add(&o->b, p, n);
	return o->b.len >= FLUSH ? flush(o) : 0;
}

int outfile_zeros(struct outfile *o, uint64_t n)
{
	static uint8_t zeros[HOLE]; // not const: a constant would be 64 KiB of the program's file
	int r = 0;

	if (o->error)
		return o->error;
	if (o->holes && n >= HOLE) {
		r = flush(o);
		if (!r && lseek(o->fd, (off_t)n, SEEK_CUR) < 0)
			r = say(o, -errno);
		o->flushed += r ? 0 : n;
		return r;
	}
	for (; n && !r; n -= MIN(n, (uint64_t)HOLE))
		r = add(o, zeros, (size_t)MIN(n, (uint64_t)HOLE));
	return r;
}

int outfile_add(struct outfile *o, const void *p, size_t n)
{
	const uint8_t *at = p;
	int r = o->error;

	while (n && !r) {
		size_t part = MIN(n, (size_t)HOLE);

		r = o->holes && part == HOLE && is_zero(at, part) ? outfile_zeros(o, part)
								  : add(o, at, part);
		at += part;
		n -= part;
	}
	return r;
}

uint64_t outfile_size(const struct outfile *o)
{
	return o->flushed + o->b.len;
}

// The name appears by a rename, which replaces what has it.
static int give_name(struct outfile *o)
{
	char from[64];

	if (!o->temp) {
		snprintf(from, sizeof from, "/proc/self/fd/%d", o->fd);
		if (!linkat(AT_FDCWD, from, AT_FDCWD, o->path, AT_SYMLINK_FOLLOW))
			return 0;
		o->temp = xasprintf("%s.fcpull-%d", o->path, (int)getpid());
		if (errno != EEXIST || linkat(AT_FDCWD, from, AT_FDCWD, o->temp, AT_SYMLINK_FOLLOW))
			return -errno;
	}
	return rename(o->temp, o->path) ? -errno : 0;
}

static int complete(struct outfile *o)
{
	int r = flush(o);

	if (r || !o->dir)
		return r;
	if (ftruncate(o->fd, (off_t)o->flushed) || fsync(o->fd)) // it may end in a hole
		return say(o, -errno);
	r = give_name(o);
	return r ? say(o, r) : 0;
}

int outfile_close(struct outfile *o, int r)
{
	if (!r)
		r = complete(o);
	if (r && o->temp)
		unlink(o->temp);
	if (o->fd != STDOUT_FILENO && close(o->fd) && !r)
		r = say(o, -errno);
	buf_fini(&o->b);
	free(o->dir);
	free(o->temp);
	free(o);
	return r;
}
