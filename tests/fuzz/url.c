/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/fuzz/fuzz.h"

#include "upstream/content_range.h"
#include "upstream/retry.h"
#include "upstream/url.h"

/* URLs, references to others, Link headers, Retry-After and Content-Range, as upstreams send them. */
FUZZ_TEXT(text)
{
	struct url url;
	struct content_range range;
	uint64_t ms;
	char *joined = url_join("https://registry.example/v2/a/b/tags/list", text);
	char *next = url_link_next("https://registry.example/v2/a/b/tags/list?n=5", text);
	char *escaped = url_escape(text);

	if (url_parse(text, &url) == 0)
		url_host_ground(url.host);
	if (joined)
		FUZZ_HOLDS(url_parse(joined, &url) == 0);
	if (next)
		FUZZ_HOLDS(url_parse(next, &url) == 0);
	retry_after_parse(text, 1700000000000, &ms);
	if (content_range_parse(text, &range) == 0)
		FUZZ_HOLDS(range.start <= range.end && range.end < range.total);
	free(joined);
	free(next);
	free(escaped);
}
