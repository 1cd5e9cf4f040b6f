// platform.h - operating systems and architectures of images (image-spec, "Platform Variants")
// SPDX-License-Identifier: Apache-2.0
#ifndef PLATFORM_H
#define PLATFORM_H

#include "json.h"

struct platform {
	char os[32], arch[32], variant[32];
};
// "os/arch[/variant]" or "arch"; NULL = this machine's. -EINVAL logged.
int platform_parse(const char *s, struct platform *ret) must_check;
const char *platform_str(const struct platform *p, char out[static 100]);
// Reads a config or an index entry's platform; what is missing is "". v may be NULL.
void platform_read(yyjson_val *v, struct platform *ret);
// A wanted platform without variant takes any.
bool platform_fits(const struct platform *want, const struct platform *is);

#endif
