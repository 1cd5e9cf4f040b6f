// credstore.h - where credentials are kept, looked for, and put by `login`
// SPDX-License-Identifier: Apache-2.0
#ifndef CREDSTORE_H
#define CREDSTORE_H

#include "creds.h"

// --creds; else --authfile or $REGISTRY_AUTH_FILE alone; else the first of these that knows the
// registry: $XDG_RUNTIME_DIR/containers/auth.json (without the variable
// /run/containers/UID/auth.json), $XDG_CONFIG_HOME/containers/auth.json,
// $DOCKER_CONFIG/config.json or ~/.docker/config.json, ~/.dockercfg (containers-auth.json(5)).
// Credential helpers that a file names are run; one that fails is warned of and passed over. None
// is success. -errno logged: a file that is there and is unusable.
int creds_find(const char *host, const char *repo, const struct net_opts *net,
	struct creds *ret) must_check;

// Calls fn for the files that are looked into, in order, whether they are there or not.
void creds_each_file(
	const struct net_opts *net, void (*fn)(void *arg, const char *path), void *arg);

// The file that `login` writes: --authfile, $REGISTRY_AUTH_FILE, else the first of the places
// above. Caller frees.
char *creds_login_file(const struct net_opts *net) must_check;
// Puts c (user and password) into the file for host (and the namespace ns, or ""), or into the
// helper that the file names for host. *ret_where says where, for messages; caller frees. -errno
// logged.
int creds_save(const char *file, const char *host, const char *ns, const struct creds *c,
	char **ret_where) must_check;
// Takes them out again, of the file and its helper. 1 there were some, 0 none, -errno logged.
int creds_remove(const char *file, const char *host, const char *ns) must_check;
// The same for every registry that the file names.
int creds_remove_all(const char *file) must_check;

#endif
