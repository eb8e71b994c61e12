/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pins. A pin says by which name its reference goes, not what that means: whether a digest is pinned is found from the
 * names that it has, each looked up among those pinned. So a pin follows its tag, and nothing has to be kept in step.
 */
#include "store/index_internal.h"

#include "base/cleanup.h"

/* Changes. */

/* The name and the reference in a change's key. */
static bool split_key(const MDB_val *key, size_t *name_len, const uint8_t **reference, size_t *len)
{
	const uint8_t *nul = memchr(key->mv_data, 0, key->mv_size);

	if (!nul)
		return false;
	*name_len = (size_t)(nul - (const uint8_t *)key->mv_data);
	*reference = nul + 1;
	*len = key->mv_size - *name_len - 1;
	return true;
}

static bool make_keys(uint64_t repository, const MDB_val *key, struct schema_bytes *pin, struct schema_bytes *pinned)
{
	const uint8_t *reference;
	size_t name_len, len;

	if (!split_key(key, &name_len, &reference, &len))
		return false;
	schema_pin_key(key->mv_data, name_len, repository, reference, len, pin);
	schema_pinned_key(repository, reference, len, key->mv_data, name_len, pinned);
	return true;
}

static MDB_val value_of(struct schema_bytes *bytes)
{
	return (MDB_val){.mv_size = bytes->len, .mv_data = bytes->bytes};
}

int index_pins_put(struct index *index, MDB_txn *txn, uint64_t repository, const MDB_val *key, MDB_val *value)
{
	struct schema_bytes pin, pinned, nothing;
	MDB_val pin_key, pinned_key, empty;
	int code;

	if (!make_keys(repository, key, &pin, &pinned))
		return MDB_CORRUPTED;
	schema_empty_value(&nothing);
	pin_key = value_of(&pin);
	pinned_key = value_of(&pinned);
	empty = value_of(&nothing);
	code = mdb_put(txn, index->pins, &pin_key, value, 0);
	return code ? code : mdb_put(txn, index->pinned, &pinned_key, &empty, 0);
}

int index_pins_delete(struct index *index, MDB_txn *txn, uint64_t repository, const MDB_val *key)
{
	struct schema_bytes pin, pinned;
	MDB_val pin_key, pinned_key;
	int code;

	if (!make_keys(repository, key, &pin, &pinned))
		return MDB_CORRUPTED;
	pin_key = value_of(&pin);
	pinned_key = value_of(&pinned);
	code = mdb_del(txn, index->pins, &pin_key, NULL);
	if (!code)
		code = mdb_del(txn, index->pinned, &pinned_key, NULL);
	return code == MDB_NOTFOUND ? 0 : code;
}

/* `name` ends with its NUL. */
int index_pins_delete_set(struct index *index, MDB_txn *txn, const MDB_val *name)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes prefix = {.len = 0};
	int code = mdb_cursor_open(txn, index->pins, &cursor);

	schema_put(&prefix, name->mv_data, name->mv_size);
	while (!code) {
		MDB_val key = *name, value;
		struct schema_bytes pinned;

		code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
		if (code || !index_has_prefix(&key, &prefix))
			break;
		if (key.mv_size < prefix.len + 8)
			return MDB_CORRUPTED;
		schema_pinned_key(schema_u64_at((const uint8_t *)key.mv_data + prefix.len),
				  (const uint8_t *)key.mv_data + prefix.len + 8, key.mv_size - prefix.len - 8,
				  prefix.bytes, prefix.len - 1, &pinned);
		key = value_of(&pinned);
		if ((code = mdb_cursor_del(cursor, 0)) == 0)
			code = mdb_del(txn, index->pinned, &key, NULL);
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

/* Lists. */

static int run_list_pins(struct index_lookup *lookup)
{
	_cleanup_(index_close_cursor) MDB_cursor *cursor = NULL;
	struct schema_bytes from = {.len = 0};
	char name[INDEX_PIN_NAME_MAX + 1];
	MDB_val key, value;
	int code = mdb_cursor_open(lookup->txn, lookup->index->pins, &cursor);

	schema_put(&from, lookup->tag, strnlen(lookup->tag, INDEX_PIN_NAME_MAX));
	while (!code) {
		size_t len;

		schema_put_u8(&from, from.len > 0); /* behind all references of this pin, before any longer name */
		key = value_of(&from);
		if ((code = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE)))
			break;
		len = strnlen(key.mv_data, key.mv_size);
		if (len == 0 || len == key.mv_size || len > INDEX_PIN_NAME_MAX)
			return MDB_CORRUPTED;
		memcpy(name, key.mv_data, len + 1);
		if (!lookup->each(lookup->arg, name))
			return 0;
		from.len = 0;
		schema_put(&from, name, len);
	}
	return code == MDB_NOTFOUND ? 0 : code;
}

int index_list_pins(struct index *index, const char *after, bool (*each)(void *arg, const char *name), void *arg,
		    struct err *err)
{
	struct index_lookup lookup = {.index = index, .run = run_list_pins, .tag = after, .each = each, .arg = arg};

	return index_look_up(&lookup, "pins", err);
}

