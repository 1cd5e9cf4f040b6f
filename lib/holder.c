// holder.c - the process that owns a FUSE connection
//
// One thread, one poll loop. At most three workers: CUR serves; NEXT is to replace it and gets
// ready beside it; OLD has been replaced and answers what it had read. Only one of them reads
// requests. What a dead worker had read and not answered is in its ledger: the next one is told to
// take that over (CTL_TAKE) and says when it has; until then the ledger is kept, for that one may
// die as well.
// SPDX-License-Identifier: Apache-2.0
#include "holder.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "ctl.h"
#include "fuse.h"
#include "log.h"
#include "mnt.h"
#include "proc.h"
#include "workproc.h"

#define MS 1000000ull
#define TICK_MS 500
#define STALE_TICKS 4 // without a beat, while requests wait: the worker hangs
#define START_MS 3000 // for a successor to get ready; doubled each time that it was too short ...
#define START_MAX_MS 30000 // ... up to this, which the first one has, and one to hand over to
#define STOP_MS 2000	   // for one to stop reading
#define DRAIN_MS 5000	   // for one to answer the rest
#define END_MS 1000	   // for one to end after the unmount
#define YOUNG_MS 20	   // one that dies younger is not replaced at once
#define PAUSE_MS 20
#define LINGER_MS 50   // between the end of a worker's main thread and that of the last one
#define IDLE_DEATHS 20 // in a row, without a request served, within ...
#define OWN_DEATH 4    // what one counts that was no SIGKILL: five of these are enough
#define OWN_DEATHS 150 // of those that were no SIGKILL, whatever was served, within ...
#define DEATHS_MS 10000
#define ORPHANS 16
#define CONNS 4
#define TUNES 2

enum { CUR, NEXT, OLD, SLOTS };

struct holder {
	const char *image, *id;
	char worker_name[256];
	int waiting; // /sys/fs/fuse/connections/N/waiting, or -1
	int score;   // oom_score_adj of workers
	struct worker w[SLOTS];
	int orphans
		[ORPHANS]; // ledgers of the dead; the first `told` of them the present worker knows of
	unsigned n_orphans, told;
	int conns[CONNS]; // of verbs
	int asker;	  // the one of them that waits for a hand-over, or -1
	int new_exe;	  // that it wants, or -1
	int tune[TUNES];  // what workers are to write to when the start is over, or -1
	bool started;	  // some worker has been ready
	bool over;	  // unmounted
	bool failed;
	uint64_t start_at;		// when the next worker may start
	uint64_t start_ms;		// that it has to get ready
	uint64_t idle_since, own_since; // first deaths of the two countings
	unsigned idle_deaths, own_deaths;
	unsigned restarts, handovers;
};

static bool present(const struct worker *w)
{
	return w->state != W_NONE;
}

static void set_state(struct worker *w, enum wstate s)
{
	w->state = s;
	w->since = now_ns();
	w->stale = 0;
}

static uint64_t ms_in_state(const struct worker *w)
{
	return (now_ns() - w->since) / MS;
}

// ---- workers: start and end ----

static int start_worker(struct holder *h, struct worker *w, int exe)
{
	const struct workproc_conf c = { h->image, h->worker_name, h->score, !h->started };
	int r = workproc_start(&c, exe, w);

	if (!r)
		set_state(w, W_STARTING);
	return r;
}

static void kill_worker(struct worker *w)
{
	if (!present(w) || w->killed)
		return;
	w->killed = true;
	kill(w->pid, SIGKILL); // it is not reaped yet: the number is its own
	set_state(w, w->state);
}

// ---- taking over ----

static void keep_orphan(struct holder *h, struct worker *w)
{
	if (h->n_orphans == ORPHANS) {
		close(h->orphans[0]);
		memmove(h->orphans, h->orphans + 1, (ORPHANS - 1) * sizeof *h->orphans);
		h->n_orphans--;
		h->told -= h->told > 0;
	}
	h->orphans[h->n_orphans++] = steal_fd(&w->ledger_fd);
}

static void drop_orphan(struct holder *h)
{
	if (!h->told)
		return;
	close(h->orphans[0]);
	h->told--;
	memmove(h->orphans, h->orphans + 1, --h->n_orphans * sizeof *h->orphans);
}

static void tell_orphans(struct holder *h)
{
	struct worker *w = &h->w[CUR];

	if (w->state != W_SERVING)
		return;
	for (; h->told < h->n_orphans; h->told++)
		if (ctl_send(w->ctl, (struct ctl){ .verb = CTL_TAKE }, h->orphans[h->told]))
			return;
}

