/* SPDX-License-Identifier: Apache-2.0 */
/* Upstreams that break off or lie: what is wrong is never sent whole and never kept, and what was right is not lost. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"

#include <dirent.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#define BLOBS          "*/blobs/*"
#define MANIFESTS      "*/manifests/*"
#define QUARANTINE_MAX 16 /* files, more than enough: they are for looking into, not for keeping */
#define NO_RETRIES     "default_upstream: up.test\nupstreams: {up.test: {url: %s, retries: 0}}\n"

struct one_blob {
	struct scripted *upstream;
	struct larder *larder;
	uint64_t size;
	char digest[SCRIPTED_DIGEST_MAX];
	char target[128];
};

static struct one_blob one_blob_new(struct wire *wire, uint64_t size)
{
	struct one_blob blob = {.upstream = wire_upstream(wire, NULL), .size = size};
	scripted_add_blob(blob.upstream, "team/app", 7, size, blob.digest);
	snprintf(blob.target, sizeof(blob.target), "/v2/team/app/blobs/%s", blob.digest);
	blob.larder = larder_configured(wire, blob.upstream, NO_RETRIES);
	return blob;
}

/* The store's published files, all of them looked at. */

static unsigned published;
static unsigned damaged;

static int check_file(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
	const char *name = path + walk->base;
	char hex[DIGEST_TEXT_MAX];
	char block[65536];
	struct digest digest;
	struct hasher *hasher;
	ssize_t n;
	(void)stat;
	if (type != FTW_F)
		return 0;
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	assert_true(fd >= 0);
	hasher = hasher_new(DIGEST_SHA256);
	while ((n = read(fd, block, sizeof(block))) > 0)
		hasher_update(hasher, block, (size_t)n);
	hasher_finish(hasher, &digest);
	published++;
	damaged += strcmp(digest_hex(&digest, hex), name) != 0;
	return 0;
}

/* How many blobs are published; each must be what its name says. */
static unsigned expect_whole_store(const struct wire *wire)
{
	_cleanup_free_ char *path = wire_path(wire, "store/blobs");
	published = damaged = 0;
	nftw(path, check_file, 16, FTW_PHYS);
	assert_int_equal(damaged, 0);
	return published;
}

static unsigned count_files(const struct wire *wire, const char *folder)
{
	_cleanup_free_ char *path = wire_path(wire, folder);
	DIR *directory = opendir(path);
	const struct dirent *entry;
	unsigned count = 0;
	while (directory && (entry = readdir(directory)))
		count += entry->d_name[0] != '.';
	if (directory)
		closedir(directory);
	return count;
}

/* The connection was cut before the last byte. */
static void expect_cut(const struct client_reply *reply, uint64_t size)
{
	assert_int_equal(reply->status, 200);
	assert_false(reply->complete);
	assert_string_not_equal(reply->error, "deadline");
	assert_true(reply->body_bytes < size);
}

/* The upstream is honest again: the blob comes, and the store is whole after a restart too. */
static void expect_recovery(const struct wire *wire, const struct one_blob *blob)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_remove_rule(blob->upstream, 0);
	ask(blob->larder, NULL, NULL, &reply, "%s", blob->target);
	expect_content(&reply, blob->digest);
	expect_hit_soon(blob->larder, blob->target);
	larder_stop(blob->larder);
	assert_int_equal(expect_whole_store(wire), 1);
	larder_restart(blob->larder);
	ask(blob->larder, NULL, NULL, &reply, "%s", blob->target);
	expect_content(&reply, blob->digest);
	expect_header(&reply, "Cache-Status", "larder; hit");
}

static void run_flipped(struct wire *wire, uint64_t flip_at)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .flip = true, .flip_at = flip_at});
	assert_false(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_cut(&reply, blob.size);
	assert_int_equal(expect_whole_store(wire), 0);
	assert_true(larder_wait_output(blob.larder, "warn upstream up.test", WIRE_WAIT_MS));
	expect_recovery(wire, &blob);
	expect_count(blob.upstream, "GET", BLOBS, 2);
	assert_int_equal(scripted_body_sent(blob.upstream, "GET", BLOBS), 2 * blob.size);
}

/* A transfer that fails midway: the client is cut, or, where it was not woken before the failure, told of it. */
static void ask_in_vain(struct one_blob *blob, struct client_reply *reply)
{
	if (ask(blob->larder, NULL, NULL, reply, "%s", blob->target))
		expect_error(reply, 502, "UNKNOWN");
	else
		expect_cut(reply, blob->size);
}

WIRE_TEST(flipped_byte_in_the_middle_is_neither_sent_whole_nor_kept)
{
	run_flipped(wire, MIB);
}

WIRE_TEST(flipped_last_byte_is_neither_sent_nor_kept)
{
	run_flipped(wire, 2 * MIB - 1);
}

