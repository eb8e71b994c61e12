/* SPDX-License-Identifier: Apache-2.0 */
/* Small questions about words: what a text looks like in a message, which known word was meant, what `${VAR}` stands
 * for. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>

#define TEXT_SHOWN_MAX 64

/* `text` made fit for a message: cut, with control characters and a URL's user name and password replaced. Returns
 * `shown`. */
const char *text_show(const char *text, char shown[TEXT_SHOWN_MAX]);

/* True when the text is UTF-8 without control characters and line separators: such text survives quoting in YAML and
 * JSON. */
bool text_is_plain(const char *text);

/* How many letters lie between two words (Levenshtein); words that are too long are far from everything. */
unsigned text_distance(const char *a, const char *b);

/* True when `word` is near enough to `known` to ask "did you mean". */
bool text_is_near(const char *word, const char *known);

/*
 * Appends `text` to `out` with `${VAR}` and `${VAR:-default}` replaced from the environment (the default also stands in
 * for an empty variable, as in a shell); `$${` gives a literal `${`. ERR_INVALID names what is wrong; ERR_LIMIT when
 * `out` is full.
 */
int text_expand(const char *text, struct buf *out, struct err *err);

/* The name of the variable when the text is `${NAME}` and nothing else, for the caller to free; else NULL. */
char *text_variable(const char *text);
