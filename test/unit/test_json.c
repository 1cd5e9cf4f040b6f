// test_json.c - the edge for JSON: what is refused, what the getters say, what the emitter writes
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/json.c"

#include "said.h"
#include "tap.h"

static int parse(const char *text, size_t n, const char *name)
{
	yyjson_doc *doc = NULL;
	int r = json_parse(text, n, name, &doc);

	yyjson_doc_free(doc);
	return r;
}

static void refused(const char *text, size_t n, const char *what, const char *words)
{
	said_begin();
	int r = parse(text, n, "thing");
	const char *said = said_end();

	ok(r == -EBADMSG && strstr(said, words) && strstr(said, "thing: "), "refused: %s%s%s", what,
		strstr(said, words) ? "" : "; said: ", strstr(said, words) ? "" : said);
}
#define refuse(text, words) refused(text, sizeof(text) - 1, text, words)

static void test_refused(void)
{
	refuse("", "not JSON");
	refuse(" ", "not JSON");
	refuse("{", "not JSON");
	refuse("{}x", "not JSON");
	refuse("{} {}", "not JSON");
	refuse("{'a':1}", "not JSON");
	refuse("{\"a\":1,}", "not JSON");
	refuse("[1 2]", "not JSON");
	refuse("[01]", "not JSON");
	refuse("[+1]", "not JSON");
	refuse("[NaN]", "not JSON");
	refuse("/* c */ 1", "not JSON");
	refuse("\xef\xbb\xbf{}", "not JSON");
	refuse("[\"\xff\"]", "not JSON");
	refuse("[\"\xc0\x80\"]", "not JSON");
	refuse("[\"\xed\xa0\x80\"]", "not JSON");
	refuse("[\"\\ud800\"]", "not JSON");
	refuse("[\"a\nb\"]", "not JSON");
	refuse("[\"a", "not JSON");
	refuse("<html>\x1b[2J", "<html>\\x1b[2J");
	refuse("{\"a\":1,\"a\":2}", "'a' twice");
	refuse("{\"a\":1,\"\\u0061\":2}", "'a' twice");
	refuse("[{\"x\":{\"b\":1,\"c\":2,\"b\":3}}]", "'b' twice");
	said_begin();
	int r = parse("{secret", 7, NULL);
	const char *said = said_end();

	ok(r == -EBADMSG && !*said, "without a name nothing is said");
}

static void test_limits(void)
{
	for (int d = -1; d <= 1; d++) {
		struct buf b = { 0 }, many = { 0 };

		for (int i = 0; i < JSON_DEPTH_MAX + d; i++)
			buf_add(&b, "[", 1);
		for (int i = 0; i < JSON_DEPTH_MAX + d; i++)
			buf_add(&b, "]", 1);
		// one array, and a comma for each value but the first
		buf_add(&many, "[0", 2);
		for (unsigned i = 0; i < JSON_VALUES_MAX - 2u + (unsigned)d; i++)
			buf_add(&many, ",0", 2);
		buf_add(&many, "]", 1);
		said_begin();
		int deep = parse((char *)b.data, b.len, "x"),
		    long_one = parse((char *)many.data, many.len, "x");

		said_end();
		ok(deep == (d > 0 ? -EBADMSG : 0), "depth %d", JSON_DEPTH_MAX + d);
		ok(long_one == (d > 0 ? -EBADMSG : 0), "values %d", (int)JSON_VALUES_MAX + d);
		buf_fini(&b);
		buf_fini(&many);

		size_t n = (size_t)((int)JSON_SIZE_MAX + d);
		cleanup_free char *big = xmalloc(n);

		memset(big, ' ', n);
		big[0] = '1';
		said_begin();
		int r = parse(big, n, "x");

		said_end();
		ok(r == (d > 0 ? -EBADMSG : 0), "size %zu", n);
	}
	ok(parse("\"[[[[[{{{{,,,,\"", 15, NULL) == 0, "brackets in strings do not count");
}

