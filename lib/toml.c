// toml.c - the part of TOML 1.0 that configuration files of containers use
// SPDX-License-Identifier: Apache-2.0
#include "toml.h"
#include "log.h"

struct parser {
	const char *p, *end, *name;
	unsigned line, nodes;
	const char *why;
};

// ---- the tree ----

void toml_free(struct toml *t)
{
	while (t) {
		struct toml *next = t->next;

		toml_free(t->first); // no deeper than TOML_DEPTH_MAX
		free(t->key);
		free(t->str);
		free(t);
		t = next;
	}
}

struct toml *toml_get(const struct toml *t, const char *key)
{
	struct toml *v = t && t->kind == TOML_TABLE ? t->first : NULL;

	while (v && strcmp(v->key, key) != 0)
		v = v->next;
	return v;
}

const char *toml_str(const struct toml *t, const char *key)
{
	const struct toml *v = toml_get(t, key);

	return v && v->kind == TOML_STR ? v->str : NULL;
}

bool toml_bool(const struct toml *t, const char *key, bool otherwise)
{
	const struct toml *v = toml_get(t, key);

	return v && v->kind == TOML_BOOL ? v->num : otherwise;
}

struct toml *toml_array(const struct toml *t, const char *key)
{
	const struct toml *v = toml_get(t, key);

	return v && v->kind == TOML_ARRAY ? v->first : NULL;
}

static bool fail(struct parser *s, const char *why)
{
	if (!s->why)
		s->why = why;
	return false;
}

// A new last element of `in`; key is taken over, NULL in an array.
static struct toml *add(struct parser *s, struct toml *in, char *key, enum toml_kind kind)
{
	if (++s->nodes > TOML_NODES_MAX) {
		fail(s, "it has too many values");
		free(key);
		return NULL;
	}
	struct toml *t = xcalloc(1, sizeof *t);

	t->kind = kind;
	t->key = key;
	*(in->last ? &in->last->next : &in->first) = t;
	in->last = t;
	return t;
}

// ---- words ----

static bool at(const struct parser *s, char c)
{
	return s->p < s->end && *s->p == c;
}

static bool take(struct parser *s, char c)
{
	if (!at(s, c))
		return false;
	s->p++;
	return true;
}

static void skip_blanks(struct parser *s)
{
	while (at(s, ' ') || at(s, '\t'))
		s->p++;
}

static void skip_comment(struct parser *s)
{
	if (at(s, '#'))
		while (s->p < s->end && *s->p != '\n')
			s->p++;
}

static bool take_newline(struct parser *s)
{
	if (at(s, '\r') && s->p + 1 < s->end && s->p[1] == '\n')
		s->p++;
	if (!take(s, '\n'))
		return false;
	s->line++;
	return true;
}

// Blanks, comments, ends of lines.
static void skip_lines(struct parser *s)
{
	do {
		skip_blanks(s);
		skip_comment(s);
	} while (take_newline(s));
}

static bool end_of_line(struct parser *s)
{
	skip_blanks(s);
	skip_comment(s);
	return s->p == s->end || take_newline(s) || fail(s, "something stands behind the value");
}

static void add_utf8(struct buf *b, uint32_t c)
{
	uint8_t u[4];
	size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;

	for (size_t i = n; i-- > 1; c >>= 6)
		u[i] = (uint8_t)(0x80 | (c & 0x3f));
	u[0] = (uint8_t)(n == 1 ? c : (0xffu << (8 - n) & 0xffu) | c);
	buf_add(b, u, n);
}

// \uXXXX and \UXXXXXXXX: digits of a Unicode scalar value other than NUL, which C cannot say.
static bool take_unicode(struct parser *s, unsigned digits, struct buf *b)
{
	uint32_t c = 0;

	for (unsigned i = 0; i < digits; i++, s->p++) {
		static const char hex[] = "0123456789abcdef";
		const char *d = s->p < s->end && *s->p ? strchr(hex, *s->p | 0x20) : NULL;

		if (!d || (*s->p < '0' || (*s->p > '9' && *s->p < 'A')))
			return fail(s, "a bad \\u in a string");
		c = c << 4 | (uint32_t)(d - hex);
	}
	if (c == 0 || c > 0x10ffff || (c >= 0xd800 && c < 0xe000))
		return fail(s, "a bad \\u in a string");
	add_utf8(b, c);
	return true;
}

