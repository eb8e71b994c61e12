/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/larder.h"

#include "base/buf.h"
#include "base/log.h"
#include "base/work.h"
#include "server/access/guesses.h"
#include "server/admin/admin.h"
#include "server/bundle/sign.h"
#include "server/cli/command.h"
#include "server/cli/config.h"
#include "server/cli/text_file.h"
#include "server/files/files.h"
#include "server/pull/heal.h"
#include "server/pull/pull.h"
#include "store/evict.h"
#include "store/index.h"
#include "store/store.h"
#include "store/verify.h"

#include <stdlib.h>

#define WORK_THREADS 3
/* Each waits for the disk nearly all the time, and those that wait at once share a commit of the file system's journal
 * and of the index: what one alone takes, many take together. */
#define DISK_THREADS 16

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
				.clients_decide = from->auth == CONFIG_AUTH_CLIENT,
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
		.auth_ttl_ms = from->auth_ttl_ms,
		.auth_grace_ms = from->auth_grace_ms,
		.immutable_tags = (const char *const *)from->immutable_tags.items,
		.immutable_tag_count = from->immutable_tags.count,
		.allow = (const char *const *)from->allow.items,
		.allow_count = from->allow.count,
		.deny = (const char *const *)from->deny.items,
		.deny_count = from->deny.count,
	};
}

/* Hands the upstreams of the configuration to `take`. */
static void with_upstreams(struct larder *larder, const struct config *config,
			   void (*take)(struct larder *larder, const struct pull_options *options))
{
	struct pull_upstream_options *upstreams = mem_alloc(config->upstream_count * sizeof(*upstreams));
	struct pull_options options = {
		.store = larder->store,
		.work = larder->work,
		.disk = larder->disk,
		.loop = larder->loop,
		.upstreams = upstreams,
		.upstream_count = config->upstream_count,
		.default_upstream = config->default_upstream,
		.offline = config->offline,
	};

	for (size_t i = 0; i < config->upstream_count; i++)
		upstream_options(&config->upstreams[i], &upstreams[i]);
	take(larder, &options);
	free(upstreams);
}

static bool is_dear(void *arg, const struct index_repository *repository)
{
	return pull_is_dear(arg, repository->upstream, repository->repository);
}

static void start_pull(struct larder *larder, const struct pull_options *options)
{
	larder->pull = pull_new(options);
	/* Where nothing can be fetched at all, age decides. */
	if (!options->offline)
		evict_set_dear(larder->store, is_dear, larder->pull);
}

static void change_upstreams(struct larder *larder, const struct pull_options *options)
{
	size_t changed = pull_set_upstreams(larder->pull, options);

	log_info("%zu of %zu upstreams are new or changed", changed, options->upstream_count);
}

int larder_open(struct larder *larder, const struct config *config, struct err *err)
{
	struct store_options options = {.path = config->store.path};
	struct evict_options limits = {.max_size = config->store.max_size, .min_free = config->store.min_free};
	int code = store_open(&options, &larder->store, err);

	if (code)
		return code == ERR_BUSY ? EXIT_STORE_HELD : EXIT_SOME_FAILED;
	return evict_start(larder->store, &limits, err) ? EXIT_SOME_FAILED : EXIT_DONE;
}

/* The key that bundles must be signed with, when one is configured. */
static int read_verify_key(const struct config *config, uint8_t key[SIGN_PUBLIC_KEY_BYTES], struct err *err)
{
	char *pem = text_file_read(config->import.verify_key, err);
	struct err why = {0};
	int code = pem ? sign_read_public_key(pem, key, &why) : err->code;

	if (pem && code)
		err_set(err, code, "import.verify_key %s: %s", config->import.verify_key, why.text);
	text_file_free(pem);
	return code;
}

static struct files *start_files(const struct larder *larder, const struct config *config)
{
	struct files_options options = {
		.pull = larder->pull,
		.store = larder->store,
		.interval = config->layers.checkpoint,
		.while_filling = config->layers.index == CONFIG_INDEX_WHILE_FILLING && !config->offline,
	};

	return config->layers.index == CONFIG_INDEX_OFF ? NULL : files_new(&options);
}

static int make_admin(struct larder *larder, const struct config *config, struct err *err)
{
	uint8_t verify_key[SIGN_PUBLIC_KEY_BYTES];
	struct admin_options options = {
		.pull = larder->pull, .store = larder->store, .files = larder->files, .traffic = larder->traffic};
	char *token = NULL;

	if (config->import.verify_key) {
		int code = read_verify_key(config, verify_key, err);

		if (code)
			return code;
		options.verify_key = verify_key;
	}
	if (config->admin.token_file) {
		token = text_file_read_line(config->admin.token_file, err);
		if (!token)
			return err->code;
	}
	options.token = token;
	larder->admin = admin_new(&options);
	text_file_free(token);
	return 0;
}

int larder_start(struct larder *larder, const struct config *config, struct err *err)
{
	larder->work = work_start(WORK_THREADS);
	larder->disk = work_start(DISK_THREADS);
	if (loop_start(&larder->loop, err))
		return EXIT_SOME_FAILED;
	with_upstreams(larder, config, start_pull);
	larder->files = start_files(larder, config);
	larder->traffic = mem_alloc(sizeof(*larder->traffic));
	larder->hot = hot_new();
	larder->guesses = guesses_new();
	larder->api = (struct registry_api){
		.pull = larder->pull, .hot = larder->hot, .traffic = larder->traffic, .guesses = larder->guesses};
	return make_admin(larder, config, err) ? EXIT_SOME_FAILED : EXIT_DONE;
}

static void heal(void *arg, const struct verify_item *item)
{
	char text[DIGEST_TEXT_MAX];
	struct err err = {0};

	if (pull_heal(arg, &item->digest, &err) == 0)
		log_info("store: %s was damaged, and was fetched anew", digest_format(&item->digest, text));
	else
		log_warn("store: %s was damaged, and cannot be fetched anew now: %s",
			 digest_format(&item->digest, text), err.text);
}

int larder_start_scrub(struct larder *larder, const struct config *config, struct err *err)
{
	struct scrub_options options = {.bytes_per_s = config->store.scrub_rate,
					.every_ms = config->store.scrub_every_ms,
					.each = heal,
					.arg = larder->pull};

	return options.bytes_per_s > 0 ? scrub_start(larder->store, &options, err) : 0;
}

void larder_reload(struct larder *larder, const struct config *config)
{
	struct evict_options limits = {.max_size = config->store.max_size, .min_free = config->store.min_free};

	evict_set_limits(larder->store, &limits);
	with_upstreams(larder, config, change_upstreams);
}

void larder_close(struct larder *larder)
{
	/* What the admin API's threads wait for is asked upstream. */
	pull_hang_up(larder->pull);
	admin_free(larder->admin);
	if (larder->store) {
		scrub_stop(larder->store);
		evict_set_dear(larder->store, NULL, NULL);
	}
	files_free(larder->files);
	pull_free(larder->pull);
	loop_stop(larder->loop);
	work_stop(larder->work);
	work_stop(larder->disk);
	store_close(larder->store);
	hot_free(larder->hot);
	guesses_free(larder->guesses);
	free(larder->traffic);
}
