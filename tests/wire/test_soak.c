/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Everything at once, for a while: pulls, ranges, heads and logins, prefetch, jobs and garbage collection, with an
 * upstream that cuts, stalls, refuses and lies by turns, and a configuration that changes under it. Larder must answer
 * sensibly, never send a wrong byte, and end well; what a sanitizer sees besides fails the test (harness.h).
 * LARDER_SOAK_SECONDS says for how long.
 */
#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define IMAGES  24
#define LAYERS  2
#define PULLERS 6
#define ADMINS  2
#define CONFIG                                                                                                         \
	"default_upstream: up.test\n"                                                                                  \
	"store: {path: %s/store, max_size: 6MiB, min_free: 0}\n"                                                       \
	"upstreams:\n"                                                                                                 \
	"  up.test: {url: \"%s\", retries: %u, tag_ttl: %us, missing_ttl: 0s, connect_timeout: 1s, idle_timeout: "     \
	"1s}\n"                                                                                                        \
	"  own.test: {url: \"%s\", retries: 1, auth: client, auth_ttl: 200ms, auth_grace: %us}\n"

struct soak {
	struct wire *wire;
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image images[IMAGES];
	uint16_t port, admin;
	uint64_t end_ms;
	unsigned whole, cut, wrong, jobs; /* atomic */
};

/* A thread's own randomness: the same in every run. */
static unsigned next_random(unsigned *state)
{
	*state = *state * 1103515245 + 12345;
	return *state >> 16;
}

static void count(unsigned *counter)
{
	__atomic_add_fetch(counter, 1, __ATOMIC_RELAXED);
}

struct worker {
	pthread_t thread;
	struct soak *soak;
	unsigned random;
};

/* A whole answer to a GET by digest is right, or it is none. */
static void note(struct soak *soak, const struct client_reply *reply, const char *digest)
{
	if (reply->status == 200 && reply->complete && digest && strcmp(reply->digest, digest) != 0)
		count(&soak->wrong);
	count(reply->complete ? &soak->whole : &soak->cut);
}

static void pull_something(struct worker *worker)
{
	static const char *const logins[] = {"", "Authorization: Basic YWxpY2U6b3BlbnNlc2FtZQ==\r\n",
					     "Authorization: Basic Ym9iOmJ1aWxkZXI=\r\n"};
	struct soak *soak = worker->soak;
	unsigned nth = next_random(&worker->random) % IMAGES, kind = next_random(&worker->random) % 8;
	const struct scripted_image *image = &soak->images[nth];
	const char *upstream = next_random(&worker->random) % 4 ? "up.test" : "own.test";
	const char *login = logins[next_random(&worker->random) % 3], *digest = NULL;
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	_cleanup_free_ char *target = NULL, *headers = NULL;
	struct client_request request = {.port = soak->port, .deadline_ms = 60000, .keep = 1};

	headers = mem_printf("%s%s", login, kind == 2 ? "Range: bytes=100-5000,70000-\r\n" : "");
	if (kind < 4) {
		const char *layer = image->layer[kind % LAYERS];

		target = mem_printf("/v2/%s/r%u/app/blobs/%s", upstream, nth, layer);
		digest = kind == 2 || kind == 3 ? NULL : layer;
	} else if (kind < 6) {
		target = mem_printf("/v2/%s/r%u/app/manifests/1", upstream, nth);
		digest = image->manifest;
	} else {
		target = mem_printf(kind == 6 ? "/v2/%s/r%u/app/tags/list" : "/v2/%s/r%u/app/manifests/none", upstream,
				    nth);
	}
	request.method = kind == 3 ? "HEAD" : "GET";
	request.target = target;
	request.headers = headers;
	request.leave_after = next_random(&worker->random) % 8 == 0 ? 1000 : 0;
	client_fetch(&request, &reply);
	note(soak, &reply, digest);
}

static void *pull_on(void *arg)
{
	struct worker *worker = arg;

	while (clock_ms() < worker->soak->end_ms)
		pull_something(worker);
	return NULL;
}

static void *administer(void *arg)
{
	static const struct {
		const char *method, *target, *body;
	} calls[] = {
		{"GET", "/metrics", NULL},
		{"GET", "/api/v1/status", NULL},
		{"GET", "/api/v1/images", NULL},
		{"GET", "/api/v1/explain?ref=up.test/r1/app:1", NULL},
		{"POST", "/api/v1/prefetch",
		 "{\"images\":[\"up.test/r2/app:1\",\"up.test/r3/app:1\"],\"pin\":\"some\"}"},
		{"POST", "/api/v1/gc", "{}"},
		{"POST", "/api/v1/verify", "{}"},
		{"DELETE", "/api/v1/images?ref=up.test/r4/app:1", NULL},
		{"DELETE", "/api/v1/pins/some", NULL},
		{"GET", "/api/v1/jobs", NULL},
	};
	struct worker *worker = arg;

	while (clock_ms() < worker->soak->end_ms) {
		unsigned nth = next_random(&worker->random) % (sizeof(calls) / sizeof(calls[0]));
		_cleanup_(client_reply_dispose) struct client_reply reply = {0};
		struct client_request request = {.port = worker->soak->admin,
						 .method = calls[nth].method,
						 .target = calls[nth].target,
						 .headers =
							 calls[nth].body ? "Content-Type: application/json\r\n" : NULL,
						 .body = calls[nth].body,
						 .body_len = calls[nth].body ? strlen(calls[nth].body) : 0};

		if (!client_fetch(&request, &reply))
			count(&worker->soak->wrong);
		if (reply.status == 202)
			count(&worker->soak->jobs);
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	}
	return NULL;
}

