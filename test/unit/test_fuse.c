// test_fuse.c - lib/fuse.c and lib/treefs.c: requests by hand, then a real mount of a made-up
// tree: what is there
// SPDX-License-Identifier: Apache-2.0
#include "fusemodel.h"

// ---- requests by hand ----
union message {
	struct fuse_in_header h;
	uint8_t b[FUSE_REQUEST_MAX];
	uint64_t align;
};

static void test_check(void)
{
	static const struct {
		const char *what, *body;
		uint32_t opcode;
		uint64_t node;
		size_t body_len;
		int result;
		size_t name_len;
	} cases[] = {
		{ "a name", "abc", FUSE_LOOKUP, 1, 4, 0, 3 },
		{ "a name of control bytes", "\1\xff\n", FUSE_LOOKUP, 1, 4, 0, 3 },
		{ "an empty name", "", FUSE_LOOKUP, 1, 1, -EINVAL, 0 },
		{ "no name", "", FUSE_LOOKUP, 1, 0, -EINVAL, 0 },
		{ "a name without its NUL", "abc", FUSE_LOOKUP, 1, 3, -EINVAL, 0 },
		{ "bytes after the name", "abc\0d", FUSE_LOOKUP, 1, 6, -EINVAL, 0 },
		{ "node 0", "abc", FUSE_LOOKUP, 0, 4, -ESTALE, 0 },
		{ "the last node", "abc", FUSE_LOOKUP, 10, 4, 0, 3 },
		{ "the node after the last", "abc", FUSE_LOOKUP, 11, 4, -ESTALE, 0 },
		{ "node 2^32 + 1", "abc", FUSE_LOOKUP, (1ull << 32) + 1, 4, -ESTALE, 0 },
		{ "GETATTR without its struct, as before 7.9", "", FUSE_GETATTR, 1, 0, 0, 0 },
		{ "READ of 39 bytes", "", FUSE_READ, 1, 39, -EINVAL, 0 },
		{ "READ", "", FUSE_READ, 1, 40, 0, 0 },
		{ "READ that is longer than known", "", FUSE_READ, 1, 48, 0, 0 },
		{ "GETXATTR", "\1\0\0\0\0\0\0\0x.y", FUSE_GETXATTR, 1, 12, 0, 3 },
		{ "GETXATTR without a name", "\1\0\0\0\0\0\0\0", FUSE_GETXATTR, 1, 8, -EINVAL, 0 },
		{ "GETXATTR that is cut short", "\1\0\0\0", FUSE_GETXATTR, 1, 4, -EINVAL, 0 },
		{ "INTERRUPT of no node", "12345678", FUSE_INTERRUPT, 0, 8, 0, 0 },
		{ "INTERRUPT that is cut short", "1234567", FUSE_INTERRUPT, 0, 7, -EINVAL, 0 },
		{ "INIT of 7.12", "", FUSE_INIT, 0, 16, 0, 0 },
		{ "INIT that is cut short", "", FUSE_INIT, 0, 15, -EINVAL, 0 },
		{ "opcode 7, which is none", "", 7, 1, 0, -ENOSYS, 0 },
		{ "opcode 53", "", 53, 1, 0, -ENOSYS, 0 },
		{ "opcode 2^32 - 1", "", UINT32_MAX, 1, 0, -ENOSYS, 0 },
	};
	union message m;
	struct fuse_request rq;

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		memset(&m, 0, sizeof m);
		size_t len = sizeof m.h + cases[i].body_len;
		m.h.len = (uint32_t)len;
		m.h.opcode = cases[i].opcode;
		m.h.nodeid = cases[i].node;
		m.h.unique = 77;
		if (cases[i].body[0])
			memcpy(m.b + sizeof m.h, cases[i].body, cases[i].body_len);
		int r = fuse_request_check(m.b, len, 10, &rq);
		ok(r == cases[i].result && (r || rq.name_len == cases[i].name_len) &&
				rq.unique == 77,
			"check: %s: %s", cases[i].what, strerror(-cases[i].result));
	}
}

