/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "store/schema.h"

/* Values and keys of the index, as a damaged disk may give them. */
FUZZ_BYTES(data, len)
{
	static struct index_tag tag;
	struct index_link link;
	struct index_blob blob;
	struct index_totals totals;
	struct schema_reader rest;
	struct digest digest;
	uint64_t number;
	bool is_manifest;

	if (schema_read_tag(data, len, &tag))
		FUZZ_HOLDS(digest_length(&tag.digest) > 0 && strlen(tag.media_type) <= INDEX_MEDIA_TYPE_MAX);
	schema_read_link(data, len, &link);
	schema_read_blob(data, len, &blob);
	schema_read_totals(data, len, &totals);
	schema_read_repository(data, len, &number, &rest);
	schema_read_edge(data, len, &is_manifest);
	schema_read_number(data, len, &number);
	if (schema_key_digest(data, len, &digest, &rest))
		FUZZ_HOLDS(rest.left <= len);
}
