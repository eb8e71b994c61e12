/* SPDX-License-Identifier: Apache-2.0 */
/* What goes bad in the store is noticed, never served again, and fetched anew. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#define MANY 100
#define SIZE 30000

/* Reads all over all the time. */
#define EAGER                                                                                                          \
	"default_upstream: up.test\n"                                                                                  \
	"store: {scrub_rate: 1GiB, scrub_every: 1s}\n"                                                                 \
	"upstreams: {up.test: {url: %s, retries: 0}}\n"

static char *blob_path(const struct wire *wire, const char *digest)
{
	const char *hex = strchr(digest, ':') + 1;
	char name[256];

	snprintf(name, sizeof(name), "store/blobs/sha256/%.2s/%s", hex, hex);
	return wire_path(wire, name);
}

static void damage(const struct wire *wire, const char *digest)
{
	_cleanup_free_ char *path = blob_path(wire, digest);
	char byte;
	int fd;

	assert_int_equal(chmod(path, 0644), 0);
	fd = open(path, O_RDWR | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pread(fd, &byte, 1, 10), 1);
	byte = (char)(byte ^ 1);
	assert_int_equal(pwrite(fd, &byte, 1, 10), 1);
	close(fd);
}

static bool is_right(const struct wire *wire, const char *digest)
{
	_cleanup_free_ char *path = blob_path(wire, digest);
	_cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
	char data[SIZE], text[DIGEST_TEXT_MAX];
	struct digest found;
	ssize_t got = fd < 0 ? -1 : read(fd, data, sizeof(data));

	if (got < 0)
		return false;
	digest_of(DIGEST_SHA256, data, (size_t)got, &found);
	return strcmp(digest_format(&found, text), digest) == 0;
}

static void await_right(const struct wire *wire, const char *digest)
{
	for (int i = 0; i < WIRE_WAIT_MS / 10 && !is_right(wire, digest); i++)
		nanosleep(&(struct timespec){.tv_nsec = 10000000}, NULL);
	assert_true(is_right(wire, digest));
}

static void get(const struct larder *larder, const char *kind, const char *reference, const char *digest)
{
	struct client_reply reply = {0};
	char target[256];

	snprintf(target, sizeof(target), "/v2/team/app/%s/%s", kind, reference);
	assert_true(larder_get(larder, target, &reply));
	expect_content(&reply, digest);
	client_reply_dispose(&reply);
}

WIRE_TEST(hundred_damaged_blobs_are_healed)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, EAGER);
	char digests[MANY][SCRIPTED_DIGEST_MAX];

	for (unsigned i = 0; i < MANY; i++) {
		scripted_add_blob(upstream, "team/app", i, SIZE, digests[i]);
		get(larder, "blobs", digests[i], digests[i]);
	}
	/* Nobody heals meanwhile, so that all are damaged at once. */
	larder_stop(larder);
	for (unsigned i = 0; i < MANY; i++)
		damage(wire, digests[i]);
	larder_restart(larder);
	for (unsigned i = 0; i < MANY; i++)
		await_right(wire, digests[i]);
	for (unsigned i = 0; i < MANY; i++)
		get(larder, "blobs", digests[i], digests[i]);
	expect_count(upstream, "GET", "*/blobs/*", 2 * MANY);
}

WIRE_TEST(damaged_manifest_is_fetched_anew_by_the_one_who_asks)
{
	static const char manifest[] = "{\"schemaVersion\":2,\"layers\":[]}";
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = wire_larder_for(wire, upstream, "up.test");
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_add_manifest(upstream, "team/app", "1", "application/vnd.oci.image.manifest.v1+json", manifest,
			      sizeof(manifest) - 1, digest);
	get(larder, "manifests", "1", digest);
	larder_stop(larder);
	damage(wire, digest);
	larder_restart(larder);
	get(larder, "manifests", digest, digest);
	await_right(wire, digest);
	expect_count(upstream, "GET", "*/manifests/*", 2);
}

WIRE_TEST(damaged_manifest_is_healed_by_the_scrub)
{
	static const char manifest[] = "{\"schemaVersion\":2,\"layers\":[]}";
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, EAGER);
	char digest[SCRIPTED_DIGEST_MAX];

	scripted_add_manifest(upstream, "team/app", "1", "application/vnd.oci.image.manifest.v1+json", manifest,
			      sizeof(manifest) - 1, digest);
	get(larder, "manifests", "1", digest);
	larder_stop(larder);
	damage(wire, digest);
	larder_restart(larder);
	await_right(wire, digest);
}

/* The same blob came from two upstreams; one of them has gone meanwhile. */
WIRE_TEST(blob_is_healed_from_any_upstream_linked_to_it)
{
	struct scripted *first = wire_upstream(wire, NULL), *second = wire_upstream(wire, NULL);
	char config[1024], digest[SCRIPTED_DIGEST_MAX], target[256];
	struct client_reply reply = {0};
	struct larder_options options = {.config = config};
	struct larder *larder;

	snprintf(config, sizeof(config),
		 "default_upstream: one.test\n"
		 "store: {scrub_rate: 1GiB, scrub_every: 1s}\n"
		 "upstreams:\n"
		 "  one.test: {url: %s, retries: 0}\n"
		 "  two.test: {url: %s, retries: 0}\n",
		 scripted_url(first, 0), scripted_url(second, 0));
	larder = wire_larder(wire, &options);
	scripted_add_blob(first, "team/app", 1, SIZE, digest);
	scripted_add_blob(second, "other/app", 1, SIZE, digest);
	get(larder, "blobs", digest, digest);
	snprintf(target, sizeof(target), "/v2/two.test/other/app/blobs/%s", digest);
	assert_true(larder_get(larder, target, &reply));
	expect_content(&reply, digest);
	client_reply_dispose(&reply);
	larder_stop(larder);
	scripted_add_rule(first, &(struct scripted_rule){.path = "*/blobs/*", .status = 404});
	damage(wire, digest);
	larder_restart(larder);
	await_right(wire, digest);
	expect_count(second, "GET", "*/blobs/*", 1);
}

/* Wrong bytes are worse than none. */
WIRE_TEST(damaged_blob_is_not_served_while_its_upstream_is_gone)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	struct larder *larder = larder_configured(wire, upstream, EAGER);
	char digest[SCRIPTED_DIGEST_MAX], target[256];
	struct client_reply reply = {0};

	scripted_add_blob(upstream, "team/app", 1, SIZE, digest);
	get(larder, "blobs", digest, digest);
	larder_stop(larder);
	damage(wire, digest);
	scripted_add_rule(upstream, &(struct scripted_rule){.path = "*", .status = 500});
	larder_restart(larder);
	assert_true(larder_wait_output(larder, "cannot be fetched anew now", WIRE_WAIT_MS));
	snprintf(target, sizeof(target), "/v2/team/app/blobs/%s", digest);
	assert_true(larder_get(larder, target, &reply));
	expect_error(&reply, 502, "UNKNOWN");
	client_reply_dispose(&reply);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(hundred_damaged_blobs_are_healed),
		WIRE_CASE(damaged_manifest_is_fetched_anew_by_the_one_who_asks),
		WIRE_CASE(damaged_manifest_is_healed_by_the_scrub),
		WIRE_CASE(blob_is_healed_from_any_upstream_linked_to_it),
		WIRE_CASE(damaged_blob_is_not_served_while_its_upstream_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
