// auth.c - what a registry wants to see before it answers: Basic, or tokens of a token server
//
// Threads: `lock` guards the list of tokens, and in each all fields but key; tokens are never
// freed before the process ends. Who sets `fetching` fetches, without the lock, and broadcasts.
// auth.lock guards its creds, which are looked up once.
// SPDX-License-Identifier: Apache-2.0
#include "auth.h"
#include "json.h"
#include "log.h"
#include "url.h"

#include <pthread.h>
#include <strings.h>

#define TOKEN_LIFE_MAX (30u * 86400)

struct token {
	struct token *next;
	char *key;		       // registry, whose credentials, scope: ended by newlines
	char *value;		       // "Bearer ..." or "Basic ...", NULL: none yet
	char *realm, *service;	       // Bearer: where to get the next
	uint64_t renew_at, expires_at; // now_ns
	bool fetching;
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t fetched = PTHREAD_COND_INITIALIZER;
static struct token *tokens;

struct auth {
	struct http *http;
	char *host, *repo;
	const struct net_opts *net;
	pthread_mutex_t lock;
	bool looked;
	int look_error;
	struct creds creds;
};

// ---- parsing: WWW-Authenticate (RFC 9110 section 11.6.1) ----

static bool is_tchar(char c)
{
	return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
		(c && strchr("!#$%&'*+-.^_`|~", c));
}

static size_t token_len(const char *p)
{
	size_t n = 0;

	while (is_tchar(p[n]))
		n++;
	return n;
}

static const char *skip_blanks(const char *p)
{
	return p + strspn(p, " \t");
}

static const char *skip_list(const char *p)
{
	return p + strspn(p, " \t,");
}

// A quoted-string or a token at *p. NULL when it is neither, or too long. Caller frees.
static char *take_value(const char **p)
{
	struct buf b = { 0 };
	const char *s = *p;

	if (*s != '"') {
		size_t n = token_len(s);

		*p = s + n;
		return n > 0 && n <= CHALLENGE_MAX ? xstrndup(s, n) : NULL;
	}
	for (s++; *s && *s != '"' && b.len <= CHALLENGE_MAX; s++) {
		if (*s == '\\' && s[1])
			s++;
		buf_add(&b, s, 1);
	}
	*p = s + 1;
	if (*s == '"') {
		buf_add(&b, "", 1);
		return (char *)b.data;
	}
	buf_fini(&b);
	return NULL;
}

static void keep_param(const char *name, size_t n, char *value, struct challenges *c)
{
	const struct {
		const char *name;
		char **to;
	} params[] = {
		{ "realm", &c->realm },
		{ "service", &c->service },
		{ "scope", &c->scope },
		{ "error", &c->error },
	};

	for (size_t i = 0; i < ARRAY_LEN(params); i++) {
		if (strlen(params[i].name) == n && strncasecmp(params[i].name, name, n) == 0 &&
			!*params[i].to) {
			*params[i].to = value;
			return;
		}
	}
	free(value);
}

// "Negotiate YII=": a token68 in place of parameters. Only the end or a comma tells it from a
// parameter's name.
static const char *skip_token68(const char *p)
{
	const char *start = skip_blanks(p), *end = start;

	while (is_tchar(*end) || *end == '/')
		end++;
	end += strspn(end, "=");
	end = skip_blanks(end);
	return end > start && (!*end || *end == ',') ? end : p;
}

// auth-params of one challenge, as long as NAME=VALUE follows. `c` NULL: of no interest.
static int take_params(const char **p, struct challenges *c)
{
	for (;;) {
		const char *name = skip_list(*p);
		size_t n = token_len(name);
		const char *eq = skip_blanks(name + n);

		if (n == 0 || *eq != '=') {
			*p = name;
			return 0;
		}
		eq = skip_blanks(eq + 1);
		char *value = take_value(&eq);

		if (!value)
			return -EPROTO;
		*p = eq;
		if (c)
			keep_param(name, n, value, c);
		else
			free(value);
	}
}

int auth_parse_challenge(const char *header, struct challenges *c)
{
	const char *p = skip_list(header);

	while (*p) {
		size_t n = token_len(p);
		bool bearer = n == 6 && strncasecmp(p, "Bearer", 6) == 0;

		if (n == 0)
			return -EPROTO;
		c->basic |= n == 5 && strncasecmp(p, "Basic", 5) == 0;
		bool first = bearer && !c->bearer;

		c->bearer |= bearer;
		p += n;
		if (*p && !strchr(" \t,", *p))
			return -EPROTO;
		p = skip_token68(p);
		int r = take_params(&p, first ? c : NULL);

		if (r < 0)
			return r;
	}
	return c->realm && strlen(c->realm) > REALM_MAX ? -EPROTO : 0;
}

void challenges_fini(struct challenges *c)
{
	free(c->realm);
	free(c->service);
	free(c->scope);
	free(c->error);
	*c = (struct challenges){ 0 };
}

// ---- parsing: the token server's reply ----

// It becomes a header's value, so nothing but visible ASCII may stand in it.
static bool is_token(const char *s)
{
	size_t n = strlen(s);

	for (size_t i = 0; i < n; i++)
		if (s[i] < 0x21 || s[i] > 0x7e)
			return false;
	return n > 0 && n <= TOKEN_MAX;
}

int auth_parse_token(const char *body, size_t n, char **ret_token, uint64_t *ret_seconds)
{
	cleanup_json_secret yyjson_doc *doc = NULL;
	uint64_t seconds = 0;
	int r = json_parse(body, n, NULL, &doc);

	if (r < 0)
		return -EPROTO;
	const char *token = json_str(json_root(doc), "token");

	if (!token || !*token)
		token = json_str(json_root(doc), "access_token");
	if (!token || !is_token(token))
		return -EPROTO;
	// negative, fractional or missing: as short as can be
	if (json_u64(json_root(doc), "expires_in", &seconds) < 0 || seconds < TOKEN_LIFE_MIN)
		seconds = TOKEN_LIFE_MIN;
	*ret_token = xstrdup(token);
	*ret_seconds = MIN(seconds, (uint64_t)TOKEN_LIFE_MAX);
	return 0;
}

// ---- asking the token server ----

static void add_escaped(struct buf *b, const char *s)
{
	for (; *s; s++) {
		if (is_tchar(*s) && !strchr("!#$%&'*+^`|", *s))
			buf_add(b, s, 1);
		else
			buf_printf(b, "%%%02X", (unsigned char)*s);
	}
}

static void add_param(struct buf *b, const char *name, const char *value)
{
	if (b->len > 0 && b->data[b->len - 1] != '?')
		buf_add(b, "&", 1);
	buf_printf(b, "%s=", name);
	add_escaped(b, value);
}

// service, and a scope for each word of scope
static void add_wanted(struct buf *b, const char *service, const char *scope)
{
	if (service)
		add_param(b, "service", service);
	while (*scope) {
		size_t n = strcspn(scope, " ");
		cleanup_free char *one = xstrndup(scope, n);

		if (n > 0)
			add_param(b, "scope", one);
		scope += n + (scope[n] == ' ');
	}
}

static void secret_buf_fini(struct buf *b)
{
	if (b->data)
		explicit_bzero(b->data, b->cap);
	buf_fini(b);
}

static int ask(struct http *h, const struct http_req *q, struct buf *body, unsigned *ret_status)
{
	cleanup_xfer struct http_xfer *x = NULL;
	int r = http_fetch(h, q, TOKEN_BODY_MAX, body, &x);

	if (r == 0)
		*ret_status = http_status(x);
	return r;
}

static int get_token(struct http *h, const struct token *t, const char *scope,
	const struct creds *c, struct buf *body, unsigned *ret_status)
{
	cleanup_secret char *basic = c->user ? creds_basic(c) : NULL;
	struct buf cleanup_buf url = { 0 };

	buf_printf(&url, "%s", t->realm);
	if (!strchr(t->realm, '?'))
		buf_add(&url, "?", 1);
	add_wanted(&url, t->service, scope);
	if (c->user)
		add_param(&url, "account", c->user);
	struct http_req q = {
		.method = "GET", .url = buf_str(&url), .auth = basic, .auth_url = t->realm
	};

	return ask(h, &q, body, ret_status);
}

// OAuth2 (RFC 6749 section 6) as the token specification's oauth.md has it.
static int post_token(struct http *h, const struct token *t, const char *scope,
	const struct creds *c, struct buf *body, unsigned *ret_status)
{
	struct buf form = { 0 }, words = { 0 };

	buf_printf(&words, "grant_type=refresh_token&client_id=fcpull");
	if (t->service)
		add_param(&words, "service", t->service);
	add_param(&words, "scope", scope);
	// sized beforehand: growing would leave copies of the secret behind
	buf_reserve(&form, words.len + 3 * strlen(c->identity_token) + 32);
	buf_add(&form, words.data, words.len);
	add_param(&form, "refresh_token", c->identity_token);
	struct http_req q = {
		.method = "POST",
		.url = t->realm,
		.auth_url = t->realm,
		.no_follow = true,
		.content_type = "application/x-www-form-urlencoded",
		.body = form.data,
		.body_len = form.len,
	};
	int r = ask(h, &q, body, ret_status);

	secret_buf_fini(&form);
	buf_fini(&words);
	return r;
}

static int refused(struct auth *a, unsigned status, const struct token *t)
{
	bool have = a->creds.user || a->creds.identity_token;

	if (status == 401 || status == 403)
		warn("token server %s of %s: status %u: %s", url_show(t->realm), log_quote(a->host),
			status,
			have ? "it does not accept the credentials"
			     : "it wants credentials: --creds, --authfile, or fcpull login");
	else
		return warn_errno(-EPROTO, "token server %s of %s: status %u", url_show(t->realm),
			log_quote(a->host), status);
	return -EACCES;
}

// A new token from t's realm: *ret_value "Bearer ...".
static int fetch_token(struct auth *a, const struct token *t, const char *scope, char **ret_value,
	uint64_t *ret_seconds)
{
	cleanup_secret char *token = NULL;
	struct buf body = { 0 };
	unsigned status = 0;
	int r;

	if (a->creds.identity_token)
		r = post_token(a->http, t, scope, &a->creds, &body, &status);
	else
		r = get_token(a->http, t, scope, &a->creds, &body, &status);
	if (r == 0 && status != 200)
		r = refused(a, status, t);
	else if (r == 0 && auth_parse_token((char *)body.data, body.len, &token, ret_seconds) < 0)
		r = warn_errno(-EPROTO, "token server %s of %s: the reply is no JSON with a token",
			url_show(t->realm), log_quote(a->host));
	secret_buf_fini(&body);
	if (r == 0)
		*ret_value = xasprintf("Bearer %s", token);
	return r;
}

// ---- the tokens of this process ----

static struct token *token_find(struct auth *a, const char *scope)
{
	const char *base;
	int r = http_base(a->http, &base);
	cleanup_free char *key = xasprintf("%s\n%s\n%s\n%s", r < 0 ? a->host : base,
		a->creds.user ? a->creds.user : "", a->creds.identity_token ? "refresh" : "",
		scope);
	struct token *t = tokens;

