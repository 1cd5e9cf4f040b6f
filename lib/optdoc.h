// optdoc.h - shell completions and manual pages out of the tables of verbs and options
//
// Deterministic; to any stream. Nothing in them is written by hand but what no table has.
// SPDX-License-Identifier: Apache-2.0
#ifndef OPTDOC_H
#define OPTDOC_H

#include "opt.h"

struct optdoc {
	const struct applet *const *applets;
	size_t n;
};

void optdoc_bash(const struct optdoc *d, FILE *to);
void optdoc_zsh(const struct optdoc *d, FILE *to);
void optdoc_fish(const struct optdoc *d, FILE *to);

// Option rows that several verbs have are explained once. `tail` is roff text for the end.
void optdoc_man(const struct optdoc *d, const char *tail, FILE *to);
// The page of one verb under another name, as mount.fcpull(8) is of mount; `rows` are the values of
// its -o: name and help.
struct optdoc_row {
	const char *name, *help;
};
void optdoc_man_of(const struct applet *a, const char *name, int section, const char *args,
	const struct optdoc_row *rows, const char *tail, FILE *to);

#endif
