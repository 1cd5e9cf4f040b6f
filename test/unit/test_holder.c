// test_holder.c - lib/holder.c's deaths and hand-over by hand; what is handed over; state files;
// --on-network-loss
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/holder.c"

#include <yyjson.h>

#include "../../lib/serve.h"
#include "../../lib/state.h"
#include "said.h"
#include "tap.h"

static struct fuse_ledger ledger;

static struct holder new_holder(void)
{
	struct holder h = {
		.image = "an image", .id = "id", .asker = -1, .new_exe = -1, .started = true
	};

	for (unsigned i = 0; i < CONNS; i++)
		h.conns[i] = -1;
	for (unsigned i = 0; i < TUNES; i++)
		h.tune[i] = -1;
	for (unsigned i = 0; i < SLOTS; i++)
		h.w[i] = (struct worker){ .pidfd = -1, .ctl = -1, .ledger_fd = -1 };
	return h;
}

static void die(struct holder *h, int status, bool served)
{
	struct worker w = {
		.pidfd = -1, .ctl = -1, .ledger_fd = -1, .ledger = &ledger, .born = now_ns()
	};

	ledger.answers = served;
	cur_died(h, &w, status);
}

static void test_deaths(void)
{
	struct holder h = new_holder();
	int n;

	said_begin();
	for (n = 0; n < 100 && !h.failed; n++)
		die(&h, 1 << 8, false);
	const char *said = said_end();
	ok(n == 5 && strstr(said, "too fast"),
		"five workers that end at once by themselves are enough, not %d", n);

	h = new_holder();
	said_begin();
	for (n = 0; n < 100 && !h.failed; n++)
		die(&h, SIGKILL, false);
	said_end();
	ok(n == 20, "twenty that are killed before they served, not %d", n);

	h = new_holder();
	said_begin();
	for (n = 0; n < 100 && !h.failed; n++)
		die(&h, n % 4 ? SIGSEGV : SIGKILL, !(n % 4));
	said_end();
	ok(n == 100 && h.restarts == 100, "not when some have served in between");

	h = new_holder();
	said_begin();
	for (n = 0; n < 1000 && !h.failed; n++)
		die(&h, SIGSEGV, true);
	said_end();
	ok(n == OWN_DEATHS, "but %d crashes in ten seconds are too many in any case", n);

	h = new_holder();
	said_begin();
	for (n = 0; n < 1000 && !h.failed; n++)
		die(&h, SIGKILL, true);
	said_end();
	ok(n == 1000, "killing them from outside is not their fault");

	h = new_holder();
	h.started = false;
	die(&h, 1 << 8, false);
	ok(h.failed && !h.restarts, "a first worker that fails is not replaced");
}

static void test_orphans(void)
{
	struct holder h = new_holder();

	for (int i = 0; i < ORPHANS + 3; i++) {
		struct worker w = { .ledger_fd = memfd_create("x", MFD_CLOEXEC) };

		keep_orphan(&h, &w);
		ok(w.ledger_fd == -1 && h.n_orphans == MIN(i + 1u, (unsigned)ORPHANS),
			"ledger %d is kept", i);
	}
	h.told = 2;
	drop_orphan(&h);
	drop_orphan(&h);
	drop_orphan(&h);
	ok(h.n_orphans == ORPHANS - 2 && !h.told, "only what the worker was told of is dropped");
	while (h.n_orphans) {
		h.told = h.n_orphans;
		drop_orphan(&h);
	}
}

// A worker whose other end of the socket is ours.
static int fake_worker(struct holder *h, unsigned slot, enum wstate state)
{
	int pair[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		abort();
	h->w[slot] = (struct worker){ .pidfd = -1,
		.ctl = pair[0],
		.ledger_fd = memfd_create("x", MFD_CLOEXEC),
		.pid = 1 << 30 };
	h->w[slot].ledger = mmap(NULL, BLOCK_BYTES, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	set_state(&h->w[slot], state);
	return pair[1];
}

static bool heard(int sock, uint32_t verb, bool with_fd)
{
	struct ctl m;
	int fd = -1, r = ctl_recv(sock, 0, &m, &fd);
	bool good = !r && m.verb == verb && (fd >= 0) == with_fd;

	if (!r && fd >= 0)
		close(fd);
	return good;
}

static void test_handover(void)
{
	struct holder h = new_holder();
	int ask[2], cur = fake_worker(&h, CUR, W_SERVING), next = fake_worker(&h, NEXT, W_STARTING);

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ask))
		abort();
	h.asker = ask[0];
	h.new_exe = memfd_create("exe", MFD_CLOEXEC);
	ctl_send(next, (struct ctl){ .verb = CTL_READY }, -1);
	hear_worker(&h, NEXT);
	hand_over(&h);
	ok(heard(cur, CTL_STOP, false) && h.w[CUR].state == W_STOPPING,
		"the old worker is told to stop when the new one is ready");
	ctl_send(cur, (struct ctl){ .verb = CTL_STOPPED }, -1);
	hear_worker(&h, CUR);
	hand_over(&h);
	ok(heard(next, CTL_GO, false) && h.w[CUR].state == W_SERVING &&
			h.w[OLD].state == W_DRAINING,
		"then the new one is told to go");
	ok(heard(ask[1], CTL_UPGRADE, false) && h.handovers == 1, "and who asked is answered");
	said_begin();
	h.w[OLD].killed = true;
	died(&h, OLD, SIGKILL);
	said_end();
	ok(heard(next, CTL_TAKE, true), "what the old one could not answer goes to the new one");
	ctl_send(next, (struct ctl){ .verb = CTL_TAKEN }, -1);
	hear_worker(&h, CUR);
	ok(!h.n_orphans && !h.restarts, "and is then forgotten");
	workproc_free(&h.w[CUR]);
	close(cur);
	close(next);
	close(ask[0]);
	close(ask[1]);
}

