/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/serve_access.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "server/access/access.h"
#include "server/cli/config.h"
#include "server/cli/sandbox.h"
#include "server/cli/text_file.h"
#include "store/store.h"

#include <stdlib.h>
#include <string.h>

/* Access. */

/* The same lists, in the words of server/access. The caller frees the array alone. */
static struct access_list *lists_of(const struct config_lists *lists)
{
	struct access_list *copies = mem_alloc((lists->count + 1) * sizeof(*copies));

	for (size_t i = 0; i < lists->count; i++)
		copies[i] = (struct access_list){.name = lists->items[i].name,
						 .items = (const char *const *)lists->items[i].list.items,
						 .count = lists->items[i].list.count};
	return copies;
}

int serve_access(const struct config *config, struct access **access, struct err *err)
{
	char *text = config->access.htpasswd ? text_file_read(config->access.htpasswd, err) : NULL;
	_cleanup_free_ struct access_list *rules = lists_of(&config->access.rules);
	_cleanup_free_ struct access_list *groups = lists_of(&config->access.groups);
	const struct access_options options = {
		.htpasswd = text,
		.source = config->access.htpasswd,
		.anonymous = (const char *const *)config->access.anonymous.items,
		.anonymous_count = config->access.anonymous.count,
		.rules = rules,
		.rule_count = config->access.rules.count,
		.groups = groups,
		.group_count = config->access.groups.count,
	};
	int code = 0;

	if (!config->access.htpasswd)
		return 0;
	if (!text)
		return err->code;
	code = *access ? access_reload(*access, &options, err) : access_new(&options, access, err);
	text_file_free(text);
	return code;
}

/* The sandbox. */

#define PATHS_MAX 4096

struct paths {
	char *items[PATHS_MAX];
	size_t count;
};

static void add_path(struct paths *paths, char *path)
{
	if (path && paths->count < PATHS_MAX)
		paths->items[paths->count++] = path;
	else
		free(path);
}

/* The folder of a file: what is renamed into the file's place is then found too. */
static void add_folder(struct paths *paths, const char *file)
{
	const char *slash = file ? strrchr(file, '/') : NULL;

	if (slash)
		add_path(paths, slash == file ? mem_strdup("/") : mem_strndup(file, (size_t)(slash - file)));
	else if (file)
		add_path(paths, mem_strdup("."));
}

static void add_socket_folder(struct paths *paths, const char *listen)
{
	if (strncmp(listen, "unix:", 5) == 0)
		add_folder(paths, listen + 5);
}

static void free_paths(struct paths *paths)
{
	for (size_t i = 0; i < paths->count; i++)
		free(paths->items[i]);
	free(paths);
}

static void collect(const struct config *config, struct paths *readable, struct paths *writable, bool *runs_programs)
{
	add_path(writable, mem_strdup(config->store.path));
	add_socket_folder(writable, config->admin.listen);
	for (size_t i = 0; i < config->listen.count; i++)
		add_socket_folder(writable, config->listen.items[i]);
	add_path(readable, mem_strdup(getenv("CREDENTIALS_DIRECTORY")));
	add_folder(readable, config->tls.cert);
	add_folder(readable, config->tls.key);
	add_folder(readable, config->tls.client_ca);
	add_folder(readable, config->admin.token_file);
	add_folder(readable, config->access.htpasswd);
	add_folder(readable, config->import.verify_key);
	for (size_t i = 0; i < config->upstream_count; i++) {
		const struct config_upstream *upstream = &config->upstreams[i];

		add_folder(readable, upstream->password_file);
		add_folder(readable, upstream->ca);
		add_folder(readable, upstream->client_cert);
		add_folder(readable, upstream->client_key);
		*runs_programs = *runs_programs || upstream->docker_config;
	}
}

int serve_sandbox(const struct config *config, const char *config_path, struct err *err)
{
	struct paths *readable, *writable;
	bool runs_programs = false;
	int code = config->sandbox ? store_make_directory(config->store.path, err) : 0;

	if (code || !config->sandbox)
		return code;
	readable = mem_alloc(sizeof(*readable));
	writable = mem_alloc(sizeof(*writable));
	add_folder(readable, config_path);
	collect(config, readable, writable, &runs_programs);
	code = sandbox_enter(&(struct sandbox_options){.writable = (const char *const *)writable->items,
						       .writable_count = writable->count,
						       .readable = (const char *const *)readable->items,
						       .readable_count = readable->count,
						       .runs_programs = runs_programs},
			     err);
	free_paths(readable);
	free_paths(writable);
	return code;
}
