// seccomp.c - which system calls a container may make
//
// The set follows docker's default profile for a container without added capabilities. There it is
// a list of some 370 calls that are allowed, here its complement: calls up to SYSCALL_LAST, the
// newest that this table has judged, are allowed unless refused below, and all later ones do not
// exist (ENOSYS, so that a C library takes its older path). So it is as closed to what a future
// kernel adds as an allow-list, and a tenth of its length. A call whose answer does not depend on
// its arguments costs next to nothing: since Linux 5.11 the kernel keeps a bitmap of them.
// SPDX-License-Identifier: Apache-2.0
#include "seccomp.h"

#include <linux/audit.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/personality.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#if defined(__x86_64__)
#define NATIVE_ARCH AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define NATIVE_ARCH AUDIT_ARCH_AARCH64
#else
#error "add this machine's AUDIT_ARCH_* and look through the table"
#endif

// Calls newer than some headers we build with; from 424 on the numbers are the same on every
// machine.
enum {
	NR_IO_URING_SETUP = 425,
	NR_IO_URING_ENTER,
	NR_IO_URING_REGISTER,
	NR_OPEN_TREE,
	NR_MOVE_MOUNT,
	NR_FSOPEN,
	NR_FSCONFIG,
	NR_FSMOUNT,
	NR_FSPICK,
	NR_PIDFD_OPEN,
	NR_CLONE3,
	NR_CLOSE_RANGE,
	NR_OPENAT2,
	NR_PIDFD_GETFD,
	NR_MOUNT_SETATTR = 442,
	NR_QUOTACTL_FD,
	NR_SET_MEMPOLICY_HOME_NODE = 450,
	NR_OPEN_TREE_ATTR = 467,
	SYSCALL_LAST = 469, // file_setattr, Linux 6.17
};

// The namespace flags of clone; CLONE_NEWTIME (0x80) is not among them, as there it is part of the
// signal number
#define CLONE_NEW_ANY                                                                  \
	(CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | \
		CLONE_NEWPID | CLONE_NEWNET)

#define FAMILY_ALG 38
#define FAMILY_VSOCK 40
#define PROTOCOL_AUDIT 9 // NETLINK_AUDIT

// Who has the capability that is named is let through (docker's rules): the kernel then asks for it.
// NEVER is CAP_CHOWN, which no call here is for.
enum { NEVER = 0 };

#define CALL(name) #name, SYS_##name

struct refusal {
	const char *name;
	uint32_t nr;
	uint16_t err;
	uint8_t unless;
};

