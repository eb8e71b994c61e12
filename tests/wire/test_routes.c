/* SPDX-License-Identifier: Apache-2.0 */
/* Which upstream a request means, and what every answer of the registry API says. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <string.h>

#define BLOBS       "*/blobs/*"
#define ZEROS       "0000000000000000000000000000000000000000000000000000000000000000"
#define NO_DIGEST   "sha256:" ZEROS
#define SMALL_IMAGE (&(struct scripted_image_options){.layer_size = 100000})

/* Three upstreams: the first is the default. */
enum { HUB, PORTED, OTHER, UPSTREAMS };

struct bed {
	struct scripted *upstreams[UPSTREAMS];
	struct larder *larder;
	struct scripted_image images[UPSTREAMS]; /* team/app:1.0 of each */
};

static struct bed bed_new(struct wire *wire, const char *const *arguments)
{
	struct bed bed = {0};
	for (unsigned i = 0; i < UPSTREAMS; i++) {
		struct scripted_image_options options = {.layer_size = 1000, .seed = i};
		bed.upstreams[i] = wire_upstream(wire, NULL);
		scripted_add_image(bed.upstreams[i], "team/app", "1.0", &options, &bed.images[i]);
	}
	_cleanup_free_ char *config =
		mem_printf("upstreams:\n"
			   "  docker.io: {url: %s, retries: 0, aliases: [hub.test]}\n"
			   "  up.test:5000: {url: %s, retries: 0}\n"
			   "  other.test: {url: %s, retries: 0, deny: [\"secret/*\"]}\n",
			   scripted_url(bed.upstreams[HUB], 0), scripted_url(bed.upstreams[PORTED], 0),
			   scripted_url(bed.upstreams[OTHER], 0));
	struct larder_options options = {.config = config, .arguments = arguments};
	bed.larder = wire_larder(wire, &options);
	return bed;
}

static unsigned packets(const struct bed *bed)
{
	unsigned count = 0;
	for (unsigned i = 0; i < UPSTREAMS; i++) {
		struct scripted_stats stats;
		scripted_get_stats(bed->upstreams[i], 0, &stats);
		count += stats.accepted;
	}
	return count;
}

/* Routing. */

static void expect_from(const struct bed *bed, unsigned upstream, const char *target)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(bed->larder, NULL, NULL, &reply, "%s", target);
	if (reply.status != 200)
		fail_msg("%s: %d %s", target, reply.status, reply.body);
	expect_content(&reply, bed->images[upstream].manifest);
}

WIRE_TEST(query_names_the_upstream)
{
	struct bed bed = bed_new(wire, NULL);
	expect_from(&bed, OTHER, "/v2/team/app/manifests/1.0?ns=other.test");
	expect_from(&bed, OTHER, "/v2/team/app/manifests/1.0?ns=OTHER.test");
	expect_from(&bed, PORTED, "/v2/team/app/manifests/1.0?ns=up.test:5000");
	expect_from(&bed, PORTED, "/v2/team/app/manifests/1.0?ns=up.test%3A5000");
	expect_from(&bed, HUB, "/v2/team/app/manifests/1.0?ns=docker.io");
	expect_from(&bed, HUB, "/v2/team/app/manifests/1.0?x=1&ns=hub.test");
	/* The path is the repository, even where it begins with another upstream's name. */
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/app/manifests/1.0?ns=docker.io");
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	expect_count(bed.upstreams[HUB], "GET", "/v2/other.test/app/manifests/1.0", 1);
	expect_count(bed.upstreams[OTHER], NULL, "/v2/app/*", 0);
}

WIRE_TEST(unknown_upstream_is_a_404_and_never_dialled)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *address = mem_printf("127.0.0.1:%u", scripted_port(bed.upstreams[OTHER], 0));
	const char *const names[] = {"nowhere.test", address, "up.test", "up.test:5001", "169.254.169.254", ""};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0?ns=%s", names[i]);
		expect_error(&reply, 404, "NAME_UNKNOWN");
		ask(bed.larder, NULL, NULL, &reply, "/v2/?ns=%s", names[i]);
		expect_error(&reply, 404, "NAME_UNKNOWN");
		ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/blobs/" NO_DIGEST "?ns=%s", names[i]);
		expect_error(&reply, 404, "NAME_UNKNOWN");
	}
	assert_int_equal(packets(&bed), 0);
}

