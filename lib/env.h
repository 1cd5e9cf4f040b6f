// env.h - a container's environment, from what the image, a file and the command line say
// SPDX-License-Identifier: Apache-2.0
#ifndef ENV_H
#define ENV_H

#include "opt.h"

// Puts the lines of the files before what is in env. 0 or -errno, logged.
int env_gather(const struct opt_list *files, struct opt_list *env) must_check;
// base (NULL-terminated, may be NULL), then changes; the last of a name counts. One of base without
// a value is dropped: the host's environment is no business of an image's (CVE-2026-57231); one of
// changes takes this process's value, or none.
char **env_make(char *const *base, const struct opt_list *changes) must_check;

#endif
