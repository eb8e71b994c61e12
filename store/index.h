/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The index: facts about what the store holds, in LMDB. index*.c are the only files that name LMDB, schema.h the
 * one header that knows how keys and values are encoded.
 *
 *   repository  (upstream, name) -> number                so that long names never meet LMDB's 511-byte keys
 *   tag         (repository, tag, accept) -> digest, media type, when fetched, when last confirmed upstream
 *   link        (repository, digest) -> media type        repository R of upstream U may serve digest D
 *   referrers   (repository, digest) -> as a tag: the list of what refers to a manifest is a blob like any other
 *   blob        digest -> size, last use
 *   reference   (digest of a manifest, digest) -> whether that is a manifest too
 *   pin         (name, repository, tag or digest) -> platforms
 *
 * A root is a held blob that no held manifest references: an image (its index or manifest), or a blob that came alone.
 * A manifest's use counts as one of the indexes that reference it.
 *
 * Reads run on any thread, each in a short transaction that is never kept open over a wait. Writes go to one writer
 * thread that commits many at once: index_write() waits for its commit, index_write_later() does not.
 */
#pragma once

#include "base/digest.h"
#include "base/err.h"
#include "base/ref.h"

#include <stdbool.h>
#include <stdint.h>

struct index;

#define INDEX_MEDIA_TYPE_MAX 255
#define INDEX_PIN_NAME_MAX   128
#define INDEX_PLATFORMS_MAX  255
#define INDEX_MEANINGS_MAX   32                 /* of a tag, each under another Accept */
#define INDEX_MAP_BYTES      ((size_t)16 << 30) /* address space, not disk: the file grows as it is filled */

struct index_repository {
	const char *upstream;   /* the configured name: "docker.io" */
	const char *repository; /* "library/alpine" */
};

/* What a tag meant when the upstream was last asked with a given Accept. `accept` is a number that stands for the set
 * of media types the client takes (server/pull/accept.h); answers to different sets are kept apart. */
struct index_tag {
	struct digest digest;
	uint64_t size;   /* of the manifest */
	int64_t fetched; /* wall seconds: when this digest was first seen under the tag */
	int64_t checked; /* wall seconds: when upstream last confirmed it */
	uint64_t accept;
	char media_type[INDEX_MEDIA_TYPE_MAX + 1];
};

struct index_link {
	char media_type[INDEX_MEDIA_TYPE_MAX + 1]; /* "" for a blob that is no manifest */
};

struct index_blob {
	uint64_t size;
	int64_t last_use;
};

struct index_totals {
	uint64_t blobs;
	uint64_t bytes;
};

/* One reference of a pin. What it means is looked up when it matters: it follows its tag, and need not be held. */
struct index_pin {
	struct index_repository repository;
	const char *reference; /* a tag, or a digest as text */
	const char *platforms; /* "linux/amd64,linux/arm64/v8"; "" for all */
};

/* What names a digest. */
struct index_name {
	struct index_repository repository;
	const char *tag;              /* NULL: no tag */
	const struct digest *subject; /* of a list of referrers; NULL: none. With neither, it is a link */
};

/* Where the pass over all blobs stands that re-hashes them. */
struct index_scrub {
	int64_t began;       /* wall seconds */
	struct digest after; /* the last blob that was read; without an algorithm: none */
	bool done;
};

struct index_options {
	bool upgrade; /* what is there may be of an older format */
	bool check;   /* the last run did not end in an orderly way: look for damage */
};

/* Used by store.c alone. */
int index_open(const char *directory, const struct index_options *options, struct index **index, struct err *err);
void index_close(struct index *index);

/* What was found damaged and replaced by an empty index: only looked up, and rescued from (rescue.c); NULL: none. */
struct index *index_old(struct index *index);
/* Opens one that an earlier run left in `directory`; NULL when nothing can be read of it. */
struct index *index_open_old(const char *directory);
/* Puts one (NULL: none) in the place of the one there was, which is returned. */
struct index *index_take_old(struct index *index, struct index *old);
/* Takes NULL. Its files stay. */
void index_close_old(struct index *old);
/* Removes the files of what was replaced. */
void index_remove_damaged(struct index *index);

/* Whether a write failed in a way after which nothing more can be written: only opening the store anew helps. */
bool index_is_broken(const struct index *index);

/* Lookups: 0, ERR_NOT_FOUND, or ERR_IO (a damaged index). */
int index_get_tag(struct index *index, const struct index_repository *repository, const char *tag, uint64_t accept,
		  struct index_tag *found, struct err *err);
