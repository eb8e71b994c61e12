/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads a document by the table of keys; the one file that names libyaml. The library composes the whole document first
 * (with the marks that messages need); then the walk goes as deep as the table does and no deeper, so that aliases can
 * neither run in circles nor multiply: they lead to the same node, and a node is only looked into where a key expects
 * it.
 */
#include "base/buf.h"
#include "base/cleanup.h"
#include "server/cli/config_keys.h"
#include "server/cli/config_text.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <yaml.h>

#define DEPTH_MAX   16
#define ANCHORS_MAX 256

/* Where a key stands, for problems that only show once the whole is known. */
struct place {
	char *path;
	yaml_mark_t mark;
};

struct reader {
	const char *name; /* the file's, for messages */
	yaml_document_t document;
	struct config *config;
	struct config_problems *problems;
	struct place *places;
	size_t place_count, place_cap;
};

__attribute__((format(printf, 4, 5))) static void add_problem(struct reader *reader, const yaml_mark_t *mark,
							      const char *path, const char *format, ...)
{
	struct config_problems *problems = reader->problems;
	char text[ERR_TEXT_MAX];
	if (problems->count == CONFIG_PROBLEMS_MAX)
		return;
	va_list arguments;
	va_start(arguments, format);
	vsnprintf(text, sizeof(text), format, arguments);
	va_end(arguments);
	struct err *item = &problems->items[problems->count++];
	if (mark)
		err_set(item, ERR_INVALID, "%s:%zu:%zu: %s: %s", reader->name, mark->line + 1, mark->column + 1, path,
			text);
	else
		err_set(item, ERR_INVALID, "%s: %s: %s", reader->name, path, text);
}

static bool full(const struct reader *reader)
{
	return reader->problems->count == CONFIG_PROBLEMS_MAX;
}

static void remember_place(struct reader *reader, const char *path, const yaml_node_t *node)
{
	if (reader->place_count == reader->place_cap) {
		reader->place_cap = reader->place_cap ? 2 * reader->place_cap : 64;
		reader->places = mem_realloc(reader->places, reader->place_cap * sizeof(*reader->places));
	}
	reader->places[reader->place_count++] = (struct place){mem_strdup(path), node->start_mark};
}

/* The config_report_fn of the reader: finds the key itself, or the nearest one above it that the file has. */
static void add_problem_by_path(void *context, const char *path, const char *text)
{
	struct reader *reader = context;
	const yaml_mark_t *mark = NULL;
	size_t best = 0;
	for (size_t i = 0; i < reader->place_count; i++) {
		size_t len = strlen(reader->places[i].path);
		bool above = !strncmp(path, reader->places[i].path, len) && strchr(".[", path[len]);
		if (above && len > best) {
			mark = &reader->places[i].mark;
			best = len;
		}
	}
	add_problem(reader, mark, path, "%s", text);
}

static yaml_node_t *node_at(struct reader *reader, int index)
{
	return yaml_document_get_node(&reader->document, index);
}

/* A plain scalar that stands for "nothing here". */
static bool is_null(const yaml_node_t *node)
{
	if (node->type != YAML_SCALAR_NODE || node->data.scalar.style != YAML_PLAIN_SCALAR_STYLE)
		return false;
	const char *text = (const char *)node->data.scalar.value;
	return !*text || !strcmp(text, "~") || !strcasecmp(text, "null");
}

static const char *node_kind(const yaml_node_t *node)
{
	return node->type == YAML_SCALAR_NODE ? "a value" : node->type == YAML_SEQUENCE_NODE ? "a list" : "a mapping";
}

/* The text of a key; NULL, with a problem said, when it is not a plain word. */
static const char *key_text(struct reader *reader, const yaml_node_t *node, const char *path)
{
	const char *where = *path ? path : "key";
	if (node->type != YAML_SCALAR_NODE) {
		add_problem(reader, &node->start_mark, where, "%s stands where a key should; write KEY: VALUE",
			    node_kind(node));
		return NULL;
	}
	const char *text = (const char *)node->data.scalar.value;
	if (strlen(text) != node->data.scalar.length || !text_is_plain(text)) {
		add_problem(reader, &node->start_mark, where, "has a key with control characters; write plain text");
		return NULL;
	}
	return text;
}

static char *join_path(const char *path, const char *name)
{
	char shown[TEXT_SHOWN_MAX];
	return mem_printf("%s%s%s", path, *path ? "." : "", strlen(name) > 255 ? text_show(name, shown) : name);
}

