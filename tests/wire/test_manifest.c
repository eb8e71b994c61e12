/* SPDX-License-Identifier: Apache-2.0 */
/* What manifests and tags cost the upstream, and that they are kept to the byte. */
#include "tests/wire/one_tag.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/index.h"
#include "store/store.h"

#include <lmdb.h>
#include <stdio.h>
#include <string.h>

#define BY_DIGEST "/v2/team/app/manifests/sha256:*"
#define CLIENTS   32

WIRE_TEST(cold_tag_costs_one_get)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	one_tag_get(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	expect_header(&reply, "Content-Type", SCRIPTED_TYPE_MANIFEST);
	expect_header(&reply, "Docker-Distribution-API-Version", "registry/2.0");
	expect_header_with(&reply, "ETag", tag.image.manifest);
	expect_header(&reply, "Content-Encoding", NULL);
	expect_count(tag.upstream, NULL, NULL, 1);
	expect_count(tag.upstream, "GET", BY_TAG, 1);
}

WIRE_TEST(fresh_tag_costs_nothing)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	one_tag_pull_first(&tag);
	one_tag_get(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_count(tag.upstream, NULL, NULL, 0);
}

WIRE_TEST(held_digest_costs_nothing_ever)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	one_tag_pull_first(&tag);
	scripted_remove_tag(tag.upstream, "team/app", "1.0");
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Cache-Status", "larder; hit");
	expect_header(&reply, "Content-Type", SCRIPTED_TYPE_MANIFEST);
	ask(tag.larder, "HEAD", NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	assert_int_equal(reply.status, 200);
	expect_count(tag.upstream, NULL, NULL, 0);
}

WIRE_TEST(stale_tag_costs_one_head_with_the_clients_accept)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	size_t count;
	one_tag_pull_first(&tag);
	one_tag_get(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
	expect_header(&reply, "Warning", NULL);
	expect_count(tag.upstream, NULL, NULL, 1);
	struct scripted_record *records = scripted_records(tag.upstream, "HEAD", BY_TAG, &count);
	assert_int_equal(count, 1);
	assert_string_equal(scripted_record_header(&records[0], "Accept"),
			    SCRIPTED_TYPE_MANIFEST ", " SCRIPTED_TYPE_INDEX);
	scripted_records_free(records, count);
}

WIRE_TEST(moved_tag_costs_a_head_and_a_get_by_digest)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image moved;
	one_tag_pull_first(&tag);
	one_tag_move(&tag, &moved);
	one_tag_get(&tag, &reply);
	expect_content(&reply, moved.manifest);
	expect_header(&reply, "Docker-Content-Digest", moved.manifest);
	expect_count(tag.upstream, NULL, NULL, 2);
	expect_count(tag.upstream, "HEAD", BY_TAG, 1);
	expect_count(tag.upstream, "GET", BY_DIGEST, 1);
	one_tag_get(&tag, &reply);
	expect_content(&reply, moved.manifest);
	expect_count(tag.upstream, "GET", NULL, 1);
}

WIRE_TEST(herd_at_a_stale_tag_costs_one_head)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	struct client_request requests[CLIENTS];
	struct client_reply replies[CLIENTS] = {0};
	one_tag_pull_first(&tag);
	/* Long enough for all to be there, whatever else this machine does. */
	scripted_add_rule(tag.upstream, &(struct scripted_rule){.method = "HEAD", .delay_ms = 2000});
	for (size_t i = 0; i < CLIENTS; i++)
		requests[i] = (struct client_request){
			.port = larder_port(tag.larder), .target = BY_TAG, .headers = ACCEPT_BOTH};
	assert_true(client_fetch_many(requests, replies, CLIENTS));
	for (size_t i = 0; i < CLIENTS; i++)
		expect_content(&replies[i], tag.image.manifest);
	client_replies_dispose(replies, CLIENTS);
	expect_count(tag.upstream, NULL, NULL, 1);
}

