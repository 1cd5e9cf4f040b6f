// base.c - allocation, buffers and full I/O
// SPDX-License-Identifier: Apache-2.0
#include "base.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

static void *or_die(void *p)
{
	if (!p) {
		fputs("fcpull: out of memory\n", stderr);
		_exit(1);
	}
	return p;
}

void *xmalloc(size_t n)
{
	return or_die(malloc(n ? n : 1));
}

void *xcalloc(size_t count, size_t size)
{
	return or_die(calloc(count ? count : 1, size ? size : 1));
}

void *xrealloc(void *p, size_t n)
{
	return or_die(realloc(p, n ? n : 1));
}

char *xstrdup(const char *s)
{
	return or_die(strdup(s));
}

char *xstrndup(const char *s, size_t n)
{
	return or_die(strndup(s, n));
}

char *xasprintf(const char *fmt, ...)
{
	va_list ap;
	char *s;

	va_start(ap, fmt);
	if (vasprintf(&s, fmt, ap) < 0)
		s = NULL;
	va_end(ap);
	return or_die(s);
}

void *xgrow(void *p, size_t *cap, size_t need, size_t size)
{
	size_t n = *cap ? *cap : 16;

	if (need <= *cap)
		return p;
	while (n < need)
		n += n / 2;
	*cap = n;
	return or_die(reallocarray(p, n, size));
}

void buf_reserve(struct buf *b, size_t more)
{
	b->data = xgrow(b->data, &b->cap, b->len + more, 1);
}

void buf_add(struct buf *b, const void *p, size_t n)
{
	if (!n)
		return;
	buf_reserve(b, n);
	memcpy(b->data + b->len, p, n);
	b->len += n;
}

void buf_zero(struct buf *b, size_t n)
{
	if (!n)
		return;
	buf_reserve(b, n);
	memset(b->data + b->len, 0, n);
	b->len += n;
}

void buf_printf(struct buf *b, const char *fmt, ...)
{
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	if (n <= 0)
		return;
	buf_reserve(b, (size_t)n + 1);
	va_start(ap, fmt);
	vsnprintf((char *)b->data + b->len, (size_t)n + 1, fmt, ap);
	va_end(ap);
	b->len += (size_t)n;
}

const char *buf_str(struct buf *b)
{
	buf_reserve(b, 1);
	b->data[b->len] = 0;
	return (const char *)b->data;
}

void buf_fini(struct buf *b)
{
	free(b->data);
	*b = (struct buf){ 0 };
}

int read_full(int fd, void *buf, size_t n)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = read(fd, (char *)buf + got, n - got);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (!r)
			return -ENODATA;
		got += (size_t)r;
	}
	return 0;
}

int write_full(int fd, const void *buf, size_t n)
{
	for (size_t put = 0; put < n;) {
		ssize_t r = write(fd, (const char *)buf + put, n - put);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		put += (size_t)r;
	}
	return 0;
}

int pread_full(int fd, void *buf, size_t n, uint64_t off)
{
	for (size_t got = 0; got < n;) {
		ssize_t r = pread(fd, (char *)buf + got, n - got, (off_t)(off + got));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		if (!r)
			return -ENODATA;
		got += (size_t)r;
	}
	return 0;
}

int pwrite_full(int fd, const void *buf, size_t n, uint64_t off)
{
	for (size_t put = 0; put < n;) {
		ssize_t r = pwrite(fd, (const char *)buf + put, n - put, (off_t)(off + put));

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0)
			return -errno;
		put += (size_t)r;
	}
	return 0;
}

int read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len)
{
	cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	cleanup_free char *p = NULL;
	struct stat st;
	int r;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	if ((uint64_t)st.st_size > max)
		return -EFBIG;
	p = xmalloc((size_t)st.st_size + 1);
	r = read_full(fd, p, (size_t)st.st_size);
	if (r)
		return r;
	p[st.st_size] = 0;
	*ret_len = (size_t)st.st_size;
	*ret = steal(&p);
	return 0;
}

ssize_t read_text_at(int dirfd, const char *path, char *out, size_t cap)
{
	cleanup_fd int fd = openat(dirfd, path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, out, cap - 1);

	out[MAX(n, 0)] = 0;
	return n < 0 ? -errno : n;
}

// Splits path into its directory (opened) and last component.
static int open_parent(int dirfd, const char *path, const char **ret_base)
{
	const char *slash = strrchr(path, '/');
	cleanup_free char *dir = slash ? xstrndup(path, (size_t)(slash - path) + 1) : xstrdup(".");
	// the analyzer does not know the cleanup attribute
	// NOLINTNEXTLINE(clang-analyzer-unix.Malloc)
	int fd = openat(dirfd, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*ret_base = slash ? slash + 1 : path;
	return fd < 0 ? -errno : fd;
}

static int write_tmp(int dir, const char *tmp, const void *buf, size_t n, mode_t mode)
{
	cleanup_fd int fd =
		openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, mode);
	int r;

	if (fd < 0)
		return -errno;
	r = write_full(fd, buf, n);
	if (!r && fsync(fd))
		r = -errno;
	return r;
}