WIRE_TEST(every_client_of_a_damaged_flight_is_cut)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	struct client_request requests[8];
	struct client_reply replies[8] = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .flip = true});
	for (size_t i = 0; i < 8; i++)
		requests[i] =
			(struct client_request){.port = larder_port(blob.larder), .target = blob.target, .keep = 1};
	assert_false(client_fetch_many(requests, replies, 8));
	for (size_t i = 0; i < 8; i++)
		expect_cut(&replies[i], blob.size);
	client_replies_dispose(replies, 8);
	assert_int_equal(expect_whole_store(wire), 0);
	expect_recovery(wire, &blob);
}

WIRE_TEST(quarantine_is_bounded)
{
	struct one_blob blob = one_blob_new(wire, 64 * 1024);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .flip = true});
	for (unsigned i = 0; i < 2 * QUARANTINE_MAX + 2; i++)
		ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	assert_in_range(count_files(wire, "store/quarantine"), 1, QUARANTINE_MAX);
	assert_in_range(count_files(wire, "store/partial"), 0, 2);
	expect_recovery(wire, &blob);
}

/* Each answer ends early, but each brings something: larder goes on by itself, and the client notices nothing. */
WIRE_TEST(transfer_that_is_cut_again_and_again_goes_on)
{
	struct one_blob blob = {.upstream = wire_upstream(wire, NULL), .size = 4 * MIB};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_blob(blob.upstream, "team/app", 7, blob.size, blob.digest);
	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.path = BLOBS, .cut = SCRIPTED_CUT_FIN, .cut_at = 1500000});
	blob.larder = wire_larder_for(wire, blob.upstream, "up.test");
	assert_true(ask(blob.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", blob.digest));
	expect_content(&reply, blob.digest);
	expect_count(blob.upstream, "GET", BLOBS, 3);
	assert_int_equal(scripted_body_sent(blob.upstream, "GET", BLOBS), blob.size);
	size_t count;
	struct scripted_record *records = scripted_records(blob.upstream, "GET", BLOBS, &count);
	assert_string_equal(scripted_record_header(&records[1], "Range"), "bytes=1500000-");
	assert_string_equal(scripted_record_header(&records[2], "Range"), "bytes=3000000-");
	assert_non_null(scripted_record_header(&records[2], "If-Range"));
	scripted_records_free(records, count);
}

WIRE_TEST(transfer_that_was_given_up_is_resumed_by_the_next_request)
{
	struct one_blob blob = one_blob_new(wire, 3 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.path = BLOBS, .cut = SCRIPTED_CUT_FIN, .cut_at = (int64_t)MIB});
	ask_in_vain(&blob, &reply);
	assert_int_equal(expect_whole_store(wire), 0);
	expect_recovery(wire, &blob);
	assert_int_equal(scripted_body_sent(blob.upstream, "GET", BLOBS), blob.size);
}

/* What was there is read back and hashed beside the transfer, which may end before that does. */
WIRE_TEST(transfer_that_fails_while_a_partial_is_read_back_is_survived)
{
	struct one_blob blob = one_blob_new(wire, 64 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){
				  .path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = (int64_t)(60 * MIB)});
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .status = 403});
	ask_in_vain(&blob, &reply);
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_error(&reply, 403, "DENIED");
	expect_recovery(wire, &blob);
	assert_in_range(scripted_body_sent(blob.upstream, "GET", BLOBS), blob.size, blob.size + MIB);
}

WIRE_TEST(upstream_that_ends_before_its_answer_is_a_502)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(
		blob.upstream,
		&(struct scripted_rule){.path = BLOBS, .cut = SCRIPTED_CUT_FIN, .cut_at = SCRIPTED_BEFORE_HEAD});
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_error(&reply, 502, "UNKNOWN");
	expect_recovery(wire, &blob);
}

WIRE_TEST(nonsense_instead_of_http_is_a_502)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream,
			  &(struct scripted_rule){.path = BLOBS, .raw = "SSH-2.0-OpenSSH_9.2\r\n", .raw_len = 21});
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_error(&reply, 502, "UNKNOWN");
	expect_recovery(wire, &blob);
}

/* More is said than there is: the end comes too soon. */
WIRE_TEST(content_length_that_says_more_is_found_out)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	struct one_blob said = blob;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .length_lie = 10, .close = true});
	said.size += 10;
	ask_in_vain(&said, &reply);
	assert_int_equal(expect_whole_store(wire), 0);
	expect_recovery(wire, &blob);
}

/* Less is said than there is: what came does not have the digest. */
WIRE_TEST(content_length_that_says_less_is_found_out)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .length_lie = -10, .close = true});
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_cut(&reply, blob.size - 10);
	assert_int_equal(expect_whole_store(wire), 0);
	expect_recovery(wire, &blob);
}