WIRE_TEST(herd_at_a_cold_tag_costs_one_get)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	struct client_request requests[CLIENTS];
	struct client_reply replies[CLIENTS] = {0};
	for (size_t i = 0; i < CLIENTS; i++)
		requests[i] = (struct client_request){
			.port = larder_port(tag.larder), .target = BY_TAG, .headers = ACCEPT_BOTH};
	assert_true(client_fetch_many(requests, replies, CLIENTS));
	for (size_t i = 0; i < CLIENTS; i++)
		expect_content(&replies[i], tag.image.manifest);
	client_replies_dispose(replies, CLIENTS);
	expect_count(tag.upstream, NULL, NULL, 1);
}

WIRE_TEST(cold_head_is_answered_by_a_head)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	uint64_t size;
	scripted_manifest_type(tag.upstream, "team/app", tag.image.manifest, &size);
	_cleanup_free_ char *length = mem_printf("%llu", (unsigned long long)size);
	assert_true(ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG));
	assert_int_equal(reply.status, 200);
	assert_int_equal(reply.body_bytes, 0);
	expect_header(&reply, "Content-Length", length);
	expect_header(&reply, "Content-Type", SCRIPTED_TYPE_MANIFEST);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	expect_count(tag.upstream, NULL, NULL, 1);
	expect_count(tag.upstream, "HEAD", BY_TAG, 1);

	assert_true(ask(tag.larder, "HEAD", NULL, &reply, "/v2/team/app/manifests/%s", tag.image.manifest));
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Content-Length", length);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	expect_count(tag.upstream, "GET", NULL, 0);
}

/* An answer is written down behind itself: whoever comes at once, in whatever way, has it all the same. */
WIRE_TEST(what_has_just_come_is_not_asked_for_again)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	for (unsigned i = 1; i <= 50; i++) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		_cleanup_free_ char *name = mem_printf("n%u", i);
		struct scripted_image image;
		scripted_add_image(tag.upstream, "team/app", name,
				   &(struct scripted_image_options){.layer_size = 1000, .seed = 100 + i}, &image);
		ask(tag.larder, NULL, ACCEPT_BOTH, &reply, "/v2/team/app/manifests/%s", name);
		expect_content(&reply, image.manifest);
		ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, "/v2/team/app/manifests/%s", name);
		expect_header(&reply, "Cache-Status", "larder; hit");
		expect_header(&reply, "Docker-Content-Digest", image.manifest);
		ask(tag.larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", image.manifest);
		expect_content(&reply, image.manifest);
		expect_header(&reply, "Cache-Status", "larder; hit");
		ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, "/v2/team/app/manifests/%s", image.manifest);
		assert_int_equal(reply.status, 200);
		expect_count(tag.upstream, NULL, NULL, i);
	}
}

/* As containerd pulls: HEAD of the tag, then GET by digest; the tag is known from then on, whoever is gone. */
WIRE_TEST(head_and_get_by_digest_are_enough_to_hold_a_tag)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
	ask(tag.larder, NULL, ACCEPT_BOTH, &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
	expect_content(&reply, tag.image.manifest);
	one_tag_settle(&tag);
	scripted_set_state(tag.upstream, 0, SCRIPTED_DOWN, true);
	ask(tag.larder, "HEAD", ACCEPT_BOTH, &reply, BY_TAG);
	assert_int_equal(reply.status, 200);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	one_tag_get(&tag, &reply);
	expect_content(&reply, tag.image.manifest);
}

static void run_to_the_byte(struct wire *wire, const char *type, const char *bytes)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, ALWAYS_FRESH);
	char digest[SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_manifest(upstream, "team/app", "1.0", type, bytes, strlen(bytes), digest);
	for (unsigned i = 0; i < 2; i++) {
		ask(larder, NULL, NULL, &reply, BY_TAG);
		expect_content(&reply, digest);
		assert_string_equal(reply.body, bytes);
		expect_header(&reply, "Content-Type", type);
		larder_stop(larder);
		larder_restart(larder);
		ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", digest);
		expect_content(&reply, digest);
		expect_header(&reply, "Content-Type", type);
	}
	expect_count(upstream, NULL, NULL, 1);
}

WIRE_TEST(odd_spacing_is_kept)
{
	run_to_the_byte(wire, SCRIPTED_TYPE_MANIFEST, "\n{ \"schemaVersion\" :2 ,\r\n\t\"layers\":[ ]}  \n\n");
}

