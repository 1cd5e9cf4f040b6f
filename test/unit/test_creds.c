// test_creds.c - credential files read and changed; helpers run, with scripts in their place
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/credstore.c"
#include "../../lib/credhelper.c"

#include "said.h"
#include "tap.h"

static bool same(const char *a, const char *b)
{
	return a && b ? strcmp(a, b) == 0 : a == b;
}

// ---- one file is read ----

static void creds(const char *text, const char *host, const char *repo, int want, const char *user,
	const char *password)
{
	struct creds c = { 0 };
	cleanup_free char *helper = NULL;
	int r = creds_parse(text, strlen(text), false, host, repo, &c, &helper);

	ok(r == want && same(c.user, user) && same(c.password, password), "creds of %s/%s in %s",
		host, repo, text);
	creds_fini(&c);
}

static void test_creds(void)
{
	creds("{\"auths\":{\"h.x\":{\"auth\":\"dTpw\"}}}", "h.x", "a", 1, "u", "p");
	creds("{\"auths\":{\"H.X\":{\"auth\":\"dTpw\"}}}", "h.x", "a", 1, "u", "p");
	creds("{\"auths\":{\"h.x//\":{\"auth\":\"dTpw\"}}}", "h.x", "a", 1, "u", "p");
	creds("{\"auths\":{\"h.x\":{\"auth\":\"dTpw\"}}}", "h.xy", "a", 0, NULL, NULL);
	creds("{\"auths\":{\"h.x/a\":{\"auth\":\"dTpw\"}}}", "h.x", "ab", 0, NULL, NULL);
	creds("{\"auths\":{\"h.x/a\":{\"auth\":\"dTpw\"}}}", "h.x", "a/b", 1, "u", "p");
	creds("{\"auths\":{\"h.x/a/b\":{\"auth\":\"dTpw\"}}}", "h.x", "a", 0, NULL, NULL);
	creds("{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"dTpw\"}}}", "docker.io",
		"library/a", 1, "u", "p");
	creds("{\"auths\":{\"registry-1.docker.io\":{\"auth\":\"dTpw\"}}}", "docker.io",
		"library/a", 1, "u", "p");
	creds("{\"auths\":{\"docker.io/me\":{\"auth\":\"dTpw\"}}}", "docker.io", "library/a", 0,
		NULL, NULL);
	creds("{\"auths\":{\"h.x\":{\"auth\":\"dTpwOnE=\"}}}", "h.x", "a", 1, "u", "p:q");
	creds("{\"auths\":{\"h.x\":{\"auth\":\"dTo=\"}}}", "h.x", "a", 1, "u", "");
	creds("{\"auths\":{\"h.x\":{\"auth\":\"OnA=\"}}}", "h.x", "a", -EBADMSG, NULL,
		NULL); // no user
	creds("{\"auths\":{\"h.x\":{\"auth\":\"dTpwA\"}}}", "h.x", "a", -EBADMSG, NULL, NULL);
	creds("{\"auths\":{\"h.x\":{\"auth\":\"dTpwAHg=\"}}}", "h.x", "a", -EBADMSG, NULL,
		NULL); // NUL
	creds("{\"auths\":{\"h.x\":{}}}", "h.x", "a", 0, NULL, NULL);
	creds("{\"auths\":{\"h.x\":5}}", "h.x", "a", 0, NULL, NULL);
	creds("{\"auths\":[]}", "h.x", "a", 0, NULL, NULL);
	creds("[]", "h.x", "a", 0, NULL, NULL);
	creds("", "h.x", "a", -EBADMSG, NULL, NULL);
	struct creds c = { .user = xstrdup("Aladdin"), .password = xstrdup("open sesame") };
	cleanup_secret char *basic = creds_basic(&c);

	ok(same(basic, "Basic QWxhZGRpbjpvcGVuIHNlc2FtZQ=="), "RFC 7617's example");
	creds_fini(&c);
}

static void helper(const char *text, const char *host, const char *want, const char *user)
{
	struct creds c = { 0 };
	cleanup_free char *got = NULL;
	int r = creds_parse(text, strlen(text), false, host, "a", &c, &got);

	ok(r == (user ? 1 : 0) && same(got, want) && same(c.user, user), "helper for %s in %s",
		host, text);
	creds_fini(&c);
}

