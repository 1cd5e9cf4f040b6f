// fuzz_mountopt.c - mount's -o: what fstab and mount(8) hand on
// SPDX-License-Identifier: Apache-2.0
//
// The input is a byte, whose lowest bit says that mount(8) has called, and the list.
#include "../../mount.c"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

// What mount.c takes from the program.
struct image_opts image_opts;

int image_opts_finish(void)
{
	return 0;
}

static const unsigned attrs = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC;

// What was taken is what serve_image() knows, and nothing is both set and cleared.
static void check(const struct serve_conf *c)
{
	if ((c->attrs_set | c->attrs_clear) & ~attrs || c->attrs_set & c->attrs_clear)
		abort();
	if (c->driver && driver_find(c->driver)->name != c->driver)
		abort();
}

static bool taken(const char *list, struct serve_conf *ret)
{
	*ret = (struct serve_conf){ 0 };
	return !take_mount_options(list, ret);
}

// A list is taken when each of its words is; the last ones decide.
static void by_word(const char *list, const struct serve_conf *whole, bool good)
{
	cleanup_free char *copy = xstrdup(list);
	struct serve_conf sum = { 0 };
	bool all = true;
	char *save = NULL;

	for (char *w = strtok_r(copy, ",", &save); w && all; w = strtok_r(NULL, ",", &save)) {
		struct serve_conf c;

		all = taken(w, &c);
		sum.attrs_set = (sum.attrs_set & ~c.attrs_clear) | c.attrs_set;
		sum.attrs_clear = (sum.attrs_clear & ~c.attrs_set) | c.attrs_clear;
		sum.driver = c.driver ? c.driver : sum.driver;
	}
	if (all != good)
		abort();
	if (good &&
		(sum.attrs_set != whole->attrs_set || sum.attrs_clear != whole->attrs_clear ||
			sum.driver != whole->driver))
		abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct serve_conf conf;

	log_level = LOG_QUIET;
	if (size) {
		cleanup_free char *list = xstrndup((const char *)data + 1, size - 1);
		bool good;

		mount_is_helper = *data & 1;
		good = taken(list, &conf);
		check(&conf);
		by_word(list, &conf, good);
	}
	return 0;
}
