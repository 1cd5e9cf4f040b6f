// dirtar.c - a directory as a tar archive (pax)
//
// A file that grows or shrinks while it is read would shift all that follows: then the archive is
// given up.
// SPDX-License-Identifier: Apache-2.0
#include "dirtar.h"
#include "log.h"
#include "tarhead.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>

#define COPY_SIZE (256u << 10)

struct link {
	dev_t dev;
	ino_t ino;
	char *path; // where it was first met
};

struct writer {
	const char *dir; // for messages
	int out;
	uint64_t at;
	dev_t dev;
	struct link *links; // open addressing; path NULL: free
	size_t n_links, cap_links;
	struct buf path; // of the entry, without NUL
	struct buf pax;	 // its records
	uint8_t *copy;
};

static int fail(const struct writer *w, int r, const char *what)
{
	return warn_errno(r, "%s: %s %s", log_quote(w->dir), what,
		log_quote_n((char *)w->path.data, w->path.len));
}

static int put(struct writer *w, const void *p, size_t n)
{
	int r = pwrite_full(w->out, p, n, w->at);

	w->at += n;
	return r < 0 ? warn_errno(r, "write a scratch copy of %s%s", log_quote(w->dir),
			       r == -ENOSPC ? " (TMPDIR names another place)" : "")
		     : 0;
}

static int pad(struct writer *w, uint64_t size)
{
	static const uint8_t zeros[TAR_BLOCK];

	return put(w, zeros, (size_t)(-size & (TAR_BLOCK - 1)));
}

// ---- pax records: "LENGTH KEY=VALUE\n", LENGTH counting itself ----

static void add_record(struct buf *b, const char *key, const void *value, size_t n)
{
	size_t rest = 1 + strlen(key) + 1 + n + 1, len = rest + 1;

	while (len != rest + (size_t)snprintf(NULL, 0, "%zu", len))
		len = rest + (size_t)snprintf(NULL, 0, "%zu", len);
	buf_printf(b, "%zu %s=", len, key);
	buf_add(b, value, n);
	buf_add(b, "\n", 1);
}

static void add_number(struct buf *b, const char *key, uint64_t v)
{
	char s[24];
	int n = snprintf(s, sizeof s, "%llu", (unsigned long long)v);

	add_record(b, key, s, (size_t)n);
}

static void add_time(struct buf *b, const struct timespec *t)
{
	char s[48];
	// a negative time with nanoseconds is -(s - 1).(1e9 - ns)
	bool below = t->tv_sec < 0 && t->tv_nsec > 0;
	int n = snprintf(s, sizeof s, "%s%lld.%09ld", below && t->tv_sec == -1 ? "-" : "",
		(long long)t->tv_sec + below, below ? 1000000000 - t->tv_nsec : t->tv_nsec);

	add_record(b, "mtime", s, (size_t)n);
}

// ---- headers ----

static int put_header(struct writer *w, char type, const char *name, size_t name_len, uint64_t size,
	const struct stat *st, const char *link)
{
	union tar_block b = { 0 };

	memcpy(b.h.name, name, MIN(name_len, sizeof b.h.name));
	TARHEAD_PUT(b.h.mode, st->st_mode & 07777);
	TARHEAD_PUT(b.h.uid, st->st_uid);
	TARHEAD_PUT(b.h.gid, st->st_gid);
	TARHEAD_PUT(b.h.size, size);
	TARHEAD_PUT(b.h.mtime, st->st_mtime >= 0 ? (uint64_t)st->st_mtime : 0);
	b.h.type = type;
	if (link)
		memcpy(b.h.linkname, link, MIN(strlen(link), sizeof b.h.linkname));
	if (type == '3' || type == '4') {
		TARHEAD_PUT(b.h.major, major(st->st_rdev));
		TARHEAD_PUT(b.h.minor, minor(st->st_rdev));
	}
	tarhead_seal(&b);
	return put(w, &b, sizeof b);
}

// What the plain header cannot say comes before it.
static int put_entry(
	struct writer *w, char type, uint64_t size, const struct stat *st, const char *link)
{
	const char *name = (char *)w->path.data;
	struct buf *p = &w->pax;
	int r = 0;

