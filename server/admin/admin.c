/* SPDX-License-Identifier: Apache-2.0 */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "server/bundle/sign.h"

#include <arpa/inet.h>
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#define PATH_SHOWN_MAX 512

struct admin *admin_new(const struct admin_options *options)
{
	struct admin *admin = mem_alloc(sizeof(*admin));

	admin->pull = options->pull;
	admin->store = options->store;
	admin->files = options->files;
	admin->traffic = options->traffic;
	admin->token = mem_strdup(options->token);
	admin->has_token = options->token != NULL;
	if (options->verify_key) {
		admin->verify_key = mem_alloc(SIGN_PUBLIC_KEY_BYTES);
		memcpy(admin->verify_key, options->verify_key, SIGN_PUBLIC_KEY_BYTES);
	}
	admin->began_wall_s = clock_wall_s();
	admin->began_ms = clock_ms();
	admin->work = work_start(ADMIN_WORKERS);
	admin->streams = work_start(ADMIN_STREAMS_MAX);
	pthread_mutex_init(&admin->lock, NULL);
	admin->prefetch = (struct prefetch){.pull = admin->pull, .store = admin->store};
	admin->kinds[1] = (struct job_kind){.name = "gc", .run = admin_run_gc, .arg = admin};
	admin->kinds[2] = (struct job_kind){.name = "verify", .run = admin_run_verify, .arg = admin};
	admin->kinds[0] =
		(struct job_kind){.name = "prefetch", .run = prefetch_run, .arg = &admin->prefetch, .resumes = true};
	admin->jobs = jobs_new(admin->kinds, ADMIN_JOB_KINDS);
	admin->events = events_new(admin);
	admin->history = history_new(admin);
	return admin;
}

static void token_free(char *token)
{
	if (token)
		explicit_bzero(token, strlen(token));
	free(token);
}

void admin_set_token(struct admin *admin, const char *token)
{
	char *old;

	pthread_mutex_lock(&admin->lock);
	old = admin->token;
	admin->token = mem_strdup(token);
	pthread_mutex_unlock(&admin->lock);
	token_free(old);
}

void admin_free(struct admin *admin)
{
	if (!admin)
		return;
	admin_stop(admin);
	jobs_stop(admin->jobs);
	work_stop(admin->streams);
	work_stop(admin->work);
	events_free(admin->events);
	history_free(admin->history);
	jobs_free(admin->jobs);
	pthread_mutex_destroy(&admin->lock);
	token_free(admin->token);
	free(admin->verify_key);
	free(admin);
}

void admin_set_phase(struct admin *admin, enum admin_phase phase)
{
	__atomic_store_n(&admin->phase, phase, __ATOMIC_RELAXED);
}

void admin_resume(struct admin *admin, const char *jobs_directory, const struct admin_scheduled *schedule, size_t count)
{
	jobs_resume(admin->jobs, jobs_directory);
	admin->schedule = schedule_new(admin, schedule, count);
}

void admin_stop(struct admin *admin)
{
	events_stop(admin->events);
	schedule_free(admin->schedule);
	admin->schedule = NULL;
	jobs_interrupt(admin->jobs);
}

void admin_close(void *admin)
{
	visits_close(admin);
}

/* Who may ask. */

/* Takes as long for a wrong token as for the right one. */
static bool same_secret(const char *given, const char *secret)
{
	size_t given_len = strlen(given), secret_len = strlen(secret);
	unsigned char differs = given_len != secret_len;

	for (size_t i = 0; i < given_len; i++)
		differs |= (unsigned char)(given[i] ^ secret[i % secret_len]);
	return !differs;
}

static bool shows_token(struct admin *admin, struct http_request *request)
{
	const char *header = http_request_header(request, "Authorization");
	bool same;

	if (!header || strncasecmp(header, "Bearer ", 7) != 0)
		return false;
	pthread_mutex_lock(&admin->lock);
	same = same_secret(header + 7 + strspn(header + 7, " "), admin->token);
	pthread_mutex_unlock(&admin->lock);
	return same;
}

/*
 * Without a token, whoever reaches a loopback address may ask, and that is every program on this machine, a web browser
 * among them: a page from elsewhere whose name was made to point here (DNS rebinding) says that name as Host.
 */
static bool host_is_local(struct http_request *request)
{
	const char *host = http_request_header(request, "Host");
	char name[64];
	struct in6_addr address;
	size_t len;

	if (!host || !*host)
		return true;
	len = host[0] == '[' ? strcspn(host, "]") : strcspn(host, ":");
	if (host[0] == '[') {
		host++;
		len--;
	}
	if (len >= sizeof(name))
		return false;
	memcpy(name, host, len);
	name[len] = '\0';
	return strcasecmp(name, "localhost") == 0 || inet_pton(AF_INET, name, &address) == 1 ||
	       inet_pton(AF_INET6, name, &address) == 1;
}

/*
 * A page from elsewhere may also say the right Host, and send what needs no leave of the one it is sent to (a POST with
 * "no-cors", a link): its browser says then where it comes from. Programs that are no browsers say neither.
 */
static bool page_is_own(struct http_request *request)
{
	const char *site = http_request_header(request, "Sec-Fetch-Site");
	const char *origin = http_request_header(request, "Origin"), *host = http_request_header(request, "Host");
	const char *authority = origin ? strstr(origin, "://") : NULL;

	if (site && strcmp(site, "same-origin") != 0 && strcmp(site, "none") != 0)
		return false;
	return !origin || (authority && host && strcasecmp(authority + strlen("://"), host) == 0);
}

