/* SPDX-License-Identifier: Apache-2.0 */
#include "layer/spacing.h"

bool spacing_reach(struct spacing *spacing, uint64_t offset)
{
	uint64_t since = offset - spacing->last, step = offset - spacing->place;

	spacing->place = offset;
	if (step > spacing->longest)
		spacing->longest = step;
	/* Long steps must not put a checkpoint at every place. */
	if (since < spacing->interval / 2 || since + spacing->longest <= spacing->interval)
		return false;
	spacing->last = offset;
	spacing->longest = 0;
	return true;
}
