/* SPDX-License-Identifier: Apache-2.0 */
/* What a reference means: one platform's manifest, its config and its layers, and the view of them all. */
#include "server/files/files_internal.h"

#include "base/buf.h"
#include "base/cleanup.h"
#include "store/store.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#define SCHEMA_1        "application/vnd.docker.distribution.manifest.v1"
#define INDEX_DEPTH_MAX 4 /* indexes within indexes */
#define CONFIG_MAX      ((size_t)4 << 20)

void files_close_image(struct files_image *image)
{
	if (!image)
		return;
	contents_close(image->files, image->contents);
	for (size_t i = 0; i < image->layer_count; i++)
		free(image->layers[i].media_type);
	free(image->layers);
	free(image->media_type);
	free(image->repository);
	free(image);
}

/* Which manifest of an index. */

/* "linux/amd64": this machine, in the words of Go. */
static void host_platform(char platform[MANIFEST_PLATFORM_MAX])
{
	static const char *const names[][2] = {
		{"x86_64", "amd64"}, {"aarch64", "arm64"}, {"armv7l", "arm"}, {"i686", "386"}, {"ppc64le", "ppc64le"}};
	struct utsname machine;
	const char *name = "amd64";

	if (uname(&machine) == 0) {
		name = machine.machine;
		for (size_t i = 0; i < sizeof(names) / sizeof(*names); i++)
			if (strcmp(machine.machine, names[i][0]) == 0)
				name = names[i][1];
	}
	snprintf(platform, MANIFEST_PLATFORM_MAX, "linux/%.100s", name);
}

struct choice {
	struct store *store;
	const char *wanted; /* "": not said */
	char host[MANIFEST_PLATFORM_MAX];
	int rank; /* of what was found so far; 0: nothing */
	struct digest digest;
	char platform[MANIFEST_PLATFORM_MAX];
	struct buf names;
};

static void consider(void *arg, const struct manifest_part *part)
{
	struct choice *choice = arg;
	const char *host = choice->host;
	uint64_t size;
	int rank = 1;

	/* Attestations and the like say "unknown/unknown". */
	if (part->kind != MANIFEST_MANIFEST || strncmp(part->platform, "unknown/", 8) == 0)
		return;
	buf_printf(&choice->names, "%s%s", choice->names.len ? ", " : "", part->platform);
	if (choice->wanted[0]) {
		if (!manifest_platform_matches(part->platform, &choice->wanted, 1))
			return;
	} else {
		/* This machine's, of those that are held; then any that is held. */
		rank += manifest_platform_matches(part->platform, &host, 1) ? 1 : 0;
		rank += store_find_blob(choice->store, &part->digest, &size, NULL) == 0 ? 2 : 0;
	}
	if (rank <= choice->rank)
		return;
	choice->rank = rank;
	choice->digest = part->digest;
	snprintf(choice->platform, sizeof(choice->platform), "%s", part->platform);
}

static int choose(struct files_image *image, const char *platform, const char *data, size_t len, struct digest *digest,
		  struct err *err)
{
	struct choice choice = {.store = image->files->store, .wanted = platform, .names.max = ERR_TEXT_MAX / 2};
	int code = 0;

	host_platform(choice.host);
	manifest_read(data, len, consider, &choice);
	if (choice.rank == 0)
		code = err_set(err, ERR_NOT_FOUND, "the image is not for %s, but for %s",
			       platform[0] ? platform : "any platform",
			       choice.names.len ? choice.names.data : "none that is told");
	*digest = choice.digest;
	if (choice.platform[0])
		memcpy(image->platform, choice.platform, sizeof(image->platform));
	buf_dispose(&choice.names);
	return code;
}

/* The image's own manifest. */

static void take_part(void *arg, const struct manifest_part *part)
{
	struct files_image *image = arg;

	if (part->kind == MANIFEST_CONFIG) {
		image->config = part->digest;
		image->config_size = part->size;
	} else if (part->kind == MANIFEST_LAYER && image->layer_count <= FILES_LAYERS_MAX) {
		image->layers = mem_realloc(image->layers, (image->layer_count + 1) * sizeof(*image->layers));
		image->layers[image->layer_count++] = (struct files_layer){
			.digest = part->digest, .size = part->size, .media_type = mem_strdup(part->media_type)};
	}
}

