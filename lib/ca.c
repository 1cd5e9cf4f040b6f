// ca.c - whom TLS trusts: the system's certificate authorities, wherever this system keeps them
//
// libcurl itself does not look at the environment (only the curl tool does), and a static binary
// has no distribution of its own.
// SPDX-License-Identifier: Apache-2.0
#include "ca.h"
#include "log.h"

#include <fcntl.h>

#define CA_FILE_MAX (16u << 20)

static int load_file(const char *path, struct ca *ca)
{
	int r = read_file_at(AT_FDCWD, path, CA_FILE_MAX, &ca->pem, &ca->pem_len);

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

void ca_fini(struct ca *ca)
{
	free(ca->pem);
	free(ca->dir);
	*ca = (struct ca){ 0 };
}
