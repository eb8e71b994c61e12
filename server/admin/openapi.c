/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The API's own description (OpenAPI 3.1), made from the table of routes, so that a route cannot be forgotten. What a
 * body holds stands here, as JSON schemas with ' for ".
 */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#define COUNT       "{'type': 'integer', 'minimum': 0}"
#define TEXT        "{'type': 'string'}"
#define FLAG        "{'type': 'boolean'}"
#define MAYBE(type) "{'type': ['" type "', 'null']}"
#define LIST(items) "{'type': 'array', 'items': " items "}"
#define COUNTS                                                                                                         \
	"{'type': 'object', 'required': ['total', 'done', 'failed'], 'properties': {'total': " COUNT                   \
	", 'done': " COUNT ", 'failed': " COUNT "}}"
#define JOB_KEYS                                                                                                       \
	"'id': " TEXT ", 'kind': " TEXT                                                                                \
	", 'state': {'enum': ['queued', 'running', 'done', 'failed', 'cancelled']}, 'images': " COUNTS                 \
	", 'layers': " COUNTS                                                                                          \
	", 'bytes': {'type': 'object', 'required': ['total', 'fetched', 'held'], 'properties': {'total': " COUNT       \
	", 'fetched': " COUNT ", 'held': " COUNT "}}, 'error_count': " COUNT                                           \
	", 'created': " MAYBE("number") ", 'started': " MAYBE("number") ", 'finished': " MAYBE(                        \
		"number") ", 'seconds': {'type': 'number'}"
#define JOB_REQUIRED                                                                                                   \
	"'id', 'kind', 'state', 'images', 'layers', 'bytes', 'error_count', 'created', 'started', 'finished', "        \
	"'seconds'"

