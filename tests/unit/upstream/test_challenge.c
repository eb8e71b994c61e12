/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/challenge.h"

#include "base/err.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

static void assert_challenge(const char *header, enum challenge_scheme scheme, const char *realm, const char *service,
			     const char *scope)
{
	struct challenge challenge;
	memset(&challenge, 'x', sizeof(challenge));
	assert_int_equal(challenge_parse(header, &challenge), 0);
	assert_int_equal(challenge.scheme, scheme);
	assert_string_equal(challenge.realm, realm);
	assert_string_equal(challenge.service, service);
	assert_string_equal(challenge.scope, scope);
}

static void challenge_reads_what_docker_hub_says(void **state)
{
	(void)state;
	struct challenge challenge;
	const char *header = "Bearer realm=\"https://auth.docker.io/token\",service=\"registry.docker.io\","
			     "scope=\"repository:library/alpine:pull\",error=\"insufficient_scope\"";
	assert_int_equal(challenge_parse(header, &challenge), 0);
	assert_int_equal(challenge.scheme, CHALLENGE_BEARER);
	assert_string_equal(challenge.realm, "https://auth.docker.io/token");
	assert_string_equal(challenge.service, "registry.docker.io");
	assert_string_equal(challenge.scope, "repository:library/alpine:pull");
	assert_string_equal(challenge.error, "insufficient_scope");
}

static void challenge_keeps_commas_within_quotes(void **state)
{
	(void)state;
	assert_challenge(
		"Bearer realm=\"https://a/t\",scope=\"repository:a/b:pull,push repository:c:pull\",service=\"s\"",
		CHALLENGE_BEARER, "https://a/t", "s", "repository:a/b:pull,push repository:c:pull");
}

static void challenge_reads_parameters_in_any_order_and_case(void **state)
{
	(void)state;
	assert_challenge("bearer SCOPE=\"x\", Service=\"s\" ,\t REALM=\"r\"", CHALLENGE_BEARER, "r", "s", "x");
	assert_challenge("BEARER realm = \"r\" , service= s", CHALLENGE_BEARER, "r", "s", "");
	assert_challenge(" ,, Bearer ,realm=\"r\",, service=\"s\",", CHALLENGE_BEARER, "r", "s", "");
}

static void challenge_reads_bare_values_and_escapes(void **state)
{
	(void)state;
	assert_challenge("Bearer realm=https://a.example/t?x=1,service=reg.example:5000", CHALLENGE_BEARER,
			 "https://a.example/t?x=1", "reg.example:5000", "");
	assert_challenge("Bearer realm=\"a\\\"b\\\\c\\d\"", CHALLENGE_BEARER, "a\"b\\cd", "", "");
	assert_challenge("Bearer realm=\"r\",service=\"\"", CHALLENGE_BEARER, "r", "", "");
}

static void challenge_prefers_bearer_wherever_it_stands(void **state)
{
	(void)state;
	assert_challenge("Basic realm=\"b\", Bearer realm=\"r\",service=\"s\"", CHALLENGE_BEARER, "r", "s", "");
	assert_challenge("Bearer realm=\"r\",service=\"s\", Basic realm=\"b\"", CHALLENGE_BEARER, "r", "s", "");
	assert_challenge("Bearer realm=\"r\" Basic realm=\"b\"", CHALLENGE_BEARER, "r", "", "");
	assert_challenge("Basic, Bearer realm=\"r\"", CHALLENGE_BEARER, "r", "", "");
	assert_challenge("Bearer realm=\"first\", Bearer realm=\"second\"", CHALLENGE_BEARER, "first", "", "");
}

static void challenge_passes_over_unknown_schemes_and_parameters(void **state)
{
	(void)state;
	assert_challenge(
		"Negotiate YII+abc/def==, Digest realm=\"d\",nonce=\"n\",qop=\"auth,auth-int\", Basic realm=\"b\"",
		CHALLENGE_BASIC, "b", "", "");
	assert_challenge("Negotiate, NTLM, Bearer realm=\"r\",error_description=\"no, \\\"thanks\\\"\",scope=\"s\"",
			 CHALLENGE_BEARER, "r", "", "s");
	assert_challenge("Bearerish realm=\"no\", Bearer realm=\"r\"", CHALLENGE_BEARER, "r", "", "");
	assert_challenge("service=\"before any scheme\", Bearer realm=\"r\"", CHALLENGE_BEARER, "r", "", "");
}

static void challenge_takes_basic_with_or_without_a_realm(void **state)
{
	(void)state;
	assert_challenge("Basic", CHALLENGE_BASIC, "", "", "");
	assert_challenge("Basic realm=\"Registry Realm\", charset=\"UTF-8\"", CHALLENGE_BASIC, "Registry Realm", "",
			 "");
}

static void challenge_counts_the_first_of_doubles(void **state)
{
	(void)state;
	assert_challenge("Bearer realm=\"r1\",realm=\"r2\",service=\"\",service=\"s2\",SCOPE=a,scope=b",
			 CHALLENGE_BEARER, "r1", "", "a");
}

static void challenge_bearer_without_realm_is_not_usable(void **state)
{
	(void)state;
	struct challenge challenge;
	assert_int_equal(challenge_parse("Bearer", &challenge), ERR_INVALID);
	assert_int_equal(challenge_parse("Bearer service=\"s\",scope=\"x\"", &challenge), ERR_INVALID);
	assert_int_equal(challenge_parse("Bearer realm=\"\"", &challenge), ERR_INVALID);
	assert_challenge("Bearer service=\"s\", Basic realm=\"b\"", CHALLENGE_BASIC, "b", "", "");
	assert_challenge("Bearer service=\"s\", Bearer realm=\"r\"", CHALLENGE_BEARER, "r", "", "");
}

