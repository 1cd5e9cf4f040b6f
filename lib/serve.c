// serve.c - an image as a mounted file system
//
// What is mounted is a file system of one holder and worker per image, store and way to reach the
// registry. Nobody counts users: the kernel does. The first mount is handed out and none is kept,
// so the file system ends with its last user, the worker by ENODEV, and the holder after it. A
// later user gets a copy (bind mount) of some user's mount, found in /proc, in whatever mount
// namespace it is. Starting is serialised by the lock on the state file, which the new holder
// inherits.
//
// An image that is wholly here, and proved, needs no process: local.c. Its state file is locked only
// while it is being mounted; who finds it later sees in mountinfo whether it lives.
// SPDX-License-Identifier: Apache-2.0
#include "serve.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>

#include "credstore.h"
#include "fuse.h"
#include "fusermount.h"
#include "hasten.h"
#include "holder.h"
#include "json.h"
#include "local.h"
#include "lastaddr.h"
#include "launch.h"
#include "log.h"
#include "mirrors.h"
#include "mnt.h"
#include "state.h"

#define ASK_MS 5000
#define WAIT_MS 3000   // for the processes to end after the unmount
#define START_MS 60000 // for another starter
#define PAIRS_MAX 100  // of one image that cannot be shared

// ---- options ----

int serve_parse_loss(const char *text, uint64_t *ret_ns)
{
	bool wait = !strncmp(text, "wait", 4), fail = !strncmp(text, "fail", 4);
	const char *n = text + 4;
	char *end = NULL;
	unsigned long s = wait ? 60 : 5;

	if ((wait || fail) && *n == ':' && n[1] >= '0' && n[1] <= '9') {
		s = strtoul(n + 1, &end, 10);
		n = end;
	} else if (wait && !strcmp(n, ":forever")) {
		*ret_ns = UINT64_MAX;
		return 0;
	}
	if (!(wait || fail) || *n || s > 1000000) {
		warn("--on-network-loss is wait[:SECONDS], wait:forever or fail[:SECONDS], not %s",
			log_quote(text));
		return -EINVAL;
	}
	// one attempt is always made
	*ret_ns = MAX(s * NS_PER_SEC, 1);
	return 0;
}

// ---- what the workers must know ----

static void put_creds(struct buf *out, const struct endpoint *e, const struct creds *c)
{
	cleanup_free char *key = xasprintf("%s/%s", e->host, e->repo);
	cleanup_secret char *basic = c->user ? creds_basic(c) : NULL;

	json_open(out, key, '{');
	if (basic)
		json_put_str(out, "auth", basic + strlen("Basic "));
	if (c->identity_token)
		json_put_str(out, "identitytoken", c->identity_token);
	json_close(out, '}');
}

static bool is_repeated(const struct mirrors *m, size_t i)
{
	for (size_t j = 0; j < i; j++)
		if (!strcmp(m->v[i].host, m->v[j].host) && !strcmp(m->v[i].repo, m->v[j].repo))
			return true;
	return false;
}

// The credentials that are found now, as the text of an authfile: a later worker may have neither
// the file nor the environment. What the command line says is only for the registry that it names.
static void find_authfile(const struct ref *ref, const struct net_opts *net, struct buf *out)
{
	// a registry that wants none is not to be bothered by files that are broken
	cleanup_hush bool hush = log_hush();
	struct mirrors m = { 0 };
	int r;

	r = ref->host ? mirrors_find(ref, false, &m) : -ENOENT;
	json_open(out, NULL, '{');
	json_open(out, "auths", '{');
	for (size_t i = 0; !r && i < m.n; i++) {
		struct net_opts own = *net;
		struct creds c = { 0 };

		if (is_repeated(&m, i))
			continue;
		if (strcmp(m.v[i].host, ref->host))
			own.creds = own.password = NULL;
		if (!creds_find(m.v[i].host, m.v[i].repo, &own, &c) && (c.user || c.identity_token))
			put_creds(out, &m.v[i], &c);
		creds_fini(&c);
	}
	json_close(out, '}');
	json_close(out, '}');
	mirrors_fini(&m);
}

