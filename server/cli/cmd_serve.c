/* SPDX-License-Identifier: Apache-2.0 */
/* `larder serve`: puts the rooms together, waits for a signal, takes them apart in the other order. */
#include "server/cli/command.h"
#include "server/cli/config.h"
#include "server/cli/larder.h"
#include "server/cli/serve_access.h"
#include "server/cli/serve_config.h"
#include "server/cli/serve_tls.h"
#include "server/cli/systemd.h"
#include "server/cli/text_file.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/trim.h"
#include "server/access/access.h"
#include "server/access/crowd.h"
#include "server/admin/admin.h"
#include "server/http/http.h"
#include "server/pull/pull.h"

#include "upstream/loop.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define ADMIN_CONNECTIONS_MAX     128
#define ADMIN_THREADS             2
#define DESCRIPTORS_KEPT          256 /* for flights, upstream connections, the index and the logs */
#define DESCRIPTORS_OF_CONNECTION 2   /* its socket, and the blob that it sends */
#define PASSED_MAX                16
#define STOP_GRACE_MS             25000
#define ADMIN_GRACE_MS            1000

struct serving {
	struct config *config;
	struct larder larder;
	struct access *access; /* NULL: whoever reaches the port may pull */
	struct crowd *crowd;
	struct http_server *http;
	struct http_server *admin_http; /* NULL: none is wanted, or the default address was taken */
};

/* Putting together. */

/* As many descriptors as may be had. */
static void raise_descriptor_limit(void)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < limit.rlim_max) {
		limit.rlim_cur = limit.rlim_max < 65536 ? limit.rlim_max : 65536;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
}

/* Where few may be had, fewer connections are taken: a client that is refused one tries again, and one that is told
 * that the store fails gives up. */
static unsigned connections_max(unsigned wanted)
{
	struct rlimit limit;
	rlim_t kept;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return wanted;
	kept = limit.rlim_cur / 2 < DESCRIPTORS_KEPT ? limit.rlim_cur / 2 : DESCRIPTORS_KEPT;
	limit.rlim_cur = (limit.rlim_cur - kept) / DESCRIPTORS_OF_CONNECTION;
	return limit.rlim_cur < wanted ? (unsigned)limit.rlim_cur : wanted;
}

/* So many, or half of all. */
static unsigned each_of(unsigned each, unsigned all)
{
	return each ? each : all / 2 + all % 2;
}

static struct http_limits limits_of(const struct config *config, unsigned connections, unsigned each)
{
	return (struct http_limits){
		.connections = connections,
		.client_connections = each_of(each, connections),
		.request_timeout_ms = config->clients.request_timeout_ms,
		.client_min_rate = config->clients.min_rate,
		.client_patience_ms = config->clients.patience_ms,
	};
}

static struct http_limits client_limits(const struct config *config)
{
	return limits_of(config, connections_max(config->clients.max_connections),
			 config->clients.max_connections_each);
}

static struct http_limits admin_limits(const struct config *config)
{
	return limits_of(config, ADMIN_CONNECTIONS_MAX, 0);
}

static unsigned requests_each(const struct config *config)
{
	return each_of(config->clients.max_requests_each, connections_max(config->clients.max_connections));
}

/* Clients that are there get what may be taken now: none of their connections ends by it at once. */
static void reload_limits(struct serving *serving, const struct config *config)
{
	const struct http_limits clients = client_limits(config), admin = admin_limits(config);

	http_set_limits(serving->http, &clients);
	if (serving->admin_http)
		http_set_limits(serving->admin_http, &admin);
	crowd_set_each(serving->crowd, requests_each(config));
}

/* Sockets of the service manager's, which take the place of `listen`. */
struct passed_listeners {
	const char *names[PASSED_MAX];
	char texts[PASSED_MAX][16];
	size_t count;
};

static size_t take_passed(struct passed_listeners *passed)
{
	int fds[PASSED_MAX];

	passed->count = systemd_listeners(fds, PASSED_MAX);
	for (size_t i = 0; i < passed->count; i++) {
		snprintf(passed->texts[i], sizeof(passed->texts[i]), "fd:%d", fds[i]);
		passed->names[i] = passed->texts[i];
	}
	return passed->count;
}

