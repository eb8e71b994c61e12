/* SPDX-License-Identifier: Apache-2.0 */
#include "server/bundle/import_internal.h"

#include "base/cleanup.h"
#include "server/bundle/describe.h"
#include "store/remove.h"
#include "store/room.h"

#include <stdlib.h>
#include <string.h>

void import_report_dispose(struct import_report *report)
{
	free(report->images);
	free(report->missing);
	memset(report, 0, sizeof(*report));
}

/* What came. */

static struct import_file *add_file(struct import *import, const struct archive_file *file, struct err *err)
{
	struct import_file *added;

	HASH_FIND_STR(import->files, file->path, added);
	if (added) {
		err_set(err, ERR_INVALID, "the archive has %.120s twice", file->path);
		return NULL;
	}
	if (HASH_COUNT(import->files) == IMPORT_FILES_MAX) {
		err_set(err, ERR_LIMIT, "the archive has more than %d files", IMPORT_FILES_MAX);
		return NULL;
	}
	import->path_bytes += strlen(file->path) + strlen(file->link);
	if (import->path_bytes > IMPORT_PATHS_MAX) {
		err_set(err, ERR_LIMIT, "the archive's paths are longer than %lu bytes", IMPORT_PATHS_MAX);
		return NULL;
	}
	added = mem_alloc(sizeof(*added));
	added->path = mem_strdup(file->path);
	added->link = file->link[0] ? mem_strdup(file->link) : NULL;
	added->size = file->size;
	HASH_ADD_KEYPTR(hh, import->files, added->path, strlen(added->path), added);
	return added;
}

void import_note_blob(struct import *import, const struct digest *digest, uint64_t size)
{
	if ((import->came_count & (import->came_count + 1)) == 0)
		import->came = mem_realloc(import->came, (import->came_count + 1) * 2 * sizeof(*import->came));
	import->came[import->came_count++] = *digest;
	import->report->blobs_new++;
	import->report->bytes_new += size;
}

int import_want_room(struct import *import, uint64_t size, struct err *err)
{
	uint64_t wants = size < INT64_MAX - ROOM_FILE_BYTES ? size + ROOM_FILE_BYTES : INT64_MAX;

	import->room = wants < INT64_MAX - import->room ? import->room + wants : INT64_MAX;
	return room_check(import->store, import->room, true, err);
}

/* Reads the file through `stage`, or, where that is NULL, only hashes it; its head is remembered. */
static int read_through(struct import *import, struct import_file *file, struct stage *stage, struct hasher *hasher,
			struct err *err)
{
	const void *data;
	size_t len, known = 0;
	int code;

	while ((code = archive_data(import->reader, &data, &len, err)) == 0 && len > 0) {
		for (size_t i = 0; i < len && known < IMPORT_HEAD_BYTES; i++)
			file->head[known++] = ((const uint8_t *)data)[i];
		if (hasher)
			hasher_update(hasher, data, len);
		else
			code = stage_write(stage, data, len, err);
		if (code)
			return code;
	}
	return code;
}

static int wrong_digest(const struct import_file *file, const struct digest *digest, struct err *err)
{
	char text[DIGEST_TEXT_MAX];

	return err_set(err, ERR_DIGEST, "the archive's %.150s is %s", file->path, digest_format(digest, text));
}

/* It is held: its bytes are read all the same, since an archive that lies about one blob lies. */
static int compare_blob(struct import *import, struct import_file *file, struct err *err)
{
	struct hasher *hasher = hasher_new(file->digest.algorithm);
	struct digest digest;
	int code = read_through(import, file, NULL, hasher, err);

	hasher_finish(hasher, &digest);
	if (code)
		return code;
	if (!digest_equal(&digest, &file->digest))
		return wrong_digest(file, &digest, err);
	import->report->blobs_held++;
	import->report->bytes_held += file->size;
	return 0;
}

static void close_stage(struct stage **stage)
{
	stage_close(*stage);
}

