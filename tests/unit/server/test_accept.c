/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/accept.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdio.h>
#include <string.h>

#define INDEX    "application/vnd.oci.image.index.v1+json"
#define MANIFEST "application/vnd.oci.image.manifest.v1+json"
#define LIST     "application/vnd.docker.distribution.manifest.list.v2+json"
#define SCHEMA_1 "application/vnd.docker.distribution.manifest.v1+prettyjws"

static struct accept parse(const char *header)
{
	struct accept accept;

	memset(&accept, 0xff, sizeof(accept));
	accept_parse(header, &accept);
	return accept;
}

static uint64_t key(const char *header)
{
	return parse(header).key;
}

static bool takes(const char *header, const char *media_type)
{
	struct accept accept = parse(header);

	return accept_takes(&accept, media_type);
}

static void accept_sends_on_what_the_client_sent(void **state)
{
	struct accept accept = parse(INDEX ", " MANIFEST ";q=0.5");

	(void)state;
	assert_string_equal(accept.text, INDEX ", " MANIFEST ";q=0.5");
}

static void accept_names_every_type_for_a_client_that_names_none(void **state)
{
	static const char *const headers[] = {NULL, "", "*/*", "  ", ",", ",,;", "*/* , */*;q=0", "text/html;q=0"};

	(void)state;
	for (size_t i = 0; i < sizeof(headers) / sizeof(headers[0]); i++) {
		struct accept accept = parse(headers[i]);

		assert_non_null(strstr(accept.text, INDEX));
		assert_non_null(strstr(accept.text, LIST));
		assert_int_equal(accept.key, key(NULL));
		assert_true(accept_takes(&accept, INDEX));
		assert_true(accept_takes(&accept, "application/unheard-of"));
	}
}

static void accept_key_is_the_set_of_types_whatever_their_order_and_writing(void **state)
{
	(void)state;
	assert_int_equal(key(INDEX ", " MANIFEST), key(MANIFEST "," INDEX));
	assert_int_equal(key(INDEX ", " MANIFEST), key(MANIFEST ";q=0.3 ,\t" INDEX " ; q=1, " INDEX));
	assert_int_equal(key(INDEX), key("APPLICATION/vnd.OCI.image.index.v1+JSON"));
	assert_int_equal(key(INDEX), key(INDEX ", " MANIFEST ";q=0"));
	assert_int_not_equal(key(INDEX), key(MANIFEST));
	assert_int_not_equal(key(INDEX), key(INDEX ", " MANIFEST));
	assert_int_not_equal(key(INDEX), key(INDEX ", */*"));
	assert_int_not_equal(key(INDEX), key(NULL));
	/* Not the text: "a,b" and "ab" are different sets. */
	assert_int_not_equal(key("a/b, c/d"), key("a/bc/d"));
}

static void accept_takes_what_is_listed_and_what_wildcards_cover(void **state)
{
	(void)state;
	assert_true(takes(INDEX ", " MANIFEST, MANIFEST));
	assert_true(takes(INDEX, "Application/vnd.oci.image.INDEX.v1+json"));
	assert_false(takes(INDEX, MANIFEST));
	assert_false(takes(INDEX, ""));
	assert_true(takes(INDEX ", */*", SCHEMA_1));
	assert_true(takes("application/*", SCHEMA_1));
	assert_false(takes("application/*", "text/plain"));
	assert_false(takes("application/*, " MANIFEST ";q=0", "text/plain"));
	assert_false(takes(INDEX ", " MANIFEST ";q=0", MANIFEST));
	assert_false(takes(INDEX ", " MANIFEST ";q=0.000", MANIFEST));
	assert_true(takes(INDEX ", " MANIFEST ";q=0.001", MANIFEST));
}

static void accept_sends_nothing_on_that_does_not_belong_into_a_header(void **state)
{
	char large[ACCEPT_TEXT_MAX + 100];

	(void)state;
	assert_null(strstr(parse(INDEX "\r\nX-Evil: y").text, "Evil"));
	assert_null(strstr(parse(INDEX "\nX-Evil: y").text, "Evil"));
	assert_int_equal(key(INDEX "\r\nX-Evil: y"), key(NULL));

	memset(large, 'a', sizeof(large));
	large[sizeof(large) - 1] = '\0';
	assert_int_equal(key(large), key(NULL));
	large[ACCEPT_TEXT_MAX] = '\0';
	assert_int_equal(key(large), key(NULL));
	large[ACCEPT_TEXT_MAX - 1] = '\0'; /* just fits */
	assert_string_equal(parse(large).text, large);
	assert_true(takes(large, large));
}

static void accept_reads_only_so_many_types(void **state)
{
	char header[ACCEPT_TEXT_MAX];
	size_t used = 0;

	(void)state;
	for (unsigned i = 0; i < ACCEPT_TYPES_MAX + 10; i++)
		used += (size_t)snprintf(header + used, sizeof(header) - used, "a/t%02u,", i);
	assert_true(takes(header, "a/t00"));
	assert_true(takes(header, "a/t31"));
	assert_false(takes(header, "a/t32"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(accept_sends_on_what_the_client_sent),
		cmocka_unit_test(accept_names_every_type_for_a_client_that_names_none),
		cmocka_unit_test(accept_key_is_the_set_of_types_whatever_their_order_and_writing),
		cmocka_unit_test(accept_takes_what_is_listed_and_what_wildcards_cover),
		cmocka_unit_test(accept_sends_nothing_on_that_does_not_belong_into_a_header),
		cmocka_unit_test(accept_reads_only_so_many_types),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
