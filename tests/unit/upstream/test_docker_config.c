/* SPDX-License-Identifier: Apache-2.0 */
/* What config.json says of a registry in all the spellings there are, and helpers that behave and that do not. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "upstream/docker_config.h"

#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <cmocka.h>

#define PAIR "bWU6c2VjcmV0" /* me:secret */
#define HUB  "https://registry-1.docker.io"

static char directory[] = "/tmp/larder-docker-XXXXXX";
static char *path;

static void write_text(const char *file, const char *text, mode_t mode)
{
	_cleanup_close_ int fd = open(file, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, mode);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static int find(const char *json, const char *url, struct docker_login *found, struct err *err)
{
	write_text(path, json, 0600);
	return docker_config_find(path, url, found, err);
}

static void login_is_found_under_every_spelling_of_its_registry(void **state)
{
	(void)state;
	static const struct {
		const char *key, *url;
		bool found;
	} cases[] = {
		{"https://index.docker.io/v1/", HUB, true},
		{"https://index.docker.io/v1/", "https://index.docker.io", true},
		{"index.docker.io", HUB, true},
		{"docker.io", HUB, true},
		{"registry-1.docker.io", HUB, true},
		{"https://registry-1.docker.io/v2/", HUB, true},
		{"quay.io", "https://quay.io", true},
		{"https://quay.io", "https://quay.io", true},
		{"https://quay.io/", "https://quay.io/", true},
		{"quay.io/v2/", "https://quay.io", true},
		{"quay.io/org/app", "https://quay.io", true},
		{"Quay.IO", "https://quay.io", true},
		{"quay.io:443", "https://quay.io", true},
		{"quay.io", "https://quay.io:443", true},
		{"host:5000", "https://host:5000", true},
		{"host:5000", "http://host:5000", true},
		{"http://host:5000/v1/", "http://host:5000", true},
		{"host", "http://host", true},
		{"[::1]:5000", "http://[::1]:5000", true},
		{"host", "https://host:5000", false},
		{"host:5000", "https://host", false},
		{"https://host:5000", "http://host:5000", false},
		{"http://host:5000", "https://host:5000", false},
		{"quay.io", HUB, false},
		{"evil-quay.io", "https://quay.io", false},
		{"quay.io.evil", "https://quay.io", false},
		{"me@quay.io", "https://quay.io", false},
		{"docker.io", "http://registry-1.docker.io", false},
		{"docker.io.example", HUB, false},
		{"", "https://quay.io", false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		_cleanup_free_ char *json = mem_printf("{\"auths\":{\"%s\":{\"auth\":\"" PAIR "\"}}}", cases[i].key);
		struct docker_login found;
		struct err err = {0};
		if (find(json, cases[i].url, &found, &err))
			fail_msg("%s: %s", cases[i].key, err.text);
		if (cases[i].found != (found.login.username != NULL))
			fail_msg("%s for %s", cases[i].key, cases[i].url);
		if (cases[i].found) {
			assert_string_equal(found.login.username, "me");
			assert_string_equal(found.login.password, "secret");
		}
		assert_null(found.helper);
		docker_login_dispose(&found);
	}
}

static void whole_registry_goes_before_a_part_of_it(void **state)
{
	(void)state;
	struct docker_login found;
	struct err err = {0};
	assert_int_equal(find("{\"auths\":{\"quay.io/org\":{\"username\":\"part\",\"password\":\"p\"},"
			      "\"quay.io\":{\"username\":\"whole\",\"password\":\"p:q\"}}}",
			      "https://quay.io", &found, &err),
			 0);
	assert_string_equal(found.login.username, "whole");
	assert_string_equal(found.login.password, "p:q");
	docker_login_dispose(&found);
}

static void identity_token_stands_beside_a_user_without_password(void **state)
{
	(void)state;
	struct docker_login found;
	struct err err = {0};
	/* "00:" in base64, as Azure's login leaves it. */
	assert_int_equal(find("{\"auths\":{\"a.azurecr.io\":{\"auth\":\"MDA6\",\"identitytoken\":\"idt\"}}}",
			      "https://a.azurecr.io", &found, &err),
			 0);
	assert_null(found.login.username);
	assert_null(found.login.password);
	assert_string_equal(found.login.identity_token, "idt");
	docker_login_dispose(&found);
}

static void helper_of_the_registry_goes_before_the_store_before_auths(void **state)
{
	(void)state;
	static const struct {
		const char *json, *url, *helper, *server;
		bool decides;
	} cases[] = {
		{"{\"credsStore\":\"desktop\"}", "https://quay.io", "desktop", "quay.io", false},
		{"{\"credsStore\":\"desktop\"}", "http://host:5000", "desktop", "host:5000", false},
		{"{\"credsStore\":\"desktop\",\"auths\":{\"https://quay.io\":{}}}", "https://quay.io", "desktop",
		 "https://quay.io", false},
		{"{\"credsStore\":\"desktop\"}", HUB, "desktop", "https://index.docker.io/v1/", false},
		{"{\"credsStore\":\"desktop\",\"credHelpers\":{\"1.dkr.ecr.eu.amazonaws.com\":\"ecr-login\"}}",
		 "https://1.dkr.ecr.eu.amazonaws.com", "ecr-login", "1.dkr.ecr.eu.amazonaws.com", true},
		{"{\"credsStore\":\"desktop\",\"credHelpers\":{\"quay.io\":\"\"}}", "https://quay.io", "desktop",
		 "quay.io", false},
		{"{\"credHelpers\":{\"ghcr.io\":\"gh\"}}", "https://quay.io", NULL, NULL, false},
		{"{\"credsStore\":\"\"}", "https://quay.io", NULL, NULL, false},
		{"{\"credsStore\":null,\"auths\":null,\"credHelpers\":null}", "https://quay.io", NULL, NULL, false},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct docker_login found;
		struct err err = {0};
		if (find(cases[i].json, cases[i].url, &found, &err))
			fail_msg("%s: %s", cases[i].json, err.text);
		assert_true(!cases[i].helper == !found.helper);
		if (found.helper) {
			assert_string_equal(found.helper, cases[i].helper);
			assert_string_equal(found.server, cases[i].server);
			assert_int_equal(found.helper_decides, cases[i].decides);
		}
		docker_login_dispose(&found);
	}
}

static void what_is_wrong_is_said_without_its_secrets(void **state)
{
	(void)state;
	static const struct {
		const char *json, *says;
	} cases[] = {
		{"", ":1: is not a JSON object"},
		{"s3cret", ":1: is not a JSON object"},
		{"[\"s3cret\"]", ":1: is not a JSON object"},
		{"{\n\"auths\": s3cret", ":2: is not a JSON object"},
		{"{\"auths\":[]}", ": auths: is not an object"},
		{"{\"credHelpers\":\"s3cret\"}", ": credHelpers: is not an object"},
		{"{\"credsStore\":7}", ": credsStore: is not a text, or too long"},
		{"{\"credHelpers\":{\"quay.io\":{}}}", ": credHelpers.quay.io: is not a text, or too long"},
		{"{\"auths\":{\"quay.io\":\"s3cret\"}}", ": auths.quay.io: is not an object"},
		{"{\"auths\":{\"quay.io\":{\"auth\":1}}}", ": auths.quay.io.auth: is not a text, or too long"},
		{"{\"auths\":{\"quay.io\":{\"auth\":\"s3cret\"}}}",
		 ": auths.quay.io.auth: is not base64 of USER:PASSWORD"},
		/* "nocolon", ":x" */
		{"{\"auths\":{\"quay.io\":{\"auth\":\"bm9jb2xvbg==\"}}}", ": auths.quay.io.auth: is not base64~"},
		{"{\"auths\":{\"quay.io\":{\"auth\":\"Ong=\"}}}", ": auths.quay.io.auth: is not base64~"},
		{"{\"auths\":{\"quay.io\":{\"username\":\"a:b\",\"password\":\"s3cret\"}}}",
		 ": auths.quay.io.username: holds a colon"},
		{"{\"credsStore\":\"../../bin/sh\"}", ": credsStore: is not a helper's name~"},
		{"{\"credsStore\":\"a b\"}", ": credsStore: is not a helper's name~"},
		{"{\"credHelpers\":{\"quay.io\":\"x;s3cret\"}}", ": credHelpers.quay.io: is not a helper's name~"},
	};
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct docker_login found;
		struct err err = {0};
		_cleanup_free_ char *says = mem_printf("%s%s", path, cases[i].says);
		size_t len = strlen(says);
		if (find(cases[i].json, "https://quay.io", &found, &err) != ERR_INVALID ||
		    strncmp(err.text, says, says[len - 1] == '~' ? len - 1 : len + 1) != 0)
			fail_msg("%s: said %s", cases[i].json, err.text);
		assert_null(strstr(err.text, "s3cret"));
		assert_null(found.login.username);
	}
	struct docker_login found;
	struct err err = {0};
	assert_int_equal(docker_config_find("/nonexistent/config.json", HUB, &found, &err), ERR_IO);
	assert_int_equal(docker_config_find(directory, HUB, &found, &err), ERR_IO);
}

/* Helpers. */

static void add_helper(const char *name, const char *script)
{
	_cleanup_free_ char *file = mem_printf("%s/docker-credential-%s", directory, name);
	_cleanup_free_ char *text = mem_printf("#!/bin/sh\n%s\n", script);
	write_text(file, text, 0755);
}

static int get(const char *name, uint64_t wait_ms, struct login *login, struct err *err)
{
	*login = (struct login){0};
	return docker_helper_get(name, "https://quay.io", wait_ms, -1, login, err);
}

static void helper_is_given_the_server_and_gives_a_login(void **state)
{
	(void)state;
	struct login login;
	struct err err = {0};
	add_helper("good", "read server; test \"$1 $server\" = 'get https://quay.io' || exit 9\n"
			   "echo '{\"ServerURL\":\"x\",\"Username\":\"me\",\"Secret\":\"s:3\"}'");
	if (get("good", 10000, &login, &err))
		fail_msg("%s", err.text);
	assert_string_equal(login.username, "me");
	assert_string_equal(login.password, "s:3");
	assert_null(login.identity_token);
	login_dispose(&login);
	add_helper("token", "echo '{\"Username\":\"<token>\",\"Secret\":\"idt\"}'");
	assert_int_equal(get("token", 10000, &login, &err), 0);
	assert_null(login.username);
	assert_string_equal(login.identity_token, "idt");
	login_dispose(&login);
}

static void helper_gets_nothing_of_ours_but_two_pipes(void **state)
{
	(void)state;
	struct login login;
	struct err err = {0};
	_cleanup_close_ int leak = open("/dev/null", O_RDONLY);
	assert_true(leak >= 0);
	add_helper("curious", "for f in /proc/$$/fd/*; do n=${f##*/}; test $n -gt 2 && test $n -ne 10 && "
			      "test -e /proc/$$/fd/$n && test \"$(readlink $f)\" = /dev/null && exit 9; done\n"
			      "echo '{\"Username\":\"me\",\"Secret\":\"s\"}'");
	if (get("curious", 10000, &login, &err))
		fail_msg("%s", err.text);
	login_dispose(&login);
}

static void bad_helpers_are_named_and_not_quoted(void **state)
{
	(void)state;
	static const struct {
		const char *script;
		int code;
		const char *says;
	} cases[] = {
		{"echo credentials not found in native keychain; exit 1", ERR_NOT_FOUND, "knows no credentials"},
		{"echo s3cret; exit 1", ERR_UPSTREAM, "ended with status 1"},
		{"echo s3cret", ERR_UPSTREAM, "its answer is no Username and Secret"},
		{"", ERR_UPSTREAM, "its answer is no Username and Secret"},
		{"echo '{\"Username\":\"me\"}'", ERR_UPSTREAM, "its answer is no Username and Secret"},
		{"echo '{\"Username\":1,\"Secret\":\"s3cret\"}'", ERR_UPSTREAM, "its answer is no Username and Secret"},
		{"echo '{\"Username\":\"a:b\",\"Secret\":\"s3cret\"}'", ERR_UPSTREAM,
		 "its answer is no Username and Secret"},
		{"echo '{\"Username\":\"me\",\"Secret\":\"\"}'", ERR_NOT_FOUND, "has no secret"},
		{"exec cat /dev/zero", ERR_UPSTREAM, "writes more than 65536 bytes"},
		{"kill -9 $$", ERR_UPSTREAM, "ended by signal 9"},
		{"sleep 600", ERR_UPSTREAM, "does not answer in time"},
		{"exec >/dev/null; sleep 600", ERR_UPSTREAM, "does not answer in time"},
		{"trap '' TERM INT; while :; do sleep 1; done", ERR_UPSTREAM, "does not answer in time"},
	};
	struct login login;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct err err = {0};
		uint64_t before = clock_ms();
		_cleanup_free_ char *says = mem_printf("docker-credential-bad: %s", cases[i].says);
		bool waits = strstr(cases[i].script, "sleep") != NULL;
		add_helper("bad", cases[i].script);
		if (get("bad", waits ? 300 : 20000, &login, &err) != cases[i].code || strcmp(err.text, says) != 0)
			fail_msg("%s: said %s", cases[i].script, err.text);
		assert_null(login.username);
		assert_true(clock_ms() - before < 10000);
	}
	struct err err = {0};
	assert_int_equal(get("is-not-there", 1000, &login, &err), ERR_UPSTREAM);
	assert_non_null(strstr(err.text, "docker-credential-is-not-there: "));
}

