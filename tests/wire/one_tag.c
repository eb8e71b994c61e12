/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/wire/one_tag.h"

#include "base/cleanup.h"

struct one_tag one_tag_new(struct wire *wire, const char *config)
{
	struct one_tag tag = {.upstream = wire_upstream(wire, NULL)};
	scripted_add_image(tag.upstream, "team/app", "1.0", &(struct scripted_image_options){.layer_size = 100},
			   &tag.image);
	tag.larder = larder_configured(wire, tag.upstream, config);
	return tag;
}

void one_tag_get(const struct one_tag *tag, struct client_reply *reply)
{
	ask(tag->larder, NULL, ACCEPT_BOTH, reply, BY_TAG);
}

void one_tag_settle(const struct one_tag *tag)
{
	larder_stop(tag->larder);
	larder_restart(tag->larder);
}

void one_tag_pull_first(const struct one_tag *tag)
{
	_cleanup_(client_reply_dispose) struct client_reply reply = {0};
	one_tag_get(tag, &reply);
	expect_content(&reply, tag->image.manifest);
	expect_header(&reply, "Cache-Status", "larder; fwd=miss; stored");
	one_tag_settle(tag);
	scripted_clear_log(tag->upstream);
}

void one_tag_move(const struct one_tag *tag, struct scripted_image *image)
{
	scripted_add_image(tag->upstream, "team/app", "1.0",
			   &(struct scripted_image_options){.layer_size = 100, .seed = 5}, image);
}
