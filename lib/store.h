// store.h - the local directory: an OCI image layout, plus data spaces and their presence maps
//
//	oci-layout index.json blobs/sha256/HEX	manifests, configs, index sections (lib/layout.c reads and writes these)
//	data/HEX/{blocks,map,sealed}		a data space: sparse file, one bit per 4 KiB block; HEX = index_space_key; seal.h
//	local/HEX				for an original that was pulled whole: digest of the index made here; HEX = its manifest
//	journal/HEX				how its layers were read (journal.h), for a conversion; HEX as in local/
//	accel/						accelerated forms that were made here, or found bad: kept.h
//	use/HEX					an image's last use (its mtime), "pinned" in it; HEX = sha256 of its name in index.json
//	limit					bytes that gc leaves when it is not told otherwise
//	lock					held shared while something is brought in and nothing names it yet; gc's alone
//	tmp/					what is being made (files without names)
//	mnt/					always empty here: where `run` mounts, in a mount namespace of its own
//
// Nothing in it is believed: blobs are hashed when read, blocks when first used, the map is only a
// hint of what to try.
// SPDX-License-Identifier: Apache-2.0
#ifndef STORE_H
#define STORE_H

#include "repo.h"

struct store {
	int fd; // its directory
	char *path;
	struct repo *repo; // its OCI layout, for writing
	int hold;	   // `lock`, or -1
};
// path: NULL = $FCPULL_ROOT, else /var/lib/fcpull for root, else $XDG_DATA_HOME/fcpull or
// ~/.local/share/fcpull. Made (0700) if missing.
int store_open(const char *path, struct store **ret) must_check;
// Its path, whether it is there or not; NULL: there is no place. Caller frees.
char *store_path(const char *path) must_check; // NULL: there is none, logged
// One whose directory is open already (dup'ed); name is for messages. For data, small objects and
// counters: it has no repo.
int store_open_fd(int fd, const char *name, struct store **ret) must_check;
void store_close(struct store *s);

// From here until store_release no gc runs: what is put in stays although nothing names it yet, what
// was found stays found. Waits for one that is under way. Not for long: it is not held over the
// network, and while data is used its spaces' own locks are enough.
void store_hold(struct store *s);
void store_release(struct store *s);
// For gc: alone in the store. A descriptor; -EWOULDBLOCK (silent) when others are not ready and
// `wait` is false; -errno logged.
int store_lock(struct store *s, bool wait) must_check;

// The image of this name in index.json was used now.
void store_touch(struct store *s, const char *key);
// Pinned images are never trimmed. -errno logged.
int store_pin(struct store *s, const char *key, bool pinned) must_check;
// When, and whether; 0 if it never was (it is of another fcpull).
int64_t store_last_use(struct store *s, const char *key, bool *ret_pinned);
void store_forget_use(struct store *s, const char *key);

// Small objects by content. get: -ENOENT silent; a damaged one is removed and -ENOENT. Caller
// frees.
int store_put(struct store *s, const struct digest *d, const void *p, size_t n) must_check;
int store_get(struct store *s, const struct digest *d, size_t max, char **ret,
	size_t *ret_len) must_check;

// The index that a plain pull of this original has left here. -ENOENT silent.
int store_local_index(
	struct store *s, const struct digest *manifest, struct digest *ret) must_check;
int store_set_local_index(
	struct store *s, const struct digest *manifest, const struct digest *index) must_check;
// Forgets the journal too.
void store_forget_local_index(struct store *s, const struct digest *manifest);
// The journal of that pull: open for reading, or -ENOENT, silent. adopt: gives a file without a name
// its place there; -errno, silent.
int store_journal(struct store *s, const struct digest *manifest) must_check;
int store_adopt_journal(struct store *s, int fd, const struct digest *manifest) must_check;

// A data space opened for reading and writing. Whoever has one open holds a shared lock (flock) on
// data/KEY: who is to remove it takes an exclusive one first, and holds that until it is gone.
struct space_file {
	int fd;	      // blocks
	int dir;      // data/KEY; valid while fd is
	uint8_t *map; // one bit per block, shared between processes; changed with atomic OR
	size_t map_len;
};
// Opens or makes data/KEY for `blocks` blocks. A file of another size is emptied.
int store_space(struct store *s, const struct digest *key, uint32_t blocks,
	struct space_file *ret) must_check;
void space_file_close(struct space_file *f);
bool space_has(const struct space_file *f, uint32_t block, uint32_t n);
void space_mark(struct space_file *f, uint32_t block, uint32_t n, bool present);

// The open directory data/KEY of a space that exists, with the shared lock. -ENOENT, silent.
int store_space_dir(struct store *s, const struct digest *key) must_check;

// A new file without a name; store_adopt gives it its place as data/KEY/blocks, with a full map.
int store_tmp(struct store *s) must_check;
int store_adopt(struct store *s, int fd, const struct digest *key, uint32_t blocks) must_check;

#endif
