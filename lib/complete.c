// complete.c - completions for bash, zsh and fish
// SPDX-License-Identifier: Apache-2.0
#include "optdoc.h"

// Calls fn for each option that is shown of a verb, its own first, then those of all verbs.
static void each_option(const struct applet *a, FILE *to,
	void (*fn)(const struct applet *a, const struct opt *o, FILE *to))
{
	const struct opt *tables[] = { a->opts, opt_common };

	for (size_t i = 0; i < ARRAY_LEN(tables); i++)
		for (const struct opt *o = tables[i]; o->set; o++)
			if (!o->hidden && o->name)
				fn(a, o, to);
}

static bool takes_value(const struct opt *o)
{
	return o->arg && *o->arg != '[';
}

static bool is_word(const char *s, const char *const *words, size_t n)
{
	for (size_t i = 0; i < n; i++)
		if (s && !strcmp(s, words[i]))
			return true;
	return false;
}

static bool is_file(const char *arg)
{
	static const char *const words[] = { "FILE", "PATH", "SRC:DST[:ro]" };

	return is_word(arg, words, ARRAY_LEN(words));
}

static bool is_dir(const char *arg)
{
	static const char *const words[] = { "DIR" };

	return is_word(arg, words, ARRAY_LEN(words));
}

// ---- bash ----

static void bash_word(const struct applet *a, const struct opt *o, FILE *to)
{
	(void)a;
	if (o->brief)
		fprintf(to, "-%c ", o->brief);
	fprintf(to, "--%s ", o->name);
}

static void bash_value(const struct applet *a, const struct opt *o, FILE *to)
{
	if (!takes_value(o))
		return;
	fprintf(to, "\t%s:--%s", a->name, o->name);
	if (o->brief)
		fprintf(to, "|%s:-%c", a->name, o->brief);
	fprintf(to, ") %s; return ;;\n",
		is_file(o->arg)		 ? "COMPREPLY=($(compgen -f -- \"$cur\"))"
			: is_dir(o->arg) ? "COMPREPLY=($(compgen -d -- \"$cur\"))"
					 : "COMPREPLY=()");
}

void optdoc_bash(const struct optdoc *d, FILE *to)
{
	fputs("# bash completion of fcpull, made by `fcpull completion bash`\n"
	      "_fcpull() {\n"
	      "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} verb opts\n"
	      "\tlocal verbs='help",
		to);
	for (size_t i = 0; i < d->n; i++)
		fprintf(to, " %s", d->applets[i]->name);
	fputs("'\n"
	      "\tCOMPREPLY=()\n"
	      "\tcase ${COMP_WORDS[0]##*/} in\n"
	      "\tfcpull-*) verb=${COMP_WORDS[0]##*/fcpull-} verb=${verb#fcpull-} ;;\n"
	      "\t*)\tif [ \"$COMP_CWORD\" -eq 1 ] || [ \"${COMP_WORDS[1]}\" = help ]; then\n"
	      "\t\t\tcase $cur in\n"
	      "\t\t\t-*) COMPREPLY=($(compgen -W '--help --version --list --install' -- \"$cur\")) ;;\n"
	      "\t\t\t*) COMPREPLY=($(compgen -W \"$verbs\" -- \"$cur\")) ;;\n"
	      "\t\t\tesac\n"
	      "\t\t\treturn\n"
	      "\t\tfi\n"
	      "\t\tverb=${COMP_WORDS[1]} ;;\n"
	      "\tesac\n"
	      "\tcase $verb:$prev in\n",
		to);
	for (size_t i = 0; i < d->n; i++)
		each_option(d->applets[i], to, bash_value);
	fputs("\tesac\n\tcase $verb in\n", to);
	for (size_t i = 0; i < d->n; i++) {
		fprintf(to, "\t%s) opts='", d->applets[i]->name);
		each_option(d->applets[i], to, bash_word);
		fputs("' ;;\n", to);
	}
	fputs("\t*) return ;;\n"
	      "\tesac\n"
	      "\tcase $cur in\n"
	      "\t-*) COMPREPLY=($(compgen -W \"$opts\" -- \"$cur\")) ;;\n"
	      "\t*) COMPREPLY=($(compgen -f -- \"$cur\")) ;;\n"
	      "\tesac\n"
	      "}\n"
	      "complete -o filenames -F _fcpull fcpull",
		to);
	for (size_t i = 0; i < d->n; i++)
		fprintf(to, " fcpull-%s", d->applets[i]->name);
	fputs("\n", to);
}

