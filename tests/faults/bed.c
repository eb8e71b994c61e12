/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/faults/bed.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "tests/wire/harness_process.h"

#include <ftw.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define ARGUMENTS_MAX 24
#define STOP_MS       10000

static void expect_digest(const struct client_reply *reply, const char *digest, struct pull_result *result)
{
	if (reply->status != 200 || !reply->complete)
		result->refused++;
	else if (digest && strcmp(reply->digest, digest) != 0)
		result->wrong++;
	else
		result->right++;
}

/* Every digest that the manifest names, one after the other: config and layers. */
static void pull_blobs(uint16_t port, const char *manifest, struct pull_result *result)
{
	static const char key[] = "\"digest\":\"";
	const char *at = manifest;

	while ((at = strstr(at, key))) {
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		_cleanup_free_ char *digest = NULL, *target = NULL;

		at += strlen(key);
		digest = mem_strndup(at, strcspn(at, "\""));
		target = mem_printf("/v2/team/app/blobs/%s", digest);
		client_get(port, target, &reply);
		expect_digest(&reply, digest, result);
	}
}

void bed_pull(uint16_t port, const char *tag, struct pull_result *result)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *target = mem_printf("/v2/team/app/manifests/%s", tag);
	_cleanup_free_ char *digest = NULL;

	client_get(port, target, &reply);
	digest = reply.head ? client_reply_header(&reply, "Docker-Content-Digest") : NULL;
	expect_digest(&reply, digest, result);
	if (reply.status == 200 && reply.complete)
		pull_blobs(port, reply.body, result);
}

static void set_environment(const char *store, const struct fault *fault, const char *count)
{
	char at[32];

	snprintf(at, sizeof(at), "%lu", fault->at);
	setenv("FAULT_BELOW", store, 1);
	setenv("FAULT_AT", at, 1);
	setenv("FAULT_KIND", fault->kind ? fault->kind : "EIO", 1);
	setenv("FAULT_LASTS", fault->lasts ? "1" : "0", 1);
	setenv("FAULT_COUNT", count, 1);
	if (fault->during)
		setenv("FAULT_WHILE", fault->during, 1);
	if (fault->trace)
		setenv("FAULT_TRACE", fault->trace, 1);
	if (fault->unreadable)
		setenv("FAULT_UNREADABLE", fault->unreadable, 1);
	setenv("LD_PRELOAD", PRELOAD_LIBRARY, 1);
}

static void clear_environment(void)
{
	static const char *const names[] = {"FAULT_BELOW",      "FAULT_AT",    "FAULT_KIND",
					    "FAULT_LASTS",      "FAULT_COUNT", "FAULT_TRACE",
					    "FAULT_UNREADABLE", "FAULT_WHILE", "LD_PRELOAD"};

	for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
		unsetenv(names[i]);
}

static unsigned long read_count(const char *path)
{
	FILE *file = fopen(path, "r");
	unsigned long count = 0;

	if (!file)
		return 0;
	if (fscanf(file, "%lu", &count) != 1)
		count = 0;
	fclose(file);
	return count;
}

uint16_t bed_port(struct larder *larder)
{
	_cleanup_free_ char *log = NULL;
	const char *at;

	if (!larder_wait_output(larder, "listening on 127.0.0.1:", WIRE_WAIT_MS))
		return 0;
	log = larder_output(larder, 2);
	at = strstr(log, "listening on 127.0.0.1:");
	return (uint16_t)strtoul(at + strlen("listening on 127.0.0.1:"), NULL, 10);
}

struct larder *bed_start(struct wire *wire, struct scripted *upstream, const struct fault *fault,
			 const char *const *arguments)
{
	_cleanup_free_ char *store = wire_path(wire, "store");
	_cleanup_free_ char *count = wire_path(wire, "count");
	_cleanup_free_ char *url = mem_printf("registry.test=%s", scripted_url(upstream, 0));
	const char *all[ARGUMENTS_MAX] = {LARDER_BINARY, "serve",   "--listen", "127.0.0.1:0", "--admin",
					  "off",         "--store", store,      "--upstream",  url};
	size_t used = 10;
	struct larder *larder;

	while (arguments && *arguments && used < ARGUMENTS_MAX - 1)
		all[used++] = *arguments++;
	larder = process_new(all, 0);
	if (fault)
		set_environment(store, fault, count);
	process_start(larder);
	clear_environment();
	return larder;
}

void bed_run(struct wire *wire, struct scripted *upstream, const struct fault *fault, const char *const *tags,
	     const char *const *arguments, struct faulted *faulted)
{
	_cleanup_free_ char *count = wire_path(wire, "count");
	struct larder *larder = bed_start(wire, upstream, fault, arguments);
	uint16_t port = bed_port(larder);

	*faulted = (struct faulted){.listened = port != 0};
	for (; port && *tags; tags++)
		bed_pull(port, *tags, &faulted->pull);
	faulted->hung = !process_finish(larder, STOP_MS, &faulted->status);
	faulted->calls = read_count(count);
	faulted->log = larder_output(larder, 2);
	process_free(larder);
}

void bed_add_images(struct scripted *upstream, unsigned count, uint64_t layer_size)
{
	for (unsigned i = 0; i < count; i++) {
		struct scripted_image_options options = {.layers = 2, .layer_size = layer_size, .seed = 100 + i};
		struct scripted_image image;
		char tag[16];

		snprintf(tag, sizeof(tag), "v%u", i);
		scripted_add_image(upstream, "team/app", tag, &options, &image);
	}
}

static void *pull_at_random(void *arg)
{
	struct traffic *traffic = arg;
	unsigned seed = traffic->seed * BED_PULLERS + atomic_fetch_add(&traffic->started, 1);

	while (!atomic_load(&traffic->ended)) {
		struct pull_result result = {0};
		char tag[16];

		snprintf(tag, sizeof(tag), "v%u", (unsigned)rand_r(&seed) % traffic->images);
		bed_pull(traffic->port, tag, &result);
		if (result.right == 0)
			usleep(1000); /* it is gone */
		atomic_fetch_add(&traffic->right, result.right);
		atomic_fetch_add(&traffic->refused, result.refused);
		atomic_fetch_add(&traffic->wrong, result.wrong);
	}
	return NULL;
}

void bed_start_traffic(struct traffic *traffic)
{
	for (unsigned i = 0; i < BED_PULLERS; i++)
		assert_int_equal(pthread_create(&traffic->threads[i], NULL, pull_at_random, traffic), 0);
}

void bed_stop_traffic(struct traffic *traffic)
{
	atomic_store(&traffic->ended, true);
	for (unsigned i = 0; i < BED_PULLERS; i++)
		pthread_join(traffic->threads[i], NULL);
}

static int remove_entry(const char *path, const struct stat *found, int flag, struct FTW *place)
{
	(void)found;
	(void)flag;
	(void)place;
	return remove(path);
}

void bed_remove(const char *path)
{
	nftw(path, remove_entry, 16, FTW_DEPTH | FTW_PHYS);
}
