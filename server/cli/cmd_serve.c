/* SPDX-License-Identifier: Apache-2.0 */
/* `larder serve`: puts the rooms together, waits for a signal, takes them apart in the other order. */
#include "server/cli/command.h"
#include "server/cli/config.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/log.h"
#include "base/work.h"
#include "server/admin/admin.h"
#include "server/http/http.h"
#include "server/pull/pull.h"
#include "server/registry/registry_api.h"
#include "server/registry/traffic.h"
#include "store/evict.h"
#include "store/store.h"

#include <errno.h>
#include <getopt.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#define WORK_THREADS              3
#define CONNECTIONS_MAX           8192
#define ADMIN_CONNECTIONS_MAX     128
#define ADMIN_THREADS             2
#define DESCRIPTORS_KEPT          256 /* for flights, upstream connections, the index and the logs */
#define DESCRIPTORS_OF_CONNECTION 2   /* its socket, and the blob that it sends */
#define STOP_GRACE_MS             25000
#define ADMIN_GRACE_MS            1000
#define TLS_FILE_MAX              ((size_t)1 << 20)

struct serving {
	struct config *config;
	struct store *store;
	struct work *work;
	struct loop *loop;
	struct pull *pull;
	struct traffic *traffic;
	struct registry_api api;
	struct http_server *http;
	struct admin *admin;
	struct http_server *admin_http; /* NULL: none is wanted, or the default address was taken */
	char *tls_cert, *tls_key;       /* PEM text, while http uses it */
};

/* Options. */

enum {
	OPTION_LISTEN = 256,
	OPTION_ADMIN,
	OPTION_STORE,
	OPTION_UPSTREAM,
	OPTION_MAX_SIZE,
	OPTION_OFFLINE,
	OPTION_LOG_LEVEL,
	OPTION_LOG_FORMAT
};

static const struct option long_options[] = {
	{"config", required_argument, NULL, 'c'},
	{"listen", required_argument, NULL, OPTION_LISTEN},
	{"admin", required_argument, NULL, OPTION_ADMIN},
	{"store", required_argument, NULL, OPTION_STORE},
	{"upstream", required_argument, NULL, OPTION_UPSTREAM},
	{"max-size", required_argument, NULL, OPTION_MAX_SIZE},
	{"offline", no_argument, NULL, OPTION_OFFLINE},
	{"log-level", required_argument, NULL, OPTION_LOG_LEVEL},
	{"log-format", required_argument, NULL, OPTION_LOG_FORMAT},
	{NULL, 0, NULL, 0},
};

/* What the command line says, kept until the file was read: options override it. */
struct serve_options {
	const char *config_path;
	const char *listen[CONFIG_LIST_MAX];
	size_t listen_count;
	const char *upstreams[CONFIG_LIST_MAX];
	size_t upstream_count;
	const char *admin, *store, *max_size, *log_level, *log_format;
	bool offline;
};

static int parse_options(int argc, char **argv, struct serve_options *options)
{
	int option;

	opterr = 0;
	while ((option = getopt_long(argc, argv, ":c:", long_options, NULL)) != -1) {
		switch (option) {
		case 'c':
			options->config_path = optarg;
			break;
		case OPTION_LISTEN:
			if (options->listen_count == CONFIG_LIST_MAX)
				return command_usage_error("serve", "too many --listen");
			options->listen[options->listen_count++] = optarg;
			break;
		case OPTION_UPSTREAM:
			if (options->upstream_count == CONFIG_LIST_MAX)
				return command_usage_error("serve", "too many --upstream");
			options->upstreams[options->upstream_count++] = optarg;
			break;
		case OPTION_ADMIN:
			options->admin = optarg;
			break;
		case OPTION_STORE:
			options->store = optarg;
			break;
		case OPTION_MAX_SIZE:
			options->max_size = optarg;
			break;
		case OPTION_OFFLINE:
			options->offline = true;
			break;
		case OPTION_LOG_LEVEL:
			options->log_level = optarg;
			break;
		case OPTION_LOG_FORMAT:
			options->log_format = optarg;
			break;
		default:
			return command_option_error(argv, option);
		}
	}
	if (optind < argc)
		return command_usage_error("serve", "unexpected argument '%s'", argv[optind]);
	return EXIT_DONE;
}

