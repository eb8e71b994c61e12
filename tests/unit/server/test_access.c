/* SPDX-License-Identifier: Apache-2.0 */
#include "server/access/access.h"
#include "server/access/access_internal.h"
#include "server/access/guesses.h"
#include "server/access/htpasswd.h"

#include <gnutls/gnutls.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

/* "wonder land:1" and "b", at the least cost. */
#define ALICE "alice:$2y$04$abcdefghijklmnopqrstuuNlZAR7NEExaJuD6ixqkqXpRrQa5lFvC\n"
#define BOB   "bob:$2b$04$ABCDEFGHIJKLMNOPQRSTUues6SAkqShBCRSCknWvLdAk8d/uDATN2\n"

/* A waiter that a test can wait with. */
struct sleeper {
	struct waiter waiter; /* first */
	pthread_mutex_t lock;
	pthread_cond_t woken_up;
	bool woken;
};

static void sleeper_pause(struct waiter *waiter)
{
	((struct sleeper *)waiter)->woken = false;
}

static void sleeper_wake(struct waiter *waiter)
{
	struct sleeper *sleeper = (struct sleeper *)waiter;

	pthread_mutex_lock(&sleeper->lock);
	sleeper->woken = true;
	pthread_cond_signal(&sleeper->woken_up);
	pthread_mutex_unlock(&sleeper->lock);
}

static void sleeper_wait(struct sleeper *sleeper)
{
	pthread_mutex_lock(&sleeper->lock);
	while (!sleeper->woken)
		pthread_cond_wait(&sleeper->woken_up, &sleeper->lock);
	pthread_mutex_unlock(&sleeper->lock);
}

static struct sleeper sleeper = {
	.waiter = {.pause = sleeper_pause, .wake = sleeper_wake},
	.lock = PTHREAD_MUTEX_INITIALIZER,
	.woken_up = PTHREAD_COND_INITIALIZER,
};

static const char *basic(const char *user_and_password)
{
	static char header[1024];
	gnutls_datum_t in = {.data = (unsigned char *)user_and_password, .size = (unsigned)strlen(user_and_password)},
		       out;

	gnutls_base64_encode2(&in, &out);
	snprintf(header, sizeof(header), "Basic %s", out.data);
	gnutls_free(out.data);
	return header;
}

static struct access *open_access(const struct access_options *options)
{
	struct access *access;
	struct err err = {0};

	assert_int_equal(access_new(options, &access, &err), 0);
	return access;
}

static struct access_answer answer;

/* Asks until there is an answer; *waited says whether a password was verified for it. */
static enum access_verdict ask_from(struct access *access, const char *client, const char *header, const char *name,
				    bool *waited)
{
	enum access_verdict verdict;

	*waited = false;
	while ((verdict = access_ask(access, header, client, name, &sleeper.waiter, &answer)) == ACCESS_WAIT) {
		*waited = true;
		sleeper_wait(&sleeper);
	}
	return verdict;
}

static enum access_verdict ask(struct access *access, const char *header, const char *name)
{
	bool waited;

	return ask_from(access, "127.0.0.1", header, name, &waited);
}

static void users_with_the_right_password_may_pull_everything(void **state)
{
	const struct access_options options = {.htpasswd = "# who\n" ALICE "\r\n" BOB, .source = "users"};
	struct access *access = open_access(&options);

	(void)state;
	assert_int_equal(ask(access, basic("alice:wonder land:1"), "docker.io/library/alpine"), ACCESS_ALLOWED);
	assert_string_equal(answer.user, "alice");
	assert_int_equal(ask(access, basic("bob:b"), NULL), ACCESS_ALLOWED);
	assert_int_equal(ask(access, basic("alice:b"), NULL), ACCESS_LOGIN);
	assert_int_equal(ask(access, basic("carol:b"), NULL), ACCESS_LOGIN);
	assert_int_equal(ask(access, NULL, NULL), ACCESS_LOGIN);
	assert_int_equal(ask(access, NULL, "docker.io/library/alpine"), ACCESS_LOGIN);
	assert_int_equal(ask(access, "Digest username=alice", NULL), ACCESS_LOGIN);
	assert_int_equal(ask(access, "Basic !!!", NULL), ACCESS_LOGIN);
	assert_int_equal(ask(access, basic("no colon"), NULL), ACCESS_LOGIN);
	access_free(access);
}

