/* SPDX-License-Identifier: Apache-2.0 */
/* A request's name, from the client through answer, access log and diagnostics. */
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <string.h>

struct bed {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image;
};

static struct bed bed_new(struct wire *wire, const char *config)
{
	struct bed bed = {.upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *name = mem_printf("registry.test=%s", scripted_url(bed.upstream, 0));

	scripted_add_image(bed.upstream, "team/app", "1", NULL, &bed.image);
	bed.larder = larder_with_admin(wire, "127.0.0.1:0", name, config);
	return bed;
}

WIRE_TEST(name_that_a_client_gives_is_kept_and_said_again)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	/* The third is answered from memory. */
	for (int i = 0; i < 3; i++) {
		_cleanup_free_ char *header = mem_printf("X-Request-Id: job-17.%d\r\n", i);
		_cleanup_free_ char *field = mem_printf("request=job-17.%d", i);
		_cleanup_free_ char *value = mem_printf("job-17.%d", i);

		assert_true(ask(bed.larder, NULL, header, &reply, "/v2/team/app/manifests/1"));
		expect_header(&reply, "X-Request-Id", value);
		assert_true(larder_wait_output(bed.larder, field, WIRE_WAIT_MS));
	}
	admin_ask(bed.larder, "DELETE", "/api/v1/jobs/9", "X-Request-Id: operator-1\r\n", &reply);
	expect_header(&reply, "X-Request-Id", "operator-1");
	assert_true(larder_wait_output(bed.larder, "DELETE /api/v1/jobs/9 from 127.0.0.1: 404 request=operator-1",
				       WIRE_WAIT_MS));
}

WIRE_TEST(what_is_no_name_is_replaced_by_one_of_larders)
{
	static const char *const wrong[] = {
		NULL, "X-Request-Id: a b\r\n", "X-Request-Id: \"x\"\r\n",
		"X-Request-Id: 0123456789012345678901234567890123456789012345678901234567890123"
		"\r\n"};
	struct bed bed = bed_new(wire, NULL);
	_cleanup_free_ char *before = NULL;

	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		char *id;

		assert_true(ask(bed.larder, NULL, wrong[i], &reply, "/v2/team/app/blobs/%s", bed.image.config));
		id = client_reply_header(&reply, "X-Request-Id");
		assert_non_null(id);
		assert_int_equal(strlen(id), 16);
		assert_int_equal(strspn(id, "0123456789abcdef"), 16);
		assert_true(!before || strcmp(before, id) != 0);
		free(before);
		before = id;
	}
}

WIRE_TEST(diagnostics_name_the_request_that_they_are_about)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *said = NULL;
	const char *line;

	scripted_add_rule(bed.upstream, &(struct scripted_rule){.status = 400});
	assert_true(
		ask(bed.larder, NULL, "X-Request-Id: blob-1\r\n", &reply, "/v2/team/app/blobs/%s", bed.image.layer[0]));
	assert_int_equal(reply.status, 502);
	assert_true(ask(bed.larder, NULL, "X-Request-Id: manifest-1\r\n", &reply, "/v2/team/app/manifests/1"));
	assert_true(larder_wait_output(bed.larder, "request=manifest-1", WIRE_WAIT_MS));
	said = larder_output(bed.larder, 2);
	line = strstr(said, "warn upstream registry.test: team/app blob");
	assert_non_null(line);
	assert_ptr_equal(strstr(line, "request=blob-1"), strchr(line, '\n') - strlen("request=blob-1"));
	line = strstr(said, "warn upstream registry.test: team/app 1:");
	assert_non_null(line);
	assert_ptr_equal(strstr(line, "request=manifest-1"), strchr(line, '\n') - strlen("request=manifest-1"));
}

WIRE_TEST(both_logs_say_it_in_json_too)
{
	struct bed bed = bed_new(wire, "log: { format: json }\n");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(bed.upstream, &(struct scripted_rule){.status = 400});
	assert_true(
		ask(bed.larder, NULL, "X-Request-Id: json-1\r\n", &reply, "/v2/team/app/blobs/%s", bed.image.layer[0]));
	assert_true(larder_wait_output(bed.larder, "\"outcome\":\"error\",\"request\":\"json-1\"", WIRE_WAIT_MS));
	assert_true(larder_wait_output(bed.larder, "\",\"request\":\"json-1\"}\n", WIRE_WAIT_MS));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(name_that_a_client_gives_is_kept_and_said_again),
		WIRE_CASE(what_is_no_name_is_replaced_by_one_of_larders),
		WIRE_CASE(diagnostics_name_the_request_that_they_are_about),
		WIRE_CASE(both_logs_say_it_in_json_too),
	};
	return cmocka_run_group_tests_name("request_id", tests, NULL, NULL);
}
