/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/token.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "upstream/registry.h"
#include "upstream/retry.h"

#include <assert.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <uthash.h>
#include <utlist.h>

#define LIFE_MARGIN_MAX_MS 30000

struct token_entry {
	UT_hash_handle hh;
	char *key; /* realm, service, scope and whose it is, by newlines */
	struct tokens *tokens;
	bool of_client; /* of a client's login, which is held while it is asked with */
	struct client_login *login;
	char *authorization; /* "Bearer …"; NULL while none is held */
	uint64_t fresh_until_ms;
	struct token_waiter *waiters;

	/* The asking: first for credentials, where the service may have them, then for the token. */
	bool asking;
	char *realm, *query; /* query: "service=…&scope=…" */
	enum url_ground nearest;
	bool stranger; /* a service that gets no credentials */
	struct credentials_waiter credentials;
	char *shown;      /* what it was asked with: "Basic …" or an identity token; NULL: as nobody */
	bool shown_again; /* after what was shown first was refused */
	struct fetch *fetch;
	struct buf body;
	int status;
};

struct tokens {
	struct fetch_pool *pool;
	struct url upstream;
	char *upstream_url; /* what `upstream` points into */
	char *upstream_name;
	char **services;
	size_t service_count;
	bool told_untrusted;
	struct credentials *credentials;
	struct token_entry *entries;
};

struct tokens *tokens_new(struct loop *loop, struct fetch_pool *pool, const struct tokens_options *options)
{
	struct tokens *tokens = mem_alloc(sizeof(*tokens));
	const struct credentials_options credentials = {
		.registry_url = options->upstream_url,
		.username = options->username,
		.password = options->password,
		.docker_config = options->docker_config,
	};
	int invalid;

	tokens->pool = pool;
	tokens->upstream_url = mem_strdup(options->upstream_url);
	tokens->upstream_name = mem_strdup(options->upstream_name);
	invalid = url_parse(tokens->upstream_url, &tokens->upstream);
	assert(!invalid); /* the configuration was checked */
	tokens->services = mem_alloc((options->service_count + 1) * sizeof(char *));
	for (size_t i = 0; i < options->service_count; i++)
		tokens->services[i] = mem_strdup(options->services[i]);
	tokens->service_count = options->service_count;
	tokens->credentials = credentials_new(loop, &credentials);
	return tokens;
}

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static void entry_free(struct token_entry *entry)
{
	wipe(&entry->authorization);
	wipe(&entry->shown);
	free(entry->key);
	free(entry->realm);
	free(entry->query);
	client_login_release(entry->login);
	buf_dispose(&entry->body);
	free(entry);
}