static const struct refusal refusals[] = {
	// mounts and roots
	{ CALL(mount), EPERM, CAP_SYS_ADMIN },
	{ CALL(umount2), EPERM, CAP_SYS_ADMIN },
	{ CALL(pivot_root), EPERM, CAP_SYS_ADMIN },
	{ "open_tree", NR_OPEN_TREE, EPERM, CAP_SYS_ADMIN },
	{ "move_mount", NR_MOVE_MOUNT, EPERM, CAP_SYS_ADMIN },
	{ "fsopen", NR_FSOPEN, EPERM, CAP_SYS_ADMIN },
	{ "fsconfig", NR_FSCONFIG, EPERM, CAP_SYS_ADMIN },
	{ "fsmount", NR_FSMOUNT, EPERM, CAP_SYS_ADMIN },
	{ "fspick", NR_FSPICK, EPERM, CAP_SYS_ADMIN },
	{ "mount_setattr", NR_MOUNT_SETATTR, EPERM, CAP_SYS_ADMIN },
	{ "open_tree_attr", NR_OPEN_TREE_ATTR, EPERM, CAP_SYS_ADMIN },
	{ CALL(open_by_handle_at), EPERM,
		CAP_DAC_READ_SEARCH }, // "shocker": any file of the file system by its handle
	{ CALL(fanotify_init), EPERM, CAP_SYS_ADMIN },
	// namespaces; clone itself is looked at below. A filter cannot look into clone3's struct: C
	// libraries then use clone.
	{ CALL(setns), EPERM, CAP_SYS_ADMIN },
	{ CALL(unshare), EPERM, CAP_SYS_ADMIN },
	{ "clone3", NR_CLONE3, ENOSYS, CAP_SYS_ADMIN },
	// other processes' memory and files beyond what ptrace (allowed, as in docker) shows
	{ CALL(kcmp), EPERM, CAP_SYS_PTRACE },
	{ "pidfd_getfd", NR_PIDFD_GETFD, EPERM, CAP_SYS_PTRACE },
	// keyrings have no namespaces worth the name
	{ CALL(add_key), EPERM, NEVER },
	{ CALL(keyctl), EPERM, NEVER },
	{ CALL(request_key), EPERM, NEVER },
	// large attack surface for little use: io_uring, BPF, perf, userfaultfd
	{ "io_uring_setup", NR_IO_URING_SETUP, ENOSYS, NEVER },
	{ "io_uring_enter", NR_IO_URING_ENTER, ENOSYS, NEVER },
	{ "io_uring_register", NR_IO_URING_REGISTER, ENOSYS, NEVER },
	{ CALL(bpf), EPERM, CAP_SYS_ADMIN },
	{ CALL(perf_event_open), EPERM, CAP_SYS_ADMIN },
	{ CALL(userfaultfd), EPERM, NEVER },
	// the machine
	{ CALL(acct), EPERM, CAP_SYS_PACCT },
	{ CALL(clock_settime), EPERM, CAP_SYS_TIME },
	{ CALL(settimeofday), EPERM, CAP_SYS_TIME },
	{ CALL(syslog), EPERM, CAP_SYSLOG },
	{ CALL(delete_module), EPERM, CAP_SYS_MODULE },
	{ CALL(finit_module), EPERM, CAP_SYS_MODULE },
	{ CALL(init_module), EPERM, CAP_SYS_MODULE },
	{ CALL(kexec_load), EPERM, CAP_SYS_BOOT },
	{ CALL(reboot), EPERM, CAP_SYS_BOOT },
	{ CALL(swapon), EPERM, NEVER },
	{ CALL(swapoff), EPERM, NEVER },
	{ CALL(quotactl), EPERM, CAP_SYS_ADMIN },
	{ "quotactl_fd", NR_QUOTACTL_FD, EPERM, CAP_SYS_ADMIN },
	{ CALL(vhangup), EPERM, CAP_SYS_TTY_CONFIG },
	{ CALL(lookup_dcookie), EPERM, CAP_SYS_ADMIN },
	{ CALL(nfsservctl), EPERM, NEVER },
	// where memory lies
	{ CALL(mbind), EPERM, CAP_SYS_NICE },
	{ CALL(move_pages), EPERM, CAP_SYS_NICE },
	{ CALL(migrate_pages), EPERM, CAP_SYS_NICE },
	{ CALL(get_mempolicy), EPERM, CAP_SYS_NICE },
	{ CALL(set_mempolicy), EPERM, CAP_SYS_NICE },
	{ "set_mempolicy_home_node", NR_SET_MEMPOLICY_HOME_NODE, EPERM, CAP_SYS_NICE },
#ifdef SYS_kexec_file_load
	{ CALL(kexec_file_load), EPERM, CAP_SYS_BOOT },
#endif
#ifdef __x86_64__
	{ CALL(ioperm), EPERM, CAP_SYS_RAWIO },
	{ CALL(iopl), EPERM, CAP_SYS_RAWIO },
	{ CALL(uselib), EPERM, NEVER },
	{ CALL(ustat), EPERM, NEVER },
	{ CALL(sysfs), EPERM, NEVER },
	{ CALL(_sysctl), EPERM, NEVER },
	{ CALL(create_module), EPERM, NEVER },
	{ CALL(get_kernel_syms), EPERM, NEVER },
	{ CALL(query_module), EPERM, NEVER },
#endif
};

// Conditions look at the low 32 bits of an argument: the kernel takes all of these as int, or drops
// the upper half.
enum test { NONE, EQUAL, NOT_EQUAL, ANY_BIT };

struct condition {
	enum test test;
	uint32_t arg, value;
};

// Refused when all conditions hold.
struct arg_refusal {
	const char *name;
	uint32_t nr;
	uint16_t err;
	uint8_t unless;
	struct condition when[2];
};

static const struct arg_refusal arg_refusals[] = {
	{ CALL(clone), EPERM, CAP_SYS_ADMIN, { { ANY_BIT, 0, CLONE_NEW_ANY } } },
	// only plain Linux, with UNAME26, on 32-bit processes or as a question
	{ CALL(personality), EPERM, NEVER,
		{ { ANY_BIT, 0, ~(uint32_t)(UNAME26 | PER_LINUX32) },
			{ NOT_EQUAL, 0, UINT32_MAX } } },
	// typing into somebody's terminal (CVE-2017-5226), and the console's copy and paste
	// (CVE-2023-28100)
	{ CALL(ioctl), EPERM, NEVER, { { EQUAL, 1, TIOCSTI } } },
	{ CALL(ioctl), EPERM, NEVER, { { EQUAL, 1, TIOCLINUX } } },
	// no namespaces, host side listens; and crypto in the kernel for everybody
	{ CALL(socket), EAFNOSUPPORT, NEVER, { { EQUAL, 0, FAMILY_VSOCK } } },
	{ CALL(socket), EAFNOSUPPORT, NEVER, { { EQUAL, 0, FAMILY_ALG } } },
	// so that PAM and sshd think auditing is not compiled in; without CAP_AUDIT_WRITE they
	// would refuse to log in
	{ CALL(socket), EAFNOSUPPORT, CAP_AUDIT_WRITE,
		{ { EQUAL, 0, AF_NETLINK }, { EQUAL, 2, PROTOCOL_AUDIT } } },
};

