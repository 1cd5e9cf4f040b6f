// index.h - the index section: tree, chunk tables, boot table; checked once, then read in place
//
// The layout is doc/format.md's; format.h mirrors it. An index that index_open() has accepted is
// safe to walk without any further check: every offset, count, name and link in it has been proved.
// Immutable: any thread may read it.
// SPDX-License-Identifier: Apache-2.0
#ifndef INDEX_H
#define INDEX_H

#include "hash.h"

struct index;

// Checks a decoded index section and wraps it. Takes buf (malloc'ed) over on success. `name` is
// used in messages.
// -EBADMSG with what and where; -ENOMEM.
int index_open(void *buf, size_t len, const char *name, struct index **ret) must_check;
void index_free(struct index *ix);
// The serialised bytes, as given to index_open.
const void *index_bytes(const struct index *ix, size_t *ret_len);

// ---- tree. Nodes are numbered from 0; 0 is the root directory. ----
#define NODE_NONE UINT32_MAX

struct attr {
	uint32_t mode;	// type and permission bits as in st_mode
	uint32_t nlink; // directories: 2 + subdirectories; else: number of names
	uint32_t uid, gid;
	int64_t mtime;
	uint32_t mtime_ns;
	uint64_t
		size; // file: bytes; symlink: length of target; directory: 4096-multiple, by convention of entries
	uint32_t rdev_major, rdev_minor;
	uint32_t space; // file of size > 0: its data space ...
	uint32_t block; // ... and first block there
	bool has_xattrs;
};
uint32_t index_nodes(const struct index *ix);
void index_attr(const struct index *ix, uint32_t node, struct attr *ret);

struct dirent_view {
	const char *name;  // not NUL-terminated
	uint32_t name_len; // 1..255
	uint32_t node;
	uint32_t type; // st_mode's S_IFMT bits
};
// Entries of a directory, sorted by name bytes, without "." and "..".
uint32_t index_dir_count(const struct index *ix, uint32_t dir);
void index_dirent(const struct index *ix, uint32_t dir, uint32_t i, struct dirent_view *ret);
uint32_t index_parent(const struct index *ix, uint32_t dir); // of a directory; root's is root
uint32_t index_lookup(
	const struct index *ix, uint32_t dir, const char *name, size_t len); // or NODE_NONE
// Walks a path from the root ("a/b/c", "/a//b/."), not following links; NODE_NONE if absent.
uint32_t index_path(const struct index *ix, const char *path);
const char *index_symlink(
	const struct index *ix, uint32_t node, uint32_t *ret_len); // not NUL-terminated

struct xattr_view {
	const char *name; // full name "security.capability", not NUL-terminated
	uint32_t name_len;
	const uint8_t *value;
	uint32_t value_len;
};
uint32_t index_xattr_count(const struct index *ix, uint32_t node);
void index_xattr(const struct index *ix, uint32_t node, uint32_t i,
	struct xattr_view *ret); // sorted by name

// ---- data spaces and their chunks ----
enum codec { CODEC_STORED, CODEC_LZ4, CODEC_ZSTD, CODEC_ZERO = 0xff };

struct space_view {
	struct digest layer;   // digest of the source layer's blob, compressed as published
	struct digest diff_id; // sha256 of the layer's tar
	struct digest
		blob; // digest of the data blob; all zero when there is no blob (plain pull: data is local only)
	uint64_t blob_size;
	uint32_t blocks; // length of the space
	uint32_t first_chunk, chunks;
	bool has_blob;
};
struct chunk_view {
	uint32_t space;
	uint32_t block;	 // first block in its space
	uint32_t blocks; // length
	enum codec codec;
	uint64_t off;	   // in the data blob
	uint32_t clen;	   // compressed bytes
	struct digest sha; // of the plain bytes, blocks * BLOCK_BYTES of them
};
uint32_t index_spaces(const struct index *ix);
void index_space(const struct index *ix, uint32_t space, struct space_view *ret);
uint32_t index_chunks(const struct index *ix); // of all spaces; numbered in space order
void index_chunk(const struct index *ix, uint32_t chunk, struct chunk_view *ret);
// The chunk that holds a block (block < the space's blocks).
uint32_t index_chunk_at(const struct index *ix, uint32_t space, uint32_t block);

// Name of the space's contents for the store: sha256 over places and digests of its chunks,
// computed here, so that two images share blocks on a host only when these are the same by proof,
// never by claim. The codec does not enter.
struct digest index_space_key(const struct index *ix, uint32_t space);

// ---- the boot stream: frames in the order in which a start needs them ----
struct frame_view {
	uint64_t off; // behind the packed index, in the boot blob
	uint32_t clen;
	uint32_t blocks; // plain length, 1..FMT_FRAME_BLOCKS_MAX
	enum codec codec;
	struct digest sha; // of the plain bytes: the blocks of its runs, one after the other
	uint32_t first_run, runs;
};
struct run_view {
	uint32_t space, block, blocks;
};
uint32_t index_frames(const struct index *ix);
void index_frame(const struct index *ix, uint32_t frame, struct frame_view *ret);
void index_run(const struct index *ix, uint32_t run, struct run_view *ret);
// Name in the store of the frames' plain bytes, one after the other, at most FMT_BLOCKS_MAX blocks.
// They are apart from the spaces, whose chunks prove something else: what an image claims to be a
// block of a space must not get to where other images have it.
struct digest index_boot_key(const struct index *ix);
uint64_t index_frames_size(const struct index *ix); // bytes of all frames in the boot blob
uint32_t index_frames_blocks(
	const struct index *ix); // blocks of all frames, at most FMT_BLOCKS_MAX

// ---- what the image is ----
struct digest index_original(const struct index *ix); // digest of the original's manifest
struct digest index_config(const struct index *ix);   // digest of its config

#endif