struct pin_scan {
	struct index_scan scan;
	bool (*each)(void *arg, const struct index_pin *pin);
};

static bool take_pin(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);
	char reference[DIGEST_TEXT_MAX], platforms[INDEX_PLATFORMS_MAX + 1];
	struct index_repository_name name;
	struct index_pin pin = {
		.repository = {name.upstream, name.repository}, .reference = reference, .platforms = platforms};
	uint64_t number;

	if (!schema_get_u64(&rest, &number) || !schema_get_text(&rest, reference, sizeof(reference) - 1) ||
	    !schema_read_text(value->mv_data, value->mv_size, platforms, INDEX_PLATFORMS_MAX) ||
	    index_find_name(scan->lookup.index, scan->lookup.txn, number, &name))
		return false;
	*more = ((struct pin_scan *)scan)->each(scan->lookup.arg, &pin);
	return true;
}

int index_list_pin(struct index *index, const char *name, bool (*each)(void *arg, const struct index_pin *pin),
		   void *arg, struct err *err)
{
	struct pin_scan pins = {.scan = {.dbi = index->pins, .take = take_pin}, .each = each};

	if (!schema_put_pin_name(&pins.scan.from, name))
		return err_set(err, ERR_INVALID, "a pin's name has 1 to %d characters", INDEX_PIN_NAME_MAX);
	pins.scan.prefix_len = pins.scan.from.len;
	return index_run_scan(&pins.scan, index, arg, err);
}

/* What pins a digest. */

struct pinned_scan {
	struct index_scan scan; /* over the digest's names, or over the pins of one name */
	const struct digest *digest;
	bool (*each)(void *arg, const char *name);
	bool more;
};

static bool take_pin_name(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct pinned_scan *pinned = (struct pinned_scan *)scan;
	struct schema_reader rest = index_behind_prefix(scan, key);
	char name[INDEX_PIN_NAME_MAX + 1];

	(void)value;
	if (!schema_get_text(&rest, name, INDEX_PIN_NAME_MAX))
		return false;
	*more = pinned->more = pinned->each(scan->lookup.arg, name);
	return true;
}

static bool look_for_pins(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct pinned_scan *names = (struct pinned_scan *)scan;
	struct schema_reader rest = index_behind_prefix(scan, key);
	struct pinned_scan pins = {
		.scan = {.lookup = scan->lookup, .dbi = scan->lookup.index->pinned, .take = take_pin_name},
		.each = names->each,
		.more = true};
	char text[DIGEST_TEXT_MAX];

	(void)value;
	if (rest.left < 1 + 8)
		return false;
	if (rest.at[0] == SCHEMA_NAME_TAG && rest.left > 1 + 8 + 8) {
		/* The key of the tag without its accept: number, tag, NUL. */
		schema_put(&pins.scan.from, rest.at + 1, rest.left - 1 - 8);
	} else if (rest.at[0] == SCHEMA_NAME_LINK) {
		digest_format(names->digest, text);
		schema_put(&pins.scan.from, rest.at + 1, 8);
		schema_put(&pins.scan.from, text, strlen(text) + 1);
	} else {
		return true;
	}
	pins.scan.prefix_len = pins.scan.from.len;
	if (index_scan_in(&pins.scan))
		return false;
	*more = pins.more;
	return true;
}

int index_list_pins_of(struct index *index, const struct digest *digest, bool (*each)(void *arg, const char *name),
		       void *arg, struct err *err)
{
	struct pinned_scan names = {
		.scan = {.dbi = index->names, .take = look_for_pins}, .digest = digest, .each = each};

	schema_put_digest(&names.scan.from, digest);
	names.scan.prefix_len = names.scan.from.len;
	return index_run_scan(&names.scan, index, arg, err);
}

/* What is pinned in a repository: behind the prefix, the rest of a reference (none when it is asked for), NUL, name. */
static bool take_pin_in(struct index_scan *scan, const MDB_val *key, const MDB_val *value, bool *more)
{
	struct schema_reader rest = index_behind_prefix(scan, key);
	size_t len = strnlen((const char *)rest.at, rest.left);
	char name[INDEX_PIN_NAME_MAX + 1];

	(void)value;
	if (!scan->lookup.tag) {
		if (len == rest.left)
			return false;
		rest.at += len + 1;
		rest.left -= len + 1;
	}
	if (!schema_get_text(&rest, name, INDEX_PIN_NAME_MAX))
		return false;
	*more = ((struct pinned_scan *)scan)->each(scan->lookup.arg, name);
	return true;
}

int index_list_pins_in(struct index *index, const struct index_repository *repository, const char *reference,
		       bool (*each)(void *arg, const char *name), void *arg, struct err *err)
{
	struct pinned_scan pins = {.scan = {.lookup = {.repository = repository, .tag = reference},
					    .dbi = index->pinned,
					    .take = take_pin_in},
				   .each = each};

	if (reference) {
		schema_put(&pins.scan.from, reference, strnlen(reference, DIGEST_TEXT_MAX) + 1);
		pins.scan.prefix_len = pins.scan.from.len;
	}
	return index_run_scan(&pins.scan, index, arg, err);
}
