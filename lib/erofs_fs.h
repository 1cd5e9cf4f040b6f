// erofs_fs.h - the EROFS on-disk format, as far as erofs.c writes it: what Linux 5.16 reads,
// uncompressed. Little endian.
//
// From the kernel's documentation (Documentation/filesystems/erofs.rst) and its reader, fs/erofs;
// blocks are 4 KiB.
// SPDX-License-Identifier: Apache-2.0
#ifndef EROFS_FS_H
#define EROFS_FS_H

#include "base.h"

#define EROFS_MAGIC 0xe0f5e1e2u
#define EROFS_SUPER_AT 1024 // bytes from the start of the first device

#define EROFS_COMPAT_CHECKSUM 1u
#define EROFS_COMPAT_MTIME 2u
#define EROFS_INCOMPAT_DEVICES 8u // there is a device table (Linux 5.16)

struct erofs_super {
	uint32_t magic;
	uint32_t
		checksum; // crc32c from here to the end of the block, itself as 0; start value all ones, not inverted after
	uint32_t compat;
	uint8_t block_bits;
	uint8_t ext_slots;
	uint16_t root_nid;
	uint64_t inodes;
	uint64_t build_time;
	uint32_t build_time_ns;
	uint32_t blocks;      // of the first device
	uint32_t meta_block;  // node ids count from here
	uint32_t xattr_block; // ids of shared xattrs count from here
	uint8_t uuid[16];
	uint8_t volume[16]; // NUL-terminated
	uint32_t incompat;
	uint16_t algorithms;
	uint16_t devices; // besides the first
	uint16_t
		device_slot; // of the first of them, in units of struct erofs_device from the start of the device
	uint8_t dir_block_bits; // above block_bits
	uint8_t reserved[37];	// of later kernels: xattr prefixes and so on
};
_Static_assert(sizeof(struct erofs_super) == 128, "super block");
_Static_assert(offsetof(struct erofs_super, root_nid) == 14, "super.root_nid");
_Static_assert(offsetof(struct erofs_super, blocks) == 36, "super.blocks");
_Static_assert(offsetof(struct erofs_super, uuid) == 48, "super.uuid");
_Static_assert(offsetof(struct erofs_super, incompat) == 80, "super.incompat");
_Static_assert(offsetof(struct erofs_super, device_slot) == 88, "super.device_slot");

struct erofs_device {
	uint8_t tag[64];
	uint32_t blocks;
	uint32_t mapped; // its first block in the address space of all devices
	uint8_t reserved[56];
};
_Static_assert(sizeof(struct erofs_device) == 128, "device slot");

// A node's number (nid) is its place: meta_block * 4096 + nid * 32.
#define EROFS_NID_BYTES 32u

enum { EROFS_EXTENDED = 1 }; // bit 0 of format: the 64-byte inode
enum {
	EROFS_PLAIN = 0,
	EROFS_INLINE = 2
}; // bits 1-3: all data in blocks; its tail behind inode and xattrs

struct erofs_inode {
	uint16_t format;
	uint16_t xattr_count; // 0: none; else 1 + units of 4 bytes after struct erofs_xattrs
	uint16_t mode;
	uint16_t reserved;
	uint64_t size;
	uint32_t
		u; // file, directory, link: first block; device: its number as new_encode_dev gives it
	uint32_t ino; // for 32-bit stat
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint32_t nlink;
	uint8_t reserved2[16];
};
_Static_assert(sizeof(struct erofs_inode) == 64, "extended inode");
_Static_assert(offsetof(struct erofs_inode, u) == 16, "inode.u");
_Static_assert(offsetof(struct erofs_inode, mtime) == 32, "inode.mtime");

// A directory's data: blocks of these, the names behind them; the bytes of a name end where the
// next begins, those of the last at a NUL or the end. All names, "." and ".." too, in the order of
// their bytes.
struct erofs_dirent {
	uint64_t nid;
	uint16_t name_off; // in its block
	uint8_t type;
	uint8_t reserved;
} __attribute__((packed));
_Static_assert(sizeof(struct erofs_dirent) == 12, "directory entry");

enum erofs_type {
	EROFS_FT_REG = 1,
	EROFS_FT_DIR,
	EROFS_FT_CHR,
	EROFS_FT_BLK,
	EROFS_FT_FIFO,
	EROFS_FT_SOCK,
	EROFS_FT_LNK
};

// A node's xattrs: this, ids of shared ones, then entries of its own.
struct erofs_xattrs {
	uint32_t filter; // Linux 6.6; 0 before and without the feature bit
	uint8_t shared;
	uint8_t reserved[7];
};
_Static_assert(sizeof(struct erofs_xattrs) == 12, "xattr header");

// Then its name without the prefix, its value, zeros up to a multiple of 4. The id of a shared one:
// bytes from xattr_block / 4.
struct erofs_xattr {
	uint8_t name_len;
	uint8_t prefix;
	uint16_t value_len;
};
_Static_assert(sizeof(struct erofs_xattr) == 4, "xattr entry");

enum erofs_prefix {
	EROFS_XATTR_USER = 1,
	EROFS_XATTR_ACL_ACCESS = 2,
	EROFS_XATTR_ACL_DEFAULT = 3,
	EROFS_XATTR_TRUSTED = 4,
	EROFS_XATTR_SECURITY = 6,
};

#endif
