/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "layer/index.h"

/* The bytes of an index, as a damaged disk may give them. */
FUZZ_BYTES(data, len)
{
	struct layer_index *index = NULL;
	struct err err = {0};

	if (layer_index_decode(data, len, &index, &err) == 0) {
		layer_index_find(index, index->out_size / 2);
		layer_index_free(index);
	}
}
