// service.c - serve: a service that converts what is pushed
// SPDX-License-Identifier: Apache-2.0
#include <fcntl.h>
#include <signal.h>
#include <sys/eventfd.h>

#include "fcpull.h"
#include "log.h"
#include "notifyd.h"
#include "pattern.h"
#include "svc.h"

#define LOCK_WAIT_S 10 // for the conversions of a service that was killed to end

static struct opt_list registries, allow, deny, platforms;
static const char *state_dir_option;
static struct httpd_conf http = { .listen = "127.0.0.1:8470" };
static struct convjob_conf job = { .memory = 2ull << 30, .file_size = 64ull << 30 };
static uint64_t workers = 2, queue_max = 10000, keep = 1000, attempts = 6, backoff = 10,
		timeout = 3600, min_free = 1ull << 30, grace = 30;

// --record-run[=SECONDS]
static int set_record_run(const struct opt *o, const char *value)
{
	uint64_t seconds = 60;
	struct opt number = *o;

	number.to = &seconds;
	if (value && opt_u64(&number, value))
		return -EINVAL;
	if (!seconds || seconds > 86400) {
		warn("--record-run takes 1 to 86400 seconds");
		return -EINVAL;
	}
	job.record = value ? value : "60";
	return 0;
}

static const struct opt serve_opts[] = {
	{ 0, "registry", "HOST", "convert at this registry (several: one each)", opt_list_add,
		&registries, false },
	{ 0, "listen", "ADDR:PORT", "where to serve HTTP (127.0.0.1:8470)", opt_str, &http.listen,
		false },
	{ 0, "token-file", "FILE", "who asks must present its first line", opt_str,
		&http.token_file, false },
	{ 0, "tls-cert", "FILE", "serve HTTPS by this certificate (PEM)", opt_str, &http.cert,
		false },
	{ 0, "tls-key", "FILE", "its key", opt_str, &http.key, false },
	{ 0, "client-ca", "FILE", "clients must have a certificate of this CA", opt_str,
		&http.client_ca, false },
	{ 0, "allow", "PATTERN", "only HOST/REPOSITORY that fits (several: any)", opt_list_add,
		&allow, false },
	{ 0, "deny", "PATTERN", "take none that fits", opt_list_add, &deny, false },
	{ 0, "platform", "OS/ARCH", "convert for it (several: each; this machine's)", opt_list_add,
		&platforms, false },
	{ 0, "state", "DIR", "the queue (else $STATE_DIRECTORY, /var/lib/...)", opt_str,
		&state_dir_option, false },
	{ 0, "workers", "N", "conversions at once (2)", opt_u64, &workers, false },
	{ 0, "queue", "N", "conversions that may wait (10000)", opt_u64, &queue_max, false },
	{ 0, "keep", "N", "done and parked ones to remember (1000)", opt_u64, &keep, false },
	{ 0, "attempts", "N", "before an image is parked (6)", opt_u64, &attempts, false },
	{ 0, "backoff", "SECONDS", "after the first failure, then doubled (10)", opt_u64, &backoff,
		false },
	{ 0, "timeout", "SECONDS", "of a conversion (3600)", opt_u64, &timeout, false },
	{ 0, "memory", "SIZE", "of a conversion (2g; 0: no limit)", opt_size, &job.memory, false },
	{ 0, "max-file", "SIZE", "of its scratch files (64g; 0: no limit)", opt_size,
		&job.file_size, false },
	{ 0, "min-free", "SIZE", "disk below which none is begun (1g)", opt_size, &min_free,
		false },
	{ 0, "grace", "SECONDS", "for those that run, when the service ends (30)", opt_u64, &grace,
		false },
	{ 0, "record-run", "[SECONDS", "as of convert: run each image once (60 s)", set_record_run,
		&job.record, false },
	{ 0, "traces", "DIR", "use DIR/HOST/REPOSITORY.trace where there is one", opt_str,
		&job.traces, false },
	{ 0, "codec", "NAME", "as of convert", opt_str, &job.codec, false },
	{ 0, "authfile", "FILE", "credentials, as docker's config.json", opt_str, &job.authfile,
		false },
	{ 0, "cacert", "FILE", "trust these CAs (PEM), not the system's", opt_str, &job.cacert,
		false },
	{ 0, "plain-http", NULL, "speak HTTP without TLS to the registries", opt_flag,
		&job.plain_http, false },
	{ 'j', "jobs", "N", "threads of a conversion (processors / workers)", opt_u64, &job.threads,
		false },
	{ 0 },
};

// ---- what was asked for ----

static int in_range(const char *name, uint64_t value, uint64_t min, uint64_t max)
{
	if (value >= min && value <= max)
		return 0;
	warn("--%s takes %llu to %llu", name, (unsigned long long)min, (unsigned long long)max);
	return -EINVAL;
}

static int check_numbers(void)
{
	if (in_range("workers", workers, 1, SVC_WORKERS_MAX) ||
		in_range("queue", queue_max, 1, 100000) || in_range("keep", keep, 0, 100000) ||
		in_range("attempts", attempts, 1, 100) ||
		in_range("backoff", backoff, 0, JOBQ_BACKOFF_MAX) ||
		in_range("timeout", timeout, 1, 7 * 86400) || in_range("grace", grace, 0, 86400) ||
		in_range("jobs", job.threads, 0, 64))
		return -EINVAL;
	if (!job.threads) {
		long cpus = sysconf(_SC_NPROCESSORS_ONLN);

		job.threads = MAX((uint64_t)MAX(cpus, 1) / workers, (uint64_t)1);
	}
	return 0;
}

