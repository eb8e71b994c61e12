/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Stored blobs that cannot be read to their end, which serving them meets midway: the connection is cut, the blob goes
 * to quarantine, the next who asks gets it from upstream, and it is fetched anew also when nobody asks.
 */
#include "tests/faults/bed.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"
#include "tests/wire/harness_process.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define SMALL (15 * MIB) /* the library sends it … */
#define LARGE (48 * MIB) /* … and larder itself this one */

/* A larder that holds one blob. */
struct held {
	struct wire *wire;
	struct scripted *upstream;
	struct larder *larder;
	uint16_t port;
	uint64_t size;
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
	const char *ca;   /* it speaks TLS, by a certificate of this one; NULL: plain HTTP */
	char *path;       /* of the blob */
	char *unreadable; /* of the file that says what cannot be read */
};

static bool get(const struct held *held, const char *headers, struct client_reply *reply)
{
	struct client_request request = {.port = held->port,
					 .ca = held->ca,
					 .target = held->target,
					 .headers = headers,
					 .keep = 1,
					 .deadline_ms = WIRE_WAIT_MS};

	client_reply_dispose(reply);
	return client_fetch(&request, reply);
}

static void await_file(const char *path)
{
	for (int i = 0; i < WIRE_WAIT_MS / 10 && access(path, F_OK) < 0; i++)
		usleep(10000);
	assert_int_equal(access(path, F_OK), 0);
}

/* Until the flight that brought it is over the blob comes from that, also where it is called a hit. */
static void await_hit(const struct held *held)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *status = NULL;
	double flights = 1;

	assert_true(get(held, NULL, &reply));
	expect_content(&reply, held->digest);
	for (int i = 0; i < WIRE_WAIT_MS / 10 && flights > 0; i++) {
		_cleanup_free_ char *metrics = admin_metrics(held->larder);

		flights = metric_value(metrics, "larder_flights");
		if (flights > 0)
			usleep(10000);
	}
	assert_true(flights == 0);
	assert_true(get(held, NULL, &reply));
	status = client_reply_header(&reply, "Cache-Status");
	assert_string_equal(status, "larder; hit");
}

static char *tls_configuration(struct wire *wire)
{
	_cleanup_free_ char *cert = wire_path(wire, "server.pem"), *key = wire_path(wire, "server.key");
	_cleanup_free_ char *text = mem_printf("tls: { cert: \"%s\", key: \"%s\" }\n", cert, key);

	return wire_write_file(wire, "tls.yaml", text);
}

static struct held hold_speaking(struct wire *wire, uint64_t size, bool tls)
{
	_cleanup_free_ char *config = tls ? tls_configuration(wire) : NULL;
	const char *const arguments[] = {"--admin", "127.0.0.1:0", config ? "-c" : NULL, config, NULL};
	struct held held = {.wire = wire,
			    .upstream = wire_upstream(wire, NULL),
			    .size = size,
			    .ca = tls ? scripted_tls_ca(wire_tls(wire)) : NULL};
	_cleanup_free_ char *name = NULL;
	struct fault fault = {0};

	scripted_add_blob(held.upstream, "team/app", 7, size, held.digest);
	snprintf(held.target, sizeof(held.target), "/v2/team/app/blobs/%s", held.digest);
	name = mem_printf("store/blobs/sha256/%.2s/%s", strchr(held.digest, ':') + 1, strchr(held.digest, ':') + 1);
	held.path = wire_path(wire, name);
	held.unreadable = wire_path(wire, "store/unreadable"); /* where larder may read */
	fault.unreadable = held.unreadable;
	held.larder = bed_start(wire, held.upstream, &fault, arguments);
	held.port = bed_port(held.larder);
	assert_int_not_equal(held.port, 0);
	/* Published, and sent out of the file from here on. */
	await_hit(&held);
	scripted_clear_log(held.upstream);
	return held;
}

static struct held hold(struct wire *wire, uint64_t size)
{
	return hold_speaking(wire, size, false);
}

static unsigned count_quarantined(const struct wire *wire)
{
	_cleanup_free_ char *path = wire_path(wire, "store/quarantine");
	DIR *directory = opendir(path);
	const struct dirent *entry;
	unsigned count = 0;

	assert_non_null(directory);
	while ((entry = readdir(directory)))
		count += entry->d_name[0] != '.';
	closedir(directory);
	return count;
}

static void expect_cut(const struct held *held, const struct client_reply *reply)
{
	assert_in_range(reply->status, 200, 206);
	assert_false(reply->complete);
	assert_string_not_equal(reply->error, "deadline");
	assert_true(reply->body_bytes < held->size);
}

static void expect_right(const struct held *held, struct client_reply *reply)
{
	bool whole = get(held, NULL, reply);

	if (!whole || reply->status != 200) {
		print_message("status %d, %lu bytes: %s\n", reply->status, (unsigned long)reply->body_bytes,
			      reply->error);
		process_print(held->larder);
	}
	assert_true(whole);
	expect_content(reply, held->digest);
}

