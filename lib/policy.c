// policy.c - whether an image is to be accelerated on this host
// SPDX-License-Identifier: Apache-2.0
#include "policy.h"

#include <fcntl.h>
#include <fnmatch.h>

#include "log.h"
#include "opt.h"
#include "toml.h"

#define VARIABLE "FCPULL_ACCELERATE"

static const char *const names[] = { [ACCELERATE_AUTO] = "auto",
	[ACCELERATE_LOCAL] = "local",
	[ACCELERATE_PUSH] = "push",
	[ACCELERATE_OFF] = "off" };

const char *accelerate_name(enum accelerate how)
{
	return names[how];
}

static bool parse(const char *text, enum accelerate *ret)
{
	for (size_t i = 0; i < ARRAY_LEN(names); i++)
		if (!strcmp(names[i], text)) {
			*ret = (enum accelerate)i;
			return true;
		}
	return false;
}

// ---- files ----

static char *system_file(void)
{
	const char *path = getenv("FCPULL_CONF");

	return xstrdup(path && *path ? path : "/etc/fcpull/fcpull.conf");
}

static char *user_file(void)
{
	const char *config = getenv("XDG_CONFIG_HOME"), *home = getenv("HOME");

	if (config && *config == '/')
		return xasprintf("%s/fcpull/fcpull.conf", config);
	return home && *home == '/' ? xasprintf("%s/.config/fcpull/fcpull.conf", home) : NULL;
}

// A value of a table, if it has one. -EBADMSG logged.
static int take(const struct toml *t, const char *path, enum accelerate *ret)
{
	const struct toml *v = toml_get(t, "accelerate");

	if (!v)
		return -ENOENT;
	if (v->kind == TOML_STR && parse(v->str, ret))
		return 0;
	return warn_errno(-EBADMSG,
		"%s: accelerate is \"auto\", \"local\", \"push\" or \"off\"%s%s", log_quote(path),
		v->kind == TOML_STR ? ", not " : "", v->kind == TOML_STR ? log_quote(v->str) : "");
}

// A misspelt key would silently leave a rule without effect.
static int check_rule(const struct toml *rule, const char *path, unsigned number)
{
	if (rule->kind != TOML_TABLE || !toml_str(rule, "match"))
		return warn_errno(-EBADMSG, "%s: rule %u has no match = \"HOST/REPOSITORY\"",
			log_quote(path), number);
	for (const struct toml *k = rule->first; k; k = k->next)
		if (strcmp(k->key, "match") && strcmp(k->key, "accelerate"))
			warn("%s: rule %u: %s is not known and has no effect", log_quote(path),
				number, log_quote(k->key));
	return 0;
}

// -ENOENT, silent: there is no file. -errno logged.
static int load(const char *path, struct toml **ret)
{
	cleanup_free char *text = NULL;
	const struct toml *rules;
	unsigned number = 0;
	size_t n;
	int r = read_file_at(AT_FDCWD, path, TOML_SIZE_MAX, &text, &n);

	if (r == -ENOENT || r == -ENOTDIR)
		return -ENOENT;
	if (r)
		return warn_errno(r, "read %s", log_quote(path));
	r = toml_parse(text, n, path, ret);
	if (r)
		return r;
	rules = toml_get(*ret, "rule");
	if (rules && rules->kind != TOML_ARRAY)
		r = warn_errno(-EBADMSG, "%s: rules are written [[rule]]", log_quote(path));
	for (const struct toml *k = toml_array(*ret, "rule"); k && !r; k = k->next)
		r = check_rule(k, path, ++number);
	if (r) {
		toml_free(*ret);
		*ret = NULL;
	}
	return r;
}

// What a file says of a name. -ENOENT: nothing.
static int ask_file(const char *path, const char *name, struct policy *ret)
{
	cleanup_toml struct toml *t = NULL;
	unsigned number = 0;
	int r = load(path, &t);

	if (r)
		return r;
	for (const struct toml *k = toml_array(t, "rule"); k; k = k->next) {
		number++;
		if (fnmatch(toml_str(k, "match"), name, 0))
			continue;
		r = take(k, path, &ret->how);
		if (r == -ENOENT)
			continue; // it speaks of other things
		snprintf(ret->from, sizeof ret->from, "%s, rule %u", path, number);
		return r;
	}
	snprintf(ret->from, sizeof ret->from, "%s", path);
	return take(t, path, &ret->how);
}

// ---- all ----

static int ask_text(const char *text, const char *from, struct policy *ret)
{
	ret->asked = true;
	snprintf(ret->from, sizeof ret->from, "%s", from);
	if (parse(text, &ret->how))
		return 0;
	return opt_bad_word(from, "auto, local, push or off", text);
}

int policy_check(const char *option)
{
	const char *env = getenv(VARIABLE);
	struct policy p;

	return option	      ? ask_text(option, "--accelerate", &p)
		: env && *env ? ask_text(env, VARIABLE, &p)
			      : 0;
}

int policy_find(const char *name, const char *option, struct policy *ret)
{
	cleanup_free char *user = user_file(), *system = system_file();
	const char *env = getenv(VARIABLE);
	int r = -ENOENT;

	*ret = (struct policy){ 0 };
	if (option)
		return ask_text(option, "--accelerate", ret);
	if (env && *env)
		return ask_text(env, VARIABLE, ret);
	if (user)
		r = ask_file(user, name, ret);
	if (r == -ENOENT)
		r = ask_file(system, name, ret);
	if (r == -ENOENT) {
		snprintf(ret->from, sizeof ret->from, "built in");
	} else if (r) {
		ret->how = ACCELERATE_OFF;
		warn("nothing is accelerated by itself until that is mended");
	}
	return 0;
}
