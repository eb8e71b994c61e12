/* SPDX-License-Identifier: Apache-2.0 */
/* Byte ranges, one or several, of blobs that are stored and of blobs that arrive slowly, against a reference. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define REQUESTS      16 /* at once */
#define SPECS_MAX     12
#define HEADER_MAX    512
#define CONTENT_TYPE  "application/octet-stream"
#define PROPERTY_SEED 20260806

struct ranged {
	struct scripted *upstream;
	struct larder *larder;
	uint64_t size;
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
	char *content;
};

static void ranged_add_blob(struct ranged *blob, uint64_t seed)
{
	scripted_add_blob(blob->upstream, "team/app", seed, blob->size, blob->digest);
	scripted_blob_fill(seed, 0, blob->content, blob->size);
	snprintf(blob->target, sizeof(blob->target), "/v2/team/app/blobs/%s", blob->digest);
}

static struct ranged ranged_new(struct wire *wire, uint64_t size)
{
	struct ranged blob = {.upstream = wire_upstream(wire, NULL), .size = size, .content = mem_alloc(size + 1)};
	ranged_add_blob(&blob, 1);
	blob.larder = wire_larder_for(wire, blob.upstream, "registry.test");
	return blob;
}

static void ranged_fetch(const struct ranged *blob)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(blob->larder, NULL, NULL, &reply, "%s", blob->target));
	expect_content(&reply, blob->digest);
	expect_hit_soon(blob->larder, blob->target);
}

/* What a Range header means, reckoned while it is made. */
struct wanted {
	char header[HEADER_MAX];
	size_t count; /* ranges that can be satisfied */
	uint64_t start[SPECS_MAX], len[SPECS_MAX];
	uint64_t bytes;
};

static void expect_bytes(const struct ranged *blob, const char *data, uint64_t start, uint64_t len)
{
	if (memcmp(data, blob->content + start, len) != 0)
		fail_msg("other bytes than %" PRIu64 "-%" PRIu64 " of the blob", start, start + len - 1);
}

/* Reads "NAME: VALUE\r\n" lines up to the empty one; returns what is behind it. */
static const char *expect_part_head(const struct ranged *blob, const char *at, uint64_t start, uint64_t len)
{
	_cleanup_free_ char *wanted = mem_printf("Content-Type: " CONTENT_TYPE "\r\nContent-Range: bytes %" PRIu64
						 "-%" PRIu64 "/%" PRIu64 "\r\n\r\n",
						 start, start + len - 1, blob->size);
	if (strncmp(at, wanted, strlen(wanted)) != 0)
		fail_msg("a part begins with \"%.200s\", not \"%s\"", at, wanted);
	return at + strlen(wanted);
}

static void expect_parts(const struct ranged *blob, const struct wanted *wanted, const struct client_reply *reply)
{
	_cleanup_free_ char *type = client_reply_header(reply, "Content-Type");
	_cleanup_free_ char *length = client_reply_header(reply, "Content-Length");
	static const char prefix[] = "multipart/byteranges; boundary=";
	const char *at = reply->body, *boundary;

	if (!type || strncmp(type, prefix, strlen(prefix)) != 0)
		fail_msg("Content-Type is %s", type ? type : "absent");
	expect_header(reply, "Content-Range", NULL);
	boundary = type + strlen(prefix);
	for (size_t i = 0; i < wanted->count; i++) {
		_cleanup_free_ char *line = mem_printf("%s--%s\r\n", i ? "\r\n" : "", boundary);
		assert_in_range((uint64_t)(at - reply->body) + strlen(line), 0, reply->body_len);
		assert_memory_equal(at, line, strlen(line));
		at = expect_part_head(blob, at + strlen(line), wanted->start[i], wanted->len[i]);
		assert_in_range((uint64_t)(at - reply->body) + wanted->len[i], 0, reply->body_len);
		expect_bytes(blob, at, wanted->start[i], wanted->len[i]);
		at += wanted->len[i];
	}
	_cleanup_free_ char *end = mem_printf("\r\n--%s--\r\n", boundary);
	assert_string_equal(at, end);
	assert_int_equal(at + strlen(end) - reply->body, reply->body_len);
	assert_int_equal(strtoull(length, NULL, 10), reply->body_len);
}

static void expect_wanted(const struct ranged *blob, const struct wanted *wanted, const struct client_reply *reply)
{
	if (!reply->complete)
		fail_msg("%s: %d %s", wanted->header, reply->status, reply->error);
	if (wanted->count == 0) {
		_cleanup_free_ char *range = mem_printf("bytes */%" PRIu64, blob->size);
		assert_int_equal(reply->status, 416);
		expect_header(reply, "Content-Range", range);
	} else if (wanted->bytes > blob->size) {
		assert_int_equal(reply->status, 200);
		assert_string_equal(reply->digest, blob->digest);
	} else if (wanted->count == 1) {
		_cleanup_free_ char *range = mem_printf("bytes %" PRIu64 "-%" PRIu64 "/%" PRIu64, wanted->start[0],
							wanted->start[0] + wanted->len[0] - 1, blob->size);
		assert_int_equal(reply->status, 206);
		expect_header(reply, "Content-Range", range);
		assert_int_equal(reply->body_len, wanted->len[0]);
		expect_bytes(blob, reply->body, wanted->start[0], wanted->len[0]);
	} else {
		assert_int_equal(reply->status, 206);
		expect_parts(blob, wanted, reply);
	}
}

