/* SPDX-License-Identifier: Apache-2.0 */
/* `larder prefetch REF…`: has images fetched ahead of use, and follows how it goes. */
#include "base/cleanup.h"
#include "server/cli/command.h"
#include "server/cli/job.h"
#include "server/cli/list_file.h"

#include <stdio.h>

#define PARALLEL_MAX 64

/* What is no UTF-8 text is said. */
static int append(json_t *array, const char *const *texts, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (json_array_append_new(array, json_string(texts[i])))
			return command_usage_error("prefetch", "an argument is no UTF-8 text");
	return EXIT_DONE;
}

/* All that is to be fetched: arguments and lists. */
static int take_references(const struct command_line *line, json_t *images)
{
	size_t count;
	_cleanup_free_ const char **lists = command_values(line, "file", &count);
	struct err err;
	int status = append(images, (const char *const *)line->arguments, (size_t)line->argument_count);

	for (size_t i = 0; status == EXIT_DONE && i < count; i++) {
		if (list_file_read(lists[i], images, &err) == 0)
			continue;
		fprintf(stderr, "larder prefetch: %s\n", err.text);
		return EXIT_SOME_FAILED;
	}
	if (status == EXIT_DONE && json_array_size(images) == 0)
		status = command_usage_error("prefetch", "%s", count ? "the list names nothing" : line->command->wants);
	return status;
}

static int take_number(const struct command_line *line, const char *option, const char *member, json_t *request)
{
	unsigned number = 0;
	int status = command_number(line, option, 1, PARALLEL_MAX, &number);

	if (number)
		json_object_set_new(request, member, json_integer(number));
	return status;
}

static int make_request(const struct command_line *line, json_t *request)
{
	json_t *images = json_array(), *platforms = json_array();
	size_t count;
	_cleanup_free_ const char **values = command_values(line, "platform", &count);
	int status;

	json_object_set_new(request, "images", images);
	json_object_set_new(request, "platforms", platforms);
	if (command_value(line, "pin"))
		json_object_set_new(request, "pin", json_string(command_value(line, "pin")));
	json_object_set_new(request, "referrers", json_boolean(!command_has(line, "no-referrers")));
	json_object_set_new(request, "dry_run", json_boolean(command_has(line, "dry-run")));
	status = append(platforms, values, count);
	if (status == EXIT_DONE)
		status = take_references(line, images);
	if (status == EXIT_DONE)
		status = take_number(line, "images", "image_parallel", request);
	return status == EXIT_DONE ? take_number(line, "layers", "layer_parallel", request) : status;
}

int cmd_prefetch(const struct command_line *line)
{
	json_t *request = json_object();
	int status = make_request(line, request);

	if (status == EXIT_DONE)
		status = job_run(line, "/api/v1/prefetch", request);
	json_decref(request);
	return status;
}
