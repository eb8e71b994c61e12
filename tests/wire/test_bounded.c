/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A store within its limits: under random pulls, in the order of last use, and on a disk that is full.
 *
 * BOUNDED_IMAGES, BOUNDED_LIMIT_MIB and BOUNDED_MINUTES make the random pulls more: 2560, 1024 and 60 are an hour of
 * pulls from 10 GiB through 1 GiB.
 */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#define IMAGES     128
#define IMAGES_MAX 4096
#define IMAGE_SIZE (4 * MIB)
#define LAYERS     2
#define PULLS      300
#define PULLERS    3

struct library {
	struct scripted *upstream;
	struct larder *larder;
	char *store;
	unsigned count;
	struct scripted_image images[IMAGES_MAX];
	_Atomic int64_t pulled[IMAGES_MAX]; /* when last, in wall seconds */
	uint64_t until_ms;                  /* 0: as many pulls as PULLS */
	atomic_uint pulls, wrong;
	atomic_bool ended;
	_Atomic uint64_t most, least_free;
};

#define FILES_MAX 4096

/* One walk over the store: what was there when the walk came by. */
struct walk {
	size_t count;
	struct {
		uint64_t inode, bytes;
	} files[FILES_MAX];
};

static _Thread_local struct walk *walking;

static int add_file(const char *path, const struct stat *found, int flag, struct FTW *place)
{
	(void)path;
	(void)flag;
	(void)place;
	if (walking->count < FILES_MAX) {
		walking->files[walking->count].inode = found->st_ino;
		walking->files[walking->count++].bytes = (uint64_t)found->st_blocks * 512;
	}
	return 0;
}

static void walk(const char *path, struct walk *walk)
{
	walking = walk;
	walk->count = 0;
	nftw(path, add_file, 16, FTW_PHYS);
}

/* What was certainly there at once, between two walks: each file that both saw, once, though it was renamed. */
static uint64_t disk_use(const char *path)
{
	_cleanup_free_ struct walk *first = mem_alloc(sizeof(*first));
	_cleanup_free_ struct walk *second = mem_alloc(sizeof(*second));
	uint64_t bytes = 0;

	walk(path, first);
	walk(path, second);
	for (size_t i = 0; i < second->count; i++)
		for (size_t k = 0; k < first->count; k++)
			if (first->files[k].inode == second->files[i].inode) {
				uint64_t before = first->files[k].bytes, after = second->files[i].bytes;

				bytes += before < after ? before : after;
				first->files[k].inode = 0;
				break;
			}
	return bytes;
}

static void *sample(void *arg)
{
	struct library *library = arg;

	while (!atomic_load(&library->ended)) {
		uint64_t now = disk_use(library->store);

		struct statvfs disk;

		if (now > atomic_load(&library->most))
			atomic_store(&library->most, now);
		if (statvfs(library->store, &disk) == 0 &&
		    disk.f_bavail * disk.f_frsize < atomic_load(&library->least_free))
			atomic_store(&library->least_free, disk.f_bavail * disk.f_frsize);
		usleep(1000);
	}
	return NULL;
}

static bool pull_one(const struct library *library, const char *kind, const char *reference, const char *digest,
		     const char *status)
{
	struct client_reply reply = {0};
	_cleanup_free_ char *target = mem_printf("/v2/team/app/%s/%s", kind, reference);
	_cleanup_free_ char *cache = NULL;
	bool right =
		larder_get(library->larder, target, &reply) && reply.status == 200 && strcmp(reply.digest, digest) == 0;

	if (!right)
		print_error("%s: status %d, %s\n", target, reply.status, reply.error);
	cache = client_reply_header(&reply, "Cache-Status");
	if (right && status && (!cache || strcmp(cache, status) != 0))
		right = false;
	client_reply_dispose(&reply);
	return right;
}

