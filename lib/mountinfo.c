// mountinfo.c - /proc/PID/mountinfo
// SPDX-License-Identifier: Apache-2.0
#include "mountinfo.h"

#include <stdio.h>

// Space, tab, newline and backslash are octal (proc(5)). In place.
static void unescape_octal(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' && s[2] <= '7' &&
			s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') << 6 | (s[2] - '0') << 3 | (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

static bool parse_device(const char *s, struct mount_line *m)
{
	int n = 0;

	return sscanf(s, "%u:%u%n", &m->major, &m->minor, &n) == 2 && !s[n];
}

bool mountinfo_parse(char *line, struct mount_line *ret)
{
	// "36 35 98:0 /root /mount/point rw,noatime optional... - ext4 /dev/root rw"
	char *dash = strstr(line, " - "), *save = NULL, *field[5];
	size_t n = 0;

	if (!dash)
		return false;
	*dash = 0;
	while (n < ARRAY_LEN(field) && (field[n] = strtok_r(n ? NULL : line, " ", &save)))
		n++;
	*ret = (struct mount_line){ .type = dash + 3 };
	if (n < ARRAY_LEN(field) || !parse_device(field[2], ret))
		return false;
	unescape_octal(field[3]);
	unescape_octal(field[4]);
	ret->device = field[2];
	ret->root = field[3];
	ret->path = field[4];
	return true;
}

void mountinfo_each(const char *pid, void (*fn)(void *arg, const struct mount_line *m), void *arg)
{
	cleanup_free char *line = NULL;
	struct mount_line m;
	char path[64];
	size_t cap = 0;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%.20s/mountinfo", pid);
	f = fopen(path, "re");
	while (f && getline(&line, &cap, f) > 0)
		if (mountinfo_parse(line, &m))
			fn(arg, &m);
	if (f)
		fclose(f);
}
