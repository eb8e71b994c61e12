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
#define TRIES      4
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

/* Nothing is fetched twice: of the answers that ran to their end, and of so many at most that larder stopped midway.
 * What of those was on its way, nobody can say: the upstream goes on sending until it hears of that, which takes a busy
 * machine as long as it takes. An answer that came too late may have been sent whole by then: one segment. */
static void expect_fetched_once(struct scripted *upstream, unsigned stopped_most)
{
	size_t count;
	struct scripted_record *records;
	uint64_t sent = 0;
	unsigned stopped = 0;

	assert_true(scripted_wait_idle(upstream, false, WIRE_WAIT_MS));
	records = scripted_records(upstream, "GET", BLOBS, &count);
	for (size_t i = 0; i < count; i++) {
		if (records[i].outcome == SCRIPTED_LEFT)
			stopped++;
		else
			sent += records[i].body_sent;
	}
	scripted_records_free(records, count);
	if (sent > SIZE + SEGMENT)
		fail_msg("the upstream sent %" PRIu64 " bytes in whole answers", sent);
	if (stopped > stopped_most)
		fail_msg("%u answers were stopped midway, more than %u", stopped, stopped_most);
}

static unsigned running_max(struct scripted *upstream)
{
	struct scripted_stats stats;

	scripted_get_stats(upstream, 0, &stats);
	return stats.running_max;
}

/* Whether lanes are worth it is measured, for parts of a second: a busy machine that takes the processor away meanwhile
 * shows something else. So of a few tries, each before a registry that nothing is known of, one has to be as it should;
 * and each has to be right. */
static void expect_in_a_few_tries(bool (*runs_well)(struct wire *wire, bool h2), struct wire *wire, bool h2)
{
	for (unsigned i = 0; i < TRIES; i++)
		if (runs_well(wire, h2))
			return;
	fail_msg("none of %d tries found how many lanes are best", TRIES);
}

/* The first transfer finds out that lanes help, the second knows it and takes all of them at once. */
static bool overcomes_limit_per_stream(struct wire *wire, bool h2)
{
	struct scripted_options options = {.shape.rate_stream = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);

	for (unsigned i = 0; i < 2; i++) {
		uint64_t ahead, took_ms = transfer(&room, SEED + i, SIZE, &ahead);
		unsigned most = running_max(room.upstream);

		expect_fetched_once(room.upstream, LANES);
		/* A stream that was reset ends a moment later there. */
		assert_in_range(most, 1, LANES + h2);
		if (most < LANES || took_ms > SIZE * 1000 / RATE / 2) {
			print_message("%u lanes, %" PRIu64 " ms\n", most, took_ms);
			return false;
		}
		/* The first reader is served in order: what is held behind a gap is a segment for each lane. */
		assert_in_range(ahead, 1, LANES * SEGMENT);
		scripted_clear_log(room.upstream);
	}
	return true;
}

BOTH_TEST(limit_per_stream_is_overcome)
{
	/* Where everything takes many times as long, four lanes have no more to win than one. */
	if (built_with_sanitizer()) {
		print_message("skipped: a sanitizer slows the lanes down\n");
		skip();
	}
	expect_in_a_few_tries(overcomes_limit_per_stream, wire, h2);
}

/* Where all share one limit, another lane brings nothing, and is given up; and not tried again. */
static bool keeps_one_lane(struct wire *wire, bool h2)
{
	struct scripted_options options = {.shape.rate_total = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);
	unsigned most, first, second;

	transfer(&room, SEED, SIZE, NULL);
	expect_fetched_once(room.upstream, LANES);
	most = running_max(room.upstream);
	first = scripted_count(room.upstream, "GET", BLOBS);
	scripted_clear_log(room.upstream);
	transfer(&room, SEED + 1, SIZE, NULL);
	second = scripted_count(room.upstream, "GET", BLOBS);
	if (most <= (h2 ? 3 : 2) && first >= 2 && first <= 8 && second == 1)
		return true;
	print_message("%u lanes, %u requests and then %u\n", most, first, second);
	return false;
}

BOTH_TEST(limit_of_the_whole_keeps_one_lane)
{
	expect_in_a_few_tries(keeps_one_lane, wire, h2);
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
	expect_fetched_once(room.upstream, 1);
}

/* Nor where the second answer does not come before the first stream has been through its part. */
BOTH_TEST(slow_second_answer_is_not_waited_for)
{
	struct scripted_options options = {.shape.rate_stream = RATE};
	_cleanup_(room_dispose) struct room room = room_new(wire, &options, h2);

	scripted_add_rule(room.upstream,
			  &(struct scripted_rule){.path = BLOBS, .from = 2, .delay_ms = 4000, .ignore_range = true});
	transfer(&room, SEED, SIZE, NULL);
	expect_fetched_once(room.upstream, 1);
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
	expect_fetched_once(room.upstream, 1);
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