static int set_one(struct config *config, const char *key, const char *value, struct err *err)
{
	return value ? config_set(config, key, &value, 1, err) : 0;
}

static int apply_options(struct config *config, const struct serve_options *options, struct err *err)
{
	int code = 0;

	if (options->listen_count > 0)
		code = config_set(config, "listen", options->listen, options->listen_count, err);
	if (code == 0)
		code = set_one(config, "admin.listen", options->admin, err);
	if (code == 0)
		code = set_one(config, "store.path", options->store, err);
	if (code == 0)
		code = set_one(config, "store.max_size", options->max_size, err);
	if (code == 0)
		code = set_one(config, "log.level", options->log_level, err);
	if (code == 0)
		code = set_one(config, "log.format", options->log_format, err);
	if (code == 0 && options->offline)
		code = set_one(config, "offline", "true", err);
	for (size_t i = 0; code == 0 && i < options->upstream_count; i++)
		code = config_set_upstream(config, options->upstreams[i], i == 0, err);
	return code ? code : config_validate(config, err);
}

/* The file's mistakes are the configuration's (3); the command line's are wrong usage (2). */
static int make_config(const struct serve_options *options, struct config **config)
{
	const char *path = options->config_path ? options->config_path : config_default_path();
	struct err err = {0};

	if (!path) {
		*config = config_default();
	} else if (config_read(path, config, &err)) {
		fprintf(stderr, "larder: %s\n", err.text);
		return EXIT_CONFIG;
	}
	if (apply_options(*config, options, &err))
		return command_usage_error("serve", "%s", err.text);
	return EXIT_DONE;
}

/* What a configuration may say and this version does not do yet is refused rather than passed over: who asks for access
 * control must not get a server without. */
static int check_supported(const struct config *config)
{
	const char *key = config->access.htpasswd ? "access.htpasswd" : config->tls.client_ca ? "tls.client_ca" : NULL;

	if (!key)
		return EXIT_DONE;
	fprintf(stderr, "larder: %s: this version cannot do it yet; leave it out, or put a proxy in front that does\n",
		key);
	return EXIT_CONFIG;
}

/* Putting together. */

static void upstream_options(const struct config_upstream *from, struct pull_upstream_options *to)
{
	*to = (struct pull_upstream_options){
		.registry =
			{
				.name = from->name,
				.url = from->url,
				.mirrors = (const char *const *)from->mirrors.items,
				.mirror_count = from->mirrors.count,
				.username = from->username,
				.password = from->password,
				.docker_config = from->docker_config,
				.token_services = (const char *const *)from->token_services.items,
				.token_service_count = from->token_services.count,
				.ca = from->ca,
				.insecure = from->insecure,
				.client_cert = from->client_cert,
				.client_key = from->client_key,
				.proxy = from->proxy,
				.rate_limit = from->rate_limit,
				.max_connections = from->max_connections,
				.retries = from->retries,
				.connect_timeout_ms = from->connect_timeout_ms,
				.idle_timeout_ms = from->idle_timeout_ms,
			},
		.aliases = (const char *const *)from->aliases.items,
		.alias_count = from->aliases.count,
		.tag_ttl_ms = from->tag_ttl_ms,
		.stale_for_ms = from->stale_for_ms,
		.missing_ttl_ms = from->missing_ttl_ms,
		.immutable_tags = (const char *const *)from->immutable_tags.items,
		.immutable_tag_count = from->immutable_tags.count,
		.allow = (const char *const *)from->allow.items,
		.allow_count = from->allow.count,
		.deny = (const char *const *)from->deny.items,
		.deny_count = from->deny.count,
	};
}

