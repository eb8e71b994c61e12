/* SPDX-License-Identifier: Apache-2.0 */
/* The scripted upstream over TLS and HTTP/2, as libcurl sees it. */
#include "tests/wire/harness.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <curl/curl.h>
#include <gnutls/crypto.h>
#include <stdio.h>
#include <string.h>

#define MIB         ((uint64_t)1 << 20)
#define STREAMS     40
#define FETCH_MS    20000L
#define FETCHES_MAX 128
#define TURN_MS     20
#define SLACK_MS    3000 /* what a loaded machine may add */

struct fetch {
	CURL *easy;
	CURLcode result;
	long status;
	long version;
	long connects; /* new connections it took */
	uint64_t bytes;
	double total_ms;
	gnutls_hash_hd_t hash;
	char digest[SCRIPTED_DIGEST_MAX];
};

static size_t take_body(char *data, size_t size, size_t count, void *user)
{
	struct fetch *fetch = user;
	gnutls_hash(fetch->hash, data, size * count);
	fetch->bytes += size * count;
	return size * count;
}

static void fetch_prepare(struct fetch *fetch, struct wire *wire, struct scripted *upstream, int listener,
			  const char *path)
{
	_cleanup_free_ char *url = mem_printf("%s%s", scripted_url(upstream, listener), path);
	*fetch = (struct fetch){.easy = curl_easy_init()};
	assert_non_null(fetch->easy);
	assert_int_equal(gnutls_hash_init(&fetch->hash, GNUTLS_DIG_SHA256), 0);
	curl_easy_setopt(fetch->easy, CURLOPT_URL, url);
	curl_easy_setopt(fetch->easy, CURLOPT_CAINFO, scripted_tls_ca(wire_tls(wire)));
	curl_easy_setopt(fetch->easy, CURLOPT_HTTP_VERSION, CURL_HTTP_VERSION_2TLS);
	curl_easy_setopt(fetch->easy, CURLOPT_PIPEWAIT, 1L);
	curl_easy_setopt(fetch->easy, CURLOPT_NOPROXY, "*");
	curl_easy_setopt(fetch->easy, CURLOPT_NOSIGNAL, 1L);
	curl_easy_setopt(fetch->easy, CURLOPT_TIMEOUT_MS, FETCH_MS);
	curl_easy_setopt(fetch->easy, CURLOPT_WRITEFUNCTION, take_body);
	curl_easy_setopt(fetch->easy, CURLOPT_WRITEDATA, fetch);
	curl_easy_setopt(fetch->easy, CURLOPT_PRIVATE, fetch);
}

static void fetch_finish(struct fetch *fetch, CURLcode result)
{
	unsigned char out[32];
	curl_off_t total_us = 0;
	fetch->result = result;
	curl_easy_getinfo(fetch->easy, CURLINFO_RESPONSE_CODE, &fetch->status);
	curl_easy_getinfo(fetch->easy, CURLINFO_HTTP_VERSION, &fetch->version);
	curl_easy_getinfo(fetch->easy, CURLINFO_NUM_CONNECTS, &fetch->connects);
	curl_easy_getinfo(fetch->easy, CURLINFO_TOTAL_TIME_T, &total_us);
	fetch->total_ms = (double)total_us / 1000.0;
	gnutls_hash_deinit(fetch->hash, out);
	strcpy(fetch->digest, "sha256:");
	for (int i = 0; i < 32; i++)
		sprintf(fetch->digest + 7 + 2 * i, "%02x", out[i]);
	curl_easy_cleanup(fetch->easy);
	fetch->easy = NULL;
}

/* One turn of a multi; false when all transfers ended. libcurl 7.88 can leave the end of a multiplexed answer in its
 * own buffer and wait for a socket that has nothing more to say: pausing and going on makes it look there. */
