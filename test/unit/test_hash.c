// test_hash.c - SHA-256 by FIPS vectors and by every implementation against the portable one
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/hash.c"

#include "tap.h"

static const struct {
	const char *text;
	unsigned times;
	const char *hex;
} vectors[] = {
	// FIPS 180-4 examples, NIST CAVS
	{ "", 1, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855" },
	{ "abc", 1, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad" },
	{ "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq", 1,
		"248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1" },
	{ "abcdefghbcdefghicdefghijdefghijkefghijklfghijklmghijklmnhijklmnoijklmnopjklmnopqklmnopqrlmn"
	  "opqrsmnopqrstnopqrstu",
		1, "cf5b16a778af8380036ce59e7b0492370b249b11e8f07a51afac45037afee9d1" },
	{ "a", 1000000, "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0" },
};

static void test_vectors(const char *name)
{
	for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
		struct sha256 s;
		char hex[65];

		sha256_init(&s);
		for (unsigned k = 0; k < vectors[i].times; k++)
			sha256_update(&s, vectors[i].text, strlen(vectors[i].text));
		struct digest d = sha256_final(&s);

		ok(!strcmp(digest_hex(&d, hex), vectors[i].hex), "%s: vector %zu", name, i);
	}
}

static struct digest hash_as(const char *name, const uint8_t *p, size_t n, size_t split)
{
	struct sha256 s;

	if (sha256_force(name))
		abort();
	sha256_init(&s);
	sha256_update(&s, p, split);
	sha256_update(&s, p + split, n - split);
	return sha256_final(&s);
}

static void test_against_portable(const char *name)
{
	enum { MAX = 1000 };
	uint8_t data[MAX];
	unsigned wrong = 0;

	for (unsigned round = 0; round < 5000; round++) {
		size_t n = (size_t)rand() % MAX, split = n ? (size_t)rand() % n : 0;

		for (size_t i = 0; i < n; i++)
			data[i] = (uint8_t)rand();
		struct digest a = hash_as("portable", data, n, 0),
			      b = hash_as(name, data, n, split);

		wrong += !digest_equal(&a, &b);
	}
	ok(!wrong, "%s: 5000 random lengths and split points agree with portable", name);
	for (size_t n = 0; n <= 256; n++) { // every length around the block and padding edges
		struct digest a = hash_as("portable", data, n, 0),
			      b = hash_as(name, data, n, n / 3);

		wrong += !digest_equal(&a, &b);
	}
	ok(!wrong, "%s: lengths 0..256 agree with portable", name);
}

// Two hashes in step, each at its own place in its block, give what they give alone.
static void test_two(const char *name)
{
	enum { MAX = 1200 };
	uint8_t p[MAX], q[MAX];
	unsigned wrong = 0;

	if (sha256_force(name))
		abort();
	for (unsigned round = 0; round < 5000; round++) {
		size_t n = (size_t)rand() % (MAX - 200), at_p = (size_t)rand() % 200,
		       at_q = (size_t)rand() % 200;
		struct sha256 a, b;

		for (size_t i = 0; i < MAX; i++)
			p[i] = (uint8_t)rand(), q[i] = (uint8_t)rand();
		sha256_init(&a), sha256_init(&b);
		sha256_update(&a, p, at_p), sha256_update(&b, q, at_q);
		sha256_update2(&a, p + at_p, &b, q + at_q, n);
		sha256_update(&a, "end", 3);
		struct digest da = sha256_final(&a), db = sha256_final(&b), want;
		struct sha256 c;

		sha256_init(&c);
		sha256_update(&c, p, at_p + n), sha256_update(&c, "end", 3);
		want = sha256_final(&c);
		wrong += !digest_equal(&want, &da);
		want = sha256_of(q, at_q + n);
		wrong += !digest_equal(&want, &db);
		sha256_of2(p, q, n, &da, &db);
		want = sha256_of(q, n);
		wrong += !digest_equal(&want, &db);
	}
	ok(!wrong, "%s: two hashes in step agree with each alone", name);
}

static void test_digests(void)
{
	static const struct {
		const char *s;
		int r;
	} t[] = {
		{ "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855", 0 },
		{ "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b85",
			-EINVAL },
		{ "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8555",
			-EINVAL },
		{ "sha256:E3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
			-EINVAL },
		{ "sha256:../44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b8551",
			-EINVAL },
		{ "sha256:", -EINVAL },
		{ "sha256", -EINVAL },
		{ "", -EINVAL },
		{ ":00", -EINVAL },
		{ "SHA256:00", -EINVAL },
		{ "sha1:00", -ENOTSUP },
		{ "sha512:00", -ENOTSUP },
		{ "sha256+b64:00", -ENOTSUP },
		{ "sha/256:00", -EINVAL },
	};
	struct digest d;
	char out[DIGEST_STR_LEN];

	for (size_t i = 0; i < ARRAY_LEN(t); i++)
		ok(digest_parse(t[i].s, &d) == t[i].r, "digest_parse(\"%s\") = %d", t[i].s, t[i].r);
	ok(!digest_parse(t[0].s, &d) && !strcmp(digest_str(&d, out), t[0].s),
		"digest_str gives it back");
	ok(digest_parse_n("sha256:e3\0", 10, &d) == -EINVAL, "a digest with a NUL");
}

int main(void)
{
	unsigned wrong = 0;

	for (size_t i = 0; i < ARRAY_LEN(impls); i++) {
		if (sha256_force(impls[i].name)) {
			skip("%s: not on this CPU", impls[i].name);
			continue;
		}
		wrong += strcmp(sha256_impl(), impls[i].name) != 0;
		test_vectors(impls[i].name);
		test_against_portable(impls[i].name);
		test_two(impls[i].name);
	}
	struct digest abc = sha256_of("abc", 3);
	char hex[65];

	ok(!strcmp(digest_hex(&abc, hex), vectors[1].hex), "sha256_of");
	ok(!wrong, "sha256_impl names what sha256_force chose");
	ok(sha256_force("md5") == -ENOTSUP, "an unknown implementation is refused");
	test_digests();
	return tap_end();
}