// A layout's directory is absolute for processes that live in "/".
static char *reference_of(struct ref *ref)
{
	char *dir = ref->dir ? realpath(ref->dir, NULL) : NULL;

	if (dir) {
		free(ref->dir);
		ref->dir = dir;
	}
	return ref_str(ref);
}

static int seal(const struct buf *b, int *ret_fd)
{
	cleanup_fd int fd = memfd_create("fcpull-about", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	int r;

	if (fd < 0)
		return -errno;
	r = write_full(fd, b->data, b->len);
	if (!r && fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL))
		r = -errno;
	if (!r)
		*ret_fd = steal_fd(&fd);
	return r;
}

static bool is_foreseen(const struct host_image *h)
{
	return index_frames(h->ix) > 0;
}

// A process that starts from an image that nobody has traced reads on and on, and each piece costs a
// round trip: the fill goes ahead of it.
static enum lazy_fill fill_of(const struct host_image *h, const struct serve_conf *conf)
{
	return conf->hasty && conf->fill == LAZY_FILL_AUTO && !is_foreseen(h) ? LAZY_FILL_NOW
									      : conf->fill;
}

static int make_about(const struct host_image *h, const struct serve_conf *conf, int *ret_fd)
{
	cleanup_free char *reference = NULL, *store = realpath(h->store->path, NULL),
			  *cacert = NULL;
	cleanup_buf struct buf auth = { 0 }, text = { 0 }, addresses = { 0 };
	const struct net_opts *net = conf->net;
	char form[DIGEST_STR_LEN];
	struct about a = {
		.store = store,
		.index = h->index,
		.accelerated = !strcmp(h->form, "accelerated"),
		.driver = conf->driver,
		.foreseen = is_foreseen(h),
		.boot_first = h->boot_first,
		.begun = h->begun,
		.resolved = now_ns(),
		.fill = fill_of(h, conf),
		.fill_rate = conf->fill_rate,
		.kept = h->kept,
		.form = h->img && h->img->accel ? digest_str(&h->img->accel->man.digest, form)
						: NULL,
		.record = conf->record > 0,
		.record_start = conf->record_start,
		.deadline_ns = conf->deadline_ns,
		.plain_http = net->plain_http,
		.retries = net->retries,
		.log_level = log_level,
		.no_resend = getenv("FCPULL_TEST_NO_RESEND"),
	};
	struct net_stats net_stats;
	struct ref ref;
	size_t n;
	int r = ref_parse(h->name, &ref);

	net_stats_get(&net_stats);
	a.resolve_requests = net_stats.requests;
	a.resolve_bytes = h->known_bytes ? h->known_bytes : net_stats.bytes_in;

	if (r)
		return r;
	if (net->cacert)
		r = read_file_at(AT_FDCWD, net->cacert, ABOUT_MAX / 2, &cacert, &n);
	if (r) {
		ref_fini(&ref);
		return warn_errno(r, "--cacert: open %s", log_quote(net->cacert));
	}
	find_authfile(&ref, net, &auth);
	reference = reference_of(&ref);
	a.reference = reference;
	a.authfile = buf_str(&auth);
	a.cacert = cacert;
	lastaddr_write(&addresses);
	a.addresses = buf_str(&addresses);
	ref_fini(&ref);
	about_write(&a, &text);
	r = store ? seal(&text, ret_fd) : -errno;
	explicit_bzero(auth.data, auth.cap);
	explicit_bzero(text.data, text.cap);
	return r ? warn_errno(r, "prepare a server") : 0;
}

// ---- a new pair ----

// The device of a mount's file system, without asking its server.
static int device_of(int mnt, uint32_t *ret_major, uint32_t *ret_minor)
{
	struct statx st;

	if (statx(mnt, "", AT_EMPTY_PATH | AT_STATX_DONT_SYNC, 0, &st))
		return warn_errno(-errno, "look at the new mount");
	*ret_major = st.stx_dev_major;
	*ret_minor = st.stx_dev_minor;
	return 0;
}

