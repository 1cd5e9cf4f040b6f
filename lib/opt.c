// opt.c - options and help from one table per verb
// SPDX-License-Identifier: Apache-2.0
#include "opt.h"

#include <limits.h>

#include "log.h"

int opt_flag(const struct opt *o, const char *value)
{
	(void)value;
	*(bool *)o->to = true;
	return 0;
}

int opt_unflag(const struct opt *o, const char *value)
{
	(void)value;
	*(bool *)o->to = false;
	return 0;
}

int opt_count(const struct opt *o, const char *value)
{
	(void)value;
	++*(unsigned *)o->to;
	return 0;
}

int opt_str(const struct opt *o, const char *value)
{
	*(const char **)o->to = value;
	return 0;
}

static int bad_value(const struct opt *o, const char *value, const char *want)
{
	warn("option --%s takes %s, not %s", o->name, want, log_quote(value));
	return -EINVAL;
}

// Decimal digits, then nothing or one of kKmMgG as a power of 1024 when `suffix`.
static int parse_u64(const char *s, bool suffix, uint64_t *ret)
{
	static const char units[] = "kmg";
	uint64_t v = 0;
	const char *p = s;

	for (; *p >= '0' && *p <= '9'; p++) {
		if (__builtin_mul_overflow(v, 10u, &v) ||
			__builtin_add_overflow(v, (unsigned)(*p - '0'), &v))
			return -ERANGE;
	}
	if (p == s)
		return -EINVAL;
	if (*p && suffix) {
		const char *u = strchr(units, *p | 0x20);
		unsigned shift = u ? 10 * (unsigned)(u - units + 1) : 0;

		if (!u || p[1] || v > UINT64_MAX >> shift)
			return -EINVAL;
		*ret = v << shift;
		return 0;
	}
	if (*p)
		return -EINVAL;
	*ret = v;
	return 0;
}

int opt_u64(const struct opt *o, const char *value)
{
	return parse_u64(value, false, o->to) ? bad_value(o, value, "a whole number") : 0;
}

int opt_size(const struct opt *o, const char *value)
{
	return parse_u64(value, true, o->to) ? bad_value(o, value, "a size such as 128k or 4m") : 0;
}

int opt_list_add(const struct opt *o, const char *value)
{
	struct opt_list *l = o->to;

	l->v = xgrow(l->v, &l->cap, l->n + 1, sizeof *l->v);
	l->v[l->n++] = value;
	return 0;
}

int opt_words(char *list, int take(const char *word, void *arg), void *arg)
{
	char *save = NULL;
	int r = 0;

	for (char *s = list ? strtok_r(list, ",", &save) : NULL; s && !r;
		s = strtok_r(NULL, ",", &save))
		r = take(s, arg);
	return r;
}

bool opt_nearly(const char *a, const char *b)
{
	while (*a && *a == *b)
		a++, b++;
	if (*a && *b &&
		(!strcmp(a + 1, b + 1) ||
			(a[1] && a[0] == b[1] && a[1] == b[0] && !strcmp(a + 2, b + 2))))
		return true;
	return (*a && !strcmp(a + 1, b)) || (*b && !strcmp(a, b + 1));
}

int opt_bad_word(const char *what, const char *words, const char *value)
{
	cleanup_free char *copy = xstrdup(words);
	char *at = copy, *word;

	warn("%s is %s, not %s", what, words, log_quote(value));
	while ((word = strsep(&at, ", ")))
		if (*word && strcmp(word, "or") != 0 && opt_nearly(value, word))
			warn("did you mean '%s'?", word);
	return -EINVAL;
}

static const struct opt *find_long(const struct opt *table, const char *name, size_t len)
{
	for (const struct opt *o = table; o->set; o++)
		if (o->name && strlen(o->name) == len && !memcmp(o->name, name, len))
			return o;
	return NULL;
}

static const struct opt *find_brief(const struct opt *table, char c)
{
	for (const struct opt *o = table; o->set; o++)
		if (o->brief == c)
			return o;
	return NULL;
}

// An option of either table that may have been meant.
static const char *meant(const struct applet *a, const char *s)
{
	const struct opt *tables[] = { a->opts, opt_common };
	cleanup_free char *name = xstrndup(s, strcspn(s, "="));

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		for (const struct opt *o = tables[i]; o->set; o++)
			if (o->name && !o->hidden && opt_nearly(name, o->name))
				return o->name;
	return NULL;
}

