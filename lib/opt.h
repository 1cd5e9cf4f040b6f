// opt.h - options and help from one table per verb; optdoc.h makes completions and manual pages of it
// SPDX-License-Identifier: Apache-2.0
#ifndef OPT_H
#define OPT_H

#include "base.h"

struct opt;
// Stores a value; returns 0 or -EINVAL after saying what is wrong.
typedef int opt_set(const struct opt *o, const char *value);

struct opt {
	char brief;	  // short letter, or 0
	const char *name; // long name, without dashes
	const char
		*arg; // argument's name for help, or NULL: a flag. "[X" = optional (--name=X only)
	const char *help; // one line
	opt_set *set;
	void *to;    // where the setter stores
	bool hidden; // accepted, not shown
};
// Setters. Flag: bool to true. str: const char * borrowed from argv. list: struct opt_list,
// repeated.
opt_set opt_flag, opt_unflag, opt_str, opt_u64, opt_size, opt_list_add, opt_count;

struct opt_list {
	const char **v;
	size_t n, cap;
};

struct applet {
	const char *name;
	const char *args;	// "[-p] REF DIR"
	const char *line;	// what it does, one line
	const struct opt *opts; // ends with {0}; the common options are added by the parser
	const char *help;	// more text and examples, or NULL
	int (*main)(int argc, char **argv); // operands only; returns the exit code
	bool stop_at_operand;		    // options end at the first operand (run)
	int usage_code;			    // exit code of a usage error; 0 = 2
};

// Hands the comma-separated words of list (cut up; NULL: none) to take, until one is refused. Empty
// words are passed over. Returns what take has returned.
int opt_words(char *list, int take(const char *word, void *arg), void *arg) must_check;

// The options that every verb has (-v -q --debug -h --version, --root).
extern bool opt_quiet;		 // -q: no progress
extern const char *opt_progress; // --progress: auto, tty, plain, json or none
extern const struct opt opt_common[];
// Parses argv[1..]; leaves operands in argv[0..*ret_argc). 0; 1 = help was printed, exit 0; -EINVAL
// = usage error, said.
int opt_parse(const struct applet *a, int argc, char **argv, int *ret_argc) must_check;
// Is b what was meant by a? The usual slips of a finger: one letter too many, missing, wrong, or two
// swapped.
bool opt_nearly(const char *a, const char *b) must_check;
// Complains of a value that is none of the words, "a, b or c", and names the one that may have been
// meant. what: the option or the place. Returns -EINVAL.
int opt_bad_word(const char *what, const char *words, const char *value);
void opt_help(const struct applet *a, FILE *to);

#endif
