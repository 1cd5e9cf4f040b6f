// places.c - where store and run-time state are
//
// mount(8) gives its helpers no environment: then it is as the login would have set it.
// SPDX-License-Identifier: Apache-2.0
#include "places.h"

#include <pwd.h>
#include <sys/stat.h>

#include "log.h"

static const char *absolute(const char *variable)
{
	const char *s = getenv(variable);

	return s && *s == '/' ? s : NULL;
}

char *places_store(void)
{
	const char *root = getenv("FCPULL_ROOT"), *data = absolute("XDG_DATA_HOME"),
		   *home = absolute("HOME");
	struct passwd *pw;

	if (root && *root)
		return xstrdup(root);
	if (!geteuid())
		return xstrdup("/var/lib/fcpull");
	if (data)
		return xasprintf("%s/fcpull", data);
	if (!home && (pw = getpwuid(geteuid())) && pw->pw_dir && *pw->pw_dir == '/')
		home = pw->pw_dir;
	if (home)
		return xasprintf("%s/.local/share/fcpull", home);
	warn("no place for the store: neither --root nor HOME is set");
	return NULL;
}

char *places_run(void)
{
	const char *own = absolute("FCPULL_RUN"), *xdg = absolute("XDG_RUNTIME_DIR");
	cleanup_free char *login = xasprintf("/run/user/%u", (unsigned)geteuid());
	struct stat st;

	if (own)
		return xstrdup(own);
	if (!geteuid())
		return xstrdup("/run/fcpull");
	if (!xdg && !stat(login, &st) && S_ISDIR(st.st_mode) && st.st_uid == geteuid())
		xdg = login;
	if (xdg)
		return xasprintf("%s/fcpull", xdg);
	warn("no place for run-time state: neither XDG_RUNTIME_DIR nor FCPULL_RUN is set");
	return NULL;
}
