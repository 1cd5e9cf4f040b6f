// fuzz_http.c - headers of a response, in whatever pieces, and the body of an error
// SPDX-License-Identifier: Apache-2.0
//
// The first byte says which: even, an error's body; odd, lines of headers.
#include "../../lib/registry.c"
#include "../../lib/xfer.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_error(const uint8_t *p, size_t n)
{
	cleanup_free uint8_t *exact = xmalloc(n);

	memcpy(exact, p, n);
	cleanup_free char *text = error_text((char *)exact, n);
	for (const char *s = text; *s; s++) // it goes to a terminal
		if ((unsigned char)*s < ' ' || *s == 0x7f)
			abort();
}

// As libcurl hands them over: line by line.
static void try_headers(const uint8_t *p, size_t n)
{
	static const char *const names[] = { "location", "content-length", "content-range",
		"docker-content-digest", "www-authenticate", "retry-after", "a" };
	struct http_xfer x = { 0 };

	for (size_t len; n; p += len, n -= len) {
		const uint8_t *end = memchr(p, '\n', n);
		len = end ? (size_t)(end - p) + 1 : n;
		cleanup_free char *line = xmalloc(len);

		memcpy(line, p, len);
		if (on_header(line, 1, len, &x) != len)
			break;
	}
	if (x.head_bytes > HTTP_HEAD_MAX && !x.refusal)
		abort();
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		for (unsigned k = 0; k < 3; k++) {
			const char *v = http_header(&x, names[i], k);

			if (v && strlen(v) > HTTP_HEAD_MAX)
				abort();
		}
	buf_fini(&x.head);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_level = LOG_QUIET;
	if (size < 1)
		return 0;
	if (*data % 2)
		try_headers(data + 1, size - 1);
	else
		try_error(data + 1, size - 1);
	return 0;
}
