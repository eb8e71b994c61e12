/* SPDX-License-Identifier: Apache-2.0 */
/* Authorization: Basic, and Bearer with a token service (distribution's token authentication specification). */
#include "tests/wire/scripted_internal.h"

#include "base/cleanup.h"

#include <fnmatch.h>
#include <gnutls/gnutls.h>
#include <string.h>
#include <strings.h>

#define LIFE_DEFAULT_S 60 /* of a token without expires_in, by the specification */

static bool shows(const struct exchange *exchange, const char *pair)
{
	const char *header = headers_get(&exchange->request.headers, "Authorization");
	gnutls_datum_t plain = {(unsigned char *)pair, (unsigned)strlen(pair)};
	gnutls_datum_t encoded = {0};
	if (!header || strncasecmp(header, "Basic ", 6) != 0 || gnutls_base64_encode2(&plain, &encoded) != 0)
		return false;
	bool right = strlen(header + 6) == encoded.size && memcmp(header + 6, encoded.data, encoded.size) == 0;
	gnutls_free(encoded.data);
	return right;
}

/* By the grants: whether who asks is known, and may have the repository (NULL: is known, or has not said a name). */
static bool granted(const struct exchange *exchange, const char *repository)
{
	const char *line = exchange->connection->scripted->options.auth.grants;
	bool nobody = !headers_get(&exchange->request.headers, "Authorization");
	bool found = false;
	for (; !found && *line; line += strcspn(line, "\n"), line += strspn(line, "\n")) {
		_cleanup_free_ char *grant = mem_strndup(line, strcspn(line, "\n"));
		char *glob = strchr(grant, ' ');
		*glob++ = '\0';
		bool who = strcmp(grant, "*") == 0 ? repository || nobody : shows(exchange, grant);
		found = who && (!repository || fnmatch(glob, repository, 0) == 0);
	}
	return found;
}

static bool basic_right(const struct exchange *exchange)
{
	const struct scripted_auth *auth = &exchange->connection->scripted->options.auth;
	if (auth->grants)
		return granted(exchange, NULL);
	_cleanup_free_ char *pair =
		mem_printf("%s:%s", auth->username ? auth->username : "", auth->password ? auth->password : "");
	return shows(exchange, pair);
}

static void challenge(struct exchange *exchange, const char *repository, const char *error)
{
	const struct listener *listener = exchange->connection->listener;
	const struct scripted_auth *auth = &exchange->connection->scripted->options.auth;
	_cleanup_free_ char *own = mem_printf("%s/token", listener->url);
	_cleanup_free_ char *scope =
		repository ? mem_printf(",scope=\"repository:%s:pull\"", repository) : mem_strdup("");
	_cleanup_free_ char *said =
		auth->kind == SCRIPTED_AUTH_BASIC
			? mem_strdup("Basic realm=\"scripted\"")
			: mem_printf("Bearer realm=\"%s\",service=\"scripted\"%s%s%s%s",
				     auth->realm ? auth->realm : own, scope, error ? ",error=\"" : "",
				     error ? error : "", error ? "\"" : "");
	answer_error(exchange, 401, "UNAUTHORIZED", "authentication required");
	headers_set(&exchange->answer.headers, "WWW-Authenticate", said);
}

static bool basic_admits(struct exchange *exchange, const char *repository)
{
	const struct scripted_auth *auth = &exchange->connection->scripted->options.auth;
	bool named = headers_get(&exchange->request.headers, "Authorization") != NULL;
	if (auth->grants ? (repository || named) && granted(exchange, repository) : basic_right(exchange))
		return true;
	if (auth->grants && named && granted(exchange, NULL))
		answer_error(exchange, 403, "DENIED", "this user may not have that");
	else
		challenge(exchange, repository, NULL);
	return false;
}

static const struct token *token_find(const struct exchange *exchange)
{
	const char *header = headers_get(&exchange->request.headers, "Authorization");
	if (!header || strncasecmp(header, "Bearer ", 7) != 0)
		return NULL;
	const struct token *token = exchange->connection->scripted->tokens;
	while (token && strcmp(token->text, header + 7) != 0)
		token = token->next;
	return token;
}

/* Whether one of the scopes, split by spaces, is repository:NAME:… with pull among its actions. */
static bool scope_opens(const char *scope, const char *repository)
{
	_cleanup_free_ char *wanted = mem_printf("repository:%s:", repository);
	for (; *scope; scope += strcspn(scope, " "), scope += strspn(scope, " ")) {
		size_t len = strcspn(scope, " ");
		if (strncmp(scope, wanted, strlen(wanted)) == 0 && memmem(scope, len, "pull", 4))
			return true;
	}
	return false;
}

