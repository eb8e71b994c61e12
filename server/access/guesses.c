/* SPDX-License-Identifier: Apache-2.0 */
#include "server/access/guesses.h"

#include "base/buf.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define ADDRESS_MAX 64
#define SHOWN_MAX   65

/* An address with failures, or with guesses that are being looked at. */
struct guesser {
	char address[ADDRESS_MAX];
	unsigned failures, open;
	uint64_t failed_ms;
	UT_hash_handle hh;
};

/* Zeroed behind its texts, since all of it is compared. */
struct right_key {
	char address[ADDRESS_MAX];
	char shown[SHOWN_MAX];
};

struct right {
	struct right_key key;
	UT_hash_handle hh;
};

/* The heads of both tables are what was heard of first. */
struct guesses {
	pthread_mutex_t lock;
	struct guesser *guessers;
	struct right *rights;
};

struct guesses *guesses_new(void)
{
	struct guesses *guesses = mem_alloc(sizeof(*guesses));

	pthread_mutex_init(&guesses->lock, NULL);
	return guesses;
}

/* The lock is held, as in all below but the functions of the header. */
static void forget(struct guesses *guesses, struct guesser *guesser)
{
	HASH_DEL(guesses->guessers, guesser);
	free(guesser);
}

static void forget_right(struct guesses *guesses, struct right *right)
{
	HASH_DEL(guesses->rights, right);
	free(right);
}

void guesses_free(struct guesses *guesses)
{
	if (!guesses)
		return;
	while (guesses->guessers)
		forget(guesses, guesses->guessers);
	while (guesses->rights)
		forget_right(guesses, guesses->rights);
	pthread_mutex_destroy(&guesses->lock);
	free(guesses);
}

static struct right_key key_of(const struct guess *guess)
{
	struct right_key key = {0};
	struct in6_addr address;

	snprintf(key.shown, sizeof(key.shown), "%s", guess->shown);
	if (inet_pton(AF_INET6, guess->client, &address) != 1) {
		snprintf(key.address, sizeof(key.address), "%s", guess->client);
	} else if (IN6_IS_ADDR_V4MAPPED(&address)) {
		inet_ntop(AF_INET, address.s6_addr + 12, key.address, sizeof(key.address));
	} else {
		memset(address.s6_addr + 8, 0, 8);
		inet_ntop(AF_INET6, &address, key.address, sizeof(key.address));
	}
	return key;
}

static struct guesser *find(struct guesses *guesses, const char *address, uint64_t now_ms)
{
	struct guesser *guesser;

	HASH_FIND_STR(guesses->guessers, address, guesser);
	if (guesser && guesser->failures > 0 && now_ms - guesser->failed_ms >= GUESSES_FORGIVE_MS)
		guesser->failures = 0;
	return guesser;
}

static struct guesser *find_or_add(struct guesses *guesses, const char *address, uint64_t now_ms)
{
	struct guesser *guesser = find(guesses, address, now_ms);

	if (guesser)
		return guesser;
	if (HASH_COUNT(guesses->guessers) >= GUESSES_ADDRESSES_MAX)
		forget(guesses, guesses->guessers);
	guesser = mem_alloc(sizeof(*guesser));
	strcpy(guesser->address, address);
	HASH_ADD_STR(guesses->guessers, address, guesser);
	return guesser;
}

static struct right *find_right(struct guesses *guesses, const struct right_key *key)
{
	struct right *right;

	HASH_FIND(hh, guesses->rights, key, sizeof(*key), right);
	return right;
}

static void add_right(struct guesses *guesses, const struct right_key *key)
{
	struct right *right = find_right(guesses, key);

	if (right)
		return;
	if (HASH_COUNT(guesses->rights) >= GUESSES_RIGHT_MAX)
		forget_right(guesses, guesses->rights);
	right = mem_alloc(sizeof(*right));
	right->key = *key;
	HASH_ADD(hh, guesses->rights, key, sizeof(right->key), right);
}

static int wait_s(const struct guesser *guesser, uint64_t now_ms)
{
	unsigned over = guesser->failures - GUESSES_FREE;
	uint64_t wait_ms;

	if (guesser->failures < GUESSES_FREE)
		return guesser->open >= GUESSES_AT_ONCE ? 1 : 0;
	wait_ms = over < 6 ? UINT64_C(1000) << over : GUESSES_WAIT_MAX_S * UINT64_C(1000);
	if (now_ms - guesser->failed_ms >= wait_ms)
		return guesser->open > 0 ? 1 : 0;
	return (int)((guesser->failed_ms + wait_ms - now_ms + 999) / 1000);
}

int guesses_begin(struct guesses *guesses, struct guess *guess)
{
	struct right_key key = key_of(guess);
	struct guesser *guesser;
	int wait = 0;

	pthread_mutex_lock(&guesses->lock);
	guess->counted = false;
	if (!find_right(guesses, &key)) {
		guesser = find_or_add(guesses, key.address, guess->now_ms);
		wait = wait_s(guesser, guess->now_ms);
		guess->counted = wait == 0;
		guesser->open += guess->counted;
	}
	pthread_mutex_unlock(&guesses->lock);
	return wait;
}

void guesses_end(struct guesses *guesses, const struct guess *guess, enum guess_end end)
{
	struct right_key key = key_of(guess);
	struct guesser *guesser;

	pthread_mutex_lock(&guesses->lock);
	if (end == GUESS_WRONG) {
		guesser = find_or_add(guesses, key.address, guess->now_ms);
		guesser->failures++;
		guesser->failed_ms = guess->now_ms;
	} else {
		guesser = find(guesses, key.address, guess->now_ms);
	}
	/* An address that had to make room since begins anew. */
	if (guesser && guesser->open > 0 && guess->counted)
		guesser->open--;
	if (guesser && guesser->failures == 0 && guesser->open == 0)
		forget(guesses, guesser);
	if (end == GUESS_RIGHT)
		add_right(guesses, &key);
	pthread_mutex_unlock(&guesses->lock);
}

bool guesses_is_known(struct guesses *guesses, const struct guess *guess)
{
	struct right_key key = key_of(guess);
	bool known;

	pthread_mutex_lock(&guesses->lock);
	known = find_right(guesses, &key) != NULL;
	pthread_mutex_unlock(&guesses->lock);
	return known;
}
