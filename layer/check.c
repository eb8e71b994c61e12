/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/check.h"

#include <string.h>

void check_finish(struct hasher *hasher, uint8_t check[LAYER_CHECK_BYTES])
{
	struct digest digest;

	hasher_finish(hasher, &digest);
	memcpy(check, digest.bytes, LAYER_CHECK_BYTES);
}

void check_of(const void *data, size_t len, uint8_t check[LAYER_CHECK_BYTES])
{
	struct digest digest;

	digest_of(DIGEST_SHA256, data, len, &digest);
	memcpy(check, digest.bytes, LAYER_CHECK_BYTES);
}
