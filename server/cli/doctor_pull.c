/* SPDX-License-Identifier: Apache-2.0 */
/* A pull as clients make it. */
#include "server/cli/doctor.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "base/digest.h"
#include "server/cli/registry_client.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#define ACCEPT                                                                                                         \
	"application/vnd.oci.image.index.v1+json, application/vnd.docker.distribution.manifest.list.v2+json, "         \
	"application/vnd.oci.image.manifest.v1+json, application/vnd.docker.distribution.manifest.v2+json"

struct doctor {
	const struct doctor_place *place;
	const struct doctor_way *way;
	const char *upstream, *repository;
	struct doctor_finding *finding;
};

static char *path_plain(const char *upstream, const char *repository, const char *thing)
{
	(void)upstream;
	return mem_printf("/v2/%s/%s", repository, thing);
}

static char *path_ns(const char *upstream, const char *repository, const char *thing)
{
	return mem_printf("/v2/%s/%s?ns=%s", repository, thing, upstream);
}

static char *path_prefix(const char *upstream, const char *repository, const char *thing)
{
	return mem_printf("/v2/%s/%s/%s", upstream, repository, thing);
}

static char *path_before(const char *upstream, const char *repository, const char *thing)
{
	return mem_printf("/%s/v2/%s/%s", upstream, repository, thing);
}

const struct doctor_way doctor_ways[] = {
	{"docker, BuildKit", "/v2/REPOSITORY", true, path_plain},
	{"containerd", "/v2/REPOSITORY?ns=UPSTREAM", false, path_ns},
	{"podman, skopeo, CRI-O, helm", "/v2/UPSTREAM/REPOSITORY", false, path_prefix},
	{"containerd, by a host with a path", "/UPSTREAM/v2/REPOSITORY", false, path_before},
	{NULL},
};

static int judge(const struct registry_reply *reply, const char *path, struct err *err)
{
	switch (reply->status) {
	case 200:
		return 0;
	case 401:
		return err_set(err, ERR_DENIED, "%s: larder wants a login: give one with --user", path);
	case 403:
		return err_set(err, ERR_DENIED, "%s: refused: by the registry, or by `allow`, `deny` or `access` here",
			       path);
	case 404:
		return err_set(err, ERR_NOT_FOUND, "%s: not found: is the image there, and the upstream configured?",
			       path);
	default:
		return err_set(err, ERR_UPSTREAM, "%s: status %d: %.120s", path, reply->status,
			       reply->body.data ? reply->body.data : "");
	}
}

/* Gets a thing. `path` is for messages, and the caller frees it; of an answer of 200 it disposes of the body. */
static int get(const struct doctor *doctor, const char *kind, const char *reference, struct hasher *hasher,
	       struct registry_reply *reply, char **path, struct err *err)
{
	_cleanup_free_ char *thing = mem_printf("%s/%s", kind, reference);
	_cleanup_free_ char *url = NULL;
	struct registry_question question = {
		.accept = ACCEPT, .ca = doctor->place->ca, .credentials = doctor->place->credentials, .hasher = hasher};
	struct err why = {0};
	int code;

	*path = doctor->way->path(doctor->upstream, doctor->repository, thing);
	url = mem_printf("%s://%s%s", doctor->place->tls ? "https" : "http", doctor->place->address, *path);
	question.url = url;
	code = registry_client_get(&question, reply, &why);
	if (code)
		return err_set(err, code, "%s: %s", url, why.text);
	doctor->finding->requests++;
	doctor->finding->hits += strncmp(reply->cache_status, "larder; hit", 11) == 0;
	doctor->finding->bytes += reply->bytes;
	code = judge(reply, *path, err);
	if (code)
		buf_dispose(&reply->body);
	return code;
}

static int compare(const struct digest *right, const struct digest *found, const char *path, struct err *err)
{
	char text[DIGEST_TEXT_MAX];

	if (digest_equal(right, found))
		return 0;
	return err_set(err, ERR_DIGEST, "%s: the bytes are not those of %s", path, digest_format(right, text));
}

