// auth.h - what a registry wants to see before it answers: Basic, or tokens of a token server
//
// No ping: a request is made with what is known, and a 401's challenge says what is missing
// (distribution's token specification; RFC 9110 section 11, RFC 6750). Tokens are kept per
// process, registry, credentials and scope, are renewed at 80 % of their life or when refused,
// and are fetched by one thread while others wait. Any thread may call anything here.
// SPDX-License-Identifier: Apache-2.0
#ifndef AUTH_H
#define AUTH_H

#include "credstore.h"
#include "http.h"

#define REALM_MAX 2048		    // bytes of a token server's address
#define CHALLENGE_MAX 4096	    // bytes of any other parameter
#define TOKEN_BODY_MAX (256u << 10) // bytes of a token server's reply
#define TOKEN_MAX (64u << 10)
#define TOKEN_LIFE_MIN \
	60 // seconds; a shorter or missing expires_in counts as this (token specification)

struct auth;
// One per repository. Borrows h and net. No traffic, no file is read.
struct auth *auth_new(
	struct http *h, const char *host, const char *repo, const struct net_opts *net);
void auth_free(struct auth *a);

// The Authorization to send for scope ("repository:a/b:pull", several with spaces between), or
// NULL when nothing is known yet. secret_free it. May fetch a token. -errno logged.
int auth_get(struct auth *a, const char *scope, char **ret) must_check;
// x is the registry's 401 to a request that carried `used` (or NULL): another value to send, or
// -EACCES logged when there is none. With insufficient_scope the server's scope is asked for.
int auth_answer(struct auth *a, const char *scope, const struct http_xfer *x, const char *used,
	char **ret) must_check;

// ---- the parsers, for tests and fuzzing ----
struct challenges {
	bool basic, bearer;
	char *realm, *service, *scope, *error; // of the first Bearer challenge
};
// Adds what one WWW-Authenticate header says (several challenges may be in it). -EPROTO, silent,
// when it does not follow the grammar or a part is too long; what was understood before stays.
int auth_parse_challenge(const char *header, struct challenges *c) must_check;
void challenges_fini(struct challenges *c);
// The token (visible ASCII; secret_free it) and its life in seconds. -EPROTO, silent.
int auth_parse_token(
	const char *body, size_t n, char **ret_token, uint64_t *ret_seconds) must_check;

#endif
