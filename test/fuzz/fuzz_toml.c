// fuzz_toml.c - TOML files; what registries.conf and hosts.toml make of a reference
// SPDX-License-Identifier: Apache-2.0
#include "log.h"
#include "mirrors.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// Whatever a file says, the result is a name of a repository.
static void check(const struct mirrors *m)
{
	for (size_t i = 0; i < m->n; i++)
		if (!m->v[i].host || !ref_is_repo(m->v[i].repo) ||
			strpbrk(m->v[i].host, "/?#@ \r\n"))
			abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct ref ref = { .host = (char *)(uintptr_t) "r.x", .repo = (char *)(uintptr_t) "a/b" };
	cleanup_free char *exact = xmalloc(size);
	struct mirrors m = { 0 }, h = { 0 };
	struct toml *t;
	size_t best = 0;

	log_level = LOG_QUIET;
	memcpy(exact, data, size);
	if (toml_parse(exact, size, "fuzz", &t) < 0)
		return 0;
	if (mirrors_of_registries(t, &ref, "fuzz", &best, &m) == 0)
		check(&m);
	if (mirrors_of_hosts(t, &ref, "/d", "fuzz", &h) == 0)
		check(&h);
	mirrors_fini(&m);
	mirrors_fini(&h);
	toml_free(t);
	return 0;
}
