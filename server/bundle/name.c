/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/name.h"

#include <stdio.h>
#include <string.h>

#define HUB "docker.io"

int bundle_locate_plainly(void *arg, const struct ref *ref, struct bundle_name *name, struct err *err)
{
	const char *repository = ref->host_len ? ref->name + ref->host_len + 1 : ref->name;
	bool hub = !ref->host_len || (ref->host_len == strlen(HUB) && strncmp(ref->name, HUB, strlen(HUB)) == 0);
	int len;

	(void)arg;
	snprintf(name->upstream, sizeof(name->upstream), "%.*s", hub ? (int)strlen(HUB) : (int)ref->host_len,
		 hub ? HUB : ref->name);
	len = snprintf(name->repository, sizeof(name->repository), "%s%s",
		       hub && !strchr(repository, '/') ? "library/" : "", repository);
	if (len < 0 || (size_t)len >= sizeof(name->repository))
		return err_set(err, ERR_INVALID, "the repository's name is too long");
	return 0;
}

int bundle_name_parse(const struct bundle_locator *locator, const char *text, struct bundle_name *name, struct err *err)
{
	struct ref ref;
	struct err why;
	int code = ref_parse(text, &ref, &why);

	if (code)
		err_set(err, code, "'%.80s': %s", text, why.text);
	memset(name, 0, sizeof(*name));
	if (code == 0)
		code = locator->locate(locator->arg, &ref, name, err);
	if (code)
		return code;
	if (ref.digest[0])
		digest_parse(ref.digest, &name->digest);
	/* With both, the digest says what it is, and the tag what it is called. */
	if (ref.tag[0] || !ref.digest[0])
		snprintf(name->tag, sizeof(name->tag), "%s", ref.tag[0] ? ref.tag : "latest");
	return 0;
}

const char *bundle_name_format(const struct bundle_name *name, char text[BUNDLE_NAME_TEXT_MAX])
{
	char digest[DIGEST_TEXT_MAX];

	snprintf(text, BUNDLE_NAME_TEXT_MAX, "%s/%s%s%s", name->upstream, name->repository, name->tag[0] ? ":" : "@",
		 name->tag[0] ? name->tag : digest_format(&name->digest, digest));
	return text;
}
