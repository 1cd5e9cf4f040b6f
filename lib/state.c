// state.c - what runs now
// SPDX-License-Identifier: Apache-2.0
#include "state.h"

#include <dirent.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/file.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "json.h"
#include "log.h"
#include "mnt.h"
#include "places.h"
#include "mountinfo.h"

#define STATE_VERSION 1
#define STATE_SIZE_MAX (64u << 10)
#define BACKLOG 8

void state_fini(struct state *s)
{
	free(s->image);
	free(s->source);
	free(s->store);
	free(s->driver);
	free(s->why);
	free(s->form);
	free(s->why_form);
	*s = (struct state){ 0 };
}

// ---- the directory ----

int state_dir(void)
{
	cleanup_free char *path = places_run();
	cleanup_fd int fd = -1;
	struct stat st;
	int r;

	if (!path)
		return -ENOENT;
	r = mkdir_p(path, 0700);
	if (r)
		return warn_errno(r, "make %s", log_quote(path));
	fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(fd, &st))
		return warn_errno(-errno, "open %s", log_quote(path));
	if (st.st_uid != geteuid() || st.st_mode & 077)
		return warn_whole(-EPERM,
			"%s must be a directory of this user with mode 0700: remove it, or chmod it",
			log_quote(path));
	return steal_fd(&fd);
}

static void file_name(const char *id, const char *suffix, char out[static STATE_ID_MAX + 8])
{
	snprintf(out, STATE_ID_MAX + 8, "%s.%s", id, suffix);
}

void state_remove(int dir, const char *id)
{
	char name[STATE_ID_MAX + 8];

	file_name(id, "sock", name);
	unlinkat(dir, name, 0);
	file_name(id, "json", name);
	unlinkat(dir, name, 0);
}

// ---- mounts ----

// The mounts of a file system's whole tree.
struct mount_list {
	const char *type; // of these file systems only; NULL: any
	uint32_t major, minor;
	pid_t pid; // whose they are
	struct state_mount *v;
	size_t n, cap;
};

static void look_at_mount(void *arg, const struct mount_line *m)
{
	struct mount_list *l = arg;

	if (m->major != l->major || m->minor != l->minor || strcmp(m->root, "/") != 0 ||
		(l->type && strncmp(m->type, l->type, strlen(l->type)) != 0))
		return;
	l->v = xgrow(l->v, &l->cap, l->n + 1, sizeof *l->v);
	l->v[l->n++] = (struct state_mount){ xstrdup(m->path), l->pid };
}

static uint64_t namespace_of(const char *pid)
{
	char path[64];
	struct stat st;

	snprintf(path, sizeof path, "/proc/%.20s/ns/mnt", pid);
	return stat(path, &st) ? 0 : st.st_ino;
}

static void look_everywhere(struct mount_list *l)
{
	size_t n = 0, cap = 0;
	uint64_t *seen = NULL;
	DIR *d = opendir("/proc");
	struct dirent *e;

	seen = xgrow(seen, &cap, 1, sizeof *seen);
	seen[n++] = namespace_of("self");
	while (d && (e = readdir(d))) {
		uint64_t ns = *e->d_name >= '1' && *e->d_name <= '9' ? namespace_of(e->d_name) : 0;
		bool known = !ns;

		for (size_t i = 0; i < n; i++)
			known |= seen[i] == ns;
		if (known)
			continue;
		seen = xgrow(seen, &cap, n + 1, sizeof *seen);
		seen[n++] = ns;
		l->pid = (pid_t)strtol(e->d_name, NULL, 10);
		mountinfo_each(e->d_name, look_at_mount, l);
	}
	if (d)
		closedir(d);
	free(seen);
}

static void find_mounts(bool everywhere, struct mount_list *l)
{
	l->pid = 0;
	mountinfo_each("self", look_at_mount, l);
	if (everywhere)
		look_everywhere(l);
}

int state_mounts(
	uint32_t major, uint32_t minor, bool everywhere, struct state_mount **ret, size_t *ret_n)
{
	struct mount_list l = { .major = major, .minor = minor };

	find_mounts(everywhere, &l);
	*ret = l.v;
	*ret_n = l.n;
	return l.n ? 0 : -ENOENT;
}

void state_mounts_free(struct state_mount *m, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(m[i].path);
	free(m);
}

// In a child: copies a mount of another namespace and sends it here.
static void clone_there(int ns, const char *path, int sock)
{
	cleanup_fd int mnt = -1;
	struct ctl m = { .verb = CTL_STATUS };

	m.result = setns(ns, CLONE_NEWNS) ? -errno : mnt_clone(AT_FDCWD, path, false, &mnt);
	ctl_send(sock, m, mnt);
	_exit(0);
}