// What a host name is, the parser of references knows.
static int check_registry(const char *host)
{
	cleanup_free char *text = xasprintf("docker://%s/a:b", host);
	struct ref r;
	int e = ref_parse(text, &r);
	bool good;

	if (e)
		return e;
	good = !strcmp(r.host, host) && !strcmp(r.repo, "a");
	ref_fini(&r);
	if (good)
		return 0;
	warn("--registry %s: must be HOST[:PORT], as in an image's name", log_quote(host));
	return -EINVAL;
}

static int check_lists(void)
{
	if (!registries.n) {
		warn("give --registry HOST: images are converted, and credentials sent, nowhere else");
		return -EINVAL;
	}
	for (size_t i = 0; i < registries.n; i++)
		if (check_registry(registries.v[i]))
			return -EINVAL;
	for (size_t i = 0; i < allow.n + deny.n; i++) {
		const char *p = i < allow.n ? allow.v[i] : deny.v[i - allow.n];

		if (strlen(p) <= PATTERN_MAX && strchr(p, '/'))
			continue;
		warn("pattern %s: must be of HOST/REPOSITORY, with * for a part and ** for several",
			log_quote(p));
		return -EINVAL;
	}
	return 0;
}

// Each as platform_str writes it, or this machine's. Never freed.
static int canonical_platforms(void)
{
	if (!platforms.n && opt_list_add(&(struct opt){ .to = &platforms }, NULL))
		return -EINVAL;
	for (size_t i = 0; i < platforms.n; i++) {
		struct platform p;
		char text[100];

		if (platform_parse(platforms.v[i], &p))
			return -EINVAL;
		platforms.v[i] = xstrdup(platform_str(&p, text));
	}
	return 0;
}

static char *choose_state_dir(void)
{
	const char *systemd = getenv("STATE_DIRECTORY"), *data = getenv("XDG_DATA_HOME"),
		   *home = getenv("HOME");

	if (state_dir_option)
		return xstrdup(state_dir_option);
	if (systemd && *systemd)
		return xstrndup(systemd, strcspn(systemd, ":"));
	if (!getuid())
		return xstrdup("/var/lib/fcpull-serve");
	if (data && *data == '/')
		return xasprintf("%s/fcpull-serve", data);
	return xasprintf("%s/.local/share/fcpull-serve", home ? home : "");
}

// ---- the service ----

static void fill_conf(struct svc_conf *c)
{
	job.timeout = (unsigned)timeout;
	job.cgroups = convjob_groups(job.memory);
	*c = (struct svc_conf){ .registries = registries.v,
		.n_registries = registries.n,
		.allow = allow.v,
		.n_allow = allow.n,
		.deny = deny.v,
		.n_deny = deny.n,
		.platforms = platforms.v,
		.n_platforms = platforms.n,
		.workers = (unsigned)workers,
		.min_free = min_free,
		.grace = (unsigned)grace,
		.job = job };
}

// Before there is a thread: all inherit it.
static void block_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigaddset(&set, SIGCHLD);
	sigprocmask(SIG_BLOCK, &set, NULL);
}

static int run_service(struct svc *s)
{
	int r;

	http.handler = svc_answer;
	http.arg = s;
	r = httpd_start(&http, &s->httpd);
	if (r)
		return r;
	printf("%s://%.*s:%u\n", http.cert ? "https" : "http",
		(int)(strrchr(http.listen, ':') - http.listen), http.listen, httpd_port(s->httpd));
	fflush(stdout);
	notifyd_say("READY=1");
	r = svc_loop(s);
	httpd_stop(s->httpd);
	return r;
}

static int serve(int argc, char **argv)
{
	const struct jobq_conf qc = { .max_waiting = queue_max,
		.max_kept = keep,
		.attempts = (unsigned)attempts,
		.backoff = (unsigned)backoff };
	cleanup_free char *dir = NULL;
	struct svc s = { .lock = PTHREAD_MUTEX_INITIALIZER, .ticked = now_ns() };
	int r;

	(void)argv;
	if (argc) {
		warn("serve takes no operands; try 'fcpull serve --help'");
		return EXIT_USAGE;
	}
	if (check_numbers() || check_lists() || canonical_platforms())
		return EXIT_USAGE;
	fill_conf(&s.conf);
	dir = choose_state_dir();
	block_signals();
	s.wake = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	if (s.wake < 0)
		return warn_errno(-errno, "make an eventfd"), EXIT_FAILURE;
	r = jobq_open(dir, &qc, LOCK_WAIT_S, &s.queue);
	if (!r)
		r = run_service(&s);
	jobq_close(s.queue);
	close(s.wake);
	return r == -EINVAL ? EXIT_USAGE : r ? EXIT_FAILURE : 0;
}

const struct applet applet_serve = {
	"serve",
	"--registry HOST",
	"a service that converts images when they are pushed",
	serve_opts,
	"A registry tells it of pushes: CNCF distribution's notifications and Harbor's\n"
	"webhooks are POSTed to /v1/notifications, {\"image\": \"HOST/REPO:TAG\"} to\n"
	"/v1/conversions. Each tag is converted in a process of its own and pushed back\n"
	"under its name. / is a status page, /v1/conversions the same as JSON, /metrics\n"
	"for Prometheus, /healthz for who restarts it. The queue is on disk: what was\n"
	"answered with 202 is converted, whatever happens. An image that fails again\n"
	"and again is parked: POST /v1/conversions/ID/retry, or DELETE it.\n"
	"Only this host can reach it, unless a token or certificates are asked for. The\n"
	"token is sent as Bearer, or as a password with any user. Token, certificate,\n"
	"key and client CA are read again when their files change: soon, or at SIGHUP.\n\n"
	"  fcpull serve --registry registry.example --token-file /etc/fcpull/token\n",
	serve,
	false,
	0,
};