static void test_about(void)
{
	struct about a = { .reference = "docker.io/a/b:1",
		.boot_first = 7,
		.store = "/s",
		.driver = "fuse",
		.deadline_ns = UINT64_MAX,
		.accelerated = true,
		.authfile = "{\"auths\":{}}",
		.plain_http = true,
		.retries = 3,
		.log_level = 1 },
		     b;
	cleanup_buf struct buf t = { 0 };
	yyjson_doc *doc = NULL;
	char *v;

	a.index = sha256_of("x", 1);
	about_write(&a, &t);
	int r = about_read(t.data, t.len, &b, &doc);
	ok(!r && !strcmp(b.reference, a.reference) && !strcmp(b.store, a.store) &&
			!strcmp(b.authfile, a.authfile) && !b.cacert &&
			digest_equal(&a.index, &b.index) && b.deadline_ns == UINT64_MAX &&
			b.accelerated && b.plain_http && b.retries == 3,
		"what is handed over comes through");
	yyjson_doc_free(doc);
	v = strstr((char *)(uintptr_t)buf_str(&t), "\"version\":2");
	if (v)
		v[10] = '9';
	said_begin();
	r = about_read(t.data, t.len, &b, &doc);
	ok(r == -EPROTO && strstr(said_end(), "version 9"), "a later version is refused by name");
	said_begin();
	bool refused = true;
	for (size_t n = 0; n < t.len; n++)
		refused &= about_read(t.data, n, &b, &doc) < 0;
	said_end();
	ok(refused, "half of it is refused");
}

static void test_state(void)
{
	char dir[] = "/tmp/test_holder-XXXXXX";
	struct state s = { .image = (char *)"i",
		.source = (char *)"i",
		.store = (char *)"/s",
		.driver = (char *)"fuse",
		.why = (char *)"w",
		.form = (char *)"f",
		.major = 1,
		.minor = 2,
		.connection = 3,
		.deadline_ns = 4 },
		     t;
	struct state *list;
	size_t n;

	if (!mkdtemp(dir) || setenv("FCPULL_RUN", dir, 1))
		abort();
	int d = state_dir(), lock = state_lock(d, "abc");
	ok(d >= 0 && lock >= 0, "a state file is made and locked");
	ok(state_load(d, "abc", &t) == -ENODATA, "that is not written yet");
	ok(state_lock(d, "abc") == -EWOULDBLOCK, "nobody else gets it");
	ok(!state_save(lock, &s) && !state_load(d, "abc", &t) && t.minor == 2 &&
			t.connection == 3 && !strcmp(t.why, "w"),
		"written and read");
	state_fini(&t);
	ok(!state_list(d, &list, &n) && n == 1 && !strcmp(list[0].id, "abc"), "listed");
	state_fini(&list[0]);
	free(list);
	close(lock);
	ok(!state_list(d, &list, &n) && n == 0 && faccessat(d, "abc.json", F_OK, 0),
		"removed when its holder is dead");
	free(list);
	close(d);
	rmdir(dir);
}

static void test_loss(void)
{
	static const struct {
		const char *text;
		uint64_t seconds;
	} good[] = { { "wait", 60 }, { "wait:5", 5 }, { "fail", 5 }, { "fail:1", 1 } };
	static const char *const bad[] = { "", "wai", "waits", "wait:", "wait:x", "wait:1x",
		"wait:-1", "fail:forever", "wait:99999999", "never" };
	uint64_t ns;

	for (size_t i = 0; i < ARRAY_LEN(good); i++)
		ok(!serve_parse_loss(good[i].text, &ns) && ns == good[i].seconds * 1000000000u,
			"%s", good[i].text);
	ok(!serve_parse_loss("wait:forever", &ns) && ns == UINT64_MAX, "wait:forever");
	ok(!serve_parse_loss("fail:0", &ns) && ns == 1, "fail:0");
	for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
		said_begin();
		int r = serve_parse_loss(bad[i], &ns);
		ok(r == -EINVAL && strstr(said_end(), "--on-network-loss"), "not '%s'", bad[i]);
	}
}

int main(void)
{
	test_deaths();
	test_orphans();
	test_handover();
	test_about();
	test_state();
	test_loss();
	return tap_end();
}
