/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/progress.h"

#include "base/cleanup.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define MIB 1048576

static json_t *job(int images_done, int layers_done, json_int_t fetched)
{
	return json_pack("{s:s, s:{s:i, s:i, s:i}, s:{s:i, s:i}, s:{s:I, s:I, s:I}}", "state", "running", "images",
			 "total", 50, "done", images_done, "failed", 1, "layers", "total", 180, "done", layers_done,
			 "bytes", "total", (json_int_t)100 * MIB, "fetched", fetched, "held", (json_int_t)20 * MIB);
}

static void show(struct progress *progress, int images_done, int layers_done, json_int_t fetched)
{
	json_t *document = job(images_done, layers_done, fetched);

	progress_show(progress, document);
	json_decref(document);
}

static void plain_lines_come_when_an_image_is_done(void **state)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct progress *progress = progress_new(out, false);

	(void)state;
	show(progress, 2, 40, 30 * MIB);
	show(progress, 2, 41, 31 * MIB); /* at once, and no image more */
	show(progress, 3, 42, 32 * MIB);
	progress_free(progress);
	fclose(out);
	assert_string_equal(text, "[3/50] images, 1 failed, [40/180] layers, 50MiB of 100MiB\n"
				  "[4/50] images, 1 failed, [42/180] layers, 52MiB of 100MiB\n");
	free(text);
}

/* The first line that is drawn when these are being fetched. */
static void expect_first_line(const char *columns, json_t *active, const char *line)
{
	char *text = NULL;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct progress *progress = progress_new(out, true);
	json_t *document = job(2, 40, 0);

	json_object_set_new(document, "active", active);
	setenv("COLUMNS", columns, 1);
	progress_show(progress, document);
	unsetenv("COLUMNS");
	json_decref(document);
	progress_free(progress);
	fclose(out);
	*strchr(text, '\n') = '\0';
	assert_string_equal(text, line);
	free(text);
}

static void terminal_names_the_images_that_are_fetched_as_far_as_there_is_room(void **state)
{
	static const char one[] = "docker.io/library/alpine:3.20", two[] = "quay.io/org/app:1.2";

	(void)state;
	expect_first_line("80", json_array(), "[3/50] images, 1 failed");
	expect_first_line("80", json_pack("[s, s]", one, two),
			  "[3/50] images, 1 failed: docker.io/library/alpine:3.20, quay.io/org/app:1.2");
	/* 75 columns and the cursor's own would be needed. */
	expect_first_line("75", json_pack("[s, s]", one, two),
			  "[3/50] images, 1 failed: docker.io/library/alpine:3.20, +1");
	expect_first_line("70", json_pack("[s, s, s]", one, two, two),
			  "[3/50] images, 1 failed: docker.io/library/alpine:3.20, +2");
	expect_first_line("40", json_pack("[s, s]", one, two), "[3/50] images, 1 failed");
	expect_first_line("80", json_pack("[s]", "a\033[2Jb"), "[3/50] images, 1 failed: a?[2Jb");
}

static void terminal_shows_two_lines_that_fit_and_are_drawn_again_and_cleared(void **state)
{
	static const char clear[] = "\033[2A\r\033[J";
	char *text = NULL, *first, *second;
	size_t len;
	FILE *out = open_memstream(&text, &len);
	struct progress *progress = progress_new(out, true);

	(void)state;
	setenv("COLUMNS", "24", 1);
	show(progress, 2, 40, 0);
	/* The rate is known when a second has passed. */
	nanosleep(&(struct timespec){.tv_sec = 1, .tv_nsec = 50000000}, NULL);
	setenv("COLUMNS", "80", 1);
	show(progress, 2, 41, 10 * MIB);
	progress_free(progress);
	unsetenv("COLUMNS");
	fclose(out);
	first = strstr(text, clear);
	second = strstr(first + 1, clear);
	assert_int_equal(strncmp(text, "[3/50] images, 1 failed\n[40/180] layers, 20MiB \n", (size_t)(first - text)),
			 0);
	assert_non_null(strstr(first, "[41/180] layers, 30MiB of 100MiB, "));
	assert_non_null(strstr(first, "MiB/s, "));
	assert_non_null(strstr(first, "s left\n"));
	assert_string_equal(second, clear);
	free(text);
}

/* Of another tool's archive, through a pipe, nothing but its bytes is known. */
static void an_archive_shows_what_is_known_of_it(void **state)
{
	static const struct {
		const char *json, *line;
	} cases[] = {
		{"{\"kind\":\"archive\",\"bytes\":{\"fetched\":1048576}}", "1MiB\n"},
		{"{\"kind\":\"archive\",\"bytes\":{\"total\":4194304,\"fetched\":1048576}}", "1MiB of 4MiB\n"},
		{"{\"kind\":\"archive\",\"images\":{\"total\":2},\"layers\":{\"total\":9,\"done\":3},"
		 "\"bytes\":{\"total\":4194304,\"fetched\":1048576}}",
		 "[0/2] images, [3/9] blobs, 1MiB of 4MiB\n"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		char *text = NULL;
		size_t len;
		FILE *out = open_memstream(&text, &len);
		struct progress *progress = progress_new(out, false);
		json_t *document = json_loads(cases[i].json, 0, NULL);

		progress_show(progress, document);
		json_decref(document);
		progress_free(progress);
		fclose(out);
		assert_string_equal(text, cases[i].line);
		free(text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(plain_lines_come_when_an_image_is_done),
		cmocka_unit_test(terminal_names_the_images_that_are_fetched_as_far_as_there_is_room),
		cmocka_unit_test(an_archive_shows_what_is_known_of_it),
		cmocka_unit_test(terminal_shows_two_lines_that_fit_and_are_drawn_again_and_cleared),
	};
	return cmocka_run_group_tests_name("progress", tests, NULL, NULL);
}
