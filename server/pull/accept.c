/* SPDX-License-Identifier: Apache-2.0 */
#include "server/pull/accept.h"

#include "base/digest.h"

#include <stdlib.h>
#include <string.h>
#include <strings.h>

/* A client that sends no Accept takes anything (RFC 9110); some registries then answer with a schema 1 manifest made on
 * the spot, with another digest each time. Naming every type gets what is stored there. */
static const char every_type[] = "application/vnd.oci.image.index.v1+json, "
				 "application/vnd.docker.distribution.manifest.list.v2+json, "
				 "application/vnd.oci.image.manifest.v1+json, "
				 "application/vnd.docker.distribution.manifest.v2+json, "
				 "application/vnd.oci.artifact.manifest.v1+json, "
				 "application/vnd.docker.distribution.manifest.v1+prettyjws, "
				 "*/*";

struct type_list {
	char *types[ACCEPT_TYPES_MAX];
	size_t count;
};

static int compare_types(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

/* Cuts `text` into lower-case media types without parameters; those with q=0 are left out. */
static void split(char *text, struct type_list *list)
{
	char *save = NULL;

	list->count = 0;
	for (char *part = strtok_r(text, ",", &save); part && list->count < ACCEPT_TYPES_MAX;
	     part = strtok_r(NULL, ",", &save)) {
		char *parameters = strchr(part, ';');
		char *quality = parameters ? strcasestr(parameters, "q=") : NULL;
		size_t len;

		if (quality && strtod(quality + 2, NULL) <= 0)
			continue;
		part += strspn(part, " \t");
		len = strcspn(part, " \t;");
		part[len] = '\0';
		for (char *c = part; *c; c++)
			*c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
		if (len > 0)
			list->types[list->count++] = part;
	}
	qsort(list->types, list->count, sizeof(list->types[0]), compare_types);
}

static uint64_t key_of(const struct type_list *list)
{
	struct hasher *hasher = hasher_new(DIGEST_SHA256);
	struct digest digest;
	uint64_t key;

	for (size_t i = 0; i < list->count; i++)
		if (i == 0 || strcmp(list->types[i], list->types[i - 1]) != 0)
			hasher_update(hasher, list->types[i], strlen(list->types[i]) + 1);
	hasher_finish(hasher, &digest);
	memcpy(&key, digest.bytes, sizeof(key));
	return key;
}

static bool header_sendable(const char *header)
{
	for (const char *c = header; *c; c++)
		if ((unsigned char)*c < ' ' && *c != '\t')
			return false;
	return strlen(header) < ACCEPT_TEXT_MAX;
}

void accept_parse(const char *header, struct accept *accept)
{
	char copy[ACCEPT_TEXT_MAX];
	struct type_list list;

	if (header && header_sendable(header)) {
		memcpy(copy, header, strlen(header) + 1);
		split(copy, &list);
		if (list.count > 0 && !(list.count == 1 && strcmp(list.types[0], "*/*") == 0)) {
			memcpy(accept->text, header, strlen(header) + 1);
			accept->key = key_of(&list);
			return;
		}
	}
	memcpy(accept->text, every_type, sizeof(every_type));
	memcpy(copy, every_type, sizeof(every_type));
	split(copy, &list);
	accept->key = key_of(&list);
}

bool accept_takes(const struct accept *accept, const char *media_type)
{
	char copy[ACCEPT_TEXT_MAX];
	struct type_list list;

	memcpy(copy, accept->text, strlen(accept->text) + 1);
	split(copy, &list);
	for (size_t i = 0; i < list.count; i++)
		if (strcmp(list.types[i], "*/*") == 0 || strcasecmp(list.types[i], media_type) == 0 ||
		    (strcmp(list.types[i], "application/*") == 0 && strncasecmp(media_type, "application/", 12) == 0))
			return true;
	return false;
}
