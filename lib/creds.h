// creds.h - credentials for a registry, and the files that docker and podman keep them in
//
// Here are pure functions over a file's text; where the files are, and who is asked when, is in
// credstore.h.
// SPDX-License-Identifier: Apache-2.0
#ifndef CREDS_H
#define CREDS_H

#include "repo.h"

#define AUTHFILE_MAX (1u << 20)
#define CREDS_FIELD_MAX (16u << 10) // bytes of a user, a password, an identity token

struct creds { // all NULL: anonymous
	char *user, *password;
	char *identity_token; // an OAuth2 refresh token
	char *from;	      // where they were found, for messages, or NULL
};
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
// "Basic " and base64 of user:password (RFC 7617). secret_free it.
char *creds_basic(const struct creds *c) must_check;

// ---- one file's text, which may be anything ----

// The creds for host/repo: 1 found; 0 none here, and *ret_helper is the credential helper that is
// to be asked, or NULL (caller frees). A helper of credHelpers wins over the file's own entries,
// these win over credsStore; of entries the longest "host/namespace" (containers-auth.json(5)).
// `legacy`: a .dockercfg. -EBADMSG silent.
int creds_parse(const char *text, size_t n, bool legacy, const char *host, const char *repo,
	struct creds *ret, char **ret_helper) must_check;
// The helper that new credentials for host belong into, or NULL. -EBADMSG silent.
int creds_helper(const char *text, size_t n, const char *host, char **ret) must_check;
// Does an entry's key mean just this registry ("" as ns), by whatever spelling, or just this namespace?
bool creds_key_is(const char *key, const char *host, const char *ns) must_check;
// The text with host's (host/ns's) entries changed and all else kept: auth = base64, "" = an empty
// entry (a helper has the rest), NULL = none. Where no entry was, one is added. 1: there was one;
// 0: none; -EBADMSG silent. On any result *ret is to be overwritten.
int creds_edit(const char *text, size_t n, const char *host, const char *ns, const char *auth,
	struct buf *ret) must_check;
// Calls each() with the keys of all entries and of all credHelpers until it returns other than 0.
int creds_keys(
	const char *text, size_t n, int (*each)(void *arg, const char *key), void *arg) must_check;

#endif