static void a_password_is_hashed_once_and_remembered(void **state)
{
	const struct access_options options = {.htpasswd = ALICE, .source = "users"};
	struct access *access = open_access(&options);
	bool waited;

	(void)state;
	assert_int_equal(ask_from(access, "a", basic("alice:wonder land:1"), NULL, &waited), ACCESS_ALLOWED);
	assert_true(waited);
	assert_int_equal(ask_from(access, "a", basic("alice:wonder land:1"), NULL, &waited), ACCESS_ALLOWED);
	assert_false(waited);
	assert_int_equal(ask_from(access, "a", basic("alice:wrong"), NULL, &waited), ACCESS_LOGIN);
	assert_true(waited);
	assert_int_equal(ask_from(access, "a", basic("alice:wrong"), NULL, &waited), ACCESS_LOGIN);
	assert_false(waited);
	access_free(access);
}

static void an_address_that_guesses_is_slowed_down_and_others_are_not(void **state)
{
	const struct access_options options = {.htpasswd = ALICE, .source = "users"};
	struct access *access = open_access(&options);
	bool waited;

	(void)state;
	assert_int_equal(ask_from(access, "bad", basic("alice:wonder land:1"), NULL, &waited), ACCESS_ALLOWED);
	for (int i = 0; i < GUESSES_FREE; i++) {
		char guess[32];

		snprintf(guess, sizeof(guess), "alice:guess%d", i);
		assert_int_equal(ask_from(access, "bad", basic(guess), NULL, &waited), ACCESS_LOGIN);
	}
	assert_int_equal(ask_from(access, "bad", basic("alice:again"), NULL, &waited), ACCESS_SLOW_DOWN);
	assert_int_equal(answer.retry_after_s, 1);
	/* Who was right before, from behind the same address, still is. */
	assert_int_equal(ask_from(access, "bad", basic("alice:wonder land:1"), NULL, &waited), ACCESS_ALLOWED);
	assert_int_equal(ask_from(access, "good", basic("alice:again"), NULL, &waited), ACCESS_LOGIN);
	access_free(access);
}

static void who_has_to_wait_does_not_learn_that_a_guess_is_right(void **state)
{
	const struct access_options options = {.htpasswd = ALICE, .source = "users"};
	struct access *access = open_access(&options);
	bool waited;

	(void)state;
	assert_int_equal(ask_from(access, "10.0.0.1", basic("alice:wonder land:1"), NULL, &waited), ACCESS_ALLOWED);
	for (int i = 0; i < GUESSES_FREE; i++) {
		char guess[32];

		snprintf(guess, sizeof(guess), "alice:guess%d", i);
		assert_int_equal(ask_from(access, "10.0.0.2", basic(guess), NULL, &waited), ACCESS_LOGIN);
	}
	assert_int_equal(ask_from(access, "10.0.0.2", basic("alice:wonder land:1"), NULL, &waited), ACCESS_SLOW_DOWN);
	assert_int_equal(ask_from(access, "10.0.0.3", basic("alice:wonder land:1"), NULL, &waited), ACCESS_ALLOWED);
	assert_int_equal(ask_from(access, "10.0.0.1", basic("alice:wonder land:1"), NULL, &waited), ACCESS_ALLOWED);
	access_free(access);
}

/* For how long a try from there has to wait; one that may be made is made, and ends so. */
static int try(struct guesses *guesses, const char *client, const char *shown, uint64_t now_ms, enum guess_end end)
{
	struct guess guess = {.client = client, .shown = shown, .now_ms = now_ms};
	int wait_s = guesses_begin(guesses, &guess);

	if (wait_s == 0)
		guesses_end(guesses, &guess, end);
	return wait_s;
}

static void fail_at_once(struct guesses *guesses, const char *client, int count, uint64_t now_ms)
{
	struct guess guess = {.client = client, .shown = "x", .now_ms = now_ms};

	for (int i = 0; i < count; i++)
		guesses_end(guesses, &guess, GUESS_WRONG);
}

