// platform.c - operating systems and architectures of images
// SPDX-License-Identifier: Apache-2.0
#include "platform.h"

#include <sys/utsname.h>

#include "log.h"

// One part of "os/arch/variant": *s is left behind it.
static bool take_part(const char **s, char out[static 32])
{
	size_t n = strspn(*s, "abcdefghijklmnopqrstuvwxyz0123456789_.");

	if (!n || n > 31 || **s == '.')
		return false;
	memcpy(out, *s, n);
	out[n] = 0;
	*s += n;
	return true;
}

int platform_parse(const char *s, struct platform *ret)
{
	struct platform p = { "linux", "", "" };

	if (!s) {
		struct utsname u;
		static const char *const names[][3] = { { "x86_64", "amd64", "" },
			{ "aarch64", "arm64", "" }, { "armv7l", "arm", "v7" },
			{ "armv6l", "arm", "v6" }, { "i686", "386", "" },
			{ "ppc64le", "ppc64le", "" }, { "s390x", "s390x", "" },
			{ "riscv64", "riscv64", "" } };

		uname(&u);
		snprintf(p.arch, sizeof p.arch, "%.31s", u.machine);
		for (size_t i = 0; i < ARRAY_LEN(names); i++)
			if (!strcmp(u.machine, names[i][0])) {
				snprintf(p.arch, sizeof p.arch, "%s", names[i][1]);
				snprintf(p.variant, sizeof p.variant, "%s", names[i][2]);
			}
	} else {
		const char *at = s;
		bool good = !strchr(s, '/') || (take_part(&at, p.os) && *at++ == '/');

		good = good && take_part(&at, p.arch) &&
			(!*at || (*at++ == '/' && take_part(&at, p.variant))) && !*at;
		if (!good)
			return warn_errno(
				-EINVAL, "platform %s is not OS/ARCH[/VARIANT]", log_quote(s));
	}
	if (!strcmp(p.arch, "x86_64"))
		snprintf(p.arch, sizeof p.arch, "amd64");
	if (!strcmp(p.arch, "aarch64"))
		snprintf(p.arch, sizeof p.arch, "arm64");
	if (!strcmp(p.arch, "arm64") &&
		!strcmp(p.variant, "v8")) // the same thing (image-spec, "Platform Variants")
		p.variant[0] = 0;
	*ret = p;
	return 0;
}

const char *platform_str(const struct platform *p, char out[static 100])
{
	snprintf(out, 100, "%s/%s%s%s", p->os, p->arch, *p->variant ? "/" : "", p->variant);
	return out;
}

bool platform_fits(const struct platform *want, const struct platform *is)
{
	return !strcmp(want->os, is->os) && !strcmp(want->arch, is->arch) &&
		(!*want->variant || !*is->variant || !strcmp(want->variant, is->variant));
}

void platform_read(yyjson_val *v, struct platform *ret)
{
	const char *os = json_str(v, "os"), *arch = json_str(v, "architecture"),
		   *variant = json_str(v, "variant");

	*ret = (struct platform){ 0 };
	snprintf(ret->os, sizeof ret->os, "%s", os ? os : "");
	snprintf(ret->arch, sizeof ret->arch, "%s", arch ? arch : "");
	snprintf(ret->variant, sizeof ret->variant, "%s", variant ? variant : "");
	if (!strcmp(ret->arch, "arm64") && !strcmp(ret->variant, "v8"))
		ret->variant[0] = 0;
}
