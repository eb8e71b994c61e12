/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "store/schema.h"

/* A value that is read is one that would be written: to the byte. */
static void expect_same(const void *data, size_t len, const struct schema_bytes *written)
{
	FUZZ_HOLDS(written->len == len && memcmp(written->bytes, data, len) == 0);
}

static void read_values(const void *data, size_t len)
{
	static struct index_tag tag;
	struct index_link link;
	struct index_blob blob;
	struct index_totals totals;
	struct index_scrub scrub;
	struct schema_bytes written;
	uint64_t number;
	bool is_manifest;

	if (schema_read_tag(data, len, &tag)) {
		FUZZ_HOLDS(digest_length(&tag.digest) > 0 && strlen(tag.media_type) <= INDEX_MEDIA_TYPE_MAX);
		schema_tag_value(&tag, &written);
		expect_same(data, len, &written);
	}
	if (schema_read_link(data, len, &link)) {
		schema_link_value(&link, &written);
		expect_same(data, len, &written);
	}
	if (schema_read_blob(data, len, &blob)) {
		schema_blob_value(&blob, &written);
		expect_same(data, len, &written);
	}
	if (schema_read_totals(data, len, &totals)) {
		schema_totals_value(&totals, &written);
		expect_same(data, len, &written);
	}
	if (schema_read_scrub(data, len, &scrub)) {
		schema_scrub_value(&scrub, &written);
		expect_same(data, len, &written);
	}
	if (schema_read_edge(data, len, &is_manifest)) {
		schema_edge_value(is_manifest, &written);
		expect_same(data, len, &written);
	}
	if (schema_read_number(data, len, &number)) {
		schema_number_value(number, &written);
		expect_same(data, len, &written);
	}
}

/* Values and keys of the index, as a damaged disk may give them. */
FUZZ_BYTES(data, len)
{
	struct schema_bytes written;
	struct schema_reader rest;
	struct digest digest;
	uint64_t number;

	read_values(data, len);
	if (schema_read_repository(data, len, &number, &rest)) {
		schema_repository_value(number, rest.at, rest.left, &written);
		expect_same(data, len, &written);
	}
	if (schema_key_digest(data, len, &digest, &rest))
		FUZZ_HOLDS(rest.left < len && digest_length(&digest) > 0);
}