static const struct schema {
	const char *name, *text;
} schemas[] = {
	{"Error", "{'type': 'object', 'required': ['error'], 'properties': {'error': {'type': 'object', 'required': "
		  "['code', 'message'], 'properties': {'code': " TEXT ", 'message': " TEXT "}}}}"},
	{"Health", "{'type': 'object', 'required': ['reasons'], 'properties': {'healthy': " FLAG ", 'ready': " FLAG
		   ", 'reasons': " LIST(TEXT) "}}"},
	{"Status",
	 "{'type': 'object', 'required': ['version', 'up_since', 'uptime_s', 'offline', 'requests', 'store', "
	 "'flight_count', 'flights', 'upstreams'], 'properties': {'version': " TEXT ", 'up_since': " COUNT
	 ", 'uptime_s': " COUNT ", 'offline': " FLAG ", 'requests': {'type': 'object'}, 'store': {'type': "
	 "'object', 'required': ['blobs', 'bytes', 'free_bytes', 'corrupt_blobs'], 'properties': {'blobs': " COUNT
	 ", 'bytes': " COUNT
	 ", 'free_bytes': " MAYBE("integer") ", 'corrupt_blobs': " COUNT "}}, 'flight_count': " COUNT
					     ", 'flights': " LIST("{'type': 'object'}") ", 'upstreams': " LIST(
						     "{'$ref': '#/components/schemas/Upstream'}") "}}"},
	{"Upstream", "{'type': 'object', 'required': ['name', 'state', 'requests', 'bytes', 'retries', 'connections', "
		     "'budget', 'pace'], 'properties': {'name': " TEXT ", 'state': {'enum': ['unused', 'healthy', "
		     "'failing', 'not answering']}, 'why': " MAYBE(
			     "string") ", 'requests': " COUNT ", 'bytes': " COUNT ", 'retries': " COUNT
				       ", 'connections': {'type': 'object'}, 'budget': " MAYBE(
					       "object") ", 'pace': {'type': 'object'}}}"},
	{"Explanation", "{'type': 'object', 'required': ['repository', 'reference', 'route', 'upstream', 'decision', "
			"'why', 'parts'], 'properties': {'repository': " TEXT ", 'reference': " TEXT
			", 'route': {'type': 'object'}, 'upstream': {'$ref': '#/components/schemas/Upstream'}, "
			"'decision': {'enum': ['serve', 'revalidate', 'fetch', 'serve stale', 'fail']}, 'why': " TEXT
			", 'parts': " LIST("{'type': 'object'}") "}}"},
	{"Prefetch", "{'type': 'object', 'required': ['images'], 'additionalProperties': false, 'properties': {"
		     "'images': " LIST(TEXT) ", 'platforms': " LIST(
			     TEXT) ", 'image_parallel': " COUNT ", 'layer_parallel': " COUNT ", 'pin': " TEXT
				   ", 'referrers': " FLAG ", 'platform_referrers': " FLAG ", 'dry_run': " FLAG "}}"},
	{"Started", "{'type': 'object', 'required': ['job'], 'properties': {'job': " TEXT "}}"},
	{"Job",
	 "{'type': 'object', 'required': [" JOB_REQUIRED ", 'active', 'errors', 'request'], 'properties': {" JOB_KEYS
	 ", 'active': " LIST(TEXT) ", 'errors': " LIST(
		 "{'type': 'object', 'required': ['image', 'message'], 'properties': {'image': " TEXT
		 ", 'message': " TEXT ", 'reason': " TEXT
		 "}}") ", 'request': {'type': 'object'}, 'result': {'type': 'object'}}}"},
	{"Jobs", "{'type': 'object', 'required': ['jobs'], 'properties': {'jobs': " LIST(
			 "{'type': 'object', 'required': [" JOB_REQUIRED "], 'properties': {" JOB_KEYS "}}") "}}"},
	{"Images", "{'type': 'object', 'required': ['images', 'more', 'next'], 'properties': {'more': " FLAG
		   ", 'next': " MAYBE("string") ", 'images': " LIST("{'$ref': '#/components/schemas/Image'}") "}}"},
	{"Image",
	 "{'type': 'object', 'required': ['reference', 'upstream', 'repository', 'tag', 'digest', "
	 "'media_type', 'held', 'size', 'unique_size', 'blobs', 'fetched', 'checked', 'last_use', "
	 "'platforms', 'pins'], 'properties': {'reference': " TEXT ", 'upstream': " TEXT ", 'repository': " TEXT
	 ", 'tag': " MAYBE(
		 "string") ", 'digest': " TEXT ", 'media_type': " TEXT ", 'held': " FLAG ", 'size': " COUNT
			   ", 'unique_size': " COUNT ", 'blobs': " COUNT
			   ", 'fetched': " MAYBE("integer") ", 'checked': " MAYBE("integer") ", 'last_use': " MAYBE(
				   "integer") ", 'platforms': " LIST(TEXT) ", 'pins': " LIST(TEXT) "}}"},
	{"Check",
	 "{'type': 'object', 'required': ['complete', 'missing', 'known', 'digest', 'parts', 'bytes'], "
	 "'properties': {'upstream': " TEXT ", 'repository': " TEXT ", 'reference': " TEXT ", 'complete': " FLAG
	 ", 'known': " FLAG ", 'digest': " MAYBE("string") ", 'parts': " COUNT ", 'bytes': " COUNT ", 'missing': " LIST(
		 "{'type': 'object', 'required': ['kind', 'digest', 'media_type', 'platform', "
		 "'size', 'state'], 'properties': {'kind': " TEXT
		 ", 'digest': " MAYBE("string") ", 'media_type': " TEXT ", 'platform': " TEXT
						", 'size': " MAYBE("integer") ", 'state': " TEXT "}}") "}}"},
	{"Forgotten", "{'type': 'object', 'required': ['forgotten'], 'properties': {'forgotten': {'type': 'object', "
		      "'required': ['tags', 'blobs', 'bytes'], 'properties': {'tags': " COUNT ", 'blobs': " COUNT
		      ", 'bytes': " COUNT "}}}}"},
	{"Pins", "{'type': 'object', 'required': ['pins'], 'properties': {'pins': " LIST(
			 "{'$ref': '#/components/schemas/Pin'}") "}}"},
	{"Pin",
	 "{'type': 'object', 'required': ['name', 'references'], 'properties': {'name': " TEXT
	 ", 'references': " LIST("{'type': 'object', 'required': ['ref', 'upstream', 'repository', 'reference', "
				 "'platforms'], 'properties': {'ref': " TEXT ", 'upstream': " TEXT
				 ", 'repository': " TEXT ", 'reference': " TEXT ", 'platforms': " TEXT "}}") "}}"},
	{"PinChange", "{'type': 'object', 'required': ['references'], 'properties': {'references': " LIST(
			      TEXT) ", 'platforms': " LIST(TEXT) ", 'add': " FLAG "}}"},
	{"CleanUp", "{'type': 'object', 'additionalProperties': false, 'properties': {'dry_run': " FLAG "}}"},
	{"Verify", "{'type': 'object', 'additionalProperties': false, 'properties': {'heal': " FLAG "}}"},
	{"Bundle",
	 "{'type': 'object', 'required': ['complete', 'signed', 'images', 'imported', 'held', 'missing'], "
	 "'properties': {'complete': " FLAG ", 'signed': " FLAG ", 'images': " LIST(
		 "{'type': 'object', 'required': ['name', 'digest', 'complete', 'configured'], 'properties': "
		 "{'name': " TEXT ", 'digest': " TEXT ", 'complete': " FLAG ", 'configured': " FLAG
		 "}}") ", "
		       "'imported': {'type': 'object', 'required': ['blobs', 'bytes'], 'properties': {'blobs': " COUNT
		       ", 'bytes': " COUNT
		       "}}, 'held': {'type': 'object', 'required': ['blobs', 'bytes'], 'properties': "
		       "{'blobs': " COUNT ", 'bytes': " COUNT "}}, 'missing': " LIST(
			       "{'type': 'object', 'required': ['digest', 'image', 'promised'], 'properties': "
			       "{'digest': " TEXT ", 'image': " TEXT ", 'promised': " FLAG "}}") "}}"},
	{"History", "{'type': 'object', 'required': ['every_s', 'points'], 'properties': {'every_s': " COUNT
		    ", 'points': " LIST("{'type': 'object'}") "}}"},
	{"ImageParts", "{'type': 'object', 'required': ['upstream', 'repository', 'manifest', 'platform', 'config', "
		       "'layers'], 'properties': {'upstream': " TEXT ", 'repository': " TEXT ", 'manifest': " TEXT
		       ", 'media_type': " TEXT ", 'platform': " TEXT ", 'config_digest': " TEXT
		       ", 'config': " MAYBE("object") ", 'layers': " LIST("{'type': 'object', 'required': ['digest', "
									  "'size', 'held', 'indexed']}") "}}"},
	{"File",
	 "{'type': 'object', 'required': ['path', 'type'], 'properties': {'path': " TEXT ", 'type': " TEXT
	 ", 'mode': " TEXT ", 'uid': " COUNT ", 'gid': " COUNT ", 'user': " TEXT ", 'group': " TEXT ", 'size': " COUNT
	 ", 'mtime': " COUNT ", 'target': " TEXT ", 'hard_link_to': " TEXT ", 'layer': " COUNT "}}"},
	{"Files",
	 "{'type': 'object', 'required': ['upstream', 'repository', 'manifest', 'platform', 'layers', 'files'], "
	 "'properties': {'upstream': " TEXT ", 'repository': " TEXT ", 'manifest': " TEXT ", 'platform': " TEXT
	 ", 'layers': " LIST("{'type': 'object'}") ", 'files': " LIST("{'$ref': '#/components/schemas/File'}") "}}"},
	{"Changes",
	 "{'type': 'object', 'required': ['from', 'to', 'changes'], 'properties': {'from': {'type': 'object'}, "
	 "'to': {'type': 'object'}, 'changes': " LIST("{'type': 'object', 'required': ['change', 'path']}") "}}"},
	{"Description", "{'type': 'object', 'required': ['openapi', 'info', 'paths']}"},
};

