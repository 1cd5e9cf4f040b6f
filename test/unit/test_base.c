// test_base.c - buffers, whole reads and writes, atomic replacement, directories, sizes for people
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/base.c"

#include <pthread.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "log.h"
#include "said.h"
#include "tap.h"

static char dir[] = "/tmp/test_base-XXXXXX";
static int dfd;

static void test_human(void)
{
	static const struct {
		uint64_t n;
		const char *s;
	} v[] = { { 0, "0 B" }, { 999, "999 B" }, { 1000, "1.00 kB" }, { 1004, "1.00 kB" },
		{ 1005, "1.00 kB" }, { 1006, "1.01 kB" }, { 9994, "9.99 kB" }, { 9996, "10.0 kB" },
		{ 10000, "10.0 kB" }, { 99940, "99.9 kB" }, { 99960, "100 kB" },
		{ 999499, "999 kB" }, { 999500, "1.00 MB" }, { 999999, "1.00 MB" },
		{ 1400000000, "1.40 GB" }, { 1000000000000, "1.00 TB" },
		{ 1000000000000000, "1.00 PB" }, { UINT64_MAX, "18.4 EB" } };
	char s[16];

	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		ok(!strcmp(human_size(v[i].n, s), v[i].s), "%llu is %s (%s)",
			(unsigned long long)v[i].n, v[i].s, s);
}

static void test_buf(void)
{
	cleanup_buf struct buf b = { 0 };
	char *s;
	size_t cap = 0;

	ok(!*buf_str(&b) && !b.len, "an empty buffer");
	buf_add(&b, NULL, 0);
	buf_zero(&b, 0);
	buf_printf(&b, "%s", "");
	ok(!b.len, "nothing added is nothing");
	for (unsigned i = 0; i < 1000; i++)
		buf_printf(&b, "%u,", i);
	ok(b.len == 3890 && !strncmp(buf_str(&b) + 3880, ",998,999,", 9) == 0 &&
			strlen(buf_str(&b)) == b.len,
		"printf");
	buf_zero(&b, 3);
	buf_add(&b, "x", 1);
	ok(b.len == 3894 && b.data[3893] == 'x' && !b.data[3892] && !buf_str(&b)[3894], "zeros");
	s = xgrow(NULL, &cap, 1, 3);
	ok(cap >= 1 && (s = xgrow(s, &cap, 1000, 3)) && cap >= 1000, "xgrow");
	free(s);
	s = xasprintf("%d%s", 5, "a");
	ok(!strcmp(s, "5a"), "xasprintf");
	free(s);
	s = xstrndup("abc", 2);
	ok(!strcmp(s, "ab"), "xstrndup");
	char *t = steal(&s);
	ok(!s && t, "steal");
	free(t);
	ok(blocks_of(0) == 0 && blocks_of(1) == 1 && blocks_of(4096) == 1 && blocks_of(4097) == 2 &&
			blocks_of(1ull << 63) == 1ull << 51,
		"blocks_of");
	ok(get_le16("\x01\x02") == 0x201 && get_le32("\x01\x02\x03\x04") == 0x4030201 &&
			get_le64("\1\0\0\0\0\0\0\x80") == 0x8000000000000001,
		"get_le");
}

static void put(const char *path, const char *text)
{
	if (write_file_at(dfd, path, text, strlen(text), 0640))
		abort();
}

