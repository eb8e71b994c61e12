/* SPDX-License-Identifier: Apache-2.0 */
/* Large blobs in segments, with the upstream room driven directly, so that "large" can be small. */
#include "tests/wire/speaking.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "upstream/transfer.h"

#include <inttypes.h>
#include <pthread.h>
#include <string.h>

#define SIZE       (12 * MIB)
#define RATE       (2 * MIB)
#define SEGMENT    (512 * KIB)
#define SEED       7
#define LANES      4
#define MORE       (SIZE + SIZE / 50) /* two in a hundred */
#define REPOSITORY "team/app"

static const struct transfer_limits small = {.try_bytes = MIB,
					     .known_bytes = MIB,
					     .rest_bytes = MIB,
					     .rest_ms = 500,
					     .segment_min = 64 * KIB,
					     .segment_max = SEGMENT};

/* What a flight is to a transfer: bytes by their place, and which are there. The loop's thread writes, the test reads
 * once it is done. */
struct receiver {
	char *data, *present;
	uint64_t size, received, twice;
	uint64_t ahead_most; /* of what was there behind the first gap */
	uint64_t prefix;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	bool done;
	struct err err;
};

static int on_answer(void *arg, const struct registry_answer *answer)
{
	struct receiver *receiver = arg;

	return answer->size == receiver->size ? 0 : ERR_UPSTREAM;
}

static int on_body(void *arg, uint64_t offset, const void *data, size_t len)
{
	struct receiver *receiver = arg;

	if (offset + len > receiver->size)
		return ERR_LIMIT;
	for (size_t i = 0; i < len; i++)
		receiver->twice += receiver->present[offset + i];
	memcpy(receiver->data + offset, data, len);
	memset(receiver->present + offset, 1, len);
	receiver->received += len;
	while (receiver->prefix < receiver->size && receiver->present[receiver->prefix])
		receiver->prefix++;
	if (receiver->received - receiver->twice - receiver->prefix > receiver->ahead_most)
		receiver->ahead_most = receiver->received - receiver->twice - receiver->prefix;
	return 0;
}

static void on_done(void *arg, const struct err *err)
{
	struct receiver *receiver = arg;

	pthread_mutex_lock(&receiver->lock);
	receiver->done = true;
	if (err)
		receiver->err = *err;
	pthread_cond_signal(&receiver->changed);
	pthread_mutex_unlock(&receiver->lock);
}

static bool next_gap(void *arg, uint64_t from, uint64_t *start, uint64_t *end)
{
	const struct receiver *receiver = arg;
	const char *gap, *behind;

	if (from >= receiver->size)
		return false;
	gap = memchr(receiver->present + from, 0, receiver->size - from);
	if (!gap)
		return false;
	*start = (uint64_t)(gap - receiver->present);
	behind = memchr(gap, 1, receiver->size - *start);
	*end = behind ? (uint64_t)(behind - receiver->present) : receiver->size;
	return true;
}

static const struct transfer_sink sink = {
	.on_answer = on_answer, .on_body = on_body, .on_done = on_done, .next_gap = next_gap};

/* A registry client before a scripted upstream. */
struct room {
	struct scripted *upstream;
	struct loop *loop;
	struct registry *registry;
};

static struct room room_new(struct wire *wire, const struct scripted_options *options, bool h2)
{
	struct room room = {.upstream = upstream_speaking(wire, options, h2)};
	struct registry_options registry = {.name = "registry.test",
					    .url = scripted_url(room.upstream, 1),
					    .ca = scripted_tls_ca(wire_tls(wire)),
					    .max_connections = 8,
					    .retries = 3,
					    .connect_timeout_ms = 10000,
					    .idle_timeout_ms = 10000,
					    .transfer_limits = &small};
	struct err err = {0};

	assert_int_equal(loop_start(&room.loop, &err), 0);
	room.registry = registry_new(room.loop, &registry);
	return room;
}

static void room_dispose(struct room *room)
{
	registry_close(room->registry);
	registry_free(room->registry);
	loop_stop(room->loop);
}

/* Fetches a blob and expects every byte right. Returns how long it took; `ahead` gets the most that was held behind the
 * first gap. */
static uint64_t transfer(const struct room *room, uint64_t seed, uint64_t size, uint64_t *ahead)
{
	struct receiver receiver = {.data = mem_alloc(size), .present = mem_alloc(size), .size = size};
	_cleanup_free_ char *expected = mem_alloc(size);
	char digest[SCRIPTED_DIGEST_MAX];
	struct transfer_query query = {.repository = REPOSITORY, .digest = digest};
	struct transfer *handle;
	uint64_t began_ms;

	pthread_mutex_init(&receiver.lock, NULL);
	pthread_cond_init(&receiver.changed, NULL);
	scripted_add_blob(room->upstream, REPOSITORY, seed, size, digest);
	scripted_blob_fill(seed, 0, expected, size);
	began_ms = clock_ms();
	transfer_start(room->registry, &query, &sink, &receiver, &handle);
	pthread_mutex_lock(&receiver.lock);
	while (!receiver.done)
		pthread_cond_wait(&receiver.changed, &receiver.lock);
	pthread_mutex_unlock(&receiver.lock);
	if (receiver.err.code)
		fail_msg("%s", receiver.err.text);
	assert_memory_equal(receiver.data, expected, size);
	assert_int_equal(receiver.prefix, size);
	if (ahead)
		*ahead = receiver.ahead_most;
	free(receiver.data);
	free(receiver.present);
	pthread_cond_destroy(&receiver.changed);
	pthread_mutex_destroy(&receiver.lock);
	return clock_ms() - began_ms;
}