WIRE_TEST(unknown_media_type_is_kept)
{
	run_to_the_byte(wire, "application/vnd.example.Odd.v7+cbor;x=\"1\"", "not even JSON");
}

WIRE_TEST(schema_1_is_kept)
{
	run_to_the_byte(wire, "application/vnd.docker.distribution.manifest.v1+prettyjws",
			"{\n   \"schemaVersion\": 1,\n   \"signatures\": []\n}");
}

WIRE_TEST(clients_of_different_accepts_get_different_manifests)
{
	static const char *const types[] = {SCRIPTED_TYPE_DOCKER, SCRIPTED_TYPE_MANIFEST};
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, ALWAYS_FRESH);
	char digests[2][SCRIPTED_DIGEST_MAX];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_manifest(upstream, "team/app", NULL, types[0], "{\"a\":1}", 7, digests[0]);
	scripted_add_manifest(upstream, "team/app", NULL, types[1], "{\"b\":22}", 8, digests[1]);
	for (unsigned i = 0; i < 2; i++)
		scripted_set_tag(upstream, "team/app", "1.0", digests[i], true);
	for (unsigned i = 0; i < 6; i++) {
		_cleanup_free_ char *accept = mem_printf("Accept: %s\r\n", types[i % 2]);
		ask(larder, NULL, accept, &reply, BY_TAG);
		expect_content(&reply, digests[i % 2]);
		expect_header(&reply, "Content-Type", types[i % 2]);
	}
	expect_count(upstream, NULL, NULL, 2);
}

WIRE_TEST(client_without_accept_asks_for_every_type)
{
	static const char *const types[] = {SCRIPTED_TYPE_MANIFEST, SCRIPTED_TYPE_INDEX, SCRIPTED_TYPE_DOCKER,
					    SCRIPTED_TYPE_LIST};
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	size_t count;
	ask(tag.larder, NULL, NULL, &reply, BY_TAG);
	one_tag_settle(&tag);
	ask(tag.larder, NULL, "Accept: */*\r\n", &reply, BY_TAG);
	struct scripted_record *records = scripted_records(tag.upstream, NULL, BY_TAG, &count);
	assert_int_equal(count, 2);
	assert_string_equal(records[1].method, "HEAD");
	for (size_t i = 0; i < count; i++)
		for (size_t k = 0; k < 4; k++)
			assert_non_null(strstr(scripted_record_header(&records[i], "Accept"), types[k]));
	scripted_records_free(records, count);
}

WIRE_TEST(manifest_of_one_repository_is_not_served_in_another)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	one_tag_pull_first(&tag);
	ask(tag.larder, NULL, NULL, &reply, "/v2/team/other/manifests/%s", tag.image.manifest);
	expect_error(&reply, 404, "MANIFEST_UNKNOWN");
	expect_count(tag.upstream, NULL, "/v2/team/other/manifests/*", 1);
}

WIRE_TEST(what_the_client_has_is_a_304)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *headers = mem_printf("If-None-Match: \"%s\"\r\n", tag.image.manifest);
	one_tag_pull_first(&tag);
	assert_true(ask(tag.larder, NULL, headers, &reply, BY_TAG));
	assert_int_equal(reply.status, 304);
	assert_int_equal(reply.body_bytes, 0);
	expect_header_with(&reply, "ETag", tag.image.manifest);
	expect_header(&reply, "Docker-Content-Digest", tag.image.manifest);
	_cleanup_free_ char *lines = mem_printf("If-None-Match: \"sha256:00\"\r\n%s", headers);
	ask(tag.larder, NULL, lines, &reply, BY_TAG);
	assert_int_equal(reply.status, 304);
	ask(tag.larder, NULL, "If-None-Match: \"sha256:00\"\r\n", &reply, BY_TAG);
	expect_content(&reply, tag.image.manifest);
}

WIRE_TEST(range_is_ignored_on_manifests)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_FRESH);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	for (unsigned i = 0; i < 2; i++) {
		ask(tag.larder, NULL, "Range: bytes=0-\r\n", &reply, "/v2/team/app/manifests/%s", tag.image.manifest);
		expect_content(&reply, tag.image.manifest);
		expect_header(&reply, "Content-Range", NULL);
	}
}

