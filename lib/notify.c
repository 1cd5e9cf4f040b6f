// notify.c - what registries say when something was pushed, and what people ask for
//
// Pure functions over a body. Names are checked by the grammar of references before they are copied,
// so what leaves here can stand in a reference, a message and a file.
// SPDX-License-Identifier: Apache-2.0
#include "notify.h"

#include "hash.h"
#include "json.h"

static int wrong(const char **ret_why, const char *why)
{
	*ret_why = why;
	return -EBADMSG;
}

// ---- one push ----

static bool copy(char *to, size_t size, const char *from)
{
	size_t n = from ? strlen(from) : 0;

	if (n >= size)
		return false;
	memcpy(to, from ? from : "", n);
	to[n] = 0;
	return true;
}

// Whoever pushes can say anything in the Host header. Whether it is one of ours is the caller's to
// say; here it only must be fit to be compared and printed.
static bool is_host(const char *host)
{
	return host && *host &&
		!host[strspn(host,
			"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
			"0123456789.:[]-")];
}

// false: this is no push of a tag.
static bool fill(
	struct push *p, const char *host, const char *repo, const char *tag, const char *digest)
{
	struct digest d;

	*p = (struct push){ 0 };
	if (!repo || !ref_is_repo(repo) || !tag || !ref_is_tag(tag))
		return false;
	if (digest && *digest && digest_parse(digest, &d))
		digest = NULL; // of another algorithm: it is only used to tell pushes apart
	if (!is_host(host) || strlen(host) > REF_NAME_MAX)
		host = "";
	return copy(p->host, sizeof p->host, host) && copy(p->repo, sizeof p->repo, repo) &&
		copy(p->tag, sizeof p->tag, tag) && copy(p->digest, sizeof p->digest, digest);
}

static void add(
	struct pushes *ps, const char *host, const char *repo, const char *tag, const char *digest)
{
	if (fill(&ps->v[ps->n], host, repo, tag, digest))
		ps->n++;
	else
		ps->ignored++;
}

// ---- CNCF distribution ----

static int parse_events(yyjson_val *events, struct pushes *ret, const char **ret_why)
{
	yyjson_arr_iter it = yyjson_arr_iter_with(events);

	for (yyjson_val *e; (e = yyjson_arr_iter_next(&it));) {
		yyjson_val *target = json_obj(e, "target");
		const char *action = json_str(e, "action");

		if (!action || !target)
			return wrong(ret_why, "an event without action and target");
		if (strcmp(action, "push")) {
			ret->ignored++;
			continue;
		}
		add(ret, json_str(json_obj(e, "request"), "host"), json_str(target, "repository"),
			json_str(target, "tag"), json_str(target, "digest"));
	}
	return 0;
}

// ---- Harbor ----

// "hub.example/project/name:tag": the host, if that is what it is.
static char *host_of_url(const char *url)
{
	const char *slash = url ? strchr(url, '/') : NULL;

	return slash ? xstrndup(url, (size_t)(slash - url)) : NULL;
}

static int parse_resources(yyjson_val *data, struct pushes *ret, const char **ret_why)
{
	const char *repo = json_str(json_obj(data, "repository"), "repo_full_name");
	yyjson_val *resources = json_arr(data, "resources");
	yyjson_arr_iter it;

	if (!repo || !resources)
		return wrong(ret_why, "a push without repository.repo_full_name and resources");
	if (yyjson_arr_size(resources) > NOTIFY_EVENTS_MAX)
		return wrong(ret_why, "more resources than one notification may have (1024)");
	ret->v = xcalloc(yyjson_arr_size(resources), sizeof *ret->v);
	it = yyjson_arr_iter_with(resources);
	for (yyjson_val *v; (v = yyjson_arr_iter_next(&it));) {
		cleanup_free char *host = host_of_url(json_str(v, "resource_url"));

		add(ret, host, repo, json_str(v, "tag"), json_str(v, "digest"));
	}
	return 0;
}

// ---- the whole ----

static int parse_root(yyjson_val *root, struct pushes *ret, const char **ret_why)
{
	yyjson_val *events = json_arr(root, "events");
	const char *type = json_str(root, "type");

	if (events) {
		if (yyjson_arr_size(events) > NOTIFY_EVENTS_MAX)
			return wrong(ret_why, "more events than one notification may have (1024)");
		ret->v = xcalloc(yyjson_arr_size(events), sizeof *ret->v);
		return parse_events(events, ret, ret_why);
	}
	if (!type)
		return wrong(ret_why,
			"neither events, as distribution sends, nor a type, as Harbor does");
	if (!strcmp(type, "PUSH_ARTIFACT"))
		return parse_resources(json_obj(root, "event_data"), ret, ret_why);
	if (!strcmp(type, "harbor.artifact.pushed"))
		return parse_resources(json_obj(root, "data"), ret, ret_why);
	ret->ignored = 1;
	return 0;
}

int notify_parse(const void *p, size_t n, struct pushes *ret, const char **ret_why)
{
	cleanup_json yyjson_doc *doc = NULL;
	int r = json_parse(p, n, NULL, &doc);

	*ret = (struct pushes){ 0 };
	if (r)
		return wrong(ret_why, "no JSON, a key twice, or more of it than is read");
	r = parse_root(json_root(doc), ret, ret_why);
	if (r)
		pushes_fini(ret);
	return r;
}

int notify_parse_request(const void *p, size_t n, struct push *ret,
	char ret_platform[static NOTIFY_PLATFORM_MAX], const char **ret_why)
{
	cleanup_json yyjson_doc *doc = NULL;
	const char *image, *platform;
	struct ref ref;
	bool good;

	if (json_parse(p, n, NULL, &doc))
		return wrong(ret_why, "no JSON, a key twice, or more of it than is read");
	image = json_str(json_root(doc), "image");
	platform = json_str(json_root(doc), "platform");
	if (!image)
		return wrong(ret_why, "no string \"image\"");
	if (!copy(ret_platform, NOTIFY_PLATFORM_MAX, platform))
		return wrong(ret_why, "\"platform\" is too long");
	if (ref_parse(image, &ref))
		return wrong(ret_why, "\"image\" is no reference of an image");
	good = ref.transport == REF_DOCKER && ref.tag && !ref.digest &&
		fill(ret, ref.host, ref.repo, ref.tag, NULL);
	ref_fini(&ref);
	return good ? 0
		    : wrong(ret_why, "\"image\" must be HOST/REPOSITORY[:TAG], without a digest");
}

void pushes_fini(struct pushes *p)
{
	free(p->v);
	*p = (struct pushes){ 0 };
}