static void challenge_drops_what_a_quote_leaves_open(void **state)
{
	(void)state;
	struct challenge challenge;
	assert_int_equal(challenge_parse("Bearer realm=\"https://a/t", &challenge), ERR_INVALID);
	assert_int_equal(challenge_parse("Bearer realm=\"https://a/t\",scope=\"repository:a", &challenge), ERR_INVALID);
	assert_int_equal(challenge_parse("Bearer realm=\"r\\", &challenge), ERR_INVALID);
	assert_int_equal(challenge_parse("Bearer realm=\"", &challenge), ERR_INVALID);
	assert_challenge("Basic realm=\"b\", Bearer realm=\"open", CHALLENGE_BASIC, "b", "", "");
}

static void challenge_refuses_headers_with_nothing_usable(void **state)
{
	(void)state;
	static const char *const wrong[] = {
		"",
		" ",
		",,,",
		"=",
		"\"",
		"realm=\"r\"",
		"Digest realm=\"d\"",
		"\x01\x02",
		"Be@rer realm=\"r\"",
		"Bearer realm=\"a\r\nX: y\"",
		"\xff\xfe",
		"Bearer realm=a\x01 b",
		"Bearer=\"x\"",
		"Negotiate abc==",
	};
	for (size_t i = 0; i < sizeof(wrong) / sizeof(wrong[0]); i++) {
		struct challenge challenge = {.scheme = CHALLENGE_BASIC};
		assert_int_equal(challenge_parse(wrong[i], &challenge), ERR_INVALID);
		assert_int_equal(challenge.scheme, CHALLENGE_BASIC);
	}
}

static void challenge_keeps_what_stands_before_garbage(void **state)
{
	(void)state;
	assert_challenge("Bearer realm=\"r\",service=\"s\" ; @@@", CHALLENGE_BEARER, "r", "s", "");
}

static void challenge_refuses_values_that_are_too_long(void **state)
{
	(void)state;
	static const char *const names[] = {"realm", "service", "scope", "error"};
	char value[CHALLENGE_VALUE_MAX + 1];
	char header[3 * CHALLENGE_VALUE_MAX];
	struct challenge challenge;
	memset(value, 'v', sizeof(value));
	for (size_t i = 0; i < 4; i++) {
		value[CHALLENGE_VALUE_MAX - 1] = 'v';
		value[CHALLENGE_VALUE_MAX] = '\0';
		snprintf(header, sizeof(header), "Bearer %s=\"%s\",realm=\"r\"", names[i], value);
		assert_int_equal(challenge_parse(header, &challenge), ERR_INVALID);
		snprintf(header, sizeof(header), "Bearer %s=%s,realm=\"r\"", names[i], value);
		assert_int_equal(challenge_parse(header, &challenge), ERR_INVALID);
		value[CHALLENGE_VALUE_MAX - 1] = '\0';
		snprintf(header, sizeof(header), "Bearer %s=\"%s\",realm=\"r\"", names[i], value);
		assert_int_equal(challenge_parse(header, &challenge), 0);
	}
	assert_string_equal(challenge.error, value);
	value[CHALLENGE_VALUE_MAX - 1] = 'v';
	snprintf(header, sizeof(header), "Bearer other=\"%s\",realm=\"r\"", value);
	assert_challenge(header, CHALLENGE_BEARER, "r", "", "");
}

static void challenge_reads_every_cut_of_a_header_without_harm(void **state)
{
	(void)state;
	const char *header =
		"Basic realm=\"b\", Negotiate abc==, Bearer scope=\"r:\\\"a\\\\:pull,push\",realm=\"https://a\"";
	size_t basic_end = strlen("Basic realm=\"b\"");
	char cut[128];
	struct challenge challenge;
	for (size_t len = 0; len <= strlen(header); len++) {
		memcpy(cut, header, len);
		cut[len] = '\0';
		int rc = challenge_parse(cut, &challenge);
		if (len < strlen("Basic"))
			assert_int_equal(rc, ERR_INVALID);
		if (len >= basic_end) {
			assert_int_equal(rc, 0);
			assert_int_equal(challenge.scheme, len < strlen(header) ? CHALLENGE_BASIC : CHALLENGE_BEARER);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(challenge_reads_what_docker_hub_says),
		cmocka_unit_test(challenge_keeps_commas_within_quotes),
		cmocka_unit_test(challenge_reads_parameters_in_any_order_and_case),
		cmocka_unit_test(challenge_reads_bare_values_and_escapes),
		cmocka_unit_test(challenge_prefers_bearer_wherever_it_stands),
		cmocka_unit_test(challenge_passes_over_unknown_schemes_and_parameters),
		cmocka_unit_test(challenge_takes_basic_with_or_without_a_realm),
		cmocka_unit_test(challenge_counts_the_first_of_doubles),
		cmocka_unit_test(challenge_bearer_without_realm_is_not_usable),
		cmocka_unit_test(challenge_drops_what_a_quote_leaves_open),
		cmocka_unit_test(challenge_refuses_headers_with_nothing_usable),
		cmocka_unit_test(challenge_keeps_what_stands_before_garbage),
		cmocka_unit_test(challenge_refuses_values_that_are_too_long),
		cmocka_unit_test(challenge_reads_every_cut_of_a_header_without_harm),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
