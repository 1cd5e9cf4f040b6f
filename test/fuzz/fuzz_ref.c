// fuzz_ref.c - image references; what parses must print to something that parses to the same
// SPDX-License-Identifier: Apache-2.0
#include "log.h"
#include "ref.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *s = xstrndup((const char *)data, size);
	struct ref a, b;

	log_level = LOG_QUIET;
	if (ref_parse(s, &a) < 0)
		return 0;
	cleanup_free char *full = ref_str(&a);

	if (ref_parse(full, &b) < 0 || a.transport != b.transport || !same(a.host, b.host) ||
		!same(a.repo, b.repo) || !same(a.dir, b.dir) || !same(a.tag, b.tag) ||
		!same(a.digest, b.digest))
		abort();
	if (a.transport == REF_DOCKER &&
		(!ref_is_repo(a.repo) || strstr(a.repo, "..") || (a.tag && !ref_is_tag(a.tag))))
		abort();
	ref_fini(&a);
	ref_fini(&b);
	return 0;
}
