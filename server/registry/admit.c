/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/admit.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/access/access.h"

#include <stdio.h>
#include <string.h>

#define TOKEN_PATH    "/token"
#define SERVICE       "larder"
#define FULL_NAME_MAX (REF_UPSTREAM_MAX + 1 + REF_REPOSITORY_MAX)
#define HOST_BYTES    256
#define HOST_LETTERS  "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-:[]"

/* Where the client reached us, as it says itself: it is told to nobody else. False when that is no host. */
static bool own_origin(struct visit *visit, bool tls, char origin[HOST_BYTES + 8])
{
	const char *host = http_request_header(visit->request, "Host");
	const char *scheme = http_request_header(visit->request, "X-Forwarded-Proto");

	if (!host || !host[0] || strlen(host) > HOST_BYTES - 1 || host[strspn(host, HOST_LETTERS)])
		return false;
	tls = tls || (scheme && strcmp(scheme, "https") == 0);
	snprintf(origin, HOST_BYTES + 8, "%s://%s", tls ? "https" : "http", host);
	return true;
}

static void challenge(struct visit *visit, struct access *access, bool tls)
{
	const char *shown = http_request_header(visit->request, "Authorization");
	char origin[HOST_BYTES + 8], scope[FULL_NAME_MAX + 32] = "";

	if (!access_has_anonymous(access) || !own_origin(visit, tls, origin)) {
		reply_header(visit, "WWW-Authenticate", "Basic realm=\"" SERVICE "\", charset=\"UTF-8\"");
		return;
	}
	if (visit->route.asked_name[0])
		snprintf(scope, sizeof(scope), ",scope=\"repository:%s:pull\"", visit->route.asked_name);
	reply_header(visit, "WWW-Authenticate", "Bearer realm=\"%s" TOKEN_PATH "\",service=\"" SERVICE "\"%s%s", origin,
		     scope, shown ? ",error=\"invalid_token\"" : "");
}

void admit_slow_down(struct visit *visit, int retry_after_s)
{
	reply_header(visit, "Retry-After", "%d", retry_after_s);
	reply_oci_error(visit, 429, "TOOMANYREQUESTS", "too many wrong passwords from this address", NULL);
}

static bool refuse(struct visit *visit, struct access *access, bool tls, enum access_verdict verdict, int retry_after_s)
{
	switch (verdict) {
	case ACCESS_ALLOWED:
		return true;
	case ACCESS_WAIT:
		return false;
	case ACCESS_LOGIN:
		challenge(visit, access, tls);
		reply_oci_error(visit, 401, "UNAUTHORIZED", "larder wants to know who you are: log in to it", NULL);
		return false;
	case ACCESS_DENIED:
		reply_oci_error(visit, 403, "DENIED", "larder's configuration does not let you pull this", NULL);
		return false;
	case ACCESS_SLOW_DOWN:
		admit_slow_down(visit, retry_after_s);
		return false;
	}
	return false;
}

bool admit_visit(struct visit *visit, struct access *access, bool tls)
{
	const char *authorization = http_request_header(visit->request, "Authorization");
	char name[FULL_NAME_MAX + 1];
	struct access_answer answer;
	enum access_verdict verdict;

	if (visit->route.repository[0])
		snprintf(name, sizeof(name), "%s/%s", pull_upstream_name(visit->route.upstream),
			 visit->route.repository);
	verdict = access_ask(access, authorization, visit->request->client, visit->route.repository[0] ? name : NULL,
			     &visit->request->waiter, &answer);
	strcpy(visit->user, answer.user);
	if (!refuse(visit, access, tls, verdict, answer.retry_after_s))
		return false;
	visit->admitted = true;
	return true;
}

/* As the token protocol has it: "token" and, for OAuth 2 clients, "access_token". */
static void give_token(struct visit *visit, struct access *access, const char *user)
{
	char token[ACCESS_TOKEN_MAX];
	_cleanup_(buf_dispose) struct buf text = {0};
	struct http_body body = {.kind = HTTP_BODY_MEMORY};

	access_make_token(access, user, token);
	buf_printf(&text, "{\"token\":\"%s\",\"access_token\":\"%s\",\"expires_in\":%d}\n", token, token,
		   ACCESS_TOKEN_TTL_S);
	body.data = text.data;
	body.len = text.len;
	visit->outcome = "hit";
	reply_header(visit, "Content-Type", "application/json");
	reply_header(visit, "Cache-Control", "no-store");
	reply_send(visit, 200, &body);
}

bool admit_token_request(struct visit *visit, struct access *access, bool tls)
{
	const char *authorization = http_request_header(visit->request, "Authorization");
	struct access_answer answer = {0};
	enum access_verdict verdict = ACCESS_ALLOWED;

	if (strcmp(visit->request->path, TOKEN_PATH) != 0 || visit->request->method != HTTP_GET ||
	    !access_has_anonymous(access))
		return false;
	if (authorization)
		verdict = access_ask(access, authorization, visit->request->client, NULL, &visit->request->waiter,
				     &answer);
	if (verdict == ACCESS_LOGIN) {
		/* Here a password is what is asked for. */
		reply_header(visit, "WWW-Authenticate", "Basic realm=\"" SERVICE "\", charset=\"UTF-8\"");
		reply_oci_error(visit, 401, "UNAUTHORIZED", "no such user, or another password", NULL);
	} else if (refuse(visit, access, tls, verdict, answer.retry_after_s)) {
		give_token(visit, access, answer.user);
	}
	return true;
}
