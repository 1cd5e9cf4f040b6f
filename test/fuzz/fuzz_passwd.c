// fuzz_passwd.c - users and groups by an image's own files
// SPDX-License-Identifier: Apache-2.0
//
// The input is three texts with a byte 0xff between them: the user, /etc/passwd, /etc/group.
#include "../../lib/passwd.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// The next text, in memory of exactly its size.
static char *take(const uint8_t **p, size_t *n, size_t *ret_len)
{
	const uint8_t *end = memchr(*p, 0xff, *n);
	size_t len = end ? (size_t)(end - *p) : *n;
	char *text = xmalloc(len);

	memcpy(text, *p, len);
	*p += len + (end != NULL);
	*n -= len + (end != NULL);
	*ret_len = len;
	return text;
}

static void check(const struct passwd_user *u)
{
	bool listed = false;

	if (u->uid == UINT32_MAX || u->gid == UINT32_MAX || u->n_groups > PASSWD_MAX_GROUPS)
		abort();
	for (size_t i = 0; i < u->n_groups; i++) {
		listed |= u->groups[i] == u->gid;
		if (u->groups[i] == UINT32_MAX)
			abort();
	}
	if (!listed || !memchr(u->home, 0, sizeof u->home) || !*u->home)
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct passwd_user u;
	struct table passwd = { 0 }, group = { 0 };
	size_t n;

	log_level = LOG_QUIET;
	cleanup_free char *name = take(&data, &size, &n);
	cleanup_free char *user = xstrndup(name, n);
	passwd.data = take(&data, &size, &passwd.len);
	group.data = take(&data, &size, &group.len);
	u = (struct passwd_user){ .home = "/" };
	if (resolve(&passwd, &group, user, &u) == 0)
		check(&u);
	table_fini(&passwd);
	table_fini(&group);
	return 0;
}
