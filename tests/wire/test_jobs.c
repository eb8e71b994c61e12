/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs: their life over restarts, their end, and how they are watched. */
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#define PREFETCH "/api/v1/prefetch"

struct bed {
	struct scripted *upstream;
	struct larder *larder;
};

static struct bed bed_new(struct wire *wire)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(bed.upstream, 0));

	bed.larder = larder_with_admin(wire, "127.0.0.1:0", name, NULL);
	return bed;
}

static void add_image(struct bed *bed, const char *tag, uint64_t layer_size, struct scripted_image *image)
{
	scripted_add_image(
		bed->upstream, "team/app", tag,
		&(struct scripted_image_options){.layers = 2, .layer_size = layer_size, .seed = (uint64_t)tag[0]},
		image);
}

static char *job_target(const char *id, const char *rest)
{
	return mem_printf("/api/v1/jobs/%s%s", id, rest);
}

/* Reads events until one of this state has come; how many came. */
static unsigned read_events(struct client *client, const char *state)
{
	_cleanup_free_ char *wanted = mem_printf("\"state\":\"%s\"", state);
	_cleanup_(buf_dispose) struct buf heard = {0};
	unsigned count = 0;
	char block[4096];

	for (;;) {
		ssize_t got = client_read_body(client, block, sizeof(block));
		char *end;

		if (got <= 0)
			fail_msg("the events ended before %s: %s", state, heard.data);
		buf_append(&heard, block, (size_t)got);
		while ((end = strstr(heard.data, "\n\n"))) {
			bool last;

			*end = '\0';
			if (heard.data[0] != ':')
				assert_int_equal(strncmp(heard.data, "event: job\ndata: {", 18), 0);
			count += heard.data[0] != ':';
			last = strstr(heard.data, wanted) != NULL;
			heard.len -= (size_t)(end + 2 - heard.data);
			memmove(heard.data, end + 2, heard.len + 1);
			if (last)
				return count;
		}
	}
}

static struct client *listen_to(struct larder *larder, const char *id)
{
	_cleanup_free_ char *target = job_target(id, "/events");
	struct client_request request = {.port = admin_port(larder), .target = target};
	struct client *client = client_connect(NULL, request.port, 60000);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Type", "text/event-stream");
	return client;
}

WIRE_TEST(job_is_watched_from_start_to_end)
{
	struct bed bed = bed_new(wire);
	struct scripted_image image;
	int hold = scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/blobs/*", .hold = true});
	char block[16];

	add_image(&bed, "1", 65536, &image);
	_cleanup_free_ char *id = job_start(bed.larder, PREFETCH, "{\"images\": [\"team/app:1\"]}");
	struct client *client = listen_to(bed.larder, id);
	read_events(client, "running");
	scripted_release(bed.upstream, hold);
	read_events(client, "done");
	assert_int_equal(client_read_body(client, block, sizeof(block)), 0);
	client_close(client);
	/* Who comes late is told how it ended. */
	client = listen_to(bed.larder, id);
	assert_int_equal(read_events(client, "done"), 1);
	assert_int_equal(client_read_body(client, block, sizeof(block)), 0);
	client_close(client);
}

