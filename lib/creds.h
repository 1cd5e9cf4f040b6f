// creds.h - credentials for a registry: command line, and the files of docker and podman
// SPDX-License-Identifier: Apache-2.0
#ifndef CREDS_H
#define CREDS_H

#include "repo.h"

#define AUTHFILE_MAX (1u << 20)
#define CREDS_FIELD_MAX (16u << 10) // bytes of a user, a password, an identity token

struct creds { // all NULL: anonymous
	char *user, *password;
	char *identity_token; // an OAuth2 refresh token
};
// --creds; else --authfile or $REGISTRY_AUTH_FILE alone; else
// $XDG_RUNTIME_DIR/containers/auth.json, $XDG_CONFIG_HOME/containers/auth.json,
// $DOCKER_CONFIG/config.json or ~/.docker/config.json (containers-auth.json(5)); in a file the
// longest matching "host/namespace" key. None is success. A credential helper is named in a
// warning and not run. -errno logged: a file that is there and is unusable.
int creds_find(const char *host, const char *repo, const struct net_opts *net,
	struct creds *ret) must_check;
// Overwrites what it frees.
void creds_fini(struct creds *c);
// The same for a string; NULL is allowed.
void secret_free(char *s);
#define cleanup_secret __attribute__((cleanup(secret_free_p)))
static inline void secret_free_p(char **s)
{
	secret_free(*s);
	*s = NULL;
}

// The creds for host/repo in the text of one file: 1 found, 0 none (*ret_helper: the helper that
// would have them, or NULL, caller frees), -EBADMSG silent. `text` may be anything.
int creds_parse(const char *text, size_t n, const char *host, const char *repo, struct creds *ret,
	char **ret_helper) must_check;
// "Basic " and base64 of user:password (RFC 7617). secret_free it.
char *creds_basic(const struct creds *c) must_check;

#endif