static bool multi_turn(CURLM *multi, struct fetch *fetches, size_t count)
{
	int running = 0;
	int ready = 0;
	assert_int_equal(curl_multi_perform(multi, &running), CURLM_OK);
	if (running == 0)
		return false;
	assert_int_equal(curl_multi_poll(multi, NULL, 0, TURN_MS, &ready), CURLM_OK);
	for (size_t i = 0; ready == 0 && i < count; i++) {
		curl_easy_pause(fetches[i].easy, CURLPAUSE_RECV);
		curl_easy_pause(fetches[i].easy, CURLPAUSE_CONT);
	}
	return true;
}

/* Runs prepared fetches side by side; HTTP/2 multiplexes them. */
static void fetch_all(struct fetch *fetches, size_t count)
{
	CURLM *multi = curl_multi_init();
	CURLMsg *message;
	int left;
	assert_non_null(multi);
	for (size_t i = 0; i < count; i++)
		assert_int_equal(curl_multi_add_handle(multi, fetches[i].easy), CURLM_OK);
	while (multi_turn(multi, fetches, count))
		continue;
	while ((message = curl_multi_info_read(multi, &left)) != NULL) {
		struct fetch *fetch;
		CURLcode result = message->data.result;
		CURL *easy = message->easy_handle;
		curl_easy_getinfo(easy, CURLINFO_PRIVATE, (char **)&fetch);
		curl_multi_remove_handle(multi, easy);
		fetch_finish(fetch, result);
	}
	curl_multi_cleanup(multi);
}

static void fetch_one(struct fetch *fetch, struct wire *wire, struct scripted *upstream, int listener, const char *path)
{
	fetch_prepare(fetch, wire, upstream, listener, path);
	fetch_all(fetch, 1);
}

struct one_blob {
	struct scripted *upstream;
	char digest[SCRIPTED_DIGEST_MAX];
	char path[128];
};

/* An upstream with HTTP/2 over TLS and one blob. */
static struct one_blob one_blob_new(struct wire *wire, const struct scripted_options *options, uint64_t size)
{
	struct one_blob blob = {.upstream = wire_upstream_bare(wire, options)};
	wire_listen(blob.upstream, &(struct scripted_listen){.tls = wire_tls(wire), .h2 = true});
	scripted_add_blob(blob.upstream, NULL, 3, size, blob.digest);
	snprintf(blob.path, sizeof(blob.path), "/v2/org/app/blobs/%s", blob.digest);
	return blob;
}

static void fetch_many(struct fetch *fetches, size_t count, struct wire *wire, const struct one_blob *blob)
{
	assert_true(count <= FETCHES_MAX);
	for (size_t i = 0; i < count; i++)
		fetch_prepare(&fetches[i], wire, blob->upstream, 0, blob->path);
	fetch_all(fetches, count);
}

WIRE_TEST(h2_is_negotiated_and_a_blob_comes_whole)
{
	struct one_blob blob = one_blob_new(wire, NULL, 20 * MIB + 1);
	struct fetch fetch;
	size_t count;
	fetch_one(&fetch, wire, blob.upstream, 0, blob.path);
	assert_int_equal(fetch.result, CURLE_OK);
	assert_int_equal(fetch.status, 200);
	assert_int_equal(fetch.version, CURL_HTTP_VERSION_2_0);
	assert_string_equal(fetch.digest, blob.digest);
	assert_true(scripted_wait_idle(blob.upstream, true, WIRE_WAIT_MS));
	struct scripted_record *records = scripted_records(blob.upstream, "GET", blob.path, &count);
	assert_int_equal(count, 1);
	assert_int_equal(records[0].protocol, SCRIPTED_HTTP2);
	assert_int_equal(records[0].outcome, SCRIPTED_DONE);
	assert_int_equal(records[0].body_sent, 20 * MIB + 1);
	assert_true(records[0].stream > 0);
	scripted_records_free(records, count);
}