static void test_check_header(void)
{
	union message m = { .h = { .len = sizeof m.h, .opcode = FUSE_GETATTR, .nodeid = 1 } };
	struct fuse_request rq;

	ok(fuse_request_check(&m, 0, 9, &rq) == -EBADMSG, "check: no bytes");
	ok(fuse_request_check(&m, 39, 9, &rq) == -EBADMSG, "check: a header cut short");
	ok(fuse_request_check(&m, 41, 9, &rq) == -EBADMSG,
		"check: more bytes than the header says");
	m.h.len = 41;
	ok(fuse_request_check(&m, 40, 9, &rq) == -EBADMSG,
		"check: fewer bytes than the header says");
	m.h.len = 40;
	memcpy((uint8_t *)&m.h + EXTLEN_AT, &(uint16_t){ 1 }, sizeof(uint16_t));
	ok(fuse_request_check(&m, 40, 9, &rq) == -EINVAL,
		"check: an extension longer than the message");
	m.h.len = 48;
	ok(fuse_request_check(&m, 48, 9, &rq) == 0, "check: an extension is left alone");

	m = (union message){ .h = { .len = 80, .opcode = FUSE_READ, .nodeid = 1 } };
	struct fuse_read_in *in = (void *)(m.b + sizeof m.h);
	in->size = FUSE_IO_MAX;
	ok(fuse_request_check(&m, 80, 9, &rq) == 0, "check: READ of FUSE_IO_MAX");
	in->size++;
	ok(fuse_request_check(&m, 80, 9, &rq) == -EINVAL, "check: READ of FUSE_IO_MAX + 1");

	memset(m.b + sizeof m.h, 'n', sizeof m.b - sizeof m.h);
	m.h = (struct fuse_in_header){
		.len = 40 + FUSE_NAME_LIMIT, .opcode = FUSE_LOOKUP, .nodeid = 1
	};
	m.b[m.h.len - 1] = 0;
	ok(fuse_request_check(&m, m.h.len, 9, &rq) == 0,
		"check: a name of FUSE_NAME_LIMIT - 1 bytes");
	m.b[m.h.len - 1] = 'n';
	m.b[m.h.len++] = 0;
	ok(fuse_request_check(&m, m.h.len, 9, &rq) == -ENAMETOOLONG,
		"check: a name of FUSE_NAME_LIMIT bytes");
}

// INIT as older and newer kernels send it, on a socket that keeps messages apart.
static void test_init_versions(void)
{
	static const struct {
		uint32_t major, minor;
		int error;
		uint32_t flags, got;
	} cases[] = {
		{ 7, 22, -EPROTO, UINT32_MAX, 0 },
		{ 6, 99, -EPROTO, UINT32_MAX, 0 },
		{ 7, 23, 0, FUSE_ASYNC_READ | FUSE_BIG_WRITES, FUSE_ASYNC_READ },
		{ 7, 31, 0, UINT32_MAX, WANTED },
		{ 7, 44, 0, UINT32_MAX, WANTED },
		{ 8, 1, 0, UINT32_MAX, 0 },
	};

	for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
		struct fuse_fs fs = { .nodes = 1 };
		struct fuse f = { .fs = &fs };
		struct fuse_init_in in = { .major = cases[i].major,
			.minor = cases[i].minor,
			.max_readahead = 1 << 30,
			.flags = cases[i].flags };
		struct fuse_request rq = { .arg = &in };
		uint8_t buf[256];
		struct fuse_reply rp = { .buf = buf, .room = sizeof buf };
		struct fuse_init_out out;
		int r = op_init(&f, &rq, &rp);

		memcpy(&out, buf, sizeof out);
		ok(r == cases[i].error && f.init_error == r &&
				(r ||
					(out.major == 7 && out.minor <= MINOR_KNOWN &&
						out.flags == cases[i].got &&
						out.max_readahead <= MAX_READAHEAD &&
						rp.len == 64)),
			"INIT of %u.%u: %s", cases[i].major, cases[i].minor, strerror(-r));
	}
}

static void test_interrupt_first(void)
{
	struct fuse_fs fs = { .nodes = 1 };
	struct fuse f;
	struct fuse_interrupt_in in = { .unique = 42 };
	struct fuse_request rq = { .unique = 43, .arg = &in };

	ok(fuse_init(&f, -1, &fs, 1) == 0 && fuse_interrupt(&f, &rq, NULL) == 0,
		"INTERRUPT before its request has a record");
	rq.unique = 42;
	struct fuse_later *l = fuse_later_new(&f, &rq);
	ok(l->interrupted && f.interrupted == 1, "... is remembered");
	l->answered = true; // there is nobody to answer
	fuse_later_end(l, 0, 0);
	ok(f.interrupted == 0 && f.in_use == 0, "... and forgotten with the record");
	l = fuse_later_new(&f, &rq);
	ok(!l->interrupted, "... and only once");
	l->answered = true;
	fuse_later_end(l, 0, 0);
	fuse_fini(&f);
}