// What podman, skopeo, crane and oras call an option, the one of ours that a verb must have for it
// to mean that there, and what does it here.
static const char *option_of_others(const struct applet *a, const char *s)
{
	static const char *const names[][3] = {
		{ "all", "all-platforms", "--all-platforms" },
		{ "arch", "platform", "--platform OS/ARCH" },
		{ "ca-file", "cacert", "--cacert FILE" },
		{ "cert-dir", "cacert",
			"--cacert FILE, or a directory in /etc/containers/certs.d" },
		{ "concurrency", "jobs", "--jobs N" },
		{ "config", "json", "--json" },
		{ "dest-authfile", "authfile", "--authfile FILE, for both sides" },
		{ "dest-creds", "creds", "--creds, for both sides, or fcpull login" },
		{ "dest-tls-verify", "plain-http", "--plain-http without TLS, or --cacert FILE" },
		{ "digestfile", "all-platforms", "the last line of standard output" },
		{ "format", "json", "--json" },
		{ "init", "cap-add", "nothing: there is one always" },
		{ "insecure", "plain-http", "--plain-http without TLS, or --cacert FILE" },
		{ "multi-arch", "all-platforms", "--all-platforms" },
		{ "os", "platform", "--platform OS/ARCH" },
		{ "override-arch", "platform", "--platform OS/ARCH" },
		{ "override-os", "platform", "--platform OS/ARCH" },
		{ "override-variant", "platform", "--platform OS/ARCH/VARIANT" },
		{ "privileged", "cap-add",
			"--user-ns=host --cap-add ALL --security-opt unmask=ALL" },
		{ "publish", "net", "--net host: ports are not forwarded" },
		{ "raw", "json", "--json" },
		{ "retry", "authfile", "nothing: what is lost is asked for again always" },
		{ "retry-times", "authfile", "nothing: what is lost is asked for again always" },
		{ "src-authfile", "authfile", "--authfile FILE, for both sides" },
		{ "src-creds", "creds", "--creds, for both sides, or fcpull login" },
		{ "src-tls-verify", "plain-http", "--plain-http without TLS, or --cacert FILE" },
		{ "tls-verify", "plain-http", "--plain-http without TLS, or --cacert FILE" },
		{ "variant", "platform", "--platform OS/ARCH/VARIANT" },
	};
	size_t len = strcspn(s, "=");

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (strlen(names[i][0]) == len && !memcmp(s, names[i][0], len) &&
			find_long(a->opts, names[i][1], strlen(names[i][1])))
			return names[i][2];
	return NULL;
}

static int unknown(const struct applet *a, const char *text)
{
	const char *ours = text[1] == '-' ? option_of_others(a, text + 2) : NULL;
	const char *name = text[1] == '-' && !ours ? meant(a, text + 2) : NULL;

	warn("unknown option %s; try 'fcpull %s --help'", log_quote(text), a->name);
	if (ours)
		warn("what does it here is %s", ours);
	if (name)
		warn("did you mean '--%s'?", name);
	return -EINVAL;
}

static int usage(const struct applet *a, const char *what, const char *text)
{
	warn("%s %s; try 'fcpull %s --help'", what, log_quote(text), a->name);
	return -EINVAL;
}

// --name, --name=VALUE, --name VALUE. *i stands on the argument and is left on the last one used.
static int take_long(const struct applet *a, int argc, char **argv, int *i)
{
	const char *s = argv[*i] + 2, *eq = strchr(s, '=');
	size_t len = eq ? (size_t)(eq - s) : strlen(s);
	const struct opt *o = find_long(a->opts, s, len);

	if (!o)
		o = find_long(opt_common, s, len);
	if (!o)
		return unknown(a, argv[*i]);
	if (!o->arg) {
		// --rm=false and the like: a flag that is switched off again
		if (eq && strcmp(eq, "=true") && strcmp(eq, "=false"))
			return usage(a, "no value is taken by option", argv[*i]);
		if (eq && !strcmp(eq, "=false"))
			return o->set == opt_flag ? opt_unflag(o, NULL)
						  : usage(a, "cannot be false: option", argv[*i]);
		return o->set(o, NULL);
	}
	if (eq)
		return o->set(o, eq + 1);
	if (o->arg[0] == '[')
		return o->set(o, NULL);
	if (*i + 1 >= argc)
		return usage(a, "a value is missing after option", argv[*i]);
	return o->set(o, argv[++*i]);
}

