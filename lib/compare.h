// compare.h - is an accelerated image its original, entry by entry and byte by byte?
// SPDX-License-Identifier: Apache-2.0
#ifndef COMPARE_H
#define COMPARE_H

#include "host.h"

// Reads both forms of img whole from its repo, every digest checked, and compares them. ix: the
// accelerated form's index. Differences are printed on stdout, the first 20 with their paths.
// Returns their number, or -errno (logged).
int64_t compare_forms(struct image *img, const struct index *ix) must_check;

#endif
