/* SPDX-License-Identifier: Apache-2.0 */
/* The decisions are those of manifest.c and blob.c, which ask and wait; here they are only told. */
#include "server/pull/explain.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/clock.h"
#include "server/pull/look.h"
#include "server/pull/pull_internal.h"
#include "store/check.h"

#include <stdio.h>
#include <string.h>

static void decide(struct pull_explanation *out, enum pull_decision decision, const char *why)
{
	out->decision = decision;
	snprintf(out->why, sizeof(out->why), "%s", why);
}

/* The tag. */

static bool any_type(void *arg, const char *media_type)
{
	(void)arg;
	(void)media_type;
	return true;
}

static void look_at_tag(struct pull_upstream *upstream, const struct index_repository *repository, const char *name,
			struct pull_explanation *out)
{
	const struct pull_upstream_options *options = &upstream->options;
	int64_t now = clock_wall_s(), fresh = pull_tag_freshness_s(upstream, name);
	struct index_tag tag;
	struct err err;

	out->immutable = pull_glob_matches(options->immutable_tags, options->immutable_tag_count, name);
	out->fresh_s = fresh == PULL_FRESH_FOREVER_S ? -1 : fresh;
	out->tag_known = index_get_tag_any(upstream->pull->index, repository, name, any_type, NULL, &tag, &err) == 0;
	if (!out->tag_known)
		return;
	out->known_s = now > tag.fetched ? now - tag.fetched : 0;
	out->age_s = now > tag.checked ? now - tag.checked : 0;
	out->digest_known = true;
	out->digest = tag.digest;
	out->size = tag.size;
	memcpy(out->media_type, tag.media_type, sizeof(tag.media_type));
}

static void look_at_manifest(struct pull *pull, const struct index_repository *repository, struct pull_explanation *out)
{
	struct index_link link;
	struct err err;
	uint64_t size;

	if (index_get_link(pull->index, repository, &out->digest, &link, &err) || !link.media_type[0] ||
	    store_find_blob(pull->store, &out->digest, &size, &err))
		return;
	out->held = true;
	out->size = size;
	memcpy(out->media_type, link.media_type, sizeof(link.media_type));
}

static bool may_be_stale(const struct pull_upstream *upstream, const struct pull_explanation *out)
{
	uint64_t stale_for_ms = upstream->options.stale_for_ms;
	int64_t stale_by_s = out->fresh_s < 0 ? 0 : out->age_s - out->fresh_s;

	return stale_for_ms == UNITS_FOREVER || stale_by_s <= 0 || (uint64_t)stale_by_s <= stale_for_ms / 1000;
}

static void decide_by_digest(const struct pull *pull, struct pull_explanation *out)
{
	if (out->held)
		decide(out, PULL_DECIDES_SERVE, "it is held, and what a digest names never changes");
	else if (pull->offline)
		decide(out, PULL_DECIDES_FAIL, "larder is offline and does not hold it");
	else
		decide(out, PULL_DECIDES_FETCH, "it is not held for this repository");
}

static void decide_stale(const struct pull_upstream *upstream, struct pull_explanation *out, const char *why)
{
	if (out->held && may_be_stale(upstream, out))
		decide(out, PULL_DECIDES_STALE, why);
	else if (out->held)
		decide(out, PULL_DECIDES_FAIL, "the tag was confirmed too long ago for stale_for");
	else
		decide(out, PULL_DECIDES_FAIL, why);
}