/* Behind the first broken answer. */
static void expect_healed(struct held *held)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *metrics = NULL;
	int status;

	expect_right(held, &reply);
	await_hit(held);
	scripted_clear_log(held->upstream);
	expect_right(held, &reply);
	expect_count(held->upstream, "GET", "*/blobs/*", 0);
	assert_int_equal(count_quarantined(held->wire), 1);
	metrics = admin_metrics(held->larder);
	assert_int_equal((int)metric_value(metrics, "larder_corrupt_blobs_total"), 1);
	assert_true(process_finish(held->larder, WIRE_WAIT_MS, &status));
	assert_int_equal(status, 0);
	process_free(held->larder);
	free(held->path);
	free(held->unreadable);
}

/* From now on the second half of the file that is there now cannot be read. */
static void break_file(const struct held *held)
{
	_cleanup_free_ char *text = NULL;
	struct stat file;

	assert_int_equal(stat(held->path, &file), 0);
	text = mem_printf("%lu\n", (unsigned long)file.st_ino);
	free(wire_write_file(held->wire, "store/unreadable", text));
}

static void run_unreadable(struct wire *wire, uint64_t size, const char *headers, bool tls)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct held held = hold_speaking(wire, size, tls);

	break_file(&held);
	assert_false(get(&held, headers, &reply));
	expect_cut(&held, &reply);
	expect_healed(&held);
}

WIRE_TEST(read_error_midway_puts_a_large_blob_into_quarantine)
{
	run_unreadable(wire, LARGE, NULL, false);
}

WIRE_TEST(read_error_midway_puts_a_small_blob_into_quarantine)
{
	run_unreadable(wire, SMALL, NULL, false);
}

WIRE_TEST(read_error_midway_puts_a_large_blob_into_quarantine_over_tls)
{
	run_unreadable(wire, LARGE, NULL, true);
}

WIRE_TEST(read_error_midway_puts_a_small_blob_into_quarantine_over_tls)
{
	run_unreadable(wire, SMALL, NULL, true);
}

WIRE_TEST(read_error_in_one_of_several_ranges_puts_the_blob_into_quarantine)
{
	run_unreadable(wire, MIB, "Range: bytes=0-9,600000-1048575\r\n", false);
}

/* The client has read the head when the file is cut, and most of the body is still to be sent. */
static void run_cut_file(struct wire *wire, uint64_t size)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct held held = hold(wire, size);
	struct client_request request = {.target = held.target};
	struct client *client = client_connect(NULL, held.port, WIRE_WAIT_MS);
	char data[65536];
	ssize_t got;

	assert_non_null(client);
	assert_true(client_send(client, &request));
	assert_true(client_read_head(client, &reply));
	assert_int_equal(reply.status, 200);
	assert_int_equal(truncate(held.path, (off_t)(size - MIB)), 0);
	while ((got = client_read_body(client, data, sizeof(data))) > 0)
		;
	assert_int_equal(got, -1);
	assert_string_not_equal(client_error(client), "deadline");
	client_close(client);
	expect_healed(&held);
}

WIRE_TEST(large_blob_cut_short_while_it_is_sent_goes_to_quarantine)
{
	run_cut_file(wire, LARGE);
}

WIRE_TEST(small_blob_cut_short_while_it_is_sent_goes_to_quarantine)
{
	run_cut_file(wire, SMALL);
}

WIRE_TEST(blob_that_could_not_be_read_is_fetched_anew_though_nobody_asks_again)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct held held = hold(wire, LARGE);

	scripted_clear_log(held.upstream);
	break_file(&held);
	assert_false(get(&held, NULL, &reply));
	assert_true(larder_wait_output(held.larder, "was damaged, and was fetched anew", WIRE_WAIT_MS));
	await_file(held.path);
	expect_count(held.upstream, "GET", "*/blobs/*", 1);
	expect_healed(&held);
}

/* Clients leave all the time: that says nothing about the file. */
WIRE_TEST(client_that_leaves_midway_puts_nothing_into_quarantine)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct held held = hold(wire, SMALL);
	struct client_request request = {.port = held.port, .target = held.target, .leave_after = MIB};

	client_fetch(&request, &reply);
	assert_true(larder_wait_output(held.larder, "outcome=aborted", WIRE_WAIT_MS));
	assert_int_equal(count_quarantined(wire), 0);
	break_file(&held);
	assert_false(get(&held, NULL, &reply));
	expect_healed(&held);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(read_error_midway_puts_a_large_blob_into_quarantine),
		WIRE_CASE(read_error_midway_puts_a_small_blob_into_quarantine),
		WIRE_CASE(read_error_midway_puts_a_large_blob_into_quarantine_over_tls),
		WIRE_CASE(read_error_midway_puts_a_small_blob_into_quarantine_over_tls),
		WIRE_CASE(read_error_in_one_of_several_ranges_puts_the_blob_into_quarantine),
		WIRE_CASE(large_blob_cut_short_while_it_is_sent_goes_to_quarantine),
		WIRE_CASE(small_blob_cut_short_while_it_is_sent_goes_to_quarantine),
		WIRE_CASE(blob_that_could_not_be_read_is_fetched_anew_though_nobody_asks_again),
		WIRE_CASE(client_that_leaves_midway_puts_nothing_into_quarantine),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
