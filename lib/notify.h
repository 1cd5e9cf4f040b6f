// notify.h - what registries say when something was pushed, and what people ask for
//
// The edge for the bodies that the service is sent. CNCF distribution: {"events": [...]}, each with
// action, target and request (distribution's "notifications" specification). Harbor: type
// PUSH_ARTIFACT with event_data, or a CloudEvent harbor.artifact.pushed with the same as its data
// (goharbor/harbor: src/pkg/notifier/formats/cloudevents.go and default.go, model/event.go); a push
// without a tag has the digest as "tag" (src/controller/event/handler/webhook/artifact/artifact.go).
// SPDX-License-Identifier: Apache-2.0
#ifndef NOTIFY_H
#define NOTIFY_H

#include "ref.h"

#define NOTIFY_EVENTS_MAX 1024 // of one envelope

struct push {
	char host[REF_NAME_MAX + 1]; // as the notification says; "" if it does not
	char repo[REF_NAME_MAX + 1];
	char tag[REF_TAG_MAX + 1];
	char digest[72]; // "sha256:...", or "" when not said
};
struct pushes {
	struct push *v;
	size_t n;
	size_t ignored; // events that are no push of a tag: pulls, blobs, pushes by digest
};
// A registry's notification. -EBADMSG: it is none, *ret_why says what is wrong (a constant). An event
// that is well formed and no push of a tag is counted as ignored. Free with pushes_fini.
int notify_parse(const void *p, size_t n, struct pushes *ret, const char **ret_why) must_check;
// {"image": "HOST/REPO[:TAG]", "platform": "OS/ARCH"}: one push; *ret_platform is "" if not said.
#define NOTIFY_PLATFORM_MAX 100
int notify_parse_request(const void *p, size_t n, struct push *ret,
	char ret_platform[static NOTIFY_PLATFORM_MAX], const char **ret_why) must_check;
void pushes_fini(struct pushes *p);

#endif