WIRE_TEST(prefix_names_the_upstream)
{
	struct bed bed = bed_new(wire, NULL);
	expect_from(&bed, OTHER, "/v2/other.test/team/app/manifests/1.0");
	expect_from(&bed, OTHER, "/other.test/v2/team/app/manifests/1.0");
	expect_from(&bed, PORTED, "/v2/up.test:5000/team/app/manifests/1.0");
	expect_from(&bed, PORTED, "/up.test:5000/v2/team/app/manifests/1.0");
	expect_from(&bed, HUB, "/v2/hub.test/team/app/manifests/1.0");
	expect_from(&bed, HUB, "/v2/docker.io/team/app/manifests/1.0");
}

WIRE_TEST(nothing_names_the_upstream)
{
	struct bed bed = bed_new(wire, NULL);
	expect_from(&bed, HUB, "/v2/team/app/manifests/1.0");
	expect_count(bed.upstreams[HUB], NULL, "/v2/team/app/manifests/1.0", 1);
	assert_int_equal(packets(&bed), 1);
}

WIRE_TEST(one_word_on_docker_io_is_in_library)
{
	struct bed bed = bed_new(wire, NULL);
	struct scripted_image image;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_image(bed.upstreams[HUB], "library/alpine", "1.0", SMALL_IMAGE, &image);
	static const char *const targets[] = {
		"/v2/alpine/manifests/1.0", "/v2/library/alpine/manifests/1.0", "/v2/docker.io/alpine/manifests/1.0",
		"/docker.io/v2/alpine/manifests/1.0", "/v2/alpine/manifests/1.0?ns=docker.io"};
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		ask(bed.larder, NULL, NULL, &reply, "%s", targets[i]);
		expect_content(&reply, image.manifest);
	}
	/* And nowhere else. */
	scripted_add_image(bed.upstreams[OTHER], "alpine", "1.0", SMALL_IMAGE, &image);
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/alpine/manifests/1.0");
	expect_content(&reply, image.manifest);
}

WIRE_TEST(equal_paths_of_two_upstreams_do_not_collide)
{
	struct bed bed = bed_new(wire, NULL);
	for (unsigned i = 0; i < 2; i++) {
		expect_from(&bed, HUB, "/v2/team/app/manifests/1.0");
		expect_from(&bed, OTHER, "/v2/other.test/team/app/manifests/1.0");
		expect_from(&bed, PORTED, "/v2/up.test:5000/team/app/manifests/1.0");
	}
}

WIRE_TEST(denied_repository_is_a_403_and_not_asked_for)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/secret/app/manifests/1.0");
	expect_error(&reply, 403, "DENIED");
	assert_int_equal(packets(&bed), 0);
}

WIRE_TEST(repository_may_be_called_like_a_route)
{
	struct bed bed = bed_new(wire, NULL);
	struct scripted_image image;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_image(bed.upstreams[OTHER], "tags/list", "list", SMALL_IMAGE, &image);
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/tags/list/manifests/list");
	expect_content(&reply, image.manifest);
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/tags/list/blobs/%s", image.config);
	expect_content(&reply, image.config);
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/tags/list/tags/list");
	assert_int_equal(reply.status, 200);
}

/* Headers. */

WIRE_TEST(ping_is_answered)
{
	struct bed bed = bed_new(wire, NULL);
	static const char *const targets[] = {"/v2/", "/v2", "/other.test/v2/", "/up.test:5000/v2/"};
	for (size_t i = 0; i < 4; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		assert_true(ask(bed.larder, NULL, NULL, &reply, "%s", targets[i]));
		assert_int_equal(reply.status, 200);
		expect_header(&reply, "Docker-Distribution-API-Version", "registry/2.0");
		expect_header(&reply, "Content-Type", "application/json");
	}
	assert_int_equal(packets(&bed), 0);
}

static void expect_same_header(const struct client_reply *a, const struct client_reply *b, const char *name)
{
	_cleanup_free_ char *value = client_reply_header(a, name);
	assert_non_null(value);
	expect_header(b, name, value);
}