/* As clients do it: the tag, then what the manifest names. */
static bool pull_image(struct library *library, unsigned number)
{
	const struct scripted_image *image = &library->images[number];
	char tag[16];
	bool right;

	snprintf(tag, sizeof(tag), "v%u", number);
	right = pull_one(library, "manifests", tag, image->manifest, NULL) &&
		pull_one(library, "blobs", image->config, image->config, NULL);
	for (unsigned i = 0; right && i < image->layers; i++)
		right = pull_one(library, "blobs", image->layer[i], image->layer[i], NULL);
	atomic_store(&library->pulled[number], clock_wall_s());
	return right;
}

struct puller {
	struct library *library;
	unsigned seed;
};

static void *pull_at_random(void *arg)
{
	struct puller *puller = arg;
	struct library *library = puller->library;

	while (atomic_fetch_add(&library->pulls, 1) < PULLS || clock_ms() < library->until_ms)
		if (!pull_image(library, (unsigned)rand_r(&puller->seed) % library->count))
			atomic_fetch_add(&library->wrong, 1);
	return NULL;
}

static void library_start(struct wire *wire, struct library *library, unsigned count, const char *limits)
{
	_cleanup_free_ char *upstream = NULL;

	assert_true(count <= IMAGES_MAX);
	library->count = count;
	library->least_free = UINT64_MAX;
	library->upstream = wire_upstream(wire, NULL);
	for (unsigned i = 0; i < count; i++) {
		struct scripted_image_options options = {
			.layers = LAYERS, .layer_size = IMAGE_SIZE / LAYERS, .seed = 1000 + i};
		char tag[16];

		snprintf(tag, sizeof(tag), "v%u", i);
		scripted_add_image(library->upstream, "team/app", tag, &options, &library->images[i]);
	}
	upstream = mem_printf("registry.test=%s", scripted_url(library->upstream, 0));
	library->larder = wire_larder(wire, &(struct larder_options){.upstream = upstream, .config = limits});
	library->store = wire_path(wire, "store");
}

/* Pulls at random, with eyes on the disk. */
static void library_pull(struct library *library)
{
	struct puller pullers[PULLERS];
	pthread_t threads[PULLERS], sampler;

	assert_int_equal(pthread_create(&sampler, NULL, sample, library), 0);
	for (unsigned i = 0; i < PULLERS; i++) {
		pullers[i] = (struct puller){library, i + 1};
		assert_int_equal(pthread_create(&threads[i], NULL, pull_at_random, &pullers[i]), 0);
	}
	for (unsigned i = 0; i < PULLERS; i++)
		pthread_join(threads[i], NULL);
	atomic_store(&library->ended, true);
	pthread_join(sampler, NULL);
	print_message("%u pulls of %u images; at most %.1f MiB on disk\n", atomic_load(&library->pulls), library->count,
		      (double)atomic_load(&library->most) / MIB);
	assert_int_equal(atomic_load(&library->wrong), 0);
}

static unsigned from_environment(const char *name, unsigned usual)
{
	const char *given = getenv(name);

	return given ? (unsigned)strtoul(given, NULL, 10) : usual;
}

static bool is_stored(const struct library *library, const char *digest)
{
	const char *hex = digest + strlen("sha256:");
	_cleanup_free_ char *path = mem_printf("%s/blobs/sha256/%.2s/%s", library->store, hex, hex);

	return access(path, F_OK) == 0;
}

WIRE_TEST(store_stays_below_its_limit_under_random_pulls)
{
	_cleanup_free_ struct library *library = mem_alloc(sizeof(*library));
	uint64_t limit = from_environment("BOUNDED_LIMIT_MIB", 64) * MIB;
	_cleanup_free_ char *limits = mem_printf("store: { max_size: %lluMiB }\n", (unsigned long long)(limit / MIB));
	unsigned minutes = from_environment("BOUNDED_MINUTES", 0);

	library_start(wire, library, from_environment("BOUNDED_IMAGES", IMAGES), limits);
	library->until_ms = minutes ? clock_ms() + minutes * 60000ULL : 0;
	library_pull(library);
	assert_true(atomic_load(&library->most) <= limit);
	/* It is used, too. */
	assert_true(atomic_load(&library->most) > limit * 3 / 4);
	free(library->store);
}

