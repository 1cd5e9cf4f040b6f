// url.c - URLs and header values that a server sends us, judged before use
// SPDX-License-Identifier: Apache-2.0
#include "url.h"
#include "log.h"
#include "ref.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <strings.h>

#define cleanup_url __attribute__((cleanup(url_free_p)))
static void url_free_p(CURLU **u)
{
	curl_url_cleanup(*u);
}

#define cleanup_part __attribute__((cleanup(part_free_p)))
static void part_free_p(char **p)
{
	curl_free(*p);
}

static CURLU *url_parse(const char *text)
{
	cleanup_url CURLU *u = curl_url();

	if (!u || strlen(text) > URL_MAX ||
		curl_url_set(u, CURLUPART_URL, text,
			CURLU_DISALLOW_USER | CURLU_NON_SUPPORT_SCHEME) != CURLUE_OK)
		return NULL;
	return steal(&u);
}

// NULL when there is none. curl_free() it.
static char *url_part(CURLU *u, CURLUPart part)
{
	char *s = NULL;

	if (curl_url_get(u, part, &s, part == CURLUPART_PORT ? CURLU_DEFAULT_PORT : 0) != CURLUE_OK)
		return NULL;
	return s;
}

static bool same_part(CURLU *a, CURLU *b, CURLUPart part)
{
	cleanup_part char *pa = url_part(a, part);
	cleanup_part char *pb = url_part(b, part);

	return pa && pb && strcasecmp(pa, pb) == 0;
}

bool url_same_origin(const char *a, const char *b)
{
	cleanup_url CURLU *ua = url_parse(a);
	cleanup_url CURLU *ub = url_parse(b);

	return ua && ub && same_part(ua, ub, CURLUPART_SCHEME) &&
		same_part(ua, ub, CURLUPART_HOST) && same_part(ua, ub, CURLUPART_PORT);
}

char *url_resolve(const char *base, const char *location)
{
	cleanup_url CURLU *u = url_parse(base);
	unsigned flags = CURLU_DISALLOW_USER | CURLU_NON_SUPPORT_SCHEME;

	if (!u || !*location || strlen(location) > URL_MAX ||
		curl_url_set(u, CURLUPART_URL, location, flags) != CURLUE_OK ||
		curl_url_set(u, CURLUPART_FRAGMENT, NULL, 0) != CURLUE_OK)
		return NULL;
	cleanup_part char *s = url_part(u, CURLUPART_URL);

	return s ? xstrdup(s) : NULL;
}

static bool v4_is_local(const uint8_t a[static 4])
{
	return a[0] == 127 || a[0] == 0 || (a[0] == 169 && a[1] == 254);
}

bool url_address_is_local(const char *address)
{
	static const uint8_t nowhere[16], mapped[12] = { [10] = 0xff, [11] = 0xff };
	uint8_t a[16];

	if (inet_pton(AF_INET, address, a) == 1)
		return v4_is_local(a);
	if (inet_pton(AF_INET6, address, a) != 1)
		return false;
	if (memcmp(a, mapped, 12) == 0)
		return v4_is_local(a + 12);
	if (memcmp(a, nowhere, 15) == 0) // :: and ::1
		return a[15] <= 1;
	return a[0] == 0xfe && (a[1] & 0xc0) == 0x80;
}

// "[::1]" -> "::1"
static void strip_brackets(char *host)
{
	size_t n = strlen(host);

	if (n >= 2 && host[0] == '[' && host[n - 1] == ']') {
		memmove(host, host + 1, n - 2);
		host[n - 2] = 0;
	}
}

// A name below localhost. means loopback too (RFC 6761 section 6.3).
static bool is_localhost(const char *host)
{
	size_t n = strlen(host), l = strlen("localhost");

	if (n > 0 && host[n - 1] == '.')
		n--;
	if (n < l || strncasecmp(host + n - l, "localhost", l) != 0)
		return false;
	return n == l || host[n - l - 1] == '.';
}