static void decide_tag(const struct pull_upstream *upstream, struct pull_explanation *out)
{
	bool fresh = out->tag_known && (out->fresh_s < 0 || out->age_s < out->fresh_s);
	char why[ERR_TEXT_MAX];

	if (fresh && out->held) {
		decide(out, PULL_DECIDES_SERVE,
		       out->immutable ? "the tag is one that never moves" : "the tag was confirmed within its tag_ttl");
	} else if (upstream->pull->offline) {
		decide_stale(upstream, out, "larder is offline");
	} else if (fresh) {
		decide(out, PULL_DECIDES_FETCH, "what the tag means is known, but not held");
	} else if (!out->tag_known) {
		decide(out, PULL_DECIDES_FETCH, "the tag is not known");
	} else if (health_is_ailing(upstream) && out->held && may_be_stale(upstream, out)) {
		snprintf(why, sizeof(why), "%s does not answer", upstream->name);
		decide_stale(upstream, out, why);
	} else {
		decide(out, PULL_DECIDES_REVALIDATE,
		       out->held ? "the tag was confirmed longer ago than its tag_ttl"
				 : "the tag was confirmed longer ago than its tag_ttl, and what it meant is not held");
	}
}

/* What the manifest names. */

struct walk {
	void (*each)(void *arg, const struct pull_part *part);
	void *arg;
	struct pull_flight *flights; /* all that run: their digests and sizes alone */
	size_t flight_count, flight_cap;
	size_t parts;
};

static void take_flight(void *arg, const struct pull_flight *flight)
{
	struct walk *walk = arg;

	if (walk->flight_count == walk->flight_cap) {
		walk->flight_cap = walk->flight_cap ? walk->flight_cap * 2 : 16;
		walk->flights = mem_realloc(walk->flights, walk->flight_cap * sizeof(*walk->flights));
	}
	walk->flights[walk->flight_count++] =
		(struct pull_flight){.digest = flight->digest, .size = flight->size, .held = flight->held};
}

static enum pull_part_state part_state(const struct check_part *part)
{
	switch (part->state) {
	case CHECK_HELD:
		return PULL_PART_HELD;
	case CHECK_ELSEWHERE:
		return PULL_PART_ELSEWHERE;
	case CHECK_MISSING:
	case CHECK_FOREIGN:
		break;
	}
	return PULL_PART_MISSING;
}

/* The image itself, which the explanation is about, comes first. */
static bool tell_part(void *arg, const struct check_part *check)
{
	struct walk *walk = arg;
	struct pull_part part = {.kind = manifest_kind_name(check->kind),
				 .digest = check->digest,
				 .media_type = check->media_type,
				 .platform = check->kind == MANIFEST_MANIFEST ? check->platform : "",
				 .size = check->size,
				 .state = part_state(check)};

	if (check->depth == 0)
		return true;
	part.depth = check->depth - 1;
	part.have = part.state == PULL_PART_MISSING ? 0 : part.size;
	for (size_t i = 0; i < walk->flight_count; i++)
		if (digest_equal(&walk->flights[i].digest, &part.digest)) {
			part.state = PULL_PART_FLYING;
			part.have = walk->flights[i].held;
		}
	walk->each(walk->arg, &part);
	return ++walk->parts < PULL_PARTS_MAX;
}

void pull_explain(struct pull *pull, struct pull_upstream *upstream, const char *repository, const char *reference,
		  struct pull_explanation *explanation, void (*each)(void *arg, const struct pull_part *part),
		  void *arg)
{
	struct index_repository at = {upstream->name, repository};
	struct walk walk = {.each = each, .arg = arg};

	memset(explanation, 0, sizeof(*explanation));
	explanation->size = PULL_SIZE_UNKNOWN;
	explanation->by_digest = explanation->digest_known = digest_parse(reference, &explanation->digest) == 0;
	if (!explanation->by_digest)
		look_at_tag(upstream, &at, reference, explanation);
	if (explanation->digest_known)
		look_at_manifest(pull, &at, explanation);
	if (explanation->by_digest)
		decide_by_digest(pull, explanation);
	else
		decide_tag(upstream, explanation);
	if (!each || !explanation->held)
		return;
	pull_list_flights(pull, take_flight, &walk);
	check_walk(pull->store, &at, &explanation->digest, &(struct check_options){0}, tell_part, &walk, NULL);
	free(walk.flights);
}
