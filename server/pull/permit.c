/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/permit.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "server/pull/accept.h"
#include "server/pull/ask.h"

#include <stdlib.h>
#include <string.h>

/* What is remembered. */

struct entry {
	char *key; /* the login's and the repository */
	bool allowed;
	uint64_t until_ms;       /* holds without a question … */
	uint64_t grace_until_ms; /* … and, of a yes, while none can be asked */
	UT_hash_handle hh;
};

struct permits {
	pthread_mutex_t lock;
	struct entry *entries; /* in the order of insertion: the head is the oldest */
};

struct permits *permits_new(void)
{
	struct permits *permits = mem_alloc(sizeof(*permits));

	pthread_mutex_init(&permits->lock, NULL);
	return permits;
}

/* The lock is held, as below. */
static void forget(struct permits *permits, struct entry *entry)
{
	HASH_DEL(permits->entries, entry);
	free(entry->key);
	free(entry);
}

void permits_free(struct permits *permits)
{
	if (!permits)
		return;
	while (permits->entries)
		forget(permits, permits->entries);
	pthread_mutex_destroy(&permits->lock);
	free(permits);
}

static struct entry *find(struct permits *permits, const char *key)
{
	struct entry *entry;

	HASH_FIND_STR(permits->entries, key, entry);
	return entry;
}

/* Put anew, so that what is used stays. */
static void remember(struct permits *permits, const char *key, bool allowed, uint64_t until_ms, uint64_t grace_until_ms)
{
	struct entry *entry = find(permits, key);

	if (entry)
		forget(permits, entry);
	else if (HASH_COUNT(permits->entries) >= PERMITS_MAX)
		forget(permits, permits->entries);
	entry = mem_alloc(sizeof(*entry));
	entry->key = mem_strdup(key);
	entry->allowed = allowed;
	entry->until_ms = until_ms;
	entry->grace_until_ms = grace_until_ms;
	HASH_ADD_KEYPTR(hh, permits->entries, entry->key, strlen(entry->key), entry);
}

/* One client's question. */

enum permit_state {
	PERMIT_LOOK, /* is the answer remembered? -> SETTLED, ASK */
	PERMIT_ASK,  /* the registry is asked     -> SETTLED */
	PERMIT_SETTLED,
};

struct pull_permit {
	struct pull *pull;
	struct pull_upstream *upstream;
	char *repository, *reference, *key;
	enum registry_kind kind;
	struct accept accept;
	struct client_login *login;

	enum permit_state state;
	bool in_grace; /* there is a yes to fall back on */
	struct ask *ask;
	struct waiter *waiter;
	struct err err;
};

bool pull_upstream_asks_clients(const struct pull_upstream *upstream)
{
	return upstream->permits != NULL;
}

bool pull_upstream_serves_larder(const struct pull_upstream *upstream)
{
	return !upstream->permits || upstream->has_credentials;
}

static char *key_make(const char *repository, const struct client_login *login)
{
	return mem_printf("%s %s", client_login_key(login), repository);
}

struct pull_permit *pull_permit_open(struct pull *pull, const struct pull_permit_query *query)
{
	struct pull_permit *permit = mem_alloc(sizeof(*permit));

	permit->pull = pull;
	permit->upstream = query->upstream;
	permit->repository = mem_strdup(query->repository);
	permit->reference = mem_strdup(query->reference);
	permit->key = key_make(query->repository, query->login);
	permit->kind = query->kind;
	if (query->kind == REGISTRY_MANIFEST)
		accept_parse(query->accept, &permit->accept);
	permit->login = client_login_hold(query->login);
	return permit;
}

bool pull_permit_was_asked(const struct pull_permit *permit)
{
	return permit->ask != NULL;
}

void pull_permit_close(struct pull_permit *permit)
{
	if (!permit)
		return;
	ask_release(permit->ask, permit->waiter);
	client_login_release(permit->login);
	free(permit->repository);
	free(permit->reference);
	free(permit->key);
	free(permit);
}

static enum permit_state refuse(struct pull_permit *permit, int code, const char *why)
{
	err_set(&permit->err, code, "%s %s", permit->upstream->name, why);
	return PERMIT_SETTLED;
}

/* LOOK. */

