/* SPDX-License-Identifier: Apache-2.0 */
#include "server/prefetch/spec.h"

#include "base/cleanup.h"
#include "server/http/http.h"

#include <ctype.h>
#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#define QUAY_PREFIX   "quay://"
#define QUAY_UPSTREAM "quay.io"

/* Options. */

/* Where "?key=" begins, or the text's end. */
static const char *find_options(const char *text)
{
	for (const char *at = strchr(text, '?'); at; at = strchr(at + 1, '?')) {
		size_t len = strspn(at + 1, "abcdefghijklmnopqrstuvwxyz");

		if (len > 0 && at[1 + len] == '=')
			return at;
	}
	return text + strlen(text);
}

static int take_glob(const char *text, char glob[SPEC_GLOB_MAX + 1], const char *what, struct err *err)
{
	size_t len = strlen(text);

	if (len == 0 || len > SPEC_GLOB_MAX)
		return err_set(err, ERR_INVALID, "%s is %s", what, len ? "too long" : "empty");
	memcpy(glob, text, len + 1);
	return 0;
}

static int take_latest(const char *text, size_t *latest, struct err *err)
{
	size_t len = strspn(text, "0123456789");

	*latest = strtoul(text, NULL, 10);
	if (len == 0 || len > 5 || text[len] || *latest == 0 || *latest > SPEC_LATEST_MAX)
		return err_set(err, ERR_INVALID, "latest is a number from 1 to %d", SPEC_LATEST_MAX);
	return 0;
}

static int take_since(const char *text, int64_t *since_s, struct err *err)
{
	struct tm day = {0}, normal;
	int year, month, number, len = 0;

	if (strlen(text) != 10 || sscanf(text, "%4d-%2d-%2d%n", &year, &month, &number, &len) != 3 || len != 10)
		return err_set(err, ERR_INVALID, "since is a day: YYYY-MM-DD");
	day.tm_year = year - 1900;
	day.tm_mon = month - 1;
	day.tm_mday = number;
	normal = day;
	*since_s = timegm(&normal);
	if (normal.tm_mon != day.tm_mon || normal.tm_mday != day.tm_mday || *since_s <= 0)
		return err_set(err, ERR_INVALID, "since=%s is no day of the calendar after 1970", text);
	return 0;
}

static int take_option(struct spec *spec, const char *key, const char *value, struct err *err)
{
	if (strcmp(key, "semver") == 0) {
		spec->by_version = true;
		return semver_range_parse(value, &spec->versions, err);
	}
	if (strcmp(key, "latest") == 0)
		return take_latest(value, &spec->latest, err);
	if (strcmp(key, "exclude") == 0) {
		if (spec->exclude_count == SPEC_EXCLUDES_MAX)
			return err_set(err, ERR_INVALID, "exclude is there more than %d times", SPEC_EXCLUDES_MAX);
		return take_glob(value, spec->excludes[spec->exclude_count++], "exclude", err);
	}
	if (strcmp(key, "since") == 0 && spec->kind == SPEC_QUAY)
		return take_since(value, &spec->since_s, err);
	return err_set(err, ERR_INVALID, "there is no option '%.40s' here; there are semver, latest, exclude%s", key,
		       spec->kind == SPEC_QUAY ? " and since" : ", and since with quay://");
}

/* "?key=value&key=value". */
static int take_options(struct spec *spec, const char *at, struct err *err)
{
	int code = 0;

	while (*at && code == 0) {
		char pair[SPEC_TEXT_MAX + 1], value[SPEC_TEXT_MAX + 1], *equals;
		size_t len;

		at++;
		len = strcspn(at, "&");
		memcpy(pair, at, len);
		pair[len] = '\0';
		at += len;
		equals = strchr(pair, '=');
		if (!equals)
			return err_set(err, ERR_INVALID, "'%.40s' is no option; write KEY=VALUE", pair);
		*equals = '\0';
		if (http_path_decode(equals + 1, value, sizeof(value)))
			return err_set(err, ERR_INVALID, "the value of %.40s has a malformed %% escape", pair);
		code = take_option(spec, pair, value, err);
	}
	return code;
}

/* References. */

static bool is_glob(const char *text)
{
	return strpbrk(text, "*?[") != NULL;
}

/* Cuts the tag off "NAME:TAG"; NULL where there is none. */
static char *cut_tag(char *name)
{
	char *slash = strrchr(name, '/'), *colon = strrchr(slash ? slash : name, ':');

	if (!colon)
		return NULL;
	*colon = '\0';
	return colon + 1;
}

