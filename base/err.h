/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Errors. A function that can fail returns 0 or a negative `enum err_code` and, where it takes a `struct err *`,
 * describes what happened in words for an operator. The struct belongs to the caller and may be NULL; nothing is
 * thread-local, because our errors cross threads. A library's own errors are translated once, in the file that names
 * the library.
 */
#pragma once

enum err_code {
	ERR_INVALID = -1,      /* the caller's input is malformed */
	ERR_NOT_FOUND = -2,    /* there is no such thing, and that is certain */
	ERR_AGAIN = -3,        /* not yet: a waiter was registered, or try later */
	ERR_DIGEST = -4,       /* bytes do not match their digest */
	ERR_UPSTREAM = -5,     /* the upstream is down, timed out or answered nonsense */
	ERR_DENIED = -6,       /* the upstream refuses (401, 403) */
	ERR_NO_SPACE = -7,     /* the disk is full */
	ERR_IO = -8,           /* the disk failed */
	ERR_BUSY = -9,         /* held by another owner */
	ERR_LIMIT = -10,       /* larger than a declared bound */
	ERR_RATE = -11,        /* the upstream says 429 */
	ERR_OFFLINE = -12,     /* not held, and larder is offline */
	ERR_CANCELLED = -13,   /* given up by its owner, or larder is shutting down */
	ERR_UNSUPPORTED = -14, /* understood, and not done here */
};

#define ERR_TEXT_MAX 256

struct err {
	int code;          /* enum err_code, or 0 */
	int retry_after_s; /* with ERR_RATE: what the upstream asked for, in seconds; 0 when it did not say */
	int no_repository; /* with ERR_NOT_FOUND, 1: not even its repository is there */
	char text[ERR_TEXT_MAX];
};

/* Describes an error (cut to fit) and returns `code`, so that `return err_set(err, …)` reads well. */
int err_set(struct err *err, int code, const char *format, ...) __attribute__((format(printf, 3, 4)));

/* As err_set(), appending ": " and the text of `errno_value`. ENOSPC and EDQUOT make the code ERR_NO_SPACE. */
int err_set_errno(struct err *err, int code, int errno_value, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* The code's name in lower case words ("not found"), for logs. Static storage. */
const char *err_name(int code);
