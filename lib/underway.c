// underway.c - which images this host accelerates in the background right now
// SPDX-License-Identifier: Apache-2.0
#include "underway.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <time.h>

#include "json.h"
#include "log.h"

void underway_say(int lock, const char *image, pid_t pid, const char *step)
{
	cleanup_buf struct buf b = { 0 };

	json_open(&b, NULL, '{');
	json_put_str(&b, "image", image);
	json_put_str(&b, "step", step);
	json_put_i64(&b, "pid", pid);
	json_put_i64(&b, "since", time(NULL));
	json_close(&b, '}');
	if (ftruncate(lock, 0) || pwrite(lock, b.data, b.len, 0) < 0)
		debug("%s: nobody is told that it %s", image, step);
}

// Is it held? One that was left by the dead is not even touched, so that whoever wants it just now gets it.
static bool is_held(int fd, pid_t pid)
{
	if (kill(pid, 0) && errno == ESRCH)
		return false;
	if (flock(fd, LOCK_SH | LOCK_NB))
		return errno == EWOULDBLOCK;
	flock(fd, LOCK_UN);
	return false;
}

static bool read_one(int dir, const char *name, struct underway *ret)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	cleanup_fd int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	const char *image, *step;
	int64_t pid, since;
	yyjson_val *v;
	size_t n;

	if (fd < 0 || read_file_at(dir, name, UNDERWAY_TEXT_MAX, &text, &n) ||
		json_parse(text, n, NULL, &doc))
		return false;
	v = json_root(doc);
	image = json_str(v, "image");
	step = json_str(v, "step");
	if (!image || !step || json_i64(v, "pid", &pid) || pid <= 0 || pid > INT32_MAX ||
		json_i64(v, "since", &since) || !is_held(fd, (pid_t)pid))
		return false;
	*ret = (struct underway){ .image = xstrdup(image), .pid = (pid_t)pid, .since = since };
	snprintf(ret->step, sizeof ret->step, "%s", step);
	return true;
}

static bool is_lock(const char *name)
{
	size_t n = strlen(name);

	return n > 5 && !strcmp(name + n - 5, ".lock");
}

int underway_list(const char *store, struct underway **ret, size_t *ret_n)
{
	cleanup_free char *path = xasprintf("%s/accel", store);
	struct underway *v = NULL;
	size_t n = 0, cap = 0;
	DIR *d = opendir(path);
	struct dirent *e;

	if (!d && errno != ENOENT)
		return warn_errno(-errno, "read %s", log_quote(path));
	while (d && (e = readdir(d))) {
		v = xgrow(v, &cap, n + 1, sizeof *v);
		if (is_lock(e->d_name) && read_one(dirfd(d), e->d_name, &v[n]))
			n++;
	}
	if (d)
		closedir(d);
	*ret = v;
	*ret_n = n;
	return 0;
}

void underway_free(struct underway *v, size_t n)
{
	for (size_t i = 0; i < n; i++)
		free(v[i].image);
	free(v);
}