static void go(struct holder *h)
{
	struct worker *w = &h->w[CUR];

	set_state(w, W_SERVING);
	h->told = 0;
	if (ctl_send(w->ctl, (struct ctl){ .verb = CTL_GO }, -1))
		kill_worker(w);
	for (unsigned i = 0; i < TUNES; i++)
		if (h->tune[i] >= 0)
			ctl_send(w->ctl, (struct ctl){ .verb = CTL_TUNE }, h->tune[i]);
	tell_orphans(h);
}

// ---- hand-over ----

static void answer_asker(struct holder *h, int result, const char *why)
{
	struct ctl m = {
		.verb = CTL_UPGRADE, .result = result, .holder = getpid(), .worker = h->w[CUR].pid
	};

	snprintf(m.text, sizeof m.text, "%s", why);
	if (h->asker >= 0)
		ctl_send(h->asker, m, -1);
	h->asker = -1;
	if (result) {
		warn("%s: hand-over refused: %s", h->image, why);
		if (h->new_exe >= 0)
			close(h->new_exe);
		h->new_exe = -1;
	}
}

static void promote(struct holder *h)
{
	h->w[CUR] = h->w[NEXT];
	h->w[NEXT] = NO_WORKER;
	dup3(h->new_exe, HOLD_EXE, O_CLOEXEC);
	close(steal_fd(&h->new_exe));
	h->handovers++;
	go(h);
	answer_asker(h, 0, "");
}

// CUR reads no more. If NEXT has died meanwhile, a worker from the old executable will follow.
static void retire(struct holder *h)
{
	set_state(&h->w[CUR], W_DRAINING);
	h->w[OLD] = h->w[CUR];
	h->w[CUR] = NO_WORKER;
}

// Takes the next step of a hand-over, if there is one to take.
static void hand_over(struct holder *h)
{
	struct worker *c = &h->w[CUR], *n = &h->w[NEXT];

	if (h->new_exe < 0 || h->over)
		return;
	if (!present(n) && c->state == W_SERVING && !present(&h->w[OLD])) {
		if (start_worker(h, n, h->new_exe))
			answer_asker(h, -EAGAIN, "it could not be started");
	} else if (n->state == W_READY && c->state == W_SERVING) {
		set_state(c, W_STOPPING);
		ctl_send(c->ctl, (struct ctl){ .verb = CTL_STOP }, -1);
	} else if (n->state == W_READY && !present(c)) {
		promote(h);
	}
}

// ---- deaths ----

static bool count(uint64_t *since, unsigned *n, unsigned weight, unsigned limit)
{
	uint64_t now = now_ns();

	if (!*n || now - *since > DEATHS_MS * MS) {
		*n = 0;
		*since = now;
	}
	*n += weight;
	return *n >= limit;
}

static void say_death(const struct holder *h, const struct worker *w, int status)
{
	if (WIFSIGNALED(status))
		warn("%s: worker %d was killed by signal %d", h->image, (int)w->pid,
			WTERMSIG(status));
	else
		warn("%s: worker %d ended with %d", h->image, (int)w->pid, WEXITSTATUS(status));
}

static void cur_died(struct holder *h, struct worker *w, int status)
{
	bool served = w->ledger->answers > 0, killed;

	if (!h->started) {
		h->failed = true; // the worker has said why
		return;
	}
	say_death(h, w, status);
	if (served)
		h->idle_deaths = 0;
	killed = WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL;
	h->failed = (!served &&
			    count(&h->idle_since, &h->idle_deaths, killed ? 1 : OWN_DEATH,
				    IDLE_DEATHS)) ||
		(!killed && count(&h->own_since, &h->own_deaths, 1, OWN_DEATHS));
	if (h->failed) {
		warn("%s: workers die too fast; readers get errors from now on", h->image);
		return;
	}
	h->restarts++;
	h->start_at = now_ns() - w->born < YOUNG_MS * MS ? now_ns() + PAUSE_MS * MS : 0;
}

static void died(struct holder *h, unsigned slot, int status)
{
	struct worker dead = h->w[slot];
	// told to stop, it may have answered all and ended before its word was heard
	bool done = dead.state == W_STOPPING && !status;

	h->w[slot] = NO_WORKER;
	if (slot == NEXT)
		answer_asker(h, -EPROTO,
			dead.killed
				? "it did not get ready in time"
				: "the executable does not know this version's state, or failed");
	else if (!h->over && (slot == CUR || dead.killed || status))
		keep_orphan(h, &dead);
	if (slot == CUR && !h->over && !done)
		cur_died(h, &dead, status);
	else if (slot == OLD)
		tell_orphans(h);
	workproc_free(&dead);
}

