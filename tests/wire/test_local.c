/* SPDX-License-Identifier: Apache-2.0 */
/* Commands with --store: a larder in the command's own process, on a store that no other holds. */
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "store/index.h"
#include "store/store.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

/* A store that holds team/app:1 of registry.test, whose larder still runs. */
static struct larder *fill_store(struct wire *wire, struct scripted_image *image)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	struct scripted *upstream = wire_upstream(wire, NULL);
	scripted_add_image(upstream, "team/app", "1", &(struct scripted_image_options){0}, image);
	struct larder *larder = wire_larder_for(wire, upstream, "docker.io");
	_cleanup_free_ char *manifest = mem_printf("/v2/team/app/manifests/%s", image->manifest);
	assert_true(ask(larder, NULL, NULL, &reply, "/v2/team/app/manifests/1"));
	expect_hit_soon(larder, manifest);
	return larder;
}

static size_t count_entries(const char *path)
{
	DIR *directory = opendir(path);
	size_t count = 0;
	assert_non_null(directory);
	while (readdir(directory))
		count++;
	closedir(directory);
	return count - 2;
}

static char *run_on_store(struct wire *wire, const char *store, const char *reference, int expected)
{
	_cleanup_free_ char *path = wire_path(wire, store);
	char *said = NULL;
	int status = wire_run(wire, (const char *[]){"explain", reference, "--store", path, NULL}, &said);
	if (status != expected)
		fail_msg("exit status %d, not %d:\n%s", status, expected, said);
	return said;
}

WIRE_TEST(command_works_on_a_store_without_a_larder_and_leaves_nothing_behind)
{
	struct scripted_image image;
	struct larder *larder = fill_store(wire, &image);
	_cleanup_free_ char *temporary = wire_path(wire, "tmp");
	assert_int_equal(mkdir(temporary, 0700), 0);
	assert_int_equal(setenv("TMPDIR", temporary, 1), 0);
	larder_stop(larder);
	_cleanup_free_ char *said = run_on_store(wire, "store", "team/app:1", 0);
	assert_int_equal(unsetenv("TMPDIR"), 0);
	assert_non_null(strstr(said, image.manifest));
	assert_non_null(strstr(said, "manifest held"));
	assert_int_equal(count_entries(temporary), 0);
	larder_restart(larder);
}

WIRE_TEST(command_says_that_a_running_larder_holds_the_store)
{
	struct scripted_image image;
	fill_store(wire, &image);
	_cleanup_free_ char *path = wire_path(wire, "store");
	_cleanup_free_ char *said = run_on_store(wire, "store", "team/app:1", 5);
	assert_non_null(strstr(said, path));
}

WIRE_TEST(command_makes_no_store_where_there_is_none)
{
	_cleanup_free_ char *path = wire_path(wire, "mistyped");
	struct stat status;
	_cleanup_free_ char *said = run_on_store(wire, "mistyped", "team/app:1", 1);
	assert_non_null(strstr(said, "is no larder store"));
	assert_int_equal(stat(path, &status), -1);
}

/* Gives the manifest as many tags more. */
static void add_tags(const char *store_path, const char *manifest, unsigned count)
{
	const struct store_options options = {.path = store_path};
	struct index_tag record = {
		.size = 1, .fetched = 1, .checked = 1, .media_type = "application/vnd.oci.image.manifest.v1+json"};
	struct index_change *changes = mem_alloc(count * sizeof(*changes));
	char(*tags)[16] = mem_alloc(count * sizeof(*tags));
	struct store *store = NULL;

	assert_int_equal(digest_parse(manifest, &record.digest), 0);
	for (unsigned i = 0; i < count; i++) {
		snprintf(tags[i], sizeof(tags[i]), "t%05u", i);
		changes[i] = (struct index_change){.kind = INDEX_PUT_TAG,
						   .repository = {"docker.io", i % 2 ? "team/odd" : "team/even"},
						   .tag = tags[i],
						   .tag_record = &record};
	}
	assert_int_equal(store_open(&options, &store, NULL), 0);
	assert_int_equal(index_write(store_index(store), changes, count, NULL), 0);
	store_close(store);
	free(tags);
	free(changes);
}

static size_t count_lines(const char *text)
{
	size_t lines = 0;

	for (; *text; text++)
		lines += *text == '\n';
	return lines;
}

WIRE_TEST(ls_lists_more_images_than_one_answer_has)
{
	struct scripted_image image;
	struct larder *larder = fill_store(wire, &image);
	_cleanup_free_ char *path = wire_path(wire, "store"), *said = NULL, *json = NULL;

	larder_stop(larder);
	add_tags(path, image.manifest, 10500);
	assert_int_equal(wire_run(wire, (const char *[]){"ls", "--quiet", "--store", path, NULL}, &said), 0);
	assert_int_equal(count_lines(said), 10501);
	assert_non_null(strstr(said, "docker.io/team/app:1\ndocker.io/team/even:t00000\n"));
	assert_non_null(strstr(said, "docker.io/team/even:t10498\ndocker.io/team/odd:t00001\n"));
	assert_int_equal(wire_run(wire, (const char *[]){"ls", "--json", "team/odd:t1*", "--store", path, NULL}, &json),
			 0);
	json_t *document = json_loads(json, 0, NULL);
	assert_int_equal(json_array_size(json_object_get(document, "images")), 250);
	json_decref(document);
	larder_restart(larder);
}

WIRE_TEST(command_refuses_a_store_and_an_address_at_once)
{
	const char *given[] = {"explain", "a", "--store", "/nowhere", "--admin", "127.0.0.1:1", NULL};
	_cleanup_free_ char *said = NULL;
	assert_int_equal(wire_run(wire, given, &said), 2);
	assert_non_null(strstr(said, "--store goes without --admin"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WIRE_CASE(command_works_on_a_store_without_a_larder_and_leaves_nothing_behind),
		WIRE_CASE(command_says_that_a_running_larder_holds_the_store),
		WIRE_CASE(command_makes_no_store_where_there_is_none),
		WIRE_CASE(ls_lists_more_images_than_one_answer_has),
		WIRE_CASE(command_refuses_a_store_and_an_address_at_once),
	};
	return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}
