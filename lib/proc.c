// proc.c - what the kernel is told about this process, and what it says of others
// SPDX-License-Identifier: Apache-2.0
#include "proc.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include "log.h"

int proc_oom_score(int score)
{
	cleanup_fd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof text, "%d", score);

	if (fd >= 0 && write(fd, text, (size_t)n) == n)
		return 0;
	debug("oom_score_adj %d: %s", score, strerror(errno));
	return -EACCES;
}

int proc_spare(void)
{
	char text[16];
	int score;

	read_text_at(AT_FDCWD, "/proc/self/oom_score_adj", text, sizeof text);
	score = (int)strtol(text, NULL, 10);
	if (proc_oom_score(-1000) && score > 0 && proc_oom_score(0))
		debug("the OOM killer may take this process first");
	return score;
}

// Its own place in a hierarchy of control groups, if there is one at this directory.
static void enter_cgroup(const char *dir)
{
	cleanup_free char *own = xasprintf("%s/fcpull", dir),
			  *root = xasprintf("%s/cgroup.procs", dir),
			  *procs = xasprintf("%s/cgroup.procs", own);
	cleanup_fd int fd = -1;

	if (access(root, F_OK))
		return;
	if (mkdir(own, 0755) && errno != EEXIST) {
		debug("make %s: %s", own, strerror(errno));
		return;
	}
	fd = open(procs, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) < 0)
		debug("enter %s: %s", own, strerror(errno));
}

void proc_own_cgroup(void)
{
	static const char *const dirs[] = { "/sys/fs/cgroup", "/sys/fs/cgroup/unified",
		"/sys/fs/cgroup/systemd", "/sys/fs/cgroup/memory", "/sys/fs/cgroup/pids",
		"/sys/fs/cgroup/freezer" };

	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		enter_cgroup(dirs[i]);
}

// What stands behind the name in parentheses (proc(5)): state, parent, ... false: no such process.
static bool read_stat(pid_t pid, char text[static 512], const char **ret)
{
	char path[32];
	const char *paren;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	read_text_at(AT_FDCWD, path, text, 512);
	paren = strrchr(text, ')');
	if (!paren || paren[1] != ' ')
		return false;
	*ret = paren + 2;
	return true;
}

bool proc_is_zombie(pid_t pid)
{
	char text[512];
	const char *s;

	return read_stat(pid, text, &s) && *s == 'Z';
}

// Fields 4, the parent, and 22, the start.
static bool is_child(pid_t pid, pid_t parent, unsigned long long *ret_start)
{
	char text[512];
	const char *s;
	int ppid;

	return read_stat(pid, text, &s) &&
		sscanf(s,
			"%*c %d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d "
			"%*d %llu",
			&ppid, ret_start) == 2 &&
		ppid == parent;
}

pid_t proc_first_child(pid_t parent)
{
	unsigned long long first = ~0ull, start;
	DIR *d = opendir("/proc");
	struct dirent *e;
	pid_t found = 0;

	while (d && (e = readdir(d))) {
		pid_t pid = (pid_t)strtol(e->d_name, NULL, 10);

		if (pid > 0 && is_child(pid, parent, &start) && start < first) {
			first = start;
			found = pid;
		}
	}
	if (d)
		closedir(d);
	return found;
}