static bool names_equal(const yaml_node_t *a, const yaml_node_t *b)
{
	return a == b || (a->type == YAML_SCALAR_NODE && b->type == YAML_SCALAR_NODE &&
			  !strcasecmp((const char *)a->data.scalar.value, (const char *)b->data.scalar.value));
}

/* The earlier pair of the mapping with the same key. No two keys differ by case alone, and upstreams must not. */
static const yaml_node_t *earlier_key(struct reader *reader, const yaml_node_t *mapping, const yaml_node_pair_t *pair)
{
	for (const yaml_node_pair_t *at = mapping->data.mapping.pairs.start; at < pair; at++) {
		if (names_equal(node_at(reader, at->key), node_at(reader, pair->key)))
			return node_at(reader, at->key);
	}
	return NULL;
}

static void refuse_unknown(struct reader *reader, const yaml_node_t *node, const char *path,
			   const struct config_key *keys, const char *name)
{
	const struct config_key *near = NULL;
	for (const struct config_key *key = keys; key->name; key++) {
		bool nearer = !near || text_distance(name, key->name) < text_distance(name, near->name);
		if (key->kind != CONFIG_SECRET && text_is_near(name, key->name) && nearer)
			near = key;
	}
	_cleanup_free_ char *full_path = join_path(path, name);
	if (near) {
		add_problem(reader, &node->start_mark, full_path, "unknown key; did you mean %s?", near->name);
		return;
	}
	for (const struct config_key *map = config_keys; map->name; map++) {
		if (map->children && config_key_find(map->children, name)) {
			add_problem(reader, &node->start_mark, full_path, "unknown key here; it belongs in %s%s",
				    map->name, map->kind == CONFIG_UPSTREAMS ? ".NAME" : "");
			return;
		}
	}
	add_problem(reader, &node->start_mark, full_path, "unknown key; see larder config keys");
}

/* Sets `key` from one scalar node. */
static void read_scalar(struct reader *reader, const yaml_node_t *node, const char *path, const struct config_key *key,
			void *base)
{
	struct err err = {0};
	_cleanup_(buf_dispose) struct buf text = {.max = CONFIG_VALUE_MAX};
	if (node->type != YAML_SCALAR_NODE) {
		add_problem(reader, &node->start_mark, path, "takes one value, not %s; write KEY: VALUE",
			    node_kind(node));
		return;
	}
	if (strcmp((const char *)node->tag, YAML_DEFAULT_SCALAR_TAG) != 0) {
		add_problem(reader, &node->start_mark, path, "has a tag; leave the tag out");
		return;
	}
	if (is_null(node)) {
		add_problem(reader, &node->start_mark, path, "has no value; give one or leave the key out");
		return;
	}
	const char *raw = (const char *)node->data.scalar.value;
	if (strlen(raw) != node->data.scalar.length) {
		add_problem(reader, &node->start_mark, path, "holds a NUL character; write plain text");
		return;
	}
	int code = text_expand(raw, &text, &err);
	if (!code)
		code = config_key_set(key, base, text.data ? text.data : "", &err);
	if (!code && key->file && text.len)
		code = config_check_file(text.data, &err);
	if (code)
		add_problem(reader, &node->start_mark, path, "%s", err.text);
}

/* Only where the secret is to be found; nothing of the text is shown. */
static void read_secret(struct reader *reader, const yaml_node_t *node, const char *path, const struct config_key *key,
			void *base)
{
	char **field = config_key_field(key, base);
	const struct config_upstream *upstream = base;
	_cleanup_free_ char *variable = config_password_variable(upstream->name);
	free(*field);
	*field = node->type == YAML_SCALAR_NODE ? text_variable((const char *)node->data.scalar.value) : NULL;
	if (!*field)
		add_problem(reader, &node->start_mark, path,
			    "secrets do not stand in this file; write a variable, ${NAME}, or use password_file or the "
			    "variable %s",
			    variable);
}

