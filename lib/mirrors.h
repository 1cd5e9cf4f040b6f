// mirrors.h - where else a registry's repository may be read: registries.conf and hosts.toml
//
// registries.conf(5) of podman and skopeo, version 2: $CONTAINERS_REGISTRIES_CONF, else
// ~/.config/containers/registries.conf, else /etc/containers/registries.conf; then the *.conf of
// /etc/containers/registries.conf.d and ~/.config/containers/registries.conf.d by name, whose entries
// take the place of those with the same prefix. When no entry fits, containerd's
// /etc/containerd/certs.d/HOST/hosts.toml (or what $FCPULL_CERTS_D names).
//
// Nothing here makes TLS weaker: `insecure` allows plain http where the registry speaks it, and never a
// certificate that cannot be verified; skip_verify is said and not obeyed.
// SPDX-License-Identifier: Apache-2.0
#ifndef MIRRORS_H
#define MIRRORS_H

#include "repo.h"
#include "toml.h"

#define ENDPOINTS_MAX 16 // of one repository

struct endpoint {
	char *host, *repo;
	char *ns;	   // what ?ns= says: containerd's mirrors learn there whom they stand for
	bool plain;	   // http:// was written
	bool may_be_plain; // insecure: it is asked whether it is
	bool by_tag, by_digest; // what may be asked for
	char *ca, *cert, *key;	// files, or NULL
};
struct mirrors {
	struct endpoint *v; // in the order of trying
	size_t n;
};
void mirrors_fini(struct mirrors *m);
// The endpoints of a docker ref: at least one; the registry's own is the last. With `write` only that.
// -EACCES logged: blocked; -EBADMSG logged: a file that cannot be read.
int mirrors_find(const struct ref *ref, bool write, struct mirrors *ret) must_check;

// Calls fn for the files that are looked into, whether they are there or not.
void mirrors_each_file(void (*fn)(void *arg, const char *path), void *arg);

// What the endpoint adds to, or takes from, the command line's; `own`: it is the registry that was named.
// Strings are e's.
void mirrors_net(const struct endpoint *e, bool own, struct net_opts *net);

// ---- the files, for tests and fuzzing ----
// Fills ret by the entry of a registries.conf that fits ref best, if it fits better than *best or as
// well (a prefix's length; 0 at first). 0; -EACCES, -EBADMSG logged with `what`.
int mirrors_of_registries(const struct toml *root, const struct ref *ref, const char *what,
	size_t *best, struct mirrors *ret) must_check;
// The same of a hosts.toml; `dir`: where its relative paths start.
int mirrors_of_hosts(const struct toml *root, const struct ref *ref, const char *dir,
	const char *what, struct mirrors *ret) must_check;

#endif
