// host.h - an image on this host: resolved, its index loaded, its data reachable. What mount, run,
// pull and check start from.
// SPDX-License-Identifier: Apache-2.0
#ifndef HOST_H
#define HOST_H

#include "image.h"
#include "index.h"
#include "lazy.h"
#include "rescue.h"
#include "stats.h"
#include "store.h"

struct host_opts {
	const char *root; // the store, or NULL
	int root_fd;	  // its directory, open, for host_open_index; 0: by root
	struct net_opts net;
	struct platform platform;
	bool original;		  // do not use an accelerated form
	bool must_be_accelerated; // no fallback: a missing or broken accelerated form is an error
	bool boot;		  // the boot stream is wanted
	bool metadata_only;	  // pull nothing: ix is NULL for an original that is not here
	bool prefer_here; // an original all of which is here, and proved, before any accelerated form
	bool kept;	  // for host_open_index: the form's data is in the store's own blobs
	unsigned threads;
};

struct host_image {
	struct store *store;
	struct repo *repo;   // where it comes from; NULL: the store alone knows it
	struct repo *source; // where missing data comes from: repo, or the store's own blobs
	bool kept;	     // it is the latter: a form that was made on this host
	struct image *img;   // its manifests and config
	struct index *ix;
	struct digest index;  // the packed index in the store
	struct desc *data;    // the blobs of the index's spaces that have one, in order
	int boot_fd;	      // what comes of the boot stream, or -1: of it nothing is needed
	uint32_t boot_first;  // the frame with which it begins
	uint64_t known_bytes; // received until the image was known; 0: not counted
	uint64_t begun;	      // when it was asked for, now_ns()
	struct stats
		*stats; // for host_start: where the engine counts, or NULL; freed by host_close
	uint64_t deadline_ns; // for host_start: struct lazy_conf's
	bool trust_seal;      // for host_start: what is sealed is not proved again
	bool sealed;	      // ... and all of it is
	bool no_rescue; // for host_start: data that is damaged or missing is an error, not the original's
	struct rescue *rescue; // after host_start, or NULL
	struct lazy *lz;       // after host_start
	char *name;	       // as given, completed: "docker.io/library/alpine:3"
	char *key;	       // its name in the store's index.json
	const char *form;      // "accelerated", "original"
	char why_form[400];    // why that one
	bool lacks;	       // no accelerated form of it is to be had
	bool fresh;	       // the registry was asked
	bool offline;	       // the registry could not be asked; the store's state is used
};

// Finds the image: at its registry or layout, or, when that cannot be reached (or a digest was
// given), in the store. Manifests and config are kept in the store. An image without an accelerated
// form is pulled whole, into the same shape. A broken accelerated form is warned of and the
// original is used. -errno logged.
int host_open(const char *reference, const struct host_opts *o, struct host_image **ret) must_check;
// The name that the store's index.json has, or would have, for a reference. Caller frees. -EINVAL
// logged.
int host_key(const char *reference, char **ret) must_check;
// The image of an index that the store has: nobody is asked and no manifest is read, so img is
// NULL. For processes that serve what another has opened. With `accelerated`, missing data will be
// asked for at the reference's repository. -errno logged.
int host_open_index(const char *reference, const struct digest *index, bool accelerated,
	const struct host_opts *o, struct host_image **ret) must_check;
// The accelerated form that was opened is not to be used again: it is remembered as bad.
void host_refuse_form(struct host_image *h, const char *why);
// Starts the demand engine: h->lz. Until here the process has no threads. -errno logged.
int host_start(struct host_image *h) must_check;
void host_close(struct host_image *h);

#endif
