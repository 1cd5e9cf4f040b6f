// erofsmnt.c - mounts EROFS images that are files
//
// File-backed: fsopen("erofs") with a regular file as its source (Linux 6.12,
// CONFIG_EROFS_FS_BACKED_BY_FILE). Metadata goes through the page cache of that file; files' data
// and directories' blocks too, and are cached twice, unless the option directio is given. Loop: one read-only loop
// device for each file, which goes away by itself when the mount does (autoclear).
//
// Descriptors are named as /proc/self/fd/N: the kernel takes only paths, 255 bytes long, and keeps
// the open file, not the path.
// SPDX-License-Identifier: Apache-2.0
#include "erofsmnt.h"

#include <dirent.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>

#include "log.h"
#include "mnt.h"

#define LOOP_TRIES 64 // another process may be faster with the device that was free
#define LOOPS_MAX 513 // a file for the metadata and one for each space
#define BDI_DIR "/sys/class/bdi"
#define LOOP_CONTROL makedev(10, 237) // LOOP_CTRL_MINOR of <linux/miscdevice.h>

// Of the mount, in KiB, when all is local: 1.3 GB/s by 128, 2.1 by 1024.
#define READAHEAD_LOCAL_KB 1024

#ifndef LOOP_CONFIGURE
#error "needs the kernel headers of Linux 5.8 or later"
#endif

// ---- gates ----

struct version {
	unsigned major, minor, patch;
};

// A fix: the first release of each series that has it. Series before the first do not, those after
// the last do; neither do the series between that are not named, which were dead by then.
#define SERIES_MAX 4
struct fix {
	struct version since[SERIES_MAX];
};

// Multi-device images: dfeab2e95a75 "erofs: add multiple device support".
static const struct fix fix_erofs = { { { 5, 16, 0 } } };

// File-backed mounts came with fb176750266a in 6.12. On FUSE they dereference NULL without
// 3a23787ca875 "erofs: fix file-backed mounts over FUSE" (CVE-2024-53235; 6.13, 6.12.2); direct I/O
// was the default, so that the next one applied to all, until 6422cde1b0d5 "erofs: use buffered I/O
// for file-backed mounts by default" (6.13, and 6.12.y of the end of December 2024: 6.12.7 or so;
// 6.12.10 is surely later).
static const struct fix fix_file = { { { 6, 12, 10 }, { 6, 13, 0 } } };

// 1caf50ce4af0 "erofs: fix UAF issue for file-backed mounts w/ directio option" (CVE-2026-23224),
// of February 2026.
static const struct fix fix_directio = { { { 6, 12, 72 }, { 6, 18, 11 }, { 6, 19, 1 },
	{ 7, 0, 0 } } };

static bool same_series(const struct version *a, const struct version *b)
{
	return a->major == b->major && a->minor == b->minor;
}

static bool has_fix(const struct version *v, const struct fix *f)
{
	const struct version *last = &f->since[0];

	for (size_t i = 0; i < SERIES_MAX && f->since[i].major; i++) {
		last = &f->since[i];
		if (same_series(v, last))
			return v->patch >= last->patch;
	}
	return v->major > last->major || (v->major == last->major && v->minor > last->minor);
}

struct erofs_gates erofs_gates_of(const char *release)
{
	struct version v = { 0 };

	// what cannot be read counts as old
	if (sscanf(release, "%u.%u.%u", &v.major, &v.minor, &v.patch) < 2)
		v.major = 0;
	return (struct erofs_gates){
		.erofs = has_fix(&v, &fix_erofs),
		.file = has_fix(&v, &fix_file),
		.directio = has_fix(&v, &fix_directio),
	};
}

static struct erofs_gates gates_here(struct utsname *ret_name)
{
	if (uname(ret_name))
		snprintf(ret_name->release, sizeof ret_name->release, "unknown");
	return erofs_gates_of(ret_name->release);
}

// EROFS has no FS_USERNS_MOUNT.
static bool in_first_user_ns(void)
{
	const ino_t first = 0xEFFFFFFDu; // PROC_USER_INIT_INO, include/linux/proc_ns.h
	struct stat st;

	return stat("/proc/self/ns/user", &st) || st.st_ino == first;
}

int erofs_supported(char why[static 160])
{
	struct utsname u;
	struct erofs_gates g = gates_here(&u);

	if (!g.erofs) {
		snprintf(why, 160, "Linux %.64s is too old for the erofs driver, which needs 5.16",
			u.release);
		return -ENODEV;
	}
	if (!in_first_user_ns()) {
		snprintf(why, 160, "EROFS cannot be mounted in a user namespace");
		return -EPERM;
	}
	// it loads the module, if it is one
	cleanup_fd int fs = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC);
	if (fs >= 0)
		return 0;
	snprintf(why, 160, "Linux %.64s has no EROFS for us: %s", u.release, strerror(errno));
	return errno == EPERM ? -EPERM : -ENODEV;
}

// ---- loop devices ----

