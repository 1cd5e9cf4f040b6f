// test_lastaddr.c - the addresses at which hosts have answered
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/lastaddr.c"

#include "tap.h"

static bool is(const char *url, const char *want)
{
	cleanup_free char *got = lastaddr_of(url);

	return want ? got && !strcmp(got, want) : !got;
}

static void test_known(void)
{
	ok(is("https://a.example/v2/", NULL), "nothing is known at first");
	lastaddr_note("https://a.example/v2/", "192.0.2.1");
	lastaddr_note("http://a.example/v2/", "192.0.2.2");
	lastaddr_note("https://b.example:5000/x?y", "2001:db8::1");
	lastaddr_note("no url", "192.0.2.3");
	ok(is("https://a.example/other", "a.example:443:192.0.2.1"), "the scheme's port");
	ok(is("http://a.example/", "a.example:80:192.0.2.2"), "another port is another host");
	ok(is("https://b.example:5000/", "b.example:5000:[2001:db8::1]"), "IPv6 in brackets");
	lastaddr_note("https://a.example/", "192.0.2.9");
	ok(is("https://a.example/", "a.example:443:192.0.2.9"), "the last one counts");
	ok(is("no url", NULL) && is("https://c.example/", NULL), "others are not known");
}

static void test_text(void)
{
	cleanup_buf struct buf text = { 0 }, again = { 0 };

	lastaddr_write(&text);
	lastaddr_note("https://a.example/", "192.0.2.10");
	lastaddr_read(buf_str(&text));
	ok(is("https://a.example/", "a.example:443:192.0.2.9"), "read back");
	lastaddr_write(&again);
	ok(!strcmp(buf_str(&text), buf_str(&again)), "the same text again");
	lastaddr_read("\n \nx\nx \n y\nz:1 192.0.2.7");
	ok(is("https://x/", NULL) && is("https://z:1/", "z:1:192.0.2.7"),
		"broken lines are skipped");
}

static void test_many(void)
{
	for (int i = 0; i < 100; i++) {
		cleanup_free char *url = xasprintf("https://h%d.example/", i);

		lastaddr_note(url, "192.0.2.1");
	}
	ok(is("https://h99.example/", "h99.example:443:192.0.2.1") &&
			is("https://h0.example/", NULL),
		"the oldest are forgotten");
}

int main(void)
{
	test_known();
	test_text();
	test_many();
	return tap_end();
}
