// test_store.c - the local directory: small objects, data spaces and their maps, damage, planted
// links, several processes
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/store.c"

#include <pthread.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/wait.h>
#include <time.h>

#include "tap.h"

static char dir[] = "/tmp/test_store-XXXXXX";
static struct store *s;

static char *at(const char *name)
{
	return xasprintf("%s/%s", dir, name);
}

static void cut(const char *name, off_t size)
{
	cleanup_free char *path = at(name);

	if (truncate(path, size))
		abort();
}

static void write_at(const char *path, const char *text)
{
	if (write_file_at(s->fd, path, text, strlen(text), 0600))
		abort();
}

static void test_open(void)
{
	cleanup_free char *file = NULL, *nested = NULL;
	struct store *other;
	struct stat st;

	ok(!store_open(dir, &s) && !strcmp(s->path, dir), "open");
	ok(!fstatat(s->fd, "data", &st, 0) && (st.st_mode & 07777) == 0700 &&
			!fstatat(s->fd, "mnt", &st, 0),
		"its directories");
	ok(!faccessat(s->fd, "oci-layout", F_OK, 0), "an OCI layout");
	nested = at("x/y/z");
	ok(!store_open(nested, &other) && !stat(nested, &st) && (st.st_mode & 07777) == 0700,
		"parents are made");
	store_close(other);
	write_at("file", "x");
	file = at("file");
	log_level = LOG_QUIET;
	ok(store_open(file, &other) < 0, "not in a file");
	log_level = LOG_WARN;
	setenv("FCPULL_ROOT", nested, 1);
	ok(!store_open(NULL, &other) && !strcmp(other->path, nested), "$FCPULL_ROOT");
	store_close(other);
	unsetenv("FCPULL_ROOT");
	store_close(NULL);
}

static void test_blobs(void)
{
	struct digest d = sha256_of("hello", 5), none = sha256_of("x", 1);
	char path[96], *p;
	size_t n;

	ok(store_get(s, &d, 100, &p, &n) == -ENOENT, "not there");
	ok(!store_put(s, &d, "hello", 5) && !store_put(s, &d, "hello", 5), "put, twice");
	ok(!store_get(s, &d, 5, &p, &n) && n == 5 && !memcmp(p, "hello", 6),
		"get, with a NUL behind");
	free(p);
	log_level = LOG_QUIET;
	ok(store_get(s, &d, 4, &p, &n) == -EFBIG, "more than the caller takes");
	blob_path(&d, path);
	write_at(path, "hellO");
	ok(store_get(s, &d, 100, &p, &n) == -ENOENT && faccessat(s->fd, path, F_OK, 0),
		"a damaged one is removed");
	ok(!store_put(s, &d, "hello", 5) && !store_get(s, &d, 100, &p, &n), "and can be put again");
	free(p);
	write_at(path, "");
	ok(store_get(s, &d, 100, &p, &n) == -ENOENT, "an empty one");
	blob_path(&none, path);
	if (symlinkat("/dev/zero", s->fd, path) || store_get(s, &none, 100, &p, &n) != -EINVAL)
		ok(false, "a link to a device");
	unlinkat(s->fd, path, 0);
	mkfifoat(s->fd, path, 0600);
	ok(store_get(s, &none, 100, &p, &n) == -EINVAL, "a fifo does not block");
	unlinkat(s->fd, path, 0);
	log_level = LOG_WARN;
}

static void test_local(void)
{
	struct digest m = sha256_of("m", 1), i = sha256_of("i", 1), got;
	char path[80];

	ok(store_local_index(s, &m, &got) == -ENOENT, "no local index");
	ok(!store_set_local_index(s, &m, &i) && !store_local_index(s, &m, &got) &&
			digest_equal(&got, &i),
		"set and read");
	local_path(&m, path);
	write_at(path, "sha256:12");
	ok(store_local_index(s, &m, &got) == -ENOENT, "cut");
	write_at(path, "sha256:0000000000000000000000000000000000000000000000000000000000000000x");
	ok(store_local_index(s, &m, &got) == -ENOENT, "too long");
	write_at(path, "sha256:000000000000000000000000000000000000000000000000000000000000000G");
	ok(store_local_index(s, &m, &got) == -ENOENT, "not hex");
	ok(!store_set_local_index(s, &m, &i), "set again");
	store_forget_local_index(s, &m);
	ok(store_local_index(s, &m, &got) == -ENOENT, "forgotten");
	store_forget_local_index(s, &m);
}

// ---- maps ----