static void test_getters(void)
{
	static const char text[] =
		"{\"s\":\"x\",\"z\":\"a\\u0000b\",\"n\":18446744073709551615,\"m\":-1,\"f\":1.0,\"e\":1e3,\"big\":18446744073709551616,"
		"\"b\":true,\"nul\":null,\"a\":[1],\"o\":{\"p\":{\"q\":\"deep\"}},\"i\":9223372036854775808}";
	cleanup_json yyjson_doc *doc = NULL;
	const char *s = NULL;
	uint64_t u = 7;
	int64_t i = 7;

	ok(json_parse(text, sizeof text - 1, "x", &doc) == 0, "parses");
	yyjson_val *o = json_root(doc);

	ok(json_str(o, "s") && strcmp(json_str(o, "s"), "x") == 0, "string");
	ok(!json_str(o, "z") && json_get_str(o, "z", &s) == -EBADMSG, "string with a NUL");
	ok(json_get_str(o, "no", &s) == -ENOENT && json_get_str(o, "nul", &s) == -ENOENT &&
			json_get_str(o, "n", &s) == -EBADMSG,
		"no string");
	ok(json_u64(o, "n", &u) == 0 && u == UINT64_MAX, "2^64-1");
	u = 7;
	ok(json_u64(o, "m", &u) == -EBADMSG && json_u64(o, "f", &u) == -EBADMSG &&
			json_u64(o, "e", &u) == -EBADMSG && json_u64(o, "big", &u) == -EBADMSG &&
			json_u64(o, "s", &u) == -EBADMSG && json_u64(o, "no", &u) == -ENOENT &&
			u == 7,
		"no u64");
	ok(json_i64(o, "m", &i) == 0 && i == -1, "-1");
	ok(json_i64(o, "i", &i) == -EBADMSG && json_i64(o, "n", &i) == -EBADMSG && i == -1,
		"2^63 is no i64");
	ok(json_bool(o, "b", false) && json_bool(o, "no", true) && !json_bool(o, "s", false),
		"bool");
	ok(json_arr(o, "a") && !json_arr(o, "o") && json_obj(o, "o") && !json_obj(o, "a"),
		"array, object");
	ok(json_path(o, "o/p/q") && strcmp(json_str_of(json_path(o, "o/p/q")), "deep") == 0 &&
			!json_path(o, "o/x/q") && !json_path(o, "s/x"),
		"path");
	ok(!json_get(NULL, "x") && !json_str(NULL, "x") && !json_arr(NULL, "x") &&
			!json_path(NULL, "x/y"),
		"NULL is no object");
	ok(json_obj(json_obj(json_obj(o, "no"), "no"), "no") == NULL, "getters chain");
}

static void test_emitter(void)
{
	struct buf b = { 0 };
	cleanup_json yyjson_doc *doc = NULL;
	static const char odd[] = "q\"b\\n\n\x01\x7f\xff\xc3\xa9\xed\xa0\x80";

	json_open(&b, NULL, '{');
	json_put_str(&b, "s{", "[");
	json_put_u64(&b, "u", UINT64_MAX);
	json_put_i64(&b, "i", INT64_MIN);
	json_put_bool(&b, "t", true);
	json_put_str(&b, "n", NULL);
	json_open(&b, "a", '[');
	json_put_strn(&b, NULL, odd, sizeof odd - 1);
	json_open(&b, NULL, '[');
	json_close(&b, ']');
	json_open(&b, NULL, '{');
	json_close(&b, '}');
	json_put_u64(&b, NULL, 1);
	json_close(&b, ']');
	json_put_raw(&b, "r", "[]", 2);
	json_close(&b, '}');
	static const char want[] =
		"{\"s{\":\"[\",\"u\":18446744073709551615,\"i\":-9223372036854775808,\"t\":true,\"n\":null,"
		"\"a\":[\"q\\\"b\\\\n\\n\\u0001\\u007f\\ufffd\xc3\xa9\\ufffd\\ufffd\\ufffd\",[],{},1],\"r\":[]}";

	ok(strcmp(buf_str(&b), want) == 0, "what the emitter writes: %s", buf_str(&b));
	ok(json_parse(b.data, b.len, "x", &doc) == 0, "parses");
	struct buf copy = { 0 };

	json_open(&copy, NULL, '[');
	ok(json_put_val(&copy, NULL, json_root(doc)) == 0 &&
			json_put_val(&copy, NULL, json_arr(json_root(doc), "a")) == 0,
		"copies");
	json_close(&copy, ']');
	ok(parse((char *)copy.data, copy.len, "x") == 0, "copies parse: %s", buf_str(&copy));
	buf_fini(&b);
	buf_fini(&copy);
}

int main(void)
{
	test_refused();
	test_limits();
	test_getters();
	test_emitter();
	return tap_end();
}
