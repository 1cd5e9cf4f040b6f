// boxopt.c - the words of run's options
// SPDX-License-Identifier: Apache-2.0
#include "boxopt.h"

#include <fcntl.h>
#include <signal.h>
#include <strings.h>

#include "log.h"
#include "mnt.h"
#include "opt.h"

#define refuse(...) (warn(__VA_ARGS__), -EINVAL)

#define CPUS_MAX 8192
#define PIDS_MAX ((4 << 20) - 1) // the kernel's PID_MAX_LIMIT is the first that it does not take
#define NAME_LEN_MAX 63

// ---- words ----

static bool is_true(const char *s)
{
	return !strcasecmp(s, "true") || !strcmp(s, "1");
}

static bool is_false(const char *s)
{
	return !strcasecmp(s, "false") || !strcmp(s, "0");
}

// Digits of a base only; -EINVAL silent.
static int parse_number(const char *s, int base, uint64_t max, uint64_t *ret)
{
	uint64_t v = 0;

	if (!*s)
		return -EINVAL;
	for (; *s; s++) {
		if (*s < '0' || *s >= '0' + base ||
			v > (max - (uint64_t)(*s - '0')) / (uint64_t)base)
			return -EINVAL;
		v = v * (uint64_t)base + (uint64_t)(*s - '0');
	}
	*ret = v;
	return 0;
}

// Bytes with k, m or g, as tmpfs has them; no percentages.
static int parse_size(const char *s, uint64_t *ret)
{
	static const char units[] = "kmg";
	size_t n = strspn(s, "0123456789");
	cleanup_free char *digits = xstrndup(s, n);
	const char *unit = s[n] ? strchr(units, s[n] | 0x20) : NULL;
	unsigned shift = unit ? 10 * (unsigned)(unit - units + 1) : 0;

	if ((s[n] && (!unit || (s[n + 1] && strcasecmp(s + n + 1, "b")))) ||
		parse_number(digits, 10, (uint64_t)INT64_MAX >> shift, ret))
		return -EINVAL;
	*ret <<= shift;
	return 0;
}

// ---- mounts ----

struct mount_word {
	const char *name;
	unsigned set, clear;
};

static const struct mount_word mount_words[] = {
	{ "nosuid", MOUNT_ATTR_NOSUID, 0 },
	{ "suid", 0, MOUNT_ATTR_NOSUID },
	{ "noexec", MOUNT_ATTR_NOEXEC, 0 },
	{ "exec", 0, MOUNT_ATTR_NOEXEC },
	{ "nodev", 0, 0 }, // always
	{ "noatime", MOUNT_ATTR_NOATIME, 0 },
	{ "relatime", 0, 0 },
};

// A word that says the same of a bind and a tmpfs. -ENOENT silent: it is another.
static int take_common(const char *s, struct box_bind *b)
{
	if (!strcmp(s, "ro") || !strcmp(s, "rw") || !strcmp(s, "readonly")) {
		b->read_only = s[1] != 'w';
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(mount_words); i++)
		if (!strcmp(s, mount_words[i].name)) {
			b->attrs = (b->attrs & ~mount_words[i].clear) | mount_words[i].set;
			return 0;
		}
	return -ENOENT;
}

static int take_bind_word(const char *s, void *arg)
{
	struct box_bind *b = arg;
	int r = take_common(s, b);

	if (r != -ENOENT)
		return r;
	if (!strcmp(s, "bind") || !strcmp(s, "rbind")) {
		b->shallow = *s == 'b';
		return 0;
	}
	if (!strcmp(s, "private") || !strcmp(s, "rprivate"))
		return 0;
	if (!strcmp(s, "z") || !strcmp(s, "Z"))
		return refuse("%s: fcpull does not label files for SELinux; use chcon on the host",
			log_quote(s));
	if (!strcmp(s, "U"))
		return refuse("'U': fcpull does not change owners on the host; use chown");
	return refuse("mount option %s is not supported", log_quote(s));
}

