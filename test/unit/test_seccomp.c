// test_seccomp.c - the filter, run by an interpreter of its own and by the kernel
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/seccomp.c"

#include <signal.h>
#include <sys/wait.h>

#include "tap.h"

static struct program prog;

// Classic BPF as far as the filter uses it; UINT32_MAX for a program that the kernel would refuse.
static uint32_t run(const struct seccomp_data *d)
{
	uint32_t a = 0;

	for (size_t pc = 0; pc < prog.n; pc++) {
		const struct sock_filter *i = &prog.code[pc];

		switch (i->code) {
		case BPF_LD | BPF_W | BPF_ABS:
			if (i->k % 4 || i->k + 4 > sizeof *d)
				return UINT32_MAX;
			memcpy(&a, (const char *)d + i->k, 4);
			break;
		case BPF_JMP | BPF_JEQ | BPF_K: pc += a == i->k ? i->jt : i->jf; break;
		case BPF_JMP | BPF_JGT | BPF_K: pc += a > i->k ? i->jt : i->jf; break;
		case BPF_JMP | BPF_JSET | BPF_K: pc += a & i->k ? i->jt : i->jf; break;
		case BPF_RET | BPF_K: return i->k;
		default: return UINT32_MAX;
		}
	}
	return UINT32_MAX;
}

static uint32_t call(uint32_t nr, uint64_t a0, uint64_t a1, uint64_t a2)
{
	struct seccomp_data d = { .nr = (int)nr, .arch = NATIVE_ARCH, .args = { a0, a1, a2 } };

	return run(&d);
}

static void is(const char *what, uint32_t got, uint32_t want)
{
	ok(got == want, "%s: %08x", what, got);
}

#define ALLOW SECCOMP_RET_ALLOW
#define ERR(e) (SECCOMP_RET_ERRNO | (e))

static void numbers(void)
{
	unsigned wrong = 0, refused = 0;

	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		wrong += call(refusals[i].nr, 0, 0, 0) != ERR(refusals[i].err);
	ok(wrong == 0, "all %zu refusals", ARRAY_LEN(refusals));
	for (uint32_t nr = 0; nr <= SYSCALL_LAST; nr++)
		refused += call(nr, 0, 0, 0) != ALLOW;
	ok(refused == ARRAY_LEN(refusals), "and no other number (%u)", refused);
	is("the last known", call(SYSCALL_LAST, 0, 0, 0), ALLOW);
	is("the first unknown", call(SYSCALL_LAST + 1, 0, 0, 0), ERR(ENOSYS));
	is("-1", call(UINT32_MAX, 0, 0, 0), ERR(ENOSYS));
	is("x32", call(0x40000000u + SYS_getpid, 0, 0, 0), ERR(ENOSYS));
	struct seccomp_data d = { .nr = SYS_getpid, .arch = AUDIT_ARCH_I386 };
	is("another machine's call", run(&d), SECCOMP_RET_KILL_PROCESS);
}

static void arguments(void)
{
	static const unsigned namespaces[] = {
		CLONE_NEWNS,
		CLONE_NEWCGROUP,
		CLONE_NEWUTS,
		CLONE_NEWIPC,
		CLONE_NEWUSER,
		CLONE_NEWPID,
		CLONE_NEWNET,
	};

	for (size_t i = 0; i < ARRAY_LEN(namespaces); i++)
		is("clone with a namespace", call(SYS_clone, namespaces[i] | SIGCHLD, 0, 0),
			ERR(EPERM));
	is("clone of a thread", call(SYS_clone, 0x3d0f00, 0, 0), ALLOW);
	is("clone as fork", call(SYS_clone, 0x1200000 | SIGCHLD, 0, 0), ALLOW);
	is("clone, the namespace hidden by upper bits",
		call(SYS_clone, 0xffffffff00000000u | CLONE_NEWUSER, 0, 0), ERR(EPERM));
	is("TIOCSTI", call(SYS_ioctl, 0, TIOCSTI, 0), ERR(EPERM));
	is("TIOCSTI with upper bits (CVE-2019-10063)",
		call(SYS_ioctl, 0, 0x100000000u | TIOCSTI, 0), ERR(EPERM));
	is("TIOCLINUX", call(SYS_ioctl, 0, TIOCLINUX, 0), ERR(EPERM));
	is("TCGETS", call(SYS_ioctl, 0, TCGETS, 0), ALLOW);
	is("AF_INET", call(SYS_socket, AF_INET, SOCK_STREAM, 0), ALLOW);
	is("AF_VSOCK", call(SYS_socket, 40, SOCK_STREAM, 0), ERR(EAFNOSUPPORT));
	is("AF_ALG", call(SYS_socket, 38, SOCK_SEQPACKET, 0), ERR(EAFNOSUPPORT));
	is("netlink route", call(SYS_socket, AF_NETLINK, SOCK_RAW, 0), ALLOW);
	is("netlink audit", call(SYS_socket, AF_NETLINK, SOCK_RAW, 9), ERR(EAFNOSUPPORT));
	is("protocol 9 elsewhere", call(SYS_socket, AF_INET, SOCK_RAW, 9), ALLOW);
	is("personality, asked", call(SYS_personality, 0xffffffff, 0, 0), ALLOW);
	is("personality Linux", call(SYS_personality, 0, 0, 0), ALLOW);
	is("personality 32-bit, UNAME26", call(SYS_personality, 0x20008, 0, 0), ALLOW);
	is("personality, no address randomisation", call(SYS_personality, 0x40000, 0, 0),
		ERR(EPERM));
	is("personality SVR4", call(SYS_personality, 0x1000001, 0, 0), ERR(EPERM));
}