static json_t *read_schema(const char *text)
{
	_cleanup_free_ char *quoted = mem_strdup(text);
	json_t *schema;

	for (char *at = quoted; *at; at++)
		if (*at == '\'')
			*at = '"';
	schema = json_loads(quoted, 0, NULL);
	assert(schema);
	return schema;
}

static bool is_schema(const char *name)
{
	for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++)
		if (strcmp(schemas[i].name, name) == 0)
			return true;
	return false;
}

/* What a body is: one of the schemas in JSON, or, when the name is a media type, anything of that. */
static json_t *describe_content(const char *name)
{
	if (is_schema(name))
		return json_pack("{s:{s:{s:o}}}", "application/json", "schema", "$ref",
				 json_sprintf("#/components/schemas/%s", name));
	assert(strchr(name, '/'));
	return json_pack("{s:{}}", name);
}

/* "ref=&platform=", and the name in the path. */
static json_t *describe_parameters(const struct admin_route *route)
{
	const char *open = strchr(route->path, '{');
	json_t *list = json_array();

	if (open)
		json_array_append_new(list, json_pack("{s:o, s:s, s:b, s:{s:s}}", "name",
						      json_stringn(open + 1, strcspn(open + 1, "}")), "in", "path",
						      "required", true, "schema", "type", "string"));
	for (const char *at = route->parameters; *at; at += strcspn(at, "&"), at += *at == '&')
		json_array_append_new(list,
				      json_pack("{s:o, s:s, s:{s:s}}", "name", json_stringn(at, strcspn(at, "=&")),
						"in", "query", "schema", "type", "string"));
	return list;
}