static int take_tmpfs_word(const char *s, void *arg)
{
	struct box_bind *b = arg;
	int r = take_common(s, b);
	uint64_t mode;

	if (r != -ENOENT)
		return r;
	if (!strncmp(s, "size=", 5))
		return parse_size(s + 5, &b->size) || !b->size
			? refuse("tmpfs: %s is not a size such as size=64m", log_quote(s))
			: 0;
	if (!strncmp(s, "mode=", 5)) {
		if (parse_number(s + 5, 8, 07777, &mode))
			return refuse("tmpfs: %s is not a mode such as mode=1777", log_quote(s));
		b->mode = (unsigned)mode;
		return 0;
	}
	if (!strcmp(s, "notmpcopyup") || !strcmp(s, "private") || !strcmp(s, "rprivate"))
		return 0;
	return refuse("tmpfs option %s is not supported", log_quote(s));
}

static int check_dst(const char *dst, const char *option)
{
	return *dst == '/' ? 0
			   : refuse("%s: the place in the container, %s, is not absolute", option,
				     log_quote(dst));
}

static int resolve_src(struct box_bind *b, const char *src, const char *option)
{
	b->src = realpath(src, NULL);
	return b->src ? 0 : warn_errno(-errno, "%s %s", option, log_quote(src));
}

int boxopt_volume(char *s, struct box_bind *ret)
{
	char *dst = strchr(s, ':'), *mode = dst ? strchr(dst + 1, ':') : NULL;
	cleanup_free char *text = xstrdup(s);
	struct box_bind b = { 0 };
	int r;

	if (!dst || dst == s || dst[1] != '/' || (mode && strchr(mode + 1, ':')))
		return refuse("volume %s is not SRC:/DST[:ro]", log_quote(text));
	*dst++ = 0;
	if (mode)
		*mode++ = 0;
	b.dst = dst;
	r = mode && !*mode ? refuse("volume %s is not SRC:/DST[:ro]", log_quote(text))
			   : opt_words(mode, take_bind_word, &b);
	if (!r && *s != '/' && *s != '.' && !strchr(s, '/'))
		return refuse("volume %s: there are no named volumes; %s is not a path",
			log_quote(text), log_quote(s));
	if (!r)
		r = resolve_src(&b, s, "volume");
	*ret = b;
	return r;
}

#define TMPFS_DEFAULTS                                                        \
	{                                                                     \
		.mode = 01777, .attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC \
	}

int boxopt_tmpfs(char *s, struct box_bind *ret)
{
	char *words = strchr(s, ':');
	struct box_bind b = TMPFS_DEFAULTS;

	if (words)
		*words++ = 0;
	b.dst = s;
	int r = check_dst(s, "--tmpfs");
	if (!r)
		r = opt_words(words, take_tmpfs_word, &b);
	*ret = b;
	return r;
}

struct mount_keys {
	const char *type, *src, *dst;
};

static int take_bool(struct mount_keys *k, const char *key, const char *value, bool *ret)
{
	(void)k;
	if (value && !is_true(value) && !is_false(value))
		return refuse("--mount: %s is true or false, not %s", key, log_quote(value));
	*ret = !value || is_true(value);
	return 0;
}

// One KEY[=VALUE] of --mount. -ENOENT silent: it is a word of the type's own.
static int take_mount_key(char *s, struct mount_keys *k, struct box_bind *b)
{
	static const char *const src[] = { "src", "source" };
	static const char *const dst[] = { "dst", "destination", "target" };
	cleanup_free char *key = xstrndup(s, strcspn(s, "="));
	char *value = strchr(s, '=');
	int r;

	value = value ? value + 1 : NULL;
	for (size_t i = 0; value && i < ARRAY_LEN(src); i++)
		if (!strcmp(key, src[i]))
			return k->src = value, 0;
	for (size_t i = 0; value && i < ARRAY_LEN(dst); i++)
		if (!strcmp(key, dst[i]))
			return k->dst = value, 0;
	if (!strcmp(key, "type"))
		return 0; // seen before
	if (!strcmp(key, "ro") || !strcmp(key, "readonly"))
		return take_bool(k, key, value, &b->read_only);
	if (!strcmp(key, "rw")) {
		r = take_bool(k, key, value, &b->read_only);
		b->read_only = !b->read_only;
		return r;
	}
	if (!strcmp(key, "bind-nonrecursive"))
		return take_bool(k, key, value, &b->shallow);
	if (!strcmp(key, "bind-propagation"))
		return value && (!strcmp(value, "private") || !strcmp(value, "rprivate"))
			? 0
			: refuse("--mount: bind-propagation is private only, not %s",
				  log_quote(value ? value : ""));
	return -ENOENT;
}

