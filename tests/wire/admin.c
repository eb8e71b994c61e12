/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/admin.h"

#include "base/buf.h"
#include "base/cleanup.h"

#include <string.h>

#define ADMIN_LINE "admin API on "

struct larder *larder_with_admin(struct wire *wire, const char *admin, const char *upstream, const char *config)
{
	const char *arguments[] = {"--admin", admin, NULL};
	struct larder_options options = {.upstream = upstream ? upstream : "registry.test=http://127.0.0.1:9",
					 .config = config,
					 .arguments = arguments};
	return wire_larder(wire, &options);
}

uint16_t admin_port(struct larder *larder)
{
	/* The last line that says it: an earlier one is from before a restart. */
	_cleanup_free_ char *output = larder_output(larder, 2);
	const char *port = NULL;
	for (const char *at = output; (at = strstr(at, ADMIN_LINE)); at++)
		port = strchr(at, ':');
	if (!port)
		fail_msg("no line says where the admin API is");
	return port ? (uint16_t)strtoul(port + 1, NULL, 10) : 0;
}

void admin_ask(struct larder *larder, const char *method, const char *target, const char *headers,
	       struct client_reply *reply)
{
	struct client_request request = {
		.port = admin_port(larder), .method = method, .target = target, .headers = headers};
	client_reply_dispose(reply);
	if (!client_fetch(&request, reply))
		fail_msg("no answer: %s", reply->error);
}

char *admin_metrics(struct larder *larder)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	admin_ask(larder, NULL, "/metrics", NULL, &reply);
	assert_int_equal(reply.status, 200);
	return mem_strdup(reply.body);
}

double metric_value(const char *metrics, const char *series)
{
	size_t len = strlen(series);
	for (const char *line = metrics; *line;) {
		const char *end = strchr(line, '\n');
		assert_non_null(end);
		if (strncmp(line, series, len) == 0 && line[len] == ' ')
			return strtod(line + len, NULL);
		line = end + 1;
	}
	return 0;
}

double metric_sum(const char *metrics, const char *name, const char *part)
{
	size_t len = strlen(name);
	double sum = 0;
	for (const char *line = metrics; *line;) {
		const char *end = strchr(line, '\n');
		assert_non_null(end);
		if (strncmp(line, name, len) == 0 && (line[len] == '{' || line[len] == ' ')) {
			_cleanup_free_ char *text = mem_strndup(line, (size_t)(end - line));
			if (strstr(text, part))
				sum += strtod(strrchr(text, ' '), NULL);
		}
		line = end + 1;
	}
	return sum;
}
