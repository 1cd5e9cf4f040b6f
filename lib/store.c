// store.c - the local directory
// SPDX-License-Identifier: Apache-2.0
#include "store.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "log.h"
#include "places.h"

char *store_path(const char *path)
{
	return path ? xstrdup(path) : places_store();
}

static int open_dirs(struct store *s)
{
	static const char *const dirs[] = { "data", "local", "journal", "accel", "use", "tmp",
		"mnt" };
	int r = mkdir_p(s->path, 0700);

	if (r)
		return warn_errno(
			r, "make the store %s (--root names another place)", log_quote(s->path));
	s->fd = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (s->fd < 0)
		return warn_errno(-errno, "open the store %s", log_quote(s->path));
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (mkdirat(s->fd, dirs[i], 0700) && errno != EEXIST)
			return warn_errno(
				-errno, "make %s in the store %s", dirs[i], log_quote(s->path));
	return 0;
}

int store_open(const char *path, struct store **ret)
{
	struct store *s = xcalloc(1, sizeof *s);
	struct ref ref = { .transport = REF_OCI };
	int r;

	s->fd = s->hold = -1;
	s->path = store_path(path);
	if (!s->path) {
		free(s);
		return -ENOENT;
	}
	r = open_dirs(s);
	ref.dir = s->path;
	if (!r)
		r = layout_open(&ref, true, &s->repo);
	if (r) {
		store_close(s);
		return r;
	}
	*ret = s;
	return 0;
}

int store_open_fd(int fd, const char *name, struct store **ret)
{
	struct store *s = xcalloc(1, sizeof *s);

	s->hold = -1;
	s->fd = fcntl(fd, F_DUPFD_CLOEXEC, 3);
	s->path = xstrdup(name);
	if (s->fd < 0) {
		int r = -errno;

		store_close(s);
		return warn_errno(r, "the store %s", log_quote(name));
	}
	*ret = s;
	return 0;
}

void store_close(struct store *s)
{
	if (!s)
		return;
	repo_close(s->repo);
	store_release(s);
	if (s->fd >= 0)
		close(s->fd);
	free(s->path);
	free(s);
}

// ---- who is at work ----

