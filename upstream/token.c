/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/token.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "upstream/retry.h"

#include <assert.h>
#include <gnutls/gnutls.h>
#include <jansson.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uthash.h>
#include <utlist.h>

#define LIFE_MARGIN_MAX_MS 30000

struct token_entry {
	UT_hash_handle hh;
	char *key; /* realm, service and scope, by newlines */
	struct tokens *tokens;
	char *token; /* NULL while none is held */
	uint64_t fresh_until_ms;
	struct fetch *fetch; /* set while asking */
	struct token_waiter *waiters;
	struct buf body;
	int status;
};

struct tokens {
	struct loop *loop;
	struct fetch_pool *pool;
	struct url upstream;
	char *upstream_url; /* what `upstream` points into */
	char *basic;
	struct token_entry *entries;
};

static char *basic_make(const char *username, const char *password)
{
	_cleanup_free_ char *pair = mem_printf("%s:%s", username, password ? password : "");
	gnutls_datum_t in = {.data = (unsigned char *)pair, .size = (unsigned)strlen(pair)};
	gnutls_datum_t out = {0};
	char *basic;

	if (gnutls_base64_encode2(&in, &out) < 0)
		return NULL;
	basic = mem_printf("Basic %.*s", (int)out.size, (const char *)out.data);
	gnutls_memset(out.data, 0, out.size);
	gnutls_free(out.data);
	gnutls_memset(pair, 0, strlen(pair));
	return basic;
}

struct tokens *tokens_new(struct loop *loop, struct fetch_pool *pool, const struct tokens_options *options)
{
	struct tokens *tokens = mem_alloc(sizeof(*tokens));
	int invalid;

	tokens->loop = loop;
	tokens->pool = pool;
	tokens->upstream_url = mem_strdup(options->upstream_url);
	invalid = url_parse(tokens->upstream_url, &tokens->upstream);
	assert(!invalid); /* the configuration was checked */
	if (options->username)
		tokens->basic = basic_make(options->username, options->password);
	return tokens;
}

const char *tokens_basic(const struct tokens *tokens)
{
	return tokens->basic;
}

static void entry_free(struct token_entry *entry)
{
	if (entry->token)
		gnutls_memset(entry->token, 0, strlen(entry->token));
	free(entry->token);
	free(entry->key);
	buf_dispose(&entry->body);
	free(entry);
}

static void entry_tell(struct token_entry *entry, const struct err *err)
{
	struct token_waiter *waiter;
	unsigned count = 0;

	/* ready() may ask again or cancel another: who comes now stands behind, and waits for the next answer. */
	DL_COUNT(entry->waiters, waiter, count);
	while (count-- > 0 && (waiter = entry->waiters)) {
		DL_DELETE(entry->waiters, waiter);
		waiter->entry = NULL;
		waiter->ready(waiter, err ? NULL : entry->token, err);
	}
}

void tokens_free(struct tokens *tokens)
{
	struct token_entry *entry, *next;
	struct err err;

	if (!tokens)
		return;
	err_set(&err, ERR_CANCELLED, "larder is shutting down");
	HASH_ITER (hh, tokens->entries, entry, next) {
		if (entry->fetch)
			fetch_cancel(entry->fetch);
		entry_tell(entry, &err);
		HASH_DEL(tokens->entries, entry);
		entry_free(entry);
	}
	if (tokens->basic)
		gnutls_memset(tokens->basic, 0, strlen(tokens->basic));
	free(tokens->basic);
	free(tokens->upstream_url);
	free(tokens);
}

/* Who may see which upstream's credentials. Registries whose token service has a host of its own. */
static const struct {
	const char *upstream;
	const char *service;
} known_services[] = {
	{"registry-1.docker.io", "auth.docker.io"},
	{"registry.gitlab.com", "gitlab.com"},
};