static uint64_t random_below(uint64_t *random, uint64_t limit)
{
	*random ^= *random << 13;
	*random ^= *random >> 7;
	*random ^= *random << 17;
	return *random % limit;
}

static void wanted_add(struct wanted *wanted, uint64_t start, uint64_t len)
{
	wanted->start[wanted->count] = start;
	wanted->len[wanted->count++] = len;
	wanted->bytes += len;
}

/* One more range of a random kind: closed, open-ended, suffix, across the end, beyond it. */
static void add_random(struct wanted *wanted, uint64_t size, uint64_t *random, uint64_t len_max)
{
	char *text = wanted->header + strlen(wanted->header);
	size_t room = sizeof(wanted->header) - strlen(wanted->header);
	uint64_t start = random_below(random, size), len = 1 + random_below(random, len_max);
	const char *comma = strchr(wanted->header, '-') ? (random_below(random, 2) ? "," : " , ") : "";

	switch (random_below(random, 8)) {
	case 0:
		snprintf(text, room, "%s-%" PRIu64, comma, len);
		wanted_add(wanted, size - (len < size ? len : size), len < size ? len : size);
		break;
	case 1:
		start = size - 1 - random_below(random, len_max < size ? len_max : size);
		snprintf(text, room, "%s%" PRIu64 "-", comma, start);
		wanted_add(wanted, start, size - start);
		break;
	case 2:
		snprintf(text, room, "%s%" PRIu64 "-%" PRIu64, comma, size + start, size + start + len);
		break;
	case 3:
		start = size - 1 - start % 100;
		snprintf(text, room, "%s%" PRIu64 "-%" PRIu64, comma, start, size + len);
		wanted_add(wanted, start, size - start);
		break;
	default:
		len = len < size - start ? len : size - start;
		snprintf(text, room, "%s%" PRIu64 "-%" PRIu64, comma, start, start + len - 1);
		wanted_add(wanted, start, len);
		break;
	}
}

static void make_wanted(struct wanted *wanted, uint64_t size, uint64_t *random)
{
	uint64_t specs = random_below(random, 3) ? 1 + random_below(random, SPECS_MAX) : 1;
	uint64_t len_max = random_below(random, 2) ? 200 : size / 4;

	*wanted = (struct wanted){0};
	snprintf(wanted->header, sizeof(wanted->header), "Range: bytes=");
	for (uint64_t i = 0; i < specs; i++)
		add_random(wanted, size, random, len_max);
	strcat(wanted->header, "\r\n");
}

static void ask_at_random(const struct ranged *blob, uint64_t *random)
{
	struct client_request requests[REQUESTS];
	struct client_reply replies[REQUESTS] = {0};
	struct wanted wanted[REQUESTS];

	for (size_t i = 0; i < REQUESTS; i++) {
		make_wanted(&wanted[i], blob->size, random);
		requests[i] = (struct client_request){
			.port = larder_port(blob->larder), .target = blob->target, .headers = wanted[i].header};
	}
	client_fetch_many(requests, replies, REQUESTS);
	for (size_t i = 0; i < REQUESTS; i++)
		expect_wanted(blob, &wanted[i], &replies[i]);
	client_replies_dispose(replies, REQUESTS);
}

WIRE_TEST(any_ranges_of_a_stored_blob_are_the_blobs_bytes)
{
	struct ranged blob = ranged_new(wire, 300001);
	uint64_t random = PROPERTY_SEED;
	ranged_fetch(&blob);
	for (unsigned round = 0; round < 12; round++)
		ask_at_random(&blob, &random);
	expect_count(blob.upstream, "GET", "*/blobs/*", 1);
	free(blob.content);
}

WIRE_TEST(any_ranges_of_a_slow_flight_are_the_blobs_bytes)
{
	struct ranged blob = ranged_new(wire, 2 * MIB + 77);
	uint64_t random = PROPERTY_SEED;
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = "*/blobs/*", .rate = 4 * MIB});
	for (unsigned round = 0; round < 4; round++) {
		ranged_add_blob(&blob, 100 + round);
		scripted_clear_log(blob.upstream);
		ask_at_random(&blob, &random);
		assert_true(scripted_wait_body(blob.upstream, "GET", "*/blobs/*", blob.size, WIRE_WAIT_MS));
		expect_hit_soon(blob.larder, blob.target);
		/* One transfer, over several connections: what a segment that became another's had on its way is sent
		 * twice, and no more. */
		assert_in_range(scripted_body_sent(blob.upstream, "GET", "*/blobs/*"), blob.size, 2 * blob.size);
	}
	free(blob.content);
}

