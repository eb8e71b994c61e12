/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/local.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "server/admin/admin.h"
#include "server/cli/command.h"
#include "server/cli/config.h"
#include "server/cli/larder.h"
#include "server/http/http.h"
#include "server/pull/pull.h"
#include "store/index.h"
#include "store/store.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define THREADS         2
#define CONNECTIONS_MAX 16

struct local {
	struct config *config;
	struct larder larder;
	struct http_server *http;
	char *url;
};

/* Where the socket is, for the signal's handler: one local larder a process. */
static char directory[PATH_MAX], socket_path[PATH_MAX + 16];

static void remove_socket(void)
{
	unlink(socket_path);
	rmdir(directory);
}

/* The store bears to be left like this, as it bears kill -9; what lies outside of it is cleared away. */
static void on_signal(int signal_number)
{
	remove_socket();
	signal(signal_number, SIG_DFL);
	raise(signal_number);
}

static void catch_signals(void)
{
	static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
	struct sigaction action = {.sa_handler = on_signal};

	for (size_t i = 0; i < sizeof(signals) / sizeof(signals[0]); i++)
		sigaction(signals[i], &action, NULL);
	signal(SIGPIPE, SIG_IGN);
}

static int make_directory(struct err *err)
{
	const char *parent = getenv("TMPDIR");

	snprintf(directory, sizeof(directory), "%s/larder-XXXXXX", parent && *parent ? parent : "/tmp");
	if (!mkdtemp(directory))
		return err_set_errno(err, ERR_IO, errno, "cannot make %s", directory);
	snprintf(socket_path, sizeof(socket_path), "%s/admin", directory);
	return 0;
}

static int read_config(const char *store, const struct command *command, struct config **config, struct err *err)
{
	const char *path = config_default_path();

	if (!path)
		*config = config_default();
	else if (config_read(path, config, err))
		return EXIT_CONFIG;
	if (config_set(*config, "store.path", &store, 1, err))
		return EXIT_USAGE;
	(*config)->offline = true;
	free((*config)->admin.token_file); /* nobody else reaches the socket */
	(*config)->admin.token_file = NULL;
	if (!command->bounded)
		(*config)->store.max_size = (*config)->store.min_free = 0;
	return EXIT_DONE;
}

/* Who looks for something makes no store: a mistyped path must not become an empty one. */
static int check_store(const char *path, struct err *err)
{
	_cleanup_free_ char *version = mem_printf("%s/VERSION", path);

	if (access(version, F_OK) == 0)
		return EXIT_DONE;
	if (errno == ENOENT || errno == ENOTDIR)
		err_set(err, ERR_NOT_FOUND, "%s is no larder store", path);
	else
		err_set_errno(err, ERR_IO, errno, "cannot open the store %s", path);
	return EXIT_SOME_FAILED;
}

/* The store may be another box's: what it holds is there, whether or not the configuration names its upstreams. */
static int add_upstreams(struct local *local, struct err *err)
{
	struct index *index = store_index(local->larder.store);
	char after[REF_UPSTREAM_MAX + 1] = "", name[REF_UPSTREAM_MAX + 1];
	int code;

	while ((code = index_next_upstream(index, after, name, err)) == 0) {
		_cleanup_free_ char *argument = mem_printf("%s=https://%s", name, name);

		strcpy(after, name);
		if (!config_find_upstream(local->config, name))
			config_set_upstream(local->config, argument, false,
					    NULL); /* what is no name, nobody asks for */
	}
	return code == ERR_NOT_FOUND ? EXIT_DONE : EXIT_SOME_FAILED;
}

static int start_http(struct local *local, struct err *err)
{
	struct http_options options = {
		.listen_count = 1,
		.threads = THREADS,
		.limits.connections = CONNECTIONS_MAX,
		.handler = admin_handler(local->larder.admin),
	};

	if (make_directory(err))
		return EXIT_SOME_FAILED;
	catch_signals();
	local->url = mem_printf("unix:%s", socket_path);
	options.listen = (const char *const *)&local->url;
	if (http_start(&options, &local->http, err))
		return EXIT_SOME_FAILED;
	admin_set_phase(local->larder.admin, ADMIN_SERVING);
	return EXIT_DONE;
}

int local_start(const char *store, const struct command *command, struct local **out)
{
	struct local *local = mem_alloc(sizeof(*local));
	struct err err = {0};
	int status = read_config(store, command, &local->config, &err);

	log_start(LOG_WARN, LOG_TEXT);
	if (status == EXIT_DONE && !command->makes_store)
		status = check_store(local->config->store.path, &err);
	if (status == EXIT_DONE)
		status = larder_open(&local->larder, local->config, &err);
	if (status == EXIT_DONE)
		status = add_upstreams(local, &err);
	if (status == EXIT_DONE)
		status = larder_start(&local->larder, local->config, &err);
	if (status == EXIT_DONE)
		status = start_http(local, &err);
	if (status != EXIT_DONE) {
		local_stop(local);
		fprintf(stderr, "larder: %s\n", err.text);
		local = NULL;
	}
	*out = local;
	return status;
}

const char *local_url(const struct local *local)
{
	return local->url;
}

void local_stop(struct local *local)
{
	if (!local)
		return;
	if (local->larder.admin)
		admin_stop(local->larder.admin);
	if (local->larder.pull)
		pull_close(local->larder.pull);
	if (local->http)
		http_stop(local->http, 0, admin_close, local->larder.admin);
	larder_close(&local->larder);
	if (local->url)
		remove_socket();
	log_stop();
	config_free(local->config);
	free(local->url);
	free(local);
}