/* There is no last byte that could be held back. */
WIRE_TEST(empty_answer_for_a_blob_is_a_502)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char empty[SCRIPTED_DIGEST_MAX];
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .status = 200, .body = "", .count = 2});
	for (unsigned i = 0; i < 2; i++) {
		ask(blob.larder, NULL, i ? "Range: bytes=0-9\r\n" : NULL, &reply, "%s", blob.target);
		expect_error(&reply, 502, "UNKNOWN");
	}
	assert_int_equal(expect_whole_store(wire), 0);
	scripted_add_blob(blob.upstream, "team/app", 7, 0, empty);
	for (unsigned i = 0; i < 2; i++) {
		ask(blob.larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", empty);
		expect_content(&reply, empty);
	}
	larder_stop(blob.larder);
	assert_int_equal(expect_whole_store(wire), 1);
	larder_restart(blob.larder);
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_content(&reply, blob.digest);
}

/* Hashing decides, never the header. */
WIRE_TEST(digest_header_of_a_blob_is_not_believed)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char other[SCRIPTED_DIGEST_MAX];
	scripted_blob_digest(8, MIB, other);
	_cleanup_free_ char *lie = mem_printf("Docker-Content-Digest: %s", other);
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .headers = lie});
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_content(&reply, blob.digest);
	expect_header(&reply, "Docker-Content-Digest", blob.digest);
	expect_recovery(wire, &blob);
}

WIRE_TEST(encoded_blob_is_a_502)
{
	struct one_blob blob = one_blob_new(wire, MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .headers = "Content-Encoding: gzip"});
	ask(blob.larder, NULL, NULL, &reply, "%s", blob.target);
	expect_error(&reply, 502, "UNKNOWN");
	assert_int_equal(expect_whole_store(wire), 0);
	expect_recovery(wire, &blob);
}

/* What larder holds of one version is not mixed with another. */
WIRE_TEST(other_version_at_resume_starts_over)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS,
								 .count = 1,
								 .etag = "\"old\"",
								 .flip = true,
								 .cut = SCRIPTED_CUT_FIN,
								 .cut_at = (int64_t)MIB});
	ask_in_vain(&blob, &reply);
	expect_recovery(wire, &blob);
	assert_int_equal(count_files(wire, "store/quarantine"), 0);
}

WIRE_TEST(upstream_that_does_not_do_ranges_is_resumed_from_its_start)
{
	struct one_blob blob = one_blob_new(wire, 2 * MIB);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(
		blob.upstream,
		&(struct scripted_rule){.path = BLOBS, .count = 1, .cut = SCRIPTED_CUT_FIN, .cut_at = (int64_t)MIB});
	scripted_add_rule(blob.upstream, &(struct scripted_rule){.path = BLOBS, .ignore_range = true});
	ask_in_vain(&blob, &reply);
	assert_true(ask(blob.larder, NULL, NULL, &reply, "%s", blob.target));
	expect_content(&reply, blob.digest);
	expect_recovery(wire, &blob);
}

/* Manifests. */

struct one_manifest {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image;
	char by_digest[160];
};

static struct one_manifest one_manifest_new(struct wire *wire)
{
	struct one_manifest manifest = {.upstream = wire_upstream(wire, NULL)};
	scripted_add_image(manifest.upstream, "team/app", "1.0", &(struct scripted_image_options){.layer_size = 100},
			   &manifest.image);
	snprintf(manifest.by_digest, sizeof(manifest.by_digest), "/v2/team/app/manifests/%s", manifest.image.manifest);
	manifest.larder = larder_configured(wire, manifest.upstream, NO_RETRIES);
	return manifest;
}

static void expect_manifest_recovery(const struct wire *wire, const struct one_manifest *manifest)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_remove_rule(manifest->upstream, 0);
	ask(manifest->larder, NULL, NULL, &reply, "%s", manifest->by_digest);
	expect_content(&reply, manifest->image.manifest);
	larder_stop(manifest->larder);
	assert_int_equal(expect_whole_store(wire), 1);
	larder_restart(manifest->larder);
	ask(manifest->larder, NULL, NULL, &reply, "%s", manifest->by_digest);
	expect_content(&reply, manifest->image.manifest);
	expect_header(&reply, "Cache-Status", "larder; hit");
}

static void run_bad_manifest(struct wire *wire, const struct scripted_rule *rule)
{
	struct one_manifest manifest = one_manifest_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	scripted_add_rule(manifest.upstream, rule);
	ask(manifest.larder, NULL, NULL, &reply, "%s", manifest.by_digest);
	expect_error(&reply, 502, "UNKNOWN");
	assert_int_equal(expect_whole_store(wire), 0);
	expect_manifest_recovery(wire, &manifest);
}

