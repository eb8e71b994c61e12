/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "server/cli/config.h"

/* A configuration: it is taken, or there is a problem that says where. */
FUZZ_BYTES(data, len)
{
	static struct config_problems problems;
	struct config *config = NULL;

	if (config_parse_all("fuzz.yaml", (const char *)data, len, NULL, &config, &problems) == 0)
		FUZZ_HOLDS(config && config->default_upstream);
	else
		FUZZ_HOLDS(!config && problems.count > 0 && problems.items[0].text[0]);
	config_free(config);
}
