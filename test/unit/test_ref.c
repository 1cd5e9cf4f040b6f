// test_ref.c - image references: what parses to what, what is refused with which words
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/ref.c"

#include "said.h"
#include "tap.h"

static const char hex[] = "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff";
#define HEX "ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"

static void good(const char *text, const char *full)
{
	struct ref r = { 0 };

	said_begin();
	int e = ref_parse(text, &r);
	cleanup_free char *said = xstrdup(said_end());
	cleanup_free char *got = e == 0 ? ref_str(&r) : xstrdup(said);

	ok(e == 0 && strcmp(got, full) == 0 && !*said, "%.60s is %.80s%s%s", text, full,
		e ? " not: " : "", e ? got : "");
	ref_fini(&r);
}

static void bad_ref(const char *text, const char *words)
{
	struct ref r = { 0 };

	said_begin();
	int e = ref_parse(text, &r);
	cleanup_free char *said = xstrdup(said_end());

	ok(e == -EINVAL && !r.repo && !r.dir && strstr(said, words), "%.60s: refused, \"%s\"%s%s",
		text, words,
		strstr(said, words) ? "" : "; said: ", strstr(said, words) ? "" : said);
	ref_fini(&r);
}

static void test_good(void)
{
	good("alpine", "docker.io/library/alpine:latest");
	good("alpine:3.20", "docker.io/library/alpine:3.20");
	good("docker://alpine", "docker.io/library/alpine:latest");
	good("user/app", "docker.io/user/app:latest");
	good("docker.io/alpine", "docker.io/library/alpine:latest");
	good("index.docker.io/alpine", "docker.io/library/alpine:latest");
	good("docker.io/a/b/c", "docker.io/a/b/c:latest");
	good("localhost/app", "localhost/app:latest");
	good("localhost:5000/app:1", "localhost:5000/app:1");
	good("registry.example/app", "registry.example/app:latest");
	good("registry:5000/app", "registry:5000/app:latest");
	good("registry:5000", "docker.io/library/registry:5000"); // a tag: there is no slash
	good("[::1]:5000/app", "[::1]:5000/app:latest");
	good("[2001:db8::1]/app:x", "[2001:db8::1]/app:x");
	good("127.0.0.1:5000/a/b:t", "127.0.0.1:5000/a/b:t");
	good("Registry.Example/app", "Registry.Example/app:latest");
	good("UPPER/app", "UPPER/app:latest"); // a host, says normalize.go
	good("app@sha256:" HEX, "docker.io/library/app@sha256:" HEX);
	good("app:1@sha256:" HEX, "docker.io/library/app:1@sha256:" HEX);
	good("a__b/c.d/e_f/g---h:_", "docker.io/a__b/c.d/e_f/g---h:_");
	good("xn--n3h.com/app", "xn--n3h.com/app:latest");
	good("host:65535/app", "host:65535/app:latest");
	good("app:A.b-C_9", "docker.io/library/app:A.b-C_9");
	good("oci:dir", "oci:dir");
	good("oci:/a b/c:tag", "oci:/a b/c:tag");
	good("oci:d:library/alpine:3", "oci:d:library/alpine:3");
	good("oci:d@sha256:" HEX, "oci:d@sha256:" HEX);
	good("oci:d:n@sha256:" HEX, "oci:d:n@sha256:" HEX);
	good("oci:a@b/c", "oci:a@b/c");
	good("oci:d:v1@x", "oci:d:v1@x");
	good("oci:d:a--b", "oci:d:a--b");
	good("docker:dind", "docker.io/library/docker:dind"); // an image of that name
	good("docker/x", "docker.io/docker/x:latest");
	good("oci-archive:/x.tar:a", "oci-archive:/x.tar:a");
	good("oci-archive:x@sha256:" HEX, "oci-archive:x@sha256:" HEX);
	good("docker-archive:x.tar", "docker-archive:x.tar");
	good("docker-archive:x.tar:a", "docker-archive:x.tar:docker.io/library/a:latest");
	good("docker-archive:x:localhost:5000/a:1", "docker-archive:x:localhost:5000/a:1");
	good("docker-archive:-:@12", "docker-archive:-:@12");
	good("docker-archive:/dev/stdin", "docker-archive:-");
	good("dir:/a:b", "dir:/a:b");
	good("tar:-", "tar:-");
	good("rootfs:/", "rootfs:/");
}

