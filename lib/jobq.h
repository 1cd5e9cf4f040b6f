// jobq.h - the service's queue of conversions, on disk
//
//	DIR/lock		held (flock) by the service and, while they run, by its conversions
//	DIR/jobs/ID.json	a job: job.h
//	DIR/tmp/		scratch of the conversions; emptied at the start
//
// A job changes by its file being replaced: written beside, fsync, rename, fsync of the directory. So
// whatever is cut off where, there is the old job or the new one, and what jobq_put has returned 0
// or more for is there after a power cut. A service that was killed finds its running jobs as queued.
// Any thread may call anything here; a call may wait for the disk.
// SPDX-License-Identifier: Apache-2.0
#ifndef JOBQ_H
#define JOBQ_H

#include "job.h"

#define JOBQ_INTERRUPTED_MAX \
	10		      // runs in a row that ended with the service: it is the image's doing
#define JOBQ_BACKOFF_MAX 3600 // seconds
#define JOBQ_LASTING_ATTEMPTS 2 // of what lies in the image

struct jobq_conf {
	size_t max_waiting; // jobs; above, nothing is taken
	size_t max_kept;    // done and parked ones; the oldest go
	unsigned attempts;  // until a job is parked
	unsigned backoff;   // seconds after the first failure, doubled with each; 0 for tests
};

struct jobq;
// Makes DIR if missing, waits at most wait_s for its lock. -errno logged.
int jobq_open(const char *dir, const struct jobq_conf *conf, unsigned wait_s,
	struct jobq **ret) must_check;
void jobq_close(struct jobq *q);
// The lock, to be inherited by conversions; DIR/tmp. Borrowed.
int jobq_lock_fd(const struct jobq *q);
const char *jobq_tmp(const struct jobq *q);

enum jobq_verdict {
	JOBQ_NEW,   // taken
	JOBQ_KNOWN, // one that waits or runs covers it, or it is parked for this very image
	JOBQ_OWN,   // it is the push of a result of ours
};
// Asks for a conversion; digest: of what was pushed, or "". A verdict, durably; -EAGAIN (silent): too
// many wait; other -errno logged.
int jobq_put(struct jobq *q, const char *image, const char *platform, const char *digest,
	char ret_id[static JOB_ID_LEN + 1]) must_check;
// The next job that is due, now running; none of the same image runs. 1; 0: none, and *ret_due is
// when the next will be (INT64_MAX: none waits); -errno logged.
int jobq_take(struct jobq *q, int64_t now, struct job *ret, int64_t *ret_due) must_check;

// LASTING: it lies in the image, so that only another push can help; it is tried once more all the same,
// as a registry or a proxy may have lied for a moment.
enum jobq_end { JOBQ_ENDED, JOBQ_FAILED, JOBQ_LASTING, JOBQ_INTERRUPTED };
// A running job's end. result: with JOBQ_ENDED; error: with JOBQ_FAILED and JOBQ_LASTING. Returns its state now. What
// cannot be written is logged; the job is then run again after a restart.
enum job_state jobq_end(struct jobq *q, const char *id, enum jobq_end how,
	const struct job_result *result, const char *error, int64_t now);

// -ENOENT, silent.
int jobq_get(struct jobq *q, const char *id, struct job *ret) must_check;
// Forgets one that does not run. -ENOENT, -EBUSY silent; others logged.
int jobq_remove(struct jobq *q, const char *id) must_check;
// A parked or waiting one is due at once, as if it had never failed. -ENOENT, -EBUSY silent.
int jobq_retry(struct jobq *q, const char *id, int64_t now) must_check;
void jobq_count(struct jobq *q, size_t ret[static JOB_STATES]);
// Copies of at most max jobs of a state: waiting ones in the order they are due, the others the latest
// first. Caller frees.
size_t jobq_list(struct jobq *q, enum job_state state, size_t max, struct job **ret) must_check;

#endif