static void test_helper_order(void)
{
	helper("{\"credsStore\":\"s\"}", "h.x", "s", NULL);
	helper("{\"credsStore\":\"s\",\"auths\":{\"h.x\":{}}}", "h.x", "s", NULL);
	helper("{\"credsStore\":\"s\",\"auths\":{\"h.x\":{\"auth\":\"dTpw\"}}}", "h.x", NULL, "u");
	helper("{\"credHelpers\":{\"h.x\":\"n\"},\"auths\":{\"h.x\":{\"auth\":\"dTpw\"}}}", "h.x",
		"n", NULL);
	helper("{\"credHelpers\":{\"h.x\":\"n\"},\"credsStore\":\"s\"}", "i.x", "s", NULL);
	helper("{\"credHelpers\":{\"h.x\":\"\"},\"credsStore\":\"s\"}", "h.x", NULL, NULL);
	helper("{\"credHelpers\":{\"https://h.x/v1/\":\"o\",\"h.x\":\"n\"}}", "h.x", "n", NULL);
	helper("{\"credHelpers\":{\"index.docker.io\":\"n\"}}", "docker.io", "n", NULL);
	helper("{\"credHelpers\":{\"h.x\":5},\"credsStore\":[]}", "h.x", NULL, NULL);
	helper("{\"credHelpers\":\"n\"}", "h.x", NULL, NULL);
}

static void test_best_key(void)
{
	// the plain name wins over docker's old form of it, wherever it stands
	creds("{\"auths\":{\"https://h.x/v1/\":{\"auth\":\"bzpw\"},\"h.x\":{\"auth\":\"dTpw\"}}}",
		"h.x", "a", 1, "u", "p");
	creds("{\"auths\":{\"h.x\":{\"auth\":\"bzpw\"},\"h.x/a/b\":{\"auth\":\"dTpw\"},\"h.x/a\":{"
	      "\"auth\":\"bzpw\"}}}",
		"h.x", "a/b/c", 1, "u", "p");
	struct creds c = { 0 };
	cleanup_free char *h = NULL;
	static const char legacy[] = "{\"https://h.x/v1/\":{\"auth\":\"dTpw\",\"email\":\"e\"}}";

	ok(creds_parse(legacy, strlen(legacy), true, "h.x", "a", &c, &h) == 1 && same(c.user, "u"),
		".dockercfg");
	creds_fini(&c);
	ok(creds_parse(legacy, strlen(legacy), false, "h.x", "a", &c, &h) == 0, "only there");
}

// ---- one file is changed ----

static void edit(const char *text, const char *host, const char *ns, const char *auth, int want,
	const char *result)
{
	struct buf cleanup_buf b = { 0 };
	int r = creds_edit(text, strlen(text), host, ns, auth, &b);

	ok(r == want && (r < 0 || same(buf_str(&b), result)), "%s %s in %s: %d %s",
		auth ? auth : "remove", host, text, r, r < 0 ? "" : buf_str(&b));
}

static void test_edit(void)
{
	edit("{}", "h.x", "", "QQ==", 0, "{\"auths\":{\"h.x\":{\"auth\":\"QQ==\"}}}");
	edit("{}", "h.x", "a/b", "QQ==", 0, "{\"auths\":{\"h.x/a/b\":{\"auth\":\"QQ==\"}}}");
	edit("{\"auths\":{\"h.x\":{\"auth\":\"Zg==\",\"email\":\"e\"},\"i.x\":{\"x\":1}},\"detachKeys\":"
	     "\"k\",\"n\":[1,2.5]}",
		"h.x", "", "QQ==", 1,
		"{\"auths\":{\"h.x\":{\"auth\":\"QQ==\"},\"i.x\":{\"x\":1}},\"detachKeys\":\"k\",\"n\":["
		"1,2.5]}");
	// docker's name for it stays, or docker would not find it
	edit("{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"Zg==\"}}}", "docker.io", "",
		"QQ==", 1, "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"QQ==\"}}}");
	edit("{\"auths\":{\"h.x/a\":{\"auth\":\"Zg==\"},\"h.x\":{}}}", "h.x", "", NULL, 1,
		"{\"auths\":{\"h.x/a\":{\"auth\":\"Zg==\"}}}");
	edit("{\"auths\":{\"h.x/a\":{\"auth\":\"Zg==\"},\"h.x\":{}}}", "h.x", "a", NULL, 1,
		"{\"auths\":{\"h.x\":{}}}");
	edit("{\"auths\":{\"i.x\":{}}}", "h.x", "", NULL, 0, "{\"auths\":{\"i.x\":{}}}");
	edit("{\"auths\":{}}", "h.x", "", "", 0, "{\"auths\":{\"h.x\":{}}}");
	edit("{\"auths\":[]}", "h.x", "", "QQ==", -EBADMSG, NULL);
	edit("[]", "h.x", "", "QQ==", -EBADMSG, NULL);
	edit("{\"a\\u0000b\":1}", "h.x", "", "QQ==", -EBADMSG, NULL);
	edit("{\"auths\":{\"a\":{},\"a\":{}}}", "h.x", "", "QQ==", -EBADMSG, NULL);
	edit("", "h.x", "", "QQ==", -EBADMSG, NULL);
}

