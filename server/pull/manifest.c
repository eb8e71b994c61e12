/* SPDX-License-Identifier: Apache-2.0 */
/* One client's interest in one manifest, by digest or by tag. */
#include "server/pull/accept.h"
#include "server/pull/ask.h"

#include "base/buf.h"
#include "base/clock.h"

#include <stdlib.h>
#include <string.h>

#define REFRESH_TTL_MIN_S 30 /* a tag with a shorter life is not asked about ahead of its end */

enum manifest_state {
	MANIFEST_TAG,     /* what does the tag mean, as far as we know? -> HELD, RESOLVE, FAILED */
	MANIFEST_RESOLVE, /* the upstream is asked what it means now    -> HELD, READY, RESOLVE (by GET), TAG, FAILED */
	MANIFEST_HELD,    /* the digest is known: is it in the store?   -> READY, FETCH, FAILED */
	MANIFEST_FETCH,   /* the upstream is asked for it by digest     -> READY, FAILED */
	MANIFEST_READY,
	MANIFEST_FAILED,
};

struct pull_manifest {
	struct pull *pull;
	struct pull_upstream *upstream;
	char *repository;
	struct client_login *login;
	char *reference;
	struct accept accept;
	bool head;
	enum pace_priority priority;

	enum manifest_state state;
	unsigned landings;   /* before the last look into the store */
	uint64_t generation; /* of the index, before the first one */
	bool stored;         /* read out of the store, not asked for */
	struct ask *ask;
	enum ask_had ask_had;
	bool ask_is_head;
	struct waiter *waiter;
	bool have_tag;        /* known under this client's Accept */
	bool have_fallback;   /* known under one whose answer it takes */
	bool moved;           /* the upstream said that the tag means something that is not held */
	struct index_tag tag; /* what is known of the tag */

	struct digest digest;
	char media_type[PULL_MEDIA_TYPE_MAX + 1];
	uint64_t size;
	const void *data;
	char *own_data; /* read from the store */
	struct pull_status status;
	struct err err;
};

struct pull_manifest *pull_manifest_open(struct pull *pull, struct pull_upstream *upstream, const char *repository,
					 const char *reference, const char *accept, bool head)
{
	struct pull_manifest *manifest = mem_alloc(sizeof(*manifest));

	manifest->pull = pull;
	manifest->upstream = upstream;
	manifest->repository = mem_strdup(repository);
	manifest->reference = mem_strdup(reference);
	accept_parse(accept, &manifest->accept);
	manifest->head = head;
	manifest->generation = pull_generation(pull);
	manifest->state = digest_parse(reference, &manifest->digest) == 0 ? MANIFEST_HELD : MANIFEST_TAG;
	return manifest;
}

void pull_manifest_login(struct pull_manifest *manifest, struct client_login *login)
{
	manifest->login = client_login_hold(login);
}

void pull_manifest_defer(struct pull_manifest *manifest)
{
	manifest->priority = PACE_PREFETCH;
}

static enum manifest_state fail(struct pull_manifest *manifest, int code, const char *why)
{
	err_set(&manifest->err, code, "%s", why);
	return MANIFEST_FAILED;
}

static struct ask_request ask_about(const struct pull_manifest *manifest, const char *reference, bool head,
				    bool impatient)
{
	return (struct ask_request){
		.upstream = manifest->upstream,
		.kind = REGISTRY_MANIFEST,
		.head = head,
		.repository = manifest->repository,
		.reference = reference,
		.accept = manifest->accept.text,
		.accept_key = manifest->accept.key,
		.impatient = impatient && manifest->priority == PACE_CLIENT,
		.priority = manifest->priority,
		.landings = manifest->landings,
		.login = manifest->login,
		/* By its digest, for a tag that has moved to it. */
		.tag = manifest->moved && !head ? manifest->reference : NULL,
	};
}

/* False: look into the store again. */
static bool ask(struct pull_manifest *manifest, const char *reference, bool head, bool impatient)
{
	struct ask_request request = ask_about(manifest, reference, head, impatient);
	struct ask *opened = ask_open(manifest->pull, &request, &manifest->ask_had);

	if (!opened)
		return false;
	ask_release(manifest->ask, NULL);
	manifest->ask_is_head = ask_is_head(opened);
	manifest->ask = opened;
	return true;
}

/* TAG. */

