/* SPDX-License-Identifier: Apache-2.0 */
/* Values: from text into the field that the table names, and back. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config_keys.h"
#include "server/cli/config_text.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <string.h>
#include <strings.h>

static int set_string(const struct config_key *key, char **field, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	const char *why = NULL;
	char *taken = NULL;
	if (!*text && key->min)
		return err_set(err, ERR_INVALID, "is empty; give a value or leave the key out");
	if (*text) {
		taken = key->take(text, &why);
		if (!taken)
			return err_set(err, ERR_INVALID, "'%s' %s", text_show(text, shown), why);
	}
	free(*field);
	*field = taken; /* an empty text unsets, so that `username: ${HUB_USER:-}` works */
	return 0;
}

static int add_item(const struct config_key *key, struct config_list *list, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	const char *why = NULL;
	if (!*text)
		return err_set(err, ERR_INVALID, "has an empty item; give it a value or leave it out");
	if (list->count == CONFIG_LIST_MAX)
		return err_set(err, ERR_INVALID, "has too many items; up to %d are taken", CONFIG_LIST_MAX);
	char *taken = key->take(text, &why);
	if (!taken)
		return err_set(err, ERR_INVALID, "'%s' %s", text_show(text, shown), why);
	list->items = mem_realloc(list->items, (list->count + 2) * sizeof(*list->items));
	list->items[list->count++] = taken;
	list->items[list->count] = NULL;
	return 0;
}

static int set_bool(bool *field, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	bool yes = !strcasecmp(text, "true");
	if (!yes && strcasecmp(text, "false") != 0)
		return err_set(err, ERR_INVALID, "'%s' is neither true nor false; write one of them",
			       text_show(text, shown));
	*field = yes;
	return 0;
}

static int set_uint(const struct config_key *key, unsigned *field, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	size_t digits = strspn(text, "0123456789");
	errno = 0;
	uint64_t number = strtoull(text, NULL, 10);
	if (!digits || text[digits] || errno || number < key->min || number > key->max)
		return err_set(err, ERR_INVALID, "'%s' is not a number from %" PRIu64 " to %" PRIu64,
			       text_show(text, shown), key->min, key->max);
	*field = (unsigned)number;
	return 0;
}

static int set_duration(const struct config_key *key, uint64_t *field, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	char least[UNITS_TEXT_MAX];
	char most[UNITS_TEXT_MAX];
	uint64_t ms = 0;
	if (units_parse_duration(text, &ms))
		return err_set(err, ERR_INVALID, "'%s' is not a duration; write one like 30s, 5m, 12h or 1h30m%s",
			       text_show(text, shown), key->max == UNITS_FOREVER ? ", or forever" : "");
	if (ms < key->min || ms > key->max)
		return err_set(err, ERR_INVALID, "'%s' is out of bounds; write a duration from %s to %s",
			       text_show(text, shown), units_format_duration(key->min, least),
			       units_format_duration(key->max, most));
	*field = ms;
	return 0;
}

static int set_size(const struct config_key *key, uint64_t *field, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	char least[UNITS_TEXT_MAX];
	char most[UNITS_TEXT_MAX];
	uint64_t bytes = 0;
	if (units_parse_size(text, &bytes))
		return err_set(err, ERR_INVALID, "'%s' is not a size; write one like 512MiB or 200GiB",
			       text_show(text, shown));
	if (key->max && (bytes < key->min || bytes > key->max))
		return err_set(err, ERR_INVALID, "'%s' is out of bounds; write a size from %s to %s",
			       text_show(text, shown), units_format_size(key->min, least),
			       units_format_size(key->max, most));
	*field = bytes;
	return 0;
}

static int set_choice(const struct config_key *key, unsigned *field, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	_cleanup_(buf_dispose) struct buf known = {0};
	for (unsigned i = 0; key->choices[i]; i++) {
		if (!strcmp(key->choices[i], text)) {
			*field = i;
			return 0;
		}
		const char *glue = i == 0 ? "" : key->choices[i + 1] ? ", " : " or ";
		buf_printf(&known, "%s%s", glue, key->choices[i]);
	}
	return err_set(err, ERR_INVALID, "'%s' is not known; write %s", text_show(text, shown), known.data);
}

