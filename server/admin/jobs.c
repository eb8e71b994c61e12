/* SPDX-License-Identifier: Apache-2.0 */
/* Starting jobs, watching and ending them. */
#include "server/admin/admin_internal.h"

#include "base/cleanup.h"

#include <string.h>

void admin_start_job(struct admin_visit *visit, const char *kind, json_t *request)
{
	char id[JOB_ID_MAX];
	struct err err = {0};
	int code = jobs_start(visit->admin->jobs, kind, request, visit->client, id, &err);

	if (code == ERR_LIMIT)
		admin_reply_error(visit, 503, "busy", err.text);
	else if (code)
		admin_reply_error(visit, 503, "stopping", err.text);
	else
		admin_reply_json(visit, 202, json_pack("{s:s}", "job", id));
}

void admin_start_prefetch(struct admin_visit *visit)
{
	json_t *request = admin_body(visit);
	struct err err = {0};

	if (!request)
		return;
	if (prefetch_check(&visit->admin->prefetch, request, &err)) {
		admin_reply_err(visit, &err);
		json_decref(request);
		return;
	}
	admin_start_job(visit, "prefetch", request);
}

void admin_list_jobs(struct admin_visit *visit)
{
	admin_reply_json(visit, 200, json_pack("{s:o}", "jobs", jobs_list(visit->admin->jobs)));
}

/* Events. */

static uint64_t job_version(struct admin *admin, const char *name, bool *last)
{
	return jobs_version(admin->jobs, name, last);
}

static json_t *job_describe(struct admin *admin, const char *name)
{
	return jobs_describe(admin->jobs, name, JOB_PROGRESS);
}

static void reply_no_job(struct admin_visit *visit, const char *id)
{
	_cleanup_free_ char *message = mem_printf("there is no job %.40s", id);

	admin_reply_error(visit, 404, "not_found", message);
}

void admin_show_job(struct admin_visit *visit)
{
	json_t *job = jobs_describe(visit->admin->jobs, visit->rest, JOB_WHOLE);

	if (job)
		admin_reply_json(visit, 200, job);
	else
		reply_no_job(visit, visit->rest);
}

void admin_follow_job(struct admin_visit *visit)
{
	static const struct event_topic topic = {.version = job_version, .describe = job_describe, .event = "job"};

	if (jobs_version(visit->admin->jobs, visit->rest, NULL))
		events_reply(visit, &topic, visit->rest);
	else
		reply_no_job(visit, visit->rest);
}

void admin_cancel_job(struct admin_visit *visit)
{
	struct err err;

	if (jobs_cancel(visit->admin->jobs, visit->rest, &err))
		reply_no_job(visit, visit->rest);
	else
		admin_reply_json(visit, 200, jobs_describe(visit->admin->jobs, visit->rest, JOB_WHOLE));
}
