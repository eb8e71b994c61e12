/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

static void describe(struct err *err, int code, const char *suffix, const char *format, va_list args)
	__attribute__((format(printf, 4, 0)));

/* The text is built aside, because the arguments may point into the old one. */
static void describe(struct err *err, int code, const char *suffix, const char *format, va_list args)
{
	char text[ERR_TEXT_MAX];
	int len = vsnprintf(text, sizeof(text), format, args);
	if (len < 0)
		len = 0;
	if (suffix && (size_t)len < sizeof(text) - 1) {
		char *end = text + len;
		char *limit = text + sizeof(text) - 1;
		for (const char *at = ": "; *at && end < limit; at++)
			*end++ = *at;
		for (const char *at = suffix; *at && end < limit; at++)
			*end++ = *at;
		*end = '\0';
	}
	err->code = code;
	err->retry_after_s = 0;
	err->no_repository = 0;
	memcpy(err->text, text, sizeof(text));
}

int err_set(struct err *err, int code, const char *format, ...)
{
	if (!err)
		return code;
	va_list args;
	va_start(args, format);
	describe(err, code, NULL, format, args);
	va_end(args);
	return code;
}

int err_set_errno(struct err *err, int code, int errno_value, const char *format, ...)
{
	if (errno_value == ENOSPC || errno_value == EDQUOT)
		code = ERR_NO_SPACE;
	if (!err)
		return code;
	char memory[128];
	va_list args;
	va_start(args, format);
	describe(err, code, strerror_r(errno_value, memory, sizeof(memory)), format, args);
	va_end(args);
	return code;
}

const char *err_name(int code)
{
	static const char *const names[] = {
		"ok",      "invalid",   "not found",  "again", "digest mismatch", "upstream failed",
		"denied",  "no space",  "i/o error",  "busy",  "too large",       "rate limited",
		"offline", "cancelled", "unsupported"};
	if (code > 0 || code < ERR_UNSUPPORTED)
		return "unknown";
	return names[-code];
}
