// test_fuselater.c - reads that are answered later: many at once, interrupted ones, and how a mount ends
// SPDX-License-Identifier: Apache-2.0
#include "fusemodel.h"

static long resident_kib(void)
{
	char line[256];
	long kib = 0;
	FILE *f = fopen("/proc/self/status", "r");

	while (fgets(line, sizeof line, f))
		if (sscanf(line, "VmRSS: %ld", &kib) == 1)
			break;
	fclose(f);
	return kib;
}

static void test_pending(void)
{
	static struct reader r[PENDING_FILES];
	long rss = resident_kib();

	start_readers(r, PENDING_FILES);
	ok(wait_held(PENDING_FILES), "%u reads wait at once: %zu", PENDING_FILES, held_now());
	printf("# resident: %ld KiB more\n", resident_kib() - rss);
	uint64_t t = now_ns();
	bool good = right("files/f6", O_DIRECT, 0, 4096, 4096) &&
		right("files/f8", 0, 1 << 20, 10000, 10000);
	t = now_ns() - t;
	ok(good && t < 200000000, "... and data that is here is read all the same, in %.1f ms",
		(double)t / 1e6);
	t = now_ns();
	struct stat st;
	good = lstat(at("dev/nothing-2"), &st) && errno == ENOENT;
	ok(good && now_ns() - t < 200000000, "... and names are found");
	for (unsigned i = 0; i < 100; i++) // read-ahead may have asked for more than the readers
		release(0), usleep(2000);
	unsigned n = join_readers(r, PENDING_FILES);
	ok(n == PENDING_FILES, "... and all get the right bytes, the last first: %u", n);
	printf("# resident: %ld KiB more\n", resident_kib() - rss);
}

static void test_threads(void)
{
	// a thread that waits for data is none of those that serve: so one is enough
	struct reader r[8];

	start_readers(r, 8);
	ok(wait_held(8), "8 reads wait");
	ok(right("files/f5", O_DIRECT, 0, 4096, 4096), "... and others are served");
	release(0);
	usleep(20000);
	release(0);
	ok(join_readers(r, 8) == 8, "... until they have their data");
}

// ---- signals ----
enum how { BY_DIRECT, BY_MMAP };

static void on_alarm(int sig)
{
	(void)sig;
}

// A child that reads the file of its own, synchronously; with `alarmed`, hit by a signal that it
// handles 50 ms later. 0: good.
static pid_t child(enum how how, const char *path, bool alarmed)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	struct sigaction sa = { .sa_handler = on_alarm, .sa_flags = SA_RESTART };
	sigaction(SIGALRM, &sa, NULL);
	if (alarmed)
		ualarm(50000, 0);
	int fd = open(at(path), O_RDONLY | (how == BY_DIRECT ? O_DIRECT : 0));
	uint8_t *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (how == BY_MMAP) {
		p = mmap(NULL, 4096, PROT_READ, MAP_SHARED, fd, 0);
		madvise(p, 4096, MADV_RANDOM);
	} else if (pread(fd, p, 4096, 0) != 4096) {
		_exit(errno);
	}
	struct stat st;
	fstat(fd, &st);
	const struct attr *a = &nodes[st.st_ino - 1].attr;
	_exit(p[77] == byte_at(a->space, a->block * 4096ull + 77) ? 0 : 255);
}

// -1 when it does not end within ms.
static int wait_ms(pid_t pid, int ms)
{
	int status;

	for (int i = 0; i < ms; i++) {
		if (waitpid(pid, &status, WNOHANG) == pid)
			return status;
		usleep(1000);
	}
	return -1;
}

static void test_signal(enum how how, const char *path)
{
	const char *what = how == BY_DIRECT ? "pread" : "page fault";
	pid_t pid = child(how, path, true);

	ok(wait_held(1) && wait_ms(pid, 400) == -1, "%s: a handled signal does not end the wait",
		what);
	release(0);
	ok(wait_ms(pid, 5000) == 0, "%s: ... nor spoil the result", what);
}