static int take_tags(struct spec *spec, const char *tag, bool narrowed, struct err *err)
{
	spec->tags_by_glob = !tag || is_glob(tag);
	if (!spec->tags_by_glob && narrowed)
		return err_set(err, ERR_INVALID, "options narrow a glob of tags, and '%.128s' is one tag", tag);
	if (!spec->tags_by_glob && !ref_tag_valid(tag, strlen(tag)))
		return err_set(err, ERR_INVALID, "the tag is malformed");
	return take_glob(tag ? tag : "*", spec->tags, "the tag", err);
}

/* Of an organisation's repositories. */
static int parse_quay(struct spec *spec, char *rest, const char *options, struct err *err)
{
	char *tag = cut_tag(rest), *slash = strchr(rest, '/');
	bool narrowed;
	int code;

	spec->kind = SPEC_QUAY;
	code = take_options(spec, options, err);
	narrowed = spec->by_version || spec->latest || spec->exclude_count;
	strcpy(spec->upstream, QUAY_UPSTREAM);
	if (code == 0 && slash &&
	    (memchr(rest, '.', (size_t)(slash - rest)) || memchr(rest, ':', (size_t)(slash - rest)))) {
		*slash = '\0';
		if (strlen(rest) > REF_UPSTREAM_MAX)
			return err_set(err, ERR_INVALID, "the upstream's name is too long");
		strcpy(spec->upstream, rest);
		rest = slash + 1;
		slash = strchr(rest, '/');
	}
	if (code == 0 && (!slash || !ref_repository_valid(rest, (size_t)(slash - rest))))
		code = err_set(err, ERR_INVALID,
			       "behind quay:// stand an organisation and a glob: quay://ORG/GLOB:TAG");
	if (code)
		return code;
	*slash = '\0';
	code = take_glob(rest, spec->organisation, "the organisation", err);
	if (code == 0)
		code = take_glob(slash + 1, spec->repositories, "the glob of repositories", err);
	if (code == 0)
		code = take_tags(spec, tag || narrowed ? tag : "latest", narrowed, err);
	return code;
}

int spec_parse(const char *text, struct spec *spec, struct err *err)
{
	const char *options = find_options(text);
	char name[SPEC_TEXT_MAX + 1], *tag;
	size_t len = (size_t)(options - text);
	int code;

	memset(spec, 0, sizeof(*spec));
	if (strlen(text) > SPEC_TEXT_MAX)
		return err_set(err, ERR_INVALID, "the reference is longer than %d bytes", SPEC_TEXT_MAX);
	memcpy(name, text, len);
	name[len] = '\0';
	if (strncmp(name, QUAY_PREFIX, strlen(QUAY_PREFIX)) == 0)
		return parse_quay(spec, name + strlen(QUAY_PREFIX), options, err);
	if (!*options && !is_glob(name))
		return ref_parse(name, &spec->ref, err);
	spec->kind = SPEC_TAGS;
	if (strchr(name, '@'))
		return err_set(err, ERR_INVALID, "a digest is one image: no glob or option goes with it");
	tag = cut_tag(name);
	code = take_options(spec, options, err);
	if (code == 0)
		code = ref_parse(name, &spec->ref, err);
	return code ? code : take_tags(spec, tag, true, err);
}

/* Choosing. */

bool spec_takes_repository(const struct spec *spec, const char *repository)
{
	const char *slash = strchr(repository, '/');

	return slash && fnmatch(spec->repositories, slash + 1, 0) == 0;
}

static bool takes_tag(const struct spec *spec, const char *tag)
{
	struct semver version;

	if (fnmatch(spec->tags, tag, 0) != 0)
		return false;
	for (size_t i = 0; i < spec->exclude_count; i++)
		if (fnmatch(spec->excludes[i], tag, 0) == 0)
			return false;
	return !spec->by_version || (semver_parse(tag, &version) == 0 && semver_range_has(&spec->versions, &version));
}

/* Newest first: versions by precedence, then what is none, in the order in which people count. */
static int newest_first(const void *left, const void *right)
{
	const char *a = *(const char *const *)left, *b = *(const char *const *)right;
	struct semver a_version, b_version;
	bool a_is = semver_parse(a, &a_version) == 0, b_is = semver_parse(b, &b_version) == 0;
	int order = a_is && b_is ? semver_compare(&b_version, &a_version) : b_is - a_is;

	return order ? order : strverscmp(b, a);
}

size_t spec_choose(const struct spec *spec, const char **tags, size_t count)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		const char *tag = tags[i];

		if (!takes_tag(spec, tag))
			continue;
		tags[i] = tags[kept];
		tags[kept++] = tag;
	}
	qsort(tags, kept, sizeof(*tags), newest_first);
	return spec->latest && spec->latest < kept ? spec->latest : kept;
}