static void waiting_grows_with_failures_and_ends(void **state)
{
	struct guesses *guesses = guesses_new();
	uint64_t now = 1000000;

	(void)state;
	fail_at_once(guesses, "a", GUESSES_FREE + 3, now);
	assert_int_equal(try(guesses, "a", "x", now, GUESS_OPEN), 8);
	assert_int_equal(try(guesses, "a", "x", now + 7001, GUESS_OPEN), 1);
	assert_int_equal(try(guesses, "a", "x", now + 8000, GUESS_OPEN), 0);
	fail_at_once(guesses, "a", 40, now);
	assert_int_equal(try(guesses, "a", "x", now, GUESS_OPEN), GUESSES_WAIT_MAX_S);
	assert_int_equal(try(guesses, "b", "x", now, GUESS_OPEN), 0);
	assert_int_equal(try(guesses, "a", "x", now + GUESSES_FORGIVE_MS, GUESS_WRONG), 0);
	assert_int_equal(try(guesses, "a", "x", now + GUESSES_FORGIVE_MS, GUESS_OPEN), 0);
	guesses_free(guesses);
}

static void what_was_right_from_an_address_is_never_slowed_there(void **state)
{
	struct guesses *guesses = guesses_new();
	const struct guess here = {.client = "a", .shown = "right"}, there = {.client = "b", .shown = "right"};

	(void)state;
	assert_int_equal(try(guesses, "a", "right", 1, GUESS_RIGHT), 0);
	assert_true(guesses_is_known(guesses, &here));
	assert_false(guesses_is_known(guesses, &there));
	fail_at_once(guesses, "a", GUESSES_FREE + 1, 1);
	assert_int_equal(try(guesses, "a", "right", 1, GUESS_RIGHT), 0);
	/* That the one is right is no reason to let others be tried. */
	assert_int_equal(try(guesses, "a", "other", 1, GUESS_OPEN), 2);
	guesses_free(guesses);
}

static void an_address_may_not_try_many_at_once(void **state)
{
	struct guesses *guesses = guesses_new();
	struct guess tries[GUESSES_AT_ONCE + 1];

	(void)state;
	for (int i = 0; i <= GUESSES_AT_ONCE; i++) {
		tries[i] = (struct guess){.client = "a", .shown = "x", .now_ms = 1};
		assert_int_equal(guesses_begin(guesses, &tries[i]), i == GUESSES_AT_ONCE);
	}
	/* Two that asked with the same at once, and were right: neither is open any more. */
	guesses_end(guesses, &tries[0], GUESS_RIGHT);
	guesses_end(guesses, &tries[1], GUESS_RIGHT);
	for (int i = 2; i < GUESSES_AT_ONCE; i++)
		guesses_end(guesses, &tries[i], GUESS_OPEN);
	fail_at_once(guesses, "a", GUESSES_FREE, 1);
	tries[0] = tries[1] = (struct guess){.client = "a", .shown = "y", .now_ms = 1001};
	assert_int_equal(guesses_begin(guesses, &tries[0]), 0);
	/* One after the other from here on. */
	assert_int_equal(guesses_begin(guesses, &tries[1]), 1);
	guesses_end(guesses, &tries[0], GUESS_WRONG);
	guesses_free(guesses);
}

static void a_host_is_one_address_whichever_it_takes(void **state)
{
	struct guesses *guesses = guesses_new();

	(void)state;
	fail_at_once(guesses, "2001:db8:1:2::1", GUESSES_FREE, 1);
	assert_int_equal(try(guesses, "2001:db8:1:2:3:4:5:6", "x", 1, GUESS_OPEN), 1);
	assert_int_equal(try(guesses, "2001:db8:1:3::1", "x", 1, GUESS_OPEN), 0);
	fail_at_once(guesses, "::ffff:10.0.0.1", GUESSES_FREE, 1);
	assert_int_equal(try(guesses, "10.0.0.1", "x", 1, GUESS_OPEN), 1);
	assert_int_equal(try(guesses, "::ffff:10.0.0.2", "x", 1, GUESS_OPEN), 0);
	guesses_free(guesses);
}

