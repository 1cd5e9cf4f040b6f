// box.h - a container around one process: namespaces, root, devices, limits of privilege; and its
// pid 1
// SPDX-License-Identifier: Apache-2.0
#ifndef BOX_H
#define BOX_H

#include "caps.h"
#include "cgroup.h"

// A bind of something of the host's, or a tmpfs.
struct box_bind {
	const char *src; // host path (absolute), or NULL: a tmpfs
	const char *dst; // path in the container (absolute); made in the upper layer when missing
	bool read_only;
	bool shallow;	// without the mounts beneath src
	unsigned attrs; // MOUNT_ATTR_* besides nodev
	uint64_t size;	// of a tmpfs, bytes; 0: half of memory
	unsigned mode;	// of a tmpfs
};

// Another container's process is to be started, not a container: where.
struct box_join {
	int init;		 // pidfd of its pid 1
	int user_ns;		 // of its payload, or -1: it has none of its own
	int cgroups[CGROUP_MAX]; // cgroup.procs of its control groups, open for writing
	size_t n_cgroups;
};

// All strings are borrowed for the call. The image's own values (args, env, user ...) are data:
// they never steer the host side.
struct box {
	int lower_fd; // O_PATH directory: the mounted image (read-only)
	const char *
		upper; // directory for overlay's upper/ and work/ (made by the caller, empty), or NULL: a tmpfs
	bool read_only;	   // no overlay: the root is the image itself
	char *const *args; // argv, args[0] looked up in PATH of env inside the container
	char *const *
		env; // NAME=value; PATH, HOME, HOSTNAME and (tty) TERM are added when missing, nothing else
	const char *cwd; // absolute, made if missing; NULL = "/"
	const char *
		user; // NULL or "", "uid", "uid:gid", "name[:group]": names by the image's own passwd and group
	const char *hostname; // NULL = name, else 12 hex digits
	const char *name;
	bool net_host;	       // else: a new network namespace with only lo up
	bool tty, interactive; // -t, -i
	const struct box_bind *binds;
	size_t n_binds;
	uint64_t upper_size; // bytes for the tmpfs upper, 0 = half of memory
	struct caps_change caps;
	bool no_user_ns; // the host's, even so
	bool rootless;	 // this process is in a user namespace that a user has made
	bool one_id;	 // there is no user but root here, and groups cannot be set
	bool new_privs;	 // set-user-id programs and file capabilities work
	bool no_seccomp; // any system call
	bool unmasked;	 // all of /proc and /sys is seen, and can be written
	bool detached;	 // nobody is at our standard streams; error goes where output goes
	const struct cgroup *cgroup; // or NULL: the caller's own
	const struct box_join *join; // or NULL
	// called once, when the program runs; ends the container if it returns an error
	int (*started)(void *arg, pid_t init);
	void *arg;
};

// Runs it and waits. Returns docker's exit codes: the process's own, 128+signal, 126 not
// executable, 127 not found, 125 set-up failed (said on stderr). Signals that fcpull receives are
// handed to the process; the terminal is proxied with -t. main() must begin with boxinit_enter
// (boxinit.h). Needs root and Linux 5.12. The thread that calls must live until it returns
// (PR_SET_PDEATHSIG); other threads must have blocked the signals that are to be handed on. Nothing
// is mounted in the host's mount namespace, and nothing of the container outlives this process,
// even if it is killed.
//
// The payload: its own mount, pid, ipc, uts, cgroup and, without net_host, net namespace (only lo
// up; every port is free to it), and, but for root with net_host, a user namespace whose ids are
// the host's. Pid 1 is our init, which reaps. Root has docker's capabilities without MKNOD, NET_RAW
// and AUDIT_WRITE, others none; no_new_privs; a system call filter (seccomp.h). Binds are
// recursive, private and nodev.
int box_run(const struct box *b);

#endif
