// cgroup.c - limits by control groups
//
// A hybrid machine has some controllers in version 2's hierarchy and some in version 1's: each is
// taken where it is. Not below this process's own group, which has processes, so that version 2
// would hand down no controllers; as docker's and podman's cgroupfs drivers do, below the root, or,
// for who may not write there, below the group above its own one, if that was delegated to it.
// SPDX-License-Identifier: Apache-2.0
#include "cgroup.h"

#include <dirent.h>
#include <fcntl.h>
#include <limits.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "log.h"
#include "mountinfo.h"

#define PARENT "fcpull-run"

enum controller { MEMORY, CPU, PIDS };
static const char *const controllers[CGROUP_MAX] = { "memory", "cpu", "pids" };

struct hierarchies {
	char *v2, *v1[CGROUP_MAX];
};

// ---- where ----

static bool has_word(const char *list, const char *word, const char *separators)
{
	size_t n = strlen(word);

	for (const char *p = list; *p; p += strspn(p, separators)) {
		size_t len = strcspn(p, separators);

		if (len == n && !memcmp(p, word, n))
			return true;
		p += len;
	}
	return false;
}

static void note_mount(void *arg, const struct mount_line *m)
{
	struct hierarchies *h = arg;
	const char *options = strrchr(m->type, ' ');

	if (!strncmp(m->type, "cgroup2 ", 8) && !h->v2)
		h->v2 = xstrdup(m->path);
	if (strncmp(m->type, "cgroup ", 7) || !options)
		return;
	for (size_t i = 0; i < CGROUP_MAX; i++)
		if (has_word(options, controllers[i], ", \n") && !h->v1[i])
			h->v1[i] = xstrdup(m->path);
}

// May this process hand controllers down in `dir`, and move processes below it?
static bool is_ours(const char *dir)
{
	static const char *const files[] = { "", "cgroup.procs", "cgroup.subtree_control" };

	for (size_t i = 0; i < ARRAY_LEN(files); i++) {
		cleanup_free char *path = xasprintf("%s/%s", dir, files[i]);

		if (access(path, W_OK))
			return false;
	}
	return true;
}

// The group above this process's own one, in version 2's hierarchy at `mount`; NULL if there is none, or it is not
// ours. (Who delegates a group gives away its directory and these files: Linux, cgroup-v2.rst, "Delegation".)
static char *delegated(const char *mount)
{
	char own[PATH_MAX], *line, *end, *dir;

	read_text_at(AT_FDCWD, "/proc/self/cgroup", own, sizeof own);
	line = strncmp(own, "0::/", 4) ? strstr(own, "\n0::/") : own;
	if (!line)
		return NULL;
	line = strchr(line, '/');
	line[strcspn(line, "\n")] = 0;
	end = strrchr(line, '/');
	if (end == line)
		return NULL; // the root is above it
	*end = 0;
	dir = xasprintf("%s%s", mount, line);
	if (!is_ours(dir))
		free(steal(&dir));
	return dir;
}

// Version 2's hierarchy: from where it can be used.
static void find_place(struct hierarchies *h)
{
	char *dir = h->v2 && !is_ours(h->v2) ? delegated(h->v2) : NULL;

	if (!dir)
		return;
	free(h->v2);
	h->v2 = dir;
}

static void hierarchies_fini(struct hierarchies *h)
{
	free(h->v2);
	for (size_t i = 0; i < CGROUP_MAX; i++)
		free(h->v1[i]);
}

static int write_text(const char *dir, const char *file, const char *text)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, file);
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);

	return fd < 0 || write(fd, text, strlen(text)) < 0 ? -errno : 0;
}

static bool v2_has(const char *dir, const char *controller)
{
	cleanup_free char *path = xasprintf("%s/cgroup.controllers", dir);
	char text[512];

	read_text_at(AT_FDCWD, path, text, sizeof text);
	return has_word(text, controller, " \n");
}

// ---- making ----

static int no_controller(const char *name)
{
	warn("this machine has no cgroup controller %s (is /sys/fs/cgroup mounted?): "
	     "the container cannot be limited so",
		name);
	return -ENOTSUP;
}