static void test_bad(void)
{
	bad_ref("", "empty");
	bad_ref("docker://", "no repository name");
	bad_ref("Alpine", "lower case");
	bad_ref("user/App", "lower case");
	bad_ref("app:", "a tag is");
	bad_ref("app:-x", "a tag is");
	bad_ref("app:.x", "a tag is");
	bad_ref("app:a b", "a tag is");
	bad_ref("app@", "after '@'");
	bad_ref("app@sha256:abc", "after '@'");
	bad_ref("app@sha256:" HEX "f", "after '@'");
	bad_ref("app@sha256:FFFFffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
		"after '@'");
	bad_ref("app@sha512:" HEX HEX, "only sha256");
	bad_ref(hex, "image ID");
	bad_ref("a//b", "parts joined");
	bad_ref("/a", "parts joined");
	bad_ref("a/", "parts joined");
	bad_ref("a/../b", "parts joined");
	bad_ref("x/a/../b", "parts joined");
	bad_ref("a..b", "parts joined");
	bad_ref("a___b", "parts joined");
	bad_ref("-a", "parts joined");
	bad_ref("a-", "parts joined");
	bad_ref("a._b", "parts joined");
	bad_ref("a%00b", "parts joined");
	bad_ref("a b", "parts joined");
	bad_ref("a\tb", "\\x09");
	bad_ref("\x1b[31mred", "\\x1b");
	bad_ref("host:0/app", "no HOST");
	bad_ref("host:65536/app", "no HOST");
	bad_ref("host:x/app", "no HOST");
	bad_ref("host:/app", "no HOST");
	bad_ref("-host.x/app", "no HOST");
	bad_ref("host-.x/app", "no HOST");
	bad_ref(".x/app", "no HOST");
	bad_ref("x./app", "no HOST");
	bad_ref("[::1%eth0]:5000/app", "no HOST");
	bad_ref("[::1/app", "no HOST");
	bad_ref("[]/app", "no HOST");
	bad_ref("[::1]x/app", "no HOST");
	bad_ref("user@host.x/app", "after '@'");
	bad_ref("user:pw@host.x/app", "after '@'");
	bad_ref("https://host.x/app", "without http");
	bad_ref("http://host.x/app", "without http");
	bad_ref("ftp://host.x/app", "without http");
	bad_ref("oci:", "no path");
	bad_ref("oci::tag", "no path");
	bad_ref("oci:d:", "a name of");
	bad_ref("oci:d:a b", "a name of");
	bad_ref("oci:d:-a", "a name of");
	bad_ref("oci:d:a..b", "a name of");
	bad_ref("oci:d@sha256:12", "after '@'");
	bad_ref("containers-storage:x", "podman save");
	bad_ref("docker-daemon:x:1", "docker save");
	bad_ref("oci-archive:-", "standard input");
	bad_ref("dir:-", "standard input");
	bad_ref("rootfs:", "no path");
	bad_ref("docker-archive::x", "no path");
	bad_ref("docker-archive:x:A", "lower case");
	bad_ref("docker-archive:x:@", "number of an image");
	bad_ref("docker-archive:x:@1x", "number of an image");
	bad_ref("docker-archive:x:@12345", "number of an image");
	bad_ref("docker-archive:x:a@sha256:" HEX, "no digest");
}

// limit - 1, limit, limit + 1
static void test_limits(void)
{
	for (int d = -1; d <= 1; d++) {
		char name[300] = "h.x/", tag[300] = "a:", *p = name + 4;
		struct ref r = { 0 };

		memset(p, 'a', (size_t)(REF_NAME_MAX - 4 + d));
		memset(tag + 2, 't', (size_t)(REF_TAG_MAX + d));
		said_begin();
		int en = ref_parse(name, &r);

		ref_fini(&r);
		int et = ref_parse(tag, &r);

		ref_fini(&r);
		said_end();
		ok(en == (d > 0 ? -EINVAL : 0), "name of %d bytes", REF_NAME_MAX + d);
		ok(et == (d > 0 ? -EINVAL : 0), "tag of %d bytes", REF_TAG_MAX + d);
	}
	cleanup_free char *dir = xcalloc(1, REF_DIR_MAX + 8);

	memcpy(dir, "oci:", 4);
	memset(dir + 4, 'd', REF_DIR_MAX + 1);
	struct ref r = { 0 };

	said_begin();
	int e = ref_parse(dir, &r);

	said_end();
	ok(e == -EINVAL, "directory of %d bytes", REF_DIR_MAX + 1);
	dir[4 + REF_DIR_MAX] = 0;
	e = ref_parse(dir, &r);
	ok(e == 0, "directory of %d bytes", REF_DIR_MAX);
	ref_fini(&r);
}

static void test_loopback(void)
{
	static const char *const here[] = { "localhost", "localhost:5000", "LOCALHOST", "127.0.0.1",
		"127.9.8.7:1", "[::1]", "[::1]:5000" };
	static const char *const there[] = { "localhost.evil.example", "127.0.0.1.evil",
		"128.0.0.1", "[::2]", "registry:5000", "10.0.0.1", "" };

	for (size_t i = 0; i < ARRAY_LEN(here); i++)
		ok(ref_host_is_loopback(here[i]), "%s is here", here[i]);
	for (size_t i = 0; i < ARRAY_LEN(there); i++)
		ok(!ref_host_is_loopback(there[i]), "'%s' is not", there[i]);
}

int main(void)
{
	test_good();
	test_bad();
	test_limits();
	test_loopback();
	return tap_end();
}
