// runtimespec.c - config.json of an OCI runtime bundle
// SPDX-License-Identifier: Apache-2.0
#include "runtimespec.h"

#include "json.h"
#include "seccomp.h"

struct spec_mount {
	const char *dst, *type, *src;
	const char *options[8];
};

static const struct spec_mount mounts[] = {
	{ "/proc", "proc", "proc", { "nosuid", "noexec", "nodev" } },
	{ "/dev", "tmpfs", "tmpfs", { "nosuid", "strictatime", "mode=755", "size=65536k" } },
	{ "/dev/pts", "devpts", "devpts",
		{ "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5" } },
	{ "/dev/shm", "tmpfs", "shm", { "nosuid", "noexec", "nodev", "mode=1777", "size=65536k" } },
	{ "/dev/mqueue", "mqueue", "mqueue", { "nosuid", "noexec", "nodev" } },
	{ "/sys", "sysfs", "sysfs", { "nosuid", "noexec", "nodev", "ro" } },
	{ "/sys/fs/cgroup", "cgroup", "cgroup", { "nosuid", "noexec", "nodev", "relatime", "ro" } },
};

// With the host's network its names are the host's, too.
static const struct spec_mount host_files[] = {
	{ "/etc/resolv.conf", "bind", "/etc/resolv.conf", { "rbind", "ro", "nosuid", "nodev" } },
	{ "/etc/hosts", "bind", "/etc/hosts", { "rbind", "ro", "nosuid", "nodev" } },
};

static const char *const masked[] = {
	"/proc/acpi",
	"/proc/asound",
	"/proc/interrupts",
	"/proc/kcore",
	"/proc/keys",
	"/proc/latency_stats",
	"/proc/sched_debug",
	"/proc/scsi",
	"/proc/timer_list",
	"/proc/timer_stats",
	"/sys/devices/virtual/powercap",
	"/sys/firmware",
};

static const char *const read_only[] = {
	"/proc/bus",
	"/proc/fs",
	"/proc/irq",
	"/proc/sys",
	"/proc/sysrq-trigger",
};

static void put_list(struct buf *b, const char *key, const char *const *v, size_t n)
{
	json_open(b, key, '[');
	for (size_t i = 0; i < n && v[i]; i++)
		json_put_str(b, NULL, v[i]);
	json_close(b, ']');
}

static void put_mounts(struct buf *b, const struct spec_mount *m, size_t n)
{
	for (; n--; m++) {
		json_open(b, NULL, '{');
		json_put_str(b, "destination", m->dst);
		json_put_str(b, "type", m->type);
		json_put_str(b, "source", m->src);
		put_list(b, "options", m->options, ARRAY_LEN(m->options));
		json_close(b, '}');
	}
}

static void put_caps(struct buf *b, const char *key, uint64_t caps)
{
	json_open(b, key, '[');
	for (unsigned c = 0; caps_name(c); c++)
		if (caps >> c & 1)
			json_put_str(b, NULL, caps_name(c));
	json_close(b, ']');
}

static void put_user(struct buf *b, const struct passwd_user *u)
{
	json_open(b, "user", '{');
	json_put_u64(b, "uid", u->uid);
	json_put_u64(b, "gid", u->gid);
	json_open(b, "additionalGids", '[');
	for (size_t i = 0; i < u->n_groups; i++)
		json_put_u64(b, NULL, u->groups[i]);
	json_close(b, ']');
	json_close(b, '}');
}

