// test_tarforeign.c - the tar reader on what GNU tar and Python write, and on test/bad
// SPDX-License-Identifier: Apache-2.0
#include "tarmodel.h"

// ---- other people's archives ----

static char *dir; // a scratch directory

static struct stream *open_file(const char *path, int *ret_fd)
{
	struct stat st;

	*ret_fd = open(path, O_RDONLY | O_CLOEXEC);
	return *ret_fd < 0 || fstat(*ret_fd, &st) ? NULL
						  : stream_of_fd(*ret_fd, 0, (uint64_t)st.st_size);
}

printf_like(1, 2) static bool run(const char *fmt, ...)
{
	va_list ap;
	char cmd[4096];

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	FILE *p = popen(cmd, "re");

	return p && pclose(p) == 0;
}

// An entry against the file it was made from.
static bool same_as_disk(struct tar *t, const struct tar_entry *e, bool ns, const char *root)
{
	cleanup_free char *path = xasprintf("%s/%s", root, e->path), *link = NULL;
	struct stat st;
	char target[5000];
	int r;

	if (lstat(path, &st))
		return false;
	if ((st.st_mode & 07777) != e->mode || st.st_uid != e->uid || st.st_mtime != e->mtime ||
		(ns && st.st_mtim.tv_nsec != e->mtime_ns))
		return false;
	switch (e->type) {
	case TAR_FILE: {
		char sum[65];
		char *bytes;
		size_t n;

		snprintf(sum, sizeof sum, "%s", data_text(t, &r));
		if (r || read_file_at(AT_FDCWD, path, 1u << 30, &bytes, &n) || n != e->size)
			return false;
		struct digest d = sha256_of(bytes, n);
		char hex[65];

		free(bytes);
		return !strncmp(digest_hex(&d, hex), sum, 8);
	}
	case TAR_SYMLINK:
		return readlink(path, target, sizeof target) == (ssize_t)e->link_len &&
			!memcmp(target, e->link, e->link_len);
	case TAR_HARDLINK: {
		struct stat other;

		link = xasprintf("%s/%s", root, e->link);
		return !lstat(link, &other) && other.st_ino == st.st_ino;
	}
	case TAR_DIR: return S_ISDIR(st.st_mode);
	case TAR_FIFO: return S_ISFIFO(st.st_mode);
	case TAR_CHR: return S_ISCHR(st.st_mode) && major(st.st_rdev) == e->rdev_major;
	default: return false;
	}
}

// Every entry of the archive is as on disk; how many there are, 0 if one is not.
static unsigned compare(const char *archive, bool ns, const char *root, unsigned *ret_xattrs)
{
	int fd;
	struct stream *in = open_file(archive, &fd);
	struct tar *t = tar_open(in, archive);
	struct tar_entry e;
	unsigned n = 0;
	int r;

	*ret_xattrs = 0;
	while ((r = tar_next(t, &e)) > 0) {
		*ret_xattrs += (unsigned)e.n_xattrs;
		n++;
		if (same_as_disk(t, &e, ns, root))
			continue;
		printf("# %s: %s differs\n", archive, log_quote_n(e.path, e.path_len));
		r = -1;
		break;
	}
	tar_close(t);
	stream_close(in);
	close(fd);
	return r ? 0 : n;
}

static void make_tree(void)
{
	char part[200];

	memset(part, 'n', sizeof part - 1);
	part[sizeof part - 1] = 0;
	bool good = run(
		"cd %s && mkdir t && cd t && mkdir -p a/b %s/%s %s/%s && echo hi >a/b/f && ln a/b/f hard &&"
		" ln -s a/b/f soft && ln -s %s%s longlink && echo x >%s/%s/deep && mkfifo fifo && chmod 1777 a &&"
		" printf y >'odd\n\\name \377' && touch -d '1969-12-31 23:59:58.25 UTC' old && : >empty &&"
		" printf 0123456789 >%s && head -c 100000 /dev/urandom >big && chmod 4755 big &&"
		" ln %s/%s/deep %s/hardlong",
		dir, part, part, "p", part, part, part, part, part,
		"d100_345678901234567890123456789012345678901234"
		"567890123456789012345678901234567890123456789012345",
		part, part, part);

	good &= run(
		"cd %s/t && for i in 0 1 2 3 4 5 6 7 8 9; do printf data$i | dd of=holes bs=1 seek=$((i * 70000))"
		" conv=notrunc 2>/dev/null; done && truncate -s 900001 holes && truncate -s 5000000 hole",
		dir);
	ok(good, "makes a tree");
	if (geteuid() == 0)
		ok(run("mknod %s/t/null c 1 3", dir), "makes a device");
	else
		skip("no device: not root");
}

