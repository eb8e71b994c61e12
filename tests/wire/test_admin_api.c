/* SPDX-License-Identifier: Apache-2.0 */
/* The admin API's routes on what is stored, each answer held against the API's own description. */
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct bed {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image, other;
	json_t *description;
};

static void bed_dispose(struct bed *bed)
{
	json_decref(bed->description);
}

/* Two images, prefetched. */
static struct bed bed_new(struct wire *wire)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(bed.upstream, 0));

	scripted_add_image(bed.upstream, "team/app", "1",
			   &(struct scripted_image_options){.layers = 2, .layer_size = 65536, .seed = 1}, &bed.image);
	scripted_add_image(bed.upstream, "team/other", "2",
			   &(struct scripted_image_options){.layers = 1, .layer_size = 65536, .seed = 2}, &bed.other);
	bed.larder = larder_with_admin(wire, "127.0.0.1:0", name, NULL);
	bed.description = admin_json(bed.larder, "GET", "/api/v1/openapi.json", NULL, 200);
	json_decref(job_run(bed.larder, "/api/v1/prefetch",
			    "{\"images\": [\"team/app:1\", \"team/other:2\"], \"pin\": \"kept\"}", "done"));
	return bed;
}

/* JSON schemas, as far as the description uses them. */

static bool is_of_type(const json_t *value, const char *type)
{
	return (strcmp(type, "object") == 0 && json_is_object(value)) ||
	       (strcmp(type, "array") == 0 && json_is_array(value)) ||
	       (strcmp(type, "string") == 0 && json_is_string(value)) ||
	       (strcmp(type, "boolean") == 0 && json_is_boolean(value)) ||
	       (strcmp(type, "integer") == 0 && json_is_integer(value)) ||
	       (strcmp(type, "number") == 0 && json_is_number(value)) ||
	       (strcmp(type, "null") == 0 && json_is_null(value));
}

static bool has_type(const json_t *value, const json_t *types)
{
	json_t *type;
	size_t i;

	if (json_is_string(types))
		return is_of_type(value, json_string_value(types));
	json_array_foreach(types, i, type)
	{
		if (is_of_type(value, json_string_value(type)))
			return true;
	}
	return types == NULL;
}

static const json_t *follow(const struct bed *bed, const json_t *schema)
{
	const char *name = json_string_value(json_object_get(schema, "$ref"));

	if (!name)
		return schema;
	name = strrchr(name, '/') + 1;
	schema = json_object_get(json_object_get(json_object_get(bed->description, "components"), "schemas"), name);
	if (!schema)
		fail_msg("there is no schema %s", name);
	return schema;
}

static void expect_valid(const struct bed *bed, const json_t *schema, const json_t *value, const char *where)
{
	json_t *item, *choices;
	const char *key;
	bool chosen = false;
	size_t i;

	schema = follow(bed, schema);
	choices = json_object_get(schema, "enum");
	if (!has_type(value, json_object_get(schema, "type")))
		fail_msg("%s is of another type", where);
	json_array_foreach(choices, i, item)
	{
		chosen |= json_equal(item, (json_t *)(uintptr_t)value);
	}
	if (choices && !chosen)
		fail_msg("%s is none of the choices", where);
	json_array_foreach(json_object_get(schema, "required"), i, item)
	{
		if (!json_object_get(value, json_string_value(item)))
			fail_msg("%s has no %s", where, json_string_value(item));
	}
	json_object_foreach(json_object_get(schema, "properties"), key, item)
	{
		if (json_object_get(value, key))
			expect_valid(bed, item, json_object_get(value, key), key);
	}
	json_array_foreach((json_t *)(uintptr_t)value, i, item)
	{
		if (json_object_get(schema, "items"))
			expect_valid(bed, json_object_get(schema, "items"), item, where);
	}
}

/* Asks, and holds the answer against the description of `path`'s method; the document is the caller's. */
static json_t *ask_api(const struct bed *bed, const char *method, const char *path, const char *target,
		       const char *body, int status)
{
	_cleanup_free_ char *lower = mem_strdup(method);
	char text[8];
	json_t *answer = admin_json(bed->larder, method, target, body, status), *operation, *response;

	for (char *at = lower; *at; at++)
		*at |= 0x20;
	snprintf(text, sizeof(text), "%d", status);
	operation = json_object_get(json_object_get(json_object_get(bed->description, "paths"), path), lower);
	if (!operation)
		fail_msg("%s %s is not described", method, path);
	response = json_object_get(json_object_get(operation, "responses"), status >= 400 ? "default" : text);
	if (!response)
		fail_msg("%s %s: %d is not described", method, path, status);
	response = json_object_get(json_object_get(json_object_get(response, "content"), "application/json"), "schema");
	if (!response)
		fail_msg("%s %s: no schema", method, path);
	expect_valid(bed, response, answer, path);
	return answer;
}

