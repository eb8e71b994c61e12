/* SPDX-License-Identifier: Apache-2.0 */
/* The configuration and the table of keys, printed: YAML that reads back the same, JSON, and the list of keys. */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config_keys.h"

#include <jansson.h>
#include <string.h>
#include <strings.h>

#define REDACTED "<redacted>"

/* True when YAML takes the text unquoted, as itself: letters, digits and a few signs, and no word for "nothing". */
static bool stands_plain(const char *text)
{
	static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789";
	static const char signs[] = "/._-+@:";
	size_t len = strlen(text);
	if (!len || !strcasecmp(text, "null") || text[len - 1] == ':' || (!strchr(letters, text[0]) && text[0] != '/'))
		return false;
	for (const char *at = text; *at; at++) {
		if (!strchr(letters, *at) && !strchr(signs, *at))
			return false;
	}
	return true;
}

/* Values are free of control characters (config_key_set), so that two signs need escaping, and `${` must not expand
 * again. */
static void print_quoted(const char *text, bool expands, FILE *out)
{
	if (stands_plain(text)) {
		fputs(text, out);
		return;
	}
	fputc('"', out);
	for (const char *at = text; *at; at++) {
		if (*at == '"' || *at == '\\')
			fputc('\\', out);
		if (expands && at[0] == '$' && at[1] == '{')
			fputc('$', out);
		fputc(*at, out);
	}
	fputc('"', out);
}

static bool is_set(const struct config_key *key, const void *base)
{
	if (key->kind == CONFIG_LISTS)
		return ((const struct config_lists *)config_key_field(key, base))->count > 0;
	if (key->kind == CONFIG_PREFETCH)
		return ((const struct config *)base)->prefetch_count > 0;
	if (key->kind != CONFIG_MAP)
		return (key->kind != CONFIG_STRING && key->kind != CONFIG_SECRET) ||
		       *(char *const *)config_key_field(key, base);
	for (const struct config_key *child = key->children; child->name; child++) {
		if (is_set(child, base))
			return true;
	}
	return false;
}

static void print_keys(const struct config_key *keys, const void *base, int indent, FILE *out);

static void print_upstreams(const struct config_key *key, const struct config *config, int indent, FILE *out)
{
	for (size_t i = 0; i < config->upstream_count; i++) {
		const struct config_upstream *upstream = &config->upstreams[i];
		fprintf(out, "%*s", indent, "");
		print_quoted(upstream->name, false, out);
		fputs(":\n", out);
		print_keys(key->children, upstream, indent + 2, out);
		if (upstream->password)
			fprintf(out, "%*s# password: " REDACTED "\n", indent + 2, "");
	}
}

static void print_list(const struct config_list *list, int indent, FILE *out)
{
	fputs(list->count ? "\n" : " []\n", out);
	for (size_t i = 0; i < list->count; i++) {
		fprintf(out, "%*s- ", indent + 2, "");
		print_quoted(list->items[i], true, out);
		fputc('\n', out);
	}
}

static void print_lists(const struct config_lists *lists, int indent, FILE *out)
{
	fputc('\n', out);
	for (size_t i = 0; i < lists->count; i++) {
		fprintf(out, "%*s", indent + 2, "");
		print_quoted(lists->items[i].name, false, out);
		fputc(':', out);
		print_list(&lists->items[i].list, indent + 2, out);
	}
}

static void print_prefetches(const struct config_key *key, const struct config *config, int indent, FILE *out)
{
	for (size_t i = 0; i < config->prefetch_count; i++) {
		fprintf(out, "%*s-\n", indent, "");
		print_keys(key->children, &config->prefetches[i], indent + 2, out);
	}
}

static void print_keys(const struct config_key *keys, const void *base, int indent, FILE *out)
{
	for (const struct config_key *key = keys; key->name; key++) {
		if (!is_set(key, base))
			continue;
		fprintf(out, "%*s%s:", indent, "", key->name);
		if (key->kind == CONFIG_MAP) {
			fputc('\n', out);
			print_keys(key->children, base, indent + 2, out);
		} else if (key->kind == CONFIG_UPSTREAMS) {
			fputc('\n', out);
			print_upstreams(key, base, indent + 2, out);
		} else if (key->kind == CONFIG_PREFETCH) {
			fputc('\n', out);
			print_prefetches(key, base, indent + 2, out);
		} else if (key->kind == CONFIG_LIST) {
			print_list(config_key_field(key, base), indent, out);
		} else if (key->kind == CONFIG_LISTS) {
			print_lists(config_key_field(key, base), indent, out);
		} else if (key->kind == CONFIG_SECRET) {
			fprintf(out, " ${%s}\n", *(char *const *)config_key_field(key, base));
		} else {
			_cleanup_free_ char *text = config_key_format(key, base);
			fputc(' ', out);
			print_quoted(text, true, out);
			fputc('\n', out);
		}
	}
}

void config_print(const struct config *config, FILE *out)
{
	print_keys(config_keys, config, 0, out);
}

static json_t *json_of_keys(const struct config_key *keys, const void *base);

static json_t *json_of_upstreams(const struct config_key *key, const struct config *config)
{
	json_t *upstreams = json_object();
	for (size_t i = 0; i < config->upstream_count; i++) {
		const struct config_upstream *upstream = &config->upstreams[i];
		json_t *object = json_of_keys(key->children, upstream);
		if (upstream->password)
			json_object_set_new(object, "password", json_string(REDACTED));
		json_object_set_new(upstreams, upstream->name, object);
	}
	return upstreams;
}