/* The tag's newest record under any Accept for which `acceptable(arg, media_type)` is true: for when upstream cannot be
 * asked. */
int index_get_tag_any(struct index *index, const struct index_repository *repository, const char *tag,
		      bool (*acceptable)(void *arg, const char *media_type), void *arg, struct index_tag *found,
		      struct err *err);
int index_get_link(struct index *index, const struct index_repository *repository, const struct digest *digest,
		   struct index_link *found, struct err *err);
/* The list of what refers to `subject`, as an upstream last told it: its digest, and when that was. */
int index_get_referrers(struct index *index, const struct index_repository *repository, const struct digest *subject,
			struct index_tag *found, struct err *err);
int index_get_blob(struct index *index, const struct digest *digest, struct index_blob *found, struct err *err);
int index_get_scrub(struct index *index, struct index_scrub *scrub, struct err *err);
int index_get_totals(struct index *index, struct index_totals *totals, struct err *err);

/* Calls `each` for every tag name known in the repository, in byte order, each name once, from the first one after
 * `after` ("" for all), until it returns false. ERR_NOT_FOUND when the repository is unknown. */
int index_list_tags(struct index *index, const struct index_repository *repository, const char *after,
		    bool (*each)(void *arg, const char *tag), void *arg, struct err *err);

/* Calls `each` for every record of the repository's tags, in the order of their names, from the first behind `after`
 * (""), until it returns false: a tag has one for each Accept. ERR_NOT_FOUND as above. */
int index_list_tag_records(struct index *index, const struct index_repository *repository, const char *after,
			   bool (*each)(void *arg, const char *name, const struct index_tag *tag), void *arg,
			   struct err *err);
/* Likewise for the records of one tag. */
int index_list_tag(struct index *index, const struct index_repository *repository, const char *name,
		   bool (*each)(void *arg, const char *name, const struct index_tag *tag), void *arg, struct err *err);
/* Likewise for its links, in the order of the digests. */
int index_list_links(struct index *index, const struct index_repository *repository, const struct digest *after,
		     bool (*each)(void *arg, const struct digest *digest, const struct index_link *link), void *arg,
		     struct err *err);
/* Likewise for the subjects of which it has a list of referrers. */
int index_list_subjects(struct index *index, const struct index_repository *repository, const struct digest *after,
			bool (*each)(void *arg, const struct digest *subject), void *arg, struct err *err);

/* The first upstream, in byte order, behind `after` ("" for the first) that the index knows a repository of.
 * ERR_NOT_FOUND: none. */
int index_next_upstream(struct index *index, const char *after, char upstream[REF_UPSTREAM_MAX + 1], struct err *err);

/* Calls `each` for every repository of an upstream that has a tag or a link, in byte order, from the first one after
 * `after` ("" for all), until it returns false. */
int index_list_repositories(struct index *index, const char *upstream, const char *after,
			    bool (*each)(void *arg, const char *repository), void *arg, struct err *err);

struct index_root {
	struct digest digest;
	int64_t last_use;
};

/* Calls `each` for the roots behind `after` (NULL: all), the least recently used first, until it returns false. */
int index_list_roots(struct index *index, const struct index_root *after,
		     bool (*each)(void *arg, const struct index_root *root), void *arg, struct err *err);
/* What a manifest references, and what references a blob, until `each` returns false. */
int index_list_children(struct index *index, const struct digest *parent,
			bool (*each)(void *arg, const struct digest *child, bool is_manifest), void *arg,
			struct err *err);
int index_list_parents(struct index *index, const struct digest *child,
		       bool (*each)(void *arg, const struct digest *parent, bool is_manifest), void *arg,
		       struct err *err);
/* Calls `each` for everything that names the digest (borrowed during the call), until it returns false. */
int index_list_names(struct index *index, const struct digest *digest,
		     bool (*each)(void *arg, const struct index_name *name), void *arg, struct err *err);

/* Calls `each` for every tag, link and list of referrers that names a digest behind `after` (NULL: any), in the order
 * of the digests, until it returns false. `checked` is when upstream last confirmed it, 0 for a link; `needed` whether
 * the digest is held, or a held manifest references it. */
int index_list_named(struct index *index, const struct digest *after,
		     bool (*each)(void *arg, const struct digest *digest, int64_t checked, bool needed), void *arg,
		     struct err *err);

/* Calls `each` for the names of the pins behind `after` (""), in byte order, until it returns false. */
int index_list_pins(struct index *index, const char *after, bool (*each)(void *arg, const char *name), void *arg,
		    struct err *err);
