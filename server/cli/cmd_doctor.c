/* SPDX-License-Identifier: Apache-2.0 */
/* `larder doctor`: how clients are told of this larder, and whether it answers them. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/ref.h"
#include "base/units.h"
#include "server/cli/command.h"
#include "server/cli/config.h"
#include "server/cli/doctor.h"
#include "server/cli/show.h"
#include "server/cli/text_file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define TEST_IMAGE "docker.io/library/hello-world:latest"

/* A wildcard is an address to listen on, not one to be reached at. */
static char *reachable(const char *listen)
{
	const char *colon = strrchr(listen, ':');

	if (strncmp(listen, "0.0.0.0:", 8) == 0 || strncmp(listen, "[::]:", 5) == 0 || colon == listen)
		return mem_printf("127.0.0.1%s", colon);
	return mem_strdup(listen);
}

static bool wants(const struct command_line *line, const char *client)
{
	for (int i = 0; i < line->argument_count; i++)
		if (strcmp(line->arguments[i], client) == 0)
			return true;
	return line->argument_count == 0;
}

static char *snippet_of(const struct doctor_client *client, const struct doctor_place *place)
{
	char *text = NULL;
	size_t len = 0;
	FILE *out = open_memstream(&text, &len);

	client->print(place, out);
	fclose(out);
	return text;
}

/* The file, and what beside it the client needs. */
static void show_client(const struct doctor_client *client, const struct doctor_place *place, const char *text)
{
	printf("# %s: %s%s%s\n", client->name, client->path, client->then ? ", then: " : "",
	       client->then ? client->then : "");
	if (place->tls && place->ca && client->authorities)
		printf("# and: install -D -m 644 %s %s/%s/ca.crt\n", place->ca, client->authorities, place->address);
	if (place->config->access.htpasswd)
		printf("# login: %s\n", client->login);
	printf("%s\n", text);
}

static json_t *show_clients(const struct command_line *line, const struct doctor_place *place, bool json)
{
	json_t *clients = json_array();

	for (const struct doctor_client *client = doctor_clients; client->name; client++) {
		bool of_use = !client->hub_only || strcmp(place->config->default_upstream, "docker.io") == 0;
		_cleanup_free_ char *text = NULL;

		if (!wants(line, client->name))
			continue;
		if (!of_use) {
			if (!json)
				printf("# %s: of no use here: it asks mirrors for docker.io alone, and names no "
				       "upstream; default_upstream is %s\n\n",
				       client->name, place->config->default_upstream);
			continue;
		}
		text = snippet_of(client, place);
		json_array_append_new(clients, json_pack("{s:s, s:s, s:s}", "client", client->name, "path",
							 client->path, "content", text));
		if (json)
			continue;
		show_client(client, place, text);
	}
	return clients;
}

/* The image that is pulled. */
struct target {
	struct ref ref;
	const char *upstream;
	char *repository; /* ours */
};

static int read_target(const char *image, const struct config *config, struct target *target, struct err *err)
{
	const char *rest;
	_cleanup_free_ char *host = NULL;

	if (ref_parse(image, &target->ref, err))
		return ERR_INVALID;
	host = mem_strndup(target->ref.name, target->ref.host_len);
	rest = target->ref.host_len ? target->ref.name + target->ref.host_len + 1 : target->ref.name;
	if (target->ref.host_len && !config_find_upstream(config, host))
		return err_set(err, ERR_INVALID, "%s is no upstream of this configuration", host);
	target->upstream = target->ref.host_len ? config_find_upstream(config, host)->name : config->default_upstream;
	target->repository = mem_printf(
		"%s%s", strcmp(target->upstream, "docker.io") == 0 && !strchr(rest, '/') ? "library/" : "", rest);
	return 0;
}

