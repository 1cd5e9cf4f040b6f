// replay_main.c - runs a fuzz target over kept inputs: files, and the files of directories
// SPDX-License-Identifier: Apache-2.0
#include "base.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static unsigned count, failed;

static void replay_file(const char *path)
{
	cleanup_free char *p = NULL;
	size_t n;
	int r = read_file_at(AT_FDCWD, path, 64u << 20, &p, &n);

	if (r) {
		fprintf(stderr, "%s: %s\n", path, strerror(-r));
		failed++;
		return;
	}
	LLVMFuzzerTestOneInput((const uint8_t *)p, n);
	count++;
}

static void replay_dir(const char *path)
{
	DIR *d = opendir(path);

	if (!d) {
		perror(path);
		failed++;
		return;
	}
	for (struct dirent *e; (e = readdir(d));) {
		cleanup_free char *child = xasprintf("%s/%s", path, e->d_name);

		if (e->d_name[0] != '.')
			replay_file(child);
	}
	closedir(d);
}

int main(int argc, char **argv)
{
	for (int i = 1; i < argc; i++) {
		struct stat st;

		if (!stat(argv[i], &st) && S_ISDIR(st.st_mode))
			replay_dir(argv[i]);
		else
			replay_file(argv[i]);
	}
	printf("%s: %u inputs replayed\n", argv[0], count);
	return failed != 0;
}
