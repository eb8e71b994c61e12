/* SPDX-License-Identifier: Apache-2.0 */
/* Transfers that are cut, stall, or meet another version go on without losing a byte or asking for one twice. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define SIZE       (16 * MIB)
#define ON_ITS_WAY (4 * MIB) /* is lost with a connection: what was sent, and a busy machine had not read yet */

struct cut_blob {
	struct scripted *upstream;
	struct larder *larder;
	char digest[SCRIPTED_DIGEST_MAX];
	char *target;
};

static void cut_blob_dispose(struct cut_blob *blob)
{
	free(blob->target);
}

static struct cut_blob cut_blob_new(struct wire *wire, bool h2, const char *keys)
{
	struct cut_blob blob = {.upstream = upstream_speaking(wire, NULL, h2)};

	scripted_add_blob(blob.upstream, "team/app", 7, SIZE, blob.digest);
	blob.target = blob_target("team/app", blob.digest);
	blob.larder = larder_before(wire, blob.upstream, keys);
	return blob;
}

static void fetch(const struct cut_blob *blob)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(ask(blob->larder, NULL, NULL, &reply, "%s", blob->target));
	expect_content(&reply, blob->digest);
}

static void expect_sent_less_than(struct scripted *upstream, uint64_t bytes)
{
	uint64_t sent = scripted_body_sent(upstream, "GET", BLOBS);

	if (sent >= bytes)
		fail_msg("the upstream sent %" PRIu64 " bytes, not less than %" PRIu64, sent, bytes);
}

/* The nth GET of a blob, from 0 on, had this header, or one that begins so; NULL: it had none. */
static void expect_asked(struct scripted *upstream, size_t nth, const char *name, const char *begins)
{
	size_t count;
	struct scripted_record *records = scripted_records(upstream, "GET", BLOBS, &count);
	const char *value;

	assert_true(nth < count);
	value = scripted_record_header(&records[nth], name);
	if (!begins && value)
		fail_msg("request %zu had %s: %s", nth, name, value);
	if (begins && (!value || strncmp(value, begins, strlen(begins)) != 0))
		fail_msg("request %zu had %s: %s instead of %s", nth, name, value ? value : "(none)", begins);
	scripted_records_free(records, count);
}

/* The second GET of the blob began behind so many bytes, and brought what was missing, each byte once. What the
 * upstream had sent beyond them, and nobody took any more, depends on the machine. */
static void expect_resumed_behind(struct scripted *upstream, uint64_t bytes)
{
	size_t count;
	struct scripted_record *records = scripted_records(upstream, "GET", BLOBS, &count);
	const char *range;
	uint64_t from = 0;

	assert_int_equal(count, 2);
	range = scripted_record_header(&records[1], "Range");
	if (!range || sscanf(range, "bytes=%" SCNu64 "-", &from) != 1 || from < bytes)
		fail_msg("it went on with %s, not behind %" PRIu64, range ? range : "(all)", bytes);
	assert_int_equal(records[1].body_sent, SIZE - from);
	scripted_records_free(records, count);
}

/* Cuts. */

static void cut_and_resume(struct wire *wire, bool h2, enum scripted_cut cut)
{
	static const unsigned per_mille[] = {100, 500, 900, 999};
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct larder *larder = larder_before(wire, upstream, NULL);

	for (size_t i = 0; i < sizeof(per_mille) / sizeof(per_mille[0]); i++) {
		_cleanup_free_ char *etag = NULL;
		char digest[SCRIPTED_DIGEST_MAX];
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		int rule = scripted_add_rule(upstream,
					     &(struct scripted_rule){.path = BLOBS,
								     .count = 1,
								     .cut = cut,
								     .cut_at = (int64_t)(SIZE / 1000 * per_mille[i])});

		scripted_clear_log(upstream);
		scripted_add_blob(upstream, "team/app", 10 + i, SIZE, digest);
		assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
		expect_content(&reply, digest);
		expect_count(upstream, "GET", BLOBS, 2);
		expect_sent_less_than(upstream, SIZE + ON_ITS_WAY);
		expect_resumed_behind(upstream, 0);
		etag = mem_printf("\"%s\"", digest);
		expect_asked(upstream, 0, "Range", NULL);
		expect_asked(upstream, 1, "Range", "bytes=");
		expect_asked(upstream, 1, "If-Range", etag);
		scripted_remove_rule(upstream, rule);
	}
}

BOTH_TEST(blob_cut_by_fin_goes_on)
{
	cut_and_resume(wire, h2, SCRIPTED_CUT_FIN);
}

BOTH_TEST(blob_cut_by_reset_goes_on)
{
	cut_and_resume(wire, h2, SCRIPTED_CUT_RST);
}

