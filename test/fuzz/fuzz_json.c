// fuzz_json.c - JSON documents, and manifests; what parses must print to something that parses
// SPDX-License-Identifier: Apache-2.0
#include "json.h"
#include "log.h"
#include "repo.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_manifest(const uint8_t *data, size_t size)
{
	static const char *const claims[] = {
		"",
		"application/json",
		"application/vnd.oci.image.manifest.v1+json",
		"application/vnd.oci.image.index.v1+json",
	};

	for (size_t i = 0; i < ARRAY_LEN(claims); i++) {
		struct manifest m = { .len = size };

		m.bytes = xmalloc(size);
		memcpy(m.bytes, data, size);
		snprintf(m.media_type, sizeof m.media_type, "%s", claims[i]);
		if (manifest_check(&m, "fuzz") == 0 && !*m.media_type)
			abort();
		manifest_fini(&m);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free uint8_t *copy = xmalloc(size); // the very end is guarded then
	cleanup_json yyjson_doc *doc = NULL, *again = NULL;
	struct buf cleanup_buf out = { 0 };

	log_level = LOG_QUIET;
	memcpy(copy, data, size);
	if (json_parse(copy, size, "fuzz", &doc) < 0)
		return 0;
	json_open(&out, NULL, '[');
	if (json_put_val(&out, NULL, json_root(doc)) < 0)
		return 0;
	json_put_strn(&out, NULL, (const char *)copy, size);
	json_close(&out, ']');
	// one array around it: one deeper
	if (json_parse(out.data, out.len, "fuzz", &again) < 0 && out.len <= JSON_SIZE_MAX &&
		!memmem(copy, size, "[[[[[[[[", 8) && !memmem(copy, size, "{\"", 2))
		abort();
	try_manifest(copy, size);
	return 0;
}