static int loop_try(int control, int file, int *ret_fd, char ret_path[static 32])
{
	int n = ioctl(control, LOOP_CTL_GET_FREE);

	if (n < 0)
		return -errno;
	snprintf(ret_path, 32, "/dev/loop%d", n);
	cleanup_fd int fd = open(ret_path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	// Not LO_FLAGS_DIRECT_IO: on Linux 6.18 and a FUSE file it read 0.7-1.0 GB/s instead of
	// 0.5-0.8 and would cache data once, but there is no read-ahead below it then, and the
	// kernels that come here are older. Blocks of 4096: EROFS reads no less.
	struct loop_config c = {
		.fd = (uint32_t)file,
		.block_size = BLOCK_BYTES,
		.info = { .lo_flags = LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR,
			.lo_file_name = "fcpull" },
	};
	if (ioctl(fd, LOOP_CONFIGURE, &c) < 0)
		return -errno;
	*ret_fd = steal_fd(&fd);
	return 0;
}

static int loop_attach(int control, int file, int *ret_fd, char ret_path[static 32])
{
	int r = -EBUSY;

	for (int i = 0; i < LOOP_TRIES && r == -EBUSY; i++)
		r = loop_try(control, file, ret_fd, ret_path);
	return r;
}

// ---- the mount ----

// Where the kernel finds an image and its devices; the descriptors of loop devices keep them until
// the mount does.
struct sources {
	size_t n; // the image, then the devices
	char (*path)[32];
	int *loop; // NULL: files
};

static void sources_fini(struct sources *s)
{
	for (size_t i = 0; s->loop && i < s->n; i++)
		if (s->loop[i] >= 0)
			close(s->loop[i]);
	free(s->path);
	free(s->loop);
}

static int file_of(int image, const struct erofs_mount_opts *o, size_t i)
{
	return i ? o->devices[i - 1] : image;
}

// Where nothing has prepared /dev, as in an initramfs, the node is missing until the module is there.
// Opening the node loads it, so that it is made, as "kmod static-nodes" would have.
static int open_control(void)
{
	static const char path[] = "/dev/loop-control";
	int fd = open(path, O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT && !mknod(path, S_IFCHR | 0660, LOOP_CONTROL)) {
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			unlink(path);
	}
	return fd < 0 ? -errno : fd;
}

static int sources_loop(int image, const struct erofs_mount_opts *o, struct sources *s)
{
	cleanup_fd int control = open_control();
	int r = control < 0 ? control : 0;

	s->loop = malloc(s->n * sizeof *s->loop);
	if (!s->loop)
		return -ENOMEM;
	memset(s->loop, 0xff, s->n * sizeof *s->loop);
	for (size_t i = 0; i < s->n && !r; i++)
		r = loop_attach(control, file_of(image, o, i), &s->loop[i], s->path[i]);
	return r ? warn_errno(r, "set up a loop device%s",
			   r == -ENOENT || r == -ENXIO ? " (try: modprobe loop)" : "")
		 : 0;
}

static int sources_init(int image, const struct erofs_mount_opts *o, bool loop, struct sources *s)
{
	*s = (struct sources){ .n = 1 + o->n_devices };
	if (s->n > LOOPS_MAX)
		return -E2BIG;
	s->path = malloc(s->n * sizeof *s->path);
	if (!s->path)
		return -ENOMEM;
	if (loop)
		return sources_loop(image, o, s);
	for (size_t i = 0; i < s->n; i++)
		snprintf(s->path[i], sizeof s->path[i], "/proc/self/fd/%d", file_of(image, o, i));
	return 0;
}

static int set(int fs, unsigned cmd, const char *key, const char *value)
{
	return syscall(SYS_fsconfig, fs, cmd, key, value, 0) < 0 ? -errno : 0;
}

static int configure(int fs, const struct sources *s, bool directio)
{
	int r = set(fs, FSCONFIG_SET_STRING, "source", s->path[0]);

	for (size_t i = 1; i < s->n && !r; i++)
		r = set(fs, FSCONFIG_SET_STRING, "device", s->path[i]);
	if (!r)
		r = set(fs, FSCONFIG_SET_FLAG, "ro", NULL);
	if (!r && directio)
		r = set(fs, FSCONFIG_SET_FLAG, "directio", NULL);
	return r ? r : set(fs, FSCONFIG_CMD_CREATE, NULL, NULL);
}

// The kernel's own words.
static void log_context(int fs)
{
	char line[512];
	ssize_t n;

	while ((n = read(fs, line, sizeof line)) > 0)
		info("mount of erofs: %s", log_quote_n(line, (size_t)n));
}

static int create(
	const struct sources *s, const struct erofs_mount_opts *o, bool directio, int *ret_fd)
{
	unsigned attrs = MOUNT_ATTR_RDONLY | (o->suid ? 0 : MOUNT_ATTR_NOSUID) |
		(o->dev ? 0 : MOUNT_ATTR_NODEV);
	cleanup_fd int fs = (int)syscall(SYS_fsopen, "erofs", FSOPEN_CLOEXEC);
	if (fs < 0)
		return -errno;
	int r = configure(fs, s, directio);
	if (r) {
		log_context(fs);
		return r;
	}
	int fd = (int)syscall(SYS_fsmount, fs, FSMOUNT_CLOEXEC, attrs);
	if (fd < 0)
		return -errno;
	*ret_fd = fd;
	return 0;
}

// ---- read-ahead ----

// Sets a backing device's read-ahead; returns the setting, open for writing, or -1.
static int set_readahead(const char *bdi, uint32_t kb)
{
	char path[320], text[16];
	int n = snprintf(text, sizeof text, "%u\n", kb);

	snprintf(path, sizeof path, BDI_DIR "/%.255s/read_ahead_kb", bdi);
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0 || write(fd, text, (size_t)n) < 0) {
		debug("%s: %s", path, strerror(errno));
		return -1;
	}
	return steal_fd(&fd);
}