WIRE_TEST(blob_whose_stream_is_reset_goes_on)
{
	cut_and_resume(wire, true, SCRIPTED_CUT_STREAM);
}

WIRE_TEST(blob_cut_by_goaway_goes_on)
{
	cut_and_resume(wire, true, SCRIPTED_CUT_GOAWAY);
}

BOTH_TEST(stalled_transfer_goes_on_after_idle_timeout)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, h2, "idle_timeout: 1s");

	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.path = BLOBS, .count = 1, .stall = true, .stall_at = SIZE / 2});
	fetch(&blob);
	expect_count(blob.upstream, "GET", BLOBS, 2);
	expect_sent_less_than(blob.upstream, SIZE + ON_ITS_WAY);
}

BOTH_TEST(transfer_goes_on_after_errors)
{
	static const int statuses[] = {408, 429, 500, 503};
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, h2, "retries: 5");

	scripted_add_rule(
		blob.upstream,
		&(struct scripted_rule){.path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = SIZE / 2});
	for (unsigned i = 0; i < 4; i++)
		scripted_add_rule(
			blob.upstream,
			&(struct scripted_rule){.path = BLOBS, .from = 2 + i, .count = 1, .status = statuses[i]});
	fetch(&blob);
	expect_sent_less_than(blob.upstream, SIZE + ON_ITS_WAY);
}

/* Attempts. */

BOTH_TEST(progress_resets_the_count_of_attempts)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, h2, "retries: 1");

	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.path = BLOBS, .cut = SCRIPTED_CUT_FIN, .cut_at = 2 * MIB});
	fetch(&blob);
	expect_count(blob.upstream, "GET", BLOBS, 8);
	expect_sent_less_than(blob.upstream, SIZE + ON_ITS_WAY);
}

WIRE_TEST(attempts_without_progress_end)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, false, "retries: 2");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(
		blob.upstream,
		&(struct scripted_rule){.path = BLOBS, .cut = SCRIPTED_CUT_FIN, .cut_at = SCRIPTED_BEFORE_HEAD});
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_error(&reply, 502, "UNKNOWN");
	expect_count(blob.upstream, "GET", BLOBS, 3);
}

/* Versions. */

BOTH_TEST(whole_answer_to_a_resume_is_taken)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, h2, NULL);

	scripted_add_rule(
		blob.upstream,
		&(struct scripted_rule){.path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = SIZE / 2});
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .from = 1, .ignore_range = true});
	fetch(&blob);
	expect_count(blob.upstream, "GET", BLOBS, 2);
	expect_sent_less_than(blob.upstream, SIZE + SIZE / 2 + ON_ITS_WAY);
}

/* The first half was of an older, wrong version: whoever had bytes of it must not be given a whole body, and whoever
 * comes later gets the right one. */
static void resume_at_another_version(struct wire *wire, bool h2, const struct scripted_rule *other)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, h2, "retries: 2");
	struct scripted_rule old = {.path = BLOBS,
				    .count = 1,
				    .etag = "\"old\"",
				    .cut = SCRIPTED_CUT_FIN,
				    .cut_at = SIZE / 2,
				    .flip = true,
				    .flip_at = 1000};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(blob.upstream, &old);
	scripted_add_rule(blob.upstream, other);
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	if (reply.complete && strcmp(reply.digest, blob.digest) != 0)
		fail_msg("a mixed body was sent whole");
	fetch(&blob);
}

BOTH_TEST(another_version_at_a_resume_is_not_mixed_in)
{
	/* If-Range does not match: 200 with everything. */
	resume_at_another_version(wire, h2, &(struct scripted_rule){.path = BLOBS, .etag = "\"new\""});
}

/* As from servers side by side: the same file, and its own ETag at each. */
BOTH_TEST(another_etag_of_the_same_bytes_costs_no_client_its_answer)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, h2, NULL);

	scripted_add_rule(
		blob.upstream,
		&(struct scripted_rule){
			.path = BLOBS, .count = 1, .etag = "\"one\"", .cut = SCRIPTED_CUT_FIN, .cut_at = SIZE / 2});
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .etag = "\"other\""});
	fetch(&blob);
	expect_count(blob.upstream, "GET", BLOBS, 2);
	expect_asked(blob.upstream, 1, "If-Range", "\"one\"");
}

BOTH_TEST(another_etag_at_a_resume_starts_over)
{
	/* The server does not look at If-Range. */
	resume_at_another_version(wire, h2,
				  &(struct scripted_rule){.path = BLOBS,
							  .from = 2,
							  .count = 1,
							  .headers = "If-Range: \nETag: \"new\"",
							  .etag = "\"old\""});
}

