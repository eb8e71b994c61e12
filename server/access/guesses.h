/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who guesses passwords: an address that fails again and again is told to wait, longer each time, and what it shows is
 * not even looked at. Nor is it told then that it guessed right, though others are known to be right with the same:
 * only what was right from that very address before still is. Whoever knows a password is so not kept out by a
 * neighbour who does not, and a guess costs the same however many are logged in.
 *
 * Of IPv6 an address is its first half, since one host has all of the second. Any thread.
 */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define GUESSES_FREE          5  /* after so many failures an address waits 1 s, 2 s, … for each more */
#define GUESSES_AT_ONCE       32 /* of one address, before it is known how they end; 1 once it has to wait for each */
#define GUESSES_WAIT_MAX_S    60
#define GUESSES_FORGIVE_MS    600000 /* without a failure for so long: a clean slate */
#define GUESSES_ADDRESSES_MAX 4096   /* remembered, as below; what was heard of first makes room */
#define GUESSES_RIGHT_MAX     16384

struct guesses;

/* Somebody's try. Texts are borrowed. */
struct guess {
	const char *client; /* the address, without port */
	const char *shown;  /* tells name and password apart from all others: a MAC of both, never themselves */
	uint64_t now_ms;    /* clock_ms() */
	bool counted;       /* guesses_begin()'s own, for guesses_end() */
};

enum guess_end {
	GUESS_RIGHT,
	GUESS_WRONG,
	GUESS_OPEN, /* it was not found out, or is known to be wrong since it was tried before */
};

struct guesses *guesses_new(void);
/* Takes NULL. */
void guesses_free(struct guesses *guesses);

/* Before it is found out, or told, whether the guess is right. 0: it may be, and guesses_end() follows, once. Else for
 * how many seconds the address must wait. */
int guesses_begin(struct guesses *guesses, struct guess *guess);
void guesses_end(struct guesses *guesses, const struct guess *guess, enum guess_end end);

/* Whether it was right from this address before. */
bool guesses_is_known(struct guesses *guesses, const struct guess *guess);
