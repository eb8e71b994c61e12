/* SPDX-License-Identifier: Apache-2.0 */
/* What a client takes (RFC 9110, section 12.5.1), as far as it decides which manifest a tag means. Pure functions. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCEPT_TYPES_MAX 32
#define ACCEPT_TEXT_MAX  4096

struct accept {
	char text[ACCEPT_TEXT_MAX]; /* what is sent upstream: the client's own list, tidied; every known type when it
				       sent none, or only the wildcard */
	uint64_t key;               /* stands for the set of types, whatever their order */
};

/* Reads an Accept header, NULL when there was none. Types beyond ACCEPT_TYPES_MAX are dropped. */
void accept_parse(const char *header, struct accept *accept);

/* Whether a manifest of this type satisfies the client. */
bool accept_takes(const struct accept *accept, const char *media_type);