/* Cold and stored, with and without the body, all say the same. */
static void run_headers(struct wire *wire, bool manifest)
{
	static const char *const names[] = {"Content-Type",
					    "Content-Length",
					    "Docker-Content-Digest",
					    "ETag",
					    "Docker-Distribution-API-Version",
					    "X-Content-Type-Options",
					    "Content-Security-Policy"};
	struct bed bed = bed_new(wire, NULL);
	struct client_reply replies[4] = {0};
	const char *digest = manifest ? bed.images[HUB].manifest : bed.images[HUB].layer[0];
	_cleanup_free_ char *target = mem_printf("/v2/team/app/%s/%s", manifest ? "manifests" : "blobs", digest);
	_cleanup_free_ char *etag = mem_printf("\"%s\"", digest);
	for (size_t i = 0; i < 4; i++) {
		assert_true(ask(bed.larder, i % 2 ? NULL : "HEAD", "Accept-Encoding: zstd, gzip, deflate\r\n",
				&replies[i], "%s", target));
		assert_int_equal(replies[i].status, 200);
		if (i == 1)
			expect_hit_soon(bed.larder, target);
	}
	expect_content(&replies[1], digest);
	expect_content(&replies[3], digest);
	for (size_t i = 0; i < 4; i++) {
		for (size_t k = 0; k < sizeof(names) / sizeof(names[0]); k++)
			expect_same_header(&replies[3], &replies[i], names[k]);
		expect_header(&replies[i], "Docker-Content-Digest", digest);
		expect_header(&replies[i], "ETag", etag);
		expect_header(&replies[i], "Docker-Distribution-API-Version", "registry/2.0");
		expect_header(&replies[i], "Accept-Ranges", manifest ? NULL : "bytes");
		expect_header(&replies[i], "Content-Encoding", NULL);
		expect_header(&replies[i], "Transfer-Encoding", NULL);
		expect_header_with(&replies[i], "Cache-Status", i < 2 ? "larder; fwd=miss" : "larder; hit");
	}
	assert_int_equal(replies[0].body_bytes, 0);
	assert_int_equal(replies[2].body_bytes, 0);
	client_replies_dispose(replies, 4);
}

WIRE_TEST(blob_headers_are_complete)
{
	run_headers(wire, false);
}

WIRE_TEST(manifest_headers_are_complete)
{
	run_headers(wire, true);
}

/* Ranges. */

#define RANGED_SIZE  ((uint64_t)1000000)
#define RANGED_STALL ((uint64_t)600000)

static const struct range_case {
	const char *headers;
	int status;
	uint64_t start, len;
} range_cases[] = {
	{"Range: bytes=0-0\r\n", 206, 0, 1},
	{"Range: bytes=1000-1999\r\n", 206, 1000, 1000},
	{"Range: bytes=500000-\r\n", 206, 500000, 500000},
	{"Range: bytes=0-\r\n", 206, 0, RANGED_SIZE},
	{"Range: bytes=999999-\r\n", 206, 999999, 1},
	{"Range: bytes=-10\r\n", 206, 999990, 10},
	{"Range: bytes=-2000000\r\n", 206, 0, RANGED_SIZE},
	{"Range: bytes=999000-5000000\r\n", 206, 999000, 1000},
	{"Range: bytes=1000000-\r\n", 416, 0, 0},
	{"Range: bytes=1000000-1000001\r\n", 416, 0, 0},
	{"Range: bytes=-0\r\n", 416, 0, 0},
	{"Range: bytes=20-10\r\n", 200, 0, RANGED_SIZE},
	{"Range: lines=1-2\r\n", 200, 0, RANGED_SIZE},
	{"Range: bytes=abc\r\n", 200, 0, RANGED_SIZE},
	{"Range: bytes=0-9\r\nIf-Range: \"other\"\r\n", 200, 0, RANGED_SIZE},
	{"Range: bytes=0-9\r\nIf-Range: Wed, 21 Oct 2015 07:28:00 GMT\r\n", 200, 0, RANGED_SIZE},
};

struct ranged {
	struct bed bed;
	char digest[SCRIPTED_DIGEST_MAX];
	char *data;
};

static struct ranged ranged_new(struct wire *wire)
{
	struct ranged ranged = {.bed = bed_new(wire, NULL), .data = mem_alloc(RANGED_SIZE)};
	scripted_add_blob(ranged.bed.upstreams[HUB], "team/app", 77, RANGED_SIZE, ranged.digest);
	scripted_blob_fill(77, 0, ranged.data, RANGED_SIZE);
	return ranged;
}

