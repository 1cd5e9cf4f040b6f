// said.h - catches what the code under test logs
// SPDX-License-Identifier: Apache-2.0
#ifndef SAID_H
#define SAID_H

#include <stdbool.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static int said_fd = -1, said_stderr = -1;

// From here on standard error is caught; what was caught before is forgotten.
static void said_begin(void)
{
	if (said_fd < 0) {
		said_fd = memfd_create("said", MFD_CLOEXEC);
		said_stderr = dup(STDERR_FILENO);
	}
	if (ftruncate(said_fd, 0) || lseek(said_fd, 0, SEEK_SET) < 0 ||
		dup2(said_fd, STDERR_FILENO) < 0)
		abort();
}

// Ends that; returns the text.
static const char *said_end(void)
{
	static char text[8192];
	ssize_t n = pread(said_fd, text, sizeof text - 1, 0);

	if (dup2(said_stderr, STDERR_FILENO) < 0)
		abort();
	text[n > 0 ? n : 0] = 0;
	return text;
}

#endif