// ---- zsh ----

// Inside '...' of a specification of _arguments.
static void zsh_text(const char *s, FILE *to)
{
	for (; *s; s++) {
		if (*s == '\'')
			fputs("'\\''", to);
		else if (strchr("[]:\\", *s))
			fprintf(to, "\\%c", *s);
		else
			fputc(*s, to);
	}
}

static void zsh_option(const struct applet *a, const struct opt *o, FILE *to)
{
	(void)a;
	fputs(" \\\n\t\t", to);
	// '*': may be given more than once; a short name is another spelling
	if (o->brief)
		fprintf(to, "'*'{-%c%s,--%s%s}'[", o->brief, takes_value(o) ? "+" : "", o->name,
			takes_value(o) ? "=" : "");
	else
		fprintf(to, "'*--%s%s[", o->name, takes_value(o) ? "=" : o->arg ? "=-" : "");
	zsh_text(o->help, to);
	fputs("]", to);
	if (o->arg) {
		fputs(takes_value(o) ? ":" : "::", to);
		zsh_text(o->arg + (*o->arg == '['), to);
		fputs(is_file(o->arg) ? ":_files" : is_dir(o->arg) ? ":_files -/" : ":", to);
	}
	fputs("'", to);
}

void optdoc_zsh(const struct optdoc *d, FILE *to)
{
	fputs("#compdef fcpull\n# zsh completion of fcpull, made by `fcpull completion zsh`\n\n"
	      "_fcpull_verbs() {\n\tlocal -a verbs=(\n",
		to);
	for (size_t i = 0; i < d->n; i++) {
		fprintf(to, "\t\t'%s:", d->applets[i]->name);
		zsh_text(d->applets[i]->line, to);
		fputs("'\n", to);
	}
	fputs("\t)\n\t_describe verb verbs\n}\n\n", to);
	for (size_t i = 0; i < d->n; i++) {
		fprintf(to, "_fcpull_%s() {\n\t_arguments -s", d->applets[i]->name);
		each_option(d->applets[i], to, zsh_option);
		fputs(" \\\n\t\t'*:operand:_files'\n}\n\n", to);
	}
	fputs("_fcpull() {\n"
	      "\tif (( CURRENT == 2 )); then\n"
	      "\t\t_fcpull_verbs\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tif [[ ${words[2]} == help ]]; then\n"
	      "\t\t_fcpull_verbs\n"
	      "\t\treturn\n"
	      "\tfi\n"
	      "\tlocal verb=${words[2]}\n"
	      "\tshift words\n"
	      "\t(( CURRENT-- ))\n"
	      "\t(( $+functions[_fcpull_$verb] )) && _fcpull_$verb\n"
	      "}\n\n"
	      "if [[ $funcstack[1] == _fcpull ]]; then _fcpull \"$@\"; else compdef _fcpull fcpull; fi\n",
		to);
}

// ---- fish ----

static void fish_text(const char *s, FILE *to)
{
	fputc('\'', to);
	for (; *s; s++) {
		if (*s == '\'' || *s == '\\')
			fputc('\\', to);
		fputc(*s, to);
	}
	fputc('\'', to);
}

static void fish_option(const struct applet *a, const struct opt *o, FILE *to)
{
	fprintf(to, "complete -c fcpull -n '__fish_seen_subcommand_from %s'", a->name);
	if (o->brief)
		fprintf(to, " -s %c", o->brief);
	fprintf(to, " -l %s", o->name);
	if (takes_value(o))
		fputs(is_file(o->arg)		 ? " -rF"
				: is_dir(o->arg) ? " -xa '(__fish_complete_directories)'"
						 : " -x",
			to);
	fputs(" -d ", to);
	fish_text(o->help, to);
	fputs("\n", to);
}

void optdoc_fish(const struct optdoc *d, FILE *to)
{
	fputs("# fish completion of fcpull, made by `fcpull completion fish`\n"
	      "complete -c fcpull -n __fish_use_subcommand -f\n",
		to);
	for (size_t i = 0; i < d->n; i++) {
		fprintf(to, "complete -c fcpull -n __fish_use_subcommand -a %s -d ",
			d->applets[i]->name);
		fish_text(d->applets[i]->line, to);
		fputs("\n", to);
	}
	for (size_t i = 0; i < d->n; i++)
		each_option(d->applets[i], to, fish_option);
}
