// ca.h - whom TLS trusts: the system's certificate authorities, wherever this system keeps them
// SPDX-License-Identifier: Apache-2.0
#ifndef CA_H
#define CA_H

#include "base.h"

struct ca {
	char *pem; // a bundle, or NULL
	size_t pem_len;
	char *dir;	  // a directory of certificates, or NULL
	char *cert, *key; // files of a client certificate, or NULL
};
// file (from --cacert) if not NULL, a name, or the text itself with `is_text`; else $SSL_CERT_FILE and $SSL_CERT_DIR, else $CURL_CA_BUNDLE,
// else the first of the places where distributions keep a bundle. What was named must be
// readable: -errno logged. When nothing was named and none is there, both fields are NULL and the
// result is 0: plain http needs no authority.
int ca_load(const char *file, bool is_text, struct ca *ret) must_check;
// Adds a PEM file to those. -errno logged.
int ca_add(const char *file, struct ca *ca) must_check;
// Adds what docker and podman keep for "host[:port]" (containers-certs.d(5)): of the first directory that is
// there, ~/.config/containers/certs.d/HOST, /etc/containers/certs.d/HOST, /etc/docker/certs.d/HOST, all *.crt
// (with `authorities`), and, unless ca has one, the first *.cert with its *.key. -errno logged.
int ca_add_host(const char *host, bool authorities, struct ca *ca) must_check;
void ca_fini(struct ca *ca);

#endif
