/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/credentials.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "upstream/docker_config.h"

#include <assert.h>
#include <errno.h>
#include <gnutls/gnutls.h>
#include <pthread.h>
#include <string.h>
#include <sys/eventfd.h>
#include <utlist.h>

struct credentials {
	struct loop *loop;
	char *registry_url;
	char *docker_config; /* NULL: what is held is the configuration's, for good */
	uint64_t helper_timeout_ms;

	char *basic, *identity_token;
	bool held;
	bool refused; /* what is held was */
	uint64_t fresh_until_ms, settled_until_ms;
	struct err failure; /* the last reading's */
	uint64_t failed_until_ms;
	struct credentials_waiter *waiters;

	/* The reading: `thread` writes `login`, `by_helper` and `err`, and posts `done`. */
	bool reading;
	bool closed; /* freed while its `done` was on the way, which frees it then */
	pthread_t thread;
	int abort_fd; /* an eventfd */
	struct loop_task done;
	struct login login;
	bool by_helper;
	struct err err;
};

static void wipe(char **text)
{
	if (*text)
		explicit_bzero(*text, strlen(*text));
	free(*text);
	*text = NULL;
}

static char *basic_make(const char *username, const char *password)
{
	char *pair = mem_printf("%s:%s", username, password ? password : "");
	gnutls_datum_t in = {.data = (unsigned char *)pair, .size = (unsigned)strlen(pair)};
	gnutls_datum_t out = {0};
	char *basic = NULL;

	if (gnutls_base64_encode2(&in, &out) == 0) {
		basic = mem_printf("Basic %.*s", (int)out.size, (const char *)out.data);
		gnutls_memset(out.data, 0, out.size);
		gnutls_free(out.data);
	}
	wipe(&pair);
	return basic;
}

struct credentials *credentials_new(struct loop *loop, const struct credentials_options *options)
{
	struct credentials *credentials = mem_alloc(sizeof(*credentials));

	credentials->loop = loop;
	credentials->abort_fd = -1;
	credentials->registry_url = mem_strdup(options->registry_url);
	credentials->helper_timeout_ms =
		options->helper_timeout_ms ? options->helper_timeout_ms : DOCKER_HELPER_WAIT_MS;
	if (options->username)
		credentials->basic = basic_make(options->username, options->password);
	else
		credentials->docker_config = mem_strdup(options->docker_config);
	credentials->held = !credentials->docker_config;
	return credentials;
}

bool credentials_configured(const struct credentials *credentials)
{
	return credentials->basic || credentials->docker_config;
}

/* Telling. */

static void tell(struct credentials *credentials, struct credentials_waiter *waiter, const struct err *err)
{
	const struct credential credential = {.basic = credentials->basic,
					      .identity_token = credentials->identity_token};

	waiter->waiting = false;
	waiter->ready(waiter, err ? NULL : &credential, err);
}

static void tell_all(struct credentials *credentials, const struct err *err)
{
	struct credentials_waiter *waiter;
	unsigned count = 0;

	/* ready() may ask again or cancel another: who comes now stands behind, and waits for the next reading. */
	DL_COUNT(credentials->waiters, waiter, count);
	while (count-- > 0 && (waiter = credentials->waiters)) {
		DL_DELETE(credentials->waiters, waiter);
		tell(credentials, waiter, err);
	}
}

static void dispose(struct credentials *credentials)
{
	wipe(&credentials->basic);
	wipe(&credentials->identity_token);
	login_dispose(&credentials->login);
	if (credentials->abort_fd >= 0)
		close(credentials->abort_fd);
	free(credentials->registry_url);
	free(credentials->docker_config);
	free(credentials);
}

void credentials_free(struct credentials *credentials)
{
	uint64_t one = 1;
	struct err err;

	if (!credentials)
		return;
	err_set(&err, ERR_CANCELLED, "larder is shutting down");
	tell_all(credentials, &err);
	if (!credentials->reading) {
		dispose(credentials);
		return;
	}
	/* Joined here, so that `done` is posted before the loop can be told to stop. */
	(void)!write(credentials->abort_fd, &one, sizeof(one));
	pthread_join(credentials->thread, NULL);
	credentials->closed = true;
}

/* Reading. */

