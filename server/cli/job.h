/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long work of a larder: started, followed to its end, and summed up in one line. How far it is is shown meanwhile
 * (progress.h), or with --json each event as it comes, an object a line.
 */
#pragma once

#include "server/cli/admin_session.h"

#include <stdbool.h>
#include <stdio.h>

/* Starts a job by a POST of `request` and follows it to its end, unless --detach is given; SIGINT cancels it, as
 * whoever waits for it started it. Returns an exit status: EXIT_DONE when all of it was done, else what was not has
 * been said. */
int job_run(const struct command_line *line, const char *target, const json_t *request);

/* Follows one that runs. SIGINT leaves it running. Returns as above. */
int job_watch(const struct command_line *line, const struct admin_session *session, const char *id);

/* Follows one to its end, which whoever waits started: SIGINT cancels it. How far it is is shown on `out`; NULL:
 * nowhere. EXIT_DONE when it came to an end, whatever that was: `*job` is what it looked like then, the caller's. */
int job_follow(const struct admin_session *session, FILE *out, const char *id, json_t **job);

/* The job's number or name in a document, as it is written in a path; "" when there is none. The caller frees. */
char *job_id(const json_t *object, const char *member);

/* What came of a job that is over, or would have, in a line at the end (job_summary.c). */
void job_print_summary(const json_t *job);