/* Calls `each` for the references of one pin, borrowed during the call. None when there is no such pin. */
int index_list_pin(struct index *index, const char *name, bool (*each)(void *arg, const struct index_pin *pin),
		   void *arg, struct err *err);
/* Calls `each` for the pins of which a reference names this digest itself (what lies above it is not looked at). A pin
 * may be told more than once. */
int index_list_pins_of(struct index *index, const struct digest *digest, bool (*each)(void *arg, const char *name),
		       void *arg, struct err *err);

/* Calls `each` for the pins that have this very reference, or with NULL any of the repository. ERR_NOT_FOUND when the
 * repository is unknown. */
int index_list_pins_in(struct index *index, const struct index_repository *repository, const char *reference,
		       bool (*each)(void *arg, const char *name), void *arg, struct err *err);

/* 0 when a tag means this digest, else ERR_NOT_FOUND. */
int index_find_tag_of(struct index *index, const struct digest *digest, struct err *err);
/* Calls `each` for the blobs behind `after` (NULL: all) in the order of their digests, until it returns false. */
int index_list_blobs(struct index *index, const struct digest *after,
		     bool (*each)(void *arg, const struct digest *digest, const struct index_blob *blob), void *arg,
		     struct err *err);

enum index_change_kind {
	INDEX_PUT_TAG,          /* repository, tag, tag_record */
	INDEX_DELETE_TAG,       /* repository, tag: under every accept */
	INDEX_PUT_LINK,         /* repository, digest, link */
	INDEX_DELETE_LINK,      /* repository, digest */
	INDEX_PUT_REFERRERS,    /* repository, digest (the subject), tag_record (its accept does not count) */
	INDEX_DELETE_REFERRERS, /* repository, digest (the subject) */
	INDEX_PUT_BLOB,         /* digest, blob */
	INDEX_USE_BLOB,         /* digest, blob.last_use: nothing happens when the blob is unknown, or was used later */
	INDEX_DELETE_BLOB,      /* digest: gone, and wanted; what names it stays */
	INDEX_FORGET_BLOB,      /* digest: gone, with every tag, link and list of referrers that names it */
	INDEX_FORGET_NAMES,     /* digest: these alone; nothing when it is held, or a held manifest references it */
	INDEX_PUT_REFERENCE, /* digest (the manifest), child, child_is_manifest: nothing when the manifest is unknown */
	INDEX_PUT_PIN,       /* pin, repository, tag (a tag, or a digest as text), platforms (NULL: all) */
	INDEX_DELETE_PIN,    /* pin, repository, tag */
	INDEX_DELETE_PIN_SET, /* pin: with all its references */
	INDEX_PUT_SCRUB,      /* scrub */
};

/* One change. All pointers are borrowed during the call alone. */
struct index_change {
	enum index_change_kind kind;
	struct index_repository repository;
	const char *tag;
	const struct index_tag *tag_record;
	const struct digest *digest;
	struct index_link link;
	struct index_blob blob;
	const struct digest *child;
	bool child_is_manifest;
	const char *pin;
	const char *platforms;
	struct index_scrub scrub;
};

/* Applies the changes in one transaction and waits until it is durable. Blocks. 0, ERR_NO_SPACE, ERR_IO, or
 * ERR_INVALID when a name, tag or digest is none. */
int index_write(struct index *index, const struct index_change *changes, size_t count, struct err *err);

/* As index_write(), without waiting: durable soon, at the latest when the store is closed. Changes are seen by lookups
 * in the order they were given. ERR_LIMIT when INDEX_QUEUE_MAX changes wait already, ERR_INVALID as above (nothing is
 * queued then). */
#define INDEX_QUEUE_MAX 65536
int index_write_later(struct index *index, const struct index_change *changes, size_t count);

/* Notes that a blob is used now. Gathered in memory, one use a blob, and written every INDEX_USES_MS, before eviction
 * chooses, and when the store is closed: kill -9 costs at most that much of the order of last use. */
#define INDEX_USES_MS  2000
#define INDEX_USES_MAX 4096 /* blobs; then they are written at once */
void index_use_blob(struct index *index, const struct digest *digest);
/* Writes what was gathered, and waits as index_write() does. */
int index_write_uses(struct index *index, struct err *err);

/* A number that every commit changes which may change what a lookup finds, times of last use aside: what was looked up
 * after it was read is still so while it is the same. */
uint64_t index_generation(const struct index *index);
