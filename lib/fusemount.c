// fusemount.c - mounts /dev/fuse
// SPDX-License-Identifier: Apache-2.0
#include "fuse.h"

#include <fcntl.h>
#include <sys/syscall.h>

#include "log.h"

// Of fsconfig(2), fsmount(2), move_mount(2); <linux/mount.h> and <sys/mount.h> clash in some C
// libraries. Not mnt.c's functions: those need Linux 5.12 and name the source themselves.
enum { SET_FLAG = 0, SET_STRING = 1, CMD_CREATE = 6 };
enum { OPEN_CLOEXEC = 1 };
enum { ATTR_RDONLY = 1, ATTR_NOSUID = 2, ATTR_NODEV = 4 }; // the same as mount(2)'s flags
enum { FROM_EMPTY_PATH = 0x04, TO_EMPTY_PATH = 0x40 };
#define CONFIG_MAX_STRING 255 // strndup_user(_value, 256) in fsconfig(2)

struct mount_text {
	char fd[12], user[12], group[12], max_read[12];
	char source[CONFIG_MAX_STRING + 1];
};

static void mount_text_init(struct mount_text *t, int fd, const char *source)
{
	*t = (struct mount_text){ 0 };
	snprintf(t->fd, sizeof t->fd, "%d", fd);
	snprintf(t->user, sizeof t->user, "%u", (unsigned)getuid());
	snprintf(t->group, sizeof t->group, "%u", (unsigned)getgid());
	snprintf(t->max_read, sizeof t->max_read, "%u", FUSE_IO_MAX);
	snprintf(t->source, sizeof t->source, "%s", source);
}

// Where nothing has prepared /dev, as in an initramfs, the device comes with the module, and
// naming the file system loads it.
static int device_after_module(void)
{
	cleanup_fd int fs = (int)syscall(SYS_fsopen, "fuse", OPEN_CLOEXEC);

	if (fs < 0) {
		errno = ENOENT;
		return -1;
	}
	return open("/dev/fuse", O_RDWR | O_CLOEXEC);
}

static int device_open(int *ret_fd)
{
	int fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);

	if (fd < 0 && errno == ENOENT)
		fd = device_after_module();
	if (fd >= 0) {
		*ret_fd = fd;
		return 0;
	}
	const char *hint = errno == EACCES || errno == EPERM ? "needs root, or mode 666"
							     : "try: modprobe fuse";
	return warn_errno(-errno, "open /dev/fuse (%s; in a container: --device /dev/fuse)", hint);
}

static int superblock_config(int fs, const struct mount_text *t, const struct fuse_mount_opts *o)
{
	const struct {
		const char *key, *value;
	} opts[] = {
		{ "source", t->source },
		{ "subtype", o->subtype },
		{ "fd", t->fd },
		{ "rootmode", o->file ? "100000" : "40000" },
		{ "user_id", t->user },
		{ "group_id", t->group },
		{ "max_read", t->max_read },
		{ "default_permissions", NULL },
		{ "allow_other", NULL },
		{ "ro", NULL },
	};

	for (size_t i = 0; i < ARRAY_LEN(opts); i++) {
		unsigned cmd = opts[i].value ? SET_STRING : SET_FLAG;

		if (syscall(SYS_fsconfig, fs, cmd, opts[i].key, opts[i].value, 0L))
			return -errno;
	}
	return syscall(SYS_fsconfig, fs, CMD_CREATE, NULL, NULL, 0L) ? -errno : 0;
}

static unsigned mount_attrs(const struct fuse_mount_opts *o)
{
	return ATTR_RDONLY | (o->suid ? 0u : ATTR_NOSUID) | (o->dev ? 0u : ATTR_NODEV);
}

static int mount_make(const struct mount_text *t, const struct fuse_mount_opts *o, int *ret_mnt)
{
	cleanup_fd int fs = (int)syscall(SYS_fsopen, "fuse", OPEN_CLOEXEC);

	if (fs < 0)
		return -errno;
	int r = superblock_config(fs, t, o);
	if (r)
		return r;
	*ret_mnt = (int)syscall(SYS_fsmount, fs, OPEN_CLOEXEC, mount_attrs(o));
	return *ret_mnt < 0 ? -errno : 0;
}

// By descriptors alone, so that no path is walked twice.
static int mount_by_fd(int target, const struct mount_text *t, const struct fuse_mount_opts *o)
{
	cleanup_fd int mnt = -1;
	int r = mount_make(t, o, &mnt);

	if (r)
		return r;
	if (syscall(SYS_move_mount, mnt, "", target, "", FROM_EMPTY_PATH | TO_EMPTY_PATH))
		return -errno;
	return 0;
}

// Before Linux 5.2.
static int mount_by_path(int target, const struct mount_text *t, const struct fuse_mount_opts *o)
{
	char type[64], path[32], data[192];

	snprintf(type, sizeof type, "fuse.%s", o->subtype);
	snprintf(path, sizeof path, "/proc/self/fd/%d", target);
	snprintf(data, sizeof data,
		"fd=%s,rootmode=40000,user_id=%s,group_id=%s,max_read=%s,"
		"default_permissions,allow_other",
		t->fd, t->user, t->group, t->max_read);
	if (syscall(SYS_mount, t->source, path, type, (unsigned long)mount_attrs(o), data))
		return -errno;
	return 0;
}

static const char *mount_hint(int r)
{
	switch (r) {
	case -EPERM: return " (needs root: CAP_SYS_ADMIN)";
	case -ENODEV: return " (this kernel has no FUSE; try: modprobe fuse)";
	default: return "";
	}
}

int fuse_mount(const char *dir, const struct fuse_mount_opts *o, int *ret_fd)
{
	cleanup_fd int target = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
	struct mount_text text;

	if (target < 0)
		return warn_errno(-errno, "open mount point '%s'", dir);
	cleanup_fd int fd = -1;
	int r = device_open(&fd);
	if (r)
		return r;
	mount_text_init(&text, fd, o->source);
	r = mount_by_fd(target, &text, o);
	// EPERM too: a container's system call filter may let pass only what is older
	if (r == -ENOSYS || r == -EPERM) {
		int e = mount_by_path(target, &text, o);

		r = e && r == -EPERM ? r : e;
	}
	if (r)
		return warn_errno(r, "mount on '%s'%s", dir, mount_hint(r));
	*ret_fd = steal_fd(&fd);
	return 0;
}

int fuse_mount_detached(const struct fuse_mount_opts *o, int *ret_fd, int *ret_mnt)
{
	cleanup_fd int fd = -1;
	struct mount_text text;
	int r = device_open(&fd);

	if (r)
		return r;
	mount_text_init(&text, fd, o->source);
	r = mount_make(&text, o, ret_mnt);
	if (r)
		return r == -ENOSYS || r == -EPERM ? r : warn_errno(r, "mount%s", mount_hint(r));
	*ret_fd = steal_fd(&fd);
	return 0;
}
