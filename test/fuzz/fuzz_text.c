// fuzz_text.c - small texts that come with an image, a mount table or a command line
// SPDX-License-Identifier: Apache-2.0
#include "base64.h"
#include "hash.h"
#include "log.h"
#include "opt.h"
#include "platform.h"
#include "serve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_platform(const char *s)
{
	struct platform p, again;
	char text[100], text2[100];

	if (platform_parse(s, &p))
		return;
	platform_str(&p, text);
	if (platform_parse(text, &again) || strcmp(platform_str(&again, text2), text) != 0)
		abort();
}

static void try_digest(const char *s, size_t n)
{
	char text[DIGEST_STR_LEN];
	struct digest d;

	if (digest_parse_n(s, n, &d) == 0 &&
		(strlen(digest_str(&d, text)) != n || memcmp(text, s, n) != 0))
		abort();
}

static void try_numbers(const char *s)
{
	uint64_t v = 7;
	struct opt o = { .name = "x", .to = &v };

	if (opt_u64(&o, s) && v != 7)
		abort();
	v = 7;
	if (opt_size(&o, s) && v != 7)
		abort();
	if (serve_parse_loss(s, &v) == 0 && v == 0)
		abort();
}

// What came out is what comes out again. (The last character may have bits that count for nothing.)
static void try_base64(const char *s, size_t n)
{
	cleanup_free char *out = xmalloc(n / 4 * 3 + 3), *text = NULL, *again = NULL;
	ssize_t len = base64_decode(s, n, out);

	if (len < 0)
		return;
	size_t text_len = base64_len((size_t)len);
	text = xmalloc(text_len + 1);
	again = xmalloc(text_len / 4 * 3 + 3);
	base64_encode(out, (size_t)len, text);
	if (base64_decode(text, text_len, again) != len || memcmp(again, out, (size_t)len) != 0)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	cleanup_free char *s = xstrndup((const char *)data, size);
	cleanup_free char *exact = xmalloc(size);

	log_level = LOG_QUIET;
	memcpy(exact, data, size);
	try_platform(s);
	try_digest(exact, size);
	try_numbers(s);
	try_base64(exact, size);
	return 0;
}