/* Tests. */

WIRE_TEST(plain_routes_answer_as_they_are_described)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);

	json_decref(ask_api(&bed, "GET", "/healthz", "/healthz", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/readyz", "/readyz", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/openapi.json", "/api/v1/openapi.json", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/status", "/api/v1/status", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/history", "/api/v1/history?span=week", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/history", "/api/v1/history?span=year", NULL, 400));
	json_decref(ask_api(&bed, "GET", "/api/v1/explain", "/api/v1/explain?ref=team/app:1", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/explain", "/api/v1/explain", NULL, 400));
	json_decref(ask_api(&bed, "GET", "/api/v1/jobs", "/api/v1/jobs", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/jobs/{id}", "/api/v1/jobs/1", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/jobs/{id}", "/api/v1/jobs/9", NULL, 404));
	json_decref(
		ask_api(&bed, "POST", "/api/v1/prefetch", "/api/v1/prefetch", "{\"images\": [\"team/app:1\"]}", 202));
	json_decref(ask_api(&bed, "DELETE", "/api/v1/jobs/{id}", "/api/v1/jobs/2", NULL, 200));
}

WIRE_TEST(every_described_route_says_which_methods_it_has)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	const char *path;
	json_t *operations;

	json_object_foreach(json_object_get(bed.description, "paths"), path, operations)
	{
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		_cleanup_free_ char *target = mem_strdup(path);

		for (char *at = target; *at; at++)
			if (*at == '{' || *at == '}')
				*at = 'x';
		admin_ask(bed.larder, "PATCH", target, NULL, &reply);
		if (reply.status != 405)
			fail_msg("PATCH %s: %d", target, reply.status);
		expect_header_with(&reply, "Allow",
				   json_object_get(operations, "get")      ? "GET, HEAD"
				   : json_object_get(operations, "delete") ? "DELETE"
									   : "POST");
	}
}

/* The next event's document. */
static json_t *next_event(struct client *client, struct buf *heard)
{
	char block[4096], *end;
	ssize_t got;
	json_t *json;

	while (!heard->data || !(end = strstr(heard->data, "\n\n"))) {
		got = client_read_body(client, block, sizeof(block));
		assert_true(got > 0);
		buf_append(heard, block, (size_t)got);
	}
	*end = '\0';
	assert_int_equal(strncmp(heard->data, "event: overview\ndata: ", 22), 0);
	json = json_loads(heard->data + 22, 0, NULL);
	heard->len -= (size_t)(end + 2 - heard->data);
	memmove(heard->data, end + 2, heard->len + 1);
	assert_non_null(json);
	return json;
}

WIRE_TEST(who_watches_is_told_of_each_change)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	struct client_request request = {.port = admin_port(bed.larder), .target = "/api/v1/events"};
	struct client *client = client_connect(NULL, request.port, 60000);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(buf_dispose) struct buf heard = {0};
	json_t *event;

	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	event = next_event(client, &heard);
	assert_int_equal(json_number_at(event, "status.requests.hit"), 0);
	assert_int_equal(json_array_size(json_object_get(event, "jobs")), 1);
	json_decref(event);
	assert_true(ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", bed.image.config));
	event = next_event(client, &heard);
	assert_int_equal(json_number_at(event, "status.requests.hit"), 1);
	json_decref(event);
	client_close(client);
}

WIRE_TEST(images_are_listed_with_what_they_hold)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	json_t *answer = ask_api(&bed, "GET", "/api/v1/images", "/api/v1/images", NULL, 200), *image;

	assert_int_equal(json_array_size(json_object_get(answer, "images")), 2);
	json_decref(answer);
	answer = ask_api(&bed, "GET", "/api/v1/images", "/api/v1/images?glob=team/app*", NULL, 200);
	assert_int_equal(json_array_size(json_object_get(answer, "images")), 1);
	image = json_array_get(json_object_get(answer, "images"), 0);
	assert_string_equal(json_string_value(json_object_get(image, "reference")), "registry.test/team/app:1");
	assert_string_equal(json_string_value(json_object_get(image, "digest")), bed.image.manifest);
	assert_int_equal(json_number_at(image, "size"), bed.image.bytes);
	assert_string_equal(json_string_value(json_array_get(json_object_get(image, "pins"), 0)), "kept");
	json_decref(answer);
}

/* All references, page by page with so many on each. */
static void list_by_pages(const struct bed *bed, const char *n, struct buf *all)
{
	_cleanup_free_ char *last = NULL;

	buf_append_text(all, "");
	for (bool more = true; more;) {
		_cleanup_free_ char *target =
			mem_printf("/api/v1/images?n=%s%s%s", n, last ? "&last=" : "", last ? last : "");
		json_t *answer = ask_api(bed, "GET", "/api/v1/images", target, NULL, 200), *image;
		const char *next = json_string_value(json_object_get(answer, "next"));
		size_t i;

		json_array_foreach(json_object_get(answer, "images"), i, image)
			buf_printf(all, "%s\n", json_string_value(json_object_get(image, "reference")));
		buf_append_text(all, "--\n");
		more = json_is_true(json_object_get(answer, "more"));
		assert_int_equal(next != NULL, more);
		free(last);
		last = next ? mem_strdup(next) : NULL;
		json_decref(answer);
	}
}

WIRE_TEST(images_are_listed_in_pages)
{
	static const char *const wrong[] = {"n=0",          "n=10001",  "n=x",    "n=-1", "n=99999999999999999999",
					    "last=nowhere", "last=a/B", "last=%2"};
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_(buf_dispose) struct buf whole = {0}, paged = {0};

	list_by_pages(&bed, "2", &whole);
	assert_string_equal(whole.data, "registry.test/team/app:1\nregistry.test/team/other:2\n--\n");
	list_by_pages(&bed, "1", &paged);
	assert_string_equal(paged.data, "registry.test/team/app:1\n--\nregistry.test/team/other:2\n--\n");
	/* Behind what has been forgotten meanwhile, and in an upstream that nobody configured. */
	json_decref(ask_api(&bed, "GET", "/api/v1/images", "/api/v1/images?last=registry.test/none:1", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/images", "/api/v1/images?last=no.where/none:1", NULL, 200));
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		_cleanup_free_ char *target = mem_printf("/api/v1/images?%s", wrong[i]);

		json_decref(ask_api(&bed, "GET", "/api/v1/images", target, NULL, 400));
	}
}

WIRE_TEST(check_names_what_is_missing_and_forgetting_makes_it_so)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	_cleanup_free_ char *blob = mem_printf("/api/v1/blobs/%s", bed.image.layer[1]);
	_cleanup_free_ char *forced = mem_printf("%s?force=true", blob);
	json_t *answer = ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/app:1", NULL, 200), *part;

	assert_true(json_is_true(json_object_get(answer, "complete")));
	json_decref(answer);
	/* A pin keeps it, unless that is overruled. */
	json_decref(ask_api(&bed, "DELETE", "/api/v1/blobs/{digest}", blob, NULL, 409));
	answer = ask_api(&bed, "DELETE", "/api/v1/blobs/{digest}", forced, NULL, 200);
	assert_int_equal(json_number_at(answer, "forgotten.blobs"), 1);
	json_decref(answer);
	answer = ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/app:1&platform=linux/amd64", NULL, 200);
	assert_true(json_is_false(json_object_get(answer, "complete")));
	assert_int_equal(json_array_size(json_object_get(answer, "missing")), 1);
	part = json_array_get(json_object_get(answer, "missing"), 0);
	assert_string_equal(json_string_value(json_object_get(part, "digest")), bed.image.layer[1]);
	json_decref(answer);
	answer = ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/none:1", NULL, 200);
	assert_true(json_is_false(json_object_get(answer, "known")));
	assert_int_equal(json_array_size(json_object_get(answer, "missing")), 1);
	json_decref(answer);
	json_decref(ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/app:1&platform=amd64", NULL, 400));
	json_decref(ask_api(&bed, "DELETE", "/api/v1/images", "/api/v1/images?ref=team/app:1&force=true", NULL, 200));
	json_decref(ask_api(&bed, "DELETE", "/api/v1/images", "/api/v1/images?ref=team/app:1&force=true", NULL, 404));
	json_decref(ask_api(&bed, "DELETE", "/api/v1/images", "/api/v1/images?ref=UPPER", NULL, 400));
	json_decref(ask_api(&bed, "DELETE", "/api/v1/blobs/{digest}", "/api/v1/blobs/none", NULL, 400));
	json_decref(ask_api(&bed, "DELETE", "/api/v1/blobs/{digest}", blob, NULL, 404));
}

WIRE_TEST(pins_are_made_shown_and_taken_away)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	json_t *answer = ask_api(&bed, "GET", "/api/v1/pins", "/api/v1/pins", NULL, 200);

	assert_int_equal(json_array_size(json_object_get(answer, "pins")), 1);
	json_decref(answer);
	answer = ask_api(&bed, "PUT", "/api/v1/pins/{name}", "/api/v1/pins/base",
			 "{\"references\": [\"team/app:1\"], \"platforms\": [\"linux/amd64\"]}", 200);
	assert_int_equal(json_array_size(json_object_get(answer, "references")), 1);
	json_decref(answer);
	answer = ask_api(&bed, "PUT", "/api/v1/pins/{name}", "/api/v1/pins/base",
			 "{\"references\": [\"team/later:*\"]}", 400);
	json_decref(answer);
	answer = ask_api(&bed, "PUT", "/api/v1/pins/{name}", "/api/v1/pins/base",
			 "{\"references\": [\"team/later:1\"], \"add\": true}", 200);
	assert_int_equal(json_array_size(json_object_get(answer, "references")), 2);
	json_decref(answer);
	answer = ask_api(&bed, "DELETE", "/api/v1/pins/{name}", "/api/v1/pins/base?ref=team/app:1", NULL, 200);
	assert_int_equal(json_array_size(json_object_get(answer, "references")), 1);
	json_decref(answer);
	json_decref(ask_api(&bed, "DELETE", "/api/v1/pins/{name}", "/api/v1/pins/base", NULL, 200));
	json_decref(ask_api(&bed, "GET", "/api/v1/pins/{name}", "/api/v1/pins/base", NULL, 404));
	json_decref(ask_api(&bed, "DELETE", "/api/v1/pins/{name}", "/api/v1/pins/base", NULL, 404));
	json_decref(ask_api(&bed, "PUT", "/api/v1/pins/{name}", "/api/v1/pins/base", "{}", 400));
	/* What a client may do is not done in silence. */
	assert_true(larder_wait_output(bed.larder, "PUT /api/v1/pins/base from 127.0.0.1: 200", WIRE_WAIT_MS));
}

static void damage(struct wire *wire, const char *digest)
{
	_cleanup_free_ char *name = mem_printf("store/blobs/sha256/%.2s/%s", digest + 7, digest + 7);
	_cleanup_free_ char *path = wire_path(wire, name);
	int fd;

	assert_return_code(chmod(path, 0600), 0);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	assert_return_code(fd, 0);
	assert_int_equal(pwrite(fd, "damage", 6, 100), 6);
	close(fd);
}

/* What the job says of the first damaged blob. */
static const char *healed_why(const json_t *job)
{
	json_t *items = json_object_get(json_object_get(job, "result"), "items");

	return json_string_value(json_object_get(json_array_get(items, 0), "why"));
}

WIRE_TEST(cleaning_up_and_verifying_are_jobs)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	json_t *job;

	json_decref(ask_api(&bed, "POST", "/api/v1/gc", "/api/v1/gc", "{\"dry_run\": 1}", 400));
	json_decref(ask_api(&bed, "POST", "/api/v1/verify", "/api/v1/verify", "{\"hael\": true}", 400));
	job = job_run(bed.larder, "/api/v1/gc", "{\"dry_run\": true}", "done");
	assert_int_equal(json_number_at(job, "result.images"), 0);
	json_decref(job);
	job = job_run(bed.larder, "/api/v1/verify", NULL, "done");
	assert_int_equal(json_number_at(job, "result.damaged"), 0);
	assert_int_equal(json_number_at(job, "layers.done"), json_number_at(job, "layers.total"));
	json_decref(job);

	damage(wire, bed.image.layer[0]);
	scripted_clear_log(bed.upstream);
	job = job_run(bed.larder, "/api/v1/verify", "{\"heal\": true}", "done");
	assert_int_equal(json_number_at(job, "result.damaged"), 1);
	assert_int_equal(json_number_at(job, "result.healed"), 1);
	assert_int_equal(json_number_at(job, "layers.done"), json_number_at(job, "layers.total"));
	assert_int_equal(json_number_at(job, "layers.failed"), 0);
	assert_int_equal(json_number_at(job, "bytes.fetched") + json_number_at(job, "bytes.held"),
			 json_number_at(job, "bytes.total"));
	assert_string_equal(healed_why(job), "its content does not match its digest");
	json_decref(job);
	expect_count(bed.upstream, "GET", "*/blobs/*", 1);
	job = ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/app:1", NULL, 200);
	assert_true(json_is_true(json_object_get(job, "complete")));
	json_decref(job);
}

