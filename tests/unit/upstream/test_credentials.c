/* SPDX-License-Identifier: Apache-2.0 */
/* When credentials are read, how often, and that the end does not wait for a helper. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "base/log.h"
#include "upstream/credentials.h"

#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#define WAITERS 20

static char directory[] = "/tmp/larder-credentials-XXXXXX";
static char *config_path, *helper_path, *count_path;

struct bed {
	struct loop *loop;
	struct credentials *credentials;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	unsigned wanted, told;
	int code;
	char basic[64];
	const char *refused;
	bool another;
	struct waiting {
		struct credentials_waiter waiter;
		struct bed *bed;
	} waiters[WAITERS];
};

static void write_text(const char *file, const char *text, mode_t mode)
{
	_cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void ready(struct credentials_waiter *waiter, const struct credential *credential, const struct err *err)
{
	struct bed *bed = ((struct waiting *)waiter)->bed;
	pthread_mutex_lock(&bed->lock);
	bed->code = err ? err->code : 0;
	snprintf(bed->basic, sizeof(bed->basic), "%s", credential && credential->basic ? credential->basic : "");
	bed->told++;
	pthread_cond_signal(&bed->changed);
	pthread_mutex_unlock(&bed->lock);
}

static void get_all(void *arg)
{
	struct bed *bed = arg;
	for (unsigned i = 0; i < bed->wanted; i++) {
		bed->waiters[i].bed = bed;
		bed->waiters[i].waiter.ready = ready;
		credentials_get(bed->credentials, &bed->waiters[i].waiter);
	}
}

/* Asks `count` times at once, and waits until all are told. */
static const char *get(struct bed *bed, unsigned count)
{
	bed->wanted = count;
	bed->told = 0;
	loop_run(bed->loop, get_all, bed);
	pthread_mutex_lock(&bed->lock);
	while (bed->told < count)
		pthread_cond_wait(&bed->changed, &bed->lock);
	pthread_mutex_unlock(&bed->lock);
	return bed->basic;
}

static void refuse_on_loop(void *arg)
{
	struct bed *bed = arg;
	bed->another = credentials_refused(bed->credentials, bed->refused);
}

static bool refuse(struct bed *bed, const char *refused)
{
	bed->refused = refused;
	loop_run(bed->loop, refuse_on_loop, bed);
	return bed->another;
}

static void free_on_loop(void *arg)
{
	credentials_free(arg);
}

static void bed_start(struct bed *bed, const char *username, const char *password)
{
	struct err err = {0};
	struct credentials_options options = {
		.registry_url = "https://quay.io",
		.username = username,
		.password = password,
		.docker_config = config_path,
		.helper_timeout_ms = 20000,
	};
	memset(bed, 0, sizeof(*bed));
	pthread_mutex_init(&bed->lock, NULL);
	pthread_cond_init(&bed->changed, NULL);
	assert_int_equal(loop_start(&bed->loop, &err), 0);
	bed->credentials = credentials_new(bed->loop, &options);
	unlink(count_path);
}

static void bed_stop(struct bed *bed)
{
	loop_run(bed->loop, free_on_loop, bed->credentials);
	loop_stop(bed->loop);
	pthread_mutex_destroy(&bed->lock);
	pthread_cond_destroy(&bed->changed);
}

static void set_helper(const char *script)
{
	_cleanup_free_ char *text = mem_printf("#!/bin/sh\necho x >> %s\n%s\n", count_path, script);
	write_text(helper_path, text, 0755);
	write_text(config_path, "{\"credHelpers\":{\"quay.io\":\"unit\"}}", 0600);
}

static unsigned runs(void)
{
	char data[256];
	_cleanup_close_ int fd = open(count_path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, data, sizeof(data));
	return (unsigned)n / 2;
}

static void configured_password_is_there_at_once_and_for_good(void **state)
{
	(void)state;
	struct bed bed;
	bed_start(&bed, "me", "secret");
	assert_string_equal(get(&bed, 1), "Basic bWU6c2VjcmV0");
	assert_false(refuse(&bed, "Basic bWU6c2VjcmV0"));
	assert_string_equal(get(&bed, 1), "Basic bWU6c2VjcmV0");
	bed_stop(&bed);
}

static void many_waiters_make_one_reading(void **state)
{
	(void)state;
	struct bed bed;
	set_helper("sleep 0.1; echo '{\"Username\":\"me\",\"Secret\":\"secret\"}'");
	bed_start(&bed, NULL, NULL);
	assert_string_equal(get(&bed, WAITERS), "Basic bWU6c2VjcmV0");
	assert_string_equal(get(&bed, WAITERS), "Basic bWU6c2VjcmV0");
	assert_int_equal(runs(), 1);
	bed_stop(&bed);
}