/* It would be sent back in a request, perhaps to another server, which may take a bare CR for the end of a header. */
WIRE_TEST(etag_with_control_characters_is_never_sent_back)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, false, "retries: 1");

	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS,
								 .count = 1,
								 .etag = "\"a\rX-Smuggled: 1\"",
								 .cut = SCRIPTED_CUT_FIN,
								 .cut_at = 8 * MIB});
	fetch(&blob);
	expect_asked(blob.upstream, 1, "Range", "bytes=");
	expect_asked(blob.upstream, 1, "If-Range", NULL);
	expect_asked(blob.upstream, 1, "X-Smuggled", NULL);
}

BOTH_TEST(another_length_at_a_resume_starts_over)
{
	_cleanup_free_ char *range =
		mem_printf("Content-Range: bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, SIZE / 2, SIZE - 1, SIZE + 5);

	resume_at_another_version(
		wire, h2,
		&(struct scripted_rule){.path = BLOBS, .from = 2, .count = 1, .headers = range, .etag = "\"old\""});
}

BOTH_TEST(unsatisfiable_resume_starts_over)
{
	resume_at_another_version(wire, h2,
				  &(struct scripted_rule){.path = BLOBS, .from = 2, .count = 1, .status = 416});
}

/* docker's registry sends a 416 whose body is not as long as it says. */
BOTH_TEST(unsatisfiable_resume_with_a_broken_body_starts_over)
{
	resume_at_another_version(
		wire, h2,
		&(struct scripted_rule){.path = BLOBS, .from = 2, .count = 1, .status = 416, .length_lie = 10});
}

/* A part that can be had by no range is no reason never to have the whole again. */
WIRE_TEST(server_that_fails_at_ranges_is_asked_for_the_whole)
{
	static const struct scripted_rule ways[] = {
		{.status = 400},
		{.status = 403},
		{.status = 416},
		{.status = 501},
		{.headers = "Content-Range: "},
		{.headers = "Content-Range: bytes 0-16777215/16777216"},
	};

	struct scripted *upstream = upstream_speaking(wire, NULL, false);
	struct larder *larder = larder_before(wire, upstream, "retries: 0");

	for (size_t i = 0; i < sizeof(ways) / sizeof(ways[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		struct scripted_rule way = ways[i];
		char digest[SCRIPTED_DIGEST_MAX];

		way.path = BLOBS;
		way.with_header = "Range";
		scripted_clear_log(upstream);
		scripted_remove_rule(upstream, 0);
		scripted_add_blob(upstream, "team/app", 10 + i, SIZE, digest);
		scripted_add_rule(upstream,
				  &(struct scripted_rule){
					  .path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = SIZE / 2});
		scripted_add_rule(upstream, &way);
		ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest);
		assert_false(reply.complete);
		assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
		expect_content(&reply, digest);
		expect_count(upstream, "GET", BLOBS, 3);
		expect_asked(upstream, 1, "Range", "bytes=");
		expect_asked(upstream, 2, "Range", NULL);
	}
}

/* Elsewhere. */

/* The registry goes away in the middle, and a mirror has the rest. */
BOTH_TEST(mirror_takes_over_in_the_middle)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct scripted *mirror = upstream_speaking(wire, NULL, h2);
	_cleanup_free_ char *keys = mem_printf("mirrors: [ \"%s\" ], idle_timeout: 2s", scripted_url(mirror, 1));
	struct larder *larder = larder_before(wire, upstream, keys);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *target = NULL;
	char digest[SCRIPTED_DIGEST_MAX];
	struct client_request request = {.port = larder_port(larder), .leave_after = SIZE / 2};

	scripted_add_blob(upstream, "team/app", 7, SIZE, digest);
	scripted_add_blob(mirror, "team/app", 7, SIZE, digest);
	scripted_add_rule(upstream, &(struct scripted_rule){.path = BLOBS, .stall = true, .stall_at = SIZE / 2});
	request.target = target = blob_target("team/app", digest);
	client_fetch(&request, &reply);
	assert_int_equal(reply.body_bytes, SIZE / 2);
	scripted_set_state(upstream, 0, SCRIPTED_DOWN, true);
	assert_true(ask(larder, NULL, NULL, &reply, "%s", target));
	expect_content(&reply, digest);
	expect_asked(mirror, 0, "Range", "bytes=");
	expect_asked(mirror, 0, "If-Range", NULL); /* the registry's validator means nothing here */
	if (scripted_body_sent(upstream, "GET", BLOBS) + scripted_body_sent(mirror, "GET", BLOBS) >= SIZE + ON_ITS_WAY)
		fail_msg("bytes were fetched twice");
}

/* The CDN's address expires in the middle: the registry gives a new one, and Range goes along. */
BOTH_TEST(expired_redirect_is_asked_for_anew)
{
	struct scripted *upstream = upstream_speaking(wire, NULL, h2);
	struct scripted *cdn = upstream_speaking(wire, NULL, h2);
	_cleanup_free_ char *location = mem_printf("%s*", scripted_url(cdn, 1));
	struct larder *larder = larder_before(wire, upstream, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_add_blob(cdn, "team/app", 7, SIZE, digest);
	scripted_add_rule(upstream, &(struct scripted_rule){.path = BLOBS, .redirect = location});
	scripted_add_rule(
		cdn, &(struct scripted_rule){.path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = SIZE / 2});
	scripted_add_rule(cdn, &(struct scripted_rule){.path = BLOBS, .from = 2, .count = 1, .status = 403});
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	expect_content(&reply, digest);
	expect_count(upstream, "GET", BLOBS, 3);
	expect_count(cdn, "GET", BLOBS, 3);
	expect_asked(cdn, 2, "Range", "bytes=");
	expect_sent_less_than(cdn, SIZE + ON_ITS_WAY);
}

/* Restarts. */

static void restart_in_between(struct wire *wire, bool h2, void (*end)(struct larder *larder))
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, h2, NULL);
	struct client_request request = {
		.port = larder_port(blob.larder), .target = blob.target, .leave_after = SIZE / 2};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .count = 1, .rate = 8 * MIB});
	client_fetch(&request, &reply);
	assert_int_equal(reply.body_bytes, SIZE / 2);
	end(blob.larder);
	larder_restart(blob.larder);
	fetch(&blob);
	expect_resumed_behind(blob.upstream, SIZE / 2 - MIB);
	expect_asked(blob.upstream, 1, "Range", "bytes=");
	expect_asked(blob.upstream, 1, "If-Range", "\"sha256:");
}

