// seal.c - data spaces that are whole, and were proved since this machine was started
// SPDX-License-Identifier: Apache-2.0
#include "seal.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "log.h"

#define SEAL_MAX 256
#define SEAL_NAME "sealed"

// ---- the record ----

// A number that no other boot has; "" where the kernel does not say: then nothing is sealed.
static const char *boot_id(void)
{
	static char id[64];

	if (*id)
		return id;
	read_text_at(AT_FDCWD, "/proc/sys/kernel/random/boot_id", id, sizeof id);
	id[strcspn(id, "\n")] = 0;
	return id;
}

static int describe(int blocks, char out[static SEAL_MAX])
{
	struct stat st;

	if (!*boot_id())
		return -ENOSYS;
	if (fstat(blocks, &st))
		return -errno;
	snprintf(out, SEAL_MAX, "fcpull-seal 1 %s %ju %jd %jd.%09ld %jd.%09ld\n", boot_id(),
		(uintmax_t)st.st_ino, (intmax_t)st.st_size, (intmax_t)st.st_mtim.tv_sec,
		st.st_mtim.tv_nsec, (intmax_t)st.st_ctim.tv_sec, st.st_ctim.tv_nsec);
	return 0;
}

// Without fsync: it is for this boot only.
static int write_record(int dir, const char *text)
{
	char name[64];
	int r;

	snprintf(name, sizeof name, SEAL_NAME "-%d-%llu", (int)gettid(),
		(unsigned long long)now_ns());
	cleanup_fd int fd =
		openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	r = write_full(fd, text, strlen(text));
	if (!r && renameat(dir, name, dir, SEAL_NAME))
		r = -errno;
	if (r)
		unlinkat(dir, name, 0);
	return r;
}

static bool has_record(int dir, int blocks, char want[static SEAL_MAX])
{
	cleanup_free char *there = NULL;
	size_t n;

	return !describe(blocks, want) && !read_file_at(dir, SEAL_NAME, SEAL_MAX, &there, &n) &&
		n == strlen(want) && !memcmp(there, want, n);
}

// ---- the blocks ----

// Bytes from..to of the file are zeros. Holes are not read.
static int check_zeros(int fd, off_t from, off_t to)
{
	static const size_t step = 1u << 17;
	cleanup_free uint8_t *buf = NULL;

	while (from < to) {
		off_t data = lseek(fd, from, SEEK_DATA);
		size_t n;
		int r;

		if (data < 0 && errno == ENXIO)
			return 0; // a hole up to the end
		if (data > from)
			from = data;
		if (from >= to)
			return 0;
		if (!buf)
			buf = xmalloc(step);
		n = (size_t)MIN((uint64_t)(to - from), (uint64_t)step);
		r = pread_full(fd, buf, n, (uint64_t)from);
		if (r || !is_zero(buf, n))
			return r ? r : -EBADMSG;
		from += (off_t)n;
	}
	return 0;
}

// Chunks of zeros are in no map and are read from the file all the same.
static int check_chunks(const struct index *ix, const struct space_view *sp,
	const struct space_file *f, bool zeros_too)
{
	for (uint32_t i = sp->first_chunk; i < sp->first_chunk + sp->chunks; i++) {
		struct chunk_view c;
		int r = 0;

		index_chunk(ix, i, &c);
		if (c.codec != CODEC_ZERO)
			r = space_has(f, c.block, c.blocks) ? 0 : -ENODATA;
		else if (zeros_too)
			r = check_zeros(f->fd, (off_t)c.block << BLOCK_SHIFT,
				(off_t)(c.block + c.blocks) << BLOCK_SHIFT);
		if (r)
			return r;
	}
	return 0;
}

// ---- sealing ----

// Waits until the file's bytes are on the disk, or cannot be put there. Not fdatasync: nothing has
// to outlast a power cut, and a worker that is told to end should not be held up by all of it.
static int write_out(int fd, off_t size)
{
	static const off_t step = 8 << 20;

	for (off_t at = 0; at < size; at += step)
		if (sync_file_range(fd, at, MIN(step, size - at),
			    SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE |
				    SYNC_FILE_RANGE_WAIT_AFTER))
			return -errno;
	return 0;
}

static int seal_space(struct store *s, const struct index *ix, uint32_t space)
{
	struct digest key = index_space_key(ix, space);
	struct space_file f;
	struct space_view sp;
	char text[SEAL_MAX];
	int r;

	index_space(ix, space, &sp);
	if (!sp.blocks)
		return 0;
	r = store_space(s, &key, sp.blocks, &f);
	if (r)
		return r;
	r = check_chunks(ix, &sp, &f, false);
	if (!r && !has_record(f.dir, f.fd, text)) {
		r = write_out(f.fd, (off_t)sp.blocks << BLOCK_SHIFT);
		if (!r)
			r = describe(f.fd, text);
		if (!r)
			r = check_chunks(ix, &sp, &f, true);
		if (!r)
			r = write_record(f.dir, text);
	}
	space_file_close(&f);
	return r;
}

int seal_image(struct store *s, const struct index *ix)
{
	int r = 0;

	for (uint32_t i = 0; i < index_spaces(ix) && !r; i++)
		r = seal_space(s, ix, i);
	debug("the image's blocks are %s%s", r ? "not sealed: " : "sealed", r ? strerror(-r) : "");
	return r;
}

// ---- using ----

// A descriptor, or -errno. Adds what the seal says.
static int open_space(struct store *s, const struct index *ix, uint32_t space, struct buf *seals)
{
	char seal[SEAL_MAX];
	struct digest key = index_space_key(ix, space);
	cleanup_fd int blocks = -1;
	struct space_file f;
	struct space_view sp;
	int r;

	index_space(ix, space, &sp);
	r = store_space(s, &key, sp.blocks, &f);
	if (r)
		return r;
	blocks = openat(f.dir, "blocks", O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	if (blocks < 0)
		r = -errno;
	else if (check_chunks(ix, &sp, &f, false) || !has_record(f.dir, blocks, seal))
		r = -ENODATA;
	space_file_close(&f);
	if (r)
		return r;
	buf_add(seals, seal, strlen(seal));
	return steal_fd(&blocks);
}

int sealed_open(struct store *s, const struct index *ix, struct sealed *ret)
{
	struct sealed v = { .fd = xcalloc(index_spaces(ix), sizeof *v.fd) };
	cleanup_buf struct buf seals = { 0 };

	*ret = (struct sealed){ 0 };
	for (uint32_t i = 0; i < index_spaces(ix); i++) {
		struct space_view sp;
		int fd;

		index_space(ix, i, &sp);
		if (!sp.blocks)
			continue;
		fd = open_space(s, ix, i, &seals);
		if (fd < 0) {
			sealed_close(&v);
			return fd;
		}
		v.fd[v.n++] = fd;
	}
	v.id = sha256_of(seals.data, seals.len);
	*ret = v;
	return 0;
}

void sealed_close(struct sealed *s)
{
	for (size_t i = 0; i < s->n; i++)
		close(s->fd[i]);
	free(s->fd);
	*s = (struct sealed){ 0 };
}

bool sealed_image(struct store *s, const struct index *ix)
{
	struct sealed v;
	bool r = !sealed_open(s, ix, &v);

	sealed_close(&v);
	return r;
}
