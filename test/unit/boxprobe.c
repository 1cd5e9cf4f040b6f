// boxprobe.c - what a hostile process in a container would try; prints each outcome, for
// test/box.test
// SPDX-License-Identifier: Apache-2.0
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/audit.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/ptrace.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void tell(const char *what, long r)
{
	printf("%s %s\n", what, r < 0 ? strerror(errno) : "WORKED");
}

static void calls(void)
{
	char c = 'x';
	struct {
		unsigned bytes;
		int type;
		char f[128];
	} handle = { .bytes = 8, .type = 1 };

	tell("mount", syscall(SYS_mount, "t", "/tmp", "tmpfs", 0, 0));
	tell("umount", syscall(SYS_umount2, "/proc", 0));
	tell("pivot_root", syscall(SYS_pivot_root, ".", "."));
	tell("open_tree", syscall(428, AT_FDCWD, "/", 1));
	tell("fsopen", syscall(430, "tmpfs", 0));
	tell("open_tree_attr", syscall(467, AT_FDCWD, "/", 1, 0, 0));
	tell("unshare", syscall(SYS_unshare, CLONE_NEWUSER));
	tell("setns", syscall(SYS_setns, 0, 0));
	tell("clone", syscall(SYS_clone, CLONE_NEWUSER | SIGCHLD, 0, 0, 0, 0));
	tell("clone3", syscall(435, &handle, 64));
	tell("keyctl", syscall(SYS_keyctl, 0, -3, 0));
	tell("add_key", syscall(SYS_add_key, "user", "n", "v", 1, -3));
	tell("io_uring", syscall(425, 1, &handle));
	tell("bpf", syscall(SYS_bpf, 0, &handle, sizeof handle));
	tell("perf", syscall(SYS_perf_event_open, &handle, 0, -1, -1, 0));
	tell("userfaultfd", syscall(SYS_userfaultfd, 0));
	tell("handle", syscall(SYS_open_by_handle_at, AT_FDCWD, &handle, O_RDONLY));
	tell("ptrace-init", ptrace(PTRACE_ATTACH, 1, 0, 0));

	tell("tiocsti", ioctl(0, TIOCSTI, &c));
	tell("tioclinux", ioctl(0, TIOCLINUX, &c));
	tell("vsock", socket(40, SOCK_STREAM, 0));
	tell("alg", socket(38, SOCK_SEQPACKET, 0));
	tell("audit", socket(AF_NETLINK, SOCK_RAW, 9));
	tell("packet", socket(AF_PACKET, SOCK_RAW, 0));
	tell("mknod", mknod("/tmp/mem", S_IFCHR | 0600, makedev(1, 1)));
	tell("personality", syscall(SYS_personality, 0x0040000));
	tell("future", syscall(470, 0, 0, 0, 0));
	tell("swapoff", syscall(SYS_swapoff, "/x"));
	tell("sethostname", sethostname("x", 1));
#ifdef __x86_64__
	tell("x32", syscall(0x40000000 + SYS_getpid));
	tell("iopl", syscall(SYS_iopl, 3));
#endif
}

// What must still work.
static void works(void)
{
	int status;
	pid_t p = fork();

	if (p == 0) {
		ptrace(PTRACE_TRACEME, 0, 0, 0);
		_exit(0);
	}
	waitpid(p, &status, 0);
	printf("fork %d\n", WEXITSTATUS(status));
	printf("netlink %d\n", socket(AF_NETLINK, SOCK_RAW, 0) >= 0);
	printf("personality %lx\n", syscall(SYS_personality, 0xffffffff));
	printf("chown %d\n", open("/f", O_CREAT | O_RDWR, 0600) >= 0 && chown("/f", 12, 34) == 0);
	printf("chroot %d\n", chroot("/tmp"));
}

// The way out of a chroot, with CAP_SYS_CHROOT: from above the root, if there is an above.
static void escape(void)
{
	int fd = open("/", O_DIRECTORY);

	mkdir("/jail", 0755);
	if (chroot("/jail") || fchdir(fd))
		printf("no chroot\n");
	for (int i = 0; i < 64; i++)
		if (chdir(".."))
			break;
	printf("above: %s\n",
		access("bin/probe", F_OK) == 0 && access("proc/1", F_OK) == 0 ? "own root"
									      : "ESCAPED");
}

static void overwrite(const char *path)
{
	int fd = open(path, O_WRONLY);
	struct stat st;

	tell("open", fd);
	if (fd >= 0)
		tell("write", write(fd, "#!/bin/evil", 11));
	fd = open(path, O_RDONLY);
	printf("is %s\n", fd >= 0 && fstat(fd, &st) == 0 && st.st_nlink == 0 ? "memory" : "a file");
	tell("init's", open("/proc/1/exe", O_RDONLY));
}

static void fds(void)
{
	DIR *d = opendir("/proc/self/fd");

	for (struct dirent *e; d && (e = readdir(d));)
		if (e->d_name[0] != '.' && atoi(e->d_name) != dirfd(d))
			printf("%s ", e->d_name);
	printf("\n");
}

int main(int argc, char **argv)
{
	const char *verb = argc > 1 ? argv[1] : "";

	setvbuf(stdout, NULL, _IONBF, 0);
	if (strcmp(verb, "calls") == 0)
		calls();
	else if (strcmp(verb, "works") == 0)
		works();
	else if (strcmp(verb, "escape") == 0)
		escape();
	else if (strcmp(verb, "overwrite") == 0)
		overwrite(argv[2]);
	else if (strcmp(verb, "fds") == 0)
		fds();
#ifdef __x86_64__
	else if (strcmp(verb, "int80") == 0)
		__asm__ volatile("int $0x80" : : "a"(20));
#endif
	return 0;
}
