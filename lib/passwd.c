// passwd.c - users and groups of an image
// SPDX-License-Identifier: Apache-2.0
#include "passwd.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "log.h"
#include "mnt.h"

#define MAX_FIELDS 7

struct span {
	const char *s;
	size_t n;
};

// One of the two files in memory, and where the walk through its lines stands. No file = no lines.
struct table {
	char *data;
	size_t len, pos;
};

// The message is complete: what errno would say of it is not what is wrong.
#define refuse(r, ...) (warn(__VA_ARGS__), (r))

static int table_read(int fd, struct table *t)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	t->data = xmalloc(PASSWD_MAX_FILE + 1);
	while (t->len <= PASSWD_MAX_FILE) {
		// not by st_size: a file of /proc says 0, and a file may grow
		ssize_t n = read(fd, t->data + t->len, PASSWD_MAX_FILE + 1 - t->len);

		if (n == 0)
			return 0;
		if (n < 0 && errno != EINTR)
			return -errno;
		t->len += n > 0 ? (size_t)n : 0;
	}
	return -EFBIG;
}

// What cannot be read has no entries; a name that is then not found is an error of its own.
static void table_open(struct table *t, int root, const char *path)
{
	// O_NONBLOCK: a fifo must not hold us. A device would be opened too, but the root is
	// mounted nodev.
	cleanup_fd int fd = mnt_open(root, path, O_RDONLY | O_NONBLOCK | O_NOCTTY, MNT_IN_ROOT);
	int r = fd < 0 ? fd : table_read(fd, t);

	if (r == 0)
		return;
	if (r == -EINVAL || r == -EFBIG)
		warn("the image's /%s is left out: %s", path,
			r == -EFBIG ? "it is larger than 1 MiB" : "it is not a regular file");
	else if (r != -ENOENT)
		info("the image's /%s is left out: %s", path, strerror(-r));
	t->len = 0;
}

// Splits the next line at its colons into `want` fields. Those at its end may be missing, as some
// images have it, but not one of the first `least`: such a line is passed over, as is one with a
// NUL.
static bool table_next(struct table *t, struct span *f, size_t want, size_t least)
{
	while (t->pos < t->len) {
		const char *line = t->data + t->pos;
		const char *end = memchr(line, '\n', t->len - t->pos);
		size_t n = end ? (size_t)(end - line) : t->len - t->pos, count = 0;

		t->pos += n + 1;
		if (memchr(line, '\0', n))
			continue;
		for (const char *p = line, *stop = line + n; count < want; count++) {
			const char *colon = memchr(p, ':', (size_t)(stop - p));

			f[count] = (struct span){ p, (size_t)((colon ? colon : stop) - p) };
			if (!colon) {
				count++;
				break;
			}
			p = colon + 1;
		}
		if (count < least || f[0].n == 0)
			continue;
		for (; count < want; count++)
			f[count] = (struct span){ "", 0 };
		return true;
	}
	return false;
}

static void table_fini(struct table *t)
{
	free(t->data);
	t->data = NULL;
}

static bool span_is(struct span a, struct span b)
{
	return a.n == b.n && memcmp(a.s, b.s, a.n) == 0;
}

// Decimal digits, 0..2^32-2: the kernel takes 2^32-1 for "no change".
static bool number(struct span a, uint32_t *ret)
{
	uint64_t v = 0;

	if (a.n == 0 || a.n > 10)
		return false;
	for (size_t i = 0; i < a.n; i++) {
		if (a.s[i] < '0' || a.s[i] > '9')
			return false;
		v = v * 10 + (uint64_t)(a.s[i] - '0');
	}
	if (v >= UINT32_MAX)
		return false;
	*ret = (uint32_t)v;
	return true;
}

static int add_group(struct passwd_user *u, uint32_t gid)
{
	for (size_t i = 0; i < u->n_groups; i++)
		if (u->groups[i] == gid)
			return 0;
	if (u->n_groups == PASSWD_MAX_GROUPS)
		return refuse(-E2BIG, "the image's /etc/group puts the user in more than %d groups",
			PASSWD_MAX_GROUPS);
	u->groups[u->n_groups++] = gid;
	return 0;
}

