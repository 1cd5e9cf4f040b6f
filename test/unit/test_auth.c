// test_auth.c - parsers of headers and files: challenges, tokens, URLs, ranges
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/auth.c"

#include "tap.h"

// ---- WWW-Authenticate ----

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

static void challenge(const char *header, int r, const char *realm, const char *service,
	const char *scope, bool basic)
{
	struct challenges c = { 0 };
	int got = auth_parse_challenge(header, &c);

	ok(got == r && same(c.realm, realm) && same(c.service, service) && same(c.scope, scope) &&
			c.basic == basic,
		"challenge %s (%d %s %s %s)", header, got, c.realm ? c.realm : "-",
		c.service ? c.service : "-", c.scope ? c.scope : "-");
	challenges_fini(&c);
}

static void test_challenges(void)
{
	challenge("Bearer realm=\"https://a/t\",service=\"s\",scope=\"repository:x:pull\"", 0,
		"https://a/t", "s", "repository:x:pull", false);
	challenge("bearer REALM=\"r\" , Service = s", 0, "r", "s", NULL, false);
	challenge("Basic realm=\"x\"", 0, NULL, NULL, NULL, true);
	challenge("Basic", 0, NULL, NULL, NULL, true);
	challenge("Basic realm=\"a, Bearer realm=\\\"evil\\\"\", Bearer realm=\"good\"", 0, "good",
		NULL, NULL, true);
	challenge("Negotiate YII=, Bearer realm=r", 0, "r", NULL, NULL, false);
	challenge("Negotiate, Basic realm=x", 0, NULL, NULL, NULL, true);
	challenge("Digest realm=\"d\", nonce=\"n\", Bearer realm=\"b\"", 0, "b", NULL, NULL, false);
	challenge("Bearer realm=\"one\", Bearer realm=\"two\"", 0, "one", NULL, NULL, false);
	challenge("Bearer realm=\"one\",realm=\"two\"", 0, "one", NULL, NULL, false);
	challenge("Bearer realm=\"a\\\"b\\\\c\"", 0, "a\"b\\c", NULL, NULL, false);
	challenge(", ,Bearer  realm=x,,service=y,", 0, "x", "y", NULL, false);
	challenge("Bearer", 0, NULL, NULL, NULL, false);
	challenge("", 0, NULL, NULL, NULL, false);
	challenge("Bearer realm=\"open", -EPROTO, NULL, NULL, NULL, false);
	challenge("Bearer realm=", 0, NULL, NULL, NULL, false); // a token68
	challenge("Bearer realm=\"x\" service=@", -EPROTO, "x", NULL, NULL, false);
	challenge("@", -EPROTO, NULL, NULL, NULL, false);
	challenge("Bearer=x", -EPROTO, NULL, NULL, NULL, false);
}

static void test_challenge_limits(void)
{
	for (int d = -1; d <= 1; d++) {
		cleanup_free char *realm = xcalloc(1, CHALLENGE_MAX + 2),
				  *service = xcalloc(1, CHALLENGE_MAX + 2);
		struct challenges c = { 0 }, e = { 0 };

		memset(realm, 'r', (size_t)(REALM_MAX + d));
		memset(service, 's', (size_t)(CHALLENGE_MAX + d));
		cleanup_free char *one = xasprintf("Bearer realm=\"%s\"", realm),
				  *two = xasprintf("Bearer service=%s", service);

		ok(auth_parse_challenge(one, &c) == (d > 0 ? -EPROTO : 0), "realm of %d bytes",
			REALM_MAX + d);
		ok(auth_parse_challenge(two, &e) == (d > 0 ? -EPROTO : 0), "service of %d bytes",
			CHALLENGE_MAX + d);
		challenges_fini(&c);
		challenges_fini(&e);
	}
}

// ---- tokens ----

static void token(const char *body, const char *want, uint64_t life)
{
	cleanup_secret char *t = NULL;
	uint64_t seconds = 0;
	int r = auth_parse_token(body, strlen(body), &t, &seconds);

	ok(r == (want ? 0 : -EPROTO) && same(t, want) && (!want || seconds == life), "token %s",
		body);
}

static void test_tokens(void)
{
	token("{\"token\":\"abc\",\"expires_in\":300}", "abc", 300);
	token("{\"access_token\":\"abc\"}", "abc", 60);
	token("{\"token\":\"\",\"access_token\":\"abc\"}", "abc", 60);
	token("{\"token\":\"a\",\"access_token\":\"b\",\"expires_in\":59}", "a", 60);
	token("{\"token\":\"a\",\"expires_in\":-1}", "a", 60);
	token("{\"token\":\"a\",\"expires_in\":0}", "a", 60);
	token("{\"token\":\"a\",\"expires_in\":1e9}", "a", 60);
	token("{\"token\":\"a\",\"expires_in\":18446744073709551615}", "a", TOKEN_LIFE_MAX);
	token("{\"token\":\"a\",\"expires_in\":\"300\"}", "a", 60);
	token("{\"token\":null}", NULL, 0);
	token("{\"token\":[]}", NULL, 0);
	token("{\"token\":\"a b\"}", NULL, 0);
	token("{\"token\":\"a\\r\\nX: y\"}", NULL, 0);
	token("{\"token\":\"a\\u0000\"}", NULL, 0);
	token("{\"token\":\"\xc3\xa9\"}", NULL, 0);
	token("[]", NULL, 0);
	token("<html>", NULL, 0);
	token("", NULL, 0);
}

