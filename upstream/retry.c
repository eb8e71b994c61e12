/* SPDX-License-Identifier: Apache-2.0 */
#include "upstream/retry.h"

#include "base/clock.h"
#include "base/err.h"

#include <limits.h>
#include <string.h>

#define DELAY_MAX_S UINT64_C(3155760000) /* a century: whoever says more means never */

/* Reads delay-seconds. False when there is anything but digits. */
static bool parse_seconds(const char *text, uint64_t *seconds)
{
	uint64_t value = 0;
	if (!*text)
		return false;
	for (; *text; text++) {
		if (*text < '0' || *text > '9')
			return false;
		value = value * 10 + (uint64_t)(*text - '0');
		if (value > DELAY_MAX_S)
			value = DELAY_MAX_S;
	}
	*seconds = value;
	return true;
}

int retry_after_parse(const char *value, int64_t now_wall_ms, uint64_t *ms)
{
	char text[64];
	value += strspn(value, " \t");
	size_t len = strlen(value);
	while (len && (value[len - 1] == ' ' || value[len - 1] == '\t'))
		len--;
	if (len >= sizeof(text))
		return ERR_INVALID;
	memcpy(text, value, len);
	text[len] = '\0';

	uint64_t seconds = 0;
	if (parse_seconds(text, &seconds)) {
		*ms = seconds * 1000;
		return 0;
	}
	int64_t date = 0;
	int rc = clock_parse_http(text, &date);
	if (rc)
		return rc;
	*ms = date > now_wall_ms / 1000 ? (uint64_t)date * 1000 - (uint64_t)now_wall_ms : 0;
	if (*ms > DELAY_MAX_S * 1000)
		*ms = DELAY_MAX_S * 1000;
	return 0;
}

int retry_after_s(uint64_t ms)
{
	uint64_t seconds = ms / 1000 + (ms % 1000 > 0);

	return seconds < INT_MAX ? (int)seconds : INT_MAX;
}

uint64_t retry_backoff_ms(unsigned attempt, uint32_t random)
{
	uint64_t wait = RETRY_BASE_MS;
	for (unsigned i = 1; i < attempt && wait < RETRY_CAP_MS; i++)
		wait *= 2;
	if (wait > RETRY_CAP_MS)
		wait = RETRY_CAP_MS;
	uint64_t least = wait / 2;
	return least + ((wait - least + 1) * random >> 32);
}

bool retry_status(int status)
{
	if (status == 501 || status == 505)
		return false;
	return status == 408 || status == 429 || (status >= 500 && status <= 599);
}
