// format.h - doc/format.md in C: the bytes of an index section. All fields little endian.
// SPDX-License-Identifier: Apache-2.0
#ifndef FORMAT_H
#define FORMAT_H

#include "hash.h"

// ---- media types and annotations (doc/format.md section 1) ----
#define MT_OCI_INDEX "application/vnd.oci.image.index.v1+json"
#define MT_OCI_MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define MT_OCI_CONFIG "application/vnd.oci.image.config.v1+json"
#define MT_OCI_LAYER "application/vnd.oci.image.layer.v1.tar" // also with +gzip, +zstd
#define MT_DOCKER_LIST "application/vnd.docker.distribution.manifest.list.v2+json"
#define MT_DOCKER_MANIFEST "application/vnd.docker.distribution.manifest.v2+json"
#define MT_FCPULL_IMAGE "application/vnd.fcpull.image.v1" // artifactType
#define MT_FCPULL_BOOT "application/vnd.fcpull.boot.v1"
#define MT_FCPULL_DATA "application/vnd.fcpull.data.v1"
#define ANN_ORIGINAL \
	"dev.fcpull.original" // on our entry in an index: digest of the original's manifest
#define ANN_INDEX_SIZE "dev.fcpull.index.size"	   // on the boot blob: length of the index section
#define ANN_INDEX_DIGEST "dev.fcpull.index.digest" // on the boot blob: its sha256
#define ANN_SERIAL "dev.fcpull.serial"		   // on a referrer: of several, the greatest counts
#define ANN_LOCAL "dev.fcpull.local"		   // on an index in the store that is no registry's
#define ANN_REF_NAME "org.opencontainers.image.ref.name"

// ---- limits: what a reader accepts. Each is tested at -1, 0 and +1. ----
#define FMT_INDEX_PACKED_MAX (256u << 20) // bytes of an index section as stored
#define FMT_INDEX_MAX (1u << 30)	  // and decoded
#define FMT_SPACES_MAX 512u		  // source layers
#define FMT_BLOCKS_MAX (1ull << 28) // of all data spaces: 1 TiB; bounds the host's maps to 32 MiB
#define FMT_CHUNK_BLOCKS_MAX 1024u  // 4 MiB; zero chunks may be longer
#define FMT_NAME_MAX 255u
#define FMT_LINK_MAX 4095u
#define FMT_XATTR_NAME_MAX 255u
#define FMT_XATTR_SET_MAX 65536u  // names and values of one node
#define FMT_FRAME_BLOCKS_MAX 256u // 1 MiB
#define FMT_DEPTH_MAX 1024u	  // of directories

// ---- what `convert` puts into descriptors (section 1); a reader takes any ----
#define FMT_INLINE_MAX (32u << 10)	    // bytes of a config, of an original's manifest
#define FMT_INLINE_MANIFEST_MAX (96u << 10) // of an accelerated manifest

// ---- packed index section = prefix, then one zstd frame ----
struct fmt_packed {
	uint8_t magic[8];   // FMT_PACKED_MAGIC
	uint32_t codec;	    // CODEC_ZSTD
	uint32_t reserved;  // 0
	uint64_t plain_len; // bytes of the index
};
#define FMT_PACKED_MAGIC "fcpullP1"
_Static_assert(sizeof(struct fmt_packed) == 24, "packed prefix");

enum fmt_section {
	SEC_NODES,
	SEC_DIRENTS,
	SEC_NAMES,
	SEC_XATTRS,
	SEC_SPACES,
	SEC_CHUNKS,
	SEC_FRAMES,
	SEC_RUNS,
	SEC_COUNT
};

struct fmt_header {
	uint8_t magic[8];     // FMT_INDEX_MAGIC
	uint32_t incompat;    // bits that a reader must know: none yet
	uint32_t compat;      // bits that it may ignore
	uint8_t original[32]; // sha256 of the original's manifest
	uint8_t config[32];   // sha256 of its config
	struct {
		uint64_t off, len;
	} section[SEC_COUNT]; // in this order, each at the next multiple of 8, zero padding
	uint8_t reserved[48]; // 0
};
#define FMT_INDEX_MAGIC "fcpullI1"
_Static_assert(sizeof(struct fmt_header) == 256, "header");
_Static_assert(offsetof(struct fmt_header, section) == 80, "header.section");

#define FMT_NO_XATTRS UINT32_MAX
struct fmt_node {
	uint16_t mode;	   // st_mode: type and 07777
	uint16_t reserved; // 0
	uint32_t nlink;
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint32_t xattrs; // number of the xattr set, or FMT_NO_XATTRS
	uint64_t size;	 // file: bytes; symlink: length of its target; directory: entries; else 0
	uint32_t a; // file: space; symlink: offset in NAMES; directory: first entry; device: major
	uint32_t b; // file: block; directory: parent node; device: minor
};
_Static_assert(sizeof(struct fmt_node) == 48, "node");

struct fmt_dirent {
	uint32_t name; // offset in NAMES
	uint16_t name_len;
	uint16_t reserved; // 0
	uint32_t node;
};
_Static_assert(sizeof(struct fmt_dirent) == 12, "dirent");

// XATTRS: uint32 count, count+1 offsets from the section's start, then the sets: pairs of this,
// name, value, zero padding to 4.
struct fmt_xattr {
	uint16_t name_len;
	uint16_t reserved; // 0
	uint32_t value_len;
};
_Static_assert(sizeof(struct fmt_xattr) == 8, "xattr");

struct fmt_space {
	uint8_t layer[32], diff_id[32], blob[32];
	uint64_t blob_size;
	uint32_t blocks;
	uint32_t first_chunk, chunks;
	uint32_t reserved[3]; // 0
};
_Static_assert(sizeof(struct fmt_space) == 128, "space");

struct fmt_chunk {
	uint32_t block, blocks;
	uint32_t clen;
	uint8_t codec;
	uint8_t reserved[3]; // 0
	uint8_t sha[32];
};
_Static_assert(sizeof(struct fmt_chunk) == 48, "chunk");

struct fmt_frame { // boot frames follow the index section in the boot blob, back to back
	uint32_t clen;
	uint32_t blocks; // plain length
	uint32_t first_run, runs;
	uint8_t codec;
	uint8_t reserved[15]; // 0
	uint8_t sha[32];
};
_Static_assert(sizeof(struct fmt_frame) == 64, "frame");

struct fmt_run {
	uint32_t space, block, blocks;
};
_Static_assert(sizeof(struct fmt_run) == 12, "run");

#endif
