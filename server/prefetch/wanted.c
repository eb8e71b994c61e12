/* SPDX-License-Identifier: Apache-2.0 */
/* What a request asks for. */
#include "server/prefetch/prefetch_internal.h"

#include "base/buf.h"
#include "store/manifest.h"

#include <stdio.h>
#include <string.h>

/* What says nothing of a platform is not there for one alone. */
bool wanted_has_platform(const struct wanted *wanted, const char *platform)
{
	return wanted->platform_count == 0 || !*platform ||
	       manifest_platform_matches(platform, wanted->platforms, wanted->platform_count);
}

char *wanted_platforms(const struct wanted *wanted)
{
	struct buf text = {0};

	buf_append_text(&text, "");
	for (size_t i = 0; i < wanted->platform_count; i++)
		buf_printf(&text, "%s%s", i ? "," : "", wanted->platforms[i]);
	return text.data ? text.data : mem_strdup("");
}

static int read_count(const json_t *request, const char *key, unsigned standard, unsigned *count, struct err *err)
{
	const json_t *value = json_object_get(request, key);

	*count = standard;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_integer(value) || json_integer_value(value) < 1 ||
	    json_integer_value(value) > PREFETCH_AT_ONCE_MAX)
		return err_set(err, ERR_INVALID, "%s is a number from 1 to %d", key, PREFETCH_AT_ONCE_MAX);
	*count = (unsigned)json_integer_value(value);
	return 0;
}

static int read_flag(const json_t *request, const char *key, bool standard, bool *flag, struct err *err)
{
	const json_t *value = json_object_get(request, key);

	*flag = standard;
	if (!value || json_is_null(value))
		return 0;
	if (!json_is_boolean(value))
		return err_set(err, ERR_INVALID, "%s is true or false", key);
	*flag = json_is_true(value);
	return 0;
}

static int read_platforms(const json_t *request, struct wanted *wanted, struct err *err)
{
	const json_t *list = json_object_get(request, "platforms"), *item;
	size_t i;

	if (!list || json_is_null(list))
		return 0;
	if (!json_is_array(list) || json_array_size(list) > PREFETCH_PLATFORMS_MAX)
		return err_set(err, ERR_INVALID, "platforms is a list of at most %d", PREFETCH_PLATFORMS_MAX);
	json_array_foreach(list, i, item)
	{
		const char *text = json_string_value(item);

		if (!text || !manifest_platform_valid(text))
			return err_set(err, ERR_INVALID, "'%.60s' is no platform; write OS/ARCH or OS/ARCH/VARIANT",
				       text ? text : "");
		wanted->platforms[wanted->platform_count++] = text;
	}
	return 0;
}

/* A misspelt key would be passed over in silence. */
static int check_keys(const json_t *request, struct err *err)
{
	static const char *const known[] = {"images",    "platforms", "image_parallel", "layer_parallel",    "pin",
					    "referrers", "dry_run",   "schedule",       "platform_referrers"};
	const char *key;
	json_t *value;

	json_object_foreach((json_t *)(uintptr_t)request, key, value)
	{
		bool found = false;

		for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
			found |= strcmp(key, known[i]) == 0;
		if (!found)
			return err_set(err, ERR_INVALID, "there is no key '%.40s' in a prefetch", key);
	}
	return 0;
}

int wanted_read(const json_t *request, struct wanted *wanted, struct err *err)
{
	const json_t *pin = json_object_get(request, "pin");
	int code = check_keys(request, err);

	memset(wanted, 0, sizeof(*wanted));
	if (code == 0)
		code = read_platforms(request, wanted, err);
	if (code == 0)
		code = read_count(request, "image_parallel", PREFETCH_IMAGES_AT_ONCE, &wanted->images_at_once, err);
	if (code == 0)
		code = read_count(request, "layer_parallel", PREFETCH_LAYERS_AT_ONCE, &wanted->layers_at_once, err);
	if (code == 0)
		code = read_flag(request, "referrers", true, &wanted->referrers, err);
	if (code == 0)
		code = read_flag(request, "platform_referrers", false, &wanted->platform_referrers, err);
	if (code == 0)
		code = read_flag(request, "dry_run", false, &wanted->dry_run, err);
	if (code == 0 && pin && !json_is_null(pin)) {
		wanted->pin = json_string_value(pin);
		if (!wanted->pin || !ref_tag_valid(wanted->pin, strlen(wanted->pin)))
			return err_set(err, ERR_INVALID,
				       "pin is a name of letters, digits, dots, hyphens and underscores");
	}
	return code;
}
