// userns.c - a user without privileges becomes root in a user namespace of its own
//
// Who maps more ids than its own needs privileges in the namespace around: newuidmap and newgidmap
// have them (set-user-id). They are started by a child that stays outside.
// SPDX-License-Identifier: Apache-2.0
#include "userns.h"

#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "log.h"
#include "places.h"

#define SUBID_FILE_MAX (4u << 20)

struct id_range {
	uint64_t first, count; // count 0: none
};

int userns_keep_places(void)
{
	cleanup_free char *run = places_run(), *root = run ? places_store() : NULL;

	if (!root)
		return -ENOENT;
	return setenv("FCPULL_RUN", run, 1) || setenv("FCPULL_ROOT", root, 1) ? last_errno() : 0;
}

// ---- what ids the user has ----

// "NAME:FIRST:COUNT", NAME or uid (subuid(5)). The first range of the user's.
static bool parse_line(char *line, const char *user, uid_t uid, struct id_range *ret)
{
	char *first = strchr(line, ':'), *count = first ? strchr(first + 1, ':') : NULL, *end;
	char number[16];

	if (!count)
		return false;
	*first++ = *count++ = 0;
	snprintf(number, sizeof number, "%u", (unsigned)uid);
	if (strcmp(line, number) && (!user || strcmp(line, user)))
		return false;
	ret->first = strtoull(first, &end, 10);
	if (end == first || *end)
		return false;
	ret->count = strtoull(count, &end, 10);
	return end != count && !*end && ret->count && ret->first && ret->first <= UINT32_MAX &&
		ret->count <= UINT32_MAX - ret->first;
}

static struct id_range find_range(const char *path, const char *user, uid_t uid)
{
	struct id_range range = { 0 };
	cleanup_free char *text = NULL;
	char *save = NULL;
	size_t len;

	if (read_file_at(AT_FDCWD, path, SUBID_FILE_MAX, &text, &len))
		return range;
	for (char *s = strtok_r(text, "\n", &save); s; s = strtok_r(NULL, "\n", &save))
		if (parse_line(s, user, uid, &range))
			return range;
	return (struct id_range){ 0 };
}

// ---- maps ----

static int run_helper(const char *name, pid_t pid, uint32_t own, const struct id_range *r)
{
	char words[6][24];
	char *argv[] = { (char *)name, words[0], (char *)"0", words[1], (char *)"1", (char *)"1",
		words[2], words[3], NULL };
	pid_t child;
	int status;

	snprintf(words[0], sizeof *words, "%d", (int)pid);
	snprintf(words[1], sizeof *words, "%u", own);
	snprintf(words[2], sizeof *words, "%ju", (uintmax_t)r->first);
	snprintf(words[3], sizeof *words, "%ju", (uintmax_t)r->count);
	child = fork();
	if (!child) {
		execvp(name, argv);
		_exit(127);
	}
	if (child < 0 || waitpid(child, &status, 0) < 0)
		return last_errno();
	return !WIFEXITED(status)	     ? -EIO
		: WEXITSTATUS(status) == 127 ? -ENOENT
		: WEXITSTATUS(status)	     ? -EPERM
					     : 0;
}

struct helper {
	pid_t pid;
	int go, done; // ends of pipes
};

// The helper's whole life: it waits until its parent is in the new namespace.
static _Noreturn void help(int go, int done, uid_t uid, gid_t gid, const struct id_range ranges[2])
{
	char byte;
	int r = read_full(go, &byte, 1);

	if (!r)
		r = run_helper("newuidmap", getppid(), uid, &ranges[0]);
	if (!r)
		r = run_helper("newgidmap", getppid(), gid, &ranges[1]);
	_exit(r || write_full(done, "d", 1) ? 1 : 0);
}