static struct pull *start_pull(struct serving *serving)
{
	const struct config *config = serving->config;
	struct pull_upstream_options *upstreams = mem_alloc(config->upstream_count * sizeof(*upstreams));
	struct pull_options options = {
		.store = serving->store,
		.work = serving->work,
		.loop = serving->loop,
		.upstreams = upstreams,
		.upstream_count = config->upstream_count,
		.default_upstream = config->default_upstream,
		.offline = config->offline,
	};
	struct pull *pull;

	for (size_t i = 0; i < config->upstream_count; i++)
		upstream_options(&config->upstreams[i], &upstreams[i]);
	pull = pull_new(&options);
	free(upstreams);
	return pull;
}

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
static unsigned connections_max(void)
{
	struct rlimit limit;
	rlim_t kept;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return CONNECTIONS_MAX;
	kept = limit.rlim_cur / 2 < DESCRIPTORS_KEPT ? limit.rlim_cur / 2 : DESCRIPTORS_KEPT;
	limit.rlim_cur = (limit.rlim_cur - kept) / DESCRIPTORS_OF_CONNECTION;
	return limit.rlim_cur < CONNECTIONS_MAX ? (unsigned)limit.rlim_cur : CONNECTIONS_MAX;
}

static char *read_text(const char *path, struct err *err)
{
	_cleanup_(buf_dispose) struct buf text = {.max = TLS_FILE_MAX};
	char piece[4096];
	size_t got;
	FILE *file = fopen(path, "re");

	if (!file) {
		err_set_errno(err, ERR_IO, errno, "cannot read %s", path);
		return NULL;
	}
	while ((got = fread(piece, 1, sizeof(piece), file)) > 0 && buf_append(&text, piece, got) == 0)
		;
	fclose(file);
	if (text.len == 0) {
		err_set(err, ERR_INVALID, "%s is empty", path);
		return NULL;
	}
	return take_pointer(text.data);
}

static int read_tls(struct serving *serving, struct http_options *options, struct err *err)
{
	const struct config *config = serving->config;

	if (!config->tls.cert)
		return 0;
	serving->tls_cert = read_text(config->tls.cert, err);
	serving->tls_key = serving->tls_cert ? read_text(config->tls.key, err) : NULL;
	options->tls_cert = serving->tls_cert;
	options->tls_key = serving->tls_key;
	return serving->tls_key ? 0 : err->code;
}

static int start_http(struct serving *serving, struct err *err)
{
	struct http_options options = {
		.listen = (const char *const *)serving->config->listen.items,
		.listen_count = serving->config->listen.count,
		.connections_max = connections_max(),
		.handler = registry_handler(&serving->api),
	};
	int code = read_tls(serving, &options, err);

	if (code == 0)
		code = http_start(&options, &serving->http, err);
	if (code == 0 && serving->admin)
		admin_set_phase(serving->admin, ADMIN_SERVING);
	for (size_t i = 0; code == 0 && i < options.listen_count; i++)
		log_info("listening on %s", http_address(serving->http, i));
	return code;
}

/* The token is what stands in the file's first line. */
static char *read_token(const char *path, struct err *err)
{
	char *token = read_text(path, err);

	if (!token)
		return NULL;
	token[strcspn(token, "\r\n")] = '\0';
	if (token[0])
		return token;
	free(token);
	err_set(err, ERR_INVALID, "admin.token_file: the first line of %s is empty", path);
	return NULL;
}

/* The default address may be another larder's, and who did not ask for it does without. */
static int start_admin_http(struct serving *serving, struct err *err)
{
	const struct config *config = serving->config;
	const char *listen = config->admin.listen;
	struct http_options options = {
		.listen = &listen,
		.listen_count = 1,
		.option = "--admin",
		.threads = ADMIN_THREADS,
		.connections_max = ADMIN_CONNECTIONS_MAX,
		.handler = admin_handler(serving->admin),
	};
	int code = http_start(&options, &serving->admin_http, err);

	if (code == 0)
		log_info("admin API on %s", http_address(serving->admin_http, 0));
	if (code == ERR_BUSY && !config->admin.listen_given) {
		log_warn("no admin API: %s is in use by another program; choose another address with --admin", listen);
		return 0;
	}
	return code;
}