bool token_service_trusted(const struct url *upstream, const struct url *service)
{
	if (!service->https && upstream->https)
		return false;
	if (url_same_host(upstream, service))
		return true;
	for (size_t i = 0; i < sizeof(known_services) / sizeof(known_services[0]); i++)
		if (strcmp(known_services[i].upstream, upstream->host) == 0 &&
		    strcmp(known_services[i].service, service->host) == 0 && service->https && service->port == 443)
			return true;
	return false;
}

/* The answer. */

static bool token_text_valid(const char *token)
{
	if (!token || !*token)
		return false;
	for (const char *c = token; *c; c++)
		if (*c <= ' ' || *c >= 0x7f)
			return false;
	return true;
}

static int take_answer(struct token_entry *entry, struct err *err)
{
	json_t *answer = json_loadb(entry->body.data ? entry->body.data : "", entry->body.len, 0, NULL);
	const char *token = json_string_value(json_object_get(answer, "token"));
	json_int_t life_s = TOKEN_DEFAULT_LIFE_S;
	json_t *expires_in = json_object_get(answer, "expires_in");
	uint64_t life_ms, margin_ms;

	if (!token_text_valid(token))
		token = json_string_value(json_object_get(answer, "access_token"));
	if (!token_text_valid(token)) {
		json_decref(answer);
		return err_set(err, ERR_UPSTREAM, "the token service's answer holds no token");
	}
	if (json_is_integer(expires_in) && json_integer_value(expires_in) > 0)
		life_s = json_integer_value(expires_in);
	if (life_s > 24 * 3600)
		life_s = 24 * 3600;
	life_ms = (uint64_t)life_s * 1000;
	/* The margin must stay below the shortest life there is, or no token would ever be fresh. */
	margin_ms = life_ms / 4 < LIFE_MARGIN_MAX_MS ? life_ms / 4 : LIFE_MARGIN_MAX_MS;
	free(entry->token);
	entry->token = mem_strdup(token);
	entry->fresh_until_ms = clock_ms() + life_ms - margin_ms;
	json_decref(answer);
	return 0;
}

static int on_head(void *arg, struct fetch *fetch, const struct fetch_head *head)
{
	struct token_entry *entry = arg;

	(void)fetch;
	entry->status = head->status;
	return 0;
}

static int on_body(void *arg, struct fetch *fetch, const void *data, size_t len)
{
	struct token_entry *entry = arg;

	(void)fetch;
	return buf_append(&entry->body, data, len);
}

static void on_done(void *arg, struct fetch *fetch, enum fetch_failure failure, const char *why)
{
	struct token_entry *entry = arg;
	struct err err = {0};

	entry->fetch = NULL;
	if (failure == FETCH_CANCELLED)
		err_set(&err, ERR_CANCELLED, "given up");
	else if (failure != FETCH_OK)
		err_set(&err, ERR_UPSTREAM, "the token service cannot be asked: %s", why);
	else if (entry->status == 401 || entry->status == 403)
		err_set(&err, ERR_DENIED, "the token service refuses: HTTP %d", entry->status);
	else if (entry->status == 429)
		err_set(&err, ERR_RATE, "the token service says 429");
	else if (entry->status != 200)
		err_set(&err, ERR_UPSTREAM, "the token service answered HTTP %d", entry->status);
	else
		take_answer(entry, &err);
	if (err.code == ERR_RATE) {
		const char *after = fetch_header(fetch, "Retry-After");
		uint64_t after_ms = 0;

		if (after && retry_after_parse(after, clock_wall_ms(), &after_ms) == 0)
			err.retry_after_s = after_ms < INT_MAX ? (int)((after_ms + 999) / 1000) : INT_MAX / 1000;
	}
	entry_tell(entry, err.code ? &err : NULL);
}

static const struct fetch_sink token_sink = {.on_head = on_head, .on_body = on_body, .on_done = on_done};

/* Asking. */