static void describe(const struct host_image *h, const struct serve_conf *conf, struct state *s)
{
	s->image = xstrdup(h->name);
	s->source = xstrdup(h->name);
	s->store = realpath(h->store->path, NULL);
	s->driver = xstrdup(conf->driver);
	s->why = xstrdup(conf->why);
	s->form = xstrdup(h->form);
	s->why_form = xstrdup(h->why_form);
	s->digest = index_original(h->ix);
	s->index = h->index;
	s->deadline_ns = conf->deadline_ns;
}

// The worker is to raise this read-ahead when the start is over.
static void hand_setting(const struct driver *d, const struct launch *s, int fd)
{
	struct ctl c;

	if (state_ask(s->dir, s->id, CTL_TUNE, fd, ASK_MS, &c))
		driver_raise_readahead(d, false, fd); // nobody else would
}

// The read-ahead of the connection's file system: none, with `calm`, until the worker raises it; else,
// where no other is above it, what suits it. The kernel takes it from the worker's first answer; so
// that is waited for, by asking for something.
static void tune_fuse(const struct driver *d, const struct launch *s, int mnt, bool calm)
{
	cleanup_free char *path = xasprintf("/sys/class/bdi/0:%u/read_ahead_kb", s->connection);
	cleanup_fd int fd = open(path, O_WRONLY | O_CLOEXEC);
	struct statfs fs;

	if (fd < 0 || (calm && write(fd, "0\n", 2) < 0)) {
		debug("%s: %s", path, strerror(errno));
		return;
	}
	if (!calm && d->file && !fstatfs(mnt, &fs))
		driver_raise_readahead(d, false, fd);
	hand_setting(d, s, fd);
}

// What the driver makes of the FUSE mount takes its place.
static int make_mount(struct host_image *h, const struct driver *d, const struct serving *how,
	const struct launch *s, int *mnt)
{
	struct made_mount made = { .mnt = -1, .readahead = -1 };
	int r = d->make(h, how, *mnt, &made);

	if (r)
		return r;
	if (made.readahead >= 0) {
		hand_setting(d, s, made.readahead);
		close(made.readahead);
	}
	// the new mount's file keeps it; held here, it would outlive the last unmount
	close(*mnt);
	*mnt = made.mnt;
	return 0;
}

// Leaves the state of a new mount in its file (taken over) and hands the mount over (taken over when
// that is done). Whoever had this device number before is gone.
static int hand_over(
	int dir, const char *id, int lock, int *mnt, struct state *st, struct served *ret)
{
	int r = device_of(*mnt, &st->major, &st->minor);

	if (!r) {
		state_forget_device(dir, st->major, st->minor, id);
		r = state_save(lock, st);
	}
	if (!r) {
		ret->major = st->major;
		ret->minor = st->minor;
		ret->mnt = steal_fd(mnt);
	}
	state_fini(st);
	return r;
}

static int mount_fuse(const struct serve_conf *conf, const struct fuse_mount_opts *o, int *ret_fuse,
	int *ret_mnt, bool *ret_mounted)
{
	int r;

	if (!conf->at) {
		r = fuse_mount_detached(o, ret_fuse, ret_mnt);
		if (r == -ENOSYS || r == -EPERM)
			warn_errno(r, "mount (needs root and Linux 5.2)");
		return r;
	}
	r = fusermount_mount(conf->at, o, conf->attrs_set & MOUNT_ATTR_NOEXEC, ret_fuse);
	if (r)
		return r;
	*ret_mounted = true;
	*ret_mnt = open(conf->at, O_PATH | O_CLOEXEC);
	return *ret_mnt < 0 ? warn_errno(last_errno(), "open %s", log_quote(conf->at)) : 0;
}

