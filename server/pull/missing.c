/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/missing.h"

#include "base/buf.h"
#include "base/clock.h"
#include "server/pull/pull_internal.h"

#include <stdlib.h>
#include <string.h>

#define MISSING_MAX 4096

struct missing {
	char *key;
	UT_hash_handle hh;
	uint64_t until_ms;
	int no_repository;
};

static void missing_drop(struct pull *pull, struct missing *missing)
{
	HASH_DEL(pull->missing, missing);
	free(missing->key);
	free(missing);
}

static struct missing *find(struct pull *pull, const char *key)
{
	struct missing *missing;

	HASH_FIND_STR(pull->missing, key, missing);
	if (!missing || clock_ms() < missing->until_ms)
		return missing;
	missing_drop(pull, missing);
	return NULL;
}

bool missing_remembered(struct pull *pull, const char *key, struct err *err)
{
	const struct missing *missing = find(pull, key);

	if (!missing)
		return false;
	err_set(err, ERR_NOT_FOUND, "the upstream did not have it a moment ago");
	err->no_repository = missing->no_repository;
	return true;
}

void missing_remember(struct pull *pull, const char *key, const struct err *why, uint64_t ttl_ms)
{
	struct missing *missing;

	if (ttl_ms == 0 || find(pull, key))
		return;
	/* The table keeps the order of insertion: its head is the oldest. */
	if (HASH_COUNT(pull->missing) >= MISSING_MAX)
		missing_drop(pull, pull->missing);
	missing = mem_alloc(sizeof(*missing));
	missing->key = mem_strdup(key);
	missing->until_ms = clock_ms() + ttl_ms;
	missing->no_repository = why->no_repository;
	HASH_ADD_KEYPTR(hh, pull->missing, missing->key, strlen(missing->key), missing);
}

void missing_free(struct pull *pull)
{
	while (pull->missing)
		missing_drop(pull, pull->missing);
}