	if (w->path.len > 100)
		add_record(p, "path", name, w->path.len);
	if (link && strlen(link) > 100)
		add_record(p, "linkpath", link, strlen(link));
	if (size > 077777777777ull)
		add_number(p, "size", size);
	if (st->st_uid > 07777777)
		add_number(p, "uid", st->st_uid);
	if (st->st_gid > 07777777)
		add_number(p, "gid", st->st_gid);
	if (st->st_mtim.tv_nsec || st->st_mtime < 0 || st->st_mtime > 077777777777ll)
		add_time(p, &st->st_mtim);
	if (p->len > 0) {
		r = put_header(w, 'x', "pax", 3, p->len, st, NULL);
		if (r == 0)
			r = put(w, p->data, p->len);
		if (r == 0)
			r = pad(w, p->len);
	}
	p->len = 0;
	return r < 0 ? r : put_header(w, type, name, w->path.len, size, st, link);
}

// ---- extended attributes ----

// at: "/proc/self/fd/N/NAME", the entry itself and never what it links to
static int add_xattrs(struct writer *w, const char *at)
{
	cleanup_free char *names = xmalloc(TAR_XATTR_MAX), *value = xmalloc(TAR_XATTR_MAX);
	ssize_t n = llistxattr(at, names, TAR_XATTR_MAX);

	if (n < 0 && errno == ENOTSUP)
		return 0;
	if (n < 0)
		return fail(w, -errno, "extended attributes of");
	for (const char *name = names; name < names + n; name += strlen(name) + 1) {
		cleanup_free char *key = xasprintf("SCHILY.xattr.%s", name);
		ssize_t len = lgetxattr(at, name, value, TAR_XATTR_MAX);

		if (len < 0 && errno != ENODATA)
			return fail(w, -errno, "extended attributes of");
		if (len >= 0)
			add_record(&w->pax, key, value, (size_t)len);
	}
	return 0;
}

// ---- hard links ----

static struct link *link_slot(struct writer *w, const struct stat *st)
{
	size_t i = (size_t)(st->st_ino * 0x9e3779b97f4a7c15ull >> 20) & (w->cap_links - 1);

	while (w->links[i].path && (w->links[i].ino != st->st_ino || w->links[i].dev != st->st_dev))
		i = (i + 1) & (w->cap_links - 1);
	return &w->links[i];
}

static void grow_links(struct writer *w)
{
	struct link *old = w->links;
	size_t n = w->cap_links;

	w->cap_links = n ? 2 * n : 64;
	w->links = xcalloc(w->cap_links, sizeof *w->links);
	for (size_t i = 0; i < n; i++) {
		if (!old[i].path)
			continue;
		struct stat st = { .st_ino = old[i].ino, .st_dev = old[i].dev };

		*link_slot(w, &st) = old[i];
	}
	free(old);
}

// The path under which the file was met before, or NULL; it is known from now on.
static const char *known_link(struct writer *w, const struct stat *st)
{
	if (2 * (w->n_links + 1) > w->cap_links)
		grow_links(w);
	struct link *l = link_slot(w, st);

	if (l->path)
		return l->path;
	*l = (struct link){ st->st_dev, st->st_ino, xstrndup((char *)w->path.data, w->path.len) };
	w->n_links++;
	return NULL;
}

// ---- entries ----

static int put_file(struct writer *w, int dir, const char *name, const struct stat *st)
{
	uint64_t size = (uint64_t)st->st_size;
	struct stat now;
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);

	if (fd < 0 || fstat(fd, &now) < 0)
		return fail(w, -errno, "open");
	if (!S_ISREG(now.st_mode) || now.st_ino != st->st_ino || now.st_size != st->st_size)
		return fail(w, -EBUSY, "while it was read, somebody changed");
	int r = put_entry(w, '0', size, st, NULL);

	for (uint64_t off = 0; off < size && r == 0;) {
		size_t n = (size_t)MIN(size - off, (uint64_t)COPY_SIZE);

		r = pread_full(fd, w->copy, n, off);
		r = r < 0 ? fail(w, r, "read") : put(w, w->copy, n);
		off += n;
	}
	return r < 0 ? r : pad(w, size);
}

static int put_symlink(struct writer *w, int dir, const char *name, const struct stat *st)
{
	char target[TAR_LINK_MAX + 2];
	ssize_t n = readlinkat(dir, name, target, sizeof target);

	if (n < 0 || n > (ssize_t)TAR_LINK_MAX)
		return fail(w, n < 0 ? -errno : -ENAMETOOLONG, "read the link");
	target[n] = 0;
	return put_entry(w, '2', 0, st, target);
}

