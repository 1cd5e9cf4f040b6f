// test_policy.c - which of several sources says how an image is accelerated
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/policy.c"

#include <sys/stat.h>

#include "said.h"
#include "tap.h"

static char dir[] = "/tmp/fcpull-policy-XXXXXX";

static void put(const char *name, const char *text)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);

	if (!text)
		unlink(path);
	else if (write_file_at(AT_FDCWD, path, text, strlen(text), 0600))
		abort();
}

static void is(const char *what, const char *name, const char *option, const char *want)
{
	struct policy p = { 0 };
	int r;

	said_begin();
	r = policy_find(name, option, &p);
	said_end();
	ok(!r && !strcmp(names[p.how], want), "%s: %s", what, r ? "error" : names[p.how]);
}

static void says(const char *what, const char *text, const char *want)
{
	struct policy p;
	const char *said;
	int r;

	put("system", text);
	said_begin();
	r = policy_find("h/a", NULL, &p);
	said = said_end();
	ok(!r && p.how == ACCELERATE_OFF && strstr(said, want), "%s: off, and said: %s", what,
		said);
}

static void test_order(void)
{
	is("nothing says anything", "h/a", NULL, "auto");
	put("system", "accelerate = \"push\"\n");
	is("the system's file", "h/a", NULL, "push");
	put("user/fcpull/fcpull.conf", "accelerate = \"local\"\n");
	is("the user's before it", "h/a", NULL, "local");
	setenv(VARIABLE, "off", 1);
	is("the variable before both", "h/a", NULL, "off");
	is("the option before all", "h/a", "auto", "auto");
	setenv(VARIABLE, "", 1);
	is("an empty variable is none", "h/a", NULL, "local");
	unsetenv(VARIABLE);
	put("user/fcpull/fcpull.conf", "[[rule]]\nmatch = \"other/*\"\naccelerate = \"off\"\n");
	is("a file that does not speak of it", "h/a", NULL, "push");
}

static void test_rules(void)
{
	put("user/fcpull/fcpull.conf", NULL);
	put("system",
		"accelerate = \"off\"\n"
		"[[rule]]\nmatch = \"h/team/*\"\naccelerate = \"push\"\n"
		"[[rule]]\nmatch = \"h/*\"\naccelerate = \"local\"\n"
		"[[rule]]\nmatch = \"h/team/late\"\naccelerate = \"auto\"\n"
		"[[rule]]\nmatch = \"q/*\"\n");
	is("the first that fits", "h/team/late", NULL, "push");
	is("a star crosses slashes", "h/team/a/b/c", NULL, "push");
	is("the next", "h/other", NULL, "local");
	is("a pattern is all of a name", "xh/team/a", NULL, "off");
	is("for all others", "z/a", NULL, "off");
	is("a rule that says nothing of it", "q/a", NULL, "off");
}

static void test_bad(void)
{
	struct policy p;

	says("no such word", "accelerate = \"of\"\n", "not 'of'");
	says("no string", "accelerate = true\n", "accelerate is \"auto\"");
	says("no TOML", "accelerate\n", "system");
	says("a rule for nothing", "[[rule]]\naccelerate = \"off\"\n", "rule 1 has no match");
	says("a table in place of rules", "[rule]\nmatch = \"*\"\n", "[[rule]]");
	put("system", NULL);
	said_begin();
	ok(policy_find("h/a", "yes", &p) == -EINVAL && strstr(said_end(), "--accelerate is"),
		"an option that is none");
	setenv(VARIABLE, "yes", 1);
	said_begin();
	ok(policy_find("h/a", NULL, &p) == -EINVAL && strstr(said_end(), VARIABLE " is"),
		"a variable that is none");
	said_begin();
	ok(policy_check(NULL) == -EINVAL && strstr(said_end(), VARIABLE), "it is found early");
	unsetenv(VARIABLE);
	said_begin();
	ok(policy_check("yes") == -EINVAL && strstr(said_end(), "--accelerate"), "the option too");
	ok(!policy_check(NULL) && !policy_check("push"), "what is right is not refused");
}

int main(void)
{
	cleanup_free char *user = NULL, *inner = NULL, *system = NULL;

	if (!mkdtemp(dir))
		abort();
	user = xasprintf("%s/user", dir);
	inner = xasprintf("%s/user/fcpull", dir);
	system = xasprintf("%s/system", dir);
	if (mkdir_p(inner, 0700))
		abort();
	setenv("XDG_CONFIG_HOME", user, 1);
	setenv("FCPULL_CONF", system, 1);
	unsetenv(VARIABLE);
	test_order();
	test_rules();
	test_bad();
	if (remove_tree_at(AT_FDCWD, dir))
		abort();
	return tap_end();
}
