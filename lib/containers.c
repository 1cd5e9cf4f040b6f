// containers.c - the record of each container
//
// A record is written whole, with a newline at its end; who finds none reads again: it is being
// written.
// SPDX-License-Identifier: Apache-2.0
#include "containers.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "json.h"
#include "log.h"
#include "state.h"

#define RECORD_VERSION 1
#define RECORD_MAX (4u << 20)
#define FILE_NAME_LEN (CONTAINER_ID_LEN + 8)
#define KILLED 137 // 128 + SIGKILL
#define POLL_US 10000

static void free_strings(char **v)
{
	for (char **s = v; s && *s; s++)
		free(*s);
	free(v);
}

void container_fini(struct container *c)
{
	char *const strings[] = { c->name, c->image, c->command, c->user, c->cwd, c->hostname };

	for (size_t i = 0; i < ARRAY_LEN(strings); i++)
		free(strings[i]);
	free_strings(c->env);
	free_strings(c->cgroups);
	*c = (struct container){ 0 };
}

void containers_free(struct container *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		container_fini(&v[i]);
	free(v);
}

static void file_name(const char *id, char out[static FILE_NAME_LEN])
{
	snprintf(out, FILE_NAME_LEN, "%s.json", id);
}

#define DIRECTORY "containers"

int containers_dir(void)
{
	cleanup_fd int state = state_dir();

	if (state < 0)
		return state;
	if (mkdirat(state, DIRECTORY, 0700) && errno != EEXIST)
		return warn_errno(-errno, "make the directory of containers");
	int fd = openat(state, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	return fd < 0 ? warn_errno(-errno, "open the directory of containers") : fd;
}

// (who is about to make a record holds the lock: container_new)
void containers_tidy(void)
{
	cleanup_fd int state = state_dir(), dir = -1;

	if (state >= 0)
		dir = openat(state, DIRECTORY, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir >= 0 && !flock(dir, LOCK_EX | LOCK_NB))
		unlinkat(state, DIRECTORY, AT_REMOVEDIR);
}

// ---- writing ----

static void put_strings(struct buf *b, const char *key, char *const *v)
{
	json_open(b, key, '[');
	for (; v && *v; v++)
		json_put_str(b, NULL, *v);
	json_close(b, ']');
}

static void put_record(struct buf *b, const struct container *c)
{
	json_open(b, NULL, '{');
	json_put_u64(b, "version", RECORD_VERSION);
	json_put_str(b, "name", c->name);
	json_put_str(b, "image", c->image);
	json_put_str(b, "command", c->command);
	json_put_bool(b, "detached", c->detached);
	json_put_bool(b, "keep", c->keep);
	json_put_bool(b, "running", c->running);
	json_put_i64(b, "monitor", c->monitor);
	json_put_i64(b, "init", c->init);
	json_put_i64(b, "payload", c->payload);
	json_put_u64(b, "created", c->created);
	json_put_u64(b, "finished", c->finished);
	json_put_i64(b, "exit_code", c->exit_code);
	json_put_i64(b, "stop_signal", c->stop_signal);
	json_put_u64(b, "stop_timeout", c->stop_timeout);
	json_put_str(b, "user", c->user);
	json_put_str(b, "cwd", c->cwd);
	json_put_str(b, "hostname", c->hostname);
	put_strings(b, "env", c->env);
	put_strings(b, "cgroups", c->cgroups);
	json_put_bool(b, "net_host", c->net_host);
	json_put_bool(b, "no_user_ns", c->no_user_ns);
	json_put_bool(b, "one_id", c->one_id);
	json_put_bool(b, "new_privs", c->new_privs);
	json_put_bool(b, "no_seccomp", c->no_seccomp);
	json_put_u64(b, "caps_add", c->caps_add);
	json_put_u64(b, "caps_drop", c->caps_drop);
	json_close(b, '}');
	buf_add(b, "\n", 1);
}

int container_save(int lock, const struct container *c)
{
	cleanup_buf struct buf b = { 0 };

	put_record(&b, c);
	if (b.len > RECORD_MAX)
		return warn_errno(-E2BIG, "the record of container %s", c->name);
	int r = ftruncate(lock, 0) ? -errno : pwrite_full(lock, b.data, b.len, 0);
	return r ? warn_errno(r, "write the record of container %s", c->name) : 0;
}

void container_remove(int dir, const char *id)
{
	char name[FILE_NAME_LEN];

	file_name(id, name);
	unlinkat(dir, name, 0);
	containers_tidy();
}

// ---- reading ----

static char *take_str(yyjson_val *o, const char *key)
{
	const char *s = json_str(o, key);

	return s ? xstrdup(s) : NULL;
}

static char **take_strings(yyjson_val *o, const char *key)
{
	yyjson_val *list = json_arr(o, key), *v;
	char **all = xcalloc(yyjson_arr_size(list) + 1, sizeof *all);
	yyjson_arr_iter it = yyjson_arr_iter_with(list);
	size_t n = 0;

	while ((v = yyjson_arr_iter_next(&it)))
		if (json_str_of(v))
			all[n++] = xstrdup(json_str_of(v));
	return all;
}

static int take_int(yyjson_val *o, const char *key, int *ret)
{
	int64_t v;

	if (json_i64(o, key, &v) || v < 0 || v > INT32_MAX)
		return -EBADMSG;
	*ret = (int)v;
	return 0;
}

static int take_record(yyjson_val *o, struct container *c)
{
	uint64_t version;

	if (json_u64(o, "version", &version) || version != RECORD_VERSION ||
		take_int(o, "monitor", &c->monitor) || take_int(o, "init", &c->init) ||
		take_int(o, "payload", &c->payload) || take_int(o, "exit_code", &c->exit_code) ||
		take_int(o, "stop_signal", &c->stop_signal) ||
		json_u64(o, "created", &c->created) || json_u64(o, "finished", &c->finished) ||
		json_u64(o, "stop_timeout", &c->stop_timeout) ||
		json_u64(o, "caps_add", &c->caps_add) || json_u64(o, "caps_drop", &c->caps_drop))
		return -EBADMSG;
	c->name = take_str(o, "name");
	c->image = take_str(o, "image");
	c->command = take_str(o, "command");
	c->user = take_str(o, "user");
	c->cwd = take_str(o, "cwd");
	c->hostname = take_str(o, "hostname");
	c->env = take_strings(o, "env");
	c->cgroups = take_strings(o, "cgroups");
	c->detached = json_bool(o, "detached", false);
	c->keep = json_bool(o, "keep", false);
	c->running = json_bool(o, "running", false);
	c->net_host = json_bool(o, "net_host", false);
	c->no_user_ns = json_bool(o, "no_user_ns", false);
	c->one_id = json_bool(o, "one_id", false);
	c->new_privs = json_bool(o, "new_privs", false);
	c->no_seccomp = json_bool(o, "no_seccomp", false);
	return c->name && c->image && c->command ? 0 : -EBADMSG;
}

// -ENODATA: not complete.
static int read_record(int fd, const char *id, struct container *ret)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	struct container c = { 0 };
	struct stat st;
	int r;

	if (fstat(fd, &st))
		return last_errno();
	if (st.st_size > RECORD_MAX)
		return -EBADMSG;
	text = xmalloc((size_t)st.st_size + 1);
	r = pread_full(fd, text, (size_t)st.st_size, 0);
	if (r || !st.st_size || text[st.st_size - 1] != '\n')
		return r ? r : -ENODATA;
	r = json_parse(text, (size_t)st.st_size, NULL, &doc);
	if (!r)
		r = take_record(json_root(doc), &c);
	if (r) {
		container_fini(&c);
		return r;
	}
	snprintf(c.id, sizeof c.id, "%s", id);
	*ret = c;
	return 0;
}

