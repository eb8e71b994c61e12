/* SPDX-License-Identifier: Apache-2.0 */
/* A larder before one upstream, up.test, that has one image under one tag. */
#pragma once

#include "tests/wire/expect.h"

#define BY_TAG      "/v2/team/app/manifests/1.0"
#define ACCEPT_BOTH "Accept: " SCRIPTED_TYPE_MANIFEST ", " SCRIPTED_TYPE_INDEX "\r\n"

/* A tag that is asked about each time. */
#define ALWAYS_STALE                                                                                                   \
	"default_upstream: up.test\n"                                                                                  \
	"upstreams: {up.test: {url: %s, retries: 0, tag_ttl: 0s}}\n"
#define ALWAYS_FRESH                                                                                                   \
	"default_upstream: up.test\n"                                                                                  \
	"upstreams: {up.test: {url: %s, retries: 0, tag_ttl: 1h}}\n"

struct one_tag {
	struct scripted *upstream;
	struct larder *larder;
	struct scripted_image image;
};

/* `config` is larder_configured()'s. */
struct one_tag one_tag_new(struct wire *wire, const char *config);
/* GET of it, with ACCEPT_BOTH. */
void one_tag_get(const struct one_tag *tag, struct client_reply *reply);
/* What is learnt is written behind the answer: by the time that larder has ended, it is. */
void one_tag_settle(const struct one_tag *tag);
/* The tag has been pulled; what follows is counted from nothing. */
void one_tag_pull_first(const struct one_tag *tag);
/* Makes the tag mean another image. */
void one_tag_move(const struct one_tag *tag, struct scripted_image *image);
