// test_tarcat.c - archives of images: catalogues of tars that are odd or hostile, and docker's list
// SPDX-License-Identifier: Apache-2.0
#include "../../lib/tarcat.c"
#include "dockerar.h"

#include "said.h"
#include "tap.h"

#include <sys/mman.h>

// ---- a tar is made ----

static struct buf tar;

static void entry(char type, const char *name, const char *link, const void *p, size_t n)
{
	union tar_block b = { 0 };

	memcpy(b.h.name, name, MIN(strlen(name), sizeof b.h.name));
	if (link)
		memcpy(b.h.linkname, link, MIN(strlen(link), sizeof b.h.linkname));
	TARHEAD_PUT(b.h.mode, 0644);
	TARHEAD_PUT(b.h.size, n);
	b.h.type = type;
	tarhead_seal(&b);
	buf_add(&tar, &b, sizeof b);
	buf_add(&tar, p, n);
	buf_zero(&tar, -n & (TAR_BLOCK - 1));
}

static void file(const char *name, const char *text)
{
	entry('0', name, NULL, text, strlen(text));
}

static int to_fd(void)
{
	int fd = memfd_create("tar", MFD_CLOEXEC);

	if (fd < 0 || write_full(fd, tar.data, tar.len))
		abort();
	tar.len = 0;
	return fd;
}

// What looking `path` up in the tar gives: the text, or how it failed.
static void look(const char *path, bool follow, int want, const char *text, const char *words,
	const char *what)
{
	struct tarcat *c = NULL;
	uint64_t off = 0, size = 0;
	char got[64] = "";
	int fd = to_fd();

	said_begin();
	int r = tarcat_open(fd, "x", &c);

	if (r == 0)
		r = tarcat_find(c, path, follow, &off, &size);
	const char *said = said_end();

	if (r == 0 && (size >= sizeof got || pread_full(fd, got, size, off)))
		abort();
	ok(r == want && (r || !strcmp(got, text)) && (!words || strstr(said, words)) &&
			(words || !*said),
		"%s (%d %s%.*s)", what, r, got, (int)strcspn(said, "\n"), said);
	tarcat_free(c);
	close(fd);
}

static void test_lookups(void)
{
	file("./a/b", "one");
	file("c", "two");
	entry('5', "d", NULL, "", 0);
	look("a/b", false, 0, "one", NULL, "a name is canonical");
	file("c", "two");
	look("nosuch", false, -ENOENT, NULL, NULL, "what is not there");
	file("c", "two");
	entry('5', "d", NULL, "", 0);
	look("d", false, -ENOENT, NULL, NULL, "a directory is not listed");
	file("c", "one");
	file("c", "two");
	look("c", false, -EBADMSG, NULL, "twice", "a name twice");
	file("c", "one");
	file("./c", "one");
	look("c", false, -EBADMSG, NULL, "twice", "a name twice, spelt in two ways");
	file("a", "one");
	file("c", "two");
	file("c", "two");
	look("a", false, 0, "one", NULL, "a name twice, but not the one that is asked for");
	file("../x", "one");
	look("x", false, -EBADMSG, NULL, "'..'", "a name that leads out");
	file("/etc/passwd", "one");
	look("etc/passwd", false, 0, "one", NULL, "an absolute name is only a key");
	entry('3', "c", NULL, "", 0);
	look("c", false, -EBADMSG, NULL, "is no file", "a device");
}

