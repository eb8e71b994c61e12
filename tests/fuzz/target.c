/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "server/http/http.h"

/* A request's path and query: what is decoded holds no control character and fits. */
FUZZ_TEXT(text)
{
	char out[HTTP_TARGET_MAX], value[256];

	if (http_path_decode(text, out, sizeof(out)) == 0)
		for (const char *at = out; *at; at++)
			FUZZ_HOLDS((unsigned char)*at >= ' ' && *at != 0x7f);
	if (http_query_value(text, "ns", value, sizeof(value)) == 0)
		for (const char *at = value; *at; at++)
			FUZZ_HOLDS((unsigned char)*at >= ' ' && *at != 0x7f);
	http_query_behind(text, "n");
}