static int new_pair(struct host_image *h, const struct serve_conf *conf, int dir, const char *id,
	int lock, struct served *ret)
{
	const struct driver *d = driver_find(conf->driver);
	struct fuse_mount_opts o = { .source = h->name, .subtype = "fcpull", .file = d && d->file };
	cleanup_fd int fuse = -1, mnt = -1, about = -1;
	struct launch s = { .image = h->name,
		.id = id,
		.dir = dir,
		.state = lock,
		.boot = h->boot_fd,
		.store = h->store->fd,
		.record = conf->record > 0 ? conf->record : -1 };
	struct serving how = { .foreseen = is_foreseen(h), .record = conf->record > 0 };
	struct state st = { 0 };
	uint32_t major;
	int r;

	if (!d)
		return warn_whole(-EINVAL, "there is no driver %s", log_quote(conf->driver));
	r = make_about(h, conf, &about);
	if (!r)
		r = mount_fuse(conf, &o, &fuse, &mnt, &ret->mounted);
	if (!r)
		r = device_of(mnt, &major, &s.connection);
	s.fuse = fuse;
	s.about = about;
	if (!r)
		r = launch_holder(&s, &ret->holder);
	if (!r)
		tune_fuse(d, &s, mnt, how.foreseen || how.record);
	if (!r && d->make)
		r = make_mount(h, d, &how, &s, &mnt);
	if (r)
		return r;
	describe(h, conf, &st);
	st.connection = s.connection;
	return hand_over(dir, id, lock, &mnt, &st, ret);
}

// A user's mount is where it is to be from the beginning: it is undone if its server does not start.
static int new_pair_or_nothing(struct host_image *h, const struct serve_conf *conf, int dir,
	const char *id, int lock, struct served *ret)
{
	int r = new_pair(h, conf, dir, id, lock, ret);

	if (r && ret->mounted && fusermount_umount(conf->at, true))
		warn("%s stays mounted", log_quote(conf->at));
	if (!r && ret->mounted)
		close(steal_fd(&ret->mnt));
	ret->mounted &= !r;
	return r;
}

// ---- an old one ----

// Is the copy of that very file system? The holder's word proves it; without one, what the kernel
// says of the file system.
static int is_of(const struct host_image *h, int dir, const struct state *s, int mnt, pid_t *ret)
{
	struct ctl c;
	int r;

	*ret = 0;
	if (s->local)
		return local_is(mnt, h->ix) ? 0 : -ESTALE;
	r = state_ask(dir, s->id, CTL_ALIVE, -1, ASK_MS, &c);
	if (!r)
		*ret = c.holder;
	return r;
}

// A copy of some user's mount of the file system of s.
static int copy_mount(
	const struct host_image *h, int dir, const struct state *s, int *ret_mnt, pid_t *ret_holder)
{
	struct state_mount *m;
	size_t n;
	int r = state_mounts(s->major, s->minor, true, &m, &n);

	for (size_t i = 0; i < n; i++) {
		cleanup_fd int mnt = -1;
		uint32_t major, minor;

		r = state_clone(&m[i], &mnt);
		if (!r)
			r = device_of(mnt, &major, &minor);
		if (!r && (major != s->major || minor != s->minor))
			r = -ESTALE; // another mount lies over it
		if (!r)
			r = is_of(h, dir, s, mnt, ret_holder);
		debug("copy of the mount at %s (process %d): %s", log_quote(m[i].path),
			(int)m[i].pid, r ? strerror(-r) : "taken");
		if (r)
			continue;
		*ret_mnt = steal_fd(&mnt);
		break;
	}
	state_mounts_free(m, n);
	return r;
}

static int share(const struct host_image *h, const struct serve_conf *conf, int dir, const char *id,
	struct served *ret)
{
	struct state s;
	int r = state_load(dir, id, &s);

	if (r)
		return r;
	r = digest_equal(&s.index, &h->index) && (s.local || s.deadline_ns == conf->deadline_ns)
		? 0
		: -ESTALE;
	if (!r)
		r = copy_mount(h, dir, &s, &ret->mnt, &ret->holder);
	ret->major = s.major;
	ret->minor = s.minor;
	state_fini(&s);
	return r;
}