static void test_bits(void)
{
	enum { N = 100 };
	uint8_t map[(N + 7) / 8 + 2];
	struct space_file f = { .map = map + 1, .map_len = sizeof map - 2 };
	bool model[N] = { false }, good = true;
	unsigned seed = 5;

	memset(map, 0, sizeof map);
	map[0] = map[sizeof map - 1] = 0xa5;
	for (unsigned i = 0; i < 20000; i++) {
		uint32_t from = (uint32_t)rand_r(&seed) % N,
			 n = (uint32_t)rand_r(&seed) % (N - from + 1);
		bool present = rand_r(&seed) & 1, all = true;

		space_mark(&f, from, n, present);
		for (uint32_t b = from; b < from + n; b++)
			model[b] = present;
		from = (uint32_t)rand_r(&seed) % N;
		n = (uint32_t)rand_r(&seed) % MIN(N - from + 1, i % 3 ? 5u : N);
		for (uint32_t b = from; b < from + n; b++)
			all &= model[b];
		good &= space_has(&f, from, n) == all;
	}
	ok(good && map[0] == 0xa5 && map[sizeof map - 1] == 0xa5, "bits against a model");
}

static void *mark_some(void *arg)
{
	unsigned k = (unsigned)(uintptr_t)arg & 7;
	struct space_file *f = (void *)((uintptr_t)arg & ~(uintptr_t)7);

	for (uint32_t b = k; b < 4000; b += 8)
		space_mark(f, b, 1, true);
	return NULL;
}

static struct digest key_of(const char *name)
{
	return sha256_of(name, strlen(name));
}

static void test_space(void)
{
	static _Alignas(16) struct space_file f, g;
	struct digest k = key_of("a");
	char path[80], name[100];
	struct stat st;
	pthread_t t[8];
	pid_t pid;
	int status;

	ok(!store_space(s, &k, 4000, &f), "a new space");
	fstat(f.fd, &st);
	ok(st.st_size == 4000 * 4096 && st.st_blocks < 100 && f.map_len == 500 &&
			!space_has(&f, 0, 1),
		"is sparse and empty");
	for (uintptr_t i = 0; i < 8; i++)
		pthread_create(&t[i], NULL, mark_some, (void *)((uintptr_t)&f | i));
	for (unsigned i = 0; i < 8; i++)
		pthread_join(t[i], NULL);
	ok(space_has(&f, 0, 4000), "8 threads mark neighbouring bits");
	space_mark(&f, 0, 4000, false);
	pid = fork();
	if (!pid) {
		struct space_file h;

		if (store_space(s, &k, 4000, &h))
			_exit(1);
		space_mark(&h, 77, 3, true);
		_exit(space_has(&h, 77, 3) ? 0 : 2);
	}
	waitpid(pid, &status, 0);
	ok(!status && space_has(&f, 77, 3) && !space_has(&f, 76, 2),
		"the map is shared with another process");
	space_file_close(&f);
	space_file_close(&f);
	ok(!store_space(s, &k, 4000, &f) && space_has(&f, 77, 3), "and kept");
	// sizes that lie
	space_path(&k, path);
	snprintf(name, sizeof name, "%s/blocks", path);
	cut(name, 4096);
	ok(!store_space(s, &k, 4000, &g) && !space_has(&g, 77, 1),
		"blocks of another size: the map is emptied");
	fstat(g.fd, &st);
	ok(st.st_size == 4000 * 4096, "and they get the right one");
	space_mark(&g, 5, 1, true);
	space_file_close(&g);
	space_file_close(&f);
	snprintf(name, sizeof name, "%s/map", path);
	cut(name, 3);
	ok(!store_space(s, &k, 4000, &f) && !space_has(&f, 5, 1) && f.map_len == 500,
		"a map of another size is emptied");
	space_file_close(&f);
	k = key_of("none");
	ok(!store_space(s, &k, 0, &f) && f.map_len == 1, "a space of no blocks");
	space_file_close(&f);
}

