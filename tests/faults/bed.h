/* SPDX-License-Identifier: Apache-2.0 */
/* Larders that meet faults: each with the preloaded library, one image pulled through it, and a look at how it went. */
#pragma once

#include "tests/wire/harness.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct fault {
	unsigned long at; /* the call's number; 0: none */
	const char *kind; /* as preload.c's FAULT_KIND */
	bool lasts;
	const char *during;     /* a file: all calls fail as long as it is there; NULL: none */
	const char *trace;      /* a file to write the trace to; NULL: none */
	const char *unreadable; /* as preload.c's FAULT_UNREADABLE; NULL: none */
};

/* How one client fared with everything that it asked for. */
struct pull_result {
	unsigned right;   /* whole answers with the right bytes */
	unsigned refused; /* an error, or an answer cut short */
	unsigned wrong;   /* whole answers with other bytes: never */
};

struct faulted {
	int status;          /* as waitpid() says */
	bool listened;       /* it came that far */
	bool hung;           /* it did not end when told to */
	unsigned long calls; /* so many watched calls were made */
	struct pull_result pull;
	char *log;
};

/* Runs a larder on the store "store" of the test's directory, pulls the images `tags` ("v1", …; ended by NULL) once,
 * and stops it. faulted->log is the caller's to free. */
void bed_run(struct wire *wire, struct scripted *upstream, const struct fault *fault, const char *const *tags,
	     const char *const *arguments, struct faulted *faulted);

/* Starts a larder as bed_run() does, without waiting for it. To be ended with process_finish() or larder_kill(), and
 * freed with process_free(). `fault` may be NULL. */
struct larder *bed_start(struct wire *wire, struct scripted *upstream, const struct fault *fault,
			 const char *const *arguments);
/* Waits for the port that it listens on; 0: it ended before. */
uint16_t bed_port(struct larder *larder);

/* Adds images "v0", "v1", … with two layers of so many bytes each to the repository. */
void bed_add_images(struct scripted *upstream, unsigned count, uint64_t layer_size);

/* Clients that pull images of those at random, until they are stopped. */
#define BED_PULLERS 3
struct traffic {
	uint16_t port;
	unsigned images, seed;
	atomic_bool ended;
	atomic_uint started, right, refused, wrong;
	pthread_t threads[BED_PULLERS];
};
void bed_start_traffic(struct traffic *traffic);
void bed_stop_traffic(struct traffic *traffic);

/* Pulls an image as clients do: manifest, then what it names. */
void bed_pull(uint16_t port, const char *tag, struct pull_result *result);

/* Removes a folder and all that is in it. */
void bed_remove(const char *path);