// Programs need these; a slip in the table must not take them.
static void needed(void)
{
	static const struct {
		const char *name;
		uint32_t nr;
	} calls[] = {
		{ "execve", SYS_execve },
		{ "openat", SYS_openat },
		{ "futex", SYS_futex },
		{ "mmap", SYS_mmap },
		{ "ptrace", SYS_ptrace },
		{ "chroot", SYS_chroot },
		{ "setgroups", SYS_setgroups },
		{ "statx", SYS_statx },
		{ "memfd_create", SYS_memfd_create },
		{ "seccomp", SYS_seccomp },
		{ "prctl", SYS_prctl },
		{ "rseq", 334 },
		{ "openat2", 437 },
		{ "close_range", 436 },
		{ "pidfd_open", 434 },
		{ "faccessat2", 439 },
		{ "landlock", 444 },
		{ "inotify_init1", SYS_inotify_init1 },
		{ "sched_setaffinity", SYS_sched_setaffinity },
		{ "setxattr", SYS_setxattr },
	};

	for (size_t i = 0; i < ARRAY_LEN(calls); i++)
		if (strcmp(calls[i].name, "rseq") != 0 || SYS_read == 0)
			is(calls[i].name, call(calls[i].nr, 0, 0, 0), ALLOW);
}

static int under_filter(void)
{
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || seccomp_load(0) < 0)
		return 1;
	if (syscall(SYS_unshare, CLONE_NEWUSER) == 0 || errno != EPERM)
		return 2;
	if (syscall(NR_CLONE3, NULL, 0) == 0 || errno != ENOSYS)
		return 3;
	return getpid() > 0 ? 0 : 4;
}

static void kernel(void)
{
	int status = -1;
	pid_t p = fork();

	if (p == 0)
		_exit(under_filter());
	waitpid(p, &status, 0);
	ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
		"the kernel takes the filter and obeys (%d)", status);
}

struct told {
	unsigned plain, by_argument, wrong;
	bool mount, personality;
	uint32_t clone_bits;
};

static void take_rule(void *arg, const struct seccomp_rule *r)
{
	struct told *t = arg;

	*(r->n_when ? &t->by_argument : &t->plain) += 1;
	t->mount |= !strcmp(r->name, "mount");
	t->personality |= !strcmp(r->name, "personality");
	if (!strcmp(r->name, "clone"))
		t->clone_bits |= r->when[0].mask & r->when[0].value;
	for (const char *p = r->name; *p; p++)
		t->wrong += !(*p == '_' || (*p >= 'a' && *p <= 'z') || (*p >= '0' && *p <= '9'));
	for (unsigned i = 0; i < r->n_when; i++)
		t->wrong += (r->when[i].value & ~r->when[i].mask) != 0;
}

// As rules for other runtimes.
static void rules(void)
{
	struct told all = { 0 }, admin = { 0 };

	seccomp_rules(0, take_rule, &all);
	seccomp_rules(1ull << CAP_SYS_ADMIN, take_rule, &admin);
	ok(all.plain == ARRAY_LEN(refusals), "each refusal is a rule (%u)", all.plain);
	ok(all.clone_bits == CLONE_NEW_ANY, "clone: each namespace's bit");
	ok(all.by_argument == 7 + 2 + 3, "and ioctl's and socket's (%u)", all.by_argument);
	ok(!all.wrong && !all.personality && all.mount, "names, masks; personality is left out");
	ok(!admin.mount && !admin.clone_bits && admin.by_argument == 5,
		"what a capability is for is no rule");
}

int main(void)
{
	build(&prog, 0);
	ok(prog.n < ARRAY_LEN(prog.code), "%zu instructions", prog.n);
	numbers();
	arguments();
	needed();
	kernel();
	rules();
	return tap_end();
}
