// indexw.c - writes index sections
// SPDX-License-Identifier: Apache-2.0
#include "indexw.h"

#include <zstd.h>

#include "log.h"

#define PACK_LEVEL 8 // zstd: 12 gains nothing more and takes twice as long

static void add_section(struct buf *out, enum fmt_section s, const void *p, size_t n)
{
	struct fmt_header *h = (struct fmt_header *)out->data;

	h->section[s].off = out->len;
	h->section[s].len = n;
	buf_add(out, p, n);
	buf_zero(out, -out->len & 7);
}

int index_build(struct index_parts *parts, struct index **ret)
{
	struct fmt_header h = { .incompat = 0 };
	struct buf tree[4] = { 0 }, out = { 0 };
	uint32_t chunk = 0;
	int r;

	memcpy(h.magic, FMT_INDEX_MAGIC, sizeof h.magic);
	memcpy(h.original, parts->original.b, sizeof h.original);
	memcpy(h.config, parts->config.b, sizeof h.config);
	for (uint32_t i = 0; i < parts->n_spaces; i++) {
		parts->spaces[i].first_chunk = chunk;
		chunk += parts->spaces[i].chunks;
	}
	tree_serialise(parts->tree, tree);
	buf_add(&out, &h, sizeof h);
	for (unsigned s = SEC_NODES; s <= SEC_XATTRS; s++) {
		add_section(&out, s, tree[s].data, tree[s].len);
		buf_fini(&tree[s]);
	}
	add_section(&out, SEC_SPACES, parts->spaces, parts->n_spaces * sizeof *parts->spaces);
	add_section(&out, SEC_CHUNKS, parts->chunks.data, parts->chunks.len);
	add_section(&out, SEC_FRAMES, parts->frames.data, parts->frames.len);
	add_section(&out, SEC_RUNS, parts->runs.data, parts->runs.len);
	r = index_open(out.data, out.len, "the new image", ret);
	if (r)
		buf_fini(&out);
	return r;
}

void index_parts_fini(struct index_parts *parts)
{
	tree_free(parts->tree);
	free(parts->spaces);
	buf_fini(&parts->chunks);
	buf_fini(&parts->frames);
	buf_fini(&parts->runs);
}

int index_pack(const struct index *ix, struct buf *ret)
{
	struct fmt_packed h = { .codec = CODEC_ZSTD };
	size_t len, r;
	const void *p = index_bytes(ix, &len);

	memcpy(h.magic, FMT_PACKED_MAGIC, sizeof h.magic);
	h.plain_len = len;
	buf_add(ret, &h, sizeof h);
	buf_reserve(ret, ZSTD_compressBound(len));
	r = ZSTD_compress(ret->data + ret->len, ret->cap - ret->len, p, len, PACK_LEVEL);
	if (ZSTD_isError(r))
		return warn_errno(-ENOMEM, "compress the index: %s", ZSTD_getErrorName(r));
	ret->len += r;
	return 0;
}

int index_unpack(const void *p, size_t n, const char *name, struct index **ret)
{
	cleanup_free void *plain = NULL;
	struct fmt_packed h;
	int r;

	if (n < sizeof h || n > FMT_INDEX_PACKED_MAX)
		return warn_errno(-EBADMSG, "index of %s is corrupt: impossible length %zu",
			log_quote(name), n);
	memcpy(&h, p, sizeof h);
	if (memcmp(h.magic, FMT_PACKED_MAGIC, sizeof h.magic) || h.codec != CODEC_ZSTD ||
		h.reserved)
		return warn_errno(
			-EBADMSG, "index of %s is not one that this fcpull reads", log_quote(name));
	if (h.plain_len < sizeof(struct fmt_header) || h.plain_len > FMT_INDEX_MAX)
		return warn_errno(-EBADMSG, "index of %s is corrupt: claims %llu bytes",
			log_quote(name), (unsigned long long)h.plain_len);
	plain = malloc(h.plain_len);
	if (!plain)
		return warn_errno(-ENOMEM, "index of %s", log_quote(name));
	r = chunk_decode(
		CODEC_ZSTD, (const uint8_t *)p + sizeof h, n - sizeof h, plain, h.plain_len);
	if (r)
		return warn_errno(r,
			"index of %s is corrupt: it is not one zstd frame of %llu bytes",
			log_quote(name), (unsigned long long)h.plain_len);
	r = index_open(plain, h.plain_len, name, ret);
	if (!r)
		plain = NULL; // taken over
	return r;
}
