// base.h - the words every module uses: sizes, cleanup, growable buffers, full I/O
// SPDX-License-Identifier: Apache-2.0
#ifndef BASE_H
#define BASE_H

#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <unistd.h>

#define BLOCK_SHIFT 12
#define BLOCK_BYTES 4096u

#define ARRAY_LEN(a) (sizeof(a) / sizeof(*(a)))
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#define must_check __attribute__((warn_unused_result))
#define printf_like(f, a) __attribute__((format(printf, f, a)))

// Blocks that `bytes` bytes take. bytes <= 2^63.
static inline uint64_t blocks_of(uint64_t bytes)
{
	return (bytes + BLOCK_BYTES - 1) >> BLOCK_SHIFT;
}

// n >= 1
static inline bool is_zero(const uint8_t *p, size_t n)
{
	return !*p && !memcmp(p, p + 1, n - 1);
}

// ---- ownership: a variable marked so is released at the end of its scope ----
static inline void cleanup_free_p(void *p)
{
	int e = errno;

	free(*(void **)p);
	errno = e;
}

static inline void cleanup_fd_p(int *fd)
{
	int e = errno;

	if (*fd >= 0)
		close(*fd);
	*fd = -1;
	errno = e;
}

#define cleanup_free __attribute__((cleanup(cleanup_free_p)))
#define cleanup_fd __attribute__((cleanup(cleanup_fd_p)))
#define cleanup_buf __attribute__((cleanup(buf_fini)))
// Takes the value out of an owning variable: p becomes NULL / fd becomes -1.
#define steal(p)                             \
	({                                   \
		__typeof__(*(p)) *pp_ = (p); \
		__typeof__(*(p)) v_ = *pp_;  \
		*pp_ = NULL;                 \
		v_;                          \
	})
static inline int steal_fd(int *fd)
{
	int v = *fd;

	*fd = -1;
	return v;
}
// -errno after a call that has failed: an error in any case, which -errno alone does not say.
static inline int last_errno(void)
{
	int r = -errno;

	return r < 0 ? r : -EIO;
}

// ---- allocation that ends the process when memory is gone: for the verbs and
// their one-shot work. The server side (fuse, lazy) uses plain malloc. ----
void *xmalloc(size_t n) must_check;
void *xcalloc(size_t count, size_t size) must_check;
void *xrealloc(void *p, size_t n) must_check;
char *xstrdup(const char *s) must_check;
char *xstrndup(const char *s, size_t n) must_check;
char *xasprintf(const char *fmt, ...) printf_like(1, 2) must_check;
// Makes *p (elements of `size` bytes, *cap of them) hold at least `need`; new room is not cleared.
void *xgrow(void *p, size_t *cap, size_t need, size_t size) must_check;

// ---- growable byte buffer; {0} is an empty one. buf_str() ends it with a NUL
// that does not count in len. ----
struct buf {
	uint8_t *data;
	size_t len, cap;
};
void buf_reserve(struct buf *b, size_t more);
void buf_add(struct buf *b, const void *p, size_t n);
void buf_printf(struct buf *b, const char *fmt, ...) printf_like(2, 3);
void buf_zero(struct buf *b, size_t n);
const char *buf_str(struct buf *b);
void buf_fini(struct buf *b);

// ---- little-endian fields at any alignment ----
static inline uint16_t get_le16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof v);
	return v;
}
static inline uint32_t get_le32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return v;
}
static inline uint64_t get_le64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof v);
	return v;
}
#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "fcpull's formats are little endian, and so must the machine be"
#endif

// ---- I/O that does not stop half way. 0 or -errno; a premature end is -ENODATA. ----
int read_full(int fd, void *buf, size_t n) must_check;
int write_full(int fd, const void *buf, size_t n) must_check;
int pread_full(int fd, void *buf, size_t n, uint64_t off) must_check;
int pwrite_full(int fd, const void *buf, size_t n, uint64_t off) must_check;
// The whole file, at most `max` bytes (-EFBIG above). O_CLOEXEC; regular files only
// (-EINVAL otherwise), so a fifo never blocks. Caller frees *ret; one NUL follows the data.
int read_file_at(int dirfd, const char *path, size_t max, char **ret, size_t *ret_len) must_check;
// What one read gives of a file whose size is not known, as of the kernel's: at most cap - 1 bytes, and NUL. Their number, or
// -errno and an empty string.
ssize_t read_text_at(int dirfd, const char *path, char *out, size_t cap);
// Replaces path by the bytes: temporary file in the same directory, fsync, rename, fsync of the
// directory.
int write_file_at(int dirfd, const char *path, const void *buf, size_t n, mode_t mode) must_check;
// mkdir -p, mode 0700 for what it makes. 0 or -errno.
int mkdir_p(const char *path, mode_t mode) must_check;
// rm -r of what stands at dirfd/path, never following a link. Missing is success.
int remove_tree_at(int dirfd, const char *path) must_check;

// A new file without a name in $TMPDIR, else /var/tmp (layers are big; /tmp is often memory).
// -errno logged with the remedy.
int scratch_file(void) must_check;

// One message, and the descriptor that came with it (SCM_RIGHTS, unix(7)) in *ret_fd, close-on-exec, or -1.
// flags: of recvmsg(2). Bytes, 0 at the end, or -errno, silent.
ssize_t recv_fd(int sock, void *buf, size_t n, int flags, int *ret_fd) must_check;

#define NS_PER_SEC 1000000000ull

uint64_t now_ns(void); // CLOCK_MONOTONIC
// A condition that can be waited for with a limit: cond_wait_ns() returns after ns at the latest,
// whatever becomes of the time of day.
void cond_init(pthread_cond_t *cond);
void cond_wait_ns(pthread_cond_t *cond, pthread_mutex_t *lock, uint64_t ns);
// "1.4 GB"-style (powers of 1000), into out; returns out.
const char *human_size(uint64_t bytes, char out[static 16]);

#endif