int config_key_set(const struct config_key *key, void *base, const char *text, struct err *err)
{
	char shown[TEXT_SHOWN_MAX];
	void *field = config_key_field(key, base);
	if (!text_is_plain(text))
		return err_set(err, ERR_INVALID,
			       "'%s' holds control characters, line ends or invalid UTF-8; write plain text",
			       text_show(text, shown));
	if (strlen(text) > CONFIG_VALUE_MAX)
		return err_set(err, ERR_INVALID, "is longer than %zu bytes", CONFIG_VALUE_MAX);
	if (key->given)
		*(bool *)((char *)base + key->given) = true;
	switch (key->kind) {
	case CONFIG_STRING:
		return set_string(key, field, text, err);
	case CONFIG_LIST:
		return add_item(key, field, text, err);
	case CONFIG_BOOL:
		return set_bool(field, text, err);
	case CONFIG_UINT:
		return set_uint(key, field, text, err);
	case CONFIG_DURATION:
		return set_duration(key, field, text, err);
	case CONFIG_CHOICE:
		return set_choice(key, field, text, err);
	case CONFIG_SIZE:
		return set_size(key, field, text, err);
	case CONFIG_RATE:
		if (units_parse_rate(text, field))
			return err_set(err, ERR_INVALID,
				       "'%s' is not a rate; write one like 20/s or 100/6h, or unlimited",
				       text_show(text, shown));
		return 0;
	case CONFIG_LISTS:
	case CONFIG_MAP:
	case CONFIG_UPSTREAMS:
	case CONFIG_PREFETCH:
	case CONFIG_SECRET:
		break;
	}
	assert(!"a key that takes no scalar");
	return ERR_INVALID;
}

/* units_format_size() rounds, for people; this one must parse back to the same number. */
static char *format_size(uint64_t bytes)
{
	static const char *const suffixes[] = {"", "KiB", "MiB", "GiB", "TiB"};
	size_t unit = 0;
	while (bytes && bytes % 1024 == 0 && unit + 1 < sizeof(suffixes) / sizeof(suffixes[0])) {
		bytes /= 1024;
		unit++;
	}
	return mem_printf("%" PRIu64 "%s", bytes, suffixes[unit]);
}

char *config_key_format(const struct config_key *key, const void *base)
{
	char text[UNITS_TEXT_MAX];
	const void *field = config_key_field(key, base);
	switch (key->kind) {
	case CONFIG_STRING:
		return mem_strdup(*(char *const *)field);
	case CONFIG_BOOL:
		return mem_strdup(*(const bool *)field ? "true" : "false");
	case CONFIG_UINT:
		return mem_printf("%u", *(const unsigned *)field);
	case CONFIG_SIZE:
		return format_size(*(const uint64_t *)field);
	case CONFIG_DURATION:
		return mem_strdup(units_format_duration(*(const uint64_t *)field, text));
	case CONFIG_RATE:
		return mem_strdup(units_format_rate(field, text));
	case CONFIG_CHOICE:
		return mem_strdup(key->choices[*(const unsigned *)field]);
	case CONFIG_LIST:
	case CONFIG_LISTS:
	case CONFIG_MAP:
	case CONFIG_UPSTREAMS:
	case CONFIG_PREFETCH:
	case CONFIG_SECRET:
		break;
	}
	assert(!"a key that is no scalar");
	return NULL;
}

void config_list_clear(struct config_list *list)
{
	for (size_t i = 0; i < list->count; i++)
		free(list->items[i]);
	free(list->items);
	*list = (struct config_list){0};
}

struct config_list *config_lists_add(struct config_lists *lists, const char *name)
{
	struct config_named_list *added;

	if (lists->count == CONFIG_LIST_MAX)
		return NULL;
	lists->items = mem_realloc(lists->items, (lists->count + 1) * sizeof(*lists->items));
	added = &lists->items[lists->count++];
	*added = (struct config_named_list){.name = mem_strdup(name)};
	return &added->list;
}

void config_lists_clear(struct config_lists *lists)
{
	for (size_t i = 0; i < lists->count; i++) {
		free(lists->items[i].name);
		config_list_clear(&lists->items[i].list);
	}
	free(lists->items);
	*lists = (struct config_lists){0};
}

void config_keys_dispose(const struct config_key *keys, void *base)
{
	for (const struct config_key *key = keys; key->name; key++) {
		if (key->kind == CONFIG_MAP) {
			config_keys_dispose(key->children, base);
		} else if (key->kind == CONFIG_LIST) {
			config_list_clear(config_key_field(key, base));
		} else if (key->kind == CONFIG_LISTS) {
			config_lists_clear(config_key_field(key, base));
		} else if (key->kind == CONFIG_STRING || key->kind == CONFIG_SECRET) {
			char **field = config_key_field(key, base);
			free(*field);
			*field = NULL;
		}
	}
}
