// test_opt.c - options and help from one table
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/opt.c"

#include "said.h"
#include "tap.h"

static bool flag, unflag = true;
static const char *text, *may;
static uint64_t number, size;
static struct opt_list list;
static unsigned count;

static const struct opt opts[] = {
	{ 'f', "flag", NULL, "a flag", opt_flag, &flag, false },
	{ 0, "no-unflag", NULL, "another", opt_unflag, &unflag, false },
	{ 't', "text", "TEXT", "some text", opt_str, &text, false },
	{ 'n', "number", "N", "a number", opt_u64, &number, false },
	{ 's', "size", "SIZE", "a size", opt_size, &size, false },
	{ 'l', "list", "X", "again and again", opt_list_add, &list, false },
	{ 'c', "count", NULL, "how often", opt_count, &count, false },
	{ 'm', "may", "[X]", "with or without", opt_str, &may, false },
	{ 0, "hidden", NULL, "never shown", opt_flag, &flag, true },
	{ 0 },
};

static struct applet applet = { "test", "A B", "does nothing", opts, "more text\n", NULL, false,
	0 };

static char said_text[8192];

// Parses the words of a line; the operands end up in argv.
static int parse(const char *line, char **argv, int *ret_argc)
{
	static char copy[400];
	int argc = 0, r;
	char *save;

	snprintf(copy, sizeof copy, "test %s", line);
	for (char *w = strtok_r(copy, " ", &save); w; w = strtok_r(NULL, " ", &save))
		argv[argc++] = w;
	argv[argc] = NULL;
	flag = false, unflag = true, text = may = NULL, number = size = 0, count = 0;
	help_wanted = debug_wanted = quiet_wanted = false, verbosity = 0;
	free(list.v);
	list = (struct opt_list){ 0 };
	said_begin();
	r = opt_parse(&applet, argc, argv, ret_argc);
	snprintf(said_text, sizeof said_text, "%s", said_end());
	return r;
}

#define TAKEN(line, cond)                                            \
	do {                                                         \
		char *argv[50];                                      \
		int argc, r_ = parse(line, argv, &argc);             \
                                                                     \
		ok(!r_ && (cond), "%s", *line ? line : "(nothing)"); \
	} while (0)

static void refused(const char *line, const char *with)
{
	char *argv[50];
	int argc, r = parse(line, argv, &argc);

	if (!ok(r == -EINVAL && strstr(said_text, with), "%s is refused", line))
		printf("# r=%d said %s", r, said_text);
}

static void test_forms(void)
{
	TAKEN("", argc == 0 && !argv[0]);
	TAKEN("a b", argc == 2 && !strcmp(argv[1], "b") && !argv[2]);
	TAKEN("-f a", flag && argc == 1);
	TAKEN("a -f b --flag", flag && argc == 2 && !strcmp(argv[1], "b"));
	TAKEN("--flag=true", flag);
	TAKEN("-f --flag=false", !flag);
	TAKEN("--no-unflag", !unflag);
	TAKEN("-t x", !strcmp(text, "x"));
	TAKEN("-tx", !strcmp(text, "x"));
	TAKEN("--text x", !strcmp(text, "x"));
	TAKEN("--text=x=y", !strcmp(text, "x=y"));
	TAKEN("--text=", !*text);
	TAKEN("--text --flag", !strcmp(text, "--flag") && !flag);
	TAKEN("-t -", !strcmp(text, "-"));
	TAKEN("-fccty a", flag && count == 2 && !strcmp(text, "y") && argc == 1);
	TAKEN("-fct y a", flag && !strcmp(text, "y") && argc == 1);
	TAKEN("--may a", !may && argc == 1);
	TAKEN("--may=x a", !strcmp(may, "x") && argc == 1);
	TAKEN("-m a", !may && argc == 1);
	TAKEN("-l a -lb --list=c", list.n == 3 && !strcmp(list.v[2], "c"));
	TAKEN("- a", argc == 2 && !strcmp(argv[0], "-"));
	TAKEN("-f -- -t --x", flag && argc == 2 && !strcmp(argv[0], "-t") && !text);
	TAKEN("-- --", argc == 1 && !strcmp(argv[0], "--"));
	TAKEN("--hidden", flag);
	TAKEN("-v -v", log_level == LOG_INFO);
	TAKEN("--debug -v", log_level == LOG_DEBUG);
	TAKEN("-q -v", log_level == LOG_WARN && opt_quiet);
	TAKEN("", log_level == LOG_WARN && !opt_quiet);
	refused("--nothing", "unknown option '--nothing'; try 'fcpull test --help'");
	refused("--fla", "unknown option '--fla'");
	refused("--flagg", "unknown option");
	refused("--=x", "unknown option");
	refused("-x", "unknown option '-x'");
	refused("-fx", "unknown option '-fx'");
	refused("--flag=1", "no value is taken by option '--flag=1'");
	refused("--count=false", "cannot be false");
	refused("--text", "a value is missing after option '--text'");
	refused("-ft", "a value is missing after option '-ft'");
	refused("-\033", "unknown option '-\\x1b'");
}

static void test_stop(void)
{
	applet.stop_at_operand = true;
	TAKEN("-f a -t x", flag && !text && argc == 3 && !strcmp(argv[1], "-t"));
	TAKEN("-f -- -t x", !text && argc == 2 && !strcmp(argv[0], "-t"));
	applet.stop_at_operand = false;
}

static void test_numbers(void)
{
	TAKEN("-n 0", number == 0);
	TAKEN("-n 18446744073709551615", number == UINT64_MAX);
	TAKEN("-s 18446744073709551615", size == UINT64_MAX);
	TAKEN("-s 1k", size == 1024);
	TAKEN("-s 3M", size == 3 << 20);
	TAKEN("-s 17179869183g", size == 17179869183ull << 30);
	static const char *const bad[] = { "18446744073709551616", "99999999999999999999", "-1",
		"+1", "1x", "0x1", "1.5", "k", "1kk", "1k5" };

	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		char line[50];

		snprintf(line, sizeof line, "--number=%s", bad[i]);
		refused(line, "option --number takes a whole number");
		snprintf(line, sizeof line, "--size=%s", bad[i]);
		refused(line, "option --size takes a size");
	}
	refused("--number=1k", "whole number");
	refused("--number=", "whole number");
	refused("--size=17179869184g", "a size");
	refused("--size=1t", "a size");
}

static void test_help(void)
{
	cleanup_free char *out = NULL;
	size_t n;
	FILE *f = open_memstream(&out, &n);

	opt_help(&applet, f);
	fclose(f);
	ok(strstr(out, "usage: fcpull test [OPTION]... A B\n\ndoes nothing\n"),
		"help begins with the usage");
	ok(strstr(out, "  -t, --text TEXT ") && strstr(out, "      --no-unflag ") &&
			strstr(out, " --may[=X]"),
		"a row each");
	ok(!strstr(out, "hidden") && strstr(out, "--verbose") && strstr(out, "\nmore text\n"),
		"none for hidden ones; the common ones; the text");
}

int main(void)
{
	test_forms();
	test_stop();
	test_numbers();
	test_help();
	free(list.v);
	return tap_end();
}