WIRE_TEST(blob_that_cannot_be_healed_is_named_once)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	json_t *job;

	damage(wire, bed.image.layer[0]);
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.status = 400});
	for (int i = 0; i < 2; i++) {
		job = job_run(bed.larder, "/api/v1/verify", "{\"heal\": true}", "failed");
		assert_int_equal(json_array_size(json_object_get(job, "errors")), 1);
		assert_int_equal(json_number_at(job, "result.healed"), 0);
		json_decref(job);
	}
}

WIRE_TEST(what_was_set_aside_before_is_healed_too)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	json_t *job;

	damage(wire, bed.image.layer[0]);
	job = job_run(bed.larder, "/api/v1/verify", NULL, "failed");
	assert_int_equal(json_number_at(job, "result.damaged"), 1);
	json_decref(job);
	/* What somebody forgets is not missed. */
	json_decref(ask_api(&bed, "DELETE", "/api/v1/images", "/api/v1/images?ref=team/other:2&force=true", NULL, 200));
	scripted_clear_log(bed.upstream);
	job = job_run(bed.larder, "/api/v1/verify", "{\"heal\": true}", "done");
	assert_int_equal(json_number_at(job, "result.damaged"), 0);
	assert_int_equal(json_number_at(job, "result.healed"), 1);
	json_decref(job);
	expect_count(bed.upstream, NULL, "*/blobs/*", 1);
	job = ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/app:1", NULL, 200);
	assert_true(json_is_true(json_object_get(job, "complete")));
	json_decref(job);
}