static json_t *read_json(struct registry_reply *reply, struct err *err)
{
	json_t *document = json_loadb(reply->body.data, reply->body.len, 0, NULL);

	buf_dispose(&reply->body);
	if (!document)
		err_set(err, ERR_UPSTREAM, "the manifest is no JSON");
	return document;
}

/* Linux on amd64, else whatever comes first. */
static const char *choose(const json_t *manifests)
{
	const char *first = NULL;
	size_t i;
	json_t *entry;

	json_array_foreach(manifests, i, entry)
	{
		const char *digest = json_string_value(json_object_get(entry, "digest"));
		const json_t *platform = json_object_get(entry, "platform");
		const char *os = json_string_value(json_object_get(platform, "os"));
		const char *arch = json_string_value(json_object_get(platform, "architecture"));

		if (digest && os && arch && strcmp(os, "linux") == 0 && strcmp(arch, "amd64") == 0)
			return digest;
		first = first ? first : digest;
	}
	return first;
}

static const char *smallest(const json_t *layers)
{
	const char *found = NULL;
	json_int_t least = 0;
	size_t i;
	json_t *layer;

	json_array_foreach(layers, i, layer)
	{
		const char *digest = json_string_value(json_object_get(layer, "digest"));
		json_int_t size = json_integer_value(json_object_get(layer, "size"));

		if (digest && (!found || size < least)) {
			found = digest;
			least = size;
		}
	}
	return found;
}

static int get_blob(const struct doctor *doctor, const char *digest, struct err *err)
{
	_cleanup_free_ char *path = NULL;
	struct registry_reply reply;
	struct digest right, found;
	struct hasher *hasher;
	int code;

	if (!digest)
		return 0;
	if (digest_parse(digest, &right))
		return err_set(err, ERR_UPSTREAM, "the manifest names a blob by what is no digest");
	hasher = hasher_new(right.algorithm);
	code = get(doctor, "blobs", digest, hasher, &reply, &path, err);
	if (code) {
		hasher_free(hasher);
		return code;
	}
	buf_dispose(&reply.body);
	hasher_finish(hasher, &found);
	return compare(&right, &found, path, err);
}

/* `digest` NULL: it must be what the answer says it is. */
static int get_manifest(const struct doctor *doctor, const char *reference, const char *digest, json_t **manifest,
			struct err *err)
{
	_cleanup_free_ char *path = NULL;
	struct registry_reply reply;
	struct digest right, found;
	int code = get(doctor, "manifests", reference, NULL, &reply, &path, err);

	if (code)
		return code;
	if (digest_parse(digest ? digest : reply.digest, &right)) {
		code = err_set(err, ERR_DIGEST, "%s: came without a digest", path);
	} else {
		digest_of(right.algorithm, reply.body.data, reply.body.len, &found);
		code = compare(&right, &found, path, err);
	}
	if (code) {
		buf_dispose(&reply.body);
		return code;
	}
	*manifest = read_json(&reply, err);
	return *manifest ? 0 : ERR_UPSTREAM;
}

int doctor_pull(const struct doctor_place *place, const struct doctor_way *way, const char *upstream,
		const char *repository, const char *reference, struct doctor_finding *finding, struct err *err)
{
	const struct doctor doctor = {place, way, upstream, repository, finding};
	json_t *manifest = NULL, *index = NULL;
	const char *chosen;
	int code;

	*finding = (struct doctor_finding){0};
	code = get_manifest(&doctor, reference, strchr(reference, ':') ? reference : NULL, &manifest, err);
	chosen = code ? NULL : choose(json_object_get(manifest, "manifests"));
	if (chosen) {
		index = manifest;
		manifest = NULL;
		code = get_manifest(&doctor, chosen, chosen, &manifest, err);
	}
	if (code == 0)
		code = get_blob(&doctor,
				json_string_value(json_object_get(json_object_get(manifest, "config"), "digest")), err);
	if (code == 0)
		code = get_blob(&doctor, smallest(json_object_get(manifest, "layers")), err);
	json_decref(manifest);
	json_decref(index);
	return code;
}