static void refusal_makes_one_reading_until_something_new_comes(void **state)
{
	(void)state;
	struct bed bed;
	set_helper("echo '{\"Username\":\"me\",\"Secret\":\"secret\"}'");
	bed_start(&bed, NULL, NULL);
	get(&bed, 1);
	assert_true(refuse(&bed, "Basic bWU6c2VjcmV0"));
	assert_string_equal(get(&bed, 1), "Basic bWU6c2VjcmV0");
	assert_int_equal(runs(), 2);
	/* It was read again, and is the same: so it is wrong, and stays so for a while. */
	assert_false(refuse(&bed, "Basic bWU6c2VjcmV0"));
	assert_string_equal(get(&bed, 1), "Basic bWU6c2VjcmV0");
	assert_int_equal(runs(), 2);
	/* Of what is held no longer, a refusal says nothing new. */
	assert_true(refuse(&bed, "Basic b2xkOm9sZA=="));
	assert_string_equal(get(&bed, 1), "Basic bWU6c2VjcmV0");
	assert_int_equal(runs(), 2);
	bed_stop(&bed);
}

static void failure_is_told_and_not_repeated_at_once(void **state)
{
	(void)state;
	struct bed bed;
	set_helper("exit 3");
	bed_start(&bed, NULL, NULL);
	get(&bed, WAITERS);
	assert_int_equal(bed.code, ERR_UPSTREAM);
	get(&bed, 1);
	assert_int_equal(bed.code, ERR_UPSTREAM);
	assert_int_equal(runs(), 1);
	bed_stop(&bed);
}

static void nothing_for_the_registry_means_nobody(void **state)
{
	(void)state;
	struct bed bed;
	write_text(config_path, "{\"auths\":{\"ghcr.io\":{\"auth\":\"bWU6c2VjcmV0\"}}}", 0600);
	bed_start(&bed, NULL, NULL);
	assert_string_equal(get(&bed, 1), "");
	assert_int_equal(bed.code, 0);
	bed_stop(&bed);
}

/* The store's "not found" leaves what stands in the file. */
static void auths_stand_in_for_a_store_without_the_registry(void **state)
{
	(void)state;
	struct bed bed;
	set_helper("echo credentials not found in native keychain; exit 1");
	write_text(config_path, "{\"credsStore\":\"unit\",\"auths\":{\"quay.io\":{\"auth\":\"bWU6c2VjcmV0\"}}}", 0600);
	bed_start(&bed, NULL, NULL);
	assert_string_equal(get(&bed, 1), "Basic bWU6c2VjcmV0");
	assert_int_equal(runs(), 1);
	bed_stop(&bed);
}

static void cancel_first_and_free(void *arg)
{
	struct bed *bed = arg;
	credentials_cancel(bed->credentials, &bed->waiters[0].waiter);
	credentials_free(bed->credentials);
}

static void end_does_not_wait_for_a_helper(void **state)
{
	(void)state;
	struct bed bed;
	set_helper("sleep 600");
	bed_start(&bed, NULL, NULL);
	bed.wanted = 2;
	loop_run(bed.loop, get_all, &bed);
	uint64_t before = clock_ms();
	loop_run(bed.loop, cancel_first_and_free, &bed);
	assert_int_equal(bed.told, 1);
	assert_int_equal(bed.code, ERR_CANCELLED);
	loop_stop(bed.loop);
	assert_true(clock_ms() - before < 10000);
	pthread_mutex_destroy(&bed.lock);
	pthread_cond_destroy(&bed.changed);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	_cleanup_free_ char *search = mem_printf("%s:/usr/bin:/bin", directory);
	signal(SIGPIPE, SIG_IGN);
	config_path = mem_printf("%s/config.json", directory);
	helper_path = mem_printf("%s/docker-credential-unit", directory);
	count_path = mem_printf("%s/count", directory);
	return setenv("PATH", search, 1);
}

static int tear_down(void **state)
{
	(void)state;
	unlink(config_path);
	unlink(helper_path);
	unlink(count_path);
	free(config_path);
	free(helper_path);
	free(count_path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(configured_password_is_there_at_once_and_for_good),
		cmocka_unit_test(many_waiters_make_one_reading),
		cmocka_unit_test(refusal_makes_one_reading_until_something_new_comes),
		cmocka_unit_test(failure_is_told_and_not_repeated_at_once),
		cmocka_unit_test(nothing_for_the_registry_means_nobody),
		cmocka_unit_test(auths_stand_in_for_a_store_without_the_registry),
		cmocka_unit_test(end_does_not_wait_for_a_helper),
	};
	return cmocka_run_group_tests_name("credentials", tests, set_up, tear_down);
}
