// ref.c - image references (distribution's grammar) and transports
//
// github.com/distribution/reference regexp.go and normalize.go, as hand-written matchers: each
// takes (text, length) and says yes or no; ref_parse cuts the text at its separators and knows
// what to say about a no.
// SPDX-License-Identifier: Apache-2.0
#include "ref.h"
#include "hash.h"
#include "log.h"

#include <arpa/inet.h>

static bool is_digit(char c)
{
	return c >= '0' && c <= '9';
}

static bool is_lower(char c)
{
	return c >= 'a' && c <= 'z';
}

static bool is_upper(char c)
{
	return c >= 'A' && c <= 'Z';
}

static bool is_alnum(char c)
{
	return is_digit(c) || is_lower(c) || is_upper(c);
}

static bool starts_with(const char *s, const char *prefix)
{
	return strncmp(s, prefix, strlen(prefix)) == 0;
}

// ---- the grammar ----

// path-component := alnum [separator alnum]*, alnum := [a-z0-9]+, separator := [_.] | "__" | [-]+
static bool is_component(const char *s, size_t n)
{
	size_t i = 0;

	for (;;) {
		size_t start = i;

		while (i < n && (is_lower(s[i]) || is_digit(s[i])))
			i++;
		if (i == start)
			return false;
		if (i == n)
			return true;
		if (s[i] == '-')
			while (i < n && s[i] == '-')
				i++;
		else if (s[i] == '.')
			i++;
		else if (s[i] == '_')
			i += i + 1 < n && s[i + 1] == '_' ? 2 : 1;
		else
			return false;
	}
}

static bool is_repo_n(const char *s, size_t n)
{
	for (;;) {
		const char *slash = memchr(s, '/', n);
		size_t len = slash ? (size_t)(slash - s) : n;

		if (!is_component(s, len))
			return false;
		if (!slash)
			return true;
		s += len + 1;
		n -= len + 1;
	}
}

bool ref_is_repo(const char *s)
{
	size_t n = strlen(s);

	return n <= REF_NAME_MAX && is_repo_n(s, n);
}

bool ref_is_tag(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > REF_TAG_MAX || *s == '.' || *s == '-')
		return false;
	for (size_t i = 0; i < n; i++)
		if (!is_alnum(s[i]) && !strchr("_.-", s[i]))
			return false;
	return true;
}

// ref := component ["/" component]*, component := alnum [sep alnum]*, sep := [-._:@+] | "--"
bool ref_is_oci_name(const char *s)
{
	size_t n = strlen(s);

	if (n == 0 || n > REF_NAME_MAX)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (is_alnum(s[i]))
			continue;
		bool twice = s[i] == '-' && s[i + 1] == '-';

		if (i == 0 || !strchr("-._:@+/", s[i]) || !is_alnum(s[i + 1 + twice]))
			return false;
		i += twice;
	}
	return true;
}

// domain-name := domain-component ["." domain-component]*, a component neither begins nor ends
// with "-"
static bool is_domain_name(const char *s, size_t n)
{
	char before = '.';

	for (size_t i = 0; i < n; i++) {
		if (s[i] == '.' ? !is_alnum(before) : s[i] == '-' ? before == '.' : !is_alnum(s[i]))
			return false;
		before = s[i];
	}
	return n > 0 && is_alnum(before);
}

static bool is_port(const char *s, size_t n)
{
	unsigned long port = 0;

	if (n == 0 || n > 5)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (!is_digit(s[i]))
			return false;
		port = port * 10 + (unsigned long)(s[i] - '0');
	}
	return port >= 1 && port <= 65535;
}

// Length of "[IPv6]" at s, 0 when it is none. A zone ("%eth0") is none: it names a link, not a
// registry.
static size_t ipv6_len(const char *s, size_t n)
{
	char text[INET6_ADDRSTRLEN];
	uint8_t addr[16];
	const char *end = memchr(s, ']', n);
	size_t len = end ? (size_t)(end - s) : 0;

	if (len < 2 || len - 1 >= sizeof text)
		return 0;
	memcpy(text, s + 1, len - 1);
	text[len - 1] = 0;
	return inet_pton(AF_INET6, text, addr) == 1 ? len + 1 : 0;
}

// host [":" port]
static bool is_host(const char *s, size_t n)
{
	size_t host;

	if (n > 0 && *s == '[') {
		host = ipv6_len(s, n);
		if (host == 0)
			return false;
	} else {
		const char *colon = memchr(s, ':', n);

		host = colon ? (size_t)(colon - s) : n;
		if (!is_domain_name(s, host))
			return false;
	}
	return host == n || (s[host] == ':' && is_port(s + host + 1, n - host - 1));
}

bool ref_host_is_loopback(const char *host)
{
	size_t n = *host == '[' ? strcspn(host, "]") + 1 : strcspn(host, ":");
	cleanup_free char *name = xstrndup(host, n);
	struct in_addr v4;

	if (*name == '[')
		return strcmp(name, "[::1]") == 0 || strcmp(name, "[0:0:0:0:0:0:0:1]") == 0;
	if (strcasecmp(name, "localhost") == 0)
		return true;
	return inet_pton(AF_INET, name, &v4) == 1 && ntohl(v4.s_addr) >> 24 == 127;
}