/* While it is had, larder writes nothing into its index. */
static MDB_txn *stop_writes(struct wire *wire, MDB_env **env)
{
	_cleanup_free_ char *path = wire_path(wire, "store/index");
	MDB_txn *txn;

	assert_int_equal(mdb_env_create(env), 0);
	assert_int_equal(mdb_env_open(*env, path, 0, 0640), 0);
	assert_int_equal(mdb_txn_begin(*env, NULL, 0, &txn), 0);
	return txn;
}

static bool count_meaning(void *arg, const char *name, const struct index_tag *tag)
{
	(void)name;
	(void)tag;
	++*(unsigned *)arg;
	return true;
}

static unsigned count_meanings(struct wire *wire)
{
	_cleanup_free_ char *path = wire_path(wire, "store");
	const struct store_options options = {.path = path};
	const struct index_repository repository = {"up.test", "team/app"};
	struct store *store;
	unsigned count = 0;

	assert_int_equal(store_open(&options, &store, NULL), 0);
	assert_int_equal(index_list_tag(store_index(store), &repository, "1.0", count_meaning, &count, NULL), 0);
	store_close(store);
	return count;
}

static void get_by_digest(const struct one_tag *tag, const char *digest)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(ask(tag->larder, NULL, "Accept: " SCRIPTED_TYPE_MANIFEST "\r\n", &reply,
			"/v2/team/app/manifests/%s", digest));
	expect_content(&reply, digest);
}

/* Another client has just asked for what it moved to, under an Accept of its own, and it is not written yet. */
WIRE_TEST(moved_tag_means_nothing_under_an_accept_that_nobody_asked_for_it_with)
{
	struct one_tag tag = one_tag_new(wire, ALWAYS_STALE);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted_image moved;
	MDB_env *env;
	MDB_txn *txn;

	one_tag_pull_first(&tag);
	one_tag_move(&tag, &moved);
	txn = stop_writes(wire, &env);
	/* All that writes waits; what comes behind has not begun to. */
	for (unsigned i = 0; i < 32; i++) {
		_cleanup_free_ char *manifest = mem_printf("{\"schemaVersion\":2,\"layers\":[],\"n\":%u}", i);
		char digest[SCRIPTED_DIGEST_MAX];

		scripted_add_manifest(tag.upstream, "team/app", NULL, SCRIPTED_TYPE_MANIFEST, manifest,
				      strlen(manifest), digest);
		get_by_digest(&tag, digest);
	}
	get_by_digest(&tag, moved.manifest);
	one_tag_get(&tag, &reply);
	expect_content(&reply, moved.manifest);
	expect_count(tag.upstream, "GET", BY_TAG, 0);
	mdb_txn_abort(txn);
	mdb_env_close(env);
	larder_stop(tag.larder);
	assert_int_equal(count_meanings(wire), 1);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(cold_tag_costs_one_get),
		WIRE_CASE(fresh_tag_costs_nothing),
		WIRE_CASE(held_digest_costs_nothing_ever),
		WIRE_CASE(stale_tag_costs_one_head_with_the_clients_accept),
		WIRE_CASE(moved_tag_costs_a_head_and_a_get_by_digest),
		WIRE_CASE(herd_at_a_stale_tag_costs_one_head),
		WIRE_CASE(herd_at_a_cold_tag_costs_one_get),
		WIRE_CASE(cold_head_is_answered_by_a_head),
		WIRE_CASE(what_has_just_come_is_not_asked_for_again),
		WIRE_CASE(head_and_get_by_digest_are_enough_to_hold_a_tag),
		WIRE_CASE(odd_spacing_is_kept),
		WIRE_CASE(unknown_media_type_is_kept),
		WIRE_CASE(schema_1_is_kept),
		WIRE_CASE(clients_of_different_accepts_get_different_manifests),
		WIRE_CASE(client_without_accept_asks_for_every_type),
		WIRE_CASE(manifest_of_one_repository_is_not_served_in_another),
		WIRE_CASE(what_the_client_has_is_a_304),
		WIRE_CASE(range_is_ignored_on_manifests),
		WIRE_CASE(moved_tag_means_nothing_under_an_accept_that_nobody_asked_for_it_with),
	};
	return cmocka_run_group_tests_name("manifest", tests, NULL, NULL);
}
