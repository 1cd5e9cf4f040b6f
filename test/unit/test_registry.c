// test_registry.c - registries, layouts, tokens: against test/registry.py and docker-registry
// SPDX-License-Identifier: Apache-2.0
//
// Without arguments it runs test/registry_test.py, which has the cases and prints TAP, and which
// calls this program again with one of the commands below. Results go to standard output as
// "NAME=VALUE", errors to standard error as fcpull prints them.
#include "http.h"
#include "layout.h"
#include "log.h"
#include "registry.h"
#include "sender.h"

#include <fcntl.h>
#include <pthread.h>
#include <sys/stat.h>

static struct net_opts net;

static struct repo *open_ref(const char *s, bool write, struct ref *ref)
{
	struct repo *r;

	if (ref_parse(s, ref) < 0 || repo_open(ref, &net, write, &r) < 0)
		exit(3);
	return r;
}

static struct desc parse_desc(const char *digest, const char *size)
{
	struct desc d;

	if (digest_parse(digest, &d.digest) < 0)
		exit(3);
	d.size = strtoull(size, NULL, 10);
	return d;
}

static int report(int r)
{
	struct net_stats s;

	net_stats_get(&s);
	printf("result=%d\nrequests=%llu\nbytes_in=%llu\nbytes_out=%llu\nretries=%llu\n", r,
		(unsigned long long)s.requests, (unsigned long long)s.bytes_in,
		(unsigned long long)s.bytes_out, (unsigned long long)s.retries);
	return 0;
}

static int cmd_manifest(char **a)
{
	struct ref ref;
	struct repo *r = open_ref(a[0], false, &ref);
	struct manifest m = { 0 };
	char str[DIGEST_STR_LEN];
	int e = repo_get_manifest(r, ref.digest ? ref.digest : ref.tag, &m);

	if (e == 0)
		printf("type=%s\ndigest=%s\nsize=%zu\n", m.media_type, digest_str(&m.digest, str),
			m.len);
	manifest_fini(&m);
	repo_close(r);
	ref_fini(&ref);
	return report(e);
}

// blob REF DIGEST SIZE [OFFSET [CHUNK]]: the sha256 of what comes
static int cmd_blob(char **a)
{
	static uint8_t buf[1 << 20];
	struct ref ref;
	struct repo *r = open_ref(a[0], false, &ref);
	struct desc d = parse_desc(a[1], a[2]);
	uint64_t off = a[3] ? strtoull(a[3], NULL, 10) : 0, total = 0;
	size_t chunk = a[3] && a[4] ? strtoull(a[4], NULL, 10) : sizeof buf;
	struct stream *s = NULL;
	struct sha256 sha;
	char str[DIGEST_STR_LEN];
	ssize_t e = repo_open_blob(r, &d, off, &s);

	sha256_init(&sha);
	while (e >= 0 && (e = stream_read(s, buf, chunk)) > 0) {
		sha256_update(&sha, buf, (size_t)e);
		total += (uint64_t)e;
	}
	struct digest got = sha256_final(&sha);

	printf("bytes=%llu\nsha=%s\n", (unsigned long long)total, digest_str(&got, str));
	stream_close(s);
	repo_close(r);
	ref_fini(&ref);
	return report((int)e);
}

struct range_job {
	struct repo *r;
	struct desc d;
	uint64_t off;
	size_t n;
	uint8_t *buf;
	int result;
};

static void *range_thread(void *arg)
{
	struct range_job *j = arg;

	j->result = repo_read_range(j->r, &j->d, j->off, j->buf, j->n);
	return NULL;
}

// ranges REF DIGEST SIZE THREADS OFF LEN [OFF LEN]...: THREADS at a time; the sha256 of all, one
// after another
static int cmd_ranges(char **a)
{
	struct ref ref;
	struct repo *r = open_ref(a[0], false, &ref);
	struct desc d = parse_desc(a[1], a[2]);
	size_t threads = strtoull(a[3], NULL, 10);
	char str[DIGEST_STR_LEN];
	struct sha256 sha;
	int e = 0;

	sha256_init(&sha);
	for (a += 4; *a;) {
		struct range_job jobs[64] = { 0 };
		pthread_t ids[64];
		size_t n = 0;

		for (; n < threads && *a; n++, a += 2) {
			size_t len = strtoull(a[1], NULL, 10);

			jobs[n] = (struct range_job){ r, d, strtoull(a[0], NULL, 10), len,
				xcalloc(1, len), 0 };
			pthread_create(&ids[n], NULL, range_thread, &jobs[n]);
		}
		for (size_t i = 0; i < n; i++) {
			pthread_join(ids[i], NULL);
			sha256_update(&sha, jobs[i].buf, jobs[i].n);
			free(jobs[i].buf);
			e = jobs[i].result < 0 ? jobs[i].result : e;
		}
	}
	struct digest got = sha256_final(&sha);

	printf("sha=%s\n", digest_str(&got, str));
	repo_close(r);
	ref_fini(&ref);
	return report(e);
}

