/* SPDX-License-Identifier: Apache-2.0 */
/* WWW-Authenticate (RFC 9110, section 11; the token protocol of distribution-spec's "docs/spec/auth/token"). Pure
 * functions. */
#pragma once

#include <stdbool.h>

enum challenge_scheme { CHALLENGE_NONE, CHALLENGE_BASIC, CHALLENGE_BEARER };

#define CHALLENGE_VALUE_MAX 1024

struct challenge {
	enum challenge_scheme scheme;
	char realm[CHALLENGE_VALUE_MAX];   /* Bearer: the token service's URL */
	char service[CHALLENGE_VALUE_MAX]; /* "" when absent */
	char scope[CHALLENGE_VALUE_MAX];
	char error[CHALLENGE_VALUE_MAX]; /* "invalid_token", "insufficient_scope"; "" when absent */
};

/*
 * Reads one header value, which may hold several challenges; Bearer is preferred to Basic, unknown schemes are passed
 * over. Parameters come in any order, quoted (with backslash escapes) or not, names in any case, unknown ones are
 * ignored, of doubles the first counts. 0, or ERR_INVALID when nothing usable is in it or a value is too long.
 */
int challenge_parse(const char *header, struct challenge *challenge);
