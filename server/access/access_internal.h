/* SPDX-License-Identifier: Apache-2.0 */
/* What the files of access/ share. */
#pragma once

#include "server/access/access.h"

#define ACCESS_KEY_BYTES 32

/* What may be pulled by whom. Immutable. */
struct rules;

struct rules *rules_new(const struct access_options *options);
void rules_free(struct rules *rules);
/* `user` is "" for nobody. */
bool rules_allow(const struct rules *rules, const char *user, const char *name);
bool rules_have_anonymous(const struct rules *rules);

/* A token: its end and its user in the clear, and a MAC over both. */
void token_make(const uint8_t key[ACCESS_KEY_BYTES], const char *user, int64_t now_s, char token[ACCESS_TOKEN_MAX]);
/* Whether it is one of ours that still holds; then `user` is whose ("" for nobody's). */
bool token_read(const uint8_t key[ACCESS_KEY_BYTES], const char *token, int64_t now_s, char user[ACCESS_USER_MAX + 1]);
