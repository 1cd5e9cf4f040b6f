// boxroot.c - what a container sees
//
// All is put together on a tmpfs, the stage, that lies on the host's "/" in this mount namespace
// only and is reached by descriptor:
//
//     stage/lower   the image                   stage/etc/    hosts, hostname, resolv.conf
//     stage/up      upper/ and work/            stage/root    the root: overlay of both, or the image itself
//
// Overlayfs wants its layers as paths; relative ones, from the stage as working directory, need
// neither the host's /proc nor any quoting. pivot_root then takes stage/root, and the stage goes
// away with the old root; what was bound from it stays.
//
// Order matters: /dev, /proc and /sys first and masked, then our files in /etc, then the user's
// binds, which may cover all but /proc. Every target is opened strictly (no link, no other mount)
// where it is ours, and inside the root where the path is the user's, and found again after the
// mount (CVE-2021-30465, CVE-2025-31133, CVE-2025-52565, CVE-2025-52881).
// SPDX-License-Identifier: Apache-2.0
#include "boxroot.h"

#include <fcntl.h>
#include <limits.h>
#include <linux/magic.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include "log.h"
#include "mnt.h"

#define TTY_SLAVE_MAJOR 136 // first of UNIX98_PTY_SLAVE_MAJOR's eight
#define HOST_FILE_MAX 65536

// The message is complete: what errno would say of it is not what is wrong.
#define refuse(r, ...) (warn(__VA_ARGS__), (r))

#define ATTR_SAFE (MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC)

// ---- the root ----