static void read_list(struct reader *reader, const yaml_node_t *node, const char *path, const struct config_key *key,
		      void *base)
{
	config_list_clear(config_key_field(key, base));
	if (node->type == YAML_SCALAR_NODE && !is_null(node)) {
		read_scalar(reader, node, path, key, base);
		return;
	}
	if (node->type == YAML_MAPPING_NODE) {
		add_problem(reader, &node->start_mark, path,
			    "takes a list, not a mapping; write KEY: [ VALUE, VALUE ]");
		return;
	}
	size_t count = 0;
	if (node->type == YAML_SEQUENCE_NODE) {
		const yaml_node_item_t *item = node->data.sequence.items.start;
		for (; item < node->data.sequence.items.top && count < CONFIG_LIST_MAX + 1 && !full(reader); item++) {
			_cleanup_free_ char *item_path = mem_printf("%s[%zu]", path, count++);
			remember_place(reader, item_path, node_at(reader, *item));
			read_scalar(reader, node_at(reader, *item), item_path, key, base);
		}
	}
	if (count < key->min)
		add_problem(reader, &node->start_mark, path, "is empty; give at least one value or leave the key out");
}

static void read_mapping(struct reader *reader, const yaml_node_t *node, const char *path,
			 const struct config_key *keys, void *base);
static void read_upstreams(struct reader *reader, const yaml_node_t *node, const char *path,
			   const struct config_key *key);

static void read_lists(struct reader *reader, const yaml_node_t *node, const char *path, const struct config_key *key,
		       void *base);
static void read_prefetches(struct reader *reader, const yaml_node_t *node, const char *path,
			    const struct config_key *key);

static void read_value(struct reader *reader, const yaml_node_t *node, const char *path, const struct config_key *key,
		       void *base)
{
	remember_place(reader, path, node);
	switch (key->kind) {
	case CONFIG_MAP:
		read_mapping(reader, node, path, key->children, base);
		break;
	case CONFIG_UPSTREAMS:
		read_upstreams(reader, node, path, key);
		break;
	case CONFIG_PREFETCH:
		read_prefetches(reader, node, path, key);
		break;
	case CONFIG_LISTS:
		read_lists(reader, node, path, key, base);
		break;
	case CONFIG_LIST:
		read_list(reader, node, path, key, base);
		break;
	case CONFIG_SECRET:
		read_secret(reader, node, path, key, base);
		break;
	default:
		read_scalar(reader, node, path, key, base);
		break;
	}
}

/* True when `node` is a mapping to walk; says what is wrong when it is neither that nor nothing at all. */
static bool is_mapping(struct reader *reader, const yaml_node_t *node, const char *path)
{
	if (node->type != YAML_MAPPING_NODE && !is_null(node))
		add_problem(reader, &node->start_mark, *path ? path : "document", "takes keys and values, not %s; %s",
			    node_kind(node),
			    *path ? "write KEY: VALUE below it" : "write KEY: VALUE, with a blank after the colon");
	return node->type == YAML_MAPPING_NODE;
}

/* The key's text when it is a good one and the first of its name in the mapping. */
static const char *next_key(struct reader *reader, const yaml_node_t *mapping, const yaml_node_pair_t *pair,
			    const char *path)
{
	const yaml_node_t *node = node_at(reader, pair->key);
	const char *name = key_text(reader, node, path);
	const yaml_node_t *earlier = name ? earlier_key(reader, mapping, pair) : NULL;
	if (!earlier)
		return name;
	_cleanup_free_ char *full_path = join_path(path, name);
	add_problem(reader, &node->start_mark, full_path, "stands here twice, first in line %zu; leave out one",
		    earlier->start_mark.line + 1);
	return NULL;
}

static void read_mapping(struct reader *reader, const yaml_node_t *node, const char *path,
			 const struct config_key *keys, void *base)
{
	if (!is_mapping(reader, node, path))
		return;
	const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	for (; pair < node->data.mapping.pairs.top && !full(reader); pair++) {
		const char *name = next_key(reader, node, pair, path);
		if (!name)
			continue;
		const struct config_key *key = config_key_find(keys, name);
		if (!key) {
			refuse_unknown(reader, node_at(reader, pair->key), path, keys, name);
			continue;
		}
		_cleanup_free_ char *key_path = join_path(path, name);
		read_value(reader, node_at(reader, pair->value), key_path, key, base);
	}
}

static void read_lists(struct reader *reader, const yaml_node_t *node, const char *path, const struct config_key *key,
		       void *base)
{
	if (!is_mapping(reader, node, path))
		return;
	struct config_lists *lists = config_key_field(key, base);
	const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	for (; pair < node->data.mapping.pairs.top && !full(reader); pair++) {
		const char *name = next_key(reader, node, pair, path);
		struct config_list *list = name ? config_lists_add(lists, name) : NULL;
		if (!list)
			continue;
		struct config_key item = *key;
		item.kind = CONFIG_LIST;
		item.offset = 0;
		_cleanup_free_ char *list_path = join_path(path, name);
		remember_place(reader, list_path, node_at(reader, pair->key));
		read_list(reader, node_at(reader, pair->value), list_path, &item, list);
	}
}