// ---- URLs and header values ----

static void test_urls(void)
{
	static const struct {
		const char *base, *location, *want;
	} resolve[] = {
		{ "https://h/v2/a", "/x?y=1", "https://h/x?y=1" },
		{ "https://h/v2/a", "b", "https://h/v2/b" },
		{ "https://h/v2/a", "//other/x", "https://other/x" },
		{ "https://h/v2/a", "http://i/x#f", "http://i/x" },
		{ "https://h/v2/a", "?q", "https://h/v2/a?q" },
		{ "https://h/", "https://u:p@i/", NULL },
		{ "https://h/", "https://u@i/", NULL },
		{ "https://h/", "", NULL },
		{ "https://h/", "https://[::1/", NULL },
		{ "https://h/", "https://h:99999/", NULL },
		{ "https://h/", "https://a b/", NULL },
		{ "https://h/", "file:///etc/passwd", "file:///etc/passwd" },
	};

	for (size_t i = 0; i < ARRAY_LEN(resolve); i++) {
		cleanup_free char *got = url_resolve(resolve[i].base, resolve[i].location);

		ok(same(got, resolve[i].want), "%s at %s is %s", resolve[i].location,
			resolve[i].base, got ? got : "none");
	}
	ok(url_same_origin("https://H.x/a", "https://h.x:443/b") &&
			url_same_origin("http://h/", "http://h:80"),
		"same origin");
	ok(!url_same_origin("https://h/", "http://h/") &&
			!url_same_origin("https://h/", "https://h:444/") &&
			!url_same_origin("https://h/", "https://h.evil/") &&
			!url_same_origin("https://h/", "nonsense://"),
		"other origin");
	static const char *const refused[] = {
		"http://h/",
		"file:///etc/passwd",
		"ftp://h/",
		"https://127.0.0.1/",
		"https://127.1/",
		"https://2130706433/",
		"https://0x7f.1/",
		"https://localhost/",
		"https://x.localhost./",
		"https://[::1]/",
		"https://[::ffff:127.0.0.1]/",
		"https://169.254.169.254/latest",
		"https://[fe80::1]/",
		"https://[fe80::1%25eth0]/",
		"https://0.0.0.0/",
		"https://[::]/",
		"gopher://h/",
		"unix:///x",
	};

	for (size_t i = 0; i < ARRAY_LEN(refused); i++)
		ok(url_refusal(refused[i], false, false), "%s: %s", refused[i],
			url_refusal(refused[i], false, false));
	ok(!url_refusal("https://h/x?y", false, false) &&
			!url_refusal("https://10.1.2.3/", false, false),
		"https elsewhere is followed");
	ok(!url_refusal("http://h/", true, false) &&
			url_refusal("http://127.0.0.1/", true, false) &&
			!url_refusal("http://127.0.0.1/", true, true),
		"plain and local by permission");
	ok(url_refusal("file:///x", true, true), "file: by none");
	ok(same(url_show("https://h/p?X-Signature=s"), "'https://h/p'"), "a query is not shown");
}

static void range(const char *v, int want, uint64_t first, uint64_t last, uint64_t total)
{
	uint64_t f = 0, l = 0, t = 0;
	int r = url_content_range(v, &f, &l, &t);

	ok(r == want && (r < 0 || (f == first && l == last && t == total)), "Content-Range: %s", v);
}

static void test_values(void)
{
	range("bytes 0-0/1", 0, 0, 0, 1);
	range("Bytes 5-9/10", 0, 5, 9, 10);
	range("bytes 5-9/*", 0, 5, 9, UINT64_MAX);
	range("bytes 0-9999999999999999998/9999999999999999999", 0, 0, 9999999999999999998u,
		9999999999999999999u);
	range("bytes 5-4/10", -EPROTO, 0, 0, 0);
	range("bytes 5-10/10", -EPROTO, 0, 0, 0);
	range("bytes */10", -EPROTO, 0, 0, 0);
	range("bytes 5-9/10 ", -EPROTO, 0, 0, 0);
	range("bytes 5-9", -EPROTO, 0, 0, 0);
	range("bytes -5-9/10", -EPROTO, 0, 0, 0);
	range("bytes 18446744073709551616-18446744073709551617/*", -EPROTO, 0, 0, 0);
	range("bytes=5-9/10", -EPROTO, 0, 0, 0);
	range("", -EPROTO, 0, 0, 0);
	static const struct {
		const char *v;
		int want;
	} waits[] = {
		{ "0", 0 },
		{ "7", 7 },
		{ "30", 30 },
		{ "31", 30 },
		{ "1000000000", 30 },
		{ "99999999999999999999999999", 30 },
		{ "-1", -1 },
		{ "", -1 },
		{ "1.5", -1 },
		{ "soon", -1 },
		{ "Thu, 01 Jan 1970 00:16:45 GMT", 5 },
		{ "Thu, 01 Jan 1970 00:00:00 GMT", 0 },
		{ "Fri, 31 Dec 2038 23:59:59 GMT", 30 },
	};

	for (size_t i = 0; i < ARRAY_LEN(waits); i++)
		ok(url_retry_after(waits[i].v, 1000) == waits[i].want, "Retry-After: %s is %d",
			waits[i].v, url_retry_after(waits[i].v, 1000));
}

int main(void)
{
	test_challenges();
	test_challenge_limits();
	test_tokens();
	test_urls();
	test_values();
	return tap_end();
}