/* How long before its end a tag in use is asked about; 0: not at all. */
static int64_t refresh_ahead_s(const struct pull_upstream *upstream, int64_t freshness_s)
{
	int64_t ttl = (int64_t)(upstream->options.tag_ttl_ms / 1000);

	return freshness_s == ttl && ttl >= REFRESH_TTL_MIN_S ? ttl / 5 : 0;
}

static bool acceptable(void *arg, const char *media_type)
{
	return accept_takes(arg, media_type);
}

/* What the index knows of the tag: under this client's Accept, or, where upstream cannot be asked, under any whose
 * answer this client takes. */
static bool know_tag(struct pull_manifest *manifest, bool any)
{
	struct index_repository repository = {manifest->upstream->name, manifest->repository};
	struct index *index = manifest->pull->index;
	struct err err;

	if (index_get_tag(index, &repository, manifest->reference, manifest->accept.key, &manifest->tag, &err) == 0)
		return true;
	return any && index_get_tag_any(index, &repository, manifest->reference, acceptable, &manifest->accept,
					&manifest->tag, &err) == 0;
}

static enum manifest_state use_tag(struct pull_manifest *manifest)
{
	const struct index_tag *tag = &manifest->tag;

	manifest->digest = tag->digest;
	manifest->size = tag->size;
	memcpy(manifest->media_type, tag->media_type, sizeof(tag->media_type));
	return MANIFEST_HELD;
}

int64_t pull_tag_freshness_s(const struct pull_upstream *upstream, const char *tag)
{
	const struct pull_upstream_options *options = &upstream->options;

	if (pull_glob_matches(options->immutable_tags, options->immutable_tag_count, tag))
		return PULL_FRESH_FOREVER_S;
	return options->tag_ttl_ms == UNITS_FOREVER ? PULL_FRESH_FOREVER_S : (int64_t)(options->tag_ttl_ms / 1000);
}

static int64_t freshness_s(const struct pull_manifest *manifest)
{
	return pull_tag_freshness_s(manifest->upstream, manifest->reference);
}

static int64_t tag_age_s(const struct pull_manifest *manifest)
{
	int64_t age = clock_wall_s() - manifest->tag.checked;

	return age > 0 ? age : 0;
}

/* Serves what is known although it is old, and says so. False when it is not known, or too old. */
static bool use_stale(struct pull_manifest *manifest, const struct err *why)
{
	uint64_t stale_for_ms = manifest->upstream->options.stale_for_ms;

	if (!know_tag(manifest, true))
		return false;
	manifest->status.age_s = tag_age_s(manifest);
	manifest->status.stale_by_s = manifest->status.age_s - freshness_s(manifest);
	if (stale_for_ms != UNITS_FOREVER && manifest->status.stale_by_s > 0 &&
	    (uint64_t)manifest->status.stale_by_s > stale_for_ms / 1000)
		return false;
	manifest->status.outcome = PULL_STALE;
	memcpy(manifest->status.why, why->text, sizeof(why->text));
	use_tag(manifest);
	return true;
}

/* Served while it is fresh, and asked about before it is not: a tag in use never makes its clients wait. */
static void refresh_ahead(struct pull_manifest *manifest)
{
	struct ask_request request = ask_about(manifest, manifest->reference, true, true);
	int64_t freshness = freshness_s(manifest), ahead = refresh_ahead_s(manifest->upstream, freshness);

	if (ahead > 0 && tag_age_s(manifest) >= freshness - ahead && !manifest->pull->offline &&
	    !health_is_ailing(manifest->upstream))
		ask_in_background(manifest->pull, &request);
}

static enum manifest_state look_at_tag(struct pull_manifest *manifest)
{
	struct err why;

	manifest->landings = pull_landings(manifest->pull);
	manifest->have_fallback = know_tag(manifest, true);
	manifest->have_tag = manifest->have_fallback && manifest->tag.accept == manifest->accept.key;
	if (manifest->have_tag && tag_age_s(manifest) < freshness_s(manifest)) {
		refresh_ahead(manifest);
		return use_tag(manifest);
	}
	if (manifest->pull->offline) {
		err_set(&why, ERR_OFFLINE, "larder is offline");
		if (use_stale(manifest, &why))
			return MANIFEST_HELD;
		return fail(manifest, ERR_OFFLINE, "larder is offline and does not hold this tag");
	}
	if (manifest->have_fallback && health_is_ailing(manifest->upstream)) {
		err_set(&why, ERR_UPSTREAM, "%s does not answer", manifest->upstream->name);
		if (use_stale(manifest, &why))
			return MANIFEST_HELD;
	}
	/* A tag that is known is asked about by HEAD, which costs the upstream nothing; one that is not, is fetched at
	 * once. */
	return ask(manifest, manifest->reference, manifest->head || manifest->have_tag, manifest->have_fallback)
		       ? MANIFEST_RESOLVE
		       : MANIFEST_TAG;
}