WIRE_TEST(tls_without_h2_speaks_http1)
{
	struct one_blob blob = one_blob_new(wire, NULL, 3 * MIB);
	int plain = wire_listen(blob.upstream, &(struct scripted_listen){.tls = wire_tls(wire)});
	struct fetch fetch;
	fetch_one(&fetch, wire, blob.upstream, plain, blob.path);
	assert_int_equal(fetch.version, CURL_HTTP_VERSION_1_1);
	assert_string_equal(fetch.digest, blob.digest);
}

WIRE_TEST(hello_on_a_plain_port_ends_that_connection_alone)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct client *client = client_connect(NULL, scripted_port(upstream, 0), FETCH_MS);
	struct client_reply reply;

	assert_false(client_secure(client, scripted_tls_ca(wire_tls(wire))));
	client_close(client);
	assert_true(client_get(scripted_port(upstream, 0), "/v2/", &reply));
	assert_int_equal(reply.status, 200);
	client_reply_dispose(&reply);
}

WIRE_TEST(certificates_name_two_addresses_only)
{
	struct one_blob blob = one_blob_new(wire, NULL, 10);
	int named =
		wire_listen(blob.upstream, &(struct scripted_listen){.address = "127.0.0.2", .tls = wire_tls(wire)});
	int unnamed =
		wire_listen(blob.upstream, &(struct scripted_listen){.address = "127.0.0.3", .tls = wire_tls(wire)});
	struct fetch fetch;
	fetch_one(&fetch, wire, blob.upstream, named, blob.path);
	assert_int_equal(fetch.result, CURLE_OK);
	fetch_one(&fetch, wire, blob.upstream, unnamed, blob.path);
	assert_int_equal(fetch.result, CURLE_PEER_FAILED_VERIFICATION);
}

WIRE_TEST(client_certificate_is_demanded)
{
	struct one_blob blob = one_blob_new(wire, NULL, 10);
	int strict = wire_listen(blob.upstream,
				 &(struct scripted_listen){.tls = wire_tls(wire), .client_certificate = true});
	_cleanup_free_ char *cert = wire_path(wire, "client.pem");
	_cleanup_free_ char *key = wire_path(wire, "client.key");
	struct fetch fetch;
	fetch_one(&fetch, wire, blob.upstream, strict, blob.path);
	assert_int_not_equal(fetch.result, CURLE_OK);
	fetch_prepare(&fetch, wire, blob.upstream, strict, blob.path);
	curl_easy_setopt(fetch.easy, CURLOPT_SSLCERT, cert);
	curl_easy_setopt(fetch.easy, CURLOPT_SSLKEY, key);
	fetch_all(&fetch, 1);
	assert_int_equal(fetch.result, CURLE_OK);
}

WIRE_TEST(many_streams_share_a_connection)
{
	struct one_blob blob = one_blob_new(wire, NULL, 300000);
	struct fetch fetches[STREAMS];
	struct scripted_stats stats;
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.delay_ms = 50});
	fetch_many(fetches, STREAMS, wire, &blob);
	for (int i = 0; i < STREAMS; i++)
		assert_string_equal(fetches[i].digest, blob.digest);
	scripted_get_stats(blob.upstream, 0, &stats);
	assert_int_equal(stats.accepted, 1);
	assert_int_equal(stats.requests, STREAMS);
	assert_int_equal(stats.body_sent, STREAMS * 300000);
	assert_true(stats.running_max > 1);
}

WIRE_TEST(one_stream_is_cut_and_others_go_on)
{
	struct one_blob blob = one_blob_new(wire, NULL, 2 * MIB);
	struct fetch fetches[STREAMS];
	unsigned cut = 0;
	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.count = 1, .cut = SCRIPTED_CUT_STREAM, .cut_at = 1000000});
	fetch_many(fetches, STREAMS, wire, &blob);
	for (int i = 0; i < STREAMS; i++) {
		if (fetches[i].result == CURLE_OK) {
			assert_string_equal(fetches[i].digest, blob.digest);
			continue;
		}
		assert_true(fetches[i].bytes <= 1000000); /* libcurl may drop what it had not handed out yet */
		cut++;
	}
	assert_int_equal(cut, 1);
	assert_int_equal(scripted_body_sent(blob.upstream, NULL, NULL), (STREAMS - 1) * 2 * MIB + 1000000);
}