static int lock_file(struct store *s, int how)
{
	cleanup_fd int fd = openat(s->fd, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return -errno;
	while (flock(fd, how))
		if (errno != EINTR)
			return -errno;
	return steal_fd(&fd);
}

void store_hold(struct store *s)
{
	if (s->hold >= 0)
		return;
	s->hold = lock_file(s, LOCK_SH);
	// without locks there is no gc either: it cannot get its own
	if (s->hold < 0)
		debug("lock the store %s: %s", s->path, strerror(-s->hold));
}

void store_release(struct store *s)
{
	if (s->hold >= 0)
		close(s->hold);
	s->hold = -1;
}

int store_lock(struct store *s, bool wait)
{
	int fd = lock_file(s, LOCK_EX | (wait ? 0 : LOCK_NB));

	return fd < 0 && fd != -EWOULDBLOCK
		? warn_errno(fd, "lock the store %s", log_quote(s->path))
		: fd;
}

static void use_path(const char *key, char out[static 80])
{
	struct digest d = sha256_of(key, strlen(key));
	char hex[65];

	snprintf(out, 80, "use/%s", digest_hex(&d, hex));
}

void store_touch(struct store *s, const char *key)
{
	cleanup_fd int fd = -1;
	char path[80];

	use_path(key, path);
	fd = openat(s->fd, path, O_WRONLY | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || futimens(fd, NULL))
		debug("note the use of %s: %s", key, strerror(errno));
}

int store_pin(struct store *s, const char *key, bool pinned)
{
	char path[80];
	int r;

	use_path(key, path);
	r = write_file_at(s->fd, path, "pinned\n", pinned ? 7 : 0, 0600);
	return r ? warn_errno(r, "write %s in the store %s", path, log_quote(s->path)) : 0;
}

int64_t store_last_use(struct store *s, const char *key, bool *ret_pinned)
{
	struct stat st;
	char path[80];

	use_path(key, path);
	if (fstatat(s->fd, path, &st, AT_SYMLINK_NOFOLLOW) || !S_ISREG(st.st_mode)) {
		*ret_pinned = false;
		return 0;
	}
	*ret_pinned = st.st_size != 0;
	return st.st_mtim.tv_sec;
}

void store_forget_use(struct store *s, const char *key)
{
	char path[80];

	use_path(key, path);
	unlinkat(s->fd, path, 0);
}

// ---- small objects ----

static void blob_path(const struct digest *d, char out[static 96])
{
	char hex[65];

	snprintf(out, 96, "blobs/sha256/%s", digest_hex(d, hex));
}

int store_put(struct store *s, const struct digest *d, const void *p, size_t n)
{
	char path[96];
	int r;

	blob_path(d, path);
	if (!faccessat(s->fd, path, F_OK, 0))
		return 0;
	r = write_file_at(s->fd, path, p, n, 0600);
	return r ? warn_errno(r, "write %s in the store %s", path, log_quote(s->path)) : 0;
}

int store_get(struct store *s, const struct digest *d, size_t max, char **ret, size_t *ret_len)
{
	cleanup_free char *p = NULL;
	struct digest is;
	char path[96];
	size_t n;
	int r;

	blob_path(d, path);
	r = read_file_at(s->fd, path, max, &p, &n);
	if (r)
		return r == -ENOENT
			? r
			: warn_errno(r, "read %s in the store %s", path, log_quote(s->path));
	is = sha256_of(p, n);
	if (!digest_equal(&is, d)) {
		warn("%s in the store %s is damaged and was removed", path, log_quote(s->path));
		unlinkat(s->fd, path, 0);
		return -ENOENT;
	}
	*ret = steal(&p);
	*ret_len = n;
	return 0;
}

static void journal_path(const struct digest *manifest, char out[static 80])
{
	char hex[65];

	snprintf(out, 80, "journal/%s", digest_hex(manifest, hex));
}

static void local_path(const struct digest *manifest, char out[static 80])
{
	char hex[65];

	snprintf(out, 80, "local/%s", digest_hex(manifest, hex));
}

int store_local_index(struct store *s, const struct digest *manifest, struct digest *ret)
{
	cleanup_free char *p = NULL;
	char path[80];
	size_t n;

	local_path(manifest, path);
	if (read_file_at(s->fd, path, DIGEST_STR_LEN, &p, &n))
		return -ENOENT;
	return n == DIGEST_STR_LEN - 1 && !digest_parse_n(p, n, ret) ? 0 : -ENOENT;
}

int store_set_local_index(
	struct store *s, const struct digest *manifest, const struct digest *index)
{
	char path[80], text[DIGEST_STR_LEN];
	int r;

	local_path(manifest, path);
	digest_str(index, text);
	r = write_file_at(s->fd, path, text, strlen(text), 0600);
	return r ? warn_errno(r, "write %s in the store %s", path, log_quote(s->path)) : 0;
}

void store_forget_local_index(struct store *s, const struct digest *manifest)
{
	char path[80];

	local_path(manifest, path);
	unlinkat(s->fd, path, 0);
	journal_path(manifest, path);
	unlinkat(s->fd, path, 0);
}

int store_journal(struct store *s, const struct digest *manifest)
{
	char path[80];
	int fd;

	journal_path(manifest, path);
	fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

// Gives a file without a name one. By /proc that takes no privilege; where there is none (a worker
// after switch_root) it takes CAP_DAC_READ_SEARCH: open(2), O_TMPFILE.
static int link_file(int fd, int dir, const char *name)
{
	char from[64];

	snprintf(from, sizeof from, "/proc/self/fd/%d", fd);
	return linkat(AT_FDCWD, from, dir, name, AT_SYMLINK_FOLLOW) &&
			linkat(fd, "", dir, name, AT_EMPTY_PATH)
		? -errno
		: 0;
}

int store_adopt_journal(struct store *s, int fd, const struct digest *manifest)
{
	char path[80], name[64];
	int r;

	journal_path(manifest, path);
	snprintf(name, sizeof name, "journal/.tmp-%d-%llu", (int)gettid(),
		(unsigned long long)now_ns());
	r = link_file(fd, s->fd, name);
	if (r)
		return r;
	r = renameat(s->fd, name, s->fd, path) ? -errno : 0;
	if (r)
		unlinkat(s->fd, name, 0);
	return r;
}

// ---- data spaces ----

static size_t map_size(uint32_t blocks)
{
	return MAX(((size_t)blocks + 7) / 8, (size_t)1);
}

// Writes every block of the file, with what it reads.
static int fill_holes(int fd, size_t len)
{
	uint8_t buf[BLOCK_BYTES];
	int r = 0;

	for (size_t at = 0, n; at < len && !r; at += n) {
		n = MIN(len - at, sizeof buf);
		r = pread_full(fd, buf, n, at);
		if (!r)
			r = pwrite_full(fd, buf, n, at);
	}
	return r;
}

static int map_file(int dir)
{
	int fd = openat(dir, "map", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);

	return fd < 0 ? -errno : fd;
}

// The map is allocated on disk before it is mapped, so that a full disk is an error here and not a
// signal later; then the map lives in memory only.
static int map_open(int fd, struct space_file *f)
{
	struct stat st;
	int flags = MAP_SHARED, e;

	if (fstat(fd, &st))
		return last_errno();
	if ((uint64_t)st.st_size != f->map_len &&
		(ftruncate(fd, 0) || ftruncate(fd, (off_t)f->map_len)))
		return last_errno();
	e = posix_fallocate(fd, 0, (off_t)f->map_len);
	if (e == EOPNOTSUPP) // musl does not write zeros instead, as glibc does
		e = -fill_holes(fd, f->map_len);
	if (e == ENOSPC || e == EDQUOT) {
		warn("the store's disk is full: what is fetched now is not kept");
		flags = MAP_PRIVATE | MAP_ANONYMOUS;
	}
	f->map = mmap(NULL, f->map_len, PROT_READ | PROT_WRITE, flags,
		flags & MAP_ANONYMOUS ? -1 : fd, 0);
	return f->map == MAP_FAILED ? last_errno() : 0;
}

static int blocks_open(int dir, uint32_t blocks, bool *ret_fresh)
{
	cleanup_fd int fd = openat(dir, "blocks", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	off_t want = (off_t)blocks << BLOCK_SHIFT;
	struct stat st;

	if (fd < 0 || fstat(fd, &st))
		return last_errno();
	*ret_fresh = st.st_size != want;
	if (*ret_fresh && ftruncate(fd, want))
		return last_errno();
	return steal_fd(&fd);
}

static void space_path(const struct digest *key, char out[static 80])
{
	char hex[65];

	snprintf(out, 80, "data/%s", digest_hex(key, hex));
}

// Opens data/KEY with the shared lock; path is set. -errno, silent.
static int space_dir_open(struct store *s, const struct digest *key, char path[static 80])
{
	struct stat st;

	space_path(key, path);
	for (;;) {
		cleanup_fd int dir =
			openat(s->fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

		if (dir < 0)
			return -errno;
		if (flock(dir, LOCK_SH))
			debug("lock %s in the store: %s", path, strerror(errno));
		// it may have been removed while we waited
		if (!fstat(dir, &st) && st.st_nlink)
			return steal_fd(&dir);
	}
}

// Makes and opens data/KEY.
static int space_dir(struct store *s, const struct digest *key, char path[static 80])
{
	int dir;

	space_path(key, path);
	do {
		if (mkdirat(s->fd, path, 0700) && errno != EEXIST)
			return warn_errno(
				-errno, "make %s in the store %s", path, log_quote(s->path));
		dir = space_dir_open(s, key, path);
	} while (dir == -ENOENT);
	return dir < 0 ? warn_errno(dir, "open %s in the store %s", path, log_quote(s->path)) : dir;
}

int store_space_dir(struct store *s, const struct digest *key)
{
	char path[80];

	return space_dir_open(s, key, path);
}

int store_space(struct store *s, const struct digest *key, uint32_t blocks, struct space_file *ret)
{
	struct space_file f = { .fd = -1, .map_len = map_size(blocks) };
	char path[80];
	cleanup_fd int dir = space_dir(s, key, path), map = -1;
	bool fresh = false;
	int r;

	if (dir < 0)
		return dir;
	map = map_file(dir);
	// who finds a file of the wrong size must not empty it under another who has just made it
	if (map >= 0 && flock(map, LOCK_EX))
		debug("lock %s/map in the store: %s", path, strerror(errno));
	f.fd = map < 0 ? map : blocks_open(dir, blocks, &fresh);
	r = f.fd < 0 ? f.fd : map_open(map, &f);
	if (!r && fresh)
		memset(f.map, 0, f.map_len);
	if (map >= 0)
		flock(map, LOCK_UN); // it would live as long as the mapping
	if (r) {
		if (f.fd >= 0)
			close(f.fd);
		return warn_errno(r, "open %s in the store %s", path, log_quote(s->path));
	}
	f.dir = steal_fd(&dir);
	*ret = f;
	return 0;
}

void space_file_close(struct space_file *f)
{
	if (f->map)
		munmap(f->map, f->map_len);
	if (f->fd >= 0) {
		close(f->fd);
		close(f->dir);
	}
	f->map = NULL;
	f->fd = -1;
}

bool space_has(const struct space_file *f, uint32_t block, uint32_t n)
{
	for (uint32_t end = block + n; block < end; block++) {
		uint8_t byte = __atomic_load_n(&f->map[block / 8], __ATOMIC_ACQUIRE);

		if (byte == 0xff && block % 8 == 0 && end - block >= 8)
			block += 7;
		else if (!(byte & 1u << block % 8))
			return false;
	}
	return true;
}

void space_mark(struct space_file *f, uint32_t block, uint32_t n, bool present)
{
	for (uint32_t end = block + n; block < end;) {
		uint32_t count = MIN(8 - block % 8, end - block);
		uint8_t bits = (uint8_t)(((1u << count) - 1) << block % 8);

		if (present)
			__atomic_fetch_or(&f->map[block / 8], bits, __ATOMIC_RELEASE);
		else
			__atomic_fetch_and(&f->map[block / 8], (uint8_t)~bits, __ATOMIC_RELEASE);
		block += count;
	}
}

// ---- new spaces ----

int store_tmp(struct store *s)
{
	int fd = openat(s->fd, "tmp", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

	return fd < 0 ? warn_errno(-errno, "make a file in the store %s", log_quote(s->path)) : fd;
}

int store_adopt(struct store *s, int fd, const struct digest *key, uint32_t blocks)
{
	char path[80], name[64];
	cleanup_fd int dir = space_dir(s, key, path);
	struct space_file f;
	int r;

	if (dir < 0)
		return dir;
	snprintf(name, sizeof name, "new-%d-%llu", (int)gettid(), (unsigned long long)now_ns());
	// blocks that stand there may be incomplete or damaged; these here are whole: they take the
	// place, at once, whoever else does the same
	r = link_file(fd, dir, name);
	if (r)
		return warn_errno(r, "name %s/%s in the store %s", path, name, log_quote(s->path));
	if (renameat(dir, name, dir, "blocks")) {
		r = -errno;
		unlinkat(dir, name, 0);
		return warn_errno(r, "replace %s/blocks in the store %s", path, log_quote(s->path));
	}
	r = store_space(s, key, blocks, &f);
	if (r)
		return r;
	space_mark(&f, 0, blocks, true);
	space_file_close(&f);
	return 0;
}
