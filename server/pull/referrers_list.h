/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The referrers of one manifest, put together from what the upstream says: the pages of its referrers API or, where it
 * has none, the index under the tag that stands in for it (distribution-spec, "Referrers Tag Schema"). No I/O: the ask
 * that owns the list asks what is to be asked next, and hands over what it got. One thread at a time.
 */
#pragma once

#include "server/pull/ask.h"

#define REFERRERS_TYPE      "application/vnd.oci.image.index.v1+json"
#define REFERRERS_PAGES_MAX 64
#define REFERRERS_TAG_MAX   (sizeof("sha256-.sbom") + 64) /* with the NUL */

struct referrers_list;

struct referrers_list *referrers_list_new(const struct digest *subject);
/* Takes NULL. */
void referrers_list_free(struct referrers_list *list);

/* What is to be asked. The reference is borrowed, until the next referrers_list_take(). */
enum registry_kind referrers_list_kind(const struct referrers_list *list);
const char *referrers_list_reference(const struct referrers_list *list);

/* Takes an answer, or, with err->code, that there was none. ERR_AGAIN: something else is to be asked, and *err is
 * cleared. 0: the list is whole, likewise. Else it failed, and *err says why. */
int referrers_list_take(struct referrers_list *list, struct ask_result *result, struct err *err);

/* Of a whole list. */
bool referrers_list_is_empty(const struct referrers_list *list);
/* The index. What came in one piece stays as it came: `body` is then left alone. ERR_LIMIT when it is too long. */
int referrers_list_write(const struct referrers_list *list, struct buf *body, struct err *err);

/* The index with the descriptors of one artifact type alone, for the caller to free; NULL when it is none. */
char *referrers_filter(const void *index, size_t len, const char *artifact_type);

/* The tags that stand for what belongs to a manifest end so: the list's in nothing, and cosign's, who keeps a
 * signature, attestations or an SBOM under one each instead, in the others. */
#define REFERRERS_SUFFIXES 4
extern const char *const referrers_suffixes[REFERRERS_SUFFIXES];
/* "sha256-<hex>" with a suffix; of longer digests, as much as fits a tag. */
void referrers_tag(const struct digest *subject, const char *suffix, char tag[REFERRERS_TAG_MAX]);