static json_t *describe_route(const struct admin_route *route)
{
	json_t *good = json_pack("{s:s}", "description", "done");
	json_t *operation, *answers;
	char status[8];

	snprintf(status, sizeof(status), "%d", route->status ? route->status : 200);
	if (route->answers)
		json_object_set_new(good, "content", describe_content(route->answers));
	answers = json_pack("{s:o, s:{s:s, s:o}}", status, good, "default", "description", "it was not done", "content",
			    describe_content("Error"));
	operation = json_pack("{s:s, s:o, s:o}", "summary", route->help, "parameters", describe_parameters(route),
			      "responses", answers);
	if (route->sends)
		json_object_set_new(operation, "requestBody",
				    json_pack("{s:o}", "content", describe_content(route->sends)));
	if (route->open)
		json_object_set_new(operation, "security", json_array());
	return operation;
}

void admin_openapi(struct admin_visit *visit)
{
	static const char *const methods[] = {"get", "head", "post", "put", "patch", "delete"};
	json_t *paths = json_object(), *components = json_object();

	for (size_t i = 0; i < admin_route_count; i++) {
		const struct admin_route *route = &admin_routes[i];
		json_t *path = json_object_get(paths, route->path);

		if (!path) {
			path = json_object();
			json_object_set_new(paths, route->path, path);
		}
		json_object_set_new(path, methods[route->method], describe_route(route));
	}
	for (size_t i = 0; i < sizeof(schemas) / sizeof(schemas[0]); i++)
		json_object_set_new(components, schemas[i].name, read_schema(schemas[i].text));
	admin_reply_json(
		visit, 200,
		json_pack("{s:s, s:{s:s, s:s, s:s}, s:[{s:[]}], s:o, s:{s:o, s:{s:{s:s, s:s}}}}", "openapi", "3.1.0",
			  "info", "title", "larder admin API", "version", LARDER_VERSION, "description",
			  "Steers a larder, and says how it does. Errors are JSON with a code for programs and a "
			  "message for people.",
			  "security", "token", "paths", paths, "components", "schemas", components, "securitySchemes",
			  "token", "type", "http", "scheme", "bearer"));
}
