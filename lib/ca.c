// ca.c - whom TLS trusts: the system's certificate authorities, wherever this system keeps them
//
// libcurl itself does not look at the environment (only the curl tool does), and a static binary
// has no distribution of its own.
// SPDX-License-Identifier: Apache-2.0
#include "ca.h"
#include "log.h"

#include <dirent.h>
#include <fcntl.h>

#define CA_MAX 8000000u // bytes of all authorities: what libcurl takes (CURL_MAX_INPUT_LENGTH)

static int load_file(const char *path, struct ca *ca)
{
	int r = read_file_at(AT_FDCWD, path, CA_MAX, &ca->pem, &ca->pem_len);

	if (r == 0 && !memmem(ca->pem, ca->pem_len, "-----BEGIN ", 11)) {
		free(steal(&ca->pem));
		r = -EINVAL;
	}
	return r;
}

static int load_named(const char *path, const char *who, struct ca *ca)
{
	int r = load_file(path, ca);

	if (r == -EINVAL)
		return warn_errno(r, "%s: %s is no file of PEM certificates", who, log_quote(path));
	return r < 0 ? warn_errno(r, "%s: open %s", who, log_quote(path)) : 0;
}

static const char *env(const char *name)
{
	const char *v = getenv(name);

	return v && *v ? v : NULL;
}

static int load_text(const char *text, struct ca *ca)
{
	ca->pem = xstrdup(text);
	ca->pem_len = strlen(text);
	return 0;
}

int ca_load(const char *file, bool is_text, struct ca *ret)
{
	// Debian and Arch; Fedora and RHEL; the same, extracted; SUSE; Alpine and the BSDs; Go's
	// list has these too.
	static const char *const places[] = {
		"/etc/ssl/certs/ca-certificates.crt",
		"/etc/pki/tls/certs/ca-bundle.crt",
		"/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
		"/etc/ssl/ca-bundle.pem",
		"/etc/ssl/cert.pem",
	};
	const char *env_file = env("SSL_CERT_FILE"), *env_dir = env("SSL_CERT_DIR"),
		   *env_curl = env("CURL_CA_BUNDLE");
	struct ca ca = { 0 };
	int r = 0;

	if (file && is_text)
		r = load_text(file, &ca);
	else if (file)
		r = load_named(file, "--cacert", &ca);
	else if (env_file)
		r = load_named(env_file, "$SSL_CERT_FILE", &ca);
	if (!file && env_dir)
		ca.dir = xstrndup(env_dir, strcspn(env_dir, ":"));
	if (!file && !env_file && !env_dir && env_curl)
		r = load_named(env_curl, "$CURL_CA_BUNDLE", &ca);
	else if (!file && !env_file && !env_dir)
		for (size_t i = 0; i < ARRAY_LEN(places) && !ca.pem; i++)
			if (load_file(places[i], &ca) == 0)
				debug("certificate authorities from %s", places[i]);
	if (r < 0) {
		ca_fini(&ca);
		return r;
	}
	*ret = ca;
	return 0;
}

int ca_add(const char *file, struct ca *ca)
{
	struct ca more = { 0 };
	int r = load_named(file, "configuration", &more);

	if (r < 0)
		return r;
	char *both = xasprintf("%s\n%s", ca->pem ? ca->pem : "", more.pem);

	free(ca->pem);
	ca->pem = both;
	ca->pem_len = strlen(both);
	ca_fini(&more);
	if (ca->pem_len > CA_MAX)
		return warn_errno(
			-EFBIG, "certificate authorities with those of %s", log_quote(file));
	return 0;
}

// ---- certs.d ----

static bool ends_in(const char *name, const char *end)
{
	size_t n = strlen(name), e = strlen(end);

	return n > e && strcmp(name + n - e, end) == 0;
}

// NAME.cert with NAME.key beside it.
static int take_pair(const char *dir, const char *name, struct ca *ca)
{
	cleanup_free char *cert = xasprintf("%s/%s", dir, name);
	cleanup_free char *key = xasprintf("%s/%.*s.key", dir, (int)strlen(name) - 5, name);

	if (ca->cert)
		return 0;
	if (access(cert, R_OK) < 0 || access(key, R_OK) < 0)
		return warn_errno(
			-errno, "client certificate %s with %s", log_quote(cert), log_quote(key));
	debug("client certificate %s", log_quote(cert));
	ca->cert = steal(&cert);
	ca->key = steal(&key);
	return 0;
}

// 1 the directory is there, 0 not.
static int take_dir(const char *dir, bool authorities, struct ca *ca)
{
	struct dirent **list = NULL;
	int n = scandir(dir, &list, NULL, alphasort), r = 0;

	if (n < 0)
		return errno == ENOENT || errno == ENOTDIR || errno == EACCES
			? 0
			: warn_errno(-errno, "%s", log_quote(dir));
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;
		cleanup_free char *path = xasprintf("%s/%s", dir, name);

		if (r == 0 && authorities && ends_in(name, ".crt"))
			r = ca_add(path, ca);
		else if (r == 0 && ends_in(name, ".cert"))
			r = take_pair(dir, name, ca);
		free(list[i]);
	}
	free(list);
	return r < 0 ? r : 1;
}

int ca_add_host(const char *host, bool authorities, struct ca *ca)
{
	const char *home = env("HOME");
	cleanup_free char *own = home ? xasprintf("%s/.config/containers", home) : NULL;
	const char *const bases[] = { own, "/etc/containers", "/etc/docker" };
	int r = 0;

	for (size_t i = 0; i < ARRAY_LEN(bases) && r == 0; i++) {
		cleanup_free char *dir =
			bases[i] ? xasprintf("%s/certs.d/%s", bases[i], host) : NULL;

		r = dir ? take_dir(dir, authorities, ca) : 0;
	}
	return MIN(r, 0);
}

void ca_fini(struct ca *ca)
{
	free(ca->cert);
	free(ca->key);
	free(ca->pem);
	free(ca->dir);
	*ca = (struct ca){ 0 };
}