int write_file_at(int dirfd, const char *path, const void *buf, size_t n, mode_t mode)
{
	static _Atomic unsigned serial;
	const char *base;
	char tmp[64];
	cleanup_fd int dir = open_parent(dirfd, path, &base);
	int r;

	if (dir < 0)
		return dir;
	// a name may be left from a crash, or in use by a process of this number in another pid
	// namespace: neither is touched
	for (unsigned tries = 0; tries < 1000; tries++) {
		snprintf(tmp, sizeof tmp, ".tmp-%d-%u", (int)getpid(), serial++);
		r = write_tmp(dir, tmp, buf, n, mode);
		if (r != -EEXIST)
			break;
	}
	if (r == -EEXIST)
		return r;
	if (!r && renameat(dir, tmp, dir, base))
		r = -errno;
	if (r)
		unlinkat(dir, tmp, 0);
	else if (fsync(dir))
		r = -errno;
	return r;
}

int mkdir_p(const char *path, mode_t mode)
{
	cleanup_free char *p = xstrdup(path);

	struct stat st;

	for (char *s = p + 1; *p; s++) {
		char c = *s;

		if (c && c != '/')
			continue;
		*s = 0;
		if (mkdir(p, mode) && errno != EEXIST)
			return -errno;
		if (!c)
			break;
		*s = c;
	}
	// NOLINTNEXTLINE(clang-analyzer-unix.Malloc): as above
	if (stat(path, &st))
		return -errno;
	return S_ISDIR(st.st_mode) ? 0 : -ENOTDIR;
}

// One level of remove_tree_at: empties the open directory. *ret_sub names a subdirectory that must
// go first.
static int empty_dir(DIR *d, char *ret_sub, size_t sub_size)
{
	struct dirent *e;

	*ret_sub = 0;
	while ((errno = 0, e = readdir(d))) {
		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, ".."))
			continue;
		if (!unlinkat(dirfd(d), e->d_name, 0) || errno == ENOENT)
			continue;
		if (errno != EISDIR && errno != EPERM)
			return -errno;
		if (!unlinkat(dirfd(d), e->d_name, AT_REMOVEDIR) || errno == ENOENT)
			continue;
		if (errno != ENOTEMPTY && errno != EEXIST)
			return -errno;
		snprintf(ret_sub, sub_size, "%s", e->d_name);
		return 0;
	}
	return -errno;
}

int remove_tree_at(int dirfd_, const char *path)
{
	char sub[256];

	if (!unlinkat(dirfd_, path, 0) || errno == ENOENT)
		return 0;
	if (errno != EISDIR && errno != EPERM)
		return -errno;
	for (;;) {
		cleanup_fd int fd =
			openat(dirfd_, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
		DIR *d = fd < 0 ? NULL : fdopendir(fd);
		int r;

		if (!d)
			return -errno;
		(void)steal_fd(&fd); // d has it
		r = empty_dir(d, sub, sizeof sub);
		// recursion is as deep as the tree that this program itself has made
		if (!r && *sub)
			r = remove_tree_at(dirfd(d), sub);
		closedir(d);
		if (r)
			return r;
		if (!*sub)
			return unlinkat(dirfd_, path, AT_REMOVEDIR) ? -errno : 0;
	}
}

int scratch_file(void)
{
	const char *dir = getenv("TMPDIR");
	char path[4096];
	int fd, e;

	if (!dir || !*dir)
		dir = "/var/tmp";
	fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0)
		return fd;
	// file systems without O_TMPFILE
	snprintf(path, sizeof path, "%s/fcpull-XXXXXX", dir);
	fd = mkostemp(path, O_CLOEXEC);
	e = errno;
	if (fd < 0)
		fprintf(stderr,
			"fcpull: make a scratch file in %s (TMPDIR names another place): %s\n", dir,
			strerror(e));
	else
		unlink(path);
	return fd < 0 ? -e : fd;
}

uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void cond_init(pthread_cond_t *cond)
{
	pthread_condattr_t attr;

	pthread_condattr_init(&attr);
	pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
	pthread_cond_init(cond, &attr);
	pthread_condattr_destroy(&attr);
}

void cond_wait_ns(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns)
{
	uint64_t end = now_ns() + ns;
	struct timespec t = { (time_t)(end / NS_PER_SEC), (long)(end % NS_PER_SEC) };

	pthread_cond_timedwait(cond, lock, &t);
}

const char *human_size(uint64_t bytes, char out[static 16])
{
	static const char unit[] = "kMGTPE";
	double v = (double)bytes;
	int u = -1;

	while (v >= 999.5 && u < 5) {
		v /= 1000;
		u++;
	}
	if (u < 0)
		snprintf(out, 16, "%u B", (unsigned)bytes);
	else
		snprintf(out, 16,
			v < 9.995	    ? "%.2f %cB"
				: v < 99.95 ? "%.1f %cB"
					    : "%.0f %cB",
			v, unit[u]);
	return out;
}

ssize_t recv_fd(int sock, void *buf, size_t n, int flags, int *ret_fd)
{
	union {
		struct cmsghdr head;
		char room[CMSG_SPACE(sizeof(int))];
	} control = { 0 };
	struct iovec iov = { buf, n };
	struct msghdr m = { .msg_iov = &iov,
		.msg_iovlen = 1,
		.msg_control = &control,
		.msg_controllen = sizeof control };
	ssize_t got = recvmsg(sock, &m, flags | MSG_CMSG_CLOEXEC);
	struct cmsghdr *c = got > 0 ? CMSG_FIRSTHDR(&m) : NULL;

	*ret_fd = -1;
	if (c && c->cmsg_level == SOL_SOCKET && c->cmsg_type == SCM_RIGHTS &&
		c->cmsg_len == CMSG_LEN(sizeof *ret_fd))
		memcpy(ret_fd, CMSG_DATA(c), sizeof *ret_fd);
	return got < 0 ? -errno : got;
}
