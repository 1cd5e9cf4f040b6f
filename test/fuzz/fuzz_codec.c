// fuzz_codec.c - the stored form of chunks and boot frames
// SPDX-License-Identifier: Apache-2.0
//
// Bytes 0..3: the codec and the plain length; then the stored form. Whatever it is, exactly the plain
// bytes come out, or an error.
#include "pack.h"

#include <zstd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void decode(enum codec codec, const uint8_t *p, size_t n, size_t plain)
{
	cleanup_free uint8_t *in = xmalloc(n), *out = xmalloc(plain), *again = xmalloc(plain);

	memcpy(in, p, n);
	memset(out, 0xa5, plain);
	memset(again, 0x5a, plain);
	int r = chunk_decode(codec, in, n, out, plain);
	if (r != chunk_decode(codec, in, n, again, plain) || (r && r != -EBADMSG))
		abort();
	// a byte that the decoder has left alone would be another one each time
	if (r == 0 && memcmp(out, again, plain) != 0)
		abort();
}

// What the encoder makes of it comes back.
static void round_trip(enum codec codec, const uint8_t *p, size_t n)
{
	struct pack_conf conf = { .codec = codec, .level = codec == CODEC_ZSTD ? 1 : 0 };
	cleanup_free uint8_t *out = xmalloc(chunk_bound(n)), *back = xmalloc(n);
	ZSTD_CCtx *z = ZSTD_createCCtx();
	size_t len = chunk_encode(&conf, z, p, n, out);

	ZSTD_freeCCtx(z);
	if (len && (chunk_decode(codec, out, len, back, n) || memcmp(back, p, n) != 0))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static const uint8_t codecs[] = { CODEC_STORED, CODEC_LZ4, CODEC_ZSTD, 3, CODEC_ZERO };

	if (size < 4)
		return 0;
	enum codec codec = codecs[data[0] % ARRAY_LEN(codecs)];
	size_t plain = (data[1] | (size_t)data[2] << 8 | (size_t)(data[3] & 3) << 16) + 1;

	decode(codec, data + 4, size - 4, plain);
	if (size > 4 && (codec == CODEC_LZ4 || codec == CODEC_ZSTD))
		round_trip(codec, data + 4, size - 4);
	return 0;
}