static void entry_tell(struct token_entry *entry, const struct err *err)
{
	struct token_waiter *waiter;
	unsigned count = 0;

	entry->asking = false;
	wipe(&entry->shown);
	client_login_release(entry->login);
	entry->login = NULL;
	/* ready() may ask again or cancel another: who comes now stands behind, and waits for the next answer. */
	DL_COUNT(entry->waiters, waiter, count);
	while (count-- > 0 && (waiter = entry->waiters)) {
		DL_DELETE(entry->waiters, waiter);
		waiter->entry = NULL;
		waiter->ready(waiter, err ? NULL : entry->authorization, err);
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
		credentials_cancel(tokens->credentials, &entry->credentials);
		if (entry->fetch)
			fetch_cancel(entry->fetch);
		entry_tell(entry, &err);
		HASH_DEL(tokens->entries, entry);
		entry_free(entry);
	}
	credentials_free(tokens->credentials);
	for (size_t i = 0; i < tokens->service_count; i++)
		free(tokens->services[i]);
	free(tokens->services);
	free(tokens->upstream_name);
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

/* "HOST" means its port 443. */
static bool service_is(const struct url *service, const char *allowed)
{
	_cleanup_free_ char *text = mem_printf("https://%s", allowed);
	struct url url;

	return url_parse(text, &url) == 0 && url_same_host(&url, service) && url.port == service->port;
}

static bool service_among(const struct url *service, const char *const *allowed, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (service_is(service, allowed[i]))
			return true;
	return false;
}

bool token_service_trusted(const struct url *upstream, const struct url *service, const char *const *allowed,
			   size_t allowed_count)
{
	if (!service->https && upstream->https)
		return false;
	if (url_same_host(upstream, service))
		return true;
	for (size_t i = 0; i < sizeof(known_services) / sizeof(known_services[0]); i++)
		if (strcmp(known_services[i].upstream, upstream->host) == 0 &&
		    strcmp(known_services[i].service, service->host) == 0 && service->https && service->port == 443)
			return true;
	return service_among(service, allowed, allowed_count);
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
	wipe(&entry->authorization);
	entry->authorization = mem_printf("Bearer %s", token);
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

static void entry_ask(struct token_entry *entry);

/* 401 or 403. Credentials that may have changed since are read again, and a refusal of new ones is final. */
static bool ask_again(struct token_entry *entry)
{
	if (!entry->shown || entry->shown_again || entry->login ||
	    !credentials_refused(entry->tokens->credentials, entry->shown))
		return false;
	entry->shown_again = true;
	entry_ask(entry);
	return true;
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
	else if ((entry->status == 401 || entry->status == 403) && ask_again(entry))
		return;
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
			err.retry_after_s = retry_after_s(after_ms);
	}
	entry_tell(entry, err.code ? &err : NULL);
}

static const struct fetch_sink token_sink = {.on_head = on_head, .on_body = on_body, .on_done = on_done};

/* Asking. */

/* As nobody, or by Basic. */
static void entry_get(struct token_entry *entry, const char *basic)
{
	_cleanup_free_ char *url =
		mem_printf("%s%s%s", entry->realm, strchr(entry->realm, '?') ? "&" : "?", entry->query);
	_cleanup_(wipe) char *authorization = basic ? mem_printf("Authorization: %s", basic) : NULL;
	const char *headers[2] = {"Accept: application/json", authorization};
	const struct fetch_request request = {
		.url = url,
		.kind = REGISTRY_TOKEN,
		.headers = headers,
		.header_count = basic ? 2 : 1,
		.nearest = entry->nearest,
		.no_client_cert = entry->stranger,
	};

	entry->fetch = fetch_start(entry->tokens->pool, &request, &token_sink, entry);
}

static void entry_post(struct token_entry *entry, const char *identity_token)
{
	_cleanup_(wipe) char *token_value = url_escape(identity_token);
	_cleanup_(wipe) char *form =
		mem_printf("grant_type=refresh_token&client_id=larder&%s&refresh_token=%s", entry->query, token_value);
	const char *headers[2] = {"Accept: application/json", "Content-Type: application/x-www-form-urlencoded"};
	const struct fetch_request request = {
		.url = entry->realm,
		.kind = REGISTRY_TOKEN,
		.post = form,
		.headers = headers,
		.header_count = 2,
		.nearest = entry->nearest,
	};

	entry->fetch = fetch_start(entry->tokens->pool, &request, &token_sink, entry);
}

static void entry_fetch(struct token_entry *entry, const struct credential *credential)
{
	const char *shown = credential->identity_token ? credential->identity_token : credential->basic;
	bool same = entry->shown_again && shown && strcmp(shown, entry->shown) == 0;
	struct err err;

	if (same) {
		err_set(&err, ERR_DENIED, "the token service refuses the credentials: HTTP %d", entry->status);
		entry_tell(entry, &err);
		return;
	}
	wipe(&entry->shown);
	entry->shown = mem_strdup(shown);
	buf_clear(&entry->body);
	entry->body.max = TOKEN_BYTES_MAX;
	entry->status = 0;
	if (credential->identity_token)
		entry_post(entry, credential->identity_token);
	else
		entry_get(entry, credential->basic);
}

static void on_credentials(struct credentials_waiter *waiter, const struct credential *credential,
			   const struct err *err)
{
	struct token_entry *entry = (struct token_entry *)((char *)waiter - offsetof(struct token_entry, credentials));

	if (err)
		entry_tell(entry, err);
	else
		entry_fetch(entry, credential);
}

bool tokens_have_credentials(const struct tokens *tokens)
{
	return credentials_configured(tokens->credentials);
}

static void tell_untrusted(struct tokens *tokens, const struct url *service)
{
	if (tokens->told_untrusted)
		return;
	tokens->told_untrusted = true;
	log_warn("upstream %s: its challenge names a token service at %s:%u, which does not get the credentials; if it "
		 "should, add it to upstreams.%s.token_services",
		 tokens->upstream_name, service->host, service->port, tokens->upstream_name);
}

static void entry_ask(struct token_entry *entry)
{
	struct tokens *tokens = entry->tokens;
	struct credential shown = {0};

	entry->asking = true;
	if (entry->login && !entry->stranger)
		shown.basic = client_login_basic(entry->login);
	if (entry->login || entry->stranger) {
		entry_fetch(entry, &shown);
		return;
	}
	entry->credentials.ready = on_credentials;
	credentials_get(tokens->credentials, &entry->credentials);
}

static struct token_entry *entry_new(struct tokens *tokens, const struct challenge *challenge, const char *scope,
				     struct client_login *login, char *key)
{
	_cleanup_free_ char *service_value = url_escape(challenge->service);
	_cleanup_free_ char *scope_value = url_escape(scope);
	bool both = challenge->service[0] && scope[0];
	struct token_entry *entry = mem_alloc(sizeof(*entry));

	entry->tokens = tokens;
	entry->key = key;
	entry->of_client = login != NULL;
	entry->realm = mem_strdup(challenge->realm);
	entry->query = mem_printf("%s%s%s%s%s", challenge->service[0] ? "service=" : "", service_value, both ? "&" : "",
				  scope[0] ? "scope=" : "", scope_value);
	HASH_ADD_KEYPTR(hh, tokens->entries, entry->key, strlen(entry->key), entry);
	return entry;
}

static void entry_forget(struct token_entry *entry)
{
	HASH_DEL(entry->tokens->entries, entry);
	entry_free(entry);
}

/* Forgets the entry that ends first, among those nobody waits for; and what clients showed, once it is of no use. */
static void make_room(struct tokens *tokens)
{
	struct token_entry *entry, *next, *victim = NULL;
	uint64_t now = clock_ms();

	HASH_ITER (hh, tokens->entries, entry, next) {
		if (entry->asking || entry->waiters)
			continue;
		if (entry->of_client && now >= entry->fresh_until_ms)
			entry_forget(entry);
		else if (!victim || entry->fresh_until_ms < victim->fresh_until_ms)
			victim = entry;
	}
	if (victim && HASH_COUNT(tokens->entries) >= TOKEN_SCOPES_MAX)
		entry_forget(victim);
}

static char *key_make(const struct challenge *challenge, const char *scope, const struct client_login *login)
{
	return mem_printf("%s\n%s\n%s\n%s", challenge->realm, challenge->service, scope, client_login_key(login));
}

/* For Basic. */
static void on_basic(struct credentials_waiter *credentials, const struct credential *credential, const struct err *err)
{
	struct token_waiter *waiter =
		(struct token_waiter *)((char *)credentials - offsetof(struct token_waiter, credentials));
	struct err useless;

	if (!err && !credential->basic && credential->identity_token) {
		err_set(&useless, ERR_DENIED,
			"the upstream asks for a password, and docker_config has an identity token");
		err = &useless;
	}
	waiter->ready(waiter, err ? NULL : credential->basic, err);
}

/* Of whom a token is not even asked for as nobody. One that the configuration names may lie anywhere: `ground` tells.
 */
static int service_check(const struct tokens *tokens, const struct challenge *challenge, enum url_ground *ground,
			 struct url *service, struct err *err)
{
	if (url_parse(challenge->realm, service))
		return err_set(err, ERR_UPSTREAM, "the challenge names no usable token service");
	if (service_among(service, (const char *const *)tokens->services, tokens->service_count))
		*ground = URL_LOCAL;
	if ((!service->https && tokens->upstream.https) || url_host_ground(service->host) > *ground)
		return err_set(err, ERR_UPSTREAM,
			       "the challenge names a token service that is not to be trusted: %s://%s",
			       service->https ? "https" : "http", service->host);
	return 0;
}

void token_get(struct tokens *tokens, const struct challenge *challenge, const char *scope, enum url_ground ground,
	       struct client_login *login, struct token_waiter *waiter)
{
	_cleanup_free_ char *key = key_make(challenge, scope, login);
	struct token_entry *entry;
	struct url service;
	struct err err;

	if (challenge->scheme == CHALLENGE_BASIC && login) {
		waiter->ready(waiter, client_login_basic(login), NULL);
		return;
	}
	if (challenge->scheme == CHALLENGE_BASIC) {
		waiter->credentials.ready = on_basic;
		credentials_get(tokens->credentials, &waiter->credentials);
		return;
	}
	if (service_check(tokens, challenge, &ground, &service, &err)) {
		waiter->ready(waiter, NULL, &err);
		return;
	}
	HASH_FIND_STR(tokens->entries, key, entry);
	if (entry && entry->authorization && clock_ms() < entry->fresh_until_ms) {
		waiter->ready(waiter, entry->authorization, NULL);
		return;
	}
	if (!entry) {
		make_room(tokens);
		entry = entry_new(tokens, challenge, scope, login, take_pointer(key));
	}
	waiter->entry = entry;
	DL_APPEND(entry->waiters, waiter);
	if (entry->asking)
		return;
	entry->nearest = ground;
	entry->stranger = !token_service_trusted(&tokens->upstream, &service, (const char *const *)tokens->services,
						 tokens->service_count);
	entry->shown_again = false;
	entry->login = client_login_hold(login);
	if (entry->stranger && (login ? client_login_basic(login) != NULL : tokens_have_credentials(tokens)))
		tell_untrusted(tokens, &service);
	entry_ask(entry);
}

void token_cancel(struct tokens *tokens, struct token_waiter *waiter)
{
	credentials_cancel(tokens->credentials, &waiter->credentials);
	if (!waiter->entry)
		return;
	DL_DELETE(waiter->entry->waiters, waiter);
	waiter->entry = NULL;
}

bool token_drop(struct tokens *tokens, const struct challenge *challenge, const char *scope,
		const struct client_login *login, const char *authorization)
{
	_cleanup_free_ char *key = key_make(challenge, scope, login);
	struct token_entry *entry;

	if (challenge->scheme == CHALLENGE_BASIC)
		return !login && credentials_refused(tokens->credentials, authorization);
	HASH_FIND_STR(tokens->entries, key, entry);
	if (entry && entry->authorization && strcmp(entry->authorization, authorization) == 0)
		wipe(&entry->authorization);
	return true;
}
