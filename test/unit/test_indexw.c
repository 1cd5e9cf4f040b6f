// test_indexw.c - the packed form of an index: the same bytes each time; every change of it
// SPDX-License-Identifier: Apache-2.0
#include "indexparts.h"

static struct buf packed; // of the valid index
static size_t plain_len;

static bool unpacks(const void *p, size_t n, const char *with)
{
	cleanup_free uint8_t *copy = xmalloc(n);
	struct index *ix;
	const char *said;
	int r;

	memcpy(copy, p, n);
	said_begin();
	r = index_unpack(copy, n, "a\033b", &ix);
	said = said_end();
	if (!r) {
		walk_index(ix);
		index_free(ix);
	} else if (r != -EBADMSG || !*with || !strstr(said, with) || !strstr(said, "'a\\x1bb'")) {
		printf("# r=%d said %s", r, said);
		return true;
	}
	return !r;
}

#define PACKED(name, with, ...)                                           \
	do {                                                              \
		struct buf b = { 0 };                                     \
		struct fmt_packed *h;                                     \
                                                                          \
		buf_add(&b, packed.data, packed.len);                     \
		h = (struct fmt_packed *)b.data;                          \
		(void)h;                                                  \
		__VA_ARGS__;                                              \
		ok(unpacks(b.data, b.len, with) == !*(with), "%s", name); \
		buf_fini(&b);                                             \
	} while (0)

static void add_frame(struct buf *b, const void *p, size_t n)
{
	buf_reserve(b, ZSTD_compressBound(n));
	b->len += ZSTD_compress(b->data + b->len, b->cap - b->len, p, n, 3);
}

static void test_bomb(void)
{
	struct fmt_packed h = { .codec = CODEC_ZSTD };
	cleanup_free void *zeros = calloc(1, 256 << 20);
	cleanup_buf struct buf b = { 0 };

	memcpy(h.magic, FMT_PACKED_MAGIC, sizeof h.magic);
	h.plain_len = 1 << 20;
	buf_add(&b, &h, sizeof h);
	add_frame(&b, zeros, 256 << 20);
	ok(!unpacks(b.data, b.len, "is corrupt"),
		"a frame of more than it claims (%zu bytes that decode to 256 MiB)", b.len);
}

