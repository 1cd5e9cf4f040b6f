// manpage.c - manual pages in man(7)
// SPDX-License-Identifier: Apache-2.0
#include "log.h"
#include "optdoc.h"

#define WIDTH 70
#define SHARED 3 // an option of so many verbs is explained once

// ---- text ----

static void put_n(const char *s, size_t n, FILE *to)
{
	if (n && (*s == '.' || *s == '\''))
		fputs("\\&", to);
	for (size_t i = 0; i < n; i++) {
		if (s[i] == '\\')
			fputs("\\e", to);
		else if (s[i] == '-')
			fputs("\\-", to);
		else
			fputc(s[i], to);
	}
}

static void put(const char *s, FILE *to)
{
	put_n(s, strlen(s), to);
}

// Broken between words: escapes make lines longer than mandoc likes.
static void put_words(const char *s, size_t n, FILE *to)
{
	while (n) {
		size_t part = n;

		if (n > WIDTH) {
			part = WIDTH;
			while (part && s[part] != ' ')
				part--;
			part = part ? part : n;
		}
		put_n(s, part, to);
		fputc('\n', to);
		part += part < n; // the blank
		s += part;
		n -= part;
	}
}

// Text as the help has it: lines that are indented are examples, empty ones end a paragraph.
static void put_help(const char *s, FILE *to)
{
	bool example = false, start = false;

	while (*s) {
		size_t n = strcspn(s, "\n");
		bool indented = n > 2 && s[0] == ' ' && s[1] == ' ';

		if (example != indented && n) {
			fputs(indented ? ".PP\n.EX\n" : ".EE\n.PP\n", to);
			example = indented;
			start = false;
		}
		if (start && n)
			fputs(".PP\n", to);
		start = !n && !example;
		if (n && indented) {
			put_n(s, n, to);
			fputc('\n', to);
		} else {
			put_words(s, n, to);
		}
		s += n + (s[n] == '\n');
	}
	if (example)
		fputs(".EE\n", to);
}

static void head(const char *name, int section, FILE *to)
{
	cleanup_free char *upper = xstrdup(name);

	for (char *c = upper; *c; c++)
		*c = (char)(*c >= 'a' && *c <= 'z' ? *c - 32 : *c);
	fprintf(to, ".TH %s %d %s \"fcpull %s\" \"fcpull\"\n.SH NAME\n", upper, section,
		FCPULL_DATE, FCPULL_VERSION);
}

// ---- options ----

static void option(const struct opt *o, FILE *to)
{
	fputs(".TP\n", to);
	if (o->brief)
		fprintf(to, "\\fB\\-%c\\fR, ", o->brief);
	fputs("\\fB\\-\\-", to);
	put(o->name, to);
	fputs("\\fR", to);
	if (o->arg && *o->arg == '[') {
		fputs("[=\\fI", to);
		put_n(o->arg + 1, strcspn(o->arg + 1, "]"), to);
		fputs("\\fR]", to);
	} else if (o->arg) {
		fputs(" \\fI", to);
		put(o->arg, to);
		fputs("\\fR", to);
	}
	fputs("\n", to);
	put(o->help, to);
	fputs("\n", to);
}

static bool shown(const struct opt *o)
{
	return o->name && !o->hidden;
}

// The row of another verb that says the same.
static const struct opt *same_row(const struct applet *a, const struct opt *o)
{
	for (const struct opt *x = a->opts; x->set; x++)
		if (shown(x) && !strcmp(x->name, o->name) && !strcmp(x->help, o->help))
			return x;
	return NULL;
}

static bool is_shared(const struct optdoc *d, const struct opt *o)
{
	unsigned n = 0;

	for (size_t i = 0; i < d->n; i++)
		n += same_row(d->applets[i], o) != NULL;
	return n >= SHARED;
}

// Each at the first verb that has it.
static void shared_options(const struct optdoc *d, FILE *to)
{
	for (size_t i = 0; i < d->n; i++)
		for (const struct opt *o = d->applets[i]->opts; o->set; o++) {
			bool earlier = false;

			if (!shown(o) || !is_shared(d, o))
				continue;
			for (size_t k = 0; k < i; k++)
				earlier |= same_row(d->applets[k], o) != NULL;
			if (!earlier)
				option(o, to);
		}
}

static void also(const struct optdoc *d, const struct applet *a, FILE *to)
{
	bool any = false;

	for (const struct opt *o = a->opts; o->set; o++) {
		if (!shown(o) || !is_shared(d, o))
			continue;
		fputs(any ? ",\n" : ".PP\nAlso, see SHARED OPTIONS:\n", to);
		any = true;
		fputs("\\fB\\-\\-", to);
		put(o->name, to);
		fputs("\\fR", to);
	}
	if (any)
		fputs(".\n", to);
}

static void synopsis(const char *name, const char *args, FILE *to)
{
	fprintf(to, "\\fB%s\\fR [\\fIOPTION\\fR]...", name);
	if (*args) {
		fputc(' ', to);
		put(args, to);
	}
	fputs("\n", to);
}

static void verb(const struct optdoc *d, const struct applet *a, FILE *to)
{
	cleanup_free char *name = xasprintf("fcpull %s", a->name);

	fprintf(to, ".SS %s\n", a->name);
	synopsis(name, a->args, to);
	fputs(".PP\n", to);
	put(a->line, to);
	fputs(".\n", to);
	if (a->help) {
		fputs(*a->help == ' ' ? "" : ".PP\n", to);
		put_help(a->help, to);
	}
	for (const struct opt *o = a->opts; o->set; o++)
		if (shown(o) && !is_shared(d, o))
			option(o, to);
	also(d, a, to);
}

// ---- pages ----

void optdoc_man(const struct optdoc *d, const char *tail, FILE *to)
{
	head("fcpull", 1, to);
	fputs("fcpull \\- container images that start before they have arrived\n"
	      ".SH SYNOPSIS\n"
	      "\\fBfcpull\\fR \\fIVERB\\fR [\\fIOPTION\\fR]... [\\fIARGUMENT\\fR]...\n"
	      ".SH VERBS\n",
		to);
	for (size_t i = 0; i < d->n; i++)
		verb(d, d->applets[i], to);
	fputs(".SH SHARED OPTIONS\nOf the verbs that say so:\n", to);
	shared_options(d, to);
	fputs(".PP\nOf all verbs:\n", to);
	for (const struct opt *o = opt_common; o->set; o++)
		if (shown(o))
			option(o, to);
	fputs(tail, to);
}

void optdoc_man_of(const struct applet *a, const char *name, int section, const char *args,
	const struct optdoc_row *rows, const char *tail, FILE *to)
{
	const struct opt *tables[] = { a->opts, opt_common };

	head(name, section, to);
	fprintf(to, "%s \\- %s\n.SH SYNOPSIS\n", name, a->line);
	synopsis(name, args, to);
	fputs(".SH DESCRIPTION\n", to);
	if (a->help)
		put_help(a->help, to);
	fputs(".SH MOUNT OPTIONS\nBehind \\fB\\-o\\fR, with commas between them:\n", to);
	for (; rows->name; rows++) {
		fputs(".TP\n\\fB", to);
		put(rows->name, to);
		fputs("\\fR\n", to);
		put(rows->help, to);
		fputs("\n", to);
	}
	fputs(".SH OPTIONS\n", to);
	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		for (const struct opt *o = tables[i]; o->set; o++)
			if (shown(o))
				option(o, to);
	fputs(tail, to);
}