static void expect_sent_at_most(struct scripted *upstream, uint64_t bytes)
{
	uint64_t sent = scripted_body_sent(upstream, "GET", BLOBS);

	if (sent > bytes)
		fail_msg("the upstream sent %" PRIu64 " bytes, more than %" PRIu64, sent, bytes);
}

static unsigned running_max(struct scripted *upstream)
{
	struct scripted_stats stats;

	scripted_get_stats(upstream, 0, &stats);
	return stats.running_max;
}

BOTH_TEST(limit_per_stream_is_overcome)
{
	/* Where everything takes many times as long, four lanes have no more to win than one. */
	if (built_with_sanitizer()) {
		print_message("skipped: a sanitizer slows the lanes down\n");
		skip();
	}
	struct scripted_options options = {.shape.rate_stream = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);
	uint64_t alone_ms = SIZE * 1000 / RATE, ahead;
	uint64_t took_ms = transfer(&room, SEED, SIZE, &ahead);

	assert_in_range(running_max(room.upstream), LANES,
			LANES + h2); /* a stream that was reset ends a moment later there */
	if (took_ms > alone_ms / 2)
		fail_msg("took %" PRIu64 " ms, and one stream %" PRIu64, took_ms, alone_ms);
	expect_sent_at_most(room.upstream, MORE);
	/* The first reader is served in order: what is held behind a gap is a segment for each lane. */
	assert_in_range(ahead, 1, LANES * SEGMENT);

	/* Known to help: all of them at once, next time. */
	scripted_clear_log(room.upstream);
	took_ms = transfer(&room, SEED + 1, SIZE, NULL);
	assert_in_range(running_max(room.upstream), LANES,
			LANES + h2); /* a stream that was reset ends a moment later there */
	if (took_ms > alone_ms / 2)
		fail_msg("took %" PRIu64 " ms the second time", took_ms);
	expect_sent_at_most(room.upstream, MORE);
}

/* Where all share one limit, another lane brings nothing, and is given up; and not tried again. */
BOTH_TEST(limit_of_the_whole_keeps_one_lane)
{
	struct scripted_options options = {.shape.rate_total = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);

	transfer(&room, SEED, SIZE, NULL);
	assert_in_range(running_max(room.upstream), 1, 2 + h2); /* as above */
	assert_in_range(scripted_count(room.upstream, "GET", BLOBS), 2, 8);
	expect_sent_at_most(room.upstream, MORE);
	scripted_clear_log(room.upstream);
	transfer(&room, SEED + 1, SIZE, NULL);
	expect_count(room.upstream, "GET", BLOBS, 1);
}

BOTH_TEST(small_blob_stays_with_one_lane)
{
	struct scripted_options options = {.shape.rate_stream = RATE / 4};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);

	transfer(&room, SEED, MIB, NULL);
	expect_count(room.upstream, "GET", BLOBS, 1);
}

BOTH_TEST(fast_blob_stays_with_one_lane)
{
	if (built_with_sanitizer()) {
		print_message("skipped: with a sanitizer nothing is fast\n");
		skip();
	}
	_cleanup_(room_dispose) struct room room = room_new(wire, NULL, h2);

	transfer(&room, SEED, SIZE, NULL);
	expect_count(room.upstream, "GET", BLOBS, 1);
}

/* A 200 to a Range: the stream that runs brings it all, and nothing is fetched twice. */
BOTH_TEST(server_without_ranges_keeps_one_stream)
{
	struct scripted_options options = {.shape.rate_stream = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);

	scripted_add_rule(room.upstream, &(struct scripted_rule){.path = BLOBS, .ignore_range = true});
	transfer(&room, SEED, SIZE, NULL);
	expect_count(room.upstream, "GET", BLOBS, 2);
	expect_sent_at_most(room.upstream, MORE);
}

/* Nor where the second answer does not come before the first stream has been through its part. */
BOTH_TEST(slow_second_answer_is_not_waited_for)
{
	struct scripted_options options = {.shape.rate_stream = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);

	scripted_add_rule(room.upstream,
			  &(struct scripted_rule){.path = BLOBS, .from = 2, .delay_ms = 4000, .ignore_range = true});
	transfer(&room, SEED, SIZE, NULL);
	expect_sent_at_most(room.upstream, MORE);
}

/* Lanes that are cut, refused or told to come later cost their part another request, and no byte twice. */
BOTH_TEST(lanes_in_trouble_lose_nothing)
{
	struct scripted_options options = {.shape.rate_stream = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);

	scripted_add_rule(
		room.upstream,
		&(struct scripted_rule){
			.path = BLOBS, .from = 3, .count = 1, .cut = SCRIPTED_CUT_RST, .cut_at = SEGMENT / 2});
	scripted_add_rule(room.upstream, &(struct scripted_rule){.path = BLOBS, .from = 5, .count = 2, .status = 503});
	scripted_add_rule(
		room.upstream,
		&(struct scripted_rule){
			.path = BLOBS, .from = 8, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = SCRIPTED_BEFORE_HEAD});
	transfer(&room, SEED, SIZE, NULL);
	/* What was on its way on the lane that was cut is lost. */
	expect_sent_at_most(room.upstream, MORE + SEGMENT);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		BOTH_CASES(limit_per_stream_is_overcome),           BOTH_CASES(limit_of_the_whole_keeps_one_lane),
		BOTH_CASES(small_blob_stays_with_one_lane),         BOTH_CASES(fast_blob_stays_with_one_lane),
		BOTH_CASES(server_without_ranges_keeps_one_stream), BOTH_CASES(slow_second_answer_is_not_waited_for),
		BOTH_CASES(lanes_in_trouble_lose_nothing),
	};
	return cmocka_run_group_tests_name("segments", tests, NULL, NULL);
}
