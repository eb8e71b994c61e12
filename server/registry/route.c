/* SPDX-License-Identifier: Apache-2.0 */
#include "server/registry/route.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/http/http.h"

#include <stdio.h>
#include <string.h>

#define TARGET_MAX 2048

static int refuse(struct route *route, struct err *err, int code, const char *error, const char *why)
{
	route->error = error;
	return err_set(err, code, "%s", why);
}

/* Cuts "/v2/" off, wherever the upstream's prefix stands: "/v2/REST" -> REST; "/NAME/v2/REST" -> REST with *prefix set
 * to the upstream. False when it is neither. */
static bool strip_version(struct pull *pull, char *path, char **rest, struct pull_upstream **prefix)
{
	char *slash;

	if (strcmp(path, "/v2") == 0 || strncmp(path, "/v2/", 4) == 0) {
		*rest = path[3] ? path + 4 : path + 3;
		return true;
	}
	slash = path[0] == '/' ? strchr(path + 1, '/') : NULL;
	if (!slash || (strcmp(slash, "/v2") != 0 && strncmp(slash, "/v2/", 4) != 0))
		return false;
	*prefix = pull_find_upstream(pull, path + 1, (size_t)(slash - path - 1));
	*rest = slash[3] ? slash + 4 : slash + 3;
	return *prefix != NULL;
}

/* Splits "NAME/manifests/REFERENCE" and the like from behind, since a repository may have a component called "blobs".
 */
static bool split_rest(char *rest, struct route *route, char **name)
{
	static const struct {
		const char *room;
		enum route_kind kind;
	} rooms[] = {{"/manifests/", ROUTE_MANIFEST}, {"/blobs/", ROUTE_BLOB}, {"/referrers/", ROUTE_REFERRERS}};
	size_t len = strlen(rest);
	char *uploads = strstr(rest, "/blobs/uploads");

	*name = rest;
	if (uploads && (uploads[14] == '\0' || uploads[14] == '/')) {
		*uploads = '\0';
		route->kind = ROUTE_UPLOAD;
		return true;
	}
	if (len >= 10 && strcmp(rest + len - 10, "/tags/list") == 0) {
		rest[len - 10] = '\0';
		route->kind = ROUTE_TAGS;
		return true;
	}
	for (size_t i = 0; i < sizeof(rooms) / sizeof(rooms[0]); i++) {
		char *last = strrchr(rest, '/');
		size_t room_len = strlen(rooms[i].room);

		if (!last || (size_t)(last + 1 - rest) < room_len ||
		    strncmp(last + 1 - room_len, rooms[i].room, room_len) != 0)
			continue;
		route->kind = rooms[i].kind;
		/* One that is cut is still too long to be well-formed. */
		snprintf(route->reference, sizeof(route->reference), "%s", last + 1);
		last[1 - (ptrdiff_t)room_len] = '\0';
		return true;
	}
	return false;
}

/* Rule 1. */
static int upstream_from_query(struct pull *pull, const char *query, struct route *route, struct err *err)
{
	char name[REF_UPSTREAM_MAX + 8];
	int code = http_query_value(query, "ns", name, sizeof(name));
	char *colon;

	if (code == ERR_NOT_FOUND)
		return 0;
	if (code == 0)
		route->upstream = pull_find_upstream(pull, name, strlen(name));
	/* A port that is not part of the configured name ("docker.io:443") says nothing more. */
	colon = code == 0 ? strrchr(name, ':') : NULL;
	if (!route->upstream && colon && (strcmp(colon, ":443") == 0 || strcmp(colon, ":80") == 0))
		route->upstream = pull_find_upstream(pull, name, (size_t)(colon - name));
	if (!route->upstream)
		return refuse(route, err, ERR_NOT_FOUND, "NAME_UNKNOWN",
			      "no upstream of the name in ?ns= is configured");
	route->by_ns = true;
	memcpy(route->ns, name, strlen(name) + 1);
	return 0;
}

/* Rules 2 and 3: finds the upstream and what remains as the repository. */
static const char *upstream_from_name(struct pull *pull, struct route *route, const char *name)
{
	const char *slash = strchr(name, '/');

	if (!route->upstream && slash) {
		route->upstream = pull_find_upstream(pull, name, (size_t)(slash - name));
		if (route->upstream)
			return slash + 1;
	}
	if (!route->upstream)
		route->upstream = pull_default_upstream(pull);
	return name;
}

static int set_repository(struct route *route, const char *name, struct err *err)
{
	bool official = !strchr(name, '/') && strcmp(pull_upstream_name(route->upstream), "docker.io") == 0;
	int len;

	if (!ref_repository_valid(name, strlen(name)))
		return refuse(route, err, ERR_INVALID, "NAME_INVALID", "the repository's name is malformed");
	len = snprintf(route->repository, sizeof(route->repository), "%s%s", official ? "library/" : "", name);
	if (len < 0 || (size_t)len >= sizeof(route->repository))
		return refuse(route, err, ERR_INVALID, "NAME_INVALID", "the repository's name is too long");
	if (!pull_upstream_allows(route->upstream, route->repository))
		return refuse(route, err, ERR_DENIED, "DENIED", "the configuration does not allow this repository");
	return 0;
}

int route_parse(struct pull *pull, const char *path, const char *query, struct route *route, struct err *err)
{
	char decoded[TARGET_MAX], *rest, *name;
	bool prefixed;
	int code;

	memset(route, 0, sizeof(*route));
	if (http_path_decode(path, decoded, sizeof(decoded)))
		return refuse(route, err, ERR_INVALID, "NAME_INVALID", "the request's path is malformed or too long");
	if (!strip_version(pull, decoded, &rest, &route->upstream))
		return refuse(route, err, ERR_NOT_FOUND, "NAME_UNKNOWN",
			      "there is nothing at this path; the registry API is under /v2/");
	prefixed = route->upstream != NULL;
	if (rest[0] == '\0') {
		route->kind = ROUTE_PING;
		return upstream_from_query(pull, query, route, err);
	}
	if (strcmp(rest, "_catalog") == 0) {
		route->kind = ROUTE_CATALOG;
		route->by_ns = prefixed;
		return upstream_from_query(pull, query, route, err);
	}
	if (!split_rest(rest, route, &name))
		return refuse(route, err, ERR_NOT_FOUND, "NAME_UNKNOWN", "the registry API has no such route");
	if (strlen(name) >= sizeof(route->asked_name))
		return refuse(route, err, ERR_INVALID, "NAME_INVALID", "the repository's name is too long");
	memcpy(route->asked_name, name, strlen(name) + 1);
	code = upstream_from_query(pull, query, route, err);
	if (code == 0)
		code = set_repository(route, upstream_from_name(pull, route, name), err);
	if (code == 0 && prefixed && !route->by_ns)
		snprintf(route->asked_name, sizeof(route->asked_name), "%s/%s", pull_upstream_name(route->upstream),
			 route->repository);
	return code;
}

int route_find(struct pull *pull, const struct ref *ref, const char *ns, struct route *route, struct err *err)
{
	_cleanup_free_ char *path = NULL, *query = NULL;

	/* For a pull through the default upstream this would be a repository; who writes it means a registry. */
	if (!ns && ref->host_len && !pull_find_upstream(pull, ref->name, ref->host_len))
		return err_set(err, ERR_NOT_FOUND, "no upstream %.*s is configured", (int)ref->host_len, ref->name);
	path = mem_printf("/v2/%s/manifests/%s", ref->name, ref_reference(ref));
	query = ns ? mem_printf("ns=%s", ns) : mem_strdup("");
	return route_parse(pull, path, query, route, err);
}