WIRE_TEST(least_recently_used_images_go_first)
{
	_cleanup_free_ struct library *library = mem_alloc(sizeof(*library));
	int64_t youngest_gone = 0, oldest_held = INT64_MAX;

	library_start(wire, library, IMAGES, "store: { max_size: 64MiB }\n");
	/* A last use is of a second: three are pulled in each. */
	for (unsigned i = 0; i < 24; i++) {
		assert_true(pull_image(library, i));
		/* This one is always wanted. */
		assert_true(pull_image(library, 0));
		if (i % 3 == 2) {
			int64_t now = clock_wall_s();

			while (clock_wall_s() == now)
				usleep(10000);
		}
	}
	for (unsigned i = 0; i < 24; i++) {
		const struct scripted_image *image = &library->images[i];
		int64_t when = atomic_load(&library->pulled[i]);
		bool held = is_stored(library, image->manifest);

		/* Whole, or not at all. */
		for (unsigned layer = 0; layer < image->layers; layer++)
			assert_int_equal(is_stored(library, image->layer[layer]), held);
		if (held && when < oldest_held)
			oldest_held = when;
		if (!held && when > youngest_gone)
			youngest_gone = when;
	}
	assert_true(is_stored(library, library->images[0].manifest));
	assert_true(youngest_gone > 0);
	assert_true(youngest_gone <= oldest_held + 1);
	free(library->store);
}

static void pull_whole(struct larder *larder, const char *upstream, const struct scripted_image *image)
{
	const char *digests[] = {image->config, image->layer[0]};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(ask(larder, NULL, NULL, &reply, "/v2/%s/team/app/manifests/%s", upstream, image->manifest));
	expect_content(&reply, image->manifest);
	for (size_t i = 0; i < sizeof(digests) / sizeof(*digests); i++) {
		assert_true(ask(larder, NULL, NULL, &reply, "/v2/%s/team/app/blobs/%s", upstream, digests[i]));
		expect_content(&reply, digests[i]);
	}
}

/* The images of an upstream that is down are the oldest, if by little. */
WIRE_TEST(images_of_an_upstream_that_is_down_are_kept_before_others_as_old)
{
	struct scripted *down = wire_upstream(wire, NULL), *up = wire_upstream(wire, NULL);
	struct scripted_image_options options = {.layers = 1, .layer_size = 4 * MIB};
	struct scripted_image dear[4], cheap[12];
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ struct library *library = mem_alloc(sizeof(*library));
	char config[512];
	struct larder *larder;

	snprintf(config, sizeof(config),
		 "store: {max_size: 48MiB}\n"
		 "default_upstream: up.test\n"
		 "upstreams: {down.test: {url: %s, retries: 0}, up.test: {url: %s, retries: 0}}\n",
		 scripted_url(down, 0), scripted_url(up, 0));
	larder = wire_larder(wire, &(struct larder_options){.config = config});
	library->store = wire_path(wire, "store");
	for (unsigned i = 0; i < 4; i++) {
		options.seed = 1 + i;
		scripted_add_image(down, "team/app", NULL, &options, &dear[i]);
		pull_whole(larder, "down.test", &dear[i]);
	}
	scripted_set_state(down, 0, SCRIPTED_DOWN, true);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/down.test/team/app/manifests/new"));
	expect_error(&reply, 502, "UNKNOWN");
	for (unsigned i = 0; i < 12; i++) {
		options.seed = 100 + i;
		scripted_add_image(up, "team/app", NULL, &options, &cheap[i]);
		pull_whole(larder, "up.test", &cheap[i]);
	}
	for (unsigned i = 0; i < 4; i++)
		assert_true(is_stored(library, dear[i].layer[0]));
	assert_false(is_stored(library, cheap[0].layer[0]));
	free(library->store);
}

/* A small disk of a test's own, which its larder's store lies on. */
static bool mount_disk(struct wire *wire, const char *size)
{
	_cleanup_free_ char *path = wire_path(wire, "store");
	_cleanup_free_ char *options = mem_printf("size=%s,mode=0750", size);

	assert_int_equal(mkdir(path, 0750), 0);
	if (mount("tmpfs", path, "tmpfs", 0, options) == 0)
		return true;
	print_message("skipped: no file system can be mounted here: %s\n", strerror(errno));
	return false;
}