static const char *const public_globs[] = {"docker.io/library/*"};
static const char *const all_globs[] = {"*"};
static const char *const team_globs[] = {"quay.io/team/*"};
static const char *const shared_globs[] = {"ghcr.io/*"};
static const char *const ops_members[] = {"alice"};

static void rules_say_who_may_pull_what(void **state)
{
	const struct access_list rules[] = {
		{"@ops", all_globs, 1}, {"bob", team_globs, 1}, {ACCESS_EVERYONE, shared_globs, 1}};
	const struct access_list groups[] = {{"ops", ops_members, 1}};
	const struct access_options options = {.htpasswd = ALICE BOB,
					       .source = "users",
					       .anonymous = public_globs,
					       .anonymous_count = 1,
					       .rules = rules,
					       .rule_count = 3,
					       .groups = groups,
					       .group_count = 1};
	struct access *access = open_access(&options);

	(void)state;
	assert_true(access_has_anonymous(access));
	assert_int_equal(ask(access, NULL, "docker.io/library/alpine"), ACCESS_ALLOWED);
	assert_int_equal(ask(access, basic(":"), "docker.io/library/alpine"), ACCESS_ALLOWED);
	assert_int_equal(ask(access, NULL, "quay.io/team/app"), ACCESS_LOGIN);
	assert_int_equal(ask(access, basic("bob:b"), "quay.io/team/app"), ACCESS_ALLOWED);
	assert_int_equal(ask(access, basic("bob:b"), "quay.io/other/app"), ACCESS_DENIED);
	assert_int_equal(ask(access, basic("bob:b"), "ghcr.io/x/y"), ACCESS_ALLOWED);
	assert_int_equal(ask(access, basic("bob:b"), "docker.io/library/alpine"), ACCESS_ALLOWED);
	assert_int_equal(ask(access, basic("alice:wonder land:1"), "quay.io/other/app"), ACCESS_ALLOWED);
	assert_true(access_allows(access, "alice", "mcr.microsoft.com/a"));
	assert_false(access_allows(access, "bob", "mcr.microsoft.com/a"));
	access_free(access);
}

static void tokens_say_who_somebody_is_until_they_end(void **state)
{
	const struct access_options options = {
		.htpasswd = ALICE, .source = "users", .anonymous = public_globs, .anonymous_count = 1};
	struct access *access = open_access(&options);
	char token[ACCESS_TOKEN_MAX], header[ACCESS_TOKEN_MAX + 8], user[ACCESS_USER_MAX + 1];
	uint8_t key[ACCESS_KEY_BYTES] = {1}, other[ACCESS_KEY_BYTES] = {2};

	(void)state;
	access_make_token(access, "alice", token);
	snprintf(header, sizeof(header), "Bearer %s", token);
	assert_int_equal(ask(access, header, "quay.io/x/y"), ACCESS_ALLOWED);
	assert_string_equal(answer.user, "alice");
	header[strlen(header) - 1] ^= 1;
	assert_int_equal(ask(access, header, "quay.io/x/y"), ACCESS_LOGIN);

	access_make_token(access, "", token);
	snprintf(header, sizeof(header), "Bearer %s", token);
	assert_int_equal(ask(access, header, NULL), ACCESS_ALLOWED);
	assert_int_equal(ask(access, header, "docker.io/library/alpine"), ACCESS_ALLOWED);
	assert_int_equal(ask(access, header, "quay.io/x/y"), ACCESS_LOGIN);

	token_make(key, "al.ice", 1000, token);
	assert_true(token_read(key, token, 1000 + ACCESS_TOKEN_TTL_S, user));
	assert_string_equal(user, "al.ice");
	assert_false(token_read(key, token, 1001 + ACCESS_TOKEN_TTL_S, user));
	assert_false(token_read(other, token, 1000, user));
	assert_false(token_read(key, "", 1000, user));
	assert_false(token_read(key, "..", 1000, user));
	access_free(access);
}