static void unmounted(struct holder *h)
{
	h->over = true;
	for (unsigned i = 0; i < SLOTS; i++)
		if (present(&h->w[i]))
			set_state(&h->w[i], h->w[i].state);
	kill_worker(&h->w[NEXT]);
	if (h->w[CUR].state == W_STARTING)
		kill_worker(&h->w[CUR]);
}

static void reap(struct holder *h)
{
	struct pollfd fuse = { .fd = HOLD_FUSE };
	int status;
	pid_t pid;

	// (of two events at once, this one explains the other)
	if (!h->over && poll(&fuse, 1, 0) > 0)
		unmounted(h);

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		for (unsigned i = 0; i < SLOTS; i++)
			if (present(&h->w[i]) && h->w[i].pid == pid) {
				died(h, i, status);
				break;
			}
}

// ---- events ----

// The first worker could serve: from here on, deaths are replaced, and nobody looks at our
// messages.
static void begun(struct holder *h)
{
	if (h->started)
		return;
	if (write(HOLD_READY, "", 1) < 0)
		debug("nobody waits for the mount");
	close(HOLD_READY);
	// a successor would not know how much of the stream has been read
	close(HOLD_BOOT);
	dup2(HOLD_LOG, STDERR_FILENO);
	h->started = true;
}

static void hear_worker(struct holder *h, unsigned slot)
{
	struct worker *w = &h->w[slot];
	struct ctl m;
	int fd;

	if (ctl_recv(w->ctl, 0, &m, &fd))
		return; // its end shows by the pidfd
	if (fd >= 0)
		close(fd);
	if (m.verb == CTL_READY && w->state == W_STARTING && slot == CUR) {
		begun(h);
		h->start_ms = START_MS;
		go(h);
	} else if (m.verb == CTL_READY && w->state == W_STARTING && slot == NEXT) {
		set_state(w, W_READY);
	} else if (m.verb == CTL_STOPPED && w->state == W_STOPPING) {
		retire(h);
	} else if (m.verb == CTL_TAKEN && slot == CUR) {
		drop_orphan(h);
	}
}

static void close_conn(struct holder *h, unsigned i)
{
	if (h->asker == h->conns[i])
		h->asker = -1; // the hand-over goes on
	close(steal_fd(&h->conns[i]));
}

static void accept_conn(struct holder *h)
{
	cleanup_fd int fd = accept4(HOLD_LISTEN, NULL, NULL, SOCK_CLOEXEC);
	struct ucred peer;
	socklen_t n = sizeof peer;

	if (fd < 0 || getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &n) ||
		(peer.uid && peer.uid != geteuid()))
		return;
	for (unsigned i = 0; i < CONNS; i++)
		if (h->conns[i] < 0) {
			h->conns[i] = steal_fd(&fd);
			return;
		}
	// one that asks nothing makes room
	for (unsigned i = 0; i < CONNS; i++)
		if (h->conns[i] != h->asker) {
			close_conn(h, i);
			h->conns[i] = steal_fd(&fd);
			return;
		}
}

// For this worker and those to come.
static int keep_tune(struct holder *h, int fd)
{
	for (unsigned i = 0; i < TUNES && fd >= 0; i++)
		if (h->tune[i] < 0) {
			h->tune[i] = fd;
			if (h->w[CUR].state == W_SERVING)
				ctl_send(h->w[CUR].ctl, (struct ctl){ .verb = CTL_TUNE }, fd);
			return 0;
		}
	return -ENOSPC;
}

static void hear_verb(struct holder *h, unsigned i)
{
	struct ctl m;
	cleanup_fd int fd = -1;

	if (ctl_recv(h->conns[i], 0, &m, &fd)) {
		close_conn(h, i);
		return;
	}
	m.holder = getpid();
	m.worker = h->w[CUR].pid;
	m.restarts = h->restarts;
	m.handovers = h->handovers;
	m.result = 0;
	if (m.verb == CTL_UPGRADE && fd >= 0 && h->asker < 0 && h->new_exe < 0) {
		h->asker = h->conns[i];
		h->new_exe = steal_fd(&fd);
		return;
	}
	if (m.verb == CTL_UPGRADE)
		m.result = fd < 0 ? -EINVAL : -EBUSY;
	else if (m.verb == CTL_ALIVE)
		m.result = h->over ? -ESTALE : 0;
	else if (m.verb == CTL_TUNE) {
		m.result = keep_tune(h, fd);
		if (!m.result)
			steal_fd(&fd);
	} else if (m.verb != CTL_STATUS)
		m.result = -EOPNOTSUPP;
	ctl_send(h->conns[i], m, -1);
}