WIRE_TEST(cancelled_job_ends_and_starts_nothing_more)
{
	struct bed bed = bed_new(wire);
	struct scripted_image image;
	json_t *job;

	add_image(&bed, "1", 65536, &image);
	add_image(&bed, "2", 65536, &image);
	int hold = scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/manifests/1", .hold = true});
	_cleanup_free_ char *id = job_start(bed.larder, PREFETCH,
					    "{\"images\": [\"team/app:1\", \"team/app:2\"], \"image_parallel\": 1}");
	_cleanup_free_ char *target = job_target(id, "");
	assert_true(scripted_wait_count(bed.upstream, NULL, "*/manifests/1", 1, WIRE_WAIT_MS));
	job = admin_json(bed.larder, "DELETE", target, NULL, 200);
	assert_string_equal(json_string_value(json_object_get(job, "state")), "cancelled");
	json_decref(job);
	json_decref(job_wait(bed.larder, id, "cancelled"));
	/* A second one runs though the first one's request is still held. */
	json_decref(job_run(bed.larder, PREFETCH, "{\"images\": [\"team/app:2\"]}", "done"));
	json_decref(admin_json(bed.larder, "DELETE", target, NULL, 200));
	json_decref(admin_json(bed.larder, "DELETE", "/api/v1/jobs/77", NULL, 404));
	json_decref(admin_json(bed.larder, "GET", "/api/v1/jobs/77", NULL, 404));
	json_decref(admin_json(bed.larder, "GET", "/api/v1/jobs/77/events", NULL, 404));
	json_decref(admin_json(bed.larder, "POST", target, NULL, 405));
	scripted_release(bed.upstream, hold);
}

static void wait_fetched(struct larder *larder, const char *id, uint64_t bytes)
{
	uint64_t deadline = clock_ms() + WIRE_WAIT_MS, fetched;

	do {
		json_t *job = job_wait(larder, id, "running");

		fetched = json_number_at(job, "bytes.fetched");
		json_decref(job);
		assert_true(clock_ms() < deadline);
	} while (fetched < bytes);
}

static void goes_on_after(struct wire *wire, void (*end)(struct larder *larder))
{
	struct bed bed = bed_new(wire);
	struct scripted_image first, second;
	uint64_t size = 4 * MIB;
	json_t *job;

	add_image(&bed, "1", 65536, &first);
	add_image(&bed, "2", size, &second);
	_cleanup_free_ char *path = mem_printf("*/blobs/%s", second.layer[1]);
	int stall = scripted_add_rule(bed.upstream,
				      &(struct scripted_rule){.path = path, .stall = true, .stall_at = size / 2});
	_cleanup_free_ char *id = job_start(bed.larder, PREFETCH,
					    "{\"images\": [\"team/app:1\", \"team/app:2\"], \"image_parallel\": 1}");
	/* The first image, one layer, and of the other what comes before the stall, less what is on its way. */
	wait_fetched(bed.larder, id, size + size / 2 - MIB / 2);
	/* What was fetched is published a moment later. */
	_cleanup_free_ char *held = mem_printf("/v2/team/app/blobs/%s", first.layer[0]);
	expect_hit_soon(bed.larder, held);
	end(bed.larder);
	scripted_remove_rule(bed.upstream, stall);
	scripted_release(bed.upstream, stall);
	/* The log keeps what is still running: the request that stalled has to have ended. */
	assert_true(scripted_wait_idle(bed.upstream, true, WIRE_WAIT_MS));
	scripted_clear_log(bed.upstream);
	larder_restart(bed.larder);
	job = job_wait(bed.larder, id, "done");
	assert_int_equal(json_number_at(job, "images.done"), 2);
	json_decref(job);
	/* What was there is not fetched again. */
	_cleanup_free_ char *first_layer = mem_printf("*/blobs/%s", first.layer[0]);
	expect_count(bed.upstream, "GET", first_layer, 0);
	expect_count(bed.upstream, "GET", path, 1);
	assert_true(scripted_body_sent(bed.upstream, "GET", path) <= size * 3 / 4);
}

WIRE_TEST(job_goes_on_after_a_restart)
{
	goes_on_after(wire, larder_stop);
}

WIRE_TEST(job_goes_on_after_a_kill)
{
	goes_on_after(wire, larder_kill);
}