static const char *mount_type(const char *s)
{
	for (const char *p = s; p; p = strchr(p, ',') ? strchr(p, ',') + 1 : NULL)
		if (!strncmp(p, "type=", 5))
			return p + 5;
	return "volume"; // docker's default
}

int boxopt_mount(char *s, struct box_bind *ret)
{
	cleanup_free char *type = xstrndup(mount_type(s), strcspn(mount_type(s), ","));
	bool tmpfs = !strcmp(type, "tmpfs");
	struct box_bind b = { 0 };
	struct mount_keys k = { 0 };
	char *save = NULL;
	int r = 0;

	if (strchr(s, '"'))
		return refuse("--mount: quotes are not supported");
	if (!tmpfs && strcmp(type, "bind"))
		return refuse("--mount: type is bind or tmpfs, not %s", log_quote(type));
	if (tmpfs)
		b = (struct box_bind)TMPFS_DEFAULTS;
	for (char *w = strtok_r(s, ",", &save); w && !r; w = strtok_r(NULL, ",", &save)) {
		r = take_mount_key(w, &k, &b);
		if (r != -ENOENT)
			continue;
		// docker's names of what --tmpfs calls size and mode
		if (tmpfs && !strncmp(w, "tmpfs-", 6))
			w += 6;
		r = tmpfs ? take_tmpfs_word(w, &b) : take_bind_word(w, &b);
	}
	if (r)
		return r;
	if (!k.dst)
		return refuse("--mount: dst= is missing");
	if (tmpfs && k.src)
		return refuse("--mount: a tmpfs has no src");
	if (!tmpfs && !k.src)
		return refuse("--mount: src= is missing");
	b.dst = k.dst;
	r = check_dst(k.dst, "--mount");
	if (!r && !tmpfs)
		r = resolve_src(&b, k.src, "--mount");
	*ret = b;
	return r;
}

// ---- security ----

int boxopt_security(const char *s, struct box *b)
{
	size_t n = strcspn(s, "=:");
	const char *value = s[n] ? s + n + 1 : "";
	cleanup_free char *key = xstrndup(s, n);

	if (!strcmp(key, "no-new-privileges")) {
		if (s[n] && !is_true(value) && !is_false(value))
			return refuse("--security-opt: no-new-privileges is true or false, not %s",
				log_quote(value));
		b->new_privs = s[n] && is_false(value);
		return 0;
	}
	if (!strcmp(key, "seccomp")) {
		if (strcmp(value, "unconfined"))
			return refuse(
				"--security-opt: seccomp is fcpull's own filter, or unconfined; "
				"a profile such as %s is not supported",
				log_quote(value));
		b->no_seccomp = true;
		return 0;
	}
	if ((!strcmp(key, "unmask") && !strcasecmp(value, "all")) ||
		(!strcmp(key, "systempaths") && !strcmp(value, "unconfined"))) {
		b->unmasked = true;
		return 0;
	}
	// what they turn off is not there
	if ((!strcmp(key, "label") && !strcmp(value, "disable")) ||
		(!strcmp(key, "apparmor") && !strcmp(value, "unconfined")))
		return 0;
	return refuse("--security-opt %s is not supported: there are seccomp=unconfined, "
		      "no-new-privileges=false, unmask=ALL",
		log_quote(s));
}

int boxopt_user_ns(const char *s, struct box *b)
{
	if (strcmp(s, "private") && strcmp(s, "host"))
		return refuse("--user-ns is private or host, not %s", log_quote(s));
	b->no_user_ns = *s == 'h';
	return 0;
}

static bool is_root(const char *user)
{
	return !user || !*user || !strcmp(user, "0") || !strcmp(user, "root");
}