// ---- entry ----

// What two mounts must have in common to be one.
static void make_id(const struct host_image *h, const char *rest, char out[static 17])
{
	cleanup_free char *text = NULL;
	char index[DIGEST_STR_LEN], hex[65];
	struct stat st = { 0 };
	struct digest d;

	fstat(h->store->fd, &st);
	text = xasprintf("%s %ju:%ju %s", digest_str(&h->index, index), (uintmax_t)st.st_dev,
		(uintmax_t)st.st_ino, rest);
	d = sha256_of(text, strlen(text));
	snprintf(out, 17, "%.16s", digest_hex(&d, hex));
}

static int serve_in(
	struct host_image *h, const struct serve_conf *conf, int dir, struct served *ret)
{
	uint64_t end = now_ns() + START_MS * 1000000ull;
	cleanup_free char *rest = xasprintf("%s %s %s %ju %d%s", conf->driver, h->form,
		h->source ? h->source->name : "", (uintmax_t)conf->deadline_ns,
		conf->net->plain_http, conf->record > 0 ? " record" : "");
	char base[17], id[STATE_ID_MAX];

	make_id(h, rest, base);
	// the pair of this name may be out of reach, or not be what is wanted
	for (unsigned i = 0; i < PAIRS_MAX;) {
		snprintf(id, sizeof id, i ? "%s-%u" : "%s", base, i);
		cleanup_fd int lock = state_lock(dir, id);

		if (lock >= 0) {
			int e = new_pair_or_nothing(h, conf, dir, id, lock, ret);

			if (e)
				state_remove(dir, id);
			return e;
		}
		if (lock != -EWOULDBLOCK)
			return lock;
		int r = conf->alone || conf->record > 0 ? -EBUSY : share(h, conf, dir, id, ret);

		if (!r) {
			ret->shared = true;
			return 0;
		}
		// another starter is at work, or has just died
		if ((r == -ENODATA || r == -ENOENT) && now_ns() < end)
			usleep(20000);
		else
			i++;
	}
	return warn_errno(
		-EBUSY, "%s is mounted too often without anyone being able to share", h->name);
}

// ---- without a process ----

static int new_local(struct host_image *h, const struct sealed *files,
	const struct serve_conf *conf, int dir, const char *id, int lock, struct served *ret)
{
	struct serve_conf c = *conf;
	struct state st = { 0 };
	cleanup_fd int mnt = -1;
	char why[160];
	int r = local_mount(h, files, &mnt, conf->record_pages ? &ret->readahead : NULL, why);

	if (r)
		return r;
	c.why = why;
	describe(h, &c, &st);
	st.local = true;
	return hand_over(dir, id, lock, &mnt, &st, ret);
}

// -EBUSY: there is one, and it cannot be shared.
static int share_or_mount(struct host_image *h, const struct sealed *files,
	const struct serve_conf *conf, int dir, const char *id, struct served *ret)
{
	uint64_t end = now_ns() + START_MS * 1000000ull;
	cleanup_fd int lock = -1;
	int r;

	while ((lock = state_lock_local(dir, id)) == -EWOULDBLOCK && now_ns() < end)
		usleep(5000); // another starter is at work, or somebody looks
	if (lock < 0)
		return lock;
	ret->shared = !share(h, conf, dir, id, ret);
	if (ret->shared && conf->record_pages) {
		ret->shared = false;
		close(steal_fd(&ret->mnt));
		return -EBUSY;
	}
	r = ret->shared ? 0 : new_local(h, files, conf, dir, id, lock, ret);
	if (r)
		state_remove(dir, id);
	else
		ret->lock = steal_fd(&lock); // until it is mounted, nothing else says that it lives
	return r;
}

static int serve_locally(
	struct host_image *h, const struct serve_conf *conf, int dir, struct served *ret)
{
	struct sealed files;
	char hex[65], id[STATE_ID_MAX];
	int r = sealed_open(h->store, h->ix, &files);

