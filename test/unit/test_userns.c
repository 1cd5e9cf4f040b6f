// test_userns.c - what ids a user has by /etc/subuid: each line that counts, each that does not, each
// limit at -1, 0 and +1
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/userns.c"

#include "tap.h"

static char path[] = "/tmp/test_userns.XXXXXX";

static struct id_range look(const char *text, size_t n)
{
	if (write_file_at(AT_FDCWD, path, text, n, 0600))
		abort();
	return find_range(path, "me", 1000);
}

// The range that the user `me` (1000) gets from a file; count 0: none.
static void gives(const char *what, const char *text, uint64_t first, uint64_t count)
{
	struct id_range r = look(text, strlen(text));

	ok(r.count == count && (!count || r.first == first), "%s: %ju from %ju", what,
		(uintmax_t)r.count, (uintmax_t)r.first);
}

static void test_lines(void)
{
	gives("by name", "me:100000:65536\n", 100000, 65536);
	gives("by number", "1000:100000:65536\n", 100000, 65536);
	gives("without a newline", "me:100000:65536", 100000, 65536);
	gives("the first of two", "me:100000:1\nme:200000:2\n", 100000, 1);
	gives("after others", "root:1:2\nyou:3:4\n10001:5:6\nme:7:8\n", 7, 8);
	gives("nobody's", "you:1:2\n", 0, 0);
	gives("names that begin so", "mee:1:2\nm:1:2\n", 0, 0);
	gives("numbers that begin so", "10000:1:2\n100:1:2\n", 0, 0);
	gives("an empty file", "", 0, 0);
	gives("empty lines", "\n\n\nme:7:8\n\n", 7, 8);
	gives("a bad line before a good one", "me:x:1\nme:5\nme\nme:7:8\n", 7, 8);
	gives("words after the number", "me:7:8:9\n", 0, 0);
	gives("a letter after the number", "me:7:8x\n", 0, 0);
	gives("a letter after the first number", "me:7x:8\n", 0, 0);
	gives("no first", "me::8\n", 0, 0);
	gives("no count", "me:7:\n", 0, 0);
	gives("colons", ":::\n::\n", 0, 0);
}

static void test_limits(void)
{
	gives("count 0", "me:100000:0\n", 0, 0);
	gives("count 1", "me:100000:1\n", 100000, 1);
	gives("from 0: the host's root is never given", "me:0:10\n", 0, 0);
	gives("from 1", "me:1:10\n", 1, 10);
	gives("to 2^32 - 2", "me:4294967285:9\n", 4294967285, 9);
	gives("to 2^32 - 1, which is no id", "me:4294967285:10\n", 4294967285, 10);
	gives("to 2^32", "me:4294967285:11\n", 0, 0);
	gives("from 2^32 - 1", "me:4294967295:1\n", 0, 0);
	gives("from 2^32", "me:4294967296:1\n", 0, 0);
	gives("a sum beyond 2^64", "me:100:18446744073709551615\n", 0, 0);
	gives("beyond 2^64", "me:18446744073709551617:1\n", 0, 0);
	gives("a negative one", "me:-1:1\n", 0, 0);
	gives("a negative count", "me:100:-1\n", 0, 0);
}

static void test_files(void)
{
	size_t n = SUBID_FILE_MAX + 1;
	cleanup_free char *big = xmalloc(n);
	struct id_range r;

	memset(big, '\n', n);
	memcpy(big, "me:7:8", 6);
	r = look(big, SUBID_FILE_MAX);
	ok(r.count == 8, "a file of 4 MiB");
	r = look(big, n);
	ok(!r.count, "one byte more is none");
	r = look("me:7:8\0\n", 8);
	ok(r.count == 8, "a NUL ends the text");
	unlink(path);
	r = find_range(path, "me", 1000);
	ok(!r.count, "no file");
	if (mkdir(path, 0700))
		abort();
	r = find_range(path, "me", 1000);
	ok(!r.count, "a directory");
	rmdir(path);
	if (write_file_at(AT_FDCWD, path, "me:1:2\n1000:7:8\n", 16, 0600))
		abort();
	r = find_range(path, NULL, 1000);
	ok(r.first == 7 && r.count == 8, "a user without a name is found by number only");
	r = find_range(path, NULL, 4294967294u);
	ok(!r.count, "... and another is not");
}

int main(void)
{
	int fd = mkstemp(path);

	if (fd < 0)
		abort();
	close(fd);
	test_lines();
	test_limits();
	test_files();
	unlink(path);
	return tap_end();
}
