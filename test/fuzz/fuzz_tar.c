// fuzz_tar.c - the tar reader on arbitrary bytes
// SPDX-License-Identifier: Apache-2.0
//
// The first byte steers: bit 0 makes the checksum of every block right, without which a fuzzer
// would hardly get past a header; bit 1 leaves data unread; the rest is the size of a read.
#include "log.h"
#include "tar.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define OUT_MAX (1u << 20) // bytes to read in a run: holes cost nothing in the input

static void mend_checksum(uint8_t *block)
{
	unsigned sum = 0;

	memset(block + 148, ' ', 8);
	for (size_t i = 0; i < 512; i++)
		sum += block[i];
	if (sum == 8 * ' ') // the end marker
		memset(block + 148, 0, 8);
	else
		snprintf((char *)block + 148, 8, "%06o", sum);
}

// What a caller relies on.
static void check_entry(const struct tar_entry *e)
{
	size_t xattr_bytes = 0;

	if (strlen(e->path) != e->path_len || e->path_len > TAR_PATH_MAX || e->mode > 07777 ||
		e->mtime_ns > 999999999 || e->size > INT64_MAX || (e->type != TAR_FILE && e->size))
		abort();
	if (*e->path == '/' || (e->path_len && e->path[e->path_len - 1] == '/') ||
		strstr(e->path, "//") || (!e->path_len && e->type != TAR_DIR))
		abort();
	if ((e->type == TAR_SYMLINK || e->type == TAR_HARDLINK) &&
		(!e->link || strlen(e->link) != e->link_len))
		abort();
	for (size_t i = 0; i < e->n_xattrs; i++) {
		if (strlen(e->xattrs[i].name) != e->xattrs[i].name_len)
			abort();
		xattr_bytes += e->xattrs[i].name_len + e->xattrs[i].value_len;
	}
	if (xattr_bytes > TAR_XATTR_MAX)
		abort();
}

// Returns what is left of the budget; a file that is read whole has the size it said.
static size_t read_data(struct tar *t, const struct tar_entry *e, size_t step, size_t budget)
{
	static uint8_t buf[256 << 10];
	uint64_t total = 0;
	ssize_t r = 1;

	while (budget && (r = tar_read(t, buf, step)) > 0) {
		if ((size_t)r > step)
			abort();
		total += (uint64_t)r;
		budget -= MIN(budget, (size_t)r);
	}
	if (!r && total != e->size)
		abort();
	return budget;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	uint8_t steer = *data;
	size_t n = size - 1, budget = OUT_MAX;
	uint8_t *copy = xmalloc(n + 1);

	log_level = LOG_QUIET;
	memcpy(copy, data + 1, n);
	for (size_t i = 0; steer & 1 && i + 512 <= n; i += 512)
		mend_checksum(copy + i);
	struct stream *in = stream_of_mem(copy, n);
	struct tar *t = tar_open(in, "fuzz");
	struct tar_entry e;
	int r;

	while ((r = tar_next(t, &e)) > 0) {
		check_entry(&e);
		if (!(steer & 2))
			budget = read_data(t, &e, (size_t)1 << (steer >> 2) % 19, budget);
	}
	if (tar_next(t, &e) != r)
		abort();
	tar_close(t);
	stream_close(in);
	free(copy);
	return 0;
}