WIRE_TEST(what_a_job_that_is_done_fetched_survives_a_kill)
{
	struct bed bed = bed_new(wire);

	for (unsigned i = 0; i < 10; i++) {
		_cleanup_free_ char *tag = mem_printf("%u", i), *check = NULL;
		_cleanup_free_ char *body = mem_printf("{\"images\": [\"team/app:%u\"]}", i);
		struct scripted_image image;
		json_t *answer;

		add_image(&bed, tag, 65536, &image);
		json_decref(job_run(bed.larder, PREFETCH, body, "done"));
		larder_kill(bed.larder);
		larder_restart(bed.larder);
		check = mem_printf("/api/v1/check?ref=team/app:%u", i);
		answer = admin_json(bed.larder, "GET", check, NULL, 200);
		assert_true(json_is_true(json_object_get(answer, "complete")));
		json_decref(answer);
	}
}

WIRE_TEST(ended_jobs_are_remembered_over_a_restart)
{
	struct bed bed = bed_new(wire);
	struct scripted_image image;
	json_t *jobs, *job;

	add_image(&bed, "1", 65536, &image);
	json_decref(job_run(bed.larder, PREFETCH, "{\"images\": [\"team/app:1\"]}", "done"));
	json_decref(job_run(bed.larder, PREFETCH, "{\"images\": [\"team/app:none\"]}", "failed"));
	larder_stop(bed.larder);
	larder_restart(bed.larder);
	jobs = admin_json(bed.larder, "GET", "/api/v1/jobs", NULL, 200);
	assert_int_equal(json_array_size(json_object_get(jobs, "jobs")), 2);
	job = json_array_get(json_object_get(jobs, "jobs"), 0);
	assert_string_equal(json_string_value(json_object_get(job, "id")), "2");
	assert_string_equal(json_string_value(json_object_get(job, "state")), "failed");
	json_decref(jobs);
	job = job_wait(bed.larder, "1", "done");
	assert_int_equal(json_number_at(job, "bytes.fetched"), image.bytes);
	json_decref(job);
	_cleanup_free_ char *next = job_start(bed.larder, PREFETCH, "{\"images\": [\"team/app:1\"]}");
	assert_string_equal(next, "3");
	json_decref(job_wait(bed.larder, next, "done"));
}

WIRE_TEST(schedule_keeps_a_set_warm_from_the_start)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(bed.upstream, 0));
	struct scripted_image image;
	json_t *job, *pin;

	add_image(&bed, "1", 65536, &image);
	bed.larder =
		larder_with_admin(wire, "127.0.0.1:0", name,
				  "prefetch:\n"
				  "- { every: 6h, images: [ 'team/app:*' ], pin: base, platforms: [ linux/amd64 ] }\n");
	job = job_wait(bed.larder, "1", "done");
	assert_int_equal(json_number_at(job, "bytes.fetched"), image.bytes);
	json_decref(job);
	pin = admin_json(bed.larder, "GET", "/api/v1/pins/base", NULL, 200);
	json_decref(pin);
	larder_stop(bed.larder);
	larder_restart(bed.larder);
	json_decref(job_wait(bed.larder, "2", "done"));
}

static unsigned count_active(struct larder *larder)
{
	json_t *jobs = admin_json(larder, "GET", "/api/v1/jobs", NULL, 200), *job;
	unsigned count = 0;
	size_t i;

	json_array_foreach(json_object_get(jobs, "jobs"), i, job) count +=
		json_is_null(json_object_get(job, "finished"));
	json_decref(jobs);
	return count;
}