static void note_manifest(void *arg, const struct manifest_part *part)
{
	*(bool *)arg |= part->kind == MANIFEST_MANIFEST;
}

static int take_manifest(struct files_image *image, const char *data, size_t len, struct err *err)
{
	/* Docker's schema 1 names its layers the other way round, and nobody makes it any more. */
	if (strncmp(image->media_type, SCHEMA_1, strlen(SCHEMA_1)) == 0)
		return err_set(err, ERR_UNSUPPORTED, "the image's manifest is of the old schema 1");
	manifest_read(data, len, take_part, image);
	if (image->layer_count > FILES_LAYERS_MAX)
		return err_set(err, ERR_LIMIT, "the image has more than %d layers", FILES_LAYERS_MAX);
	if (image->layer_count == 0)
		return err_set(err, ERR_UNSUPPORTED, "it is no image: its manifest names no layers");
	return 0;
}

static int resolve(struct files_image *image, const struct files_place *place, struct err *err)
{
	char reference[DIGEST_TEXT_MAX], media_type[PULL_MEDIA_TYPE_MAX + 1];
	const char *wanted = place->reference;
	struct digest next;

	for (int depth = 0; depth < INDEX_DEPTH_MAX; depth++) {
		_cleanup_free_ char *data = NULL;
		bool is_index = false;
		size_t len;
		int code = files_fetch_manifest(image->files, place, wanted, &data, &len, &image->manifest, media_type,
						err);

		if (code)
			return code;
		free(image->media_type);
		image->media_type = mem_strdup(media_type);
		manifest_read(data, len, note_manifest, &is_index);
		if (!is_index)
			return take_manifest(image, data, len, err);
		code = choose(image, place->platform, data, len, &next, err);
		if (code)
			return code;
		wanted = digest_format(&next, reference);
	}
	return err_set(err, ERR_UNSUPPORTED, "the image's indexes lead to one another without end");
}

int files_open_image(struct files *files, const struct files_place *place, struct files_image **out, struct err *err)
{
	_cleanup_(files_close_imagep) struct files_image *image = mem_alloc(sizeof(*image));
	int code;

	image->files = files;
	image->upstream = place->upstream;
	image->repository = mem_strdup(place->repository);
	code = resolve(image, place, err);
	if (!code)
		*out = take_pointer(image);
	return code;
}

int files_look_into(struct files_image *image, struct err *err)
{
	struct contents *contents;
	int code;

	if (image->contents)
		return 0;
	code = contents_open(image, &contents, err);
	if (code)
		return code;
	for (size_t i = 0; i < image->layer_count; i++)
		image->layers[i].index = contents->indexes[i];
	image->view = contents->view;
	image->contents = contents;
	return 0;
}

int files_read_config(const struct files_image *image, char **config, size_t *len, struct err *err)
{
	_cleanup_free_ char *data = NULL;
	struct files_blob blob;
	size_t done = 0;
	int code;

	if (!image->config.algorithm)
		return err_set(err, ERR_NOT_FOUND, "the image has no config");
	code = files_open_blob(image->files, image->upstream, image->repository, &image->config, FILES_FETCH, &blob,
			       err);
	if (code)
		return code;
	if (blob.size > CONFIG_MAX)
		code = err_set(err, ERR_LIMIT, "the image's config has more than %zu MiB", CONFIG_MAX >> 20);
	else
		data = mem_alloc((size_t)blob.size + 1);
	while (!code && done < blob.size) {
		ssize_t got = files_read_blob(&blob, done, data + done, (size_t)blob.size - done, err);

		if (got < 0)
			code = (int)got;
		else
			done += (size_t)got;
	}
	files_close_blob(&blob);
	if (code)
		return code;
	*len = done;
	*config = take_pointer(data);
	return 0;
}
