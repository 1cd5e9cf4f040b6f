// filemark.h - has a file that was read before been changed?
// SPDX-License-Identifier: Apache-2.0
#ifndef FILEMARK_H
#define FILEMARK_H

#include <sys/stat.h>

#include "base.h"

struct filemark {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec written, changed;
};

// Notes how PATH is now; links are followed, so that a link that is turned to another file counts as a
// change. Is it another than was noted? To be called before the file is read. A file that is not there
// is one with all zeros. path NULL: never another.
static inline bool filemark_take(struct filemark *m, const char *path)
{
	struct filemark is = { 0 };
	struct stat st;
	bool differs;

	if (!path)
		return false;
	if (!stat(path, &st)) {
		is.dev = st.st_dev;
		is.ino = st.st_ino;
		is.size = st.st_size;
		is.written = st.st_mtim;
		is.changed = st.st_ctim;
	}
	differs = is.dev != m->dev || is.ino != m->ino || is.size != m->size ||
		is.written.tv_sec != m->written.tv_sec ||
		is.written.tv_nsec != m->written.tv_nsec ||
		is.changed.tv_sec != m->changed.tv_sec || is.changed.tv_nsec != m->changed.tv_nsec;
	*m = is;
	return differs;
}

#endif
