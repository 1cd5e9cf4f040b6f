// json.h - strict JSON (RFC 8259) in, by yyjson; a small emitter out
//
// The edge for every JSON document that fcpull reads: json_parse bounds the size, the depth and
// the number of values before anything is allocated for them, and refuses duplicate keys: readers
// disagree on which of the two counts, so a document that has them means different things to
// different programs (RFC 8259 section 4). What it returns is read with the getters here, which
// check types, or with yyjson's own. Strings from the network may be hostile: log_quote() them.
// SPDX-License-Identifier: Apache-2.0
#ifndef JSON_H
#define JSON_H

#include "base.h"

#include <yyjson.h>

#define JSON_SIZE_MAX (16u << 20)  // bytes of a document
#define JSON_DEPTH_MAX 64	   // objects and arrays inside each other
#define JSON_VALUES_MAX (1u << 20) // values of a document: bounds memory to about 32 bytes each

// Parses n bytes (copied; no NUL needed). `name` is said in messages, which show the first bytes:
// "config of 'alpine'", quoted by the caller; NULL = silent (secrets). -EBADMSG logged with the
// offset, -ENOMEM. The document is freed by yyjson_doc_free, or at the scope's end with
// cleanup_json.
int json_parse(const void *p, size_t n, const char *name, yyjson_doc **ret) must_check;
#define cleanup_json __attribute__((cleanup(json_free_p)))
static inline void json_free_p(yyjson_doc **d)
{
	yyjson_doc_free(*d);
	*d = NULL;
}
// The same for a document with secrets: its text is overwritten first.
#define cleanup_json_secret __attribute__((cleanup(json_free_secret)))
void json_free_secret(yyjson_doc **d);
static inline yyjson_val *json_root(yyjson_doc *d)
{
	return yyjson_doc_get_root(d);
}

// The member `key` of an object; json_path walks keys separated by '/' ("rootfs/diff_ids"). NULL
// when it is not there, when it is null, or when v is NULL or no object: calls can be chained.
yyjson_val *json_get(yyjson_val *v, const char *key);
yyjson_val *json_path(yyjson_val *v, const char *path);

// A string's bytes, NULL for any other value (also NULL) and for strings that contain a NUL: C
// cannot say them. Borrowed from the document.
const char *json_str_of(yyjson_val *v);
// The same for a member. json_get_str tells apart: 0; -ENOENT, not there (or null); -EBADMSG, not
// a string or with a NUL. Silent.
const char *json_str(yyjson_val *obj, const char *key);
int json_get_str(yyjson_val *obj, const char *key, const char **ret) must_check;
// An integer 0..2^64-1, without fraction and exponent: 0, -ENOENT, -EBADMSG as above.
int json_u64(yyjson_val *obj, const char *key, uint64_t *ret) must_check;
int json_i64(yyjson_val *obj, const char *key, int64_t *ret) must_check;
// `otherwise` when it is not there or no boolean.
bool json_bool(yyjson_val *obj, const char *key, bool otherwise);
// The member if it is an array (an object), else NULL. Iterate with yyjson_arr_iter /
// yyjson_obj_iter (yyjson_arr_get is O(n)).
yyjson_val *json_arr(yyjson_val *obj, const char *key);
yyjson_val *json_obj(yyjson_val *obj, const char *key);

// ---- the emitter: appends to a buffer; commas come by themselves. ----
// `key` is NULL inside an array and at the top. So {"a":"x","l":[1]} is
//	json_open(&b, NULL, '{');
//	json_put_str(&b, "a", "x");
//	json_open(&b, "l", '[');
//	json_put_u64(&b, NULL, 1);
//	json_close(&b, ']');
//	json_close(&b, '}');
// Use a buffer of its own for each document.
void json_open(struct buf *b, const char *key, char bracket);
void json_close(struct buf *b, char bracket);
void json_put_str(struct buf *b, const char *key, const char *s); // s = NULL: null
void json_put_strn(struct buf *b, const char *key, const char *s, size_t n);
void json_put_u64(struct buf *b, const char *key, uint64_t v);
void json_put_i64(struct buf *b, const char *key, int64_t v);
void json_put_bool(struct buf *b, const char *key, bool v);
// A parsed value as it is (numbers in their shortest form): 0 or -ENOMEM.
int json_put_val(struct buf *b, const char *key, yyjson_val *v) must_check;
// JSON text that the caller vouches for.
void json_put_raw(struct buf *b, const char *key, const char *json, size_t n);
// Only the quoted string, "..." included. Bytes that are no UTF-8 become U+FFFD.
void json_escape(struct buf *b, const char *s, size_t n);

#endif