WIRE_TEST(connection_is_cut_at_the_byte)
{
	static const enum scripted_cut cuts[] = {SCRIPTED_CUT_FIN, SCRIPTED_CUT_RST, SCRIPTED_CUT_GOAWAY};
	struct one_blob blob = one_blob_new(wire, NULL, 3 * MIB);
	for (int i = 0; i < 3; i++) {
		struct fetch fetch;
		scripted_clear_log(blob.upstream);
		scripted_add_rule(blob.upstream,
				  &(struct scripted_rule){.count = 1, .cut = cuts[i], .cut_at = 1500000});
		fetch_one(&fetch, wire, blob.upstream, 0, blob.path);
		assert_int_not_equal(fetch.result, CURLE_OK);
		assert_int_equal(fetch.bytes, 1500000);
		assert_true(scripted_wait_idle(blob.upstream, true, WIRE_WAIT_MS));
		assert_int_equal(scripted_body_sent(blob.upstream, NULL, NULL), 1500000);
		fetch_one(&fetch, wire, blob.upstream, 0, blob.path);
		assert_string_equal(fetch.digest, blob.digest);
	}
}

WIRE_TEST(refused_stream_is_safe_to_retry)
{
	struct one_blob blob = one_blob_new(wire, NULL, 1000);
	struct fetch fetch;
	size_t count;
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.count = 1, .refuse_stream = true});
	fetch_one(&fetch, wire, blob.upstream, 0, blob.path);
	assert_int_equal(fetch.result, CURLE_OK);
	assert_string_equal(fetch.digest, blob.digest);
	struct scripted_record *records = scripted_records(blob.upstream, NULL, NULL, &count);
	assert_int_equal(count, 2);
	assert_int_equal(records[0].outcome, SCRIPTED_CUT);
	assert_int_equal(records[0].status, 0);
	scripted_records_free(records, count);
}

WIRE_TEST(goaway_ends_a_connection_after_its_streams)
{
	enum { REQUESTS = 6, AFTER = 3 };
	struct scripted_options options = {.h2_goaway_after = AFTER};
	struct one_blob blob = one_blob_new(wire, &options, 1000);
	CURLM *multi = curl_multi_init();
	struct scripted_stats stats;
	/* One multi for all, one after the other, so that the connection would be reused. */
	for (int i = 0; i < REQUESTS; i++) {
		struct fetch fetch;
		fetch_prepare(&fetch, wire, blob.upstream, 0, blob.path);
		curl_multi_add_handle(multi, fetch.easy);
		while (multi_turn(multi, &fetch, 1))
			continue;
		curl_multi_remove_handle(multi, fetch.easy);
		fetch_finish(&fetch, CURLE_OK);
		assert_string_equal(fetch.digest, blob.digest);
	}
	curl_multi_cleanup(multi);
	scripted_get_stats(blob.upstream, 0, &stats);
	assert_int_equal(stats.accepted, REQUESTS / AFTER);
}

WIRE_TEST(streams_share_the_rate_of_their_connection)
{
	struct scripted_options options = {.shape.rate_connection = 20 * MIB};
	struct one_blob blob = one_blob_new(wire, &options, 5 * MIB);
	struct fetch fetches[2];
	double most = 0;
	fetch_many(fetches, 2, wire, &blob);
	for (int i = 0; i < 2; i++) {
		assert_string_equal(fetches[i].digest, blob.digest);
		most = fetches[i].total_ms > most ? fetches[i].total_ms : most;
	}
	assert_true(most > 500 - 60); /* the rate may be 50 ms ahead */
	assert_true(most < 500 + SLACK_MS);
}

