// toml.h - the part of TOML 1.0 that configuration files of containers use
//
// Comments, tables, arrays of tables, dotted and quoted keys, basic and literal strings of one line,
// decimal integers, booleans, arrays, inline tables. Multi-line strings, floats and dates are taken
// for a syntax error: no file that is read here has them. Strict otherwise: a key twice is an error.
// SPDX-License-Identifier: Apache-2.0
#ifndef TOML_H
#define TOML_H

#include "base.h"

#define TOML_SIZE_MAX (1u << 20) // bytes of a file
#define TOML_DEPTH_MAX 16	 // tables and arrays inside each other
#define TOML_NODES_MAX 16384u	 // keys and values

enum toml_kind { TOML_TABLE, TOML_ARRAY, TOML_STR, TOML_INT, TOML_BOOL };

struct toml {
	enum toml_kind kind;
	char *key;		   // in a table
	char *str;		   // of TOML_STR
	int64_t num;		   // of TOML_INT, TOML_BOOL
	struct toml *first, *next; // what a table or an array holds, in the file's order
	// the parser's: how it came to be, which says what may be added to it
	struct toml *last;
	bool defined, closed;
};

// -EBADMSG logged with name and line. toml_free the result.
int toml_parse(const char *text, size_t n, const char *name, struct toml **ret) must_check;
void toml_free(struct toml *t);
#define cleanup_toml __attribute__((cleanup(toml_free_p)))
static inline void toml_free_p(struct toml **t)
{
	toml_free(*t);
}

// The member of a table; NULL when t is NULL, none, or has it not. The others: when it is missing
// or of another kind, NULL and `otherwise`.
struct toml *toml_get(const struct toml *t, const char *key);
const char *toml_str(const struct toml *t, const char *key);
bool toml_bool(const struct toml *t, const char *key, bool otherwise);
// An array's first element, to be followed by ->next.
struct toml *toml_array(const struct toml *t, const char *key);

#endif