static void test_kill(enum how how, bool alarmed, const char *path)
{
	const char *what = how == BY_DIRECT ? "pread" : "page fault";
	pid_t pid = child(how, path, alarmed);

	ok(wait_held(1), "%s waits%s", what, alarmed ? ", a handled signal comes" : "");
	usleep(alarmed ? 300000 : 10000);
	kill(pid, SIGKILL);
	uint64_t t = now_ns();
	int status = wait_ms(pid, 5000);
	t = now_ns() - t;
	ok(status == SIGKILL && t < 1000000000, "%s: SIGKILL ends it in %.0f ms", what,
		(double)t / 1e6);
	release(0); // the engine comes too late, which nobody minds
	if (status == -1)
		wait_ms(pid, 5000);
	pid = child(how, path, false);
	ok(wait_held(1) || how == BY_MMAP, "%s: the next one asks again", what);
	release(0);
	ok(wait_ms(pid, 5000) == 0, "%s: ... and gets the data", what);
}

static void test_signals(void)
{
	test_signal(BY_DIRECT, "pending/p101");
	test_signal(BY_MMAP, "pending/p102");
	test_kill(BY_DIRECT, false, "pending/p103");
	test_kill(BY_MMAP, false, "pending/p104");
	test_kill(BY_DIRECT, true, "pending/p105");
	test_kill(BY_MMAP, true, "pending/p106");
}

// ---- ends ----
static void test_abort(void)
{
	struct reader r[20];

	if (!ok(start(2), "mount"))
		return;
	start_readers(r, 20);
	ok(wait_held(20), "20 reads wait");
	ok(umount2(root, 0) && errno == EBUSY, "umount is refused");
	ok(umount2(root, MNT_FORCE | MNT_DETACH) == 0, "umount -f -l is not");
	ok(join_readers(r, 20) == 0, "... the readers get errors");
	usleep(200000);
	ok(!server_ended, "... the server waits for the engine");
	release(0);
	ok(join() == 0, "... and ends without an error");
}

static void test_lazy_umount(void)
{
	struct reader r[20];

	if (!ok(start(2), "mount"))
		return;
	start_readers(r, 20);
	ok(wait_held(20), "20 reads wait");
	ok(umount2(root, MNT_DETACH) == 0, "umount -l");
	usleep(50000);
	ok(!server_ended, "... the server still serves");
	for (int i = 0; i < 20; i++)
		release(0), usleep(1000);
	ok(join_readers(r, 20) == 20, "... the readers get their data");
	ok(join() == 0, "... and the server ends with the last of them");
}

// A server dies with reads in its hands; another one goes on with the same descriptor.
static void test_takeover(void)
{
	struct reader r[20];

	if (!mkdtemp(memcpy(root, "/tmp/test_fuse.XXXXXX", 22)))
		return;
	struct fuse_mount_opts o = {
		.source = "x", .subtype = "fcpull", .suid = true, .dev = true
	};
	if (!ok(fuse_mount(root, &o, &served_fd) == 0, "mount"))
		return;
	pid_t pid = fork();
	if (pid == 0)
		_exit(treefs_serve((void *)nodes, served_fd, 3) != 0);
	start_readers(r, 20);
	usleep(200000);
	kill(pid, SIGKILL);
	waitpid(pid, NULL, 0);
	int e = fuse_resend(served_fd);
	if (e == -EINVAL) {
		skip("FUSE_NOTIFY_RESEND: needs Linux 6.9");
		umount2(root, MNT_FORCE | MNT_DETACH);
	}
	server_threads = 2;
	server_ended = false;
	pthread_create(&server, NULL, server_main, NULL);
	if (e == 0) {
		ok(wait_held(20), "a successor gets the 20 reads that the killed server had");
		for (int i = 0; i < 20; i++)
			release(0), usleep(1000);
		ok(join_readers(r, 20) == 20, "... and the readers get their data");
		ok(right("files/f3", 0, 0, 4096, 4096), "... and what is new is served");
		ok(list_big(&(unsigned){ 0 }), "... directories too");
		stop();
		return;
	}
	join_readers(r, 20);
	join();
}

static void test_waiting(unsigned threads)
{
	memset(counts, 0, sizeof counts);
	if (!ok(start(threads), "mount, %u threads", threads))
		return;
	test_pending();
	stop();
	if (!ok(start(threads), "mount again"))
		return;
	test_threads();
	test_signals();
	stop();
}

int main(void)
{
	make_tree();
	if (getuid() || access("/dev/fuse", R_OK | W_OK)) {
		skip("mounts: needs root and /dev/fuse");
	} else {
		test_waiting(1);
		test_waiting(4);
		test_abort();
		test_lazy_umount();
		test_takeover();
	}
	free((void *)(uintptr_t)some_xattrs[1].value);
	free(nodes);
	return tap_end();
}
