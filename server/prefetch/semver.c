/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prefetch/semver.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#define NUMBER_DIGITS_MAX 18

/* Versions. */

static bool parse_number(const char **at, uint64_t *number)
{
	size_t len = strspn(*at, "0123456789");

	if (len == 0 || len > NUMBER_DIGITS_MAX)
		return false;
	*number = strtoull(*at, NULL, 10);
	*at += len;
	return true;
}

/* What comes behind the numbers: "-rc.1+build". */
static bool parse_pre(const char *at, struct semver *version)
{
	static const char allowed[] = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ-._";
	size_t len;

	if (*at == '-') {
		len = strspn(++at, allowed);
		if (len == 0 || len > SEMVER_PRE_MAX)
			return false;
		memcpy(version->pre, at, len);
		at += len;
	}
	if (*at == '+')
		at += 1 + strspn(at + 1, allowed);
	return *at == '\0';
}

/* With `wild`, numbers may be missing or "x": `given` says how many there are. */
static int parse_version(const char *text, bool wild, struct semver *version)
{
	const char *at = text + (*text == 'v' || *text == 'V');

	memset(version, 0, sizeof(*version));
	while (version->given < 3) {
		if (wild && *at && strchr("xX*", *at)) {
			for (at++; at[0] == '.' && at[1] && strchr("xX*", at[1]);)
				at += 2;
			return *at ? ERR_INVALID : 0;
		}
		if (!parse_number(&at, &version->number[version->given]))
			return ERR_INVALID;
		version->given++;
		if (*at != '.')
			break;
		if (version->given == 3)
			return ERR_INVALID;
		at++;
	}
	return parse_pre(at, version) ? 0 : ERR_INVALID;
}

int semver_parse(const char *text, struct semver *version)
{
	return parse_version(text, false, version);
}

/* Identifiers between dots: numbers by value and below words, words by their bytes. */
static int compare_pre(const char *a, const char *b)
{
	if (!*a || !*b)
		return !*a - !*b; /* a release is above its pre-releases */
	for (;;) {
		size_t a_len = strcspn(a, "."), b_len = strcspn(b, ".");
		bool a_number = strspn(a, "0123456789") == a_len, b_number = strspn(b, "0123456789") == b_len;
		int order;

		if (a_number != b_number)
			return a_number ? -1 : 1;
		if (a_number && a_len != b_len)
			order = a_len < b_len ? -1 : 1;
		else
			order = strncmp(a, b, a_len > b_len ? a_len : b_len);
		if (order)
			return order;
		a += a_len;
		b += b_len;
		if (!*a || !*b)
			return !!*a - !!*b;
		a++;
		b++;
	}
}

static int precedence(const struct semver *a, const struct semver *b)
{
	for (int i = 0; i < 3; i++)
		if (a->number[i] != b->number[i])
			return a->number[i] < b->number[i] ? -1 : 1;
	return compare_pre(a->pre, b->pre);
}

int semver_compare(const struct semver *a, const struct semver *b)
{
	int order = precedence(a, b);

	return order ? order : (int)a->given - (int)b->given;
}

/* Ranges. */

static int add(struct semver_range *range, int relation, const struct semver *version, struct err *err)
{
	struct semver_comparator *comparator = &range->comparators[range->count];

	if (range->count == SEMVER_COMPARATORS_MAX)
		return err_set(err, ERR_INVALID, "the range of versions has more than %d parts",
			       SEMVER_COMPARATORS_MAX);
	range->count++;
	comparator->relation = relation;
	comparator->version = *version;
	comparator->group = range->groups;
	return 0;
}

/* The first version beyond all that share the first `kept` numbers. */
static struct semver beyond(const struct semver *version, unsigned kept)
{
	struct semver next = {.given = 3};

	for (unsigned i = 0; i < kept; i++)
		next.number[i] = version->number[i];
	next.number[kept - 1]++;
	return next;
}

static int add_between(struct semver_range *range, const struct semver *from, unsigned kept, struct err *err)
{
	struct semver end;
	int code = add(range, SEMVER_GE, from, err);

	if (code || kept == 0)
		return code;
	end = beyond(from, kept);
	return add(range, SEMVER_LT, &end, err);
}