static void expect_range(const struct ranged *ranged, const struct client_reply *reply, const struct range_case *wanted)
{
	_cleanup_free_ char *said =
		wanted->status == 206   ? mem_printf("bytes %llu-%llu/%llu", (unsigned long long)wanted->start,
						     (unsigned long long)(wanted->start + wanted->len - 1),
						     (unsigned long long)RANGED_SIZE)
		: wanted->status == 416 ? mem_printf("bytes */%llu", (unsigned long long)RANGED_SIZE)
					: NULL;
	if (reply->status != wanted->status || !reply->complete)
		fail_msg("%s: %d %s", wanted->headers, reply->status, reply->error);
	expect_header(reply, "Content-Range", said);
	if (wanted->status == 416)
		return;
	if (reply->body_bytes != wanted->len || memcmp(reply->body, ranged->data + wanted->start, wanted->len) != 0)
		fail_msg("%s: %llu bytes, or other ones", wanted->headers, (unsigned long long)reply->body_bytes);
	expect_header(reply, "Docker-Content-Digest", ranged->digest);
}

static void run_ranges(const struct ranged *ranged)
{
	for (size_t i = 0; i < sizeof(range_cases) / sizeof(range_cases[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		ask(ranged->bed.larder, NULL, range_cases[i].headers, &reply, "/v2/team/app/blobs/%s", ranged->digest);
		expect_range(ranged, &reply, &range_cases[i]);
	}
}

WIRE_TEST(stored_blob_is_served_in_ranges)
{
	struct ranged ranged = ranged_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", ranged.digest);
	_cleanup_free_ char *if_range = mem_printf("Range: bytes=0-9\r\nIf-Range: \"%s\"\r\n", ranged.digest);
	ask(ranged.bed.larder, NULL, NULL, &reply, "%s", target);
	expect_content(&reply, ranged.digest);
	expect_hit_soon(ranged.bed.larder, target);
	run_ranges(&ranged);
	ask(ranged.bed.larder, NULL, if_range, &reply, "%s", target);
	expect_range(&ranged, &reply, &(struct range_case){.headers = if_range, .status = 206, .len = 10});
	expect_count(ranged.bed.upstreams[HUB], NULL, NULL, 1);
	free(ranged.data);
}

/* The upstream stops in the middle: what is there is served at once, what is not yet waits, and nobody fetches twice.
 */
WIRE_TEST(blob_in_flight_is_served_in_ranges)
{
	struct ranged ranged = ranged_new(wire);
	struct scripted *upstream = ranged.bed.upstreams[HUB];
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", ranged.digest);
	enum { COUNT = sizeof(range_cases) / sizeof(range_cases[0]) };
	struct client *clients[COUNT];
	struct client_reply replies[COUNT] = {0};
	int stall = scripted_add_rule(upstream,
				      &(struct scripted_rule){.path = BLOBS, .stall = true, .stall_at = RANGED_STALL});
	for (size_t i = 0; i < COUNT; i++) {
		struct client_request request = {
			.port = larder_port(ranged.bed.larder), .target = target, .headers = range_cases[i].headers};
		clients[i] = client_connect(NULL, request.port, 60000);
		assert_true(client_send(clients[i], &request));
		if (!client_read_head(clients[i], &replies[i]))
			fail_msg("%s: %s", range_cases[i].headers, client_error(clients[i]));
	}
	for (int released = 0; released < 2; released++) {
		for (size_t i = 0; i < COUNT; i++) {
			const struct range_case *wanted = &range_cases[i];
			bool early = wanted->start + wanted->len <= RANGED_STALL;
			if (early == (released == 1) || wanted->status == 416)
				continue;
			replies[i].body = mem_alloc(wanted->len + 1);
			ssize_t n = 1;
			while (n > 0 && replies[i].body_bytes < wanted->len) {
				n = client_read_body(clients[i], replies[i].body + replies[i].body_bytes,
						     (size_t)(wanted->len - replies[i].body_bytes));
				replies[i].body_bytes += n > 0 ? (uint64_t)n : 0;
			}
			replies[i].complete = replies[i].body_bytes == wanted->len;
			expect_range(&ranged, &replies[i], wanted);
		}
		scripted_release(upstream, stall);
	}
	for (size_t i = 0; i < COUNT; i++)
		client_close(clients[i]);
	client_replies_dispose(replies, COUNT);
	expect_count(upstream, NULL, BLOBS, 1);
	assert_int_equal(scripted_body_sent(upstream, NULL, BLOBS), RANGED_SIZE);
	free(ranged.data);
}

WIRE_TEST(blob_that_the_client_has_is_a_304)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *headers = mem_printf("If-None-Match: \"%s\"\r\n", bed.images[HUB].config);
	ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", bed.images[HUB].config);
	assert_true(ask(bed.larder, NULL, headers, &reply, "/v2/team/app/blobs/%s", bed.images[HUB].config));
	assert_int_equal(reply.status, 304);
	assert_int_equal(reply.body_bytes, 0);
}

/* Offline. */

WIRE_TEST(offline_larder_sends_no_packet)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	const struct scripted_image *image = &bed.images[HUB];
	expect_from(&bed, HUB, "/v2/team/app/manifests/1.0");
	ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", image->config);
	expect_content(&reply, image->config);
	larder_stop(bed.larder);
	unsigned before = packets(&bed);

	_cleanup_free_ char *config = mem_printf("offline: true\nupstreams: {docker.io: {url: %s, tag_ttl: 0s}}\n",
						 scripted_url(bed.upstreams[HUB], 0));
	struct larder *offline = wire_larder(wire, &(struct larder_options){.config = config});
	static const char *const missing[] = {"/v2/team/app/manifests/2.0", "/v2/team/app/manifests/" NO_DIGEST,
					      "/v2/team/app/blobs/" NO_DIGEST, "/v2/team/none/manifests/1.0"};
	for (size_t i = 0; i < 4; i++) {
		ask(offline, NULL, NULL, &reply, "%s", missing[i]);
		expect_error(&reply, 404, strstr(missing[i], "/blobs/") ? "BLOB_UNKNOWN" : "MANIFEST_UNKNOWN");
		assert_non_null(strstr(reply.body, "\"detail\":\""));
		assert_non_null(strstr(reply.body, "offline"));
		ask(offline, "HEAD", NULL, &reply, "%s", missing[i]);
		assert_int_equal(reply.status, 404);
	}
	ask(offline, NULL, NULL, &reply, "/v2/team/app/blobs/%s", image->config);
	expect_content(&reply, image->config);
	expect_header(&reply, "Cache-Status", "larder; hit");
	ask(offline, NULL, NULL, &reply, "/v2/team/app/manifests/%s", image->manifest);
	expect_content(&reply, image->manifest);
	ask(offline, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	expect_content(&reply, image->manifest);
	ask(offline, NULL, NULL, &reply, "/v2/team/app/tags/list");
	assert_int_equal(reply.status, 200);
	assert_non_null(strstr(reply.body, "[\"1.0\"]"));
	ask(offline, NULL, NULL, &reply, "/v2/team/none/tags/list");
	expect_error(&reply, 404, "NAME_UNKNOWN");
	assert_int_equal(packets(&bed), before);
}

/* Tags. */

WIRE_TEST(tags_are_listed_in_pages)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	const char *manifest = bed.images[OTHER].manifest;
	for (unsigned i = 1; i < 5; i++) {
		_cleanup_free_ char *tag = mem_printf("1.%u", i);
		scripted_set_tag(bed.upstreams[OTHER], "team/app", tag, manifest, false);
	}
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/team/app/tags/list");
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Type", "application/json");
	expect_header(&reply, "Docker-Distribution-API-Version", "registry/2.0");
	expect_header(&reply, "Link", NULL);
	assert_non_null(strstr(reply.body, "[\"1.0\",\"1.1\",\"1.2\",\"1.3\",\"1.4\"]"));
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/team/app/tags/list?n=2");
	assert_non_null(strstr(reply.body, "[\"1.0\",\"1.1\"]"));
	expect_header_with(&reply, "Link", "</v2/other.test/team/app/tags/list?");
	expect_header_with(&reply, "Link", "last=1.1");
	expect_header_with(&reply, "Link", ">; rel=\"next\"");
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/team/app/tags/list?n=2&last=1.3");
	assert_non_null(strstr(reply.body, "[\"1.4\"]"));
	expect_header(&reply, "Link", NULL);
	expect_count(bed.upstreams[OTHER], NULL, "/v2/team/app/tags/list[?]n=2&last=1.3", 1);
	ask(bed.larder, NULL, NULL, &reply, "/v2/other.test/team/none/tags/list");
	expect_error(&reply, 404, "NAME_UNKNOWN");
}