static void test_planted(void)
{
	struct digest k = key_of("planted"), d;
	struct space_file f;
	char path[80], name[100];
	struct stat st;
	int fd;

	log_level = LOG_QUIET;
	space_path(&k, path);
	write_at("victim", "precious");
	mkdirat(s->fd, path, 0700);
	snprintf(name, sizeof name, "%s/blocks", path);
	if (symlinkat("../../victim", s->fd, name))
		ok(false, "symlink");
	ok(store_space(s, &k, 5, &f) == -ELOOP, "blocks that are a link");
	unlinkat(s->fd, name, 0);
	snprintf(name, sizeof name, "%s/map", path);
	unlinkat(s->fd, name, 0);
	if (symlinkat("../../victim", s->fd, name))
		ok(false, "symlink");
	ok(store_space(s, &k, 5, &f) == -ELOOP, "a map that is a link");
	remove_tree_at(s->fd, path) ? abort() : (void)0;
	mkdirat(s->fd, "elsewhere", 0700);
	if (symlinkat("../elsewhere", s->fd, path))
		ok(false, "symlink");
	ok(store_space(s, &k, 5, &f) < 0, "a space that is a link");
	fd = store_tmp(s);
	ok(store_adopt(s, fd, &k, 0) < 0 && faccessat(s->fd, "elsewhere/blocks", F_OK, 0),
		"store_adopt does not follow it either");
	close(fd);
	ok(!fstatat(s->fd, "victim", &st, 0) && st.st_size == 8,
		"nothing was written through them");
	d = key_of("d");
	space_path(&d, path);
	write_at(path, "x");
	ok(store_space(s, &d, 5, &f) == -ENOTDIR, "a file in its place");
	log_level = LOG_WARN;
}

// ---- adopting ----

static int tmp_of(char c, uint32_t blocks)
{
	int fd = store_tmp(s);
	char *p = xmalloc(blocks * BLOCK_BYTES);

	memset(p, c, blocks * BLOCK_BYTES);
	if (fd < 0 || pwrite_full(fd, p, blocks * BLOCK_BYTES, 0))
		abort();
	free(p);
	return fd;
}

static void test_adopt(void)
{
	struct digest k = key_of("adopt");
	struct space_file f, g;
	int fd = tmp_of('a', 3);
	char c;

	ok(!store_adopt(s, fd, &k, 3), "adopt");
	close(fd);
	ok(!store_space(s, &k, 3, &f) && space_has(&f, 0, 3) &&
			pread(f.fd, &c, 1, 2 * BLOCK_BYTES) == 1 && c == 'a',
		"all is there");
	fd = tmp_of('b', 3);
	ok(!store_adopt(s, fd, &k, 3) && pread(f.fd, &c, 1, 0) == 1 && c == 'a',
		"another takes its place; who has the old one open keeps it");
	close(fd);
	ok(!store_space(s, &k, 3, &g) && pread(g.fd, &c, 1, 0) == 1 && c == 'b' &&
			space_has(&g, 0, 3),
		"the new one");
	space_file_close(&f);
	space_file_close(&g);
	unsigned failed = 0;
	pid_t pids[6];

	for (unsigned i = 0; i < 6; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (unsigned n = 0; n < 50; n++) {
			fd = tmp_of((char)('c' + i), 2);
			if (store_adopt(s, fd, &k, 2) || store_space(s, &k, 2, &f))
				_exit(1);
			close(fd);
			space_file_close(&f);
		}
		_exit(0);
	}
	for (unsigned i = 0; i < 6; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		failed += status != 0;
	}
	ok(!failed, "6 processes adopt the same space at once: %u failed", failed);
	char first[2 * BLOCK_BYTES], path[80];

	ok(!store_space(s, &k, 2, &f) && !pread_full(f.fd, first, sizeof first, 0) &&
			first[0] == first[sizeof first - 1] && first[0] >= 'c' &&
			space_has(&f, 0, 2),
		"one of them is there, whole");
	space_file_close(&f);
	space_path(&k, path);
	cleanup_free char *list = xasprintf("test $(ls -A %s/%s | wc -l) = 2", dir, path);
	FILE *p = popen(list, "r");

	ok(p && !pclose(p), "nothing else is left");
}

// As in a worker after switch_root: no /proc by name.
static void test_adopt_without_proc(void)
{
	struct digest k = key_of("no proc");
	int fd = tmp_of('a', 3), status;
	pid_t pid = geteuid() ? -1 : fork();

	if (!pid) {
		if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) ||
			mount("none", "/proc", "tmpfs", 0, NULL))
			_exit(77);
		_exit(!faccessat(AT_FDCWD, "/proc/self/fd", F_OK, 0) || store_adopt(s, fd, &k, 3) ||
			store_adopt_journal(s, fd, &k));
	}
	if (pid < 0 || waitpid(pid, &status, 0) < 0 || status == 77 << 8)
		skip("adopt without /proc: needs root and mount namespaces");
	else
		ok(!status, "adopt without /proc (%d)", status);
	close(fd);
}

