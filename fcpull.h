// fcpull.h - the verbs, and the options that several of them share
// SPDX-License-Identifier: Apache-2.0
#ifndef FCPULL_H
#define FCPULL_H

#include "hasten.h"
#include "host.h"
#include "opt.h"
#include "optdoc.h"
#include "serve.h"

extern const struct applet applet_convert, applet_check;		   // convert.c
extern const struct applet applet_inspect;				   // inspect.c
extern const struct applet applet_pull;					   // fetch.c
extern const struct applet applet_ls, applet_cat;			   // list.c
extern const struct applet applet_export;				   // export.c
extern const struct applet applet_gc;					   // gc.c
extern const struct applet applet_mount, applet_umount;			   // mount.c
extern const struct applet applet_login, applet_logout;			   // login.c
extern const struct applet applet_run;					   // run.c
extern const struct applet applet_exec;					   // exec.c
extern const struct applet applet_ps, applet_stop, applet_wait, applet_rm; // ps.c
extern const struct applet applet_bundle;				   // bundle.c
extern const struct applet applet_serve;				   // service.c
extern const struct applet applet_explain;				   // explain.c
extern const struct applet applet_status, applet_upgrade_mounts;	   // status.c

extern const struct applet applet_info; // info.c

extern const struct applet applet_completion, applet_man; // docs.c

extern const struct applet *const applets[];
extern const size_t n_applets;

// The program was called as mount.fcpull, by mount(8).
extern bool mount_is_helper;
// What mount's -o takes: name and help.
extern const struct optdoc_row mount_options_doc[];

enum { EXIT_USAGE = 2 };

// Options of every verb that names an image.
struct image_opts {
	struct host_opts host;
	const char *platform, *find;
	bool password_stdin;
	uint64_t jobs;
};
extern struct image_opts image_opts;

#define IMAGE_OPT_ROWS                                                                           \
	{ 0, "root", "DIR", "the store (else $FCPULL_ROOT, /var/lib/fcpull)", opt_str,           \
		&image_opts.host.root, false },                                                  \
		{ 0, "platform", "OS/ARCH", "choose from a multi-platform image", opt_str,       \
			&image_opts.platform, false },                                           \
		{ 0, "find", "WHERE", "accelerations: none or suffix[=TEXT],referrers", opt_str, \
			&image_opts.find, false },                                               \
		{ 0, "authfile", "FILE", "credentials, as docker's config.json", opt_str,        \
			&image_opts.host.net.authfile, false },                                  \
		{ 0, "creds", "USER[:PASS]", "credentials for the registry", opt_str,            \
			&image_opts.host.net.creds, false },                                     \
		{ 0, "password-stdin", NULL, "read --creds' password from stdin", opt_flag,      \
			&image_opts.password_stdin, false },                                     \
		{ 0, "cacert", "FILE", "trust these CAs (PEM), not the system's", opt_str,       \
			&image_opts.host.net.cacert, false },                                    \
		{ 0, "plain-http", NULL, "speak HTTP without TLS", opt_flag,                     \
			&image_opts.host.net.plain_http, false },                                \
	{                                                                                        \
		'j', "jobs", "N", "threads (else one per processor)", opt_u64, &image_opts.jobs, \
			false                                                                    \
	}

// Options of the verbs that mount.
struct mount_opts {
	const char *network_loss, *record, *fill, *accelerate;
	uint64_t fill_rate;
};
extern struct mount_opts mount_opts;

#define ACCELERATE_OPT_ROW                                                                    \
	{                                                                                     \
		0, "accelerate", "HOW", "in the background: auto, local, push, off", opt_str, \
			&mount_opts.accelerate, false                                         \
	}

#define MOUNT_OPT_ROWS                                                                             \
	{ 0, "on-network-loss", "HOW", "wait[:SEC], wait:forever or fail[:SEC]", opt_str,          \
		&mount_opts.network_loss, false },                                                 \
		{ 0, "record", "FILE", "write what is read to FILE, for convert --trace", opt_str, \
			&mount_opts.record, false },                                               \
		{ 0, "fill", "WHEN", "fetch the rest: auto (after the start), now, off", opt_str,  \
			&mount_opts.fill, false },                                                 \
		{ 0, "fill-rate", "SIZE", "bytes per second for that (else no limit)", opt_size,   \
			&mount_opts.fill_rate, false },                                            \
		ACCELERATE_OPT_ROW,                                                                \
	{                                                                                          \
		0, "original", NULL, "use the original, even if it is accelerated", opt_flag,      \
			&image_opts.host.original, false                                           \
	}

// What a run has cost, to stderr. root: the image, still mounted, or -1.
void explain_run(const struct host_image *h, int root);

// Undoes a mount of ours, and waits for the end of its processes unless `lazy`. -errno logged.
int umount_at(const char *dir, bool lazy) must_check;

// What they say to serve_image(), after parsing. -EINVAL logged.
int mount_serve_conf(struct serve_conf *ret) must_check;

// Whether h will be accelerated after its start, which conf is made to record then. -EINVAL logged.
int mount_hasten(struct host_image *h, enum hasten_after after, struct serve_conf *conf,
	struct hasten **ret) must_check;
// After the mount is made: hasten_go, and what it must know of the mount.
void mount_hasten_go(struct hasten *x, const struct served *s);

#define PASSWORD_MAX (16u << 10) // bytes of a password: some are tokens
// A line of standard input, without its end; at most n - 2 bytes. -EINVAL logged, with `what`.
int read_line(const char *what, char *line, size_t n) must_check;

// Completes image_opts after parsing: platform, password, threads. 0 or -EINVAL, logged.
int image_opts_finish(void) must_check;

#endif