const char *url_refusal(const char *url, bool plain_ok, bool local_ok)
{
	cleanup_url CURLU *u = url_parse(url);

	if (!u)
		return "it is no valid URL";
	cleanup_part char *scheme = url_part(u, CURLUPART_SCHEME);
	cleanup_part char *host = url_part(u, CURLUPART_HOST);
	cleanup_part char *zone = url_part(u, CURLUPART_ZONEID);
	bool http = scheme && strcasecmp(scheme, "http") == 0;

	if (!scheme || !host || (!http && strcasecmp(scheme, "https") != 0))
		return "only https is followed";
	if (http && !plain_ok)
		return "it leaves https for plain http";
	strip_brackets(host);
	if (!local_ok && (zone || is_localhost(host) || url_address_is_local(host)))
		return "it leads to this machine or its link";
	return NULL;
}

char *url_host_port(const char *url)
{
	cleanup_url CURLU *u = url_parse(url);
	cleanup_part char *host = u ? url_part(u, CURLUPART_HOST) : NULL;
	cleanup_part char *port = u ? url_part(u, CURLUPART_PORT) : NULL;

	return host && port ? xasprintf("%s:%s", host, port) : NULL;
}

bool url_is_loopback(const char *url)
{
	cleanup_url CURLU *u = url_parse(url);
	cleanup_part char *host = u ? url_part(u, CURLUPART_HOST) : NULL;

	return host && ref_host_is_loopback(host);
}

const char *url_show(const char *url)
{
	return log_quote_n(url, strcspn(url, "?#"));
}

// ---- header values ----

// Digits at *p, at most 19 of them (so that 64 bits hold it); moves *p behind them.
static bool take_number(const char **p, uint64_t *ret)
{
	uint64_t v = 0;
	size_t n = strspn(*p, "0123456789");

	if (n == 0 || n > 19)
		return false;
	for (size_t i = 0; i < n; i++)
		v = v * 10 + (uint64_t)((*p)[i] - '0');
	*p += n;
	*ret = v;
	return true;
}

int url_retry_after(const char *value, int64_t now)
{
	size_t digits = strspn(value, "0123456789");

	if (digits > 0 && value[digits] == 0) {
		uint64_t seconds = RETRY_AFTER_MAX;

		if (!take_number(&value, &seconds))
			return RETRY_AFTER_MAX;
		return (int)MIN(seconds, (uint64_t)RETRY_AFTER_MAX);
	}
	if (strlen(value) > 64)
		return -1;
	int64_t then = curl_getdate(value, NULL);

	if (then < 0)
		return -1;
	return then <= now ? 0 : (int)MIN(then - now, (int64_t)RETRY_AFTER_MAX);
}

int url_content_range(
	const char *value, uint64_t *ret_first, uint64_t *ret_last, uint64_t *ret_total)
{
	uint64_t first, last, total = UINT64_MAX;

	if (strncasecmp(value, "bytes ", 6) != 0)
		return -EPROTO;
	value += 6;
	if (!take_number(&value, &first) || *value++ != '-' || !take_number(&value, &last) ||
		*value++ != '/')
		return -EPROTO;
	if (*value == '*')
		value++;
	else if (!take_number(&value, &total))
		return -EPROTO;
	if (*value || first > last || last >= total)
		return -EPROTO;
	*ret_first = first;
	*ret_last = last;
	*ret_total = total;
	return 0;
}

bool url_link_next(const char *base, const char *value, char **ret)
{
	*ret = NULL;
	for (const char *lt = strchr(value, '<'), *gt; lt && (gt = strchr(lt, '>'));
		lt = strchr(gt, '<')) {
		const char *end = strchr(gt, '<'), *rel = strstr(gt, "rel=");
		cleanup_free char *to = xstrndup(lt + 1, (size_t)(gt - lt - 1));
		cleanup_free char *url = NULL;

		if (!rel || (end && rel > end) ||
			strncmp(rel + 4 + (rel[4] == '"'), "next", 4) != 0)
			continue;
		url = url_resolve(base, to);
		if (url && url_same_origin(url, base))
			*ret = steal(&url);
		return true;
	}
	return false;
}