static int start_http(struct serving *serving, struct err *err)
{
	struct passed_listeners passed;
	struct http_options options = {
		.listen = (const char *const *)serving->config->listen.items,
		.listen_count = serving->config->listen.count,
		.limits = client_limits(serving->config),
		.handler = registry_handler(&serving->larder.api),
	};
	_cleanup_(serve_tls_dispose) struct serve_tls tls = {0};
	int code = serve_tls_read(serving->config, &tls, err);

	serving->crowd = crowd_new(requests_each(serving->config));
	serving->larder.api.crowd = serving->crowd;
	serving->larder.api.access = serving->access;
	options.tls_cert = tls.cert;
	options.tls_key = tls.key;
	options.tls_client_ca = tls.client_ca;
	serving->larder.api.tls = tls.cert != NULL;

	if (take_passed(&passed) > 0) {
		options.listen = passed.names;
		options.listen_count = passed.count;
	}
	if (code == 0)
		code = http_start(&options, &serving->http, err);
	if (code == 0)
		admin_set_phase(serving->larder.admin, ADMIN_SERVING);
	for (size_t i = 0; code == 0 && i < options.listen_count; i++)
		log_info("listening on %s", http_address(serving->http, i));
	return code;
}

/* The default address may be another larder's, and who did not ask for it does without. */
static int start_admin(struct serving *serving, struct err *err)
{
	const struct config *config = serving->config;
	const char *listen = config->admin.listen;
	struct http_options options = {
		.listen = &listen,
		.listen_count = 1,
		.option = "--admin",
		.threads = ADMIN_THREADS,
		.limits = admin_limits(config),
		.handler = admin_handler(serving->larder.admin),
	};
	int code;

	if (strcmp(listen, "off") == 0)
		return 0;
	code = http_start(&options, &serving->admin_http, err);
	if (code == 0)
		log_info("admin API on %s", http_address(serving->admin_http, 0));
	if (code == ERR_BUSY && !config->admin.listen_given) {
		log_warn("no admin API: %s is in use by another program; choose another address with --admin", listen);
		return 0;
	}
	return code;
}

static void resume_jobs(struct serving *serving)
{
	const struct config *config = serving->config;
	_cleanup_free_ char *directory = mem_printf("%s/jobs", config->store.path);
	struct admin_scheduled *schedule = mem_alloc((config->prefetch_count + 1) * sizeof(*schedule));

	for (size_t i = 0; i < config->prefetch_count; i++) {
		const struct config_prefetch *prefetch = &config->prefetches[i];

		schedule[i] = (struct admin_scheduled){
			.every_ms = prefetch->every_ms,
			.images = (const char *const *)prefetch->images.items,
			.image_count = prefetch->images.count,
			.platforms = (const char *const *)prefetch->platforms.items,
			.platform_count = prefetch->platforms.count,
			.pin = prefetch->pin,
			.referrers = prefetch->referrers,
		};
	}
	admin_resume(serving->larder.admin, directory, schedule, config->prefetch_count);
	free(schedule);
}

static int start(struct serving *serving, struct err *err)
{
	int status;

	raise_descriptor_limit();
	if (serve_access(serving->config, &serving->access, err))
		return EXIT_CONFIG;
	status = larder_open(&serving->larder, serving->config, err);
	if (status == EXIT_DONE)
		status = larder_start(&serving->larder, serving->config, err);
	/* Whoever asks finds the jobs that were there. */
	if (status == EXIT_DONE)
		resume_jobs(serving);
	if (status == EXIT_DONE && (start_admin(serving, err) || start_http(serving, err) ||
				    larder_start_scrub(&serving->larder, serving->config, err)))
		status = EXIT_SOME_FAILED;
	return status;
}

/* Taking apart. */

static void close_all(void *arg)
{
	struct serving *serving = arg;

	pull_close(serving->larder.pull);
	if (serving->access)
		access_close(serving->access);
}

static void stop(struct serving *serving)
{
	struct larder *larder = &serving->larder;

	if (larder->admin) {
		admin_set_phase(larder->admin, ADMIN_STOPPING);
		admin_stop(larder->admin);
	}
	if (serving->http)
		http_stop(serving->http, STOP_GRACE_MS, close_all, serving);
	else if (larder->pull)
		pull_close(larder->pull);
	/* The admin API answers as long as clients' answers run. */
	if (serving->admin_http)
		http_stop(serving->admin_http, ADMIN_GRACE_MS, admin_close, larder->admin);
	larder_close(larder);
	access_free(serving->access);
	crowd_free(serving->crowd);
	config_free(serving->config);
}