// A file-backed mount's backing device is called "erofs-N" (super_setup_bdi), and nothing says
// which N is whose: the largest one is the newest. If another mount was made at the same moment,
// that one gets the read-ahead: harmless.
static int set_newest_readahead(uint32_t kb)
{
	DIR *d = opendir(BDI_DIR);
	char newest[32] = "";
	unsigned long most = 0, n;
	struct dirent *e;

	while (d && (e = readdir(d)))
		if (sscanf(e->d_name, "erofs-%lu", &n) == 1 && n >= most) {
			most = n;
			snprintf(newest, sizeof newest, "erofs-%lu", n);
		}
	if (d)
		closedir(d);
	return *newest ? set_readahead(newest, kb) : -1;
}

static int tune(int mnt, bool loop, uint32_t kb)
{
	char name[32];
	struct stat st;

	if (!loop)
		return set_newest_readahead(kb);
	if (fstat(mnt, &st))
		return -1;
	snprintf(name, sizeof name, "%u:%u", major(st.st_dev), minor(st.st_dev));
	return set_readahead(name, kb);
}

// ---- all together ----

static uint32_t readahead_of(const struct erofs_mount_opts *o)
{
	if (o->no_readahead)
		return 0;
	if (o->readahead_kb)
		return o->readahead_kb;
	return o->n_devices ? READAHEAD_LOCAL_KB : EROFS_READAHEAD_LAZY_KB;
}

static int mount_as(int image, const struct erofs_mount_opts *o, struct erofs_mount *m, int *ret_fd)
{
	bool loop = m->way == EROFS_WAY_LOOP;
	struct sources s;
	int r = sources_init(image, o, loop, &s);

	// the kernel reads metadata block by block: let it find them all in the cache
	if (!r && o->meta_size && readahead(loop ? s.loop[0] : image, 0, o->meta_size))
		debug("read ahead: %s", strerror(errno));
	if (!r)
		r = create(&s, o, m->directio, ret_fd);
	m->readahead = r ? -1 : tune(*ret_fd, loop, readahead_of(o));
	sources_fini(&s);
	return r;
}

static void choose(const struct erofs_mount_opts *o, const struct erofs_gates *g,
	const char *release, struct erofs_mount *m)
{
	bool file = o->way == EROFS_WAY_FILE || (o->way == EROFS_WAY_ANY && g->file);

	*m = (struct erofs_mount){ .way = file ? EROFS_WAY_FILE : EROFS_WAY_LOOP, .readahead = -1 };
	m->directio = file && g->directio && o->directio;
	if (!file)
		snprintf(m->why, sizeof m->why, "loop device: %s Linux %.64s",
			g->file ? "asked for, on"
				: "file-backed mounts are not safe before Linux 6.12.10, this is",
			release);
	else
		snprintf(m->why, sizeof m->why, "file-backed%s: Linux %.64s",
			m->directio ? ", directio" : "", release);
}

int erofs_mount_fd(
	int image, const struct erofs_mount_opts *o, struct erofs_mount *ret, int *ret_fd)
{
	struct erofs_mount m;
	struct utsname u;
	struct erofs_gates g = gates_here(&u);

	choose(o, &g, u.release, &m);
	int r = erofs_supported(ret->why);
	if (r)
		return r;
	r = mount_as(image, o, &m, ret_fd);
	if (r == -ENOTBLK && m.way == EROFS_WAY_FILE) {
		m.way = EROFS_WAY_LOOP;
		m.directio = false;
		snprintf(m.why, sizeof m.why,
			"loop device: Linux %.64s is built without file-backed mounts", u.release);
		r = mount_as(image, o, &m, ret_fd);
	}
	if (r)
		return warn_errno(r, "mount the image as erofs (%s)", m.why);
	*ret = m;
	return 0;
}

int erofs_mount_at(
	int image, const char *dir, const struct erofs_mount_opts *o, struct erofs_mount *ret)
{
	cleanup_fd int target = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (target < 0)
		return warn_errno(-errno, "open mount point '%s'", dir);
	cleanup_fd int mnt = -1;
	int r = erofs_mount_fd(image, o, ret, &mnt);
	if (r)
		return r;
	if (ret->readahead >= 0)
		close(steal_fd(&ret->readahead));
	r = mnt_attach(mnt, target);
	return r ? warn_errno(r, "mount on '%s'", dir) : 0;
}
