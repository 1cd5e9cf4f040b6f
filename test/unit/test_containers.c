// test_containers.c - the records of containers: damaged, cut short, foreign; who is found by what
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/containers.c"

#include <sys/wait.h>

#include "said.h"
#include "tap.h"

static char scratch[] = "/tmp/test_containers.XXXXXX";

static struct container sample(const char *name)
{
	struct container c = {
		.name = xstrdup(name),
		.image = xstrdup("registry.example/a:1"),
		.command = xstrdup("sh -c \"x\n\""),
		.detached = true,
		.keep = true,
		.running = true,
		.monitor = getpid(),
		.init = 1,
		.payload = 2,
		.exit_code = 3,
		.stop_signal = 15,
		.stop_timeout = 10,
		.user = xstrdup("u"),
		.cwd = xstrdup("/"),
		.net_host = true,
		.caps_add = UINT64_MAX,
	};

	c.env = xcalloc(2, sizeof *c.env);
	c.env[0] = xstrdup("A=\x01 b");
	return c;
}

// A record that nobody holds, of what is given. Its file is ID.json.
static void put(int dir, const char *id, const void *p, size_t n)
{
	cleanup_free char *name = xasprintf("%s.json", id);

	if (write_file_at(dir, name, p, n, 0600))
		abort();
}

static bool is_there(int dir, const char *name)
{
	return !faccessat(dir, name, F_OK, AT_SYMLINK_NOFOLLOW);
}

static size_t count(int dir)
{
	struct container *v;
	size_t n;

	if (containers_list(dir, &v, &n))
		return SIZE_MAX;
	containers_free(v, n);
	return n;
}

#define ID "0123456789ab"

static void test_round(int dir)
{
	struct container c = sample("round"), got;
	cleanup_buf struct buf b = { 0 };

	put_record(&b, &c);
	put(dir, ID, b.data, b.len);
	ok(!look_at(dir, ID, &got), "a record is read");
	ok(!strcmp(got.id, ID) && !strcmp(got.name, "round") &&
			!strcmp(got.command, "sh -c \"x\n\"") && !strcmp(got.env[0], "A=\x01 b") &&
			!got.env[1] && got.init == 1 && got.payload == 2 && got.keep &&
			got.net_host && !got.no_seccomp && got.caps_add == UINT64_MAX &&
			!got.hostname,
		"... as it was");
	ok(!got.running && got.exit_code == 137,
		"... but for what the dead could not write: it was killed");
	container_fini(&got);

	c.running = false;
	b.len = 0;
	put_record(&b, &c);
	put(dir, ID, b.data, b.len);
	ok(!look_at(dir, ID, &got) && got.exit_code == 3, "one that has ended keeps its exit code");
	container_fini(&got);
	container_remove(dir, ID);
	container_fini(&c);
}

// Each is as if it were not there, and is gone afterwards.
static void test_damaged(int dir)
{
	struct container c = sample("damaged"), got;
	cleanup_buf struct buf b = { 0 }, cut = { 0 };
	unsigned taken = 0, left = 0;
	char *at;

	put_record(&b, &c);
	for (size_t n = 0; n < b.len; n++) {
		put(dir, ID, b.data, n);
		if (!look_at(dir, ID, &got)) {
			container_fini(&got);
			taken++;
		}
		left += is_there(dir, ID ".json");
	}
	ok(!taken && !left, "cut at each of %zu bytes: %u are taken, %u stay", b.len, taken, left);

	static const struct {
		const char *what, *from, *to;
	} changes[] = {
		{ "another version", "\"version\":1", "\"version\":2" },
		{ "a negative signal", "\"stop_signal\":15", "\"stop_signal\":-5" },
		{ "a number that is text", "\"payload\":2", "\"payload\":x" },
		{ "a number that is missing", "\"payload\"", "\"payloaD\"" },
		{ "an exit code that is missing", "\"exit_code\"", "\"exit_codE\"" },
		{ "no name", "\"name\"", "\"namE\"" },
		{ "no image", "\"image\"", "\"imagE\"" },
		{ "no command", "\"command\"", "\"commanD\"" },
		{ "never started", "\"init\":1", "\"init\":0" },
		{ "not to be kept", "\"keep\":true", "\"keep\":null" },
	};
	for (size_t i = 0; i < ARRAY_LEN(changes); i++) {
		cut.len = 0;
		buf_add(&cut, b.data, b.len);
		buf_add(&cut, "", 1);
		at = strstr((char *)cut.data, changes[i].from);
		if (!at)
			abort();
		memcpy(at, changes[i].to, strlen(changes[i].to));
		put(dir, ID, cut.data, b.len);
		ok(look_at(dir, ID, &got) == -ENOENT && !is_there(dir, ID ".json"), "%s",
			changes[i].what);
	}
	put(dir, ID, "null\n", 5);
	ok(look_at(dir, ID, &got) == -ENOENT, "JSON that is no object");
	put(dir, ID, "[]\n", 3);
	ok(look_at(dir, ID, &got) == -ENOENT, "a list");
	container_fini(&c);
}

