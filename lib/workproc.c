// workproc.c - starts and lets go of a worker, as its holder has it
// SPDX-License-Identifier: Apache-2.0
#include "workproc.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>

#include "holder.h"
#include "log.h"
#include "mnt.h"
#include "proc.h"

#ifndef PIDFD_THREAD
#define PIDFD_THREAD O_EXCL // Linux 6.9
#endif

static int make_ledger(struct worker *w)
{
	void *p;

	w->ledger_fd = memfd_create("fcpull-ledger", MFD_CLOEXEC);
	if (w->ledger_fd < 0 || ftruncate(w->ledger_fd, sizeof *w->ledger))
		return -errno;
	// only the counters at its beginning are looked at here
	p = mmap(NULL, BLOCK_BYTES, PROT_READ, MAP_SHARED, w->ledger_fd, 0);
	if (p == MAP_FAILED)
		return -errno;
	w->ledger = p;
	return 0;
}

static void exec_worker(const struct workproc_conf *c, int exe, int ctl, int ledger)
{
	char *argv[] = { (char *)c->name, WORKER_ROLE, NULL };

	proc_oom_score(c->score);
	if (c->boot)
		fcntl(HOLD_BOOT, F_SETFD, 0);
	// dup2 clears the close-on-exec flag of the copies
	if (dup2(ctl, WORK_CTL) < 0 || dup2(ledger, WORK_LEDGER) < 0 ||
		fcntl(HOLD_FUSE, F_SETFD, 0) || fcntl(HOLD_ABOUT, F_SETFD, 0) ||
		fcntl(HOLD_LOG, F_SETFD, 0) || fcntl(HOLD_RECORD, F_SETFD, 0) ||
		fcntl(HOLD_STORE, F_SETFD, 0))
		_exit(EXIT_FAILURE);
	syscall(SYS_execveat, exe, "", argv, environ, AT_EMPTY_PATH);
	warn_errno(-errno, "%s: start a worker", c->image);
	_exit(EXIT_FAILURE);
}

void workproc_free(struct worker *w)
{
	if (w->ledger)
		munmap(w->ledger, BLOCK_BYTES);
	if (w->ledger_fd >= 0)
		close(w->ledger_fd);
	if (w->ctl >= 0)
		close(w->ctl);
	if (w->pidfd >= 0)
		close(w->pidfd);
	if (w->main_fd >= 0)
		close(w->main_fd);
	*w = NO_WORKER;
}

int workproc_start(const struct workproc_conf *c, int exe, struct worker *w)
{
	int pair[2] = { -1, -1 }, r = make_ledger(w);

	if (!r && socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		r = -errno;
	if (!r) {
		w->ctl = pair[0];
		w->pid = sys_clone(0, &w->pidfd);
		if (!w->pid)
			exec_worker(c, exe, pair[1], w->ledger_fd);
		r = w->pid < 0 ? w->pid : 0;
		close(pair[1]);
	}
	if (r) {
		workproc_free(w);
		return warn_errno(r, "%s: start a worker", c->image);
	}
	w->main_fd = (int)syscall(SYS_pidfd_open, w->pid, PIDFD_THREAD);
	w->born = now_ns();
	return 0;
}