static void test_packed(void)
{
	static const uint8_t skippable[] = { 0x50, 0x2a, 0x4d, 0x18, 4, 0, 0, 0, 'a', 'b', 'c',
		'd' };
	static const uint8_t empty_frame[] = { 0x28, 0xb5, 0x2f, 0xfd, 0x20, 0x00, 0x01, 0x00,
		0x00 };
	struct parts pt;
	struct buf whole, again = { 0 };
	struct index *ix;
	const void *plain;

	make_parts(&pt);
	whole = assemble(&pt);
	if (!ok(!index_open(whole.data, whole.len, "a", &ix) && !index_pack(ix, &packed) &&
			    !index_pack(ix, &again),
		    "pack"))
		return;
	plain = index_bytes(ix, &plain_len);
	ok(packed.len == again.len && !memcmp(packed.data, again.data, again.len),
		"the same bytes each time");
	buf_fini(&again);
	PACKED("unpack", "", (void)0);
	PACKED("magic", "not one that", h->magic[0]++);
	PACKED("codec", "not one that", h->codec = CODEC_LZ4);
	PACKED("reserved", "not one that", h->reserved = 1);
	PACKED("plain_len one less", "is corrupt", h->plain_len--);
	PACKED("plain_len one more", "is corrupt", h->plain_len++);
	PACKED("plain_len 2^64-1", "claims", h->plain_len = UINT64_MAX);
	PACKED("plain_len 2^30+1", "claims", h->plain_len = FMT_INDEX_MAX + 1ull);
	PACKED("plain_len 2^30", "is corrupt", h->plain_len = FMT_INDEX_MAX);
	PACKED("plain_len 255", "claims 255", h->plain_len = 255);
	PACKED("prefix only", "is corrupt", b.len = 24);
	PACKED("no prefix", "impossible length", b.len = 23);
	PACKED("cut", "is corrupt", b.len--);
	PACKED("one byte more", "is corrupt", buf_zero(&b, 1));
	PACKED("a skippable frame behind", "is corrupt", buf_add(&b, skippable, sizeof skippable));
	PACKED("an empty frame behind", "is corrupt", buf_add(&b, empty_frame, sizeof empty_frame));
	PACKED("a skippable frame before", "is corrupt", b.len = 24;
		buf_add(&b, skippable, sizeof skippable); add_frame(&b, plain, plain_len));
	PACKED("only a skippable frame", "is corrupt", b.len = 24;
		buf_add(&b, skippable, sizeof skippable));
	PACKED("two frames", "is corrupt", b.len = 24; add_frame(&b, plain, 300);
		add_frame(&b, (const uint8_t *)plain + 300, plain_len - 300));
	PACKED("one other frame", "", b.len = 24; add_frame(&b, plain, plain_len));
	PACKED("bytes that are no frame", "is corrupt", memset(b.data + 24, 'x', 40));
	PACKED("what is inside is checked", "not an fcpull index", b.len = 24; h->plain_len = 4096;
		add_frame(&b, (uint8_t[4096]){ 0 }, 4096));
	{
		struct index *no;
		const char *said;

		said_begin();
		int r = index_unpack(packed.data, (size_t)FMT_INDEX_PACKED_MAX + 1, "a", &no);

		said = said_end();
		ok(r == -EBADMSG && strstr(said, "impossible length"), "256 MiB + 1");
	}
	test_bomb();
	unsigned taken = 0;

	log_level = LOG_QUIET;
	for (size_t i = 0; i < packed.len; i++)
		for (unsigned bit = 0; bit < 8; bit++) {
			if (i > 18 && i < 24)
				continue; // claims of up to 2^30 bytes: tried above
			packed.data[i] ^= (uint8_t)(1u << bit);
			struct index *other;

			if (!index_unpack(packed.data, packed.len, "a", &other)) {
				walk_index(other);
				index_free(other);
				taken++;
			}
			packed.data[i] ^= (uint8_t)(1u << bit);
		}
	log_level = LOG_WARN;
	index_free(ix);
	ok(true, "each bit of the packed form flipped: %u of %zu changes are taken", taken,
		packed.len * 8);
	buf_fini(&packed);
}

// Seeds for the fuzzer: test_indexw DIR.
static void write_seed(const char *dir, const char *name, uint8_t steer, const void *p, size_t n)
{
	cleanup_free char *path = xasprintf("%s/%s", dir, name);
	cleanup_buf struct buf b = { 0 };

	buf_add(&b, &steer, 1);
	buf_add(&b, p, n);
	if (write_file_at(AT_FDCWD, path, b.data, b.len, 0644))
		abort();
}

static void write_seeds(const char *dir)
{
	struct buf b, z = { 0 }, m = { 0 };
	struct parts pt;
	struct index *ix;

	make_parts(&pt);
	for (unsigned s = 0; s < SEC_COUNT; s++)
		buf_add(&m, &(uint16_t){ (uint16_t)pt.sec[s].len }, 2);
	for (unsigned s = 0; s < SEC_COUNT; s++)
		buf_add(&m, pt.sec[s].data, pt.sec[s].len);
	write_seed(dir, "mended", 2, m.data, m.len);
	b = assemble(&pt);
	write_seed(dir, "raw", 0, b.data, b.len);
	if (index_open(b.data, b.len, "a", &ix) || index_pack(ix, &z))
		abort();
	write_seed(dir, "packed", 1, z.data, z.len);
	index_free(ix);
	buf_fini(&m);
	buf_fini(&z);
}

int main(int argc, char **argv)
{
	if (argc == 2) {
		write_seeds(argv[1]);
		return 0;
	}
	test_packed();
	return tap_end();
}