static int make_stage(struct boxroot *r)
{
	static const struct mnt_param params[] = { { "mode", "0700" }, { "size", "1m" }, { 0 } };
	static const char *const dirs[] = { "lower", "up", "etc", "root" };
	int e;

	// out of a chroot, if we are in one: its mounts would go to the host, and
	// unshare(CLONE_NEWUSER) is refused there
	if ((e = sys_setns_self(CLONE_NEWNS)) < 0)
		return warn_errno(e, "cannot go to the root of the mount namespace");
	cleanup_fd int old = open("/", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (old < 0)
		return warn_errno(-errno, "open '/'");
	// private: nothing that is mounted here from now on is seen outside
	if ((e = mnt_set(old, 0, true)) < 0)
		return warn_errno(e, "cannot make the mounts of this namespace private");
	if ((e = mnt_new("tmpfs", params, ATTR_SAFE, &r->stage)) < 0 ||
		(e = mnt_attach(r->stage, old)) < 0)
		return warn_errno(e, "cannot mount a tmpfs");
	for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
		if (mkdirat(r->stage, dirs[i], 0755) < 0)
			return warn_errno(-errno, "cannot make '%s' for the container", dirs[i]);
	return 0;
}

static int attach_to_stage(struct boxroot *r, int mnt, const char *dir)
{
	cleanup_fd int target = mnt_open(r->stage, dir, O_PATH | O_DIRECTORY, MNT_STRICT);
	int e = target < 0 ? target : mnt_attach(mnt, target);

	return e < 0 ? warn_errno(e, "cannot attach the container's '%s'", dir) : 0;
}

static int new_upper(const struct box *b, int *ret_fd)
{
	char size[32];
	struct mnt_param params[] = { { "mode", "0755" }, { "size", size }, { 0 } };

	snprintf(size, sizeof size, "%llu", (unsigned long long)b->upper_size);
	if (b->upper_size == 0)
		params[1].key = NULL; // the kernel's default: half of memory
	int e = mnt_new("tmpfs", params, ATTR_SAFE, ret_fd);
	return e < 0 ? warn_errno(e, "cannot mount a tmpfs for the container's changes") : 0;
}

// upper/ and work/ in the directory for changes. The merged root shows upper's mode and owner, so
// they are the image's.
static int make_layers(int up, int lower)
{
	struct stat st;

	if (fstat(lower, &st) < 0)
		return -errno;
	if (mkdirat(up, "work", 0700) < 0 && errno != EEXIST)
		return -errno;
	if (mkdirat(up, "upper", 0755) < 0)
		return errno == EEXIST ? 0 : -errno;
	cleanup_fd int fd = mnt_open(up, "upper", O_RDONLY | O_DIRECTORY | O_NOFOLLOW, MNT_STRICT);
	if (fd < 0)
		return fd;
	if (fchown(fd, st.st_uid, st.st_gid) < 0 || fchmod(fd, st.st_mode & 07777) < 0)
		return -errno;
	return 0;
}

// nodev: a device node of the image must not be one. Without a device cgroup this is what stands
// between root in the container and the host's disks.
//
// In a user namespace overlayfs cannot write its own attributes but as a user's (Linux 5.11; on a
// tmpfs 6.6). Without any, a directory that is removed and made anew shows what it had.
static int mount_overlay(const struct box *b, struct boxroot *r)
{
	struct mnt_param params[] = {
		{ "lowerdir", "lower" },
		{ "upperdir", "up/upper" },
		{ "workdir", "up/work" },
		{ "index", "off" },
		{ "metacopy", "off" },
		{ b->rootless ? "userxattr" : NULL, NULL },
		{ 0 },
	};

	if (fchdir(r->stage) < 0)
		return -errno;
	return mnt_new("overlay", params, MOUNT_ATTR_NODEV, &r->root);
}

static int make_overlay(const struct box *b, const struct box_sources *from, struct boxroot *r)
{
	cleanup_fd int fresh = -1;
	int up = from->upper, e;

	if (up < 0 && (e = new_upper(b, &fresh)) < 0)
		return e;
	if (up < 0)
		up = fresh;
	if ((e = attach_to_stage(r, from->lower, "lower")) < 0 ||
		(e = attach_to_stage(r, up, "up")) < 0)
		return e;
	if ((e = make_layers(up, from->lower)) < 0)
		return warn_errno(e, "cannot make directories for the container's changes in '%s'",
			b->upper ? b->upper : "a tmpfs");
	e = mount_overlay(b, r);
	if (e == -EINVAL && b->upper)
		return warn_errno(e,
			"the file system of '%s' cannot hold the container's changes (overlayfs or network file "
			"system?): use another directory, or a tmpfs",
			b->upper);
	if (e == -ENODEV)
		return warn_errno(
			e, "this kernel has no overlayfs: load the module, or run read-only");
	return e < 0 ? warn_errno(e, "cannot mount the overlay") : 0;
}

static int make_root(const struct box *b, const struct box_sources *from, struct boxroot *r)
{
	int e;

	if (!b->read_only) {
		if ((e = make_overlay(b, from, r)) < 0)
			return e;
	} else {
		if ((e = mnt_set(from->lower, MOUNT_ATTR_RDONLY | MOUNT_ATTR_NODEV, false)) < 0)
			return warn_errno(e, "cannot make the image read-only");
		r->root = from->lower;
	}
	return attach_to_stage(r, r->root, "root");
}

// Mounts on the image's own directory root/name: a real one, made when missing.
static int mount_at(const struct box *b, struct boxroot *r, int mnt, const char *name)
{
	int flags = O_PATH | O_DIRECTORY | O_NOFOLLOW;
	cleanup_fd int target = mnt_open(r->root, name, flags, MNT_STRICT);

	if (target == -ENOENT) {
		if (b->read_only)
			return refuse(-ENOENT,
				"the image has no directory '/%s' and cannot be changed: run without read-only",
				name);
		if (mkdirat(r->root, name, 0755) < 0)
			return warn_errno(-errno, "cannot make '/%s' in the container", name);
		target = mnt_open(r->root, name, flags, MNT_STRICT);
	}
	if (target == -ELOOP || target == -ENOTDIR)
		return refuse(-ENOTDIR, "the image's '/%s' must be a directory", name);
	if (target < 0)
		return warn_errno(target, "cannot open '/%s' of the image", name);
	int e = mnt_attach_checked(mnt, target, r->root, name);
	return e < 0 ? warn_errno(e, "cannot mount on '/%s' of the container", name) : 0;
}

// ---- /dev ----

struct device {
	const char *name;
	unsigned major, minor;
};

static const struct device devices[] = {
	{ "null", 1, 3 },
	{ "zero", 1, 5 },
	{ "full", 1, 7 },
	{ "random", 1, 8 },
	{ "urandom", 1, 9 },
	{ "tty", 5, 0 },
};

// Where nodes cannot be made (we are in a user namespace ourselves) the host's are bound. Either
// way the result must be the very device.
static int make_device(struct boxroot *r, const struct device *d)
{
	char host[32];
	struct stat st;

	if (mknodat(r->dev, d->name, S_IFCHR | 0666, makedev(d->major, d->minor)) < 0) {
		int clone = -1;

		if (errno != EPERM)
			return -errno;
		snprintf(host, sizeof host, "/dev/%s", d->name);
		int e = mnt_clone(AT_FDCWD, host, false, &clone);
		cleanup_fd int bound = clone;
		if (e < 0 || (e = mknodat(r->dev, d->name, S_IFREG | 0666, 0) < 0 ? -errno : 0) < 0)
			return e;
		cleanup_fd int target = mnt_open(r->dev, d->name, O_PATH, MNT_STRICT);
		if (target < 0 || (e = mnt_attach(bound, target)) < 0)
			return target < 0 ? target : e;
	}
	cleanup_fd int fd = mnt_open(r->dev, d->name, O_PATH | O_NOFOLLOW, MNT_IN_ROOT);
	if (fd < 0 || fstat(fd, &st) < 0)
		return fd < 0 ? fd : -errno;
	return S_ISCHR(st.st_mode) && st.st_rdev == makedev(d->major, d->minor) ? 0 : -ENXIO;
}

static int make_nodes(struct boxroot *r)
{
	static const char *const links[][2] = {
		{ "/proc/self/fd", "fd" },
		{ "/proc/self/fd/0", "stdin" },
		{ "/proc/self/fd/1", "stdout" },
		{ "/proc/self/fd/2", "stderr" },
		{ "pts/ptmx", "ptmx" },
	};

	for (size_t i = 0; i < ARRAY_LEN(devices); i++) {
		int e = make_device(r, &devices[i]);

		if (e < 0)
			return warn_errno(
				e, "cannot make '/dev/%s' of the container", devices[i].name);
	}
	for (size_t i = 0; i < ARRAY_LEN(links); i++)
		if (symlinkat(links[i][0], r->dev, links[i][1]) < 0)
			return warn_errno(
				-errno, "cannot make '/dev/%s' of the container", links[i][1]);
	r->null = mnt_open(r->dev, "null", O_RDWR, MNT_IN_ROOT);
	return r->null < 0 ? warn_errno(r->null, "cannot open '/dev/null' of the container") : 0;
}

static int mount_in_dev(struct boxroot *r, const char *type, const struct mnt_param *params,
	unsigned attrs, const char *dir, int *ret_fd)
{
	int e = mkdirat(r->dev, dir, 0755) < 0 ? -errno : 0;

	if (e == 0)
		e = mnt_new(type, params, attrs, ret_fd);
	if (e < 0)
		return e;
	cleanup_fd int target = mnt_open(r->dev, dir, O_PATH | O_DIRECTORY, MNT_STRICT);
	return target < 0 ? target : mnt_attach(*ret_fd, target);
}

// The terminal comes from the container's own devpts. Its slave is opened through its master, not
// by a name (CVE-2016-9962, CVE-2025-52565), and must be one.
int boxroot_open_tty(int pts, int *ret_master, int *ret_slave)
{
	struct stat st;
	int unlock = 0;
	cleanup_fd int tty = mnt_open(pts, "ptmx", O_RDWR | O_NOCTTY, MNT_STRICT);

	if (tty < 0)
		return tty;
	if (ioctl(tty, TIOCSPTLCK, &unlock) < 0)
		return -errno;
	cleanup_fd int slave = ioctl(tty, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
	if (slave < 0 || fstat(slave, &st) < 0)
		return -errno;
	if (!mnt_is_fs(slave, DEVPTS_SUPER_MAGIC) || !S_ISCHR(st.st_mode) ||
		major(st.st_rdev) != TTY_SLAVE_MAJOR)
		return -ENXIO;
	*ret_master = steal_fd(&tty);
	*ret_slave = steal_fd(&slave);
	return 0;
}

static int make_tty(struct boxroot *r, int pts)
{
	struct stat st;
	int e = boxroot_open_tty(pts, &r->tty, &r->tty_slave);

	if (e < 0)
		return e;
	if (fstat(r->tty_slave, &st) < 0)
		return -errno;
	// /dev/console is the same terminal: on a file of our own, from our own devpts
	char name[16];
	int clone = -1;
	snprintf(name, sizeof name, "%u", minor(st.st_rdev));
	e = mnt_clone(pts, name, false, &clone);
	cleanup_fd int console = clone;
	if (e < 0 || (e = mknodat(r->dev, "console", S_IFREG | 0600, 0) < 0 ? -errno : 0) < 0)
		return e;
	cleanup_fd int target = mnt_open(r->dev, "console", O_PATH | O_NOFOLLOW, MNT_STRICT);
	return target < 0 ? target : mnt_attach(console, target);
}

static int make_dev(const struct box *b, struct boxroot *r)
{
	static const struct mnt_param dev[] = { { "mode", "0755" }, { "size", "1m" }, { 0 } };
	static const struct mnt_param shm[] = { { "mode", "1777" }, { "size", "64m" }, { 0 } };
	struct mnt_param pty[] = { { "mode", "0620" }, { "ptmxmode", "0666" }, { "gid", "5" },
		{ 0 } };
	cleanup_fd int pts = -1, shm_fd = -1, queue = -1;
	int e;

	if ((e = mnt_new("tmpfs", dev, MOUNT_ATTR_NOSUID, &r->dev)) < 0)
		return warn_errno(e, "cannot mount a tmpfs for '/dev'");
	if ((e = mount_at(b, r, r->dev, "dev")) < 0 || (e = make_nodes(r)) < 0)
		return e;
	if (b->one_id)
		pty[2].key = NULL; // group tty has no id here
	if ((e = mount_in_dev(
		     r, "devpts", pty, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, "pts", &pts)) < 0)
		return warn_errno(e, "cannot mount '/dev/pts'");
	if ((e = mount_in_dev(r, "tmpfs", shm, ATTR_SAFE, "shm", &shm_fd)) < 0)
		return warn_errno(e, "cannot mount '/dev/shm'");
	if ((e = mount_in_dev(r, "mqueue", NULL, ATTR_SAFE, "mqueue", &queue)) < 0)
		info("the container has no POSIX message queues: %s", strerror(-e));
	if (b->tty && (e = make_tty(r, pts)) < 0)
		return warn_errno(e, "cannot open a terminal for the container");
	return 0;
}

// ---- /proc, /sys ----

// What docker hides and what it makes read-only.
static const char *const masked_proc[] = {
	"acpi",
	"asound",
	"interrupts",
	"kcore",
	"keys",
	"latency_stats",
	"sched_debug",
	"scsi",
	"timer_list",
	"timer_stats",
};
static const char *const masked_sys[] = { "devices/virtual/powercap", "firmware" };
static const char *const read_only_proc[] = { "bus", "fs", "irq", "sys", "sysrq-trigger" };

// Covers what is at fs/path, if it is there: a directory with an empty one, a file with our own
// /dev/null.
static int mask(struct boxroot *r, int fs, const char *path)
{
	static const struct mnt_param params[] = { { "size", "4k" }, { "mode", "0555" }, { 0 } };
	cleanup_fd int target = mnt_open(fs, path, O_PATH, MNT_STRICT);
	struct stat st;
	int cover = -1, e;

	if (target == -ENOENT)
		return 0;
	if (target < 0 || fstat(target, &st) < 0)
		return target < 0 ? target : -errno;
	if (S_ISDIR(st.st_mode))
		e = mnt_new("tmpfs", params, ATTR_SAFE | MOUNT_ATTR_RDONLY, &cover);
	else
		e = mnt_clone(r->dev, "null", false, &cover);
	cleanup_fd int owned = cover;
	return e < 0 ? e : mnt_attach_checked(owned, target, fs, path);
}

static int make_read_only(int fs, const char *path)
{
	cleanup_fd int target = mnt_open(fs, path, O_PATH, MNT_STRICT);
	int copy = -1;

	if (target == -ENOENT)
		return 0;
	if (target < 0)
		return target;
	int e = mnt_clone(target, "", false, &copy);
	cleanup_fd int owned = copy;
	if (e < 0 || (e = mnt_set(owned, ATTR_SAFE | MOUNT_ATTR_RDONLY, false)) < 0)
		return e;
	return mnt_attach_checked(owned, target, fs, path);
}

// In a network namespace of its own a container may use every port: there is nobody there to
// protect from it, and its capabilities do not count there. Before /proc/sys is read-only; by our
// procfs, not by a path of the image.
static void open_ports(struct boxroot *r)
{
	cleanup_fd int fd =
		mnt_open(r->proc, "sys/net/ipv4/ip_unprivileged_port_start", O_WRONLY, MNT_STRICT);

	if (fd < 0 || write(fd, "0", 1) != 1)
		info("ports below 1024 are for the container's privileged processes only");
}

static int make_proc(const struct box *b, struct boxroot *r)
{
	int e = mnt_new("proc", NULL, ATTR_SAFE, &r->proc);

	if (e < 0)
		return warn_errno(e, "cannot mount '/proc' for the container");
	if ((e = mount_at(b, r, r->proc, "proc")) < 0)
		return e;
	if (!mnt_is_fs(r->proc, PROC_SUPER_MAGIC))
		return warn_errno(-ESTALE, "'/proc' of the container is not a procfs");
	if (!b->net_host)
		open_ports(r);
	for (size_t i = 0; i < ARRAY_LEN(masked_proc) && !b->unmasked; i++)
		if ((e = mask(r, r->proc, masked_proc[i])) < 0)
			return warn_errno(e, "cannot hide '/proc/%s'", masked_proc[i]);
	for (size_t i = 0; i < ARRAY_LEN(read_only_proc) && !b->unmasked; i++)
		if ((e = make_read_only(r->proc, read_only_proc[i])) < 0)
			return warn_errno(e, "cannot make '/proc/%s' read-only", read_only_proc[i]);
	return 0;
}

// Only the unified hierarchy, read-only, seen from the container's own cgroup; never a v1 one with
// its release_agent (CVE-2022-0492).
static void make_cgroup(struct boxroot *r)
{
	cleanup_fd int target = mnt_open(r->sys, "fs/cgroup", O_PATH | O_DIRECTORY, MNT_STRICT);
	int fd = -1;
	int e = target < 0 ? target : mnt_new("cgroup2", NULL, ATTR_SAFE | MOUNT_ATTR_RDONLY, &fd);
	cleanup_fd int cgroup = fd;

	if (e == 0)
		e = mnt_attach(cgroup, target);
	if (e < 0)
		info("the container has no '/sys/fs/cgroup': %s", strerror(-e));
}

// A fresh sysfs of the container's network namespace, without what the host has mounted beneath its
// own (fusectl, debugfs, ...).
static int make_sys(const struct box *b, struct boxroot *r)
{
	unsigned attrs = ATTR_SAFE | (b->unmasked ? 0 : MOUNT_ATTR_RDONLY);
	int e = mnt_new("sysfs", NULL, attrs, &r->sys);

	if (e < 0) {
		info("the container has no '/sys': %s", strerror(-e));
		return 0;
	}
	if ((e = mount_at(b, r, r->sys, "sys")) < 0)
		return e;
	make_cgroup(r);
	for (size_t i = 0; i < ARRAY_LEN(masked_sys) && !b->unmasked; i++)
		if ((e = mask(r, r->sys, masked_sys[i])) < 0)
			return warn_errno(e, "cannot hide '/sys/%s'", masked_sys[i]);
	return 0;
}

// ---- /etc: three files of ours ----

// An O_PATH descriptor of the regular file etc/name, which is made when it is missing or something
// else: a link that leads nowhere or out of the root's own file system, a fifo. That is a change of
// the container only, as the image is below.
static int etc_target(const struct box *b, struct boxroot *r, const char *path)
{
	int fd = mnt_open(r->root, path, O_PATH, MNT_IN_ROOT | RESOLVE_NO_XDEV);
	struct stat st;

	if (fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode))
		return fd;
	if (fd >= 0)
		close(fd);
	if (b->read_only)
		return -EROFS;
	cleanup_fd int etc = mnt_mkdirs(r->root, "etc");
	if (etc < 0)
		return etc;
	const char *name = strrchr(path, '/') + 1;
	if (unlinkat(etc, name, 0) < 0 && errno != ENOENT)
		return -errno;
	if (mknodat(etc, name, S_IFREG | 0644, 0) < 0)
		return -errno;
	return mnt_open(r->root, path, O_PATH | O_NOFOLLOW, MNT_IN_ROOT | RESOLVE_NO_XDEV);
}

static int bind_etc(
	const struct box *b, struct boxroot *r, const char *path, const void *text, size_t len)
{
	cleanup_fd int file = openat(r->stage, path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	int copy = -1;

	if (file < 0)
		return -errno;
	int e = write_full(file, text, len);
	if (e < 0 || (e = mnt_clone(r->stage, path, false, &copy)) < 0)
		return e;
	cleanup_fd int owned = copy;
	cleanup_fd int target = etc_target(b, r, path);
	return target < 0 ? target : mnt_attach(owned, target);
}

static void put_etc(
	const struct box *b, struct boxroot *r, const char *path, const void *text, size_t len)
{
	int e = bind_etc(b, r, path, text, len);

	if (e < 0)
		info("the container keeps the image's '/%s': %s", path, strerror(-e));
}

// With the host's network the host's resolv.conf and hosts are copied, as docker does: what the
// image brings as such is not trusted to name hosts.
static void make_etc(const struct box *b, struct boxroot *r)
{
	cleanup_free char *resolv = NULL, *hosts = NULL;
	cleanup_buf struct buf text = { 0 };
	size_t len;

	if (b->net_host &&
		read_file_at(AT_FDCWD, "/etc/resolv.conf", HOST_FILE_MAX, &resolv, &len) == 0)
		put_etc(b, r, "etc/resolv.conf", resolv, len);
	if (b->net_host && read_file_at(AT_FDCWD, "/etc/hosts", HOST_FILE_MAX, &hosts, &len) == 0)
		buf_add(&text, hosts, len);
	else
		buf_printf(
			&text, "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n");
	buf_printf(&text, "127.0.1.1\t%s\n", b->hostname);
	put_etc(b, r, "etc/hosts", text.data, text.len);
	text.len = 0;
	buf_printf(&text, "%s\n", b->hostname);
	put_etc(b, r, "etc/hostname", text.data, text.len);
}

// ---- the user's binds ----

// An O_PATH descriptor of the file at path, made empty when missing.
static int file_target(int root, const char *path)
{
	char dir[PATH_MAX];
	const char *slash = strrchr(path, '/');

	if (strlen(path) >= sizeof dir)
		return -ENAMETOOLONG;
	snprintf(dir, sizeof dir, "%.*s", (int)(slash ? slash - path : 0), path);
	int fd = mnt_open(root, path, O_PATH, MNT_IN_ROOT);
	if (fd != -ENOENT)
		return fd;
	cleanup_fd int parent = mnt_mkdirs(root, dir);
	if (parent < 0)
		return parent;
	if (mknodat(parent, slash ? slash + 1 : path, S_IFREG | 0644, 0) < 0 && errno != EEXIST)
		return -errno;
	return mnt_open(root, path, O_PATH, MNT_IN_ROOT);
}

// A bind may not hide or replace anything of /proc: what runs in the container trusts it
// (CVE-2019-16884).
static int check_target(struct boxroot *r, int target, const char *dst)
{
	struct stat top, st;

	if (fstat(r->root, &top) < 0 || fstat(target, &st) < 0)
		return warn_errno(-errno, "cannot look at '%s' of the container", dst);
	if (top.st_dev == st.st_dev && top.st_ino == st.st_ino)
		return refuse(-EINVAL, "cannot mount over the container's root, '%s'", dst);
	if (mnt_is_fs(target, PROC_SUPER_MAGIC))
		return refuse(-EINVAL, "cannot mount in the container's '/proc', at '%s'", dst);
	return 0;
}

static int make_bind(const struct box *b, struct boxroot *r, const struct box_bind *bind, int src)
{
	struct stat st, dst_st;
	int e;

	if (fstat(src, &st) < 0)
		return warn_errno(-errno, "cannot look at '%s'", bind->src);
	cleanup_fd int target = S_ISDIR(st.st_mode) ? mnt_mkdirs(r->root, bind->dst)
						    : file_target(r->root, bind->dst);
	if (target == -EROFS && b->read_only)
		return warn_errno(
			target, "'%s' is missing in the image, which is read-only", bind->dst);
	if (target < 0)
		return warn_errno(target, "cannot make '%s' in the container", bind->dst);
	if ((e = check_target(r, target, bind->dst)) < 0)
		return e;
	if (fstat(target, &dst_st) < 0 || S_ISDIR(st.st_mode) != S_ISDIR(dst_st.st_mode))
		return refuse(-ENOTDIR,
			"'%s' and the container's '%s' must both be directories, or neither",
			bind->src, bind->dst);
	e = mnt_attach_checked(src, target, r->root, bind->dst);
	return e < 0
		? warn_errno(e, "cannot mount '%s' on the container's '%s'", bind->src, bind->dst)
		: 0;
}

// ---- all of it ----

static int open_cwd(const struct box *b, struct boxroot *r)
{
	const char *cwd = b->cwd && *b->cwd ? b->cwd : "/";

	r->cwd = mnt_mkdirs(r->root, cwd);
	return r->cwd < 0
		? warn_errno(r->cwd, "cannot go to the working directory %s of the container",
			  log_quote(cwd))
		: 0;
}

int boxroot_make(const struct box *b, const struct box_sources *from, struct boxroot *ret)
{
	struct boxroot *r = ret;
	int e;

	*r = BOXROOT_NONE;
	if ((e = make_stage(r)) < 0 || (e = make_root(b, from, r)) < 0 ||
		(e = make_dev(b, r)) < 0 || (e = make_proc(b, r)) < 0 || (e = make_sys(b, r)) < 0)
		return e;
	make_etc(b, r);
	for (size_t i = 0; i < b->n_binds; i++)
		if ((e = make_bind(b, r, &b->binds[i], from->binds[i])) < 0)
			return e;
	return open_cwd(b, r);
}

int boxroot_enter(struct boxroot *r)
{
	int e = mnt_pivot(r->root);

	return e < 0 ? warn_errno(e, "cannot make the container's root the root") : 0;
}