static bool may_ask(struct admin_visit *visit, struct http_request *request, const struct admin_route *route)
{
	static const struct http_header challenge = {"WWW-Authenticate", "Bearer realm=\"larder\""};
	struct admin *admin = visit->admin;
	const char *refusal = NULL;

	if (route && route->open)
		return true;
	if (!admin->has_token && strcmp(request->client, "unix") != 0) {
		if (!host_is_local(request))
			refusal = "without a token, the admin API answers only to localhost or an address as Host";
		else if (!page_is_own(request))
			refusal = "without a token, the admin API does not answer to pages from elsewhere";
	}
	if (refusal) {
		admin_reply_error(visit, 403, "denied", refusal);
		return false;
	}
	if (!admin->has_token || shows_token(admin, request))
		return true;
	admin_reply_error_with(visit, 401, "unauthorized",
			       "the admin API asks for its token: Authorization: Bearer TOKEN", &challenge);
	return false;
}

/* Routing. */

bool admin_route_takes_json(const struct admin_route *route)
{
	return route->sends && !strchr(route->sends, '/');
}

/* What stands for the braces in the route's path: its start and length. */
static bool path_matches(const struct admin_route *route, const char *path, size_t *rest, size_t *rest_len)
{
	const char *brace = strchr(route->path, '{'), *behind = brace ? strchr(brace, '}') + 1 : NULL;

	if (!brace) {
		*rest = strlen(path);
		*rest_len = 0;
		return strcmp(path, route->path) == 0;
	}
	*rest = (size_t)(brace - route->path);
	if (strncmp(path, route->path, *rest) != 0)
		return false;
	*rest_len = strcspn(path + *rest, "/");
	return *rest_len > 0 && strcmp(path + *rest + *rest_len, behind) == 0;
}

static bool method_matches(const struct admin_route *route, enum http_method method)
{
	return route->method == method || (route->method == HTTP_GET && method == HTTP_HEAD);
}

static const char *method_name(enum http_method method)
{
	static const char *const names[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", ""};

	return names[method];
}

/* The route of path and method; else NULL, and `allow` names the methods that the path has. */
static const struct admin_route *find_route(struct admin_visit *visit, struct buf *allow)
{
	for (size_t i = 0; i < admin_route_count; i++) {
		const struct admin_route *route = &admin_routes[i];
		size_t rest, rest_len;

		if (!path_matches(route, visit->path, &rest, &rest_len))
			continue;
		if (method_matches(route, visit->method)) {
			visit->rest = visit->path + rest;
			visit->path[rest + rest_len] = '\0';
			return route;
		}
		buf_printf(allow, "%s%s%s", allow->len ? ", " : "", method_name(route->method),
			   route->method == HTTP_GET ? ", HEAD" : "");
	}
	return NULL;
}

/* Finds the route; where there is none, or the client may not have it, that is the reply. */
static void choose(struct admin_visit *visit, struct http_request *request)
{
	_cleanup_(buf_dispose) struct buf allow = {0};
	const struct admin_route *route;
	char path[HTTP_TARGET_MAX];

	if (http_path_decode(request->path, path, sizeof(path))) {
		admin_reply_error(visit, 400, "invalid", "the path is malformed or too long");
		return;
	}
	visit->path = mem_strdup(path);
	route = find_route(visit, &allow);
	if (!may_ask(visit, request, route))
		return;
	if (route)
		visit->route = route;
	else if (allow.len > 0)
		admin_reply_error_with(visit, 405, "method_not_allowed", "this path does not do that",
				       &(struct http_header){"Allow", allow.data});
	else
		admin_reply_error(visit, 404, "not_found", "the admin API has no such path");
}

static enum http_upload begin(void *arg, struct http_request *request)
{
	struct admin_visit *visit = visit_new(arg, request);
	const char *expect = http_request_header(request, "Expect");

	choose(visit, request);
	if (!visit->route) {
		/* Whoever asks first may keep what it wanted to send. */
		if (expect)
			visit_show(visit);
		return HTTP_UPLOAD_DROP;
	}
	if (visit->route->way != ADMIN_STREAMS)
		return admin_route_takes_json(visit->route) ? HTTP_UPLOAD_COLLECT : HTTP_UPLOAD_DROP;
	visit_run(visit);
	return HTTP_UPLOAD_TAKE;
}

static ssize_t take(void *arg, struct http_request *request, const void *data, size_t len)
{
	(void)arg;
	return visit_take(request->state, data, len);
}

static void handle(void *arg, struct http_request *request)
{
	struct admin_visit *visit = request->state;

	(void)arg;
	visit_take_body(visit);
	visit_run(visit);
	visit_show(visit);
}

static void ended(void *arg, struct http_request *request, bool complete)
{
	(void)arg;
	(void)complete;
	if (request->method != HTTP_GET && request->method != HTTP_HEAD)
		log_info("admin: %s %.*s%s%.*s from %s: %d", request->method_text, PATH_SHOWN_MAX, request->path,
			 request->query[0] ? "?" : "", PATH_SHOWN_MAX, request->query, request->client,
			 request->status);
	visit_end(request->state);
}

struct http_handler admin_handler(struct admin *admin)
{
	return (struct http_handler){.handle = handle, .ended = ended, .arg = admin, .begin = begin, .take = take};
}
