/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "layer/build.h"
#include "layer/index.h"

/* A layer, however packed: an index of it, which comes back the same from its bytes, or an error that says why. */
FUZZ_BYTES(data, len)
{
	struct layer_index *index = NULL, *again = NULL;
	struct buf encoded = {0};
	struct err err = {0};

	if (layer_build(data, len, LAYER_INTERVAL_MIN, &index, &err)) {
		FUZZ_HOLDS(err.text[0]);
		return;
	}
	FUZZ_HOLDS(layer_index_encode(index, &encoded, &err) == 0);
	FUZZ_HOLDS(layer_index_decode(encoded.data, encoded.len, &again, &err) == 0);
	FUZZ_HOLDS(again->out_size == index->out_size && again->count == index->count);
	layer_index_free(index);
	layer_index_free(again);
	buf_dispose(&encoded);
}