int boxopt_check(const struct box *b)
{
	uint64_t others = b->caps.add & ~caps_namespaced;
	// boxinit.c's rule
	bool own_ns = !b->no_user_ns && !(b->net_host && is_root(b->user));
	int r = caps_change_check(&b->caps);

	if (r || !own_ns || !others)
		return r;
	return refuse("%s counts for nothing in the container's user namespace; "
		      "add --user-ns=host, and it has it over the host",
		b->caps.add == CAPS_ALL ? "part of ALL"
					: caps_name((unsigned)__builtin_ctzll(others)));
}

// ---- limits ----

int boxopt_cpus(const char *s, uint64_t *ret)
{
	size_t n = strcspn(s, ".");
	cleanup_free char *whole = xstrndup(s, n);
	uint64_t cpus = 0, part = 0, unit = CGROUP_CPU_PERIOD;
	const char *p = s[n] ? s + n + 1 : s + n;

	if ((!*whole && !*p) || (*whole && parse_number(whole, 10, CPUS_MAX, &cpus)))
		goto bad;
	for (; *p; p++) {
		if (*p < '0' || *p > '9')
			goto bad;
		unit /= 10;
		part += unit * (uint64_t)(*p - '0');
	}
	*ret = cpus * CGROUP_CPU_PERIOD + part;
	// the kernel's least quota is a millisecond
	if (*ret >= 1000)
		return 0;
bad:
	return refuse(
		"--cpus is a number such as 1.5, from 0.01 to %d, not %s", CPUS_MAX, log_quote(s));
}

int boxopt_memory(uint64_t bytes)
{
	return bytes >= CGROUP_MEMORY_MIN
		? 0
		: refuse("--memory is at least 6m: with less no process starts");
}

int boxopt_pids(const char *s, uint64_t *ret)
{
	if (!strcmp(s, "-1")) {
		*ret = 0;
		return 0;
	}
	return parse_number(s, 10, PIDS_MAX, ret)
		? refuse("--pids-limit is a number of processes up to %d, or -1 for no limit, not %s",
			  PIDS_MAX, log_quote(s))
		: 0;
}

// ---- names ----

static const struct {
	const char *name;
	int number;
} signals[] = {
	{ "HUP", SIGHUP },
	{ "INT", SIGINT },
	{ "QUIT", SIGQUIT },
	{ "ABRT", SIGABRT },
	{ "KILL", SIGKILL },
	{ "USR1", SIGUSR1 },
	{ "USR2", SIGUSR2 },
	{ "PIPE", SIGPIPE },
	{ "ALRM", SIGALRM },
	{ "TERM", SIGTERM },
	{ "CONT", SIGCONT },
	{ "TSTP", SIGTSTP },
	{ "TTIN", SIGTTIN },
	{ "TTOU", SIGTTOU },
	{ "WINCH", SIGWINCH },
	{ "IO", SIGIO },
	{ "PWR", SIGPWR },
	{ "RTMIN", 34 },
	{ "RTMAX", 64 },
};

int boxopt_signal(const char *s, int *ret)
{
	const char *name = strncasecmp(s, "SIG", 3) ? s : s + 3;
	size_t n = strcspn(name, "+-");
	uint64_t v = 0;

	if (!parse_number(s, 10, 64, &v) && v > 0) {
		*ret = (int)v;
		return 0;
	}
	for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
		int sig = signals[i].number;

		if (strlen(signals[i].name) != n || strncasecmp(name, signals[i].name, n))
			continue;
		if (name[n] && (sig < 34 || parse_number(name + n + 1, 10, 30, &v)))
			break;
		*ret = name[n] == '-' ? sig - (int)v : sig + (int)v;
		if (sig < 34 || (*ret >= 34 && *ret <= 64))
			return 0;
		break;
	}
	return refuse("there is no signal %s", log_quote(s));
}

int boxopt_name(const char *option, const char *s)
{
	static const char letters[] =
		"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789";
	size_t n = strlen(s), good = 0;

	while (good < n && (strchr(letters, s[good]) || (good && strchr("_.-", s[good]))))
		good++;
	if (n && good == n && n <= NAME_LEN_MAX)
		return 0;
	return refuse("%s %s: letters, digits, '_', '.' and '-' only, at most %d, and a letter or "
		      "digit first",
		option, log_quote(s), NAME_LEN_MAX);
}
