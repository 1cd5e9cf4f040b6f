// fuzz_index.c - index sections: what index_open accepts can be walked whole
// SPDX-License-Identifier: Apache-2.0
//
// The first byte steers: 0 = the bytes as they are; 1 = packed; 2 = eight lengths of sections (16
// bit each) and their bytes, around which a right header is put.
#include "indexw.h"
#include "log.h"

#include "../unit/walkindex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void open_raw(const uint8_t *p, size_t n)
{
	struct index *ix;
	uint8_t *copy = xmalloc(n);

	memcpy(copy, p, n);
	if (index_open(copy, n, "fuzz", &ix)) {
		free(copy);
		return;
	}
	walk_index(ix);
	index_free(ix);
}

static void open_packed(const uint8_t *p, size_t n)
{
	struct fmt_packed h;
	struct index *ix;

	if (n >= sizeof h) {
		memcpy(&h, p, sizeof h);
		if (h.plain_len > 1 << 20) // time
			return;
	}
	if (index_unpack(p, n, "fuzz", &ix))
		return;
	walk_index(ix);
	index_free(ix);
}

static void open_mended(const uint8_t *p, size_t n)
{
	struct fmt_header h = { .compat = 1 };
	cleanup_buf struct buf b = { 0 };
	uint16_t len[SEC_COUNT];

	if (n < sizeof len)
		return;
	memcpy(len, p, sizeof len);
	p += sizeof len;
	n -= sizeof len;
	memcpy(h.magic, FMT_INDEX_MAGIC, sizeof h.magic);
	buf_add(&b, &h, sizeof h);
	for (unsigned s = 0; s < SEC_COUNT; s++) {
		size_t take = MIN(len[s], n);

		((struct fmt_header *)b.data)->section[s].off = b.len;
		((struct fmt_header *)b.data)->section[s].len = take;
		buf_add(&b, p, take);
		buf_zero(&b, -b.len & 7);
		p += take;
		n -= take;
	}
	open_raw(b.data, b.len);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	if (!size)
		return 0;
	log_level = LOG_QUIET;
	switch (*data) {
	case 0: open_raw(data + 1, size - 1); break;
	case 1: open_packed(data + 1, size - 1); break;
	default: open_mended(data + 1, size - 1);
	}
	return 0;
}