static void test_concurrent_open(void)
{
	unsigned failed = 0;
	pid_t pids[6];

	for (unsigned i = 0; i < 6; i++) {
		pids[i] = fork();
		if (pids[i])
			continue;
		for (unsigned n = 0; n < 60; n++) {
			char name[20];
			struct digest k;
			struct space_file f;

			snprintf(name, sizeof name, "c%u", n);
			k = key_of(name);
			if (store_space(s, &k, 8 * 6, &f))
				_exit(1);
			space_mark(&f, i * 8, 8, true);
			space_file_close(&f);
		}
		_exit(0);
	}
	for (unsigned i = 0; i < 6; i++) {
		int status;

		waitpid(pids[i], &status, 0);
		failed += status != 0;
	}
	ok(!failed, "6 processes make the same 60 spaces: %u failed", failed);
	for (unsigned n = 0; n < 60; n++) {
		char name[20];
		struct digest k;
		struct space_file f;

		snprintf(name, sizeof name, "c%u", n);
		k = key_of(name);
		if (store_space(s, &k, 8 * 6, &f))
			abort();
		failed += !space_has(&f, 0, 8 * 6);
		space_file_close(&f);
	}
	ok(!failed, "no bit was lost: %u", failed);
}

static void test_fill_holes(void)
{
	cleanup_fd int fd = store_tmp(s);
	struct stat st;
	char c;

	if (ftruncate(fd, 100001) || pwrite(fd, "x", 1, 50000) != 1)
		abort();
	ok(!fill_holes(fd, 100001) && !fstat(fd, &st) && st.st_size == 100001 &&
			st.st_blocks * 512 >= 100001,
		"fill_holes allocates");
	ok(pread(fd, &c, 1, 50000) == 1 && c == 'x', "and changes nothing");
}

// ---- who is at work ----

static int lock_of(const char *name, int how)
{
	int fd = openat(s->fd, name, O_RDONLY | O_CLOEXEC), r;

	r = flock(fd, how | LOCK_NB) ? -errno : 0;
	close(fd);
	return r;
}

static void test_locks(void)
{
	struct digest key = sha256_of("locks", 5);
	struct space_file f;
	char path[80];
	int fd;

	space_path(&key, path);
	ok(!store_space(s, &key, 10, &f) && lock_of(path, LOCK_EX) == -EWOULDBLOCK,
		"a space that is open is locked");
	space_file_close(&f);
	ok(!lock_of(path, LOCK_EX), "no more when it is closed");

	store_hold(s);
	ok(store_lock(s, false) == -EWOULDBLOCK, "gc waits for a hold");
	store_hold(s);
	store_release(s);
	fd = store_lock(s, false);
	ok(fd >= 0 && lock_of("lock", LOCK_SH) == -EWOULDBLOCK, "and then is alone");
	close(fd);
}

// Opens the space while it is locked and then removed, as gc does it.
static void *open_late(void *arg)
{
	return (void *)(intptr_t)store_space(s, arg, 10, &(struct space_file){ 0 });
}

static void test_removed_meanwhile(void)
{
	struct digest key = sha256_of("gone", 4);
	pthread_t t;
	char path[80];
	void *r;
	int held = space_dir(s, &key, path);

	if (held < 0 || flock(held, LOCK_EX) || pthread_create(&t, NULL, open_late, &key))
		abort();
	usleep(50000); // it may wait by now, or come later: both must work
	if (remove_tree_at(s->fd, path))
		abort();
	close(held);
	pthread_join(t, &r);
	ok(!r && !faccessat(s->fd, path, F_OK, 0), "a space that is removed before it is opened");
}

static void test_uses(void)
{
	bool pinned = true;
	int64_t t = time(NULL);

	ok(!store_last_use(s, "img:1", &pinned) && !pinned, "never used");
	store_touch(s, "img:1");
	ok(store_last_use(s, "img:1", &pinned) >= t - 1 && !pinned, "used now");
	ok(!store_pin(s, "img:1", true) && store_last_use(s, "img:1", &pinned) && pinned, "pinned");
	store_touch(s, "img:1");
	ok(store_last_use(s, "img:1", &pinned) && pinned, "and so after the next use");
	ok(!store_pin(s, "img:1", false) && store_last_use(s, "img:1", &pinned) && !pinned,
		"unpinned");
	store_forget_use(s, "img:1");
	ok(!store_last_use(s, "img:1", &pinned), "forgotten");
}

int main(void)
{
	if (!mkdtemp(dir))
		return 1;
	test_open();
	test_blobs();
	test_local();
	test_bits();
	test_space();
	test_planted();
	test_adopt();
	test_adopt_without_proc();
	test_concurrent_open();
	test_fill_holes();
	test_locks();
	test_removed_meanwhile();
	test_uses();
	store_close(s);
	ok(!remove_tree_at(AT_FDCWD, dir), "clean up");
	return tap_end();
}
