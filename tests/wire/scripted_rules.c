/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/scripted_internal.h"

#include <fnmatch.h>
#include <string.h>

bool pattern_matches(const char *pattern, const char *target)
{
	if (!pattern || fnmatch(pattern, target, 0) == 0)
		return true;
	size_t path_len = strcspn(target, "?");
	if (target[path_len] == '\0')
		return false;
	char *path = mem_strndup(target, path_len);
	bool matches = fnmatch(pattern, path, 0) == 0;
	free(path);
	return matches;
}

int scripted_add_rule(struct scripted *scripted, const struct scripted_rule *script)
{
	struct rule *rule = mem_alloc(sizeof(*rule));
	rule->script = *script;
	struct scripted_rule *own = &rule->script;
	own->method = mem_strdup(script->method);
	own->path = mem_strdup(script->path);
	own->with_header = mem_strdup(script->with_header);
	own->body = mem_strdup(script->body);
	own->redirect = mem_strdup(script->redirect);
	own->headers = mem_strdup(script->headers);
	own->etag = mem_strdup(script->etag);
	if (script->raw) {
		void *raw = mem_alloc(script->raw_len);
		memcpy(raw, script->raw, script->raw_len);
		own->raw = raw;
	}
	scripted_lock(scripted);
	rule->id = ++scripted->rule_count;
	struct rule **tail = &scripted->rules;
	while (*tail)
		tail = &(*tail)->next;
	*tail = rule;
	scripted_unlock(scripted);
	return rule->id;
}

static bool rule_wants(const struct rule *rule, const struct exchange *exchange)
{
	const struct scripted_rule *script = &rule->script;
	const struct request *request = &exchange->request;
	if (rule->removed || (script->method && strcmp(script->method, request->method) != 0))
		return false;
	if (script->listener && script->listener != exchange->connection->listener->id)
		return false;
	if (script->with_header && !headers_get(&request->headers, script->with_header))
		return false;
	return pattern_matches(script->path, request->target);
}

struct rule *rules_match(struct scripted *scripted, const struct exchange *exchange)
{
	struct rule *decides = NULL;
	for (struct rule *rule = scripted->rules; rule; rule = rule->next) {
		if (!rule_wants(rule, exchange))
			continue;
		unsigned nth = ++rule->matched;
		unsigned from = rule->script.from ? rule->script.from : 1;
		bool covers = nth >= from && (rule->script.count == 0 || nth - from < rule->script.count);
		if (covers && !decides)
			decides = rule;
	}
	if (decides)
		decides->applied++;
	return decides;
}

static struct rule *rule_find(struct scripted *scripted, int id)
{
	struct rule *rule = scripted->rules;
	while (rule && rule->id != id)
		rule = rule->next;
	return rule;
}

unsigned scripted_rule_applied(struct scripted *scripted, int id)
{
	scripted_lock(scripted);
	struct rule *rule = rule_find(scripted, id);
	unsigned applied = rule ? rule->applied : 0;
	scripted_unlock(scripted);
	return applied;
}

void scripted_release(struct scripted *scripted, int id)
{
	scripted_lock(scripted);
	struct rule *rule = rule_find(scripted, id);
	if (rule)
		rule->released = true;
	scripted_poke(scripted);
	scripted_unlock(scripted);
}

void scripted_remove_rule(struct scripted *scripted, int id)
{
	scripted_lock(scripted);
	for (struct rule *rule = scripted->rules; rule; rule = rule->next) {
		if (id == 0 || rule->id == id)
			rule->removed = true;
	}
	scripted_unlock(scripted);
}

void rules_free_all(struct scripted *scripted)
{
	while (scripted->rules) {
		struct rule *rule = scripted->rules;
		struct scripted_rule *own = &rule->script;
		scripted->rules = rule->next;
		free((char *)own->method);
		free((char *)own->path);
		free((char *)own->with_header);
		free((char *)own->body);
		free((char *)own->redirect);
		free((char *)own->headers);
		free((char *)own->etag);
		free((void *)own->raw);
		free(rule);
	}
}