static void test_limit(int dir)
{
	cleanup_free char *big = xmalloc(RECORD_MAX + 2);
	struct container c = sample("limit"), got;
	cleanup_buf struct buf b = { 0 };

	put_record(&b, &c);
	memset(big, ' ', RECORD_MAX + 1);
	memcpy(big, b.data, b.len - 1);
	for (size_t n = RECORD_MAX - 1; n <= RECORD_MAX + 1; n++) {
		big[n - 1] = '\n';
		put(dir, ID, big, n);
		big[n - 1] = ' ';
		int r = look_at(dir, ID, &got);

		ok(r == (n > RECORD_MAX ? -ENOENT : 0), "a record of %zu bytes", n);
		if (!r)
			container_fini(&got);
	}
	container_remove(dir, ID);
	container_fini(&c);
}

// What is not ours stays, and nobody falls over it.
static void test_foreign(int dir)
{
	struct container got;

	put(dir, "short", "{}\n", 3);
	put(dir, "0123456789abc", "{}\n", 3);
	if (symlinkat("/etc/passwd", dir, ID ".json") || mkdirat(dir, "aaaaaaaaaaaa.json", 0700) ||
		write_file_at(dir, "bbbbbbbbbbbb.text", "", 0, 0600))
		abort();
	ok(!count(dir), "files of others are no containers");
	ok(is_there(dir, "short.json") && is_there(dir, "0123456789abc.json") &&
			is_there(dir, ID ".json") && is_there(dir, "aaaaaaaaaaaa.json") &&
			is_there(dir, "bbbbbbbbbbbb.text"),
		"... and stay");
	said_begin();
	int r = container_find(dir, ID, &got);
	const char *said = said_end();
	ok(r == -ENOENT && strstr(said, ID), "a link to a file is not followed");
	unlinkat(dir, "short.json", 0);
	unlinkat(dir, "0123456789abc.json", 0);
	unlinkat(dir, ID ".json", 0);
	unlinkat(dir, "aaaaaaaaaaaa.json", AT_REMOVEDIR);
	unlinkat(dir, "bbbbbbbbbbbb.text", 0);
}

static void test_find(int dir)
{
	struct container a = sample("one"), b = sample("two"), other = sample("one"), got;
	int la = container_new(dir, &a), lb = container_new(dir, &b);
	char begin[CONTAINER_ID_LEN + 1];

	ok(la >= 0 && lb >= 0 && strlen(a.id) == CONTAINER_ID_LEN, "two are made");
	ok(!container_save(la, &a) && !container_save(lb, &b), "... and written");
	ok(count(dir) == 2, "... and listed");
	said_begin();
	int r = container_new(dir, &other);
	const char *said = said_end();
	ok(r == -EEXIST && strstr(said, "one"), "the name is taken");
	ok(!container_find(dir, "two", &got) && !strcmp(got.id, b.id), "by name");
	ok(got.running, "one whose process lives is running");
	container_fini(&got);
	ok(!container_find(dir, a.id, &got) && !strcmp(got.name, "one"), "by id");
	container_fini(&got);
	size_t n = strspn(a.id, b.id) ? CONTAINER_ID_LEN - 1 : 1;
	snprintf(begin, sizeof begin, "%.*s", (int)n, a.id);
	ok(!container_find(dir, begin, &got) && !strcmp(got.name, "one"), "by its beginning");
	container_fini(&got);
	said_begin();
	r = container_find(dir, "three", &got);
	said = said_end();
	ok(r == -ENOENT && strstr(said, "three"), "one that is not there");
	ok(container_wait(dir, &b, 20) == -ETIMEDOUT, "one that lives is waited for in vain");
	container_remove(dir, a.id);
	container_remove(dir, b.id);
	close(la);
	close(lb);
	container_fini(&a);
	container_fini(&b);
	container_fini(&other);
}

int main(void)
{
	if (!mkdtemp(scratch) || setenv("FCPULL_RUN", scratch, 1))
		abort();
	cleanup_free char *place = xasprintf("%s/" DIRECTORY, scratch);
	int dir = containers_dir();

	if (ok(dir >= 0, "the directory is made")) {
		// the directory goes with what is in it
		if (write_file_at(dir, "stays", "", 0, 0600))
			abort();
		test_round(dir);
		test_damaged(dir);
		test_limit(dir);
		test_foreign(dir);
		test_find(dir);
		unlinkat(dir, "stays", 0);
		containers_tidy();
		ok(!is_there(AT_FDCWD, place), "the directory goes with the last record");
		close(dir);
	}
	if (remove_tree_at(AT_FDCWD, scratch))
		abort();
	return tap_end();
}
