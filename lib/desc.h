// desc.h - descriptors (image-spec 1.1, "OCI Content Descriptors"), read and written
// SPDX-License-Identifier: Apache-2.0
#ifndef DESC_H
#define DESC_H

#include "json.h"
#include "repo.h"

// `where` is said in messages. -EBADMSG logged.
int desc_read_digest(
	yyjson_val *v, const char *key, const char *where, struct digest *ret) must_check;
// media_type: "" when there is none.
int desc_read(
	yyjson_val *v, const char *where, struct desc *ret, char media_type[static 128]) must_check;
// The bytes that a descriptor carries of what it describes (its size of them, and a NUL behind), or
// NULL: there are none, or they are not what it describes, which is warned of. Caller frees.
char *desc_inline(yyjson_val *v, const char *where) must_check;

// Opens a descriptor: mediaType, digest and size are written, the caller adds what it has and closes
// it. key: its name in an object, NULL in an array.
void desc_open(struct buf *b, const char *key, const char *media_type, const struct desc *d);
// Into an open one: a copy of what it describes, if that has no more than max bytes, so that a reader
// need not ask for it (image-spec, "data").
void desc_put_data(struct buf *b, const void *p, size_t n, size_t max);
// A whole one, with nothing else in it.
void desc_put(struct buf *b, const char *key, const char *media_type, const struct desc *d);
// One in an index of a layout, with its name as the image-spec has it; "" = none.
void desc_put_named(struct buf *b, const char *name, const char *media_type, const struct desc *d);

#endif