struct program {
	struct sock_filter code[512];
	size_t n;
};

static void emit(struct program *p, uint16_t op, uint32_t k, uint8_t if_true, uint8_t if_false)
{
	p->code[p->n++] = (struct sock_filter){ op, if_true, if_false, k };
}

static void emit_load(struct program *p, size_t offset)
{
	emit(p, BPF_LD | BPF_W | BPF_ABS, (uint32_t)offset, 0, 0);
}

static void emit_return(struct program *p, uint32_t action)
{
	emit(p, BPF_RET | BPF_K, action, 0, 0);
}

static void emit_arg_refusal(struct program *p, const struct arg_refusal *a)
{
	uint8_t conditions = a->when[1].test == NONE ? 1 : 2;
	uint8_t left = (uint8_t)(2 * conditions + 1); // instructions up to the reload of the number

	emit(p, BPF_JMP | BPF_JEQ | BPF_K, a->nr, 0, (uint8_t)(left + 1));
	for (const struct condition *c = a->when; c < a->when + conditions; c++) {
		uint16_t op = c->test == ANY_BIT ? BPF_JSET : BPF_JEQ;

		left = (uint8_t)(left - 2);
		emit_load(p, offsetof(struct seccomp_data, args) + 8 * c->arg);
		emit(p, BPF_JMP | BPF_K | op, c->value, c->test == NOT_EQUAL ? left : 0,
			c->test == NOT_EQUAL ? 0 : left);
	}
	emit_return(p, SECCOMP_RET_ERRNO | a->err);
	emit_load(p, offsetof(struct seccomp_data, nr));
}

static bool applies(uint8_t unless, uint64_t caps)
{
	return unless == NEVER || !(caps >> unless & 1);
}

static void build(struct program *p, uint64_t caps)
{
	p->n = 0;
	// a call by the 32-bit entry has other numbers: it is not judged but ends the process
	emit_load(p, offsetof(struct seccomp_data, arch));
	emit(p, BPF_JMP | BPF_JEQ | BPF_K, NATIVE_ARCH, 1, 0);
	emit_return(p, SECCOMP_RET_KILL_PROCESS);
	emit_load(p, offsetof(struct seccomp_data, nr));
	// x32's numbers begin at 2^30, so they are refused here too
	emit(p, BPF_JMP | BPF_JGT | BPF_K, SYSCALL_LAST, 0, 1);
	emit_return(p, SECCOMP_RET_ERRNO | ENOSYS);
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
		if (!applies(refusals[i].unless, caps))
			continue;
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, refusals[i].nr, 0, 1);
		emit_return(p, SECCOMP_RET_ERRNO | refusals[i].err);
	}
	for (size_t i = 0; i < ARRAY_LEN(arg_refusals); i++)
		if (applies(arg_refusals[i].unless, caps))
			emit_arg_refusal(p, &arg_refusals[i]);
	emit_return(p, SECCOMP_RET_ALLOW);
}

int seccomp_load(uint64_t caps)
{
	struct program p;

	build(&p, caps);
	struct sock_fprog prog = { .len = (unsigned short)p.n, .filter = p.code };
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		return -errno;
	return 0;
}

// ---- the same, as rules ----

// Any of several bits: a rule for each.
static void tell_bits(const struct arg_refusal *a, seccomp_fn *fn, void *arg)
{
	for (uint32_t left = a->when[0].value; left; left &= left - 1) {
		uint32_t bit = left & -left;

		fn(arg,
			&(struct seccomp_rule){
				a->name, a->err, 1, { { a->when[0].arg, bit, bit } } });
	}
}

static void tell_values(const struct arg_refusal *a, seccomp_fn *fn, void *arg)
{
	struct seccomp_rule r = { .name = a->name, .err = a->err };

	for (; r.n_when < 2 && a->when[r.n_when].test != NONE; r.n_when++) {
		const struct condition *c = &a->when[r.n_when];

		r.when[r.n_when] = (struct seccomp_when){ c->arg, UINT32_MAX, c->value };
	}
	fn(arg, &r);
}

void seccomp_rules(uint64_t caps, seccomp_fn *fn, void *arg)
{
	for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
		if (applies(refusals[i].unless, caps))
			fn(arg,
				&(struct seccomp_rule){
					.name = refusals[i].name, .err = refusals[i].err });
	for (size_t i = 0; i < ARRAY_LEN(arg_refusals); i++) {
		const struct arg_refusal *a = &arg_refusals[i];

		// two conditions on one argument (personality) cannot be said
		if (!applies(a->unless, caps) ||
			(a->when[1].test != NONE && a->when[1].arg == a->when[0].arg))
			continue;
		if (a->when[0].test == ANY_BIT)
			tell_bits(a, fn, arg);
		else
			tell_values(a, fn, arg);
	}
}
