// test_boxopt.c - the words of run's options: each of them, each limit at -1, 0 and +1, each refusal by
// what it says
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/boxopt.c"

#include "said.h"
#include "tap.h"

// ---- numbers ----

// with: a part of what is said when it is refused; "": it is taken, and gives v.
static void cpus(const char *s, const char *with, uint64_t v)
{
	uint64_t got = 77;

	said_begin();
	int r = boxopt_cpus(s, &got);
	const char *said = said_end();
	ok(*with ? r == -EINVAL && strstr(said, with) : !r && got == v, "--cpus '%s': %s", s,
		*with ? with : "taken");
}

static void test_cpus(void)
{
	cpus("1", "", 100000);
	cpus("1.5", "", 150000);
	cpus(".5", "", 50000);
	cpus("2.", "", 200000);
	cpus("0.01", "", 1000);
	cpus("0.00999", "from 0.01", 0);
	cpus("0.010019", "", 1001); // below a microsecond nothing counts
	cpus("0", "from 0.01", 0);
	cpus("8191", "", 819100000);
	cpus("8192", "", 819200000);
	cpus("8193", "to 8192", 0);
	cpus("18446744073709551617", "to 8192", 0);
	for (size_t i = 0; i < 8; i++)
		cpus((const char *const[]){ "", ".", "-1", "+1", "1,5", "1.5.1", "1.x", " 1" }[i],
			"is a number such as 1.5", 0);
}

static void pids(const char *s, bool good, uint64_t v)
{
	uint64_t got = 77;

	said_begin();
	int r = boxopt_pids(s, &got);
	const char *said = said_end();
	ok(good ? !r && got == v : r == -EINVAL && strstr(said, "up to 4194303"),
		"--pids-limit '%s' is %s", s, good ? "taken" : "refused");
}

static void test_limits(void)
{
	pids("-1", true, 0);
	pids("0", true, 0);
	pids("1", true, 1);
	pids("4194302", true, 4194302);
	pids("4194303", true, 4194303);
	pids("4194304", false, 0);
	pids("-2", false, 0);
	pids("", false, 0);
	pids("0x10", false, 0);
	pids("18446744073709551616", false, 0);

	said_begin();
	int below = boxopt_memory(CGROUP_MEMORY_MIN - 1);
	ok(below == -EINVAL && strstr(said_end(), "at least 6m"), "--memory, one less");
	ok(!boxopt_memory(CGROUP_MEMORY_MIN) && !boxopt_memory(CGROUP_MEMORY_MIN + 1),
		"--memory, the least, and one more");
	ok(CGROUP_MEMORY_MIN == 6 << 20, "... which is what the message says");
}