static json_t *json_of_prefetches(const struct config_key *key, const struct config *config)
{
	json_t *array = json_array();
	for (size_t i = 0; i < config->prefetch_count; i++)
		json_array_append_new(array, json_of_keys(key->children, &config->prefetches[i]));
	return array;
}

static json_t *json_of_list(const struct config_list *list)
{
	json_t *array = json_array();
	for (size_t i = 0; i < list->count; i++)
		json_array_append_new(array, json_string(list->items[i]));
	return array;
}

static json_t *json_of_lists(const struct config_lists *lists)
{
	json_t *object = json_object();
	for (size_t i = 0; i < lists->count; i++)
		json_object_set_new(object, lists->items[i].name, json_of_list(&lists->items[i].list));
	return object;
}

static json_t *json_of_keys(const struct config_key *keys, const void *base)
{
	json_t *object = json_object();
	for (const struct config_key *key = keys; key->name; key++) {
		if (!is_set(key, base))
			continue;
		const void *field = config_key_field(key, base);
		_cleanup_free_ char *text = NULL;
		json_t *value = NULL;
		switch (key->kind) {
		case CONFIG_MAP:
			value = json_of_keys(key->children, base);
			break;
		case CONFIG_UPSTREAMS:
			value = json_of_upstreams(key, base);
			break;
		case CONFIG_PREFETCH:
			value = json_of_prefetches(key, base);
			break;
		case CONFIG_LIST:
			value = json_of_list(field);
			break;
		case CONFIG_LISTS:
			value = json_of_lists(field);
			break;
		case CONFIG_SECRET:
			value = json_string(REDACTED);
			break;
		case CONFIG_BOOL:
			value = json_boolean(*(const bool *)field);
			break;
		case CONFIG_UINT:
			value = json_integer(*(const unsigned *)field);
			break;
		default:
			text = config_key_format(key, base);
			value = json_string(text);
			break;
		}
		json_object_set_new(object, key->name, value);
	}
	return object;
}

void config_print_json(const struct config *config, FILE *out)
{
	json_t *document = json_of_keys(config_keys, config);
	json_dumpf(document, out, JSON_INDENT(2));
	fputc('\n', out);
	json_decref(document);
}

static const char *kind_words(const struct config_key *key)
{
	switch (key->kind) {
	case CONFIG_LIST:
		return "list";
	case CONFIG_LISTS:
		return "mapping of lists";
	case CONFIG_PREFETCH:
		return "list of mappings";
	case CONFIG_BOOL:
		return "true or false";
	case CONFIG_UINT:
		return "number";
	case CONFIG_SIZE:
		return "size";
	case CONFIG_DURATION:
		return "duration";
	case CONFIG_RATE:
		return "rate";
	case CONFIG_SECRET:
		return "variable";
	case CONFIG_STRING:
		return key->take == config_take_path ? "path" : key->take == config_take_url ? "URL" : "text";
	case CONFIG_CHOICE:
	case CONFIG_MAP:
	case CONFIG_UPSTREAMS:
		break;
	}
	return "mapping";
}

/* What may be written, in words. */
static void describe_value(const struct config_key *key, struct buf *words)
{
	char least[UNITS_TEXT_MAX];
	char most[UNITS_TEXT_MAX];
	if (key->kind == CONFIG_CHOICE) {
		for (size_t i = 0; key->choices[i]; i++)
			buf_printf(words, "%s%s", i == 0 ? "" : key->choices[i + 1] ? ", " : " or ", key->choices[i]);
		return;
	}
	buf_append_text(words, kind_words(key));
	if (key->kind == CONFIG_UINT)
		buf_printf(words, ", %llu to %llu", (unsigned long long)key->min, (unsigned long long)key->max);
	else if (key->kind == CONFIG_DURATION && key->max != UNITS_FOREVER)
		buf_printf(words, ", %s to %s", units_format_duration(key->min, least),
			   units_format_duration(key->max, most));
	else if (key->kind == CONFIG_DURATION)
		buf_append_text(words, " or forever");
}

static void list_keys(const struct config_key *keys, const char *prefix, config_key_fn *each, void *arg)
{
	for (const struct config_key *key = keys; key->name; key++) {
		_cleanup_free_ char *path = mem_printf("%s%s", prefix, key->name);
		_cleanup_(buf_dispose) struct buf value = {0};
		if (key->help) {
			describe_value(key, &value);
			const char *standard = key->standard_words ? key->standard_words : key->standard;
			if (!standard)
				standard = key->kind == CONFIG_LIST || key->kind == CONFIG_LISTS ? "empty" : "none";
			each(arg, path, value.data, standard, key->help);
		}
		if (!key->children)
			continue;
		_cleanup_free_ char *below = mem_printf("%s%s", path,
							key->kind == CONFIG_UPSTREAMS  ? ".NAME."
							: key->kind == CONFIG_PREFETCH ? "[]."
										       : ".");
		list_keys(key->children, below, each, arg);
	}
}

void config_list_keys(config_key_fn *each, void *arg)
{
	list_keys(config_keys, "", each, arg);
}

static void print_markdown_key(void *out, const char *path, const char *value, const char *standard, const char *help)
{
	fprintf(out, "| `%s` | %s | %s | %s |\n", path, value, standard, help);
}

static void print_plain_key(void *out, const char *path, const char *value, const char *standard, const char *help)
{
	fprintf(out, "%s (%s; default: %s)\n    %s\n", path, value, standard, help);
}

void config_print_keys(FILE *out, bool markdown)
{
	if (markdown)
		fprintf(out, "| key | value | default | meaning |\n|---|---|---|---|\n");
	config_list_keys(markdown ? print_markdown_key : print_plain_key, out);
}
