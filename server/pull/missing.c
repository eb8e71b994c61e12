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
};

static void missing_drop(struct pull *pull, struct missing *missing)
{
	HASH_DEL(pull->missing, missing);
	free(missing->key);
	free(missing);
}

bool missing_remembered(struct pull *pull, const char *key)
{
	struct missing *missing;

	HASH_FIND_STR(pull->missing, key, missing);
	if (!missing)
		return false;
	if (clock_ms() < missing->until_ms)
		return true;
	missing_drop(pull, missing);
	return false;
}

void missing_remember(struct pull *pull, const char *key, uint64_t ttl_ms)
{
	struct missing *missing;

	if (ttl_ms == 0 || missing_remembered(pull, key))
		return;
	/* The table keeps the order of insertion: its head is the oldest. */
	if (HASH_COUNT(pull->missing) >= MISSING_MAX)
		missing_drop(pull, pull->missing);
	missing = mem_alloc(sizeof(*missing));
	missing->key = mem_strdup(key);
	missing->until_ms = clock_ms() + ttl_ms;
	HASH_ADD_KEYPTR(hh, pull->missing, missing->key, strlen(missing->key), missing);
}

void missing_free(struct pull *pull)
{
	while (pull->missing)
		missing_drop(pull, pull->missing);
}
