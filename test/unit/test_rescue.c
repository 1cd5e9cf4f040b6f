// test_rescue.c - every chunk of accelerated images comes out of their originals, whatever the chunks hold
//
// The originals are small tars made here; their accelerated indexes are made as a conversion makes them.
// The chunks' digests are those of what the packer has read, so that a chunk that comes is the right one.
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/rescue.c"

#include <fcntl.h>
#include <sys/stat.h>

#include "json.h"
#include "mockrepo.h"
#include "opt.h"
#include "pack.h"
#include "tap.h"
#include "tarfile.h"

#define M "application/vnd.oci.image.manifest.v1+json"
#define C "application/vnd.oci.image.config.v1+json"
#define L "application/vnd.oci.image.layer.v1.tar"
#define LAYERS 3u

static struct mock mock;
static struct store *store;
static char dir[] = "/tmp/test_rescue-XXXXXX";

// ---- tars ----

static void make_tars(struct buf tar[static LAYERS])
{
	char name[64];

	// small ones that share chunks, not in path order
	for (unsigned i = 60; i--;) {
		snprintf(name, sizeof name, "small/%02u", i);
		put_file(&tar[0], name, i * 137 % 9000, i + 1);
	}
	put_file(&tar[0], "one-block", 4096, 100);
	put_file(&tar[0], "just-more", 4097, 101);
	put_file(&tar[0], "empty", 0, 1);
	put_file(&tar[0], "big", 300000, 102); // several chunks
	put_file(&tar[0], "chunk", 65536, 103);
	put_file(&tar[0], "zeros", 250000, 0);
	put_file(&tar[0], "twice", 5000, 104); // the last entry of a name counts
	put_file(&tar[0], "twice", 6000, 105);
	put_file(&tar[0], "copy-of-big", 300000, 102);
	put_file(&tar[0], "gone", 7000, 106);
	put_file(&tar[0], "changed", 80000, 107);
	// hides two of them, and has contents of the layer below
	put_file(&tar[1], ".wh.gone", 0, 1);
	put_file(&tar[1], "changed", 3000, 108);
	put_file(&tar[1], "a/big-again", 300000, 102);
	put_file(&tar[1], "a/new", 10000, 109);
	put_file(&tar[1], "z/zeros", 5000, 0);
	put_file(&tar[2], "gone-again", 7000, 106);
	put_file(&tar[2], "new-again", 10000, 109);
	put_file(&tar[2], "last", 100000, 110);
	for (unsigned l = 0; l < LAYERS; l++)
		buf_zero(&tar[l], 1024);
}

// ---- the original, in the repository ----

static void put_desc(struct buf *b, const char *key, const char *type, const struct mock_object *o)
{
	char s[DIGEST_STR_LEN];

	json_open(b, key, '{');
	json_put_str(b, "mediaType", type);
	json_put_str(b, "digest", digest_str(&o->digest, s));
	json_put_u64(b, "size", o->n);
	json_close(b, '}');
}

static struct mock_object put_original(struct buf tar[static LAYERS])
{
	cleanup_buf struct buf config = { 0 }, man = { 0 };
	struct mock_object layer[LAYERS], conf;
	char s[DIGEST_STR_LEN];

	json_open(&config, NULL, '{');
	json_put_str(&config, "architecture", "amd64");
	json_put_str(&config, "os", "linux");
	json_open(&config, "rootfs", '{');
	json_put_str(&config, "type", "layers");
	json_open(&config, "diff_ids", '[');
	for (unsigned l = 0; l < LAYERS; l++) {
		layer[l] = *mock_add(&mock, NULL, NULL, tar[l].data, tar[l].len);
		json_put_str(&config, NULL, digest_str(&layer[l].digest, s));
	}
	json_close(&config, ']');
	json_close(&config, '}');
	json_close(&config, '}');
	conf = *mock_add(&mock, NULL, NULL, config.data, config.len);
	json_open(&man, NULL, '{');
	json_put_u64(&man, "schemaVersion", 2);
	json_put_str(&man, "mediaType", M);
	put_desc(&man, "config", C, &conf);
	json_open(&man, "layers", '[');
	for (unsigned l = 0; l < LAYERS; l++)
		put_desc(&man, NULL, L, &layer[l]);
	json_close(&man, ']');
	json_close(&man, '}');
	return *mock_add(&mock, NULL, M, man.data, man.len);
}

