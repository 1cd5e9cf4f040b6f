// repo.h - one repository, wherever it lives: the seam between images and the ways to reach them
//
// registry.c (distribution-spec 1.1), layout.c (image-spec's image layout and its archive) and the
// other constructors at the end implement it. Every
// function may be called from several threads at once on one repo. Everything that comes back has
// been checked against the descriptor's size and digest where one was given (ranges cannot be:
// their reader checks chunks).
// SPDX-License-Identifier: Apache-2.0
#ifndef REPO_H
#define REPO_H

#include "hash.h"
#include "ref.h"
#include "stream.h"

#define MANIFEST_MAX (4u << 20) // bytes of a manifest or index
#define CONFIG_MAX (8u << 20)	// bytes of an image config

struct desc {
	struct digest digest;
	uint64_t size;
};

// How to reach and trust registries; from the command line. Strings borrowed.
struct net_opts {
	const char *authfile; // or NULL: the usual places
	const char *creds;    // "USER[:PASSWORD]" or NULL
	const char *password; // from --password-stdin, or NULL
	const char *cacert;   // PEM file in place of the system's CAs, or NULL
	bool in_memory;	      // authfile and cacert are no names, but what would be in the files
	bool plain_http;
	// of one place, from configuration files
	bool may_be_plain;	// it is asked whether it speaks plain http
	const char *ns;		// value of ?ns=, or NULL
	const char *ca;		// PEM file beside the system's CAs, or NULL
	const char *cert, *key; // PEM files of a client certificate, or NULL
	unsigned retries;	// attempts per request, the first included; 0 = default (5)
};

struct manifest { // raw bytes exactly as stored
	char *bytes;
	size_t len;
	char media_type[128]; // the body's mediaType, else Content-Type / descriptor, else a guess
	struct digest digest; // computed here
	char *ref_name;	      // layout: the name that index.json gives it, or NULL
};
void manifest_fini(struct manifest *m);
// The edge for manifests: m's bytes are JSON, an image manifest or an index and not both
// (CVE-2021-41190), not schema 1, and of the type that m->media_type claims ("" = no claim); sets
// m->media_type. -EBADMSG logged with `what`.
int manifest_check(struct manifest *m, const char *what) must_check;

struct repo;
struct yyjson_val;
typedef void referrer_fn(void *arg, struct yyjson_val *entry);
// Told of what has arrived of a range: the first n bytes of it are in its buffer. n grows, but begins anew
// when the range is asked for once more.
struct range_watch {
	void (*arrived)(const struct range_watch *w, size_t n);
};
// An upload that has begun before its blob is complete.
struct put_ahead {
	const struct put_ahead_ops {
		int (*more)(struct put_ahead *, uint64_t have);
		int (*end)(struct put_ahead *, const struct desc *);
		void (*cancel)(struct put_ahead *);
	} * ops;
};
struct repo_ops {
	int (*get_manifest)(struct repo *, const char *ref, struct manifest *ret);
	int (*open_blob)(struct repo *, const struct desc *, uint64_t off, struct stream **ret);
	int (*read_range)(struct repo *, const struct desc *, uint64_t off, void *buf, size_t n,
		const struct range_watch *);
	int (*has_blob)(struct repo *, const struct desc *);
	int (*put_blob)(struct repo *, const struct desc *, int fd, const char *mount_from);
	// or NULL: a blob is put when it is complete
	int (*put_ahead)(struct repo *, int fd, struct put_ahead **ret);
	int (*put_manifest)(
		struct repo *, const char *tag, const char *media_type, const void *, size_t);
	// or NULL: there are no lists of referrers
	int (*each_referrer)(struct repo *, const struct digest *subject, const char *type,
		bool patient, referrer_fn *fn, void *arg);
	void (*close)(struct repo *);
};
struct repo {
	const struct repo_ops *ops;
	char *name; // for messages and output: "localhost:5000/a/b", "oci:dir"
	bool is_registry;
	bool several; // places: after -EBADMSG another reading may go better
};

// Opens what ref names (its tag and digest are not looked at). `write` = push will follow (scope
// pull,push; a layout directory is made if missing). No network traffic happens here. -errno
// logged.
int repo_open(const struct ref *ref, const struct net_opts *net, bool write,
	struct repo **ret) must_check;
// Closes a repo; NULL is allowed. No other thread may still be in it.
void repo_close(struct repo *r);