// ---- metadata ----
static void compare_node(uint32_t i, const char *path)
{
	const struct attr *a = &nodes[i].attr;
	struct stat st;

	bool good = lstat(at(path), &st) == 0 && st.st_mode == a->mode && st.st_nlink == a->nlink &&
		st.st_uid == a->uid && st.st_gid == a->gid && st.st_size == (off_t)a->size &&
		st.st_mtim.tv_sec == a->mtime && st.st_mtim.tv_nsec == a->mtime_ns &&
		st.st_ino == i + 1 && st.st_blksize == 4096 &&
		st.st_rdev == makedev(a->rdev_major, a->rdev_minor) &&
		st.st_blocks ==
			(S_ISREG(a->mode) || S_ISDIR(a->mode)
					? (blkcnt_t)(a->size + 4095) / 4096 * 8
					: 0);
	if (!ok(good, "stat '%s'", path))
		printf("# mode %o nlink %lu uid %u gid %u size %lld mtime %lld.%ld ino %lu "
		       "rdev %lx blocks %lld\n",
			st.st_mode, (unsigned long)st.st_nlink, st.st_uid, st.st_gid,
			(long long)st.st_size, (long long)st.st_mtim.tv_sec, st.st_mtim.tv_nsec,
			(unsigned long)st.st_ino, (unsigned long)st.st_rdev,
			(long long)st.st_blocks);
}

static void test_stat(void)
{
	char path[600];

	compare_node(0, "");
	for (uint32_t i = 1; i < node_count; i++) {
		const struct node *dir = &nodes[nodes[i].parent];

		if (dir->count > 100)
			continue;
		snprintf(path, sizeof path, "%s/%s", dir->name, nodes[i].name);
		compare_node(i, path);
	}
	struct statfs fs;
	ok(statfs(root, &fs) == 0 && fs.f_blocks == (uint64_t)SPACES * SPACE_BLOCKS &&
			fs.f_bfree == 0 && fs.f_files == node_count && fs.f_ffree == 0 &&
			fs.f_bsize == 4096 && fs.f_namelen == 255,
		"statfs");
}

static void test_names(void)
{
	uint32_t dir = index_lookup(NULL, 0, "names", 5);
	unsigned good = 0;
	struct stat st;
	char path[300];

	for (uint32_t i = 0; i < nodes[dir].count; i++) {
		snprintf(path, sizeof path, "names/%s", nodes[nodes[dir].first + i].name);
		good += lstat(at(path), &st) == 0 && st.st_ino == nodes[dir].first + i + 1;
	}
	ok(good == nodes[dir].count, "names of any byte: %u of %u", good, nodes[dir].count);
	memset(path, 'a', 256);
	path[256] = 0;
	ok(lstat(at(path), &st) && errno == ENAMETOOLONG, "a name of 256 bytes");
}

static void test_links(void)
{
	char buf[5000];
	ssize_t n = readlink(at("links/l1"), buf, sizeof buf);

	ok(n == 11 && memcmp(buf, "../files/f3", 11) == 0, "readlink");
	n = readlink(at("links/l2"), buf, sizeof buf);
	ok(n == 4095 && buf[0] == 'y' && buf[4094] == 'y', "readlink of 4095 bytes");
	struct stat st;
	ok(stat(at("links/l1"), &st) == 0 && st.st_size == 4096, "stat through a link");
	unsigned before = requests();
	readlink(at("links/l1"), buf, sizeof buf);
	ok(requests() == before, "a second readlink makes no request");
}

