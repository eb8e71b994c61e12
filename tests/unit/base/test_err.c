/* SPDX-License-Identifier: Apache-2.0 */
#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <errno.h>
#include <string.h>

static void err_set_describes_and_returns_the_code(void **state)
{
	(void)state;
	struct err err = {.retry_after_s = 5};
	assert_int_equal(err_set(&err, ERR_DENIED, "%s says %d", "quay.io", 403), ERR_DENIED);
	assert_int_equal(err.code, ERR_DENIED);
	assert_int_equal(err.retry_after_s, 0);
	assert_string_equal(err.text, "quay.io says 403");
	assert_int_equal(err_set(NULL, ERR_IO, "nobody listens"), ERR_IO);
}

static void err_set_cuts_a_long_text(void **state)
{
	(void)state;
	struct err err;
	err_set(&err, ERR_INVALID, "%0400d", 1);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	err_set_errno(&err, ERR_IO, EACCES, "%0250d", 1);
	assert_int_equal(strlen(err.text), ERR_TEXT_MAX - 1);
	assert_memory_equal(err.text + 250, ": Per", 5);
}

static void err_set_may_quote_the_text_it_replaces(void **state)
{
	(void)state;
	struct err err;
	err_set(&err, ERR_UPSTREAM, "timed out");
	err_set(&err, err.code, "docker.io: %s", err.text);
	assert_string_equal(err.text, "docker.io: timed out");
	assert_int_equal(err.code, ERR_UPSTREAM);
}

static void err_set_errno_knows_a_full_disk(void **state)
{
	(void)state;
	struct err err;
	assert_int_equal(err_set_errno(&err, ERR_IO, ENOSPC, "write"), ERR_NO_SPACE);
	assert_int_equal(err.code, ERR_NO_SPACE);
	assert_string_equal(err.text, "write: No space left on device");
	assert_int_equal(err_set_errno(NULL, ERR_IO, EDQUOT, "write"), ERR_NO_SPACE);
	assert_int_equal(err_set_errno(&err, ERR_IO, EIO, "read %s", "x"), ERR_IO);
	assert_string_equal(err.text, "read x: Input/output error");
}

static void err_name_has_a_word_for_every_code(void **state)
{
	(void)state;
	for (int code = ERR_UNSUPPORTED; code <= ERR_INVALID; code++)
		assert_string_not_equal(err_name(code), "unknown");
	assert_string_equal(err_name(ERR_NOT_FOUND), "not found");
	assert_string_equal(err_name(ERR_UNSUPPORTED), "unsupported");
	assert_string_equal(err_name(ERR_RATE), "rate limited");
	assert_string_equal(err_name(0), "ok");
	assert_string_equal(err_name(1), "unknown");
	assert_string_equal(err_name(ERR_UNSUPPORTED - 1), "unknown");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(err_set_describes_and_returns_the_code),
		cmocka_unit_test(err_set_cuts_a_long_text),
		cmocka_unit_test(err_set_may_quote_the_text_it_replaces),
		cmocka_unit_test(err_set_errno_knows_a_full_disk),
		cmocka_unit_test(err_name_has_a_word_for_every_code),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
