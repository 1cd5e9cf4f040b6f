// fuzz_boxopt.c - the words of run's options: volumes, mounts, tmpfs, security, limits, signals, names
// SPDX-License-Identifier: Apache-2.0
//
// The input is a letter that chooses the option, and its value.
#include "boxopt.h"
#include "log.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// A bind that was taken is one that box.h describes.
static void check_bind(const struct box_bind *b)
{
	if (!b->dst || *b->dst != '/' || (b->src && *b->src != '/'))
		abort();
}

static void take(char which, char *s)
{
	struct box_bind bind = { 0 };
	struct box box = { 0 };
	uint64_t n;
	int number;

	switch (which) {
	case 'v':
		if (!boxopt_volume(s, &bind))
			check_bind(&bind);
		break;
	case 'm':
		if (!boxopt_mount(s, &bind))
			check_bind(&bind);
		break;
	case 't':
		if (!boxopt_tmpfs(s, &bind) && (check_bind(&bind), bind.src || bind.mode > 07777))
			abort();
		break;
	case 's': (void)!boxopt_security(s, &box); break;
	case 'u': (void)!boxopt_user_ns(s, &box); break;
	case 'c':
		if (!boxopt_cpus(s, &n) && !n)
			abort();
		break;
	case 'p':
		if (!boxopt_pids(s, &n) && n > INT32_MAX)
			abort();
		break;
	case 'k':
		if (!boxopt_signal(s, &number) && (number < 1 || number > 64))
			abort();
		break;
	case 'n':
		if (!boxopt_name("--name", s) && (!*s || strlen(s) > 255 || strpbrk(s, "/ \n")))
			abort();
		break;
	default: break;
	}
	free((char *)(uintptr_t)bind.src);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	log_level = LOG_QUIET;
	if (size) {
		cleanup_free char *s = xstrndup((const char *)data + 1, size - 1);

		take((char)data[0], s);
	}
	return 0;
}