static void read_prefetches(struct reader *reader, const yaml_node_t *node, const char *path,
			    const struct config_key *key)
{
	size_t count = 0;
	if (node->type != YAML_SEQUENCE_NODE) {
		if (!is_null(node))
			add_problem(reader, &node->start_mark, path,
				    "takes a list, not %s; write '- KEY: VALUE' below it", node_kind(node));
		return;
	}
	const yaml_node_item_t *item = node->data.sequence.items.start;
	for (; item < node->data.sequence.items.top && !full(reader); item++) {
		_cleanup_free_ char *item_path = mem_printf("%s[%zu]", path, count++);
		struct config_prefetch *prefetch = config_add_prefetch(reader->config);
		if (!prefetch) {
			add_problem(reader, &node->start_mark, path, "holds too many; up to %d are taken",
				    CONFIG_PREFETCH_MAX);
			return;
		}
		remember_place(reader, item_path, node_at(reader, *item));
		read_mapping(reader, node_at(reader, *item), item_path, key->children, prefetch);
	}
}

static void read_upstreams(struct reader *reader, const yaml_node_t *node, const char *path,
			   const struct config_key *key)
{
	if (!is_mapping(reader, node, path))
		return;
	const yaml_node_pair_t *pair = node->data.mapping.pairs.start;
	for (; pair < node->data.mapping.pairs.top && !full(reader); pair++) {
		const char *why = NULL;
		char shown[TEXT_SHOWN_MAX];
		const yaml_node_t *name_node = node_at(reader, pair->key);
		const char *written = next_key(reader, node, pair, path);
		if (!written)
			continue;
		_cleanup_free_ char *name = config_take_name(written, &why);
		if (!name) {
			add_problem(reader, &name_node->start_mark, path, "'%s' %s", text_show(written, shown), why);
			continue;
		}
		struct config_upstream *upstream = config_upstream_named(reader->config, name);
		if (!upstream)
			upstream = config_add_upstream(reader->config, name);
		if (!upstream) {
			add_problem(reader, &name_node->start_mark, path, "holds too many; up to %d are taken",
				    CONFIG_UPSTREAMS_MAX);
			return;
		}
		_cleanup_free_ char *upstream_path = join_path(path, name);
		remember_place(reader, upstream_path, name_node);
		read_mapping(reader, node_at(reader, pair->value), upstream_path, key->children, upstream);
	}
}

/* The library gives no mark where the bytes themselves are wrong, only an offset. */
static yaml_mark_t mark_of_offset(const char *text, size_t len, size_t offset)
{
	yaml_mark_t mark = {0};
	for (size_t i = 0; i < offset && i < len; i++) {
		mark.column++;
		if (text[i] == '\n') {
			mark.line++;
			mark.column = 0;
		}
	}
	return mark;
}

/* The library's words are about YAML; these are about what somebody did. */
static const char *syntax_advice(const yaml_parser_t *parser, const yaml_mark_t *mark, const char *text, size_t len)
{
	if (parser->error == YAML_READER_ERROR)
		return "; save the file as UTF-8";
	/* The mark counts characters; up to a tab in the indentation they are as good as always bytes. */
	if (parser->error == YAML_SCANNER_ERROR && mark->index < len && text[mark->index] == '\t')
		return "; indent with spaces, not tabs";
	if (!parser->problem || strstr(parser->problem, "end of stream"))
		return "";
	return "; put quotes around a value with any of [ ] { } * & ! % @ `";
}

static void add_syntax_problem(struct reader *reader, const yaml_parser_t *parser, const char *text, size_t len)
{
	yaml_mark_t mark = parser->problem_mark;
	if (parser->error == YAML_READER_ERROR)
		mark = mark_of_offset(text, len, parser->problem_offset);
	const char *problem = parser->problem ? parser->problem : "out of memory";
	const char *advice = syntax_advice(parser, &mark, text, len);
	if (parser->context && parser->context_mark.line != mark.line)
		add_problem(reader, &mark, "syntax", "%s, %s that starts in line %zu%s", problem, parser->context,
			    parser->context_mark.line + 1, advice);
	else
		add_problem(reader, &mark, "syntax", "%s%s%s%s", problem, parser->context ? ", " : "",
			    parser->context ? parser->context : "", advice);
}