// Fills u from the entry of `name`; *ret_login is the entry's name, empty when there is none.
static int find_user(
	struct table *t, struct span name, struct passwd_user *u, struct span *ret_login)
{
	struct span f[MAX_FIELDS];
	uint32_t id = 0, uid, gid;
	bool numeric = name.n == 0 || number(name, &id); // no name: user 0

	*ret_login = (struct span){ "", 0 };
	while (table_next(t, f, 7, 4)) {
		if (!number(f[2], &uid) || !number(f[3], &gid))
			continue;
		if (!span_is(f[0], name) && !(numeric && uid == id))
			continue;
		u->uid = uid;
		u->gid = gid;
		if (f[5].n > 0 && f[5].n < sizeof u->home)
			snprintf(u->home, sizeof u->home, "%.*s", (int)f[5].n, f[5].s);
		*ret_login = f[0];
		return 0;
	}
	if (!numeric)
		return refuse(-ENOENT, "user %s is not in the image's /etc/passwd",
			log_quote_n(name.s, name.n));
	u->uid = id;
	return 0;
}

static int find_group(struct table *t, struct span name, struct passwd_user *u)
{
	struct span f[MAX_FIELDS];
	uint32_t id = 0, gid;
	bool numeric = number(name, &id);

	while (table_next(t, f, 4, 3)) {
		if (!number(f[2], &gid))
			continue;
		if (!span_is(f[0], name) && !(numeric && gid == id))
			continue;
		u->gid = gid;
		return 0;
	}
	if (!numeric)
		return refuse(-ENOENT, "group %s is not in the image's /etc/group",
			log_quote_n(name.s, name.n));
	u->gid = id;
	return 0;
}

static bool lists(struct span members, struct span login)
{
	for (const char *p = members.s, *stop = members.s + members.n;;) {
		const char *comma = memchr(p, ',', (size_t)(stop - p));

		if (span_is((struct span){ p, (size_t)((comma ? comma : stop) - p) }, login))
			return true;
		if (!comma)
			return false;
		p = comma + 1;
	}
}

static int find_memberships(struct table *t, struct span login, struct passwd_user *u)
{
	struct span f[MAX_FIELDS];
	uint32_t gid;
	int r = 0;

	while (r == 0 && login.n > 0 && table_next(t, f, 4, 3))
		if (number(f[2], &gid) && lists(f[3], login))
			r = add_group(u, gid);
	return r;
}

static int resolve(
	struct table *passwd, struct table *group, const char *user, struct passwd_user *u)
{
	const char *colon = strchr(user, ':');
	struct span name = { user, colon ? (size_t)(colon - user) : strlen(user) };
	struct span gname = { colon ? colon + 1 : "", colon ? strlen(colon + 1) : 0 };
	struct span login;

	if (memchr(gname.s, ':', gname.n) || (colon && gname.n == 0))
		return refuse(-EINVAL, "user %s is not of the form USER[:GROUP]", log_quote(user));
	int r = find_user(passwd, name, u, &login);
	if (r == 0 && gname.n > 0)
		r = find_group(group, gname, u);
	// the primary group is in the list too, so that leaving it by setgid does not change what
	// it may not do (CVE-2022-36109)
	if (r == 0)
		r = add_group(u, u->gid);
	if (r == 0 && gname.n == 0)
		r = find_memberships(group, login, u);
	return r;
}

int passwd_resolve(int root, const char *user, struct passwd_user *ret)
{
	struct table passwd = { 0 }, group = { 0 };

	table_open(&passwd, root, "etc/passwd");
	table_open(&group, root, "etc/group");
	*ret = (struct passwd_user){ .home = "/" };
	int r = resolve(&passwd, &group, user ? user : "", ret);
	table_fini(&passwd);
	table_fini(&group);
	return r;
}
