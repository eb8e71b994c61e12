/* SPDX-License-Identifier: Apache-2.0 */
/* What a pull would do right now, and why. Nothing is asked upstream and nothing changes. Any thread; reads the disk.
 */
#pragma once

#include "server/pull/pull.h"

#define PULL_PARTS_MAX 4096

enum pull_decision {
	PULL_DECIDES_SERVE,      /* from the store, without asking */
	PULL_DECIDES_REVALIDATE, /* the upstream is asked by HEAD what the tag means; the store has the rest */
	PULL_DECIDES_FETCH,      /* from the upstream */
	PULL_DECIDES_STALE,      /* from the store, with a warning, since the upstream cannot be asked */
	PULL_DECIDES_FAIL,
};

struct pull_explanation {
	bool by_digest;
	/* Of a tag: as any client last asked for it. */
	bool tag_known;
	bool immutable;    /* it matches immutable_tags */
	int64_t known_s;   /* since when it means this … */
	int64_t age_s;     /* … and since the upstream last confirmed it */
	int64_t fresh_s;   /* for how long after that it is not asked about; negative: for ever */
	bool digest_known; /* then these are, but the last two may be unknown: "", PULL_SIZE_UNKNOWN */
	struct digest digest;
	char media_type[PULL_MEDIA_TYPE_MAX + 1];
	uint64_t size;
	bool held; /* the manifest is stored, and linked to this repository */
	enum pull_decision decision;
	char why[ERR_TEXT_MAX];
};

enum pull_part_state {
	PULL_PART_HELD,
	PULL_PART_ELSEWHERE, /* stored; the upstream has yet to say that it belongs to this repository */
	PULL_PART_FLYING,
	PULL_PART_MISSING,
};

/* What a held manifest names. Strings are borrowed during the call. */
struct pull_part {
	unsigned depth;   /* 0: named by the manifest itself */
	const char *kind; /* "manifest", "config", "layer", "blob" */
	struct digest digest;
	const char *media_type; /* "" when absent, like the platform, "linux/arm64/v8" */
	const char *platform;
	uint64_t size; /* PULL_SIZE_UNKNOWN */
	uint64_t have; /* bytes that are there */
	enum pull_part_state state;
};

/* `reference` is a tag or a digest. `each` may be NULL. */
void pull_explain(struct pull *pull, struct pull_upstream *upstream, const char *repository, const char *reference,
		  struct pull_explanation *explanation, void (*each)(void *arg, const struct pull_part *part),
		  void *arg);
