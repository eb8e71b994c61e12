/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "base/ref.h"
#include "base/units.h"
#include "server/prefetch/spec.h"

/* References, as people and clients write them, and what to prefetch. */
FUZZ_TEXT(text)
{
	static struct spec spec;
	struct ref ref;
	struct err err;
	struct digest digest;
	struct rate rate;
	uint64_t number;
	const char *tags[] = {"1.0", "1.1-rc1", "latest", "v2", "2.0.0"};

	if (ref_parse(text, &ref, &err) == 0)
		FUZZ_HOLDS(ref.host_len <= strlen(ref.name) && ref_reference(&ref)[0]);
	if (spec_parse(text, &spec, &err) == 0) {
		FUZZ_HOLDS(spec_choose(&spec, tags, 5) <= 5);
		spec_takes_repository(&spec, "org/app");
	}
	digest_parse(text, &digest);
	units_parse_size(text, &number);
	units_parse_duration(text, &number);
	units_parse_rate(text, &rate);
}
