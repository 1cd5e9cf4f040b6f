// local.c - an image that is wholly in the store, mounted by the kernel alone
// SPDX-License-Identifier: Apache-2.0
#include "local.h"

#include <fcntl.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>

#include "erofs.h"
#include "erofs_fs.h"
#include "erofsmnt.h"
#include "log.h"

// FS_IOC_GETFSUUID of <linux/fs.h> (Linux 6.9, 41bcbe59c3b3 "fs: FS_IOC_GETUUID"); older headers
// lack it.
struct fs_uuid {
	uint8_t len, uuid[16];
};
#define GETFSUUID _IOR(0x15, 0, struct fs_uuid)

// The file is written with the super block of one placement; here the other is wanted.
static int make_metadata(const struct index *ix, int fd, uint64_t *ret_size)
{
	uint8_t block[BLOCK_BYTES];
	struct erofs_image *im;
	int r = erofs_build(ix, fd, &im);

	if (r)
		return r;
	*ret_size = erofs_meta_size(im);
	r = erofs_read(im, EROFS_DEVICES, block, sizeof block, 0);
	if (!r)
		r = pwrite_full(fd, block, sizeof block, 0);
	erofs_free(im);
	return r ? warn_errno(r, "write metadata to the store") : 0;
}

int local_mount(struct host_image *h, const struct sealed *files, int *ret_mnt, int *ret_readahead,
	char why[static 160])
{
	cleanup_fd int meta = store_tmp(h->store);
	struct erofs_mount_opts o = {
		.devices = files->fd, .n_devices = files->n, .no_readahead = ret_readahead != NULL
	};
	struct erofs_mount m;
	int r = meta < 0 ? meta : make_metadata(h->ix, meta, &o.meta_size);

	if (!r)
		r = erofs_mount_fd(meta, &o, &m, ret_mnt);
	if (r)
		return r;
	if (ret_readahead)
		*ret_readahead = m.readahead;
	else if (m.readahead >= 0)
		close(m.readahead);
	snprintf(why, 160, "complete: local files, no process; %.100s", m.why);
	return 0;
}

// ---- knowing one again ----

static int uuid_by_ioctl(int mnt, uint8_t uuid[static 16])
{
	cleanup_fd int root = openat(mnt, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct fs_uuid u = { 0 };

	if (root < 0 || ioctl(root, GETFSUUID, &u))
		return -errno;
	if (u.len != sizeof u.uuid)
		return -ENODATA;
	memcpy(uuid, u.uuid, sizeof u.uuid);
	return 0;
}

// Of a file system on a block device, which a mount through loop devices is.
static int uuid_by_device(int mnt, uint8_t uuid[static 16])
{
	struct erofs_super super;
	struct stat st;
	char path[32];
	int r;

	if (fstat(mnt, &st))
		return -errno;
	snprintf(path, sizeof path, "/dev/loop%u", minor(st.st_dev));
	cleanup_fd int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return -errno;
	r = pread_full(fd, &super, sizeof super, EROFS_SUPER_AT);
	if (!r && super.magic != EROFS_MAGIC)
		r = -ENODATA;
	if (!r)
		memcpy(uuid, super.uuid, sizeof super.uuid);
	return r;
}

bool local_is(int mnt, const struct index *ix)
{
	struct digest original = index_original(ix);
	struct statfs fs;
	uint8_t uuid[16];

	if (fstatfs(mnt, &fs) || (uint32_t)fs.f_type != EROFS_MAGIC)
		return false;
	if (uuid_by_ioctl(mnt, uuid) && uuid_by_device(mnt, uuid))
		return false;
	return !memcmp(uuid, original.b, sizeof uuid);
}