static int cannot(int r, const char *dir, const char *what)
{
	return warn_errno(r, "cannot %s '%s'%s", what, dir,
		r == -EBUSY
			? " (a group that has processes, such as a container's own root, hands down no controllers: "
			  "limits are to be set from above it)"
			: r == -EACCES || r == -EPERM || r == -EROFS
			? " (limits need root and a cgroup file system that can be written, or a group that was delegated to "
			  "this user; systemd gives one: systemd-run --user --scope -p MemoryMax=... -p CPUQuota=... "
			  "-p TasksMax=... fcpull run ...)"
			: "");
}

// Version 2 hands a controller down by the parent's word only.
static int hand_down(const char *dir, const char *controller)
{
	char text[32];

	snprintf(text, sizeof text, "+%s", controller);
	int r = write_text(dir, "cgroup.subtree_control", text);
	return r ? cannot(r, dir, "hand down a controller in") : 0;
}

static void remove_dir(const char *dir, int lock)
{
	cleanup_free char *parent = xstrndup(dir, (size_t)(strrchr(dir, '/') - dir));

	// what has been killed may take a moment to be gone
	for (int i = 0; rmdir(dir) && errno == EBUSY && i < 100; i++)
		usleep(10000);
	close(lock);
	if (rmdir(parent))
		debug("%s stays: %s", parent, strerror(errno));
}

static int open_dir(const char *dir, bool *ret_mine)
{
	cleanup_fd int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	*ret_mine = fd >= 0 && !flock(fd, LOCK_EX | LOCK_NB);
	return steal_fd(&fd);
}

// Groups whose makers are dead. One that is just being made has no lock yet, but is not empty of
// meaning: its maker makes it again when it is gone.
static void sweep(const char *parent)
{
	DIR *d = opendir(parent);
	struct dirent *e;

	while (d && (e = readdir(d))) {
		cleanup_free char *dir = xasprintf("%s/%s", parent, e->d_name);
		bool mine;

		if (e->d_type != DT_DIR || *e->d_name == '.')
			continue;
		int fd = open_dir(dir, &mine);
		if (mine && rmdir(dir))
			debug("%s stays: %s", dir, strerror(errno));
		if (fd >= 0)
			close(fd);
	}
	if (d)
		closedir(d);
}

static int make_dir(const char *top, const char *name, const char *controller, struct cgroup *c)
{
	cleanup_free char *parent = xasprintf("%s/" PARENT, top),
			  *dir = xasprintf("%s/%s", parent, name),
			  *procs = xasprintf("%s/cgroup.procs", dir);
	cleanup_fd int lock = -1;
	int r = 0;

	for (int tries = 0; tries < 100; tries++) {
		bool mine = false;
		struct stat there, st;

		if (mkdir(parent, 0755) && errno != EEXIST)
			return cannot(-errno, parent, "make");
		if (controller && (r = hand_down(parent, controller)) == -ENOENT)
			continue;
		if (r)
			return r;
		if (!tries)
			sweep(parent);
		if (mkdir(dir, 0755) && errno == ENOENT)
			continue;
		lock = open_dir(dir, &mine);
		// a sweeper may have been quicker
		if (lock >= 0 && mine && !fstat(lock, &st) && !stat(dir, &there) &&
			st.st_ino == there.st_ino)
			break;
		if (lock >= 0)
			close(steal_fd(&lock));
		usleep(1000);
	}
	if (lock < 0)
		return cannot(-EAGAIN, dir, "make");
	c->procs[c->n] = open(procs, O_WRONLY | O_CLOEXEC);
	if (c->procs[c->n] < 0) {
		r = -errno;
		remove_dir(dir, steal_fd(&lock));
		return cannot(r, procs, "open");
	}
	c->locks[c->n] = steal_fd(&lock);
	c->dirs[c->n++] = steal(&dir);
	return 0;
}

// The group of a controller: version 2's is one for all of them.
static int make_for(struct hierarchies *h, enum controller which, const char *name,
	struct cgroup *c, bool *ret_v2, const char **ret_dir)
{
	const char *controller = controllers[which];
	int r;

	*ret_v2 = h->v2 && v2_has(h->v2, controller);
	if (!*ret_v2 && !h->v1[which])
		return no_controller(controller);
	if (*ret_v2 && (r = hand_down(h->v2, controller)))
		return r;
	for (size_t i = 0; i < c->n; i++) {
		const char *top = *ret_v2 ? h->v2 : h->v1[which];
		size_t len = strlen(top);

		if (strncmp(c->dirs[i], top, len) || strncmp(c->dirs[i] + len, "/" PARENT "/", 12))
			continue;
		cleanup_free char *parent = xasprintf("%s/" PARENT, top);
		*ret_dir = c->dirs[i];
		return *ret_v2 ? hand_down(parent, controller) : 0;
	}
	r = make_dir(*ret_v2 ? h->v2 : h->v1[which], name, *ret_v2 ? controller : NULL, c);
	*ret_dir = r ? NULL : c->dirs[c->n - 1];
	return r;
}