static void test_directories(void)
{
	unsigned plus;
	uint64_t t = now_ns();

	ok(list_big(&plus), "a directory of %u entries", BIG);
	printf("# %.3f s, %u READDIR, %u of READDIRPLUS\n", (double)(now_ns() - t) / 1e9,
		counts[FUSE_READDIR], plus);
	unsigned before = requests();
	ok(list_big(&plus) && requests() == before, "... and again, without a request: %u",
		requests() - before);
	DIR *d = opendir(at("big"));
	long where = 0;
	char name[256] = "";
	for (int i = 0; i < 70000; i++) {
		if (i == 50000)
			where = telldir(d);
		struct dirent *e = readdir(d);
		if (e && i == 50000)
			snprintf(name, sizeof name, "%s", e->d_name);
	}
	seekdir(d, where);
	struct dirent *e = readdir(d);
	ok(e && strcmp(e->d_name, name) == 0, "seekdir finds '%s' again", name);
	closedir(d);
	d = opendir(at("empty"));
	int n = 0;
	while (readdir(d))
		n++;
	closedir(d);
	ok(n == 2, "an empty directory");
}

static void test_readdirplus_fills(void)
{
	struct stat st;
	struct dirent *e;
	DIR *d = opendir(at("names"));
	unsigned lookups = counts[FUSE_LOOKUP], getattrs = counts[FUSE_GETATTR], n = 0;

	while ((e = readdir(d)))
		n += fstatat(dirfd(d), e->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0;
	closedir(d);
	ok(n == 257 && counts[FUSE_LOOKUP] == lookups && counts[FUSE_GETATTR] - getattrs <= 2,
		"readdir brings the attributes: %u lookups, %u getattrs for %u entries",
		counts[FUSE_LOOKUP] - lookups, counts[FUSE_GETATTR] - getattrs, n);
}

static void test_caching(void)
{
	struct stat st;

	ok(lstat(at("files/nothing"), &st) && errno == ENOENT, "a missing name");
	lstat(at("files/f1"), &st);
	unsigned before = requests();
	ok(lstat(at("files/nothing"), &st) && errno == ENOENT && requests() == before,
		"... is asked for once");
	ok(lstat(at("files/f1"), &st) == 0 && requests() == before,
		"a second stat makes no request");
	ok(lstat(at("files/f1/x"), &st) && errno == ENOTDIR, "a path through a file");
	ok(counts[FUSE_OPEN] <= 1 && counts[FUSE_OPENDIR] <= 1 && counts[FUSE_OPCODES - 1] <= 1,
		"OPEN, OPENDIR and STATX are asked once at most");
}

static void test_xattrs(void)
{
	const char *f = at("xattrs");
	static char buf[70000];

	ok(getxattr(f, "user.t", NULL, 0) == 5, "getxattr tells the size");
	ok(getxattr(f, "user.t", buf, 4) == -1 && errno == ERANGE,
		"getxattr into too small a buffer");
	ok(getxattr(f, "user.t", buf, 5) == 5 && memcmp(buf, "value", 5) == 0, "getxattr");
	ok(getxattr(f, "user.empty", buf, 5) == 0, "getxattr of an empty value");
	ok(getxattr(f, "user.big", buf, sizeof buf) == 60000, "getxattr of 60000 bytes");
	ok(getxattr(f, "security.capability", buf, sizeof buf) == 20,
		"getxattr of security.capability");
	ok(getxattr(f, "user.no", buf, 5) == -1 && errno == ENODATA, "getxattr of a missing one");
	ok(getxattr(at("files/f1"), "user.t", buf, 5) == -1 && errno == ENODATA,
		"getxattr where there is none");
	ok(listxattr(f, NULL, 0) == 47, "listxattr tells the size");
	ok(listxattr(f, buf, 46) == -1 && errno == ERANGE, "listxattr into too small a buffer");
	ok(listxattr(f, buf, 100) == 47 && strcmp(buf + 20, "user.big") == 0, "listxattr");
	ok(listxattr(at("files/f1"), buf, 100) == 0, "listxattr where there is none");
}

static void test_read_only(void)
{
	int fd = open(at("files/f3"), O_RDWR);

	ok(fd < 0 && errno == EROFS, "open for writing");
	ok(mkdir(at("files/new"), 0755) && errno == EROFS, "mkdir");
	ok(unlink(at("files/f1")) && errno == EROFS, "unlink");
	ok(chmod(at("files/f1"), 0) && errno == EROFS, "chmod");
	ok(setxattr(at("xattrs"), "user.t", "", 0, 0) && errno == EROFS, "setxattr");
}

static void test_permissions(void)
{
	pid_t pid = fork();
	int status;

	if (pid == 0) {
		if (setgid(65534) || setuid(65534))
			_exit(9);
		struct stat st;
		_exit(open(at("private"), O_RDONLY) < 0 && errno == EACCES &&
					stat(at("files/f1"), &st) == 0
				? 0
				: 1);
	}
	waitpid(pid, &status, 0);
	ok(status == 0, "another user sees the tree, but not into a file of mode 600");
}

static void test_mounts_line(void)
{
	char line[1024];
	bool found = false;
	FILE *f = fopen("/proc/self/mounts", "r");

	while (fgets(line, sizeof line, f))
		if (strstr(line, root))
			found = strstr(line, "registry.example/a,b:c ") == line &&
				strstr(line, " fuse.fcpull ro,nosuid,nodev,") &&
				strstr(line, "max_read=262144") && strstr(line, "allow_other") &&
				strstr(line, "default_permissions");
	fclose(f);
	ok(found, "/proc/self/mounts");
}

// ---- data ----
static void test_read(void)
{
	char path[32];

	for (unsigned i = 0; i + 1 < ARRAY_LEN(sizes); i++) {
		snprintf(path, sizeof path, "files/f%u", i);
		ok(right(path, 0, 0, sizes[i] + 5000, sizes[i]), "read all %llu bytes",
			(unsigned long long)sizes[i]);
		ok(right(path, 0, sizes[i], 100, 0) && right(path, 0, sizes[i] + 999999, 100, 0),
			"... at the end and after it");
	}
	ok(right("files/f7", 0, 4999000, 9000, 1011), "read across the end");
	ok(right("files/f8", 0, 2147483000, 9000, 648), "read at the end of 2 GiB");
	ok(right("files/f7", O_DIRECT, 4096, 1 << 20, 1 << 20), "read with O_DIRECT");
	unsigned before = requests();
	ok(right("files/f7", 0, 0, 5000011, 5000011) && requests() == before,
		"a second read makes no request: %u", requests() - before);
	ok(right("files/hasty", 0, 0, 300000, 300000),
		"read that is done before lazy_read returns");
	ok(!right("files/failing", 0, 0, 10, 10) && errno == EIO, "a failing engine is EIO");
	ok(!right("files/refused", 0, 0, 10, 10) && errno == EIO, "a refusing engine is EIO");
}

static void test_no_xattrs(void)
{
	char buf[10];

	hide_xattrs = true;
	if (!ok(start(1), "mount of a tree without xattrs"))
		return;
	ok(getxattr(at("xattrs"), "user.t", buf, 5) == -1 && errno == EOPNOTSUPP,
		"getxattr is not supported");
	getxattr(at("files/f1"), "user.t", buf, 5);
	listxattr(at("files/f1"), buf, 5);
	listxattr(at("files/f2"), buf, 5);
	ok(counts[FUSE_GETXATTR] == 1 && counts[FUSE_LISTXATTR] == 1, "... and asked for once");
	stop();
	hide_xattrs = false;
}

static void test_tree(unsigned threads)
{
	memset(counts, 0, sizeof counts);
	if (!ok(start(threads), "mount, %u threads", threads))
		return;
	test_mounts_line();
	test_stat();
	test_names();
	test_links();
	test_directories();
	test_caching();
	test_xattrs();
	test_read_only();
	test_permissions();
	test_read();
	stop();
	if (!ok(start(threads), "mount again"))
		return;
	test_readdirplus_fills();
	stop();
}

static void test_missing(void)
{
	struct fuse_mount_opts o = { .source = "x", .subtype = "fcpull" };
	int fd;

	log_level = LOG_QUIET;
	ok(fuse_mount("/nonexistent/dir", &o, &fd) == -ENOENT, "mount on a missing directory");
	ok(fuse_mount("/dev/null", &o, &fd) == -ENOTDIR, "mount on a file");
	log_level = LOG_WARN;
}

int main(void)
{
	make_tree();
	test_check();
	test_check_header();
	log_level = LOG_QUIET;
	test_init_versions();
	log_level = LOG_WARN;
	test_interrupt_first();
	test_missing();
	if (getuid() || access("/dev/fuse", R_OK | W_OK)) {
		skip("mounts: needs root and /dev/fuse");
	} else {
		test_tree(1);
		test_tree(4);
		memset(counts, 0, sizeof counts);
		test_no_xattrs();
	}
	free((void *)(uintptr_t)some_xattrs[1].value);
	free(nodes);
	return tap_end();
}
