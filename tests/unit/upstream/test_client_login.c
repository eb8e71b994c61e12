/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/client_login.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

static void login_is_what_the_header_says(void **state)
{
	struct client_login *login;

	(void)state;
	assert_int_equal(client_login_read("basic  Ym9iOmI=", &login), 0);
	assert_string_equal(client_login_basic(login), "Basic Ym9iOmI=");
	client_login_release(login);
}

static void login_of_nobody_has_no_credentials(void **state)
{
	struct client_login *absent, *empty;

	(void)state;
	assert_int_equal(client_login_read(NULL, &absent), 0);
	assert_int_equal(client_login_read("Basic Og==", &empty), 0);
	assert_null(client_login_basic(absent));
	assert_null(client_login_basic(empty));
	assert_string_equal(client_login_key(absent), client_login_key(empty));
	client_login_release(absent);
	client_login_release(empty);
	assert_string_equal(client_login_key(NULL), "");
}

static void login_refuses_what_is_no_name_and_password(void **state)
{
	/* No scheme, another one, nothing, no base64, no colon, a NUL inside, a line end inside. */
	static const char *const wrong[] = {"",          "Basic",      "Bearer Ym9iOmI=", "Basic ",
					    "Basic ???", "Basic Ym9i", "Basic Ym9iOgBi",  "Basic Ym9iOgpi"};
	char *huge = malloc(CLIENT_LOGIN_BYTES_MAX + 2);
	struct client_login *login;

	(void)state;
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		assert_int_equal(client_login_read(wrong[i], &login), ERR_INVALID);
		assert_null(login);
	}
	memset(huge, 'A', CLIENT_LOGIN_BYTES_MAX + 1);
	huge[CLIENT_LOGIN_BYTES_MAX + 1] = '\0';
	memcpy(huge, "Basic ", 6);
	assert_int_equal(client_login_read(huge, &login), ERR_INVALID);
	free(huge);
}

static void keys_tell_logins_apart_and_nothing_of_them(void **state)
{
	struct client_login *bob, *again, *other;

	(void)state;
	client_login_read("Basic Ym9iOmI=", &bob);
	client_login_read("Basic Ym9iOmI=", &again);
	client_login_read("Basic Ym9iOmM=", &other);
	assert_string_equal(client_login_key(bob), client_login_key(again));
	assert_string_not_equal(client_login_key(bob), client_login_key(other));
	assert_int_equal(strlen(client_login_key(bob)), CLIENT_LOGIN_KEY_MAX - 1);
	client_login_release(client_login_hold(bob));
	assert_string_equal(client_login_basic(bob), "Basic Ym9iOmI=");
	client_login_release(bob);
	client_login_release(again);
	client_login_release(other);
	client_login_release(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(login_is_what_the_header_says),
		cmocka_unit_test(login_of_nobody_has_no_credentials),
		cmocka_unit_test(login_refuses_what_is_no_name_and_password),
		cmocka_unit_test(keys_tell_logins_apart_and_nothing_of_them),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
