// pattern.h - patterns of repositories, as in rules: "registry.example/team/*"
// SPDX-License-Identifier: Apache-2.0
#ifndef PATTERN_H
#define PATTERN_H

#include "base.h"

#define PATTERN_MAX 512 // bytes of a pattern

// Does the whole of `name` fit? '?' is one character and '*' any number of them, but for '/'; "**"
// is any number of any. Everything else is itself. Time is bounded by the product of the lengths.
bool pattern_fits(const char *pattern, const char *name) must_check;

#endif
