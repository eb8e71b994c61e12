/* SPDX-License-Identifier: Apache-2.0 */
/* What larder is fast by, seen from outside: each way that is meant to be short is taken. How fast that makes it is for
 * bench/ to measure. */
#include "tests/wire/expect.h"
#include "tests/wire/trace.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#define ASKED 400
#define DISK  "trace=%file,pread64,preadv,lseek,fstat,sendfile,pwrite64,fdatasync,fsync"

static void trace_dispose(struct trace **trace)
{
	trace_free(*trace);
}

struct held {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image;
	char *by_digest;
	char *by_tag;
};

static void ask_on(struct client *client, const struct larder *larder, const char *method, const char *target,
		   const char *digest)
{
	struct client_request request = {.port = larder_port(larder), .method = method, .target = target};
	struct client_reply reply = {0};
	_cleanup_free_ char *told = NULL;
	char block[16384];

	assert_true(client_send(client, &request));
	if (!client_read_head(client, &reply))
		fail_msg("%s %s: %s", method, target, client_error(client));
	assert_int_equal(reply.status, 200);
	told = client_reply_header(&reply, "Docker-Content-Digest");
	assert_string_equal(told, digest);
	while (strcmp(method, "GET") == 0 && client_read_body(client, block, sizeof(block)) > 0)
		;
	client_reply_dispose(&reply);
}

/* A HEAD of a tag may be a hit before what the GET fetched is written down whole. */
static void get_until_hit(const struct larder *larder, const char *target)
{
	struct client_reply reply = {0};
	uint64_t deadline = clock_ms() + WIRE_WAIT_MS;
	bool hit = false;

	while (!hit) {
		_cleanup_free_ char *status = NULL;

		assert_true(ask(larder, NULL, NULL, &reply, "%s", target));
		status = client_reply_header(&reply, "Cache-Status");
		hit = status && strcmp(status, "larder; hit") == 0;
		assert_true(clock_ms() < deadline);
	}
	client_reply_dispose(&reply);
}

static struct held held_new(struct wire *wire)
{
	struct held held = {.upstream = wire_upstream(wire, NULL)};
	struct client_reply reply = {0};

	scripted_add_image(held.upstream, "team/app", "v1",
			   &(struct scripted_image_options){.seed = 3, .layers = 2, .layer_size = 4096}, &held.image);
	held.larder = larder_configured(wire, held.upstream,
					"default_upstream: registry.test\n"
					"upstreams:\n"
					"  registry.test: { url: \"%s\", tag_ttl: 1h }\n");
	held.by_digest = mem_printf("/v2/team/app/manifests/%s", held.image.manifest);
	held.by_tag = mem_printf("/v2/team/app/manifests/v1");
	assert_true(larder_get(held.larder, held.by_tag, &reply));
	expect_content(&reply, held.image.manifest);
	client_reply_dispose(&reply);
	get_until_hit(held.larder, held.by_tag);
	get_until_hit(held.larder, held.by_digest);
	return held;
}

static void held_dispose(struct held *held)
{
	free(held->by_digest);
	free(held->by_tag);
}

