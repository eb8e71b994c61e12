/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/harness.h"

#include "tests/wire/harness_process.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <ftw.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int remove_entry(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
	(void)stat;
	(void)type;
	(void)walk;
	return remove(path);
}

int wire_setup(void **state)
{
	struct wire *wire = mem_alloc(sizeof(*wire));
	strcpy(wire->directory, "/tmp/larder-wire-XXXXXX");
	if (!mkdtemp(wire->directory)) {
		perror(wire->directory);
		free(wire);
		return -1;
	}
	*state = wire;
	return 0;
}

int wire_teardown(void **state)
{
	struct wire *wire = *state;
	bool well = true;
	for (size_t i = 0; i < wire->larder_count; i++)
		well &= process_end(wire->larders[i]);
	for (size_t i = 0; i < wire->larder_count && !(wire->passed && well); i++)
		process_print(wire->larders[i]);
	for (size_t i = 0; i < wire->larder_count; i++)
		process_free(wire->larders[i]);
	for (size_t i = 0; i < wire->upstream_count; i++)
		scripted_free(wire->upstreams[i]);
	scripted_tls_free(wire->tls);
	nftw(wire->directory, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
	free(wire);
	return well ? 0 : -1;
}

struct scripted *wire_upstream_bare(struct wire *wire, const struct scripted_options *options)
{
	struct err err = {0};
	assert_true(wire->upstream_count < WIRE_UPSTREAMS_MAX);
	struct scripted *upstream = scripted_new(options, &err);
	if (!upstream)
		fail_msg("%s", err.text);
	wire->upstreams[wire->upstream_count++] = upstream;
	return upstream;
}

struct scripted *wire_upstream(struct wire *wire, const struct scripted_options *options)
{
	struct scripted *upstream = wire_upstream_bare(wire, options);
	wire_listen(upstream, NULL);
	return upstream;
}

int wire_listen(struct scripted *upstream, const struct scripted_listen *listen)
{
	struct err err = {0};
	int listener = scripted_listen(upstream, listen, &err);
	if (listener < 0)
		fail_msg("%s", err.text);
	return listener;
}

const struct scripted_tls *wire_tls(struct wire *wire)
{
	struct err err = {0};
	if (!wire->tls)
		wire->tls = scripted_tls_new(wire->directory, &err);
	if (!wire->tls)
		fail_msg("%s", err.text);
	return wire->tls;
}

char *wire_path(const struct wire *wire, const char *name)
{
	return mem_printf("%s/%s", wire->directory, name);
}

char *wire_write_file(const struct wire *wire, const char *name, const char *text)
{
	char *path = wire_path(wire, name);
	FILE *file = fopen(path, "w");
	assert_non_null(file);
	assert_int_equal(fwrite(text, 1, strlen(text), file), strlen(text));
	assert_int_equal(fclose(file), 0);
	return path;
}

static const char *program(const struct larder_options *options)
{
	const char *binary = getenv("LARDER_BINARY");
	if (options && options->program)
		return options->program;
	return binary ? binary : LARDER_BINARY;
}

struct larder *wire_larder(struct wire *wire, const struct larder_options *options)
{
	const char *arguments[WIRE_ARGUMENTS_MAX] = {program(options), "serve", "--listen",
						     options->listen ? options->listen : "127.0.0.1:0",
						     /* the default address is one, and tests are many */
						     "--admin", "off", "--store"};
	_cleanup_free_ char *store = wire_path(wire, options->store ? options->store : "store");
	_cleanup_free_ char *name = mem_printf("larder-%zu.yaml", wire->larder_count);
	_cleanup_free_ char *config = options->config ? wire_write_file(wire, name, options->config) : NULL;
	size_t count = 7;
	arguments[count++] = store;
	if (options->upstream) {
		arguments[count++] = "--upstream";
		arguments[count++] = options->upstream;
	}
	if (config) {
		arguments[count++] = "-c";
		arguments[count++] = config;
	}
	for (size_t i = 0; options->arguments && options->arguments[i]; i++) {
		assert_true(count < WIRE_ARGUMENTS_MAX - 1);
		arguments[count++] = options->arguments[i];
	}
	assert_true(wire->larder_count < WIRE_LARDERS_MAX);
	struct larder *larder = process_new(arguments, options->listeners ? options->listeners : 1);
	wire->larders[wire->larder_count++] = larder;
	process_start(larder);
	return larder;
}

struct larder *wire_larder_for(struct wire *wire, struct scripted *upstream, const char *name)
{
	_cleanup_free_ char *url = mem_printf("%s=%s", name, scripted_url(upstream, 0));
	struct larder_options options = {.upstream = url};
	return wire_larder(wire, &options);
}

int wire_run(struct wire *wire, const char *const *given, char **output)
{
	const char *arguments[WIRE_ARGUMENTS_MAX] = {program(NULL)};
	for (size_t i = 0; given[i]; i++) {
		assert_true(i + 2 < WIRE_ARGUMENTS_MAX);
		arguments[i + 1] = given[i];
	}
	assert_true(wire->larder_count < WIRE_LARDERS_MAX);
	struct larder *larder = process_new(arguments, 0);
	wire->larders[wire->larder_count++] = larder;
	process_start(larder);
	int status = larder_wait(larder, WIRE_WAIT_MS);
	if (output) {
		_cleanup_free_ char *out = larder_output(larder, 1);
		_cleanup_free_ char *err = larder_output(larder, 2);
		*output = mem_printf("%s%s", out, err);
	}
	return status;
}

bool larder_get(const struct larder *larder, const char *target, struct client_reply *reply)
{
	return client_get(larder_port(larder), target, reply);
}
