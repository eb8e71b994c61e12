/* SPDX-License-Identifier: Apache-2.0 */
#pragma once

/* Gives back what starting needed and running does not: free pages of the heap, and the pages of programs and libraries
 * that were never written to, of which those in use come back by themselves (they are the page cache's anyway). Any
 * thread; fails silently. */
void trim_memory(void);