static int start_admin(struct serving *serving, struct err *err)
{
	const struct config *config = serving->config;
	struct admin_options options = {.pull = serving->pull, .store = serving->store, .traffic = serving->traffic};
	char *token = NULL;

	if (strcmp(config->admin.listen, "off") == 0)
		return 0;
	if (config->admin.token_file) {
		token = read_token(config->admin.token_file, err);
		if (!token)
			return err->code;
	}
	options.token = token;
	serving->admin = admin_new(&options);
	if (token)
		explicit_bzero(token, strlen(token));
	free(token);
	return start_admin_http(serving, err);
}

static int start(struct serving *serving, struct err *err)
{
	struct store_options store = {.path = serving->config->store.path};
	struct evict_options limits = {.max_size = serving->config->store.max_size,
				       .min_free = serving->config->store.min_free};
	int code;

	raise_descriptor_limit();
	code = store_open(&store, &serving->store, err);
	if (code)
		return code == ERR_BUSY ? EXIT_STORE_HELD : EXIT_SOME_FAILED;
	if (evict_start(serving->store, &limits, err))
		return EXIT_SOME_FAILED;
	serving->work = work_start(WORK_THREADS);
	if (loop_start(&serving->loop, err))
		return EXIT_SOME_FAILED;
	serving->pull = start_pull(serving);
	serving->traffic = mem_alloc(sizeof(*serving->traffic));
	serving->api = (struct registry_api){.pull = serving->pull, .traffic = serving->traffic};
	if (start_admin(serving, err) || start_http(serving, err))
		return EXIT_SOME_FAILED;
	return EXIT_DONE;
}

/* Taking apart. */

static void close_pull(void *arg)
{
	pull_close(arg);
}

static void stop(struct serving *serving)
{
	if (serving->admin)
		admin_set_phase(serving->admin, ADMIN_STOPPING);
	if (serving->http)
		http_stop(serving->http, STOP_GRACE_MS, close_pull, serving->pull);
	else if (serving->pull)
		pull_close(serving->pull);
	/* The admin API answers as long as clients' answers run. */
	if (serving->admin_http)
		http_stop(serving->admin_http, ADMIN_GRACE_MS, admin_close, serving->admin);
	admin_free(serving->admin);
	pull_free(serving->pull);
	loop_stop(serving->loop);
	work_stop(serving->work);
	store_close(serving->store);
	free(serving->traffic);
	free(serving->tls_cert);
	if (serving->tls_key)
		explicit_bzero(serving->tls_key, strlen(serving->tls_key));
	free(serving->tls_key);
	config_free(serving->config);
}

/* SIGTERM and SIGINT are taken by sigwait() in the main thread: they are blocked in all others, which inherit this. */
static void block_signals(sigset_t *signals)
{
	sigemptyset(signals);
	sigaddset(signals, SIGTERM);
	sigaddset(signals, SIGINT);
	pthread_sigmask(SIG_BLOCK, signals, NULL);
	signal(SIGPIPE, SIG_IGN);
}

int cmd_serve(int argc, char **argv)
{
	struct serve_options options = {0};
	struct serving serving = {0};
	struct err err = {0};
	sigset_t signals;
	int status, taken;

	status = parse_options(argc, argv, &options);
	if (status == EXIT_DONE)
		status = make_config(&options, &serving.config);
	if (status == EXIT_DONE)
		status = check_supported(serving.config);
	if (status != EXIT_DONE) {
		config_free(serving.config);
		return status;
	}
	block_signals(&signals);
	log_start(serving.config->log.level, serving.config->log.format);
	status = start(&serving, &err);
	if (status == EXIT_DONE) {
		sigwait(&signals, &taken);
		log_info("%s: running answers get up to %d s", taken == SIGTERM ? "SIGTERM" : "SIGINT",
			 STOP_GRACE_MS / 1000);
	} else {
		log_error("%s", err.text);
	}
	stop(&serving);
	log_stop();
	return status;
}
