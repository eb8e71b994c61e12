/* SPDX-License-Identifier: Apache-2.0 */
/* Which system calls a larder makes while a test does something, by strace. */
#pragma once

#include "tests/wire/harness.h"

struct trace;

/* Attaches to its threads of that name ("http" are those that serve). `calls` as `strace -e` takes them. NULL, with the
 * reason printed, where that cannot be done (no strace, or ptrace is not allowed): the test is to be skipped. */
struct trace *trace_begin(struct wire *wire, const struct larder *larder, const char *name, const char *calls);
/* Lets go. */
void trace_end(struct trace *trace);
/* After trace_end(): how many calls of that name there were, and with `with` (not NULL) in their line. */
unsigned trace_count(const struct trace *trace, const char *call, const char *with);
void trace_free(struct trace *trace);
