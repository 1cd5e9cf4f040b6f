// stats.c - what a mount has cost so far
// SPDX-License-Identifier: Apache-2.0
#include "stats.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "log.h"

static void stats_path(const struct digest *index, char out[static 80])
{
	char hex[65];

	snprintf(out, 80, "stats/%s", digest_hex(index, hex));
}

int stats_create(struct store *s, const struct digest *index, struct stats **ret)
{
	char path[80], tmp[100];
	int r = 0;

	stats_path(index, path);
	snprintf(tmp, sizeof tmp, "%s.%d", path, (int)getpid());
	if (mkdirat(s->fd, "stats", 0700) && errno != EEXIST)
		return warn_errno(-errno, "make stats in the store %s", log_quote(s->path));
	cleanup_fd int fd =
		openat(s->fd, tmp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

	if (fd < 0)
		return warn_errno(-errno, "make %s in the store %s", tmp, log_quote(s->path));
	// a disk that fills up later must be no signal
	if (posix_fallocate(fd, 0, sizeof **ret) || renameat(s->fd, tmp, s->fd, path))
		r = -ENOSPC;
	struct stats *t =
		r ? MAP_FAILED : mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

	if (t == MAP_FAILED) {
		unlinkat(s->fd, tmp, 0);
		return warn_errno(
			r ? r : -errno, "make %s in the store %s", path, log_quote(s->path));
	}
	memcpy(t->magic, STATS_MAGIC, sizeof t->magic);
	*ret = t;
	return 0;
}

int stats_open(struct store *s, const struct digest *index, const struct stats **ret)
{
	char path[80];
	struct stat st;

	stats_path(index, path);
	cleanup_fd int fd = openat(s->fd, path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);

	if (fd < 0 || fstat(fd, &st))
		return -errno;
	if (st.st_size != sizeof **ret)
		return -EBADMSG;
	struct stats *t = mmap(NULL, sizeof *t, PROT_READ, MAP_SHARED, fd, 0);

	if (t == MAP_FAILED)
		return -errno;
	if (memcmp(t->magic, STATS_MAGIC, sizeof t->magic)) {
		stats_free(t);
		return -EBADMSG;
	}
	*ret = t;
	return 0;
}

void stats_free(const struct stats *t)
{
	if (t)
		munmap((void *)t, sizeof *t);
}

void stats_event(struct stats *t, const struct stats_event *e)
{
	uint64_t i = atomic_fetch_add(&t->events, 1);

	if (i < STATS_EVENTS)
		t->event[i] = *e;
}

size_t stats_events(const struct stats *t)
{
	return (size_t)MIN(t->events, (uint64_t)STATS_EVENTS);
}
