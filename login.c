// login.c - login, logout: credentials are tried, and put where podman and skopeo look for them
// SPDX-License-Identifier: Apache-2.0
#include <signal.h>
#include <termios.h>

#include "credstore.h"
#include "fcpull.h"
#include "log.h"
#include "registry.h"

static const char *login_user, *login_password;
static bool get_login, all_registries;

// The rows that login and logout share with the verbs that name an image.
#define LOGIN_OPT_ROW                                                                           \
	{                                                                                       \
		0, "authfile", "FILE", "that file, not the first of the usual places", opt_str, \
			&image_opts.host.net.authfile, false                                    \
	}

static const struct opt login_opts[] = {
	{ 'u', "username", "USER", "the user", opt_str, &login_user, false },
	{ 'p', "password", "PASS", "seen by all who list processes; rather:", opt_str,
		&login_password, false },
	{ 0, "password-stdin", NULL, "read the password from stdin", opt_flag,
		&image_opts.password_stdin, false },
	{ 0, "get-login", NULL, "say who is logged in", opt_flag, &get_login, false },
	LOGIN_OPT_ROW,
	{ 0, "cacert", "FILE", "trust these CAs (PEM), not the system's", opt_str,
		&image_opts.host.net.cacert, false },
	{ 0, "plain-http", NULL, "speak HTTP without TLS", opt_flag,
		&image_opts.host.net.plain_http, false },
	{ 0 },
};

static const struct opt logout_opts[] = {
	{ 'a', "all", NULL, "all registries", opt_flag, &all_registries, false },
	LOGIN_OPT_ROW,
	{ 0 },
};

// ---- which registry ----

// "HOST[:PORT][/NAMESPACE]", also as docker has it: "https://HOST/v1/".
static int parse_registry(const char *text, char **ret_host, char **ret_ns)
{
	const char *scheme = strstr(text, "://");
	cleanup_free char *name = xstrdup(scheme ? scheme + 3 : text);
	size_t n = strlen(name);
	struct ref ref;

	if (scheme && strncmp(text, "https://", 8) && strncmp(text, "http://", 7)) {
		warn("registry %s: it is named as HOST[:PORT]", log_quote(text));
		return -EINVAL;
	}
	while (n && name[n - 1] == '/')
		name[--n] = 0;
	if (scheme && n > 3 && (!strcmp(name + n - 3, "/v1") || !strcmp(name + n - 3, "/v2")))
		name[n - 3] = 0;
	size_t host = strcspn(name, "/");
	cleanup_free char *full = name[host] ? xstrdup(name) : xasprintf("%s/x", name);

	if (ref_parse(full, &ref))
		return -EINVAL;
	bool same = strlen(ref.host) == host ? !strncmp(ref.host, name, host)
					     : !strncmp(name, "index.docker.io", host);

	if (!same || ref.tag == NULL || strcmp(ref.tag, "latest") || ref.digest) {
		warn("registry %s: it is named as HOST[:PORT][/NAMESPACE], the host with a '.', a ':' or as localhost",
			log_quote(text));
		ref_fini(&ref);
		return -EINVAL;
	}
	*ret_host = xstrdup(ref.host);
	*ret_ns = xstrdup(name[host] ? ref.repo : "");
	ref_fini(&ref);
	return 0;
}

// ---- the terminal ----

static struct termios saved_terminal;

// Echo comes back before the signal does what it does.
static void on_signal(int sig)
{
	tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
	signal(sig, SIG_DFL);
	raise(sig);
}

static int ask_user(char *line, size_t n)
{
	fputs("Username: ", stderr);
	return read_line("username", line, n);
}

static int ask_password(char *line, size_t n)
{
	static const int signals[] = { SIGINT, SIGTERM, SIGHUP, SIGQUIT };
	struct termios quiet;
	int r;

	if (tcgetattr(STDIN_FILENO, &saved_terminal))
		return warn_errno(-errno, "terminal");
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		signal(signals[i], on_signal);
	quiet = saved_terminal;
	quiet.c_lflag &= ~(tcflag_t)ECHO;
	if (tcsetattr(STDIN_FILENO, TCSAFLUSH, &quiet))
		return warn_errno(-errno, "terminal");
	// not before: what is typed at once would be shown, and flushed away
	fputs("Password: ", stderr);
	r = read_line("password", line, n);
	tcsetattr(STDIN_FILENO, TCSANOW, &saved_terminal);
	for (size_t i = 0; i < ARRAY_LEN(signals); i++)
		signal(signals[i], SIG_DFL);
	fputs("\n", stderr);
	return r;
}

// ---- login ----

static int check_user(const char *user)
{
	if (*user && !strchr(user, ':') && strlen(user) <= CREDS_FIELD_MAX)
		return 0;
	warn("user %s: it is empty, too long, or has a ':' in it", log_quote(user));
	return -EINVAL;
}

