/* SPDX-License-Identifier: Apache-2.0 */
#include "server/access/access_internal.h"

#include "base/buf.h"

#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define CLIENT_MAX 64

struct guesser {
	char client[CLIENT_MAX];
	unsigned failures;
	uint64_t last_ms;
	UT_hash_handle hh;
};

struct guesses {
	struct guesser *guessers; /* the head is the one that was heard of first */
};

struct guesses *guesses_new(void)
{
	return mem_alloc(sizeof(struct guesses));
}

static void forget(struct guesses *guesses, struct guesser *guesser)
{
	HASH_DEL(guesses->guessers, guesser);
	free(guesser);
}

void guesses_free(struct guesses *guesses)
{
	while (guesses->guessers)
		forget(guesses, guesses->guessers);
	free(guesses);
}

static struct guesser *find(struct guesses *guesses, const char *client, uint64_t now_ms)
{
	struct guesser *guesser;

	HASH_FIND_STR(guesses->guessers, client, guesser);
	if (guesser && now_ms - guesser->last_ms >= ACCESS_FORGIVE_MS) {
		forget(guesses, guesser);
		return NULL;
	}
	return guesser;
}

int guesses_wait_s(struct guesses *guesses, const char *client, uint64_t now_ms)
{
	struct guesser *guesser = find(guesses, client, now_ms);
	uint64_t wait_ms, over;

	if (!guesser || guesser->failures < ACCESS_FREE_FAILURES)
		return 0;
	over = guesser->failures - ACCESS_FREE_FAILURES;
	wait_ms = over < 6 ? UINT64_C(1000) << over : ACCESS_SLOW_MAX_S * UINT64_C(1000);
	if (now_ms - guesser->last_ms >= wait_ms)
		return 0;
	return (int)((guesser->last_ms + wait_ms - now_ms + 999) / 1000);
}

void guesses_note_failure(struct guesses *guesses, const char *client, uint64_t now_ms)
{
	struct guesser *guesser = find(guesses, client, now_ms);

	if (!guesser) {
		if (HASH_COUNT(guesses->guessers) >= ACCESS_ADDRESSES_MAX)
			forget(guesses, guesses->guessers);
		guesser = mem_alloc(sizeof(*guesser));
		strncpy(guesser->client, client, sizeof(guesser->client) - 1);
		HASH_ADD_STR(guesses->guessers, client, guesser);
	}
	guesser->failures++;
	guesser->last_ms = now_ms;
}

void guesses_note_success(struct guesses *guesses, const char *client)
{
	struct guesser *guesser;

	HASH_FIND_STR(guesses->guessers, client, guesser);
	if (guesser)
		forget(guesses, guesser);
}