static int teardown_with_disk(void **state)
{
	char path[128];

	snprintf(path, sizeof(path), "%s/store", ((struct wire *)*state)->directory);
	umount2(path, MNT_DETACH);
	return wire_teardown(state);
}

#define DISK_CASE(name) cmocka_unit_test_setup_teardown(name, wire_setup, teardown_with_disk)

WIRE_TEST(disk_keeps_its_free_space_under_random_pulls)
{
	_cleanup_free_ struct library *library = mem_alloc(sizeof(*library));

	if (!mount_disk(wire, "96m"))
		skip();
	library_start(wire, library, IMAGES, "store: { max_size: 0, min_free: 32MiB }\n");
	library_pull(library);
	print_message("at least %.1f MiB free\n", (double)atomic_load(&library->least_free) / MIB);
	assert_true(atomic_load(&library->least_free) >= 32 * MIB);
	assert_true(atomic_load(&library->least_free) < 48 * MIB);
	free(library->store);
}

/* Fills the disk until `left` bytes are free. */
static char *fill_disk(struct wire *wire, uint64_t left)
{
	char *path = wire_path(wire, "store/ballast");
	_cleanup_free_ char *block = mem_alloc(4096);
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
	struct statvfs disk;

	assert_true(fd >= 0);
	while (fstatvfs(fd, &disk) == 0 && disk.f_bavail * disk.f_frsize > left)
		assert_int_equal(write(fd, block, 4096), 4096);
	return path;
}

static unsigned count_in_log(struct larder *larder, const char *text)
{
	_cleanup_free_ char *log = larder_output(larder, 2);
	unsigned count = 0;

	for (const char *at = log; (at = strstr(at, text)); at++)
		count++;
	return count;
}

static void expect_blob(struct larder *larder, const char *digest, const char *status)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
	expect_content(&reply, digest);
	if (status)
		expect_header(&reply, "Cache-Status", status);
}

/* Asked for by itself and not kept. Who asks while the answer before is still being ended has a part in its flight. */
static void expect_passed_on(struct larder *larder, const char *digest)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	uint64_t deadline_ms = clock_ms() + WIRE_WAIT_MS;
	bool collapsed;

	do {
		_cleanup_free_ char *status = NULL;

		assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", digest));
		expect_content(&reply, digest);
		status = client_reply_header(&reply, "Cache-Status");
		collapsed = status && strcmp(status, "larder; fwd=miss; collapsed") == 0;
	} while (collapsed && clock_ms() < deadline_ms);
	expect_header(&reply, "Cache-Status", "larder; fwd=miss");
}

static void expect_held_soon(struct larder *larder, const char *digest)
{
	_cleanup_free_ char *target = mem_printf("/v2/team/app/blobs/%s", digest);

	expect_hit_soon(larder, target);
}

static void expect_range(struct larder *larder, const char *digest, uint64_t seed, uint64_t first, size_t len)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *header = mem_printf("Range: bytes=%llu-%llu\r\n", (unsigned long long)first,
						 (unsigned long long)(first + len - 1));
	_cleanup_free_ char *wanted = mem_alloc(len);

	assert_true(ask(larder, NULL, header, &reply, "/v2/team/app/blobs/%s", digest));
	assert_int_equal(reply.status, 206);
	assert_int_equal(reply.body_len, len);
	scripted_blob_fill(seed, first, wanted, len);
	assert_memory_equal(reply.body, wanted, len);
}

