/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "store/manifest.h"

struct seen {
	size_t count;
};

static void each(void *arg, const struct manifest_part *part)
{
	struct seen *seen = arg;

	FUZZ_HOLDS(++seen->count <= MANIFEST_PARTS_MAX);
	FUZZ_HOLDS(digest_length(&part->digest) > 0 && part->media_type && part->platform);
	FUZZ_HOLDS(strlen(part->platform) < MANIFEST_PLATFORM_MAX && manifest_kind_name(part->kind));
}

FUZZ_BYTES(data, len)
{
	char platform[MANIFEST_PLATFORM_MAX];
	struct seen seen = {0};

	manifest_read(data, len, each, &seen);
	manifest_config_platform(data, len, platform);
}
