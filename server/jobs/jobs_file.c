/* SPDX-License-Identifier: Apache-2.0 */
/* A job's file: DIRECTORY/ID.json, what the admin API shows of it. Written beside and renamed, so that it is whole or
 * the one before. */
#include "server/jobs/jobs_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define SUFFIX ".json"

static int write_file(const char *path, const char *text)
{
	_cleanup_close_ int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0640);
	size_t len = strlen(text), done = 0;

	while (fd >= 0 && done < len) {
		ssize_t put = write(fd, text + done, len - done);

		if (put < 0 && errno != EINTR)
			return -1;
		done += put > 0 ? (size_t)put : 0;
	}
	return fd < 0 ? -1 : fsync(fd);
}

void job_keep(const struct jobs *jobs, uint64_t id, const json_t *json)
{
	_cleanup_free_ char *path = NULL, *beside = NULL, *text = NULL;

	if (!jobs->directory)
		return;
	path = mem_printf("%s/%" PRIu64 SUFFIX, jobs->directory, id);
	beside = mem_printf("%s.new", path);
	text = json_dumps(json, JSON_COMPACT);
	if (!text || write_file(beside, text) || rename(beside, path)) {
		log_warn("cannot keep job %" PRIu64 ": %s: %s", id, beside, strerror(errno));
		unlink(beside);
	}
}

void job_forget(const struct jobs *jobs, uint64_t id)
{
	_cleanup_free_ char *path = jobs->directory ? mem_printf("%s/%" PRIu64 SUFFIX, jobs->directory, id) : NULL;

	if (path)
		unlink(path);
}

static int by_id(const void *left, const void *right)
{
	uint64_t a = *(const uint64_t *)left, b = *(const uint64_t *)right;

	return (a > b) - (a < b);
}

/* The ids of the files that are there; what else lies there is left alone. */
static size_t list_ids(const struct jobs *jobs, uint64_t **ids)
{
	DIR *directory = opendir(jobs->directory);
	struct dirent *entry;
	size_t count = 0;

	*ids = NULL;
	while (directory && (entry = readdir(directory))) {
		char *end;
		uint64_t id = strtoull(entry->d_name, &end, 10);

		if (id == 0 || entry->d_name[0] < '1' || entry->d_name[0] > '9' || strcmp(end, SUFFIX) != 0)
			continue;
		*ids = mem_realloc(*ids, (count + 1) * sizeof(**ids));
		(*ids)[count++] = id;
	}
	if (directory)
		closedir(directory);
	if (count)
		qsort(*ids, count, sizeof(**ids), by_id);
	return count;
}

void jobs_read(struct jobs *jobs, void (*each)(struct jobs *jobs, uint64_t id, const json_t *json))
{
	_cleanup_free_ uint64_t *ids = NULL;
	size_t count;

	if (!jobs->directory)
		return;
	if (mkdir(jobs->directory, 0750) && errno != EEXIST)
		log_warn("jobs are not kept: cannot make %s: %s", jobs->directory, strerror(errno));
	count = list_ids(jobs, &ids);
	for (size_t i = 0; i < count; i++) {
		_cleanup_free_ char *path = mem_printf("%s/%" PRIu64 SUFFIX, jobs->directory, ids[i]);
		json_t *json = json_load_file(path, 0, NULL);

		if (json_is_object(json))
			each(jobs, ids[i], json);
		else
			log_warn("passed over %s: it is no job", path);
		json_decref(json);
	}
}
