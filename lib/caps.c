// caps.c - capabilities by name
//
// The default is docker's fourteen without MKNOD (devices are nodev everywhere but in /dev), NET_RAW
// (packets from a forged address; there is no network, or it is the host's) and AUDIT_WRITE
// (seccomp.c has another way for what needs it).
// SPDX-License-Identifier: Apache-2.0
#include "caps.h"

#include <linux/capability.h>
#include <strings.h>

#include "log.h"

const uint64_t caps_default = CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) | CAP_BIT(CAP_FOWNER) |
	CAP_BIT(CAP_FSETID) | CAP_BIT(CAP_KILL) | CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETUID) |
	CAP_BIT(CAP_SETPCAP) | CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_SYS_CHROOT) |
	CAP_BIT(CAP_SETFCAP);

const uint64_t caps_namespaced = CAP_BIT(CAP_CHOWN) | CAP_BIT(CAP_DAC_OVERRIDE) |
	CAP_BIT(CAP_DAC_READ_SEARCH) | CAP_BIT(CAP_FOWNER) | CAP_BIT(CAP_FSETID) |
	CAP_BIT(CAP_KILL) | CAP_BIT(CAP_SETGID) | CAP_BIT(CAP_SETUID) | CAP_BIT(CAP_SETPCAP) |
	CAP_BIT(CAP_NET_BIND_SERVICE) | CAP_BIT(CAP_SYS_CHROOT) | CAP_BIT(CAP_SYS_PTRACE) |
	CAP_BIT(CAP_SETFCAP);

// In the order of their numbers (linux/capability.h).
static const char *const names[] = {
	"CAP_CHOWN",
	"CAP_DAC_OVERRIDE",
	"CAP_DAC_READ_SEARCH",
	"CAP_FOWNER",
	"CAP_FSETID",
	"CAP_KILL",
	"CAP_SETGID",
	"CAP_SETUID",
	"CAP_SETPCAP",
	"CAP_LINUX_IMMUTABLE",
	"CAP_NET_BIND_SERVICE",
	"CAP_NET_BROADCAST",
	"CAP_NET_ADMIN",
	"CAP_NET_RAW",
	"CAP_IPC_LOCK",
	"CAP_IPC_OWNER",
	"CAP_SYS_MODULE",
	"CAP_SYS_RAWIO",
	"CAP_SYS_CHROOT",
	"CAP_SYS_PTRACE",
	"CAP_SYS_PACCT",
	"CAP_SYS_ADMIN",
	"CAP_SYS_BOOT",
	"CAP_SYS_NICE",
	"CAP_SYS_RESOURCE",
	"CAP_SYS_TIME",
	"CAP_SYS_TTY_CONFIG",
	"CAP_MKNOD",
	"CAP_LEASE",
	"CAP_AUDIT_WRITE",
	"CAP_AUDIT_CONTROL",
	"CAP_SETFCAP",
	"CAP_MAC_OVERRIDE",
	"CAP_MAC_ADMIN",
	"CAP_SYSLOG",
	"CAP_WAKE_ALARM",
	"CAP_BLOCK_SUSPEND",
	"CAP_AUDIT_READ",
	"CAP_PERFMON",
	"CAP_BPF",
	"CAP_CHECKPOINT_RESTORE",
};

const char *caps_name(unsigned cap)
{
	return cap < ARRAY_LEN(names) ? names[cap] : NULL;
}

int caps_parse(const char *text, uint64_t *ret)
{
	const char *s = strncasecmp(text, "CAP_", 4) ? text : text + 4;

	if (!strcasecmp(s, "ALL")) {
		*ret = CAPS_ALL;
		return 0;
	}
	for (unsigned c = 0; c < ARRAY_LEN(names); c++)
		if (!strcasecmp(s, names[c] + 4)) {
			*ret = CAP_BIT(c);
			return 0;
		}
	warn("there is no capability %s; capabilities(7) lists them", log_quote(text));
	return -EINVAL;
}

// Several in one option, with commas, as podman has it.
int caps_change(struct caps_change *c, const char *text, bool drop)
{
	cleanup_free char *copy = xstrdup(text);
	char *save = NULL;
	uint64_t bits;
	int r = *text ? 0 : caps_parse(text, &bits);

	for (char *s = strtok_r(copy, ",", &save); s && !r; s = strtok_r(NULL, ",", &save)) {
		r = caps_parse(s, &bits);
		if (!r)
			*(drop ? &c->drop : &c->add) |= bits;
	}
	return r;
}

int caps_change_check(const struct caps_change *c)
{
	uint64_t both = c->add & c->drop;

	if (!both || ((c->add == CAPS_ALL) != (c->drop == CAPS_ALL)))
		return 0;
	warn("%s is both added and dropped",
		both == CAPS_ALL ? "ALL" : caps_name((unsigned)__builtin_ctzll(both)));
	return -EINVAL;
}

uint64_t caps_of(const struct caps_change *c, bool root)
{
	uint64_t base = root && c->drop != CAPS_ALL ? caps_default & ~c->drop : 0;

	if (c->add == CAPS_ALL)
		return CAPS_ALL & ~c->drop;
	return base | c->add;
}
