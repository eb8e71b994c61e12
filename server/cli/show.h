/* SPDX-License-Identifier: Apache-2.0 */
/* Answers of the admin API, for people: their members, and texts of strangers' made fit for a terminal. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

/* Times as they came, in milliseconds, and not as what is next to them in binary. */
#define SHOW_PRECISION JSON_REAL_PRECISION(15)

/* Prints a document for --json: as it came, but on a terminal in ASCII. */
void show_json(const json_t *document);

/* Members, also when they are absent: 0 and "". */
uint64_t show_number(const json_t *object, const char *name);
const char *show_text(const json_t *object, const char *name);
bool show_is(const json_t *object, const char *name);

/* The texts of a member that is a list, with ", " between. The caller frees. */
char *show_list(const json_t *object, const char *name);

#define SHOW_HEX_MAX 13
/* The beginning of a member's digest, long enough to tell it by. */
const char *show_hex(const json_t *object, const char *name, char text[SHOW_HEX_MAX]);

#define SHOW_TEXT_MAX 512
/* A text of strangers', safe for a terminal: control characters are shown as '?'. */
const char *show_plain(const char *text, char plain[SHOW_TEXT_MAX]);

#define SHOW_AGE_MAX 32
/* "35s", "12m", "3h", "2d": one unit. */
const char *show_age(uint64_t seconds, char text[SHOW_AGE_MAX]);
