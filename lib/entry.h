// entry.h - what an index lists (image-spec 1.1, "OCI Image Index"), and which of it is ours
// SPDX-License-Identifier: Apache-2.0
#ifndef ENTRY_H
#define ENTRY_H

#include "desc.h"
#include "platform.h"

#define INDEX_ENTRIES_MAX 1024

struct entry {
	char digest[DIGEST_STR_LEN]; // "" = none
	uint64_t size;
	char media_type[128];
	struct platform platform;
	char *copy; // inline, or NULL; owned
};

// For an entry of an index: the digest text of the original that it is the accelerated form of,
// else NULL. The annotation decides: skopeo before 1.14 drops a descriptor's artifactType when it
// copies an index.
const char *entry_original(yyjson_val *v);
bool entry_is_ours(yyjson_val *v);
// Its descriptor (the platform is not looked at). `where` is said in messages. -EBADMSG logged.
int entry_read(yyjson_val *v, const char *where, struct entry *ret) must_check;
// Our entry for this original; digest "" when there is none. Two of them that differ are a
// contradiction: neither is used. -EBADMSG logged.
int entry_find_accel(
	yyjson_val *index, const char *original, const char *where, struct entry *ret) must_check;

#endif
