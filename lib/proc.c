// proc.c - what the kernel is told about this process, and what it says of others
// SPDX-License-Identifier: Apache-2.0
#include "proc.h"

#include <fcntl.h>
#include <sys/stat.h>

#include "log.h"

void proc_oom_score(int score)
{
	cleanup_fd int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);
	char text[16];
	int n = snprintf(text, sizeof text, "%d", score);

	if (fd < 0 || write(fd, text, (size_t)n) < 0)
		debug("oom_score_adj %d: %s", score, strerror(errno));
}

int proc_spare(void)
{
	cleanup_fd int fd = open("/proc/self/oom_score_adj", O_RDONLY | O_CLOEXEC);
	char text[16] = "0";

	if (fd >= 0 && read(fd, text, sizeof text - 1) < 0)
		text[0] = '0';
	proc_oom_score(-1000);
	return (int)strtol(text, NULL, 10);
}

void proc_own_cgroup(void)
{
	cleanup_fd int fd = -1;

	if (access("/sys/fs/cgroup/cgroup.controllers", F_OK))
		return;
	if (mkdir("/sys/fs/cgroup/fcpull", 0755) && errno != EEXIST)
		return;
	fd = open("/sys/fs/cgroup/fcpull/cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, "0", 1) < 0)
		debug("own cgroup: %s", strerror(errno));
}

// The state is the letter behind the name in parentheses (proc(5)).
bool proc_is_zombie(pid_t pid)
{
	char path[32], text[128] = "";
	const char *paren;

	snprintf(path, sizeof path, "/proc/%d/stat", (int)pid);
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || read(fd, text, sizeof text - 1) <= 0)
		return false;
	paren = strrchr(text, ')');
	return paren && paren[1] == ' ' && paren[2] == 'Z';
}