// -abc, -xVALUE, -x VALUE
static int take_brief(const struct applet *a, int argc, char **argv, int *i)
{
	for (const char *s = argv[*i] + 1; *s; s++) {
		const struct opt *o = find_brief(a->opts, *s);
		int r;

		if (!o)
			o = find_brief(opt_common, *s);
		if (!o)
			return unknown(a, argv[*i]);
		if (o->arg && o->arg[0] != '[') {
			if (s[1])
				return o->set(o, s + 1);
			if (*i + 1 >= argc)
				return usage(a, "a value is missing after option", argv[*i]);
			return o->set(o, argv[++*i]);
		}
		r = o->set(o, NULL);
		if (r)
			return r;
	}
	return 0;
}

static int opt_set_progress(const struct opt *o, const char *value)
{
	static const char *const names[] = { "auto", "tty", "plain", "json", "none" };

	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(value, names[i]))
			return opt_str(o, value);
	return opt_bad_word("--progress", "auto, tty, plain, json or none", value);
}

const char *opt_progress = "auto";
static bool help_wanted;
static unsigned verbosity;
static bool debug_wanted, quiet_wanted, version_wanted;

const struct opt opt_common[] = {
	{ 'v', "verbose", NULL, "say what is done", opt_count, &verbosity, false },
	{ 0, "debug", NULL, "say everything, each request included", opt_flag, &debug_wanted,
		false },
	{ 'q', "quiet", NULL, "errors only, no progress", opt_flag, &quiet_wanted, false },
	{ 0, "progress", "HOW", "auto, tty, plain, json or none", opt_set_progress, &opt_progress,
		false },
	{ 'h', "help", NULL, "this text", opt_flag, &help_wanted, false },
	{ 0, "version", NULL, "the version", opt_flag, &version_wanted, true },
	{ 0 },
};

int opt_parse(const struct applet *a, int argc, char **argv, int *ret_argc)
{
	int n = 0, r = 0, i = 1;

	for (; i < argc && !r && !help_wanted && !version_wanted; i++) {
		const char *s = argv[i];

		if (s[0] != '-' || !s[1]) {
			if (a->stop_at_operand)
				break;
			argv[n++] = argv[i];
		} else if (!strcmp(s, "--")) {
			i++;
			break;
		} else {
			r = s[1] == '-' ? take_long(a, argc, argv, &i)
					: take_brief(a, argc, argv, &i);
		}
	}
	if (r)
		return r;
	if (help_wanted) {
		opt_help(a, stdout);
		return 1;
	}
	if (version_wanted) {
		puts("fcpull " FCPULL_VERSION);
		return 1;
	}
	while (i < argc)
		argv[n++] = argv[i++];
	argv[n] = NULL;
	*ret_argc = n;
	log_level = debug_wanted ? LOG_DEBUG : verbosity ? LOG_INFO : LOG_WARN;
	if (quiet_wanted)
		log_level = LOG_WARN;
	opt_quiet = quiet_wanted;
	return 0;
}

bool opt_quiet;

static void help_rows(const struct opt *table, FILE *to)
{
	for (const struct opt *o = table; o->set; o++) {
		char left[64], brief[4] = "   ";

		if (o->hidden)
			continue;
		if (o->brief)
			snprintf(brief, sizeof brief, "-%c,", o->brief);
		if (!o->arg)
			snprintf(left, sizeof left, "%s --%s", brief, o->name);
		else if (o->arg[0] == '[')
			snprintf(left, sizeof left, "%s --%s[=%.*s]", brief, o->name,
				(int)strcspn(o->arg + 1, "]"), o->arg + 1);
		else
			snprintf(left, sizeof left, "%s --%s %s", brief, o->name, o->arg);
		fprintf(to, "  %-28s %s\n", left, o->help);
	}
}

void opt_help(const struct applet *a, FILE *to)
{
	fprintf(to, "usage: fcpull %s [OPTION]...%s%s\n\n%s\n\n", a->name, *a->args ? " " : "",
		a->args, a->line);
	help_rows(a->opts, to);
	help_rows(opt_common, to);
	if (a->help)
		fprintf(to, "\n%s", a->help);
}