static void helper_is_given_up_on_order(void **state)
{
	(void)state;
	struct login login = {0};
	struct err err = {0};
	_cleanup_close_ int order = eventfd(1, EFD_CLOEXEC);
	add_helper("slow", "sleep 600");
	uint64_t before = clock_ms();
	assert_int_equal(docker_helper_get("slow", "quay.io", 60000, order, &login, &err), ERR_CANCELLED);
	assert_true(clock_ms() - before < 10000);
}

static int set_up(void **state)
{
	(void)state;
	if (!mkdtemp(directory))
		return -1;
	_cleanup_free_ char *search = mem_printf("%s:/usr/bin:/bin", directory);
	signal(SIGPIPE, SIG_IGN);
	path = mem_printf("%s/config.json", directory);
	return setenv("PATH", search, 1);
}

static int tear_down(void **state)
{
	(void)state;
	static const char *const names[] = {"good", "token", "curious", "bad", "slow"};
	for (size_t i = 0; i < sizeof(names) / sizeof(names[0]); i++) {
		_cleanup_free_ char *file = mem_printf("%s/docker-credential-%s", directory, names[i]);
		unlink(file);
	}
	unlink(path);
	free(path);
	return rmdir(directory);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(login_is_found_under_every_spelling_of_its_registry),
		cmocka_unit_test(whole_registry_goes_before_a_part_of_it),
		cmocka_unit_test(identity_token_stands_beside_a_user_without_password),
		cmocka_unit_test(helper_of_the_registry_goes_before_the_store_before_auths),
		cmocka_unit_test(what_is_wrong_is_said_without_its_secrets),
		cmocka_unit_test(helper_is_given_the_server_and_gives_a_login),
		cmocka_unit_test(helper_gets_nothing_of_ours_but_two_pipes),
		cmocka_unit_test(bad_helpers_are_named_and_not_quoted),
		cmocka_unit_test(helper_is_given_up_on_order),
	};
	return cmocka_run_group_tests_name("docker_config", tests, set_up, tear_down);
}
