// json.c - strict JSON (RFC 8259) in, by yyjson; a small emitter out
// SPDX-License-Identifier: Apache-2.0
#include "json.h"
#include "log.h"

static int printf_like(2, 3) bad(const char *name, const char *fmt, ...)
{
	char why[512];
	va_list ap;

	if (!name)
		return -EBADMSG;
	va_start(ap, fmt);
	vsnprintf(why, sizeof why, fmt, ap);
	va_end(ap);
	return warn_errno(-EBADMSG, "%s: %s", name, why);
}

// ---- before parsing: what would it take? ----

// yyjson does not recurse, but it allocates 16 bytes per value and what walks a document
// afterwards may go deep. Quotes and brackets tell both without a parser: values <= commas +
// openings + colons + 1.
static int measure(const uint8_t *p, size_t n, const char *name)
{
	size_t depth = 0, values = 1;
	bool in_string = false;

	for (size_t i = 0; i < n; i++) {
		uint8_t c = p[i];

		if (in_string) {
			if (c == '\\')
				i++;
			else if (c == '"')
				in_string = false;
			continue;
		}
		if (c == '"')
			in_string = true;
		else if (c == '}' || c == ']')
			depth -= depth > 0;
		else if (c == '{' || c == '[')
			depth++, values++;
		else if (c == ',' || c == ':')
			values++;
		if (depth > JSON_DEPTH_MAX)
			return bad(name, "JSON nested deeper than %d", JSON_DEPTH_MAX);
		if (values > JSON_VALUES_MAX)
			return bad(name, "JSON of more than %u values", JSON_VALUES_MAX);
	}
	return 0;
}

// ---- after parsing: duplicate keys ----

static int key_order(const void *a, const void *b)
{
	yyjson_val *ka = *(yyjson_val *const *)a, *kb = *(yyjson_val *const *)b;
	size_t na = yyjson_get_len(ka), nb = yyjson_get_len(kb);

	if (na != nb)
		return na < nb ? -1 : 1;
	return memcmp(yyjson_get_str(ka), yyjson_get_str(kb), na);
}

// The second of two equal keys, or NULL. `keys` has room for all.
static yyjson_val *find_twice(yyjson_val *obj, yyjson_val **keys)
{
	yyjson_obj_iter it = yyjson_obj_iter_with(obj);
	size_t n = 0;

	for (yyjson_val *k; (k = yyjson_obj_iter_next(&it));)
		keys[n++] = k;
	qsort(keys, n, sizeof *keys, key_order);
	for (size_t i = 1; i < n; i++)
		if (key_order(&keys[i - 1], &keys[i]) == 0)
			return keys[i];
	return NULL;
}

// yyjson keeps a document's values in one array, in the order of the text, so no recursion is
// needed to see them all.
static int refuse_duplicates(yyjson_doc *doc, const char *name)
{
	cleanup_free yyjson_val **keys = NULL;
	size_t room = 0;
	yyjson_val *v = yyjson_doc_get_root(doc);

	for (size_t left = yyjson_doc_get_val_count(doc); left > 0; left--, v++) {
		size_t n = yyjson_obj_size(v);

		if (n < 2)
			continue;
		if (n > room) {
			yyjson_val **more = realloc(keys, 2 * n * sizeof *more);

			if (!more)
				return -ENOMEM;
			keys = more;
			room = 2 * n;
		}
		yyjson_val *twice = find_twice(v, keys);

		if (twice)
			return bad(name, "JSON has the key %s twice in one object",
				log_quote_n(yyjson_get_str(twice), yyjson_get_len(twice)));
	}
	return 0;
}

int json_parse(const void *p, size_t n, const char *name, yyjson_doc **ret)
{
	yyjson_read_err err = { 0 };

	if (n > JSON_SIZE_MAX)
		return bad(name, "JSON of %zu bytes, more than %u", n, JSON_SIZE_MAX);
	int r = measure(p, n, name);

	if (r < 0)
		return r;
	// Without YYJSON_READ_INSITU the text is not written to; the cast is the interface's.
	cleanup_json yyjson_doc *doc =
		yyjson_read_opts((char *)(uintptr_t)p, n, YYJSON_READ_NOFLAG, NULL, &err);

	if (!doc && err.code == YYJSON_READ_ERROR_MEMORY_ALLOCATION)
		return -ENOMEM;
	if (!doc)
		return bad(name, "not JSON at byte %zu: %s; it begins with %s", err.pos, err.msg,
			log_quote_n(p ? p : "", MIN(n, (size_t)50)));
	r = refuse_duplicates(doc, name);
	if (r < 0)
		return r;
	*ret = steal(&doc);
	return 0;
}

void json_free_secret(yyjson_doc **d)
{
	// yyjson copies the text and unescapes strings in the copy, so they are all within it
	if (*d && (*d)->str_pool)
		explicit_bzero((*d)->str_pool, (*d)->dat_read);
	json_free_p(d);
}

// ---- getters ----

static yyjson_val *get_n(yyjson_val *v, const char *key, size_t n)
{
	yyjson_val *m = yyjson_obj_getn(v, key, n);

	return yyjson_is_null(m) ? NULL : m;
}

yyjson_val *json_get(yyjson_val *v, const char *key)
{
	return get_n(v, key, strlen(key));
}

yyjson_val *json_path(yyjson_val *v, const char *path)
{
	for (;;) {
		size_t n = strcspn(path, "/");

		v = get_n(v, path, n);
		if (!v || !path[n])
			return v;
		path += n + 1;
	}
}

