/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/hot.h"

#include "base/buf.h"
#include "server/registry/route.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <uthash.h>

#define SHARDS      16
#define KEY_MAX     4096
#define ENTRY_BYTES 2048 /* what an entry costs beside key and body, about */

/* Belongs to its reply: it dies with that. */
struct kept {
	struct hot_entry entry; /* first: outsiders have this */
	struct http_prepared *reply;
	bool head_only;
	size_t bytes;
	size_t key_len;
	char *key;
	UT_hash_handle hh;
};

struct shard {
	_Alignas(64) pthread_mutex_t lock;
	struct kept *kept; /* in the order of insertion: the head is the oldest */
	size_t bytes;
};

struct hot {
	struct shard shards[SHARDS];
};

/* What the answer depends on. */
struct key {
	char text[KEY_MAX];
	size_t len;
	unsigned hash;
};

static bool add_part(struct key *key, const char *part)
{
	size_t len = strlen(part) + 1;

	if (len > sizeof(key->text) - key->len)
		return false;
	memcpy(key->text + key->len, part, len);
	key->len += len;
	return true;
}

/* False for what is not kept here. */
static bool key_of(struct http_request *request, struct key *key)
{
	const char *accept;

	if ((request->method != HTTP_GET && request->method != HTTP_HEAD) || !strstr(request->path, "/manifests/") ||
	    http_request_header(request, "If-None-Match"))
		return false;
	accept = http_request_header(request, "Accept");
	key->len = 0;
	if (!add_part(key, request->path) || !add_part(key, request->query) || !add_part(key, accept ? accept : ""))
		return false;
	HASH_VALUE(key->text, key->len, key->hash);
	return true;
}

static struct shard *shard_of(struct hot *hot, const struct key *key)
{
	/* The low bits are the table's own. */
	return &hot->shards[key->hash >> 24 & (SHARDS - 1)];
}

struct hot *hot_new(void)
{
	struct hot *hot = aligned_alloc(_Alignof(struct hot), sizeof(*hot));

	if (!hot)
		abort();
	memset(hot, 0, sizeof(*hot));
	for (size_t i = 0; i < SHARDS; i++)
		pthread_mutex_init(&hot->shards[i].lock, NULL);
	return hot;
}

static void dispose(void *arg)
{
	struct kept *kept = arg;

	free(kept->entry.repository);
	free(kept->entry.reference);
	free(kept->key);
	free(kept);
}

/* The lock is held. */
static void drop(struct shard *shard, struct kept *kept)
{
	HASH_DEL(shard->kept, kept);
	shard->bytes -= kept->bytes;
	http_prepared_unref(kept->reply);
}

void hot_free(struct hot *hot)
{
	if (!hot)
		return;
	for (size_t i = 0; i < SHARDS; i++) {
		while (hot->shards[i].kept)
			drop(&hot->shards[i], hot->shards[i].kept);
		pthread_mutex_destroy(&hot->shards[i].lock);
	}
	free(hot);
}

bool hot_reply(struct hot *hot, struct pull *pull, struct http_request *request)
{
	struct http_prepared *reply = NULL;
	struct shard *shard;
	struct kept *kept;
	struct key key;

	if (!key_of(request, &key))
		return false;
	shard = shard_of(hot, &key);
	pthread_mutex_lock(&shard->lock);
	HASH_FIND_BYHASHVALUE(hh, shard->kept, key.text, key.len, key.hash, kept);
	if (kept && !pull_ticket_use(pull, &kept->entry.ticket))
		drop(shard, kept);
	else if (kept && (request->method == HTTP_HEAD || !kept->head_only))
		reply = http_prepared_ref(kept->reply);
	pthread_mutex_unlock(&shard->lock);
	if (!reply)
		return false;
	if (http_reply_prepared(request, reply))
		return true;
	http_prepared_unref(reply);
	return false;
}

const struct hot_entry *hot_entry_of(const struct http_request *request)
{
	return &((const struct kept *)http_prepared_arg(request->prepared))->entry;
}

void hot_keep(struct hot *hot, struct http_request *request, const struct route *route,
	      const struct pull_ticket *ticket, const struct http_header *headers, size_t header_count,
	      const struct http_body *body)
{
	struct kept *kept, *old;
	struct shard *shard;
	struct key key;

	if (body->len > HOT_BODY_MAX || !key_of(request, &key))
		return;
	kept = mem_alloc(sizeof(*kept));
	kept->entry = (struct hot_entry){.ticket = *ticket,
					 .upstream = route->upstream,
					 .repository = mem_strdup(route->repository),
					 .reference = mem_strdup(route->reference)};
	kept->head_only = !body->data;
	kept->key = mem_alloc(key.len);
	kept->key_len = key.len;
	memcpy(kept->key, key.text, key.len);
	kept->bytes = ENTRY_BYTES + key.len + (body->data ? body->len : 0);
	kept->reply = http_prepare(200, headers, header_count, body, kept, dispose);
	shard = shard_of(hot, &key);
	pthread_mutex_lock(&shard->lock);
	HASH_FIND_BYHASHVALUE(hh, shard->kept, key.text, key.len, key.hash, old);
	if (old)
		drop(shard, old);
	while (shard->kept && shard->bytes + kept->bytes > HOT_BYTES_MAX / SHARDS)
		drop(shard, shard->kept);
	HASH_ADD_KEYPTR_BYHASHVALUE(hh, shard->kept, kept->key, kept->key_len, key.hash, kept);
	shard->bytes += kept->bytes;
	pthread_mutex_unlock(&shard->lock);
}