WIRE_TEST(a_manifest_in_use_is_answered_without_the_disk)
{
	_cleanup_(held_dispose) struct held held = held_new(wire);
	_cleanup_(trace_dispose) struct trace *trace = NULL;
	static const char *const calls[] = {"openat", "newfstatat", "fstat",    "pread64",
					    "lseek",  "pwrite64",   "fdatasync"};
	struct client *client = client_connect(NULL, larder_port(held.larder), 60000);

	ask_on(client, held.larder, "GET", held.by_digest, held.image.manifest);
	ask_on(client, held.larder, "GET", held.by_tag, held.image.manifest);
	trace = trace_begin(wire, held.larder, "http", DISK);
	if (!trace) {
		client_close(client);
		skip();
	}
	for (unsigned i = 0; i < ASKED; i++) {
		ask_on(client, held.larder, "GET", held.by_digest, held.image.manifest);
		ask_on(client, held.larder, "HEAD", held.by_tag, held.image.manifest);
	}
	trace_end(trace);
	client_close(client);
	/* A look now and then is allowed: after a change of the index, as of what was fetched a moment ago. */
	for (size_t i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		assert_in_range(trace_count(trace, calls[i], NULL), 0, ASKED / 20);
}

/* What larder's threads of that name call while a manifest is asked for on one connection, which has been used before;
 * skips the test where nobody may trace. */
static struct trace *trace_asking(struct wire *wire, const struct held *held, const char *name, const char *calls,
				  const char *target)
{
	struct client *client = client_connect(NULL, larder_port(held->larder), 60000);
	struct trace *trace;

	ask_on(client, held->larder, "GET", target, held->image.manifest);
	trace = trace_begin(wire, held->larder, name, calls);
	if (!trace) {
		client_close(client);
		skip();
	}
	for (unsigned i = 0; i < ASKED; i++)
		ask_on(client, held->larder, "GET", target, held->image.manifest);
	trace_end(trace);
	client_close(client);
	return trace;
}

/* Nor any that writes: the log has a thread of its own. */
WIRE_TEST(an_answer_takes_one_system_call_in_and_one_out)
{
	_cleanup_(held_dispose) struct held held = held_new(wire);
	_cleanup_(trace_dispose) struct trace *trace = trace_asking(
		wire, &held, "http", "trace=sendto,sendmsg,write,writev,recvfrom,recvmsg,setsockopt", held.by_digest);
	unsigned out, in;

	out = trace_count(trace, "sendto", NULL) + trace_count(trace, "sendmsg", NULL) +
	      trace_count(trace, "write", NULL) + trace_count(trace, "writev", NULL) +
	      trace_count(trace, "setsockopt", NULL);
	in = trace_count(trace, "recvfrom", NULL) + trace_count(trace, "recvmsg", NULL);
	/* A few for what else happens; that the client has left is one. */
	assert_in_range(out, ASKED, ASKED + ASKED / 10);
	assert_in_range(in, ASKED, ASKED + ASKED / 10);
}

WIRE_TEST(hits_are_written_to_the_index_now_and_then)
{
	_cleanup_(held_dispose) struct held held = held_new(wire);
	uint64_t began = clock_ms(), commits;
	_cleanup_(trace_dispose) struct trace *trace =
		trace_asking(wire, &held, "index", "trace=fdatasync,fsync,msync", held.by_tag);

	/* One each two seconds, and what was fetched a moment ago; a commit syncs twice at most. */
	commits = 2 + (clock_ms() - began) / 2000;
	assert_in_range(trace_count(trace, "fdatasync", NULL) + trace_count(trace, "fsync", NULL) +
				trace_count(trace, "msync", NULL),
			0, 2 * commits);
}

WIRE_TEST(what_is_answered_from_memory_is_what_the_client_asked_for)
{
	_cleanup_(held_dispose) struct held held = held_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	for (unsigned i = 0; i < 3; i++) {
		/* Here first, HEAD alone is known. */
		assert_true(ask(held.larder, "HEAD", "Accept: */*\r\n", &reply, "%s?ns=registry.test", held.by_tag));
		expect_header(&reply, "OCI-Namespace", "registry.test");
		assert_int_equal(reply.body_bytes, 0);
		assert_true(ask(held.larder, "GET", "Accept: */*\r\n", &reply, "%s?ns=registry.test", held.by_tag));
		expect_content(&reply, held.image.manifest);
		expect_header(&reply, "Cache-Status", "larder; hit");
		assert_true(ask(held.larder, "GET", NULL, &reply, "%s", held.by_tag));
		expect_content(&reply, held.image.manifest);
		expect_header(&reply, "OCI-Namespace", NULL);
		assert_true(ask(held.larder, "POST", NULL, &reply, "%s", held.by_tag));
		expect_error(&reply, 405, "UNSUPPORTED");
	}
}

WIRE_TEST(an_answer_in_memory_ends_with_what_it_was_made_of)
{
	_cleanup_(held_dispose) struct held held = held_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image moved;

	for (unsigned i = 0; i < 2; i++) {
		assert_true(ask(held.larder, NULL, NULL, &reply, "%s", held.by_tag));
		expect_content(&reply, held.image.manifest);
	}
	scripted_add_image(held.upstream, "team/app", "v1",
			   &(struct scripted_image_options){.seed = 4, .layers = 2, .layer_size = 4096}, &moved);
	/* Another client's Accept makes larder ask, and so learn of it. It does not change what this one was told. */
	assert_true(ask(held.larder, NULL, "Accept: application/vnd.oci.image.manifest.v1+json\r\n", &reply, "%s",
			held.by_tag));
	expect_content(&reply, moved.manifest);
	assert_true(ask(held.larder, NULL, NULL, &reply, "%s", held.by_tag));
	expect_content(&reply, held.image.manifest);
	larder_stop(held.larder);
	larder_restart(held.larder);
	assert_true(ask(held.larder, NULL, NULL, &reply, "%s", held.by_tag));
	expect_content(&reply, held.image.manifest);
}

#define BLOB (20 * MIB) /* such as larder sends itself; and below that, the library */

struct blob {
	struct scripted *upstream;
	struct larder *larder;
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
};

static struct blob blob_new(struct wire *wire)
{
	struct blob blob = {.upstream = wire_upstream(wire, NULL)};

	scripted_add_blob(blob.upstream, "team/app", 7, BLOB, blob.digest);
	snprintf(blob.target, sizeof(blob.target), "/v2/team/app/blobs/%s", blob.digest);
	blob.larder = wire_larder_for(wire, blob.upstream, "registry.test");
	return blob;
}

static struct blob stored_blob_new(struct wire *wire)
{
	struct blob blob = blob_new(wire);
	struct client_reply reply = {0};

	assert_true(larder_get(blob.larder, blob.target, &reply));
	client_reply_dispose(&reply);
	expect_hit_soon(blob.larder, blob.target);
	return blob;
}

/* The body went out of a file, by at most `turns` of sendfile, and was never in larder's memory. */
static void expect_sendfile(struct trace *trace, unsigned turns)
{
	assert_in_range(trace_count(trace, "sendfile", NULL), 1, turns);
	assert_in_range(trace_count(trace, "pread64", NULL), 0, 4); /* the last byte */
}

/* What a client makes of two that differ is its own affair: there is one, and no other way to tell the end. */
static void expect_one_length(const struct client_reply *reply, uint64_t length)
{
	_cleanup_free_ char *wanted = mem_printf("\r\nContent-Length: %llu\r\n", (unsigned long long)length);
	const char *found = strcasestr(reply->head, "\r\nContent-Length:");

	assert_non_null(found);
	assert_int_equal(strncasecmp(found, wanted, strlen(wanted)), 0);
	assert_null(strcasestr(found + 1, "\r\nContent-Length:"));
	assert_null(strcasestr(reply->head, "Transfer-Encoding"));
	assert_int_equal(reply->body_bytes, length);
}

WIRE_TEST(a_stored_blob_goes_out_in_steps_as_large_as_the_socket_takes)
{
	struct blob blob = stored_blob_new(wire);
	_cleanup_(trace_dispose) struct trace *trace =
		trace_begin(wire, blob.larder, "http", "trace=sendfile,pread64,read,sendto,sendmsg");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	if (!trace)
		skip();
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_one_length(&reply, BLOB);
	assert_true(ask(blob.larder, NULL, "Range: bytes=1000000-\r\n", &reply, "%s", blob.target));
	assert_int_equal(reply.status, 206);
	expect_one_length(&reply, BLOB - 1000000);
	trace_end(trace);
	assert_true(trace_count(trace, "sendfile", ", 2097152)") > 0);
	/* However often the reader's window fills up: that is seldom less than 32 KiB. */
	expect_sendfile(trace, 2 * BLOB / 32768);
}

WIRE_TEST(a_cold_blob_is_written_in_large_blocks)
{
	struct blob blob = blob_new(wire);
	_cleanup_(trace_dispose) struct trace *trace = trace_begin(wire, blob.larder, "upstream", "trace=pwrite64");
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	if (!trace)
		skip();
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	trace_end(trace);
	/* libcurl gives 16 KiB at most. Beside each block its range is noted. */
	assert_in_range(trace_count(trace, "pwrite64", NULL), BLOB / (512 << 10), BLOB / (64 << 10));
}

WIRE_TEST(a_blob_in_flight_goes_out_by_sendfile)
{
	struct blob blob = blob_new(wire);
	struct client_request request = {.port = larder_port(blob.larder), .target = blob.target};
	_cleanup_(trace_dispose) struct trace *trace = NULL;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *block = mem_alloc(BLOB);
	struct client *client = client_connect(NULL, request.port, 60000);
	uint64_t got = 0;
	int stall = scripted_add_rule(
		blob.upstream, &(struct scripted_rule){.path = "*/blobs/*", .stall = true, .stall_at = BLOB / 2});

	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	trace = trace_begin(wire, blob.larder, "http", "trace=sendfile,pread64,read,sendto,sendmsg");
	if (!trace) {
		client_close(client);
		skip();
	}
	while (got < BLOB) {
		ssize_t n = client_read_body(client, block, BLOB);

		assert_true(n > 0);
		got += (uint64_t)n;
		if (got == BLOB / 2)
			scripted_release(blob.upstream, stall);
	}
	client_close(client);
	trace_end(trace);
	expect_sendfile(trace, 2 * BLOB / 16384);
}

WIRE_TEST(answers_behind_a_large_body_come_in_order_on_its_connection)
{
	struct blob blob = stored_blob_new(wire);
	struct client_request whole = {
		.port = larder_port(blob.larder), .target = blob.target, .headers = "Range: bytes=9-12000008\r\n"};
	struct client_request part = {
		.port = whole.port, .target = blob.target, .headers = "Range: bytes=5-4000004\r\n"};
	struct client_request ping = {.port = whole.port, .target = "/v2/"};
	const struct client_request *const asked[] = {&whole, &ping, &part, &ping};
	const uint64_t lengths[] = {12000000, 2, 4000000, 2};
	_cleanup_free_ char *block = mem_alloc(65536);
	struct client *client = client_connect(NULL, whole.port, 60000);

	for (size_t i = 0; i < 4; i++)
		assert_true(client_send(client, asked[i]));
	for (size_t i = 0; i < 4; i++) {
		struct client_reply reply = {0};
		uint64_t got = 0;
		ssize_t n;

		if (!client_read_head(client, &reply))
			fail_msg("answer %zu: %s", i, client_error(client));
		while ((n = client_read_body(client, block, 65536)) > 0)
			got += (uint64_t)n;
		assert_int_equal(got, lengths[i]);
		client_reply_dispose(&reply);
	}
	client_close(client);
}

WIRE_TEST(a_client_that_leaves_a_large_body_leaves_nothing_behind)
{
	struct blob blob = stored_blob_new(wire);
	struct client_request request = {
		.port = larder_port(blob.larder), .target = blob.target, .leave_after = 100000};

	for (unsigned i = 0; i < 8; i++) {
		struct client_reply reply = {0};

		client_fetch(&request, &reply);
		client_reply_dispose(&reply);
	}
	assert_true(larder_wait_output(blob.larder, "outcome=aborted", WIRE_WAIT_MS));
	larder_stop(blob.larder);
}

/* Someone who reads a blob again and again. */
struct reader {
	pthread_t thread;
	struct client_request request;
	atomic_bool *stop;
};

static void *read_on(void *arg)
{
	struct reader *reader = arg;

	while (!atomic_load(reader->stop)) {
		struct client_reply reply;

		client_fetch(&reader->request, &reply);
		client_reply_dispose(&reply);
	}
	return NULL;
}

/* So many connections at once, each with a request: how long the slowest answer took. That is 29 s where a library's
 * loop forgets those beyond 128. */
static uint64_t burst_ms(const struct larder *larder, size_t count)
{
	struct client_request ping = {.port = larder_port(larder), .target = "/v2/"};
	_cleanup_free_ struct client **clients = mem_alloc(count * sizeof(struct client *));
	_cleanup_free_ uint64_t *sent_us = mem_alloc(count * sizeof(uint64_t));
	uint64_t slowest_us = 0;

	for (size_t i = 0; i < count; i++)
		clients[i] = client_connect(NULL, ping.port, 60000);
	for (size_t i = 0; i < count; i++) {
		sent_us[i] = clock_us();
		if (!client_send(clients[i], &ping))
			fail_msg("connection %zu of %zu: %s", i, count, client_error(clients[i]));
	}
	for (size_t i = 0; i < count; i++) {
		struct client_reply reply = {0};

		if (!client_read_head(clients[i], &reply))
			fail_msg("connection %zu of %zu: %s", i, count, client_error(clients[i]));
		assert_int_equal(reply.status, 200);
		if (clock_us() - sent_us[i] > slowest_us)
			slowest_us = clock_us() - sent_us[i];
		client_reply_dispose(&reply);
		client_close(clients[i]);
	}
	return slowest_us / 1000;
}

/* Each is answered within 100 ms. Other programs take the processors now and then: so of many bursts one has to be so,
 * on a machine that has processors to spare; and none may stand still. */
static void expect_quick_burst(const struct larder *larder, size_t count)
{
	uint64_t best_ms = UINT64_MAX, deadline = clock_ms() + WIRE_WAIT_MS;
	double load = 0;

	while (best_ms > 100 && clock_ms() < deadline) {
		uint64_t ms = burst_ms(larder, count);

		assert_in_range(ms, 0, 20000);
		best_ms = ms < best_ms ? ms : best_ms;
	}
	if (best_ms <= 100)
		return;
	if (!built_with_sanitizer() && getloadavg(&load, 1) == 1 && load < (double)sysconf(_SC_NPROCESSORS_ONLN))
		fail_msg("%zu connections: none of the bursts was answered within 100 ms, the best within %llu", count,
			 (unsigned long long)best_ms);
	print_message("skipped: %zu connections within 100 ms, on a machine that does other things (load %.1f)\n",
		      count, load);
}

WIRE_TEST(each_of_a_burst_of_connections_beside_blobs_is_answered_at_once)
{
	static const size_t counts[] = {127, 128, 129, 256, 1000};
	struct rlimit limit;
	struct blob blob = stored_blob_new(wire);
	struct reader readers[4];
	atomic_bool stop = false;

	assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	for (size_t i = 0; i < 4; i++) {
		readers[i] = (struct reader){
			.stop = &stop,
			.request = {
				.port = larder_port(blob.larder), .target = blob.target, .rate = 40 * MIB, .keep = 1}};
		assert_int_equal(pthread_create(&readers[i].thread, NULL, read_on, &readers[i]), 0);
	}
	for (size_t i = 0; i < sizeof(counts) / sizeof(counts[0]); i++)
		expect_quick_burst(blob.larder, counts[i]);
	atomic_store(&stop, true);
	for (size_t i = 0; i < 4; i++)
		pthread_join(readers[i].thread, NULL);
}

WIRE_TEST(a_larder_that_rests_is_small)
{
	struct larder *larder;

	if (built_with_sanitizer())
		skip();
	larder = wire_larder_for(wire, wire_upstream(wire, NULL), "registry.test");
	/* Bound generously: what is measured is for bench/ to say. */
	assert_true(larder_wait_output(larder, "listening on", WIRE_WAIT_MS));
	for (unsigned i = 0; larder_rss(larder) > 8 * MIB && i < 200; i++)
		usleep(10000);
	assert_in_range(larder_rss(larder), MIB, 8 * MIB);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(a_manifest_in_use_is_answered_without_the_disk),
		WIRE_CASE(an_answer_takes_one_system_call_in_and_one_out),
		WIRE_CASE(hits_are_written_to_the_index_now_and_then),
		WIRE_CASE(what_is_answered_from_memory_is_what_the_client_asked_for),
		WIRE_CASE(an_answer_in_memory_ends_with_what_it_was_made_of),
		WIRE_CASE(a_stored_blob_goes_out_in_steps_as_large_as_the_socket_takes),
		WIRE_CASE(a_cold_blob_is_written_in_large_blocks),
		WIRE_CASE(a_blob_in_flight_goes_out_by_sendfile),
		WIRE_CASE(answers_behind_a_large_body_come_in_order_on_its_connection),
		WIRE_CASE(a_client_that_leaves_a_large_body_leaves_nothing_behind),
		WIRE_CASE(each_of_a_burst_of_connections_beside_blobs_is_answered_at_once),
		WIRE_CASE(a_larder_that_rests_is_small),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
