// mounts.c - the mounts of this mount namespace, and which of them are ours
// SPDX-License-Identifier: Apache-2.0
#include "mounts.h"

#include "state.h"

// mountinfo writes space, tab, newline and backslash as octal (proc(5)).
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

bool mounts_is_live(const char *device)
{
	cleanup_fd int dir = state_dir();
	struct state *v = NULL;
	size_t n = 0;
	bool found = false;

	if (dir < 0 || state_list(dir, &v, &n))
		return false;
	for (size_t i = 0; i < n; i++) {
		char text[32];

		snprintf(text, sizeof text, "%u:%u", v[i].major, v[i].minor);
		found |= !strcmp(text, device);
		state_fini(&v[i]);
	}
	free(v);
	return found;
}

bool mounts_is_ours(const char *device, const char *type)
{
	return !strncmp(type, "fuse.fcpull ", 12) || !strncmp(type, "erofs /proc/self/fd/", 20) ||
		(!strncmp(type, "erofs ", 6) && mounts_is_live(device));
}

void mounts_each(void (*fn)(void *arg, const struct mount_line *m), void *arg)
{
	FILE *f = fopen("/proc/self/mountinfo", "re");
	cleanup_free char *line = NULL;
	size_t cap = 0;

	while (f && getline(&line, &cap, f) > 0) {
		char *dash = strstr(line, " - "), *save = NULL, *field[5];
		int n = 0;

		if (!dash)
			continue;
		*dash = 0;
		while (n < 5 && (field[n] = strtok_r(n ? NULL : line, " ", &save)))
			n++;
		if (n < 5)
			continue;
		unescape_octal(field[4]);
		fn(arg, &(struct mount_line){ field[2], field[4], dash + 3 });
	}
	if (f)
		fclose(f);
}