WIRE_TEST(failing_list_of_tags_is_never_an_empty_one)
{
	struct bed bed = bed_new(wire, NULL);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(bed.upstreams[HUB], &(struct scripted_rule){.path = "*/tags/list", .status = 500});
	ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/tags/list");
	expect_error(&reply, 502, "UNKNOWN");
	scripted_remove_rule(bed.upstreams[HUB], 0);
	scripted_add_rule(bed.upstreams[HUB],
			  &(struct scripted_rule){.path = "*/tags/list", .status = 200, .body = "<html>"});
	ask(bed.larder, NULL, NULL, &reply, "/v2/team/app/tags/list");
	expect_error(&reply, 502, "UNKNOWN");
}

/* Connections. */

WIRE_TEST(connection_is_kept)
{
	struct bed bed = bed_new(wire, NULL);
	struct client_request request = {.port = larder_port(bed.larder)};
	struct client *client = client_connect(NULL, request.port, 60000);
	_cleanup_free_ char *config = mem_printf("/v2/team/app/blobs/%s", bed.images[HUB].config);
	const char *const targets[] = {"/v2/", "/v2/team/app/manifests/1.0", config, "/v2/nothing", config, "/v2/"};
	char block[4096];
	for (size_t i = 0; i < sizeof(targets) / sizeof(targets[0]); i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		request.target = targets[i];
		request.method = i == 4 ? "HEAD" : "GET";
		assert_true(client_send(client, &request));
		if (!client_read_head(client, &reply))
			fail_msg("%s: %s", targets[i], client_error(client));
		assert_int_equal(reply.status, i == 3 ? 404 : 200);
		while (client_read_body(client, block, sizeof(block)) > 0)
			;
		assert_string_equal(client_error(client), "");
	}
	client_close(client);
}

