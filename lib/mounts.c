// mounts.c - which mounts are ours
// SPDX-License-Identifier: Apache-2.0
#include "mounts.h"

#include "state.h"

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
