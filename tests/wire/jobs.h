/* SPDX-License-Identifier: Apache-2.0 */
/* Jobs of a larder, started and waited for over its admin API. Failures fail the test. */
#pragma once

#include "tests/wire/admin.h"
#include "tests/wire/expect.h"

#include <jansson.h>

/* Asks with a JSON body (NULL: none); the answer's document, NULL when it has none, for the caller to free. */
json_t *admin_json(struct larder *larder, const char *method, const char *target, const char *body, int status);
/* POST, which must be answered 202; the job's id, for the caller to free. */
char *job_start(struct larder *larder, const char *target, const char *body);
/* Waits until the job is in this state; its description, for the caller to free. */
json_t *job_wait(struct larder *larder, const char *id, const char *state);
/* Both: a job that must end so. */
json_t *job_run(struct larder *larder, const char *target, const char *body, const char *state);
/* "images.done" of a document: a number. */
uint64_t json_number_at(const json_t *json, const char *path);