// ---- limits ----

static int set(const char *dir, const char *file, const char *text)
{
	int r = write_text(dir, file, text);

	return r ? warn_errno(r, "cannot set '%s/%s' to %s", dir, file, text) : 0;
}

static int limit_memory(const char *dir, bool v2, uint64_t bytes)
{
	char text[32];
	int r;

	snprintf(text, sizeof text, "%ju", (uintmax_t)bytes);
	r = set(dir, v2 ? "memory.max" : "memory.limit_in_bytes", text);
	if (r)
		return r;
	if (!v2)
		snprintf(text, sizeof text, "%ju",
			(uintmax_t)(bytes > INT64_MAX / 2 ? INT64_MAX : 2 * bytes));
	// without an account of swap there is nothing to limit
	r = write_text(dir, v2 ? "memory.swap.max" : "memory.memsw.limit_in_bytes", text);
	if (r)
		debug("swap is not limited: %s", strerror(-r));
	return 0;
}

static int limit_cpu(const char *dir, bool v2, uint64_t quota)
{
	char text[48];
	int r;

	snprintf(text, sizeof text, "%ju %d", (uintmax_t)quota, CGROUP_CPU_PERIOD);
	if (v2)
		return set(dir, "cpu.max", text);
	snprintf(text, sizeof text, "%d", CGROUP_CPU_PERIOD);
	r = set(dir, "cpu.cfs_period_us", text);
	snprintf(text, sizeof text, "%ju", (uintmax_t)quota);
	return r ? r : set(dir, "cpu.cfs_quota_us", text);
}

// The init is fcpull's, not the container's.
static int limit_pids(const char *dir, bool v2, uint64_t n)
{
	char text[32];

	(void)v2;
	snprintf(text, sizeof text, "%ju", (uintmax_t)n + 1);
	return set(dir, "pids.max", text);
}

int cgroup_make(const char *name, const struct cgroup_limits *l, struct cgroup *ret)
{
	const struct {
		uint64_t limit;
		int (*set)(const char *dir, bool v2, uint64_t limit);
	} rows[CGROUP_MAX] = {
		[MEMORY] = { l->memory, limit_memory },
		[CPU] = { l->cpu_quota, limit_cpu },
		[PIDS] = { l->pids, limit_pids },
	};
	struct hierarchies h = { 0 };
	struct cgroup c = { 0 };
	int r = 0;

	mountinfo_each("self", note_mount, &h);
	find_place(&h);
	for (size_t i = 0; i < CGROUP_MAX && !r; i++) {
		const char *dir;
		bool v2;

		if (!rows[i].limit)
			continue;
		r = make_for(&h, (enum controller)i, name, &c, &v2, &dir);
		if (!r)
			r = rows[i].set(dir, v2, rows[i].limit);
	}
	hierarchies_fini(&h);
	if (r)
		cgroup_free(&c);
	else
		*ret = c;
	return r;
}

// Version 2's memory.events, or version 1's memory.oom_control (Linux 4.13), has a line of it.
uint64_t cgroup_oom_kills(const struct cgroup *c)
{
	static const char *const files[] = { "memory.events", "memory.oom_control" };
	uint64_t n = 0;

	for (size_t i = 0; i < c->n * ARRAY_LEN(files) && !n; i++) {
		cleanup_free char *path = xasprintf(
			"%s/%s", c->dirs[i / ARRAY_LEN(files)], files[i % ARRAY_LEN(files)]);
		char text[1024];
		const char *line;

		read_text_at(AT_FDCWD, path, text, sizeof text);
		line = strstr(text, "\noom_kill ");
		n = line ? strtoull(line + 10, NULL, 10) : 0;
	}
	return n;
}

void cgroup_free(struct cgroup *c)
{
	for (size_t i = 0; i < c->n; i++) {
		close(c->procs[i]);
		remove_dir(c->dirs[i], c->locks[i]);
		free(c->dirs[i]);
	}
	*c = (struct cgroup){ 0 };
}