static int put_tree(struct writer *w, int dir, unsigned depth);

static int put_dir(
	struct writer *w, int dir, const char *name, const struct stat *st, unsigned depth)
{
	cleanup_fd int fd = -1;
	int r = put_entry(w, '5', 0, st, NULL);

	if (r < 0 || st->st_dev != w->dev) // what is mounted there is not of this tree
		return r;
	fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return fail(w, -errno, "open");
	return put_tree(w, fd, depth + 1);
}

static int put_one(struct writer *w, int dir, const char *name, unsigned depth)
{
	cleanup_free char *at = xasprintf("/proc/self/fd/%d/%s", dir, name);
	const char *first;
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail(w, -errno, "look at");
	if (S_ISSOCK(st.st_mode))
		return 0;
	first = !S_ISDIR(st.st_mode) && st.st_nlink > 1 ? known_link(w, &st) : NULL;
	if (first)
		return put_entry(w, '1', 0, &st, first);
	int r = add_xattrs(w, at);

	if (r < 0)
		return r;
	switch (st.st_mode & S_IFMT) {
	case S_IFREG: return put_file(w, dir, name, &st);
	case S_IFDIR: return put_dir(w, dir, name, &st, depth);
	case S_IFLNK: return put_symlink(w, dir, name, &st);
	case S_IFCHR: return put_entry(w, '3', 0, &st, NULL);
	case S_IFBLK: return put_entry(w, '4', 0, &st, NULL);
	default: return put_entry(w, '6', 0, &st, NULL);
	}
}

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static int list(struct writer *w, int fd, char ***ret, size_t *ret_n)
{
	int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	DIR *d = own < 0 ? NULL : fdopendir(own);
	size_t cap = 0;

	if (!d) {
		int r = -errno;

		if (own >= 0)
			close(own);
		return fail(w, r, "list");
	}
	errno = 0;
	for (struct dirent *e; (e = readdir(d)); errno = 0) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		*ret = xgrow(*ret, &cap, *ret_n + 1, sizeof **ret);
		(*ret)[(*ret_n)++] = xstrdup(e->d_name);
	}
	int r = errno ? fail(w, -errno, "list") : 0;

	closedir(d);
	if (*ret_n)
		qsort(*ret, *ret_n, sizeof **ret, by_name);
	return r;
}

// What is in the directory; w->path is its own.
static int put_tree(struct writer *w, int dir, unsigned depth)
{
	size_t len = w->path.len, n = 0;
	char **names = NULL;
	int r = depth > TAR_DEPTH_MAX ? fail(w, -ELOOP, "too deep") : list(w, dir, &names, &n);

	for (size_t i = 0; i < n; i++) {
		if (len)
			buf_add(&w->path, "/", 1);
		buf_add(&w->path, names[i], strlen(names[i]));
		if (r == 0)
			r = put_one(w, dir, names[i], depth);
		w->path.len = len;
		free(names[i]);
	}
	free(names);
	return r;
}

static int put_root(struct writer *w, int fd)
{
	static const uint8_t end[2 * TAR_BLOCK];
	cleanup_free char *at = xasprintf("/proc/self/fd/%d/.", fd);
	struct stat st;

	if (fstat(fd, &st) < 0)
		return warn_errno(-errno, "%s", log_quote(w->dir));
	w->dev = st.st_dev;
	buf_add(&w->path, ".", 1);
	int r = add_xattrs(w, at);

	if (r == 0)
		r = put_entry(w, '5', 0, &st, NULL);
	w->path.len = 0;
	if (r == 0)
		r = put_tree(w, fd, 1);
	return r < 0 ? r : put(w, end, sizeof end);
}

int dirtar_write(const char *dir, int out, uint64_t *ret_size)
{
	struct writer w = { .dir = dir, .out = out };
	cleanup_free uint8_t *copy = xmalloc(COPY_SIZE);
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return warn_errno(-errno, "directory %s", log_quote(dir));
	w.copy = copy;
	int r = put_root(&w, fd);

	for (size_t i = 0; i < w.cap_links; i++)
		free(w.links[i].path);
	free(w.links);
	buf_fini(&w.path);
	buf_fini(&w.pax);
	*ret_size = w.at;
	return r;
}
