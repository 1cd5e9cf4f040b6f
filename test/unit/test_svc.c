// test_svc.c - the service's edges: notifications, patterns, tokens, what a conversion says, escapes
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/notify.c"

#include "convjob.h"
#include "hash.h"
#include "httpd.h"
#include "log.h"
#include "pattern.h"
#include "statuspage.h"
#include "tap.h"

static struct pushes ps;
static const char *why;

static int parse(const char *text)
{
	pushes_fini(&ps);
	return notify_parse(text, strlen(text), &ps, &why);
}

static bool is(size_t i, const char *host, const char *repo, const char *tag, const char *digest)
{
	return i < ps.n && !strcmp(ps.v[i].host, host) && !strcmp(ps.v[i].repo, repo) &&
		!strcmp(ps.v[i].tag, tag) && !strcmp(ps.v[i].digest, digest);
}

#define HEX64 "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"

static void test_distribution(void)
{
	// as docker-registry 2.8 sends it
	ok(!parse("{\"events\":[{\"id\":\"x\",\"timestamp\":\"2026-11-28T12:00:00Z\",\"action\":\"push\","
		  "\"target\":{\"mediaType\":\"application/vnd.oci.image.manifest.v1+json\",\"size\":500,"
		  "\"digest\":\"sha256:" HEX64 "\",\"length\":500,\"repository\":\"team/app\","
		  "\"url\":\"http://r:5000/v2/team/app/manifests/sha256:00\",\"tag\":\"1.0\"},"
		  "\"request\":{\"host\":\"r:5000\"},\"actor\":{},\"source\":{}},"
		  "{\"action\":\"push\",\"target\":{\"mediaType\":\"application/octet-stream\","
		  "\"digest\":\"sha256:" HEX64 "\",\"repository\":\"team/app\"}},"
		  "{\"action\":\"pull\",\"target\":{\"repository\":\"team/app\",\"tag\":\"1.0\"}}]}"),
		"an envelope");
	ok(ps.n == 1 && ps.ignored == 2 && is(0, "r:5000", "team/app", "1.0", "sha256:" HEX64),
		"the push of a tag in it");
	ok(!parse("{\"events\":[]}") && !ps.n && !ps.ignored, "an empty one");
	ok(!parse("{\"events\":[{\"action\":\"push\",\"target\":{\"repository\":\"a\",\"tag\":\"b\","
		  "\"digest\":\"md5:1\"}}]}") &&
			is(0, "", "a", "b", ""),
		"a digest that says nothing");
}

static void test_hostile(void)
{
	static const char *const targets[] = {
		"\"repository\":\"../etc\",\"tag\":\"b\"",
		"\"repository\":\"a/../b\",\"tag\":\"b\"",
		"\"repository\":\"A\",\"tag\":\"b\"",
		"\"repository\":\"a\",\"tag\":\"-b\"",
		"\"repository\":\"a\",\"tag\":\"b c\"",
		"\"repository\":\"a\",\"tag\":\"sha256:" HEX64 "\"",
		"\"repository\":\"a\\u0000b\",\"tag\":\"b\"",
		"\"repository\":7,\"tag\":\"b\"",
		"\"repository\":\"a\",\"tag\":null",
		"\"repository\":\"a\",\"tag\":[\"b\"]",
		"\"repository\":\"<script>\",\"tag\":\"b\"",
	};
	static const char *const wrong_ones[] = { "", "{", "[]", "null", "{}", "7",
		"{\"events\":{}}", "{\"events\":[1]}", "{\"events\":[{\"action\":\"push\"}]}",
		"{\"events\":[{\"action\":1,\"target\":{}}]}", "{\"events\":[],\"events\":[]}",
		"{\"type\":\"PUSH_ARTIFACT\"}",
		"{\"type\":\"PUSH_ARTIFACT\",\"event_data\":{\"resources\":[]}}" };
	cleanup_buf struct buf b = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
		cleanup_free char *text = xasprintf(
			"{\"events\":[{\"action\":\"push\",\"target\":{%s}}]}", targets[i]);

		ok(!parse(text) && !ps.n && ps.ignored == 1, "ignored: %s", targets[i]);
	}
	for (size_t i = 0; i < ARRAY_LEN(wrong_ones); i++)
		ok(parse(wrong_ones[i]) == -EBADMSG && *why, "refused: %s", wrong_ones[i]);
	ok(!parse("{\"events\":[{\"action\":\"push\",\"request\":{\"host\":\"a b/c@d\"},"
		  "\"target\":{\"repository\":\"a\",\"tag\":\"b\"}}]}") &&
			is(0, "", "a", "b", ""),
		"a host that is none");
	for (int n = NOTIFY_EVENTS_MAX; n <= NOTIFY_EVENTS_MAX + 1; n++) {
		b.len = 0;
		buf_printf(&b, "{\"events\":[");
		for (int i = 0; i < n; i++)
			buf_printf(&b, "%s{\"action\":\"x\",\"target\":{}}", i ? "," : "");
		buf_printf(&b, "]}");
		ok(parse(buf_str(&b)) == (n > NOTIFY_EVENTS_MAX ? -EBADMSG : 0), "%d events", n);
	}
}

