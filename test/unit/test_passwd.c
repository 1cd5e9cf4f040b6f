// test_passwd.c - users and groups of hostile and ordinary images
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/passwd.c"

#include "said.h"
#include "tap.h"

static int root_fd;

static void put(const char *path, const void *text, size_t n)
{
	int fd;

	unlinkat(root_fd, path, 0);
	fd = openat(root_fd, path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
	if (fd < 0 || write_full(fd, text, n) < 0)
		abort();
	close(fd);
}

static void files(const char *passwd, const char *group)
{
	put("etc/passwd", passwd, strlen(passwd));
	put("etc/group", group, strlen(group));
}

// Resolves; the result as "uid:gid:home:groups" or "error N".
static const char *who(const char *user)
{
	static struct passwd_user u;
	static char out[4096];
	int n;

	said_begin();
	int r = passwd_resolve(root_fd, user, &u);
	const char *said = said_end();
	if (r < 0) {
		snprintf(out, sizeof out, "error %s%s", strerror(-r),
			*said ? "" : " (nothing said)");
		return out;
	}
	n = snprintf(out, sizeof out, "%u:%u:%s:", u.uid, u.gid, u.home);
	for (size_t i = 0; i < u.n_groups && n < 4000; i++)
		n += snprintf(out + n, sizeof out - (size_t)n, "%s%u", i ? "," : "", u.groups[i]);
	return out;
}

static void is(const char *user, const char *want)
{
	const char *got = who(user);

	ok(strcmp(got, want) == 0, "user '%s' is %s (got %s)", user ? user : "NULL", want, got);
}

static const char passwd_text[] = "# a comment\n\n"
				  "root:x:0:0:root:/root:/bin/sh\n"
				  "bad:x:abc:0::/bad:\n"
				  "neg:x:-1:0::/:\n"
				  "huge:x:4294967295:0::/:\n"
				  "short:x:7\n"
				  "few:x:8:9\n"
				  "app:x:1000:1001:App,,:/home/app:/bin/sh\n"
				  "second:x:1000:5::/second:\n"
				  "1234:x:50:51::/named:\n"
				  ":x:60:61::/noname:\n"
				  "colons:x:70:71:a:/c:/sh:more:fields\n"
				  "max:x:4294967294:4294967294::/max:\n"
				  "last:x:80:81::/last:/bin/sh";
static const char group_text[] =
	"root:x:0:\nusers:x:1001:app\nextra:x:2000:other,app\nmore:x:2001:app,other\nnot:x:2002:apple,napp\n"
	"dup:x:2000:app\nbad:x:z:app\nempty:x:2003:\nthree:x:2004\n77:x:99:\nlast:x:3000:app";

static void ordinary(void)
{
	files(passwd_text, group_text);
	is(NULL, "0:0:/root:0");
	is("", "0:0:/root:0");
	is("root", "0:0:/root:0");
	is("0", "0:0:/root:0");
	is("app", "1000:1001:/home/app:1001,2000,2001,3000");
	is("1000", "1000:1001:/home/app:1001,2000,2001,3000");
	is("second", "1000:5:/second:5");
	is("app:extra", "1000:2000:/home/app:2000");
	is("app:2002", "1000:2002:/home/app:2002");
	is("app:55", "1000:55:/home/app:55");
	is("app:77", "1000:99:/home/app:99");
	is("1234", "50:51:/named:51");
	is("4321", "4321:0:/:0");
	is("4321:4322", "4321:4322:/:4322");
	is("few", "8:9:/:9");
	is("colons", "70:71:/c:71");
	is("last", "80:81:/last:81");
	is("max", "4294967294:4294967294:/max:4294967294");
	is("app:last", "1000:3000:/home/app:3000");
	is("app:three", "1000:2004:/home/app:2004");
	is(":extra", "0:2000:/root:2000");
}

static void refusals(void)
{
	static const char *const not_found[] = {
		"bad",
		"neg",
		"huge",
		"short",
		"nobody",
		"4294967295",
		"99999999999999999999",
		"-1",
		"+1",
		" 1",
		"1 ",
		"0x1",
		"app ",
		"x",
	};

	for (size_t i = 0; i < ARRAY_LEN(not_found); i++)
		is(not_found[i], "error No such file or directory");
	is("app:nogroup", "error No such file or directory");
	is("app:bad", "error No such file or directory");
	is("app:", "error Invalid argument");
	is(":", "error Invalid argument");
	is("a:b:c", "error Invalid argument");
}

// Lengths at the limit of a file, and of the number of groups.
static void limits(void)
{
	size_t n = PASSWD_MAX_FILE;
	char *text = malloc(n + 1);
	static const char entry[] = "app:x:5:6::/h:\n";
	struct buf groups = { 0 };

	memset(text, '\n', n + 1);
	memcpy(text + n - strlen(entry), entry, strlen(entry));
	put("etc/passwd", text, n - 1);
	is("app", "5:6:/h:6,1001,2000,2001,3000");
	put("etc/passwd", text, n);
	is("app", "5:6:/h:6,1001,2000,2001,3000");
	memcpy(text, entry, strlen(entry));
	put("etc/passwd", text, n + 1);
	is("app", "error No such file or directory");
	is("5", "5:0:/:0");
	free(text);

	files("app:x:5:6::/h:\n", "");
	for (unsigned i = 0; i < PASSWD_MAX_GROUPS - 1; i++)
		buf_printf(&groups, "g%u:x:%u:app\n", i, 1000 + i);
	put("etc/group", groups.data, groups.len);
	ok(strncmp(who("app"), "5:6:/h:6,1000,", 14) == 0, "%d groups are taken",
		PASSWD_MAX_GROUPS);
	buf_printf(&groups, "one:x:999:app\n");
	put("etc/group", groups.data, groups.len);
	is("app", "error Argument list too long");
	buf_fini(&groups);
}

static void odd_bytes(void)
{
	char home[1100];

	put("etc/passwd", "app:x:1:1::/a:\0\nzero\0:x:2:2::/b:\nok:x:3:3::/ok:\n", 49);
	is("app", "error No such file or directory");
	is("ok", "3:3:/ok:3");
	memset(home, 'h', sizeof home);
	memcpy(home, "app:x:1:1::", 11);
	memcpy(home + sizeof home - 5, ":/s\n", 5);
	files(home, "");
	is("app", "1:1:/:1");
	files("app:x:1:1::\r\n", "");
	is("app", "1:1:\r:1");
	files(":::::::\n::\n:\nx", ",,,\n:::,,,\n");
	is("5", "5:0:/:0");
}

// What is not a regular file is as if it were not there, and holds nobody up.
static void not_files(void)
{
	unlinkat(root_fd, "etc/passwd", 0);
	is("app", "error No such file or directory");
	is("", "0:0:/:0");
	if (mkfifoat(root_fd, "etc/passwd", 0644) == 0)
		is("app", "error No such file or directory");
	unlinkat(root_fd, "etc/passwd", 0);
	if (symlinkat("../../../../../../etc/passwd", root_fd, "etc/passwd") == 0)
		is("daemon", "error No such file or directory");
	unlinkat(root_fd, "etc/passwd", 0);
	if (symlinkat("/etc/group", root_fd, "etc/passwd") == 0)
		is("7", "7:0:/:0");
	unlinkat(root_fd, "etc/passwd", 0);
	if (mkdirat(root_fd, "etc/passwd", 0755) == 0)
		is("app", "error No such file or directory");
	unlinkat(root_fd, "etc/passwd", AT_REMOVEDIR);
}

// Every prefix and many one-byte changes of a good file: no crash, no read beyond (the sanitizers
// look).
static void mangled(void)
{
	char text[sizeof passwd_text];
	unsigned seed = 1, bad = 0;

	for (size_t n = 0; n < sizeof passwd_text; n++) {
		put("etc/passwd", passwd_text, n);
		bad += strlen(who("last")) == 0;
	}
	for (int i = 0; i < 2000; i++) {
		memcpy(text, passwd_text, sizeof text);
		for (int k = 0; k < 3; k++) {
			seed = seed * 1103515245 + 12345;
			text[(seed >> 8) % (sizeof text - 1)] = (char)(seed >> 24);
		}
		put("etc/passwd", text, sizeof text - 1);
		bad += strlen(who(i % 2 ? "app" : "1000:extra")) == 0;
	}
	ok(bad == 0, "mangled files do no harm");
}

int main(void)
{
	char dir[] = "/tmp/test_passwd.XXXXXX";

	if (!mkdtemp(dir))
		return 1;
	root_fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (root_fd < 0 || mkdirat(root_fd, "etc", 0755) < 0)
		return 1;
	ordinary();
	refusals();
	limits();
	odd_bytes();
	not_files();
	files(passwd_text, group_text);
	mangled();
	if (remove_tree_at(AT_FDCWD, dir) < 0)
		return 1;
	return tap_end();
}