static int clone_foreign(const struct state_mount *m, int *ret_mnt)
{
	cleanup_free char *path = xasprintf("/proc/%d/ns/mnt", (int)m->pid);
	cleanup_fd int ns = open(path, O_RDONLY | O_CLOEXEC), mnt = -1;
	int pair[2], r;
	struct ctl answer = { 0 };
	pid_t child;

	if (ns < 0 || socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair))
		return -errno;
	child = fork();
	if (!child)
		clone_there(ns, m->path, pair[1]);
	close(pair[1]);
	r = child < 0 ? -EAGAIN : ctl_recv(pair[0], -1, &answer, &mnt);
	close(pair[0]);
	if (child > 0)
		waitpid(child, NULL, 0);
	if (!r)
		r = answer.result;
	if (!r)
		*ret_mnt = steal_fd(&mnt);
	return r;
}

int state_clone(const struct state_mount *m, int *ret_mnt)
{
	return m->pid ? clone_foreign(m, ret_mnt) : mnt_clone(AT_FDCWD, m->path, false, ret_mnt);
}

// ---- files ----

// The lock is on the open file, so a child inherits it. A file that was removed meanwhile is
// nobody's.
static int lock_file(int dir, const char *id)
{
	char name[STATE_ID_MAX + 8];

	file_name(id, "json", name);
	for (;;) {
		cleanup_fd int fd =
			openat(dir, name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
		struct stat mine, there;

		if (fd < 0 || fstat(fd, &mine))
			return warn_errno(-errno, "open the state file %s", name);
		if (flock(fd, LOCK_EX | LOCK_NB))
			return errno == EWOULDBLOCK
				? -EWOULDBLOCK
				: warn_errno(-errno, "lock the state file %s", name);
		if (fstatat(dir, name, &there, AT_SYMLINK_NOFOLLOW) || there.st_ino != mine.st_ino)
			continue;
		return steal_fd(&fd);
	}
}

int state_lock_local(int dir, const char *id)
{
	return lock_file(dir, id);
}

int state_lock(int dir, const char *id)
{
	int fd = lock_file(dir, id);

	if (fd >= 0 && ftruncate(fd, 0)) {
		close(fd);
		return warn_errno(-errno, "empty the state file of %s", id);
	}
	return fd;
}

static void put_state(const struct state *s, struct buf *b)
{
	char d[DIGEST_STR_LEN];

	json_open(b, NULL, '{');
	json_put_u64(b, "version", STATE_VERSION);
	json_put_str(b, "image", s->image);
	json_put_str(b, "source", s->source);
	json_put_str(b, "digest", digest_str(&s->digest, d));
	json_put_str(b, "index", digest_str(&s->index, d));
	json_put_str(b, "form", s->form);
	json_put_str(b, "why_form", s->why_form);
	json_put_str(b, "store", s->store);
	json_put_str(b, "driver", s->driver);
	json_put_str(b, "why", s->why);
	json_put_u64(b, "deadline_ns", s->deadline_ns);
	json_put_u64(b, "major", s->major);
	json_put_u64(b, "minor", s->minor);
	json_put_u64(b, "connection", s->connection);
	json_put_bool(b, "local", s->local);
	json_close(b, '}');
}

int state_save(int fd, const struct state *s)
{
	cleanup_buf struct buf b = { 0 };
	int r;

	put_state(s, &b);
	buf_add(&b, "\n", 1);
	r = ftruncate(fd, 0) ? -errno : pwrite_full(fd, b.data, b.len, 0);
	return r ? warn_errno(r, "write the state file of %s", log_quote(s->image)) : 0;
}

static int take_str(yyjson_val *o, const char *key, char **ret)
{
	const char *s = json_str(o, key);

	if (!s)
		return -EBADMSG;
	*ret = xstrdup(s);
	return 0;
}

static int take_u32(yyjson_val *o, const char *key, uint32_t *ret)
{
	uint64_t v;

	if (json_u64(o, key, &v) || v > UINT32_MAX)
		return -EBADMSG;
	*ret = (uint32_t)v;
	return 0;
}

static int take_digest(yyjson_val *o, const char *key, struct digest *ret)
{
	const char *s = json_str(o, key);

	return s ? digest_parse(s, ret) : -EBADMSG;
}

static int take_state(yyjson_val *o, struct state *s)
{
	uint64_t version;

	if (json_u64(o, "version", &version) || version != STATE_VERSION ||
		take_str(o, "image", &s->image) || take_str(o, "source", &s->source) ||
		take_str(o, "store", &s->store) || take_str(o, "driver", &s->driver) ||
		take_str(o, "why", &s->why) || take_str(o, "form", &s->form) ||
		json_u64(o, "deadline_ns", &s->deadline_ns) ||
		take_digest(o, "digest", &s->digest) || take_digest(o, "index", &s->index) ||
		take_u32(o, "major", &s->major) || take_u32(o, "minor", &s->minor) ||
		take_u32(o, "connection", &s->connection))
		return -EBADMSG;
	s->local = json_bool(o, "local", false);
	if (take_str(o, "why_form", &s->why_form))
		s->why_form = xstrdup(""); // a mount by an older fcpull
	return 0;
}

int state_load(int dir, const char *id, struct state *ret)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *p = NULL;
	char name[STATE_ID_MAX + 8];
	struct state s = { 0 };
	size_t n;
	int r;

	file_name(id, "json", name);
	r = read_file_at(dir, name, STATE_SIZE_MAX, &p, &n);
	if (r)
		return r;
	if (!n || p[n - 1] != '\n')
		return -ENODATA;
	r = json_parse(p, n, NULL, &doc);
	if (!r)
		r = take_state(json_root(doc), &s);
	if (r) {
		state_fini(&s);
		return r;
	}
	snprintf(s.id, sizeof s.id, "%s", id);
	*ret = s;
	return 0;
}

