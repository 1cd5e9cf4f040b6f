// policy.h - whether an image is to be accelerated on this host, by itself
//
// The first of these that says something counts: the option, $FCPULL_ACCELERATE, the user's file, the
// system's file, "auto". In a file its first rule whose pattern fits, else what it says for all.
//
//	accelerate = "auto"
//	[[rule]]
//	match = "registry.example/team/*"	# fnmatch(3) of HOST/REPOSITORY; * crosses slashes
//	accelerate = "push"
//
// Files: /etc/fcpull/fcpull.conf ($FCPULL_CONF names another), $XDG_CONFIG_HOME/fcpull/fcpull.conf (else
// ~/.config).
// SPDX-License-Identifier: Apache-2.0
#ifndef POLICY_H
#define POLICY_H

#include "base.h"

enum accelerate {
	ACCELERATE_AUTO,  // made after the first run; pushed where that is allowed, else kept here
	ACCELERATE_LOCAL, // made, and kept here
	ACCELERATE_PUSH,  // made, and pushed; said when that is not possible
	ACCELERATE_OFF,	  // never made
};
const char *accelerate_name(enum accelerate how);

struct policy {
	enum accelerate how;
	bool asked; // by option or environment: for this one command
	char from
		[256]; // what says so, for messages: "--accelerate", "/etc/fcpull/fcpull.conf, rule 2"
};
// name: "HOST/REPOSITORY"; option: NULL, or --accelerate's. A file that cannot be read or understood
// is warned of, and nothing is accelerated. -EINVAL logged: the option or the variable is nonsense.
int policy_find(const char *name, const char *option, struct policy *ret) must_check;
// Whether the option (or NULL) and the variable are words that are known. -EINVAL logged.
int policy_check(const char *option) must_check;

#endif