/* Signals are taken one by one in the main thread: they are blocked in all others, which inherit this. */
static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	sigaddset(signals, SIGHUP);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	signal(SIGPIPE, SIG_IGN);
}

/* Takes what can change while larder runs: certificates, the admin API's token, users and rules, upstreams with their
 * credentials, the limits of the store and of clients, the level of the log. A configuration that is wrong, in
 * whichever part, changes nothing. */
static void reload(struct serving *serving, const struct command_line *line)
{
	_cleanup_(serve_tls_dispose) struct serve_tls tls = {0};
	_cleanup_(text_file_freep) char *token = NULL;
	struct config *config = NULL;
	struct err err = {0};

	if (serve_config_make(line, &config, &err) || serve_tls_read(config, &tls, &err) ||
	    (config->admin.token_file && !(token = text_file_read_line(config->admin.token_file, &err))) ||
	    (serving->access && config->access.htpasswd && serve_access(config, &serving->access, &err))) {
		log_error("SIGHUP: all stays as it was: %s", err.text);
		config_free(config);
		return;
	}
	/* Users were the last that could be wrong: these texts were tried when they were read. */
	if (tls.cert && serving->larder.api.tls &&
	    http_reload_tls(serving->http, tls.cert, tls.key, tls.client_ca, &err))
		log_error("SIGHUP: the certificate stays as it was: %s", err.text);
	larder_reload(&serving->larder, config);
	reload_limits(serving, config);
	if (serving->config->admin.token_file && token)
		admin_set_token(serving->larder.admin, token);
	log_set_level(config->log.level);
	log_info("SIGHUP: the configuration was read again");
	serve_config_tell_fixed(serving->config, config);
	config_free(serving->config);
	serving->config = config;
}

static void nothing(void *arg)
{
	(void)arg;
}

/* Waits for a signal to stop; meanwhile takes those to reload, and tells the service manager that larder lives. */
static int await_stop(struct serving *serving, const struct command_line *line, const sigset_t *signals)
{
	uint64_t beat_ms = systemd_watchdog_ms();
	const struct timespec beat = {.tv_sec = (time_t)(beat_ms / 1000), .tv_nsec = (long)(beat_ms % 1000) * 1000000};
	int taken;

	systemd_notify("READY=1");
	trim_memory();
	do {
		taken = beat_ms ? sigtimedwait(signals, NULL, &beat) : sigwaitinfo(signals, NULL);
		if (taken < 0 && errno == EAGAIN) {
			/* A loop that hangs keeps us here, or silent, and the manager waits in vain. */
			loop_run(serving->larder.loop, nothing, NULL);
			if (http_is_alive(serving->http, beat_ms))
				systemd_notify("WATCHDOG=1");
		} else if (taken == SIGHUP) {
			systemd_notify_reloading();
			reload(serving, line);
			systemd_notify("READY=1");
		}
	} while (taken < 0 || taken == SIGHUP);
	systemd_notify("STOPPING=1");
	return taken;
}

/* Without Landlock the rest of the sandbox holds all the same; when it fails otherwise nothing may be relied on. */
static int start_in_sandbox(struct serving *serving, const struct command_line *line, struct err *err)
{
	const struct config *config = serving->config;
	int code = serve_sandbox(config, serve_config_path(line), err);

	log_start(config->log.level, config->log.format);
	if (code && code != ERR_UNSUPPORTED)
		return EXIT_SOME_FAILED;
	if (code)
		log_warn("files are not restricted: %s", err->text);
	return start(serving, err);
}

int cmd_serve(const struct command_line *line)
{
	struct serving serving = {0};
	struct err err = {0};
	sigset_t signals;
	int status;

	status = serve_config_make(line, &serving.config, &err);
	if (status == EXIT_USAGE)
		return command_usage_error("serve", "%s", err.text);
	if (status == EXIT_CONFIG)
		fprintf(stderr, "larder: %s\n", err.text);
	if (status != EXIT_DONE)
		return status;
	block_signals(&signals);
	status = start_in_sandbox(&serving, line, &err);
	if (status == EXIT_DONE) {
		log_info("%s: running answers get up to %d s",
			 await_stop(&serving, line, &signals) == SIGTERM ? "SIGTERM" : "SIGINT", STOP_GRACE_MS / 1000);
	} else {
		log_error("%s", err.text);
	}
	stop(&serving);
	log_stop();
	return status;
}