static enum permit_state start_asking(struct pull_permit *permit)
{
	struct ask_request request = {
		.upstream = permit->upstream,
		.kind = permit->kind,
		.head = permit->kind == REGISTRY_MANIFEST || permit->kind == REGISTRY_BLOB,
		.repository = permit->repository,
		.reference = permit->reference,
		.accept = permit->kind == REGISTRY_MANIFEST ? permit->accept.text : NULL,
		.accept_key = permit->accept.key,
		.impatient = permit->in_grace,
		.login = permit->login,
		.whether = true,
	};
	enum ask_had had;

	do {
		request.landings = pull_landings(permit->pull);
		permit->ask = ask_open(permit->pull, &request, &had);
	} while (!permit->ask);
	return PERMIT_ASK;
}

static enum permit_state look(struct pull_permit *permit)
{
	struct permits *permits = permit->upstream->permits;
	uint64_t now = clock_ms();
	bool known = false, allowed = false;
	struct entry *entry;

	pthread_mutex_lock(&permits->lock);
	entry = find(permits, permit->key);
	if (entry) {
		known = now < entry->until_ms;
		allowed = entry->allowed;
		permit->in_grace = allowed && now < entry->grace_until_ms;
	}
	pthread_mutex_unlock(&permits->lock);
	if (known && allowed)
		return PERMIT_SETTLED;
	if (known)
		return refuse(permit, ERR_DENIED, "did not let these credentials a moment ago");
	if (permit->pull->offline)
		return refuse(permit, ERR_DENIED, "decides who may pull this, and larder is offline");
	return start_asking(permit);
}

/* ASK. */

/* What the registry says is the answer, and what it cannot be asked stays as it was for a while. */
static void take_answer(struct pull_permit *permit, int code)
{
	const struct pull_upstream_options *options = &permit->upstream->options;
	struct permits *permits = permit->upstream->permits;
	uint64_t now = clock_ms(), ttl = options->auth_ttl_ms;
	struct entry *entry;

	pthread_mutex_lock(&permits->lock);
	entry = find(permits, permit->key);
	if (code == 0) {
		remember(permits, permit->key, true, now + ttl, now + ttl + options->auth_grace_ms);
	} else if (code == ERR_DENIED) {
		ttl = ttl < PERMIT_REFUSED_MS ? ttl : PERMIT_REFUSED_MS;
		remember(permits, permit->key, false, now + ttl, 0);
	} else if (code == ERR_NOT_FOUND && entry) {
		/* Some registries say so of what is to stay hidden. */
		forget(permits, entry);
	} else if (entry && entry->allowed && now < entry->grace_until_ms) {
		entry->until_ms =
			now + PERMIT_AGAIN_MS < entry->grace_until_ms ? now + PERMIT_AGAIN_MS : entry->grace_until_ms;
		permit->err = (struct err){0};
	}
	pthread_mutex_unlock(&permits->lock);
}

static enum permit_state wait_for_answer(struct pull_permit *permit, struct waiter *waiter)
{
	const struct ask_result *result;
	int code = ask_poll(permit->ask, waiter, permit->in_grace, &result, &permit->err);

	if (code == ERR_AGAIN)
		return PERMIT_ASK;
	if (code != ERR_CANCELLED)
		take_answer(permit, code);
	return PERMIT_SETTLED;
}

int pull_permit_poll(struct pull_permit *permit, struct waiter *waiter, struct err *err)
{
	permit->waiter = waiter;
	if (permit->state == PERMIT_LOOK)
		permit->state = look(permit);
	if (permit->state == PERMIT_ASK)
		permit->state = wait_for_answer(permit, waiter);
	if (permit->state == PERMIT_ASK)
		return ERR_AGAIN;
	if (permit->err.code)
		*err = permit->err;
	return permit->err.code;
}

bool pull_permit_is_known(struct pull_upstream *upstream, const char *repository, const struct client_login *login)
{
	_cleanup_free_ char *key = key_make(repository, login);
	struct permits *permits = upstream->permits;
	struct entry *entry;
	bool allowed;

	pthread_mutex_lock(&permits->lock);
	entry = find(permits, key);
	allowed = entry && entry->allowed && clock_ms() < entry->until_ms;
	pthread_mutex_unlock(&permits->lock);
	return allowed;
}

void pull_permit_forget(struct pull_upstream *upstream, const char *repository, const struct client_login *login)
{
	_cleanup_free_ char *key = key_make(repository, login);
	struct permits *permits = upstream->permits;
	struct entry *entry;

	pthread_mutex_lock(&permits->lock);
	entry = find(permits, key);
	if (entry)
		forget(permits, entry);
	pthread_mutex_unlock(&permits->lock);
}