static bool is_impatient(const struct pull_manifest *manifest)
{
	return manifest->have_fallback && manifest->priority == PACE_CLIENT;
}

/* RESOLVE. */

static void take_result(struct pull_manifest *manifest, const struct ask_result *result)
{
	manifest->digest = result->digest;
	manifest->size = result->size;
	memcpy(manifest->media_type, result->media_type, sizeof(result->media_type));
	if (!manifest->ask_is_head) {
		manifest->data = result->body.data ? result->body.data : "";
		manifest->status.outcome = ask_outcome(manifest->ask_had);
	}
}

static enum manifest_state resolve(struct pull_manifest *manifest, struct waiter *waiter)
{
	const struct ask_result *result;
	struct err err = {0};
	int code;

	if (manifest->ask_had == ASK_OLD)
		return ask_outlast(&manifest->ask, waiter) ? MANIFEST_TAG : MANIFEST_RESOLVE;
	code = ask_poll(manifest->ask, waiter, is_impatient(manifest), &result, &err);
	if (code == ERR_AGAIN)
		return MANIFEST_RESOLVE;
	if (code) {
		if (code != ERR_NOT_FOUND && code != ERR_CANCELLED && use_stale(manifest, &err))
			return MANIFEST_HELD;
		manifest->err = err;
		return MANIFEST_FAILED;
	}
	if (manifest->ask_is_head && (result->digest.algorithm == 0 || result->size == REGISTRY_LENGTH_UNKNOWN)) {
		/* A registry that does not say in a HEAD what a tag means: its bytes do. */
		manifest->landings = pull_landings(manifest->pull);
		return ask(manifest, manifest->reference, false, manifest->have_tag) ? MANIFEST_RESOLVE : MANIFEST_TAG;
	}
	take_result(manifest, result);
	manifest->moved = manifest->ask_is_head;
	return manifest->ask_is_head ? MANIFEST_HELD : MANIFEST_READY;
}

/* HELD and FETCH. */

static int read_stored(struct pull_manifest *manifest)
{
	uint64_t size;
	struct err err;
	size_t len;

	if (manifest->head) {
		int code = store_find_blob(manifest->pull->store, &manifest->digest, &size, &err);
		if (code == 0)
			manifest->size = size;
		return code;
	}
	manifest->own_data = manifest_load(manifest->pull->store, &manifest->digest, &len);
	if (!manifest->own_data)
		return ERR_NOT_FOUND;
	manifest->data = manifest->own_data;
	manifest->size = len;
	return 0;
}

static enum manifest_state look_in_store(struct pull_manifest *manifest)
{
	struct index_repository repository = {manifest->upstream->name, manifest->repository};
	char reference[DIGEST_TEXT_MAX];
	struct index_link link;
	struct err err;

	manifest->landings = pull_landings(manifest->pull);
	/* A link without a media type is a blob's: that its bytes may be a manifest's too is for the upstream to say.
	 */
	if (index_get_link(manifest->pull->index, &repository, &manifest->digest, &link, &err) == 0 &&
	    link.media_type[0] && read_stored(manifest) == 0) {
		memcpy(manifest->media_type, link.media_type, sizeof(link.media_type));
		index_use_blob(manifest->pull->index, &manifest->digest);
		manifest->stored = true;
		return MANIFEST_READY;
	}
	if (manifest->head && manifest->media_type[0]) {
		/* Known from the tag: enough for a HEAD, though the bytes are not held. */
		if (manifest->status.outcome == PULL_HIT && manifest->ask)
			manifest->status.outcome =
				manifest->ask_had == ASK_BEGUN ? PULL_PASSED : ask_outcome(manifest->ask_had);
		return MANIFEST_READY;
	}
	if (manifest->pull->offline)
		return fail(manifest, ERR_OFFLINE, "larder is offline and does not hold this manifest");
	return ask(manifest, digest_format(&manifest->digest, reference), manifest->head, false) ? MANIFEST_FETCH
												 : MANIFEST_HELD;
}

/* The tag has moved, and its new manifest cannot be had: what it meant before is held. */
static bool fall_back(struct pull_manifest *manifest, const struct err *why)
{
	struct digest wanted = manifest->digest;

	if (!manifest->have_fallback || manifest->status.outcome == PULL_STALE || why->code == ERR_CANCELLED ||
	    !use_stale(manifest, why))
		return false;
	return !digest_equal(&wanted, &manifest->digest);
}

