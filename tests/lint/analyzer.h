/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Put in front of each file by tidy.sh, for clang's analyzer, which sees one file at a time: err_set() and
 * err_set_errno() return the code that they are given, so that what follows an error is not taken for a path on which
 * all went well.
 */
#pragma once

#include "base/err.h"

#define err_set(err, code, ...)               ((err_set)((err), (code), __VA_ARGS__), (code))
#define err_set_errno(err, code, number, ...) ((err_set_errno)((err), (code), (number), __VA_ARGS__), (code))

/* The hash table's own code is not ours to check, and the analyzer loses its way in it. */
#include <uthash.h>
#undef HASH_DEL
#define HASH_DEL(head, entry) ((void)(head), (void)(entry))