// User and password, from wherever they come.
static int get_creds(struct creds *ret)
{
	char user[1024], password[PASSWORD_MAX + 2];
	bool terminal = isatty(STDIN_FILENO);
	int r = 0;

	if ((!login_user || (!login_password && !image_opts.password_stdin)) && !terminal) {
		warn("standard input is no terminal to ask at: give -u USER --password-stdin");
		return -EINVAL;
	}
	if (!login_user)
		r = ask_user(user, sizeof user);
	if (!r)
		r = check_user(login_user ? login_user : user);
	if (r)
		return r;
	if (!login_password)
		r = image_opts.password_stdin
			? read_line("--password-stdin", password, sizeof password)
			: ask_password(password, sizeof password);
	if (r)
		return r;
	ret->user = xstrdup(login_user ? login_user : user);
	ret->password = xstrdup(login_password ? login_password : password);
	explicit_bzero(password, sizeof password);
	return 0;
}

static int say_login(const char *host, const char *ns)
{
	struct creds c = { 0 };
	int r = creds_find(host, ns, &image_opts.host.net, &c);

	if (!r && (c.user || c.identity_token))
		puts(c.user ? c.user : "<token>");
	else if (!r)
		r = warn_errno(-ECANCELED, "nobody is logged in to %s", host);
	creds_fini(&c);
	return r;
}

static int try_and_save(const char *host, const char *ns, const struct creds *c)
{
	struct net_opts net = image_opts.host.net;
	cleanup_free char *file = creds_login_file(&net), *where = NULL;
	bool asked;
	int r;

	net.creds = c->user;
	net.password = c->password;
	r = registry_try_creds(host, &net, &asked);
	if (r)
		return r;
	if (!asked)
		warn("%s asks for no credentials, so these could not be tried", host);
	r = creds_save(file, host, ns, c, &where);
	if (!r && !opt_quiet)
		fprintf(stderr, "logged in to %s%s%s as %s; kept in %s\n", host, *ns ? "/" : "", ns,
			log_quote(c->user), log_quote(where));
	return r;
}

static int login(int argc, char **argv)
{
	cleanup_free char *host = NULL, *ns = NULL;
	struct creds c = { 0 };
	int r;

	if (argc != 1) {
		warn("login takes one REGISTRY; try 'fcpull login --help'");
		return EXIT_USAGE;
	}
	if (login_password && image_opts.password_stdin) {
		warn("--password and --password-stdin are one too many");
		return EXIT_USAGE;
	}
	if (parse_registry(argv[0], &host, &ns))
		return EXIT_USAGE;
	if (get_login)
		return say_login(host, ns) ? EXIT_FAILURE : 0;
	if (get_creds(&c))
		return EXIT_USAGE;
	r = try_and_save(host, ns, &c);
	creds_fini(&c);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_login = {
	"login",
	"REGISTRY",
	"try credentials for a registry and keep them",
	login_opts,
	"They are kept where podman and skopeo keep theirs: --authfile, else\n"
	"$REGISTRY_AUTH_FILE, else $XDG_RUNTIME_DIR/containers/auth.json (without that\n"
	"variable /run/containers/UID/auth.json; gone with the next boot), or in the\n"
	"credential helper that this file names. REGISTRY is HOST[:PORT], or with a\n"
	"/NAMESPACE for the repositories below it.\n\n"
	"  fcpull login registry.example\n"
	"  pass show registry | fcpull login -u me --password-stdin registry.example\n"
	"  fcpull login --authfile ~/.docker/config.json registry.example\n",
	login,
	false,
	0,
};

// ---- logout ----

// What other files have is not ours to remove: it is only said.
static int say_leftover(const char *host, const char *ns, int had)
{
	struct creds c = { 0 };
	int r = creds_find(host, ns, &image_opts.host.net, &c);

	if (!r && (c.user || c.identity_token))
		warn("credentials for %s%s%s are still in %s", host, *ns ? "/" : "", ns,
			c.from ? log_quote(c.from) : "another place");
	else if (!r && !had)
		r = warn_errno(
			-ECANCELED, "nobody was logged in to %s%s%s", host, *ns ? "/" : "", ns);
	creds_fini(&c);
	return r;
}

static int logout(int argc, char **argv)
{
	cleanup_free char *host = NULL, *ns = NULL, *file = creds_login_file(&image_opts.host.net);
	int r;

	if (argc != !all_registries) {
		warn("logout takes one REGISTRY or --all; try 'fcpull logout --help'");
		return EXIT_USAGE;
	}
	if (all_registries)
		return creds_remove_all(file) < 0 ? EXIT_FAILURE : 0;
	if (parse_registry(argv[0], &host, &ns))
		return EXIT_USAGE;
	r = creds_remove(file, host, ns);
	if (r == 1 && !opt_quiet)
		fprintf(stderr, "logged out of %s%s%s\n", host, *ns ? "/" : "", ns);
	if (r >= 0)
		r = say_leftover(host, ns, r);
	return r ? EXIT_FAILURE : 0;
}

const struct applet applet_logout = {
	"logout",
	"REGISTRY",
	"forget a registry's credentials",
	logout_opts,
	"They are taken out of the file that 'fcpull login' writes, and of the\n"
	"credential helper that it names. Other files are not touched.\n\n"
	"  fcpull logout registry.example\n"
	"  fcpull logout --all\n",
	logout,
	false,
	0,
};
