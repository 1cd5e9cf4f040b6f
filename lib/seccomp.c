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

struct refusal {
	uint32_t nr;
	uint16_t err;
};

static const struct refusal refusals[] = {
	// mounts and roots
	{ SYS_mount, EPERM },
	{ SYS_umount2, EPERM },
	{ SYS_pivot_root, EPERM },
	{ NR_OPEN_TREE, EPERM },
	{ NR_MOVE_MOUNT, EPERM },
	{ NR_FSOPEN, EPERM },
	{ NR_FSCONFIG, EPERM },
	{ NR_FSMOUNT, EPERM },
	{ NR_FSPICK, EPERM },
	{ NR_MOUNT_SETATTR, EPERM },
	{ NR_OPEN_TREE_ATTR, EPERM },
	{ SYS_open_by_handle_at, EPERM }, // "shocker": any file of the file system by its handle
	{ SYS_fanotify_init, EPERM },
	// namespaces; clone itself is looked at below. A filter cannot look into clone3's struct: C
	// libraries then use clone.
	{ SYS_setns, EPERM },
	{ SYS_unshare, EPERM },
	{ NR_CLONE3, ENOSYS },
	// other processes' memory and files beyond what ptrace (allowed, as in docker) shows
	{ SYS_kcmp, EPERM },
	{ NR_PIDFD_GETFD, EPERM },
	// keyrings have no namespaces worth the name
	{ SYS_add_key, EPERM },
	{ SYS_keyctl, EPERM },
	{ SYS_request_key, EPERM },
	// large attack surface for little use: io_uring, BPF, perf, userfaultfd
	{ NR_IO_URING_SETUP, ENOSYS },
	{ NR_IO_URING_ENTER, ENOSYS },
	{ NR_IO_URING_REGISTER, ENOSYS },
	{ SYS_bpf, EPERM },
	{ SYS_perf_event_open, EPERM },
	{ SYS_userfaultfd, EPERM },
	// the machine
	{ SYS_acct, EPERM },
	{ SYS_clock_settime, EPERM },
	{ SYS_settimeofday, EPERM },
	{ SYS_syslog, EPERM },
	{ SYS_delete_module, EPERM },
	{ SYS_finit_module, EPERM },
	{ SYS_init_module, EPERM },
	{ SYS_kexec_load, EPERM },
	{ SYS_reboot, EPERM },
	{ SYS_swapon, EPERM },
	{ SYS_swapoff, EPERM },
	{ SYS_quotactl, EPERM },
	{ NR_QUOTACTL_FD, EPERM },
	{ SYS_vhangup, EPERM },
	{ SYS_lookup_dcookie, EPERM },
	{ SYS_nfsservctl, EPERM },
	// where memory lies
	{ SYS_mbind, EPERM },
	{ SYS_move_pages, EPERM },
	{ SYS_migrate_pages, EPERM },
	{ SYS_get_mempolicy, EPERM },
	{ SYS_set_mempolicy, EPERM },
	{ NR_SET_MEMPOLICY_HOME_NODE, EPERM },
#ifdef SYS_kexec_file_load
	{ SYS_kexec_file_load, EPERM },
#endif
#ifdef __x86_64__
	{ SYS_ioperm, EPERM },
	{ SYS_iopl, EPERM },
	{ SYS_uselib, EPERM },
	{ SYS_ustat, EPERM },
	{ SYS_sysfs, EPERM },
	{ SYS__sysctl, EPERM },
	{ SYS_create_module, EPERM },
	{ SYS_get_kernel_syms, EPERM },
	{ SYS_query_module, EPERM },
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
	uint32_t nr;
	uint16_t err;
	struct condition when[2];
};

static const struct arg_refusal arg_refusals[] = {
	{ SYS_clone, EPERM, { { ANY_BIT, 0, CLONE_NEW_ANY } } },
	// only plain Linux, with UNAME26, on 32-bit processes or as a question
	{ SYS_personality, EPERM,
		{ { ANY_BIT, 0, ~(uint32_t)(UNAME26 | PER_LINUX32) },
			{ NOT_EQUAL, 0, UINT32_MAX } } },
	// typing into somebody's terminal (CVE-2017-5226), and the console's copy and paste
	// (CVE-2023-28100)
	{ SYS_ioctl, EPERM, { { EQUAL, 1, TIOCSTI } } },
	{ SYS_ioctl, EPERM, { { EQUAL, 1, TIOCLINUX } } },
	// no namespaces, host side listens; and crypto in the kernel for everybody
	{ SYS_socket, EAFNOSUPPORT, { { EQUAL, 0, FAMILY_VSOCK } } },
	{ SYS_socket, EAFNOSUPPORT, { { EQUAL, 0, FAMILY_ALG } } },
	// so that PAM and sshd think auditing is not compiled in; without CAP_AUDIT_WRITE they
	// would refuse to log in
	{ SYS_socket, EAFNOSUPPORT, { { EQUAL, 0, AF_NETLINK }, { EQUAL, 2, PROTOCOL_AUDIT } } },
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

static void build(struct program *p)
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
		emit(p, BPF_JMP | BPF_JEQ | BPF_K, refusals[i].nr, 0, 1);
		emit_return(p, SECCOMP_RET_ERRNO | refusals[i].err);
	}
	for (size_t i = 0; i < ARRAY_LEN(arg_refusals); i++)
		emit_arg_refusal(p, &arg_refusals[i]);
	emit_return(p, SECCOMP_RET_ALLOW);
}

int seccomp_load(void)
{
	struct program p;

	build(&p);
	struct sock_fprog prog = { .len = (unsigned short)p.n, .filter = p.code };
	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0)
		return -errno;
	return 0;
}
