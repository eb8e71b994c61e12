/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/jobs.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"

#include <string.h>
#include <time.h>

#define JOB_WAIT_MS 60000

json_t *admin_json(struct larder *larder, const char *method, const char *target, const char *body, int status)
{
	struct client_request request = {.port = admin_port(larder),
					 .method = method,
					 .target = target,
					 .body = body,
					 .body_len = body ? strlen(body) : 0};
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};

	if (!client_fetch(&request, &reply))
		fail_msg("%s: no answer: %s", target, reply.error);
	if (reply.status != status)
		fail_msg("%s: %d instead of %d: %s", target, reply.status, status, reply.body);
	return json_loads(reply.body, 0, NULL);
}

char *job_start(struct larder *larder, const char *target, const char *body)
{
	json_t *answer = admin_json(larder, "POST", target, body, 202);
	char *id = mem_strdup(json_string_value(json_object_get(answer, "job")));

	json_decref(answer);
	assert_non_null(id);
	return id;
}

json_t *job_wait(struct larder *larder, const char *id, const char *state)
{
	_cleanup_free_ char *target = mem_printf("/api/v1/jobs/%s", id), *shown = NULL;
	uint64_t deadline = clock_ms() + JOB_WAIT_MS;

	for (;;) {
		json_t *job = admin_json(larder, "GET", target, NULL, 200);
		const char *now = json_string_value(json_object_get(job, "state"));

		if (now && strcmp(now, state) == 0)
			return job;
		if (!now || clock_ms() > deadline || (strcmp(now, "queued") != 0 && strcmp(now, "running") != 0)) {
			shown = json_dumps(job, JSON_INDENT(1));
			fail_msg("the job is not %s: %s", state, shown);
		}
		json_decref(job);
		nanosleep(&(struct timespec){.tv_nsec = 5000000}, NULL);
	}
}

json_t *job_run(struct larder *larder, const char *target, const char *body, const char *state)
{
	_cleanup_free_ char *id = job_start(larder, target, body);

	return job_wait(larder, id, state);
}

uint64_t json_number_at(const json_t *json, const char *path)
{
	_cleanup_free_ char *keys = mem_strdup(path);
	char *rest = NULL;

	for (char *key = strtok_r(keys, ".", &rest); key; key = strtok_r(NULL, ".", &rest))
		json = json_object_get(json, key);
	if (!json_is_number(json))
		fail_msg("there is no number at %s", path);
	return (uint64_t)json_number_value(json);
}