// ---- the watchdog ----

static bool requests_wait(const struct holder *h)
{
	char text[16] = "";

	// without the file: as if they did; the successor costs little
	return h->waiting < 0 || pread(h->waiting, text, sizeof text - 1, 0) <= 0 ||
		strtoul(text, NULL, 10) > 0;
}

// No thread of it beats, and somebody waits. One that waits for the network beats.
static void watch(struct holder *h, struct worker *w)
{
	uint64_t beats = w->ledger->beats;

	w->stale = beats == w->beats ? w->stale + 1 : 0;
	w->beats = beats;
	if (w->stale < STALE_TICKS || w->killed || !requests_wait(h))
		return;
	warn("%s: worker %d hangs", h->image, (int)w->pid);
	kill_worker(w);
}

// Readers wait for one that starts, too; but it may only be slow, so the next one gets more time.
static void watch_start(struct holder *h, struct worker *w)
{
	if (w->killed || ms_in_state(w) <= h->start_ms)
		return;
	warn("%s: worker %d does not get ready", h->image, (int)w->pid);
	h->start_ms = MIN(2 * h->start_ms, START_MAX_MS);
	kill_worker(w);
}

static bool lingers(const struct worker *w)
{
	return w->main_gone && now_ns() - w->main_gone > LINGER_MS * MS;
}

// Killed, and still there: a thread of it hangs in the kernel, in a FUSE_NOTIFY_STORE for instance
// for a page that a reader has locked until its request is answered, which this worker had read. It
// will read no request any more, so it is not waited for.
static void give_up_on_the_undead(struct holder *h)
{
	for (unsigned i = 0; i < SLOTS; i++) {
		struct worker *w = &h->w[i];

		if (present(w) && ((w->killed && ms_in_state(w) > END_MS) || lingers(w)))
			died(h, i, SIGKILL);
	}
}

// The main thread of a worker never ends alone.
static void look_for_zombie(struct worker *w)
{
	if (present(w) && !w->main_gone && w->main_fd < 0 && proc_is_zombie(w->pid))
		w->main_gone = now_ns();
}

static void tick(struct holder *h)
{
	struct worker *c = &h->w[CUR], *n = &h->w[NEXT], *o = &h->w[OLD];

	for (unsigned i = 0; i < SLOTS; i++)
		look_for_zombie(&h->w[i]);
	if (h->over) {
		for (unsigned i = 0; i < SLOTS; i++)
			if (present(&h->w[i]) && ms_in_state(&h->w[i]) >= END_MS)
				kill_worker(&h->w[i]);
		return;
	}
	if (c->state == W_SERVING)
		watch(h, c);
	if (c->state == W_STARTING)
		watch_start(h, c);
	if (c->state == W_STOPPING && ms_in_state(c) > STOP_MS)
		kill_worker(c);
	if (n->state == W_STARTING && ms_in_state(n) > START_MAX_MS)
		kill_worker(n);
	if (o->state == W_DRAINING && ms_in_state(o) > DRAIN_MS)
		kill_worker(o);
}

// ---- the loop ----

static bool any_worker(const struct holder *h)
{
	return present(&h->w[CUR]) || present(&h->w[NEXT]) || present(&h->w[OLD]);
}

static void replace_worker(struct holder *h)
{
	if (present(&h->w[CUR]) || h->over || h->failed || now_ns() < h->start_at)
		return;
	if (start_worker(h, &h->w[CUR], HOLD_EXE))
		h->start_at = now_ns() + TICK_MS * MS; // no memory, no process: these come back
}

static int poll_ms(const struct holder *h)
{
	if (!present(&h->w[CUR]))
		return PAUSE_MS;
	for (unsigned i = 0; i < SLOTS; i++)
		if (present(&h->w[i]) && h->w[i].main_gone)
			return PAUSE_MS;
	return TICK_MS;
}