// ---- helpers: their answers ----

static void answer(
	const char *text, int want, const char *user, const char *password, const char *token)
{
	struct creds c = { 0 };
	int r = credhelper_parse(text, strlen(text), &c);

	ok(r == want && same(c.user, user) && same(c.password, password) &&
			same(c.identity_token, token),
		"answer %s", text);
	creds_fini(&c);
}

static void test_answers(void)
{
	answer("{\"ServerURL\":\"h\",\"Username\":\"u\",\"Secret\":\"p\"}\n", 1, "u", "p", NULL);
	answer("{\"Username\":\"<token>\",\"Secret\":\"t\"}", 1, NULL, NULL, "t");
	answer("{\"Username\":\"u\"}", -EBADMSG, NULL, NULL, NULL);
	answer("{\"Username\":\"\",\"Secret\":\"p\"}", -EBADMSG, NULL, NULL, NULL);
	answer("{\"Username\":\"u\",\"Secret\":\"\"}", -EBADMSG, NULL, NULL, NULL);
	answer("{\"Username\":\"u:v\",\"Secret\":\"p\"}", -EBADMSG, NULL, NULL, NULL);
	answer("{\"Username\":\"u\\u0000\",\"Secret\":\"p\"}", -EBADMSG, NULL, NULL, NULL);
	answer("{\"Username\":\"u\",\"Secret\":5}", -EBADMSG, NULL, NULL, NULL);
	answer("credentials not found in native keychain", -EBADMSG, NULL, NULL, NULL);
	answer("", -EBADMSG, NULL, NULL, NULL);
	for (int d = -1; d <= 1; d++) {
		cleanup_free char *s = xcalloc(1, CREDS_FIELD_MAX + 2);

		memset(s, 's', (size_t)((int)CREDS_FIELD_MAX + d));
		cleanup_free char *text = xasprintf("{\"Username\":\"u\",\"Secret\":\"%s\"}", s);
		struct creds c = { 0 };

		ok(credhelper_parse(text, strlen(text), &c) == (d > 0 ? -EBADMSG : 1),
			"a secret of %d bytes", (int)CREDS_FIELD_MAX + d);
		creds_fini(&c);
	}
}

static void test_names(void)
{
	static const char *const bad[] = { "", ".", "..", "a/b", "../x", "-x", "_x", "a b", "a;b",
		"a\n", "\xc3\xa9" };
	char name[HELPER_NAME_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(bad); i++)
		ok(!credhelper_is_name(bad[i]), "no name: %s", bad[i]);
	ok(credhelper_is_name("ecr-login") && credhelper_is_name("osxkeychain") &&
			credhelper_is_name("9.x_y"),
		"names");
	for (int d = -1; d <= 1; d++) {
		memset(name, 'a', sizeof name);
		name[HELPER_NAME_MAX + d] = 0;
		ok(credhelper_is_name(name) == (d <= 0), "a name of %d bytes", HELPER_NAME_MAX + d);
	}
}

// ---- helpers: the processes ----

static char helpers[] = "/var/tmp/fcpull-creds.XXXXXX";

static void script(const char *name, const char *text)
{
	cleanup_free char *path = xasprintf("%s/docker-credential-%s", helpers, name);
	cleanup_free char *all = xasprintf("#!/bin/sh\n%s\n", text);

	if (write_file_at(AT_FDCWD, path, all, strlen(all), 0755) < 0)
		abort();
}