static int cmd_has(char **a)
{
	struct ref ref;
	struct repo *r = open_ref(a[0], false, &ref);
	struct desc d = parse_desc(a[1], a[2]);
	int e = repo_has_blob(r, &d);

	repo_close(r);
	ref_fini(&ref);
	return report(e);
}

// put-blob REF FILE DIGEST [FROM]
static int cmd_put_blob(char **a)
{
	struct ref ref;
	struct repo *r = open_ref(a[0], true, &ref);
	struct stat st;
	int fd = open(a[1], O_RDONLY | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0)
		exit(3);
	struct desc d = parse_desc(a[2], "0");

	d.size = (uint64_t)st.st_size;
	int e = repo_put_blob(r, &d, fd, a[3]);

	close(fd);
	repo_close(r);
	ref_fini(&ref);
	return report(e);
}

// grow-blob REF FILE DIGEST STEP AHEAD: the file is written STEP bytes at a time while it is sent; DIGEST "none": in
// the end there is none
static int cmd_grow_blob(char **a)
{
	struct ref ref;
	struct repo *r = open_ref(a[0], true, &ref);
	char *p;
	size_t n, step = strtoul(a[3], NULL, 10);
	int fd = scratch_file();

	if (fd < 0 || read_file_at(AT_FDCWD, a[1], 1 << 20, &p, &n) < 0)
		exit(3);
	struct desc d = { .size = 0 };
	struct sender *s = sender_start(r, fd, *a[4] == 'y');

	for (size_t at = 0; at < n; at += MIN(step, n - at)) {
		if (pwrite_full(fd, p + at, MIN(step, n - at), at))
			exit(3);
		sender_grown(s, at + MIN(step, n - at));
		usleep(20000); // so that pieces are sent before the end
	}
	if (strcmp(a[2], "none")) {
		d = parse_desc(a[2], "0");
		d.size = n;
	}
	sender_complete(s, &d, dup(fd));
	int e = sender_end(s);

	free(p);
	repo_close(r);
	ref_fini(&ref);
	return report(e);
}

// put-manifest REF TYPE FILE
static int cmd_put_manifest(char **a)
{
	struct ref ref;
	struct repo *r = open_ref(a[0], true, &ref);
	char *p;
	size_t n;

	if (read_file_at(AT_FDCWD, a[2], MANIFEST_MAX, &p, &n) < 0)
		exit(3);
	int e = repo_put_manifest(r, ref.tag, a[1], p, n);

	free(p);
	repo_close(r);
	ref_fini(&ref);
	return report(e);
}

static const struct {
	const char *name;
	int args;
	int (*run)(char **a);
} commands[] = {
	{ "manifest", 1, cmd_manifest },
	{ "blob", 3, cmd_blob },
	{ "ranges", 6, cmd_ranges },
	{ "has", 3, cmd_has },
	{ "put-blob", 3, cmd_put_blob },
	{ "grow-blob", 5, cmd_grow_blob },
	{ "put-manifest", 3, cmd_put_manifest },
};

static int run_cases(const char *self)
{
	const char *top = getenv("TOP");
	cleanup_free char *script = xasprintf("%s/test/registry_test.py", top ? top : ".");

	execlp("python3", "python3", script, self, (char *)NULL);
	perror("python3");
	return 1;
}

int main(int argc, char **argv)
{
	cleanup_free char *self = realpath("/proc/self/exe", NULL);
	const char *stall = getenv("STALL"), *tries = getenv("TRIES");

	if (argc < 2)
		return run_cases(self);
	net = (struct net_opts){
		.cacert = getenv("CACERT"),
		.creds = getenv("CREDS"),
		.password = getenv("PASSWORD"),
		.authfile = getenv("AUTHFILE"),
		.plain_http = getenv("PLAIN") != NULL,
		.retries = tries ? (unsigned)strtoul(tries, NULL, 10) : 0,
	};
	http_stall_seconds = stall ? (unsigned)strtoul(stall, NULL, 10) : 2;
	if (getenv("PIECE"))
		registry_piece = strtoull(getenv("PIECE"), NULL, 10);
	if (getenv("AHEAD"))
		registry_ahead = strtoull(getenv("AHEAD"), NULL, 10);
	if (getenv("VERBOSE"))
		log_level = LOG_DEBUG;
	for (size_t i = 0; i < ARRAY_LEN(commands); i++)
		if (strcmp(argv[1], commands[i].name) == 0 && argc - 2 >= commands[i].args)
			return commands[i].run(argv + 2);
	fprintf(stderr, "unknown command\n");
	return 2;
}