// ---- its accelerated form ----

static int place_in(void *pack, struct content *c)
{
	return pack_place(pack, c);
}

static void add_space(struct index_parts *parts, uint32_t l, const struct buf *tar)
{
	struct pack_conf conf = {
		.codec = CODEC_ZSTD, .level = 1, .chunk_blocks = 16, .threads = 1
	};
	struct pack *p = pack_new(&conf, l);
	cleanup_fd int spool = scratch_file(), out = scratch_file();
	struct ingest in = {
		.tree = parts->tree, .space = l, .spool = spool, .share = true, .name = "layer"
	};
	struct fmt_space *sp = &parts->spaces[l];
	const struct fmt_chunk *c;
	struct digest blob;
	uint64_t size;

	if (ingest_layer(&in, stream_of_mem(tar->data, tar->len)) ||
		tree_walk_layer(parts->tree, place_in, p) || pack_run(p, spool, out))
		abort();
	c = pack_chunks(p, &sp->chunks);
	buf_add(&parts->chunks, c, sp->chunks * sizeof *c);
	pack_blob(p, &blob, &size);
	sp->blocks = pack_blocks(p);
	sp->blob_size = size;
	if (size)
		memcpy(sp->blob, blob.b, sizeof sp->blob);
	pack_free(p);
}

static struct index *accelerated(const struct buf tar[static LAYERS], const struct digest *original)
{
	struct index_parts parts = { .original = *original, .n_spaces = LAYERS };
	struct index *ix;

	parts.tree = tree_new();
	parts.spaces = xcalloc(LAYERS, sizeof *parts.spaces);
	for (uint32_t l = 0; l < LAYERS; l++)
		add_space(&parts, l, &tar[l]);
	if (index_build(&parts, &ix))
		abort();
	index_parts_fini(&parts);
	return ix;
}

// ---- the cases ----

static void fresh_store(void)
{
	store_close(store);
	if (remove_tree_at(AT_FDCWD, dir) || mkdir(dir, 0700) || store_open(dir, &store))
		abort();
}

static struct rescue *begin(const struct index *ix)
{
	mock.asked = 0;
	return rescue_new(ix, store, &mock.repo, "localhost:1/x:t");
}

// How many chunks come, all of those that are stored: *ret_of. read: of what is ready only.
static unsigned chunks_that_come(
	struct rescue *x, const struct index *ix, bool read, unsigned *ret_of, unsigned *ret_zeros)
{
	cleanup_free uint8_t *p = xmalloc(16 << BLOCK_SHIFT);
	unsigned n = 0;

	*ret_of = *ret_zeros = 0;
	for (uint32_t i = 0; i < index_chunks(ix); i++) {
		struct chunk_view c;

		index_chunk(ix, i, &c);
		if (c.codec == CODEC_ZERO) {
			++*ret_zeros;
			continue;
		}
		++*ret_of;
		memset(p, 0xa5, 16 << BLOCK_SHIFT);
		n += !(read ? rescue_read(x, &c, p) : rescue_get(x, &c, "why", p));
	}
	return n;
}

static void test_all(const struct index *ix)
{
	struct rescue *x = begin(ix);
	unsigned n, of, zeros;

	ok(!rescue_ready(x) && !chunks_that_come(x, ix, true, &of, &zeros) && !mock.asked,
		"nothing is asked for before it is needed");
	ok(of > 15 && zeros >= 1, "%u chunks, %u of zeros", of, zeros);
	n = chunks_that_come(x, ix, false, &of, &zeros);
	ok(n == of && rescue_ready(x), "%u of %u chunks come from the original", n, of);
	ok(mock.asked == 2 + LAYERS, "which was pulled once (%u objects)", mock.asked);
	ok(chunks_that_come(x, ix, true, &of, &zeros) == of, "and is read from then on");
	rescue_free(x);
	x = begin(ix);
	ok(chunks_that_come(x, ix, false, &of, &zeros) == of && !mock.asked,
		"another process finds it in the store");
	rescue_free(x);
}