static void new_users_take_the_place_of_old_ones(void **state)
{
	const struct access_options before = {.htpasswd = ALICE, .source = "users"};
	const struct access_options after = {.htpasswd = BOB, .source = "users"};
	const struct access_options broken = {.htpasswd = "bob:b\n", .source = "users"};
	struct access *access = open_access(&before);
	char token[ACCESS_TOKEN_MAX], header[ACCESS_TOKEN_MAX + 8];
	struct err err = {0};

	(void)state;
	assert_int_equal(ask(access, basic("alice:wonder land:1"), NULL), ACCESS_ALLOWED);
	access_make_token(access, "alice", token);
	assert_int_equal(access_reload(access, &broken, &err), ERR_INVALID);
	assert_int_equal(ask(access, basic("alice:wonder land:1"), NULL), ACCESS_ALLOWED);
	assert_int_equal(access_reload(access, &after, &err), 0);
	assert_int_equal(ask(access, basic("alice:wonder land:1"), NULL), ACCESS_LOGIN);
	assert_int_equal(ask(access, basic("bob:b"), NULL), ACCESS_ALLOWED);
	snprintf(header, sizeof(header), "Bearer %s", token);
	assert_int_equal(ask(access, header, NULL), ACCESS_LOGIN);
	access_free(access);
}

static void a_closed_room_lets_nobody_wait(void **state)
{
	const struct access_options options = {.htpasswd = ALICE, .source = "users"};
	struct access *access = open_access(&options);

	(void)state;
	access_close(access);
	assert_int_equal(access_ask(access, basic("alice:wonder land:1"), "a", NULL, &sleeper.waiter, &answer),
			 ACCESS_LOGIN);
	access_free(access);
}

static void a_waiter_may_leave_while_its_password_is_verified(void **state)
{
	const struct access_options options = {.htpasswd = ALICE, .source = "users"};
	struct access *access = open_access(&options);
	struct sleeper leaver = sleeper;

	(void)state;
	if (access_ask(access, basic("alice:wonder land:1"), "a", NULL, &leaver.waiter, &answer) == ACCESS_WAIT)
		access_forget(access, &leaver.waiter);
	assert_false(leaver.waiter.listed);
	assert_int_equal(ask(access, basic("alice:wonder land:1"), NULL), ACCESS_ALLOWED);
	access_free(access);
}

static void what_is_no_user_file_is_refused_with_its_line(void **state)
{
	static const struct {
		const char *text, *complaint;
	} cases[] = {
		{"", "users: there is no user in it"},
		{"# nobody\n", "users: there is no user in it"},
		{ALICE "bob\n", "users:2: not USER:HASH"},
		{":hash\n", "users:1: not USER:HASH"},
		{"bob:$apr1$abc$def\n", "users:1: the hash of 'bob' is not bcrypt"},
		{"bob:plain\n", "users:1: the hash of 'bob' is not bcrypt"},
		{ALICE ALICE, "users:2: 'alice' stands there twice"},
		{"bob:$2y$31$abcdefghijklmnopqrstuu4T826PRnz0Hu6YlprUuxkZxOOj5Fw5S\n",
		 "the cost of the hash of 'bob' is 31"},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {
		struct htpasswd *users = NULL;
		struct err err = {0};

		assert_int_equal(htpasswd_read(cases[i].text, "users", &users, &err), ERR_INVALID);
		assert_non_null(strstr(err.text, cases[i].complaint));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(users_with_the_right_password_may_pull_everything),
		cmocka_unit_test(a_password_is_hashed_once_and_remembered),
		cmocka_unit_test(an_address_that_guesses_is_slowed_down_and_others_are_not),
		cmocka_unit_test(who_has_to_wait_does_not_learn_that_a_guess_is_right),
		cmocka_unit_test(waiting_grows_with_failures_and_ends),
		cmocka_unit_test(what_was_right_from_an_address_is_never_slowed_there),
		cmocka_unit_test(an_address_may_not_try_many_at_once),
		cmocka_unit_test(a_host_is_one_address_whichever_it_takes),
		cmocka_unit_test(rules_say_who_may_pull_what),
		cmocka_unit_test(tokens_say_who_somebody_is_until_they_end),
		cmocka_unit_test(new_users_take_the_place_of_old_ones),
		cmocka_unit_test(a_closed_room_lets_nobody_wait),
		cmocka_unit_test(a_waiter_may_leave_while_its_password_is_verified),
		cmocka_unit_test(what_is_no_user_file_is_refused_with_its_line),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