const char *json_str_of(yyjson_val *v)
{
	const char *s = yyjson_get_str(v);

	return s && strlen(s) == yyjson_get_len(v) ? s : NULL;
}

const char *json_str(yyjson_val *obj, const char *key)
{
	return json_str_of(json_get(obj, key));
}

int json_get_str(yyjson_val *obj, const char *key, const char **ret)
{
	yyjson_val *v = json_get(obj, key);
	const char *s = json_str_of(v);

	if (!s)
		return v ? -EBADMSG : -ENOENT;
	*ret = s;
	return 0;
}

int json_u64(yyjson_val *obj, const char *key, uint64_t *ret)
{
	yyjson_val *v = json_get(obj, key);

	if (!v)
		return -ENOENT;
	if (!yyjson_is_uint(v))
		return -EBADMSG;
	*ret = yyjson_get_uint(v);
	return 0;
}

int json_i64(yyjson_val *obj, const char *key, int64_t *ret)
{
	yyjson_val *v = json_get(obj, key);

	if (!v)
		return -ENOENT;
	if (!yyjson_is_int(v) || (yyjson_is_uint(v) && yyjson_get_uint(v) > INT64_MAX))
		return -EBADMSG;
	*ret = yyjson_get_sint(v);
	return 0;
}

bool json_bool(yyjson_val *obj, const char *key, bool otherwise)
{
	yyjson_val *v = json_get(obj, key);

	return yyjson_is_bool(v) ? yyjson_get_bool(v) : otherwise;
}

yyjson_val *json_arr(yyjson_val *obj, const char *key)
{
	yyjson_val *v = json_get(obj, key);

	return yyjson_is_arr(v) ? v : NULL;
}

yyjson_val *json_obj(yyjson_val *obj, const char *key)
{
	yyjson_val *v = json_get(obj, key);

	return yyjson_is_obj(v) ? v : NULL;
}

// ---- the emitter ----

// How long a sequence its first byte announces; 0 = it cannot be a first byte.
static size_t utf8_claim(uint8_t c)
{
	if (c < 0x80)
		return 1;
	if (c < 0xc2 || c > 0xf4)
		return 0;
	return c < 0xe0 ? 2 : c < 0xf0 ? 3 : 4;
}

// Length of the UTF-8 sequence at p (RFC 3629: no overlong forms, no surrogates, <= U+10FFFF), 0
// when it is none.
static size_t utf8_len(const uint8_t *p, size_t n)
{
	size_t len = utf8_claim(p[0]);

	if (len == 0 || len > n)
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
		(p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return len;
}

static void escape_ascii(struct buf *b, uint8_t c)
{
	static const char special[] = "\"\\\b\f\n\r\t", letter[] = "\"\\bfnrt";
	const char *at = c ? strchr(special, c) : NULL;

	if (at)
		buf_add(b, (const char[]){ '\\', letter[at - special] }, 2);
	else if (c < 0x20 || c == 0x7f)
		buf_printf(b, "\\u%04x", c);
	else
		buf_add(b, &c, 1);
}

void json_escape(struct buf *b, const char *s, size_t n)
{
	const uint8_t *p = (const uint8_t *)s;

	buf_add(b, "\"", 1);
	for (size_t i = 0; i < n;) {
		size_t len = utf8_len(p + i, n - i);

		if (len == 1)
			escape_ascii(b, p[i]);
		else if (len > 1)
			buf_add(b, p + i, len);
		else
			buf_add(b, "\\ufffd", 6);
		i += MAX(len, (size_t)1);
	}
	buf_add(b, "\"", 1);
}

// A comma unless this is the first thing in its object or array: strings end with a quote, so an
// opening bracket as the last byte is a bracket.
static void put_key(struct buf *b, const char *key)
{
	if (b->len > 0 && b->data[b->len - 1] != '{' && b->data[b->len - 1] != '[')
		buf_add(b, ",", 1);
	if (!key)
		return;
	json_escape(b, key, strlen(key));
	buf_add(b, ":", 1);
}

void json_open(struct buf *b, const char *key, char bracket)
{
	put_key(b, key);
	buf_add(b, &bracket, 1);
}

void json_close(struct buf *b, char bracket)
{
	buf_add(b, &bracket, 1);
}

void json_put_raw(struct buf *b, const char *key, const char *json, size_t n)
{
	put_key(b, key);
	buf_add(b, json, n);
}

void json_put_strn(struct buf *b, const char *key, const char *s, size_t n)
{
	put_key(b, key);
	json_escape(b, s, n);
}

void json_put_str(struct buf *b, const char *key, const char *s)
{
	if (s)
		json_put_strn(b, key, s, strlen(s));
	else
		json_put_raw(b, key, "null", 4);
}

void json_put_u64(struct buf *b, const char *key, uint64_t v)
{
	put_key(b, key);
	buf_printf(b, "%llu", (unsigned long long)v);
}

void json_put_i64(struct buf *b, const char *key, int64_t v)
{
	put_key(b, key);
	buf_printf(b, "%lld", (long long)v);
}

void json_put_bool(struct buf *b, const char *key, bool v)
{
	json_put_raw(b, key, v ? "true" : "false", v ? 4 : 5);
}

int json_put_val(struct buf *b, const char *key, yyjson_val *v)
{
	size_t n;
	cleanup_free char *s = yyjson_val_write(v, YYJSON_WRITE_NOFLAG, &n);

	if (!s)
		return -ENOMEM;
	json_put_raw(b, key, s, n);
	return 0;
}