static int store_blob(struct import *import, struct import_file *file, struct err *err)
{
	_cleanup_(close_stage) struct stage *stage = NULL;
	int code = stage_open(import->store, file->digest.algorithm, file->size, &stage, err);

	if (code == 0)
		code = read_through(import, file, stage, NULL, err);
	if (code == 0)
		code = stage_finish(stage, err);
	if (code)
		return code;
	if (!digest_equal(stage_digest(stage), &file->digest))
		return wrong_digest(file, stage_digest(stage), err);
	code = stage_publish(stage, err);
	if (code == 0)
		import_note_blob(import, &file->digest, file->size);
	return code;
}

/* "blobs/ALGORITHM/HEX" */
static bool parse_blob_path(const char *path, struct digest *digest)
{
	char text[DIGEST_TEXT_MAX];
	const char *slash = strchr(path + strlen("blobs/"), '/');

	if (!slash || strlen(path + strlen("blobs/")) >= sizeof(text))
		return false;
	strcpy(text, path + strlen("blobs/"));
	text[slash - path - strlen("blobs/")] = ':';
	return digest_parse(text, digest) == 0;
}

static int take_blob(struct import *import, struct import_file *file, struct err *err)
{
	uint64_t held, said = UINT64_MAX;
	int code;

	if (file->link || !parse_blob_path(file->path, &file->digest))
		return err_set(err, ERR_INVALID, "the archive's %.150s is no blob", file->path);
	if (import->self && import_promised(import, &file->digest, &said) != PROMISE_CARRIED)
		return err_set(err, ERR_INVALID, "the bundle does not speak of its %.150s", file->path);
	if (import->self && said != file->size)
		return err_set(err, ERR_INVALID, "the bundle's %.150s has another size than it says", file->path);
	/* A bundle said of all its blobs how large they are. */
	code = import->self ? 0 : import_want_room(import, file->size, err);
	if (code)
		return code;
	if (store_find_blob(import->store, &file->digest, &held, NULL) == 0 && held == file->size)
		return compare_blob(import, file, err);
	return store_blob(import, file, err);
}

/* A file whose path says nothing: in docker's archives, manifest.json will. */
static int take_other(struct import *import, struct import_file *file, struct err *err)
{
	int code;

	if (file->link || import->self || import->texts[TEXT_LAYOUT].came)
		return 0;
	/* What is staged has its room reserved: none of it goes for what follows. */
	code = stage_open(import->store, DIGEST_SHA256, file->size, &file->stage, err);
	if (code == 0)
		code = read_through(import, file, file->stage, NULL, err);
	if (code == 0)
		code = stage_finish(file->stage, err);
	if (code)
		return code;
	file->digest = *stage_digest(file->stage);
	return 0;
}

static int take_text(struct import *import, struct import_text *text, const struct import_file *file, struct err *err)
{
	const void *data;
	size_t len;
	int code;

	if (file->link || file->size > text->max)
		return err_set(err, ERR_LIMIT, "the archive's %s is no file, or too long", text->path);
	text->came = true;
	text->data.max = text->max + 1;
	buf_append_text(&text->data, "");
	while ((code = archive_data(import->reader, &data, &len, err)) == 0 && len > 0)
		buf_append(&text->data, data, len);
	if (code == 0 && text == &import->texts[TEXT_SIGNATURE])
		code = import_check_signature(import, err);
	/* With a key, it is not even parsed before it was proved. */
	if (code == 0 && text == &import->texts[import->options->keys[0] ? TEXT_SIGNATURE : TEXT_SELF])
		code = import_read_self(import, err);
	return code ? code : import_check_text(import, text, err);
}

/* With a key, nothing is taken before the bundle's word for it was proved: its own text is first, the signature
 * second. */
