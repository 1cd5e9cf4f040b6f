// fuzz_layout.c - directories that hold images: an OCI layout's index.json, a dir:'s manifest.json
// SPDX-License-Identifier: Apache-2.0
//
// The first byte says which; the rest is the file.
#include "layout.h"
#include "log.h"

#include <fcntl.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A directory in memory, where there is one for files.
static const char *scratch(void)
{
	static char dir[] = "/dev/shm/fcpull-fuzz.XXXXXX", own[] = "/tmp/fcpull-fuzz.XXXXXX";
	static const char *at;

	if (!at && !(at = mkdtemp(dir)) && !(at = mkdtemp(own)))
		abort();
	return at;
}

static void leave(void)
{
	if (remove_tree_at(AT_FDCWD, scratch()))
		abort();
}

static void put(const char *name, const void *p, size_t n)
{
	cleanup_free char *path = xasprintf("%s/%s", scratch(), name);
	cleanup_fd int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);

	if (fd < 0 || write_full(fd, p, n))
		abort();
}

static void prepare(void)
{
	static const char layout[] = "{\"imageLayoutVersion\": \"1.0.0\"}";
	static bool done;

	if (done)
		return;
	done = true;
	put("oci-layout", layout, strlen(layout));
	atexit(leave);
}

static void get(struct repo *repo, const char *ref)
{
	struct manifest m = { 0 };

	if (repo_get_manifest(repo, ref, &m))
		return;
	struct digest is = sha256_of(m.bytes, m.len);
	if (!digest_equal(&is, &m.digest) || m.len > MANIFEST_MAX)
		abort();
	manifest_fini(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const char other[] =
		"sha256:"
		"e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
	struct ref ref = { .transport = REF_OCI };
	struct repo *repo;

	log_level = LOG_QUIET;
	if (size < 1)
		return 0;
	prepare();
	ref.dir = (char *)(uintptr_t)scratch();
	bool layout = *data % 2;
	put(layout ? "index.json" : "manifest.json", data + 1, size - 1);
	ref.transport = layout ? REF_OCI : REF_DIR;
	if (layout ? layout_open(&ref, false, &repo) : dirrepo_open(&ref, false, &repo))
		return 0;
	get(repo, NULL);
	get(repo, other);
	if (layout)
		get(repo, "a");
	repo_close(repo);
	return 0;
}