static bool take_escape(struct parser *s, struct buf *b)
{
	static const char from[] = "btnfr\"\\", to[] = "\b\t\n\f\r\"\\";
	char c = s->p < s->end ? *s->p++ : 0;
	const char *known = c ? strchr(from, c) : NULL;

	if (c == 'u' || c == 'U')
		return take_unicode(s, c == 'u' ? 4 : 8, b);
	if (!known)
		return fail(s, "an unknown escape in a string");
	buf_add(b, &to[known - from], 1);
	return true;
}

// "basic" or 'literal'. NULL on error. Caller frees.
static char *take_string(struct parser *s)
{
	struct buf cleanup_buf b = { 0 };
	char quote = *s->p++;

	if (s->end - s->p >= 2 && s->p[0] == quote && s->p[1] == quote) {
		fail(s, "strings of several lines are not supported");
		return NULL;
	}
	while (s->p < s->end && *s->p != quote) {
		unsigned char c = (unsigned char)*s->p++;

		if ((c < 0x20 && c != '\t') || c == 0x7f) {
			fail(s, "a string does not end on its line, or has a control character");
			return NULL;
		}
		if (c == '\\' && quote == '"') {
			if (!take_escape(s, &b))
				return NULL;
		} else {
			buf_add(&b, &c, 1);
		}
	}
	if (!take(s, quote)) {
		fail(s, "a string does not end");
		return NULL;
	}
	buf_add(&b, "", 1);
	return (char *)steal(&b.data);
}

static bool is_bare(char c)
{
	return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
		c == '-' || c == '_';
}

static char *take_key(struct parser *s)
{
	const char *start = s->p;

	if (at(s, '"') || at(s, '\''))
		return take_string(s);
	while (s->p < s->end && is_bare(*s->p))
		s->p++;
	if (s->p == start)
		fail(s, "a key is missing");
	return s->p > start ? xstrndup(start, (size_t)(s->p - start)) : NULL;
}

// ---- values ----

static bool take_value(struct parser *s, struct toml *in, char *key, unsigned depth);
static bool take_pair(struct parser *s, struct toml *table, unsigned depth);

// Decimal; 1_000 is 1000.
static bool take_int(struct parser *s, struct toml *in, char *key)
{
	bool minus = take(s, '-');
	int64_t v = 0;
	unsigned digits = 0;

	if (!minus)
		take(s, '+');
	for (; s->p < s->end && ((*s->p >= '0' && *s->p <= '9') || (digits && *s->p == '_'));
		s->p++) {
		if (*s->p == '_')
			continue;
		digits++;
		if (__builtin_mul_overflow(v, 10, &v) ||
			__builtin_add_overflow(v, *s->p - '0', &v)) {
			free(key);
			return fail(s, "a number that is too large");
		}
	}
	if (!digits) {
		free(key);
		return fail(s,
			"no value that is known here (a string, a whole number, true, false, a list)");
	}
	struct toml *t = add(s, in, key, TOML_INT);

	if (t)
		t->num = minus ? -v : v;
	return t;
}

static bool take_word(struct parser *s, const char *word)
{
	size_t n = strlen(word);

	if ((size_t)(s->end - s->p) < n || memcmp(s->p, word, n) != 0 ||
		(s->p + n < s->end && is_bare(s->p[n])))
		return false;
	s->p += n;
	return true;
}

static bool take_array(struct parser *s, struct toml *in, char *key, unsigned depth)
{
	struct toml *t = add(s, in, key, TOML_ARRAY);

	if (!t)
		return false;
	t->closed = true;
	for (skip_lines(s); !take(s, ']'); skip_lines(s)) {
		if (!take_value(s, t, NULL, depth + 1))
			return false;
		skip_lines(s);
		if (!take(s, ',') && !at(s, ']'))
			return fail(s, "a list is not separated by commas, or does not end");
	}
	return true;
}

static bool take_inline(struct parser *s, struct toml *in, char *key, unsigned depth)
{
	struct toml *t = add(s, in, key, TOML_TABLE);

	if (!t)
		return false;
	skip_blanks(s);
	if (!take(s, '}')) {
		do {
			skip_blanks(s);
			if (!take_pair(s, t, depth + 1))
				return false;
			skip_blanks(s);
		} while (take(s, ','));
		if (!take(s, '}'))
			return fail(s, "an inline table does not end");
	}
	t->closed = t->defined = true;
	return true;
}

