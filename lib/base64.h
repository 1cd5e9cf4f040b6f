// base64.h - base64 (RFC 4648 section 4)
// SPDX-License-Identifier: Apache-2.0
#ifndef BASE64_H
#define BASE64_H

#include "base.h"

// Characters that n bytes take, without a NUL.
static inline size_t base64_len(size_t n)
{
	return (n + 2) / 3 * 4;
}
// Writes base64_len(n) characters and a NUL.
void base64_encode(const void *p, size_t n, char *out);
// Decodes n characters into out, which has room for n / 4 * 3 + 3 bytes. Padding may be missing.
// The number of bytes, or -EBADMSG (silent).
ssize_t base64_decode(const char *s, size_t n, void *out) must_check;

#endif
