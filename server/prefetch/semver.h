/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Versions in tags, and ranges of them, as semver.org and npm write them. A tag is taken for a version when it has one
 * to three numbers, with or without a "v" before and a pre-release behind: v1, 1.2, 1.2.3-rc1. Pure functions.
 */
#pragma once

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SEMVER_PRE_MAX         127
#define SEMVER_COMPARATORS_MAX 32

struct semver {
	uint64_t number[3];
	unsigned given; /* how many of them were written */
	char pre[SEMVER_PRE_MAX + 1];
};

/* 0, or ERR_INVALID when it is no version. */
int semver_parse(const char *text, struct semver *version);
/* By precedence (semver.org, 11), then the one that is written out further comes last. */
int semver_compare(const struct semver *a, const struct semver *b);

struct semver_comparator {
	enum { SEMVER_LT, SEMVER_LE, SEMVER_GT, SEMVER_GE, SEMVER_EQ } relation;
	struct semver version;
	unsigned group; /* all of one group must hold */
};

struct semver_range {
	struct semver_comparator comparators[SEMVER_COMPARATORS_MAX];
	size_t count;
	unsigned groups; /* one of them is enough */
};

/* ">=1.2 <2", "^1.4 || ~2.0.1", "1.2.x", "*". ERR_INVALID with a text that names the part. */
int semver_range_parse(const char *text, struct semver_range *range, struct err *err);
/* A pre-release is in it only where a comparator names one of the same three numbers. */
bool semver_range_has(const struct semver_range *range, const struct semver *version);
