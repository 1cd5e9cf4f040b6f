// fuzz_auth.c - challenges, Content-Range, Retry-After, redirects, tokens, credential files, helpers
// SPDX-License-Identifier: Apache-2.0
//
// The first byte says which parser gets the rest.
#include "auth.h"
#include "credhelper.h"
#include "log.h"
#include "url.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void try_challenge(const char *s)
{
	struct challenges c = { 0 };

	if (auth_parse_challenge(s, &c) == 0 && c.realm && strlen(c.realm) > REALM_MAX)
		abort();
	challenges_fini(&c);
}

static void try_values(const char *s)
{
	uint64_t first, last, total;
	int wait = url_retry_after(s, 1700000000);

	if (url_content_range(s, &first, &last, &total) == 0 && (first > last || last >= total))
		abort();
	if (wait < -1 || wait > RETRY_AFTER_MAX)
		abort();
}

static void try_url(const char *s)
{
	cleanup_free char *to = url_resolve("https://registry.example/v2/a/blobs/x", s);

	if (!to)
		return;
	// What may be followed without permission is https, and says so.
	if (!url_refusal(to, false, false) && strncmp(to, "https://", 8) != 0)
		abort();
	if (url_same_origin(to, "https://registry.example") && strchr(to, '@') &&
		strcspn(to + 8, "/?#") > strcspn(to + 8, "@"))
		abort();
}

static void try_token(const char *p, size_t n)
{
	cleanup_secret char *token = NULL;
	uint64_t seconds;

	if (auth_parse_token(p, n, &token, &seconds) < 0)
		return;
	if (seconds < TOKEN_LIFE_MIN || strlen(token) > TOKEN_MAX || strpbrk(token, "\r\n "))
		abort();
}

static void try_creds(const char *p, size_t n)
{
	cleanup_free char *helper = NULL;
	struct creds c = { 0 };

	if (creds_parse(p, n, n % 2, "h.x", "a/b", &c, &helper) == 1 && !c.user &&
		!c.identity_token)
		abort();
	creds_fini(&c);
}

// What was changed is a credentials file that says what was put in.
static void try_edit(const char *p, size_t n)
{
	cleanup_free char *helper = NULL;
	struct buf cleanup_buf b = { 0 };
	struct creds c = { 0 };

	if (creds_edit(p, n, "h.x", "", "dTpw", &b) < 0)
		return;
	int r = creds_parse((char *)b.data, b.len, false, "h.x", "", &c, &helper);

	if (r < 0 || (r == 0 && !helper) || (r == 1 && strcmp(c.user, "u") != 0))
		abort();
	creds_fini(&c);
}

static void try_helper(const char *p, size_t n)
{
	struct creds c = { 0 };

	if (credhelper_parse(p, n, &c) == 1 && !c.user == !c.identity_token)
		abort();
	creds_fini(&c);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (size < 1)
		return 0;
	cleanup_free char *s = xstrndup((const char *)data + 1, size - 1);
	cleanup_free char *exact = xmalloc(size - 1);

	log_level = LOG_QUIET;
	memcpy(exact, data + 1, size - 1);
	switch (*data % 7) {
	case 0: try_challenge(s); break;
	case 1: try_values(s); break;
	case 2: try_url(s); break;
	case 3: try_token(exact, size - 1); break;
	case 4: try_creds(exact, size - 1); break;
	case 5: try_edit(exact, size - 1); break;
	case 6: try_helper(exact, size - 1); break;
	}
	return 0;
}