/* Nothing that is held needs it; the tag says what it was. */
WIRE_TEST(an_image_s_own_manifest_that_was_set_aside_before_is_healed_too)
{
	_cleanup_(bed_dispose) struct bed bed = bed_new(wire);
	json_t *job;

	json_decref(ask_api(&bed, "DELETE", "/api/v1/images", "/api/v1/images?ref=team/other:2&force=true", NULL, 200));
	damage(wire, bed.image.manifest);
	job = job_run(bed.larder, "/api/v1/verify", NULL, "failed");
	assert_int_equal(json_number_at(job, "result.damaged"), 1);
	json_decref(job);
	job = ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/app:1", NULL, 200);
	assert_false(json_is_true(json_object_get(job, "complete")));
	json_decref(job);
	scripted_clear_log(bed.upstream);
	job = job_run(bed.larder, "/api/v1/verify", "{\"heal\": true}", "done");
	assert_int_equal(json_number_at(job, "result.healed"), 1);
	json_decref(job);
	expect_count(bed.upstream, NULL, "*/manifests/sha256:*", 1);
	job = ask_api(&bed, "GET", "/api/v1/check", "/api/v1/check?ref=team/app:1", NULL, 200);
	assert_true(json_is_true(json_object_get(job, "complete")));
	json_decref(job);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(plain_routes_answer_as_they_are_described),
		WIRE_CASE(every_described_route_says_which_methods_it_has),
		WIRE_CASE(who_watches_is_told_of_each_change),
		WIRE_CASE(images_are_listed_with_what_they_hold),
		WIRE_CASE(images_are_listed_in_pages),
		WIRE_CASE(check_names_what_is_missing_and_forgetting_makes_it_so),
		WIRE_CASE(pins_are_made_shown_and_taken_away),
		WIRE_CASE(cleaning_up_and_verifying_are_jobs),
		WIRE_CASE(blob_that_cannot_be_healed_is_named_once),
		WIRE_CASE(what_was_set_aside_before_is_healed_too),
		WIRE_CASE(an_image_s_own_manifest_that_was_set_aside_before_is_healed_too),
	};
	return cmocka_run_group_tests_name("admin_api", tests, NULL, NULL);
}
