// gc.c - removes from a store what nothing needs, then what was used least recently
//
// Order, so that a crash at any point leaves a store that is sound: what names a thing goes before
// the thing, on disk: an image's name, then local/HEX, then spaces and blobs, which are then nobody's
// and go with the next gc. In a space that stays, bits go off and to the disk before the blocks
// they speak of.
//
// Who comes while this runs waits: for `lock` (store_hold) with new things, for a space's directory
// with an old one. A space that a process has open has a shared lock on its directory (store.h).
// SPDX-License-Identifier: Apache-2.0
#include "gc.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "kept.h"
#include "layout.h"
#include "log.h"

#define LIMIT_FILE "limit"

struct gc {
	struct store *s;
	const struct gc_opts *o;
	struct census *c;
	uint64_t bytes; // that are left
	bool forgot;	// an image
};

static void say(struct gc *g, const char *step, const char *what, uint64_t bytes)
{
	if (g->o->say)
		g->o->say(g->o->arg, step, what, bytes);
	g->bytes -= MIN(bytes, g->bytes);
}

static int failed(const struct gc *g, const char *what)
{
	return warn_errno(-errno, "remove %s in the store %s", what, log_quote(g->s->path));
}

static int sync_dir(const struct gc *g, const char *name)
{
	cleanup_fd int fd = openat(g->s->fd, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	return fd < 0 || fsync(fd) ? failed(g, name) : 0;
}

// ---- a space ----

// The directory, locked against all others. -1: somebody has the space open, or it is gone.
static int lock_space(const struct gc *g, const struct census_space *sp, char path[static 80])
{
	cleanup_fd int dir = -1;
	char hex[65];

	snprintf(path, 80, "data/%s", digest_hex(&sp->key, hex));
	dir = openat(g->s->fd, path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0 || flock(dir, LOCK_EX | LOCK_NB))
		return -1;
	return steal_fd(&dir);
}

// Everything in the directory, whatever it is: what was left by who died half way too.
static int remove_space(struct gc *g, struct census_space *sp)
{
	cleanup_fd int dir = -1;
	char path[80];

	sp->gone = true;
	if (g->o->dry_run) {
		say(g, "remove", "data", sp->bytes);
		return 0;
	}
	dir = lock_space(g, sp, path);
	if (dir < 0)
		return 0;
	say(g, "remove", path, sp->bytes);
	return remove_tree_at(g->s->fd, path) ? failed(g, path) : 0;
}

// The map's bits of [from, to) go off, on disk too; then their blocks are given back.
static int punch(int dir, int blocks, uint32_t from, uint32_t to)
{
	cleanup_fd int fd = openat(dir, "map", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	struct space_file f = { .fd = blocks };
	struct stat st;
	int r = 0;

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	f.map_len = (size_t)st.st_size;
	if (f.map_len < ((size_t)to + 7) / 8)
		return -EBADMSG;
	f.map = mmap(NULL, f.map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (f.map == MAP_FAILED)
		return -errno;
	space_mark(&f, from, to - from, false);
	if (msync(f.map, f.map_len, MS_SYNC) || fsync(fd) ||
		fallocate(blocks, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
			(off_t)from << BLOCK_SHIFT, (off_t)(to - from) << BLOCK_SHIFT))
		r = -errno;
	munmap(f.map, f.map_len);
	return r;
}

static uint64_t bytes_of(int fd)
{
	struct stat st;

	return fstat(fd, &st) ? 0 : (uint64_t)st.st_blocks * 512;
}

// Where to begin so that at least `want` bytes are freed: the file's end holds what was packed last.
static uint32_t punch_from(int blocks, uint32_t end, uint64_t want)
{
	uint64_t found = 0;
	off_t at = (off_t)end << BLOCK_SHIFT;

	// 1 MiB at a time, data only
	while (at > 0 && found < want) {
		off_t step = MIN(at, (off_t)1 << 20), data;

		at -= step;
		data = lseek(blocks, at, SEEK_DATA);
		if (data >= 0 && data < at + step)
			found += (uint64_t)(at + step - data);
	}
	return (uint32_t)(at >> BLOCK_SHIFT);
}

// Gives back about `want` bytes of a space whose data can be had again.
static int trim_space(struct gc *g, struct census_space *sp, uint64_t want)
{
	cleanup_fd int dir = -1, blocks = -1;
	uint64_t before, freed;
	char path[80];
	struct stat st;
	uint32_t end;
	int r;

	if (g->o->dry_run) {
		say(g, "trim", "data", MIN(want, sp->bytes));
		return 0;
	}
	dir = lock_space(g, sp, path);
	if (dir >= 0)
		blocks = openat(dir, "blocks", O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	if (blocks < 0 || fstat(blocks, &st))
		return 0;
	before = bytes_of(blocks);
	end = (uint32_t)(st.st_size >> BLOCK_SHIFT);
	r = punch(dir, blocks, punch_from(blocks, end, want), end);
	if (r)
		return warn_errno(r, "trim %s in the store %s", path, log_quote(g->s->path));
	freed = before - MIN(bytes_of(blocks), before);
	say(g, "trim", path, freed);
	sp->bytes -= MIN(freed, sp->bytes);
	return 0;
}

// ---- what nothing needs ----

static int sweep_locals(struct gc *g)
{
	bool any = false;

	for (size_t i = 0; i < g->c->n_locals; i++) {
		if (g->c->locals[i].needed)
			continue;
		any = true;
		if (!g->o->dry_run)
			store_forget_local_index(g->s, &g->c->locals[i].manifest);
	}
	return any && !g->o->dry_run ? sync_dir(g, "local") : 0;
}

static int sweep_spaces(struct gc *g)
{
	int r = 0;

	for (size_t i = 0; i < g->c->n_spaces && !r; i++) {
		struct census_space *sp = &g->c->spaces[i];

		if (!sp->users && !census_busy(sp) && !sp->gone)
			r = remove_space(g, sp);
	}
	return r;
}

static int sweep_blobs(struct gc *g)
{
	for (size_t i = 0; i < g->c->n_blobs; i++) {
		struct census_blob *b = &g->c->blobs[i];
		char path[96], hex[65];

		if (b->needed)
			continue;
		snprintf(path, sizeof path, "blobs/sha256/%s", digest_hex(&b->digest, hex));
		say(g, "remove", g->o->dry_run ? "blob" : path, b->bytes);
		if (!g->o->dry_run && unlinkat(g->s->fd, path, 0) && errno != ENOENT)
			return failed(g, path);
	}
	return 0;
}

// Files that were on their way to a name when their process died: nobody else has the lock.
static void sweep_dir(struct gc *g, const char *name, const char *prefix)
{
	int fd = openat(g->s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		cleanup_free char *path = xasprintf("%s/%s", name, e->d_name);

		if (!strcmp(e->d_name, ".") || !strcmp(e->d_name, "..") ||
			strncmp(e->d_name, prefix, strlen(prefix)))
			continue;
		say(g, "remove", path, 0);
		if (!g->o->dry_run && remove_tree_at(g->s->fd, path))
			failed(g, path);
	}
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

static bool is_used(const struct census *c, const char *hex)
{
	for (size_t i = 0; i < c->n_images; i++) {
		const char *key = c->images[i].key;
		struct digest d = sha256_of(key, strlen(key));
		char is[65];

		if (!strcmp(digest_hex(&d, is), hex))
			return true;
	}
	return false;
}

static bool is_needed(const struct census *c, const char *hex)
{
	for (size_t i = 0; i < c->n_blobs; i++) {
		char is[65];

		if (c->blobs[i].needed && !strcmp(digest_hex(&c->blobs[i].digest, is), hex))
			return true;
	}
	return false;
}

// Small files that say something of a thing that is no more.
static void sweep_notes(
	struct gc *g, const char *name, bool (*about)(const struct census *c, const char *hex))
{
	int fd = openat(g->s->fd, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	struct dirent *e;

	while (d && !g->o->dry_run && (e = readdir(d)))
		if (*e->d_name != '.' && !about(g->c, e->d_name))
			unlinkat(dirfd(d), e->d_name, 0);
	if (d)
		closedir(d);
	else if (fd >= 0)
		close(fd);
}

// What is known of the conversion of an original that is no more here. What was found bad is another
// matter: that may not even have been kept.
static bool is_of_needed(const struct census *c, const char *name)
{
	cleanup_free char *hex = xstrndup(name, 64);

	return !strcmp(name + strlen(hex), KEPT_BAD) || is_needed(c, hex);
}

static bool is_no_verdict(const struct census *c, const char *name)
{
	(void)c;
	return strlen(name) < 64 || strcmp(name + 64, KEPT_BAD);
}

static bool is_needed_local(const struct census *c, const char *hex)
{
	for (size_t i = 0; i < c->n_locals; i++) {
		char is[65];

		if (c->locals[i].needed && !strcmp(digest_hex(&c->locals[i].manifest, is), hex))
			return true;
	}
	return false;
}

static int sweep(struct gc *g)
{
	int r;

	sweep_dir(g, "tmp", "");
	sweep_dir(g, ".", ".tmp-");
	sweep_dir(g, "local", ".tmp-");
	sweep_dir(g, "use", ".tmp-");
	sweep_dir(g, "stats", ".tmp-");
	sweep_dir(g, "accel", ".tmp-");
	sweep_dir(g, "journal", ".tmp-");
	sweep_dir(g, "blobs/sha256", ".tmp-");
	for (size_t i = 0; i < g->c->n_spaces; i++) {
		char path[80], hex[65];

		snprintf(path, sizeof path, "data/%s", digest_hex(&g->c->spaces[i].key, hex));
		sweep_dir(g, path, "new-");
	}
	sweep_notes(g, "use", is_used);
	sweep_notes(g, "accel", is_of_needed);
	if (g->o->forget_bad)
		sweep_notes(g, "accel", is_no_verdict);
	sweep_notes(g, "journal", is_needed_local);
	sweep_notes(g, "stats", is_needed);
	r = sweep_locals(g);
	if (!r)
		r = sweep_spaces(g);
	return r ? r : sweep_blobs(g);
}

// ---- what was used least recently ----

static int by_use(const void *a, const void *b)
{
	const struct census_image *x = *(struct census_image *const *)a,
				  *y = *(struct census_image *const *)b;

	return x->used != y->used ? (x->used < y->used ? -1 : 1) : strcmp(x->key, y->key);
}

// Also one that shares all its data with others: it is not the one that keeps it.
static bool may_go(const struct census_image *im)
{
	return !im->pinned && !im->mounted && im->n_spaces;
}

// Could be had again piece by piece, and less than all is enough?
static bool enough_is_less(const struct gc *g, const struct census_image *im, uint64_t want)
{
	for (size_t i = 0; i < im->n_spaces; i++)
		if (!g->c->spaces[im->spaces[i]].fetchable)
			return false;
	return want < census_own_bytes(g->c, im);
}

static int trim_image(struct gc *g, struct census_image *im, uint64_t want)
{
	uint64_t goal = g->bytes - want;
	int r = 0;

	// layers from the top down: the lower ones are the likelier to be of use to other images
	for (size_t i = im->n_spaces; i-- && !r && g->bytes > goal;) {
		struct census_space *sp = &g->c->spaces[im->spaces[i]];

		if (sp->users == 1 && !census_busy(sp))
			r = trim_space(g, sp, g->bytes - goal);
	}
	return r;
}

static bool others_have(const struct census *c, const struct digest *manifest)
{
	for (size_t i = 0; i < c->n_images; i++)
		for (size_t k = 0; k < c->images[i].n_locals && !c->images[i].gone; k++)
			if (digest_equal(&c->images[i].locals[k], manifest))
				return true;
	return false;
}

static int forget_image(struct gc *g, struct census_image *im)
{
	int r = 0;

	say(g, "forget", im->key, 0);
	im->gone = g->forgot = true;
	if (!g->o->dry_run) {
		r = layout_forget(g->s->repo, im->key);
		store_forget_use(g->s, im->key);
		for (size_t i = 0; i < im->n_locals; i++)
			if (!others_have(g->c, &im->locals[i]))
				store_forget_local_index(g->s, &im->locals[i]);
		if (!r && im->n_locals)
			r = sync_dir(g, "local");
	}
	for (size_t i = 0; i < im->n_spaces && !r; i++) {
		struct census_space *sp = &g->c->spaces[im->spaces[i]];

		if (!--sp->users && !census_busy(sp))
			r = remove_space(g, sp);
	}
	return r;
}

static int trim(struct gc *g)
{
	struct census_image **v = xcalloc(g->c->n_images, sizeof *v);
	int r = 0;

	for (size_t i = 0; i < g->c->n_images; i++)
		v[i] = &g->c->images[i];
	qsort(v, g->c->n_images, sizeof *v, by_use);
	for (size_t i = 0; i < g->c->n_images && !r && g->bytes > g->o->limit; i++) {
		uint64_t want = g->bytes - g->o->limit;

		if (!may_go(v[i]))
			continue;
		r = enough_is_less(g, v[i], want) ? trim_image(g, v[i], want)
						  : forget_image(g, v[i]);
	}
	free(v);
	return r;
}

// ---- the whole ----

// What is mounted is being used.
static void touch_mounted(struct gc *g)
{
	for (size_t i = 0; i < g->c->n_images; i++)
		if (g->c->images[i].mounted)
			store_touch(g->s, g->c->images[i].key);
}

// The manifests and indexes of what was forgotten.
static int sweep_forgotten(struct gc *g)
{
	struct census after, *all = g->c;
	int r = census_take(g->s, &after);

	if (r)
		return r;
	g->c = &after;
	r = sweep(g);
	g->c = all;
	census_fini(&after);
	return r;
}

int gc_run(struct store *s, const struct gc_opts *o, struct census *c, struct gc_result *ret)
{
	cleanup_fd int lock = store_lock(s, o->wait);
	struct gc g = { .s = s, .o = o, .c = c };
	int r;

	*c = (struct census){ 0 };
	if (lock < 0)
		return lock == -EWOULDBLOCK ? -EBUSY : lock;
	r = census_take(s, c);
	if (r)
		return r;
	g.bytes = c->bytes;
	if (!o->dry_run)
		touch_mounted(&g);
	r = sweep(&g);
	if (!r)
		r = trim(&g);
	if (!r && g.forgot && !o->dry_run)
		r = sweep_forgotten(&g);
	*ret = (struct gc_result){ c->bytes, g.bytes, !o->dry_run && g.bytes > o->limit };
	return r;
}

uint64_t gc_limit(struct store *s)
{
	cleanup_free char *p = NULL;
	size_t n;
	char *end;
	uint64_t v;

	if (read_file_at(s->fd, LIMIT_FILE, 32, &p, &n) || !n)
		return UINT64_MAX;
	errno = 0;
	v = strtoull(p, &end, 10);
	if (!errno && (*end == '\n' || !*end) && *p >= '0' && *p <= '9')
		return v;
	warn("%s in the store %s is no number; nothing is trimmed", LIMIT_FILE, log_quote(s->path));
	return UINT64_MAX;
}

int gc_set_limit(struct store *s, uint64_t bytes)
{
	cleanup_free char *text = xasprintf("%llu\n", (unsigned long long)bytes);
	int r = 0;

	if (bytes != UINT64_MAX)
		r = write_file_at(s->fd, LIMIT_FILE, text, strlen(text), 0600);
	else if (unlinkat(s->fd, LIMIT_FILE, 0) && errno != ENOENT)
		r = -errno;
	return r ? warn_errno(r, "write %s in the store %s", LIMIT_FILE, log_quote(s->path)) : 0;
}

// Bytes of the spaces alone, without looking into anything.
static bool is_above(struct store *s, uint64_t limit)
{
	int fd = openat(s->fd, "data", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	uint64_t sum = 0;
	struct dirent *e;

	while (d && (e = readdir(d))) {
		cleanup_free char *path = xasprintf("%s/blocks", e->d_name);
		struct stat st;

		if (!fstatat(dirfd(d), path, &st, AT_SYMLINK_NOFOLLOW))
			sum += (uint64_t)st.st_blocks * 512;
	}
	if (d)
		closedir(d);
	return sum > limit;
}

void gc_auto(const char *root)
{
	struct gc_opts o = { 0 };
	struct gc_result result;
	struct census c;
	struct store *s;

	if (store_open(root, &s))
		return;
	o.limit = gc_limit(s);
	if (o.limit != UINT64_MAX && is_above(s, o.limit)) {
		int r = gc_run(s, &o, &c, &result);

		if (r == -EBUSY)
			info("the store is above its limit; others are at work, it is not trimmed now");
		else if (!r)
			info("the store was trimmed from %llu to %llu bytes",
				(unsigned long long)result.before,
				(unsigned long long)result.after);
		census_fini(&c);
	}
	store_close(s);
}