static void test_harbor(void)
{
	ok(!parse("{\"type\":\"PUSH_ARTIFACT\",\"occur_at\":1680501893,\"operator\":\"admin\","
		  "\"event_data\":{\"resources\":[{\"digest\":\"sha256:" HEX64
		  "\",\"tag\":\"latest\","
		  "\"resource_url\":\"hub.example/library/debian:latest\"}],\"repository\":{\"name\":"
		  "\"debian\",\"namespace\":\"library\",\"repo_full_name\":\"library/debian\"}}}") &&
			ps.n == 1 &&
			is(0, "hub.example", "library/debian", "latest", "sha256:" HEX64),
		"Harbor's webhook");
	// each member that Harbor's formatter writes, in the order of CloudEvents' JSON
	ok(!parse("{\"specversion\":\"1.0\",\"id\":\"4b2f\",\"source\":\"/projects/1/webhook/policies/3\","
		  "\"type\":\"harbor.artifact.pushed\",\"datacontenttype\":\"application/json\","
		  "\"time\":\"2023-03-06T06:08:43Z\",\"data\":{\"resources\":[{\"digest\":\"sha256:" HEX64
		  "\",\"tag\":\"1\",\"resource_url\":\"h:443/a/b:1\"}],\"repository\":{"
		  "\"date_created\":1677053165,\"name\":\"b\",\"namespace\":\"a\","
		  "\"repo_full_name\":\"a/b\",\"repo_type\":\"public\"}},"
		  "\"operator\":\"robot$a+ci\",\"requestid\":\"2eed\"}") &&
			ps.n == 1 && is(0, "h:443", "a/b", "1", "sha256:" HEX64),
		"as a CloudEvent");
	ok(!parse("{\"specversion\":\"1.0\",\"type\":\"harbor.artifact.pushed\",\"data\":{\"resources\":"
		  "[{\"digest\":\"sha256:" HEX64 "\",\"tag\":\"sha256:" HEX64
		  "\",\"resource_url\":\"h:443/a/b@sha256:" HEX64 "\"}],\"repository\":{"
		  "\"repo_full_name\":\"a/b\"}}}") &&
			!ps.n && ps.ignored == 1,
		"its push by digest has no tag");
	ok(!parse("{\"specversion\":\"1.0\",\"type\":\"harbor.artifact.pulled\",\"data\":{\"resources\":"
		  "[{\"tag\":\"1\",\"resource_url\":\"h:443/a/b:1\"}],\"repository\":{"
		  "\"repo_full_name\":\"a/b\"}}}") &&
			!ps.n && ps.ignored == 1,
		"a pull as a CloudEvent");
	ok(!parse("{\"type\":\"DELETE_ARTIFACT\",\"event_data\":{}}") && !ps.n && ps.ignored == 1,
		"another event of it");
	pushes_fini(&ps);
}

static bool request(const char *text, const char *host, const char *repo, const char *tag)
{
	char platform[NOTIFY_PLATFORM_MAX];
	struct push p;

	log_level = LOG_QUIET;
	bool good = !notify_parse_request(text, strlen(text), &p, platform, &why);

	log_level = LOG_WARN;
	return good && !strcmp(p.host, host) && !strcmp(p.repo, repo) && !strcmp(p.tag, tag);
}

