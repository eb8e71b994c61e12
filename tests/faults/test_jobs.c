/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A prefetch killed at one call on its store after the other, which are all the moments that leave different things
 * behind: the job not yet written down, a blob half fetched, fetched and not published, published and not in the index,
 * linked. The next larder goes on with the job, fetches nothing that was published, and ends with all of it.
 *
 * KILL_STRIDE=N takes each Nth call alone; 1 is all of them.
 */
#include "tests/faults/bed.h"
#include "tests/faults/sound.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/wire/harness_process.h"
#include "tests/wire/jobs.h"

#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define LAYERS     2
#define LAYER_SIZE 300000
#define BLOBS      (1 + LAYERS) /* config, layers */
#define DONE       "job 1 (prefetch): done"
#define DONE_MS    60000

struct bed {
	struct wire *wire;
	struct scripted *upstream;
	const char *digests[BLOBS];
	char *store;
	char *config;       /* with a schedule that starts the job */
	unsigned resumed;   /* how often there was a job to go on with … */
	unsigned unsettled; /* … and a layer that was all there and not published */
};

static unsigned long stride(unsigned long usual)
{
	const char *given = getenv("KILL_STRIDE");

	return given ? strtoul(given, NULL, 10) : usual;
}

/* A file's size in the store; negative: there is none. The name is freed. */
static off_t size_of(const struct bed *bed, char *name)
{
	_cleanup_free_ char *path = mem_printf("%s/%s", bed->store, name);
	struct stat found;

	free(name);
	return stat(path, &found) == 0 ? found.st_size : -1;
}

static bool is_published(const struct bed *bed, const char *digest)
{
	const char *hex = strchr(digest, ':') + 1;

	return size_of(bed, mem_printf("blobs/sha256/%.2s/%s", hex, hex)) >= 0;
}

static bool is_all_there(const struct bed *bed, const char *digest)
{
	return size_of(bed, mem_printf("partial/sha256-%s", strchr(digest, ':') + 1)) == LAYER_SIZE;
}

/* Until it is killed at this call. False: the job was done before it came to that. */
static bool run_to(struct bed *bed, unsigned long call)
{
	const struct fault fault = {.at = call, .kind = "kill"};
	struct larder *larder = bed_start(bed->wire, bed->upstream, &fault, (const char *[]){"-c", bed->config, NULL});
	bool done = larder_wait_output(larder, DONE, DONE_MS);
	int status;

	process_finish(larder, WIRE_WAIT_MS, &status);
	process_free(larder);
	return !done;
}

/* The job goes on by itself, to its end, and fetches nothing that was published. */
static void expect_resumed(struct bed *bed, struct larder *larder, const bool published[BLOBS])
{
	json_t *job = job_wait(larder, "1", "done");
	struct pull_result result = {0};

	assert_int_equal(json_number_at(job, "images.done"), 1);
	assert_int_equal(json_number_at(job, "layers.done"), BLOBS);
	json_decref(job);
	for (size_t i = 0; i < BLOBS; i++) {
		_cleanup_free_ char *path = mem_printf("*/blobs/%s", bed->digests[i]);

		if (published[i])
			expect_count(bed->upstream, "GET", path, 0);
	}
	scripted_clear_log(bed->upstream);
	bed_pull(bed_port(larder), "v0", &result);
	assert_int_equal(result.right, 1 + BLOBS);
	expect_count(bed->upstream, "GET", NULL, 0);
	bed->resumed++;
}

/* The next larder has no schedule: whatever it does, it goes on with. */
static void go_on(struct bed *bed)
{
	bool published[BLOBS];
	struct larder *larder;
	json_t *jobs;
	int status;

	for (size_t i = 0; i < BLOBS; i++) {
		published[i] = is_published(bed, bed->digests[i]);
		bed->unsettled += !published[i] && is_all_there(bed, bed->digests[i]);
	}
	scripted_clear_log(bed->upstream);
	larder = bed_start(bed->wire, bed->upstream, NULL, (const char *[]){"--admin", "127.0.0.1:0", NULL});
	assert_int_not_equal(bed_port(larder), 0);
	jobs = admin_json(larder, "GET", "/api/v1/jobs", NULL, 200);
	if (json_array_size(json_object_get(jobs, "jobs")) > 0)
		expect_resumed(bed, larder, published);
	json_decref(jobs);
	assert_true(process_finish(larder, WIRE_WAIT_MS, &status));
	process_free(larder);
}

WIRE_TEST(job_killed_at_any_call_on_the_store_goes_on_and_fetches_nothing_that_was_published)
{
	struct bed bed = {.wire = wire, .upstream = wire_upstream(wire, NULL), .store = wire_path(wire, "store")};
	struct scripted_image_options options = {.layers = LAYERS, .layer_size = LAYER_SIZE, .seed = 7};
	unsigned long call = 1, step = stride(4);
	struct scripted_image image;

	scripted_add_image(bed.upstream, "team/app", "v0", &options, &image);
	bed.digests[0] = image.config;
	for (size_t i = 0; i < LAYERS; i++)
		bed.digests[1 + i] = image.layer[i];
	bed.config = wire_write_file(wire, "schedule.yaml", "prefetch: [ { images: [ 'team/app:v0' ] } ]\n");
	for (; run_to(&bed, call); call += step) {
		go_on(&bed);
		if (!store_is_sound(bed.store))
			fail_msg("killed at call %lu: the store is not sound", call);
		bed_remove(bed.store);
	}
	print_message("%lu calls, each %luth: %u jobs resumed, %u layers were all there and not published\n", call,
		      step, bed.resumed, bed.unsettled);
	assert_true(bed.resumed > 0);
	assert_true(bed.unsettled > 0);
	free(bed.store);
	free(bed.config);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(job_killed_at_any_call_on_the_store_goes_on_and_fetches_nothing_that_was_published),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