bool token_admits(struct exchange *exchange, const char *repository, uint64_t now_us)
{
	const struct scripted_auth *auth = &exchange->connection->scripted->options.auth;
	if (auth->kind == SCRIPTED_AUTH_NONE || exchange->connection->listener->open)
		return true;
	if (auth->kind == SCRIPTED_AUTH_BASIC)
		return basic_admits(exchange, repository);
	const struct token *token = token_find(exchange);
	if (!token || now_us >= token->expires_us) {
		bool tried = headers_get(&exchange->request.headers, "Authorization") != NULL;
		challenge(exchange, repository, tried ? "invalid_token" : NULL);
		return false;
	}
	if ((auth->scope_check || auth->grants) && repository && !scope_opens(token->scope, repository)) {
		answer_error(exchange, 403, "DENIED", "the token is for another scope");
		return false;
	}
	return true;
}

/* As registries do, the token service leaves out what was asked for in vain. */
static bool scope_granted(const struct exchange *exchange, const char *scope)
{
	const char *colon = strchr(scope, ':'), *end = strrchr(scope, ':');
	if (!exchange->connection->scripted->options.auth.grants || !colon || end == colon)
		return true;
	_cleanup_free_ char *repository = mem_strndup(colon + 1, (size_t)(end - colon - 1));
	return granted(exchange, repository);
}

static char *scopes_asked(const struct exchange *exchange, const char *query)
{
	_cleanup_(buf_dispose) struct buf all = {0};
	for (unsigned i = 0;; i++) {
		_cleanup_free_ char *scope = query_get(query, "scope", i);
		if (scope && !scope_granted(exchange, scope))
			continue;
		if (!scope || buf_printf(&all, "%s%s", all.len ? " " : "", scope) != 0)
			break;
	}
	return mem_strdup(all.data ? all.data : "");
}

/* By the oauth2 flavour, credentials come in the form that is posted. */
static bool form_right(const struct exchange *exchange)
{
	const struct scripted_auth *auth = &exchange->connection->scripted->options.auth;
	_cleanup_free_ char *username = query_get(exchange->request.body.data, "username", 0);
	_cleanup_free_ char *password = query_get(exchange->request.body.data, "password", 0);
	_cleanup_free_ char *refresh = query_get(exchange->request.body.data, "refresh_token", 0);
	const char *secret = password ? password : refresh;
	return secret && auth->password && strcmp(secret, auth->password) == 0 &&
	       (refresh || (username && auth->username && strcmp(username, auth->username) == 0));
}

void token_answer(struct exchange *exchange, uint64_t now_us)
{
	struct scripted *scripted = exchange->connection->scripted;
	const struct scripted_auth *auth = &scripted->options.auth;
	bool posted = strcmp(exchange->request.method, "POST") == 0;
	if ((auth->username || auth->grants) && !(posted ? form_right(exchange) : basic_right(exchange))) {
		answer_error(exchange, 401, "UNAUTHORIZED", "wrong username or password");
		return;
	}
	if (scripted->token_count >= TOKENS_MAX) {
		answer_error(exchange, 500, "UNKNOWN", "too many tokens");
		return;
	}
	struct token *token = mem_alloc(sizeof(*token));
	uint64_t life_s = auth->expires_in ? auth->expires_in : LIFE_DEFAULT_S;
	token->text = mem_printf("scripted-token-%u", ++scripted->tokens_given);
	token->scope = scopes_asked(exchange, posted ? exchange->request.body.data : exchange->request.query);
	token->expires_us = now_us + (auth->lives_ms ? auth->lives_ms * UINT64_C(1000) : life_s * 1000000);
	token->next = scripted->tokens;
	scripted->tokens = token;
	scripted->token_count++;
	_cleanup_free_ char *expires =
		auth->expires_in ? mem_printf(",\"expires_in\":%u", auth->expires_in) : mem_strdup("");
	_cleanup_free_ char *json =
		mem_printf("{\"%s\":\"%s\"%s}", auth->access_token ? "access_token" : "token", token->text, expires);
	answer_text(exchange, 200, "application/json", json);
}

void token_free_all(struct scripted *scripted)
{
	while (scripted->tokens) {
		struct token *token = scripted->tokens;
		scripted->tokens = token->next;
		free(token->text);
		free(token->scope);
		free(token);
	}
	scripted->token_count = 0;
}

void scripted_revoke_tokens(struct scripted *scripted)
{
	scripted_lock(scripted);
	token_free_all(scripted);
	scripted_unlock(scripted);
}
