/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Larder's own access check, in front of every route: 401 with a challenge, 403, or 429 for who guesses passwords.
 *
 * Where everyone must log in, clients are challenged with Basic. Where some may stay anonymous they are told to get a
 * token (distribution-spec's "Token Authentication"): a client that is asked for a password and has none gives up, and
 * one that has one but was not asked does not show it.
 */
#pragma once

#include "server/registry/visit.h"

struct access;

/* True when the visit may go on. False: it was answered, or its request is paused and handled again. `tls`: larder
 * itself speaks HTTPS. */
bool admit_visit(struct visit *visit, struct access *access, bool tls);

/* The registry's own check, where clients' credentials decide (login.c): as admit_visit(). From then on what is asked
 * for the visit is asked with its login. */
bool admit_login(struct visit *visit);

/* 429, for who guesses passwords. */
void admit_slow_down(struct visit *visit, int retry_after_s);

/* Whether this is a client that was told to get a token, which is then given to it, or not. */
bool admit_token_request(struct visit *visit, struct access *access, bool tls);