// Hidden contents are known from the journal only; without it, a pull.
static void test_journal(const struct index *ix)
{
	struct digest d = index_original(ix);
	char path[128], hex[65];
	unsigned of, zeros;
	struct rescue *x;

	snprintf(path, sizeof path, "%s/journal/%s", dir, digest_hex(&d, hex));
	if (unlink(path))
		abort();
	x = begin(ix);
	ok(chunks_that_come(x, ix, false, &of, &zeros) == of && mock.asked == 2 + LAYERS,
		"without the journal: a pull");
	rescue_free(x);
}

static void test_damaged_store(const struct index *ix)
{
	struct digest d = index_original(ix), local;
	struct space_file f;
	struct index *orig;
	struct space_view sp;
	unsigned of, zeros;
	struct rescue *x = begin(ix);

	if (store_local_index(store, &d, &local) || find_original(x, &orig))
		abort();
	rescue_free(x);
	d = index_space_key(orig, 0);
	index_space(orig, 0, &sp);
	if (store_space(store, &d, sp.blocks, &f) || pwrite_full(f.fd, "wrong", 5, 1 << 20))
		abort();
	space_file_close(&f);
	index_free(orig);
	x = begin(ix);
	ok(chunks_that_come(x, ix, false, &of, &zeros) == of && mock.asked == 2 + LAYERS,
		"a damaged block in the store: a pull");
	rescue_free(x);
}

// A chunk that is none of the original's.
static void test_lie(const struct index *ix)
{
	cleanup_free uint8_t *p = xmalloc(16 << BLOCK_SHIFT);
	struct rescue *x = begin(ix);
	struct chunk_view c, good;
	unsigned of, zeros;

	index_chunk(ix, 3, &good);
	c = good;
	c.sha.b[5] ^= 1;
	ok(rescue_get(x, &c, "why", p) == -EBADMSG, "a digest that lies is an error");
	ok(!rescue_get(x, &good, "why", p), "of that chunk only");
	ok(chunks_that_come(x, ix, false, &of, &zeros) == of, "all others come");
	c = good;
	c.block = UINT32_MAX - 3;
	ok(rescue_read(x, &c, p) == -EBADMSG, "a block behind the space's end");
	c.space = LAYERS;
	ok(rescue_read(x, &c, p) == -ENODATA, "a space that is none");
	rescue_free(x);
}

static void test_none(const struct index *ix)
{
	cleanup_free uint8_t *p = xmalloc(16 << BLOCK_SHIFT);
	struct mock_object *layer = &mock.v[LAYERS - 1];
	size_t n = layer->n;
	struct chunk_view c;
	struct rescue *x;
	unsigned asked;

	fresh_store();
	index_chunk(ix, 0, &c);
	x = begin(ix);
	layer->n = n - 1;
	ok(rescue_get(x, &c, "why", p) == -EBADMSG && !rescue_ready(x),
		"a damaged original is an error");
	asked = mock.asked;
	ok(rescue_get(x, &c, "why", p) == -EBADMSG && mock.asked == asked,
		"which is not tried again at once");
	layer->n = n;
	x->failed -= AGAIN_MS * 1000000ull;
	ok(!rescue_get(x, &c, "why", p), "but later");
	rescue_free(x);
	fresh_store();
	x = rescue_new(ix, store, NULL, "localhost:1/x:t");
	ok(rescue_get(x, &c, "why", p) == -ENOENT, "no repository and nothing here");
	rescue_free(x);
	rescue_free(NULL);
}

int main(void)
{
	struct buf tar[LAYERS] = { { 0 } };
	struct mock_object man;
	struct index *ix;

	log_level = LOG_QUIET;
	opt_quiet = true; // no progress
	mock_init(&mock);
	if (!mkdtemp(dir) || store_open(dir, &store))
		return 1;
	make_tars(tar);
	man = put_original(tar);
	ix = accelerated(tar, &man.digest);
	test_all(ix);
	test_journal(ix);
	test_damaged_store(ix);
	test_lie(ix);
	test_none(ix);
	index_free(ix);
	for (unsigned l = 0; l < LAYERS; l++)
		buf_fini(&tar[l]);
	mock_fini(&mock);
	store_close(store);
	ok(!remove_tree_at(AT_FDCWD, dir), "nothing is left");
	return tap_end();
}