// `ref` = a tag (layout: ref name; NULL = the only one) or "sha256:...". A digest is checked.
// -ENOENT when there is none: logged by the caller, not here; other errors logged.
static inline int repo_get_manifest(struct repo *r, const char *ref, struct manifest *ret)
{
	return r->ops->get_manifest(r, ref, ret);
}
// The blob's bytes from `off` on (off <= size). With off = 0 the digest is checked: the last read
// (the one that would return 0) returns -EBADMSG instead when size or digest are wrong. A dropped
// connection is resumed inside.
static inline int repo_open_blob(
	struct repo *r, const struct desc *d, uint64_t off, struct stream **ret)
{
	return r->ops->open_blob(r, d, off, ret);
}
// Exactly n bytes at off, unverified. Retries inside; -errno logged.
static inline int repo_read_range(
	struct repo *r, const struct desc *d, uint64_t off, void *buf, size_t n)
{
	return r->ops->read_range(r, d, off, buf, n, NULL);
}
// The same, and w is told, from this thread, as it comes; or at the end, or not at all.
static inline int repo_watch_range(struct repo *r, const struct desc *d, uint64_t off, void *buf,
	size_t n, const struct range_watch *w)
{
	return r->ops->read_range(r, d, off, buf, n, w);
}
// 1 there, 0 not there, -errno.
static inline int repo_has_blob(struct repo *r, const struct desc *d)
{
	return r->ops->has_blob(r, d);
}
// Stores size bytes of fd from its offset 0 (fd's own file offset is not used), HEAD first; with
// mount_from (a repository name of the same registry, or NULL) tries a cross-repository mount.
// Returns 1 when it was there or mounted already, 0 when sent. fd = -1: nothing is sent, 0 says
// that it would have to be.
static inline int repo_put_blob(
	struct repo *r, const struct desc *d, int fd, const char *mount_from)
{
	return r->ops->put_blob(r, d, fd, mount_from);
}
// Begins to upload a blob that is still being written into fd (borrowed), without asking whether it is there, as
// nobody knows its digest yet. -EOPNOTSUPP: not here; other -errno logged. Each failure of the three below has
// been logged too and costs nothing but time: repo_put_blob does it from the beginning.
static inline int repo_put_ahead(struct repo *r, int fd, struct put_ahead **ret)
{
	return r->ops->put_ahead ? r->ops->put_ahead(r, fd, ret) : -EOPNOTSUPP;
}
// `have` bytes are there now: sends those that are worth a request of their own. -errno: cancel it.
static inline int put_ahead_more(struct put_ahead *p, uint64_t have)
{
	return p->ops->more(p, have);
}
// The blob is complete: sends the rest. p is gone, whatever comes back.
static inline int put_ahead_end(struct put_ahead *p, const struct desc *d)
{
	return p->ops->end(p, d);
}
// Gives up. p is gone; NULL is allowed.
static inline void put_ahead_cancel(struct put_ahead *p)
{
	if (p)
		p->ops->cancel(p);
}
// tag = NULL: by digest only (in a layout: not listed in index.json); "" = in a layout, listed
// without a name.
static inline int repo_put_manifest(
	struct repo *r, const char *tag, const char *media_type, const void *p, size_t n)
{
	int e = r->ops->put_manifest(r, tag, media_type, p, n);

	return e > 0 ? 0 : e;
}
// By digest only. 1: the registry will list it as a referrer of its subject (OCI-Subject), 0: it will
// not.
static inline int repo_put_referrer(struct repo *r, const char *media_type, const void *p, size_t n)
{
	return r->ops->put_manifest(r, NULL, media_type, p, n);
}
// Calls fn for what the registry lists as referrers of a manifest (distribution-spec 1.1, "Listing
// Referrers"), of this artifactType only if it can filter. -ENOENT, silent: it keeps no such lists.
// Not patient: one attempt, and other errors are silent too.
static inline int repo_each_referrer(struct repo *r, const struct digest *subject, const char *type,
	bool patient, referrer_fn *fn, void *arg)
{
	return r->ops->each_referrer ? r->ops->each_referrer(r, subject, type, patient, fn, arg)
				     : -ENOENT;
}
// Reads a whole small blob (size <= max, else -EFBIG), checked; one NUL follows. Caller frees.
int repo_read_blob(struct repo *r, const struct desc *d, size_t max, char **ret) must_check;

// Constructors behind repo_open.
int registry_open(const struct ref *ref, const struct net_opts *net, bool write,
	struct repo **ret) must_check;
int layout_open(const struct ref *ref, bool write, struct repo **ret) must_check;
int layout_open_archive(
	const struct ref *ref, struct repo **ret) must_check;		// oci-archive:, to read
int archivew_open(const struct ref *ref, struct repo **ret) must_check; // the same, to write
int dockerar_open(const struct ref *ref, struct repo **ret) must_check; // docker-archive:
int dirrepo_open(const struct ref *ref, bool write, struct repo **ret) must_check; // dir:
int rawimage_open(const struct ref *ref, struct repo **ret) must_check;		   // tar:, rootfs:

// What an error says: the thing itself is wrong or not there, not the way to it.
bool repo_is_content(int r);
// Nobody has answered: "no such image", a bad one, a wrong certificate are answers; only what cannot be
// reached gives none.
bool repo_is_silence(int r);

// Requests sent and body bytes received by this process so far, for inspect -v, explain and tests.
struct net_stats {
	uint64_t requests, bytes_in, bytes_out, retries;
};
void net_stats_get(struct net_stats *ret);

#endif