/* "^1.2.3": what does not change the first number that is not 0. */
static unsigned caret_keeps(const struct semver *version)
{
	unsigned kept = 1;

	while (kept < version->given && version->number[kept - 1] == 0)
		kept++;
	return version->given == 0 ? 0 : kept;
}

static int add_part(struct semver_range *range, const char *relation, const char *text, struct err *err)
{
	struct semver version, end;
	unsigned given;

	if (parse_version(text, true, &version))
		return err_set(err, ERR_INVALID, "'%s' is not a version", text);
	given = version.given;
	if (strcmp(relation, "^") == 0)
		return add_between(range, &version, caret_keeps(&version), err);
	if (strcmp(relation, "~") == 0)
		return add_between(range, &version, given < 2 ? given : 2, err);
	if (given == 3)
		return add(range,
			   strcmp(relation, "<") == 0    ? SEMVER_LT
			   : strcmp(relation, "<=") == 0 ? SEMVER_LE
			   : strcmp(relation, ">") == 0  ? SEMVER_GT
			   : strcmp(relation, ">=") == 0 ? SEMVER_GE
							 : SEMVER_EQ,
			   &version, err);
	if (strcmp(relation, ">=") == 0 || strcmp(relation, "<") == 0)
		return add(range, relation[0] == '<' ? SEMVER_LT : SEMVER_GE, &version, err);
	if (strcmp(relation, "<=") != 0 && strcmp(relation, ">") != 0)
		return add_between(range, &version, given, err); /* "1.2" and "=1.2": all of that line */
	if (given == 0)
		return err_set(err, ERR_INVALID, "'%s%s' means nothing", relation, text);
	end = beyond(&version, given);
	return add(range, relation[0] == '<' ? SEMVER_LT : SEMVER_GE, &end, err);
}

int semver_range_parse(const char *text, struct semver_range *range, struct err *err)
{
	static const char *const relations[] = {"<=", ">=", "==", "<", ">", "=", "^", "~"};
	char word[SEMVER_PRE_MAX + 64];
	int code = 0;

	memset(range, 0, sizeof(*range));
	for (const char *at = text; code == 0;) {
		const char *relation = "=";
		size_t len;

		at += strspn(at, " ,");
		if (!*at)
			break;
		if (strncmp(at, "||", 2) == 0) {
			range->groups++;
			at += 2;
			continue;
		}
		if (*at == '|')
			return err_set(err, ERR_INVALID, "a single '|' means nothing in a range of versions");
		for (size_t i = 0; i < sizeof(relations) / sizeof(relations[0]); i++)
			if (strncmp(at, relations[i], strlen(relations[i])) == 0) {
				relation = relations[i];
				at += strlen(relation);
				break;
			}
		at += strspn(at, " ");
		len = strcspn(at, " ,|");
		if (len >= sizeof(word))
			return err_set(err, ERR_INVALID, "a version in the range is too long");
		memcpy(word, at, len);
		word[len] = '\0';
		at += len;
		code = add_part(range, relation, word, err);
	}
	if (code == 0 && range->count == 0)
		code = err_set(err, ERR_INVALID, "the range of versions is empty");
	range->groups++;
	return code;
}

static bool holds(const struct semver_comparator *comparator, const struct semver *version)
{
	int order = precedence(version, &comparator->version);

	switch (comparator->relation) {
	case SEMVER_LT:
		return order < 0;
	case SEMVER_LE:
		return order <= 0;
	case SEMVER_GT:
		return order > 0;
	case SEMVER_GE:
		return order >= 0;
	case SEMVER_EQ:
		break;
	}
	return order == 0;
}

static bool group_has(const struct semver_range *range, unsigned group, const struct semver *version)
{
	bool named = version->pre[0] == '\0', any = false;

	for (size_t i = 0; i < range->count; i++) {
		const struct semver_comparator *comparator = &range->comparators[i];

		if (comparator->group != group)
			continue;
		any = true;
		if (!holds(comparator, version))
			return false;
		named |= comparator->version.pre[0] &&
			 memcmp(comparator->version.number, version->number, sizeof(version->number)) == 0;
	}
	return any && named;
}

bool semver_range_has(const struct semver_range *range, const struct semver *version)
{
	for (unsigned group = 0; group < range->groups; group++)
		if (group_has(range, group, version))
			return true;
	return false;
}