// ---- docker: ----

static int bad(const char *whole, const char *why)
{
	warn("image reference %s: %s", log_quote(whole), why);
	return -EINVAL;
}

static bool is_image_id(const char *s)
{
	return strlen(s) == 64 && strspn(s, "0123456789abcdef") == 64;
}

// normalize.go splitDockerDomain: the first component is a host when it looks like one.
static bool first_is_host(const char *name, size_t n)
{
	bool upper = false;

	for (size_t i = 0; i < n; i++) {
		if (name[i] == '.' || name[i] == ':')
			return true;
		upper |= is_upper(name[i]);
	}
	return upper || (n == 9 && memcmp(name, "localhost", 9) == 0);
}

static int take_digest(const char *whole, const char *digest, struct ref *out)
{
	struct digest d;
	int r = digest_parse(digest, &d);

	if (r == -ENOTSUP)
		return bad(whole, "only sha256 digests are supported");
	if (r < 0)
		return bad(
			whole, "after '@' stands a digest: sha256: and 64 lower-case hex digits");
	out->digest = xstrdup(digest);
	return 0;
}

static int say_bad_repo(const char *whole, const char *repo)
{
	for (const char *p = repo; *p; p++)
		if (is_upper(*p))
			return bad(whole,
				"a repository's name is in lower case: write no capital letters");
	if (!*repo)
		return bad(whole, "there is no repository name");
	return bad(whole,
		"a repository's name is [a-z0-9] parts joined by '.', '_', '__', '-' or '/'");
}

// `name` is cut: no tag, no digest.
static int take_name(const char *whole, const char *name, struct ref *out)
{
	const char *slash = strchr(name, '/');
	bool host = slash && (*name == '[' || first_is_host(name, (size_t)(slash - name)));

	if (host) {
		if (!is_host(name, (size_t)(slash - name)))
			return bad(whole, "what stands before the first '/' is no HOST[:PORT]");
		out->host = xstrndup(name, (size_t)(slash - name));
		name = slash + 1;
	} else {
		out->host = xstrdup("docker.io");
	}
	if (!is_repo_n(name, strlen(name)))
		return say_bad_repo(whole, name);
	if (strcmp(out->host, "index.docker.io") == 0) {
		free(out->host);
		out->host = xstrdup("docker.io");
	}
	bool official = strcmp(out->host, "docker.io") == 0 && !strchr(name, '/');

	out->repo = official ? xasprintf("library/%s", name) : xstrdup(name);
	if (strlen(out->host) + 1 + strlen(out->repo) > REF_NAME_MAX)
		return bad(whole, "the name is longer than 255 bytes");
	return 0;
}

static int parse_docker(const char *whole, const char *s, struct ref *out)
{
	cleanup_free char *text = xstrdup(s);
	char *at = strchr(text, '@');
	int r;

	if (strstr(text, "://"))
		return bad(whole, "a registry is named without http:// or https://");
	if (at) {
		*at = 0;
		r = take_digest(whole, at + 1, out);
		if (r < 0)
			return r;
	}
	char *slash = strrchr(text, '/');
	char *colon = strchr(slash ? slash : text, ':');

	if (colon) {
		*colon = 0;
		if (!ref_is_tag(colon + 1))
			return bad(
				whole, "a tag is 1 to 128 of [A-Za-z0-9_.-], no '.' or '-' first");
		out->tag = xstrdup(colon + 1);
	}
	if (!colon && !at && is_image_id(text))
		return bad(whole,
			"64 hex digits are an image ID, no name: a digest is NAME@sha256:...");
	r = take_name(whole, text, out);
	if (r < 0)
		return r;
	if (!out->tag && !out->digest)
		out->tag = xstrdup("latest");
	return 0;
}

// ---- directories and archives ----

static int take_path(const char *whole, const char *path, struct ref *out)
{
	bool pipe = out->transport == REF_DOCKER_ARCHIVE || out->transport == REF_TAR;

	if (!*path)
		return bad(whole, "there is no path after the transport's name");
	if (strlen(path) > REF_DIR_MAX)
		return bad(whole, "the path is longer than 4095 bytes");
	if (strcmp(path, "-") == 0 && !pipe)
		return bad(whole, "only docker-archive:- and tar:- read standard input");
	// what one process reads must not look like a file that another could open
	out->dir = pipe && strcmp(path, "/dev/stdin") == 0 ? xstrdup("-") : xstrdup(path);
	return 0;
}