static void entry_ask(struct token_entry *entry, const struct challenge *challenge, const char *scope,
		      const struct url *service, bool upstream_private)
{
	struct tokens *tokens = entry->tokens;
	_cleanup_free_ char *service_value = url_escape(challenge->service);
	_cleanup_free_ char *scope_value = url_escape(scope);
	_cleanup_free_ char *url = NULL;
	_cleanup_free_ char *authorization = NULL;
	const char *headers[2] = {"Accept: application/json"};
	struct fetch_request request = {.headers = headers, .header_count = 1, .public_only = !upstream_private};
	struct buf text = {0};

	buf_printf(&text, "%s%s", challenge->realm, strchr(challenge->realm, '?') ? "&" : "?");
	if (challenge->service[0])
		buf_printf(&text, "service=%s&", service_value);
	buf_printf(&text, "scope=%s", scope_value);
	url = text.data;
	if (tokens->basic && token_service_trusted(&tokens->upstream, service)) {
		authorization = mem_printf("Authorization: %s", tokens->basic);
		headers[request.header_count++] = authorization;
	}
	request.url = url;
	buf_clear(&entry->body);
	entry->body.max = TOKEN_BYTES_MAX;
	entry->status = 0;
	entry->fetch = fetch_start(tokens->pool, &request, &token_sink, entry);
}

/* Forgets the entry that ends first, among those nobody waits for. */
static void make_room(struct tokens *tokens)
{
	struct token_entry *entry, *next, *victim = NULL;

	if (HASH_COUNT(tokens->entries) < TOKEN_SCOPES_MAX)
		return;
	HASH_ITER (hh, tokens->entries, entry, next)
		if (!entry->fetch && !entry->waiters && (!victim || entry->fresh_until_ms < victim->fresh_until_ms))
			victim = entry;
	if (victim) {
		HASH_DEL(tokens->entries, victim);
		entry_free(victim);
	}
}

static char *key_make(const struct challenge *challenge, const char *scope)
{
	return mem_printf("%s\n%s\n%s", challenge->realm, challenge->service, scope);
}

void token_get(struct tokens *tokens, const struct challenge *challenge, const char *scope, bool upstream_private,
	       struct token_waiter *waiter)
{
	_cleanup_free_ char *key = key_make(challenge, scope);
	struct token_entry *entry;
	struct url service;
	struct err err;

	if (url_parse(challenge->realm, &service)) {
		err_set(&err, ERR_UPSTREAM, "the challenge names no usable token service");
		waiter->ready(waiter, NULL, &err);
		return;
	}
	if ((!service.https && tokens->upstream.https) || (!upstream_private && url_host_private(service.host))) {
		err_set(&err, ERR_UPSTREAM, "the challenge names a token service that is not to be trusted: %s://%s",
			service.https ? "https" : "http", service.host);
		waiter->ready(waiter, NULL, &err);
		return;
	}
	HASH_FIND_STR(tokens->entries, key, entry);
	if (entry && entry->token && clock_ms() < entry->fresh_until_ms) {
		waiter->ready(waiter, entry->token, NULL);
		return;
	}
	if (!entry) {
		make_room(tokens);
		entry = mem_alloc(sizeof(*entry));
		entry->tokens = tokens;
		entry->key = take_pointer(key);
		HASH_ADD_KEYPTR(hh, tokens->entries, entry->key, strlen(entry->key), entry);
	}
	waiter->entry = entry;
	DL_APPEND(entry->waiters, waiter);
	if (!entry->fetch)
		entry_ask(entry, challenge, scope, &service, upstream_private);
}

void token_cancel(struct tokens *tokens, struct token_waiter *waiter)
{
	(void)tokens;
	if (!waiter->entry)
		return;
	DL_DELETE(waiter->entry->waiters, waiter);
	waiter->entry = NULL;
}

void token_drop(struct tokens *tokens, const struct challenge *challenge, const char *scope, const char *token)
{
	_cleanup_free_ char *key = key_make(challenge, scope);
	struct token_entry *entry;

	HASH_FIND_STR(tokens->entries, key, entry);
	if (entry && entry->token && strcmp(entry->token, token) == 0) {
		free(entry->token);
		entry->token = NULL;
	}
}
