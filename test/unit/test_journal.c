// test_journal.c - what is written into a journal comes out of it, and nothing that was changed does
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/journal.c"

#include <sys/mman.h>

#include "said.h"
#include "tap.h"

#define ENTRIES 5000u

static const struct tar_xattr attrs[] = {
	{ "user.a", (const uint8_t *)"x\0y", 6, 3 },
	{ "security.capability", (const uint8_t *)"", 19, 0 },
};

// The i-th of the entries that all tests write: of every kind, with and without names and attributes.
static struct tar_entry entry(unsigned i, char path[static 64], uint32_t *ret_content)
{
	struct tar_entry e = {
		.type = (enum tar_type)(i % (TAR_FIFO + 1)),
		.path = path,
		.path_len = (size_t)snprintf(path, 64, "d%u/file-%u\x01\xff", i % 7, i),
		.link = "target",
		.link_len = i % 3 ? 0 : 6,
		.mode = i & 07777,
		.uid = i,
		.gid = ~i,
		.mtime = (int64_t)i * -1000003,
		.mtime_ns = i,
		.rdev_major = i % 4096,
		.rdev_minor = i,
		.size = (uint64_t)i << 33,
		.xattrs = attrs,
		.n_xattrs = i % 3,
	};

	if (!i)
		e.path_len = 0; // the root
	*ret_content = i % 5 ? i : UINT32_MAX;
	return e;
}

static int written(unsigned layers)
{
	int fd = memfd_create("journal", MFD_CLOEXEC);
	struct journal_w *j;
	char path[64];

	if (fd < 0 || journal_begin(fd, &j))
		abort();
	for (unsigned l = 0; l < layers; l++) {
		for (unsigned i = 0; i < ENTRIES; i++) {
			uint32_t content;
			struct tar_entry e = entry(i, path, &content);

			journal_put(j, &e, content);
		}
		journal_put_end(j);
	}
	if (journal_end(j))
		abort();
	return fd;
}

static bool same(const struct tar_entry *a, const struct tar_entry *b)
{
	bool r = a->type == b->type && a->path_len == b->path_len &&
		!memcmp(a->path, b->path, a->path_len) && a->link_len == b->link_len &&
		!memcmp(a->link, b->link, a->link_len) && a->mode == b->mode && a->uid == b->uid &&
		a->gid == b->gid && a->mtime == b->mtime && a->mtime_ns == b->mtime_ns &&
		a->rdev_major == b->rdev_major && a->rdev_minor == b->rdev_minor &&
		a->size == b->size && a->n_xattrs == b->n_xattrs;

	for (size_t i = 0; r && i < a->n_xattrs; i++)
		r = !strcmp(a->xattrs[i].name, b->xattrs[i].name) &&
			a->xattrs[i].name_len == b->xattrs[i].name_len &&
			a->xattrs[i].value_len == b->xattrs[i].value_len &&
			!memcmp(a->xattrs[i].value, b->xattrs[i].value, a->xattrs[i].value_len);
	return r;
}

static void test_round(void)
{
	int fd = written(2);
	struct journal_r *j;
	struct tar_entry e;
	unsigned good = 0, ends = 0;
	uint32_t content;
	int r = journal_open(fd, "image", &j);

	ok(!r, "it is opened");
	for (unsigned l = 0; l < 2 && !r; l++) {
		for (unsigned i = 0; i < ENTRIES; i++) {
			char path[64];
			uint32_t want;
			struct tar_entry is = entry(i, path, &want);

			good += journal_next(j, &e, &content) == 1 && same(&e, &is) &&
				content == want;
		}
		ends += journal_next(j, &e, &content) == 0;
	}
	ok(good == 2 * ENTRIES, "%u of %u entries are as they were", good, 2 * ENTRIES);
	ok(ends == 2, "both layers end");
	said_begin();
	ok(journal_next(j, &e, &content) == -EBADMSG && strstr(said_end(), "image"),
		"there is no third");
	journal_close(j);
	close(fd);
}

static void test_damage(void)
{
	static const uint64_t at[] = { 0, 8, 39, 40, 1000 };
	struct journal_r *j;

	for (size_t i = 0; i < ARRAY_LEN(at); i++) {
		int fd = written(1);
		uint8_t c;

		if (pread_full(fd, &c, 1, at[i]))
			abort();
		c ^= 1;
		if (pwrite_full(fd, &c, 1, at[i]))
			abort();
		said_begin();
		ok(journal_open(fd, "image", &j) == -EBADMSG && strstr(said_end(), "damaged"),
			"byte %llu changed", (unsigned long long)at[i]);
		close(fd);
	}
	for (off_t n = 0; n < 3; n++) {
		int fd = written(1);

		if (ftruncate(fd, n ? n * 100 : 0))
			abort();
		said_begin();
		ok(journal_open(fd, "image", &j) == -EBADMSG && strstr(said_end(), "damaged"),
			"cut at %lld", (long long)n * 100);
		close(fd);
	}
}

int main(void)
{
	test_round();
	test_damage();
	return tap_end();
}
