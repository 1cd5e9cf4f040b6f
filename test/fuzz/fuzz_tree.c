// fuzz_tree.c - sequences of tar entries into a tree: it must be what a naive model says, and
// serialise to an index that opens
// SPDX-License-Identifier: Apache-2.0
#include "log.h"
#include "tree.h"

#include "../unit/treemodel.h"
#include "../unit/walkindex.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void compare(struct model *m, struct tree *t)
{
	const char *path, *what;
	struct index *ix;

	if (build_index(t, &ix))
		abort();
	walk_index(ix);
	what = model_compare(m, ix, &path);
	if (what) {
		fprintf(stderr, "%s: %s\n", path, what);
		abort();
	}
	if (tree_nodes(t) != index_nodes(ix))
		abort();
	index_free(ix);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct tree *t = tree_new();
	struct model m;
	int r;

	log_level = LOG_QUIET;
	model_init(&m);
	r = run_ops(t, &m, data, size > 400 ? 400 : size);
	if (r > 0)
		abort();
	if (!r)
		compare(&m, t);
	model_fini(&m);
	tree_free(t);
	return 0;
}
