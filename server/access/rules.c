/* SPDX-License-Identifier: Apache-2.0 */
#include "server/access/access_internal.h"

#include "base/buf.h"

#include <fnmatch.h>
#include <stdlib.h>
#include <string.h>

struct texts {
	char *name;
	char **items;
	size_t count;
};

struct rules {
	struct texts anonymous;
	struct texts *rules, *groups;
	size_t rule_count, group_count;
};

static void texts_copy(struct texts *to, const char *name, const char *const *items, size_t count)
{
	to->name = mem_strdup(name);
	to->items = mem_alloc((count + 1) * sizeof(*to->items));
	to->count = count;
	for (size_t i = 0; i < count; i++)
		to->items[i] = mem_strdup(items[i]);
}

static void texts_dispose(struct texts *texts)
{
	for (size_t i = 0; i < texts->count; i++)
		free(texts->items[i]);
	free(texts->items);
	free(texts->name);
}

static struct texts *lists_copy(const struct access_list *lists, size_t count)
{
	struct texts *copies = mem_alloc((count + 1) * sizeof(*copies));

	for (size_t i = 0; i < count; i++)
		texts_copy(&copies[i], lists[i].name, lists[i].items, lists[i].count);
	return copies;
}

struct rules *rules_new(const struct access_options *options)
{
	struct rules *rules = mem_alloc(sizeof(*rules));

	texts_copy(&rules->anonymous, NULL, options->anonymous, options->anonymous_count);
	rules->rules = lists_copy(options->rules, options->rule_count);
	rules->rule_count = options->rule_count;
	rules->groups = lists_copy(options->groups, options->group_count);
	rules->group_count = options->group_count;
	return rules;
}

void rules_free(struct rules *rules)
{
	if (!rules)
		return;
	texts_dispose(&rules->anonymous);
	for (size_t i = 0; i < rules->rule_count; i++)
		texts_dispose(&rules->rules[i]);
	for (size_t i = 0; i < rules->group_count; i++)
		texts_dispose(&rules->groups[i]);
	free(rules->rules);
	free(rules->groups);
	free(rules);
}

static bool matches(const struct texts *globs, const char *name)
{
	for (size_t i = 0; i < globs->count; i++)
		if (fnmatch(globs->items[i], name, 0) == 0)
			return true;
	return false;
}

static bool is_member(const struct rules *rules, const char *group, const char *user)
{
	for (size_t i = 0; i < rules->group_count; i++) {
		if (strcmp(rules->groups[i].name, group) != 0)
			continue;
		for (size_t j = 0; j < rules->groups[i].count; j++)
			if (strcmp(rules->groups[i].items[j], user) == 0)
				return true;
	}
	return false;
}

static bool is_about(const struct rules *rules, const char *who, const char *user)
{
	if (strcmp(who, ACCESS_EVERYONE) == 0 || strcmp(who, user) == 0)
		return true;
	return who[0] == ACCESS_GROUP_PREFIX && is_member(rules, who + 1, user);
}

bool rules_allow(const struct rules *rules, const char *user, const char *name)
{
	if (matches(&rules->anonymous, name))
		return true;
	if (!user[0])
		return false;
	if (rules->rule_count == 0)
		return true;
	for (size_t i = 0; i < rules->rule_count; i++)
		if (is_about(rules, rules->rules[i].name, user) && matches(&rules->rules[i], name))
			return true;
	return false;
}

bool rules_have_anonymous(const struct rules *rules)
{
	return rules->anonymous.count > 0;
}
