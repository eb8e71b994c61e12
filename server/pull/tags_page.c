/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/tags_page.h"

#include "base/cleanup.h"
#include "base/ref.h"
#include "upstream/url.h"

#include <stdlib.h>
#include <string.h>

char *tags_page_query(const struct pull_page *page)
{
	_cleanup_free_ char *last = url_escape(page->last), *token = url_escape(page->token);
	struct buf query = {0};

	buf_append_text(&query, "");
	if (page->count != PULL_PAGE_ALL)
		buf_printf(&query, "&n=%zu", page->count);
	if (*last)
		buf_printf(&query, "&last=%s", last);
	if (*token)
		buf_printf(&query, "&next_page=%s", token);
	if (query.len > 0)
		memmove(query.data, query.data + 1, query.len); /* with the NUL */
	return query.data ? query.data : mem_strdup("");
}

static int compare(const void *a, const void *b)
{
	return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* Its tags in order, for the caller to free; the strings are the list's. What is no tag nobody can pull, and the page
 * after it would begin at a name of any length. */
static const char **sort_names(const json_t *list, size_t *count, bool *has_last, const char *last)
{
	const char **names = mem_alloc((json_array_size(list) + 1) * sizeof(*names));
	const json_t *item;
	size_t i;

	*count = 0;
	*has_last = false;
	json_array_foreach(list, i, item)
	{
		const char *name = json_string_value(item);

		if (!name || !ref_tag_valid(name, json_string_length(item)))
			continue;
		*has_last = *has_last || strcmp(name, last) == 0;
		names[(*count)++] = name;
	}
	qsort(names, *count, sizeof(*names), compare);
	return names;
}

bool tags_page_cut(json_t *document, const struct pull_page *page, struct buf *body, char **next)
{
	json_t *list = json_object_get(document, "tags"), *cut;
	size_t count, first = 0;
	bool has_last;
	_cleanup_free_ const char **names = sort_names(list, &count, &has_last, page->last);
	_cleanup_free_ char *text = NULL;

	if (*page->token || (!has_last && count <= page->count))
		return false;
	while (first < count && strcmp(names[first], page->last) <= 0)
		first++;
	cut = json_array();
	for (size_t i = first; i < count && i - first < page->count; i++)
		json_array_append_new(cut, json_string(names[i]));
	*next = NULL;
	if (page->count > 0 && count - first > page->count) {
		struct pull_page after = {.count = page->count, .last = names[first + page->count - 1], .token = ""};

		*next = tags_page_query(&after);
	}
	json_object_set_new(document, "tags", cut);
	text = json_dumps(document, JSON_COMPACT);
	buf_clear(body);
	buf_append_text(body, text);
	return true;
}