WIRE_TEST(full_disk_does_not_stop_pulls)
{
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image;
	char digest[SCRIPTED_DIGEST_MAX], second[SCRIPTED_DIGEST_MAX];
	_cleanup_free_ char *ballast = NULL;
	_cleanup_free_ char *url = NULL;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	if (!mount_disk(wire, "32m"))
		skip();
	upstream = wire_upstream(wire, NULL);
	scripted_add_blob(upstream, "team/app", 7, 8 * MIB, digest);
	scripted_add_blob(upstream, "team/app", 8, 8 * MIB, second);
	scripted_add_image(upstream, "team/app", "v1", &(struct scripted_image_options){.seed = 9}, &image);
	url = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	larder = wire_larder(
		wire, &(struct larder_options){.upstream = url, .config = "store: { max_size: 0, min_free: 0 }\n"});
	ballast = fill_disk(wire, 3 * MIB);

	/* The disk fills up midway, and then from the first byte on. */
	expect_blob(larder, digest, NULL);
	expect_blob(larder, second, "larder; fwd=miss");
	expect_range(larder, digest, 7, MIB, 1000);
	expect_range(larder, digest, 7, 7 * MIB, 1000);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/v1"));
	expect_content(&reply, image.manifest);
	expect_blob(larder, image.layer[0], NULL);
	assert_int_equal(count_in_log(larder, "passed on without being kept"), 1);

	/* Once there is room, everything is kept again, and goes on from what was. */
	assert_int_equal(unlink(ballast), 0);
	scripted_clear_log(upstream);
	expect_blob(larder, digest, NULL);
	assert_true(scripted_body_sent(upstream, "GET", "*/blobs/*") < 8 * MIB);
	expect_blob(larder, second, NULL);
	expect_held_soon(larder, digest);
	assert_true(larder_wait_output(larder, "takes blobs again", WIRE_WAIT_MS));
	expect_blob(larder, digest, "larder; hit");
	assert_int_equal(count_in_log(larder, "passed on without being kept"), 1);
}

WIRE_TEST(blob_larger_than_the_store_is_passed_on)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	const char *arguments[] = {"--max-size", "16MiB", NULL};
	_cleanup_free_ char *url = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	char small[SCRIPTED_DIGEST_MAX], large[SCRIPTED_DIGEST_MAX];
	struct larder *larder = wire_larder(wire, &(struct larder_options){.upstream = url, .arguments = arguments});

	scripted_add_blob(upstream, "team/app", 7, 4 * MIB, small);
	scripted_add_blob(upstream, "team/app", 8, 40 * MIB, large);
	expect_blob(larder, small, NULL);
	expect_held_soon(larder, small);
	expect_passed_on(larder, large);
	expect_passed_on(larder, large);
	/* And costs nothing that is held. */
	expect_blob(larder, small, "larder; hit");
}

WIRE_TEST(length_that_is_only_claimed_removes_nothing_that_is_held)
{
	struct scripted *upstream = wire_upstream(wire, NULL);
	const char *arguments[] = {"--max-size", "64MiB", NULL};
	_cleanup_free_ char *url = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *lies = NULL;
	char held[8][SCRIPTED_DIGEST_MAX], liar[SCRIPTED_DIGEST_MAX];
	struct larder *larder = wire_larder(wire, &(struct larder_options){.upstream = url, .arguments = arguments});

	for (unsigned i = 0; i < 8; i++) {
		scripted_add_blob(upstream, "team/app", i, 4 * MIB, held[i]);
		expect_blob(larder, held[i], NULL);
		expect_held_soon(larder, held[i]);
	}
	/* It would fit once all else is thrown away. */
	scripted_add_blob(upstream, "team/app", 8, MIB, liar);
	lies = mem_printf("*/blobs/%s", liar);
	scripted_add_rule(upstream, &(struct scripted_rule){.path = lies, .length_lie = 47 * MIB});
	ask(larder, NULL, NULL, &reply, "/v2/team/app/blobs/%s", liar);
	assert_false(reply.status == 200 && reply.complete);
	for (unsigned i = 0; i < 8; i++)
		expect_blob(larder, held[i], "larder; hit");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(store_stays_below_its_limit_under_random_pulls),
		WIRE_CASE(least_recently_used_images_go_first),
		WIRE_CASE(images_of_an_upstream_that_is_down_are_kept_before_others_as_old),
		WIRE_CASE(blob_larger_than_the_store_is_passed_on),
		WIRE_CASE(length_that_is_only_claimed_removes_nothing_that_is_held),
		DISK_CASE(disk_keeps_its_free_space_under_random_pulls),
		DISK_CASE(full_disk_does_not_stop_pulls),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