WIRE_TEST(manifest_of_another_digest_is_a_502)
{
	run_bad_manifest(wire, &(struct scripted_rule){.path = MANIFESTS, .flip = true, .flip_at = 5});
}

WIRE_TEST(other_manifest_under_a_digest_is_a_502)
{
	run_bad_manifest(wire, &(struct scripted_rule){.path = MANIFESTS, .status = 200, .body = "{}"});
}

WIRE_TEST(manifest_that_is_cut_short_is_a_502)
{
	run_bad_manifest(wire, &(struct scripted_rule){.path = MANIFESTS, .cut = SCRIPTED_CUT_FIN, .cut_at = 20});
}

WIRE_TEST(encoded_manifest_is_a_502)
{
	run_bad_manifest(wire, &(struct scripted_rule){.path = MANIFESTS, .headers = "Content-Encoding: br"});
}

WIRE_TEST(endless_manifest_is_a_502)
{
	run_bad_manifest(wire, &(struct scripted_rule){.path = MANIFESTS, .endless_body = true});
}

WIRE_TEST(endless_header_is_a_502)
{
	run_bad_manifest(wire, &(struct scripted_rule){.path = MANIFESTS, .endless_header = true});
}

WIRE_TEST(manifest_beyond_4_mib_is_a_502)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, NO_RETRIES);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *bytes = mem_alloc(4 * MIB + 1);
	char largest[SCRIPTED_DIGEST_MAX];
	char larger[SCRIPTED_DIGEST_MAX];
	memset(bytes, ' ', 4 * MIB + 1);
	bytes[0] = '{';
	bytes[4 * MIB - 1] = '}';
	scripted_add_manifest(upstream, "team/app", "largest", SCRIPTED_TYPE_MANIFEST, bytes, 4 * MIB, largest);
	scripted_add_manifest(upstream, "team/app", "larger", SCRIPTED_TYPE_MANIFEST, bytes, 4 * MIB + 1, larger);
	ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/larger");
	expect_error(&reply, 502, "UNKNOWN");
	ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", larger);
	expect_error(&reply, 502, "UNKNOWN");
	assert_int_equal(expect_whole_store(wire), 0);
	ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/%s", largest);
	expect_content(&reply, largest);
}

/* A tag means what its bytes are, not what a header says of them. */
WIRE_TEST(digest_header_of_a_tag_is_not_believed)
{
	struct one_manifest manifest = one_manifest_new(wire);
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	char other[SCRIPTED_DIGEST_MAX];
	scripted_blob_digest(8, 10, other);
	_cleanup_free_ char *lie = mem_printf("Docker-Content-Digest: %s", other);
	scripted_add_rule(manifest.upstream, &(struct scripted_rule){.path = MANIFESTS, .headers = lie});
	ask(manifest.larder, NULL, NULL, &reply, "/v2/team/app/manifests/1.0");
	expect_content(&reply, manifest.image.manifest);
	expect_header(&reply, "Docker-Content-Digest", manifest.image.manifest);
	expect_manifest_recovery(wire, &manifest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(flipped_byte_in_the_middle_is_neither_sent_whole_nor_kept),
		WIRE_CASE(flipped_last_byte_is_neither_sent_nor_kept),
		WIRE_CASE(every_client_of_a_damaged_flight_is_cut),
		WIRE_CASE(quarantine_is_bounded),
		WIRE_CASE(transfer_that_is_cut_again_and_again_goes_on),
		WIRE_CASE(transfer_that_was_given_up_is_resumed_by_the_next_request),
		WIRE_CASE(transfer_that_fails_while_a_partial_is_read_back_is_survived),
		WIRE_CASE(upstream_that_ends_before_its_answer_is_a_502),
		WIRE_CASE(nonsense_instead_of_http_is_a_502),
		WIRE_CASE(content_length_that_says_more_is_found_out),
		WIRE_CASE(content_length_that_says_less_is_found_out),
		WIRE_CASE(empty_answer_for_a_blob_is_a_502),
		WIRE_CASE(digest_header_of_a_blob_is_not_believed),
		WIRE_CASE(encoded_blob_is_a_502),
		WIRE_CASE(other_version_at_resume_starts_over),
		WIRE_CASE(upstream_that_does_not_do_ranges_is_resumed_from_its_start),
		WIRE_CASE(manifest_of_another_digest_is_a_502),
		WIRE_CASE(other_manifest_under_a_digest_is_a_502),
		WIRE_CASE(manifest_that_is_cut_short_is_a_502),
		WIRE_CASE(encoded_manifest_is_a_502),
		WIRE_CASE(endless_manifest_is_a_502),
		WIRE_CASE(endless_header_is_a_502),
		WIRE_CASE(manifest_beyond_4_mib_is_a_502),
		WIRE_CASE(digest_header_of_a_tag_is_not_believed),
	};
	return cmocka_run_group_tests_name("integrity", tests, NULL, NULL);
}