static void test_links(void)
{
	file("x/layer.tar", "one");
	entry('2', "y/layer.tar", "../x/layer.tar", "", 0);
	look("y/layer.tar", true, 0, "one", NULL, "docker's link to another layer");
	file("x/layer.tar", "one");
	entry('2', "y/layer.tar", "../x/layer.tar", "", 0);
	look("y/layer.tar", false, -EBADMSG, NULL, "not followed", "the same where none may be");
	entry('2', "y", "/etc/passwd", "", 0);
	look("y", true, -EBADMSG, NULL, "what is not there", "a link to the host");
	entry('2', "y", "../../../../etc/passwd", "", 0);
	look("y", true, -EBADMSG, NULL, "what is not there", "a link that climbs");
	entry('2', "y", "y", "", 0);
	look("y", true, -EBADMSG, NULL, "not followed", "a link to itself");
	entry('2', "a", "b", "", 0);
	entry('2', "b", "a", "", 0);
	look("a", true, -EBADMSG, NULL, "not followed", "links in a circle");
	file("a", "one");
	entry('1', "b", "a", "", 0);
	look("b", false, 0, "one", NULL, "a hard link");
	entry('1', "b", "nosuch", "", 0);
	look("b", false, -EBADMSG, NULL, "what is not there", "a hard link to nothing");
	entry('1', "b", "b", "", 0);
	look("b", false, -EBADMSG, NULL, "not followed", "a hard link to itself");
	file("a", "one");
	file("a", "two");
	entry('1', "b", "a", "", 0);
	look("b", false, -EBADMSG, NULL, "twice", "a hard link to a name twice");
}

static void test_extensions(void)
{
	char name[300], want[300];

	memset(name, 'n', 200);
	snprintf(name + 200, 100, "/x");
	snprintf(want, sizeof want, "%s", name);
	entry('L', "././@LongLink", NULL, name, strlen(name) + 1);
	file("short", "one");
	look(want, false, 0, "one", NULL, "GNU's long name");
	entry('x', "pax", NULL, "17 path=pax/name\n", 17);
	file("short", "one");
	look("pax/name", false, 0, "one", NULL, "pax: a name");
	entry('x', "pax", NULL, "17 path=pax/name\n", 17);
	file("short", "one");
	file("next", "two");
	look("next", false, 0, "two", NULL, "pax: for one entry only");
	entry('x', "pax", NULL, "9 size=3\n", 9);
	entry('0', "a", NULL, "one", 3);
	memcpy(tar.data + 1024 + offsetof(struct tar_header, size), "00000000000", 11);
	tarhead_seal((union tar_block *)(void *)(tar.data + 1024));
	look("a", false, 0, "one", NULL, "pax: its size counts");
	entry('x', "pax", NULL, "9 size=x\n", 9);
	file("a", "one");
	look("a", false, -EBADMSG, NULL, "", "pax: nonsense");
	entry('x', "pax", NULL, "22 GNU.sparse.major=1\n", 22);
	file("a", "one");
	look("a", false, -EBADMSG, NULL, "sparse", "pax: a sparse file");
	entry('S', "a", NULL, "one", 3);
	look("a", false, -EBADMSG, NULL, "sparse", "GNU: a sparse file");
	for (unsigned i = 0; i < TAR_EXT_MAX; i++)
		entry('x', "pax", NULL, "11 a=12345\n", 11);
	file("a", "one");
	look("a", false, 0, "one", NULL, "as many extension headers as may be");
	for (unsigned i = 0; i < TAR_EXT_MAX + 1; i++)
		entry('x', "pax", NULL, "11 a=12345\n", 11);
	file("a", "one");
	look("a", false, -EBADMSG, NULL, "without end", "and one more");
}