// A mount without a process: whether it is still mounted, anywhere that can be seen.
static bool local_lives(int dir, const char *id)
{
	struct mount_list l = { .type = "erofs " };
	struct state s;
	bool lives = false;

	if (state_load(dir, id, &s))
		return false;
	if (s.local) {
		l.major = s.major;
		l.minor = s.minor;
		find_mounts(true, &l);
		lives = l.n;
		state_mounts_free(l.v, l.n);
	}
	state_fini(&s);
	return lives;
}

// Whether somebody has the lock, or none is needed. Removes the files if not.
static bool alive(int dir, const char *id)
{
	char name[STATE_ID_MAX + 8];
	cleanup_fd int fd = -1;

	file_name(id, "json", name);
	fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return false;
	if (flock(fd, LOCK_EX | LOCK_NB) || local_lives(dir, id))
		return true;
	state_remove(dir, id);
	return false;
}

int state_list(int dir, struct state **ret, size_t *ret_n)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct state *v = NULL;
	size_t n = 0, cap = 0;
	struct dirent *e;

	if (!d)
		return warn_errno(-errno, "read the directory of run-time state");
	while ((e = readdir(d))) {
		size_t len = strlen(e->d_name);
		char id[STATE_ID_MAX];

		if (len <= 5 || len - 5 >= sizeof id || strcmp(e->d_name + len - 5, ".json"))
			continue;
		snprintf(id, sizeof id, "%.*s", (int)(len - 5), e->d_name);
		if (!alive(dir, id))
			continue;
		v = xgrow(v, &cap, n + 1, sizeof *v);
		if (!state_load(dir, id, &v[n]))
			n++;
	}
	closedir(d);
	*ret = v;
	*ret_n = n;
	return 0;
}

void state_forget_device(int dir, uint32_t major, uint32_t minor, const char *id)
{
	struct state *v;
	size_t n;

	if (state_list(dir, &v, &n))
		return;
	for (size_t i = 0; i < n; i++) {
		if (v[i].local && v[i].major == major && v[i].minor == minor && strcmp(v[i].id, id))
			state_remove(dir, v[i].id);
		state_fini(&v[i]);
	}
	free(v);
}

void state_clean(void)
{
	cleanup_fd int dir = state_dir();
	struct state *v;
	size_t n;

	if (dir < 0 || state_list(dir, &v, &n))
		return;
	for (size_t i = 0; i < n; i++)
		state_fini(&v[i]);
	free(v);
}

// ---- sockets ----

// By way of /proc, because a socket's path may have 107 bytes only.
static void socket_address(int dir, const char *id, struct sockaddr_un *a)
{
	*a = (struct sockaddr_un){ .sun_family = AF_UNIX };
	snprintf(a->sun_path, sizeof a->sun_path, "/proc/self/fd/%d/%s.sock", dir, id);
}

int state_connect(int dir, const char *id)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;

	socket_address(dir, id, &a);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a))
		return -errno;
	return steal_fd(&fd);
}

int state_listen(int dir, const char *id)
{
	cleanup_fd int fd = socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0);
	struct sockaddr_un a;
	mode_t mask;
	int r;

	if (fd < 0)
		return -errno;
	socket_address(dir, id, &a);
	unlink(a.sun_path);
	mask = umask(0177);
	r = bind(fd, (struct sockaddr *)&a, sizeof a) || listen(fd, BACKLOG) ? -errno : 0;
	umask(mask);
	return r ? r : steal_fd(&fd);
}

int state_ask(int dir, const char *id, enum ctl_verb verb, int fd, int wait_ms, struct ctl *ret)
{
	cleanup_fd int sock = state_connect(dir, id), got = -1;
	int r;

	if (sock < 0)
		return sock;
	r = ctl_send(sock, (struct ctl){ .verb = verb }, fd);
	if (!r)
		r = ctl_recv(sock, wait_ms, ret, &got);
	return r ? r : ret->result;
}