static void put_process(struct buf *b, const struct runtimespec *s)
{
	bool root = s->user->uid == 0;
	uint64_t caps = caps_of(&s->caps, root);

	json_open(b, "process", '{');
	json_put_bool(b, "terminal", s->tty);
	put_user(b, s->user);
	put_list(b, "args", (const char *const *)s->args, SIZE_MAX);
	put_list(b, "env", (const char *const *)s->env, SIZE_MAX);
	json_put_str(b, "cwd", s->cwd && *s->cwd ? s->cwd : "/");
	json_open(b, "capabilities", '{');
	put_caps(b, "bounding", caps);
	put_caps(b, "effective", caps);
	put_caps(b, "permitted", caps);
	// as boxexec.c: those outlive the exec of a user who is not root
	put_caps(b, "inheritable", root ? 0 : caps);
	put_caps(b, "ambient", root ? 0 : caps);
	json_close(b, '}');
	json_put_bool(b, "noNewPrivileges", true);
	json_close(b, '}');
}

#ifdef __aarch64__
#define ARCH "SCMP_ARCH_AARCH64"
#else
#define ARCH "SCMP_ARCH_X86_64"
#endif

// Masked, as the kernel drops the upper half of an argument that a comparison of all of it would look
// at (CVE-2019-10063).
static void put_rule(void *arg, const struct seccomp_rule *r)
{
	struct buf *b = arg;

	json_open(b, NULL, '{');
	put_list(b, "names", &r->name, 1);
	json_put_str(b, "action", "SCMP_ACT_ERRNO");
	json_put_u64(b, "errnoRet", r->err);
	json_open(b, "args", '[');
	for (const struct seccomp_when *w = r->when; w < r->when + r->n_when; w++) {
		json_open(b, NULL, '{');
		json_put_u64(b, "index", w->arg);
		json_put_u64(b, "value", w->mask);
		json_put_u64(b, "valueTwo", w->value);
		json_put_str(b, "op", "SCMP_CMP_MASKED_EQ");
		json_close(b, '}');
	}
	json_close(b, ']');
	json_close(b, '}');
}

static void put_seccomp(struct buf *b, uint64_t caps)
{
	static const char *const archs[] = { ARCH };

	json_open(b, "seccomp", '{');
	json_put_str(b, "defaultAction", "SCMP_ACT_ALLOW");
	put_list(b, "architectures", archs, 1);
	json_open(b, "syscalls", '[');
	seccomp_rules(caps, put_rule, b);
	json_close(b, ']');
	json_close(b, '}');
}

static void put_linux(struct buf *b, const struct runtimespec *s)
{
	static const char *const namespaces[] = { "pid", "ipc", "uts", "mount", "cgroup",
		"network" };

	json_open(b, "linux", '{');
	json_open(b, "namespaces", '[');
	for (size_t i = 0; i < ARRAY_LEN(namespaces) - s->net_host; i++) {
		json_open(b, NULL, '{');
		json_put_str(b, "type", namespaces[i]);
		json_close(b, '}');
	}
	json_close(b, ']');
	put_list(b, "maskedPaths", masked, ARRAY_LEN(masked));
	put_list(b, "readonlyPaths", read_only, ARRAY_LEN(read_only));
	put_seccomp(b, caps_of(&s->caps, s->user->uid == 0));
	json_close(b, '}');
}

void runtimespec_write(const struct runtimespec *s, struct buf *out)
{
	json_open(out, NULL, '{');
	json_put_str(out, "ociVersion", "1.0.2");
	put_process(out, s);
	json_open(out, "root", '{');
	json_put_str(out, "path", "rootfs");
	json_put_bool(out, "readonly", s->read_only);
	json_close(out, '}');
	json_put_str(out, "hostname", s->hostname);
	json_open(out, "mounts", '[');
	put_mounts(out, mounts, ARRAY_LEN(mounts));
	if (s->net_host && !s->read_only)
		put_mounts(out, host_files, ARRAY_LEN(host_files));
	json_close(out, ']');
	json_open(out, "annotations", '{');
	json_put_str(out, RUNTIMESPEC_ANNOTATION, "1");
	json_put_str(out, "org.opencontainers.image.ref.name", s->image);
	json_put_str(out, "org.opencontainers.image.base.digest", s->digest);
	json_close(out, '}');
	put_linux(out, s);
	json_close(out, '}');
	buf_add(out, "\n", 1);
}