static void test_gnu_tar(void)
{
	static const struct {
		const char *format, *options;
		bool ns;
	} t[] = {
		{ "gnu", "", false },
		{ "gnu", "-S", false },
		{ "oldgnu", "-S", false },
		{ "pax", "", true },
		{ "posix", "-S --sparse-version=0.0", true },
		{ "posix", "-S --sparse-version=0.1", true },
		{ "posix", "-S --sparse-version=1.0", true },
		{ "ustar", "--exclude=nn* --exclude=p --exclude=longlink --exclude=old", false },
		{ "v7", "--exclude=nn* --exclude=p --exclude=longlink --exclude=old --exclude=null --exclude=fifo --exclude=d100*",
			false },
	};
	unsigned xattrs;

	for (size_t i = 0; i < ARRAY_LEN(t); i++) {
		if (!run("tar --format=%s %s -cf %s/a.tar -C %s/t . 2>/dev/null", t[i].format,
			    t[i].options, dir, dir)) {
			skip("GNU tar --format=%s %s does not run here", t[i].format, t[i].options);
			continue;
		}
		cleanup_free char *archive = xasprintf("%s/a.tar", dir),
				  *root = xasprintf("%s/t", dir);
		unsigned n = compare(archive, t[i].ns, root, &xattrs);

		ok(n > 10, "GNU tar --format=%s %s: %u entries as on disk", t[i].format,
			t[i].options, n);
	}
	cleanup_free char *file = xasprintf("%s/t/a/b/f", dir),
			  *archive = xasprintf("%s/a.tar", dir);
	cleanup_free char *root = xasprintf("%s/t", dir);

	if (setxattr(file, "user.fc", "va\0l", 4, 0) ||
		!run("tar --format=posix --xattrs -cf %s -C %s . 2>/dev/null", archive, root)) {
		skip("GNU tar --xattrs: no user xattrs on this file system");
		return;
	}
	unsigned n = compare(archive, true, root, &xattrs);

	ok(n > 10 && xattrs == 1, "GNU tar --xattrs: %u entries as on disk, %u xattr", n, xattrs);
}

// Sizes that need more than octal: 8 GiB of a hole, as GNU and pax store it, whole.
static void test_huge(void)
{
	static const uint64_t sizes[] = { 077777777777, 0100000000000, 0x7fffffffffffffff };
	struct buf a = { 0 };

	for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
		cleanup_buf struct buf out = { 0 };
		cleanup_free char *want = xasprintf(" %" PRIu64 " -", sizes[i]);
		cleanup_free char *value = xasprintf("%" PRIu64, sizes[i]);

		for (int pax = 0; pax < 2; pax++) {
			a.len = out.len = 0;
			if (pax)
				add_pax(&a, 'x', "size", value, strlen(value));
			size_t at = add_head(&a, '0', "f", 0);
			uint64_t be = __builtin_bswap64(sizes[i]);

			if (!pax) {
				memcpy(a.data + at + SIZE, "\x80\0\0\0", 4);
				memcpy(a.data + at + SIZE + 4, &be, 8);
				mend_sum(a.data + at);
			}
			struct stream *in = stream_of_mem(a.data, a.len);

			said_begin();
			int r = list(in, false, &out);

			ok(r == -EBADMSG && strstr(said_end(), "in its data") &&
					strstr(buf_str(&out), want),
				"a size of %" PRIu64 " by %s", sizes[i], pax ? "pax" : "base-256");
			said_end();
			stream_close(in);
		}
	}
	buf_fini(&a);
}