static void test_sizes(void)
{
	static const struct {
		const char *s;
		int r;
		uint64_t v;
	} cases[] = {
		{ "1", 0, 1 },
		{ "0", 0, 0 },
		{ "4k", 0, 4096 },
		{ "4K", 0, 4096 },
		{ "4kb", 0, 4096 },
		{ "4kB", 0, 4096 },
		{ "1m", 0, 1 << 20 },
		{ "1g", 0, 1 << 30 },
		{ "8589934591g", 0, 8589934591ull << 30 },
		{ "8589934592g", -EINVAL, 0 },
		{ "9223372036854775807", 0, INT64_MAX },
		{ "9223372036854775808", -EINVAL, 0 },
		{ "", -EINVAL, 0 },
		{ "k", -EINVAL, 0 },
		{ "4t", -EINVAL, 0 },
		{ "4kib", -EINVAL, 0 },
		{ "4%", -EINVAL, 0 },
		{ "-4", -EINVAL, 0 },
		{ "4k k", -EINVAL, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		uint64_t v = 0;
		int r = parse_size(cases[i].s, &v);

		ok(r == cases[i].r && (r || v == cases[i].v), "size '%s'", cases[i].s);
	}
}

// ---- signals and names ----

static void test_signals(void)
{
	static const struct {
		const char *s;
		int sig; // 0: refused
	} cases[] = {
		{ "TERM", 15 },
		{ "SIGTERM", 15 },
		{ "sigterm", 15 },
		{ "kill", 9 },
		{ "1", 1 },
		{ "64", 64 },
		{ "RTMIN", 34 },
		{ "SIGRTMIN+3", 37 },
		{ "RTMIN+30", 64 },
		{ "RTMAX", 64 },
		{ "RTMAX-30", 34 },
		{ "RTMAX-0", 64 },
		{ "RTMIN+31", 0 },
		{ "RTMAX-31", 0 },
		{ "RTMIN-1", 0 },
		{ "RTMAX+1", 0 },
		{ "RTMIN+", 0 },
		{ "RTMIN+x", 0 },
		{ "TERM+1", 0 },
		{ "0", 0 },
		{ "65", 0 },
		{ "-1", 0 },
		{ "", 0 },
		{ "SIG", 0 },
		{ "TERMX", 0 },
		{ "SIGSIGTERM", 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		int sig = 0;

		said_begin();
		int r = boxopt_signal(cases[i].s, &sig);
		const char *said = said_end();
		ok(cases[i].sig ? !r && sig == cases[i].sig
				: r == -EINVAL && strstr(said, "there is no signal"),
			"signal '%s' is %d", cases[i].s, cases[i].sig);
	}
}

static void test_names(void)
{
	static const char *const good[] = { "a", "A", "0", "a.b_c-9", "a-", "a." },
				 *const bad[] = { "", "-a", ".", "_a", "a/b", "a b", "\xc3\xa4",
					 "a\n" };
	char name[NAME_LEN_MAX + 2];

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ok(!boxopt_name("--name", good[i]), "name '%s'", good[i]);
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		said_begin();
		int r = boxopt_name("--name", bad[i]);
		const char *said = said_end();
		ok(r == -EINVAL && strstr(said, "--name"), "no name: the %zuth bad one", i);
	}
	memset(name, 'n', sizeof name);
	for (size_t n = NAME_LEN_MAX - 1; n <= NAME_LEN_MAX + 1; n++) {
		name[n] = 0;
		said_begin();
		int r = boxopt_name("--name", name);
		said_end();
		ok(r == (n > NAME_LEN_MAX ? -EINVAL : 0), "a name of %zu letters", n);
		name[n] = 'n';
	}
}

// ---- mounts ----

typedef int parse(char *s, struct box_bind *ret);

// text is refused with words that have `with` in them; or taken ("").
static bool takes(parse *how, const char *text, const char *with, struct box_bind *ret)
{
	static char copy[200]; // the strings of a bind stay in it

	snprintf(copy, sizeof copy, "%s", text);
	*ret = (struct box_bind){ 0 };
	said_begin();
	int r = how(copy, ret);
	const char *said = said_end();
	return *with ? r < 0 && strstr(said, with) : !r;
}

static void refuses(parse *how, const char *text, const char *with)
{
	struct box_bind b;

	ok(takes(how, text, with, &b), "%s: %s", text, with);
	free((char *)b.src);
}

static void test_volumes(void)
{
	struct box_bind b;

	ok(takes(boxopt_volume, "/tmp:/d", "", &b) && !strcmp(b.src, "/tmp") &&
			!strcmp(b.dst, "/d") && !b.read_only && !b.shallow && !b.attrs,
		"a volume");
	free((char *)b.src);
	ok(takes(boxopt_volume, "/:/d:ro,bind,noexec,nosuid,suid", "", &b) && b.read_only &&
			b.shallow && b.attrs == MOUNT_ATTR_NOEXEC,
		"options; the last of two that contradict each other counts");
	free((char *)b.src);
	ok(takes(boxopt_volume, "/:/d:ro,rw,rbind,,private", "", &b) && !b.read_only && !b.shallow,
		"the other way round; an empty word is none");
	free((char *)b.src);
	ok(takes(boxopt_volume, ".:/d", "", &b) && *b.src == '/', "a relative source is resolved");
	free((char *)b.src);
	refuses(boxopt_volume, "/tmp", "is not SRC:/DST");
	refuses(boxopt_volume, ":/d", "is not SRC:/DST");
	refuses(boxopt_volume, "/tmp:d", "is not SRC:/DST");
	refuses(boxopt_volume, "/tmp:/d:", "is not SRC:/DST");
	refuses(boxopt_volume, "/tmp:/d:ro:rw", "is not SRC:/DST");
	refuses(boxopt_volume, "data:/d", "no named volumes");
	refuses(boxopt_volume, "/nonexistent/x:/d", "No such file");
	refuses(boxopt_volume, "/tmp:/d:z", "SELinux");
	refuses(boxopt_volume, "/tmp:/d:Z", "SELinux");
	refuses(boxopt_volume, "/tmp:/d:U", "chown");
	refuses(boxopt_volume, "/tmp:/d:shared", "'shared' is not supported");
	refuses(boxopt_volume, "/tmp:/d:size=1m", "'size=1m' is not supported");
}

static void test_tmpfs(void)
{
	struct box_bind b;

	ok(takes(boxopt_tmpfs, "/t", "", &b) && !strcmp(b.dst, "/t") && !b.src && b.mode == 01777 &&
			b.attrs == (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC) && !b.size,
		"a tmpfs, as docker has it");
	ok(takes(boxopt_tmpfs, "/t:size=1k,mode=0,exec,ro", "", &b) && b.size == 1024 && !b.mode &&
			b.attrs == MOUNT_ATTR_NOSUID && b.read_only,
		"its options");
	ok(takes(boxopt_tmpfs, "/t:mode=7777", "", &b) && b.mode == 07777, "mode=7777");
	refuses(boxopt_tmpfs, "/t:mode=10000", "is not a mode");
	refuses(boxopt_tmpfs, "/t:mode=8", "is not a mode");
	refuses(boxopt_tmpfs, "/t:mode=", "is not a mode");
	refuses(boxopt_tmpfs, "/t:size=0", "is not a size");
	refuses(boxopt_tmpfs, "/t:size=50%", "is not a size");
	refuses(boxopt_tmpfs, "/t:huge=always", "is not supported");
	refuses(boxopt_tmpfs, "/t:bind", "is not supported");
	refuses(boxopt_tmpfs, "t", "is not absolute");
	refuses(boxopt_tmpfs, "", "is not absolute");
}

static void test_mounts(void)
{
	struct box_bind b;

	ok(takes(boxopt_mount, "type=bind,src=/tmp,dst=/d", "", &b) && !strcmp(b.src, "/tmp") &&
			!strcmp(b.dst, "/d") && !b.read_only,
		"--mount of a directory");
	free((char *)b.src);
	ok(takes(boxopt_mount, "target=/d,source=/,readonly=1,bind-nonrecursive,type=bind", "",
		   &b) &&
			b.read_only && b.shallow,
		"other names of the same, in another order");
	free((char *)b.src);
	ok(takes(boxopt_mount, "type=bind,src=/,dst=/d,ro,ro=false", "", &b) && !b.read_only,
		"ro=false");
	free((char *)b.src);
	ok(takes(boxopt_mount, "type=bind,src=/,dst=/d,rw=false", "", &b) && b.read_only,
		"rw=false");
	free((char *)b.src);
	ok(takes(boxopt_mount, "type=tmpfs,dst=/t,tmpfs-size=1m,tmpfs-mode=700", "", &b) &&
			!b.src && b.size == 1 << 20 && b.mode == 0700,
		"--mount of a tmpfs");
	refuses(boxopt_mount, "src=/tmp,dst=/d", "not 'volume'");
	refuses(boxopt_mount, "type=volume,src=x,dst=/d", "not 'volume'");
	refuses(boxopt_mount, "type=bind,dst=/d", "src= is missing");
	refuses(boxopt_mount, "type=bind,src=/tmp", "dst= is missing");
	refuses(boxopt_mount, "type=bind,src,dst=/d", "'src' is not supported");
	refuses(boxopt_mount, "type=tmpfs,src=/tmp,dst=/d", "has no src");
	refuses(boxopt_mount, "type=tmpfs,dst=d", "is not absolute");
	refuses(boxopt_mount, "type=bind,src=/tmp,dst=/d,ro=yes", "true or false, not 'yes'");
	refuses(boxopt_mount, "type=bind,src=/tmp,dst=/d,bind-propagation=shared", "private only");
	refuses(boxopt_mount, "type=bind,src=/tmp,dst=/d,bind-propagation", "private only");
	refuses(boxopt_mount, "type=bind,src=/tmp,dst=/d,tmpfs-size=1m", "is not supported");
	refuses(boxopt_mount, "type=bind,\"src=/tmp\",dst=/d", "quotes");
	refuses(boxopt_mount, "", "not 'volume'");
}

// ---- security ----

static void security(const char *s, const char *with, bool good)
{
	struct box b = { 0 };

	said_begin();
	int r = boxopt_security(s, &b);
	const char *said = said_end();
	ok(good ? !r : r == -EINVAL && strstr(said, with), "--security-opt %s", s);
}

static void test_security(void)
{
	struct box b = { 0 };

	ok(!boxopt_security("seccomp=unconfined", &b) && b.no_seccomp && !b.new_privs, "seccomp");
	b = (struct box){ 0 };
	ok(!boxopt_security("no-new-privileges", &b) && !b.new_privs && !b.no_seccomp,
		"no-new-privileges");
	ok(!boxopt_security("no-new-privileges:false", &b) && b.new_privs,
		"no-new-privileges:false");
	ok(!boxopt_security("no-new-privileges=true", &b) && !b.new_privs,
		"no-new-privileges=true takes it back");
	ok(!boxopt_security("unmask=all", &b) && b.unmasked, "unmask");
	b = (struct box){ 0 };
	ok(!boxopt_security("systempaths=unconfined", &b) && b.unmasked, "systempaths");
	security("label=disable", "", true);
	security("apparmor=unconfined", "", true);
	security("seccomp=/profile.json", "'/profile.json' is not supported", false);
	security("seccomp", "is not supported", false);
	security("no-new-privileges=maybe", "true or false, not 'maybe'", false);
	security("no-new-privileges:", "true or false", false);
	security("unmask=/proc/kcore", "is not supported", false);
	security("label=type:x", "is not supported", false);
	security("apparmor=mine", "is not supported", false);
	security("", "is not supported", false);

	b = (struct box){ 0 };
	ok(!boxopt_user_ns("host", &b) && b.no_user_ns && !boxopt_user_ns("private", &b) &&
			!b.no_user_ns,
		"--user-ns");
	said_begin();
	int r = boxopt_user_ns("keep-id", &b);
	ok(r == -EINVAL && strstr(said_end(), "private or host"), "--user-ns keep-id is refused");
}

// What counts over the host only is refused where the container has a namespace of its own.
static void test_check(void)
{
	const uint64_t host_only = ~caps_namespaced & (1ull << 25); // CAP_SYS_TIME
	struct box b = { .caps.add = host_only };

	ok(host_only, "CAP_SYS_TIME counts over the host");
	said_begin();
	int r = boxopt_check(&b);
	const char *said = said_end();
	ok(r == -EINVAL && strstr(said, "SYS_TIME") && strstr(said, "--user-ns=host"),
		"it is refused in a namespace");
	b.no_user_ns = true;
	ok(!boxopt_check(&b), "... and taken without one");
	b = (struct box){ .caps.add = host_only, .net_host = true };
	ok(!boxopt_check(&b), "... and for root in the host's network, where there is none");
	b.user = "1000";
	said_begin();
	r = boxopt_check(&b);
	said_end();
	ok(r == -EINVAL, "... but not for another user there");
	b = (struct box){ .caps.add = CAPS_ALL };
	said_begin();
	r = boxopt_check(&b);
	ok(r == -EINVAL && strstr(said_end(), "part of ALL"), "ALL is refused as well");
	ok(!boxopt_check(&(struct box){ 0 }), "nothing added, nothing refused");
}

int main(void)
{
	test_cpus();
	test_limits();
	test_sizes();
	test_signals();
	test_names();
	test_volumes();
	test_tmpfs();
	test_mounts();
	test_security();
	test_check();
	return tap_end();
}