// A ref name may itself contain '@' and ':', so only a whole digest at the end is one.
static int parse_oci(const char *whole, const char *s, struct ref *out)
{
	cleanup_free char *text = xstrdup(s);
	char *at = strrchr(text, '@');

	if (at && starts_with(at, "@sha256:")) {
		*at = 0;
		int r = take_digest(whole, at + 1, out);

		if (r < 0)
			return r;
	}
	char *colon = strchr(text, ':');

	if (colon) {
		*colon = 0;
		if (!ref_is_oci_name(colon + 1))
			return bad(whole,
				"after the path's ':' stands a name of letters and digits, "
				"joined by one of \"-._:@+/\"");
		out->tag = xstrdup(colon + 1);
	}
	return take_path(whole, text, out);
}

// FILE[:IMAGE[:TAG]] or FILE:@N, the N-th image, as containers-transports(5) has it.
static int parse_docker_archive(const char *whole, const char *s, struct ref *out)
{
	size_t n = strcspn(s, ":");
	cleanup_free char *path = xstrndup(s, n);
	const char *name = s[n] ? s + n + 1 : NULL;
	struct ref image = { .transport = REF_DOCKER };

	if (name && *name == '@') {
		size_t digits = strspn(name + 1, "0123456789");

		if (digits == 0 || digits > 4 || name[1 + digits])
			return bad(whole, "after ':@' stands the number of an image, from 0 on");
		out->tag = xstrdup(name);
	} else if (name) {
		int r = parse_docker(whole, name, &image);

		if (r == 0 && image.digest)
			r = bad(whole, "an image in a docker-archive has a name, no digest");
		if (r == 0)
			out->tag = ref_str(&image);
		ref_fini(&image);
		if (r < 0)
			return r;
	}
	return take_path(whole, path, out);
}

static int parse_docker_scheme(const char *whole, const char *s, struct ref *out)
{
	return parse_docker(whole, starts_with(s, "//") ? s + 2 : whole, out);
}

// ---- all ----

static const struct transport {
	const char *name;
	enum ref_transport transport;
	int (*parse)(const char *whole, const char *s, struct ref *out);
} transports[] = {
	{ "docker", REF_DOCKER, parse_docker_scheme },
	{ "oci", REF_OCI, parse_oci },
	{ "oci-archive", REF_OCI_ARCHIVE, parse_oci },
	{ "docker-archive", REF_DOCKER_ARCHIVE, parse_docker_archive },
	{ "dir", REF_DIR, take_path },
	{ "tar", REF_TAR, take_path },
	{ "rootfs", REF_ROOTFS, take_path },
};

const char *ref_transport_name(enum ref_transport t)
{
	for (size_t i = 0; i < ARRAY_LEN(transports); i++)
		if (transports[i].transport == t)
			return transports[i].name;
	return "";
}

static const struct transport *transport_of(const char *s)
{
	size_t n = strcspn(s, ":");

	for (size_t i = 0; s[n] && i < ARRAY_LEN(transports); i++)
		if (strlen(transports[i].name) == n && strncmp(s, transports[i].name, n) == 0)
			return &transports[i];
	return NULL;
}

// What others know and we do not: else "docker-daemon:x" would be a host.
static int refuse_transport(const char *s)
{
	static const struct {
		const char *name, *instead;
	} others[] = {
		{ "containers-storage", "podman save IMAGE | fcpull ... docker-archive:-" },
		{ "docker-daemon", "docker save IMAGE | fcpull ... docker-archive:-" },
		{ "sif", "docker://, oci: or an archive" },
		{ "ostree", "docker://, oci: or an archive" },
	};

	for (size_t i = 0; i < ARRAY_LEN(others); i++) {
		size_t n = strlen(others[i].name);

		if (strncmp(s, others[i].name, n) == 0 && s[n] == ':') {
			warn("image reference %s: transport '%s:' is not supported; use %s",
				log_quote(s), others[i].name, others[i].instead);
			return -EINVAL;
		}
	}
	return 0;
}

int ref_parse(const char *s, struct ref *ret)
{
	const struct transport *t = transport_of(s);
	struct ref out = { .transport = t ? t->transport : REF_DOCKER };
	int r = refuse_transport(s);

	if (r < 0)
		return r;
	if (!*s)
		return bad(s, "it is empty");
	r = t ? t->parse(s, s + strlen(t->name) + 1, &out) : parse_docker(s, s, &out);
	if (r < 0) {
		ref_fini(&out);
		return r;
	}
	*ret = out;
	return 0;
}

void ref_fini(struct ref *r)
{
	free(r->host);
	free(r->repo);
	free(r->dir);
	free(r->tag);
	free(r->digest);
	*r = (struct ref){ 0 };
}

char *ref_name(const struct ref *r)
{
	return r->transport == REF_DOCKER
		? xasprintf("%s/%s", r->host, r->repo)
		: xasprintf("%s:%s", ref_transport_name(r->transport), r->dir);
}

char *ref_str(const struct ref *r)
{
	cleanup_free char *name = ref_name(r);

	return xasprintf("%s%s%s%s%s", name, r->tag ? ":" : "", r->tag ? r->tag : "",
		r->digest ? "@" : "", r->digest ? r->digest : "");
}
