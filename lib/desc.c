// desc.c - descriptors (image-spec 1.1, "OCI Content Descriptors")
// SPDX-License-Identifier: Apache-2.0
#include "desc.h"

#include "base64.h"
#include "format.h"
#include "log.h"

int desc_read_digest(yyjson_val *v, const char *key, const char *where, struct digest *ret)
{
	const char *s = json_str(v, key);
	int r = s ? digest_parse(s, ret) : -EINVAL;

	if (r == -ENOTSUP)
		return warn_errno(-EBADMSG,
			"%s: digest %s is of an algorithm that fcpull does not know; sha256 is",
			where, log_quote(s));
	return r ? warn_errno(-EBADMSG, "%s: %s is not a digest", where,
			   s ? log_quote(s) : "a missing value")
		 : 0;
}

int desc_read(yyjson_val *v, const char *where, struct desc *ret, char media_type[static 128])
{
	const char *type = json_str(v, "mediaType");
	uint64_t size;
	int r = desc_read_digest(v, "digest", where, &ret->digest);

	if (r)
		return r;
	if (json_u64(v, "size", &size) || size > INT64_MAX)
		return warn_errno(-EBADMSG, "%s: a descriptor without a proper size", where);
	if (type && strlen(type) > 127)
		return warn_errno(
			-EBADMSG, "%s: media type %s is too long", where, log_quote(type));
	ret->size = size;
	snprintf(media_type, 128, "%s", type ? type : "");
	return 0;
}

char *desc_inline(yyjson_val *v, const char *where)
{
	const char *text = json_str(v, "data");
	size_t n = text ? strlen(text) : 0;
	cleanup_free char *copy = NULL;
	char type[128], s[DIGEST_STR_LEN];
	struct digest is;
	struct desc d;
	ssize_t len;

	if (!text || desc_read(v, where, &d, type))
		return NULL;
	copy = xmalloc(n / 4 * 3 + 4);
	len = base64_decode(text, n, copy);
	if (len >= 0 && (uint64_t)len == d.size) {
		is = sha256_of(copy, (size_t)len);
		copy[len] = 0;
		if (digest_equal(&is, &d.digest))
			return steal(&copy);
	}
	warn("%s: the inline copy of %s is not the right one; it is fetched", where,
		digest_str(&d.digest, s));
	return NULL;
}

// ---- written ----

void desc_open(struct buf *b, const char *key, const char *media_type, const struct desc *d)
{
	char s[DIGEST_STR_LEN];

	json_open(b, key, '{');
	json_put_str(b, "mediaType", media_type);
	json_put_str(b, "digest", digest_str(&d->digest, s));
	json_put_u64(b, "size", d->size);
}

void desc_put_data(struct buf *b, const void *p, size_t n, size_t max)
{
	cleanup_free char *text = NULL;

	if (n > max)
		return;
	text = xmalloc(base64_len(n) + 1);
	base64_encode(p, n, text);
	json_put_strn(b, "data", text, base64_len(n));
}

void desc_put(struct buf *b, const char *key, const char *media_type, const struct desc *d)
{
	desc_open(b, key, media_type, d);
	json_close(b, '}');
}

void desc_put_named(struct buf *b, const char *name, const char *media_type, const struct desc *d)
{
	desc_open(b, NULL, media_type, d);
	if (*name) {
		json_open(b, "annotations", '{');
		json_put_str(b, ANN_REF_NAME, name);
		json_close(b, '}');
	}
	json_close(b, '}');
}