static void write_config(struct soak *soak, unsigned version)
{
	const char *url = scripted_url(soak->upstream, 0);
	_cleanup_free_ char *text =
		mem_printf(CONFIG, soak->wire->directory, url, version % 3, version % 2, url, version % 5);

	free(wire_write_file(soak->wire, "soak.yaml", text));
}

/* Another mood of the upstream: what it does wrong, to one of so many requests. */
static void change_mood(struct soak *soak, unsigned turn)
{
	static const struct scripted_rule moods[] = {
		{.path = "*/blobs/*", .cut = SCRIPTED_CUT_FIN, .cut_at = 20000},
		{.path = "*/manifests/*", .status = 503},
		{.path = "*/blobs/*", .status = 429},
		{.path = "*/blobs/*", .flip = true, .flip_at = 77},
		{.path = "*/blobs/*", .stall = true, .stall_at = 1000, .stall_ms = 1500},
		{.path = "*", .status = 401},
		{.path = "*/blobs/*", .ignore_range = true, .etag = "\"other\""},
		{.path = "*", .delay_ms = 100},
	};

	scripted_remove_rule(soak->upstream, 0);
	if (turn % 2 == 0)
		scripted_add_rule(soak->upstream, &moods[turn / 2 % (sizeof(moods) / sizeof(moods[0]))]);
	scripted_set_state(soak->upstream, 0, turn % 13 == 12 ? SCRIPTED_DOWN : SCRIPTED_UP, turn % 7 == 6);
}

static void soak_on(struct soak *soak)
{
	struct worker workers[PULLERS + ADMINS];
	unsigned turn = 0;

	for (unsigned i = 0; i < PULLERS + ADMINS; i++) {
		workers[i] = (struct worker){.soak = soak, .random = i + 1};
		pthread_create(&workers[i].thread, NULL, i < PULLERS ? pull_on : administer, &workers[i]);
	}
	while (clock_ms() < soak->end_ms) {
		change_mood(soak, turn++);
		if (turn % 2 == 0) {
			write_config(soak, turn);
			larder_signal(soak->larder, SIGHUP);
		}
		nanosleep(&(struct timespec){.tv_nsec = 400000000}, NULL);
	}
	scripted_remove_rule(soak->upstream, 0);
	scripted_set_state(soak->upstream, 0, SCRIPTED_UP, false);
	for (unsigned i = 0; i < PULLERS + ADMINS; i++)
		pthread_join(workers[i].thread, NULL);
}

WIRE_TEST(all_at_once_ends_well)
{
	const char *seconds = getenv("LARDER_SOAK_SECONDS");
	struct soak soak = {.wire = wire, .upstream = wire_upstream(wire, NULL)};
	_cleanup_free_ char *path = wire_path(wire, "soak.yaml");
	const char *arguments[] = {"-c", path, "--admin", "127.0.0.1:0", NULL};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	for (unsigned i = 0; i < IMAGES; i++) {
		struct scripted_image_options options = {.layers = LAYERS, .layer_size = 200000, .seed = 10 * i};
		_cleanup_free_ char *repository = mem_printf("r%u/app", i);

		scripted_add_image(soak.upstream, repository, "1", &options, &soak.images[i]);
	}
	write_config(&soak, 0);
	soak.larder = wire_larder(wire, &(struct larder_options){.arguments = arguments});
	soak.port = larder_port(soak.larder);
	soak.admin = admin_port(soak.larder);
	soak.end_ms = clock_ms() + 1000 * strtoull(seconds ? seconds : "8", NULL, 10);
	soak_on(&soak);
	print_message("%u whole answers, %u cut, %u jobs\n", soak.whole, soak.cut, soak.jobs);
	assert_int_equal(soak.wrong, 0);
	assert_true(soak.whole > 100 && soak.jobs > 0);

	/* And it still serves. */
	ask(soak.larder, NULL, NULL, &reply, "/v2/up.test/r0/app/manifests/1");
	expect_content(&reply, soak.images[0].manifest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {WIRE_CASE(all_at_once_ends_well)};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
