// caps.h - capabilities(7) by name, and which of them a container's process has
// SPDX-License-Identifier: Apache-2.0
#ifndef CAPS_H
#define CAPS_H

#include "base.h"

#define CAP_BIT(c) (1ull << (c))
#define CAPS_ALL (~0ull)

// What root in a container has, and those that count in a user namespace that owns nothing but its
// processes and files: the others are asked for in the namespace that owns the network, the mounts,
// the host name, or in the host's.
extern const uint64_t caps_default, caps_namespaced;

// "NET_ADMIN", "cap_net_admin", "ALL": its bits. -EINVAL logged.
int caps_parse(const char *text, uint64_t *ret) must_check;
// "CAP_CHOWN", or NULL.
const char *caps_name(unsigned cap);

// What --cap-add and --cap-drop make, by docker's rules: ALL in one of them is what the other takes
// exceptions from.
struct caps_change {
	uint64_t add, drop;
};
// Adds one option's value. -EINVAL logged.
int caps_change(struct caps_change *c, const char *text, bool drop) must_check;
// Whether a capability is both added and dropped by name. -EINVAL logged.
int caps_change_check(const struct caps_change *c) must_check;
// The whole set: of root, the default with its changes; of others, what is added by name.
uint64_t caps_of(const struct caps_change *c, bool root);

#endif
