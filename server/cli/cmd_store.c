/* SPDX-License-Identifier: Apache-2.0 */
/* `larder gc` and `larder verify`: the store is brought under its limits, and read again. */
#include "server/cli/command.h"
#include "server/cli/job.h"

int cmd_gc(const struct command_line *line)
{
	json_t *request = json_pack("{s:b}", "dry_run", command_has(line, "dry-run"));
	int status = job_run(line, "/api/v1/gc", request);

	json_decref(request);
	return status;
}

int cmd_verify(const struct command_line *line)
{
	json_t *request = json_pack("{s:b}", "heal", command_has(line, "heal"));
	int status;

	if (command_has(line, "heal") && command_has(line, "store"))
		status = command_usage_error("verify", "--heal fetches anew, and needs a running larder");
	else
		status = job_run(line, "/api/v1/verify", request);
	json_decref(request);
	return status;
}
