// fuzz_trace.c - traces; what parses must print to something that parses to the same, and map onto
// an index without a block named twice
// SPDX-License-Identifier: Apache-2.0
#include "format.h"
#include "indexw.h"
#include "log.h"
#include "trace.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { BLOCKS = 300 };

static void must(bool good)
{
	if (!good)
		abort();
}

// /a is blocks 0..99, /d/b 100..299, of which 128..191 are zeros.
static struct index *make_index(void)
{
	struct index_parts p = { .n_spaces = 1 };
	struct fmt_chunk chunks[] = { { 0, 128, 5, CODEC_LZ4, { 0 }, { 0 } },
		{ 128, 64, 0, CODEC_ZERO, { 0 }, { 0 } },
		{ 192, 108, 5, CODEC_LZ4, { 0 }, { 0 } } };
	struct index *ix = NULL;

	p.tree = tree_new();
	p.spaces = xcalloc(1, sizeof *p.spaces);
	*p.spaces =
		(struct fmt_space){ .blob = { 1 }, .blob_size = 10, .blocks = BLOCKS, .chunks = 3 };
	buf_add(&p.chunks, chunks, sizeof chunks);
	tree_begin_layer(p.tree);
	for (unsigned i = 0; i < 2; i++) {
		struct content c = { .size = i ? 200 * 4096 : 100 * 4096 - 7,
			.block = i ? 100 : 0 };
		struct tar_entry e = { .type = TAR_FILE,
			.path = i ? "d/b" : "a",
			.path_len = i ? 3 : 1,
			.size = c.size };

		must(!tree_add(p.tree, &e, tree_add_content(p.tree, &c), "t"));
	}
	must(!tree_end_layer(p.tree, "t") && !index_build(&p, &ix));
	index_parts_fini(&p);
	return ix;
}

static void print_again(const struct trace *t)
{
	cleanup_buf struct buf b = { 0 };
	struct trace u = { 0 };

	for (size_t i = 0; i < t->n; i++) {
		const char *path = trace_path(t, &t->e[i]);

		trace_put(
			&b, (double)t->e[i].us / 1e6, path, strlen(path), t->e[i].off, t->e[i].len);
	}
	must(!trace_parse(&u, (const char *)b.data, b.len, "again") && u.n == t->n);
	for (size_t i = 0; i < t->n; i++)
		must(u.e[i].us == t->e[i].us && u.e[i].off == t->e[i].off &&
			u.e[i].len == t->e[i].len &&
			!strcmp(trace_path(&u, &u.e[i]), trace_path(t, &t->e[i])));
	trace_fini(&u);
}

static void map(const struct trace *t, const struct index *ix)
{
	cleanup_buf struct buf runs = { 0 };
	bool seen[BLOCKS] = { false };
	struct trace_stats s;
	uint64_t blocks = 0;

	trace_runs(t, ix, &runs, &s);
	for (size_t i = 0; i < runs.len / sizeof(struct fmt_run); i++) {
		const struct fmt_run *r = (const struct fmt_run *)runs.data + i;

		must(!r->space && r->blocks && (uint64_t)r->block + r->blocks <= BLOCKS);
		for (uint32_t b = r->block; b < r->block + r->blocks; b++) {
			must(!seen[b] && (b < 128 || b >= 192));
			seen[b] = true;
		}
		blocks += r->blocks;
	}
	must(s.blocks == blocks && s.entries == t->n && s.found <= t->n && s.covered <= s.bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct index *ix;
	struct trace t = { 0 };

	log_level = LOG_QUIET;
	if (!ix)
		ix = make_index();
	if (trace_parse(&t, (const char *)data, size, "fuzz")) {
		must(!t.n && !t.paths.len);
		trace_fini(&t);
		return 0;
	}
	print_again(&t);
	trace_merge(&t);
	map(&t, ix);
	trace_fini(&t);
	return 0;
}
