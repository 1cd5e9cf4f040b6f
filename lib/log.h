// log.h - messages on standard error: lower case, no full stop, object quoted
// SPDX-License-Identifier: Apache-2.0
#ifndef LOG_H
#define LOG_H

#include "base.h"

enum log_level {
	LOG_QUIET,
	LOG_WARN,
	LOG_INFO,
	LOG_DEBUG
}; // default LOG_WARN; -v INFO; --debug DEBUG
extern enum log_level log_level;

// Logs "fcpull: MESSAGE: strerror(-r)" and returns r (negative errno), so that the place that knows
// the name reports and returns in one expression. For -EBADMSG (corrupt or hostile data), -EPROTO
// (registry nonsense) and -ECANCELED the message is complete by itself and no strerror follows.
int warn_errno(int r, const char *fmt, ...) printf_like(2, 3);
// The same where the message says all: no strerror follows.
int warn_whole(int r, const char *fmt, ...) printf_like(2, 3);
#ifdef __clang_analyzer__
// What an analyzer that looks at one file at a time cannot see: the result is an error. (No function
// does it: it looks into calls to a limited depth only.)
#define log_failed(r, ...)                       \
	({                                       \
		int failed_ = (r);               \
		(void)__VA_ARGS__;               \
		if (failed_ > 0)                 \
			failed_ = -failed_;      \
		if (failed_ >= 0)                \
			__builtin_unreachable(); \
		failed_;                         \
	})
#define warn_errno(r, ...) log_failed(r, (warn_errno)(failed_, __VA_ARGS__))
#define warn_whole(r, ...) log_failed(r, (warn_whole)(failed_, __VA_ARGS__))
#endif
void warn(const char *fmt, ...) printf_like(1, 2);
void info(const char *fmt, ...) printf_like(1, 2); // -v
void debug(const char *fmt, ...)
	printf_like(1, 2); // --debug; never a secret, never a signed query string
// What this thread has warned of last, without the name; "" at the start. Until the next one.
const char *log_last(void);
// Until the end of the scope this thread says nothing; what it would have warned of is log_last():
//	cleanup_hush bool hush = log_hush();
#define cleanup_hush __attribute__((cleanup(log_unhush), unused))
bool log_hush(void); // whether it was silent before
void log_unhush(const bool *was);
// For untrusted text in messages: control bytes, ESC, non-UTF-8 and quotes escaped as \xNN, cut at
// 200 bytes. Returns one of 8 rotating thread-local buffers.
const char *log_quote_n(const char *s, size_t n);
const char *log_quote(const char *s);
// From now on messages carry this in place of "fcpull" (the applet's name).
void log_set_name(const char *name);

#endif
