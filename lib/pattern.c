// pattern.c - patterns of repositories, as in rules
//
// The set of places in the pattern where one may be is carried along the name, a byte at a time: no
// pattern makes it slow, as one that goes back would be.
// SPDX-License-Identifier: Apache-2.0
#include "pattern.h"

// Steps over the stars that may stand for nothing.
static void skip_stars(const char *p, size_t n, bool *at)
{
	for (size_t i = 0; i < n; i++)
		if (at[i] && p[i] == '*')
			at[i + 1] = true;
}

static bool is_double(const char *p, size_t i)
{
	return p[i + 1] == '*' || (i && p[i - 1] == '*');
}

bool pattern_fits(const char *pattern, const char *name)
{
	size_t n = strlen(pattern);
	bool at[PATTERN_MAX + 1] = { true }, next[PATTERN_MAX + 1];

	if (n > PATTERN_MAX)
		return false;
	skip_stars(pattern, n, at);
	for (; *name; name++) {
		memset(next, 0, n + 1);
		for (size_t i = 0; i < n; i++) {
			if (!at[i])
				continue;
			if (pattern[i] == '*')
				next[i] |= *name != '/' || is_double(pattern, i);
			else if (pattern[i] == *name || (pattern[i] == '?' && *name != '/'))
				next[i + 1] = true;
		}
		memcpy(at, next, n + 1);
		skip_stars(pattern, n, at);
	}
	return at[n];
}
