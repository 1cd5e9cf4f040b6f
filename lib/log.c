// log.c - messages on standard error
// SPDX-License-Identifier: Apache-2.0
#include "log.h"

enum log_level log_level = LOG_WARN;
static const char *log_name = "fcpull";
static _Thread_local char last_warning[512];
static _Thread_local bool hushed;

void log_set_name(const char *name)
{
	log_name = name;
}

// One write per message, so that the lines of several threads and processes do not mix.
__attribute__((format(printf, 4, 0))) static void emit(
	enum log_level level, const char *prefix, int err, const char *fmt, va_list ap)
{
	char line[2048];
	int e = errno;
	int n = snprintf(line, sizeof line, "%s: %s", log_name, prefix);

	n += vsnprintf(line + n, sizeof line - (size_t)n - 160, fmt, ap);
	if (n > (int)sizeof line - 160)
		n = (int)sizeof line - 160;
	if (err)
		n += snprintf(line + n, sizeof line - (size_t)n - 1, ": %s", strerror(err));
	if (level == LOG_WARN)
		snprintf(last_warning, sizeof last_warning, "%s", line + strlen(log_name) + 2);
	if (log_level < level || hushed)
		return;
	line[n++] = '\n';
	// a lost message cannot be reported anywhere else
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		errno = e;
	errno = e;
}

#undef warn_errno
int warn_errno(int r, const char *fmt, ...)
{
	va_list ap;
	bool complete = r == -EBADMSG || r == -EPROTO || r == -ECANCELED;

	va_start(ap, fmt);
	emit(LOG_WARN, "", complete ? 0 : r < 0 ? -r : r, fmt, ap);
	va_end(ap);
	return r < 0 ? r : -r;
}

#undef warn_whole
int warn_whole(int r, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_WARN, "", 0, fmt, ap);
	va_end(ap);
	return r < 0 ? r : -r;
}

void warn(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	emit(LOG_WARN, "", 0, fmt, ap);
	va_end(ap);
}

const char *log_last(void)
{
	return last_warning;
}

bool log_hush(void)
{
	bool was = hushed;

	hushed = true;
	return was;
}

void log_unhush(const bool *was)
{
	hushed = *was;
}

void info(const char *fmt, ...)
{
	va_list ap;

	if (log_level < LOG_INFO)
		return;
	va_start(ap, fmt);
	emit(LOG_INFO, "", 0, fmt, ap);
	va_end(ap);
}

void debug(const char *fmt, ...)
{
	va_list ap;

	if (log_level < LOG_DEBUG)
		return;
	va_start(ap, fmt);
	emit(LOG_DEBUG, "debug: ", 0, fmt, ap);
	va_end(ap);
}

// Length of the UTF-8 sequence at s (1..4) when it is well formed and printable, else 0.
static size_t utf8_ok(const unsigned char *s, size_t n)
{
	size_t len = *s < 0x80		  ? 1
		: *s >= 0xc2 && *s < 0xe0 ? 2
		: (*s & 0xf0) == 0xe0	  ? 3
		: *s >= 0xf0 && *s < 0xf5 ? 4
					  : 0;

	if (!len || len > n || *s < 0x20 || *s == 0x7f || *s == '\\' || *s == '\'')
		return 0;
	for (size_t i = 1; i < len; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	// C1 controls, surrogates, overlong forms
	if ((len == 2 && *s == 0xc2 && s[1] < 0xa0) || (*s == 0xe0 && s[1] < 0xa0) ||
		(*s == 0xed && s[1] > 0x9f) || (*s == 0xf0 && s[1] < 0x90) ||
		(*s == 0xf4 && s[1] > 0x8f))
		return 0;
	return len;
}

const char *log_quote_n(const char *s, size_t n)
{
	enum { MAX_IN = 200 };
	static _Thread_local char ring[8][MAX_IN * 4 + 16];
	static _Thread_local unsigned turn;
	const unsigned char *p = (const unsigned char *)s;
	char *out = ring[turn++ % 8];
	size_t o = 0, limit = MIN(n, (size_t)MAX_IN);

	out[o++] = '\'';
	for (size_t i = 0; i < limit;) {
		size_t len = utf8_ok(p + i, n - i);

		if (len && i + len <= limit) {
			memcpy(out + o, p + i, len);
			o += len;
			i += len;
		} else {
			o += (size_t)snprintf(out + o, 5, "\\x%02x", p[i]);
			i++;
		}
	}
	out[o++] = '\'';
	if (n > limit)
		memcpy(out + o, "...", 3), o += 3;
	out[o] = 0;
	return out;
}

const char *log_quote(const char *s)
{
	return log_quote_n(s, strlen(s));
}
