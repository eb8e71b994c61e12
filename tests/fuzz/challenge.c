/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "upstream/challenge.h"

FUZZ_TEXT(text)
{
	struct challenge challenge;

	if (challenge_parse(text, &challenge) == 0)
		FUZZ_HOLDS(strlen(challenge.realm) < sizeof(challenge.realm));
}
