// hash.c - SHA-256 (FIPS 180-4): one portable transform and two by CPU instructions; OCI digests
// SPDX-License-Identifier: Apache-2.0
//
// Every layer byte passes here once or twice, so the transform takes many blocks per call and is
// chosen at run time. Threads: the choice is an atomic pointer that every thread would set to the
// same value.
#include "hash.h"

#include <stdatomic.h>

#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#elif defined(__aarch64__)
#if defined(__clang__) && !defined(__ARM_FEATURE_SHA2)
#define __ARM_FEATURE_SHA2 1 // clang before 16 hides the intrinsics from a target attribute
#endif
#include <arm_neon.h>
#include <sys/auxv.h>
#endif

// Mixes n blocks of 64 bytes into h.
typedef void sha256_blocks(uint32_t h[8], const uint8_t *p, size_t n);
// The same for two independent hashes.
typedef void sha256_blocks2(
	uint32_t h[8], const uint8_t *p, uint32_t g[8], const uint8_t *q, size_t n);

// FIPS 180-4 section 4.2.2
// clang-format off
static const uint32_t K[64] __attribute__((aligned(16))) = {
	0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1,
	0x923f82a4, 0xab1c5ed5, 0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3,
	0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174, 0xe49b69c1, 0xefbe4786,
	0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
	0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147,
	0x06ca6351, 0x14292967, 0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13,
	0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85, 0xa2bfe8a1, 0xa81a664b,
	0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
	0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a,
	0x5b9cca4f, 0x682e6ff3, 0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208,
	0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2,
};
// clang-format on

//
// Portable.
//

static inline uint32_t rotr(uint32_t x, unsigned n)
{
	return x >> n | x << (32 - n);
}

static inline uint32_t load_be32(const uint8_t *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof v);
	return __builtin_bswap32(v);
}

static inline void store_be32(uint8_t *p, uint32_t v)
{
	v = __builtin_bswap32(v);
	memcpy(p, &v, sizeof v);
}

// The message schedule, FIPS 180-4 section 6.2.2 step 1; the window of 16 words is reused.
static inline uint32_t schedule(uint32_t w[16], unsigned i)
{
	uint32_t a = w[(i + 1) & 15], b = w[(i + 14) & 15];

	if (i >= 16)
		w[i & 15] += (rotr(a, 7) ^ rotr(a, 18) ^ a >> 3) + w[(i + 9) & 15] +
			(rotr(b, 17) ^ rotr(b, 19) ^ b >> 10);
	return w[i & 15];
}

// One round on the rotated window s[0..7] = a..h: instead of moving the words, i says where a is.
static inline void round_at(uint32_t s[8], unsigned i, uint32_t kw)
{
	uint32_t a = s[(0 - i) & 7], b = s[(1 - i) & 7], c = s[(2 - i) & 7];
	uint32_t e = s[(4 - i) & 7], f = s[(5 - i) & 7], g = s[(6 - i) & 7];
	uint32_t *h = &s[(7 - i) & 7];

	*h += (rotr(e, 6) ^ rotr(e, 11) ^ rotr(e, 25)) + (g ^ (e & (f ^ g))) + kw;
	s[(3 - i) & 7] += *h;
	*h += (rotr(a, 2) ^ rotr(a, 13) ^ rotr(a, 22)) + ((a & b) | (c & (a | b)));
}

static void blocks_portable(uint32_t h[8], const uint8_t *p, size_t n)
{
	for (; n; n--, p += 64) {
		uint32_t w[16], s[8];

		memcpy(s, h, sizeof s);
		for (size_t i = 0; i < 16; i++)
			w[i] = load_be32(p + 4 * i);
		for (unsigned i = 0; i < 64; i += 8) {
			round_at(s, 0, K[i + 0] + schedule(w, i + 0));
			round_at(s, 1, K[i + 1] + schedule(w, i + 1));
			round_at(s, 2, K[i + 2] + schedule(w, i + 2));
			round_at(s, 3, K[i + 3] + schedule(w, i + 3));
			round_at(s, 4, K[i + 4] + schedule(w, i + 4));
			round_at(s, 5, K[i + 5] + schedule(w, i + 5));
			round_at(s, 6, K[i + 6] + schedule(w, i + 6));
			round_at(s, 7, K[i + 7] + schedule(w, i + 7));
		}
		for (unsigned i = 0; i < 8; i++)
			h[i] += s[i];
	}
}

static bool have_portable(void)
{
	return true;
}

#if defined(__x86_64__)
//
// SHA-NI. The instructions want the state as ABEF and CDGH (Intel SDM, SHA256RNDS2).
//
#define SHA_NI __attribute__((target("sha,sse4.1,ssse3")))

struct ni {
	__m128i abef, cdgh;
	__m128i w[4]; // 16 words of the schedule
};