static void *read_login(void *arg)
{
	struct credentials *credentials = arg;
	struct docker_login found;
	struct err *err = &credentials->err;
	int code;

	pthread_setname_np(pthread_self(), "credentials");
	code = docker_config_find(credentials->docker_config, credentials->registry_url, &found, err);
	credentials->by_helper = found.helper != NULL;
	if (code == 0 && found.helper)
		code = docker_helper_get(found.helper, found.server, credentials->helper_timeout_ms,
					 credentials->abort_fd, &credentials->login, err);
	if (code == ERR_NOT_FOUND)
		*err = (struct err){0};
	if ((code == 0 && !found.helper) || (code == ERR_NOT_FOUND && !found.helper_decides)) {
		credentials->login = found.login;
		found.login = (struct login){0};
	}
	docker_login_dispose(&found);
	loop_post(credentials->loop, &credentials->done);
	return NULL;
}

static bool same_text(const char *a, const char *b)
{
	return a == b || (a && b && strcmp(a, b) == 0);
}

static void take_login(struct credentials *credentials)
{
	struct login *login = &credentials->login;
	char *basic = login->username ? basic_make(login->username, login->password) : NULL;
	bool by_helper = credentials->by_helper && (basic || login->identity_token);
	uint64_t now = clock_ms();

	if (credentials->refused && same_text(basic, credentials->basic) &&
	    same_text(login->identity_token, credentials->identity_token))
		credentials->settled_until_ms = now + CREDENTIALS_SETTLED_MS;
	wipe(&credentials->basic);
	wipe(&credentials->identity_token);
	credentials->basic = basic;
	credentials->identity_token = take_pointer(login->identity_token);
	login_dispose(login);
	credentials->held = true;
	credentials->refused = false;
	credentials->fresh_until_ms = now + (by_helper ? CREDENTIALS_HELPER_MS : CREDENTIALS_FRESH_MS);
}

static void on_read(struct loop_task *task)
{
	struct credentials *credentials = (struct credentials *)((char *)task - offsetof(struct credentials, done));
	bool usable;

	if (credentials->closed) {
		dispose(credentials);
		return;
	}
	pthread_join(credentials->thread, NULL);
	credentials->reading = false;
	if (credentials->err.code == 0) {
		take_login(credentials);
		tell_all(credentials, NULL);
		return;
	}
	/* What was good a moment ago is good until it is refused. */
	usable = credentials->held && !credentials->refused;
	log_warn("credentials for %s cannot be read%s: %s", credentials->registry_url,
		 usable ? ", the old ones stay" : "", credentials->err.text);
	credentials->failure = credentials->err;
	credentials->failed_until_ms = clock_ms() + CREDENTIALS_FAILED_MS;
	if (usable)
		credentials->fresh_until_ms = clock_ms() + CREDENTIALS_FRESH_MS;
	tell_all(credentials, usable ? NULL : &credentials->failure);
}

static void start_reading(struct credentials *credentials)
{
	int failed;

	credentials->err = (struct err){0};
	credentials->done.run = on_read;
	if (credentials->abort_fd < 0)
		credentials->abort_fd = eventfd(0, EFD_CLOEXEC);
	failed =
		credentials->abort_fd < 0 ? errno : pthread_create(&credentials->thread, NULL, read_login, credentials);
	credentials->reading = !failed;
	if (failed) {
		err_set_errno(&credentials->failure, ERR_UPSTREAM, failed, "credentials cannot be read");
		tell_all(credentials, &credentials->failure);
	}
}

void credentials_get(struct credentials *credentials, struct credentials_waiter *waiter)
{
	uint64_t now = clock_ms();

	assert(loop_is_current(credentials->loop));
	if (credentials->held && !credentials->refused &&
	    (!credentials->docker_config || now < credentials->fresh_until_ms)) {
		tell(credentials, waiter, NULL);
		return;
	}
	if (!credentials->reading && now < credentials->failed_until_ms) {
		tell(credentials, waiter, &credentials->failure);
		return;
	}
	waiter->waiting = true;
	DL_APPEND(credentials->waiters, waiter);
	if (!credentials->reading)
		start_reading(credentials);
}

void credentials_cancel(struct credentials *credentials, struct credentials_waiter *waiter)
{
	if (!waiter->waiting)
		return;
	DL_DELETE(credentials->waiters, waiter);
	waiter->waiting = false;
}

bool credentials_refused(struct credentials *credentials, const char *refused)
{
	if (!credentials->docker_config)
		return false;
	if (!same_text(refused, credentials->basic) && !same_text(refused, credentials->identity_token))
		return true;
	if (clock_ms() < credentials->settled_until_ms)
		return false;
	credentials->refused = true;
	return true;
}
