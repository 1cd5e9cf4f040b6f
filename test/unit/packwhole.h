// packwhole.h - a data space that is one file, for the tests of what is made of packed spaces
// SPDX-License-Identifier: Apache-2.0
#ifndef PACKWHOLE_H
#define PACKWHOLE_H

#include <stdlib.h>

#include "pack.h"

// The space is the spool's first `blocks` blocks.
static inline void pack_whole(struct pack *p, uint32_t space, uint32_t blocks)
{
	struct content c = {
		.size = (uint64_t)blocks << BLOCK_SHIFT, .space = space, .block = TREE_NONE
	};

	if (pack_place(p, &c))
		abort();
}

#endif