	if (!r) {
		make_id(h, digest_hex(&files.id, hex), id);
		r = share_or_mount(h, &files, conf, dir, id, ret);
	}
	if (r == -EBUSY) { // what others have read already would be missing in the recording
		make_id(h, "a second one", id);
		r = share_or_mount(h, &files, conf, dir, id, ret);
	}
	ret->watch = !r && conf->record_pages;
	sealed_close(&files);
	return r;
}

int serve_image(struct host_image *h, const struct serve_conf *conf, struct served *ret)
{
	struct serve_conf c = *conf;
	struct served s = { .mnt = -1, .lock = -1, .readahead = -1 };
	cleanup_fd int dir = state_dir();
	char why[160];
	int r;

	if (dir < 0)
		return dir;
	r = driver_choose(conf->driver, &c.driver, why);
	if (r)
		return r;
	c.why = why;
	// what a recorded run reads must come by the worker, if nobody else sees it
	r = strcmp(c.driver, "erofs") || (c.record > 0 && !c.record_pages)
		? -ENODATA
		: serve_locally(h, &c, dir, &s);
	if (r)
		r = serve_in(h, &c, dir, &s);
	// the worker has it, or nobody wants it
	if (h->boot_fd >= 0)
		close(steal_fd(&h->boot_fd));
	if (r)
		return r;
	info("%s: the %s form is used%s%s; %s", h->name, h->form, *h->why_form ? ": " : "",
		h->why_form,
		!s.holder	   ? "local files, no process"
			: s.shared ? "shared holder"
				   : "new holder");
	store_release(h->store); // the state file names the index
	*ret = s;
	return 0;
}

int serve_attach(struct served *s, const char *at)
{
	cleanup_fd int target = open(at, O_PATH | O_CLOEXEC);
	int r = target < 0 ? -errno : mnt_attach(s->mnt, target);

	close(steal_fd(&s->mnt));
	if (s->lock >= 0)
		close(steal_fd(&s->lock));
	return r ? warn_errno(r, "mount on %s", log_quote(at)) : 0;
}

int serve_start(
	struct host_image *h, const char *at, const struct serve_conf *conf, struct served *ret)
{
	struct serve_conf c = *conf;
	int r = access(at, F_OK) ? -errno : 0;

	if (r)
		return warn_errno(r, "open mount point %s", log_quote(at));
	if (geteuid()) {
		c.at = at;
		if (c.attrs_clear)
			return warn_whole(-EPERM, "suid and dev need root");
	}
	r = serve_image(h, &c, ret);
	if (r || ret->mounted)
		return r;
	if (!r && conf->attrs_clear)
		r = mnt_clear(ret->mnt, conf->attrs_clear);
	if (!r && conf->attrs_set)
		r = mnt_set(ret->mnt, conf->attrs_set, false);
	return r ? r : serve_attach(ret, at);
}

void serve_wait(const struct served *s)
{
	cleanup_fd int fd = (int)syscall(SYS_pidfd_open, s->holder, 0);
	struct pollfd p = { .fd = fd, .events = POLLIN };
	struct state_mount *m;
	size_t n;
	bool used = !state_mounts(s->major, s->minor, true, &m, &n);

	state_mounts_free(m, n);
	if (!used && fd >= 0)
		poll(&p, 1, WAIT_MS);
	if (!used && !s->holder)
		state_clean();
}

void serve_enter(int argc, char **argv)
{
	if (argc < 2 || strncmp(argv[0], "@fcpull", 7))
		return;
	if (!strcmp(argv[1], HOLDER_ROLE))
		_exit(holder_main(argc, argv));
	if (!strcmp(argv[1], WORKER_ROLE))
		_exit(worker_main());
	if (!strcmp(argv[1], HASTEN_ROLE))
		_exit(hasten_main());
	warn("asked to become %s, which fcpull %s does not know", log_quote(argv[1]),
		FCPULL_VERSION);
	_exit(EXIT_FAILURE);
}
