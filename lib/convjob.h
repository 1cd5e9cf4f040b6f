// convjob.h - a conversion in a process of its own: started, followed, bounded, judged
//
// The process is this program's `convert --if-needed --json`, in a process group and, where the host
// allows it, a control group of its own, with limits of memory, file size and time, and first in line for the OOM killer. It ends with the service. A
// hostile image can kill it and nothing else.
// SPDX-License-Identifier: Apache-2.0
#ifndef CONVJOB_H
#define CONVJOB_H

#include "cgroup.h"
#include "job.h"

struct convjob_conf {
	const char *authfile, *cacert; // or NULL
	bool plain_http;
	const char *codec;  // or NULL: convert's default
	const char *record; // seconds of a recorded run, or NULL
	const char *traces; // directory with HOST/REPOSITORY.trace, or NULL
	uint64_t threads;   // of one conversion; 0: convert's default
	bool cgroups;	    // memory is limited by a control group for each, else by its addresses
	uint64_t memory;    // bytes, without swap; 0: no limit
	uint64_t file_size; // bytes of a scratch file; 0: no limit
	unsigned timeout;   // seconds; 0: no limit
};

struct convjob {
	struct job job;
	pid_t pid;
	int out, err;  // pipes from it, non-blocking; -1: at their end
	int64_t begun; // now_ns() / 1e9
	char *tmp;     // its scratch directory
	struct cgroup group;
	struct buf stdout_text, line;
	char error[JOB_TEXT_MAX + 1]; // what it said last
	char step[100];		      // how far it is: "layer 2/5 0123456789ab"
	uint64_t done, total;	      // bytes of the step
	char killed[100];	      // why we have ended it, or ""
	bool asked;		      // ... because the service ends: not the image's doing
	bool lasting;		      // it failed for what lies in the image
};

// Can conversions have control groups here? If not: why it is so was said at info level.
bool convjob_groups(uint64_t memory) must_check;
// tmp: where its scratch directory is made; lock: inherited by it. To be called by a thread that lives
// as long as the process should. -errno logged.
int convjob_start(const struct convjob_conf *conf, const struct job *j, const char *tmp, int lock,
	struct convjob **ret) must_check;
// Takes in what it has said.
void convjob_read(struct convjob *c);
// Ends it, and all that it has started. why: constant text.
void convjob_kill(struct convjob *c, int sig, const char *why);
// Has it ended? Then 0 and *ret, or -ECANCELED and c->error; else -EAGAIN.
int convjob_end(struct convjob *c, struct job_result *ret) must_check;
// Frees; the process must have ended.
void convjob_free(struct convjob *c);

// ---- for tests ----
// What convert --json prints. -EBADMSG silent.
int convjob_parse(const char *text, size_t n, struct job_result *ret) must_check;
// What it prints when it fails: does that lie in the image?
bool convjob_lasts(const char *text, size_t n);

#endif