static unsigned entries(const char *path)
{
	cleanup_fd int fd = openat(dfd, path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fdopendir(fd);
	unsigned n = 0;

	fd = -1;
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static void test_read_file(void)
{
	char *p = NULL;
	size_t n;

	put("f", "hello");
	ok(!read_file_at(dfd, "f", 5, &p, &n) && n == 5 && !strcmp(p, "hello"), "read_file_at");
	free(p);
	p = NULL;
	ok(read_file_at(dfd, "f", 4, &p, &n) == -EFBIG && !p, "above the limit");
	ok(read_file_at(dfd, "none", 4, &p, &n) == -ENOENT, "missing");
	ok(read_file_at(dfd, ".", 4, &p, &n) == -EINVAL, "a directory");
	mkfifoat(dfd, "fifo", 0600);
	ok(read_file_at(dfd, "fifo", 4, &p, &n) == -EINVAL, "a fifo does not block");
	ok(read_file_at(AT_FDCWD, "/dev/zero", 4, &p, &n) == -EINVAL, "a device");
	put("empty", "");
	ok(!read_file_at(dfd, "empty", 0, &p, &n) && !n && !*p, "an empty file");
	free(p);
}

static void test_read_text(void)
{
	char t[8] = "before";

	put("f", "hello, world");
	ok(read_text_at(dfd, "f", t, sizeof t) == 7 && !strcmp(t, "hello, "),
		"as much as there is room for, and an end (%s)", t);
	ok(read_text_at(dfd, "none", t, sizeof t) == -ENOENT && !*t, "missing: an empty text");
	snprintf(t, sizeof t, "before");
	ok(read_text_at(dfd, ".", t, sizeof t) == -EISDIR && !*t, "a directory: the same");
	ok(read_text_at(AT_FDCWD, "/proc/self/comm", t, sizeof t) > 0 && *t, "of the kernel's");
}

static void test_write_file(void)
{
	char *p, tmp[64];
	struct stat st;
	size_t n;
	struct rlimit l, was;

	put("w", "one");
	put("w", "two");
	ok(!read_file_at(dfd, "w", 9, &p, &n) && !strcmp(p, "two") && !fstatat(dfd, "w", &st, 0) &&
			(st.st_mode & 0777) == 0640,
		"replaced");
	free(p);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &was);
	l = was;
	l.rlim_cur = 2;
	setrlimit(RLIMIT_FSIZE, &l);
	n = entries(".");
	int r = write_file_at(dfd, "w", "three", 5, 0600);

	setrlimit(RLIMIT_FSIZE, &was);
	ok(r == -EFBIG && entries(".") == n, "a write error leaves no temporary file");
	ok(!read_file_at(dfd, "w", 9, &p, &n) && !strcmp(p, "two"), "and the old file");
	free(p);
	mkdirat(dfd, "d", 0700);
	put("d/x", "1");
	n = entries(".");
	ok(write_file_at(dfd, "d", "x", 1, 0600) < 0 && entries(".") == n, "onto a directory");
	ok(write_file_at(dfd, "none/x", "x", 1, 0600) == -ENOENT, "into a missing directory");
	if (symlinkat("w", dfd, "link"))
		abort();
	put("link", "own");
	ok(!read_file_at(dfd, "w", 9, &p, &n) && !strcmp(p, "two") &&
			!fstatat(dfd, "link", &st, AT_SYMLINK_NOFOLLOW) && S_ISREG(st.st_mode),
		"a link is replaced, not followed");
	free(p);
	// what a crash, or another process of this number, has left
	for (unsigned i = 0; i < 50; i++) {
		snprintf(tmp, sizeof tmp, ".tmp-%d-%u", (int)getpid(), i);
		close(openat(dfd, tmp, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	n = entries(".");
	put("w", "four");
	ok(!read_file_at(dfd, "w", 9, &p, &n) && !strcmp(p, "four"),
		"old temporary files are no hindrance");
	free(p);
	ok(!faccessat(dfd, tmp, F_OK, 0), "and are not touched");
}

static void *reader(void *arg)
{
	char *p;
	size_t n;

	while (!*(_Atomic bool *)arg) {
		if (read_file_at(dfd, "race", 100000, &p, &n))
			return arg;
		for (size_t i = 0; i < n; i++)
			if (p[i] != p[0] || n != 50000)
				return arg;
		free(p);
	}
	return NULL;
}

static void test_atomic(void)
{
	static char text[50000];
	_Atomic bool stop = false;
	pthread_t t;
	void *r;

	memset(text, 'a', sizeof text);
	if (write_file_at(dfd, "race", text, sizeof text, 0600))
		abort();
	pthread_create(&t, NULL, reader, (void *)&stop);
	for (unsigned i = 0; i < 100; i++) {
		memset(text, 'a' + (int)i % 26, sizeof text);
		if (write_file_at(dfd, "race", text, sizeof text, 0600))
			abort();
	}
	stop = true;
	pthread_join(t, &r);
	ok(!r, "a reader sees the old or the new file, whole");
}

static void test_mkdir(void)
{
	cleanup_free char *deep = xasprintf("%s/m/n//o", dir), *file = xasprintf("%s/f", dir),
			  *below = xasprintf("%s/f/x", dir);
	cleanup_free char *slash = xasprintf("%s/m/p/", dir);
	struct stat st;

	ok(!mkdir_p(deep, 0700) && !mkdir_p(deep, 0700) && !stat(deep, &st) &&
			(st.st_mode & 0777) == 0700,
		"mkdir_p, twice");
	ok(!mkdir_p(slash, 0700) && !stat(slash, &st), "with a slash at the end");
	ok(mkdir_p(below, 0700) == -ENOTDIR, "below a file");
	ok(mkdir_p(file, 0700) == -ENOTDIR, "a file in its place");
	ok(!mkdir_p("/", 0700) && !mkdir_p(".", 0700), "/ and .");
	ok(mkdir_p("", 0700) == -ENOENT, "the empty path");
}

static void test_remove(void)
{
	cleanup_free char *deep = xstrdup("r");
	struct stat st;

	mkdirat(dfd, "keep", 0700);
	put("keep/x", "1");
	mkdirat(dfd, "r", 0700);
	for (unsigned i = 0; i < 60; i++) {
		char *longer = xasprintf("%s/d", deep);

		mkdirat(dfd, longer, 0700);
		for (unsigned k = 0; k < 3; k++) {
			cleanup_free char *f = xasprintf("%s/f%u", deep, k),
					  *e = xasprintf("%s/e%u", deep, k);

			put(f, "x");
			mkdirat(dfd, e, 0700);
		}
		free(deep);
		deep = longer;
	}
	if (symlinkat("../keep", dfd, "r/link") || symlinkat("none", dfd, "r/dangling"))
		abort();
	mkfifoat(dfd, "r/fifo", 0600);
	ok(!remove_tree_at(dfd, "r") && fstatat(dfd, "r", &st, 0), "a deep tree is removed");
	ok(!faccessat(dfd, "keep/x", F_OK, 0), "links are not followed");
	if (symlinkat("keep", dfd, "l"))
		abort();
	ok(!remove_tree_at(dfd, "l") && !faccessat(dfd, "keep/x", F_OK, 0) &&
			fstatat(dfd, "l", &st, AT_SYMLINK_NOFOLLOW),
		"a link itself");
	ok(!remove_tree_at(dfd, "f") && !remove_tree_at(dfd, "f") && !remove_tree_at(dfd, "none/x"),
		"a file; missing is success");
	ok(remove_tree_at(dfd, "keep/x/y") == -ENOTDIR, "below a file");
	mkdirat(dfd, "many", 0700);
	for (unsigned i = 0; i < 3000; i++) {
		char name[30];

		snprintf(name, sizeof name, "many/%u", i);
		if (i % 3)
			mkdirat(dfd, name, 0700);
		else
			close(openat(dfd, name, O_CREAT | O_WRONLY | O_CLOEXEC, 0600));
	}
	ok(!remove_tree_at(dfd, "many"), "a directory of 3000");
}

static void test_full_io(void)
{
	int p[2];
	char buf[10] = "";

	if (pipe(p))
		abort();
	ok(!write_full(p[1], "hello", 5) && !read_full(p[0], buf, 5) && !strcmp(buf, "hello"),
		"through a pipe");
	ok(!write_full(p[1], "ab", 2) && !close(p[1]) && read_full(p[0], buf, 3) == -ENODATA,
		"a premature end");
	signal(SIGPIPE, SIG_IGN);
	close(p[0]);
	ok(read_full(-1, buf, 1) == -EBADF && write_full(-1, buf, 1) == -EBADF &&
			!read_full(-1, buf, 0),
		"a bad descriptor");
	cleanup_fd int fd = scratch_file();

	ok(fd >= 0 && !pwrite_full(fd, "abcdef", 6, 1ull << 33) &&
			!pread_full(fd, buf, 6, 1ull << 33) && !memcmp(buf, "abcdef", 6),
		"beyond 4 GiB");
	ok(pread_full(fd, buf, 7, 1ull << 33) == -ENODATA, "behind the end");
	cleanup_fd int full = open("/dev/full", O_WRONLY | O_CLOEXEC);

	ok(write_full(full, "x", 1) == -ENOSPC && pwrite_full(full, "x", 1, 0) == -ENOSPC,
		"a full disk");
	uint64_t t = now_ns();

	ok(now_ns() >= t, "time goes on");
}

static void *warns(void *text)
{
	warn("%s", (const char *)text);
	return NULL;
}

static void test_hush(void)
{
	pthread_t beside;

	said_begin();
	{
		cleanup_hush bool hush = log_hush();
		warns("silent");
		{
			cleanup_hush bool inner = log_hush();
			warns("more so");
		}
		warns("still silent");
		if (!pthread_create(&beside, NULL, warns, "said beside"))
			pthread_join(beside, NULL);
	}
	ok(!strcmp(log_last(), "still silent"), "what was silent is known (%s)", log_last());
	warns("said");
	const char *text = said_end();

	ok(!strcmp(text, "fcpull: said beside\nfcpull: said\n"),
		"the scope alone is silent, for its own thread (%s)", log_quote(text));
}

int main(void)
{
	if (!mkdtemp(dir) || (dfd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC)) < 0)
		return 1;
	test_human();
	test_buf();
	test_read_file();
	test_read_text();
	test_write_file();
	test_atomic();
	test_mkdir();
	test_remove();
	test_full_io();
	test_hush();
	close(dfd);
	ok(!remove_tree_at(AT_FDCWD, dir), "clean up");
	return tap_end();
}