/*
 * Goes through the text once before anything is composed, and stops at what no configuration needs: the library takes
 * time that grows with the square of the nesting, and of the number of anchors. False, with the problem said, when the
 * text is refused.
 */
static bool scan_shape(struct reader *reader, yaml_parser_t *parser, const char *text, size_t len)
{
	size_t depth = 0;
	size_t anchors = 0;
	size_t documents = 0;
	bool done = false;
	while (!done) {
		yaml_event_t event;
		const char *wrong = NULL;
		if (!yaml_parser_parse(parser, &event)) {
			add_syntax_problem(reader, parser, text, len);
			return false;
		}
		bool opens = event.type == YAML_MAPPING_START_EVENT || event.type == YAML_SEQUENCE_START_EVENT;
		bool closes = event.type == YAML_MAPPING_END_EVENT || event.type == YAML_SEQUENCE_END_EVENT;
		bool anchored = (event.type == YAML_MAPPING_START_EVENT && event.data.mapping_start.anchor) ||
				(event.type == YAML_SEQUENCE_START_EVENT && event.data.sequence_start.anchor) ||
				(event.type == YAML_SCALAR_EVENT && event.data.scalar.anchor);
		depth = depth + opens - closes;
		anchors += anchored;
		documents += event.type == YAML_DOCUMENT_START_EVENT;
		if (depth > DEPTH_MAX)
			wrong = "nests too deep; no key needs this";
		else if (anchors > ANCHORS_MAX)
			wrong = "has too many anchors; repeat the values instead";
		else if (documents > 1)
			wrong = "is a second one; write one document";
		if (wrong)
			add_problem(reader, &event.start_mark, "document", "%s", wrong);
		done = wrong || event.type == YAML_STREAM_END_EVENT;
		yaml_event_delete(&event);
	}
	return !reader->problems->count;
}

static bool compose(struct reader *reader, yaml_parser_t *parser, const char *text, size_t len)
{
	if (yaml_parser_load(parser, &reader->document))
		return true;
	add_syntax_problem(reader, parser, text, len);
	return false;
}

/* One pass over the text with a parser of its own. */
static bool parse_text(struct reader *reader, const char *text, size_t len,
		       bool (*pass)(struct reader *, yaml_parser_t *, const char *, size_t))
{
	yaml_parser_t parser;
	if (!yaml_parser_initialize(&parser)) {
		add_problem(reader, NULL, "syntax", "out of memory");
		return false;
	}
	yaml_parser_set_input_string(&parser, (const unsigned char *)text, len);
	bool passed = pass(reader, &parser, text, len);
	yaml_parser_delete(&parser);
	return passed;
}

static void read_document(struct reader *reader, config_look_fn *look)
{
	const yaml_node_t *root = yaml_document_get_root_node(&reader->document);
	if (root)
		read_mapping(reader, root, "", config_keys, reader->config);
	/* What does not stand on good values would only tell the same again. */
	if (!reader->problems->count)
		config_complete(reader->config, add_problem_by_path, reader);
	if (!reader->problems->count)
		config_check(reader->config, add_problem_by_path, reader);
	if (look && !reader->problems->count)
		look(reader->config, add_problem_by_path, reader);
}

int config_parse_all(const char *name, const char *text, size_t len, config_look_fn *look, struct config **config,
		     struct config_problems *problems)
{
	*config = NULL;
	problems->count = 0;
	if (len > CONFIG_FILE_MAX) {
		err_set(&problems->items[problems->count++], ERR_LIMIT, "%s: is larger than %zu bytes", name,
			CONFIG_FILE_MAX);
		return ERR_LIMIT;
	}
	struct reader reader = {.name = name, .config = config_default(), .problems = problems};
	if (parse_text(&reader, text, len, scan_shape) && parse_text(&reader, text, len, compose)) {
		read_document(&reader, look);
		yaml_document_delete(&reader.document);
	}
	for (size_t i = 0; i < reader.place_count; i++)
		free(reader.places[i].path);
	free(reader.places);
	if (problems->count) {
		config_free(reader.config);
		return problems->items[0].code;
	}
	*config = reader.config;
	return 0;
}
