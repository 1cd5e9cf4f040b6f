// kept.c - what the store knows of accelerated forms
// SPDX-License-Identifier: Apache-2.0
#include "kept.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "json.h"
#include "log.h"

#define KEPT_MAX 4096u // bytes of such a file

static void path_of(const struct digest *d, const char *suffix, char out[static 96])
{
	char hex[65];

	snprintf(out, 96, "accel/%s%s", digest_hex(d, hex), suffix);
}

void kept_fini(struct kept *k)
{
	free(k->why);
	*k = (struct kept){ 0 };
}

int kept_read(struct store *s, const struct digest *original, struct kept *ret)
{
	cleanup_json yyjson_doc *doc = NULL;
	cleanup_free char *text = NULL;
	struct kept k = { 0 };
	const char *form, *why;
	char path[96];
	size_t n;

	path_of(original, "", path);
	if (read_file_at(s->fd, path, KEPT_MAX, &text, &n) || json_parse(text, n, NULL, &doc))
		return -ENOENT;
	k.here = json_bool(json_root(doc), "here", false);
	k.pushed = json_bool(json_root(doc), "pushed", false);
	form = json_str(json_root(doc), "form");
	why = json_str(json_root(doc), "why");
	if (json_i64(json_root(doc), "when", &k.when) ||
		((k.here || k.pushed) && (!form || digest_parse(form, &k.form))))
		return -ENOENT;
	k.why = xstrdup(why ? why : "");
	*ret = k;
	return 0;
}

int kept_write(struct store *s, const struct digest *original, const struct kept *k)
{
	cleanup_buf struct buf b = { 0 };
	char path[96], form[DIGEST_STR_LEN];
	int r;

	path_of(original, "", path);
	json_open(&b, NULL, '{');
	json_put_str(&b, "form", k->here || k->pushed ? digest_str(&k->form, form) : NULL);
	json_put_bool(&b, "here", k->here);
	json_put_bool(&b, "pushed", k->pushed);
	json_put_str(&b, "why", k->why);
	json_put_i64(&b, "when", k->when);
	json_close(&b, '}');
	r = write_file_at(s->fd, path, b.data, b.len, 0600);
	return r ? warn_errno(r, "write %s in the store %s", path, log_quote(s->path)) : 0;
}

void kept_forget(struct store *s, const struct digest *original)
{
	char path[96];

	path_of(original, "", path);
	unlinkat(s->fd, path, 0);
}

int kept_lock(struct store *s, const struct digest *original)
{
	cleanup_fd int fd = -1;
	char path[96];
	int r;

	path_of(original, ".lock", path);
	fd = openat(s->fd, path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return warn_errno(-errno, "open %s in the store %s", path, log_quote(s->path));
	if (!flock(fd, LOCK_EX | LOCK_NB))
		return steal_fd(&fd);
	r = -errno;
	return r == -EWOULDBLOCK
		? r
		: warn_errno(r, "lock %s in the store %s", path, log_quote(s->path));
}

int kept_trace(struct store *s, const struct digest *original)
{
	char path[96];
	int fd;

	path_of(original, ".trace", path);
	fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}

void kept_set_trace(struct store *s, const struct digest *original, const void *p, size_t n)
{
	char path[96];
	int r;

	path_of(original, ".trace", path);
	r = write_file_at(s->fd, path, p, n, 0600);
	if (r)
		debug("write %s in the store: %s", path, strerror(-r));
}

char *kept_bad(struct store *s, const struct digest *form)
{
	char path[96], *text;
	size_t n;

	path_of(form, KEPT_BAD, path);
	if (read_file_at(s->fd, path, KEPT_MAX, &text, &n))
		return NULL;
	text[strcspn(text, "\n")] = 0;
	return text;
}

void kept_set_bad(struct store *s, const struct digest *form, const char *why)
{
	char path[96];
	int r;

	path_of(form, KEPT_BAD, path);
	r = write_file_at(s->fd, path, why, MIN(strlen(why), (size_t)KEPT_MAX - 1), 0600);
	if (r)
		debug("write %s in the store: %s", path, strerror(-r));
}

void kept_clear_bad(struct store *s, const struct digest *form)
{
	char path[96];

	path_of(form, KEPT_BAD, path);
	unlinkat(s->fd, path, 0);
}

int kept_blob(struct store *s, const struct digest *blob)
{
	char path[96], hex[65];
	int fd;

	snprintf(path, sizeof path, "blobs/sha256/%s", digest_hex(blob, hex));
	fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
	return fd < 0 ? -errno : fd;
}