static void wait_events(struct holder *h)
{
	struct pollfd p[2 + 3 * SLOTS + CONNS] = {
		{ .fd = h->over ? -1 : HOLD_FUSE }, // POLLERR: unmounted or aborted
		{ .fd = HOLD_LISTEN, .events = POLLIN },
	};
	struct pollfd *ctl = p + 2, *pid = ctl + SLOTS, *first = pid + SLOTS, *conn = first + SLOTS;

	for (unsigned i = 0; i < SLOTS; i++) {
		ctl[i] = (struct pollfd){ .fd = present(&h->w[i]) ? h->w[i].ctl : -1,
			.events = POLLIN };
		pid[i] = (struct pollfd){ .fd = present(&h->w[i]) ? h->w[i].pidfd : -1,
			.events = POLLIN };
		first[i] = (struct pollfd){
			.fd = present(&h->w[i]) && !h->w[i].main_gone ? h->w[i].main_fd : -1,
			.events = POLLIN,
		};
	}
	for (unsigned i = 0; i < CONNS; i++)
		conn[i] = (struct pollfd){ .fd = h->conns[i], .events = POLLIN };
	if (poll(p, ARRAY_LEN(p), poll_ms(h)) < 0)
		return;
	for (unsigned i = 0; i < SLOTS; i++)
		if (first[i].revents)
			h->w[i].main_gone = now_ns();
	// what a worker has said before it died counts
	for (unsigned i = 0; i < SLOTS; i++)
		if (ctl[i].revents & POLLIN && h->w[i].ctl == ctl[i].fd)
			hear_worker(h, i);
	reap(h);
	give_up_on_the_undead(h);
	if (p[1].revents)
		accept_conn(h);
	for (unsigned i = 0; i < CONNS; i++)
		if (conn[i].revents && h->conns[i] == conn[i].fd)
			hear_verb(h, i);
}

static int run(struct holder *h)
{
	uint64_t next_tick = 0;

	while (!h->failed && !(h->over && !any_worker(h))) {
		hand_over(h);
		replace_worker(h);
		wait_events(h);
		if (now_ns() < next_tick)
			continue;
		next_tick = now_ns() + TICK_MS * MS;
		tick(h);
	}
	return h->failed ? EXIT_FAILURE : 0;
}

// ---- what it is ----

static void settle_in(struct holder *h, const char *connection)
{
	char path[64];

	prctl(PR_SET_NAME, "@fcpull", 0, 0, 0);
	h->score = proc_spare(); // before it is not dumpable: then /proc/self belongs to root
	prctl(PR_SET_DUMPABLE, 0, 0, 0, 0);
	proc_own_cgroup();
	signal(SIGPIPE, SIG_IGN);
	signal(SIGHUP, SIG_IGN);
	signal(SIGINT, SIG_IGN);
	signal(SIGTERM, SIG_IGN);
	if (chdir("/"))
		debug("chdir /: %s", strerror(errno));
	for (int fd = HOLD_FUSE; fd <= HOLD_STORE; fd++)
		fcntl(fd, F_SETFD, FD_CLOEXEC);
	// these two numbers are for the worker's side only
	dup3(HOLD_DIR, WORK_CTL, O_CLOEXEC);
	dup3(HOLD_DIR, WORK_LEDGER, O_CLOEXEC);
	sys_close_range(HOLD_END, ~0u, 0);
	snprintf(path, sizeof path, "/sys/fs/fuse/connections/%s/waiting", connection);
	h->waiting = open(path, O_RDONLY | O_CLOEXEC);
	// What it needs is in memory by the time that it is needed, for a worker has been started
	// by then; the rest of the program stays away.
	if (mlockall(MCL_CURRENT | MCL_ONFAULT))
		debug("mlockall: %s", strerror(errno));
}

static void remove_state(const struct holder *h)
{
	struct stat mine, there;
	char name[80];

	// (a starter that failed late has removed it, and the name may be another's)
	snprintf(name, sizeof name, "%s.json", h->id);
	if (fstat(HOLD_STATE, &mine) || fstatat(HOLD_DIR, name, &there, AT_SYMLINK_NOFOLLOW) ||
		mine.st_ino != there.st_ino)
		return;
	unlinkat(HOLD_DIR, name, 0);
	snprintf(name, sizeof name, "%s.sock", h->id);
	unlinkat(HOLD_DIR, name, 0);
}

int holder_main(int argc, char **argv)
{
	struct holder h = { .asker = -1, .new_exe = -1, .start_ms = START_MAX_MS };
	int code;

	if (argc != 4)
		return EXIT_FAILURE;
	h.image = argv[0] + strlen(HOLDER_NAME);
	h.id = argv[2];
	snprintf(h.worker_name, sizeof h.worker_name, WORKER_NAME "%s", h.image);
	for (unsigned i = 0; i < CONNS; i++)
		h.conns[i] = -1;
	for (unsigned i = 0; i < TUNES; i++)
		h.tune[i] = -1;
	for (unsigned i = 0; i < SLOTS; i++)
		h.w[i] = NO_WORKER;
	settle_in(&h, argv[3]);
	code = run(&h);
	remove_state(&h);
	for (unsigned i = 0; i < SLOTS; i++)
		kill_worker(&h.w[i]);
	return code;
}