static int read_when_complete(int fd, const char *id, struct container *ret)
{
	int r;

	for (int i = 0; (r = read_record(fd, id, ret)) == -ENODATA && i < 100; i++)
		usleep(POLL_US / 10);
	return r;
}

// What is read from the record of a dead one.
static void correct(struct container *c)
{
	if (!c->running)
		return;
	c->running = false;
	c->exit_code = KILLED;
}

// One record. -ENOENT silent: it is gone, or was a dead one's and is removed.
static int look_at(int dir, const char *id, struct container *ret)
{
	char name[FILE_NAME_LEN];
	struct container c = { 0 };
	bool dead;
	int r;

	file_name(id, name);
	cleanup_fd int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -ENOENT;
	dead = !flock(fd, LOCK_SH | LOCK_NB);
	r = dead ? read_record(fd, id, &c) : read_when_complete(fd, id, &c);
	if (r && dead)
		container_remove(dir, id); // killed while it wrote
	if (r)
		return -ENOENT;
	if (dead)
		correct(&c);
	if (dead && (!c.keep || !c.init)) {
		container_remove(dir, id);
		container_fini(&c);
		return -ENOENT;
	}
	*ret = c;
	return 0;
}

static int by_age(const void *a, const void *b)
{
	const struct container *x = a, *y = b;

	if (x->created != y->created)
		return x->created < y->created ? -1 : 1;
	return strcmp(x->id, y->id);
}