// Four rounds, and the part of the schedule that they can prepare. r is a constant after inlining.
SHA_NI __attribute__((always_inline)) static inline void ni_rounds4(struct ni *x, size_t r)
{
	__m128i *cur = &x->w[r & 3], *next = &x->w[(r + 1) & 3], *prev = &x->w[(r + 3) & 3];
	__m128i k = _mm_add_epi32(*cur, _mm_load_si128((const __m128i *)(const void *)&K[4 * r]));

	x->cdgh = _mm_sha256rnds2_epu32(x->cdgh, x->abef, k);
	if (r >= 3 && r < 15) {
		*next = _mm_add_epi32(*next, _mm_alignr_epi8(*cur, *prev, 4));
		*next = _mm_sha256msg2_epu32(*next, *cur);
	}
	x->abef = _mm_sha256rnds2_epu32(x->abef, x->cdgh, _mm_shuffle_epi32(k, 0x0e));
	if (r >= 1 && r < 13)
		*prev = _mm_sha256msg1_epu32(*prev, *cur);
}

SHA_NI __attribute__((always_inline)) static inline void ni_block(struct ni *x)
{
	ni_rounds4(x, 0);
	ni_rounds4(x, 1);
	ni_rounds4(x, 2);
	ni_rounds4(x, 3);
	ni_rounds4(x, 4);
	ni_rounds4(x, 5);
	ni_rounds4(x, 6);
	ni_rounds4(x, 7);
	ni_rounds4(x, 8);
	ni_rounds4(x, 9);
	ni_rounds4(x, 10);
	ni_rounds4(x, 11);
	ni_rounds4(x, 12);
	ni_rounds4(x, 13);
	ni_rounds4(x, 14);
	ni_rounds4(x, 15);
}

SHA_NI __attribute__((always_inline)) static inline void ni_both(
	struct ni *x, struct ni *y, size_t r)
{
	ni_rounds4(x, r);
	ni_rounds4(y, r);
}

SHA_NI __attribute__((always_inline)) static inline void ni_block2(struct ni *x, struct ni *y)
{
	ni_both(x, y, 0);
	ni_both(x, y, 1);
	ni_both(x, y, 2);
	ni_both(x, y, 3);
	ni_both(x, y, 4);
	ni_both(x, y, 5);
	ni_both(x, y, 6);
	ni_both(x, y, 7);
	ni_both(x, y, 8);
	ni_both(x, y, 9);
	ni_both(x, y, 10);
	ni_both(x, y, 11);
	ni_both(x, y, 12);
	ni_both(x, y, 13);
	ni_both(x, y, 14);
	ni_both(x, y, 15);
}

SHA_NI __attribute__((always_inline)) static inline void ni_get(struct ni *x, const uint32_t h[8])
{
	const __m128i *state = (const __m128i *)(const void *)h;
	__m128i badc = _mm_shuffle_epi32(_mm_loadu_si128(state), 0xb1);
	__m128i efgh = _mm_shuffle_epi32(_mm_loadu_si128(state + 1), 0x1b);

	x->abef = _mm_alignr_epi8(badc, efgh, 8);
	x->cdgh = _mm_blend_epi16(efgh, badc, 0xf0);
}

SHA_NI __attribute__((always_inline)) static inline void ni_put(const struct ni *x, uint32_t h[8])
{
	__m128i *state = (__m128i *)(void *)h;
	__m128i feba = _mm_shuffle_epi32(x->abef, 0x1b), dchg = _mm_shuffle_epi32(x->cdgh, 0xb1);

	_mm_storeu_si128(state, _mm_blend_epi16(feba, dchg, 0xf0));
	_mm_storeu_si128(state + 1, _mm_alignr_epi8(dchg, feba, 8));
}

SHA_NI __attribute__((always_inline)) static inline void ni_load(struct ni *x, const uint8_t *p)
{
	const __m128i swap = _mm_set_epi64x(0x0c0d0e0f08090a0bll, 0x0405060700010203ll);
	const __m128i *in = (const __m128i *)(const void *)p;

	for (unsigned i = 0; i < 4; i++)
		x->w[i] = _mm_shuffle_epi8(_mm_loadu_si128(in + i), swap);
}

SHA_NI __attribute__((always_inline)) static inline void ni_add(struct ni *x, const struct ni *y)
{
	x->abef = _mm_add_epi32(x->abef, y->abef);
	x->cdgh = _mm_add_epi32(x->cdgh, y->cdgh);
}

SHA_NI static void blocks_ni(uint32_t h[8], const uint8_t *p, size_t n)
{
	struct ni x;

	ni_get(&x, h);
	for (; n; n--, p += 64) {
		struct ni before = x;

		ni_load(&x, p);
		ni_block(&x);
		ni_add(&x, &before);
	}
	ni_put(&x, h);
}