static void test_damage(void)
{
	look("a", false, -EBADMSG, NULL, "no tar archive", "an empty file");
	buf_zero(&tar, 1024);
	look("a", false, -ENOENT, NULL, NULL, "an empty archive");
	buf_add(&tar, "not a tar archive", 17);
	buf_zero(&tar, 600);
	look("a", false, -EBADMSG, NULL, "no tar header", "no tar");
	file("a", "one");
	tar.data[0] = 'b';
	look("a", false, -EBADMSG, NULL, "damaged", "a checksum");
	file("a", "one");
	tar.len = 512 + 2;
	look("a", false, -EBADMSG, NULL, "truncated", "cut inside a file");
	file("a", "one");
	tar.len = 512 + 3;
	look("a", false, 0, "one", NULL, "cut inside the last padding");
	file("a", "one");
	file("b", "two");
	tar.len = 1024 + 100;
	look("a", false, -EBADMSG, NULL, "ends inside", "cut inside a header");
	file("a", "one");
	memcpy(tar.data + offsetof(struct tar_header, size), "77777777777", 11);
	tarhead_seal((union tar_block *)(void *)tar.data);
	look("a", false, -EBADMSG, NULL, "truncated", "a size beyond the file");
	file("a", "one");
	memset(tar.data + offsetof(struct tar_header, size), 0xff, 12);
	tarhead_seal((union tar_block *)(void *)tar.data);
	look("a", false, -EBADMSG, NULL, "no number", "a negative size");
	file("a", "one");
	memset(tar.data + offsetof(struct tar_header, size), 0x7f, 12);
	tar.data[offsetof(struct tar_header, size)] = 0x80;
	tarhead_seal((union tar_block *)(void *)tar.data);
	look("a", false, -EBADMSG, NULL, "", "a size of 2^90");
	file("a", "one");
	buf_zero(&tar, 512);
	file("b", "two");
	look("b", false, -ENOENT, NULL, NULL, "what stands behind the end is not there");
}

static void long_names(unsigned files, size_t len)
{
	char name[4001];

	for (size_t i = 0; i < len; i++)
		name[i] = i % 100 == 99 && i + 1 < len ? '/' : 'x';
	name[len] = 0;
	for (unsigned i = 0; i < files; i++) {
		entry('L', "././@LongLink", NULL, name, len + 1);
		file("short", "");
	}
}

// Bytes of names in the catalogue of the tar that has been made; r: how that was taken.
static size_t bytes_of_names(int *r)
{
	struct tarcat *c = NULL;
	int fd = to_fd();
	size_t n;

	said_begin();
	*r = tarcat_open(fd, "x", &c);
	said_end();
	n = *r ? 0 : c->names.len;
	tarcat_free(c);
	close(fd);
	return n;
}

static void test_limit_of_names(void)
{
	enum { LEN = 4000 };
	size_t one, each, n, last;
	int r;

	long_names(1, LEN);
	one = bytes_of_names(&r);
	long_names(2, LEN);
	each = bytes_of_names(&r) - one;
	n = (TARCAT_NAMES_MAX - (one - each)) / each - 1; // and a last one, of another length
	last = TARCAT_NAMES_MAX - (one - each) - n * each - (each - LEN);
	if (last > LEN) {
		last -= each;
		n++;
	}
	for (int d = -1; d <= 1; d++) {
		long_names((unsigned)n, LEN);
		long_names(1, (size_t)((int)last + d));
		size_t got = bytes_of_names(&r);

		ok(r == (d > 0 ? -EBADMSG : 0) && (r || got == TARCAT_NAMES_MAX + (size_t)d),
			"%u bytes of names: %d", TARCAT_NAMES_MAX + (unsigned)d, r);
	}
}

static void test_limits(void)
{
	for (int d = -1; d <= 1; d++) {
		struct tarcat *c = NULL;
		char name[24];

		for (unsigned i = 0; i < TARCAT_ENTRIES_MAX + (unsigned)d; i++) {
			snprintf(name, sizeof name, "%u", i);
			file(name, "");
		}
		int fd = to_fd();

		said_begin();
		int r = tarcat_open(fd, "x", &c);

		said_end();
		ok(r == (d > 0 ? -EBADMSG : 0), "%u entries: %d", TARCAT_ENTRIES_MAX + (unsigned)d,
			r);
		tarcat_free(c);
		close(fd);
	}
	struct tarcat *c = NULL;
	char *text;
	size_t n;

	file("a", "12345");
	int fd = to_fd();

	if (tarcat_open(fd, "x", &c))
		abort();
	ok(tarcat_read(c, "a", 4, &text, &n) == -EFBIG, "a file above the limit");
	ok(tarcat_read(c, "a", 5, &text, &n) == 0 && n == 5 && !strcmp(text, "12345"),
		"a file of just the limit");
	free(text);
	tarcat_free(c);
	close(fd);
}