	while (t && strcmp(t->key, key) != 0)
		t = t->next;
	if (t)
		return t;
	t = xcalloc(1, sizeof *t);
	t->key = steal(&key);
	t->next = tokens;
	tokens = t;
	return t;
}

static void token_set(struct token *t, char *value, uint64_t seconds)
{
	uint64_t now = now_ns();

	secret_free(t->value);
	t->value = value;
	t->renew_at = seconds ? now + seconds * NS_PER_SEC / 10 * 8 : UINT64_MAX;
	t->expires_at = seconds ? now + seconds * NS_PER_SEC : UINT64_MAX;
}

// With the lock held, and let go of for the time of the fetch. t->realm stays: only the fetcher
// may change it.
static int token_renew(struct auth *a, struct token *t, const char *scope)
{
	char *value = NULL;
	uint64_t seconds = 0;

	t->fetching = true;
	pthread_mutex_unlock(&lock);
	int r = fetch_token(a, t, scope, &value, &seconds);

	pthread_mutex_lock(&lock);
	t->fetching = false;
	if (r == 0)
		token_set(t, value, seconds);
	pthread_cond_broadcast(&fetched);
	return r;
}

static int look_up_creds(struct auth *a)
{
	pthread_mutex_lock(&a->lock);
	if (!a->looked)
		a->look_error = creds_find(a->host, a->repo, a->net, &a->creds);
	a->looked = true;
	int r = a->look_error;

	pthread_mutex_unlock(&a->lock);
	return r;
}

int auth_get(struct auth *a, const char *scope, char **ret)
{
	int r = look_up_creds(a);

	if (r < 0)
		return r;
	pthread_mutex_lock(&lock);
	struct token *t = token_find(a, scope);

	while (t->fetching && t->expires_at <= now_ns())
		pthread_cond_wait(&fetched, &lock);
	if (t->value && t->realm && t->renew_at <= now_ns() && !t->fetching) {
		// While the old one is good for a while, a token server in trouble harms nobody.
		if (token_renew(a, t, scope) < 0 && t->expires_at <= now_ns()) {
			secret_free(t->value);
			t->value = NULL;
		}
	}
	if (!t->value)
		t = token_find(a, "");
	*ret = t->value ? xstrdup(t->value) : NULL;
	pthread_mutex_unlock(&lock);
	return 0;
}

static int denied(struct auth *a, const char *why)
{
	if (*a->repo)
		warn("registry %s refuses access to %s: %s", log_quote(a->host), log_quote(a->repo),
			why);
	else
		warn("registry %s: %s", log_quote(a->host), why);
	return -EACCES;
}

static int read_challenges(struct auth *a, const struct http_xfer *x, struct challenges *c)
{
	int r = 0;
	const char *header = NULL;

	for (unsigned i = 0; r == 0 && (header = http_header(x, "www-authenticate", i)); i++)
		r = auth_parse_challenge(header, c);
	if (r < 0)
		return warn_errno(r, "registry %s: WWW-Authenticate: %s makes no sense",
			log_quote(a->host), log_quote(header));
	if (c->bearer && c->realm)
		return 0;
	return c->basic
		? 0
		: denied(a, "status 401, without a challenge that we understand (Bearer, Basic)");
}

// Basic knows no scopes: it is kept under the empty one.
static int answer_basic(struct auth *a, const char *used, char **ret)
{
	struct token *t = token_find(a, "");

	if (!a->creds.user)
		return denied(a, "it wants credentials: --creds, --authfile, or fcpull login");
	if (used && t->value && strcmp(used, t->value) == 0)
		return denied(a, "it does not accept the credentials");
	if (!t->value)
		token_set(t, creds_basic(&a->creds), 0);
	*ret = xstrdup(t->value);
	return 0;
}

static int answer_bearer(struct auth *a, struct token *t, const char *scope,
	const struct challenges *c, const char *used, char **ret)
{
	while (t->fetching)
		pthread_cond_wait(&fetched, &lock);
	// Unless somebody else was faster: then the value is another than the one that was refused.
	if (!t->value || t->expires_at <= now_ns() || (used && strcmp(t->value, used) == 0)) {
		free(t->realm);
		free(t->service);
		t->realm = xstrdup(c->realm);
		t->service = c->service ? xstrdup(c->service) : NULL;
		int r = token_renew(a, t, scope);

		if (r < 0)
			return r;
	}
	*ret = xstrdup(t->value);
	return 0;
}

int auth_answer(
	struct auth *a, const char *scope, const struct http_xfer *x, const char *used, char **ret)
{
	struct challenges c = { 0 };
	int r = read_challenges(a, x, &c);

	if (r < 0) {
		challenges_fini(&c);
		return r;
	}
	bool wider = c.error && strcmp(c.error, "insufficient_scope") == 0 && c.scope && *c.scope;

	pthread_mutex_lock(&lock);
	// The wider token is kept under the scope that was asked for: that is what it is good for.
	if (c.bearer && c.realm)
		r = answer_bearer(a, token_find(a, scope), wider ? c.scope : scope, &c, used, ret);
	else
		r = answer_basic(a, used, ret);
	pthread_mutex_unlock(&lock);
	challenges_fini(&c);
	return r;
}

struct auth *auth_new(
	struct http *h, const char *host, const char *repo, const struct net_opts *net)
{
	struct auth *a = xcalloc(1, sizeof *a);

	a->http = h;
	a->host = xstrdup(host);
	a->repo = xstrdup(repo);
	a->net = net;
	pthread_mutex_init(&a->lock, NULL);
	return a;
}

void auth_free(struct auth *a)
{
	if (!a)
		return;
	creds_fini(&a->creds);
	pthread_mutex_destroy(&a->lock);
	free(a->host);
	free(a->repo);
	free(a);
}
