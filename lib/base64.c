// base64.c - base64 (RFC 4648 section 4)
// SPDX-License-Identifier: Apache-2.0
#include "base64.h"

static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

void base64_encode(const void *from, size_t n, char *out)
{
	const uint8_t *p = from;

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)p[i] << 16 | (i + 1 < n ? (uint32_t)p[i + 1] << 8 : 0) |
			(i + 2 < n ? p[i + 2] : 0);

		*out++ = digits[v >> 18];
		*out++ = digits[v >> 12 & 63];
		*out++ = i + 1 < n ? digits[v >> 6 & 63] : '=';
		*out++ = i + 2 < n ? digits[v & 63] : '=';
	}
	*out = 0;
}

static int value_of(char c)
{
	const char *at = c ? strchr(digits, c) : NULL;

	return at ? (int)(at - digits) : -1;
}

ssize_t base64_decode(const char *s, size_t n, void *out)
{
	uint8_t *to = out;
	uint32_t bits = 0;
	unsigned have = 0;

	for (unsigned i = 0; i < 2 && n && s[n - 1] == '='; i++)
		n--;
	for (size_t i = 0; i < n; i++) {
		int v = value_of(s[i]);

		if (v < 0)
			return -EBADMSG;
		bits = bits << 6 | (uint32_t)v;
		have += 6;
		if (have >= 8)
			*to++ = (uint8_t)(bits >> (have -= 8));
	}
	return have < 6 ? to - (uint8_t *)out : -EBADMSG;
}
