// fuzz_referrers.c - a registry's list of referrers, and the Link header that leads to its next page
// SPDX-License-Identifier: Apache-2.0
//
// The input is two texts with a byte 0xff between them: the header's value, the list.
#include "../../lib/referrers.c"

#include "json.h"
#include "log.h"
#include "url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define BASE "https://registry.example/v2/a/referrers/sha256:0?artifactType=x"

// Wherever it leads, it is the same registry.
static void follow(const uint8_t *p, size_t n)
{
	cleanup_free char *value = xstrndup((const char *)p, n), *to = NULL;
	bool found = url_link_next(BASE, value, &to);

	if (to &&
		(!found || !url_same_origin(to, BASE) || strlen(to) > URL_MAX ||
			strpbrk(to, "\r\n")))
		abort();
}

// What is taken is a manifest of ours with a digest, and none that is listed has a greater serial.
static void read_list(const uint8_t *p, size_t n)
{
	struct search s = { .where = "r.example/a" };
	cleanup_json yyjson_doc *doc = NULL;
	yyjson_arr_iter it;
	yyjson_val *v;
	struct digest d;

	memset(s.original, 0, sizeof s.original);
	snprintf(s.original, sizeof s.original, "sha256:%064d", 0);
	if (json_parse(p, n, NULL, &doc) < 0)
		return;
	yyjson_arr_iter_init(json_arr(json_root(doc), "manifests"), &it);
	while ((v = yyjson_arr_iter_next(&it)))
		consider(&s, v);
	if (*s.best.entry.digest && digest_parse(s.best.entry.digest, &d) < 0)
		abort();
	if (!*s.best.entry.digest && s.best.serial)
		abort();
	free(s.best.entry.copy);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	const uint8_t *end = size ? memchr(data, 0xff, size) : NULL;
	size_t first = end ? (size_t)(end - data) : size;

	log_level = LOG_QUIET;
	follow(data, first);
	if (end)
		read_list(end + 1, size - first - 1);
	return 0;
}