// The instructions of one hash wait for each other; those of another fill the gaps.
SHA_NI static void blocks2_ni(
	uint32_t h[8], const uint8_t *p, uint32_t g[8], const uint8_t *q, size_t n)
{
	struct ni x, y;

	ni_get(&x, h);
	ni_get(&y, g);
	for (; n; n--, p += 64, q += 64) {
		struct ni x_before = x, y_before = y;

		ni_load(&x, p);
		ni_load(&y, q);
		ni_block2(&x, &y);
		ni_add(&x, &x_before);
		ni_add(&y, &y_before);
	}
	ni_put(&x, h);
	ni_put(&y, g);
}

// CPUID.1:ECX has SSSE3 (9) and SSE4.1 (19), CPUID.7.0:EBX has SHA (29).
static bool have_ni(void)
{
	unsigned a, b, c, d;

	if (!__get_cpuid(1, &a, &b, &c, &d) || !(c & 1u << 9) || !(c & 1u << 19))
		return false;
	return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & 1u << 29);
}
#endif

#if defined(__aarch64__)
//
// ARMv8 Cryptography Extension (Arm ARM, SHA256H, SHA256H2, SHA256SU0, SHA256SU1).
//
#ifndef HWCAP_SHA2
#define HWCAP_SHA2 (1 << 6)
#endif
#ifdef __clang__
#define ARM_SHA2 __attribute__((target("sha2")))
#else
#define ARM_SHA2 __attribute__((target("+crypto")))
#endif

struct ce {
	uint32x4_t abcd, efgh;
	uint32x4_t w[4];
};

ARM_SHA2 static inline void ce_rounds4(struct ce *x, unsigned r)
{
	uint32x4_t k = vaddq_u32(x->w[r & 3], vld1q_u32(&K[4 * r])), abcd = x->abcd;
	uint32x4_t *w = &x->w[r & 3];

	if (r < 12)
		*w = vsha256su1q_u32(vsha256su0q_u32(*w, x->w[(r + 1) & 3]), x->w[(r + 2) & 3],
			x->w[(r + 3) & 3]);
	x->abcd = vsha256hq_u32(abcd, x->efgh, k);
	x->efgh = vsha256h2q_u32(x->efgh, abcd, k);
}

ARM_SHA2 static void blocks_ce(uint32_t h[8], const uint8_t *p, size_t n)
{
	struct ce x = { .abcd = vld1q_u32(h), .efgh = vld1q_u32(h + 4) };

	for (; n; n--, p += 64) {
		uint32x4_t abcd = x.abcd, efgh = x.efgh;

		for (unsigned i = 0; i < 4; i++)
			x.w[i] = vreinterpretq_u32_u8(vrev32q_u8(vld1q_u8(p + 16 * i)));
		for (unsigned i = 0; i < 16; i += 4) {
			ce_rounds4(&x, i);
			ce_rounds4(&x, i + 1);
			ce_rounds4(&x, i + 2);
			ce_rounds4(&x, i + 3);
		}
		x.abcd = vaddq_u32(x.abcd, abcd);
		x.efgh = vaddq_u32(x.efgh, efgh);
	}
	vst1q_u32(h, x.abcd);
	vst1q_u32(h + 4, x.efgh);
}

static bool have_ce(void)
{
	return getauxval(AT_HWCAP) & HWCAP_SHA2;
}
#endif

//
// The choice.
//

struct impl {
	const char *name;
	sha256_blocks *blocks;
	sha256_blocks2 *blocks2; // or NULL: one after the other is as fast
	bool (*have)(void);
};

// Best first.
static const struct impl impls[] = {
#if defined(__x86_64__)
	{ "sha-ni", blocks_ni, blocks2_ni, have_ni },
#elif defined(__aarch64__)
	{ "armv8", blocks_ce, NULL, have_ce },
#endif
	{ "portable", blocks_portable, NULL, have_portable },
};

static _Atomic(const struct impl *) chosen;

static const struct impl *impl(void)
{
	const struct impl *i = atomic_load_explicit(&chosen, memory_order_relaxed);

	if (i)
		return i;
	for (i = impls; !i->have(); i++)
		;
	atomic_store_explicit(&chosen, i, memory_order_relaxed);
	return i;
}

const char *sha256_impl(void)
{
	return impl()->name;
}

int sha256_force(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(impls); i++) {
		if (strcmp(impls[i].name, name) != 0 || !impls[i].have())
			continue;
		atomic_store_explicit(&chosen, &impls[i], memory_order_relaxed);
		return 0;
	}
	return -ENOTSUP;
}

//
// The hash.
//