static void test_request(void)
{
	ok(request("{\"image\":\"h:5000/a/b:1\"}", "h:5000", "a/b", "1"), "an image");
	ok(request("{\"image\":\"debian\"}", "docker.io", "library/debian", "latest"),
		"a short one");
	ok(!request("{\"image\":\"oci:/etc\"}", "", "", ""), "a directory");
	ok(!request("{\"image\":\"h/a@sha256:" HEX64 "\"}", "", "", ""), "a digest");
	ok(!request("{}", "", "", "") && !request("", "", "", ""), "none");
}

static void test_patterns(void)
{
	static const struct {
		const char *pattern, *name;
		bool fits;
	} v[] = {
		{ "h/a", "h/a", true },
		{ "h/a", "h/ab", false },
		{ "h/*", "h/a", true },
		{ "h/*", "h/a/b", false },
		{ "h/**", "h/a/b", true },
		{ "**/b", "h/a/b", true },
		{ "**", "", true },
		{ "*", "", true },
		{ "", "", true },
		{ "", "a", false },
		{ "h/a?", "h/ab", true },
		{ "h/a?", "h/a/", false },
		{ "h/*-x", "h/a-x", true },
		{ "h/*-x", "h/a-x-x", true },
		{ "h/***", "h/a/b/c", true },
		{ "*/*", "a", false },
		{ "h.*/a", "hxy/a", false },
	};
	char star[PATTERN_MAX + 2], name[4096];

	for (size_t i = 0; i < ARRAY_LEN(v); i++)
		ok(pattern_fits(v[i].pattern, v[i].name) == v[i].fits, "'%s' and '%s'",
			v[i].pattern, v[i].name);
	memset(star, '*', sizeof star);
	for (size_t i = 1; i < sizeof star; i += 2)
		star[i] = 'a';
	memset(name, 'a', sizeof name - 1);
	name[sizeof name - 1] = 0;
	star[PATTERN_MAX] = 0;
	star[PATTERN_MAX - 1] = 'b';
	ok(!pattern_fits(star, name), "one that is made to take long");
	star[PATTERN_MAX] = '*';
	star[PATTERN_MAX + 1] = 0;
	ok(!pattern_fits(star, name), "one that is too long");
}

static void test_token(void)
{
	struct digest t = sha256_of("0123456789abcdef", 16);

	ok(httpd_may("Bearer 0123456789abcdef", &t) && httpd_may("bearer 0123456789abcdef", &t),
		"Bearer");
	ok(httpd_may("Basic eDowMTIzNDU2Nzg5YWJjZGVm", &t), "Basic x:0123456789abcdef");
	ok(!httpd_may(NULL, &t) && !httpd_may("", &t) && !httpd_may("Bearer ", &t) &&
			!httpd_may("Bearer 0123456789abcde", &t) &&
			!httpd_may("Bearer 0123456789abcdef ", &t) &&
			!httpd_may("0123456789abcdef", &t) &&
			!httpd_may("Basic MDEyMzQ1Njc4OWFiY2RlZg==", &t) &&
			!httpd_may("Basic !", &t) && !httpd_may("Basic ", &t),
		"nothing else");
}

static void test_result(void)
{
	static const char good[] = "{\"name\":\"h/a\",\"digest\":\"sha256:" HEX64
				   "\",\"outcome\":\"converted\",\"size\":1,\"decodedSize\":2,"
				   "\"dataSize\":3,\"indexSize\":4,\"bootSize\":5,\"entries\":6}\n";
	struct job_result r;

	ok(!convjob_parse(good, strlen(good), &r) && r.size == 1 && r.boot == 5 &&
			!strcmp(r.outcome, "converted"),
		"what convert says");
	ok(convjob_parse(good, 30, &r) == -EBADMSG && convjob_parse("", 0, &r) == -EBADMSG &&
			convjob_parse(NULL, 0, &r) == -EBADMSG &&
			convjob_parse("{}", 2, &r) == -EBADMSG,
		"and what it does not");
}

static void test_escape(void)
{
	cleanup_buf struct buf b = { 0 };

	statuspage_escape(&b, "<a href='x\">&");
	ok(!strcmp(buf_str(&b), "&lt;a href=&#39;x&quot;&gt;&amp;"), "HTML: %s", buf_str(&b));
}

int main(void)
{
	test_distribution();
	test_hostile();
	test_harbor();
	test_request();
	test_patterns();
	test_token();
	test_result();
	test_escape();
	return tap_end();
}
