/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a wire test stands on. Each test gets a `struct wire` of its own: a temporary directory, scripted upstreams, and
 * larder processes, all of which end with the test. A test is written as
 *
 *	WIRE_TEST(blob_is_fetched_once)
 *	{
 *		struct scripted *upstream = wire_upstream(wire, NULL);
 *		…
 *	}
 *	int main(void)
 *	{
 *		const struct CMUnitTest tests[] = {WIRE_CASE(blob_is_fetched_once)};
 *		return cmocka_run_group_tests(tests, NULL, NULL);
 *	}
 *
 * At the end of a test each larder still running is stopped and must exit with status 0; one that ended by a signal the
 *test did not send, or with a sanitizer's report, fails the test; and a failed test prints what its larders wrote.
 * Functions that cannot do what they say fail the test. They belong to the test's own thread.
 */
#pragma once

#include "tests/wire/client.h"
#include "tests/wire/scripted.h"
#include "tests/wire/scripted_log.h"
#include "tests/wire/scripted_rule.h"
#include "tests/wire/scripted_tls.h"

/* cmocka asks for these in front of it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WIRE_UPSTREAMS_MAX 8
#define WIRE_LARDERS_MAX   8
#define WIRE_ARGUMENTS_MAX 64
#define WIRE_WAIT_MS       10000 /* for what should happen at once: generous, as machines stall */

struct wire {
	char directory[64];
	bool passed;
	struct scripted *upstreams[WIRE_UPSTREAMS_MAX];
	size_t upstream_count;
	struct larder *larders[WIRE_LARDERS_MAX];
	size_t larder_count;
	struct scripted_tls *tls;
};

#define WIRE_TEST(name)                                                                                                \
	static void name##_body(struct wire *wire);                                                                    \
	static void name(void **state)                                                                                 \
	{                                                                                                              \
		name##_body(*state);                                                                                   \
		((struct wire *)*state)->passed = true;                                                                \
	}                                                                                                              \
	static void name##_body(struct wire *wire)
#define WIRE_CASE(name) cmocka_unit_test_setup_teardown(name, wire_setup, wire_teardown)

int wire_setup(void **state);
int wire_teardown(void **state);

/* A scripted upstream that listens on one plain port of 127.0.0.1, without HTTP/2. */
struct scripted *wire_upstream(struct wire *wire, const struct scripted_options *options);
/* One that listens on no port yet; see wire_listen(). */
struct scripted *wire_upstream_bare(struct wire *wire, const struct scripted_options *options);
/* scripted_listen() that fails the test when it fails; returns the listener. */
int wire_listen(struct scripted *upstream, const struct scripted_listen *listen);
/* The test's certificates, made at the first call; see scripted_tls_ca(). */
const struct scripted_tls *wire_tls(struct wire *wire);
/* "DIRECTORY/NAME", for the caller to free. */
char *wire_path(const struct wire *wire, const char *name);
/* Writes a file in the test's directory; returns its path, for the caller to free. */
char *wire_write_file(const struct wire *wire, const char *name, const char *text);

struct larder;

struct larder_options {
	const char *upstream;         /* --upstream NAME=URL, the default one; NULL: none */
	const char *config;           /* text of a configuration file; NULL: none */
	const char *store;            /* a name inside the test's directory; NULL: "store" */
	const char *listen;           /* NULL: 127.0.0.1:0 */
	const char *const *arguments; /* more of them, ended by NULL */
	unsigned listeners;           /* how many "listening on" lines to wait for; 0: 1 */
	const char *program;          /* instead of the larder under test */
};

/* Starts `larder serve` and waits until it listens. */
struct larder *wire_larder(struct wire *wire, const struct larder_options *options);
/* larder_options for the usual case: `name` means this upstream's first listener. */
struct larder *wire_larder_for(struct wire *wire, struct scripted *upstream, const char *name);
/* Runs `larder` with the `given` arguments (ended by NULL) to its end, and returns its exit status; `output`, unless
 * NULL, gets what it wrote on both streams, for the caller to free. */
int wire_run(struct wire *wire, const char *const *given, char **output);

uint16_t larder_port(const struct larder *larder);
/* The n-th "listening on" line's address, "127.0.0.1:4711", from 0 on. Borrowed until the larder is restarted. */
const char *larder_address(const struct larder *larder, unsigned nth);
pid_t larder_pid(const struct larder *larder);
/* Resident memory now, and the most there ever was, in bytes. */
uint64_t larder_rss(const struct larder *larder);
uint64_t larder_rss_peak(const struct larder *larder);

/* SIGTERM; it must exit with status 0 within 30 s. */
void larder_stop(struct larder *larder);
/* SIGKILL. */
void larder_kill(struct larder *larder);
void larder_signal(struct larder *larder, int signal);
/* Waits for it to end by itself, and returns its exit status; ending by a signal fails the test. */
int larder_wait(struct larder *larder, unsigned deadline_ms);
/* Starts it again, after larder_stop(), larder_kill() or larder_wait(), with the options it had: same store, maybe
 * another port. */
void larder_restart(struct larder *larder);

/* Whether this text has been written, on either stream, since it was (re)started; waits up to `deadline_ms`. */
bool larder_wait_output(struct larder *larder, const char *text, unsigned deadline_ms);
/* All it wrote so far on stdout (1) or stderr (2), over restarts too, for the caller to free. */
char *larder_output(struct larder *larder, int stream);

/* GET from a larder; as client_get(). */
bool larder_get(const struct larder *larder, const char *target, struct client_reply *reply);
