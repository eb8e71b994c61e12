/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/complaint.h"

#include <jansson.h>
#include <string.h>

enum complaint complaint_read(const void *body, size_t len)
{
	json_t *document = len ? json_loadb(body, len, JSON_DISABLE_EOF_CHECK, NULL) : NULL;
	const json_t *first = json_array_get(json_object_get(document, "errors"), 0);
	const char *code = json_string_value(json_object_get(first, "code"));
	enum complaint complaint = COMPLAINT_NONE;

	if (code && strcmp(code, "NAME_UNKNOWN") == 0)
		complaint = COMPLAINT_NO_REPOSITORY;
	else if (code && (strcmp(code, "MANIFEST_UNKNOWN") == 0 || strcmp(code, "BLOB_UNKNOWN") == 0))
		complaint = COMPLAINT_MISSING;
	json_decref(document);
	return complaint;
}
