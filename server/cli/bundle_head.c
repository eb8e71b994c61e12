/* SPDX-License-Identifier: Apache-2.0 */
#include "server/cli/bundle_head.h"

#include "server/bundle/describe.h"
#include "server/bundle/tar.h"

#include <stdint.h>
#include <string.h>

/* It begins with a plain header: how long the member is with all, 0 while that is not known. */
static size_t whole_length(const struct bundle_head *head)
{
	uint64_t size;

	if (head->text.len < TAR_BLOCK)
		return 0;
	size = tar_read_size((const uint8_t *)head->text.data);
	return size > BUNDLE_SELF_MAX ? SIZE_MAX : TAR_BLOCK + (size_t)size + tar_padding(size);
}

static size_t wanted_length(const struct bundle_head *head)
{
	size_t whole = whole_length(head);

	return whole ? whole : TAR_BLOCK;
}

ssize_t bundle_head_take(struct bundle_head *head, const void *data, size_t len, struct err *err)
{
	size_t taken = 0;

	head->text.max = BUNDLE_SELF_MAX + 2 * TAR_HEADER_MAX;
	while (taken < len && wanted_length(head) > head->text.len) {
		size_t want = wanted_length(head) - head->text.len, count = want < len - taken ? want : len - taken;

		if (buf_append(&head->text, (const char *)data + taken, count))
			return err_set(err, ERR_INVALID, "what came is no bundle");
		taken += count;
		if (head->text.len >= TAR_BLOCK && strncmp(head->text.data, BUNDLE_SELF, sizeof(BUNDLE_SELF)) != 0)
			return err_set(err, ERR_INVALID, "what came is no bundle");
	}
	head->done = whole_length(head) > 0 && head->text.len == whole_length(head);
	return (ssize_t)taken;
}

const char *bundle_head_self(const struct bundle_head *head, size_t *len)
{
	*len = head->done ? (size_t)tar_read_size((const uint8_t *)head->text.data) : 0;
	return head->done ? head->text.data + TAR_BLOCK : "";
}