WIRE_TEST(several_ranges_are_answered_as_soon_as_they_are_there)
{
	struct ranged blob = ranged_new(wire, MIB);
	int stall = scripted_add_rule(blob.upstream,
				      &(struct scripted_rule){.path = "*/blobs/*", .stall = true, .stall_at = MIB / 2});
	struct wanted wanted = {.count = 2, .start = {100, 0}, .len = {100, 10}, .bytes = 110};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	assert_true(ask(blob.larder, NULL, "Range: bytes=100-199,0-9\r\n", &reply, "%s", blob.target));
	expect_wanted(&blob, &wanted, &reply);
	assert_int_equal(scripted_body_sent(blob.upstream, "GET", "*/blobs/*"), MIB / 2);
	scripted_release(blob.upstream, stall);
	expect_hit_soon(blob.larder, blob.target);
	expect_count(blob.upstream, "GET", "*/blobs/*", 1);
	free(blob.content);
}

WIRE_TEST(several_ranges_end_with_a_flight_that_fails)
{
	struct ranged blob = ranged_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.path = "*/blobs/*", .flip = true, .flip_at = MIB / 2});
	assert_false(ask(blob.larder, NULL, "Range: bytes=0-9,-5\r\n", &reply, "%s", blob.target));
	assert_int_equal(reply.status, 206);
	assert_false(reply.complete);
	free(blob.content);
}

/* containers/image asks for up to 1024 chunks at once, and wants as many parts. */
WIRE_TEST(a_thousand_small_ranges_are_answered_one_by_one)
{
	struct ranged blob = ranged_new(wire, 300001);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_(buf_dispose) struct buf header = {0};
	static const char mark[] = "\r\nContent-Range: bytes ";
	unsigned parts = 0;

	ranged_fetch(&blob);
	buf_append_text(&header, "Range: bytes=0-9");
	for (unsigned i = 1; i < 1024; i++)
		buf_printf(&header, ",%u-%u", i * 10, i * 10 + 9);
	buf_append_text(&header, "\r\n");
	assert_true(ask(blob.larder, NULL, header.data, &reply, "%s", blob.target));
	assert_int_equal(reply.status, 206);
	for (const char *at = reply.body, *end = at + reply.body_len;
	     (at = memmem(at, (size_t)(end - at), mark, strlen(mark))); at++)
		parts++;
	assert_int_equal(parts, 1024);
	free(blob.content);
}

WIRE_TEST(ranges_are_ignored_where_they_mean_nothing)
{
	struct ranged blob = ranged_new(wire, 5000);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *other = mem_printf("Range: bytes=0-9,20-29\r\nIf-Range: \"another\"\r\n");
	_cleanup_free_ char *same = mem_printf("Range: bytes=0-9,20-29\r\nIf-Range: \"%s\"\r\n", blob.digest);
	_cleanup_free_ char *none_match =
		mem_printf("Range: bytes=0-9,20-29\r\nIf-None-Match: \"%s\"\r\n", blob.digest);
	struct wanted wanted = {.count = 2, .start = {0, 20}, .len = {10, 10}, .bytes = 20};

	ranged_fetch(&blob);
	assert_true(ask(blob.larder, NULL, other, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	assert_true(ask(blob.larder, NULL, same, &reply, "%s", blob.target));
	expect_wanted(&blob, &wanted, &reply);
	assert_true(ask(blob.larder, NULL, none_match, &reply, "%s", blob.target));
	assert_int_equal(reply.status, 304);
	assert_true(ask(blob.larder, NULL, "Range: bytes=0-9,oops\r\n", &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	assert_true(ask(blob.larder, NULL, "Range: bytes=0-,0-,0-,0-\r\n", &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	assert_true(ask(blob.larder, "HEAD", "Range: bytes=0-9,20-29\r\n", &reply, "%s", blob.target));
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Length", "5000");
	expect_header(&reply, "Accept-Ranges", "bytes");
	free(blob.content);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(any_ranges_of_a_stored_blob_are_the_blobs_bytes),
		WIRE_CASE(any_ranges_of_a_slow_flight_are_the_blobs_bytes),
		WIRE_CASE(several_ranges_are_answered_as_soon_as_they_are_there),
		WIRE_CASE(several_ranges_end_with_a_flight_that_fails),
		WIRE_CASE(a_thousand_small_ranges_are_answered_one_by_one),
		WIRE_CASE(ranges_are_ignored_where_they_mean_nothing),
	};
	return cmocka_run_group_tests_name("ranges", tests, NULL, NULL);
}
