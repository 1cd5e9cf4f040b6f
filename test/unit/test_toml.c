// test_toml.c - TOML files, and what registries.conf and hosts.toml make of a reference
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/toml.c"
#include "mirrors.h"
#include "ref.h"

#include "said.h"
#include "tap.h"

// ---- toml: printed in one line ----

static void print(struct buf *b, const struct toml *t)
{
	bool array = t->kind == TOML_ARRAY;

	switch (t->kind) {
	case TOML_STR: buf_printf(b, "'%s'", t->str); return;
	case TOML_INT: buf_printf(b, "%lld", (long long)t->num); return;
	case TOML_BOOL: buf_printf(b, t->num ? "yes" : "no"); return;
	default: break;
	}
	buf_printf(b, array ? "[" : "{");
	for (const struct toml *v = t->first; v; v = v->next) {
		if (!array)
			buf_printf(b, "%s=", v->key);
		print(b, v);
		buf_printf(b, v->next ? " " : "");
	}
	buf_printf(b, array ? "]" : "}");
}

static void good(const char *text, const char *want)
{
	cleanup_toml struct toml *t = NULL;
	struct buf cleanup_buf b = { 0 };

	said_begin();
	int r = toml_parse(text, strlen(text), "x", &t);
	const char *said = said_end();

	if (r == 0)
		print(&b, t);
	ok(r == 0 && !strcmp(buf_str(&b), want), "case %s: %s%.60s", want, buf_str(&b), said);
}

static void bad_toml(const char *text, const char *words)
{
	cleanup_toml struct toml *t = NULL;

	said_begin();
	int r = toml_parse(text, strlen(text), "x", &t);
	const char *said = said_end();

	ok(r == -EBADMSG && strstr(said, words), "refused: %s (%d %.80s)", words, r, r ? "" : said);
}

static void test_good(void)
{
	good("", "{}");
	good("# nothing\r\n\n  # more", "{}");
	good("a = \"b\" # c\nd = 'e\\f'", "{a='b' d='e\\f'}");
	good("a = 1_000\nb = -5\nc = +7\nd = true\ne=false", "{a=1000 b=-5 c=7 d=yes e=no}");
	good("a = \"\\t\\\"\\\\\\u00e9\\U0001F600\\n\"", "{a='\t\"\\\xc3\xa9\xf0\x9f\x98\x80\n'}");
	good("a = []\nb = [1, 'x',\n # c\n [true]\n,]", "{a=[] b=[1 'x' [yes]]}");
	good("a = {}\nb = { c = 1, 'd e' = { f = 2 } }", "{a={} b={c=1 d e={f=2}}}");
	good("[a]\nb=1\n[a.c]\nd=2\n[e.f.g]\nh=3\n[e]\ni=4",
		"{a={b=1 c={d=2}} e={f={g={h=3}} i=4}}");
	good("[[r]]\na=1\n[[r.m]]\nb=2\n[[r.m]]\nb=3\n[[r]]\na=4",
		"{r=[{a=1 m=[{b=2} {b=3}]} {a=4}]}");
	good("[host.\"https://a:5000\"]\nc=1\n[host.\"https://a:5000\".header]\nx='y'",
		"{host={https://a:5000={c=1 header={x='y'}}}}");
	good("a.b.c = 1\na.b.d = 2", "{a={b={c=1 d=2}}}");
	good("\"a.b\" = 1\n1 = 2", "{a.b=1 1=2}");
	good("[ a . b ]\nc=1", "{a={b={c=1}}}");
}

static void test_bad(void)
{
	bad_toml("a", "without '='");
	bad_toml("= 1", "key is missing");
	bad_toml("a = ", "line 1: no value");
	bad_toml("\n\na = 1 b", "line 3: something stands behind");
	bad_toml("a = 1.5", "something stands behind");
	bad_toml("a = 99999999999999999999", "too large");
	bad_toml("a = 1\na = 2", "twice");
	bad_toml("[a]\n[a]", "twice");
	bad_toml("a = 1\n[a]", "for a value and for a table");
	bad_toml("a = {}\n[a.b]", "for a value and for a table");
	bad_toml("a = [{}]\n[[a]]", "list of tables");
	bad_toml("[[a]]\n[a]", "twice");
	bad_toml("[a\nb=1", "does not end in ']'");
	bad_toml("[[a]\nb=1", "does not end in ']'");
	bad_toml("a = \"x", "does not end");
	bad_toml("a = \"x\n\"", "does not end on its line");
	bad_toml("a = \"\"\"x\"\"\"", "several lines");
	bad_toml("a = '''x'''", "several lines");
	bad_toml("a = \"\\x\"", "unknown escape");
	bad_toml("a = \"\\ud800\"", "bad \\u");
	bad_toml("a = \"\\u0000\"", "bad \\u");
	bad_toml("a = \"\\u00g0\"", "bad \\u");
	bad_toml("a = \"\x01\"", "control character");
	bad_toml("a = [1 2]", "commas");
	bad_toml("a = [1", "commas");
	bad_toml("a = {b = 1", "does not end");
	bad_toml("a = yes", "no value");
	bad_toml("a = trueish", "no value");
}

