/* SPDX-License-Identifier: Apache-2.0 */
/* How much room text takes on a terminal, and how much there is. */
#pragma once

#include <stddef.h>

/* The columns that `bytes` of UTF-8 take: every character one. */
size_t columns_of(const char *text, size_t bytes);
