// hash.h - SHA-256 (FIPS 180-4) with SHA-NI or ARMv8 instructions, and OCI digests
// SPDX-License-Identifier: Apache-2.0
#ifndef HASH_H
#define HASH_H

#include "base.h"

#define SHA256_LEN 32
#define DIGEST_STR_LEN 72 // "sha256:" + 64 hex + NUL

struct digest {
	uint8_t b[SHA256_LEN];
};

struct sha256 {
	uint32_t h[8];
	uint64_t len; // bytes so far
	uint8_t block[64];
};

void sha256_init(struct sha256 *s);
void sha256_update(struct sha256 *s, const void *p, size_t n);
// Two hashes over n bytes each, in step where the CPU gains by it (SHA-NI: 1.45 x), so at the cost
// of two updates or less. a and b differ.
void sha256_update2(struct sha256 *a, const void *pa, struct sha256 *b, const void *pb, size_t n);
struct digest sha256_final(struct sha256 *s);
struct digest sha256_of(const void *p, size_t n);
// Both of n bytes.
void sha256_of2(const void *p, const void *q, size_t n, struct digest *ret_p, struct digest *ret_q);
// Name of the implementation in use: "sha-ni", "armv8", "portable". sha256_force() picks one by
// name (tests; -ENOTSUP when the CPU lacks it); call before any other thread hashes.
const char *sha256_impl(void);
int sha256_force(const char *name);

static inline bool digest_equal(const struct digest *a, const struct digest *b)
{
	return memcmp(a->b, b->b, SHA256_LEN) == 0;
}
// "sha256:<64 lower-case hex>" exactly; -EINVAL otherwise, silent. sha512 and others: -ENOTSUP,
// silent.
int digest_parse(const char *s, struct digest *ret) must_check;
int digest_parse_n(const char *s, size_t n, struct digest *ret) must_check;
// Writes "sha256:..." to out and returns it; digest_hex is the 64 hex digits alone.
const char *digest_str(const struct digest *d, char out[static DIGEST_STR_LEN]);
const char *digest_hex(const struct digest *d, char out[static 65]);

#endif
