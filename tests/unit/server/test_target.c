/* SPDX-License-Identifier: Apache-2.0 */
#include "server/http/http.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <string.h>

static char out[32];

static void expect_path(const char *path, const char *decoded)
{
	memset(out, 'x', sizeof(out));
	if (http_path_decode(path, out, sizeof(out)))
		fail_msg("%s is refused", path);
	assert_string_equal(out, decoded);
}

static void expect_parameter(const char *query, const char *name, const char *value)
{
	memset(out, 'x', sizeof(out));
	if (http_query_value(query, name, out, sizeof(out)))
		fail_msg("%s has no %s", query, name);
	assert_string_equal(out, value);
}

static void target_decodes_a_path(void **state)
{
	(void)state;
	expect_path("/v2/", "/v2/");
	expect_path("", "");
	expect_path("/a%2Fb%2fc", "/a/b/c");
	expect_path("/%41%7e+", "/A~+");   /* a plus is a plus here */
	expect_path("/%25%32%35", "/%25"); /* once, not twice */
	expect_path("/%C3%a4", "/\xc3\xa4");
}

static void target_refuses_bad_escapes_and_control_characters(void **state)
{
	static const char *const paths[] = {"/%",   "/%4",  "/%zz", "/%4z",  "/%z4", "/%00", "/%0d%0aX",
					    "/%1f", "/%7f", "/\n",  "/\x7f", "/%-1", "/% 1", "/%+1"};

	(void)state;
	for (size_t i = 0; i < sizeof(paths) / sizeof(paths[0]); i++)
		if (http_path_decode(paths[i], out, sizeof(out)) != ERR_INVALID)
			fail_msg("%s is taken", paths[i]);
}

static void target_refuses_what_does_not_fit(void **state)
{
	(void)state;
	memset(out, 'x', sizeof(out));
	assert_int_equal(http_path_decode("abcd", out, 5), 0);
	assert_int_equal(out[5], 'x');
	assert_int_equal(http_path_decode("abcd", out, 4), ERR_INVALID);
	assert_int_equal(http_path_decode("%61%62%63%64", out, 5), 0);
	assert_int_equal(http_path_decode("a", out, 1), ERR_INVALID);
	assert_int_equal(http_path_decode("", out, 1), 0);
	assert_int_equal(http_query_value("n=abcd", "n", out, 4), ERR_INVALID);
}

static void target_finds_a_query_s_value(void **state)
{
	(void)state;
	expect_parameter("n=10", "n", "10");
	expect_parameter("last=a&n=10", "n", "10");
	expect_parameter("&&n=10&", "n", "10");
	expect_parameter("n=", "n", "");
	expect_parameter("n=1&n=2", "n", "1");
	expect_parameter("last=a+b%2Bc%26d%3D", "last", "a b+c&d=");
	expect_parameter("x=n=3&n=4", "n", "4");
	expect_parameter("n==", "n", "=");
	expect_parameter("ns=docker.io:443", "ns", "docker.io:443");
}

static void target_does_not_take_one_name_for_another(void **state)
{
	static const char *const queries[] = {"", "n", "nn=1", "ns=1", "N=1", "xn=1", "a&n&b", "%6e=1", "n%3d1"};

	(void)state;
	for (size_t i = 0; i < sizeof(queries) / sizeof(queries[0]); i++)
		assert_int_equal(http_query_value(queries[i], "n", out, sizeof(out)), ERR_NOT_FOUND);
	assert_int_equal(http_query_value("n=%0a", "n", out, sizeof(out)), ERR_INVALID);
	assert_int_equal(http_query_value("n=%&n=1", "n", out, sizeof(out)), ERR_INVALID);
}

static void target_reads_bytes_that_are_no_text(void **state)
{
	(void)state;
	assert_int_equal(http_query_bytes("n=%0A%ff+%7f", "n", out, sizeof(out)), 0);
	assert_string_equal(out, "\n\xff \x7f");
	assert_int_equal(http_query_bytes("n=a%00b", "n", out, sizeof(out)), ERR_INVALID);
	assert_int_equal(http_query_bytes("n=%4", "n", out, sizeof(out)), ERR_INVALID);
	assert_int_equal(http_query_bytes("m=1", "n", out, sizeof(out)), ERR_NOT_FOUND);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(target_decodes_a_path),
		cmocka_unit_test(target_refuses_bad_escapes_and_control_characters),
		cmocka_unit_test(target_refuses_what_does_not_fit),
		cmocka_unit_test(target_finds_a_query_s_value),
		cmocka_unit_test(target_does_not_take_one_name_for_another),
		cmocka_unit_test(target_reads_bytes_that_are_no_text),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