// Python writes an archive and, to the side, what it should list as.
static const char python[] =
	"import hashlib, io, sys, tarfile\n"
	"T = tarfile\n"
	"fmt = {'ustar': T.USTAR_FORMAT, 'gnu': T.GNU_FORMAT, 'pax': T.PAX_FORMAT}[sys.argv[1]]\n"
	"pax = fmt == T.PAX_FORMAT\n"
	"kinds = {T.REGTYPE: 'f', T.DIRTYPE: 'd', T.SYMTYPE: 'l', T.LNKTYPE: 'h', T.CHRTYPE: 'c', T.BLKTYPE: 'b', T.FIFOTYPE: 'p'}\n"
	"t = T.open(sys.argv[2], 'w', format=fmt, pax_headers={'comment': 'global'} if pax else None)\n"
	"out = open(sys.argv[3], 'wb')\n"
	"def add(name, type=T.REGTYPE, data=b'', link='', dev=(0, 0), mtime=(7, 0), xattrs={}, **kw):\n"
	"    i = T.TarInfo(name)\n"
	"    i.type, i.size, i.linkname, (i.devmajor, i.devminor) = type, len(data), link, dev\n"
	"    i.mtime = mtime[0]\n"
	"    for k, v in kw.items(): setattr(i, k, v)\n"
	"    if pax:\n"
	"        i.pax_headers = {'SCHILY.xattr.' + k: v for k, v in xattrs.items()}\n"
	"        if mtime[1]: i.pax_headers['mtime'] = '%d.%09d' % mtime\n"
	"    t.addfile(i, io.BytesIO(data))\n"
	"    s = '%s %s %o %d:%d %d.%09d' % (kinds[type], name, i.mode, i.uid, i.gid, mtime[0], mtime[1] if pax else 0)\n"
	"    if type == T.REGTYPE: s += ' %d %s' % (len(data), hashlib.sha256(data).hexdigest()[:8])\n"
	"    if link: s += ' -> ' + link\n"
	"    if type in (T.CHRTYPE, T.BLKTYPE): s += ' %d,%d' % dev\n"
	"    if pax: s += ''.join(' %s=%s' % x for x in xattrs.items())\n"
	"    out.write(s.encode('utf-8', 'surrogateescape') + b'\\n')\n"
	"add('dir', T.DIRTYPE, mode=0o755)\n"
	"for n in (0, 1, 511, 512, 513, 70000, 131072, 400000): add('dir/%d' % n, data=bytes(i * i % 251 for i in range(n)))\n"
	"add('link', T.SYMTYPE, link='../../x')\n"
	"add('hard', T.LNKTYPE, link='dir/1')\n"
	"add('chr', T.CHRTYPE, dev=(5, 1)); add('blk', T.BLKTYPE, dev=(259, 1048575 if pax or fmt == T.GNU_FORMAT else 7))\n"
	"add('pipe', T.FIFOTYPE)\n"
	"add('x' * 99); add('y' * 100); add('d/' * 60 + 'e' * 80); add('time', mtime=(1600000000, 123456789))\n"
	"add('xa', xattrs={'user.k': 'v', 'security.capability': 'abc'})\n"
	"if fmt != T.USTAR_FORMAT:\n"
	"    add('z' * 255); add('w' * 255 + '/' + 'v' * 255, data=b'q'); add('ll', T.SYMTYPE, link='t' * 3000)\n"
	"    add('hl', T.LNKTYPE, link='w' * 255 + '/' + 'v' * 255)\n"
	"    add('ids', uid=3000000, gid=4294967295); add('past', mtime=(-5, 0)); add('sch\\u00f6n\\u4e2d')\n"
	"t.close(); out.close()\n";

static void test_python(void)
{
	static const char *const formats[] = { "ustar", "gnu", "pax" };
	cleanup_free char *script = xasprintf("%s/make.py", dir),
			  *archive = xasprintf("%s/p.tar", dir);
	cleanup_free char *want_path = xasprintf("%s/want", dir);

	if (write_file_at(AT_FDCWD, script, python, sizeof python - 1, 0644))
		abort();
	for (size_t i = 0; i < ARRAY_LEN(formats); i++) {
		cleanup_buf struct buf out = { 0 };
		cleanup_free char *want = NULL;
		size_t n;
		int fd;

		if (!run("python3 %s %s %s %s", script, formats[i], archive, want_path)) {
			skip("python3's tarfile does not run here");
			continue;
		}
		struct stream *in = open_file(archive, &fd);

		read_size = i ? 200000 : 1;
		int r = list(in, true, &out);

		read_size = 3000;
		if (read_file_at(AT_FDCWD, want_path, 1u << 20, &want, &n))
			abort();
		if (!ok(!r && !strcmp(buf_str(&out), want), "Python tarfile, %s", formats[i]))
			printf("# %d: got\n%s# want\n%s", r, buf_str(&out), want);
		stream_close(in);
		close(fd);
	}
}

// Reads a layer as convert does. The error.
static int read_layer(const char *path, const char *name)
{
	cleanup_buf struct buf out = { 0 };
	struct stream *in;
	int fd, r = inflate_open(open_file(path, &fd), name, &in);

	if (!r) {
		r = list(in, true, &out);
		stream_close(in);
	}
	close(fd);
	return r;
}

// The bad layers of test/bad/make.py, which says the words each must be refused with.
static void test_bad_layers(void)
{
	cleanup_free char *list_path = xasprintf("%s/bad/expect", dir), *expect = NULL;
	size_t n;

	if (access("test/bad/make.py", R_OK) || !run("python3 test/bad/make.py %s/bad", dir)) {
		skip("test/bad/make.py does not run here");
		return;
	}
	if (read_file_at(AT_FDCWD, list_path, 1u << 20, &expect, &n))
		abort();
	for (char *line = expect, *next; *line; line = next) {
		char *end = strchr(line, '\n'), *tab = strchr(line, '\t');

		next = end + 1;
		*end = *tab = 0;
		cleanup_free char *path = xasprintf("%s/bad/%s", dir, line);

		said_begin();
		int r = read_layer(path, line);
		const char *said = said_end();

		if (!ok(r == -EBADMSG && strstr(said, tab + 1), "bad/%s", line))
			printf("# %d: %s", r, said);
	}
}

int main(void)
{
	char scratch[] = "/tmp/test_tarforeign.XXXXXX";

	test_huge();
	dir = mkdtemp(scratch);
	if (!dir)
		abort();
	make_tree();
	test_gnu_tar();
	test_python();
	test_bad_layers();
	if (remove_tree_at(AT_FDCWD, dir))
		abort();
	return tap_end();
}