/* Returns whether the way works. */
static bool try_way(const struct doctor_place *place, const struct doctor_way *way, const struct target *target,
		    json_t *tests, bool json)
{
	struct doctor_finding found = {0};
	struct err err = {0};
	uint64_t began_ms = clock_ms();
	char size[UNITS_TEXT_MAX], plain[SHOW_TEXT_MAX];
	int code = doctor_pull(place, way, target->upstream, target->repository, ref_reference(&target->ref), &found,
			       &err);

	json_array_append_new(tests, json_pack("{s:s, s:s, s:b, s:i, s:i, s:I, s:s}", "clients", way->clients, "how",
					       way->how, "ok", code == 0, "requests", (int)found.requests, "hits",
					       (int)found.hits, "bytes", (json_int_t)found.bytes, "error", err.text));
	if (json)
		return code == 0;
	if (code == 0)
		printf("ok      %s (%s): %u requests, %u from the store, %s in %.2f s\n", way->clients, way->how,
		       found.requests, found.hits, units_format_size(found.bytes, size),
		       (double)(clock_ms() - began_ms) / 1000);
	else
		printf("failed  %s (%s): %s\n", way->clients, way->how, show_plain(err.text, plain));
	return code == 0;
}

static int test_ways(const struct doctor_place *place, const struct target *target, json_t *tests, bool json)
{
	int status = EXIT_DONE;

	for (const struct doctor_way *way = doctor_ways; way->clients; way++) {
		if (way->default_only && strcmp(target->upstream, place->config->default_upstream) != 0) {
			if (!json)
				printf("-       %s (%s): asks for %s alone\n", way->clients, way->how,
				       place->config->default_upstream);
			continue;
		}
		if (!try_way(place, way, target, tests, json))
			status = EXIT_SOME_FAILED;
	}
	return status;
}

static int run(const struct command_line *line, const struct doctor_place *place)
{
	bool json = command_has(line, "json"), test = command_has(line, "test");
	const char *image = command_value(line, "image") ? command_value(line, "image") : TEST_IMAGE;
	json_t *clients, *tests = json_array();
	struct target target = {0};
	struct err err = {0};
	int status = EXIT_DONE;

	if (test && read_target(image, place->config, &target, &err)) {
		json_decref(tests);
		return command_usage_error("doctor", "%s", err.text);
	}
	clients = test && line->argument_count == 0 && !json ? json_array() : show_clients(line, place, json);
	if (test)
		status = test_ways(place, &target, tests, json);
	if (json) {
		json_t *document =
			json_pack("{s:s, s:O, s:O}", "address", place->address, "clients", clients, "tests", tests);

		show_json(document);
		json_decref(document);
	}
	json_decref(clients);
	json_decref(tests);
	free(target.repository);
	return status;
}

static bool is_client(const char *name)
{
	for (const struct doctor_client *client = doctor_clients; client->name; client++)
		if (strcmp(client->name, name) == 0)
			return true;
	return false;
}

int cmd_doctor(const struct command_line *line)
{
	const char *path = command_value(line, "config") ? command_value(line, "config") : config_default_path();
	_cleanup_free_ char *address = NULL;
	struct config *config;
	struct err err = {0};
	int status;

	for (int i = 0; i < line->argument_count; i++)
		if (!is_client(line->arguments[i]))
			return command_usage_error("doctor",
						   "there is no client '%s'; docker, containerd, podman and "
						   "buildkit are known",
						   line->arguments[i]);
	if (!path) {
		config = config_default();
	} else if (config_read(path, &config, &err)) {
		fprintf(stderr, "larder: %s\n", err.text);
		return EXIT_CONFIG;
	}
	address =
		command_value(line, "at") ? mem_strdup(command_value(line, "at")) : reachable(config->listen.items[0]);
	status = run(line, &(struct doctor_place){.address = address,
						  .tls = config->tls.cert || command_has(line, "tls"),
						  .ca = command_value(line, "ca"),
						  .credentials = command_value(line, "user"),
						  .config = config});
	config_free(config);
	return status == EXIT_DONE ? command_finish_output() : status;
}