static void test_limits(void)
{
	for (int d = -1; d <= 1; d++) {
		struct buf cleanup_buf deep = { 0 }, many = { 0 };
		cleanup_toml struct toml *one = NULL, *two = NULL;

		buf_printf(&deep, "a = ");
		for (int i = 0; i < TOML_DEPTH_MAX + d - 1; i++)
			buf_printf(&deep, "[");
		for (int i = 0; i < TOML_DEPTH_MAX + d - 1; i++)
			buf_printf(&deep, "]");
		buf_printf(&many, "a = [");
		for (unsigned i = 0; i < TOML_NODES_MAX - 1 + (unsigned)d; i++)
			buf_printf(&many, "1,");
		buf_printf(&many, "]");
		said_begin();
		int r = toml_parse((char *)deep.data, deep.len, "x", &one);
		int s = toml_parse((char *)many.data, many.len, "x", &two);

		said_end();
		ok(r == (d > 0 ? -EBADMSG : 0), "%d lists inside each other: %d",
			TOML_DEPTH_MAX + d - 1, r);
		ok(s == (d > 0 ? -EBADMSG : 0), "%u values: %d", TOML_NODES_MAX + (unsigned)d, s);
	}
}

// ---- what they say of a reference ----

static void show(struct buf *b, const struct mirrors *m)
{
	for (size_t i = 0; i < m->n; i++) {
		const struct endpoint *e = &m->v[i];

		buf_printf(b, "%s%s%s/%s%s%s%s%s%s%s%s", i ? " " : "", e->plain ? "http://" : "",
			e->host, e->repo, e->by_tag ? "" : "-tag", e->by_digest ? "" : "-digest",
			e->may_be_plain ? "+plain" : "", e->ns ? "?" : "", e->ns ? e->ns : "",
			e->ca ? ",ca=" : "", e->ca ? e->ca : "");
		if (e->cert)
			buf_printf(b, ",%s,%s", e->cert, e->key);
	}
}

static void of_file(bool hosts, const char *text, const char *image, int want, const char *list)
{
	cleanup_toml struct toml *t = NULL;
	struct buf cleanup_buf b = { 0 };
	struct mirrors m = { 0 };
	struct ref ref;
	size_t best = 0;

	if (toml_parse(text, strlen(text), "x", &t) || ref_parse(image, &ref))
		abort();
	said_begin();
	int r = hosts ? mirrors_of_hosts(t, &ref, "/d", "x", &m)
		      : mirrors_of_registries(t, &ref, "x", &best, &m);
	const char *said = said_end();

	show(&b, &m);
	ok(r == want && (r ? strstr(said, list) != NULL : !strcmp(buf_str(&b), list)),
		"%s: %s (%d %s)", image, list, r, buf_str(&b));
	mirrors_fini(&m);
	ref_fini(&ref);
}

static void registries(const char *text, const char *image, int want, const char *list)
{
	of_file(false, text, image, want, list);
}

static void hosts(const char *text, const char *image, int want, const char *list)
{
	of_file(true, text, image, want, list);
}

