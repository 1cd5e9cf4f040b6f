// job.h - one conversion that the service was asked for, as its queue keeps it
//
// A job means "see to it that this tag's image for this platform is accelerated": so a push while one
// waits adds nothing, and one while it runs asks for another look (`again`).
// SPDX-License-Identifier: Apache-2.0
#ifndef JOB_H
#define JOB_H

#include "json.h"
#include "ref.h"

#define JOB_ID_LEN 32
#define JOB_FILE_MAX (64u << 10) // bytes of its file
#define JOB_TEXT_MAX 500	 // of an error that is kept
#define JOB_IMAGE_MAX (REF_NAME_MAX + REF_TAG_MAX + 2)
#define JOB_DIGEST_MAX 72

enum job_state { JOB_QUEUED, JOB_RUNNING, JOB_DONE, JOB_PARKED, JOB_STATES };
extern const char *const job_state_names[JOB_STATES];

// What came of it; sizes in bytes.
struct job_result {
	char outcome[16];	     // "converted", "already"
	char digest[JOB_DIGEST_MAX]; // what the tag points at now
	uint64_t size;		     // of the layers as published
	uint64_t data, index, boot;  // of the data blobs, the packed index, the boot stream
	uint64_t decoded, entries;
};

struct job {
	char id[JOB_ID_LEN + 1];
	char image[JOB_IMAGE_MAX + 1]; // "registry.example/team/app:1"
	char platform[100];
	char digest[JOB_DIGEST_MAX]; // of what was pushed last, or ""
	enum job_state state;
	bool again; // pushed anew while it ran
	char again_digest[JOB_DIGEST_MAX];
	uint32_t attempts;    // that failed, since it was asked for
	uint32_t interrupted; // runs that ended with the service, in a row
	// seconds since 1970
	int64_t created;	      // asked for
	int64_t due;		      // not to be started before
	int64_t started, finished;    // of the last run; 0: none
	char error[JOB_TEXT_MAX + 1]; // of the last run, or ""
	struct job_result result;     // of JOB_DONE
};

// The same image and platform give the same id on every replica.
void job_id(const char *image, const char *platform, char ret[static JOB_ID_LEN + 1]);
bool job_is_id(const char *s, size_t n) must_check;
// Members of an object: what is in the file, and what the API shows.
void job_put(struct buf *b, const struct job *j);
// What job_put wrote inside {}. -EBADMSG logged with `name`.
int job_parse(const char *text, size_t n, const char *name, struct job *ret) must_check;

#endif