static int start_helper(const struct id_range ranges[2], struct helper *ret)
{
	int go[2], done[2];

	if (pipe2(go, O_CLOEXEC))
		return last_errno();
	if (pipe2(done, O_CLOEXEC)) {
		close(go[0]);
		close(go[1]);
		return last_errno();
	}
	fflush(NULL);
	ret->pid = fork();
	if (!ret->pid) {
		close(go[1]);
		help(go[0], done[1], geteuid(), getegid(), ranges);
	}
	close(go[0]);
	close(done[1]);
	ret->go = go[1];
	ret->done = done[0];
	return ret->pid < 0 ? -EAGAIN : 0;
}

static int finish_helper(struct helper *h, bool go)
{
	char byte;
	int r = go ? write_full(h->go, "g", 1) : -ECANCELED;

	if (!r)
		r = read_full(h->done, &byte, 1) ? -EPERM : 0;
	close(h->go);
	close(h->done);
	if (h->pid > 0)
		waitpid(h->pid, NULL, 0);
	return r;
}

static int write_own(const char *file, const char *text)
{
	cleanup_free char *path = xasprintf("/proc/self/%s", file);
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? last_errno() : 0;
}

static int map_one(uid_t uid, gid_t gid)
{
	char text[32];
	int r = write_own("setgroups", "deny");

	snprintf(text, sizeof text, "0 %u 1\n", (unsigned)gid);
	if (!r)
		r = write_own("gid_map", text);
	snprintf(text, sizeof text, "0 %u 1\n", (unsigned)uid);
	return r ? r : write_own("uid_map", text);
}

// ---- entering ----

static int refused(int r)
{
	if (r == -ENOSPC || r == -EUSERS)
		return warn_errno(r,
			"cannot make a user namespace: the sysctl "
			"user.max_user_namespaces allows no more");
	if (r == -EPERM || r == -EACCES)
		return warn_errno(r,
			"this machine forbids users to make user namespaces: run fcpull as "
			"root, or set the sysctl kernel.unprivileged_userns_clone=1 (or "
			"kernel.apparmor_restrict_unprivileged_userns=0)");
	return warn_errno(r, "cannot make a user namespace");
}

static int enter(void)
{
	return unshare(CLONE_NEWUSER | CLONE_NEWNS) ? refused(last_errno()) : 0;
}

static int enter_with(const struct id_range ranges[2], uid_t uid, gid_t gid, uint64_t *ret_ids)
{
	struct helper h = { 0 };
	int r = start_helper(ranges, &h);

	if (r)
		return warn_errno(r, "start a process for newuidmap");
	r = enter();
	if (r) {
		if (finish_helper(&h, false) != -ECANCELED)
			debug("newuidmap ran all the same");
		return r;
	}
	*ret_ids = MIN(ranges[0].count, ranges[1].count) + 1;
	r = finish_helper(&h, true);
	if (!r)
		return 0;
	// what one of the two may have done cannot be done again
	info("newuidmap and newgidmap map no ids: root is the only one");
	*ret_ids = 1;
	return map_one(uid, gid);
}

int userns_enter(uint64_t *ret_ids)
{
	uid_t uid = geteuid();
	gid_t gid = getegid();
	struct passwd *pw = getpwuid(uid);
	struct id_range ranges[2] = {
		find_range("/etc/subuid", pw ? pw->pw_name : NULL, uid),
		find_range("/etc/subgid", pw ? pw->pw_name : NULL, uid),
	};
	int r;

	*ret_ids = 1;
	if (ranges[0].count && ranges[1].count)
		r = enter_with(ranges, uid, gid, ret_ids);
	else if (!(r = enter()) && (r = map_one(uid, gid)))
		warn_errno(r, "map this user into its namespace");
	return r;
}

int userns_join(pid_t pid)
{
	cleanup_free char *path = xasprintf("/proc/%d/ns/user", (int)pid);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	struct stat theirs, ours;

	if (fd < 0 || fstat(fd, &theirs) || stat("/proc/self/ns/user", &ours))
		return last_errno();
	if (theirs.st_ino == ours.st_ino && theirs.st_dev == ours.st_dev)
		return 0;
	return syscall(SYS_setns, fd, CLONE_NEWUSER) ? last_errno() : 0;
}
