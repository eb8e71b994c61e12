/* SPDX-License-Identifier: Apache-2.0 */
#include "base/ref.h"

#include <string.h>

static bool is_name_letter(char letter)
{
	return (letter >= 'a' && letter <= 'z') || (letter >= '0' && letter <= '9');
}

/* The length of the separator at the start of `text`, 0 when there is none that may stand inside a component. */
static size_t separator_length(const char *text, size_t len)
{
	size_t run = 1;
	switch (text[0]) {
	case '.':
		return 1;
	case '_':
		return len > 1 && text[1] == '_' ? 2 : 1;
	case '-':
		while (run < len && text[run] == '-')
			run++;
		return run;
	case '/':
		return 1;
	default:
		return 0;
	}
}

/* A name is runs of letters with one separator between any two of them; a slash is just one more separator. */
bool ref_repository_valid(const char *name, size_t len)
{
	if (len == 0 || len > REF_REPOSITORY_MAX)
		return false;
	size_t at = 0;
	for (;;) {
		size_t start = at;
		while (at < len && is_name_letter(name[at]))
			at++;
		if (at == start)
			return false;
		if (at == len)
			return true;
		size_t separator = separator_length(name + at, len - at);
		if (!separator)
			return false;
		at += separator;
	}
}

bool ref_tag_valid(const char *tag, size_t len)
{
	if (len == 0 || len > REF_TAG_MAX)
		return false;
	for (size_t i = 0; i < len; i++) {
		char letter = tag[i];
		if (is_name_letter(letter) || (letter >= 'A' && letter <= 'Z') || letter == '_')
			continue;
		if (i == 0 || (letter != '.' && letter != '-'))
			return false;
	}
	return true;
}

/* The host in front of a name, by the rule that docker made: "a/b" is a repository, "a.b/c" and "a:1/b" are not. */
static size_t host_length(const char *name)
{
	size_t len = strcspn(name, "/");

	if (name[len] != '/')
		return 0;
	if (memchr(name, '.', len) || memchr(name, ':', len) || (len == 9 && memcmp(name, "localhost", 9) == 0))
		return len;
	return 0;
}

/* HOST, HOST:PORT, [V6]:PORT. */
static bool host_valid(const char *host, size_t len)
{
	bool bracketed = host[0] == '[';
	const char *end = bracketed ? memchr(host, ']', len) : memchr(host, ':', len);
	size_t name_len = end ? (size_t)(end - host) + bracketed : len;

	if (len > REF_UPSTREAM_MAX || (bracketed && !end) || name_len == 0 || host[0] == '.' || host[0] == '-')
		return false;
	for (size_t i = bracketed; i < name_len - bracketed; i++) {
		char letter = host[i];

		if (!is_name_letter(letter) && !(letter >= 'A' && letter <= 'Z') && letter != '.' && letter != '-' &&
		    !(bracketed && letter == ':'))
			return false;
	}
	if (name_len == len)
		return true;
	if (host[name_len] != ':' || name_len + 1 == len || len - name_len > 6)
		return false;
	for (size_t i = name_len + 1; i < len; i++)
		if (host[i] < '0' || host[i] > '9')
			return false;
	return true;
}

static int take_digest(const char *text, struct ref *ref, struct err *err)
{
	struct digest digest;

	if (digest_parse(text, &digest))
		return err_set(err, ERR_INVALID, "behind the @ there is no digest, such as sha256: and 64 hex digits");
	digest_format(&digest, ref->digest);
	return 0;
}

static int take_tag(const char *text, size_t len, struct ref *ref, struct err *err)
{
	if (!ref_tag_valid(text, len))
		return err_set(err, ERR_INVALID,
			       "the tag is malformed; it has letters, digits, dots, hyphens and underscores");
	memcpy(ref->tag, text, len);
	ref->tag[len] = '\0';
	return 0;
}

int ref_parse(const char *text, struct ref *ref, struct err *err)
{
	const char *at = strchr(text, '@'), *slash, *colon;
	size_t len = at ? (size_t)(at - text) : strlen(text);
	int code = 0;

	memset(ref, 0, sizeof(*ref));
	if (at)
		code = take_digest(at + 1, ref, err);
	slash = memrchr(text, '/', len);
	/* A colon before the last slash is a port's. */
	colon = memchr(slash ? slash : text, ':', len - (slash ? (size_t)(slash - text) : 0));
	if (code == 0 && colon)
		code = take_tag(colon + 1, len - (size_t)(colon + 1 - text), ref, err);
	if (code)
		return code;
	if (colon)
		len = (size_t)(colon - text);
	if (len > REF_NAME_MAX)
		return err_set(err, ERR_INVALID, "the name is too long");
	memcpy(ref->name, text, len);
	ref->host_len = host_length(ref->name);
	if (ref->host_len && !host_valid(ref->name, ref->host_len))
		return err_set(err, ERR_INVALID, "the registry's name is malformed");
	if (ref->host_len) {
		text += ref->host_len + 1;
		len -= ref->host_len + 1;
	}
	if (!ref_repository_valid(text, len))
		return err_set(err, ERR_INVALID,
			       "the repository's name is malformed; it has lower-case letters, digits and single "
			       "separators");
	return 0;
}

const char *ref_reference(const struct ref *ref)
{
	if (ref->digest[0])
		return ref->digest;
	return ref->tag[0] ? ref->tag : "latest";
}
