// env.h - a container's environment and command, from what the image, files and the command line say
// SPDX-License-Identifier: Apache-2.0
#ifndef ENV_H
#define ENV_H

#include "image.h"
#include "opt.h"

// Puts the lines of the files before what is in env. 0 or -errno, logged.
int env_gather(const struct opt_list *files, struct opt_list *env) must_check;
// base (NULL-terminated, may be NULL), then changes; the last of a name counts. One of base without
// a value is dropped: the host's environment is no business of an image's (CVE-2026-57231); one of
// changes takes this process's value, or none.
char **env_make(char *const *base, const struct opt_list *changes) must_check;

// What docker sets, and the image's own variables. Borrowed strings.
char **env_base(const struct image_config *c, bool tty) must_check;
// docker's rules: operands replace Cmd; an entrypoint (NULL: none is given) replaces Entrypoint and
// drops Cmd. Borrowed strings. NULL logged, with the image's name: there is no command.
char **env_args(const char *name, const struct image_config *c, const char *entrypoint, int argc,
	char **argv) must_check;

#endif