// key (NULL in an array) is taken over in any case.
static bool take_value(struct parser *s, struct toml *in, char *key, unsigned depth)
{
	if (depth > TOML_DEPTH_MAX) {
		free(key);
		return fail(s, "it is nested too deep");
	}
	if (at(s, '"') || at(s, '\'')) {
		char *str = take_string(s);
		struct toml *t = str ? add(s, in, key, TOML_STR) : (free(key), NULL);

		if (t)
			t->str = str;
		else
			free(str);
		return t;
	}
	if (take(s, '['))
		return take_array(s, in, key, depth);
	if (take(s, '{'))
		return take_inline(s, in, key, depth);
	bool yes = take_word(s, "true");

	if (yes || take_word(s, "false")) {
		struct toml *t = add(s, in, key, TOML_BOOL);

		if (t)
			t->num = yes;
		return t;
	}
	return take_int(s, in, key);
}

// ---- tables ----

// The table below t that a part of a dotted key names, made if need be; of an array of tables the
// last.
static struct toml *descend(struct parser *s, struct toml *t, char *key)
{
	struct toml *v = toml_get(t, key);

	if (!v)
		return add(s, t, key, TOML_TABLE);
	free(key);
	if (v->kind == TOML_ARRAY && !v->closed)
		v = v->last;
	if (v->kind == TOML_TABLE && !v->closed)
		return v;
	fail(s, "a key is used for a value and for a table");
	return NULL;
}

// All but the last part of "a.b.c", in *t; the last is returned. NULL on error. Caller frees.
static char *take_path(struct parser *s, struct toml **t, unsigned depth)
{
	for (;; depth++) {
		char *key = take_key(s);

		skip_blanks(s);
		if (!key || !at(s, '.'))
			return key;
		s->p++;
		skip_blanks(s);
		if (depth >= TOML_DEPTH_MAX) {
			free(key);
			fail(s, "it is nested too deep");
			return NULL;
		}
		*t = descend(s, *t, key);
		if (!*t)
			return NULL;
	}
}

// KEY = VALUE
static bool take_pair(struct parser *s, struct toml *table, unsigned depth)
{
	struct toml *t = table;
	char *key = take_path(s, &t, depth);

	if (!key)
		return false;
	if (toml_get(t, key)) {
		free(key);
		return fail(s, "a key stands there twice");
	}
	if (!take(s, '=')) {
		free(key);
		return fail(s, "a key without '='");
	}
	skip_blanks(s);
	return take_value(s, t, key, depth + 1);
}

// [table] or [[array]]: where the pairs that follow go.
static struct toml *take_header(struct parser *s, struct toml *root)
{
	bool array = take(s, '[');
	struct toml *t = root, *v;

	skip_blanks(s);
	char *key = take_path(s, &t, 1);

	if (!key)
		return NULL;
	if (!take(s, ']') || (array && !take(s, ']'))) {
		free(key);
		fail(s, "a table's name does not end in ']'");
		return NULL;
	}
	v = toml_get(t, key);
	if (array) {
		if (v && (v->kind != TOML_ARRAY || v->closed))
			fail(s, "a key is used for a list of tables and for something else");
		if (v)
			free(key);
		else
			v = add(s, t, key, TOML_ARRAY);
		return s->why ? NULL : add(s, v, NULL, TOML_TABLE);
	}
	v = descend(s, t, key);
	if (v && (v->defined || toml_get(t, v->key ? v->key : "") != v))
		v = (fail(s, "a table stands there twice"), NULL);
	if (v)
		v->defined = true;
	return v;
}

static bool take_all(struct parser *s, struct toml *root)
{
	struct toml *table = root;

	for (skip_lines(s); s->p < s->end; skip_lines(s)) {
		bool good = take(s, '[') ? (table = take_header(s, root)) != NULL
					 : take_pair(s, table, 1);

		if (!good || !end_of_line(s))
			return false;
	}
	return true;
}

int toml_parse(const char *text, size_t n, const char *name, struct toml **ret)
{
	struct parser s = { .p = text, .end = text + n, .name = name, .line = 1 };
	struct toml *root = xcalloc(1, sizeof *root);

	if (n > TOML_SIZE_MAX || !take_all(&s, root)) {
		toml_free(root);
		return warn_errno(-EBADMSG, "%s: line %u: %s", name, s.line,
			s.why ? s.why : "it is too large");
	}
	*ret = root;
	return 0;
}