static int check_place(const struct import *import, const struct archive_file *file, struct err *err)
{
	size_t place = HASH_COUNT(import->files);

	if (import->options->keys[0] && ((place == 0 && strcmp(file->path, BUNDLE_SELF) != 0) ||
					 (place == 1 && strcmp(file->path, BUNDLE_SIGNATURE) != 0)))
		return err_set(err, ERR_DENIED, "this is no signed bundle, and a key is configured");
	if (place > 0 && strcmp(file->path, BUNDLE_SELF) == 0)
		return err_set(err, ERR_INVALID, "the archive's " BUNDLE_SELF " is not its first file");
	return 0;
}

static int take_file(struct import *import, const struct archive_file *file, struct err *err)
{
	struct import_file *added;
	int code = check_place(import, file, err);

	if (code)
		return code;
	added = add_file(import, file, err);
	if (!added)
		return err->code;
	for (size_t i = 0; i < TEXTS; i++)
		if (strcmp(file->path, import->texts[i].path) == 0)
			return take_text(import, &import->texts[i], added, err);
	return strncmp(file->path, "blobs/", 6) == 0 ? take_blob(import, added, err) : take_other(import, added, err);
}

static int take_files(struct import *import, struct err *err)
{
	struct archive_file file;
	int code;

	while ((code = archive_next(import->reader, &file, err)) == 0) {
		code = take_file(import, &file, err);
		if (code)
			return code;
	}
	if (code != ERR_NOT_FOUND)
		return code;
	if (import->options->keys[0] && !import->report->is_signed)
		return err_set(err, ERR_DENIED, "this is no signed bundle, and a key is configured");
	return 0;
}

static int go_through_images(struct import *import, bool judging, struct err *err)
{
	import->judging = judging;
	import->report->image_count = import->report->missing_count = import->walked = 0;
	if (import->texts[TEXT_LAYOUT].came || import->texts[TEXT_INDEX].came)
		return import_link_layout(import, err);
	if (import->texts[TEXT_DOCKER].came)
		return import_link_docker(import, err);
	return err_set(err, ERR_INVALID, "the archive is neither an OCI image layout nor a docker archive");
}

/* All are judged before the first is named: what is refused has not moved a tag that worked before. */
static int link_images(struct import *import, struct err *err)
{
	int code = go_through_images(import, true, err);

	return code ? code : go_through_images(import, false, err);
}

/* Then nothing of it stays. What there is no room for will not go on when it is repeated: the room is for what is
 * named. */
static bool is_refusal(int code)
{
	return code == ERR_NO_SPACE || code == ERR_INVALID || code == ERR_DIGEST || code == ERR_LIMIT ||
	       code == ERR_DENIED;
}

static void dispose(struct import *import)
{
	struct import_file *file, *next;

	HASH_ITER (hh, import->files, file, next) {
		HASH_DEL(import->files, file);
		stage_close(file->stage);
		free(file->link);
		free(file->path);
		free(file);
	}
	for (size_t i = 0; i < TEXTS; i++)
		buf_dispose(&import->texts[i].data);
	import_forget_self(import);
	archive_reader_free(import->reader);
	free(import->came);
}

int import_run(struct store *store, const struct import_options *options, struct import_report *report, struct err *err)
{
	struct import import = {
		.store = store,
		.options = options,
		.report = report,
		.reader = archive_reader_new(&options->source),
		.texts = {[TEXT_SELF] = {BUNDLE_SELF, BUNDLE_SELF_MAX},
			  [TEXT_SIGNATURE] = {BUNDLE_SIGNATURE, SIGN_SIGNATURE_BYTES},
			  [TEXT_LAYOUT] = {LAYOUT_FILE, 4096},
			  [TEXT_INDEX] = {LAYOUT_INDEX, IMPORT_TEXT_MAX},
			  [TEXT_DOCKER] = {DOCKER_MANIFEST, IMPORT_TEXT_MAX}},
	};
	int code;

	memset(report, 0, sizeof(*report));
	code = take_files(&import, err);
	if (code == 0)
		code = link_images(&import, err);
	if (is_refusal(code))
		(void)remove_blobs(store, import.came, import.came_count, NULL, NULL);
	dispose(&import);
	return code;
}