WIRE_TEST(latency_costs_connect_handshake_and_request_one_round_trip_each)
{
	struct scripted_options options = {.shape.latency_ms = 60};
	struct one_blob blob = one_blob_new(wire, &options, 100);
	struct fetch fetch;
	fetch_one(&fetch, wire, blob.upstream, 0, blob.path);
	assert_string_equal(fetch.digest, blob.digest);
	assert_true(fetch.total_ms >= 3 * 60);
	/* The machine may add its share, but a fourth round trip and more would show. */
	assert_true(fetch.total_ms < 3 * 60 + SLACK_MS);
}

WIRE_TEST(endless_header_over_h2_has_no_end)
{
	struct one_blob blob = one_blob_new(wire, NULL, 100);
	struct fetch fetch;
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.count = 1, .endless_header = true});
	fetch_one(&fetch, wire, blob.upstream, 0, blob.path);
	assert_int_not_equal(fetch.result, CURLE_OK);
	assert_int_equal(fetch.bytes, 0);
	assert_true(scripted_wait_idle(blob.upstream, true, WIRE_WAIT_MS));
}

WIRE_TEST(length_lies_reach_an_h2_client)
{
	struct one_blob blob = one_blob_new(wire, NULL, 100);
	struct fetch fetch;
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.count = 1, .length_lie = 5});
	fetch_one(&fetch, wire, blob.upstream, 0, blob.path);
	assert_int_not_equal(fetch.result, CURLE_OK); /* nghttp2 holds the length against the frames */
}

WIRE_TEST(held_streams_wait_for_the_test)
{
	struct one_blob blob = one_blob_new(wire, NULL, MIB);
	struct fetch fetches[3];
	int rule = scripted_add_rule(blob.upstream, &(struct scripted_rule){.stall = true, .stall_at = 70000});
	CURLM *multi = curl_multi_init();
	for (int i = 0; i < 3; i++) {
		fetch_prepare(&fetches[i], wire, blob.upstream, 0, blob.path);
		curl_multi_add_handle(multi, fetches[i].easy);
	}
	while (scripted_body_sent(blob.upstream, NULL, NULL) < 3 * 70000 && multi_turn(multi, fetches, 3))
		continue;
	assert_int_equal(scripted_body_sent(blob.upstream, NULL, NULL), 3 * 70000);
	scripted_release(blob.upstream, rule);
	while (multi_turn(multi, fetches, 3))
		continue;
	for (int i = 0; i < 3; i++) {
		curl_multi_remove_handle(multi, fetches[i].easy);
		fetch_finish(&fetches[i], CURLE_OK);
		assert_string_equal(fetches[i].digest, blob.digest);
	}
	curl_multi_cleanup(multi);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(h2_is_negotiated_and_a_blob_comes_whole),
		WIRE_CASE(tls_without_h2_speaks_http1),
		WIRE_CASE(hello_on_a_plain_port_ends_that_connection_alone),
		WIRE_CASE(certificates_name_two_addresses_only),
		WIRE_CASE(client_certificate_is_demanded),
		WIRE_CASE(many_streams_share_a_connection),
		WIRE_CASE(one_stream_is_cut_and_others_go_on),
		WIRE_CASE(connection_is_cut_at_the_byte),
		WIRE_CASE(refused_stream_is_safe_to_retry),
		WIRE_CASE(goaway_ends_a_connection_after_its_streams),
		WIRE_CASE(streams_share_the_rate_of_their_connection),
		WIRE_CASE(latency_costs_connect_handshake_and_request_one_round_trip_each),
		WIRE_CASE(endless_header_over_h2_has_no_end),
		WIRE_CASE(length_lies_reach_an_h2_client),
		WIRE_CASE(held_streams_wait_for_the_test),
	};
	curl_global_init(CURL_GLOBAL_ALL);
	int failed = cmocka_run_group_tests_name("scripted_h2", tests, NULL, NULL);
	curl_global_cleanup();
	return failed;
}