static enum manifest_state fetch(struct pull_manifest *manifest, struct waiter *waiter)
{
	const struct ask_result *result;
	struct digest wanted = manifest->digest;
	struct err err = {0};
	int code = ask_poll(manifest->ask, waiter, is_impatient(manifest), &result, &err);

	if (code == ERR_AGAIN)
		return MANIFEST_FETCH;
	if (code) {
		if (fall_back(manifest, &err))
			return MANIFEST_HELD;
		manifest->err = err;
		return MANIFEST_FAILED;
	}
	take_result(manifest, result);
	if (manifest->ask_is_head) {
		manifest->digest = wanted;
		manifest->status.outcome = PULL_PASSED;
		if (result->size == REGISTRY_LENGTH_UNKNOWN) {
			char reference[DIGEST_TEXT_MAX];

			manifest->landings = pull_landings(manifest->pull);
			return ask(manifest, digest_format(&wanted, reference), false, false) ? MANIFEST_FETCH
											      : MANIFEST_HELD;
		}
	}
	return MANIFEST_READY;
}

int pull_manifest_poll(struct pull_manifest *manifest, struct waiter *waiter, struct err *err)
{
	manifest->waiter = waiter;
	for (;;) {
		struct ask *asked = manifest->ask;
		enum manifest_state before = manifest->state;

		switch (before) {
		case MANIFEST_TAG:
			manifest->state = look_at_tag(manifest);
			break;
		case MANIFEST_RESOLVE:
			manifest->state = resolve(manifest, waiter);
			break;
		case MANIFEST_HELD:
			manifest->state = look_in_store(manifest);
			break;
		case MANIFEST_FETCH:
			manifest->state = fetch(manifest, waiter);
			break;
		case MANIFEST_READY:
			manifest->waiter = NULL; /* it is on no list */
			return 0;
		case MANIFEST_FAILED:
			*err = manifest->err;
			return err->code;
		}
		if (manifest->state == before && manifest->ask == asked &&
		    (before == MANIFEST_RESOLVE || before == MANIFEST_FETCH))
			return ERR_AGAIN; /* the waiter was paused */
	}
}

int pull_manifest_poll_kept(struct pull_manifest *manifest, struct waiter *waiter, struct err *err)
{
	int code = manifest->ask ? ask_poll_kept(manifest->ask, waiter, err) : 0;

	manifest->waiter = code == ERR_AGAIN ? waiter : NULL;
	return code;
}

/* Results. */

const struct digest *pull_manifest_digest(const struct pull_manifest *manifest)
{
	return &manifest->digest;
}

const char *pull_manifest_media_type(const struct pull_manifest *manifest)
{
	return manifest->media_type;
}

uint64_t pull_manifest_size(const struct pull_manifest *manifest)
{
	return manifest->size;
}

const void *pull_manifest_data(const struct pull_manifest *manifest)
{
	return manifest->data;
}

const struct pull_status *pull_manifest_status(const struct pull_manifest *manifest)
{
	return &manifest->status;
}

bool pull_manifest_ticket(const struct pull_manifest *manifest, struct pull_ticket *ticket)
{
	bool by_tag = manifest->have_fallback;
	int64_t freshness;

	if (!manifest->stored || manifest->ask || manifest->status.outcome != PULL_HIT)
		return false;
	*ticket = (struct pull_ticket){
		.generation = manifest->generation, .until_s = INT64_MAX, .digest = manifest->digest};
	if (by_tag) {
		freshness = freshness_s(manifest);
		ticket->until_s = manifest->tag.checked + freshness - refresh_ahead_s(manifest->upstream, freshness);
	}
	return true;
}

bool pull_ticket_use(struct pull *pull, struct pull_ticket *ticket)
{
	int64_t now = clock_wall_s();

	if (now >= ticket->until_s || pull_generation(pull) != ticket->generation)
		return false;
	if (__atomic_exchange_n(&ticket->used_s, now, __ATOMIC_RELAXED) != now)
		index_use_blob(pull->index, &ticket->digest);
	return true;
}

void pull_manifest_close(struct pull_manifest *manifest)
{
	if (!manifest)
		return;
	ask_release(manifest->ask, manifest->waiter);
	free(manifest->own_data);
	free(manifest->repository);
	client_login_release(manifest->login);
	free(manifest->reference);
	free(manifest);
}