WIRE_TEST(pipelined_requests_are_answered_in_order)
{
	struct bed bed = bed_new(wire, NULL);
	struct client_request request = {.port = larder_port(bed.larder)};
	struct client *client = client_connect(NULL, request.port, 60000);
	const char *const digests[] = {bed.images[HUB].layer[0], bed.images[HUB].config, bed.images[HUB].layer[0]};
	char block[4096];
	for (size_t i = 0; i < 3; i++) {
		_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", digests[i]);
		request.target = target;
		assert_true(client_send(client, &request));
	}
	for (size_t i = 0; i < 3; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		if (!client_read_head(client, &reply))
			fail_msg("%zu: %s", i, client_error(client));
		expect_header(&reply, "Docker-Content-Digest", digests[i]);
		while (client_read_body(client, block, sizeof(block)) > 0)
			;
		assert_string_equal(client_error(client), "");
	}
	client_close(client);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(query_names_the_upstream),
		WIRE_CASE(unknown_upstream_is_a_404_and_never_dialled),
		WIRE_CASE(prefix_names_the_upstream),
		WIRE_CASE(nothing_names_the_upstream),
		WIRE_CASE(one_word_on_docker_io_is_in_library),
		WIRE_CASE(equal_paths_of_two_upstreams_do_not_collide),
		WIRE_CASE(denied_repository_is_a_403_and_not_asked_for),
		WIRE_CASE(repository_may_be_called_like_a_route),
		WIRE_CASE(ping_is_answered),
		WIRE_CASE(blob_headers_are_complete),
		WIRE_CASE(manifest_headers_are_complete),
		WIRE_CASE(stored_blob_is_served_in_ranges),
		WIRE_CASE(blob_in_flight_is_served_in_ranges),
		WIRE_CASE(blob_that_the_client_has_is_a_304),
		WIRE_CASE(offline_larder_sends_no_packet),
		WIRE_CASE(tags_are_listed_in_pages),
		WIRE_CASE(failing_list_of_tags_is_never_an_empty_one),
		WIRE_CASE(connection_is_kept),
		WIRE_CASE(pipelined_requests_are_answered_in_order),
	};
	return cmocka_run_group_tests_name("routes", tests, NULL, NULL);
}
