/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/complaint.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#define ERRORS(code) "{\"errors\":[{\"code\":\"" code "\",\"message\":\"m\"},{\"code\":\"DENIED\"}]}"

static void first_error_says_what_is_missing(void **state)
{
	static const struct {
		const char *body;
		enum complaint complaint;
	} cases[] = {
		{ERRORS("NAME_UNKNOWN"), COMPLAINT_NO_REPOSITORY},
		{ERRORS("MANIFEST_UNKNOWN"), COMPLAINT_MISSING},
		{ERRORS("BLOB_UNKNOWN"), COMPLAINT_MISSING},
		{ERRORS("NAME_UNKNOWN") "\n", COMPLAINT_NO_REPOSITORY},
		{ERRORS("DENIED"), COMPLAINT_NONE},
		{ERRORS("name_unknown"), COMPLAINT_NONE},
	};

	(void)state;
	for (size_t i = 0; i < sizeof(cases) / sizeof(cases[0]); i++)
		assert_int_equal(complaint_read(cases[i].body, strlen(cases[i].body)), cases[i].complaint);
}

static void what_is_no_error_list_says_nothing(void **state)
{
	static const char *const bodies[] = {"",
					     "NAME_UNKNOWN",
					     "<html>NAME_UNKNOWN</html>",
					     "[]",
					     "{\"errors\":\"NAME_UNKNOWN\"}",
					     "{\"errors\":[]}",
					     "{\"errors\":[\"NAME_UNKNOWN\"]}",
					     "{\"errors\":[{\"code\":404}]}",
					     "{\"errors\":[{\"code\":\"NAME_UNKNOWN\""};

	(void)state;
	assert_int_equal(complaint_read(NULL, 0), COMPLAINT_NONE);
	for (size_t i = 0; i < sizeof(bodies) / sizeof(bodies[0]); i++)
		assert_int_equal(complaint_read(bodies[i], strlen(bodies[i])), COMPLAINT_NONE);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(first_error_says_what_is_missing),
		cmocka_unit_test(what_is_no_error_list_says_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
