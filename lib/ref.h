// ref.h - image references (distribution's grammar) and transports
// SPDX-License-Identifier: Apache-2.0
#ifndef REF_H
#define REF_H

#include "base.h"

#define REF_NAME_MAX 255 // host and repository; older clients and registries take no more
#define REF_TAG_MAX 128
#define REF_DIR_MAX 4095

enum ref_transport {
	REF_DOCKER,
	REF_OCI,
	REF_OCI_ARCHIVE,
	REF_DOCKER_ARCHIVE,
	REF_DIR,
	REF_TAR,
	REF_ROOTFS,
};

// docker://[HOST[:PORT]/]PATH[:TAG][@DIGEST] (the scheme may be left out), oci:DIR[:NAME][@DIGEST],
// oci-archive:FILE[:NAME][@DIGEST], docker-archive:FILE[:IMAGE[:TAG]|:@N], dir:DIR, tar:FILE,
// rootfs:DIR. Of the others only docker-archive and tar take "-", standard input. Strings are owned;
// ref_fini frees. A field that is not there is NULL.
struct ref {
	enum ref_transport transport;
	char *host; // docker: "docker.io", "localhost:5000", "[::1]:5000"
	char *repo; // docker: "library/alpine"
	char *dir;  // all others: the directory or file
	char *tag; // docker: "latest" when neither tag nor digest was given; oci, oci-archive: ref name
		// or NULL; docker-archive: "docker.io/library/alpine:3", "@0" or NULL
	char *digest; // "sha256:..." or NULL
};
// -EINVAL after saying what is wrong with which text (and, where it is plain, what was meant).
int ref_parse(const char *s, struct ref *ret) must_check;
void ref_fini(struct ref *r);
// The full form, e.g. "docker.io/library/alpine:3@sha256:..." or "oci:dir:tag". Caller frees.
char *ref_str(const struct ref *r) must_check;
// "oci", "docker-archive"; "docker" for a registry.
const char *ref_transport_name(enum ref_transport t) must_check;
// The same without tag and digest: "docker.io/library/alpine", "oci:dir".
char *ref_name(const struct ref *r) must_check;

// The parts of the grammar, for names that come from elsewhere: no message.
bool ref_is_tag(const char *s);	     // [A-Za-z0-9_][A-Za-z0-9_.-]{0,127}
bool ref_is_repo(const char *s);     // "library/alpine"
bool ref_is_oci_name(const char *s); // image-spec annotations.md, org.opencontainers.image.ref.name
// "localhost", 127.0.0.0/8 or ::1, written so (no DNS is asked), with or without a port.
bool ref_host_is_loopback(const char *host);

#endif