WIRE_TEST(scheduled_job_that_goes_on_after_a_restart_is_not_started_again)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(bed.upstream, 0));
	static const char *const later[] = {"2", "3", "4"};
	struct scripted_image held, image;

	add_image(&bed, "1", 65536, &held);
	add_image(&bed, "2", 65536, &image);
	_cleanup_free_ char *path = mem_printf("*/blobs/%s", held.layer[0]);
	int hold = scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = path, .hold = true});
	bed.larder = larder_with_admin(wire, "127.0.0.1:0", name,
				       "prefetch:\n"
				       "- { every: 6h, images: [ 'team/app:1' ], platforms: [ linux/amd64 ] }\n"
				       "- { every: 6h, images: [ 'team/app:2' ] }\n");
	/* The second one ends, and is started anew after the first one was looked at. */
	for (size_t i = 0; i < sizeof(later) / sizeof(later[0]); i++) {
		if (i > 0) {
			larder_stop(bed.larder);
			larder_restart(bed.larder);
		}
		_cleanup_free_ char *started = mem_printf("job %s (prefetch) for the schedule", later[i]);
		assert_true(larder_wait_output(bed.larder, started, WIRE_WAIT_MS));
		json_decref(job_wait(bed.larder, later[i], "done"));
		json_decref(job_wait(bed.larder, "1", "running"));
		assert_int_equal(count_active(bed.larder), 1);
	}
	scripted_remove_rule(bed.upstream, hold);
	scripted_release(bed.upstream, hold);
	json_decref(job_wait(bed.larder, "1", "done"));
}

/* An export fetches first, as a job, which an end of larder interrupts: what waits for that job is told so. */
WIRE_TEST(export_that_fetches_does_not_hold_up_the_end)
{
	struct bed bed = bed_new(wire);
	struct client_request request = {.port = admin_port(bed.larder),
					 .target = "/api/v1/export?ref=registry.test/team/app:1"};
	struct client *client = client_connect(NULL, request.port, 60000);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image image;

	add_image(&bed, "1", 65536, &image);
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/blobs/*", .hold = true});
	assert_true(client_send(client, &request));
	assert_true(scripted_wait_count(bed.upstream, "GET", "*/blobs/*", 1, WIRE_WAIT_MS));
	larder_signal(bed.larder, SIGTERM);
	assert_true(client_read_head(client, &reply));
	assert_int_equal(reply.status, 503);
	assert_int_equal(larder_wait(bed.larder, WIRE_WAIT_MS), 0);
	client_close(client);
}

WIRE_TEST(schedule_that_means_nothing_is_refused_with_its_place)
{
	static const struct {
		const char *config, *part;
	} cases[] = {
		{"prefetch: [ { every: 6h } ]\n", "prefetch[0]: has no images"},
		{"prefetch: [ { images: [ 'UPPER' ] } ]\n", "prefetch[0].images[0]: 'UPPER' is no reference"},
		{"prefetch: [ { images: [ a ], every: 5s } ]\n", "prefetch[0].every"},
		{"prefetch: [ { images: [ a ], platforms: [ amd64 ] } ]\n", "'amd64' is no platform"},
		{"prefetch: [ { images: [ a ], pins: x } ]\n", "did you mean pin?"},
		{"prefetch: { images: [ a ] }\n", "prefetch: takes a list"},
	};

	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *path = wire_write_file(wire, "wrong.yaml", cases[i].config), *said = NULL;

		assert_int_equal(wire_run(wire, (const char *[]){"config", "check", "-c", path, NULL}, &said), 3);
		if (!strstr(said, cases[i].part))
			fail_msg("'%s' is not in: %s", cases[i].part, said);
	}
}

WIRE_TEST(clients_do_not_wait_for_prefetch)
{
	struct bed bed = bed_new(wire);
	struct scripted_image image, other;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(buf_dispose) struct buf body = {0};

	/* Far more than may be out at once; each takes its time. */
	buf_append_text(&body, "{\"image_parallel\": 16, \"layer_parallel\": 8, \"referrers\": false, \"images\": [");
	for (int i = 0; i < 40; i++) {
		_cleanup_free_ char *repository = mem_printf("team/many%d", i);

		scripted_add_image(
			bed.upstream, repository, "1",
			&(struct scripted_image_options){.layers = 6, .layer_size = 4096, .seed = 1000U + (unsigned)i},
			&image);
		buf_printf(&body, "%s\"%s:1\"", i ? "," : "", repository);
	}
	buf_append_text(&body, "]}");
	scripted_add_image(bed.upstream, "team/client", "1", &(struct scripted_image_options){.layers = 1, .seed = 5},
			   &other);
	scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/team/many*", .delay_ms = 100});
	_cleanup_free_ char *id = job_start(bed.larder, PREFETCH, body.data);
	assert_true(scripted_wait_count(bed.upstream, "GET", "*/blobs/*", 8, WIRE_WAIT_MS));
	/* 320 requests at 100 ms each, at most eight at once, are four seconds of prefetch. */
	assert_true(ask(bed.larder, NULL, NULL, &reply, "/v2/team/client/blobs/%s", other.layer[0]));
	expect_content(&reply, other.layer[0]);
	assert_true(scripted_count(bed.upstream, "GET", "*/team/many*") < 200);
	/* What prefetch has waiting in the queue is moved up by a client who wants it. */
	_cleanup_free_ char *last = mem_printf("/v2/team/many39/manifests/1");
	assert_true(ask(bed.larder, NULL, NULL, &reply, "%s", last));
	assert_int_equal(reply.status, 200);
	json_decref(job_wait(bed.larder, id, "done"));
}

