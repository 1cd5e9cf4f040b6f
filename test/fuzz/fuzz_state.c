// fuzz_state.c - what other processes and earlier versions leave: mounts, state files, what a worker is told
// SPDX-License-Identifier: Apache-2.0
//
// The first byte says which parser gets the rest.
#include "../../lib/state.c"

#include "worker.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_mounts(const uint8_t *p, size_t n)
{
	cleanup_free char *line = xstrndup((const char *)p, n);
	size_t len = strlen(line);
	struct mount_line m;

	if (mountinfo_parse(line, &m) &&
		(strlen(m.path) > len || strlen(m.root) > len || strlen(m.type) > len))
		abort();
}

static void try_state(const char *p, size_t n)
{
	cleanup_json yyjson_doc *doc = NULL;
	struct state s = { 0 };

	if (json_parse(p, n, NULL, &doc) == 0 && take_state(json_root(doc), &s) == 0 &&
		(!s.image || !s.store || !s.driver))
		abort();
	state_fini(&s);
}

static void try_about(const char *p, size_t n)
{
	yyjson_doc *doc = NULL;
	struct about a;

	if (about_read(p, n, &a, &doc))
		return;
	if (!a.reference || !a.store || !a.driver)
		abort();
	yyjson_doc_free(doc);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_level = LOG_QUIET;
	if (size < 1)
		return 0;
	cleanup_free char *exact = xmalloc(size - 1);

	memcpy(exact, data + 1, size - 1);
	switch (*data % 3) {
	case 0: try_mounts(data + 1, size - 1); break;
	case 1: try_state(exact, size - 1); break;
	case 2: try_about(exact, size - 1); break;
	}
	return 0;
}