int containers_list(int dir, struct container **ret, size_t *ret_n)
{
	DIR *d = fdopendir(openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
	struct container *v = NULL;
	size_t n = 0, cap = 0;
	struct dirent *e;

	if (!d)
		return warn_errno(-errno, "read the directory of containers");
	while ((e = readdir(d))) {
		char id[CONTAINER_ID_LEN + 1];

		if (strlen(e->d_name) != CONTAINER_ID_LEN + 5 ||
			strcmp(e->d_name + CONTAINER_ID_LEN, ".json"))
			continue;
		snprintf(id, sizeof id, "%.*s", CONTAINER_ID_LEN, e->d_name);
		v = xgrow(v, &cap, n + 1, sizeof *v);
		if (!look_at(dir, id, &v[n]))
			n++;
	}
	closedir(d);
	if (n)
		qsort(v, n, sizeof *v, by_age);
	*ret = v;
	*ret_n = n;
	return 0;
}

// ---- finding ----

static size_t match(const struct container *v, size_t n, const char *name, size_t *ret_at)
{
	size_t found = 0, len = strlen(name);

	for (size_t i = 0; i < n; i++)
		if (!strcmp(v[i].name, name) || !strcmp(v[i].id, name)) {
			*ret_at = i;
			return 1;
		}
	for (size_t i = 0; i < n && len; i++)
		if (!strncmp(v[i].id, name, len)) {
			*ret_at = i;
			found++;
		}
	return found;
}

int container_find(int dir, const char *name, struct container *ret)
{
	struct container *v;
	size_t n, at = 0, found;
	int r = containers_list(dir, &v, &n);

	if (r)
		return r;
	found = match(v, n, name, &at);
	if (found == 1) {
		*ret = v[at];
		v[at] = (struct container){ 0 };
	}
	containers_free(v, n);
	if (found == 1)
		return 0;
	return found ? warn_whole(-ENOTUNIQ, "several containers have an id that begins with %s",
			       log_quote(name))
		     : warn_whole(-ENOENT, "there is no container %s ('fcpull ps -a' lists them)",
			       log_quote(name));
}

int container_wait(int dir, struct container *c, int64_t ms)
{
	uint64_t end = now_ns() + (uint64_t)MAX(ms, 0) * 1000000u;
	char name[FILE_NAME_LEN], id[sizeof c->id];
	struct container ended;
	int r;

	file_name(c->id, name);
	cleanup_fd int fd = openat(dir, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd < 0)
		return -errno;
	while (flock(fd, LOCK_SH | (ms < 0 ? 0 : LOCK_NB))) {
		if (errno != EWOULDBLOCK && errno != EINTR)
			return -errno;
		if (ms >= 0 && now_ns() >= end)
			return -ETIMEDOUT;
		usleep(POLL_US);
	}
	// also of a record that its process has removed from the directory
	memcpy(id, c->id, sizeof id);
	r = read_record(fd, id, &ended);
	if (r)
		return r;
	correct(&ended);
	container_fini(c);
	*c = ended;
	return 0;
}

// ---- a new one ----

static int make_id(char out[static CONTAINER_ID_LEN + 1])
{
	unsigned char id[CONTAINER_ID_LEN / 2];

	if (getrandom(id, sizeof id, 0) != (ssize_t)sizeof id)
		return warn_errno(-EIO, "no random bytes for an id");
	for (size_t i = 0; i < sizeof id; i++)
		snprintf(out + 2 * i, 3, "%02x", id[i]);
	return 0;
}

static int check_name(int dir, const char *name)
{
	struct container *v;
	size_t n, at = 0;
	int r = containers_list(dir, &v, &n);

	if (r)
		return r;
	for (at = 0; at < n && strcmp(v[at].name, name) && strcmp(v[at].id, name); at++)
		;
	if (at < n)
		r = warn_whole(-EEXIST, "there is a container %s already%s", log_quote(name),
			v[at].running ? "" : "; it has ended ('fcpull rm' removes it)");
	containers_free(v, n);
	return r;
}

// The file is locked before it has a name that others look at.
static int make_file(int dir, const char *id)
{
	char name[FILE_NAME_LEN], hidden[FILE_NAME_LEN + 1];

	file_name(id, name);
	snprintf(hidden, sizeof hidden, ".%s", name);
	cleanup_fd int fd =
		openat(dir, hidden, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) || renameat(dir, hidden, dir, name))
		return warn_errno(-errno, "make the record of container %s", id);
	return steal_fd(&fd);
}

// Locks the directory, so that a name is not given twice and it is not removed; one that has been is
// made anew, in place of `dir`. A descriptor of its own, or -errno logged.
static int lock_dir(int dir)
{
	for (;;) {
		cleanup_fd int guard = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC),
			       now = -1;
		struct stat a, b;

		if (guard < 0 || flock(guard, LOCK_EX) || fstat(guard, &a))
			return warn_errno(last_errno(), "lock the directory of containers");
		now = containers_dir();
		if (now < 0)
			return now;
		if (!fstat(now, &b) && a.st_dev == b.st_dev && a.st_ino == b.st_ino)
			return steal_fd(&guard);
		if (dup3(now, dir, O_CLOEXEC) < 0)
			return warn_errno(last_errno(), "open the directory of containers");
	}
}

int container_new(int dir, struct container *c)
{
	cleanup_fd int guard = lock_dir(dir), lock = -1;
	int r = 0;

	if (guard < 0)
		return guard;
	if (c->name)
		r = check_name(dir, c->name);
	if (!r)
		r = make_id(c->id);
	if (r)
		return r;
	if (!c->name)
		c->name = xstrdup(c->id);
	c->created = (uint64_t)time(NULL);
	c->running = true;
	lock = make_file(dir, c->id);
	if (lock < 0)
		return lock;
	r = container_save(lock, c);
	if (r)
		container_remove(dir, c->id);
	return r ? r : steal_fd(&lock);
}
