/* SPDX-License-Identifier: Apache-2.0 */
/* What `larder doctor` says: how clients are told of a larder, and whether it answers as they ask. */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stdio.h>

struct config;

/* A larder as clients reach it. */
struct doctor_place {
	const char *address; /* "HOST:PORT" */
	bool tls;
	const char *ca;          /* a file that its certificate is checked with; NULL: the system's authorities */
	const char *credentials; /* "USER:PASSWORD"; NULL: none */
	const struct config *config;
};

/* A client, and the file that tells it of larder. */
struct doctor_client {
	const char *name; /* "docker" */
	const char *path; /* "/etc/docker/daemon.json" */
	const char *then; /* what to do once the file is there; NULL: nothing */
	/* Where it looks for the authority of larder's certificate, below a folder HOST:PORT; NULL: the file names it.
	 */
	const char *authorities;
	const char *login; /* how it shows a name and password to larder */
	bool hub_only;     /* it asks for docker.io, and names no upstream: that must be the default one */
	void (*print)(const struct doctor_place *place, FILE *out);
};

extern const struct doctor_client doctor_clients[]; /* ended by one without a name */

/* A way of asking that some clients have. */
struct doctor_way {
	const char *clients; /* "containerd" */
	const char *how;     /* "/v2/REPOSITORY?ns=UPSTREAM" */
	bool default_only;   /* it can ask for the default upstream alone */
	/* The path of a thing ("manifests/1.0") of a repository. The caller frees. */
	char *(*path)(const char *upstream, const char *repository, const char *thing);
};

extern const struct doctor_way doctor_ways[]; /* ended by one without clients */

struct doctor_finding {
	unsigned requests, hits;
	unsigned long long bytes;
};

/* Pulls one platform of an image as that way of asking has it: its manifests, its configuration and its smallest layer,
 * each checked against its digest. Errors say what a client would have met, and what to do. */
int doctor_pull(const struct doctor_place *place, const struct doctor_way *way, const char *upstream,
		const char *repository, const char *reference, struct doctor_finding *finding, struct err *err);
