/* SPDX-License-Identifier: Apache-2.0 */
/* `larder explain`: what a pull would do right now, and why. */
#include "server/admin/admin_internal.h"

#include "base/ref.h"
#include "server/pull/explain.h"
#include "server/pull/look.h"
#include "server/registry/route.h"

#include <string.h>

/* A reference, found the way that a client's request is. An error is answered. */
static bool find_route(struct admin_visit *visit, struct route *route, struct ref *ref)
{
	char text[ADMIN_VALUE_MAX], ns[REF_UPSTREAM_MAX + 8];
	struct err err = {0};
	int code;

	if (!admin_parameter(visit, "ref", text))
		return false;
	code = ref_parse(text, ref, &err);
	if (code == 0) {
		bool by_ns = http_query_value(visit->query, "ns", ns, sizeof(ns)) == 0;

		code = route_find(visit->admin->pull, ref, by_ns ? ns : NULL, route, &err);
	}
	if (code)
		admin_reply_err(visit, &err);
	return code == 0;
}

/* docs: "Which upstream a request means". */
static json_t *describe_rule(struct pull *pull, const struct route *route, const struct ref *ref)
{
	size_t first = strcspn(ref->name, "/");

	if (route->by_ns)
		return json_pack("{s:i, s:s}", "rule", 1, "why", "?ns= names the upstream");
	if (ref->name[first] == '/' && pull_find_upstream(pull, ref->name, first))
		return json_pack("{s:i, s:s}", "rule", 2, "why", "the name begins with the upstream's name or alias");
	return json_pack("{s:i, s:s}", "rule", 3, "why", "no upstream is named: the default one");
}

static json_t *describe_size(uint64_t size)
{
	return size == PULL_SIZE_UNKNOWN || size > INT64_MAX ? json_null() : json_integer((json_int_t)size);
}

static json_t *describe_digest(const struct digest *digest)
{
	char text[DIGEST_TEXT_MAX];

	return json_string(digest_format(digest, text));
}

static json_t *describe_tag(const struct pull_explanation *explanation)
{
	json_t *tag;

	if (explanation->by_digest)
		return json_null();
	tag = json_pack("{s:b, s:b, s:o}", "known", explanation->tag_known, "immutable", explanation->immutable,
			"fresh_for_s", explanation->fresh_s < 0 ? json_null() : json_integer(explanation->fresh_s));
	if (explanation->tag_known) {
		json_object_set_new(tag, "known_s", json_integer(explanation->known_s));
		json_object_set_new(tag, "confirmed_s_ago", json_integer(explanation->age_s));
	}
	return tag;
}

static json_t *describe_manifest(const struct pull_explanation *explanation)
{
	if (!explanation->digest_known)
		return json_null();
	return json_pack("{s:o, s:o, s:o, s:b}", "digest", describe_digest(&explanation->digest), "media_type",
			 admin_words(explanation->media_type), "size", describe_size(explanation->size), "held",
			 explanation->held);
}

static void add_part(void *arg, const struct pull_part *part)
{
	static const char *const states[] = {
		[PULL_PART_HELD] = "held",
		[PULL_PART_ELSEWHERE] = "held elsewhere",
		[PULL_PART_FLYING] = "in flight",
		[PULL_PART_MISSING] = "missing",
	};

	json_array_append_new(arg,
			      json_pack("{s:i, s:s, s:o, s:s, s:s, s:o, s:o, s:s}", "depth", (int)part->depth, "kind",
					part->kind, "digest", describe_digest(&part->digest), "media_type",
					part->media_type, "platform", part->platform, "size", describe_size(part->size),
					"held_bytes", describe_size(part->have), "state", states[part->state]));
}

void admin_explain(struct admin_visit *visit)
{
	static const char *const decisions[] = {
		[PULL_DECIDES_SERVE] = "serve", [PULL_DECIDES_REVALIDATE] = "revalidate",
		[PULL_DECIDES_FETCH] = "fetch", [PULL_DECIDES_STALE] = "serve stale",
		[PULL_DECIDES_FAIL] = "fail",
	};
	struct pull *pull = visit->admin->pull;
	struct pull_explanation explanation;
	json_t *parts;
	struct route route;
	struct ref ref;

	if (!find_route(visit, &route, &ref))
		return;
	parts = json_array();
	pull_explain(pull, route.upstream, route.repository, route.reference, &explanation, add_part, parts);
	admin_reply_json(visit, 200,
			 json_pack("{s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:o}", "repository", route.repository,
				   "reference", route.reference, "route", describe_rule(pull, &route, &ref), "upstream",
				   admin_describe_upstream(route.upstream), "tag", describe_tag(&explanation),
				   "decision", decisions[explanation.decision], "why", admin_words(explanation.why),
				   "manifest", describe_manifest(&explanation), "parts", parts));
}