WIRE_TEST(ten_thousand_events_take_no_memory)
{
	struct bed bed = bed_new(wire);
	struct client *clients[8];
	uint64_t before, after;

	if (built_with_sanitizer()) {
		print_message("skipped: a sanitizer keeps what was freed\n");
		skip();
	}
	/* A job that changes all the time, watched by some who never read. */
	_cleanup_(buf_dispose) struct buf body = {0};
	buf_append_text(&body, "{\"image_parallel\": 8, \"images\": [");
	for (int i = 0; i < 5000; i++)
		buf_printf(&body, "%s\"team/none:%d\"", i ? "," : "", i);
	buf_append_text(&body, "]}");
	int hold = scripted_add_rule(bed.upstream, &(struct scripted_rule){.path = "*/manifests/4999", .hold = true});
	_cleanup_free_ char *warm = job_start(bed.larder, PREFETCH, body.data);
	assert_true(scripted_wait_count(bed.upstream, "GET", "*/manifests/4999", 1, 60000));
	before = larder_rss(bed.larder);
	_cleanup_free_ char *id = job_start(bed.larder, PREFETCH, body.data);
	for (size_t i = 0; i < 8; i++)
		clients[i] = listen_to(bed.larder, id);
	/* 5,000 images, each counted when it is found and when it failed, and its failure: more than 10,000 changes. */
	scripted_release(bed.upstream, hold);
	json_decref(job_wait(bed.larder, id, "failed"));
	after = larder_rss(bed.larder);
	if (after > before + 16 * MIB)
		fail_msg("resident memory grew from %llu to %llu bytes", (unsigned long long)before,
			 (unsigned long long)after);
	/* Those who did not read are told the latest, not all that was. */
	assert_true(read_events(clients[0], "failed") < 500);
	for (size_t i = 0; i < 8; i++)
		client_close(clients[i]);
	json_decref(job_wait(bed.larder, warm, "failed"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(job_is_watched_from_start_to_end),
		WIRE_CASE(cancelled_job_ends_and_starts_nothing_more),
		WIRE_CASE(job_goes_on_after_a_restart),
		WIRE_CASE(job_goes_on_after_a_kill),
		WIRE_CASE(what_a_job_that_is_done_fetched_survives_a_kill),
		WIRE_CASE(ended_jobs_are_remembered_over_a_restart),
		WIRE_CASE(schedule_keeps_a_set_warm_from_the_start),
		WIRE_CASE(scheduled_job_that_goes_on_after_a_restart_is_not_started_again),
		WIRE_CASE(export_that_fetches_does_not_hold_up_the_end),
		WIRE_CASE(schedule_that_means_nothing_is_refused_with_its_place),
		WIRE_CASE(clients_do_not_wait_for_prefetch),
		WIRE_CASE(ten_thousand_events_take_no_memory),
	};
	return cmocka_run_group_tests_name("jobs", tests, NULL, NULL);
}