// ---- docker's list ----

static void list(const char *text, const char *want, int r, const char *words)
{
	struct dockerar_item it = { 0 };

	said_begin();
	int got = dockerar_choose(text, strlen(text), want, "x", &it);
	const char *said = said_end();

	ok(got == r && (r ? strstr(said, words) != NULL : !strcmp(it.config, words)),
		"%s of %.80s (%d %.*s)", want ? want : "the only one", text, got,
		(int)strcspn(said, "\n"), said);
	dockerar_item_fini(&it);
}

static void test_list(void)
{
	static const char two[] =
		"[{\"Config\":\"a.json\",\"RepoTags\":[\"a:1\",\"h.x/b:2\"],\"Layers\":[\"l/layer.tar\"]},"
		"{\"Config\":\"b.json\",\"RepoTags\":null,\"Layers\":[]}]";

	list("[{\"Config\":\"a.json\",\"RepoTags\":null,\"Layers\":[\"./l//layer.tar\"]}]", NULL, 0,
		"a.json");
	list(two, NULL, -EINVAL, "say which image; there are 'docker.io/library/a:1', :@1");
	list(two, "docker.io/library/a:1", 0, "a.json");
	list(two, "h.x/b:2", 0, "a.json");
	list(two, "@1", 0, "b.json");
	list(two, "@2", -ENOENT, "no image '@2'");
	list(two, "h.x/b:3", -ENOENT, "no image 'h.x/b:3'");
	list("[{\"Config\":\"a\",\"RepoTags\":[\"a:1\"],\"Layers\":[]},{\"Config\":\"b\",\"RepoTags\":[\"a:1\"],"
	     "\"Layers\":[]}]",
		"docker.io/library/a:1", -EBADMSG, "to two images");
	list("[]", NULL, -EINVAL, "there are none");
	list("{}", NULL, -EBADMSG, "dir:");
	list("[5]", NULL, -EBADMSG, "without Config");
	list("[{\"Config\":\"../a\",\"Layers\":[]}]", NULL, -EBADMSG, "without Config");
	list("[{\"Config\":\"a\"}]", NULL, -EBADMSG, "without Config");
	list("[{\"Config\":\"a\",\"Layers\":[\"../../etc/shadow\"]}]", NULL, -EBADMSG, "no path");
	list("[{\"Config\":\"a\",\"Layers\":[7]}]", NULL, -EBADMSG, "no path");
	list("[{\"Config\":\"a\",\"Config\":\"b\",\"Layers\":[]}]", NULL, -EBADMSG, "");
	list("[", NULL, -EBADMSG, "manifest.json");
	for (int d = -1; d <= 1; d++) {
		struct buf cleanup_buf b = { 0 };

		buf_printf(&b, "[{\"Config\":\"a\",\"Layers\":[");
		for (int i = 0; i < DOCKERAR_LAYERS_MAX + d; i++)
			buf_printf(&b, "%s\"l%d\"", i ? "," : "", i);
		buf_printf(&b, "]}]");
		list(buf_str(&b), NULL, d > 0 ? -EBADMSG : 0, d > 0 ? "more than 512 layers" : "a");
		b.len = 0;
		for (int i = 0; i < DOCKERAR_IMAGES_MAX + d; i++)
			buf_printf(&b, "%s{\"Config\":\"a%d\",\"Layers\":[]}", i ? "," : "[", i);
		buf_printf(&b, "]");
		list(buf_str(&b), "@7", d > 0 ? -EBADMSG : 0, d > 0 ? "more than 1000" : "a7");
	}
}

int main(void)
{
	test_lookups();
	test_links();
	test_extensions();
	test_damage();
	test_limits();
	test_limit_of_names();
	test_list();
	buf_fini(&tar);
	return tap_end();
}