// Runs `get` for server "h.x" and says whether the result and the message are these.
static void get(const char *name, int want, const char *user, const char *words)
{
	struct creds c = { 0 };

	said_begin();
	int r = credhelper_get(name, "h.x", &c);
	const char *said = said_end();

	ok(r == want && same(c.user, user) && (words ? strstr(said, words) != NULL : !*said),
		"get from %s: %d %s", name, r, said);
	creds_fini(&c);
}

static void test_processes(void)
{
	cleanup_free char *path = NULL;

	if (!mkdtemp(helpers))
		abort();
	path = xasprintf("relative:%s:/usr/bin:/bin", helpers);
	setenv("PATH", path, 1);
	script("good",
		"[ \"$*\" = get ] && read -r s; [ \"$s\" = h.x ] && "
		"echo '{\"Username\":\"u\",\"Secret\":\"p\"}'");
	get("good", 1, "u", NULL);
	script("none", "cat >/dev/null; echo 'credentials not found in native keychain'; exit 1");
	get("none", 0, NULL, NULL);
	script("locked", "cat >/dev/null; printf 'the keychain is \\033[1mlocked'; exit 3");
	get("locked", -EACCES, NULL, "(exit 3): 'the keychain is \\x1b[1mlocked'");
	script("dumb", "echo hello");
	get("dumb", -EBADMSG, NULL, "no JSON");
	script("silent", "exit 0"); // and does not read its input
	get("silent", -EBADMSG, NULL, "no JSON");
	script("killed", "kill -9 $$");
	get("killed", -EACCES, NULL, "exit 137");
	get("nosuch", -ENOENT, NULL, "no program docker-credential-nosuch");
	get("../good", -EINVAL, NULL, "../good");
	script("daemon",
		"sleep 30 & echo '{\"Username\":\"u\",\"Secret\":\"p\"}'; echo $! >\"$0.pid\"");
	uint64_t start = now_ns();

	get("daemon", 1, "u", NULL);
	ok(now_ns() - start < 20 * NS_PER_SEC, "what a helper leaves behind is not waited for");
	credhelper_seconds = 1;
	script("slow", "exec sleep 30");
	get("slow", -ETIMEDOUT, NULL, "did not answer for 1 s");
	credhelper_seconds = 60;
	script("fits", "head -c 131072 /dev/zero | tr '\\0' ' '");
	get("fits", -EBADMSG, NULL, "no JSON");
	script("flood", "head -c 131073 /dev/zero | tr '\\0' ' '");
	get("flood", -EFBIG, NULL, "File too large");
}

static void test_store_and_erase(void)
{
	struct creds c = { .user = (char *)"u", .password = (char *)"p\"q" };
	cleanup_free char *text = NULL;
	cleanup_free char *file = xasprintf("%s/docker-credential-keep.log", helpers);
	size_t n;

	script("keep", "{ printf '%s ' \"$1\"; cat; echo; } >>\"$0.log\"");
	ok(credhelper_store("keep", "h.x", &c) == 0 && credhelper_erase("keep", "h.x") == 0,
		"store and erase");
	if (read_file_at(AT_FDCWD, file, 4096, &text, &n) < 0)
		abort();
	ok(same(text,
		   "store {\"ServerURL\":\"h.x\",\"Username\":\"u\",\"Secret\":\"p\\\"q\"}\n"
		   "erase h.x\n"),
		"what it was told");
	said_begin();
	ok(credhelper_erase("none", "h.x") == 0 && credhelper_erase("locked", "h.x") == -EACCES,
		"erasing nothing is no error, a failure is");
	ok(credhelper_store("keep", "h\n.x", &c) == 0 &&
			credhelper_erase("keep", "h\n.x") == -EINVAL,
		"a server's name is one line");
	said_end();
}

static void clean_up(void)
{
	cleanup_free char *file = xasprintf("%s/docker-credential-daemon.pid", helpers),
			  *text = NULL;
	size_t n;

	if (read_file_at(AT_FDCWD, file, 64, &text, &n) == 0)
		kill((pid_t)strtol(text, NULL, 10), SIGTERM);
	if (remove_tree_at(AT_FDCWD, helpers) < 0)
		abort();
}

int main(void)
{
	signal(SIGPIPE, SIG_IGN);
	test_creds();
	test_helper_order();
	test_best_key();
	test_edit();
	test_answers();
	test_names();
	test_processes();
	test_store_and_erase();
	clean_up();
	return tap_end();
}
