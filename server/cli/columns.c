/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/columns.h"

size_t columns_of(const char *text, size_t bytes)
{
	size_t columns = 0;
	for (size_t i = 0; i < bytes; i++)
		columns += ((unsigned char)text[i] & 0xc0) != 0x80;
	return columns;
}