BOTH_TEST(transfer_goes_on_after_a_restart)
{
	restart_in_between(wire, h2, larder_stop);
}

BOTH_TEST(transfer_goes_on_after_a_kill)
{
	restart_in_between(wire, h2, larder_kill);
}

/* As after a kill between the last byte and publishing: something in the way keeps that from happening here. */
WIRE_TEST(blob_that_is_all_there_and_not_published_is_not_lost_to_another_etag)
{
	_cleanup_(cut_blob_dispose) struct cut_blob blob = cut_blob_new(wire, false, NULL);
	_cleanup_free_ char *in_the_way = wire_path(wire, "store/blobs/sha256");
	int fd;

	fd = open(in_the_way, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	close(fd);
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .count = 1, .etag = "\"one\""});
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .etag = "\"other\""});
	fetch(&blob);
	larder_stop(blob.larder);
	assert_int_equal(unlink(in_the_way), 0);
	larder_restart(blob.larder);
	fetch(&blob);
	expect_count(blob.upstream, "GET", BLOBS, 1);
	expect_count(blob.upstream, "HEAD", BLOBS, 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_CASES(blob_cut_by_fin_goes_on),
		BOTH_CASES(blob_cut_by_reset_goes_on),
		WIRE_CASE(blob_whose_stream_is_reset_goes_on),
		WIRE_CASE(blob_cut_by_goaway_goes_on),
		BOTH_CASES(stalled_transfer_goes_on_after_idle_timeout),
		BOTH_CASES(transfer_goes_on_after_errors),
		BOTH_CASES(progress_resets_the_count_of_attempts),
		WIRE_CASE(attempts_without_progress_end),
		BOTH_CASES(whole_answer_to_a_resume_is_taken),
		BOTH_CASES(another_version_at_a_resume_is_not_mixed_in),
		BOTH_CASES(another_etag_of_the_same_bytes_costs_no_client_its_answer),
		BOTH_CASES(another_etag_at_a_resume_starts_over),
		WIRE_CASE(etag_with_control_characters_is_never_sent_back),
		BOTH_CASES(another_length_at_a_resume_starts_over),
		BOTH_CASES(unsatisfiable_resume_starts_over),
		BOTH_CASES(unsatisfiable_resume_with_a_broken_body_starts_over),
		WIRE_CASE(server_that_fails_at_ranges_is_asked_for_the_whole),
		BOTH_CASES(mirror_takes_over_in_the_middle),
		BOTH_CASES(expired_redirect_is_asked_for_anew),
		BOTH_CASES(transfer_goes_on_after_a_restart),
		BOTH_CASES(transfer_goes_on_after_a_kill),
		WIRE_CASE(blob_that_is_all_there_and_not_published_is_not_lost_to_another_etag),
	};
	return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}