static void test_registries(void)
{
	static const char some[] =
		"unqualified-search-registries = ['x']\n"
		"[[registry]]\nprefix='r.x/a'\nlocation='in.x/b/c'\ninsecure=true\n"
		"[[registry.mirror]]\nlocation='m.x:5000/d'\n"
		"[[registry.mirror]]\nlocation='n.x'\npull-from-mirror='digest-only'\ninsecure=true\n"
		"[[registry]]\nlocation='r.x'\nmirror-by-digest-only=true\nmirror=[{location='localhost:1'}]\n"
		"[[registry]]\nprefix='*.w.x'\nlocation='w.x'\n"
		"[[registry]]\nlocation='bad.x'\nblocked=true\n";

	registries(some, "r.x/a/i", 0, "m.x:5000/d/i n.x/i-tag+plain in.x/b/c/i+plain");
	registries(some, "r.x/a", -EBADMSG, "a location is"); // n.x alone has no repository
	registries(some, "r.x/ab", 0, "localhost:1/ab-tag r.x/ab");
	registries(some, "r.xy/a", 0, "");
	registries(some, "a.w.x/i", 0, "w.x/i");
	registries(some, "w.x/i", 0, "");
	registries(some, "bad.x/i", -EACCES, "blocks");
	registries("[[registry]]\nlocation='r.x'\n[[registry.mirror]]\ninsecure=true", "r.x/a",
		-EBADMSG, "without location");
	registries("[[registry]]\nlocation='r.x'\n[[registry.mirror]]\nlocation='plainname'",
		"r.x/a", -EBADMSG, "a location is");
	registries("[[registry]]\nprefix='r.x'\nlocation='in.x/../..'", "r.x/a", -EBADMSG,
		"make no name");
	registries("[[registry]]\nprefix='r.x'\nlocation='u:p@in.x'", "r.x/a", -EBADMSG, "");
	registries("[registries.search]\nregistries=['docker.io']", "docker.io/a", 0, "");
	registries("[[registry]]\nlocation='r.x'\n[[registry]]\nprefix='r.x'\nlocation='s.x'",
		"r.x/a", 0, "s.x/a");
	for (int d = -1; d <= 1; d++) {
		struct buf cleanup_buf b = { 0 };
		cleanup_toml struct toml *t = NULL;
		struct mirrors m = { 0 };
		struct ref ref;
		size_t best = 0;

		buf_printf(&b, "[[registry]]\nlocation='r.x'\n");
		for (int i = 0; i < ENDPOINTS_MAX - 1 + d; i++)
			buf_printf(&b, "[[registry.mirror]]\nlocation='m%d.x'\n", i);
		if (toml_parse((char *)b.data, b.len, "x", &t) || ref_parse("r.x/a", &ref))
			abort();
		said_begin();
		int r = mirrors_of_registries(t, &ref, "x", &best, &m);

		said_end();
		ok(r == (d > 0 ? -EBADMSG : 0), "%d places: %d", ENDPOINTS_MAX + d, r);
		mirrors_fini(&m);
		ref_fini(&ref);
	}
}

static void test_hosts(void)
{
	hosts("", "r.x/a", 0, "r.x/a");
	hosts("server = 'https://s.x'", "r.x/a", 0, "s.x/a?r.x");
	hosts("server='https://r.x'\n[host.'https://m.x']\ncapabilities=['pull']\nca='c.pem'\n"
	      "[host.'http://n:5000']\ncapabilities=['pull','resolve']\nclient=[['/a.cert','a.key']]",
		"r.x/a/b", 0,
		"m.x/a/b-tag?r.x,ca=/d/c.pem http://n:5000/a/b?r.x,/a.cert,/d/a.key r.x/a/b");
	hosts("[host.'https://h.x/v2/proxy/']\noverride_path=true", "r.x/a", 0,
		"h.x/proxy/a?r.x r.x/a");
	hosts("[host.'https://h.x/other']\noverride_path=true", "r.x/a", -EBADMSG, "below /v2");
	hosts("[host.'https://h.x']\ncapabilities=['push']", "r.x/a", 0,
		"h.x/a-tag-digest?r.x r.x/a");
	hosts("[host.'ftp://h.x']", "r.x/a", -EBADMSG, "http:// or https://");
	hosts("[host.'https://u:p@h.x']", "r.x/a", -EBADMSG, "");
	hosts("[host.'mirror']", "r.x/a", 0, "mirror:443/a?r.x r.x/a");
	hosts("[host.'https://h.x']\nca=['a','b']", "r.x/a", -EBADMSG, "into one file");
	hosts("[host.'https://h.x']\nclient='both.pem'", "r.x/a", 0,
		"h.x/a?r.x,/d/both.pem,/d/both.pem r.x/a");
}

int main(void)
{
	test_good();
	test_bad();
	test_limits();
	test_registries();
	test_hosts();
	return tap_end();
}