void sha256_init(struct sha256 *s)
{
	// FIPS 180-4 section 5.3.3
	*s = (struct sha256){ .h = { 0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a, 0x510e527f,
				      0x9b05688c, 0x1f83d9ab, 0x5be0cd19 } };
}

void sha256_update(struct sha256 *s, const void *data, size_t n)
{
	sha256_blocks *blocks = impl()->blocks;
	const uint8_t *p = data;
	size_t have = s->len % 64;

	s->len += n;
	if (have) {
		size_t k = MIN(n, 64 - have);

		memcpy(s->block + have, p, k);
		p += k;
		n -= k;
		if (have + k < 64)
			return;
		blocks(s->h, s->block, 1);
	}
	if (n >= 64)
		blocks(s->h, p, n / 64);
	if (n % 64)
		memcpy(s->block, p + n / 64 * 64, n % 64);
}

// Bytes up to the next block's beginning.
static size_t to_block(const struct sha256 *s)
{
	return (64 - s->len % 64) % 64;
}

void sha256_update2(struct sha256 *a, const void *pa, struct sha256 *b, const void *pb, size_t n)
{
	sha256_blocks2 *blocks2 = impl()->blocks2;
	const uint8_t *p = pa, *q = pb;
	size_t head_a = MIN(to_block(a), n), head_b = MIN(to_block(b), n);
	size_t both = blocks2 ? (n - MAX(head_a, head_b)) / 64 : 0;

	sha256_update(a, p, head_a);
	sha256_update(b, q, head_b);
	if (both) {
		blocks2(a->h, p + head_a, b->h, q + head_b, both);
		a->len += both * 64;
		b->len += both * 64;
	}
	head_a += both * 64;
	head_b += both * 64;
	sha256_update(a, p + head_a, n - head_a);
	sha256_update(b, q + head_b, n - head_b);
}

struct digest sha256_final(struct sha256 *s)
{
	uint8_t tail[72] = { 0x80 };
	size_t pad = 1 + (119 - s->len % 64) % 64; // so that pad + 8 length bytes end a block
	uint64_t bits = s->len * 8;
	struct digest d = { 0 };

	store_be32(tail + pad, (uint32_t)(bits >> 32));
	store_be32(tail + pad + 4, (uint32_t)bits);
	sha256_update(s, tail, pad + 8);
	for (size_t i = 0; i < 8; i++)
		store_be32(d.b + 4 * i, s->h[i]);
	return d;
}

struct digest sha256_of(const void *p, size_t n)
{
	struct sha256 s;

	sha256_init(&s);
	sha256_update(&s, p, n);
	return sha256_final(&s);
}

void sha256_of2(const void *p, const void *q, size_t n, struct digest *ret_p, struct digest *ret_q)
{
	struct sha256 a, b;

	sha256_init(&a);
	sha256_init(&b);
	sha256_update2(&a, p, &b, q, n);
	*ret_p = sha256_final(&a);
	*ret_q = sha256_final(&b);
}

//
// OCI digests (image-spec, descriptor.md, "Digests").
//

// Upper case is refused: a digest has one spelling.
static int hex_value(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	return -1;
}

static bool is_algorithm(const char *s, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (!((s[i] >= 'a' && s[i] <= 'z') || (s[i] >= '0' && s[i] <= '9') ||
			    (i && strchr("+._-", s[i]))))
			return false;
	return n > 0;
}

int digest_parse_n(const char *s, size_t n, struct digest *ret)
{
	const char *colon = memchr(s, ':', n);
	struct digest d;

	if (!colon || !is_algorithm(s, (size_t)(colon - s)))
		return -EINVAL;
	if (colon - s != 6 || memcmp(s, "sha256", 6) != 0)
		return -ENOTSUP;
	if (n != 7 + 2 * SHA256_LEN)
		return -EINVAL;
	for (size_t i = 0; i < SHA256_LEN; i++) {
		int hi = hex_value(s[7 + 2 * i]), lo = hex_value(s[8 + 2 * i]);

		if (hi < 0 || lo < 0)
			return -EINVAL;
		d.b[i] = (uint8_t)(hi << 4 | lo);
	}
	*ret = d;
	return 0;
}

int digest_parse(const char *s, struct digest *ret)
{
	return digest_parse_n(s, strlen(s), ret);
}

const char *digest_hex(const struct digest *d, char out[static 65])
{
	static const char digits[] = "0123456789abcdef";

	for (size_t i = 0; i < SHA256_LEN; i++) {
		out[2 * i] = digits[d->b[i] >> 4];
		out[2 * i + 1] = digits[d->b[i] & 15];
	}
	out[64] = 0;
	return out;
}

const char *digest_str(const struct digest *d, char out[static DIGEST_STR_LEN])
{
	memcpy(out, "sha256:", 8);
	digest_hex(d, out + 7);
	return out;
}
