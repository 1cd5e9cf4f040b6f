// fuzz_archive.c - archives of images: the catalogue of a tar, and docker's list of images
// SPDX-License-Identifier: Apache-2.0
//
// The first byte says which. The tar's checksums are put right, or nothing would get past them.
#include "dockerar.h"
#include "log.h"
#include "tarcat.h"
#include "tarhead.h"

#include <sys/mman.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void fix_checksums(uint8_t *p, size_t n)
{
	for (size_t at = 0; at + TAR_BLOCK <= n; at += TAR_BLOCK) {
		union tar_block b;
		unsigned sum = 0;

		memcpy(&b, p + at, sizeof b);
		if (memcmp(b.h.magic, "ustar", 5) != 0)
			continue;
		memset(b.h.chksum, ' ', sizeof b.h.chksum);
		for (size_t i = 0; i < TAR_BLOCK; i++)
			sum += b.bytes[i];
		tarhead_put(b.h.chksum, 7, sum);
		memcpy(p + at, &b, sizeof b);
	}
}

// Whatever is found lies inside the archive.
static void try_tar(const uint8_t *data, size_t n)
{
	static const char *const paths[] = { "index.json", "oci-layout", "manifest.json", "a",
		"a/b", "blobs/sha256/x" };
	static int fd = -1;
	cleanup_free uint8_t *p = xmalloc(n + 1);
	struct tarcat *c;

	memcpy(p, data, n);
	fix_checksums(p, n);
	if (fd < 0)
		fd = memfd_create("fuzz", MFD_CLOEXEC);
	if (ftruncate(fd, 0) || pwrite_full(fd, p, n, 0))
		abort();
	if (tarcat_open(fd, "fuzz", &c) < 0)
		return;
	for (size_t i = 0; i < ARRAY_LEN(paths); i++) {
		uint64_t off, size;

		if (tarcat_find(c, paths[i], i % 2, &off, &size) == 0 &&
			(off > n || size > n - off))
			abort();
	}
	tarcat_free(c);
}

static void try_list(const char *p, size_t n)
{
	static const char *const wants[] = { NULL, "@0", "docker.io/library/a:1" };

	for (size_t i = 0; i < ARRAY_LEN(wants); i++) {
		struct dockerar_item it;

		if (dockerar_choose(p, n, wants[i], "fuzz", &it) < 0)
			continue;
		if (!it.config || !strncmp(it.config, "../", 3) || *it.config == '/')
			abort();
		dockerar_item_fini(&it);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_level = LOG_QUIET;
	if (size < 1)
		return 0;
	if (*data % 2)
		try_tar(data + 1, size - 1);
	else
		try_list((const char *)data + 1, size - 1);
	return 0;
}
